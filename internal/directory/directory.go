// Package directory finds rooms and people for somebody who is not there yet, here and on other servers: the published rooms, what spaces
// contain, summaries of single rooms, where aliases lead, and other users. It refuses to show history: what it tells of a room is its summary.
package directory

import (
	"errors"
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Entry is a room in a list.
//
// Spec: client-server-api#get_matrixclientv3publicrooms
type Entry struct {
	RoomID         id.RoomID `json:"room_id"`
	Name           string    `json:"name,omitempty"`
	Topic          string    `json:"topic,omitempty"`
	CanonicalAlias string    `json:"canonical_alias,omitempty"`
	AvatarURL      string    `json:"avatar_url,omitempty"`
	Joined         int64     `json:"num_joined_members"`
	WorldReadable  bool      `json:"world_readable"`
	GuestCanJoin   bool      `json:"guest_can_join"`
	JoinRule       string    `json:"join_rule,omitempty"`
	Type           string    `json:"room_type,omitempty"`
}

func entry(room *storage.Room) Entry {
	s := &room.Summary
	return Entry{
		RoomID: room.ID, Name: s.Name, Topic: s.Topic, CanonicalAlias: s.CanonicalAlias, AvatarURL: s.AvatarURL, Joined: s.Joined,
		WorldReadable: worldReadable(room), GuestCanJoin: s.GuestAccess == "can_join", JoinRule: s.JoinRule, Type: s.Type,
	}
}

func worldReadable(room *storage.Room) bool {
	return room.Summary.HistoryVisibility == "world_readable"
}

// Summary is what is told of a single room.
//
// Spec: client-server-api#get_matrixclientv1room_summaryroomidoralias
type Summary struct {
	Entry
	AllowedRooms []id.RoomID                   `json:"allowed_room_ids,omitempty"`
	Encryption   string                        `json:"encryption,omitempty"`
	Version      gomatrixserverlib.RoomVersion `json:"room_version"`
	Membership   string                        `json:"membership,omitempty"` // of the asking user
}

// finder looks at rooms for one user, or for nobody where user is empty.
type finder struct {
	tx      *storage.ReadTx
	user    id.UserID
	members map[id.RoomID]string // of the user
}

func newFinder(tx *storage.ReadTx, user id.UserID) (*finder, error) {
	f := &finder{tx: tx, user: user, members: map[id.RoomID]string{}}
	if user == "" {
		return f, nil
	}
	memberships, err := tx.MembershipsOf(user)
	for _, m := range memberships {
		f.members[m.RoomID] = m.Membership
	}
	return f, err
}

// summary describes a room of this server, and says whether the user may know of it.
func (f *finder) summary(room *storage.Room) (s Summary, visible bool, err error) {
	s = Summary{Entry: entry(room), Encryption: room.Summary.Encryption, Version: room.Version}
	if s.restricted() {
		if s.AllowedRooms, err = f.allowed(room); err != nil {
			return s, false, err
		}
	}
	return s, f.mayKnow(&s), nil
}

func (s *Summary) restricted() bool {
	return s.JoinRule == "restricted" || s.JoinRule == "knock_restricted"
}

// mayKnow says whether the user may know of a room: because of being in it, being able to enter it or to knock, or because everybody can look
// inside. It notes the user's membership in the summary.
//
// Spec: client-server-api#get_matrixclientv1roomsroomidhierarchy
func (f *finder) mayKnow(s *Summary) bool {
	membership := f.members[s.RoomID]
	visible := membership == "join" || membership == "invite" || s.WorldReadable
	switch s.JoinRule {
	case "public", "knock", "knock_restricted":
		visible = true
	case "restricted":
		visible = visible || slices.ContainsFunc(s.AllowedRooms, func(other id.RoomID) bool { return f.members[other] == "join" })
	}
	// Somebody who is banned could not enter, whatever the join rule says.
	if membership == "ban" && !s.WorldReadable {
		visible = false
	}
	if f.user != "" {
		s.Membership = membership
		if membership == "" {
			s.Membership = "leave"
		}
	}
	return visible
}

// maxAllowed bounds the rooms that a join rule may name.
const maxAllowed = 200

// allowed is the rooms whose members may join.
func (f *finder) allowed(room *storage.Room) ([]id.RoomID, error) {
	rules, err := f.tx.CurrentStateKey(room.NID, storage.StateKey{Type: "m.room.join_rules"})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []id.RoomID
	rules.Get("content.allow").ForEach(func(_, rule gjson.Result) bool {
		if rule.Get("type").Str == "m.room_membership" {
			if other, err := id.ParseRoomID(rule.Get("room_id").Str); err == nil {
				out = append(out, other)
			}
		}
		return len(out) < maxAllowed
	})
	return out, nil
}
