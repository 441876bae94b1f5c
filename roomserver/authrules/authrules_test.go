package authrules

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

const (
	alice = id.UserID("@alice:a") // made the room
	mod   = id.UserID("@mod:b")
)

// room makes events of one room of a version.
type room struct {
	testing.TB
	version gomatrixserverlib.IRoomVersion
	id      string
	create  Event
	usual   []Event // four members with their levels, and a join rule for the invited
}

type fields = map[string]any

func newRoom(t testing.TB, version int) *room {
	t.Helper()
	v, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(strconv.Itoa(version)))
	if err != nil {
		t.Fatal(err)
	}
	r := &room{TB: t, version: v, id: "!r:a"}
	if v.DomainlessRoomIDs() {
		r.id = "!create"
	}
	r.create = r.event("$create", fields{
		"type": spec.MRoomCreate, "state_key": "", "sender": alice, "content": fields{"creator": alice}, "prev_events": []string{},
	})
	r.usual = append(r.usual, r.create)
	for _, u := range []id.UserID{alice, "@admin:a", mod, "@user:b"} {
		r.usual = append(r.usual, r.state(spec.MRoomMember, string(u), u, fields{"membership": "join"}))
	}
	users := map[id.UserID]int{alice: 100, "@admin:a": 100, mod: 50}
	if r.version.PrivilegedCreators() {
		delete(users, alice)
	}
	r.usual = append(r.usual, r.state(spec.MRoomPowerLevels, "", alice, fields{"users": users}))
	r.usual = append(r.usual, r.state(spec.MRoomJoinRules, "", alice, fields{"join_rule": "invite"}))
	return r
}

// rooms makes a room of every version.
func rooms(t testing.TB) []*room {
	t.Helper()
	var out []*room
	for version := 1; version <= 12; version++ {
		out = append(out, newRoom(t, version))
	}
	return out
}

// event makes an event of fields; ids in prev_events and auth_events get the form of the version.
func (r *room) event(eventID string, f fields) Event {
	r.Helper()
	e := fields{"room_id": r.id, "prev_events": []string{"$before"}, "auth_events": []string{}, "depth": 7, "origin_server_ts": 1}
	for k, v := range f {
		e[k] = v
	}
	if e["type"] == spec.MRoomCreate && r.version.DomainlessRoomIDs() && e["state_key"] == "" {
		delete(e, "room_id")
	}
	if r.version.EventFormat() == gomatrixserverlib.EventFormatV1 {
		for _, k := range []string{"prev_events", "auth_events"} {
			refs := []any{}
			for _, ref := range e[k].([]string) {
				refs = append(refs, []any{ref, fields{}})
			}
			e[k] = refs
		}
	}
	raw, err := json.Marshal(e)
	if err != nil {
		r.Fatal(err)
	}
	pdu, err := r.version.NewEventFromTrustedJSONWithEventID(eventID, raw, false)
	if err != nil {
		r.Fatal(err)
	}
	return pdu
}

func (r *room) state(typ, key string, sender id.UserID, content any) Event {
	r.Helper()
	return r.event("$"+typ+"|"+key, fields{"type": typ, "state_key": key, "sender": sender, "content": content})
}

// golden is a line of testdata/rules.jsonl: an event, what differs from the usual state, and the versions that allow it, as in "1-6".
type golden struct {
	Name    string              `json:"name"`
	Allowed string              `json:"allowed"`
	State   [][]json.RawMessage `json:"state"` // type, key, content, and the sender unless it is alice
	Event   struct {
		ID       string          `json:"id"`
		Type     string          `json:"type"`
		StateKey *string         `json:"state_key"`
		Sender   id.UserID       `json:"sender"`
		Content  json.RawMessage `json:"content"`
		Room     string          `json:"room"`
		Prev     []string        `json:"prev"`
		Redacts  string          `json:"redacts"`
	} `json:"event"`
}

