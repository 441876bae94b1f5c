package edu

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// FullyRead is the account data that says up to where a room is fully read.
const FullyRead = "m.fully_read"

// maxTail is how many events after a receipt are looked at to count what is unread.
const maxTail = 1000

// Receipt is a wish of a user to have read up to an event.
type Receipt struct {
	Type   string // storage.Read, storage.ReadPrivate or FullyRead
	Event  id.EventID
	Thread string // as storage.Receipt has it
}

// SetReceipts moves receipts of a user in a room forward, and recounts what the user has not read. A receipt that would go back changes
// nothing. Errors: M_FORBIDDEN for who is not in the room, M_NOT_FOUND for an event that is not in it, M_INVALID_PARAM for a thread that the
// event is not in.
//
// Spec: client-server-api#receipts
func (s *Service) SetReceipts(ctx context.Context, room id.RoomID, user id.UserID, receipts ...Receipt) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		row, member, err := joined(&tx.ReadTx, room, user)
		if err != nil {
			return err
		}
		moved := map[string]bool{}
		var public, set []storage.Receipt
		for _, r := range receipts {
			ev, err := tx.EventInRoom(row.NID, r.Event)
			if errors.Is(err, storage.ErrNotFound) {
				return merr.New(merr.NotFound, "There is no such event in the room")
			}
			if err != nil {
				return err
			}
			if r.Type == FullyRead {
				err = s.setFullyRead(tx, room, user, ev)
			} else {
				now := storage.Receipt{Room: row.NID, User: user, Type: r.Type, Thread: r.Thread, TS: s.clock.Now().UnixMilli()}
				var ok bool
				if ok, err = s.setReceipt(tx, &now, ev); ok {
					moved[r.Thread] = true
					set = append(set, now)
				}
				if ok && r.Type == storage.Read {
					public = append(public, now)
				}
			}
			if err != nil {
				return err
			}
		}
		if len(moved) == 0 {
			return nil
		}
		if err := s.recount(tx, row, member, moved); err != nil {
			return err
		}
		if err := s.spreadReceipts(tx, row, public); err != nil {
			return err
		}
		return s.announce(tx, row, user, set)
	})
}

// setReceipt completes a receipt for an event and stores it, unless there is one that is as far.
func (s *Service) setReceipt(tx *storage.Tx, r *storage.Receipt, ev *storage.Event) (bool, error) {
	err := checkThread(&tx.ReadTx, r.Thread, ev)
	if err != nil {
		return false, err
	}
	r.Event, r.At = ev.ID, ev.Pos
	if r.Pos, err = tx.NextPos(); err != nil {
		return false, err
	}
	return tx.SetReceipt(*r)
}

// checkThread refuses a receipt for an event that is not in the receipt's thread. A root, and what relates to it, is in the main timeline,
// but may also be the place up to which the thread is read.
func checkThread(tx *storage.ReadTx, thread string, ev *storage.Event) error {
	if thread == "" || string(ev.ID) == thread {
		return nil
	}
	ancestors, err := tx.Ancestors(ev)
	if err != nil {
		return err
	}
	ok := thread == storage.MainThread
	for _, r := range ancestors {
		if thread == storage.MainThread {
			ok = ok && r.RelType != "m.thread"
		} else {
			ok = ok || string(r.Parent) == thread
		}
	}
	if !ok {
		return merr.Newf(merr.InvalidParam, "The event %s is not in the thread %s", ev.ID, thread)
	}
	return nil
}

// setFullyRead moves the read marker, which does not go back either.
//
// Spec: client-server-api#fully-read-markers
func (s *Service) setFullyRead(tx *storage.Tx, room id.RoomID, user id.UserID, ev *storage.Event) error {
	old, err := tx.AccountData(user, room, FullyRead)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if err == nil {
		at, err := tx.EventInRoom(ev.Room, id.EventID(gjson.GetBytes(old.Content, "event_id").Str))
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if err == nil && at.Pos >= ev.Pos {
			return nil
		}
	}
	content, err := json.Marshal(struct {
		EventID id.EventID `json:"event_id"`
	}{ev.ID})
	if err != nil {
		return err
	}
	pos, err := tx.NextPos()
	if err != nil {
		return err
	}
	tx.OnCommit(func() { s.hub.Ring(pos, hub.User(user)) })
	return tx.SetAccountData(user, storage.AccountData{RoomID: room, Type: FullyRead, Content: content, Pos: pos})
}

