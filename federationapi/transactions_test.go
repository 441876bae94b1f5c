package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/serveracl"
	"github.com/hearthd/hearth/storage/storagetest"
)

const send = v1 + "/send/"

func (r *rig) wantTold(want ...string) {
	r.t.Helper()
	slices.Sort(want)
	if d := cmp.Diff(want, r.told.take()); d != "" {
		r.t.Error(d)
	}
}

func TestTransactionsAreSplitIntoRooms(t *testing.T) {
	r := newRig(t)
	got := r.must("PUT", send+"1", `{"origin":"two","origin_server_ts":1,"pdus":[
		{"id":"$a","room_id":"!one:hs"},{"id":"$b","room_id":"!two:hs"},{"id":"$c","room_id":"!one:hs"},
		{"id":"$d"},{"id":"$e","room_id":"nonsense"},7,null]}`)
	if want := `{"pdus":{"$a":{},"$b":{},"$c":{}}}`; got.Raw != want {
		t.Errorf("got %s, want %s", got.Raw, want)
	}
	r.wantTold(`receive two !one:hs [{"id":"$a","room_id":"!one:hs"} {"id":"$c","room_id":"!one:hs"}]`, `receive two !two:hs [{"id":"$b","room_id":"!two:hs"}]`)
}

func TestOneEventThatFailsIsItsOwnFault(t *testing.T) {
	r := newRig(t)
	r.told.receive = func(_ context.Context, room id.RoomID, _ []json.RawMessage) map[id.EventID]error {
		switch room {
		case "!denied:hs":
			return map[id.EventID]error{"$denied": merr.New(merr.Forbidden, "You may not"), "$fine": nil}
		case "!broken:hs":
			return map[id.EventID]error{"$broken": errors.New("the disk is on fire")}
		}
		panic("what a room")
	}
	got := r.must("PUT", send+"1", `{"pdus":[{"room_id":"!denied:hs"},{"room_id":"!broken:hs"},{"room_id":"!panic:hs"}]}`)
	if want := `{"pdus":{"$broken":{"error":"Internal server error"},"$denied":{"error":"You may not"},"$fine":{}}}`; got.Raw != want {
		t.Errorf("got %s, want %s", got.Raw, want)
	}
}

func TestTransactionsThatAreNone(t *testing.T) {
	r := newRig(t)
	many := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	for name, test := range map[string]struct {
		body string
		code int
		err  string
	}{
		"nothing":                    {"", 400, "M_NOT_JSON"},
		"no JSON":                    {`{"pdus":[`, 400, "M_NOT_JSON"},
		"more than JSON":             {`{} {}`, 400, "M_NOT_JSON"},
		"not UTF-8":                  {"{\"\xff\":1}", 400, "M_NOT_JSON"},
		"no object":                  {`[]`, 400, "M_BAD_JSON"},
		"null":                       {`null`, 400, "M_BAD_JSON"},
		"events that are no list":    {`{"pdus":{}}`, 400, "M_BAD_JSON"},
		"too many events":            {`{"pdus":[` + many(51, "{}") + `]}`, 400, "M_BAD_JSON"},
		"too many EDUs":              {`{"edus":[` + many(101, "{}") + `]}`, 400, "M_BAD_JSON"},
		"nesting that kills parsers": {`{"pdus":[` + strings.Repeat("[", 1<<20), 400, "M_NOT_JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			r.in(t).refused("two", "PUT", send+"bad", test.body, test.code, test.err)
		})
	}
	r.refused("", "PUT", send+"1", `{"pdus":[]}`, 401, "M_UNAUTHORIZED")
	r.wantTold()
	if got := r.must("PUT", send+"empty", `{}`); got.Raw != `{"pdus":{}}` {
		t.Errorf("an empty transaction: %s", got.Raw)
	}
	// What a user has sent may be nested as it likes; it is one event's matter.
	r.must("PUT", send+"deep", `{"pdus":[{"room_id":"!one:hs","content":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}]}`)
}

func TestTransactionsAreTakenOnce(t *testing.T) {
	r := newRig(t)
	const body = `{"pdus":[{"id":"$a","room_id":"!one:hs"}]}`
	first := r.must("PUT", send+"1", body)
	again := r.must("PUT", send+"1", body)
	if first.Raw != again.Raw {
		t.Errorf("first %s, then %s", first.Raw, again.Raw)
	}
	r.wantTold(`receive two !one:hs [{"id":"$a","room_id":"!one:hs"}]`)
	if got := r.as("three", "PUT", send+"1", body); got.Code != 200 {
		t.Errorf("another server: %d %s", got.Code, got.Raw)
	}
	r.must("PUT", send+"2", body)
	r.wantTold(`receive three !one:hs [{"id":"$a","room_id":"!one:hs"}]`, `receive two !one:hs [{"id":"$a","room_id":"!one:hs"}]`)
	for i := range maxRemembered { // now the first is forgotten
		r.must("PUT", fmt.Sprintf("%s1%d", send, i), `{}`)
	}
	r.must("PUT", send+"1", body)
	r.wantTold(`receive two !one:hs [{"id":"$a","room_id":"!one:hs"}]`)
}

