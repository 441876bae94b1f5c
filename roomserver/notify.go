package roomserver

import (
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
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
	v, err := h.s.accounts.Verdict(&h.tx.ReadTx, h.room(), e, members)
	if err != nil || !v.Rest.Notify && len(v.Apart) == 0 {
		return err
	}
	thread, err := h.tx.ThreadOf(e)
	if err != nil {
		return err
	}
	if thread == "" {
		err = h.countInMain(v)
	} else {
		err = h.countInThread(thread, v, members)
	}
	if err != nil {
		return err
	}
	return h.s.peers.Pushers.Notify(h.tx, e, v, members)
}

// countInMain counts an event of the main timeline: once for all, and the difference for those to whom it is something else.
func (h *head) countInMain(v push.Verdict) error {
	all := counts(v.Rest)
	h.room().Notified += all.notify
	h.room().Highlighted += all.highlight
	differ := map[tally][]id.UserID{}
	for user, o := range v.Apart {
		if one := counts(o); one != all {
			d := tally{one.notify - all.notify, one.highlight - all.highlight}
			differ[d] = append(differ[d], user)
		}
	}
	for d, users := range differ {
		if err := h.tx.CountUnread(h.room().NID, users, d.notify, d.highlight); err != nil {
			return err
		}
	}
	return nil
}

func (h *head) countInThread(thread id.EventID, v push.Verdict, members []storage.Member) error {
	users := map[tally][]id.UserID{}
	for _, m := range members {
		t := counts(v.Of(m.User))
		users[t] = append(users[t], m.User)
	}
	for t, users := range users {
		if t.notify == 0 {
			continue
		}
		if err := h.tx.CountInThread(h.room().NID, thread, users, t.highlight > 0); err != nil {
			return err
		}
	}
	return nil
}

// tally is how much an event adds to the counts of a user.
type tally struct{ notify, highlight int64 }

func counts(o push.Outcome) (t tally) {
	if o.Notify {
		t.notify = 1
	}
	if o.Notify && o.Highlight {
		t.highlight = 1
	}
	return t
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
	some, err := h.tx.ReadThread(e.Sender, h.room(), thread)
	if err != nil || !some {
		return err
	}
	return h.s.peers.Pushers.Recounted(h.tx, e.Sender)
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
	member := storage.Member{User: m.User, Name: m.Name}
	o, err := s.accounts.Outcome(&tx.ReadTx, room, e, member)
	if err != nil {
		return err
	}
	return s.peers.Pushers.Notify(tx, e, push.Verdict{Rest: o}, []storage.Member{member})
}

// clearUnread forgets what is unread for a user who has left the room.
func (h *head) clearUnread(user id.UserID) error {
	if err := h.tx.ClearUnread(user, h.room().NID); err != nil {
		return err
	}
	return h.s.peers.Pushers.Recounted(h.tx, user)
}
