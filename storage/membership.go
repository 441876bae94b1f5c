package storage

import (
	"errors"
	"slices"

	"github.com/hearthd/hearth/internal/id"
)

// Membership is a user's place in a room, as the room's current state has it.
type Membership struct {
	User       id.UserID
	Room       int64
	RoomID     id.RoomID
	Membership string // join, invite, leave, ban or knock
	Event      int64  // position of the event, 0 where we have none
	Pos        int64  // when it became so
	Sender     id.UserID
	Forgotten  bool
	Name       string // displayname of the event
	AvatarURL  string
	Stripped   string // JSON array of stripped state, with an invite or knock
}

const membershipColumns = `member, room, membership, event, pos, sender, forgotten, name, avatar_url, stripped`

type membershipRow struct {
	Membership
	member, sender int64
}

func scanMembership(r rowScanner) (*membershipRow, error) {
	m := &membershipRow{}
	err := r.Scan(&m.member, &m.Room, &m.Membership.Membership, &m.Event, &m.Pos, &m.sender, &m.Forgotten, &m.Name, &m.AvatarURL, &m.Stripped)
	return m, err
}

func (tx *ReadTx) memberships(rows []*membershipRow, err error) ([]Membership, error) {
	if err != nil {
		return nil, err
	}
	nids, rooms := make([]int64, 0, len(rows)+1), make([]int64, len(rows))
	for i, r := range rows {
		nids, rooms[i] = append(nids, r.member), r.Room
		if r.sender != r.member {
			nids = append(nids, r.sender)
		}
	}
	if err := errors.Join(tx.warmWords(nids), tx.warmRooms(rooms)); err != nil {
		return nil, err
	}
	out := make([]Membership, len(rows))
	for i, r := range rows {
		m := r.Membership
		user, err := tx.word(r.member)
		if err != nil {
			return nil, err
		}
		sender, err := tx.word(r.sender)
		if err != nil {
			return nil, err
		}
		if m.RoomID, err = tx.RoomID(m.Room); err != nil {
			return nil, err
		}
		m.User, m.Sender = id.UserID(user), id.UserID(sender)
		out[i] = m
	}
	return out, nil
}

// Membership is a user's membership of one room.
func (tx *ReadTx) Membership(room int64, user id.UserID) (Membership, error) {
	member, err := tx.wordNID(string(user))
	if err != nil {
		return Membership{}, err
	}
	r, err := scanMembership(tx.queryRow(`select `+membershipColumns+` from memberships where member = $1 and room = $2`, member, room))
	if err != nil {
		return Membership{}, err
	}
	out, err := tx.memberships([]*membershipRow{r}, nil)
	if err != nil {
		return Membership{}, err
	}
	return out[0], nil
}

// MembershipsOf is all rooms that a user has ever had to do with. The list may be shared: nobody may change it.
func (tx *ReadTx) MembershipsOf(user id.UserID) ([]Membership, error) {
	e, err := tx.membershipsOf(user)
	return e.list, err
}

// MembershipsTouched is those of MembershipsOf that came about after a position or are of one of some rooms, each once. What it costs does
// not grow with the rooms that are neither, unless a membership is as new as that.
func (tx *ReadTx) MembershipsTouched(user id.UserID, after int64, rooms []id.RoomID) ([]Membership, error) {
	e, err := tx.membershipsOf(user)
	if err != nil {
		return nil, err
	}
	var out []Membership
	seen := make(map[id.RoomID]bool, len(rooms))
	for _, room := range rooms {
		if i, ok := e.rooms[room]; ok && !seen[room] {
			seen[room] = true
			out = append(out, e.list[i])
		}
	}
	if e.pos > after {
		for i := range e.list {
			if m := &e.list[i]; m.Pos > after && !seen[m.RoomID] {
				out = append(out, *m)
			}
		}
	}
	return out, nil
}

