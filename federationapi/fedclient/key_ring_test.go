package fedclient

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage/storagetest"
)

func roomVersion(t testing.TB, v gomatrixserverlib.RoomVersion) gomatrixserverlib.IRoomVersion {
	t.Helper()
	version, err := gomatrixserverlib.GetRoomVersion(v)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// event makes an event of a room version that a server has signed with some keys.
func event(t testing.TB, v gomatrixserverlib.RoomVersion, server id.ServerName, ts int64, keys map[string]ed25519.PrivateKey) fedtypes.Signed {
	t.Helper()
	version := roomVersion(t, v)
	raw := []byte(fmt.Sprintf(`{"auth_events":[],"content":{"body":"hello"},"depth":1,"event_id":"$e:%s","origin_server_ts":%d,"prev_events":[],`+
		`"room_id":"!r:b.example","sender":"@u:%s","type":"m.room.message"}`, server, ts, server))
	redacted, err := pdu.Redact(version, raw)
	if err != nil {
		t.Fatal(err)
	}
	if version.EventFormat() != gomatrixserverlib.EventFormatV1 {
		redacted = []byte(strings.Replace(string(redacted), fmt.Sprintf(`"event_id":"$e:%s",`, server), "", 1))
	}
	signatures := map[string]string{}
	for keyID, key := range keys {
		signatures[keyID] = encodeBase64(ed25519.Sign(key, redacted))
	}
	text, err := json.Marshal(map[id.ServerName]any{server: signatures})
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.TrimSuffix(string(raw), "}") + `,"signatures":` + string(text) + "}"
	return fedtypes.Signed{Raw: json.RawMessage(whole), Servers: []id.ServerName{server}, TS: ts}
}

func oneKey(keyID string, key ed25519.PrivateKey) map[string]ed25519.PrivateKey {
	return map[string]ed25519.PrivateKey{keyID: key}
}

func keyRequests(p *peer) int {
	n := 0
	for _, r := range p.asked() {
		if r.URI == "/_matrix/key/v2/server" {
			n++
		}
	}
	return n
}

func TestEventsNeedTheSignaturesOfTheirServers(t *testing.T) {
	_, p, c := conversation(t)
	now := c.clock.Now()
	nowMS, hour := now.UnixMilli(), time.Hour.Milliseconds()
	retired := testKey("retired")
	p.publish(now.Add(time.Hour), func(d map[string]any) {
		d["old_verify_keys"] = map[string]any{"ed25519:0": map[string]any{"key": encodeBase64(retired.Public().(ed25519.PublicKey)), "expired_ts": nowMS - 2*hour}}
	})
	current, wrong := oneKey("ed25519:1", p.key), oneKey("ed25519:1", testKey("wrong"))
	ours := event(t, "11", "us.example", nowMS, oneKey("ed25519:us", c.key))
	broken := event(t, "11", peerName, nowMS, current)
	broken.Raw = json.RawMessage(strings.Replace(string(broken.Raw), `"depth":1`, `"depth":2`, 1))
	redacted := event(t, "11", peerName, nowMS, current)
	redacted.Raw = json.RawMessage(strings.Replace(string(redacted.Raw), `"body":"hello"`, `"body":"bye"`, 1))
	twice := event(t, "11", peerName, nowMS, current)
	twice.Servers = append(twice.Servers, "c.example")
	nobody := twice
	nobody.Servers = nil
	for _, tt := range []struct {
		name    string
		version gomatrixserverlib.RoomVersion
		event   fedtypes.Signed
		want    error
	}{
		{"a good one", "11", event(t, "11", peerName, nowMS, current), nil},
		{"a good one of an old room", "1", event(t, "1", peerName, nowMS, current), nil},
		{"one with another content, as if it was redacted", "11", redacted, nil},
		{"one that was changed", "11", broken, ErrSignature},
		{"one signed with another key", "11", event(t, "11", peerName, nowMS, wrong), ErrSignature},
		{"one signed with a key that nobody knows", "11", event(t, "11", peerName, nowMS, oneKey("ed25519:9", p.key)), ErrNoKey},
		{"one signed also with a key that nobody knows", "11", event(t, "11", peerName, nowMS,
			map[string]ed25519.PrivateKey{"ed25519:1": p.key, "ed25519:9": testKey("x"), "ed25519:policy_server": testKey("y")}), nil},
		{"one of which one signature is good and one is not", "11", event(t, "11", peerName, nowMS-3*hour,
			map[string]ed25519.PrivateKey{"ed25519:1": p.key, "ed25519:0": testKey("x")}), ErrSignature},
		{"one signed by nobody", "11", event(t, "11", peerName, nowMS, nil), ErrSignature},
		{"one that nobody need sign", "11", nobody, nil},
		{"one that lacks one of two", "11", twice, ErrSignature},
		{"one of ours", "11", ours, nil},
		{"one from when the key was still in use", "11", event(t, "11", peerName, nowMS-3*hour, oneKey("ed25519:0", retired)), nil},
		{"one from after the key was retired", "11", event(t, "11", peerName, nowMS-hour, oneKey("ed25519:0", retired)), ErrNoKey},
		{"the same in an old room", "1", event(t, "1", peerName, nowMS-hour, oneKey("ed25519:0", retired)), ErrNoKey},
		{"one from after the keys are valid", "5", event(t, "5", peerName, nowMS+2*hour, current), ErrNoKey},
		{"the same in an old room", "4", event(t, "4", peerName, nowMS+2*hour, current), nil},
		{"one that is no event", "11", fedtypes.Signed{Raw: json.RawMessage(`[]`), Servers: []id.ServerName{peerName}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := NewKeyRing(c, nil, nil)
			err := k.VerifyEvents(t.Context(), roomVersion(t, tt.version), []fedtypes.Signed{tt.event})[0]
			if tt.name == "one that is no event" {
				if err == nil {
					t.Error("it passes")
				}
				return
			}
			if !errors.Is(err, tt.want) || tt.want == ErrSignature && errors.Is(err, ErrNoKey) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestWhatIsSignedMayBeGiven(t *testing.T) {
	_, p, c := conversation(t)
	p.publish(c.clock.Now().Add(time.Hour))
	e := event(t, "11", peerName, c.clock.Now().UnixMilli(), oneKey("ed25519:1", p.key))
	parsed, err := pdu.Parse(roomVersion(t, "11"), e.Raw)
	if err != nil {
		t.Fatal(err)
	}
	e.Raw, e.Message = parsed.Raw, parsed.Signed
	other := e
	other.Message = []byte("{}")
	errs := NewKeyRing(c, nil, nil).VerifyEvents(t.Context(), roomVersion(t, "11"), []fedtypes.Signed{e, other})
	if errs[0] != nil || !errors.Is(errs[1], ErrSignature) {
		t.Error(errs)
	}
}

func TestABatchAsksEachServerOnce(t *testing.T) {
	w, p, c := conversation(t)
	p2 := w.peer("c.example", "10.0.0.2")
	now := c.clock.Now()
	p.publish(now.Add(time.Hour))
	p2.publish(now.Add(time.Hour))
	var events []fedtypes.Signed
	for i := range 100 {
		peers := []*peer{p, p2}
		from := peers[i%2]
		events = append(events, event(t, "11", from.name, now.UnixMilli(), oneKey("ed25519:1", from.key)))
	}
	events = append(events, event(t, "11", "gone.example", now.UnixMilli(), oneKey("ed25519:1", p.key)))
	k := NewKeyRing(c, nil, nil)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for i, err := range k.VerifyEvents(context.Background(), roomVersion(t, "11"), events) {
				if (err == nil) != (i < 100) {
					t.Errorf("event %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	if a, b := keyRequests(p), keyRequests(p2); a != 1 || b != 1 {
		t.Errorf("asked %d and %d times", a, b)
	}
}

func TestKeysAreNotFetchedOverAndOver(t *testing.T) {
	_, p, c := conversation(t)
	now := fakeClock(c)
	p.publish(now.Now().Add(time.Hour))
	k := NewKeyRing(c, nil, nil)
	verify := func(keyID string, key ed25519.PrivateKey) error {
		return k.VerifyEvents(t.Context(), roomVersion(t, "11"), []fedtypes.Signed{event(t, "11", peerName, now.Now().UnixMilli(), oneKey(keyID, key))})[0]
	}
	next := testKey("next")
	for i := range 10 {
		if err := verify(fmt.Sprintf("ed25519:forged%d", i), next); !errors.Is(err, ErrNoKey) {
			t.Error(err)
		}
	}
	if n := keyRequests(p); n != 1 {
		t.Errorf("asked %d times for keys that are made up", n)
	}
	// The server changes its key: that is seen soon.
	p.keyID, p.key = "ed25519:2", next
	p.publish(now.Now().Add(time.Hour))
	now.Advance(keyInterval)
	if err := verify("ed25519:2", next); err != nil || keyRequests(p) != 1 {
		t.Error(err)
	}
	// A server that does not answer is asked less and less.
	p.say("GET", "/_matrix/key/v2/server", 500, `{"errcode":"M_UNKNOWN"}`)
	now.Advance(2 * time.Hour)
	asked := 0
	for range 60 * 6 {
		if err := verify("ed25519:2", next); !errors.Is(err, ErrNoKey) {
			t.Fatal(err)
		}
		asked += keyRequests(p)
		now.Advance(10 * time.Second)
	}
	if asked < 9 || asked > 13 {
		t.Errorf("asked %d times in an hour", asked)
	}
}

func TestKeysAreBelievedForSevenDaysAtMost(t *testing.T) {
	_, p, c := conversation(t)
	now := fakeClock(c)
	p.publish(now.Now().Add(1000 * time.Hour))
	k := NewKeyRing(c, nil, nil)
	for _, step := range []time.Duration{0, 7 * 24 * time.Hour, time.Millisecond, 0} {
		now.Advance(step)
		e := event(t, "11", peerName, now.Now().UnixMilli(), oneKey("ed25519:1", p.key))
		if err := k.VerifyEvents(t.Context(), roomVersion(t, "11"), []fedtypes.Signed{e})[0]; err != nil {
			t.Error(err)
		}
	}
	if n := keyRequests(p); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestKeysOutliveARestartAndTheirServer(t *testing.T) {
	store := storagetest.Open(t)
	w, p, c := conversation(t)
	ts := c.clock.Now().UnixMilli()
	e := []fedtypes.Signed{event(t, "11", peerName, ts, oneKey("ed25519:1", p.key))}
	p.publish(c.clock.Now().Add(time.Hour))
	if err := NewKeyRing(c, store, nil).VerifyEvents(t.Context(), roomVersion(t, "11"), e)[0]; err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	clear(w.listen)
	w.mu.Unlock()
	again := w.client()
	if err := NewKeyRing(again, store, nil).VerifyEvents(t.Context(), roomVersion(t, "11"), e)[0]; err != nil {
		t.Error(err)
	}
	if n := len(w.dialled()); n != 2 { // .well-known and the keys, of the first client
		t.Errorf("%d connections", n)
	}
}

func TestNotariesKnowTheKeysOfServersThatAreGone(t *testing.T) {
	w, notary, c := conversation(t)
	now := c.clock.Now()
	notary.publish(now.Add(time.Hour))
	gone := testKey("gone")
	document := keyDocumentOf("gone.example", "ed25519:1", gone, now.Add(time.Hour))
	var signed json.RawMessage
	notary.on("POST", "/_matrix/key/v2/query", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"server_keys":[7,%s]}`, signed)
	})
	e := []fedtypes.Signed{event(t, "11", "gone.example", now.UnixMilli(), oneKey("ed25519:1", gone))}
	for _, tt := range []struct {
		name     string
		document json.RawMessage
		ok       bool
	}{
		{"signed by both", signAs(notary.name, "ed25519:1", notary.key, document), true},
		{"not signed by the notary", document, false},
		{"signed by somebody else", signAs(notary.name, "ed25519:1", testKey("x"), document), false},
		{"of another server", signAs(notary.name, "ed25519:1", notary.key, keyDocumentOf("x.example", "ed25519:1", gone, now)), false},
	} {
		signed = tt.document
		k := NewKeyRing(w.client(), nil, []id.ServerName{"us.example", "gone.example", peerName})
		if err := k.VerifyEvents(t.Context(), roomVersion(t, "11"), e)[0]; (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestOurKeysCanBeVerifiedByOthers(t *testing.T) {
	c := newWorld(t).client()
	k := NewKeyRing(c, nil, nil)
	now := fakeClock(c)
	first, err := k.Own()
	if err != nil {
		t.Fatal(err)
	}
	document, err := parseKeyDocument("us.example", first, now.Now())
	if err != nil || len(document.keys) != 1 || document.keys[0].ValidUntil != now.Now().Add(24*time.Hour).UnixMilli() {
		t.Errorf("%+v, %v", document, err)
	}
	// The library that many other servers use agrees.
	var theirs gomatrixserverlib.ServerKeys
	if err := json.Unmarshal(first, &theirs); err != nil {
		t.Fatal(err)
	}
	if checks, _ := gomatrixserverlib.CheckKeys("us.example", time.Now(), theirs); !*checks.AllEd25519ChecksOK || !checks.MatchingServerName {
		t.Errorf("%+v", checks)
	}
	now.Advance(59 * time.Minute)
	if again, err := k.Own(); err != nil || string(again) != string(first) {
		t.Errorf("signed anew: %v", err)
	}
	now.Advance(time.Hour)
	if again, err := k.Own(); err != nil || string(again) == string(first) {
		t.Errorf("not signed anew: %v", err)
	}
}

func TestNotaryAnswers(t *testing.T) {
	w, p, c := conversation(t)
	now := fakeClock(c)
	nowMS, hour := now.Now().UnixMilli(), time.Hour.Milliseconds()
	p.publish(now.Now().Add(time.Hour))
	k := NewKeyRing(c, storagetest.Open(t), nil)
	type wish = map[id.ServerName]map[gomatrixserverlib.KeyID]int64
	ask := func(wanted wish) []string {
		t.Helper()
		var out []string
		for _, raw := range k.Notary(t.Context(), wanted) {
			var d struct {
				Name  id.ServerName             `json:"server_name"`
				Until int64                     `json:"valid_until_ts"`
				Keys  map[string]map[string]any `json:"verify_keys"`
			}
			if err := json.Unmarshal(raw, &d); err != nil {
				t.Fatal(err)
			}
			if err := k.VerifyJSON(t.Context(), "us.example", raw, nowMS); err != nil {
				t.Errorf("our signature: %v", err)
			}
			if _, err := parseKeyDocument(d.Name, raw, now.Now()); err != nil {
				t.Errorf("their signature: %v", err)
			}
			for keyID := range d.Keys {
				out = append(out, fmt.Sprint(d.Name, " ", keyID, " ", (d.Until-nowMS)/hour))
			}
		}
		return out
	}
	expect := func(wanted wish, asked int, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, ask(wanted)); diff != "" {
			t.Error(diff)
		}
		if n := keyRequests(p); n != asked {
			t.Errorf("asked %d times, want %d", n, asked)
		}
	}
	expect(wish{}, 0)
	expect(wish{"us.example": {}}, 0, "us.example ed25519:us 24")
	expect(wish{peerName: {}}, 1, "b.example ed25519:1 1")
	expect(wish{peerName: {}, "us.example": {"ed25519:x": 5}, "nobody.example": {}}, 0, "b.example ed25519:1 1", "us.example ed25519:us 24")
	expect(wish{peerName: {"ed25519:1": nowMS + hour}}, 0, "b.example ed25519:1 1")
	// It is asked again for more, but not all the time.
	expect(wish{peerName: {"ed25519:1": nowMS + 2*hour}}, 0, "b.example ed25519:1 1")
	now.Advance(time.Minute)
	expect(wish{peerName: {"ed25519:1": nowMS + 2*hour}}, 1, "b.example ed25519:1 1")
	// The key changes; the old one is still known from when it was in use.
	p.keyID, p.key = "ed25519:2", testKey("next")
	p.publish(now.Now().Add(3 * time.Hour))
	now.Advance(time.Minute)
	expect(wish{peerName: {"ed25519:2": 0}}, 1, "b.example ed25519:2 3")
	expect(wish{peerName: {"ed25519:1": 0}}, 0, "b.example ed25519:1 1")
	expect(wish{peerName: {}}, 0, "b.example ed25519:1 1", "b.example ed25519:2 3")
	expect(wish{peerName: {"ed25519:9": 0}}, 0, "b.example ed25519:1 1", "b.example ed25519:2 3")
	// A server that publishes nonsense, or nothing, does not take its good keys away.
	p.publish(now.Now(), func(d map[string]any) { d["server_name"] = "x.example" })
	now.Advance(24 * time.Hour)
	expect(wish{peerName: {"ed25519:2": 0}}, 0, "b.example ed25519:2 3")
	expect(wish{peerName: {}}, 1, "b.example ed25519:1 1", "b.example ed25519:2 3")
	w.mu.Lock()
	clear(w.listen)
	w.mu.Unlock()
	c.servers.CloseIdleConnections()
	now.Advance(24 * time.Hour)
	expect(wish{peerName: {}}, 0, "b.example ed25519:1 1", "b.example ed25519:2 3")
}

// signedBy makes a request that a peer has signed.
func (p *peer) signedBy(t *testing.T, method, uri, body string, to id.ServerName) *http.Request {
	t.Helper()
	signer := &Client{name: p.name, keyID: gomatrixserverlib.KeyID(p.keyID), key: p.key}
	r := httptest.NewRequest(method, uri, strings.NewReader(body))
	var content []byte
	if body != "" {
		content = []byte(body)
	}
	r.Header.Set("Authorization", signer.authorize(method, uri, to, content))
	return r
}

func TestRequestsOfOtherServersAreVerified(t *testing.T) {
	const body = `{"a":1}`
	header := func(change func(string) string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", change(r.Header.Get("Authorization"))) }
	}
	for _, tt := range []struct {
		name   string
		change func(r *http.Request)
		body   string
		ok     bool
	}{
		{"a good one", nil, body, true},
		{"with another form of the same body", nil, "{\n\"a\" : 1 }", true},
		{"of an older server, without destination", header(func(s string) string { return strings.Replace(s, `,destination="us.example"`, "", 1) }), body, true},
		{"with a second signature that is not known", func(r *http.Request) {
			r.Header.Add("Authorization", strings.Replace(r.Header.Get("Authorization"), `"ed25519:1"`, `"ed25519:9"`, 1))
		}, body, true},
		{"in the form for proxies", func(r *http.Request) { r.RequestURI = "https://us.example/_matrix/federation/v1/send/1?a=b" }, body, true},

		{"without header", func(r *http.Request) { r.Header.Del("Authorization") }, body, false},
		{"with another scheme", header(func(string) string { return "Bearer x" }), body, false},
		{"with too many headers", func(r *http.Request) {
			r.Header["Authorization"] = []string{"a", "b", "c", "d", "e"}
		}, body, false},
		{"with another body", nil, `{"a":2}`, false},
		{"without body", nil, ``, false},
		{"with a body that is no JSON", nil, `{`, false},
		{"with another path", func(r *http.Request) { r.RequestURI = "/_matrix/federation/v1/send/2?a=b" }, body, false},
		{"with another query", func(r *http.Request) { r.RequestURI = "/_matrix/federation/v1/send/1?a=c" }, body, false},
		{"with another method", func(r *http.Request) { r.Method = "POST" }, body, false},
		{"for another server", header(func(s string) string { return strings.Replace(s, `"us.example"`, `"x.example"`, 1) }), body, false},
		{"from another server", header(func(s string) string { return strings.Replace(s, `"b.example"`, `"x.example"`, 1) }), body, false},
		{"from this server itself", header(func(s string) string { return strings.Replace(s, `"b.example"`, `"us.example"`, 1) }), body, false},
		{"from two servers", func(r *http.Request) {
			good := r.Header.Get("Authorization")
			r.Header.Set("Authorization", strings.NewReplacer(`"b.example"`, `"x.example"`, `"ed25519:1"`, `"ed25519:9"`).Replace(good))
			r.Header.Add("Authorization", good)
		}, body, false},
		{"that this server has made itself", func(r *http.Request) {
			us := &Client{name: "us.example", keyID: "ed25519:us", key: testKey("us")}
			r.Header.Set("Authorization", us.authorize(r.Method, r.RequestURI, "us.example", []byte(body)))
		}, body, false},
		{"with a second signature that does not hold", func(r *http.Request) {
			r.Header.Add("Authorization", strings.Replace(r.Header.Get("Authorization"), `sig="`, `sig="AA`, 1))
		}, body, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, p, c := conversation(t)
			p.publish(c.clock.Now().Add(time.Hour))
			k := NewKeyRing(c, nil, nil)
			r := p.signedBy(t, "PUT", "/_matrix/federation/v1/send/1?a=b", body, "us.example")
			if tt.change != nil {
				tt.change(r)
			}
			origin, err := k.VerifyRequest(t.Context(), r, []byte(tt.body), c.clock.Now())
			if tt.ok && (err != nil || origin != peerName) || !tt.ok && merr.From(err).Status/100 != 4 {
				t.Errorf("%q, %v", origin, err)
			}
		})
	}
}

func TestAServerThatFailedIsHeardAgain(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	k := NewKeyRing(c, nil, nil)
	_, _ = c.Event(t.Context(), peerName, "$e")
	if c.Backoff(peerName).IsZero() {
		t.Fatal("it answers")
	}
	p := w.peer(peerName, "10.0.0.1")
	p.publish(c.clock.Now().Add(time.Hour))
	r := p.signedBy(t, "GET", "/_matrix/federation/v1/event/$e", "", "us.example")
	if origin, err := k.AuthenticateServer(t.Context(), r, nil); err != nil || origin != peerName {
		t.Fatalf("%q, %v", origin, err)
	}
	if !c.Backoff(peerName).IsZero() {
		t.Error("it is still left alone")
	}
}

func TestRequestsNeedKeysThatAreValidNow(t *testing.T) {
	_, p, c := conversation(t)
	now := fakeClock(c)
	p.publish(now.Now().Add(time.Hour))
	k := NewKeyRing(c, nil, nil)
	r := p.signedBy(t, "GET", "/_matrix/federation/v1/event/$e", "", "us.example")
	if _, err := k.VerifyRequest(t.Context(), r, nil, now.Now()); err != nil {
		t.Fatal(err)
	}
	now.Advance(2 * time.Hour)
	if _, err := k.VerifyRequest(t.Context(), r, nil, now.Now()); !merr.HasCode(err, merr.Unauthorized) {
		t.Errorf("%v", err)
	}
}

func TestOnlySoManyStrangersAreWrittenDown(t *testing.T) {
	store := storagetest.Open(t)
	w := newWorld(t)
	c := w.client()
	k := NewKeyRing(c, store, nil)
	k.strange = 1
	ask := func(p *peer) {
		t.Helper()
		p.publish(c.clock.Now().Add(time.Hour))
		r := p.signedBy(t, "GET", "/_matrix/federation/v1/event/$e", "", "us.example")
		if _, err := k.AuthenticateServer(t.Context(), r, nil); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	first, second := w.peer("first.example", "10.0.0.1"), w.peer("second.example", "10.0.0.2")
	stored := func(want ...int) {
		t.Helper()
		for i, p := range []*peer{first, second} {
			if keys, err := k.load(t.Context(), p.name); err != nil || len(keys) != want[i] {
				t.Errorf("%d keys of %s are stored, want %d: %v", len(keys), p.name, want[i], err)
			}
		}
	}
	ask(first)
	ask(second)
	stored(1, 0)
	fakeClock(c).Advance(2 * time.Hour) // what is known is no longer valid
	first.keyID = "ed25519:2"
	ask(first)
	ask(second)
	stored(2, 1)
	k.strange, k.strangeAt = 0, c.clock.Now()
	fakeClock(c).Advance(2 * keyInterval)
	second.keyID = "ed25519:2"
	k.strangeAt = c.clock.Now()
	ask(second)
	stored(2, 1)
}

func TestAPanicOnManyProcessorsIsOneOfTheCaller(t *testing.T) {
	for _, n := range []int{1, 1000} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("with %d nothing panicked", n)
				}
			}()
			spread(n, func(i int) {
				if i == n-1 {
					panic("here")
				}
			})
		}()
	}
}

func BenchmarkVerifyEvents(b *testing.B) {
	c, err := New(Options{Name: peerName, KeyID: "ed25519:1", Key: testKey("b")})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	k := NewKeyRing(c, nil, nil)
	version := roomVersion(b, "11")
	var events []fedtypes.Signed
	for range 50 {
		e := event(b, "11", peerName, 1, oneKey("ed25519:1", c.key))
		parsed, err := pdu.Parse(version, e.Raw)
		if err != nil {
			b.Fatal(err)
		}
		e.Raw, e.Message = parsed.Raw, parsed.Signed
		events = append(events, e)
	}
	for b.Loop() {
		if err := k.VerifyEvents(b.Context(), version, events)[0]; err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzSignedObject(f *testing.F) {
	f.Add([]byte(`{"a":1,"signatures":{"us.example":{"ed25519:us":"abc"}},"unsigned":{}}`))
	f.Add([]byte(`{"signatures":7}`))
	f.Add([]byte("{\"\\u0000<\":\"\xff\"}"))
	c := &Client{name: "us.example", keyID: "ed25519:us", key: testKey("us")}
	f.Fuzz(func(t *testing.T, raw []byte) {
		signed, err := c.sign(raw)
		if err != nil {
			return
		}
		o, err := parseObject(signed)
		if err != nil {
			t.Fatalf("%q: %v", signed, err)
		}
		if !verify(c.key.Public().(ed25519.PublicKey), o.message, o.signatures["us.example"]["ed25519:us"]) {
			t.Errorf("%q does not verify", signed)
		}
	})
}
