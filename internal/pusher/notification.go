package pusher

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
)

// notification is what a gateway is told.
//
// Spec: push-gateway-api#post_matrixpushv1notify
type notification struct {
	Event      id.EventID      `json:"event_id,omitempty"`
	Room       id.RoomID       `json:"room_id,omitempty"`
	Type       string          `json:"type,omitempty"`
	Sender     id.UserID       `json:"sender,omitempty"`
	SenderName string          `json:"sender_display_name,omitempty"`
	RoomName   string          `json:"room_name,omitempty"`
	RoomAlias  string          `json:"room_alias,omitempty"`
	Target     bool            `json:"user_is_target,omitempty"`
	Prio       string          `json:"prio,omitempty"`
	Content    json.RawMessage `json:"content,omitempty"`
	Counts     counts          `json:"counts"`
	Devices    [1]device       `json:"devices"`
}

// counts is there even where it is 0, which the specification would rather have left out: that everything has been read is what gateways and
// phones have to hear of, and an absent number leaves the badge as it is.
type counts struct {
	Unread int64 `json:"unread"`
}

type device struct {
	AppID     string                     `json:"app_id"`
	Pushkey   string                     `json:"pushkey"`
	PushkeyTS int64                      `json:"pushkey_ts"` // in seconds
	Data      map[string]json.RawMessage `json:"data"`
	Tweaks    map[string]json.RawMessage `json:"tweaks,omitempty"`
}

// formatEventIDOnly is the format of data that keeps from gateways what was said, and by whom.
const formatEventIDOnly = "event_id_only"

const (
	high = "high"
	low  = "low"
)

// forPusher is a notification of nothing but the number of unread messages.
func forPusher(p storage.Pusher, unread int64) *notification {
	n := &notification{Prio: low, Counts: counts{unread}}
	n.Devices[0] = device{AppID: p.AppID, Pushkey: p.Pushkey, PushkeyTS: p.SetTS / int64(time.Second/time.Millisecond)}
	// All but the URL is for the gateway, whatever it is.
	// Spec: client-server-api#post_matrixclientv3pushersset
	if json.Unmarshal(p.Data, &n.Devices[0].Data) != nil || n.Devices[0].Data == nil {
		n.Devices[0].Data = map[string]json.RawMessage{}
	}
	delete(n.Devices[0].Data, "url")
	return n
}

// body is the request body.
func (n *notification) body() ([]byte, error) {
	return json.Marshal(struct {
		Notification *notification `json:"notification"`
	}{n})
}

// about makes it a notification of an event, as far as the pusher's format tells the gateway of it.
func (n *notification) about(tx *storage.ReadTx, p storage.Pusher, e *storage.Event, actions json.RawMessage) error {
	tweaks := push.Tweaks(actions)
	n.Event, n.Room = e.ID, e.RoomID
	// What makes a sound or stands out is urgent, and what is encrypted may be.
	if _, sound := tweaks["sound"]; sound || string(tweaks["highlight"]) == "true" || e.Type == "m.room.encrypted" {
		n.Prio = high
	}
	if format := gjson.GetBytes(p.Data, "format"); format.Type == gjson.String && format.Str == formatEventIDOnly {
		return nil
	}
	n.Devices[0].Tweaks = tweaks
	n.Type, n.Sender, n.Content = e.Type, e.Sender, e.Content()
	n.Target = e.IsState("m.room.member", string(p.User))
	room, err := tx.RoomByNID(e.Room)
	if err != nil {
		return err
	}
	n.RoomName, n.RoomAlias = room.Summary.Name, room.Summary.CanonicalAlias
	switch sender, err := tx.Membership(e.Room, e.Sender); {
	case err == nil:
		n.SenderName = sender.Name
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	if room.State == 0 && n.Target {
		return n.outside(tx, p, e)
	}
	return nil
}

// outside fills in what an invite to a room that is not here says of the room.
func (n *notification) outside(tx *storage.ReadTx, p storage.Pusher, e *storage.Event) error {
	m, err := tx.Membership(e.Room, p.User)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range gjson.Parse(m.Stripped).Array() {
		content := s.Get("content")
		switch s.Get("type").Str {
		case "m.room.name":
			n.RoomName = content.Get("name").Str
		case "m.room.canonical_alias":
			n.RoomAlias = content.Get("alias").Str
		case "m.room.member":
			if s.Get("state_key").Str == string(e.Sender) {
				n.SenderName = content.Get("displayname").Str
			}
		}
	}
	return nil
}

// moot reports whether nobody needs to hear of an event any more: the user has read it, or it was redacted.
func moot(tx *storage.ReadTx, user id.UserID, e *storage.Event) (bool, error) {
	if e.RedactedBy != 0 {
		return true, nil
	}
	if e.Pos == 0 { // it is not in a timeline that could be read
		return false, nil
	}
	receipts, err := tx.ReceiptsOf(e.Room, user)
	if err != nil || len(receipts) == 0 {
		return false, err
	}
	thread := storage.MainThread
	switch root, err := tx.ThreadOf(e); {
	case err != nil:
		return false, err
	case root != "":
		thread = string(root)
	}
	// Spec: client-server-api#marking-notifications-as-read
	for _, r := range receipts {
		if r.At >= e.Pos && (r.Thread == "" || r.Thread == thread) {
			return true, nil
		}
	}
	return false, nil
}
