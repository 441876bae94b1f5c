package authrules

import "github.com/matrix-org/gomatrixserverlib/spec"

// Event is what is asked of an event to judge it, or others by it. A gomatrixserverlib.PDU is one.
type Event interface {
	EventID() string
	Type() string
	StateKey() *string
	StateKeyEquals(key string) bool
	SenderID() spec.SenderID
	Content() []byte
	JSON() []byte
	OriginServerTS() spec.Timestamp
	Redacts() string // the member beside the content
	PrevEventIDs() []string
	AuthEventIDs() []string
	Depth() int64
}

// State is the state that an event is judged by. Where there is no such event it is nil, without an error.
type State interface {
	Create() (Event, error)
	JoinRules() (Event, error)
	PowerLevels() (Event, error)
	Member(user spec.SenderID) (Event, error)
	ThirdPartyInvite(token string) (Event, error)
}
