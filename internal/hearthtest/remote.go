package hearthtest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/spec"
)

// Remote is a server of another make, under the control of the test: it has a key and rooms of its own, answers as a plain and honest server
// would unless the test has scripted something else, sends whatever the test wants, and remembers what it was asked.
//
//	mallory := net.Remote()
//	eve := mallory.User("eve")
//	room := mallory.CreateRoom(eve, "10")
//	alice.Join(room.ID, mallory.Name)
//	room.Say(eve, "hi")
//	alice.WaitFor(room.ID, "hi")
//
// It checks that requests and events it gets are signed as they must be; a wrong signature is an error of the test.
type Remote struct {
	// Name is the part of ids after the colon.
	Name id.ServerName

	t      testing.TB
	net    *Network
	signer signer
	http   *http.Client

	mu       sync.Mutex
	rooms    map[id.RoomID]*Room
	aliases  map[id.RoomAlias]id.RoomID
	scripts  map[string]Answer
	requests []*Request
	bell     chan struct{} // closed and replaced whenever something has come
	txn      int
}

// Remote starts a scripted server.
func (n *Network) Remote() *Remote {
	n.t.Helper()
	return n.RemoteIn(n.t)
}

// RemoteIn starts a scripted server that belongs to a subtest.
func (n *Network) RemoteIn(t testing.TB) *Remote {
	t.Helper()
	n.mu.Lock()
	name := id.ServerName(fmt.Sprintf("remote%d", len(n.hosts)+1))
	n.mu.Unlock()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &Remote{
		Name: name, t: t, net: n, signer: signer{name, "ed25519:remote", key},
		rooms: map[id.RoomID]*Room{}, aliases: map[id.RoomAlias]id.RoomID{}, scripts: map[string]Answer{}, bell: make(chan struct{}),
	}
	n.enter(name, true)
	n.signsAs(r.signer)
	watcher := spec.Requests(t)
	watcher.Requests = func(r *http.Request) bool { return n.homeserverAsks(r, name) }
	server := httptest.NewUnstartedServer(watcher.Wrap(r.handler()))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{n.ca.issue(name)}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	n.open(name, server.Listener.Addr().String())
	r.http = n.client(name)
	t.Cleanup(func() {
		r.http.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	return r
}

// User is the id of somebody there.
func (r *Remote) User(name string) id.UserID { return id.UserID("@" + name + ":" + string(r.Name)) }

// Do makes a signed request to another server. A path without a slash at its beginning is below /_matrix/federation/. A body that is nil is
// none, a string or []byte is sent and signed as it is, anything else as JSON.
func (r *Remote) Do(method string, to id.ServerName, path string, body any) Response {
	r.t.Helper()
	answer, err := r.Try(method, to, path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}

// Try is Do for requests that may fail to get an answer, and for goroutines other than the test's.
func (r *Remote) Try(method string, to id.ServerName, path string, body any) (Response, error) {
	content, err := encode(body)
	if err != nil {
		return Response{}, err
	}
	if !strings.HasPrefix(path, "/") {
		path = "/_matrix/federation/" + path
	}
	authorization, err := r.authorization(method, to, path, content)
	if err != nil {
		return Response{}, err
	}
	return r.Raw(r.t.Context(), method, to, path, content, http.Header{
		"Authorization": {authorization}, "Content-Type": {"application/json"},
	})
}

// Raw makes a request as it is, without a signature.
func (r *Remote) Raw(ctx context.Context, method string, to id.ServerName, path string, body []byte, header http.Header) (Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+string(to)+":8448"+path, bytes.NewReader(body))
	if err != nil {
		return Response{}, err
	}
	req.Header = header
	return send(r.http, req)
}

// authorization signs a request. A body that is not JSON is signed as none.
//
// Spec: server-server-api#request-authentication
func (r *Remote) authorization(method string, to id.ServerName, uri string, body []byte) (string, error) {
	object := map[string]any{"method": method, "uri": uri, "origin": r.Name, "destination": to}
	if json.Valid(body) {
		object["content"] = json.RawMessage(body)
	}
	signed, err := r.signer.signObject(object)
	if err != nil {
		return "", err
	}
	signature := at(gjson.ParseBytes(signed), "signatures", r.Name, r.signer.keyID).Str
	return fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="%s",sig="%s"`, r.Name, to, r.signer.keyID, signature), nil
}

// Must is Do for a request that has to succeed.
func (r *Remote) Must(method string, to id.ServerName, path string, body any) Response {
	r.t.Helper()
	answer := r.Do(method, to, path, body)
	if answer.Status != http.StatusOK {
		r.t.Fatalf("%s %s: %d %s", method, path, answer.Status, answer.Body)
	}
	return answer
}

// Get is Must for what is read.
func (r *Remote) Get(to id.ServerName, path string) Response {
	r.t.Helper()
	return r.Must("GET", to, path, nil)
}

// Refused is Do for a request that has to fail with a Matrix error. Anything else is an error of the test, which goes on.
func (r *Remote) Refused(method string, to id.ServerName, path string, body any, status int, errcode string) Response {
	r.t.Helper()
	answer := r.Do(method, to, path, body)
	if !answer.Refused(status, errcode) {
		r.t.Errorf("%s %s: got %d %s, want %d %s", method, path, answer.Status, answer.Body, status, errcode)
	}
	return answer
}

// Transaction is the body of a transaction.
func (r *Remote) Transaction(pdus []*PDU, edus ...Fields) Fields {
	list := make([]json.RawMessage, len(pdus))
	for i, p := range pdus {
		list[i] = p.Raw
	}
	if edus == nil {
		edus = []Fields{}
	}
	return Fields{"origin": r.Name, "origin_server_ts": time.Now().UnixMilli(), "pdus": list, "edus": edus}
}

// SendTo sends events to a server in one transaction and returns what it says against each of them; what it accepts is not in the result.
func (r *Remote) SendTo(to id.ServerName, pdus ...*PDU) map[id.EventID]string {
	r.t.Helper()
	out := map[id.EventID]string{}
	for event, result := range r.Must("PUT", to, r.nextSend(), r.Transaction(pdus)).Get("pdus").Map() {
		if e := result.Get("error"); e.Exists() {
			out[id.EventID(event)] = e.Str
		}
	}
	return out
}

// SendEDU sends something that is no event.
func (r *Remote) SendEDU(to id.ServerName, typ string, content any) {
	r.t.Helper()
	r.Must("PUT", to, r.nextSend(), r.Transaction(nil, Fields{"edu_type": typ, "content": content}))
}

func (r *Remote) nextSend() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.txn++
	return "v1/send/" + fmt.Sprint("txn", r.txn)
}

// Request is what another server asked.
type Request struct {
	// Endpoint is what the request is for, a name of On.
	Endpoint string
	// Origin is who has signed it; empty where nobody had to.
	Origin id.ServerName
	Query  url.Values
	Body   gjson.Result
	Raw    []byte

	http   *http.Request
	remote *Remote
}

// Var is a part of the path.
func (q *Request) Var(name string) string { return q.http.PathValue(name) }

// URL is what was asked for.
func (q *Request) URL() *url.URL {
	out := *q.http.URL
	out.Scheme, out.Host = "https", q.http.Host
	return &out
}

// Context ends when the other server hangs up.
func (q *Request) Context() context.Context { return q.http.Context() }

// Reply is an answer.
type Reply struct {
	Status int
	Body   any // a string or []byte as it is, anything else as JSON
	// Write takes the place of the others: it writes what it likes.
	Write func(http.ResponseWriter)
}

// OK is a good answer.
func OK(body any) Reply { return Reply{Status: http.StatusOK, Body: body} }

// Fails is a Matrix error.
func Fails(status int, errcode string) Reply {
	return Reply{Status: status, Body: Fields{"errcode": errcode, "error": "The test says so"}}
}

// Answer makes up an answer. It is called from other goroutines than the test's.
type Answer func(q *Request) Reply

// On scripts the answers of an endpoint, a name in the table of endpoints; nil: what an honest server says. A script gets that through
// q.Honest.
func (r *Remote) On(endpoint string, script Answer) {
	r.t.Helper()
	if _, ok := endpoints[endpoint]; !ok {
		r.t.Fatalf("there is no endpoint %s", endpoint)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scripts[endpoint] = script
}

// Honest is the answer of an honest server.
func (q *Request) Honest() Reply {
	q.remote.mu.Lock()
	defer q.remote.mu.Unlock()
	return endpoints[q.Endpoint].honest(q.remote, q)
}

// maxRequest bounds what is read of a request.
const maxRequest = 64 << 20

// handler records requests and answers them.
func (r *Remote) handler() http.Handler {
	mux := http.NewServeMux()
	for name, e := range endpoints {
		mux.HandleFunc(e.pattern, func(w http.ResponseWriter, req *http.Request) { r.serve(w, req, name, e.signed) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		Fails(http.StatusNotFound, "M_UNRECOGNIZED").write(w)
	})
	return mux
}

func (r *Remote) serve(w http.ResponseWriter, req *http.Request, endpoint string, signed bool) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxRequest))
	if err != nil {
		return // hung up, or cut off
	}
	q := &Request{
		Endpoint: endpoint, Query: req.URL.Query(), Body: gjson.ParseBytes(body), Raw: body, http: req, remote: r,
	}
	if signed {
		if q.Origin, err = r.origin(req, body); err != nil {
			r.t.Errorf("%s got %s %s: %v", r.Name, req.Method, req.URL, err)
			Fails(http.StatusUnauthorized, "M_UNAUTHORIZED").write(w)
			return
		}
	}
	r.mu.Lock()
	script := r.scripts[endpoint]
	r.mu.Unlock()
	if script == nil {
		script = (*Request).Honest
	}
	reply := script(q)
	r.mu.Lock()
	r.requests = append(r.requests, q)
	r.ring()
	r.mu.Unlock()
	reply.write(w)
}

func (a Reply) write(w http.ResponseWriter) {
	if a.Write != nil {
		a.Write(w)
		return
	}
	body, err := encode(a.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Status)
	w.Write(body)
}

// origin verifies the signature of a request.
func (r *Remote) origin(req *http.Request, body []byte) (id.ServerName, error) {
	text, ok := strings.CutPrefix(req.Header.Get("Authorization"), "X-Matrix ")
	if !ok {
		return "", fmt.Errorf("it is not signed")
	}
	params := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		params[strings.ToLower(name)] = strings.Trim(value, `"`)
	}
	object := Fields{"method": req.Method, "uri": req.URL.RequestURI(), "origin": params["origin"], "destination": r.Name}
	if len(body) > 0 {
		object["content"] = json.RawMessage(body)
	}
	signed, err := canonical(object)
	if err != nil {
		return "", err
	}
	signature, err := base64.RawStdEncoding.DecodeString(params["sig"])
	if err != nil {
		return "", err
	}
	origin := id.ServerName(params["origin"])
	keyID, key := r.net.key(origin)
	if key == nil || keyID != params["key"] || params["destination"] != string(r.Name) || !ed25519.Verify(key, signed, signature) {
		return "", fmt.Errorf("the signature is wrong: %s", text)
	}
	return origin, nil
}

// ring wakes whoever waits. The caller holds the lock.
func (r *Remote) ring() {
	close(r.bell)
	r.bell = make(chan struct{})
}

// waitUntil waits until look, which is called with the lock held, says that it has found what is waited for.
func (r *Remote) waitUntil(what string, look func() bool) {
	r.t.Helper()
	if !r.within(Patience, look) {
		r.t.Fatalf("%s waited in vain for %s; it got %s", r.Name, what, strings.Join(r.Asked(), ", "))
	}
}

func (r *Remote) within(limit time.Duration, look func() bool) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		r.mu.Lock()
		found, bell := look(), r.bell
		r.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-bell:
		case <-late.C:
			return false
		}
	}
}

