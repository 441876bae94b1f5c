package storage

import (
	"errors"
	"slices"

	"github.com/hearthd/hearth/internal/id"
)

// ChangeDeviceList notes that the devices or cross-signing keys of a user have changed, at the position that it takes and returns with the
// local users who follow them: the user, and everybody with whom the user shares a room, encrypted or not. Ring their keys on commit.
//
// Spec: client-server-api#tracking-the-device-list-for-a-user
func (tx *Tx) ChangeDeviceList(user id.UserID) (pos int64, followers []id.UserID, err error) {
	if pos, err = tx.NextPos(); err != nil {
		return 0, nil, err
	}
	member, err := tx.intern(string(user))
	if err != nil {
		return 0, nil, err
	}
	_, err = tx.exec(`insert into device_list_changes (member, pos) values ($1, $2)
		on conflict (member) do update set pos = excluded.pos`, member, pos)
	if err != nil {
		return 0, nil, err
	}
	nids, err := collect(&tx.ReadTx, scanOne[int64], `select distinct n.member from memberships m join memberships n on n.room = m.room
		where m.member = $1 and m.membership = 'join' and n.membership = 'join' and n.local = 1 and n.member <> $1`, member)
	if err != nil {
		return 0, nil, err
	}
	if followers, err = tx.userNames(nids); err != nil {
		return 0, nil, err
	}
	followers = append(followers, user)
	tx.OnCommit(func() {
		for _, u := range followers {
			tx.store.watchers.set(u, pos)
		}
	})
	return pos, followers, nil
}

// ChangeDeviceListFor notes that one user alone sees others' keys differently, at a position just taken with NextPos: their signatures on
// them are new. Ring the user's key on commit.
func (tx *Tx) ChangeDeviceListFor(user id.UserID, pos int64) {
	tx.OnCommit(func() { tx.store.watchers.set(user, pos) })
}

func (tx *ReadTx) userNames(nids []int64) ([]id.UserID, error) {
	if err := tx.warmWords(nids); err != nil {
		return nil, err
	}
	out := make([]id.UserID, len(nids))
	for i, n := range nids {
		name, err := tx.word(n)
		if err != nil {
			return nil, err
		}
		out[i] = id.UserID(name)
	}
	return out, nil
}

// DeviceListChanges is what a user who has followed the device lists of others up to the position since must know now. changed are those
// whose devices or keys have changed, the user among them, and those with whom the user has come to share a room; left are those with whom
// the user has stopped to share any. Nobody is in both. Inside a View, Settled must have returned for its position.
//
// Spec: client-server-api#e2e-extensions-to-sync
func (tx *ReadTx) DeviceListChanges(user id.UserID, since int64) (changed, left []id.UserID, err error) {
	keysQuiet := tx.writer == nil && tx.store.watchers.unchanged(user, since)
	roomsQuiet := tx.writer == nil && tx.store.states.quiet(since)
	if keysQuiet && roomsQuiet {
		return nil, nil, nil
	}
	member, err := tx.wordNID(string(user))
	if errors.Is(err, ErrNotFound) {
		return nil, nil, nil // nothing was ever stored about them
	}
	if err != nil {
		return nil, nil, err
	}
	news := follow{met: map[int64]bool{}, parted: map[int64]bool{}}
	if !roomsQuiet {
		if err := tx.changedCompany(&news, user, member, since); err != nil {
			return nil, nil, err
		}
	}
	if !keysQuiet {
		if err := tx.changedKeys(&news, user, member, since); err != nil {
			return nil, nil, err
		}
	}
	return tx.settleCompany(news, member)
}

// follow is who may have come into, or gone out of, a user's sight.
type follow struct {
	met    map[int64]bool // surely to be told as changed
	parted map[int64]bool // to be told as left, unless there is another room
}

// changedKeys adds those whose keys have changed, of those whom the user shares a room with, and those whom the user has signed.
func (tx *ReadTx) changedKeys(f *follow, user id.UserID, member, since int64) error {
	nids, err := collect(tx, scanOne[int64], `select c.member from device_list_changes c where c.pos > $2 and (c.member = $1 or exists
		(select 1 from memberships m join memberships n on n.room = m.room
			where m.member = $1 and m.membership = 'join' and n.member = c.member and n.membership = 'join'))`, member, since)
	if err != nil {
		return err
	}
	signed, err := collect(tx, scanOne[int64], `select distinct w.nid from key_signatures s join words w on w.value = s.user_id
		where s.signer = $1 and s.pos > $2`, user, since)
	if err != nil {
		return err
	}
	for _, n := range append(nids, signed...) {
		f.met[n] = true
	}
	return nil
}

