package tests

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"net/url"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// What clients ask their own server for and others have to be asked for.

const clientV1 = "/_matrix/client/v1/"

// near asks for the event of a room near a time; empty: there is none.
func near(u *hearthtest.User, room id.RoomID, ts int64, dir string) string {
	r := u.Do("GET", clientV1+path("rooms", room, "timestamp_to_event")+fmt.Sprintf("?ts=%d&dir=%s", ts, dir), nil)
	return r.Get("event_id").Str
}

// nextMillisecond spins until the time of events is another one, and returns it.
func nextMillisecond() int64 {
	now := time.Now().UnixMilli()
	for time.Now().UnixMilli() == now {
		runtime.Gosched()
	}
	return now + 1
}

func TestJumpingToADateBeforeOneJoined(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	made := time.Now().UnixMilli() - 1
	room := alice.CreateRoom()
	before := nextMillisecond()
	nextMillisecond()
	a, b := alice.Say(room, "a"), alice.Say(room, "b")
	after := nextMillisecond()
	nextMillisecond()
	bob.Join(room, home(alice))
	equal(t, "forward, from the creation", near(bob, room, before, "f"), string(a))
	equal(t, "back, from what was said last", near(bob, room, after, "b"), string(b))
	equal(t, "back, from before the creation", near(bob, room, made, "b"), "")
	equal(t, "forward, from the future", near(bob, room, time.Now().UnixMilli()+1000, "f"), "")

	// The event can be seen in its place, and one can go on from there.
	context := bob.Get(path("rooms", room, "context", b) + "?limit=0")
	for token, want := range map[string][]string{"start": {"a"}, "end": {"b", "a"}} {
		page := messages(bob, room, url.Values{"dir": {"b"}, "limit": {"100"}, "from": {context.Get(token).Str}}.Encode())
		var said []string
		for _, e := range hearthtest.Events(page.Get("chunk")) {
			if e.Type() == "m.room.message" {
				said = append(said, e.Body())
			}
		}
		equal(t, "history from the "+token+" of the context", said, want)
	}
}

func TestHistoryThatCannotBeFetchedIsNotPassedOver(t *testing.T) {
	t.Parallel()
	net, alice, bob := pair(t)
	room := alice.CreateRoom()
	bob.Join(room, home(alice))
	alice.Say(room, "first")
	bob.WaitFor(room, "first")
	bob.Leave(room)
	alice.WaitForMembership(room, bob.ID, "leave")
	var said []string
	for i := range 130 {
		said = append(said, fmt.Sprint("message ", i))
		alice.Say(room, said[i])
	}
	bob.Join(room, home(alice))
	alice.Say(room, "last")
	bob.WaitFor(room, "last")
	net.Cut(home(alice), home(bob))
	page := messages(bob, room, "dir=b&limit=50")
	for _, e := range hearthtest.Events(page.Get("chunk")) {
		if e.Type() == "m.room.message" && e.Body() != "last" {
			t.Errorf("%q is shown as if it came right before the gap", e.Body())
		}
	}
	end := page.Get("end").Str
	if end == "" {
		t.Fatalf("the history ends at the gap: %s", page.Body)
	}
	bob.Refused("GET", path("rooms", room, "messages")+"?dir=b&from="+end, nil, 502, "M_UNKNOWN")
	net.Heal(home(alice), home(bob))
	alice.Say(room, "hello") // whoever is heard of is asked again
	bob.WaitFor(room, "hello")
	equal(t, "history", history(t, bob, room, 40), slices.Concat([]string{"first"}, said, []string{"last", "hello"}))
	equal(t, "forward", forward(t, bob, room), slices.Concat([]string{"first"}, said, []string{"last", "hello"}))
}

// forward pages through a room from its beginning and returns the texts of the messages.
func forward(t *testing.T, u *hearthtest.User, room id.RoomID) []string {
	t.Helper()
	var out []string
	query := url.Values{"dir": {"f"}, "limit": {"50"}}
	for range 100 {
		page := messages(u, room, query.Encode())
		for _, e := range hearthtest.Events(page.Get("chunk")) {
			if e.Type() == "m.room.message" {
				out = append(out, e.Body())
			}
		}
		if page.Get("end").Str == "" {
			return out
		}
		query.Set("from", page.Get("end").Str)
	}
	t.Fatal("pages without end")
	return nil
}

func TestPeopleOfOtherServersAreFound(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	carol, dave := alice.Server().User("carol"), bob.Server().User("dave")
	bob.Must("PUT", path("profile", bob.ID, "displayname"), fields{"displayname": "Robert Cook"})
	dave.Must("PUT", path("profile", dave.ID, "displayname"), fields{"displayname": "Dave Cook"})
	room := alice.CreateRoom(fields{"preset": "private_chat"})
	alice.Invite(room, bob)
	bob.WaitForInvite(room)
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	find := func(u *hearthtest.User, term string) []string {
		var out []string
		for _, r := range u.Must("POST", "user_directory/search", fields{"search_term": term}).Get("results").Array() {
			out = append(out, r.Get("user_id").Str+" "+r.Get("display_name").Str)
		}
		return out
	}
	equal(t, "by name", find(alice, "cook"), []string{string(bob.ID) + " Robert Cook"})
	equal(t, "by id", find(alice, "bob"), []string{string(bob.ID) + " Robert Cook"})
	equal(t, "who shares no room", find(carol, "cook"), nil)
	members := alice.Get(path("rooms", room, "joined_members")).Get("joined")
	name := ""
	for user, m := range members.Map() {
		if user == string(bob.ID) {
			name = m.Get("display_name").Str
		}
	}
	equal(t, "name among the members", name, "Robert Cook")
	// Who changes their name is found under the new one.
	bob.Must("PUT", path("profile", bob.ID, "displayname"), fields{"displayname": "Bobby Baker"})
	alice.WaitForState(room, "m.room.member", string(bob.ID), func(r hearthtest.Response) bool { return r.Get("displayname").Str == "Bobby Baker" })
	equal(t, "by the new name", find(alice, "baker"), []string{string(bob.ID) + " Bobby Baker"})
	equal(t, "by the old name", find(alice, "cook"), nil)
}

