package roomserver

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// SendRequest is an event that a user wants to send.
type SendRequest struct {
	Room     id.RoomID
	Sender   id.UserID
	Type     string
	StateKey *string // nil for a message event
	Content  json.RawMessage
	TS       int64       // origin_server_ts in milliseconds, for appservices; 0 for now
	Txn      storage.Txn // zero, or what makes a repetition of the request harmless
	// Delay is the id that the event had while it was delayed, if it was. Sent is called in the transaction that adds the event.
	Delay string
	Sent  func(tx *storage.Tx, event id.EventID) error
	// Aliases are those of other servers, named in an m.room.canonical_alias, that were found to lead to the room.
	Aliases []id.RoomAlias
}

// Send adds an event to a room and returns its id. A repeated Txn, and a state event that would change nothing, get the id of the event that
// is there already. Errors: M_FORBIDDEN, M_BAD_JSON, M_TOO_LARGE, M_BAD_ALIAS, M_NOT_FOUND.
//
// Spec: client-server-api#sending-events-to-a-room
func (s *Server) Send(ctx context.Context, r SendRequest) (id.EventID, error) {
	sent := func(tx *storage.Tx, event id.EventID) error {
		if r.Sent == nil {
			return nil
		}
		return r.Sent(tx, event)
	}
	if invite, abroad := s.stateInvite(r); abroad {
		event, err := s.inviteAbroad(ctx, invite)
		if err != nil || r.Sent == nil {
			return event, err
		}
		return event, s.store.Update(ctx, func(tx *storage.Tx) error { return sent(tx, event) })
	}
	target := id.EventID("")
	if r.Type == spec.MRoomRedaction {
		target = id.EventID(text(gjson.GetBytes(r.Content, "redacts")))
	}
	return s.once(ctx, r, target, func(h *head) (id.EventID, error) {
		event, err := h.send(r)
		if err == nil {
			err = sent(h.tx, event)
		}
		return event, err
	})
}

func (h *head) send(r SendRequest) (id.EventID, error) {
	err := h.mustBeJoined(r.Sender)
	if err != nil {
		return "", err
	}
	if r.Delay != "" {
		r.Txn = storage.Txn{Device: storage.DelayedDevice, ID: r.Delay}
	}
	// First of all, because JSON that says something twice must not be judged by the one and stored with the other.
	if r.Content, err = canonicalContent(r.Content, h.auth.version); err != nil {
		return "", err
	}
	if r.Type == spec.MRoomRedaction && r.StateKey == nil {
		target := id.EventID(text(gjson.GetBytes(r.Content, "redacts")))
		return h.sendRedaction(r, target)
	}
	d := draft{typ: r.Type, stateKey: r.StateKey, sender: r.Sender, content: r.Content, canonical: true, ts: r.TS, txn: r.Txn, aliases: r.Aliases}
	if r.StateKey != nil {
		if d.typ == spec.MRoomMember {
			// Only the server says this. A client that changes the name in its own membership sends back what it has found there.
			if d.content, err = sjson.DeleteBytes(d.content, "join_authorised_via_users_server"); err != nil {
				return "", merr.New(merr.BadJSON, "The content of an event must be an object")
			}
		}
		if unchanged, err := h.sameState(d); err != nil || unchanged != "" {
			return unchanged, err
		}
		err = h.checkState(d)
	} else {
		err = h.checkRelation(d)
	}
	if err != nil {
		return "", err
	}
	e, err := h.add(d)
	if err != nil {
		return "", err
	}
	return e.ID, nil
}

// once runs fn on a room, or finds the event that an earlier request with the same Txn has sent. target is what a redaction redacts.
func (s *Server) once(ctx context.Context, r SendRequest, target id.EventID, fn func(h *head) (id.EventID, error)) (event id.EventID, err error) {
	if len(r.Txn.ID) > maxField {
		return "", merr.Newf(merr.InvalidParam, "A transaction id is no longer than %d bytes", maxField)
	}
	err = s.recommending(ctx, func(signed []recommended) error {
		return s.store.Update(ctx, func(tx *storage.Tx) error {
			h, err := s.open(tx, r.Room)
			if err != nil {
				return err
			}
			if event, err = h.sentBefore(r, target); err != nil || event != "" {
				return err
			}
			h.signed = slices.Clone(signed)
			if event, err = fn(h); err != nil {
				return err
			}
			return h.finish()
		})
	})
	return event, err
}

