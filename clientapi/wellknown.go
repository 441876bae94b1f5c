package clientapi

import (
	"context"
	"strings"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

// WellKnown serves discovery: who knows the server's name finds its addresses and the people who look after it.
func WellKnown(live *config.Live) []web.Route {
	w := wellKnown{live}
	return []web.Route{
		{Method: "GET", Path: "/.well-known/matrix/client", Auth: web.None, Rate: web.RateNone, Handler: w.client},
		{Method: "GET", Path: "/.well-known/matrix/server", Auth: web.None, Rate: web.RateNone, Handler: w.server},
		{Method: "GET", Path: "/.well-known/matrix/policy_server", Auth: web.None, Rate: web.RateNone, Handler: w.policyServer},
		{Method: "GET", Path: "/.well-known/matrix/support", Auth: web.None, Rate: web.RateNone, Handler: w.support},
	}
}

type wellKnown struct{ live *config.Live }

// Spec: client-server-api#getwell-knownmatrixclient
func (w wellKnown) client(context.Context, *web.Request) (any, error) {
	type homeserver struct {
		BaseURL string `json:"base_url"`
	}
	cfg := w.live.Get()
	return struct {
		Homeserver homeserver `json:"m.homeserver"`
		// Where clients look that do not know /rtc/transports.
		Foci []transport `json:"org.matrix.msc4143.rtc_foci,omitempty"`
		// Element makes dehydrated devices where this says that it may.
		Dehydration bool `json:"org.matrix.msc3814"`
	}{homeserver{cfg.BaseURL()}, transports(cfg), true}, nil
}

// Spec: server-server-api#getwell-knownmatrixserver
func (w wellKnown) server(context.Context, *web.Request) (any, error) {
	address := w.live.Get().WellKnown.Server
	if address == "" {
		return nil, merr.New(merr.NotFound, "Federation is not delegated: connect to the server's name")
	}
	return struct {
		Server string `json:"m.server"`
	}{address}, nil
}

// Spec: client-server-api#getwell-knownmatrixpolicy_server
func (w wellKnown) policyServer(context.Context, *web.Request) (any, error) {
	key := w.live.Get().WellKnown.PolicyServerKey
	if key == "" {
		return nil, merr.New(merr.NotFound, "There is no policy server under this name")
	}
	type keys struct {
		Ed25519 string `json:"ed25519"`
	}
	return struct {
		Keys keys `json:"public_keys"`
	}{keys{strings.TrimRight(key, "=")}}, nil
}

// Spec: client-server-api#getwell-knownmatrixsupport
func (w wellKnown) support(context.Context, *web.Request) (any, error) {
	known := w.live.Get().WellKnown
	if known.SupportPage == "" && len(known.Contacts) == 0 {
		return nil, merr.New(merr.NotFound, "The administrator has published no contacts")
	}
	return struct {
		Contacts    []config.Contact `json:"contacts,omitempty"`
		SupportPage string           `json:"support_page,omitempty"`
	}{known.Contacts, known.SupportPage}, nil
}