func TestARepetitionJoinsTheFirst(t *testing.T) {
	r := newRig(t)
	started, release := make(chan struct{}), make(chan struct{})
	r.told.receive = func(context.Context, id.RoomID, []json.RawMessage) map[id.EventID]error {
		started <- struct{}{}
		<-release
		return map[id.EventID]error{"$a": nil}
	}
	const body = `{"pdus":[{"room_id":"!one:hs"}]}`
	var all sync.WaitGroup
	do := func(ctx context.Context, txn string) (code int, text string) {
		req := httptest.NewRequestWithContext(ctx, "PUT", send+txn, strings.NewReader(body))
		req.Header.Set("Authorization", "X-Matrix two")
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, req)
		return w.Code, w.Body.String()
	}
	// The first hangs up while its transaction is worked on.
	ctx, hangUp := context.WithCancel(t.Context())
	all.Go(func() {
		if code, text := do(ctx, "1"); code != 504 {
			t.Errorf("who hung up got %d %s", code, text)
		}
	})
	<-started
	hangUp()
	all.Wait()
	for range 3 {
		all.Go(func() {
			if code, text := do(t.Context(), "1"); code != 200 || text != `{"pdus":{"$a":{}}}` {
				t.Errorf("a repetition got %d %s", code, text)
			}
		})
	}
	for i := 1; i < maxUnderWay; i++ {
		all.Go(func() { do(t.Context(), fmt.Sprintf("other-%d", i)) })
		<-started
	}
	if code, _ := do(t.Context(), "one-too-many"); code != 429 {
		t.Errorf("one transaction too many got %d", code)
	}
	close(release)
	all.Wait()
	if n := len(r.told.take()); n != maxUnderWay {
		t.Errorf("%d transactions were worked on, want %d", n, maxUnderWay)
	}
}

func TestDeniedServersAreNotHeard(t *testing.T) {
	r := newRig(t)
	room := storagetest.NewRoom(t, r.store, "!closed:hs", alice)
	storagetest.NewRoom(t, r.store, "!open:hs", alice)
	room.State(alice, serveracl.EventType, "", `{"allow":["*"],"deny":["two"]}`)
	r.must("PUT", send+"1", `{"pdus":[],"edus":[
		{"edu_type":"m.typing","content":{"room_id":"!closed:hs","user_id":"@carol:two","typing":true}},
		{"edu_type":"m.typing","content":{"room_id":"!open:hs","user_id":"@carol:two","typing":true}},
		{"edu_type":"m.receipt","content":{"!closed:hs":{"m.read":{"@carol:two":{"event_ids":["$x"]}}},"!open:hs":{"m.read":{"@carol:two":{"event_ids":["$x"]}}}}}]}`)
	r.wantTold(`typing two !open:hs @carol:two true`, `receipts two !open:hs {"m.read":{"@carol:two":{"event_ids":["$x"]}}}`)
	for _, path := range []string{"v1/make_join/!closed:hs/@carol:two?ver=11", "v1/make_leave/!closed:hs/@carol:two", "v1/make_knock/!closed:hs/@carol:two",
		"v1/state/!closed:hs?event_id=$e", "v1/state_ids/!closed:hs?event_id=$e", "v1/backfill/!closed:hs?v=$e", "v1/event_auth/!closed:hs/$e",
		"v1/timestamp_to_event/!closed:hs?ts=1&dir=f", "v1/event/$e1-closed:hs"} {
		r.refused("two:1234", "GET", "/_matrix/federation/"+path, "", 403, "M_FORBIDDEN")
	}
	for _, path := range []string{"v2/send_join/!closed:hs/$e", "v2/send_leave/!closed:hs/$e", "v1/send_knock/!closed:hs/$e", "v1/invite/!closed:hs/$e",
		"v1/exchange_third_party_invite/!closed:hs"} {
		r.refused("TWO", "PUT", "/_matrix/federation/"+path, `{}`, 403, "M_FORBIDDEN")
	}
	r.refused("two", "PUT", v2+"/invite/!closed:hs/$e", `{"room_version":"11","event":{}}`, 403, "M_FORBIDDEN")
	r.refused("two", "POST", v1+"/get_missing_events/!closed:hs", `{}`, 403, "M_FORBIDDEN")
	r.wantTold()
}

