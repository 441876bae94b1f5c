package roomserver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/extend"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// head is a room inside one Update: where its graph ends, and what has been added so far. finish writes it back.
type head struct {
	s    *Server
	tx   *storage.Tx
	auth *authState

	wake  map[id.UserID]bool     // who must look, beside the joined users
	awake map[id.ServerName]bool // servers for which there is something in the outbox
	named map[reading]*authEvent // the auth events of events of other servers

	searchable bool        // there is text that the search index has yet to see
	joiners    []id.UserID // our users who have joined
	last       int64
	was        storage.RoomSummary // when the room was opened
	signed     []recommended       // events that are to be added in place of new ones
}

// open loads a room that exists here. The error for any other is 404 M_NOT_FOUND.
func (s *Server) open(tx *storage.Tx, room id.RoomID) (*head, error) {
	row, err := tx.Room(room)
	if err == nil && row.State == 0 || errors.Is(err, storage.ErrNotFound) {
		// Of a room that one was only invited to there is a row, but no state.
		return nil, merr.New(merr.NotFound, "This server does not know the room")
	}
	if err != nil {
		return nil, err
	}
	return s.head(tx, row)
}

func (s *Server) head(tx *storage.Tx, room *storage.Room) (*head, error) {
	version, ok := s.versions[room.Version]
	if !ok {
		return nil, fmt.Errorf("room %s has the unknown version %q", room.ID, room.Version)
	}
	snap := s.remembered(tx, room.State)
	return &head{
		s: s, tx: tx,
		auth:  &authState{tx: &tx.ReadTx, room: room, version: version, snap: snap},
		wake:  map[id.UserID]bool{},
		awake: map[id.ServerName]bool{},
		named: map[reading]*authEvent{},
		was:   room.Summary,
	}, nil
}

func (h *head) room() *storage.Room { return h.auth.room }

// add makes an event of the draft, checks that it is allowed, and puts it at the end of the room with all that follows from it.
func (h *head) add(d draft) (*storage.Event, error) {
	room := h.room()
	if d.redacts != "" && redactsInContent(h.auth.version) {
		d.content, d.canonical = withField(d.content, "redacts", string(d.redacts)), false
	}
	if i := slices.IndexFunc(h.signed, func(r recommended) bool { return r.is(d) }); i >= 0 {
		return h.addSigned(i, d)
	}
	p, err := h.auth.place(d)
	if err != nil {
		return nil, err
	}
	if p.ts = d.ts; p.ts == 0 {
		p.ts = h.s.clock.Now().UnixMilli()
	}
	create := d.typ == spec.MRoomCreate
	if create && p.version.DomainlessRoomIDs() {
		p.room = ""
	}
	eventID, raw, err := h.build(d, &p)
	if err != nil {
		return nil, err
	}
	pdu, err := newMade(eventID, d, p, raw)
	if err != nil {
		return nil, merr.Newf(merr.BadJSON, "The event is malformed: %s", err)
	}
	if err := h.auth.allowed(pdu); err != nil {
		return nil, err
	}
	if !create && !exempt(d.typ, d.stateKey) {
		server, err := h.auth.policy()
		if err != nil {
			return nil, err
		}
		if server != nil {
			return nil, &unsigned{server, p.version, d, p, raw}
		}
	}
	if create {
		// Only now is the id known of a room whose id is made from its create event. Spec: rooms/v12#event-format
		if p.version.DomainlessRoomIDs() {
			room.ID = id.RoomID("!" + eventID[1:])
		}
		if err := h.tx.AddRoom(room); err != nil {
			return nil, err
		}
	}
	e := &storage.Event{
		ID: eventID, Room: room.NID, RoomID: room.ID, Type: d.typ, StateKey: d.stateKey, Sender: d.sender, Depth: p.depth, TS: p.ts,
		StateBefore: room.State, TxnDevice: d.txn.Device, TxnID: d.txn.ID, JSON: raw,
	}
	if err := h.accept(e, &authEvent{id: eventID, pdu: pdu}, p.prev, true); err != nil {
		return nil, err
	}
	return e, nil
}

