package storagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Room writes events into a store without the rules of a room server: for tests of what reads them. The server of the room's id is ours.
type Room struct {
	t     testing.TB
	store *storage.Store
	// Row is the room as stored.
	Row *storage.Room
	// Rung, if set, is called after the commit of each event with the users who hear of it.
	Rung func(pos int64, users []id.UserID)
	// TxnDevice and TxnID are given to the next event.
	TxnDevice id.DeviceID
	TxnID     string
	ts        int64
	serial    int
	state     map[storage.StateKey]id.EventID
}

// NewRoom makes a room with a creator, who is joined to it, and join rules.
func NewRoom(t testing.TB, s *storage.Store, room id.RoomID, creator id.UserID) *Room {
	t.Helper()
	r := &Room{t: t, store: s, Row: &storage.Room{ID: room, Version: "11"}, ts: 1_700_000_000_000,
		state: map[storage.StateKey]id.EventID{}}
	if err := s.Update(context.Background(), func(tx *storage.Tx) error { return tx.AddRoom(r.Row) }); err != nil {
		t.Fatalf("add room: %v", err)
	}
	r.State(creator, "m.room.create", "", `{"room_version":"11"}`)
	r.Member(creator, creator, "join")
	r.State(creator, "m.room.join_rules", "", `{"join_rule":"public"}`)
	return r
}

// Member sets a membership.
func (r *Room) Member(sender, user id.UserID, membership string) *storage.Event {
	r.t.Helper()
	return r.State(sender, "m.room.member", string(user), fmt.Sprintf(`{"displayname":%q,"membership":%q}`, user.Localpart(), membership))
}

// Message sends a text message.
func (r *Room) Message(sender id.UserID, body string) *storage.Event {
	r.t.Helper()
	return r.Event(sender, "m.room.message", fmt.Sprintf(`{"body":%q,"msgtype":"m.text"}`, body))
}

// Event sends a message event.
func (r *Room) Event(sender id.UserID, typ, content string) *storage.Event {
	r.t.Helper()
	return r.add(&storage.Event{Sender: sender, Type: typ}, content)
}

// State sets a piece of state.
func (r *Room) State(sender id.UserID, typ, key, content string) *storage.Event {
	r.t.Helper()
	return r.add(&storage.Event{Sender: sender, Type: typ, StateKey: &key}, content)
}

// Redact sends a redaction and empties the event.
func (r *Room) Redact(sender id.UserID, ev *storage.Event) *storage.Event {
	r.t.Helper()
	by := r.Event(sender, "m.room.redaction", fmt.Sprintf(`{"redacts":%q}`, ev.ID))
	r.update(func(tx *storage.Tx) error {
		if err := tx.DropRelation(ev.NID); err != nil {
			return err
		}
		return tx.RedactEvent(ev, by.NID, r.json(ev, "{}"))
	})
	return by
}

