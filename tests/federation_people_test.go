package tests

import (
	"slices"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func TestAliasesOfOtherServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom(fields{"room_alias_name": "kitchen", "name": "Kitchen", "visibility": "public"})
	alias := "#kitchen:" + string(home(alice))
	r := bob.Get(path("directory", "room", alias))
	equal(t, "room", r.Get("room_id").Str, string(room))
	if !slices.Contains(texts(r.Get("servers")), string(home(alice))) {
		t.Errorf("the servers are %s", r.Body)
	}
	bob.Refused("GET", path("directory", "room", "#cellar:"+string(home(alice))), nil, 404, "M_NOT_FOUND")
	joined := bob.Must("POST", path("join", alias), fields{})
	equal(t, "room that was joined", joined.Get("room_id").Str, string(room))
	alice.WaitForMembership(room, bob.ID, "join")

	listed := bob.Get("publicRooms?server=" + string(home(alice)))
	equal(t, "rooms of the directory", len(listed.Get("chunk").Array()), 1)
	equal(t, "its name", listed.Get("chunk.0.name").Str, "Kitchen")
	found := bob.Must("POST", "publicRooms?server="+string(home(alice)), fields{"filter": fields{"generic_search_term": "cellar"}})
	equal(t, "rooms that were searched", len(found.Get("chunk").Array()), 0)
}

func TestProfilesOfOtherServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.Must("PUT", path("profile", alice.ID, "displayname"), fields{"displayname": "Alice"})
	equal(t, "name", bob.Get(path("profile", alice.ID)).Get("displayname").Str, "Alice")
	equal(t, "name alone", bob.Get(path("profile", alice.ID, "displayname")).Get("displayname").Str, "Alice")
	bob.Refused("GET", path("profile", "@nobody:"+string(home(alice))), nil, 404, "M_NOT_FOUND")

	room := alice.CreateRoom()
	bob.Must("PUT", path("profile", bob.ID, "displayname"), fields{"displayname": "Bob"})
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	equal(t, "name in the room", alice.State(room, "m.room.member", string(bob.ID)).Get("displayname").Str, "Bob")
	bob.Must("PUT", path("profile", bob.ID, "displayname"), fields{"displayname": "Robert"})
	alice.WaitForState(room, "m.room.member", string(bob.ID), func(r hearthtest.Response) bool { return r.Get("displayname").Str == "Robert" })
}

func TestTypingAndReceiptsAcrossServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom()
	bob.Join(room, home(alice))
	said := alice.Say(room, "hi")
	bob.WaitFor(room, "hi")
	alice.WaitForMembership(room, bob.ID, "join")

	typing := func(r hearthtest.Response) []string {
		for _, e := range hearthtest.Events(r.At("rooms", "join", room, "ephemeral", "events")) {
			if e.Type() == "m.typing" {
				return append([]string{}, texts(e.At("content", "user_ids"))...)
			}
		}
		return nil
	}
	bob.Must("PUT", path("rooms", room, "typing", bob.ID), fields{"typing": true, "timeout": 30000})
	alice.WaitUntil("bob typing", func(r hearthtest.Response) bool { return slices.Contains(typing(r), string(bob.ID)) })
	bob.Must("PUT", path("rooms", room, "typing", bob.ID), fields{"typing": false})
	alice.WaitUntil("nobody typing", func(r hearthtest.Response) bool { l := typing(r); return l != nil && len(l) == 0 })

	bob.Read(room, said)
	alice.WaitUntil("bob reading", func(r hearthtest.Response) bool {
		for _, e := range hearthtest.Events(r.At("rooms", "join", room, "ephemeral", "events")) {
			if e.At("content", said, "m.read", bob.ID).Exists() {
				return true
			}
		}
		return false
	})
}

func TestPresenceAcrossServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom()
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	bob.Must("PUT", path("presence", bob.ID, "status"), fields{"presence": "online", "status_msg": "baking"})
	alice.WaitUntil("bob's presence", func(r hearthtest.Response) bool {
		for _, e := range hearthtest.Events(r.Get("presence.events")) {
			if e.Sender() == string(bob.ID) && e.At("content", "status_msg").Str == "baking" {
				return true
			}
		}
		return false
	})
}

func TestSpacesAcrossServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	space := alice.CreateRoom(fields{"creation_content": fields{"type": "m.space"}, "name": "House"})
	kitchen := alice.CreateRoom(fields{"name": "Kitchen"})
	cellar := bob.CreateRoom(fields{"name": "Cellar"})
	alice.SetState(space, "m.space.child", string(kitchen), fields{"via": []id.ServerName{home(alice)}})
	alice.SetState(space, "m.space.child", string(cellar), fields{"via": []id.ServerName{home(bob)}})
	bob.Join(space, home(alice))
	var names []string
	for _, room := range bob.Get("/_matrix/client/v1/" + path("rooms", space, "hierarchy")).Get("rooms").Array() {
		names = append(names, room.Get("name").Str)
	}
	slices.Sort(names)
	equal(t, "rooms of the space", names, []string{"Cellar", "House", "Kitchen"})
}

func TestOpenIDTokensOfOtherServers(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a, app := net.Start(), net.Remote()
	alice := a.User("alice")
	token := alice.Must("POST", path("user", alice.ID, "openid", "request_token"), fields{}).Get("access_token").Str
	r, err := app.Raw(t.Context(), "GET", a.Name, "/_matrix/federation/v1/openid/userinfo?access_token="+token, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "whose token it is", r.Get("sub").Str, string(alice.ID))
	r, err = app.Raw(t.Context(), "GET", a.Name, "/_matrix/federation/v1/openid/userinfo?access_token=no", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "another token", r.Refused(401, "M_UNKNOWN_TOKEN"), true)
}
