package stateres

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

type (
	state  = map[storage.StateKey]id.EventID
	fields = map[string]any
)

const (
	alice = id.UserID("@alice:a")
	bob   = id.UserID("@bob:b")
	carol = id.UserID("@carol:c")
	zara  = id.UserID("@zara:a")
)

// world is all events of a room, and the states after them: a Source.
type world struct {
	testing.TB
	version  gomatrixserverlib.IRoomVersion
	room     string
	pdus     map[id.EventID]gomatrixserverlib.PDU
	rejected map[id.EventID]bool
	after    map[id.EventID]state
	order    []id.EventID
	asked    int // how many times an event was asked for
}

func newWorld(t testing.TB, version gomatrixserverlib.RoomVersion) *world {
	t.Helper()
	v, err := gomatrixserverlib.GetRoomVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		TB: t, version: v, room: "!room:a", pdus: map[id.EventID]gomatrixserverlib.PDU{}, rejected: map[id.EventID]bool{},
		after: map[id.EventID]state{},
	}
	if v.DomainlessRoomIDs() {
		w.room = "!" + strings.Repeat("c", 43)
	}
	return w
}

// createID is the id of the create event.
func (w *world) createID() id.EventID {
	if w.version.DomainlessRoomIDs() {
		return id.EventID("$" + w.room[1:])
	}
	return "$create:a"
}

// Event implements Source.
func (w *world) Event(event id.EventID) (authrules.Event, bool, error) {
	w.asked++
	pdu := w.pdus[event]
	if pdu == nil {
		return nil, false, storage.ErrNotFound
	}
	return pdu, w.rejected[event], nil
}

// draft is an event to be made. What is left out is what an honest server would put there.
type draft struct {
	id      id.EventID
	typ     string
	key     *string
	sender  id.UserID
	content any
	prev    []id.EventID
	auth    []id.EventID
	ts      int64
	depth   int64
	before  state // the state to take auth events from, instead of that before the event
}

func text(s string) *string { return &s }

// put stores an event without looking at it.
func (w *world) put(d draft) gomatrixserverlib.PDU {
	w.Helper()
	f := fields{
		"room_id": w.room, "type": d.typ, "sender": d.sender, "content": d.content, "depth": d.depth, "origin_server_ts": d.ts,
		"prev_events": w.references(d.prev), "auth_events": w.references(d.auth),
	}
	if d.key != nil {
		f["state_key"] = *d.key
	}
	if d.typ == spec.MRoomCreate && w.version.DomainlessRoomIDs() {
		delete(f, "room_id")
	}
	raw, err := json.Marshal(f)
	if err != nil {
		w.Fatal(err)
	}
	pdu, err := w.version.NewEventFromTrustedJSONWithEventID(string(d.id), raw, false)
	if err != nil {
		w.Fatal(err)
	}
	w.pdus[d.id] = pdu
	w.order = append(w.order, d.id)
	return pdu
}

func (w *world) references(events []id.EventID) []any {
	out := []any{}
	for _, e := range events {
		if w.version.EventFormat() == gomatrixserverlib.EventFormatV1 {
			out = append(out, []any{e, fields{}})
		} else {
			out = append(out, e)
		}
	}
	return out
}

// before is the state before an event with some parents.
func (w *world) before(prev ...id.EventID) state {
	w.Helper()
	var states []state
	for _, p := range prev {
		states = append(states, w.after[p])
	}
	got, err := Resolve(w.version, states, w)
	if err != nil {
		w.Fatalf("resolve the state before %v: %s", prev, err)
	}
	return got
}

// provider is a state for the auth rules.
func (w *world) provider(s state) *authrules.Events {
	w.Helper()
	var pdus []authrules.Event
	for _, e := range s {
		pdus = append(pdus, w.pdus[e])
	}
	return authrules.NewEvents(pdus)
}

// send puts an event into the room as a server would that receives it, and says whether it was accepted.
func (w *world) send(d draft) (id.EventID, bool) {
	w.Helper()
	before := w.before(d.prev...)
	if d.id == "" {
		d.id = id.EventID(fmt.Sprintf("$%04d:%s", len(w.order), d.sender.Server()))
	}
	if d.depth == 0 {
		for _, p := range d.prev {
			d.depth = max(d.depth, w.pdus[p].Depth())
		}
		d.depth++
	}
	if d.ts == 0 {
		d.ts = int64(len(w.order) + 1)
	}
	content, err := json.Marshal(d.content)
	if err != nil {
		w.Fatal(err)
	}
	if d.auth == nil {
		from := before
		if d.before != nil {
			from = d.before
		}
		for _, k := range authrules.Select(w.version, d.typ, d.key, d.sender, content) {
			if e, ok := from[k]; ok {
				d.auth = append(d.auth, e)
			}
		}
	}
	pdu := w.put(d)
	var auth []authrules.Event
	var bad []id.EventID
	for _, a := range pdu.AuthEventIDs() {
		auth = append(auth, w.pdus[id.EventID(a)])
		if w.rejected[id.EventID(a)] {
			bad = append(bad, id.EventID(a))
		}
	}
	ok := authrules.CheckAuthEvents(w.version, pdu, auth, bad...) == nil &&
		authrules.Allowed(w.version, pdu, authrules.NewEvents(auth)) == nil &&
		authrules.Allowed(w.version, pdu, w.provider(before)) == nil
	after := state{}
	for k, e := range before {
		after[k] = e
	}
	if ok && d.key != nil {
		after[storage.StateKey{Type: d.typ, Key: *d.key}] = d.id
	}
	w.rejected[d.id], w.after[d.id] = !ok, after
	return d.id, ok
}

