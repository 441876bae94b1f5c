package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/id"
)

// discard is a ResponseWriter without the cost of a recorder.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header              { return d.h }
func (d *discard) SetReadDeadline(time.Time) error  { return nil }
func (d *discard) SetWriteDeadline(time.Time) error { return nil }
func (d *discard) Write(p []byte) (int, error)      { return len(p), nil }
func (d *discard) WriteHeader(int)                  {}

// benchServer has a table of the size of the real one.
func benchServer(b *testing.B, o Options) *Server {
	send := func(_ context.Context, r *Request) (any, error) {
		room, err := r.RoomID("roomID")
		if err != nil {
			return nil, err
		}
		var body struct {
			Body string `json:"body"`
		}
		if err := r.JSON(&body); err != nil {
			return nil, err
		}
		return struct {
			EventID id.EventID `json:"event_id"`
			Room    id.RoomID  `json:"room"`
		}{"$abc", room}, nil
	}
	routes := []Route{{"PUT", "/_matrix/client/v3/rooms/{roomID}/send/{type}/{txnID}", User, RateMessage, send}}
	for i := range 40 {
		routes = append(routes,
			Route{"POST", fmt.Sprintf("/_matrix/client/v3/rooms/{roomID}/verb%d", i), User, RateMessage, send},
			Route{"GET", fmt.Sprintf("/_matrix/client/v3/rooms/{roomID}/thing%d/{a}/{b}", i), User, RateRead, send},
			Route{"GET", fmt.Sprintf("/_matrix/client/v3/user%d/{userID}", i), User, RateRead, send},
			Route{"GET", fmt.Sprintf("/_matrix/media/v3/{x}/thing%d", i), User, RateRead, send},
			Route{"GET", fmt.Sprintf("/_synapse/admin/v1/users%d/{userID}", i), Admin, RateRead, send})
	}
	routes = append(routes, Route{"GET", "/_matrix/client/v3/account/whoami", User, RateRead, func(_ context.Context, r *Request) (any, error) {
		return struct {
			User id.UserID `json:"user_id"`
		}{r.Caller.User}, nil
	}})
	o.Metrics = prometheus.NewRegistry()
	limits := DefaultLimits()
	for r := range limits.Classes {
		limits.Classes[r] = Limit{PerSecond: 1e9, Burst: 1e9}
	}
	o.Limits = limits
	return newTestServer(b, o, routes...)
}

func BenchmarkWholeChain(b *testing.B) {
	b.Run("GET", func(b *testing.B) {
		s := benchServer(b, Options{})
		r := httptest.NewRequest("GET", "/_matrix/client/v3/account/whoami", nil)
		r.Header.Set("Authorization", "Bearer alice")
		w := &discard{http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			s.ServeHTTP(w, r)
		}
	})
	b.Run("PUT with JSON and three variables", func(b *testing.B) {
		s := benchServer(b, Options{})
		body := strings.NewReader("")
		r := httptest.NewRequest("PUT", "/_matrix/client/v3/rooms/!abcdefghijk:hs.example/send/m.room.message/m1234", body)
		r.Header.Set("Authorization", "Bearer alice")
		r.ContentLength = -1
		w := &discard{http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			body.Reset(`{"msgtype":"m.text","body":"hello, world"}`)
			s.ServeHTTP(w, r)
		}
	})
	b.Run("404", func(b *testing.B) {
		s := benchServer(b, Options{})
		r := httptest.NewRequest("GET", "/_matrix/client/v3/rooms/!abcdefghijk:hs.example/unknown", nil)
		w := &discard{http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			s.ServeHTTP(w, r)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	big := RawJSON(`{"a":"` + strings.Repeat("0123456789 hearth @alice:hs ", 1200) + `"}`)
	for _, gzip := range []bool{false, true} {
		b.Run(fmt.Sprintf("32 KB, gzip %v", gzip), func(b *testing.B) {
			s := newTestServer(b, Options{Gzip: gzip}, Route{"GET", "/x", None, RateNone, says(big)})
			r := httptest.NewRequest("GET", "/x", nil)
			r.Header.Set("Accept-Encoding", "gzip")
			w := &discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				s.ServeHTTP(w, r)
			}
		})
	}
}