// Asked are the endpoints of the requests so far, in order.
func (r *Remote) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, q := range r.requests {
		out = append(out, q.Endpoint)
	}
	return out
}

// Requests are those that an endpoint has got.
func (r *Remote) Requests(endpoint string) []*Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requestsOf(endpoint)
}

func (r *Remote) requestsOf(endpoint string) []*Request {
	var out []*Request
	for _, q := range r.requests {
		if q.Endpoint == endpoint {
			out = append(out, q)
		}
	}
	return out
}

// WaitForRequest returns the first request of an endpoint that fits, waiting for it if it must; nil fits all.
func (r *Remote) WaitForRequest(endpoint string, fits func(*Request) bool) *Request {
	r.t.Helper()
	var found *Request
	r.waitUntil("a request to "+endpoint, func() bool {
		for _, q := range r.requestsOf(endpoint) {
			if fits == nil || fits(q) {
				found = q
				return true
			}
		}
		return false
	})
	return found
}

// WaitForEDU returns the content of the first EDU of a type that fits, waiting for it if it must; nil fits all.
func (r *Remote) WaitForEDU(typ string, fits func(gjson.Result) bool) gjson.Result {
	r.t.Helper()
	var found gjson.Result
	r.waitUntil("an EDU "+typ, func() bool {
		for _, q := range r.requestsOf("send") {
			for _, e := range q.Body.Get("edus").Array() {
				if c := e.Get("content"); e.Get("edu_type").Str == typ && (fits == nil || fits(c)) {
					found = c
					return true
				}
			}
		}
		return false
	})
	return found
}