// must sends an event that has to be accepted.
func (w *world) must(d draft) id.EventID {
	w.Helper()
	e, ok := w.send(d)
	if !ok {
		w.Fatalf("%s of %s (%v) is not allowed", d.typ, d.sender, d.content)
	}
	return e
}

// begin makes a public room of alice's and returns its last event. levels is the users' levels, but for alice's.
func (w *world) begin(levels map[id.UserID]int) id.EventID {
	w.Helper()
	users := fields{}
	for u, l := range levels {
		users[string(u)] = l
	}
	if !w.version.PrivilegedCreators() {
		users[string(alice)] = 100
	}
	last := w.must(draft{id: w.createID(), typ: spec.MRoomCreate, key: text(""), sender: alice, content: fields{"creator": alice}})
	last = w.join(alice, last)
	last = w.must(draft{typ: spec.MRoomPowerLevels, key: text(""), sender: alice, content: fields{"users": users}, prev: []id.EventID{last}})
	rule := fields{"join_rule": "public"}
	return w.must(draft{typ: spec.MRoomJoinRules, key: text(""), sender: alice, content: rule, prev: []id.EventID{last}})
}

func (w *world) join(user id.UserID, prev ...id.EventID) id.EventID {
	w.Helper()
	return w.must(draft{typ: spec.MRoomMember, key: text(string(user)), sender: user, content: fields{"membership": "join"}, prev: prev})
}

// grow lets a room grow at random. All that happens follows from the seed. In a calm room everybody is honest and has a good clock, and
// nothing happens that the library judges otherwise than the specification.
func (w *world) grow(rnd *rand.Rand, events int, calm bool, check func(states []state)) {
	w.Helper()
	users := []id.UserID{alice, bob, carol, zara, "@dave:b", "@eve:e"}
	last := w.begin(map[id.UserID]int{bob: 50, carol: 50})
	last = w.join(bob, last)
	w.join(carol, last)
	for len(w.order) < events {
		// Parents are mostly recent events, and sometimes old ones.
		var prev []id.EventID
		for n := 1 + rnd.IntN(3); len(prev) < n; {
			back := 1 + rnd.IntN(min(8, len(w.order)-3))
			if rnd.IntN(10) == 0 {
				back = 1 + rnd.IntN(len(w.order)-3)
			}
			prev = append(prev, w.order[len(w.order)-back])
		}
		if check != nil && len(prev) > 1 {
			var states []state
			for _, p := range prev {
				states = append(states, w.after[p])
			}
			check(states)
		}
		user := users[rnd.IntN(len(users))]
		d := draft{
			id: id.EventID(fmt.Sprintf("$%08x:%s", rnd.Uint32(), user.Server())), sender: user, prev: prev, ts: int64(100 + rnd.IntN(20)),
		}
		if calm || rnd.IntN(2) == 0 {
			d.ts = int64(100 + len(w.order))
		}
		if !calm && rnd.IntN(8) == 0 { // what an event says of its depth need not be true
			d.depth = int64(1 + rnd.IntN(100))
		}
		if !calm && rnd.IntN(8) == 0 { // nor need its auth events be those of the state before it
			d.before = w.after[w.order[3+rnd.IntN(len(w.order)-3)]]
		}
		target := users[rnd.IntN(len(users))]
		member := func(u id.UserID, membership string) {
			d.typ, d.key, d.content = spec.MRoomMember, text(string(u)), fields{"membership": membership, "reason": rnd.IntN(9)}
		}
		what := rnd.IntN(12)
		if calm && what == 3 {
			what = 0
		}
		switch what {
		case 0, 1, 2:
			member(user, "join")
		case 3:
			member(user, "leave")
		case 4:
			member(target, "leave")
		case 5:
			member(target, "ban")
		case 6:
			member(target, "invite")
		case 7, 8:
			levels := fields{}
			for _, u := range users {
				if u != alice || !w.version.PrivilegedCreators() {
					if l := rnd.IntN(4) * 25; l > 0 && u != alice {
						levels[string(u)] = l
					} else if u == alice {
						levels[string(u)] = 100
					}
				}
			}
			needed := fields{"m.room.power_levels": 25 * rnd.IntN(3)}
			d.typ, d.key, d.content = spec.MRoomPowerLevels, text(""), fields{"users": levels, "events": needed}
		case 9:
			rules := []string{"public", "public", "invite", "knock"}
			if calm {
				rules = rules[:3]
			}
			d.typ, d.key, d.content = spec.MRoomJoinRules, text(""), fields{"join_rule": rules[rnd.IntN(len(rules))]}
		default:
			d.typ, d.key, d.content = "m.room.topic", text([]string{"", "x"}[rnd.IntN(2)]), fields{"topic": rnd.IntN(1000)}
		}
		w.send(d)
	}
}
