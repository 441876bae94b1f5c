package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Handshakes with servers that are in a room: how users of ours get into, or out of, a room that this server is not in.

const (
	// maxServers bounds how many servers are asked for one thing.
	maxServers = 20
	// makeTime is how long a server may take to answer with a template, and handshakeTime how long all of a handshake may take: the state of a
	// large room is many megabytes, and whoever has been let in should hear of it even if the client does not wait that long.
	makeTime      = 20 * time.Second
	catchUpTime   = 2 * time.Second
	handshakeTime = 5 * time.Minute
)

// elsewhere says that this server cannot do something with a room on its own, and why: others may be able to.
type elsewhere struct{ why error }

func (e *elsewhere) Error() string { return e.why.Error() }

func (e *elsewhere) Unwrap() error { return e.why }

var (
	errUnknownRoom = merr.New(merr.NotFound, "This server does not know the room")
	errNobodyKnows = merr.New(merr.NotFound, "No server that was asked knows the room")
	errUnreachable = merr.New(merr.Unknown, "None of the servers that may be in the room can be reached").WithStatus(http.StatusBadGateway)
)

// resident reports whether this server knows what is going on in the room: it has users in it, or nobody has.
func (a *authState) resident() (bool, error) {
	if a.room.State == 0 {
		return false, nil
	}
	joined, err := a.joined()
	if err != nil || len(joined) > 0 {
		return err == nil, err
	}
	others, err := a.tx.ServersInRoom(a.room.NID)
	return len(others) == 0, err
}

// state is the room as the auth rules see it, for those who only read. Errors: 404 M_NOT_FOUND for a room that is not here.
func (s *Server) state(tx *storage.ReadTx, room id.RoomID) (*authState, error) {
	row, err := tx.Room(room)
	if isNotFound(err) || err == nil && row.State == 0 {
		return nil, errUnknownRoom
	}
	if err != nil {
		return nil, err
	}
	version, ok := s.versions[row.Version]
	if !ok {
		return nil, fmt.Errorf("room %s has the unknown version %q", room, row.Version)
	}
	return &authState{tx: tx, room: row, version: version, snap: newSnapshot()}, nil
}

// candidates lists the servers through which the sender may reach the room, the most promising first: those that the client names and that of
// who has invited, and apart from them, for when those do not even know the room, the ones that are or were in the room, that of the room id, and
// those of the creators and of others who are named in its stripped state.
func (s *Server) candidates(tx *storage.ReadTx, r MemberRequest) (named, others []id.ServerName, err error) {
	first, then := serverList{own: s.cfg.Name}, serverList{own: s.cfg.Name}
	first.add(r.Via...)
	row, err := tx.Room(r.Room)
	if err != nil && !isNotFound(err) {
		return nil, nil, err
	}
	var seen []id.ServerName
	if err == nil {
		m, err := tx.Membership(row.NID, r.Sender)
		if err != nil && !isNotFound(err) {
			return nil, nil, err
		}
		if err == nil && m.Membership == spec.Invite {
			first.add(m.Sender.Server())
		}
		seen = strippedServers(m.Stripped)
		if row.State != 0 {
			a, err := s.state(tx, r.Room)
			if err != nil {
				return nil, nil, err
			}
			inviters, err := a.inviters()
			if err != nil {
				return nil, nil, err
			}
			then.add(inviters...)
		}
		servers, err := tx.ServersInRoom(row.NID)
		if err != nil {
			return nil, nil, err
		}
		then.add(servers...)
	}
	then.add(r.Room.Server())
	then.add(seen...)
	then.list = slices.DeleteFunc(then.list, func(n id.ServerName) bool { return slices.Contains(first.list, n) })
	return first.list, then.list, nil
}

// serverList is a list of servers without ours, empty names and repetitions.
type serverList struct {
	own  id.ServerName
	list []id.ServerName
}

func (l *serverList) add(servers ...id.ServerName) {
	for _, n := range servers {
		if n != "" && n != l.own && len(l.list) < maxServers && !slices.Contains(l.list, n) {
			l.list = append(l.list, n)
		}
	}
}

