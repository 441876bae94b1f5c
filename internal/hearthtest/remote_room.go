package hearthtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
)

// Room is a room as a Remote knows it. It believes everything it is told and resolves nothing: where a room has forked, the later of two
// events counts.
type Room struct {
	ID      id.RoomID
	Version gomatrixserverlib.RoomVersion

	remote  *Remote
	version gomatrixserverlib.IRoomVersion
	// What follows is guarded by the lock of the Remote.
	events map[id.EventID]*PDU
	order  []*PDU // as they came
	after  map[id.EventID]state
	tips   []id.EventID
	made   int
}

// state is the state of a room.
type state map[slot]*PDU

// Draft is an event to be made. What is left out is as an honest server would have it.
type Draft struct {
	Type    string
	Key     *string // the state key
	Sender  id.UserID
	Content any
	Redacts id.EventID
	// Prev and Auth are the events to refer to; not nil, but empty, for none.
	Prev, Auth []id.EventID
	Time       time.Time
	// Edit changes the event before it is hashed and signed, Forge afterwards.
	Edit, Forge func(event map[string]any)
}

// Key is the state key of a draft.
func Key(key string) *string { return &key }

func roomVersion(version string) (gomatrixserverlib.IRoomVersion, error) {
	return gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(version))
}

func (r *Remote) newRoom(version string) *Room {
	r.t.Helper()
	v, err := roomVersion(version)
	if err != nil {
		r.t.Fatal(err)
	}
	return &Room{
		Version: gomatrixserverlib.RoomVersion(version), remote: r, version: v, events: map[id.EventID]*PDU{}, after: map[id.EventID]state{},
	}
}

// CreateRoom makes a public room of a room version.
func (r *Remote) CreateRoom(creator id.UserID, version string) *Room {
	r.t.Helper()
	return r.CreateRoomWith(creator, version, nil)
}

// CreateRoomWith makes a room of which the state has other contents: by event types, of the create event, the power levels and the join
// rules, which are otherwise those of a public room, and of anything else.
func (r *Remote) CreateRoomWith(creator id.UserID, version string, contents map[string]Fields) *Room {
	r.t.Helper()
	m := r.newRoom(version)
	create, levels := Fields{"room_version": version, "made": rand.Int64N(1 << 50)}, Fields{"users": Fields{string(creator): 100}}
	if m.version.CreatorInCreateEvent() {
		create["creator"] = creator
	}
	if m.version.PrivilegedCreators() {
		levels = Fields{"users": Fields{}}
	}
	if !m.version.DomainlessRoomIDs() {
		r.mu.Lock()
		m.ID = id.RoomID(fmt.Sprintf("!room%d:%s", len(r.rooms)+1, r.Name))
		r.mu.Unlock()
	}
	rest := maps.Clone(contents)
	add := func(typ, key string, content Fields) {
		if other, ok := contents[typ]; ok {
			delete(rest, typ)
			content = merge(content, []Fields{other})
		}
		m.Add(m.Make(Draft{Type: typ, Key: &key, Sender: creator, Content: content}))
	}
	add("m.room.create", "", create)
	if m.ID == "" {
		m.ID = id.RoomID("!" + m.order[0].ID[1:])
	}
	r.mu.Lock()
	r.rooms[m.ID] = m
	r.mu.Unlock()
	add("m.room.member", string(creator), Fields{"membership": "join"})
	add("m.room.power_levels", "", levels)
	add("m.room.join_rules", "", Fields{"join_rule": "public"})
	for _, typ := range slices.Sorted(maps.Keys(rest)) {
		add(typ, "", Fields{})
	}
	return m
}

// Room is a room the server knows.
func (r *Remote) Room(room id.RoomID) *Room {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rooms[room]
}

// Join joins a room through another server.
func (r *Remote) Join(room id.RoomID, user id.UserID, via id.ServerName) *Room {
	r.t.Helper()
	version, event := r.MakeMembership("join", room, user, via)
	m := r.newRoom(version)
	m.ID = room
	p := m.sign(event)
	answer := r.Must("PUT", via, "v2/"+Path("send_join", room, p.ID), p.Raw)
	var before []*PDU
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range []string{"auth_chain", "state"} {
		before = nil
		for _, raw := range answer.Get(list).Array() {
			e, err := m.take(json.RawMessage(raw.Raw))
			if err != nil {
				r.t.Errorf("join %s: %s: %v", room, list, err)
				continue
			}
			m.events[e.ID] = e
			before = append(before, e)
		}
	}
	if signed := answer.Get("event"); signed.Exists() {
		var err error
		if p, err = m.take(json.RawMessage(signed.Raw)); err != nil {
			r.t.Fatalf("join %s: the event came back bad: %v", room, err)
		}
	}
	m.events[p.ID], m.order, m.tips, m.after[p.ID] = p, []*PDU{p}, []id.EventID{p.ID}, toState(append(before, p))
	r.rooms[room] = m
	return m
}

