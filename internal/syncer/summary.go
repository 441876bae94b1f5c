package syncer

import (
	"fmt"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/storage"
)

// maxHeroes is how many members a nameless room is named after.
const maxHeroes = 5

// summary is how clients show a room without knowing its members.
type summary struct {
	joined, invited int64
	nameless        bool
	name, avatar    string
	heroes          []storage.Membership
}

func newSummary(r *storage.Room) *summary {
	return &summary{joined: r.Summary.Joined, invited: r.Summary.Invited, nameless: r.Summary.Name == "" && r.Summary.CanonicalAlias == "",
		name: r.Summary.Name, avatar: r.Summary.AvatarURL}
}

// loadSummary reads the summary of the room.
//
// Spec: client-server-api#get_matrixclientv3sync
func (r *room) loadSummary() (*summary, error) {
	row := r.ahead.rooms[r.m.Room]
	if row == nil {
		var err error
		if row, err = r.tx.RoomByNID(r.m.Room); err != nil {
			return nil, fmt.Errorf("load the room: %w", err)
		}
	}
	s := newSummary(row)
	if !s.nameless {
		return s, nil
	}
	return s, r.nameAfter(s)
}

// nameAfter finds the members after whom a nameless room is named.
func (r *room) nameAfter(s *summary) error {
	if members, read := r.ahead.heroes[r.m.Room]; read {
		r.takeHeroes(s, members)
	} else if err := r.heroes(s, "join", "invite"); err != nil {
		return err
	}
	if len(s.heroes) > 0 {
		return nil
	}
	return r.heroes(s, "leave", "ban")
}

func (r *room) heroes(s *summary, memberships ...string) error {
	for _, membership := range memberships {
		if membership == "invite" && s.invited == 0 || membership == "join" && s.joined <= 1 {
			continue
		}
		members, err := r.tx.FirstMembers(r.m.Room, membership, maxHeroes+1)
		if err != nil {
			return fmt.Errorf("load heroes: %w", err)
		}
		r.takeHeroes(s, members)
	}
	return nil
}

// takeHeroes adds members as far as there is place for them.
func (r *room) takeHeroes(s *summary, members []storage.Membership) {
	for _, m := range members {
		if m.User != r.User && len(s.heroes) < maxHeroes {
			s.heroes = append(s.heroes, m)
		}
	}
}

// summary writes the summary.
func (r *room) summary(o *opened, s *summary) {
	r.member(o, `"summary":{`)
	if s.nameless {
		r.buf = append(r.buf, `"m.heroes":[`...)
		for i, hero := range s.heroes {
			if i > 0 {
				r.buf = append(r.buf, ',')
			}
			r.buf = gjson.AppendJSONString(r.buf, string(hero.User))
		}
		r.buf = append(r.buf, `],`...)
	}
	r.buf = append(r.buf, `"m.invited_member_count":`...)
	r.buf = strconv.AppendInt(r.buf, s.invited, 10)
	r.buf = append(r.buf, `,"m.joined_member_count":`...)
	r.buf = strconv.AppendInt(r.buf, s.joined, 10)
	r.buf = append(r.buf, '}')
}