// announce tells who may know of receipts that have moved: everybody in the room, or nobody but the user where they are private.
func (s *Service) announce(tx *storage.Tx, room *storage.Room, user id.UserID, set []storage.Receipt) error {
	var all hub.Crowd
	if slices.ContainsFunc(set, func(r storage.Receipt) bool { return r.Type != storage.ReadPrivate }) {
		var err error
		if all, err = s.crowds.find(&tx.ReadTx, room); err != nil {
			return err
		}
		tx.OnCommit(func() { s.crowds.keep(room.NID, crowd{room.State, all}) })
	}
	pos, err := tx.Position()
	if err != nil {
		return err
	}
	tx.OnCommit(func() {
		s.hub.RingCrowd(pos, all, hub.User(user), ReceiptsKey(room.ID))
		for i := range set {
			s.report(News{Receipt: &set[i], Room: room.ID})
		}
	})
	return nil
}

// recount counts what the user has not read after their receipts, in the threads of those that have moved: nothing, mostly, else the events
// that notify and come after them.
//
// Spec: client-server-api#marking-notifications-as-read
func (s *Service) recount(tx *storage.Tx, room *storage.Room, member storage.Membership, moved map[string]bool) error {
	unread, err := tx.UnreadOf(member.User, room.NID)
	if err != nil {
		return err
	}
	unread = slices.DeleteFunc(unread, func(u storage.Unread) bool { return !moved[""] && !moved[receiptThread(u.Thread)] })
	if len(unread) == 0 {
		return nil
	}
	receipts, err := tx.ReceiptsOf(room.NID, member.User)
	if err != nil {
		return err
	}
	read := readUpTo(receipts)
	from := room.LastPos
	for _, u := range unread {
		from = min(from, read.in(u.Thread))
	}
	counts, err := s.countAfter(tx, room, member, read, from)
	if err != nil {
		return err
	}
	changed := false
	for _, u := range unread {
		now := counts[u.Thread]
		// Reading cannot make more of it: what is beyond the tail stays counted.
		now.Room, now.Thread = room.NID, u.Thread
		now.Notify, now.Highlight = min(now.Notify, u.Notify), min(now.Highlight, u.Highlight)
		if now != u {
			changed = true
			if err := tx.SetUnread(member.User, room, now); err != nil {
				return err
			}
		}
	}
	if !changed || s.options.Pushers == nil {
		return nil
	}
	return s.options.Pushers.Recounted(tx, member.User)
}

// marks is up to where each thread is read; everywhere is the unthreaded receipt.
type marks struct {
	everywhere int64
	threads    map[string]int64
}

func readUpTo(receipts []storage.Receipt) marks {
	m := marks{threads: map[string]int64{}}
	for _, r := range receipts {
		if r.Thread == "" {
			m.everywhere = max(m.everywhere, r.At)
		} else {
			m.threads[r.Thread] = max(m.threads[r.Thread], r.At)
		}
	}
	return m
}

func (m marks) in(thread id.EventID) int64 {
	return max(m.everywhere, m.threads[receiptThread(thread)])
}

// receiptThread is what receipts call a thread.
func receiptThread(root id.EventID) string {
	if root == "" {
		return storage.MainThread
	}
	return string(root)
}

// countAfter applies the push rules to the newest events after a position that are not read.
func (s *Service) countAfter(tx *storage.Tx, room *storage.Room, member storage.Membership, read marks, from int64) (map[id.EventID]storage.Unread, error) {
	counts := map[id.EventID]storage.Unread{}
	if from >= room.LastPos {
		return counts, nil
	}
	// What was sent before the user came notifies nobody.
	tail, err := tx.Timeline(room.NID, storage.Span{After: from, UpTo: room.LastPos}, maxTail, true)
	if err != nil {
		return nil, err
	}
	for _, ev := range tail {
		thread, err := tx.ThreadOf(ev)
		if err != nil {
			return nil, err
		}
		if ev.Pos <= read.in(thread) || ev.Sender == member.User {
			continue
		}
		o, err := s.notifier.Outcome(&tx.ReadTx, room, ev, storage.Member{User: member.User, Name: member.Name})
		if err != nil {
			return nil, err
		}
		if !o.Notify {
			continue
		}
		c := counts[thread]
		c.Notify++
		if o.Highlight {
			c.Highlight++
		}
		counts[thread] = c
	}
	return counts, nil
}
