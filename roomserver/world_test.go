package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// world is servers that reach one another by calling methods.
type world struct {
	t       testing.TB
	mu      sync.Mutex
	servers map[id.ServerName]*fixture
	down    map[id.ServerName]bool
	calls   map[string]int // by method
	most    int            // events that get_missing_events gives; 0: as many as are wanted
	// lie, if set, is the ids that a server answers with to some request for an event; nil for the truth.
	lie func(method string, event id.EventID) []id.EventID
	// history, if set, is what servers answer to requests for history.
	history []json.RawMessage
	// judgement is what policy servers say.
	judgement func(raw json.RawMessage) (string, error)
	// meddle, if set, may change what a server answers with a template.
	meddle func(to id.ServerName, t fedtypes.Template) fedtypes.Template
	// between, if set, is called after a template was made and before its event is sent.
	between func()
}

func newWorld(t testing.TB, names ...id.ServerName) *world {
	t.Helper()
	w := &world{t: t, servers: map[id.ServerName]*fixture{}, down: map[id.ServerName]bool{}, calls: map[string]int{}}
	// State resolution goes by time where nothing else tells events apart.
	now := ticking{clock.NewFake(time.UnixMilli(1_700_000_000_000))}
	for i, name := range names {
		seed := []byte("01234567890123456789012345678901")
		seed[0] = byte('a' + i)
		store, accounts := storagetest.OpenAny(t), &everyone{}
		p := &peer{world: w, name: name}
		s := New(Config{Name: name, DefaultVersion: "11", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)},
			Peers{Remote: p, Verifier: p, Outbound: p}, store, hub.New(0), accounts, now, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("on", name))
		w.servers[name] = &fixture{Server: s, t: t, store: store, accounts: accounts}
		t.Cleanup(func() { storagetest.Consistent(t, store, name) })
	}
	return w
}

// ticking is a clock that goes on whenever somebody looks at it.
type ticking struct{ *clock.Fake }

func (c ticking) Now() time.Time {
	c.Advance(time.Millisecond)
	return c.Fake.Now()
}