// strippedServers finds servers that are likely to be in a room in its stripped state: those of its creators, then those of other senders.
func strippedServers(stripped string) []id.ServerName {
	var creators, others []id.ServerName
	gjson.Parse(stripped).ForEach(func(_, e gjson.Result) bool {
		users := []gjson.Result{e.Get("sender")}
		to := &others
		if text(e.Get("type")) == spec.MRoomCreate {
			users, to = append(users, e.Get("content.additional_creators").Array()...), &creators
		}
		for _, user := range users {
			if u, err := id.ParseUserID(text(user)); err == nil && len(*to) < maxServers {
				*to = append(*to, u.Server())
			}
		}
		return true
	})
	return append(creators, others...)
}

// offered is the room versions that we can join, in order.
func (s *Server) offered() []gomatrixserverlib.RoomVersion {
	out := make([]gomatrixserverlib.RoomVersion, 0, len(s.versions))
	for v := range s.versions {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b gomatrixserverlib.RoomVersion) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(string(a), string(b))
	})
	return out
}

// plan is what a handshake begins with.
type plan struct {
	named, others []id.ServerName // whom to ask
	content       json.RawMessage // of the event
}

// plan finds out whom to ask for a membership of the sender, and what its event is to say.
func (s *Server) plan(ctx context.Context, r MemberRequest, membership string) (p plan, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		if p.named, p.others, err = s.candidates(tx, r); err == nil {
			p.content, err = s.memberContent(tx, r, membership)
		}
		return err
	})
	return p, err
}

// knowsRoom is the least weight of what servers say who know the room.
const knowsRoom = 2

// tryEach asks one server after the other until one does what is wanted. If none does, the error is the most telling of what they said, in our
// own words, and fallback if there is none to ask.
func (s *Server) tryEach(ctx context.Context, what string, p plan, fallback error, do func(ctx context.Context, to id.ServerName) error) error {
	worst, telling := fallback, -1
	for i, to := range slices.Concat(p.named, p.others) {
		if i == len(p.named) && telling >= knowsRoom {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		s.catchUp(ctx, to)
		err := do(ctx, to)
		if err == nil {
			return nil
		}
		s.log.Info("another server did not help", slog.String("to", what), slog.String("server", string(to)), slog.Any("error", err))
		weight, said := refusal(err)
		if weight > telling {
			worst, telling = said, weight
		}
		if merr.HasCode(said, merr.IncompatibleRoomVersion) {
			break // the room has one version
		}
	}
	return worst
}

// catchUp lets a server hear what it has yet to be told before it is asked for something: else who leaves and comes back at once would still be
// there for it, and an invite would overtake the end of a ban. A server that does not take it soon is asked all the same.
func (s *Server) catchUp(ctx context.Context, to id.ServerName) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	s.peers.Outbound.Flush(ctx, to)
}

// refusal is what a client is told of another server's error, and how much that says: what servers say who do not know the room, or cannot be
// reached, says less than what those say who do.
func refusal(err error) (weight int, said error) {
	var local *merr.Error
	var remote RemoteError
	switch {
	case errors.As(err, &local):
		return 6, local
	case !errors.As(err, &remote):
		return 0, errUnreachable
	}
	status, code := remote.MatrixError()
	switch c := merr.Code(code); {
	case c == merr.IncompatibleRoomVersion || c == merr.UnsupportedRoomVersion:
		return 5, merr.New(merr.IncompatibleRoomVersion, "This server does not support the version of the room")
	case c == merr.InviteBlocked:
		return 4, merr.New(c, "The user does not want to be invited")
	case c == merr.Forbidden || status == http.StatusForbidden:
		return 4, merr.New(merr.Forbidden, "The servers in the room do not allow this")
	case c == merr.UnableToGrantJoin:
		return 3, merr.New(c, "None of the servers that were asked has a user in the room who may let you in")
	case c == merr.UnableToAuthoriseJoin:
		return 2, merr.New(c, "None of the servers that were asked can tell whether you may join the room")
	case c == merr.NotFound || status == http.StatusNotFound:
		return 1, errNobodyKnows
	}
	return 1, merr.New(merr.Unknown, "The servers in the room do not accept this").WithStatus(http.StatusBadGateway)
}
