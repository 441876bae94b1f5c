package syncer

import (
	"fmt"

	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// ahead is what an initial sync has read of some of the rooms that it is about to write, of all of them at once: a few queries for each room
// take longer than what they find.
type ahead struct {
	rooms     map[int64]*storage.Room
	heroes    map[int64][]storage.Membership // of nameless rooms, joined before invited
	histories map[int64]*visibility.History
	state     map[int64][]*storage.Event // the state that is wanted
}

// The bounds of what is read at once.
const (
	maxAhead        = 128   // rooms
	maxAheadMembers = 10000 // members of all of them together, but for the first room
)

// readAhead makes sure that what there is to know of the first of some rooms has been read, together with that of those that come next.
func (l *look) readAhead(next []storage.Membership) error {
	if !l.initial || l.ahead.histories[next[0].Room] != nil {
		return nil
	}
	nids := make([]int64, min(len(next), maxAhead))
	for i := range nids {
		nids[i] = next[i].Room
	}
	var a ahead
	var err error
	if a.rooms, err = l.tx.Rooms(nids); err != nil {
		return fmt.Errorf("load rooms: %w", err)
	}
	var nameless []int64
	members := int64(0)
	for i, nid := range nids {
		row := a.rooms[nid]
		if row == nil {
			return fmt.Errorf("load room %d: %w", nid, storage.ErrNotFound)
		}
		if members += row.Summary.Joined; i > 0 && members > maxAheadMembers {
			nids = nids[:i]
			break
		}
		if newSummary(row).nameless {
			nameless = append(nameless, nid)
		}
	}
	if len(nameless) > 0 {
		if a.heroes, err = l.tx.FirstMembersOf(nameless, maxHeroes+1, "join", "invite"); err != nil {
			return fmt.Errorf("load heroes: %w", err)
		}
	}
	if a.histories, err = visibility.LoadAll(l.tx, nids, l.User); err != nil {
		return err
	}
	if a.state, err = l.tx.CurrentStates(nids, l.everyMember()); err != nil {
		return fmt.Errorf("load the states of rooms: %w", err)
	}
	l.ahead = a
	return nil
}
