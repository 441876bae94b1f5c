package hearthtest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/spec"
)

// watch checks what the server answers, and what other homeservers of the network ask of it. Benchmarks do without.
func (s *Server) watch() {
	if _, ok := s.t.(*testing.B); ok {
		return
	}
	w := spec.Responses(s.t)
	w.Requests = func(r *http.Request) bool { return s.net.homeserverAsks(r, s.Name) }
	s.wrap = w.Wrap
}

// homeserverAsks tells whether a request to a server comes from another one of the network, which is no Remote.
func (n *Network) homeserverAsks(r *http.Request, of id.ServerName) bool {
	_, rest, ok := strings.Cut(r.Header.Get("Authorization"), `origin="`)
	if n == nil || !ok {
		return false
	}
	name, _, _ := strings.Cut(rest, `"`)
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[id.ServerName(name)]
	return h != nil && !h.scripted && h.name != of
}
