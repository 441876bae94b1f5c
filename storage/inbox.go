package storage

import (
	"sync"

	"github.com/hearthd/hearth/internal/id"
)

// InboxEmpty reports whether a device surely has no messages stored. It answers from memory: false may also mean that nobody has looked.
func (s *Store) InboxEmpty(user id.UserID, device id.DeviceID) bool {
	return s.inbox.isEmpty(deviceKey{user, device})
}

// InboxSize is about how many bytes wait for a device, with messageOverhead for each message. It mostly answers from memory, which knows of what
// was committed.
func (tx *Tx) InboxSize(user id.UserID, device id.DeviceID) (int64, error) {
	k := deviceKey{user, device}
	if size, known := tx.store.inbox.size(k); known {
		return size, nil
	}
	var size int64
	err := tx.queryRow(`select coalesce(sum(octet_length(content) + $3), 0) from to_device where user_id = $1 and device_id = $2`,
		user, device, messageOverhead).Scan(&size)
	if err == nil {
		tx.store.inbox.count(k, size)
	}
	return size, err
}

// messageOverhead is about what a message takes besides its content, in bytes.
const messageOverhead = 256

// inbox knows the last positions of messages to devices, when a device was seen to have none, and how much waits for some.
type inbox struct {
	*marks[deviceKey]
	seeing sync.Mutex
	empty  map[deviceKey]int64
	sizes  map[deviceKey]int64 // an estimate: what is written while others count may be in it twice, until some is taken
}

const maxEmptyInboxes = 1 << 16

func newInbox(floor int64) *inbox {
	return &inbox{marks: newMarks[deviceKey](floor), empty: map[deviceKey]int64{}, sizes: map[deviceKey]int64{}}
}

// put notes a message at pos.
func (i *inbox) put(k deviceKey, pos, size int64) {
	i.set(k, pos)
	i.seeing.Lock()
	defer i.seeing.Unlock()
	if before, known := i.sizes[k]; known {
		i.sizes[k] = before + size
	}
}

// taken notes that messages of a device were removed: how much is left has to be counted.
func (i *inbox) taken(k deviceKey) {
	i.seeing.Lock()
	defer i.seeing.Unlock()
	delete(i.sizes, k)
}

func (i *inbox) size(k deviceKey) (size int64, known bool) {
	i.seeing.Lock()
	defer i.seeing.Unlock()
	size, known = i.sizes[k]
	return size, known
}

func (i *inbox) count(k deviceKey, size int64) {
	i.seeing.Lock()
	defer i.seeing.Unlock()
	if len(i.sizes) >= maxEmptyInboxes {
		clear(i.sizes)
	}
	i.sizes[k] = size
}

// emptyAt notes that a snapshot at pos had no messages for a device.
func (i *inbox) emptyAt(k deviceKey, pos int64) {
	i.seeing.Lock()
	defer i.seeing.Unlock()
	if len(i.empty) >= maxEmptyInboxes {
		clear(i.empty)
	}
	i.empty[k] = max(pos, i.empty[k])
}

func (i *inbox) isEmpty(k deviceKey) bool {
	i.seeing.Lock()
	pos, seen := i.empty[k]
	i.seeing.Unlock()
	return seen && i.unchanged(k, pos)
}
