package e2ee

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice = id.UserID("@alice:here")
	bob   = id.UserID("@bob:there")
	carol = id.UserID("@carol:there")
)

// world is servers that reach each other without a network.
type world struct {
	t       *testing.T
	clock   *clock.Fake
	servers map[id.ServerName]*server

	mu     sync.Mutex
	cut    map[id.ServerName]bool
	asked  []string                              // what was asked of servers, as "devices there"
	during func()                                // called once with the next request, before its answer leaves
	forged func(json.RawMessage) json.RawMessage // changes answers
}

var errCut = errors.New("the line is cut")

// server is one of them. Its rooms have the same members as those of the others.
type server struct {
	*Service
	w    *world
	name id.ServerName
	room *storagetest.Room
	stop func()
	cfg  storage.Config
}

// newWorld is two servers, here and there, with alice on the one and bob and carol on the other, and a room with some members.
func newWorld(t *testing.T, members ...id.UserID) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewFake(time.UnixMilli(1_800_000_000_000)), servers: map[id.ServerName]*server{}, cut: map[id.ServerName]bool{}}
	for _, name := range []id.ServerName{"here", "there"} {
		s := &server{w: w, name: name, cfg: storagetest.SQLiteConfig(t)}
		w.servers[name] = s
		s.open(Deps{})
		creator := id.UserID("@creator:" + name)
		s.room = storagetest.NewRoom(t, s.store, id.RoomID("!room:"+name), creator)
		s.room.Member(creator, creator, "leave")
		for _, m := range members {
			s.room.Member(m, m, "join")
		}
	}
	w.here().account(alice, "A")
	w.there().account(bob, "B")
	w.there().account(carol, "C")
	t.Cleanup(func() {
		for _, s := range w.servers {
			s.stop()
		}
	})
	return w
}

func (w *world) here() *server  { return w.servers["here"] }
func (w *world) there() *server { return w.servers["there"] }

// open starts a server over its store.
func (s *server) open(d Deps) {
	s.w.t.Helper()
	d.Server, d.Clock, d.Log = s.name, s.w.clock, slog.New(slog.NewTextHandler(s.w.t.Output(), nil))
	d.Store = storagetest.Reopen(s.w.t, s.cfg)
	d.Hub, d.Remote, d.Outbound = hub.New(d.Store.CommittedPos()), peer{s.w, s.name}, peer{s.w, s.name}
	s.Service = New(d)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			s.w.t.Error(err)
		}
	})
	s.stop = func() {
		cancel()
		running.Wait()
	}
}

// restart closes a server and opens it again.
func (s *server) restart(d Deps) {
	s.w.t.Helper()
	s.stop()
	if err := s.store.Close(); err != nil {
		s.w.t.Fatal(err)
	}
	s.open(d)
}

func (s *server) update(fn func(tx *storage.Tx) error) {
	s.w.t.Helper()
	if err := s.store.Update(context.Background(), fn); err != nil {
		s.w.t.Fatal(err)
	}
}

func (s *server) view(fn func(tx *storage.ReadTx) error) {
	s.w.t.Helper()
	if err := s.store.View(context.Background(), fn); err != nil {
		s.w.t.Fatal(err)
	}
}

// account makes a user with devices that have no keys.
func (s *server) account(user id.UserID, devices ...id.DeviceID) {
	s.w.t.Helper()
	s.update(func(tx *storage.Tx) error {
		if _, err := tx.InsertUser(storage.User{ID: user}); err != nil {
			return err
		}
		for _, d := range devices {
			name := "phone of " + user.Localpart()
			if _, err := tx.InsertDevice(storage.Device{UserID: user, ID: d, DisplayName: &name}); err != nil {
				return err
			}
		}
		return nil
	})
}

// upload publishes keys of a device, which are others for each version, and one-time keys.
func (s *server) upload(user id.UserID, device id.DeviceID, version string, oneTime ...string) {
	s.w.t.Helper()
	up := KeyUpload{DeviceKeys: deviceObject(user, device, version), OneTimeKeys: map[string]json.RawMessage{}}
	for _, k := range oneTime {
		up.OneTimeKeys["signed_curve25519:"+k] = json.RawMessage(`{"key":"` + k + `","signatures":{}}`)
	}
	if _, err := s.UploadKeys(context.Background(), user, device, up); err != nil {
		s.w.t.Fatal(err)
	}
}