// user makes an account.
func (f *fixture) user(localpart string) id.UserID {
	f.t.Helper()
	user := id.UserID("@" + localpart + ":" + string(f.cfg.Name))
	err := f.store.Update(context.Background(), func(tx *storage.Tx) error {
		_, err := tx.InsertUser(storage.User{ID: user})
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return user
}

// deliver empties all outboxes, as often as that fills others.
func (w *world) deliver() {
	w.t.Helper()
	ctx := context.Background()
	for again := true; again; {
		again = false
		for name, from := range w.servers {
			var to []id.ServerName
			from.view(func(tx *storage.ReadTx) (err error) {
				to, err = tx.Outboxes()
				return err
			})
			for _, dest := range to {
				if w.down[dest] || w.servers[dest] == nil {
					continue
				}
				again = true
				w.deliverTo(ctx, name, dest)
			}
		}
	}
}

func (w *world) deliverTo(ctx context.Context, name, dest id.ServerName) {
	w.t.Helper()
	from := w.servers[name]
	var events []*storage.Event
	var last int64
	from.view(func(tx *storage.ReadTx) error {
		rows, err := tx.Outbox(dest, 0, 1<<62, 50)
		if err != nil {
			return err
		}
		for _, row := range rows {
			last = row.Pos
			e, err := tx.EventAt(row.Event)
			if err != nil {
				return err
			}
			events = append(events, e)
		}
		return nil
	})
	for _, e := range events {
		for event, err := range w.servers[dest].Receive(ctx, name, e.RoomID, []json.RawMessage{e.JSON}) {
			if err != nil && !errors.Is(err, errNotInvited) {
				w.t.Errorf("%s does not take %s from %s: %v\n%s", dest, event, name, err, e.JSON)
			}
		}
	}
	if err := from.store.Update(ctx, func(tx *storage.Tx) error { return tx.Delivered(dest, last) }); err != nil {
		w.t.Fatal(err)
	}
}

// said is a Matrix error as another server answers it.
type said struct{ err *merr.Error }

func (e said) MatrixMessage() string { return e.err.Msg }

func (e said) Error() string { return e.err.Error() }

func (e said) MatrixError() (status int, code string) { return e.err.Status, string(e.err.Code) }

var errDown = errors.New("no route to host")

// peer is the way from one server to the others.
type peer struct {
	*world
	name id.ServerName
}

func (p *peer) reach(method string, to id.ServerName) (*fixture, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[method]++
	if p.servers[to] == nil || p.down[to] || p.down[p.name] || to == p.name {
		return nil, errDown
	}
	return p.servers[to], nil
}

func answered(err error) error {
	if err == nil {
		return nil
	}
	return said{merr.From(err)}
}

func (p *peer) Wake([]id.ServerName) {}

func (p *peer) Flush(context.Context, id.ServerName) {}

func (p *peer) template(to id.ServerName, t fedtypes.Template, err error) (fedtypes.Template, error) {
	if err == nil && p.meddle != nil {
		t = p.meddle(to, t)
	}
	if p.between != nil {
		p.between()
	}
	return t, answered(err)
}

func (p *peer) MakeJoin(
	ctx context.Context, to id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion,
) (fedtypes.Template, error) {
	f, err := p.reach("make_join", to)
	if err != nil {
		return fedtypes.Template{}, err
	}
	t, err := f.MakeJoin(ctx, p.name, room, user, versions)
	return p.template(to, t, err)
}

func (p *peer) MakeLeave(ctx context.Context, to id.ServerName, room id.RoomID, user id.UserID) (fedtypes.Template, error) {
	f, err := p.reach("make_leave", to)
	if err != nil {
		return fedtypes.Template{}, err
	}
	t, err := f.MakeLeave(ctx, p.name, room, user)
	return p.template(to, t, err)
}

func (p *peer) MakeKnock(
	ctx context.Context, to id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion,
) (fedtypes.Template, error) {
	f, err := p.reach("make_knock", to)
	if err != nil {
		return fedtypes.Template{}, err
	}
	t, err := f.MakeKnock(ctx, p.name, room, user, versions)
	return p.template(to, t, err)
}

func (p *peer) SendJoin(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, raw json.RawMessage) (fedtypes.JoinAnswer, error) {
	f, err := p.reach("send_join", to)
	if err != nil {
		return fedtypes.JoinAnswer{}, err
	}
	j, err := f.SendJoin(ctx, p.name, room, event, raw, false)
	return fedtypes.JoinAnswer{Event: j.Event, State: j.State, AuthChain: j.AuthChain, MembersOmitted: j.MembersOmitted, Servers: j.Servers}, answered(err)
}

func (p *peer) SendLeave(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, raw json.RawMessage) error {
	f, err := p.reach("send_leave", to)
	if err != nil {
		return err
	}
	return answered(f.SendLeave(ctx, p.name, room, event, raw))
}

func (p *peer) SendKnock(ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, raw json.RawMessage) ([]json.RawMessage, error) {
	f, err := p.reach("send_knock", to)
	if err != nil {
		return nil, err
	}
	state, err := f.SendKnock(ctx, p.name, room, event, raw)
	return state, answered(err)
}

func (p *peer) Invite(
	ctx context.Context, to id.ServerName, room id.RoomID, event id.EventID, version gomatrixserverlib.RoomVersion, raw json.RawMessage,
	state []json.RawMessage,
) (json.RawMessage, error) {
	f, err := p.reach("invite", to)
	if err != nil {
		return nil, err
	}
	signed, err := f.AcceptInvite(ctx, p.name, room, event, version, raw, state)
	if p.between != nil {
		p.between()
	}
	return signed, answered(err)
}

func (p *peer) ExchangeThirdPartyInvite(ctx context.Context, to id.ServerName, room id.RoomID, event json.RawMessage) error {
	f, err := p.reach("exchange", to)
	if err != nil {
		return err
	}
	return answered(f.ExchangeThirdPartyInvite(ctx, p.name, room, event))
}

// at finds an event on another server, and the events that read gives for it.
func (p *peer) at(method string, to id.ServerName, event id.EventID, read func(tx *storage.ReadTx, e *storage.Event) ([]*storage.Event, error)) ([]*storage.Event, error) {
	f, err := p.reach(method, to)
	if err != nil {
		return nil, err
	}
	var out []*storage.Event
	err = f.store.View(context.Background(), func(tx *storage.ReadTx) error {
		e, err := tx.Event(event)
		if err != nil {
			return merr.New(merr.NotFound, "no such event")
		}
		out, err = read(tx, e)
		return err
	})
	return out, answered(err)
}

func (p *peer) Event(_ context.Context, to id.ServerName, event id.EventID) (json.RawMessage, error) {
	list, err := p.at("event", to, event, func(_ *storage.ReadTx, e *storage.Event) ([]*storage.Event, error) { return []*storage.Event{e}, nil })
	if err != nil {
		return nil, err
	}
	return list[0].JSON, nil
}

func raws(events []*storage.Event) (out []json.RawMessage) {
	for _, e := range events {
		out = append(out, e.JSON)
	}
	return out
}

func (p *peer) State(_ context.Context, to id.ServerName, _ id.RoomID, event id.EventID) (fedtypes.StateAnswer, error) {
	state, err := p.at("state", to, event, func(tx *storage.ReadTx, e *storage.Event) ([]*storage.Event, error) {
		return tx.WholeStateAt(e.StateBefore)
	})
	if err != nil {
		return fedtypes.StateAnswer{}, err
	}
	auth, err := p.at("state", to, event, func(tx *storage.ReadTx, _ *storage.Event) ([]*storage.Event, error) {
		chain, _, err := tx.AuthChain(state, 1000)
		return chain, err
	})
	return fedtypes.StateAnswer{State: raws(state), AuthChain: raws(auth)}, err
}

func (p *peer) StateIDs(_ context.Context, to id.ServerName, _ id.RoomID, event id.EventID) (fedtypes.StateIDsAnswer, error) {
	state, err := p.at("state_ids", to, event, func(tx *storage.ReadTx, e *storage.Event) ([]*storage.Event, error) {
		return tx.WholeStateAt(e.StateBefore)
	})
	out := fedtypes.StateIDsAnswer{}
	if p.lie != nil {
		out.State = p.lie("state_ids", event)
	}
	if out.State != nil {
		return out, err
	}
	for _, e := range state {
		out.State = append(out.State, e.ID)
	}
	return out, err
}

func (p *peer) EventAuth(_ context.Context, to id.ServerName, _ id.RoomID, event id.EventID) ([]json.RawMessage, error) {
	auth, err := p.at("event_auth", to, event, func(tx *storage.ReadTx, e *storage.Event) ([]*storage.Event, error) {
		chain, _, err := tx.AuthChain([]*storage.Event{e}, 1000)
		return chain, err
	})
	return raws(auth), err
}

// before is up to limit events from which some others come, these included where with is true, nearest first and none of those in stop.
func (p *peer) before(method string, to id.ServerName, from, stop []id.EventID, limit int, with bool) (out []json.RawMessage, err error) {
	f, err := p.reach(method, to)
	if err != nil {
		return nil, err
	}
	err = f.store.View(context.Background(), func(tx *storage.ReadTx) error {
		seen := map[id.EventID]bool{}
		for _, s := range stop {
			seen[s] = true
		}
		for level := 0; len(from) > 0; level++ {
			events, err := tx.EventsByID(from)
			if err != nil {
				return err
			}
			from = nil
			for _, e := range events {
				if e == nil || seen[e.ID] {
					continue
				}
				seen[e.ID] = true
				if with || level > 0 {
					if len(out) == limit {
						return nil
					}
					out = append(out, e.JSON)
				}
				from = append(from, e.PrevEventIDs()...)
			}
		}
		return nil
	})
	return out, answered(err)
}

func (p *peer) Backfill(_ context.Context, to id.ServerName, _ id.RoomID, from []id.EventID, limit int) ([]json.RawMessage, error) {
	if p.history != nil {
		return p.history, nil
	}
	return p.before("backfill", to, from, nil, limit, true)
}

func (p *peer) MissingEvents(_ context.Context, to id.ServerName, _ id.RoomID, want fedtypes.MissingRequest) ([]json.RawMessage, error) {
	if p.most > 0 {
		want.Limit = p.most
	}
	return p.before("get_missing_events", to, want.Latest, want.Earliest, want.Limit, false)
}

func (p *peer) PolicySign(ctx context.Context, to id.ServerName, raw json.RawMessage) (string, error) {
	if _, err := p.reach("policy_sign", to); err != nil {
		return "", err
	}
	signature, err := p.judgement(raw)
	return signature, answered(err)
}

func (p *peer) TimestampToEvent(context.Context, id.ServerName, id.RoomID, int64, bool) (fedtypes.EventMoment, error) {
	return fedtypes.EventMoment{}, errDown
}

func (p *peer) VerifyEvents(_ context.Context, _ gomatrixserverlib.IRoomVersion, events []fedtypes.Signed) []error {
	out := make([]error, len(events))
	for i, e := range events {
		for _, name := range e.Servers {
			f := p.servers[name]
			if f == nil {
				out[i] = fmt.Errorf("the keys of %s are not known", name)
				continue
			}
			sig := gjson.GetBytes(e.Raw, "signatures."+escapePath(string(name))+"."+escapePath("ed25519:1")).Str
			b, err := base64.RawStdEncoding.DecodeString(sig)
			if err != nil || !ed25519.Verify(f.cfg.Key.Public().(ed25519.PublicKey), e.Message, b) {
				out[i] = fmt.Errorf("no valid signature of %s", name)
			}
		}
	}
	return out
}

// member is a user's membership as a server has it; empty, if it knows nothing of it.
func (f *fixture) member(room id.RoomID, user id.UserID) (m storage.Membership) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err == nil {
			m, err = tx.Membership(nid, user)
		}
		if isNotFound(err) {
			return nil
		}
		return err
	})
	return m
}

