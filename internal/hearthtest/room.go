package hearthtest

import (
	"net/url"

	"github.com/hearthd/hearth/internal/id"
)

// CreateRoom makes a room, a public one that is not in the directory unless fields say something else.
func (u *User) CreateRoom(fields ...Fields) id.RoomID {
	u.t.Helper()
	r := u.Must("POST", "createRoom", merge(Fields{"preset": "public_chat"}, fields))
	return id.RoomID(r.Get("room_id").Str)
}

// Join joins a room, through other servers where its own is not in it.
func (u *User) Join(room id.RoomID, via ...id.ServerName) {
	u.t.Helper()
	u.Must("POST", Through(Path("join", room), via...), Fields{})
}

// Knock asks to be let into a room.
func (u *User) Knock(room id.RoomID, via ...id.ServerName) {
	u.t.Helper()
	u.Must("POST", Through(Path("knock", room), via...), Fields{})
}

// Through adds to a path which servers may be asked about the room.
func Through(path string, via ...id.ServerName) string {
	for i, server := range via {
		path += []string{"?", "&"}[min(i, 1)] + url.Values{"via": {string(server)}}.Encode()
	}
	return path
}

// Leave leaves a room, or rejects an invitation to it.
func (u *User) Leave(room id.RoomID) {
	u.t.Helper()
	u.Must("POST", Path("rooms", room, "leave"), Fields{})
}

// Forget removes a room that was left from one's history.
func (u *User) Forget(room id.RoomID) {
	u.t.Helper()
	u.Must("POST", Path("rooms", room, "forget"), Fields{})
}

// Invite invites somebody.
func (u *User) Invite(room id.RoomID, target *User) {
	u.t.Helper()
	u.change("invite", room, target.ID)
}

// InviteID invites somebody who is only known by their id.
func (u *User) InviteID(room id.RoomID, target id.UserID) {
	u.t.Helper()
	u.change("invite", room, target)
}

// Kick removes somebody from a room.
func (u *User) Kick(room id.RoomID, target *User) {
	u.t.Helper()
	u.change("kick", room, target.ID)
}

// Ban removes somebody and keeps them out.
func (u *User) Ban(room id.RoomID, target *User) {
	u.t.Helper()
	u.change("ban", room, target.ID)
}

// Unban lets somebody join or be invited again.
func (u *User) Unban(room id.RoomID, target *User) {
	u.t.Helper()
	u.change("unban", room, target.ID)
}

func (u *User) change(how string, room id.RoomID, target id.UserID) {
	u.t.Helper()
	u.Must("POST", Path("rooms", room, how), Fields{"user_id": target})
}

// Membership is the user's membership of a room as somebody in it sees it, empty where there was never one.
func (u *User) Membership(room id.RoomID, of *User) string {
	u.t.Helper()
	return u.Do("GET", Path("rooms", room, "state", "m.room.member", of.ID), nil).Get("membership").Str
}

// Send sends an event.
func (u *User) Send(room id.RoomID, eventType string, content any) id.EventID {
	u.t.Helper()
	return sent(u.Must("PUT", Path("rooms", room, "send", eventType, u.nextTxn()), content))
}

// Say sends a message.
func (u *User) Say(room id.RoomID, text string) id.EventID {
	u.t.Helper()
	return u.Send(room, "m.room.message", message(text))
}

// Edit replaces the text of a message.
func (u *User) Edit(room id.RoomID, event id.EventID, text string) id.EventID {
	u.t.Helper()
	content := message("* " + text)
	content["m.new_content"] = message(text)
	content["m.relates_to"] = Fields{"rel_type": "m.replace", "event_id": event}
	return u.Send(room, "m.room.message", content)
}

// React annotates an event with a key, usually an emoji.
func (u *User) React(room id.RoomID, event id.EventID, key string) id.EventID {
	u.t.Helper()
	return u.Send(room, "m.reaction", Fields{"m.relates_to": Fields{"rel_type": "m.annotation", "event_id": event, "key": key}})
}

// SayInThread sends a message in the thread of root.
func (u *User) SayInThread(room id.RoomID, root id.EventID, text string) id.EventID {
	u.t.Helper()
	content := message(text)
	content["m.relates_to"] = Fields{"rel_type": "m.thread", "event_id": root}
	return u.Send(room, "m.room.message", content)
}

// Redact takes the content of an event away.
func (u *User) Redact(room id.RoomID, event id.EventID) id.EventID {
	u.t.Helper()
	return sent(u.Must("PUT", Path("rooms", room, "redact", event, u.nextTxn()), Fields{}))
}

// SetState sets a piece of state.
func (u *User) SetState(room id.RoomID, eventType, key string, content any) id.EventID {
	u.t.Helper()
	return sent(u.Must("PUT", Path("rooms", room, "state", eventType, key), content))
}

// State returns the content of a piece of state.
func (u *User) State(room id.RoomID, eventType, key string) Response {
	u.t.Helper()
	return u.Get(Path("rooms", room, "state", eventType, key))
}

// Event returns an event.
func (u *User) Event(room id.RoomID, event id.EventID) Event {
	u.t.Helper()
	return Event{u.Get(Path("rooms", room, "event", event)).Result}
}

// Read tells everybody that the room was read up to the event.
func (u *User) Read(room id.RoomID, event id.EventID) {
	u.t.Helper()
	u.Must("POST", Path("rooms", room, "receipt", "m.read", event), Fields{})
}

func message(text string) Fields { return Fields{"msgtype": "m.text", "body": text} }

func sent(r Response) id.EventID { return id.EventID(r.Get("event_id").Str) }
