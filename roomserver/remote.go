package roomserver

import (
	"context"
	"encoding/json"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
)

// Remote is what rooms ask of other servers. An error that carries a Matrix error code is that server's answer (see RemoteError); every other
// error means that the server could not be reached. Nothing is retried here, and all answers are bounded in size but otherwise unchecked.
type Remote interface {
	MakeJoin(ctx context.Context, to id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion) (fedtypes.Template, error)
	MakeLeave(ctx context.Context, to id.ServerName, room id.RoomID, user id.UserID) (fedtypes.Template, error)
	MakeKnock(ctx context.Context, to id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion) (fedtypes.Template, error)
	SendJoin(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage) (fedtypes.JoinAnswer, error)
	SendLeave(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage) error
	SendKnock(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage) (stripped []json.RawMessage, err error)
	Invite(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, version gomatrixserverlib.RoomVersion, pdu json.RawMessage, stripped []json.RawMessage) (json.RawMessage, error)
	ExchangeThirdPartyInvite(ctx context.Context, to id.ServerName, room id.RoomID, pdu json.RawMessage) error

	Event(ctx context.Context, to id.ServerName, event id.EventID) (json.RawMessage, error)
	State(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID) (fedtypes.StateAnswer, error)
	StateIDs(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID) (fedtypes.StateIDsAnswer, error)
	EventAuth(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID) ([]json.RawMessage, error)
	Backfill(ctx context.Context, to id.ServerName, room id.RoomID, from []id.EventID, limit int) ([]json.RawMessage, error)
	MissingEvents(ctx context.Context, to id.ServerName, room id.RoomID, want fedtypes.MissingRequest) ([]json.RawMessage, error)
	TimestampToEvent(ctx context.Context, to id.ServerName, room id.RoomID, ts int64, backwards bool) (fedtypes.EventMoment, error)

	// PolicySign asks a policy server for its signature under an event, in unpadded base64.
	PolicySign(ctx context.Context, to id.ServerName, pdu json.RawMessage) (string, error)
}

// A Verifier checks the signatures of events. It returns one error for each of them, nil for those that hold.
type Verifier interface {
	VerifyEvents(ctx context.Context, version gomatrixserverlib.IRoomVersion, events []fedtypes.Signed) []error
}

// RemoteError is a Matrix error as another server answered it. A federation client wraps its own error type so that errors.As finds this one.
type RemoteError interface {
	error
	MatrixError() (status int, code string)
}
