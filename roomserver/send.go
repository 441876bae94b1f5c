package roomserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

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
}

// Send adds an event to a room and returns its id. A repeated Txn, and a state event that would change nothing, get the id of the event that
// is there already. Errors: M_FORBIDDEN, M_BAD_JSON, M_TOO_LARGE, M_BAD_ALIAS, M_NOT_FOUND.
//
// Spec: client-server-api#sending-events-to-a-room
func (s *Server) Send(ctx context.Context, r SendRequest) (id.EventID, error) {
	return s.once(ctx, r.Room, r.Txn, func(h *head) (id.EventID, error) { return h.send(r) })
}

func (h *head) send(r SendRequest) (id.EventID, error) {
	if err := h.mustBeJoined(r.Sender); err != nil {
		return "", err
	}
	if r.Type == spec.MRoomRedaction && r.StateKey == nil {
		target := id.EventID(text(gjson.GetBytes(r.Content, "redacts")))
		return h.sendRedaction(r, target)
	}
	d := draft{typ: r.Type, stateKey: r.StateKey, sender: r.Sender, content: r.Content, ts: r.TS, txn: r.Txn}
	if r.StateKey != nil {
		if unchanged, err := h.sameState(d); err != nil || unchanged != "" {
			return unchanged, err
		}
		if err := h.checkState(d); err != nil {
			return "", err
		}
	} else if err := h.checkAnnotation(d); err != nil {
		return "", err
	}
	e, err := h.add(d)
	if err != nil {
		return "", err
	}
	if d.typ == spec.MRoomGuestAccess && h.room().Summary.GuestAccess != "can_join" {
		return e.ID, h.ejectGuests()
	}
	return e.ID, nil
}

// once runs fn on a room, or finds the answer that an earlier request with the same Txn got.
func (s *Server) once(ctx context.Context, room id.RoomID, txn storage.Txn, fn func(h *head) (id.EventID, error)) (event id.EventID, err error) {
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		if txn.ID != "" {
			answer, err := tx.TxnAnswer(txn)
			if err == nil {
				event = id.EventID(answer)
				return nil
			}
			if !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
		h, err := s.open(tx, room)
		if err != nil {
			return err
		}
		if event, err = fn(h); err != nil {
			return err
		}
		if err := h.finish(); err != nil {
			return err
		}
		if txn.ID == "" {
			return nil
		}
		return tx.SaveTxnAnswer(txn, string(event), s.clock.Now().UnixMilli())
	})
	return event, err
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
	content, err := canonicalContent(d.content, h.auth.version)
	if err != nil {
		return "", err
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
		return merr.New(merr.Forbidden, "A room has one create event, its first")
	case spec.MRoomCanonicalAlias:
		return h.checkCanonicalAlias(d)
	case spec.MRoomMember:
		return checkMember(d)
	}
	return nil
}

// checkAnnotation keeps a user from annotating an event twice with the same key.
//
// Spec: client-server-api#avoiding-duplicate-annotations
func (h *head) checkAnnotation(d draft) error {
	rel := gjson.ParseBytes(d.content).Get("m\\.relates_to")
	if text(rel.Get("rel_type")) != "m.annotation" {
		return nil
	}
	again, err := h.tx.Annotated(id.EventID(text(rel.Get("event_id"))), d.typ, text(rel.Get("key")), d.sender)
	if err == nil && again {
		err = merr.New(merr.DuplicateAnnotation, "You have annotated this event with the same key already")
	}
	return err
}

// checkMember keeps a client from claiming what only the server may say in a membership event.
func checkMember(d draft) error {
	if gjson.GetBytes(d.content, "join_authorised_via_users_server").Exists() {
		return merr.New(merr.BadJSON, "join_authorised_via_users_server is set by the server")
	}
	if _, err := id.ParseUserID(*d.stateKey); err != nil {
		return merr.New(merr.BadJSON, "The state key of a membership must be a user id")
	}
	return nil
}

// Redact asks for the removal of an event's content and returns the id of the redaction. content may hold a reason. An event that is not here
// may be redacted as well: other servers may know it.
//
// Spec: client-server-api#redactions
func (s *Server) Redact(ctx context.Context, r SendRequest, target id.EventID) (id.EventID, error) {
	r.Type = spec.MRoomRedaction
	return s.once(ctx, r.Room, r.Txn, func(h *head) (id.EventID, error) {
		if err := h.mustBeJoined(r.Sender); err != nil {
			return "", err
		}
		return h.sendRedaction(r, target)
	})
}

func (h *head) sendRedaction(r SendRequest, target id.EventID) (id.EventID, error) {
	if _, err := id.ParseEventID(string(target)); err != nil {
		return "", merr.New(merr.InvalidParam, "There is no such event to redact")
	}
	t, err := h.tx.EventInRoom(h.room().NID, target)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	p, err := h.auth.power()
	if err != nil {
		return "", err
	}
	// Everybody may redact what they have sent; other events need the level. Spec: client-server-api#redactions
	if (t == nil || t.Sender != r.Sender) && p.user(r.Sender) < p.Redact {
		if t != nil {
			return "", merr.New(merr.Forbidden, "You may not redact the events of others in this room")
		}
	}
	content := r.Content
	if len(content) == 0 {
		content = json.RawMessage("{}")
	}
	e, err := h.add(draft{typ: r.Type, sender: r.Sender, content: content, redacts: target, ts: r.TS, txn: r.Txn})
	if err != nil {
		return "", err
	}
	return e.ID, nil
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
