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