func (tx *ReadTx) membershipsOf(user id.UserID) (e cachedMemberships, err error) {
	if tx.writer == nil {
		if e, ok := tx.store.members.get(user, tx.pos); ok {
			return e, nil
		}
	}
	member, err := tx.wordNID(string(user))
	if errors.Is(err, ErrNotFound) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	list, err := tx.memberships(collect(tx, scanMembership, `select `+membershipColumns+` from memberships where member = $1`, member))
	if err != nil {
		return e, err
	}
	e = newCachedMemberships(list)
	if tx.writer == nil {
		tx.store.members.add(user, kept[cachedMemberships]{e, e.pos, sizeOf(list)}, tx.members)
	}
	return e, nil
}

// cachedMemberships is what MembershipsOf answers.
type cachedMemberships struct {
	list  []Membership
	rooms map[id.RoomID]int // where in the list they are
	pos   int64             // of the newest of them
}

func newCachedMemberships(list []Membership) cachedMemberships {
	e := cachedMemberships{list: list, rooms: make(map[id.RoomID]int, len(list))}
	for i := range list {
		e.rooms[list[i].RoomID] = i
		e.pos = max(e.pos, list[i].Pos)
	}
	return e
}

// sizeOf estimates. An invite can be large: its stripped state has the room's topic in it.
func sizeOf(list []Membership) int {
	n := 100
	for i := range list {
		m := &list[i]
		n += 300 + len(m.Name) + len(m.AvatarURL) + len(m.Stripped)
	}
	return n
}

// Members is the members of a room with one membership, such as "join".
func (tx *ReadTx) Members(room int64, membership string) ([]Membership, error) {
	return tx.memberships(collect(tx, scanMembership, `select `+membershipColumns+` from memberships where room = $1 and membership = $2`,
		room, membership))
}

// FirstMembers is up to limit members of a room with one membership, longest members first.
func (tx *ReadTx) FirstMembers(room int64, membership string, limit int) ([]Membership, error) {
	return tx.memberships(collect(tx, scanMembership, `select `+membershipColumns+` from memberships where room = $1 and membership = $2
		order by pos limit $3`, room, membership, limit))
}

// FirstMembersOf is FirstMembers for some rooms and memberships, by room, in the order of the memberships.
func (tx *ReadTx) FirstMembersOf(rooms []int64, limit int, memberships ...string) (map[int64][]Membership, error) {
	list, err := tx.memberships(collect(tx, scanMembership, `select `+membershipColumns+`
		from `+tx.ints(1)+` r cross join `+tx.texts(2)+` s cross join memberships m
		where m.room = r.value and m.member in (
			select f.member from memberships f where f.room = r.value and f.membership = s.value order by f.pos limit $3)
		order by m.room, m.pos`, list(rooms), list(memberships), limit))
	out := make(map[int64][]Membership, len(rooms))
	for _, membership := range memberships {
		for _, m := range list {
			if m.Membership == membership {
				out[m.Room] = append(out[m.Room], m)
			}
		}
	}
	return out, err
}

// Member is a user in a room under the name that the room knows them by.
type Member struct {
	User id.UserID
	Name string
}

// UserIDs is the users that members are, in the same order.
func UserIDs(members []Member) []id.UserID {
	users := make([]id.UserID, len(members))
	for i, m := range members {
		users[i] = m.User
	}
	return users
}

// LocalJoined is the users of this server who are joined to a room.
func (tx *ReadTx) LocalJoined(room int64) ([]Member, error) {
	return collect(tx, func(r rowScanner) (m Member, err error) {
		err = r.Scan(&m.User, &m.Name)
		return m, err
	}, `select w.value, m.name from memberships m join words w on w.nid = m.member
		where m.room = $1 and m.membership = 'join' and m.local = 1 order by m.member`, room)
}

