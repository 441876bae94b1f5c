package sliding

import (
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// Filter chooses rooms of the user's list. Nil is no wish.
//
// Spec: MSC4186#slidingroomfilter
type Filter struct {
	DM           *bool       `json:"is_dm"`
	Spaces       []id.RoomID `json:"spaces"`
	Encrypted    *bool       `json:"is_encrypted"`
	Invited      *bool       `json:"is_invited"`
	Invite       *bool       `json:"is_invite"` // in the experiments
	RoomTypes    []*string   `json:"room_types"`
	NotRoomTypes []*string   `json:"not_room_types"`
	NameLike     string      `json:"room_name_like"` // in the experiments
	Tags         []string    `json:"tags"`
	NotTags      []string    `json:"not_tags"`
}

func (f *Filter) check() error {
	if f.Invited == nil {
		f.Invited = f.Invite
	}
	for _, n := range []int{len(f.Spaces), len(f.RoomTypes), len(f.NotRoomTypes), len(f.Tags), len(f.NotTags)} {
		if n > maxItems {
			return merr.Newf(merr.InvalidParam, "A filter has a list of more than %d items", maxItems)
		}
	}
	if len(f.NameLike) > maxText {
		return merr.Newf(merr.InvalidParam, "room_name_like is longer than %d bytes", maxText)
	}
	return nil
}

// Room is what a filter looks at.
type Room struct {
	ID         id.RoomID
	Invited    bool
	Encrypted  bool
	Name, Type string
}

// Company is what a filter looks at beside a room; each is asked for only by filters that need it.
type Company struct {
	DMs    func() (map[id.RoomID]bool, error)
	Tags   func() (map[id.RoomID][]string, error)
	Spaces func(spaces []id.RoomID) (map[id.RoomID]bool, error) // the rooms in any of some spaces
}

// Test makes the filter ready for rooms in some company. A nil function lets all rooms through.
func (f *Filter) Test(company Company) (func(r *Room) bool, error) {
	var tests []func(r *Room) bool
	add := func(test func(r *Room) bool) { tests = append(tests, test) }
	if f.Invited != nil {
		add(func(r *Room) bool { return r.Invited == *f.Invited })
	}
	if f.Encrypted != nil {
		add(func(r *Room) bool { return r.Encrypted == *f.Encrypted })
	}
	if f.RoomTypes != nil {
		add(func(r *Room) bool { return hasType(f.RoomTypes, r.Type) })
	}
	if f.NotRoomTypes != nil {
		add(func(r *Room) bool { return !hasType(f.NotRoomTypes, r.Type) })
	}
	if f.NameLike != "" {
		like := strings.ToLower(f.NameLike)
		add(func(r *Room) bool { return strings.Contains(strings.ToLower(r.Name), like) })
	}
	if f.DM != nil {
		dms, err := company.DMs()
		if err != nil {
			return nil, err
		}
		add(func(r *Room) bool { return dms[r.ID] == *f.DM })
	}
	if f.Spaces != nil {
		rooms, err := company.Spaces(f.Spaces)
		if err != nil {
			return nil, err
		}
		add(func(r *Room) bool { return rooms[r.ID] })
	}
	if f.Tags != nil || f.NotTags != nil {
		tags, err := company.Tags()
		if err != nil {
			return nil, err
		}
		has := func(r *Room, wanted []string) bool {
			return slices.ContainsFunc(tags[r.ID], func(t string) bool { return slices.Contains(wanted, t) })
		}
		add(func(r *Room) bool { return (f.Tags == nil || has(r, f.Tags)) && !has(r, f.NotTags) })
	}
	if len(tests) == 0 {
		return nil, nil
	}
	return func(r *Room) bool {
		for _, test := range tests {
			if !test(r) {
				return false
			}
		}
		return true
	}, nil
}

// hasType looks for the type of a room, which is empty for a room without: null in a list.
func hasType(list []*string, typ string) bool {
	return slices.ContainsFunc(list, func(t *string) bool { return t == nil && typ == "" || t != nil && *t == typ && typ != "" })
}
