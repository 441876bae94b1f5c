package speccoverage

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/spec"
	"github.com/hearthd/hearth/internal/web"
)

func TestCompare(t *testing.T) {
	get := spec.Operation{API: "client-server", Method: "GET", Path: "/_matrix/client/v3/rooms/{roomId}/state", ID: "getRoomState"}
	put := spec.Operation{API: "client-server", Method: "PUT", Path: "/_matrix/client/v3/rooms/{roomId}/state", ID: "setRoomState"}
	route := func(method, path string) web.Route { return web.Route{Method: method, Path: path} }
	tests := []struct {
		name   string
		routes []web.Route
		want   Coverage
	}{
		{"without routes all is missing", nil, Coverage{Missing: []spec.Operation{get, put}}},
		{
			"the names of variables do not matter", []web.Route{route("GET", "/_matrix/client/v3/rooms/{room}/state")},
			Coverage{Answered: []spec.Operation{get}, Missing: []spec.Operation{put}},
		},
		{
			"a literal is no variable", []web.Route{route("GET", "/_matrix/client/v3/rooms/roomId/state")},
			Coverage{Missing: []spec.Operation{get, put}, Beyond: []web.Route{route("GET", "/_matrix/client/v3/rooms/roomId/state")}},
		},
		{
			"a slash at the end makes another path", []web.Route{route("PUT", "/_matrix/client/v3/rooms/{roomId}/state/")},
			Coverage{Missing: []spec.Operation{get, put}, Beyond: []web.Route{route("PUT", "/_matrix/client/v3/rooms/{roomId}/state/")}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(test.want, Compare([]spec.Operation{get, put}, test.routes)); d != "" {
				t.Error(d)
			}
		})
	}
}
