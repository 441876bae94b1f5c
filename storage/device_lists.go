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
	abroad bool           // the user has joined a room with users of other servers, to which the user's own devices are new
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
		moves, err := tx.memberMoves(m.Room, since)
		if err != nil {
			return err
		}
		own, moved := moves[self]
		if !moved {
			own = move{was: joined, is: joined}
		}
		if err := tx.company(f, m.Room, own, moves); err != nil {
			return err
		}
	}
	delete(f.parted, self)
	// Spec: server-server-api#device-management: the devices are announced then, and the user's own clients hear of it like everybody else.
	if !f.abroad {
		delete(f.met, self)
	}
	return nil
}

// company adds what the moves of members of one room mean to a user whose own move is known.
func (tx *ReadTx) company(f *follow, room int64, own move, moves map[int64]move) error {
	if own.was {
		for n, m := range moves {
			if m.was && !m.is {
				f.parted[n] = true
			}
		}
	}
	switch {
	case own.is && own.was && !own.away:
		for n, m := range moves {
			// Who was away meanwhile has changed devices without the user's hearing of it.
			if m.is && (!m.was || m.away) {
				f.met[n] = true
			}
		}
		return nil
	case own.is:
		remote, err := tx.addJoined(f.met, room)
		f.abroad = f.abroad || remote
		return err
	case own.was:
		_, err := tx.addJoined(f.parted, room)
		return err
	}
	return nil
}

// addJoined adds who is joined to a room, and reports whether there are users of other servers among them.
func (tx *ReadTx) addJoined(to map[int64]bool, room int64) (remote bool, err error) {
	type member struct {
		nid   int64
		local bool
	}
	members, err := collect(tx, func(r rowScanner) (m member, err error) {
		err = r.Scan(&m.nid, &m.local)
		return m, err
	}, `select member, local from memberships where room = $1 and membership = 'join'`, room)
	for _, m := range members {
		to[m.nid] = true
		remote = remote || !m.local
	}
	return remote, err
}

// move is how a member's place in a room has changed.
type move struct {
	was, is bool // joined before and after
	away    bool // not joined at some time in between
}

// memberMoves is the moves of members of a room after a position.
func (tx *ReadTx) memberMoves(room, since int64) (map[int64]move, error) {
	typ, err := tx.wordNID("m.room.member")
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	type change struct{ member, event int64 }
	scan := func(r rowScanner) (c change, err error) {
		err = r.Scan(&c.member, &c.event)
		return c, err
	}
	changes, err := collect(tx, scan, `select state_key, event from state_changes where room = $1 and pos > $3 and type = $2 order by pos`,
		room, typ, since)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	members := make([]int64, len(changes))
	for i, c := range changes {
		members[i] = c.member
	}
	slices.Sort(members)
	before, err := collect(tx, scan, `select l.value, coalesce((select p.event from state_changes p
			where p.room = $1 and p.type = $2 and p.state_key = l.value and p.pos <= $3 order by p.pos desc limit 1), 0)
		from `+tx.ints(4)+` l`, room, typ, since, list(slices.Compact(members)))
	if err != nil {
		return nil, err
	}
	positions := make([]int64, 0, len(changes)+len(before))
	for _, c := range slices.Concat(before, changes) {
		if c.event != 0 {
			positions = append(positions, c.event)
		}
	}
	events, err := tx.EventsAt(positions)
	if err != nil {
		return nil, err
	}
	joins := map[int64]bool{}
	for _, ev := range events {
		joins[ev.NID] = ev.Get("content.membership").Str == "join"
	}
	out := make(map[int64]move, len(before))
	for _, c := range before {
		out[c.member] = move{was: joins[c.event]}
	}
	for _, c := range changes {
		m := out[c.member]
		m.is = joins[c.event]
		m.away = m.away || !m.is
		out[c.member] = m
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
		still, err := collect(tx, scanOne[int64], `select l.value from `+tx.ints(2)+` l
			where exists (select 1 from memberships m join memberships n on n.room = m.room and n.member = l.value
				where m.member = $1 and m.membership = 'join' and n.membership = 'join')`, self, list(gone))
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