func toState(events []*PDU) state {
	out := state{}
	for _, e := range events {
		if at, ok := e.stateKey(); ok {
			out[at] = e
		}
	}
	return out
}

// MakeMembership asks for the template of a membership event: "join", "leave" or "knock".
func (r *Remote) MakeMembership(membership string, room id.RoomID, user id.UserID, via id.ServerName) (version string, event map[string]any) {
	r.t.Helper()
	query := url.Values{"ver": {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}}
	answer := r.Get(via, "v1/"+Path("make_"+membership, room, user)+"?"+query.Encode())
	event, err := object([]byte(answer.Get("event").Raw))
	if err != nil {
		r.t.Fatalf("make_%s: %s", membership, answer.Body)
	}
	event["origin_server_ts"] = time.Now().UnixMilli()
	return answer.Get("room_version").Str, event
}

// Complete signs a template.
func (r *Remote) Complete(version string, event map[string]any) *PDU {
	r.t.Helper()
	return r.newRoom(version).sign(event)
}

func (m *Room) sign(event map[string]any) *PDU {
	m.remote.t.Helper()
	if m.version.EventFormat() == gomatrixserverlib.EventFormatV1 {
		event["event_id"] = m.nextID()
		event["origin"] = m.remote.Name
	}
	p, err := m.remote.signer.finish(m.version, event)
	if err != nil {
		m.remote.t.Fatalf("sign %v: %v", event, err)
	}
	return p
}

// nextID makes up an event id, as servers do in room versions 1 and 2.
func (m *Room) nextID() id.EventID {
	m.made++
	return id.EventID(fmt.Sprintf("$%d.%d:%s", time.Now().UnixNano(), m.made, m.remote.Name))
}

// Make makes an event, signed by the server. The room does not know it until it is added.
func (m *Room) Make(d Draft) *PDU {
	m.remote.t.Helper()
	m.remote.mu.Lock()
	defer m.remote.mu.Unlock()
	event := m.draft(d)
	if d.Edit != nil {
		d.Edit(event)
	}
	p := m.sign(event)
	if d.Forge == nil {
		return p
	}
	forged, err := object(p.Raw)
	if err != nil {
		m.remote.t.Fatal(err)
	}
	d.Forge(forged)
	raw, err := canonical(forged)
	if err != nil {
		m.remote.t.Fatal(err)
	}
	if p, err = readPDU(m.version, raw); err != nil {
		m.remote.t.Fatal(err)
	}
	return p
}

// maxDepth is the greatest number that canonical JSON has.
const maxDepth = 1<<53 - 1

// draft fills in what an event needs.
func (m *Room) draft(d Draft) map[string]any {
	if d.Prev == nil {
		d.Prev = m.tips
	}
	if d.Time.IsZero() {
		d.Time = time.Now()
	}
	before, depth := m.stateAfter(d.Prev)
	if len(before) == 0 { // the event is after nothing, or after what the room does not know
		before, depth = m.stateAfter(m.tips)
	}
	if d.Auth == nil {
		d.Auth = m.authFor(d, before)
	}
	event := map[string]any{
		"type": d.Type, "sender": d.Sender, "content": d.Content, "depth": min(depth+1, maxDepth), "origin_server_ts": d.Time.UnixMilli(),
		"prev_events": m.references(d.Prev), "auth_events": m.references(d.Auth),
	}
	if m.ID != "" {
		event["room_id"] = m.ID
	}
	if d.Key != nil {
		event["state_key"] = *d.Key
	}
	if d.Redacts != "" {
		event["redacts"] = d.Redacts
		if !m.version.CreatorInCreateEvent() { // since room version 11
			delete(event, "redacts")
			event["content"] = merge(Fields{"redacts": d.Redacts}, []Fields{asFields(d.Content)})
		}
	}
	return event
}

