package tests

import (
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestAliases(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	alias := "#kitchen:" + string(a.Name)
	alice.Must("PUT", path("directory", "room", alias), fields{"room_id": room})
	alice.Refused("PUT", path("directory", "room", alias), fields{"room_id": room}, 409, "M_UNKNOWN")
	equal(t, "room of the alias", a.Nobody().Get(path("directory", "room", alias)).Get("room_id").Str, string(room))
	equal(t, "joined by alias", bob.Must("POST", path("join", alias), fields{}).Get("room_id").Str, string(room))
	equal(t, "aliases", texts(bob.Get(path("rooms", room, "aliases")).Get("aliases")), []string{alias})
	alice.SetState(room, "m.room.canonical_alias", "", fields{"alias": alias})
	alice.Refused("PUT", path("rooms", room, "state", "m.room.canonical_alias", ""), fields{"alias": "#none:" + string(a.Name)}, 400, "M_BAD_ALIAS")
	bob.Refused("DELETE", path("directory", "room", alias), nil, 403, "M_FORBIDDEN")
	alice.Must("DELETE", path("directory", "room", alias), nil)
	a.Nobody().Refused("GET", path("directory", "room", alias), nil, 404, "M_NOT_FOUND")
}

func TestPublicRooms(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	kitchen := alice.CreateRoom(fields{"visibility": "public", "name": "Kitchen", "topic": "Soup and cake", "room_alias_name": "kitchen"})
	garden := alice.CreateRoom(fields{"visibility": "public", "name": "Garden"})
	alice.CreateRoom(fields{"name": "Cellar"})
	bob.Join(kitchen)

	list := a.Nobody().Get("publicRooms")
	equal(t, "rooms, the largest first", texts(list.Get("chunk.#.room_id")), []string{string(kitchen), string(garden)})
	first := list.Get("chunk.0")
	equal(t, "the first", []any{
		first.Get("name").Str, first.Get("topic").Str, first.Get("num_joined_members").Int(), first.Get("canonical_alias").Str,
		first.Get("world_readable").Bool(), first.Get("guest_can_join").Bool(), first.Get("join_rule").Str,
	}, []any{"Kitchen", "Soup and cake", int64(2), "#kitchen:" + string(a.Name), false, false, "public"})
	page := bob.Must("POST", "publicRooms", fields{"limit": 1})
	equal(t, "a page", texts(page.Get("chunk.#.room_id")), []string{string(kitchen)})
	next := bob.Must("POST", "publicRooms", fields{"limit": 1, "since": page.Get("next_batch").Str})
	equal(t, "the next", texts(next.Get("chunk.#.room_id")), []string{string(garden)})
	found := bob.Must("POST", "publicRooms", fields{"filter": fields{"generic_search_term": "CAKE"}})
	equal(t, "a search", texts(found.Get("chunk.#.name")), []string{"Kitchen"})
	alice.Must("PUT", path("directory", "list", "room", kitchen), fields{"visibility": "private"})
	equal(t, "afterwards", texts(a.Nobody().Get("publicRooms").Get("chunk.#.name")), []string{"Garden"})
}

func TestUserDirectory(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, hermit := a.User("alice"), a.User("bob"), a.User("bobby_hermit")
	bob.Must("PUT", path("profile", bob.ID, "displayname"), fields{"displayname": "Robert Cook"})
	find := func(term string) []string {
		return texts(alice.Must("POST", "user_directory/search", fields{"search_term": term}).Get("results.#.user_id"))
	}
	room := alice.CreateRoom(fields{"preset": "private_chat", "invite": []any{bob.ID}})
	bob.Join(room)
	equal(t, "by display name", find("robert"), []string{string(bob.ID)})
	equal(t, "by user id", find("bob"), []string{string(bob.ID)})
	hermit.Join(hermit.CreateRoom())
	equal(t, "people in public rooms", len(find("bob")), 2)
}

func TestSearch(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room, secret := alice.CreateRoom(), bob.CreateRoom(fields{"preset": "private_chat"})
	bob.Join(room)
	before := alice.Say(room, "What is for dinner?")
	soup := bob.Say(room, "There is tomato soup.")
	after := alice.Say(room, "Lovely!")
	gone := bob.Say(room, "soup soup soup")
	bob.Redact(room, gone)
	bob.Say(secret, "I hate soup")
	search := func(u *hearthtest.User, criteria fields) gjson.Result {
		return u.Must("POST", "search", fields{"search_categories": fields{"room_events": criteria}}).Get("search_categories.room_events")
	}
	found := search(alice, fields{"search_term": "Soup", "event_context": fields{"before_limit": 1, "after_limit": 1}})
	equal(t, "found", texts(found.Get("results.#.result.event_id")), []string{string(soup)})
	equal(t, "count", found.Get("count").Int(), 1)
	equal(t, "before", found.Get("results.0.context.events_before.0.event_id").Str, string(before))
	equal(t, "after", found.Get("results.0.context.events_after.0.event_id").Str, string(after))
	equal(t, "what bob finds", search(bob, fields{"search_term": "soup"}).Get("count").Int(), 2)
	equal(t, "in one room", search(bob, fields{"search_term": "soup", "filter": fields{"rooms": []any{secret}}}).Get("count").Int(), 1)
	equal(t, "nothing", search(alice, fields{"search_term": "pizza"}).Get("results.#").Int(), 0)
}

func TestSpaces(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	space := alice.CreateRoom(fields{"name": "House", "creation_content": fields{"type": "m.space"}})
	floor := alice.CreateRoom(fields{"name": "Ground floor", "creation_content": fields{"type": "m.space"}})
	kitchen, cellar := alice.CreateRoom(fields{"name": "Kitchen"}), alice.CreateRoom(fields{"name": "Cellar", "preset": "private_chat"})
	via := fields{"via": []any{a.Name}}
	alice.SetState(space, "m.space.child", string(floor), via)
	alice.SetState(floor, "m.space.child", string(kitchen), via)
	alice.SetState(space, "m.space.child", string(cellar), via)
	hierarchy := func(u *hearthtest.User, query string) hearthtest.Response {
		return u.Get("/_matrix/client/v1/" + path("rooms", space, "hierarchy") + query)
	}
	names := func(r hearthtest.Response) map[string]bool {
		out := map[string]bool{}
		for _, name := range texts(r.Get("rooms.#.name")) {
			out[name] = true
		}
		return out
	}
	equal(t, "what alice sees", names(hierarchy(alice, "")), map[string]bool{"House": true, "Ground floor": true, "Kitchen": true, "Cellar": true})
	equal(t, "what bob sees", names(hierarchy(bob, "")), map[string]bool{"House": true, "Ground floor": true, "Kitchen": true})
	equal(t, "not below the first level", names(hierarchy(bob, "?max_depth=1")), map[string]bool{"House": true, "Ground floor": true})
	root := hierarchy(alice, "").Get("rooms.0")
	equal(t, "children of the root", root.Get("children_state.#").Int(), 2)
	equal(t, "type of the root", root.Get("room_type").Str, "m.space")
	first := hierarchy(alice, "?limit=2")
	equal(t, "a page", first.Get("rooms.#").Int(), 2)
	equal(t, "the next", hierarchy(alice, "?limit=2&from="+first.Get("next_batch").Str).Get("rooms.#").Int(), 2)

	summary := bob.Get("/_matrix/client/v1/" + path("room_summary", kitchen))
	equal(t, "summary", []string{summary.Get("name").Str, summary.Get("join_rule").Str}, []string{"Kitchen", "public"})
	bob.Refused("GET", "/_matrix/client/v1/"+path("room_summary", cellar), nil, 404, "M_NOT_FOUND")
}

func TestEventByTime(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	event := alice.Say(room, "hi")
	at := alice.Event(room, event).Get("origin_server_ts").String()
	find := "/_matrix/client/v1/" + path("rooms", room, "timestamp_to_event")
	equal(t, "the last before tomorrow", alice.Get(find+"?dir=b&ts=99999999999999").Get("event_id").Str, string(event))
	equal(t, "its time", alice.Get(find+"?dir=b&ts=99999999999999").Get("origin_server_ts").String(), at)
	alice.Refused("GET", find+"?dir=f&ts=99999999999999", nil, 404, "M_NOT_FOUND")
}

func TestMutualRooms(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	alice.CreateRoom()
	bob.Join(room)
	mutual := alice.Get("/_matrix/client/v1/mutual_rooms?user_id=" + path(bob.ID))
	equal(t, "rooms in common", texts(mutual.Get("joined")), []string{string(room)})
}
