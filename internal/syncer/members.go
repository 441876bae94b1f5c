package syncer

import (
	"sync"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
)

// sentMembers remembers which members of rooms devices that load them lazily have been told of, by the position of the token that the answer
// carried: a device knows of what came with a token no newer than the one it comes back with. After that it hears of every change. What is
// forgotten is told again.
//
// Spec: client-server-api#lazy-loading-room-members
type sentMembers struct {
	mu      sync.Mutex
	share   *budget.Share
	devices map[deviceKey]*sentTo
	size    int
}

type deviceKey struct {
	user   id.UserID
	device id.DeviceID
	conn   int64 // of sliding sync, 0 for others
}

type sentTo struct {
	rooms map[int64]map[id.UserID]int64
	size  int
}

// sentBytes is what one user of a device takes.
const sentBytes = 100

func newSentMembers(share *budget.Share) *sentMembers {
	return &sentMembers{share: share, devices: map[deviceKey]*sentTo{}}
}

// forget begins anew with a device, which has no token.
func (s *sentMembers) forget(k deviceKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(k)
}

// forgetRoom begins anew with one room of a device.
func (s *sentMembers) forgetRoom(k deviceKey, room int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.devices[k]; d != nil {
		d.size -= len(d.rooms[room])
		s.size -= len(d.rooms[room])
		delete(d.rooms, room)
	}
}

func (s *sentMembers) drop(k deviceKey) {
	if d := s.devices[k]; d != nil {
		s.size -= d.size
		delete(s.devices, k)
	}
}

// unknown is the users whom a device that comes with the token position since has not been told of.
func (s *sentMembers) unknown(k deviceKey, room, since int64, users []id.UserID) []id.UserID {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[k]
	s.share.Asked(d != nil)
	if d == nil {
		return users
	}
	var out []id.UserID
	for _, u := range users {
		if at, ok := d.rooms[room][u]; !ok || at > since {
			out = append(out, u)
		}
	}
	return out
}

// sent notes that a device is told of a user in the answer with the token position next.
func (s *sentMembers) sent(k deviceKey, room, next int64, user id.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[k]
	if d == nil {
		d = &sentTo{rooms: map[int64]map[id.UserID]int64{}}
		s.devices[k] = d
	}
	if d.rooms[room] == nil {
		d.rooms[room] = map[id.UserID]int64{}
	}
	if _, ok := d.rooms[room][user]; !ok {
		d.size++
		s.size++
		for other := range s.devices {
			if s.share.Hold(sentBytes * s.size) {
				break
			}
			s.drop(other)
		}
	}
	d.rooms[room][user] = next
}