func (r *Room) update(fn func(tx *storage.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(context.Background(), fn); err != nil {
		r.t.Fatalf("update: %v", err)
	}
}

func (r *Room) json(e *storage.Event, content string) []byte {
	fields := map[string]any{"content": json.RawMessage(content), "type": e.Type, "sender": e.Sender, "room_id": r.Row.ID,
		"origin_server_ts": e.TS, "depth": e.Depth, "prev_events": r.prev(e), "auth_events": r.auth(e)}
	if e.StateKey != nil {
		fields["state_key"] = *e.StateKey
	}
	out, err := json.Marshal(fields)
	if err != nil {
		r.t.Fatalf("event JSON: %v", err)
	}
	return out
}

// prev is the event before.
func (r *Room) prev(e *storage.Event) []id.EventID {
	out := []id.EventID{}
	if e.Depth > 1 {
		out = append(out, r.id(e.Depth-1))
	}
	return out
}

// auth is some of the state that allows an event.
func (r *Room) auth(e *storage.Event) []id.EventID {
	out := []id.EventID{}
	for _, key := range []storage.StateKey{
		{Type: "m.room.create"}, {Type: "m.room.join_rules"}, {Type: "m.room.power_levels"}, {Type: "m.room.member", Key: string(e.Sender)},
	} {
		if id, ok := r.state[key]; ok && id != e.ID {
			out = append(out, id)
		}
	}
	return out
}

func (r *Room) id(serial int64) id.EventID {
	return id.EventID(fmt.Sprintf("$e%d-%s", serial, r.Row.ID[1:]))
}

func (r *Room) add(e *storage.Event, content string) *storage.Event {
	r.t.Helper()
	r.serial++
	r.ts++
	e.ID = r.id(int64(r.serial))
	e.Room, e.RoomID, e.TS, e.Depth = r.Row.NID, r.Row.ID, r.ts, int64(r.serial)
	e.TxnDevice, e.TxnID = r.TxnDevice, r.TxnID
	r.TxnDevice, r.TxnID = "", ""
	e.JSON = r.json(e, content)
	r.update(func(tx *storage.Tx) error { return r.write(tx, e, content) })
	if e.StateKey != nil {
		r.state[storage.StateKey{Type: e.Type, Key: *e.StateKey}] = e.ID
	}
	return e
}

func (r *Room) write(tx *storage.Tx, e *storage.Event, content string) error {
	pos, err := tx.NextPos()
	if err != nil {
		return err
	}
	e.NID, e.Pos, e.StateBefore, e.StateAfter = pos, pos, r.Row.State, r.Row.State
	var heard []id.UserID
	if e.StateKey != nil {
		key := storage.StateKey{Type: e.Type, Key: *e.StateKey}
		old, err := tx.CurrentStateKey(r.Row.NID, key)
		if err == nil {
			e.Replaces = old.NID
		} else if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		changes := []storage.StateChange{{StateKey: key, Event: pos}}
		if e.StateAfter, err = tx.AddSnapshot(r.Row.NID, r.Row.State, changes); err != nil {
			return err
		}
		if err := tx.SetCurrentState(r.Row.NID, pos, changes); err != nil {
			return err
		}
		if e.Type == "m.room.member" {
			if err := r.member(tx, e, content); err != nil {
				return err
			}
			heard = append(heard, id.UserID(*e.StateKey))
		}
		r.summarise(e, content)
	}
	if err := tx.AddEvent(e); err != nil {
		return err
	}
	if err := r.relate(tx, e, content); err != nil {
		return err
	}
	r.Row.State, r.Row.LastPos = e.StateAfter, pos
	r.Row.Extremities = []storage.Extremity{{ID: e.ID, Pos: pos, Depth: e.Depth}}
	if err := tx.SaveRoomHead(r.Row); err != nil {
		return err
	}
	if err := tx.SaveRoomSummary(r.Row); err != nil {
		return err
	}
	if r.Rung == nil {
		return nil
	}
	members, err := tx.LocalJoined(r.Row.NID)
	for _, m := range members {
		heard = append(heard, m.User)
	}
	tx.OnCommit(func() { r.Rung(pos, heard) })
	return err
}

func (r *Room) member(tx *storage.Tx, e *storage.Event, content string) error {
	m := storage.Membership{User: id.UserID(*e.StateKey), Room: r.Row.NID, RoomID: r.Row.ID, Event: e.NID, Pos: e.Pos, Sender: e.Sender,
		Membership: gjson.Get(content, "membership").Str, Name: gjson.Get(content, "displayname").Str}
	old, err := tx.Membership(r.Row.NID, m.User)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	r.count(old.Membership, -1)
	r.count(m.Membership, 1)
	server := m.User.Server()
	local := server == r.Row.ID.Server()
	if !local && (old.Membership == "join") != (m.Membership == "join") {
		n := int64(1)
		if m.Membership != "join" {
			n = -1
		}
		if err := tx.CountServer(r.Row.NID, server, n); err != nil {
			return err
		}
	}
	if old.Membership == m.Membership {
		m.Pos = old.Pos
	}
	if m.Membership == "invite" || m.Membership == "knock" {
		m.Stripped = fmt.Sprintf(`[{"content":%s,"sender":%q,"state_key":%q,"type":"m.room.member"}]`, content, e.Sender, *e.StateKey)
	}
	if local && m.Membership == "join" && old.Membership != "join" {
		if err := tx.SetUnread(m.User, r.Row, storage.Unread{}); err != nil {
			return err
		}
	}
	return tx.SetMembership(m, local)
}

func (r *Room) count(membership string, by int64) {
	switch membership {
	case "join":
		r.Row.Summary.Joined += by
	case "invite":
		r.Row.Summary.Invited += by
	}
}

func (r *Room) summarise(e *storage.Event, content string) {
	switch e.Type {
	case "m.room.name":
		r.Row.Summary.Name = gjson.Get(content, "name").Str
	case "m.room.canonical_alias":
		r.Row.Summary.CanonicalAlias = gjson.Get(content, "alias").Str
	case "m.room.history_visibility":
		r.Row.Summary.HistoryVisibility = gjson.Get(content, "history_visibility").Str
	}
}

func (r *Room) relate(tx *storage.Tx, e *storage.Event, content string) error {
	to := gjson.Get(content, "m\\.relates_to")
	if to.Get("rel_type").Str == "" {
		return nil
	}
	return tx.AddRelation(storage.Relation{Parent: id.EventID(to.Get("event_id").Str), RelType: to.Get("rel_type").Str, Child: e.NID,
		Room: r.Row.NID, Type: e.Type, Sender: e.Sender, Key: to.Get("key").Str})
}