// wantMember compares a membership on some servers.
func (w *world) wantMember(room id.RoomID, user id.UserID, want string, on ...*fixture) {
	w.t.Helper()
	for _, f := range on {
		if got := f.member(room, user).Membership; got != want {
			w.t.Errorf("on %s, %s has the membership %q, want %q", f.cfg.Name, user, got, want)
		}
	}
}

// bodies is the messages in the timeline of a room.
func (f *fixture) bodies(room id.RoomID) (out []string) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err != nil {
			return err
		}
		events, err := tx.Timeline(row.NID, storage.Span{After: -1 << 62, UpTo: 1 << 62}, 100, false)
		for _, e := range events {
			if e.Type == "m.room.message" {
				out = append(out, e.Get("content.body").Str)
			}
		}
		return err
	})
	return out
}

// sameState fails the test unless two servers have the same current state of a room.
func (w *world) sameState(room id.RoomID, a, b *fixture) {
	w.t.Helper()
	state := func(f *fixture) (out []string) {
		f.view(func(tx *storage.ReadTx) error {
			nid, err := tx.RoomNID(room)
			if err != nil {
				return err
			}
			events, err := tx.CurrentState(nid, true)
			for _, e := range events {
				out = append(out, e.Type+"|"+*e.StateKey+"|"+string(e.ID))
			}
			return err
		})
		slices.Sort(out)
		return out
	}
	if diff := cmp.Diff(state(a), state(b)); diff != "" {
		w.t.Errorf("the state of %s on %s and %s:\n%s", room, a.cfg.Name, b.cfg.Name, diff)
	}
}
