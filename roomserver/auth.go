package roomserver

import (
	"errors"
	"fmt"
	"sync"

	lru "container/list"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// authEvent is a state event in the form that the auth rules want.
type authEvent struct {
	nid    int64
	id     id.EventID
	pdu    authrules.Event
	levels authrules.Event // pdu with its levels read, once somebody has asked for the power levels
}

// snapshot is what the roomserver remembers of one state snapshot. A snapshot never changes, so neither does what is known of it; it only
// becomes more. Absent state is remembered as nil. It is used inside Updates only, which run one after the other, so it needs no lock.
type snapshot struct {
	events  *stateEvents
	joined  []storage.Member // local users who are joined, once known; never changed in place
	crowd   hub.Crowd        // of the same users in the same order, once they were rung
	known   bool
	servers []id.ServerName // the other servers in the room; nil while not known
}

// size estimates the bytes of a snapshot. Events and names are shared with others of its room, so they count a little in each.
func (s *snapshot) size() int {
	return 300 + 256*s.events.len() + 100*len(s.joined) + 8*len(s.crowd) + 32*len(s.servers)
}

// snapshotCache maps the numbers of committed snapshots to what is known of them. Numbers of snapshots that were rolled back are used again,
// so nothing is added before its commit.
type snapshotCache struct {
	mu    sync.Mutex
	share *budget.Share
	bytes int
	order *lru.List
	byNID map[int64]*lru.Element
}

type cached struct {
	nid int64
	*snapshot
	size int // when it was put here; it grows by what it is asked for
}

func newSnapshot() *snapshot { return &snapshot{events: newStateEvents()} }

func newSnapshotCache(share *budget.Share) *snapshotCache {
	return &snapshotCache{share: share, order: lru.New(), byNID: map[int64]*lru.Element{}}
}

func (c *snapshotCache) get(nid int64) *snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byNID[nid]
	c.share.Asked(el != nil)
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(cached).snapshot
}

func (c *snapshotCache) put(nid int64, s *snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byNID[nid]; el != nil {
		c.remove(el)
	}
	size := s.size()
	c.byNID[nid] = c.order.PushFront(cached{nid, s, size})
	c.bytes += size
	for !c.share.Hold(c.bytes) && c.order.Len() > 1 {
		c.remove(c.order.Back())
	}
}

func (c *snapshotCache) remove(el *lru.Element) {
	old := c.order.Remove(el).(cached)
	delete(c.byNID, old.nid)
	c.bytes -= old.size
}

// drop forgets a snapshot, because an event of it has been redacted.
func (c *snapshotCache) drop(nid int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byNID[nid]; el != nil {
		c.remove(el)
	}
}

// snapshotNote is the key of the note about a snapshot that the Updates before, of the same commit, have left.
type snapshotNote int64

// remembered is what is known of the current state of a room, as far as anything is.
func (s *Server) remembered(tx *storage.Tx, state int64) *snapshot {
	if snap, ok := tx.Noted(snapshotNote(state)); ok {
		return snap.(*snapshot)
	}
	if snap := s.cache.get(state); snap != nil {
		return snap
	}
	return newSnapshot()
}

// copy is a snapshot that may become another one.
func (s *snapshot) copy() *snapshot {
	return &snapshot{events: s.events.copy(), joined: s.joined, crowd: s.crowd, known: s.known, servers: s.servers}
}

// authState is the state of a room, as the auth rules see it: an authrules.State that loads what it is asked for.
type authState struct {
	tx      *storage.ReadTx
	room    *storage.Room
	version gomatrixserverlib.IRoomVersion
	snap    *snapshot
	past    bool  // it is the state of the snapshot at, not the current one
	at      int64 // 0 is the empty state
}