// addSigned adds an event of ours that was made before, at what was the end of the room then.
func (h *head) addSigned(i int, d draft) (*storage.Event, error) {
	r := h.signed[i]
	h.signed = slices.Delete(h.signed, i, i+1)
	room := h.room()
	e := newEvent(room, r.event)
	e.TxnDevice, e.TxnID = d.txn.Device, d.txn.ID
	var err error
	if e.StateBefore, err = h.stateBefore(r.place.prev, nil); err != nil {
		return nil, err
	}
	for _, state := range []*authState{h.stateAt(e.StateBefore), h.auth} {
		if err := state.allowed(r.event.PDU); err != nil {
			return nil, err
		}
	}
	return e, h.accept(e, &authEvent{id: e.ID, pdu: r.event.PDU}, r.place.prev, true)
}

// build makes the event. Two rooms that one user makes in the same millisecond may have the same create event, which must not give them the
// same id: the later one is dated a moment later.
func (h *head) build(d draft, p *place) (event id.EventID, raw []byte, err error) {
	for {
		event, raw, err = h.s.build(d, *p)
		if err != nil || d.typ != spec.MRoomCreate || !p.version.DomainlessRoomIDs() {
			return event, raw, err
		}
		if _, err = h.tx.RoomNID(id.RoomID("!" + event[1:])); isNotFound(err) {
			return event, raw, nil
		}
		if err != nil {
			return "", nil, err
		}
		p.ts++
	}
}

// accept puts an event that is allowed, and whose StateBefore is known, at the end of the room's timeline, and makes it one of the ends of the
// room's graph. prev is its parents. With spread it is sent to the other servers in the room.
func (h *head) accept(e *storage.Event, a *authEvent, prev []id.EventID, spread bool) (err error) {
	room := h.room()
	was := e.NID // not 0 if it is stored as an outlier, or as rejected
	if e.Pos, err = h.tx.NextPos(); err != nil {
		return err
	}
	if was == 0 || e.StateKey == nil {
		e.NID = e.Pos // see storage.Tx.JudgeEvent
	}
	a.nid, e.Status, e.StateAfter = e.NID, storage.Accepted, e.StateBefore
	if spread {
		if err := h.queue(e); err != nil {
			return err
		}
	}
	linear := e.StateBefore == room.State
	if room.Extremities, err = h.ends(e, prev); err != nil {
		return err
	}
	linear = linear && len(room.Extremities) == 1 && room.Extremities[0].ID == e.ID
	if key, ok := stateKeyOf(e); ok {
		if err := h.applyState(e, a, key, linear); err != nil {
			return err
		}
	} else if !linear {
		if err := h.settle(e); err != nil {
			return err
		}
	}
	if was != 0 {
		err = h.tx.JudgeEvent(was, e)
	} else {
		err = h.tx.AddEvent(e)
	}
	if err != nil {
		return err
	}
	if err := h.index(e, gjson.ParseBytes(a.pdu.Content())); err != nil {
		return err
	}
	room.LastPos, h.last = e.Pos, e.Pos
	return h.notify(e)
}

func stateKeyOf(e *storage.Event) (storage.StateKey, bool) {
	if e.StateKey == nil {
		return storage.StateKey{}, false
	}
	return storage.StateKey{Type: e.Type, Key: *e.StateKey}, true
}

