package web

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// onePipe is a listener with a single connection, which lives in the time of the test.
type onePipe struct{ conns chan net.Conn }

func (l onePipe) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l onePipe) Close() error { return nil }

func (l onePipe) Addr() net.Addr { return &net.IPAddr{} }

// TestSlowClients runs a real http.Server in a bubble of fake time, with clients that stop in the middle.
func TestSlowClients(t *testing.T) {
	routes := []Route{
		{"POST", "/unread", User, RateNone, says(nil)},
		{"POST", "/read", None, RateNone, func(_ context.Context, r *Request) (any, error) {
			_, err := r.Object()
			return nil, err
		}},
		{"POST", "/wait", None, RateNone, func(ctx context.Context, r *Request) (any, error) {
			if _, err := r.Object(); err != nil {
				return nil, err
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(10 * bodyPatience):
				return nil, nil
			}
		}},
	}
	tests := map[string]struct {
		send   string
		status string // "" if there is no answer
		within time.Duration
	}{
		"a head that does not end":                {"POST /read HTTP/1.1\r\nHost: a\r\n", "", time.Minute},
		"a body that does not come":               {"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", "400", time.Minute},
		"a body that stops":                       {"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{", "400", time.Minute},
		"a body that nobody reads":                {"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", "401", time.Minute},
		"a chunked body that nobody reads":        {"POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "401", time.Minute},
		"a handler that waits after a whole body": {"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", "200", time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTestServer(t, Options{}, routes...)
				client, server := net.Pipe()
				l := onePipe{make(chan net.Conn, 1)}
				l.conns <- server
				h := NewServer("", s)
				ended := make(chan error)
				go func() { ended <- h.Serve(l) }()

				begun := time.Now()
				if _, err := io.WriteString(client, tt.send); err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(client) // until the server has had enough
				if err != nil {
					t.Errorf("error %v after %q", err, answer)
				}
				if took := time.Since(begun); took > tt.within {
					t.Errorf("the client was waited for for %v", took)
				}
				switch line, _, _ := strings.Cut(string(answer), "\r\n"); {
				case tt.status == "" && strings.Contains(line, "200"), tt.status != "" && !strings.HasPrefix(line, "HTTP/1.1 "+tt.status):
					t.Errorf("got %q", answer)
				}
				close(l.conns)
				h.Close()
				<-ended
			})
		})
	}
}

// serveOne serves one connection, in the time of the test, and returns the client's end of it.
func serveOne(t *testing.T, routes ...Route) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	l := onePipe{make(chan net.Conn, 1)}
	l.conns <- server
	h := NewServer("", newTestServer(t, Options{}, routes...))
	ended := make(chan error)
	go func() { ended <- h.Serve(l) }()
	t.Cleanup(func() {
		client.Close()
		close(l.conns)
		h.Close()
		<-ended
	})
	return client
}

func TestABodyThatTricklesIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := serveOne(t, Route{"POST", "/read", None, RateNone, func(_ context.Context, r *Request) (any, error) {
			_, err := r.Object()
			return nil, err
		}})
		if _, err := io.WriteString(client, "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			for {
				if _, err := io.WriteString(client, " "); err != nil {
					return
				}
				<-time.After(bodyPatience / 2)
			}
		}()
		answer, _ := io.ReadAll(client)
		if took := time.Since(begun); took > 2*answerPatience {
			t.Errorf("the client was waited for for %v", took)
		}
		if !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
			t.Errorf("got %q", answer)
		}
		<-gone
	})
}

func TestALargeAnswerTakesAsLongAsItMoves(t *testing.T) {
	const size = 8 * streamPiece
	large := Route{"GET", "/large", None, RateNone, says(RawJSON(`"` + strings.Repeat("a", size) + `"`))}
	for name, tt := range map[string]struct {
		stop  int // bytes after which the client reads no more
		whole bool
	}{
		"a client that reads slowly":         {stop: 2 * size, whole: true},
		"a client that stops in the middle":  {stop: 3 * streamPiece},
		"a client that never reads anything": {stop: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := serveOne(t, large)
				if _, err := io.WriteString(client, "GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				begun, got := time.Now(), 0
				buf := make([]byte, streamPiece/8)
				var err error
				for got < tt.stop && err == nil {
					var n int
					n, err = io.ReadFull(client, buf)
					got += n
					<-time.After(answerPatience / 16)
				}
				if tt.whole && got < size {
					t.Errorf("the answer ended after %d bytes and %v", got, time.Since(begun))
				}
				if !tt.whole {
					<-time.After(2 * answerPatience)
					if rest, err := io.ReadAll(client); len(rest) > streamPiece || err != nil {
						t.Errorf("%d more bytes came after the pause, %v", len(rest), err)
					}
				}
			})
		})
	}
}