// sentBefore finds the event that a request would only repeat. A device that begins again with the same transaction ids after some time means new
// events; one that says itself when they happened repeats those of the same moment.
//
// Spec: client-server-api#transaction-identifiers
func (h *head) sentBefore(r SendRequest, target id.EventID) (id.EventID, error) {
	if r.Txn.ID == "" {
		return "", nil
	}
	events, err := h.tx.Sent(r.Txn, h.room().NID, r.Type)
	if err != nil {
		return "", err
	}
	since := h.s.clock.Now().Add(-txnLife).UnixMilli()
	for _, e := range events {
		redacts := redactionTarget(e, h.auth.version)
		switch {
		case r.TS == 0 && e.TS < since, r.TS != 0 && e.TS != r.TS:
		case target == "" || redacts == "" || redacts == target:
			return e.ID, nil
		}
	}
	return "", nil
}

func (h *head) mustBeJoined(user id.UserID) error {
	membership, _, err := h.auth.membership(user)
	if err != nil {
		return err
	}
	if membership != spec.Join {
		return merr.Newf(merr.Forbidden, "%s is not in the room", user)
	}
	return nil
}

// sameState finds the state event that d would only repeat. Setting state twice to the same content by the same user is one event.
func (h *head) sameState(d draft) (id.EventID, error) {
	key, _ := d.key()
	old, err := h.auth.get(key)
	if err != nil || old == nil || old.pdu.SenderID() != spec.SenderID(d.sender) {
		return "", err
	}
	content := []byte(d.content)
	if !d.canonical {
		if content, err = canonicalContent(d.content, h.auth.version); err != nil {
			return "", err
		}
	}
	was, err := canonicalContent(old.pdu.Content(), h.auth.version)
	if err != nil || !bytes.Equal(content, was) {
		return "", err
	}
	return old.id, nil
}

// checkState refuses state events that the auth rules allow but that a server does not let its users send.
func (h *head) checkState(d draft) error {
	switch d.typ {
	case spec.MRoomCreate:
		return merr.New(merr.Forbidden, "A room has one create event, its first").WithStatus(400)
	case spec.MRoomCanonicalAlias:
		return h.checkCanonicalAlias(d)
	case spec.MRoomMember:
		return h.checkMember(d)
	}
	return nil
}

// checkRelation keeps a user from annotating an event twice with the same key, and from starting a thread within a thread.
//
// Spec: client-server-api#avoiding-duplicate-annotations, client-server-api#validation-of-mthread-relationships
func (h *head) checkRelation(d draft) error {
	rel := gjson.GetBytes(d.content, "m\\.relates_to")
	parent := id.EventID(text(rel.Get("event_id")))
	switch text(rel.Get("rel_type")) {
	case "m.annotation":
		again, err := h.tx.Annotated(parent, d.typ, text(rel.Get("key")), d.sender)
		if err == nil && again {
			err = merr.New(merr.DuplicateAnnotation, "You have annotated this event with the same key already")
		}
		return err
	case "m.thread":
		root, err := h.tx.EventInRoom(h.room().NID, parent)
		if isNotFound(err) {
			return nil
		}
		if err == nil && root.Get("content.m\\.relates_to.rel_type").Exists() {
			err = merr.New(merr.InvalidParam, "An event that relates to another cannot be the root of a thread")
		}
		return err
	}
	return nil
}

// checkMember refuses membership events that the auth rules allow but that stand for what this server does not do for its users.
func (h *head) checkMember(d draft) error {
	target, err := id.ParseUserID(*d.stateKey)
	if err != nil {
		return merr.New(merr.BadJSON, "The state key of a membership must be a user id")
	}
	if memberOf(d.content, "membership") != spec.Invite {
		return nil
	}
	if !h.s.local(target) {
		return merr.New(merr.Forbidden, "Users of other servers are invited once the room is there")
	}
	return h.auth.mayBeInvited(target, d.sender)
}

// withField is a JSON object with one member set.
func withField(object json.RawMessage, name string, value any) json.RawMessage {
	out, err := sjson.SetBytes(object, escapePath(name), value)
	if err != nil {
		return object // the object is not one, which canonicalContent will refuse
	}
	return out
}

// escapePath makes a member's name a path of sjson.
func escapePath(name string) string {
	var b []byte
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '.', '*', '?', '|', '#', '@', '\\', ':':
			b = append(b, '\\')
		}
		b = append(b, name[i])
	}
	return string(b)
}