// queue puts an event into the outboxes of the servers that are in the room before it, and of the one whose user's membership it changes: an
// invited user's server is not in the room yet, and learns of the invite otherwise, but not of its end.
func (h *head) queue(e *storage.Event) error {
	servers, err := h.auth.servers()
	if err != nil {
		return err
	}
	if e.Type == spec.MRoomMember && e.StateKey != nil {
		target := id.UserID(*e.StateKey)
		if !h.s.local(target) && target.Server() != "" && !slices.Contains(servers, target.Server()) && memberOf(e.Content(), "membership") != spec.Invite {
			servers = append(slices.Clip(servers), target.Server())
		}
	}
	if from := e.Sender.Server(); from != h.s.cfg.Name { // it has it
		servers = slices.DeleteFunc(slices.Clone(servers), func(s id.ServerName) bool { return s == from })
	}
	for _, s := range servers {
		h.awake[s] = true
	}
	return h.tx.QueueEvent(e.NID, servers)
}

// applyState makes a state event part of the state after it and, if its room has not forked, of the current state.
func (h *head) applyState(e *storage.Event, a *authEvent, key storage.StateKey, linear bool) error {
	room := h.room()
	before := h.auth
	if !linear {
		before = h.stateAt(e.StateBefore)
	}
	old, err := before.get(key)
	if err != nil {
		return err
	}
	if old != nil {
		e.Replaces = old.nid
	}
	changes := []storage.StateChange{{StateKey: key, Event: e.NID}}
	if e.StateAfter, err = h.tx.AddSnapshot(room.NID, e.StateBefore, changes); err != nil {
		return err
	}
	if !linear {
		return h.settle(e)
	}
	return h.change(e.Pos, e.StateAfter, changes, map[int64]entered{e.NID: {e, a}})
}

// entered is an event that becomes part of the current state.
type entered struct {
	event *storage.Event
	auth  *authEvent
}

// change makes the snapshot next, which differs from the current state by changes, the current state at the position pos. Events that are not
// among those given are loaded.
func (h *head) change(pos, next int64, changes []storage.StateChange, given map[int64]entered) error {
	room := h.room()
	members := map[storage.StateKey]*authEvent{} // as they were
	for _, c := range changes {
		if c.Type == spec.MRoomMember && room.State != 0 {
			var err error
			if members[c.StateKey], err = h.auth.get(c.StateKey); err != nil {
				return err
			}
		}
	}
	if err := h.tx.SetCurrentState(room.NID, pos, changes); err != nil {
		return err
	}
	// From here on, what is read is of the new state, and that may be rolled back: it must not become part of what is remembered of the old one.
	h.auth.snap = h.auth.snap.copy()
	for _, c := range changes {
		if now, ok := given[c.Event]; ok {
			h.auth.snap.events.set(c.StateKey, now.auth)
		} else {
			h.auth.snap.events.forget(c.StateKey)
		}
	}
	successor := room.Summary.Successor
	for some := range slices.Chunk(changes, maxLoaded) {
		if err := h.changeSome(pos, some, members, given); err != nil {
			return err
		}
	}
	room.State = next
	if room.Summary.Successor != successor {
		return h.succeeded()
	}
	return nil
}

// maxLoaded bounds the events of a changed state that are in memory at the same time.
const maxLoaded = 500

// changeSome does what follows from some changes of the current state. members is the memberships before.
func (h *head) changeSome(pos int64, changes []storage.StateChange, members map[storage.StateKey]*authEvent, given map[int64]entered) error {
	room := h.room()
	var nids []int64
	for _, c := range changes {
		if given[c.Event].event == nil && c.Event != 0 {
			nids = append(nids, c.Event)
		}
	}
	events, err := h.tx.EventsAt(nids)
	if err != nil {
		return err
	}
	loaded := make(map[int64]*storage.Event, len(events))
	for i, e := range events {
		if e == nil {
			return fmt.Errorf("the event %d of the state of %s is missing", nids[i], room.ID)
		}
		loaded[e.NID] = e
	}
	for _, c := range changes {
		now := given[c.Event]
		if now.event == nil && c.Event != 0 {
			now.event = loaded[c.Event]
			if now.auth, err = toAuthEvent(now.event, h.auth.version); err != nil {
				return err
			}
		}
		var content gjson.Result
		if now.auth != nil {
			content = gjson.ParseBytes(now.auth.pdu.Content())
		}
		if c.Type == spec.MRoomMember {
			if err := h.applyMembership(now.event, pos, id.UserID(c.Key), members[c.StateKey], content); err != nil {
				return err
			}
		}
		summarise(&room.Summary, c.StateKey, content)
		h.auth.snap.events.set(c.StateKey, now.auth)
	}
	return nil
}