// AnyLocalJoined reports whether a user of this server is joined to a room.
func (tx *ReadTx) AnyLocalJoined(room int64) (found bool, err error) {
	err = tx.queryRow(`select exists(select 1 from memberships where room = $1 and membership = 'join' and local = 1)`, room).Scan(&found)
	return found, err
}

// JoinedGuests is the guests of this server who are joined to a room.
func (tx *ReadTx) JoinedGuests(room int64) ([]id.UserID, error) {
	return collect(tx, scanOne[id.UserID], `select u.user_id from memberships m join words w on w.nid = m.member
		join users u on u.user_id = w.value and u.guest = 1
		where m.room = $1 and m.membership = 'join' and m.local = 1 order by u.user_id`, room)
}

// SharesRoom reports whether two users are both joined to some room.
func (tx *ReadTx) SharesRoom(a, b id.UserID) (bool, error) {
	rooms, err := tx.MutualRooms(a, b)
	return len(rooms) > 0, err
}

// MutualRooms is the rooms to which both users are joined, in no order.
func (tx *ReadTx) MutualRooms(a, b id.UserID) ([]id.RoomID, error) {
	x, err := tx.wordNID(string(a))
	if err == nil {
		var y int64
		if y, err = tx.wordNID(string(b)); err == nil {
			return collect(tx, scanOne[id.RoomID], `select r.room_id from memberships m join memberships n on n.room = m.room
				join rooms r on r.nid = m.room
				where m.member = $1 and m.membership = 'join' and n.member = $2 and n.membership = 'join'`, x, y)
		}
	}
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return nil, err
}

// SetMembership writes a user's membership; it makes a forgotten room known again. local says that the user is of this server.
func (tx *Tx) SetMembership(m Membership, local bool) error {
	member, err := tx.intern(string(m.User))
	if err != nil {
		return err
	}
	sender, err := tx.intern(string(m.Sender))
	if err != nil {
		return err
	}
	l := 0
	if local {
		l = 1
	}
	tx.OnCommit(func() { tx.store.members.drop(m.User) })
	_, err = tx.exec(`insert into memberships (member, room, membership, event, pos, sender, local, name, avatar_url, stripped)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		on conflict (member, room) do update set membership = excluded.membership, event = excluded.event, pos = excluded.pos,
		sender = excluded.sender, local = excluded.local, forgotten = 0, name = excluded.name, avatar_url = excluded.avatar_url,
		stripped = excluded.stripped`,
		member, m.Room, m.Membership, m.Event, m.Pos, sender, l, m.Name, m.AvatarURL, m.Stripped)
	return err
}

// ClearMemberProfile removes the name and the avatar of a user in a room, whose membership event has been redacted.
func (tx *Tx) ClearMemberProfile(room int64, user id.UserID) error {
	member, err := tx.wordNID(string(user))
	if err != nil {
		return err
	}
	tx.OnCommit(func() { tx.store.members.drop(user) })
	_, err = tx.exec(`update memberships set name = '', avatar_url = '' where member = $1 and room = $2`, member, room)
	return err
}

// ForgetRoom marks a room that the user has left as forgotten.
func (tx *Tx) ForgetRoom(room int64, user id.UserID) error {
	member, err := tx.wordNID(string(user))
	if err != nil {
		return err
	}
	tx.OnCommit(func() { tx.store.members.drop(user) })
	_, err = tx.exec(`update memberships set forgotten = 1 where member = $1 and room = $2`, member, room)
	return err
}

// UsersOfServer is the users of another server that a room has, or ever had, in it or at its door.
func (tx *ReadTx) UsersOfServer(room int64, server id.ServerName) ([]id.UserID, error) {
	// The condition is not exact: it takes names in any case, and a port for a name. It keeps most of a large room's members away.
	users, err := collect(tx, scanOne[id.UserID], `select w.value from memberships m join words w on w.nid = m.member
		where m.room = $1 and w.value like $2`, room, "%:"+string(server))
	return slices.DeleteFunc(users, func(u id.UserID) bool { return u.Server() != server }), err
}