// changedCompany adds those who have joined or left rooms of the user, and all in rooms that the user has joined or left.
func (tx *ReadTx) changedCompany(f *follow, user id.UserID, self, since int64) error {
	rooms, err := tx.MembershipsOf(user)
	if err != nil {
		return err
	}
	for i := range rooms {
		m := &rooms[i]
		joined := m.Membership == "join"
		if !joined && m.Pos <= since || tx.writer == nil && tx.store.states.unchanged(m.Room, since) {
			continue
		}
		moved, err := tx.movedMembers(m.Room, since)
		if err != nil {
			return err
		}
		was, same := moved[self]
		if !same {
			was = joined
		}
		switch {
		case was && joined:
			for n, before := range moved {
				// Who was in the room and is not among the joined any more has left, who was not has come.
				if before {
					f.parted[n] = true
				} else {
					f.met[n] = true
				}
			}
		case joined:
			err = tx.addJoined(f.met, m.Room)
		case was:
			for n, before := range moved {
				if before {
					f.parted[n] = true
				}
			}
			err = tx.addJoined(f.parted, m.Room)
		}
		if err != nil {
			return err
		}
	}
	delete(f.parted, self)
	delete(f.met, self)
	return nil
}

func (tx *ReadTx) addJoined(to map[int64]bool, room int64) error {
	nids, err := collect(tx, scanOne[int64], `select member from memberships where room = $1 and membership = 'join'`, room)
	for _, n := range nids {
		to[n] = true
	}
	return err
}

// movedMembers is who has joined a room that they were not in after a position, or is out of one that they were in; the value is whether
// they were in it before.
func (tx *ReadTx) movedMembers(room, since int64) (map[int64]bool, error) {
	typ, err := tx.wordNID("m.room.member")
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	type change struct{ member, before int64 }
	changes, err := collect(tx, func(r rowScanner) (c change, err error) {
		err = r.Scan(&c.member, &c.before)
		return c, err
	}, `select c.state_key, coalesce((select p.event from state_changes p
			where p.room = c.room and p.type = c.type and p.state_key = c.state_key and p.pos <= $3 order by p.pos desc limit 1), 0)
		from (select distinct room, type, state_key from state_changes where room = $1 and pos > $3 and type = $2) c`, room, typ, since)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	var events, members []int64
	for _, c := range changes {
		members = append(members, c.member)
		if c.before != 0 {
			events = append(events, c.before)
		}
	}
	before, err := tx.EventsAt(events)
	if err != nil {
		return nil, err
	}
	was := map[int64]bool{}
	for _, ev := range before {
		was[ev.Pos] = ev.Get("content.membership").Str == "join"
	}
	now, err := collect(tx, scanOne[int64], `select member from memberships where room = $1 and membership = 'join' and `+tx.inInts("member", 2),
		room, list(members))
	if err != nil {
		return nil, err
	}
	in := map[int64]bool{}
	for _, n := range now {
		in[n] = true
	}
	out := map[int64]bool{}
	for _, c := range changes {
		if was[c.before] != in[c.member] {
			out[c.member] = was[c.before]
		}
	}
	return out, nil
}

// settleCompany names those whom a user has met, and those whom the user has parted from for good.
func (tx *ReadTx) settleCompany(f follow, self int64) (changed, left []id.UserID, err error) {
	var gone []int64
	for n := range f.parted {
		gone = append(gone, n)
	}
	if len(gone) > 0 {
		still, err := collect(tx, scanOne[int64], `select distinct n.member from memberships m join memberships n on n.room = m.room
			where m.member = $1 and m.membership = 'join' and n.membership = 'join' and `+tx.inInts("n.member", 2), self, list(gone))
		if err != nil {
			return nil, nil, err
		}
		for _, n := range still {
			delete(f.parted, n)
		}
	}
	var met []int64
	for n := range f.met {
		if !f.parted[n] {
			met = append(met, n)
		}
	}
	gone = gone[:0]
	for n := range f.parted {
		gone = append(gone, n)
	}
	if changed, err = tx.userNames(met); err != nil {
		return nil, nil, err
	}
	left, err = tx.userNames(gone)
	slices.Sort(changed)
	slices.Sort(left)
	return changed, left, err
}