// applyMembership keeps memberships and the room's counts in step with the state. e is nil where the state says nothing of the user any more.
func (h *head) applyMembership(e *storage.Event, pos int64, user id.UserID, old *authEvent, content gjson.Result) error {
	room := h.room()
	before := spec.Leave
	if old != nil {
		before = gjson.GetBytes(old.pdu.Content(), "membership").String()
	}
	m := storage.Membership{User: user, Room: room.NID, RoomID: room.ID, Membership: spec.Leave, Pos: pos, Sender: user}
	if e != nil {
		m.Membership, m.Event, m.Sender = content.Get("membership").String(), e.NID, e.Sender
		m.Name, m.AvatarURL = text(content.Get("displayname")), text(content.Get("avatar_url"))
	}
	if m.Membership == spec.Join && before == spec.Join { // another name or avatar
		row, err := h.tx.Membership(room.NID, user)
		if err != nil {
			return err
		}
		m.Pos = row.Pos
	}
	if m.Membership == spec.Invite || m.Membership == spec.Knock {
		var err error
		if m.Stripped, err = h.stripped(e); err != nil {
			return err
		}
	}
	count := func(membership string, n int64) {
		switch membership {
		case spec.Join:
			h.room().Summary.Joined += n
		case spec.Invite:
			h.room().Summary.Invited += n
		}
	}
	count(before, -1)
	count(m.Membership, 1)
	local := h.s.local(user)
	if local {
		h.wake[user] = true
		// The list is shared with older snapshots: never changed in place.
		joined, err := h.auth.joined()
		if err != nil {
			return err
		}
		at := -1
		if before == spec.Join {
			at = slices.IndexFunc(joined, func(m storage.Member) bool { return m.User == user })
		}
		now, crowd := storage.Member{User: user, Name: m.Name}, h.auth.snap.crowd
		switch {
		case m.Membership == spec.Join && at < 0:
			joined = extend.With(joined, now)
			if crowd != nil {
				crowd = h.s.hub.With(crowd, user)
			}
			h.joiners = append(h.joiners, user)
			if err := h.tx.SetUnread(user, room, storage.Unread{}); err != nil {
				return err
			}
		case m.Membership == spec.Join:
			joined = slices.Clone(joined)
			joined[at] = now
		case at >= 0:
			joined = slices.Delete(slices.Clone(joined), at, at+1)
			if crowd != nil {
				crowd = crowd.Without(at)
			}
			if err := h.clearUnread(user); err != nil {
				return err
			}
		}
		snap := h.auth.snap
		h.auth.snap = &snapshot{events: snap.events, joined: joined, crowd: crowd, known: true, servers: snap.servers}
	} else if err := h.countServer(user.Server(), before == spec.Join, m.Membership == spec.Join); err != nil {
		return err
	}
	if local && m.Membership == spec.Invite {
		if err := h.s.notifyInvited(h.tx, room, e, m); err != nil {
			return err
		}
	}
	return h.tx.SetMembership(m, local)
}

// countServer notes that a user of another server has come or gone.
func (h *head) countServer(server id.ServerName, was, is bool) error {
	n := int64(1)
	switch {
	case was == is:
		return nil
	case was:
		n = -1
	}
	snap := h.auth.snap
	h.auth.snap = &snapshot{events: snap.events, joined: snap.joined, crowd: snap.crowd, known: snap.known}
	return h.tx.CountServer(h.room().NID, server, n)
}

// text is a string of an event as it can be stored: PostgreSQL takes no NUL.
func text(r gjson.Result) string {
	if r.Type == gjson.String {
		return strings.ReplaceAll(r.Str, "\x00", "\ufffd")
	}
	return ""
}

