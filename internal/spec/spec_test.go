package spec

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheDigestIsWhole(t *testing.T) {
	operations, err := Operations()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, o := range operations {
		if o.ID == "" || o.Path[0] != '/' || seen[o.API+" "+o.ID] || len(o.Responses) == 0 {
			t.Errorf("operation %s %s is incomplete or there twice", o.API, o.ID)
		}
		seen[o.API+" "+o.ID] = true
	}
	for _, want := range []string{
		"client-server sync", "client-server getContentAuthed", "server-server sendTransaction", "application-service sendTransaction",
		"push-gateway notify", "identity lookupUsersV2",
	} {
		if !seen[want] {
			t.Errorf("there is no %s", want)
		}
	}
	for _, e := range exceptions {
		known := e.operation == "" || slices.ContainsFunc(operations, func(o Operation) bool { return o.ID == e.operation })
		if !known || e.why == "" {
			t.Errorf("the exception for %s is for nothing", e.operation)
		}
	}
}

func TestAllSchemasCompile(t *testing.T) {
	d, err := load()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSchemas()
	if err != nil {
		t.Fatal(err)
	}
	var pointers []string
	for name := range d.Schemas {
		pointers = append(pointers, "/schemas/"+name)
	}
	for i, o := range d.Operations {
		for status := range o.Responses {
			pointers = append(pointers, fmt.Sprintf("/operations/%d/responses/%s", i, status))
		}
		if o.Request != nil {
			pointers = append(pointers, fmt.Sprintf("/operations/%d/request", i))
		}
	}
	for _, p := range pointers {
		if _, err := s.at(p); err != nil {
			t.Error(err)
		}
	}
}