func asFields(content any) Fields {
	f, _ := content.(Fields)
	return f
}

func (m *Room) references(events []id.EventID) []any {
	out := []any{}
	for _, e := range events {
		out = append(out, reference(m.version, e))
	}
	return out
}

// authFor selects the events that authorise another.
//
// Spec: server-server-api#auth-events-selection
func (m *Room) authFor(d Draft, before state) []id.EventID {
	wanted := []slot{{"m.room.power_levels", ""}, {"m.room.member", string(d.Sender)}}
	if !m.version.DomainlessRoomIDs() {
		wanted = append(wanted, slot{"m.room.create", ""})
	}
	if d.Type == "m.room.member" && d.Key != nil {
		wanted = append(wanted, slot{"m.room.member", *d.Key}, slot{"m.room.join_rules", ""})
		if by, ok := asFields(d.Content)["join_authorised_via_users_server"].(string); ok {
			wanted = append(wanted, slot{"m.room.member", by})
		}
	}
	out := []id.EventID{}
	for _, at := range wanted {
		if e := before[at]; e != nil && !slices.Contains(out, e.ID) {
			out = append(out, e.ID)
		}
	}
	return out
}

// Add lets the room know events, so that others who ask for them get them.
func (m *Room) Add(events ...*PDU) {
	m.remote.mu.Lock()
	defer m.remote.mu.Unlock()
	for _, p := range events {
		m.add(p)
	}
}

func (m *Room) add(p *PDU) {
	if m.after[p.ID] != nil {
		return
	}
	after := maps.Clone(m.before(p))
	if at, ok := p.stateKey(); ok {
		after[at] = p
	}
	m.events[p.ID], m.after[p.ID], m.order = p, after, append(m.order, p)
	m.tips = slices.DeleteFunc(m.tips, func(tip id.EventID) bool { return slices.Contains(p.Prev(), tip) })
	m.tips = append(m.tips, p.ID)
	m.remote.ring()
}

// before is the state before an event; where that is not known, the current state.
func (m *Room) before(p *PDU) state {
	s, _ := m.stateAfter(p.Prev())
	if len(s) == 0 {
		s, _ = m.stateAfter(m.tips)
	}
	return s
}

// stateAfter is the state after some events, and the greatest depth among them.
func (m *Room) stateAfter(events []id.EventID) (state, int64) {
	out, depth := state{}, int64(0)
	for _, e := range events {
		for at, p := range m.after[e] {
			if other := out[at]; other == nil || other.Depth() <= p.Depth() {
				out[at] = p
			}
		}
		if p := m.events[e]; p != nil {
			depth = max(depth, p.Depth())
		}
	}
	return out, depth
}

// pick lists a state.
func (m *Room) pick(s state) []*PDU {
	out := slices.Collect(maps.Values(s))
	slices.SortFunc(out, func(a, b *PDU) int { return int(a.Depth() - b.Depth()) })
	return out
}

// chain is the auth chain of events, without themselves unless one authorises another.
func (m *Room) chain(of []*PDU) []*PDU {
	seen := map[id.EventID]bool{}
	var out []*PDU
	for todo := slices.Clone(of); len(todo) > 0; todo = todo[1:] {
		for _, e := range todo[0].Auth() {
			if p := m.events[e]; p != nil && !seen[e] {
				seen[e] = true
				out, todo = append(out, p), append(todo, p)
			}
		}
	}
	return out
}

// history walks back from some events, those included, as far as it wants, and returns the latest first.
func (m *Room) history(from []string, limit int, wanted func(*PDU) bool) []*PDU {
	seen := map[string]bool{}
	var out []*PDU
	for todo := slices.Clone(from); len(todo) > 0 && len(out) < limit; todo = todo[1:] {
		p := m.events[id.EventID(todo[0])]
		if p == nil || seen[todo[0]] || !wanted(p) {
			continue
		}
		seen[todo[0]] = true
		out = append(out, p)
		for _, e := range p.Prev() {
			todo = append(todo, string(e))
		}
	}
	return out
}