// relation is how the event relates to another; it has no parent if it does not, or if that is an event of another room.
//
// Spec: client-server-api#forming-relationships-between-events
func (h *head) relation(e *storage.Event, content gjson.Result) (storage.Relation, error) {
	rel := content.Get("m\\.relates_to")
	parent, typ := text(rel.Get("event_id")), text(rel.Get("rel_type"))
	if parent == "" || typ == "" || len(parent) > maxField || len(typ) > maxField || e.StateKey != nil {
		return storage.Relation{}, nil
	}
	to, err := h.tx.Event(id.EventID(parent))
	if err == nil && to.Room != e.Room {
		return storage.Relation{}, nil
	}
	if err != nil && !isNotFound(err) {
		return storage.Relation{}, err
	}
	return storage.Relation{
		Parent: id.EventID(parent), RelType: typ, Child: e.NID, Room: e.Room, Type: e.Type, Sender: e.Sender, Key: text(rel.Get("key")),
	}, nil
}

// index notes what the event says about other events, and others about it: relations and redactions.
func (h *head) index(e *storage.Event, content gjson.Result) error {
	rel, err := h.relation(e, content)
	if err != nil {
		return err
	}
	later, err := h.tx.IndexForSearch(e)
	if err != nil {
		return err
	}
	h.searchable = h.searchable || later
	if rel.Parent != "" {
		if err := h.tx.AddRelation(rel); err != nil {
			return err
		}
	}
	if target := redactionTarget(e, h.auth.version); target != "" {
		if err := h.redact(e, target); err != nil {
			return err
		}
	}
	if h.s.local(e.Sender) && e.Pos > h.s.store.CommittedPos() {
		return nil // it was made just now
	}
	// What is said of an event from elsewhere, or of one of ours that has come back, may have come before it.
	if err := h.tx.FindChildren(e); err != nil {
		return err
	}
	return h.redactLate(e)
}

// finish writes the room back and tells everybody concerned after the commit.
func (h *head) finish() error {
	if h.last == 0 { // a redaction among fetched history may have changed how the room is shown
		return h.saveSummary()
	}
	if err := h.expelGuests(); err != nil {
		return err
	}
	room := h.room()
	if err := h.tx.SaveRoomHead(room); err != nil {
		return err
	}
	if err := h.saveSummary(); err != nil {
		return err
	}
	for _, u := range h.joiners {
		if err := h.s.peers.Devices.Joined(h.tx, u, room.NID); err != nil {
			return err
		}
	}
	crowd, err := h.crowd()
	if err != nil {
		return err
	}
	keys := []hub.Key{hub.Room(room.ID)}
	for u := range h.wake {
		keys = append(keys, hub.User(u))
	}
	s, pos, state, snap, searchable := h.s, h.last, room.State, h.auth.snap, h.searchable
	awake := slices.Collect(maps.Keys(h.awake))
	h.tx.Note(snapshotNote(state), snap)
	h.tx.OnCommit(func() {
		s.cache.put(state, snap)
		s.hub.RingCrowd(pos, crowd, keys...)
		if searchable {
			s.searchable()
		}
		if len(awake) > 0 {
			s.peers.Outbound.Wake(awake)
		}
	})
	return nil
}

// saveSummary writes the summary back if it says something else now, which few changes of the state make it do.
func (h *head) saveSummary() error {
	if h.room().Summary == h.was {
		return nil
	}
	return h.tx.SaveRoomSummary(h.room())
}

// crowd is the local users in the room, for the hub.
func (h *head) crowd() (hub.Crowd, error) {
	joined, err := h.auth.joined()
	if err != nil || h.auth.snap.crowd != nil {
		return h.auth.snap.crowd, err
	}
	h.auth.snap.crowd = h.s.hub.Crowd(storage.UserIDs(joined)...)
	return h.auth.snap.crowd, nil
}