// get finds the event of a piece of current state; nil if there is none.
func (a *authState) get(key storage.StateKey) (*authEvent, error) {
	e, ok := a.snap.events.find(key)
	if ok {
		return e, nil
	}
	stored, err := a.load(key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	if err == nil {
		if e, err = toAuthEvent(stored, a.version); err != nil {
			return nil, err
		}
	}
	a.snap.events.set(key, e)
	return e, nil
}

func (a *authState) load(key storage.StateKey) (*storage.Event, error) {
	if !a.past {
		return a.tx.CurrentStateKey(a.room.NID, key)
	}
	if a.at == 0 {
		return nil, storage.ErrNotFound
	}
	nid, err := a.tx.StateKeyAt(a.at, key)
	if err != nil {
		return nil, err
	}
	return a.tx.EventAt(nid)
}

func toAuthEvent(e *storage.Event, version gomatrixserverlib.IRoomVersion) (*authEvent, error) {
	pdu, err := version.NewEventFromTrustedJSONWithEventID(string(e.ID), e.JSON, e.RedactedBy != 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", e.ID, err)
	}
	return &authEvent{nid: e.NID, id: e.ID, pdu: pdu}, nil
}

func (a *authState) pdu(typ, key string) (authrules.Event, error) {
	e, err := a.get(storage.StateKey{Type: typ, Key: key})
	if err != nil || e == nil {
		return nil, err
	}
	return e.pdu, nil
}

// Create implements authrules.State.
func (a *authState) Create() (authrules.Event, error) { return a.pdu(spec.MRoomCreate, "") }

// JoinRules implements authrules.State.
func (a *authState) JoinRules() (authrules.Event, error) { return a.pdu(spec.MRoomJoinRules, "") }

// PowerLevels implements authrules.State. Every event asks for them.
func (a *authState) PowerLevels() (authrules.Event, error) {
	e, err := a.get(storage.StateKey{Type: spec.MRoomPowerLevels})
	if err != nil || e == nil {
		return nil, err
	}
	if e.levels == nil {
		e.levels = authrules.ReadLevels(a.version, e.pdu)
	}
	return e.levels, nil
}

// Member implements authrules.State.
func (a *authState) Member(user spec.SenderID) (authrules.Event, error) {
	return a.pdu(spec.MRoomMember, string(user))
}

// ThirdPartyInvite implements authrules.State.
func (a *authState) ThirdPartyInvite(key string) (authrules.Event, error) {
	return a.pdu(spec.MRoomThirdPartyInvite, key)
}

// membership is a user's membership as the state has it, and the content of the event.
func (a *authState) membership(user id.UserID) (string, gjson.Result, error) {
	e, err := a.get(storage.StateKey{Type: spec.MRoomMember, Key: string(user)})
	if err != nil || e == nil {
		return spec.Leave, gjson.Result{}, err
	}
	content := gjson.ParseBytes(e.pdu.Content())
	return content.Get("membership").String(), content, nil
}

// servers is the other servers in the room.
func (a *authState) servers() ([]id.ServerName, error) {
	if a.snap.servers != nil {
		return a.snap.servers, nil
	}
	servers, err := a.tx.ServersInRoom(a.room.NID)
	if err == nil {
		a.snap.servers = servers
	}
	return servers, err
}

// joined is the local users who are joined to the room.
func (a *authState) joined() ([]storage.Member, error) {
	if a.snap.known {
		return a.snap.joined, nil
	}
	users, err := a.tx.LocalJoined(a.room.NID)
	if err == nil {
		a.snap.joined, a.snap.known = users, true
	}
	return users, err
}

// authEvents is the ids that the event has to name in auth_events.
//
// Spec: server-server-api#auth-events-selection
func (a *authState) authEvents(d draft) ([]id.EventID, error) {
	out := []id.EventID{}
	for _, key := range authrules.Select(a.version, d.typ, d.stateKey, d.sender, d.content) {
		e, err := a.get(key)
		if err != nil {
			return nil, err
		}
		if e != nil {
			out = append(out, e.id)
		}
	}
	return out, nil
}
