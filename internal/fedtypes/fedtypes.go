// Package fedtypes holds the answers of other servers that both the federation client, which fetches them, and the room server, which judges
// them, have to name. They are what the other server said, bounded in size but otherwise unchecked: the package has no opinion on them.
package fedtypes

import (
	"encoding/json"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
)

// A Template is an unsigned event that a resident server proposes for us to complete: the answer to make_join, make_leave and make_knock.
// Version is empty when the server did not say, which for a leave means that it is room version 1 or 2.
type Template struct {
	Version gomatrixserverlib.RoomVersion
	Event   json.RawMessage
}

// A JoinAnswer is what a resident server knows of a room that it let us enter: the answer to send_join.
type JoinAnswer struct {
	Event            json.RawMessage // our join as the resident server accepted it: for a restricted room with its signature; nil when it left it out
	State, AuthChain []json.RawMessage
	MembersOmitted   bool // the state lacks members that its heroes do not need
	Servers          []id.ServerName
}

// A StateAnswer is the state of a room before an event, with its auth chain, as whole events.
type StateAnswer struct {
	State, AuthChain []json.RawMessage
}

// StateIDsAnswer is StateAnswer with ids in place of events.
type StateIDsAnswer struct {
	State, AuthChain []id.EventID
}

// A MissingRequest asks for the events between Latest, of which the parents are missing, and Earliest, which we have.
type MissingRequest struct {
	Earliest, Latest []id.EventID
	Limit            int
	MinDepth         int64
}

// An EventMoment is an event and when it was sent, in ms since the epoch by the clock of its server.
type EventMoment struct {
	ID id.EventID
	TS int64
}

// A DirectoryAnswer is the room that an alias leads to, and servers that are likely to be in it.
type DirectoryAnswer struct {
	Room    id.RoomID
	Servers []id.ServerName
}

// Signed is an object whose signatures are to be verified.
type Signed struct {
	Raw     json.RawMessage // the whole event, in canonical form
	Message []byte          // what the signatures are over, as internal/pdu has found it: the redacted event without them
	Servers []id.ServerName // all of them must have signed
	TS      int64           // when, in ms since the epoch: the moment for which the keys must have been valid
}
