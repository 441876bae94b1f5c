package clientapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/internal/syncer"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// TestWhatIsSaidBesideEvents is the edge of typing, receipts, read markers, presence and sync: what is refused there, and how.
func TestWhatIsSaidBesideEvents(t *testing.T) {
	store := storagetest.Open(t)
	h := hub.New(0)
	err := store.Update(t.Context(), func(tx *storage.Tx) error {
		_, err := tx.InsertUser(storage.User{ID: "@alice:hs"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	room := storagetest.NewRoom(t, store, "!room:hs", "@alice:hs")
	ev := room.Message("@alice:hs", "hi")
	edus := edu.New(store, h, account.NewNotifier(push.NewBook(push.Options{}), nil), clock.Real(), edu.Options{})
	api := New(Deps{Store: store, Clock: clock.Real(), EDUs: edus, Syncer: syncer.New(store, h, edus, nil, clock.Real(), nil)})
	handler, err := web.New(web.Options{Auth: byToken{}}, api.typingRoutes(), api.receiptRoutes(), api.readMarkerRoutes(), api.presenceRoutes(),
		api.syncRoutes())
	if err != nil {
		t.Fatal(err)
	}
	receipt := func(kind, event string) string { return "rooms/!room:hs/receipt/" + kind + "/" + event }
	for _, test := range []struct {
		name, user, method, path, body string
		code                           int
		errcode                        string
	}{
		{"typing", "alice", "PUT", "rooms/!room:hs/typing/@alice:hs", `{"typing":true,"timeout":1000}`, 200, ""},
		{"typing for somebody else", "alice", "PUT", "rooms/!room:hs/typing/@bob:hs", `{"typing":true}`, 403, "M_FORBIDDEN"},
		{"typing in a room of others", "bob", "PUT", "rooms/!room:hs/typing/@bob:hs", `{"typing":true}`, 403, "M_FORBIDDEN"},
		{"typing in a room that is not there", "bob", "PUT", "rooms/!gone:hs/typing/@bob:hs", `{"typing":true}`, 403, "M_FORBIDDEN"},
		{"typing or not", "alice", "PUT", "rooms/!room:hs/typing/@alice:hs", `{}`, 400, "M_MISSING_PARAM"},
		{"a timeout that is no number", "alice", "PUT", "rooms/!room:hs/typing/@alice:hs", `{"typing":true,"timeout":"x"}`, 400, "M_BAD_JSON"},

		{"a receipt", "alice", "POST", receipt("m.read", string(ev.ID)), `{}`, 200, ""},
		{"a receipt without a body", "alice", "POST", receipt("m.read.private", string(ev.ID)), ``, 200, ""},
		{"a threaded receipt", "alice", "POST", receipt("m.read", string(ev.ID)), `{"thread_id":"main"}`, 200, ""},
		{"a fully read marker", "alice", "POST", receipt("m.fully_read", string(ev.ID)), `{}`, 200, ""},
		{"an unknown type", "alice", "POST", receipt("m.written", string(ev.ID)), `{}`, 400, "M_INVALID_PARAM"},
		{"an empty thread", "alice", "POST", receipt("m.read", string(ev.ID)), `{"thread_id":""}`, 400, "M_INVALID_PARAM"},
		{"a thread that is no string", "alice", "POST", receipt("m.read", string(ev.ID)), `{"thread_id":1}`, 400, "M_INVALID_PARAM"},
		{"a thread of null", "alice", "POST", receipt("m.read", string(ev.ID)), `{"thread_id":null}`, 400, "M_INVALID_PARAM"},
		{"a thread that the event is not in", "alice", "POST", receipt("m.read", string(ev.ID)), `{"thread_id":"$other"}`, 400, "M_INVALID_PARAM"},
		{"a marker with a thread", "alice", "POST", receipt("m.fully_read", string(ev.ID)), `{"thread_id":"main"}`, 400, "M_INVALID_PARAM"},
		{"an event that is not there", "alice", "POST", receipt("m.read", "$gone"), `{}`, 404, "M_NOT_FOUND"},
		{"a receipt in a room of others", "bob", "POST", receipt("m.read", string(ev.ID)), `{}`, 403, "M_FORBIDDEN"},

		{"read markers", "alice", "POST", "rooms/!room:hs/read_markers", `{"m.fully_read":"` + string(ev.ID) + `","m.read":"` + string(ev.ID) + `"}`, 200, ""},
		{"no read markers", "alice", "POST", "rooms/!room:hs/read_markers", `{}`, 200, ""},
		{"a read marker at what is no event", "alice", "POST", "rooms/!room:hs/read_markers", `{"m.fully_read":"x"}`, 400, "M_INVALID_PARAM"},

		{"presence", "alice", "PUT", "presence/@alice:hs/status", `{"presence":"online","status_msg":"here"}`, 200, ""},
		{"presence of somebody else", "alice", "PUT", "presence/@bob:hs/status", `{"presence":"online"}`, 403, "M_FORBIDDEN"},
		{"an unknown presence", "alice", "PUT", "presence/@alice:hs/status", `{"presence":"busy"}`, 400, "M_INVALID_PARAM"},
		{"no presence", "alice", "PUT", "presence/@alice:hs/status", `{}`, 400, "M_MISSING_PARAM"},
		{"seeing presence", "alice", "GET", "presence/@alice:hs/status", ``, 200, ""},
		{"seeing a stranger's presence", "bob", "GET", "presence/@alice:hs/status", ``, 403, "M_FORBIDDEN"},

		{"a sync", "alice", "GET", "sync", ``, 200, ""},
		{"a token of somebody else's", "alice", "GET", "sync?since=s1_2_3", ``, 400, "M_INVALID_PARAM"},
		{"a filter that is no JSON", "alice", "GET", "sync?filter=%7B", ``, 400, "M_BAD_JSON"},
		{"a timeout that is no number of sync", "alice", "GET", "sync?timeout=soon", ``, 400, "M_INVALID_PARAM"},
		{"an unknown presence of sync", "alice", "GET", "sync?set_presence=busy", ``, 400, "M_INVALID_PARAM"},
		{"full state or not", "alice", "GET", "sync?full_state=maybe", ``, 400, "M_INVALID_PARAM"},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := httptest.NewRequest(test.method, clientV3+test.path, strings.NewReader(test.body))
			req.Header.Set("Authorization", "Bearer "+test.user)
			rec := httptest.NewRecorder()
			handler.ServeHTTP(rec, req)
			if rec.Code != test.code || gjson.GetBytes(rec.Body.Bytes(), "errcode").Str != test.errcode {
				t.Errorf("%d %s, want %d %s", rec.Code, rec.Body, test.code, test.errcode)
			}
			if test.code == http.StatusOK && !gjson.ValidBytes(rec.Body.Bytes()) {
				t.Errorf("not JSON: %s", rec.Body)
			}
		})
	}
}
