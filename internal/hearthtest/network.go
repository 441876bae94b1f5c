package hearthtest

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/id"
)

// Network is what servers find and reach each other by: names, addresses that exist nowhere else, an authority for certificates, and
// links that can be cut. A server keeps its name and address over restarts.
//
//	net := hearthtest.NewNetwork(t)
//	a, b := net.Start(), net.Start()
//	net.Cut(a.Name, b.Name)
type Network struct {
	t  testing.TB
	ca *authority

	mu    sync.Mutex
	hosts map[id.ServerName]*host
	cut   map[link]bool
	delay map[link]time.Duration
	wires map[*wire]bool
	txn   int
}

// host is a server as the network sees it.
type host struct {
	name id.ServerName
	addr netip.Addr
	at   string // where it listens in truth; empty while it is closed
	sign signer

	scripted bool // a Remote
}

// link is the way between two servers, in either direction.
type link [2]id.ServerName

func between(a, b id.ServerName) link {
	if a > b {
		a, b = b, a
	}
	return link{a, b}
}

// ErrRefused is what a server gets that connects to one which is closed or cut off.
var ErrRefused = errors.New("hearthtest: connection refused")

// NewNetwork makes a network without servers.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	return &Network{
		t: t, ca: newAuthority(t), hosts: map[id.ServerName]*host{}, cut: map[link]bool{}, delay: map[link]time.Duration{},
		wires: map[*wire]bool{},
	}
}

// Start starts a server that federates with the others of the network.
func (n *Network) Start(options ...Option) *Server {
	n.t.Helper()
	return Start(n.t, append([]Option{func(s *Server) { s.net = n }}, options...)...)
}

// enter gives a name an address.
func (n *Network) enter(name id.ServerName, scripted bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[name] == nil {
		n.hosts[name] = &host{name: name, scripted: scripted, addr: netip.AddrFrom4([4]byte{10, 77, byte(len(n.hosts) >> 8), byte(len(n.hosts) + 1)})}
	}
}

// open says where a server listens now; empty: nowhere.
func (n *Network) open(name id.ServerName, at string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[name].at = at
}

// signsAs says what a server signs with, so that it can be verified without asking it.
func (n *Network) signsAs(s signer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[s.name].sign = s
}

// key is what a server of the network signs with; nil, if there is no such server.
func (n *Network) key(name id.ServerName) (string, ed25519.PublicKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[name]; h != nil && h.sign.key != nil {
		return h.sign.keyID, h.sign.key.Public().(ed25519.PublicKey)
	}
	return "", nil
}

// Cut breaks the link between two servers: open connections end, new ones are refused.
func (n *Network) Cut(a, b id.ServerName) {
	n.change(func(l link) bool { return l == between(a, b) }, true)
}

// CutAll breaks all links of a server.
func (n *Network) CutAll(a id.ServerName) {
	n.change(func(l link) bool { return l[0] == a || l[1] == a }, true)
}

// Split cuts every link between a server of the one side and one of the other.
func (n *Network) Split(one, other []id.ServerName) {
	for _, a := range one {
		for _, b := range other {
			n.Cut(a, b)
		}
	}
}

// Heal mends the link between two servers and lets each say something to the other, so that neither waits until it is worth trying again.
func (n *Network) Heal(a, b id.ServerName) {
	n.change(func(l link) bool { return l == between(a, b) }, false)
}

// HealAll mends all links of a server.
func (n *Network) HealAll(a id.ServerName) {
	n.change(func(l link) bool { return l[0] == a || l[1] == a }, false)
}

// Mend heals every link.
func (n *Network) Mend() { n.change(func(link) bool { return true }, false) }

// change cuts or heals the links of which it is true.
func (n *Network) change(which func(link) bool, cut bool) {
	n.t.Helper()
	var healed []link
	n.mu.Lock()
	for _, l := range n.links() {
		if !which(l) {
			continue
		}
		if n.cut[l] && !cut {
			healed = append(healed, l)
		}
		n.cut[l] = cut
	}
	var broken []*wire
	for w := range n.wires {
		if n.cut[w.link] {
			broken = append(broken, w)
		}
	}
	n.mu.Unlock()
	for _, w := range broken {
		w.Close()
	}
	for _, l := range healed {
		n.greet(l[0], l[1])
		n.greet(l[1], l[0])
	}
}

