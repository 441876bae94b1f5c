package tests

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/keyfile"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
)

var (
	growthEvents = flag.String("growth.events", "10000", "how many events there are in the databases of BenchmarkDatabase, with commas between them")
	growthRooms  = flag.String("growth.rooms", "10,1000", "how many rooms the users of BenchmarkUser are in, with commas between them")
)

// grown is a server that has had a life before the benchmark: it is closed, its database filled through a room server that sends from many
// goroutines, and opened again.
type grown struct {
	*hearthtest.Server
	cfg config.Config
}

func newGrown(b *testing.B) *grown {
	g := &grown{}
	g.Server = hearthtest.Start(b, hearthtest.WithConfig(func(c *config.Config) { g.cfg = *c }))
	return g
}

// fill makes rooms, each by its own goroutine, of which so many run at a time.
func (g *grown) fill(b *testing.B, rooms int, fill func(s *roomserver.Server, room int) error) {
	b.Helper()
	g.Close()
	key, err := keyfile.Load(g.cfg.File(g.cfg.Server.SigningKeyPath))
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	path := g.cfg.File(g.cfg.Database.Path)
	cfg := storage.Config{URL: g.cfg.Database.URL, Readers: g.cfg.Database.MaxConnections}
	if cfg.URL == "" {
		cfg.Path = path
	}
	store, err := storage.Open(context.Background(), cfg, log)
	if err != nil {
		b.Fatal(err)
	}
	s := roomserver.New(roomserver.Config{Name: g.Name, DefaultVersion: "11", KeyID: gomatrixserverlib.KeyID(key.ID), Key: key.Private},
		roomserver.Peers{}, store, hub.New(store.CommittedPos()), account.NewNotifier(push.NewBook(push.Options{}), nil), clock.Real(), log)
	var all sync.WaitGroup
	places := make(chan struct{}, 64)
	for i := range rooms {
		places <- struct{}{}
		all.Go(func() {
			if err := fill(s, i); err != nil {
				b.Error(err)
			}
			<-places
		})
	}
	all.Wait()
	if err := s.CatchUpSearch(context.Background()); err != nil { // which a server does as it goes
		b.Fatal(err)
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	g.Open()
	b.Logf("%d positions, %d MiB: opened in %v, with %d MiB on the heap", storedPositions(b, g), size(path)>>20, time.Since(begun), heap()>>20)
}

func storedPositions(b *testing.B, g *grown) int64 {
	token := g.User("counter").Sync("timeout", "0").Next()
	pos, err := strconv.ParseInt(strings.TrimPrefix(strings.Split(token, "_")[0], "s"), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pos
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// made makes a public room with members and some messages of its creator.
func made(s *roomserver.Server, creator id.UserID, members []id.UserID, messages int) (id.RoomID, error) {
	ctx := context.Background()
	room, err := s.Create(ctx, roomserver.CreateRequest{Creator: creator, Preset: "public_chat"})
	for _, m := range members {
		if err == nil {
			err = s.Join(ctx, roomserver.MemberRequest{Room: room, Sender: m})
		}
	}
	for i := 0; i < messages && err == nil; i++ {
		content := json.RawMessage(fmt.Sprintf(`{"msgtype":"m.text","body":"Message %d, of which there are so many that nobody reads all of them."}`, i))
		_, err = s.Send(ctx, roomserver.SendRequest{Room: room, Sender: creator, Type: "m.room.message", Content: content})
	}
	return room, err
}

func numbers(b *testing.B, list string) []int {
	var out []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// measure measures something that a user does.
func measure(b *testing.B, name string, do func(b *testing.B)) {
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			do(b)
		}
	})
}

// BenchmarkDatabase is what a user of ten rooms does while the database grows, in rooms that grow with it. -growth.events=10000,1000000 makes
// the curve of docs/performance.md.
func BenchmarkDatabase(b *testing.B) {
	for _, events := range numbers(b, *growthEvents) {
		g := newGrown(b)
		alice, bob, carol := g.User("alice"), g.User("bob"), g.User("carol")
		const rooms, hers = 64, 10
		var ids [rooms]id.RoomID
		g.fill(b, rooms, func(s *roomserver.Server, i int) (err error) {
			creator, members := id.UserID(fmt.Sprintf("@crowd%d:%s", i, g.Name)), []id.UserID(nil)
			if i < hers {
				creator, members = bob.ID, []id.UserID{alice.ID}
			}
			ids[i], err = made(s, creator, members, events/rooms)
			return err
		})
		room, serial := ids[0], 0
		token := alice.Sync("timeout", "0").Next()
		say := func(b *testing.B) { serial++; bob.With(b).Say(room, fmt.Sprint("hi ", serial)) }
		operations := map[string]func(b *testing.B){
			"send":         say,
			"sync initial": func(b *testing.B) { alice.With(b).Sync("timeout", "0") },
			"sync empty": func(b *testing.B) {
				token = alice.With(b).Sync("timeout", "0", "since", token).Next()
			},
			"sync one message": func(b *testing.B) {
				b.StopTimer()
				token = alice.Sync("timeout", "0", "since", token).Next()
				say(b)
				b.StartTimer()
				if len(alice.With(b).Sync("timeout", "0", "since", token).Timeline(room)) != 1 {
					b.Fatal("it did not come")
				}
			},
			"page of 100": func(b *testing.B) {
				if len(messages(alice.With(b), room, "dir=b&limit=100").Get("chunk").Array()) != 100 {
					b.Fatal("it is short")
				}
			},
			"join": func(b *testing.B) {
				carol.With(b).Join(room)
				b.StopTimer()
				carol.Leave(room)
				b.StartTimer()
			},
			"restart": func(*testing.B) { g.Restart() },
		}
		for name, do := range operations {
			measure(b, fmt.Sprintf("%s/events=%d", name, events), do)
		}
		g.Close()
	}
}

// BenchmarkUser is what a user does who is in more and more rooms, of which one has news. -growth.rooms=10,1000,5000 makes the curve of
// docs/performance.md.
func BenchmarkUser(b *testing.B) {
	for _, rooms := range numbers(b, *growthRooms) {
		g := newGrown(b)
		alice, bob := g.User("alice"), g.User("bob")
		ids := make([]id.RoomID, rooms)
		g.fill(b, rooms, func(s *roomserver.Server, i int) (err error) {
			ids[i], err = made(s, bob.ID, []id.UserID{alice.ID}, 3)
			return err
		})
		serial := 0
		token := alice.Sync("timeout", "0").Next()
		say := func(b *testing.B) {
			serial++
			bob.With(b).Say(ids[serial%len(ids)], fmt.Sprint("hi ", serial))
		}
		operations := map[string]func(b *testing.B){
			"send":         say,
			"sync initial": func(b *testing.B) { alice.With(b).Sync("timeout", "0") },
			"sync empty":   func(b *testing.B) { token = alice.With(b).Sync("timeout", "0", "since", token).Next() },
			"sync one message": func(b *testing.B) {
				b.StopTimer()
				token = alice.Sync("timeout", "0", "since", token).Next()
				say(b)
				b.StartTimer()
				if got := alice.With(b).Sync("timeout", "0", "since", token); len(got.Get("rooms.join").Map()) != 1 {
					b.Fatal("it did not come")
				}
			},
		}
		for name, do := range operations {
			measure(b, fmt.Sprintf("%s/rooms=%d", name, rooms), do)
		}
		g.Close()
	}
}
