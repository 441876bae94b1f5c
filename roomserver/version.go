package roomserver

import "github.com/matrix-org/gomatrixserverlib"

// redactsInContent says where a redaction names its target: in the content since room version 11, which is also the version since which the
// creator is not in the content of the create event (MSC2174, MSC2175), and since which redactions keep what was signed in third-party invites
// (MSC3821) and remove the origin (MSC3989). A gomatrixserverlib.IRoomVersion does not say so itself.
func redactsInContent(version gomatrixserverlib.IRoomVersion) bool {
	return !version.CreatorInCreateEvent()
}