// greet makes one server hear from another, if both are there: an empty transaction, signed with its key.
func (n *Network) greet(from, to id.ServerName) {
	n.t.Helper()
	n.mu.Lock()
	voice := &Remote{Name: from, t: n.t, net: n, signer: n.hosts[from].sign}
	ready := n.hosts[from].at != "" && n.hosts[to].at != "" && !n.cut[between(from, to)]
	n.txn++
	path := fmt.Sprint("v1/send/greeting", n.txn)
	n.mu.Unlock()
	if !ready {
		return
	}
	voice.http = n.client(from)
	defer voice.http.CloseIdleConnections()
	if _, err := voice.Try("PUT", to, path, voice.Transaction(nil)); err != nil {
		n.t.Errorf("%s greets %s: %v", from, to, err)
	}
}

// greetAll makes all servers hear from one.
func (n *Network) greetAll(from id.ServerName) {
	n.t.Helper()
	n.mu.Lock()
	others := slices.Sorted(maps.Keys(n.hosts))
	n.mu.Unlock()
	for _, to := range others {
		if to != from {
			n.greet(from, to)
		}
	}
}

// client makes requests to servers as one of them.
func (n *Network) client(from id.ServerName) *http.Client {
	return &http.Client{Timeout: Patience, Transport: &http.Transport{
		DialContext: Socket{n, from}.DialContext, TLSClientConfig: &tls.Config{RootCAs: n.ca.pool()}, MaxIdleConnsPerHost: 8,
	}}
}

func (n *Network) links() []link {
	var out []link
	for a := range n.hosts {
		for b := range n.hosts {
			if a < b {
				out = append(out, link{a, b})
			}
		}
	}
	return out
}

// Delay makes everything sent between two servers arrive that much later, in real time.
func (n *Network) Delay(a, b id.ServerName, by time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay[between(a, b)] = by
}

// Socket is the network as one server sees it: its resolver, and its way out. Without a network it finds and reaches nobody.
type Socket struct {
	net  *Network
	from id.ServerName
}

// Socket is the network as it is for a server.
func (n *Network) Socket(of id.ServerName) Socket { return Socket{n, of} }

// LookupNetIP resolves the name of a server, as net.Resolver does.
func (s Socket) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	if s.net != nil {
		s.net.mu.Lock()
		defer s.net.mu.Unlock()
		if h := s.net.hosts[id.ServerName(name)]; h != nil {
			return []netip.Addr{h.addr}, nil
		}
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// LookupSRV finds no records, as net.Resolver does where there are none.
func (s Socket) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// DialContext connects to the address of a server, whatever the port, as net.Dialer does.
func (s Socket) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var l link
	var at string
	var delay time.Duration
	if s.net != nil {
		l, at, delay = s.net.route(s.from, name)
	}
	if at == "" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%w: %s", ErrRefused, name)}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	return s.net.connect(&wire{Conn: conn, link: l, delay: delay})
}

// route returns where a connection from a server to an address or a name goes; nowhere, if it is refused.
func (n *Network) route(from id.ServerName, to string) (l link, at string, delay time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		if h.addr.String() == to || string(h.name) == to {
			l = between(from, h.name)
			if !n.cut[l] {
				at = h.at
			}
			return l, at, n.delay[l]
		}
	}
	return link{}, "", 0
}

// connect takes a connection into the books, unless its link was cut in the meantime.
func (n *Network) connect(w *wire) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[w.link] {
		w.Conn.Close()
		return nil, ErrRefused
	}
	w.net = n
	n.wires[w] = true
	return w, nil
}

// wire is a connection that its network can break.
type wire struct {
	net.Conn
	net   *Network
	link  link
	delay time.Duration
}

// Write sends after the delay of the link.
func (w *wire) Write(p []byte) (int, error) {
	if w.delay > 0 {
		<-time.After(w.delay)
	}
	return w.Conn.Write(p)
}

// Close leaves the books, too.
func (w *wire) Close() error {
	w.net.mu.Lock()
	delete(w.net.wires, w)
	w.net.mu.Unlock()
	return w.Conn.Close()
}
