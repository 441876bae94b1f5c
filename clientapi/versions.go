package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/web"
)

func (a *API) versionRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/versions", web.None, web.RateNone, a.versions},
	}
}

// specVersions are the releases of the specification whose clients can use this server.
var specVersions = [...]string{
	"r0.0.1", "r0.1.0", "r0.2.0", "r0.3.0", "r0.4.0", "r0.5.0", "r0.6.0", "r0.6.1",
	"v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16",
}

// versions asks nobody for a token: all users have the same features, and clients come here before they have one.
//
// Spec: client-server-api#get_matrixclientversions
func (a *API) versions(context.Context, *web.Request) (any, error) {
	return struct {
		Versions []string        `json:"versions"`
		Unstable map[string]bool `json:"unstable_features"`
	}{specVersions[:], map[string]bool{
		"org.matrix.msc2285.stable":     true, // private read receipts
		"org.matrix.msc3391":            true, // deletion of account data
		"org.matrix.msc3440.stable":     true, // threads
		"org.matrix.msc3771":            true, // read receipts in threads
		"org.matrix.msc3773":            true, // unread counts of threads
		"org.matrix.msc3814":            true, // dehydrated devices
		"org.matrix.msc3890":            true, // settings of notifications that go with their device
		"org.matrix.msc3916.stable":     true, // media only for those who are logged in
		"org.matrix.msc4306":            true, // subscriptions to threads
		"org.matrix.simplified_msc3575": true, // sliding sync
		"org.matrix.msc4140":            true, // events that are sent later
		"org.matrix.msc4143":            true, // what calls of several people go through
		"org.matrix.msc4155":            true, // lists of whose invites one wants
		"org.matrix.msc4380.stable":     true, // blocking all invites
		"uk.tcpip.msc4133.stable":       true, // custom profile fields
	}}, nil
}
