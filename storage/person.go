package storage

import (
	"encoding/json"
	"strings"

	"github.com/hearthd/hearth/internal/id"
)

// Person is a user as the user directory shows them. Empty strings stand for what is not set.
type Person struct {
	ID          id.UserID
	DisplayName string
	AvatarURL   string
}

// likePattern is a pattern for texts that have a lower-case word in them, to be used with escape '\'. It leaves out NUL, which PostgreSQL
// refuses.
func likePattern(word string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, "\x00", "").Replace(word) + "%"
}

// isASCII reports whether both databases fold the case of a text in the same way.
func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}

// LocalPeople is accounts of this server whose id or display name has a lower-case word in it, at most limit of them. They are not guests
// and not deactivated. With a word that is not ASCII there may be others among them too.
func (tx *ReadTx) LocalPeople(word string, limit int) ([]Person, error) {
	pattern := "%"
	if isASCII(word) {
		pattern = likePattern(word)
	}
	return collect(tx, func(r rowScanner) (p Person, err error) {
		var name, avatar *string
		if err = r.Scan(&p.ID, &name, &avatar); err == nil {
			p.DisplayName, p.AvatarURL = profileText(name), profileText(avatar)
		}
		return p, err
	}, `select u.user_id, n.value, a.value from users u
		left join profiles n on n.user_id = u.user_id and n.field = 'displayname'
		left join profiles a on a.user_id = u.user_id and a.field = 'avatar_url'
		where u.guest = 0 and u.deactivated_ts = 0
		and (lower(u.user_id) like $1 escape '\' or lower(coalesce(n.value, '')) like $1 escape '\')
		order by u.user_id limit $2`, pattern, limit)
}

// profileText is a field of a profile that should be a string.
func profileText(value *string) string {
	var text string
	if value == nil || json.Unmarshal([]byte(*value), &text) != nil {
		return ""
	}
	return text
}

// Meets is which of several users are joined to a room that is open to everybody, by its join rule or its history, or that the viewer is
// joined to as well.
//
// Spec: client-server-api#post_matrixclientv3user_directorysearch
func (tx *ReadTx) Meets(viewer id.UserID, users []id.UserID) (map[id.UserID]bool, error) {
	found, err := collect(tx, scanOne[id.UserID], `select distinct w.value from words w
		join memberships m on m.member = w.nid and m.membership = 'join'
		join rooms r on r.nid = m.room
		where `+tx.inTexts("w.value", 1)+` and (r.join_rule = 'public' or r.history_visibility = 'world_readable'
		or m.room in (select o.room from memberships o join words v on v.nid = o.member where v.value = $2 and o.membership = 'join'))`,
		list(users), string(viewer))
	out := make(map[id.UserID]bool, len(found))
	for _, u := range found {
		out[u] = true
	}
	return out, err
}

// RemotePeople is LocalPeople for users of other servers, as rooms know them that are open to everybody or that the viewer is joined to.
func (tx *ReadTx) RemotePeople(viewer id.UserID, word string, limit int) ([]Person, error) {
	pattern := "%"
	if isASCII(word) {
		pattern = likePattern(word)
	}
	return collect(tx, func(r rowScanner) (p Person, err error) {
		err = r.Scan(&p.ID, &p.DisplayName, &p.AvatarURL)
		return p, err
	}, `select w.value, max(m.name), max(m.avatar_url) from rooms r
		join memberships m on m.room = r.nid and m.membership = 'join' and m.local = 0
		join words w on w.nid = m.member
		where (r.join_rule = 'public' or r.history_visibility = 'world_readable'
		or r.nid in (select o.room from memberships o join words v on v.nid = o.member where v.value = $1 and o.membership = 'join'))
		and (lower(w.value) like $2 escape '\' or lower(m.name) like $2 escape '\')
		group by w.value order by w.value limit $3`, string(viewer), pattern, limit)
}
