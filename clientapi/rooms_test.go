package clientapi

import (
	"fmt"
	"strings"
	"testing"
)

func TestRoomsThatAreNotCreated(t *testing.T) {
	r := newRoomRig(t)
	alice := r.register("alice")
	alice.create(`{"room_alias_name":"taken"}`)
	many := strings.Repeat(`"@u:hs",`, 600) + `"@v:hs"`
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"an unknown visibility":         {`{"visibility":"secret"}`, 400, "M_INVALID_PARAM"},
		"an unknown preset":             {`{"preset":"secret"}`, 400, "M_INVALID_PARAM"},
		"an unknown version":            {`{"room_version":"99"}`, 400, "M_UNSUPPORTED_ROOM_VERSION"},
		"a version that is no text":     {`{"room_version":11}`, 400, "M_BAD_JSON"},
		"an alias that is taken":        {`{"room_alias_name":"taken"}`, 400, "M_ROOM_IN_USE"},
		"an alias with a server":        {`{"room_alias_name":"a:hs"}`, 400, "M_INVALID_PARAM"},
		"an invite that is no user":     {`{"invite":["bob"]}`, 400, "M_INVALID_PARAM"},
		"more invites than are allowed": {`{"invite":[` + many + `]}`, 400, "M_INVALID_PARAM"},
		"state without a type":          {`{"initial_state":[{"content":{}}]}`, 400, "M_BAD_JSON"},
		"state without content":         {`{"initial_state":[{"type":"m.x"}]}`, 400, "M_BAD_JSON"},
		"levels that lock one out":      {`{"power_level_content_override":{"users":{}}}`, 400, "M_INVALID_ROOM_STATE"},
		"creation content of any kind":  {`{"creation_content":{"m.federate":"no"}}`, 400, "M_BAD_JSON"},
		"what is no object":             {`[]`, 400, "M_BAD_JSON"},
	} {
		t.Run(name, func(*testing.T) { alice.refused("POST", clientV3+"createRoom", c.body, c.status, c.code) })
	}
}

func TestAliases(t *testing.T) {
	r := newRoomRig(t)
	alice, bob, admin := r.register("alice"), r.register("bob"), r.admin("root")
	room := alice.create(`{"preset":"public_chat","room_alias_name":"home"}`)
	const path = clientV3 + "directory/room/%23"
	to := fmt.Sprintf(`{"room_id":%q}`, room.room)

	if got := r.nobody().must("GET", path+"home:hs", ""); got.Get("room_id").Str != room.room || got.Get("servers.0").Str != "hs" {
		t.Error(got.Raw)
	}
	r.nobody().refused("GET", path+"no:hs", "", 404, "M_NOT_FOUND")
	r.nobody().refused("GET", clientV3+"directory/room/home", "", 400, "M_INVALID_PARAM")
	alice.refused("PUT", path+"home:hs", to, 409, "M_UNKNOWN")
	alice.refused("PUT", path+"den:elsewhere", to, 400, "M_INVALID_PARAM")
	alice.refused("PUT", path+"den:hs", `{"room_id":"den"}`, 400, "M_INVALID_PARAM")
	bob.refused("PUT", path+"den:hs", to, 403, "M_FORBIDDEN")
	room.joined(bob)
	bob.must("PUT", path+"den:hs", to)
	alice.must("PUT", path+"cave:hs", to)
	alice.must("PUT", path+"hole:hs", to)
	alice.wantJSON(room.path("/aliases"), `{"aliases":["#cave:hs","#den:hs","#hole:hs","#home:hs"]}`)
	admin.refused("GET", room.path("/aliases"), "", 403, "M_FORBIDDEN")

	// Who made an alias, who may set the canonical alias, and admins may remove it.
	bob.refused("DELETE", path+"cave:hs", "", 403, "M_FORBIDDEN")
	bob.must("DELETE", path+"den:hs", "")
	admin.must("DELETE", path+"cave:hs", "")
	alice.must("DELETE", path+"home:hs", "")
	alice.refused("DELETE", path+"home:hs", "", 404, "M_NOT_FOUND")
	alice.wantJSON(room.path("/aliases"), `{"aliases":["#hole:hs"]}`)
	if got := alice.must("GET", room.path("/state/m.room.canonical_alias"), ""); got.Get("alias").Exists() {
		t.Errorf("the canonical alias is %s", got.Raw)
	}
}

func TestTheDirectoryOfRooms(t *testing.T) {
	r := newRoomRig(t)
	alice, bob, admin := r.register("alice"), r.register("bob"), r.admin("root")
	room := alice.create(`{"visibility":"public"}`)
	path := clientV3 + "directory/list/room/" + room.room
	r.nobody().wantJSON(path, `{"visibility":"public"}`)
	r.nobody().refused("GET", clientV3+"directory/list/room/!no:hs", "", 404, "M_NOT_FOUND")
	bob.refused("PUT", path, `{"visibility":"private"}`, 403, "M_FORBIDDEN")
	alice.refused("PUT", path, `{"visibility":"secret"}`, 400, "M_INVALID_PARAM")
	alice.must("PUT", path, `{"visibility":"private"}`)
	r.nobody().wantJSON(path, `{"visibility":"private"}`)
	admin.must("PUT", path, `{}`)
	r.nobody().wantJSON(path, `{"visibility":"public"}`)
}

func TestUpgradesThatAreRefused(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(`{"preset":"public_chat"}`)
	room.joined(bob)
	alice.refused("POST", room.path("/upgrade"), `{}`, 400, "M_MISSING_PARAM")
	alice.refused("POST", room.path("/upgrade"), `{"new_version":"99"}`, 400, "M_UNSUPPORTED_ROOM_VERSION")
	alice.refused("POST", room.path("/upgrade"), `{"new_version":"12","additional_creators":["bob"]}`, 400, "M_INVALID_PARAM")
	bob.refused("POST", room.path("/upgrade"), `{"new_version":"11"}`, 403, "M_FORBIDDEN")
	alice.refused("POST", clientV3+"rooms/!no:hs/upgrade", `{"new_version":"11"}`, 404, "M_NOT_FOUND")
}
