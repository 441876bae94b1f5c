package roomserver

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/identity"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
)

// errAlone is why a server that does not federate cannot reach others.
var errAlone = errors.New("this server does not federate")

// orNobody fills what is missing.
func (p Peers) orNobody() Peers {
	if p.Remote == nil {
		p.Remote = nobody{}
	}
	if p.Verifier == nil {
		p.Verifier = nobody{}
	}
	if p.Outbound == nil {
		p.Outbound = nobody{}
	}
	if p.Devices == nil {
		p.Devices = nobody{}
	}
	if p.Pushers == nil {
		p.Pushers = nobody{}
	}
	if p.Identity == nil {
		p.Identity = nobody{}
	}
	return p
}

// nobody is the peers of a server that does not federate.
type nobody struct{}

func (nobody) Wake([]id.ServerName) {}

func (nobody) Flush(context.Context, id.ServerName) {}

func (nobody) Joined(*storage.Tx, id.UserID, int64) error { return nil }

func (nobody) Notify(*storage.Tx, *storage.Event, push.Verdict, []storage.Member) error { return nil }

func (nobody) Recounted(*storage.Tx, id.UserID) error { return nil }

func (nobody) VerifyEvents(_ context.Context, _ gomatrixserverlib.IRoomVersion, events []fedtypes.Signed) []error {
	out := make([]error, len(events))
	for i := range out {
		out[i] = errAlone
	}
	return out
}

func (nobody) MakeJoin(context.Context, id.ServerName, id.RoomID, id.UserID, []gomatrixserverlib.RoomVersion) (fedtypes.Template, error) {
	return fedtypes.Template{}, errAlone
}

func (nobody) MakeLeave(context.Context, id.ServerName, id.RoomID, id.UserID) (fedtypes.Template, error) {
	return fedtypes.Template{}, errAlone
}

func (nobody) MakeKnock(context.Context, id.ServerName, id.RoomID, id.UserID, []gomatrixserverlib.RoomVersion) (fedtypes.Template, error) {
	return fedtypes.Template{}, errAlone
}

func (nobody) SendJoin(context.Context, id.ServerName, id.RoomID, id.EventID, json.RawMessage) (fedtypes.JoinAnswer, error) {
	return fedtypes.JoinAnswer{}, errAlone
}

func (nobody) SendLeave(context.Context, id.ServerName, id.RoomID, id.EventID, json.RawMessage) error {
	return errAlone
}

func (nobody) SendKnock(context.Context, id.ServerName, id.RoomID, id.EventID, json.RawMessage) ([]json.RawMessage, error) {
	return nil, errAlone
}

func (nobody) Invite(
	context.Context, id.ServerName, id.RoomID, id.EventID, gomatrixserverlib.RoomVersion, json.RawMessage, []json.RawMessage,
) (json.RawMessage, error) {
	return nil, errAlone
}

func (nobody) ExchangeThirdPartyInvite(context.Context, id.ServerName, id.RoomID, json.RawMessage) error {
	return errAlone
}

func (nobody) Event(context.Context, id.ServerName, id.EventID) (json.RawMessage, error) {
	return nil, errAlone
}

func (nobody) State(context.Context, id.ServerName, id.RoomID, id.EventID) (fedtypes.StateAnswer, error) {
	return fedtypes.StateAnswer{}, errAlone
}

func (nobody) StateIDs(context.Context, id.ServerName, id.RoomID, id.EventID) (fedtypes.StateIDsAnswer, error) {
	return fedtypes.StateIDsAnswer{}, errAlone
}

func (nobody) EventAuth(context.Context, id.ServerName, id.RoomID, id.EventID) ([]json.RawMessage, error) {
	return nil, errAlone
}

func (nobody) Backfill(context.Context, id.ServerName, id.RoomID, []id.EventID, int) ([]json.RawMessage, error) {
	return nil, errAlone
}

func (nobody) MissingEvents(context.Context, id.ServerName, id.RoomID, fedtypes.MissingRequest) ([]json.RawMessage, error) {
	return nil, errAlone
}

func (nobody) TimestampToEvent(context.Context, id.ServerName, id.RoomID, int64, bool) (fedtypes.EventMoment, error) {
	return fedtypes.EventMoment{}, errAlone
}

func (nobody) PolicySign(context.Context, id.ServerName, json.RawMessage) (string, error) {
	return "", errAlone
}

// errNoIdentity is what a server says that asks no identity servers.
var errNoIdentity = merr.New(merr.Unrecognized, "This server does not ask identity servers").WithStatus(400)

func (nobody) Lookup(context.Context, identity.Access, identity.Threepid) (id.UserID, error) {
	return "", errNoIdentity
}

func (nobody) StoreInvite(context.Context, identity.Access, identity.Invite) (identity.Stored, error) {
	return identity.Stored{}, errNoIdentity
}

func (nobody) KeyValid(context.Context, string, string) (bool, error) { return false, errNoIdentity }