func TestFind(t *testing.T) {
	operations, err := Operations()
	if err != nil {
		t.Fatal(err)
	}
	f := newFinder(operations)
	tests := []struct{ name, method, path, want string }{
		{"a path without variables", "GET", "/_matrix/client/v3/sync", "sync"},
		{"another method", "PATCH", "/_matrix/client/v3/sync", ""},
		{"variables", "PUT", "/_matrix/client/v3/rooms/%21a%2Fb:hs/send/m.room.message/1", "sendMessage"},
		{"the API as it was once called", "PUT", "/_matrix/client/r0/rooms/%21a:hs/send/m.room.message/1", "sendMessage"},
		{"a literal before a variable", "POST", "/_matrix/client/v3/user_directory/search", "searchUserDirectory"},
		{"an empty state key", "GET", "/_matrix/client/v3/rooms/!a:hs/state/m.room.name/", "getRoomStateWithKey"},
		{"an empty state key without its slash", "GET", "/_matrix/client/v3/rooms/!a:hs/state/m.room.name", "getRoomStateWithKey"},
		{"no other variable is empty", "GET", "/_matrix/client/v3/pushrules/global/content/", ""},
		{"a slash at the end", "GET", "/_matrix/client/v3/pushrules/", "getPushRules"},
		{"two operations at one path", "POST", "/_matrix/client/v3/rooms/!a:hs/invite", "inviteBy3PID inviteUser"},
		{"an application service's", "PUT", "/_matrix/app/v1/transactions/1", "sendTransaction"},
		{"nowhere", "GET", "/_matrix/client/v3/nowhere", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ids []string
			for _, o := range f.find(tt.method, tt.path) {
				ids = append(ids, o.ID)
			}
			slices.Sort(ids)
			if got := strings.Join(ids, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	const (
		whoami  = "/_matrix/client/v3/account/whoami"
		members = "/_matrix/client/v3/rooms/!a:hs/joined_members"
		send    = "/_matrix/federation/v1/send/1"
	)
	tests := []struct {
		name   string
		x      Exchange
		want   []string
		binary bool
	}{
		{name: "as it should be", x: Exchange{Method: "GET", Path: whoami, Status: 200, Body: []byte(`{"user_id":"@a:hs","x":1}`)}},
		{name: "something is missing", x: Exchange{Method: "GET", Path: whoami, Status: 200, Body: []byte(`{}`)}, want: []string{": missing property 'user_id'"}},
		{
			name: "another type", x: Exchange{Method: "GET", Path: whoami, Status: 200, Body: []byte(`{"user_id":null}`)},
			want: []string{"/user_id: got null, want string"},
		},
		{
			name: "another format", x: Exchange{Method: "GET", Path: whoami, Status: 200, Body: []byte(`{"user_id":"@a"}`)},
			want: []string{"/user_id: '@a' is not valid mx-user-id: not a valid user id: it has no domain"},
		},
		{name: "no JSON", x: Exchange{Method: "GET", Path: whoami, Status: 200, Body: []byte(`{`)}, want: []string{": not JSON: unexpected EOF"}},
		{
			name: "another media type", x: Exchange{Method: "GET", Path: whoami, Status: 200, Body: []byte(`{}`)}, binary: true,
			want: []string{`: the type is "text/plain"`},
		},
		{
			name: "another status", x: Exchange{Method: "GET", Path: whoami, Status: 204, Body: []byte(`{}`)},
			want: []string{": the specification has no such status here"},
		},
		{name: "an error", x: Exchange{Method: "GET", Path: whoami, Status: 418, Body: []byte(`{"errcode":"M_X","error":"x"}`)}},
		{name: "an error that is none", x: Exchange{Method: "GET", Path: whoami, Status: 418, Body: []byte(`{}`)}, want: []string{": missing property 'errcode'"}},
		{
			name: "authentication is asked for",
			x:    Exchange{Method: "POST", Path: "/_matrix/client/v3/account/password", Status: 401, Body: []byte(`{"session":"x","flows":[{}]}`)},
			want: []string{"/flows/0: missing property 'stages'"},
		},
		{
			name: "an unknown token where authentication could be asked for",
			x:    Exchange{Method: "POST", Path: "/_matrix/client/v3/account/password", Status: 401, Body: []byte(`{"errcode":"M_UNKNOWN_TOKEN","error":"x"}`)},
		},
		{name: "an unknown path", x: Exchange{Method: "GET", Path: "/_matrix/x", Status: 404, Body: []byte(`{}`)}, want: []string{": missing property 'errcode'"}},
		{name: "what is not the specification's", x: Exchange{Method: "GET", Path: "/_hearth/health", Status: 200, Body: []byte(`[]`)}},
		{name: "a file", x: Exchange{Method: "GET", Path: "/_matrix/client/v1/media/download/hs/x", Status: 206, Body: []byte(`hi`)}, binary: true},
		{
			name: "an event that the server has made up", x: Exchange{Method: "GET", Path: "/_matrix/client/v3/sync", Status: 200, Body: []byte(
				`{"next_batch":"s","device_one_time_keys_count":{"signed_curve25519":0},"device_unused_fallback_key_types":[],"rooms":{"join":{"!a:hs":{"ephemeral":{"events":[{"type":"m.typing","content":{"user_ids":null}}]}}}}}`)},
			want: []string{"/rooms/join/!a:hs/ephemeral/events/0/content/user_ids: got null, want array"},
		},
		{
			name: "an error without a text", x: Exchange{Method: "GET", Path: whoami, Status: 403, Body: []byte(`{"errcode":"M_X"}`)},
			want: []string{": missing property 'error'"},
		},
		{
			name: "null", x: Exchange{Method: "GET", Path: whoami, Status: 200, Body: []byte(`{"user_id":"@a:hs","x":{"y":[{"z":null}]}}`)},
			want: []string{"/x/y/0/z: null, where it could be left out"},
		},
		{
			name: "a whole number that is not written as one", x: Exchange{Method: "GET", Path: whoami, Status: 200, Body: []byte(`{"user_id":"@a:hs","x":1.0}`)},
			want: []string{"/x: not written as an integer: 1.0"},
		},
		{
			name: "an event without its age",
			x: Exchange{Method: "GET", Path: "/_matrix/client/v3/rooms/!a:hs/event/$a", Status: 200, Body: []byte(
				`{"event_id":"$a","type":"x","content":{"x":null},"sender":"@a:hs","origin_server_ts":1,"room_id":"!a:hs"}`)},
			want: []string{": missing property 'unsigned'"},
		},
		{
			name: "sync without what clients need",
			x:    Exchange{Method: "GET", Path: "/_matrix/client/v3/sync", Status: 200, Body: []byte(`{"next_batch":"s"}`)},
			want: []string{": missing properties 'device_one_time_keys_count', 'device_unused_fallback_key_types'"},
		},
		{
			name: "sliding sync, which is not specified yet",
			x:    Exchange{Method: "POST", Path: "/_matrix/client/v4/sync", Status: 200, Body: []byte(`{"pos":"1","rooms":{"!a:hs":{"heroes":[{}]}}}`)},
			want: []string{"/rooms/!a:hs/heroes/0: missing property 'user_id'"},
		},
		{
			name: "an exception", x: Exchange{Method: "GET", Path: members, Status: 200, Body: []byte(`{"joined":{"@a:hs":{"avatar_url":null}}}`)},
		},
		{
			name: "beside an exception", x: Exchange{Method: "GET", Path: members, Status: 200, Body: []byte(`{"joined":{"@a:hs":{"avatar_url":1}}}`)},
			want: []string{"/joined/@a:hs/avatar_url: got number, want string"},
		},
		{
			name: "a request", x: Exchange{Method: "PUT", Path: send, Body: []byte(`{"origin":"hs","pdus":[]}`)},
			want: []string{": missing property 'origin_server_ts'"},
		},
		{
			name: "an EDU", x: Exchange{Method: "PUT", Path: send, Body: []byte(`{"origin":"hs","pdus":[],"origin_server_ts":1,
				"edus":[{"edu_type":"m.typing","content":{"room_id":"!a:hs","user_id":"@a:hs"}}]}`)},
			want: []string{"/edus/0/content: missing property 'typing'"},
		},
	}
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.x.Header = http.Header{"Content-Type": {"application/json"}, "Access-Control-Allow-Origin": {"*"}}
			if tt.binary {
				tt.x.Header.Set("Content-Type", "text/plain")
			}
			found, err := c.Check(tt.x)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range found {
				got = append(got, v.At+": "+v.Problem)
			}
			slices.Sort(got)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAWatcherChangesNothing(t *testing.T) {
	var found []string
	w := Watcher{Report: func(s fmt.Stringer) { found = append(found, s.String()) }, Requests: everything, Responses: everything}
	h := w.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		w.Write(bytes.ToUpper(body))
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("PUT", "/_matrix/federation/v1/send/1", strings.NewReader(`{"pdus":[],"origin":"hs"}`)))
	if rec.Body.String() != `{"PDUS":[],"ORIGIN":"HS"}` || !rec.Flushed {
		t.Errorf("got %s", rec.Body)
	}
	want := []string{
		"PUT /_matrix/federation/v1/send/1: request (sendTransaction): at \"\": missing property 'origin_server_ts'\n\t{\"pdus\":[],\"origin\":\"hs\"}",
		"PUT /_matrix/federation/v1/send/1: 200 (sendTransaction): at \"\": missing property 'pdus'\n\t{\"PDUS\":[],\"ORIGIN\":\"HS\"}",
	}
	if d := cmp.Diff(want, found); d != "" {
		t.Error(d)
	}
}