func TestRestrictedRoomsOfOtherServersAreForMembersOfTheSpace(t *testing.T) {
	t.Parallel()
	_, alice, charlie := pair(t)
	bob := alice.Server().User("bob")
	space := alice.CreateRoom(fields{"creation_content": fields{"type": "m.space"}, "initial_state": []fields{
		{"type": "m.room.history_visibility", "content": fields{"history_visibility": "world_readable"}},
	}})
	room := charlie.CreateRoom(fields{"initial_state": []fields{{"type": "m.room.join_rules", "content": fields{
		"join_rule": "restricted", "allow": []fields{{"type": "m.room_membership", "room_id": space, "via": []id.ServerName{home(alice)}}},
	}}}})
	alice.SetState(space, "m.space.child", string(room), fields{"via": []id.ServerName{home(charlie)}})
	rooms := func(u *hearthtest.User) []string {
		return texts(u.Get(clientV1 + path("rooms", space, "hierarchy")).Get("rooms.#.room_id"))
	}
	summary := clientV1 + path("room_summary", room) + "?via=" + string(home(charlie))
	equal(t, "before the other server knows of the space", rooms(alice), []string{string(space)})
	alice.Refused("GET", summary, nil, 404, "M_NOT_FOUND")
	charlie.Join(space, home(alice))
	alice.WaitForMembership(space, charlie.ID, "join")
	equal(t, "for a member", rooms(alice), []string{string(space), string(room)})
	equal(t, "for a stranger", rooms(bob), []string{string(space)})
	equal(t, "its summary", alice.Get(summary).Get("allowed_room_ids.0").Str, string(space))
	bob.Refused("GET", summary, nil, 404, "M_NOT_FOUND")
}

func TestThumbnailsOfOtherServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 300, 200))); err != nil {
		t.Fatal(err)
	}
	file := alice.Upload(picture.Bytes(), "image/png")
	query := path("thumbnail", file.Server, file.MediaID) + "?width=32&height=32&method=scale"
	ours := alice.Get(clientV1 + "media/" + query)
	theirs := bob.Get(clientV1 + "media/" + query)
	equal(t, "thumbnails are the same on both servers", bytes.Equal(ours.Body, theirs.Body), true)
	equal(t, "their type", theirs.Header.Get("Content-Type"), "image/png")
}

func TestTheFreezeHoldsForMediaOfOtherServers(t *testing.T) {
	t.Parallel()
	freeze := func(enabled bool, at time.Time) hearthtest.Option {
		return hearthtest.WithConfig(func(c *config.Config) { c.Media.Freeze = config.Freeze{Enabled: enabled, At: at} })
	}
	net := hearthtest.NewNetwork(t)
	open, frozen := net.Start(freeze(false, time.Time{})), net.Start(freeze(true, time.Time{}))
	later := net.Start(freeze(true, time.Now().Add(time.Hour)))
	alice, bob, carol := open.User("alice"), frozen.User("bob"), later.User("carol")
	file, secret := alice.Upload([]byte("recipe"), "text/plain"), bob.Upload([]byte("secret"), "text/plain")

	equal(t, "an anonymous request for what is open", string(later.Nobody().LegacyDownload(file).Body), "recipe")
	if r := later.Nobody().LegacyDownload(secret); !r.Refused(404, "M_NOT_FOUND") {
		t.Errorf("an anonymous request gets what its server hides: %d %s", r.Status, r.Body)
	}
	equal(t, "a user gets it", string(carol.Download(secret).Body), "secret")
	equal(t, "its copy is open here until the freeze begins", string(later.Nobody().LegacyDownload(secret).Body), "secret")
	// F6: this server shows nothing without a token, whatever others do.
	if r := frozen.Nobody().LegacyDownload(file); !r.Refused(404, "M_NOT_FOUND") {
		t.Errorf("an anonymous request to a frozen server: %d %s", r.Status, r.Body)
	}
	equal(t, "a user gets it", string(bob.Download(file).Body), "recipe")
	if r := frozen.Nobody().LegacyDownload(file); !r.Refused(404, "M_NOT_FOUND") {
		t.Errorf("an anonymous request to a frozen server that has a copy: %d %s", r.Status, r.Body)
	}
	// F3: what is fetched after the freeze began is frozen, old as it may be; what was fetched before stays open.
	later.Reload(func(c *config.Config) { c.Media.Freeze.At = time.Now() })
	other := alice.Upload([]byte("another"), "text/plain")
	equal(t, "a user gets it", string(carol.Download(other).Body), "another")
	if r := later.Nobody().LegacyDownload(other); !r.Refused(404, "M_NOT_FOUND") {
		t.Errorf("a copy from after the freeze began: %d %s", r.Status, r.Body)
	}
	equal(t, "a copy from before", string(later.Nobody().LegacyDownload(file).Body), "recipe")
}
