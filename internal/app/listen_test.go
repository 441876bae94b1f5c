package app

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestUnusedConnectionsDoNotHoldUpTheEnd(t *testing.T) {
	pipe := func() (client, server net.Conn) {
		t.Helper()
		client, server = net.Pipe()
		t.Cleanup(func() {
			client.Close()
			server.Close()
		})
		return client, server
	}
	var u unusedConns
	_, unused := pipe()
	client, used := pipe()
	_, gone := pipe()
	_, late := pipe()
	u.note(unused, http.StateNew)
	u.note(used, http.StateNew)
	u.note(used, http.StateActive)
	u.note(gone, http.StateNew)
	u.note(gone, http.StateClosed)
	u.close()
	u.note(late, http.StateNew)

	closed := func(c net.Conn) bool { return c.SetDeadline(time.Time{}) != nil }
	for name, c := range map[string]net.Conn{"open for nothing": unused, "opened during the end": late} {
		if !closed(c) {
			t.Errorf("the connection %s is still there", name)
		}
	}
	go used.Write([]byte("x"))
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Errorf("the connection with a request was closed: %v", err)
	}
	if n := len(u.conns); n != 1 { // the one that was closed here; net/http reports it closed
		t.Errorf("%d connections are remembered", n)
	}
}

func TestTheGateWaitsForThoseInside(t *testing.T) {
	var g gate
	inside, leave := make(chan struct{}), make(chan struct{})
	h := g.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(inside)
		<-leave
	}))
	request := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w
	}
	left, closed := make(chan struct{}), make(chan struct{})
	go func() {
		request()
		close(left)
	}()
	<-inside
	go func() {
		g.close()
		close(closed)
	}()
	select {
	case <-closed:
		t.Error("it was closed over a request")
	default:
	}
	close(leave)
	<-closed
	<-left
	if w := request(); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a request after the end got %d", w.Code)
	}
}
