package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// Redact asks for the removal of an event's content and returns the id of the redaction. content may hold a reason. An event that is not here
// may be redacted as well: other servers may know it.
//
// Spec: client-server-api#redactions
func (s *Server) Redact(ctx context.Context, r SendRequest, target id.EventID) (id.EventID, error) {
	r.Type = spec.MRoomRedaction
	return s.once(ctx, r, target, func(h *head) (id.EventID, error) {
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
	if t != nil {
		if err := h.mayRedact(r.Sender, t); err != nil {
			return "", err
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

// mayRedact says who may redact an event: its sender, and who has the level for the events of others. Nobody may redact the create event:
// without its content, the auth rules of old room versions would take the room for one of version 1.
func (h *head) mayRedact(user id.UserID, target *storage.Event) error {
	if target.IsState(spec.MRoomCreate, "") {
		return merr.New(merr.Forbidden, "The create event of a room cannot be redacted")
	}
	if target.Sender == user {
		return nil
	}
	p, err := h.auth.power()
	if err == nil && p.User(user) < p.Redact {
		err = merr.New(merr.Forbidden, "You may not redact the events of others in this room")
	}
	return err
}

// redactionTarget is the event that an event redacts; empty for none.
func redactionTarget(e *storage.Event, version gomatrixserverlib.IRoomVersion) id.EventID {
	if e.Type != spec.MRoomRedaction || e.StateKey != nil {
		return ""
	}
	field := "redacts"
	if redactsInContent(version) {
		field = "content.redacts"
	}
	target, err := id.ParseEventID(text(e.Get(field)))
	if err != nil {
		return ""
	}
	return target
}

// redact applies a redaction to its target if that is in the same room and the sender may redact it. A target that is not here yet is redacted
// when it comes.
//
// Spec: rooms#handling-redactions
func (h *head) redact(by *storage.Event, target id.EventID) error {
	t, err := h.tx.Event(target)
	switch {
	case isNotFound(err), err == nil && t.Status != storage.Accepted && t.Status != storage.Outlier:
		return h.tx.AddPendingRedaction(target, by.NID)
	case err != nil:
		return err
	case t.Room != by.Room || t.RedactedBy != 0:
		return nil
	}
	if holds, err := h.redactionHolds(by, t); err != nil || !holds {
		return err
	}
	redacted, err := pdu.Redact(h.auth.version, t.JSON)
	if err != nil {
		return fmt.Errorf("redact %s: %w", target, err)
	}
	if err := h.tx.RedactEvent(t, by.NID, redacted); err != nil {
		return err
	}
	if err := h.tx.RemoveFromSearch(t.NID); err != nil {
		return err
	}
	if t.StateKey != nil {
		// Now, for the Updates that share the commit with this one, and with the commit, for what those before have yet to put there.
		state, s := h.room().State, h.s
		s.cache.drop(state)
		h.tx.OnCommit(func() { s.cache.drop(state) })
		h.auth.snap = newSnapshot()
		h.tx.Note(snapshotNote(state), h.auth.snap)
		if err := h.resummarise(t); err != nil {
			return err
		}
	}
	return h.tx.DropRelation(t.NID)
}

// redactionHolds says whether an accepted redaction has an effect: its sender has the level for it, or both senders are of the same server,
// which then has seen to it. Room versions 1 and 2 have an auth rule for that.
//
// Spec: rooms/v3#handling-redactions
func (h *head) redactionHolds(by, target *storage.Event) (bool, error) {
	if target.IsState(spec.MRoomCreate, "") {
		return false, nil
	}
	if by.Sender.Server() == target.Sender.Server() || h.auth.version.EventFormat() == gomatrixserverlib.EventFormatV1 {
		return true, nil
	}
	state, err := h.stateOf(by)
	if err != nil {
		return false, err
	}
	p, err := authrules.Power(h.auth.version, state)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil && p.User(by.Sender) >= p.Redact, err
}

// redactLate applies the redactions of an event that were here before it.
func (h *head) redactLate(e *storage.Event) error {
	waiting, err := h.tx.PendingRedactions(e.ID)
	if err != nil || len(waiting) == 0 {
		return err
	}
	for _, nid := range waiting {
		by, err := h.tx.EventAt(nid)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := h.redact(by, e.ID); err != nil {
			return err
		}
	}
	return h.tx.DropPendingRedactions(e.ID)
}

// resummarise brings the summary and the membership row in line with a redacted state event, if that is current.
func (h *head) resummarise(t *storage.Event) error {
	key := storage.StateKey{Type: t.Type, Key: *t.StateKey}
	now, err := h.auth.get(key)
	if err != nil || now == nil || now.nid != t.NID {
		return err
	}
	if key.Type == spec.MRoomMember {
		return h.tx.ClearMemberProfile(t.Room, id.UserID(key.Key))
	}
	summarise(&h.room().Summary, key, gjson.ParseBytes(now.pdu.Content()))
	return nil
}