func TestEDUs(t *testing.T) {
	r := newRig(t)
	storagetest.NewRoom(t, r.store, "!r:hs", alice)
	for name, test := range map[string]struct{ edu, want string }{
		"presence":                    {`{"edu_type":"m.presence","content":{"push":[]}}`, `presence two {"push":[]}`},
		"a device list":               {`{"edu_type":"m.device_list_update","content":{"user_id":"@c:two"}}`, `devices two {"user_id":"@c:two"}`},
		"messages to devices":         {`{"edu_type":"m.direct_to_device","content":{"sender":"@c:two"}}`, `to device two {"sender":"@c:two"}`},
		"cross-signing keys":          {`{"edu_type":"m.signing_key_update","content":{}}`, `signing keys two {}`},
		"typing":                      {`{"edu_type":"m.typing","content":{"room_id":"!r:hs","user_id":"@c:two","typing":false}}`, `typing two !r:hs @c:two false`},
		"typing of somebody else":     {`{"edu_type":"m.typing","content":{"room_id":"!r:hs","user_id":"@c:three","typing":true}}`, ""},
		"typing in an unknown room":   {`{"edu_type":"m.typing","content":{"room_id":"!x:hs","user_id":"@c:two","typing":true}}`, ""},
		"typing that is no object":    {`{"edu_type":"m.typing","content":[]}`, ""},
		"typing of the wrong types":   {`{"edu_type":"m.typing","content":{"room_id":7}}`, ""},
		"receipts of somebody else":   {`{"edu_type":"m.receipt","content":{"!r:hs":{"m.read":{"@c:three":{}}}}}`, ""},
		"receipts of several servers": {`{"edu_type":"m.receipt","content":{"!r:hs":{"m.read":{"@c:three":{},"@c:two":{}}}}}`, `receipts two !r:hs {"m.read":{"@c:two":{}}}`},
		"an unknown type":             {`{"edu_type":"m.nonsense","content":{}}`, ""},
		"no type":                     {`{"content":{}}`, ""},
		"nothing":                     {`null`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r.in(t).must("PUT", send+url.PathEscape(name), `{"edus":[`+test.edu+`]}`)
			want := []string(nil)
			if test.want != "" {
				want = []string{test.want}
			}
			if d := cmp.Diff(want, r.told.take()); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzTransaction(f *testing.F) {
	f.Add([]byte(`{"origin":"two","pdus":[{"room_id":"!a:b"}],"edus":[{"edu_type":"m.typing","content":{}}]}`))
	f.Add([]byte(`{"pdus":null,"edus":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseTransaction(body)
		if err != nil {
			return
		}
		if len(got.pdus) > maxPDUs || len(got.edus) > maxEDUs {
			t.Errorf("%d PDUs, %d EDUs", len(got.pdus), len(got.edus))
		}
		count := 0
		for _, g := range groupByRoom(got.pdus) {
			if _, err := id.ParseRoomID(string(g.room)); err != nil {
				t.Errorf("a group for %q", g.room)
			}
			count += len(g.pdus)
		}
		if count > len(got.pdus) {
			t.Errorf("%d PDUs became %d", len(got.pdus), count)
		}
	})
}

func FuzzEDU(f *testing.F) {
	f.Add([]byte(`{"edu_type":"m.receipt","content":{"!r:hs":{"m.read":{"@c:two":{"event_ids":["$x"],"data":{"ts":1}}}}}}`))
	f.Add([]byte(`{"edu_type":"m.typing","content":{"room_id":"!r:hs","user_id":"@c:two","typing":true}}`))
	store := storagetest.Open(f)
	storagetest.NewRoom(f, store, "!r:hs", alice)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		heard := &told{}
		a := &API{name: "hs", store: store, ephemera: heard, keys: heard}
		_, _ = a.receiveEDU(t.Context(), "two", raw)
		for _, call := range heard.take() {
			if strings.HasPrefix(call, "typing ") && !strings.Contains(call, ":two ") {
				t.Errorf("%s made it %q", raw, call)
			}
		}
	})
}

func TestTransactionsOfWhoHungUpAreBounded(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	b := newInbox(func(context.Context, id.ServerName, transaction) pduResults {
		started <- struct{}{}
		<-release
		return pduResults{}
	})
	ctx, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { b.run(ctx) })
	const many = 4
	for i := range many {
		asking, hangUp := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if _, err := b.take(asking, id.ServerName(fmt.Sprint(i)), "1", transaction{size: maxInHand / many}); err == nil {
				t.Error("who hung up got an answer")
			}
		}()
		<-started
		hangUp()
		<-gone
	}
	if _, err := b.take(t.Context(), "late", "1", transaction{size: 1}); !merr.HasCode(err, merr.LimitExceeded) {
		t.Errorf("one more byte: %v", err)
	}
	close(release)
	end()
	all.Wait()
	if b.inHand != 0 {
		t.Errorf("%d bytes are still in hand", b.inHand)
	}
}
