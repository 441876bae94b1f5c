package speccoverage

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/web"
)

func TestCompare(t *testing.T) {
	get := Operation{API: "client-server", Method: "GET", Path: "/_matrix/client/v3/rooms/{roomId}/state", ID: "getRoomState"}
	put := Operation{API: "client-server", Method: "PUT", Path: "/_matrix/client/v3/rooms/{roomId}/state", ID: "setRoomState"}
	route := func(method, path string) web.Route { return web.Route{Method: method, Path: path} }
	tests := []struct {
		name   string
		routes []web.Route
		want   Coverage
	}{
		{"without routes all is missing", nil, Coverage{Missing: []Operation{get, put}}},
		{
			"the names of variables do not matter", []web.Route{route("GET", "/_matrix/client/v3/rooms/{room}/state")},
			Coverage{Answered: []Operation{get}, Missing: []Operation{put}},
		},
		{
			"a literal is no variable", []web.Route{route("GET", "/_matrix/client/v3/rooms/roomId/state")},
			Coverage{Missing: []Operation{get, put}, Beyond: []web.Route{route("GET", "/_matrix/client/v3/rooms/roomId/state")}},
		},
		{
			"a slash at the end makes another path", []web.Route{route("PUT", "/_matrix/client/v3/rooms/{roomId}/state/")},
			Coverage{Missing: []Operation{get, put}, Beyond: []web.Route{route("PUT", "/_matrix/client/v3/rooms/{roomId}/state/")}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(test.want, Compare([]Operation{get, put}, test.routes)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTheDigestIsWhole(t *testing.T) {
	operations, err := Operations()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, o := range operations {
		if o.ID == "" || o.Path[0] != '/' || seen[o.API+" "+o.ID] {
			t.Errorf("operation %v is incomplete or there twice", o)
		}
		seen[o.API+" "+o.ID] = true
	}
	for _, want := range []string{"client-server sync", "client-server getContentAuthed", "server-server sendTransaction"} {
		if !seen[want] {
			t.Errorf("there is no %s", want)
		}
	}
}