// servers are those that have members in the room.
func (m *Room) servers() []id.ServerName {
	now, _ := m.stateAfter(m.tips)
	found := map[id.ServerName]bool{}
	for at, p := range now {
		if at.typ == "m.room.member" && p.Membership() == "join" {
			found[id.UserID(at.key).Server()] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// stripped is what those outside get to see: whole events.
func (m *Room) stripped() []json.RawMessage {
	now, _ := m.stateAfter(m.tips)
	var out []json.RawMessage
	for _, typ := range []string{"m.room.create", "m.room.join_rules", "m.room.name", "m.room.encryption"} {
		if p := now[slot{typ, ""}]; p != nil {
			out = append(out, p.Raw)
		}
	}
	return out
}

// Stripped is the state that goes with an invitation.
func (m *Room) Stripped() []json.RawMessage {
	m.remote.mu.Lock()
	defer m.remote.mu.Unlock()
	return m.stripped()
}

// Tips are the last events of the room.
func (m *Room) Tips() []id.EventID {
	m.remote.mu.Lock()
	defer m.remote.mu.Unlock()
	return slices.Clone(m.tips)
}

// State is an event of the current state; nil where there is none.
func (m *Room) State(typ, key string) *PDU {
	m.remote.mu.Lock()
	defer m.remote.mu.Unlock()
	now, _ := m.stateAfter(m.tips)
	return now[slot{typ, key}]
}

// Send makes an event and sends it to the other servers of the room. They must accept it.
func (m *Room) Send(d Draft) *PDU {
	m.remote.t.Helper()
	m.remote.mu.Lock()
	to := m.servers()
	m.remote.mu.Unlock()
	p := m.Make(d)
	m.Add(p)
	for _, server := range to {
		if server == m.remote.Name {
			continue
		}
		if refused := m.remote.SendTo(server, p); len(refused) > 0 {
			m.remote.t.Fatalf("%s refused %s: %v", server, p.Raw, refused)
		}
	}
	return p
}

// Say sends a message.
func (m *Room) Say(user id.UserID, text string) *PDU {
	m.remote.t.Helper()
	return m.Send(Draft{Type: "m.room.message", Sender: user, Content: message(text)})
}

// SetState sends a piece of state.
func (m *Room) SetState(user id.UserID, typ, key string, content Fields) *PDU {
	m.remote.t.Helper()
	return m.Send(Draft{Type: typ, Key: &key, Sender: user, Content: content})
}

// SetMembership sends a membership event.
func (m *Room) SetMembership(user, target id.UserID, membership string) *PDU {
	m.remote.t.Helper()
	return m.SetState(user, "m.room.member", string(target), Fields{"membership": membership})
}

// Invite invites somebody of another server.
func (m *Room) Invite(user, target id.UserID) *PDU {
	m.remote.t.Helper()
	p := m.Make(Draft{Type: "m.room.member", Key: Key(string(target)), Sender: user, Content: Fields{"membership": "invite"}})
	answer := m.remote.Must("PUT", target.Server(), "v2/"+Path("invite", m.ID, p.ID), Fields{
		"room_version": m.Version, "event": p.Raw, "invite_room_state": m.Stripped(),
	})
	signed, err := m.take(json.RawMessage(answer.Get("event").Raw))
	if err != nil || signed.ID != p.ID {
		m.remote.t.Fatalf("the invitation came back as %s, %v", answer.Body, err)
	}
	m.Add(signed)
	return signed
}

// WaitFor returns an event once the server has got it.
func (m *Room) WaitFor(event id.EventID) *PDU {
	m.remote.t.Helper()
	var found *PDU
	m.remote.waitUntil("the event "+string(event), func() bool {
		found = m.events[event]
		return found != nil
	})
	return found
}

// WaitForText returns a message once the server has got it.
func (m *Room) WaitForText(text string) *PDU {
	m.remote.t.Helper()
	var found *PDU
	m.remote.waitUntil(fmt.Sprintf("%q", text), func() bool {
		i := slices.IndexFunc(m.order, func(p *PDU) bool { return p.At("content", "body").Str == text })
		if i >= 0 {
			found = m.order[i]
		}
		return i >= 0
	})
	return found
}

// WaitForMembership returns the membership event of somebody once it says so.
func (m *Room) WaitForMembership(user id.UserID, membership string) *PDU {
	m.remote.t.Helper()
	var found *PDU
	m.remote.waitUntil(string(user)+" to be "+membership, func() bool {
		now, _ := m.stateAfter(m.tips)
		found = now[slot{"m.room.member", string(user)}]
		return found != nil && found.Membership() == membership
	})
	return found
}
