package appservice

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/spec"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	server  id.ServerName = "hs"
	alice   id.UserID     = "@alice:hs"
	ghost   id.UserID     = "@_irc_ghost:hs"
	patient               = 10 * time.Second
)

// request is one that the application service has got.
type request struct {
	method, path, query string
	header              http.Header
	body                gjson.Result
}

// bridge is an application service that gives the answers of a test.
type bridge struct {
	url      string
	requests chan request

	mu     sync.Mutex
	answer func(request) (int, string)
}

func newBridge(t *testing.T) *bridge {
	t.Helper()
	b := &bridge{requests: make(chan request, 100)}
	s := httptest.NewServer(spec.Requests(t).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got := request{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header, gjson.ParseBytes(body)}
		b.mu.Lock()
		answer := b.answer
		b.mu.Unlock()
		status, text := 200, "{}"
		if answer != nil {
			status, text = answer(got)
		}
		b.requests <- got
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	})))
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

// answers sets the answer to whatever comes.
func (b *bridge) answers(status int, body string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = func(request) (int, string) { return status, body }
}

// next is the next request.
func (b *bridge) next(t *testing.T) request {
	t.Helper()
	select {
	case r := <-b.requests:
		return r
	case <-time.After(patient):
		t.Fatal("the application service was not asked for anything")
		return request{}
	}
}

// ids are the ids of the events of a transaction.
func (r request) ids() []string {
	var out []string
	for _, e := range r.body.Get("events").Array() {
		out = append(out, e.Get("event_id").Str)
	}
	return out
}

func idsOf(events ...*storage.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, string(e.ID))
	}
	return out
}

// registration reads one that has what the test does not give.
func registration(t *testing.T, fields map[string]any) *Registration {
	t.Helper()
	all := map[string]any{
		"id": "irc", "url": nil, "as_token": "as-" + t.Name()[:4], "hs_token": "hs-secret", "sender_localpart": "_irc_bot",
		"namespaces": map[string]any{"users": []any{map[string]any{"exclusive": true, "regex": "@_irc_.*"}}},
	}
	for k, v := range fields {
		all[k] = v
	}
	text, err := json.Marshal(all) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(server, text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rig is a service over a store.
type rig struct {
	t       *testing.T
	store   *storage.Store
	hub     *hub.Hub
	clock   *clock.Fake
	edus    *edu.Service
	service *Service
	stop    func()
}

func newRig(t *testing.T, store *storage.Store, registrations ...*Registration) *rig {
	t.Helper()
	registry, err := NewRegistry(registrations...)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: store, hub: hub.New(store.CommittedPos()), clock: clock.NewFake(time.UnixMilli(1_800_000_000_000))}
	r.edus = edu.New(store, r.hub, nil, r.clock, edu.Options{Followed: registry.WantsNews()})
	r.service, err = New(Parts{
		Server: server, Registry: registry, Store: store, Hub: r.hub, EDUs: r.edus, Clock: r.clock, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run starts the workers, which have read their cursors when it returns.
func (r *rig) run() *rig {
	r.t.Helper()
	for name, w := range r.service.workers {
		if err := w.open(r.t.Context()); err != nil {
			r.t.Fatalf("open %s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.service.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	r.t.Cleanup(r.stop)
	return r
}

// room is a room that rings.
func (r *rig) room(name id.RoomID, creator id.UserID) *storagetest.Room {
	r.t.Helper()
	room := storagetest.NewRoom(r.t, r.store, name, creator)
	r.hub.Ring(room.Row.LastPos)
	r.hears(room)
	return room
}

// hears has a room ring here.
func (r *rig) hears(room *storagetest.Room) {
	room.Rung = func(pos int64, users []id.UserID) { r.hub.Ring(pos, hub.Users(users)...) }
}

func (r *rig) cursor(appservice string) (c storage.AppserviceCursor) {
	r.t.Helper()
	if err := r.store.View(r.t.Context(), func(tx *storage.ReadTx) (err error) {
		c, err = tx.AppserviceCursor(appservice)
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return c
}
