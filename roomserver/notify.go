package roomserver

import (
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// notify counts the event as unread for those local users whose push rules say so, and has their pushers told of it.
func (h *head) notify(e *storage.Event) error {
	if err := h.readBySending(e); err != nil {
		return err
	}
	members, err := h.auth.joined()
	if err != nil || len(members) == 0 {
		return err
	}
	found, err := h.s.accounts.Notifications(&h.tx.ReadTx, h.room(), e, members)
	if err != nil || len(found) == 0 {
		return err
	}
	var plain, highlight []id.UserID
	for _, n := range found {
		switch {
		case n.User == e.Sender:
		case n.Highlight:
			highlight = append(highlight, n.User)
		default:
			plain = append(plain, n.User)
		}
	}
	thread, err := h.tx.ThreadOf(e)
	if err != nil {
		return err
	}
	if len(plain) > 0 {
		if err := h.tx.CountUnread(e.Room, thread, plain, others(members, plain), false); err != nil {
			return err
		}
	}
	if len(highlight) > 0 {
		if err := h.tx.CountUnread(e.Room, thread, highlight, others(members, highlight), true); err != nil {
			return err
		}
	}
	return h.s.peers.Pushers.Notify(h.tx, e, found)
}

// readBySending marks as read what came before a user's own message in its thread: who answers has read. State is not counted as an answer,
// for people change it without looking: with their name, they change their membership of all rooms. Nor is what was written long ago, to be sent
// now.
//
// Spec: client-server-api#marking-notifications-as-read
func (h *head) readBySending(e *storage.Event) error {
	if e.StateKey != nil || e.Type == "m.room.redaction" || !h.s.local(e.Sender) || e.TxnDevice == storage.DelayedDevice {
		return nil
	}
	thread, err := h.tx.ThreadOf(e)
	if err != nil {
		return err
	}
	some, err := h.tx.ReadThread(e.Sender, e.Room, thread)
	if err != nil || !some {
		return err
	}
	return h.s.peers.Pushers.Recounted(h.tx, e.Sender)
}

// others is the members who are not among users; both are in the same order.
func others(members []storage.Member, users []id.UserID) []id.UserID {
	out := make([]id.UserID, 0, len(members)-len(users))
	for _, m := range members {
		if len(users) > 0 && users[0] == m.User {
			users = users[1:]
			continue
		}
		out = append(out, m.User)
	}
	return out
}

// notifyInvited has the pushers of a user of ours told of an invite, before the membership m says so. Nobody else is told of events of rooms
// that they are not in.
//
// Spec: client-server-api#default-override-rules
func (s *Server) notifyInvited(tx *storage.Tx, room *storage.Room, e *storage.Event, m storage.Membership) error {
	was, err := tx.Membership(room.NID, m.User)
	if err != nil && !isNotFound(err) {
		return err
	}
	if was.Event == m.Event { // the invite was here before the room was, and told of then
		return nil
	}
	// An event of the room comes even if the user refuses the invite, where that was not asked for here.
	invites, err := visibility.LoadInvites(&tx.ReadTx, m.User)
	if err != nil || invites.From(e.Sender) != visibility.Welcome {
		return err
	}
	found, err := s.accounts.Notifications(&tx.ReadTx, room, e, []storage.Member{{User: m.User, Name: m.Name}})
	if err != nil {
		return err
	}
	return s.peers.Pushers.Notify(tx, e, found)
}

// clearUnread forgets what is unread for a user who has left the room.
func (h *head) clearUnread(user id.UserID) error {
	if err := h.tx.ClearUnread(user, h.room().NID); err != nil {
		return err
	}
	return h.s.peers.Pushers.Recounted(h.tx, user)
}