func deviceObject(user id.UserID, device id.DeviceID, version string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"user_id":%q,"device_id":%q,"algorithms":["m.olm.v1.curve25519-aes-sha2"],"keys":{"ed25519:%s":%q},
		"signatures":{%[1]q:{"ed25519:%[3]s":"sig"}}}`, user, device, device, version))
}

// deliver carries the EDUs away that wait for the other server, as far as keep, which may be nil, takes them. It returns their types.
func (s *server) deliver(keep func(storage.Outgoing) bool) []string {
	s.w.t.Helper()
	var types []string
	for name, other := range s.w.servers {
		if name == s.name {
			continue
		}
		var rows []storage.Outgoing
		s.view(func(tx *storage.ReadTx) (err error) {
			rows, err = tx.Outbox(name, 0, math.MaxInt64, 1000)
			return err
		})
		for _, r := range rows {
			types = append(types, r.Type)
			if keep == nil || keep(r) {
				other.receive(s.name, r)
			}
		}
		s.update(func(tx *storage.Tx) error { return tx.Delivered(name, math.MaxInt64) })
	}
	return types
}

func (s *server) receive(origin id.ServerName, r storage.Outgoing) {
	s.w.t.Helper()
	accept := map[string]func(context.Context, id.ServerName, json.RawMessage) error{
		DeviceListUpdate: s.ReceiveDeviceList, SigningKeyUpdate: s.ReceiveSigningKeys, UnstableSigningKeyUpdate: s.ReceiveSigningKeys,
		DirectToDevice: s.ReceiveToDevice,
	}[r.Type]
	if err := accept(context.Background(), origin, r.Content); err != nil {
		s.w.t.Fatalf("%s of %s: %v", r.Type, origin, err)
	}
}

// keysOf is what a user of a server gets about a user: the version of each device's keys by device, nil if the user is missing.
func (s *server) keysOf(viewer, user id.UserID) map[id.DeviceID]string {
	s.w.t.Helper()
	return deviceVersions(s.w.t, s.query(viewer, user).DeviceKeys[user])
}

func (s *server) query(viewer, user id.UserID) *KeyAnswer {
	s.w.t.Helper()
	answer, err := s.QueryKeys(context.Background(), viewer, map[id.UserID][]id.DeviceID{user: nil}, time.Minute)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return answer
}

func deviceVersions(t *testing.T, devices map[id.DeviceID]json.RawMessage) map[id.DeviceID]string {
	t.Helper()
	if devices == nil {
		return nil
	}
	out := map[id.DeviceID]string{}
	for d, raw := range devices {
		var object struct{ Keys map[string]string }
		if err := json.Unmarshal(raw, &object); err != nil {
			t.Fatal(err)
		}
		out[d] = object.Keys["ed25519:"+string(d)]
	}
	return out
}

func (s *server) position() (pos int64) {
	s.w.t.Helper()
	s.view(func(tx *storage.ReadTx) (err error) {
		pos, err = tx.Position()
		return err
	})
	return pos
}

// changedFor is whose devices have changed for a user since a position.
func (s *server) changedFor(user id.UserID, since int64) []id.UserID {
	s.w.t.Helper()
	changed, _, err := s.DeviceListChanges(context.Background(), user, since)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return changed
}

// waitChanged waits until somebody's devices have changed for a user since a position.
func (s *server) waitChanged(user, who id.UserID, since int64) {
	s.w.t.Helper()
	watch := s.hub.Watch(hub.User(user))
	defer watch.Close()
	deadline := time.After(40 * time.Second)
	for !slices.Contains(s.changedFor(user, since), who) {
		select {
		case <-watch.C():
		case <-deadline:
			s.w.t.Fatalf("%s never heard of %s", user, who)
		}
	}
}

// settled waits until a server has no list to fetch that is due.
func (s *server) settled() {
	s.w.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for due := 1; due > 0; {
		s.view(func(tx *storage.ReadTx) error {
			list, err := tx.StaleLists(s.w.clock.Now().UnixMilli(), nil, 10)
			due = len(list)
			return err
		})
		if time.Now().After(deadline) {
			s.w.t.Fatal("lists stay stale")
		}
	}
}

// list is what a server knows of a user's list.
func (s *server) list(user id.UserID) *storage.RemoteList {
	s.w.t.Helper()
	var out *storage.RemoteList
	s.view(func(tx *storage.ReadTx) error {
		lists, err := tx.RemoteLists([]id.UserID{user})
		out = lists[user]
		return err
	})
	return out
}

// requests is what was asked of servers since the last call.
func (w *world) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.asked
	w.asked = nil
	return out
}

func (w *world) setCut(server id.ServerName, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[server] = cut
}

func (w *world) setDuring(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.during = fn
}

// peer is how a server reaches the others.
type peer struct {
	w    *world
	name id.ServerName
}

func (p peer) Wake([]id.ServerName) {}

func (p peer) ask(what string, to id.ServerName, fn func(s *server) (any, error)) (json.RawMessage, error) {
	p.w.mu.Lock()
	p.w.asked = append(p.w.asked, what+" "+string(to))
	s, cut, during := p.w.servers[to], p.w.cut[to], p.w.during
	p.w.during = nil
	p.w.mu.Unlock()
	if s == nil || cut {
		return nil, errCut
	}
	answer, err := fn(s)
	if err != nil {
		return nil, err
	}
	if during != nil {
		during()
	}
	raw, err := json.Marshal(answer)
	if p.w.forged != nil {
		raw = p.w.forged(raw)
	}
	return raw, err
}

func (p peer) UserDevices(ctx context.Context, to id.ServerName, user id.UserID) (json.RawMessage, error) {
	return p.ask("devices", to, func(s *server) (any, error) { return s.DevicesForServer(ctx, p.name, user) })
}

func (p peer) QueryKeys(ctx context.Context, to id.ServerName, body json.RawMessage) (json.RawMessage, error) {
	return p.ask("query", to, func(s *server) (any, error) {
		var asked struct {
			Keys map[id.UserID][]id.DeviceID `json:"device_keys"`
		}
		if err := json.Unmarshal(body, &asked); err != nil {
			return nil, err
		}
		return s.KeysForServer(ctx, p.name, asked.Keys)
	})
}

func (p peer) ClaimKeys(ctx context.Context, to id.ServerName, body json.RawMessage) (json.RawMessage, error) {
	return p.ask("claim", to, func(s *server) (any, error) {
		var asked struct {
			Keys map[id.UserID]map[id.DeviceID]string `json:"one_time_keys"`
		}
		if err := json.Unmarshal(body, &asked); err != nil {
			return nil, err
		}
		return s.ClaimForServer(ctx, p.name, asked.Keys)
	})
}

// crossSigner is the private cross-signing keys of a user.
type crossSigner struct {
	user                id.UserID
	master, self, other ed25519.PrivateKey
}

func newCrossSigner(user id.UserID, seed byte) *crossSigner {
	key := func(n byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed + n}, ed25519.SeedSize))
	}
	return &crossSigner{user, key(0), key(1), key(2)}
}

func public(key ed25519.PrivateKey) string {
	return base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

// sign adds a signature to an object.
func (c *crossSigner) sign(t *testing.T, object map[string]any, key ed25519.PrivateKey) json.RawMessage {
	t.Helper()
	bare, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	text, err := canonjson.Canonical(bare)
	if err != nil {
		t.Fatal(err)
	}
	signed := map[string]any{"signatures": map[id.UserID]map[string]string{
		c.user: {"ed25519:" + public(key): base64.RawStdEncoding.EncodeToString(ed25519.Sign(key, text))},
	}}
	for k, v := range object {
		signed[k] = v
	}
	out, err := json.Marshal(signed)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *crossSigner) object(usage string, key ed25519.PrivateKey) map[string]any {
	return map[string]any{"user_id": c.user, "usage": []string{usage}, "keys": map[string]string{"ed25519:" + public(key): public(key)}}
}

// publish uploads the keys.
func (c *crossSigner) publish(s *server) {
	s.w.t.Helper()
	master, err := json.Marshal(c.object(storage.MasterKey, c.master))
	if err != nil {
		s.w.t.Fatal(err)
	}
	up := CrossSigningUpload{
		Master:      master,
		SelfSigning: c.sign(s.w.t, c.object(storage.SelfSigningKey, c.self), c.master),
		UserSigning: c.sign(s.w.t, c.object(storage.UserSigningKey, c.other), c.master),
	}
	if err := s.UploadCrossSigning(context.Background(), c.user, up, true); err != nil {
		s.w.t.Fatal(err)
	}
}

func newRoom(s *server, room id.RoomID) *storagetest.Room {
	s.w.t.Helper()
	return storagetest.NewRoom(s.w.t, s.store, room, id.UserID("@creator:"+s.name))
}