func readGolden(t testing.TB) []golden {
	t.Helper()
	file, err := os.ReadFile("testdata/rules.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var out []golden
	for lines := bufio.NewScanner(bytes.NewReader(file)); lines.Scan(); {
		var g golden
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
			t.Fatalf("%s: %s", err, lines.Bytes())
		}
		out = append(out, g)
	}
	return out
}

func (g *golden) allowedIn(t testing.TB, version int) bool {
	t.Helper()
	if g.Allowed == "" {
		return false
	}
	from, to, isRange := strings.Cut(g.Allowed, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return first <= version && version <= last
}

// build makes the event and the state of a line.
func (g *golden) build(r *room) (event Event, state []Event) {
	r.Helper()
	state = slices.Clone(r.usual)
	for _, s := range g.State {
		var typ, key string
		by := alice
		err := errors.Join(json.Unmarshal(s[0], &typ), json.Unmarshal(s[1], &key))
		if len(s) > 3 {
			err = errors.Join(err, json.Unmarshal(s[3], &by))
		}
		if err != nil {
			r.Fatal(err)
		}
		rest := state[:0]
		for _, e := range state {
			if e.Type() != typ || !e.StateKeyEquals(key) {
				rest = append(rest, e)
			}
		}
		state = rest
		switch {
		case typ == spec.MRoomCreate:
			state = append(state, r.event("$create", fields{
				"type": typ, "state_key": key, "sender": by, "content": s[2], "prev_events": []string{},
			}))
		case string(s[2]) != "null":
			state = append(state, r.state(typ, key, by, s[2]))
		}
	}
	f := fields{"type": g.Event.Type, "sender": g.Event.Sender, "content": g.Event.Content}
	if g.Event.StateKey != nil {
		f["state_key"] = *g.Event.StateKey
	}
	if g.Event.Room != "" && (g.Event.Type != spec.MRoomCreate || !r.version.DomainlessRoomIDs()) {
		f["room_id"] = g.Event.Room
	}
	if g.Event.Prev != nil {
		prev := []string{}
		for _, p := range g.Event.Prev {
			prev = append(prev, "$"+strings.TrimPrefix(p, "$"))
		}
		f["prev_events"] = prev
	}
	if g.Event.Redacts != "" {
		f["redacts"] = g.Event.Redacts
	}
	if g.Event.ID == "" {
		g.Event.ID = "$event"
	}
	return r.event(g.Event.ID, f), state
}

func TestEveryVersionAllowsWhatItsRulesAllow(t *testing.T) {
	all := rooms(t)
	for _, g := range readGolden(t) {
		t.Run(g.Name, func(t *testing.T) {
			for i, r := range all {
				version := i + 1
				event, state := g.build(r)
				err := Allowed(r.version, event, NewEvents(state))
				var refused *merr.Error
				switch want := g.allowedIn(t, version); {
				case err != nil && !errors.As(err, &refused):
					t.Errorf("version %d: %v is no refusal", version, err)
				case want != (err == nil):
					t.Errorf("version %d: allowed is %t, want %t: %v", version, err == nil, want, err)
				}
			}
		})
	}
}

// partly is a state that fails where it is asked for what the selection does not name.
type partly struct {
	*Events
	wanted map[storage.StateKey]bool
	asked  []storage.StateKey
}

func (p *partly) ask(typ, key string) {
	if k := (storage.StateKey{Type: typ, Key: key}); !p.wanted[k] {
		p.asked = append(p.asked, k)
	}
}

func (p *partly) JoinRules() (Event, error) {
	p.ask(spec.MRoomJoinRules, "")
	return p.Events.JoinRules()
}

func (p *partly) PowerLevels() (Event, error) {
	p.ask(spec.MRoomPowerLevels, "")
	return p.Events.PowerLevels()
}

func (p *partly) Member(user spec.SenderID) (Event, error) {
	p.ask(spec.MRoomMember, string(user))
	return p.Events.Member(user)
}

func (p *partly) ThirdPartyInvite(token string) (Event, error) {
	p.ask(spec.MRoomThirdPartyInvite, token)
	return p.Events.ThirdPartyInvite(token)
}

// What an event needs is what its auth events are: else the same event would be judged differently by them and by the state.
func TestTheRulesAskForNothingButWhatIsSelected(t *testing.T) {
	all := rooms(t)
	for _, g := range readGolden(t) {
		for i, r := range all {
			event, state := g.build(r)
			p := &partly{Events: NewEvents(state), wanted: map[storage.StateKey]bool{}}
			for _, k := range AuthTypes(r.version, event) {
				p.wanted[k] = true
			}
			_ = Allowed(r.version, event, p)
			if len(p.asked) > 0 {
				t.Errorf("%s: version %d asks for %v", g.Name, i+1, p.asked)
			}
		}
	}
}

// failing is a state that cannot be read.
type failing struct {
	*Events
	err error
}

func (f failing) PowerLevels() (Event, error) { return nil, f.err }

func TestAnErrorOfTheStateIsNoRefusal(t *testing.T) {
	r := newRoom(t, 11)
	g := golden{}
	_, state := g.build(r)
	broken := errors.New("disk on fire")
	err := Allowed(r.version, r.state("m.x", "", mod, fields{}), failing{NewEvents(state), broken})
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	var refused *merr.Error
	if errors.As(err, &refused) {
		t.Errorf("%v looks like a refusal", err)
	}
}

func TestARoomIDInItsCreateEventIsRefusedSinceVersionTwelve(t *testing.T) {
	r := newRoom(t, 12)
	e, err := r.version.NewEventFromTrustedJSONWithEventID("$create", []byte(
		`{"room_id":"!create","type":"m.room.create","state_key":"","sender":"@alice:a","content":{},"prev_events":[],"auth_events":[]}`,
	), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := Allowed(r.version, e, NewEvents(nil)); err == nil {
		t.Error("it is allowed")
	}
}

func TestThirdPartyInvitesWithVeryManyKeysAreRefusedInTime(t *testing.T) {
	r := newRoom(t, 11)
	key, signature := strings.Repeat("tea", 14)+"A", strings.Repeat("tea/", 21)+"AA"
	keys, signatures := []fields{}, fields{}
	for i := range 600 {
		keys = append(keys, fields{"public_key": key})
		signatures[fmt.Sprint("ed25519:", i)] = signature
	}
	g := golden{}
	_, state := g.build(r)
	state = append(state, r.state(spec.MRoomThirdPartyInvite, "tok", mod, fields{"public_keys": keys}))
	invite := r.state(spec.MRoomMember, "@other:c", mod, fields{"membership": "invite", "third_party_invite": fields{
		"signed": fields{"mxid": "@other:c", "token": "tok", "signatures": fields{"id.example": signatures}},
	}})
	if err := Allowed(r.version, invite, NewEvents(state)); err == nil {
		t.Error("it is allowed")
	}
}

func FuzzAllowed(f *testing.F) {
	all := rooms(f)
	for i, g := range readGolden(f) {
		version := 1 + i%12
		event, state := g.build(all[version-1])
		var about []byte
		for _, s := range state {
			if s.Type() == event.Type() || s.Type() == spec.MRoomPowerLevels {
				about = s.Content()
			}
		}
		f.Add(version, event.JSON(), about)
	}
	f.Fuzz(func(t *testing.T, version int, raw, about []byte) {
		if version < 1 || version > 12 || !json.Valid(about) {
			return
		}
		r := newRoom(t, version)
		event, err := r.version.NewEventFromTrustedJSONWithEventID("$event", raw, false)
		if err != nil || len(event.SenderID()) == 0 {
			return
		}
		g := golden{}
		_, state := g.build(r)
		if key := event.StateKey(); key != nil && event.Type() != spec.MRoomCreate {
			state = append(state, r.state(event.Type(), *key, alice, json.RawMessage(about)))
		}
		state = append(state, r.state(spec.MRoomPowerLevels, "", alice, json.RawMessage(about)))
		err = Allowed(r.version, event, NewEvents(state))
		var refused *merr.Error
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("%v is no refusal", err)
		}
		AuthTypes(r.version, event)
	})
}
