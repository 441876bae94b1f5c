package clientapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/internal/syncer"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage/storagetest"
)

// byToken lets everybody in as the user that the token names.
type byToken struct{}

func (byToken) Authenticate(_ context.Context, token, _ string, _ *http.Request) (web.Caller, error) {
	return web.Caller{User: id.UserID("@" + token + ":hs"), Device: "D"}, nil
}

// BenchmarkFanout delivers a message to 100 clients that wait for it over HTTP; one operation is one delivery. The clients do as little as
// they can, so nearly all of it is the server.
func BenchmarkFanout(b *testing.B) {
	const clients = 100
	store := storagetest.Open(b)
	h := hub.NewAt(0, 1, hub.DefaultLimit)
	room := storagetest.NewRoom(b, store, "!room:hs", "@u0:hs")
	for i := range clients {
		u := id.UserID(fmt.Sprintf("@u%d:hs", i))
		room.Member(u, u, "join")
	}
	room.Rung = func(pos int64, users []id.UserID) {
		keys := []hub.Key{hub.Room(room.Row.ID)}
		for _, u := range users {
			keys = append(keys, hub.User(u))
		}
		h.Ring(pos, keys...)
	}
	edus := edu.New(store, h, account.NewNotifier(push.NewBook(push.Options{}), nil), clock.Real(), edu.Options{})
	api := New(Deps{Store: store, Clock: clock.Real(), EDUs: edus, Syncer: syncer.New(store, h, edus, nil, clock.Real(), nil)})
	handler, err := web.New(web.Options{Auth: byToken{}}, api.syncRoutes())
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	got := make(chan error, clients)
	for i := range clients {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		go poll(conn, fmt.Sprintf("u%d", i), got)
	}
	wait := func() {
		for range clients {
			if err := <-got; err != nil {
				b.Fatal(err)
			}
		}
	}
	wait()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%clients == 0 {
			room.Message("@u0:hs", "something that is said")
			wait()
		}
	}
}

// poll syncs over and over, and reports every answer that has something to say about rooms.
func poll(conn net.Conn, token string, got chan<- error) {
	in := bufio.NewReader(conn)
	since := ""
	var body []byte
	for {
		_, err := fmt.Fprintf(conn, "GET /_matrix/client/v3/sync?timeout=30000&set_presence=offline%s HTTP/1.1\r\nHost: hs\r\nAuthorization: Bearer %s\r\n\r\n",
			since, token)
		if err != nil {
			return
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return
		}
		if body, err = io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
			got <- fmt.Errorf("%d %s: %w", res.StatusCode, body, err)
			return
		}
		since = "&since=" + gjson.GetBytes(body, "next_batch").Str
		if gjson.GetBytes(body, "rooms").Exists() {
			got <- nil
		}
	}
}
