package fedclient

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/safehttp"
)

// world is an internet of its own: names, service records, certificates, and addresses that lead to servers on loopback.
type world struct {
	t    testing.TB
	ca   *x509.Certificate
	sign *ecdsa.PrivateKey

	mu       sync.Mutex
	hosts    map[string][]string
	services map[string][]*net.SRV // by "_matrix._tcp.name"
	broken   map[string]error      // look-ups of service records that fail
	listen   map[string]string     // by address and port
	dials    []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, hosts: map[string][]string{}, services: map[string][]*net.SRV{}, broken: map[string]error{}, listen: map[string]string{}}
	var err error
	if w.sign, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.ca = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "world"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	w.ca = w.certify(w.ca, w.ca, w.sign)
	return w
}

func (w *world) certify(template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	w.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, w.sign)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

// serve answers HTTPS at an address with a certificate for some names.
func (w *world) serve(address string, names []string, h http.Handler) *httptest.Server {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	cert := w.certify(template, w.ca, key)
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	w.t.Cleanup(s.Close)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listen[address] = s.Listener.Addr().String()
	return s
}

func (w *world) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []netip.Addr
	for _, text := range w.hosts[name] {
		out = append(out, netip.MustParseAddr(text))
	}
	if out == nil {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return out, nil
}

func (w *world) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	record := "_" + service + "._" + proto + "." + name
	if err := w.broken[record]; err != nil {
		return "", nil, err
	}
	if found := w.services[record]; found != nil {
		return record, found, nil
	}
	return "", nil, &net.DNSError{Err: "no such host", Name: record, IsNotFound: true}
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, address)
	to := w.listen[address]
	w.mu.Unlock()
	if to == "" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused: " + address)}
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

// dialled returns where connections were tried since it was last asked.
func (w *world) dialled() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.dials
	w.dials = nil
	return out
}

func (w *world) options() Options {
	return Options{
		Name: "us.example", KeyID: "ed25519:us", Key: testKey("us"), Authorities: safehttp.NewAuthorities(w.ca), Resolver: w, Dial: w.dial,
		Clock: clock.NewFake(time.UnixMilli(1_800_000_000_000)), Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	}
}

// client makes a client in the world, with some options changed.
func (w *world) client(change ...func(*Options)) *Client {
	w.t.Helper()
	o := w.options()
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func fakeClock(c *Client) *clock.Fake { return c.clock.(*clock.Fake) }

func testKey(name string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	return ed25519.NewKeyFromSeed(seed)
}

// peer is another homeserver: what it answers is decided by path, and every request is kept.
type peer struct {
	name  id.ServerName
	key   ed25519.PrivateKey
	keyID string

	mu       sync.Mutex
	answers  map[string]http.HandlerFunc // by method and path
	requests []seen
}

type seen struct {
	Method, URI, Host, SNI, Body string
	Signed                       bool
}

// peer makes a server with a name, reached at address; the certificate is for the name.
func (w *world) peer(name id.ServerName, address string) *peer {
	w.t.Helper()
	p := &peer{name: name, key: testKey(string(name)), keyID: "ed25519:1", answers: map[string]http.HandlerFunc{}}
	w.mu.Lock()
	w.hosts[name.Host()] = []string{address}
	w.mu.Unlock()
	_, port := name.Split()
	if port == 0 {
		port = defaultPort
	}
	w.serve(netip.AddrPortFrom(netip.MustParseAddr(address), port).String(), []string{name.Host()}, p)
	p.say("GET", "/_matrix/federation/v1/version", 200, `{"server":{"name":"peer","version":"1"}}`)
	return p
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	p.requests = append(p.requests, seen{
		Method: r.Method, URI: r.RequestURI, Host: r.Host, SNI: r.TLS.ServerName, Body: string(body), Signed: r.Header.Get("Authorization") != "",
	})
	answer := p.answers[r.Method+" "+r.URL.EscapedPath()]
	p.mu.Unlock()
	if answer == nil {
		w.WriteHeader(404)
		fmt.Fprint(w, `{"errcode":"M_UNRECOGNIZED","error":"no such thing"}`)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer(w, r)
}

// on answers a path with a function, say with a text.
func (p *peer) on(method, path string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[method+" "+path] = h
}

func (p *peer) say(method, path string, status int, body string) {
	p.on(method, path, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
}

// asked returns the requests since it was last asked.
func (p *peer) asked() []seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.requests
	p.requests = nil
	return out
}

// publish makes the peer answer for its keys with a document that is valid until a moment, changed as wished before it is signed.
func (p *peer) publish(until time.Time, change ...func(map[string]any)) json.RawMessage {
	raw := keyDocumentOf(p.name, p.keyID, p.key, until, change...)
	p.say("GET", "/_matrix/key/v2/server", 200, string(raw))
	return raw
}

func keyDocumentOf(name id.ServerName, keyID string, key ed25519.PrivateKey, until time.Time, change ...func(map[string]any)) json.RawMessage {
	document := map[string]any{
		"server_name":     name,
		"verify_keys":     map[string]any{keyID: map[string]any{"key": encodeBase64(key.Public().(ed25519.PublicKey))}},
		"old_verify_keys": map[string]any{},
		"valid_until_ts":  until.UnixMilli(),
	}
	for _, f := range change {
		f(document)
	}
	return signAs(name, keyID, key, document)
}

// signAs signs an object.
func signAs(name id.ServerName, keyID string, key ed25519.PrivateKey, v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	signer := &Client{name: name, keyID: gomatrixserverlib.KeyID(keyID), key: key}
	signed, err := signer.sign(raw)
	if err != nil {
		panic(err)
	}
	return signed
}
