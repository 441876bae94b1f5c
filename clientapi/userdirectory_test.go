package clientapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUserDirectory(t *testing.T) {
	r := newRoomRig(t)
	alice, bob, eve := r.register("user-1-alice"), r.register("user-2-bob"), r.register("user-3-eve")
	alice.must("PUT", clientV3+"profile/"+alice.id+"/displayname", `{"displayname":"Alice Cöoper"}`)
	alice.must("PUT", clientV3+"profile/"+alice.id+"/avatar_url", `{"avatar_url":"mxc://hs/alice"}`)
	alice.create(`{"visibility":"public"}`)
	private := bob.create(`{"invite":["` + alice.id + `"]}`)
	alices := private.joined(alice)
	alices.set("m.room.member", alice.id, `{"membership":"join","displayname":"Freddy"}`)
	find := func(who *user, body string) []string {
		t.Helper()
		out := []string{}
		for _, u := range who.must("POST", clientV3+"user_directory/search", body).Get("results").Array() {
			out = append(out, u.Get("display_name").Str)
		}
		return out
	}
	for _, test := range []struct {
		name, term string
		who        *user
		want       []string
	}{
		{"by display name", "Alice Cöoper", eve, []string{"Alice Cöoper"}},
		{"in another case, the words in another order", "CÖOPER alice", eve, []string{"Alice Cöoper"}},
		{"by the beginning of the id", "@user", eve, []string{"Alice Cöoper"}},
		{"by part of the id", "1-ALI", eve, []string{"Alice Cöoper"}},
		{"not by the name in a private room", "Freddy", eve, nil},
		{"who shares a room finds by the public name", "alice", bob, []string{"Alice Cöoper"}},
		{"not by the name in a shared room, for that is not the profile", "Freddy", bob, nil},
		{"who shares a room is found", "2-bob", alice, []string{"user-2-bob"}},
		{"who shares none is not", "2-bob", eve, nil},
		{"nobody finds themselves", "user-1", alice, nil},
		{"wildcards are letters", "%", eve, nil},
		{"nothing finds nobody", " ", eve, nil},
	} {
		want := test.want
		if want == nil {
			want = []string{}
		}
		if diff := cmp.Diff(want, find(test.who, fmt.Sprintf(`{"search_term":%q}`, test.term))); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	got := eve.must("POST", clientV3+"user_directory/search", `{"search_term":"alice"}`)
	if got.Get("results.0").Raw != `{"user_id":"@user-1-alice:hs","display_name":"Alice Cöoper","avatar_url":"mxc://hs/alice"}` || got.Get("limited").Bool() {
		t.Error(got.Raw)
	}

	square := eve.create(public)
	for _, name := range []string{"zoe", "zoe2", "azoe", "zo"} {
		square.joined(r.register(name))
	}
	if diff := cmp.Diff([]string{"zoe", "zoe2", "azoe"}, find(bob, `{"search_term":"zoe"}`)); diff != "" {
		t.Errorf("the best come first: %s", diff)
	}
	got = bob.must("POST", clientV3+"user_directory/search", `{"search_term":"zoe","limit":2}`)
	if len(got.Get("results").Array()) != 2 || !got.Get("limited").Bool() {
		t.Error(got.Raw)
	}
	eve.refused("POST", clientV3+"user_directory/search", `{}`, 400, "M_MISSING_PARAM")
	eve.refused("POST", clientV3+"user_directory/search", `{"search_term":1}`, 400, "M_BAD_JSON")
}

func TestMutualRooms(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	const path = clientV1 + "mutual_rooms?user_id="
	room := alice.create(public)
	room.joined(bob)
	left := alice.create(public)
	left.joined(bob).must("POST", left.path("/leave"), "")
	alice.create(public)
	alice.wantJSON(path+"@bob:hs", `{"joined":["`+room.room+`"],"count":1}`)
	bob.wantJSON(path+"@alice:hs", `{"joined":["`+room.room+`"],"count":1}`)
	bob.wantJSON(path+"@nobody:hs", `{"joined":[],"count":0}`)
	bob.refused("GET", path+"@bob:hs", "", 400, "M_INVALID_PARAM")
	bob.refused("GET", path+"bob", "", 400, "M_INVALID_PARAM")
	bob.refused("GET", strings.TrimSuffix(path, "?user_id="), "", 400, "M_MISSING_PARAM")
	bob.refused("GET", path+"@alice:hs&from=x", "", 400, "M_INVALID_PARAM")
	for range 101 {
		alice.create(public).joined(bob)
	}
	got := bob.must("GET", path+"@alice:hs", "")
	if len(got.Get("joined").Array()) != 100 || got.Get("count").Int() != 102 {
		t.Error(got.Raw)
	}
	got = bob.must("GET", path+"@alice:hs&from="+got.Get("next_batch").Str, "")
	if len(got.Get("joined").Array()) != 2 || got.Get("next_batch").Exists() {
		t.Error(got.Raw)
	}
}

func TestReports(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(public)
	event := room.say("hello")
	bob.must("POST", room.path("/report"), `{"reason":"room"}`)
	bob.refused("POST", room.path("/report/"+event), `{"reason":"event"}`, 404, "M_NOT_FOUND")
	room.joined(bob)
	bob.must("POST", room.path("/report/"+event), `{"reason":"event","score":-100}`)
	bob.must("POST", clientV3+"users/@alice:hs/report", `{"reason":"user"}`)
	bob.must("POST", clientV3+"users/@alice:elsewhere/report", `{"reason":""}`)
	bob.refused("POST", room.path("/report/$no"), `{}`, 404, "M_NOT_FOUND")
	bob.refused("POST", clientV3+"rooms/!no:hs/report", `{}`, 404, "M_NOT_FOUND")
	bob.refused("POST", clientV3+"users/@nobody:hs/report", `{}`, 404, "M_NOT_FOUND")
	bob.refused("POST", clientV3+"users/@alice:hs/report", `{"reason":1}`, 400, "M_BAD_JSON")
	bob.refused("POST", clientV3+"users/@alice:hs/report", `{"reason":"`+strings.Repeat("x", 5001)+`"}`, 413, "M_TOO_LARGE")
	var got []string
	for _, rep := range r.reports() {
		got = append(got, fmt.Sprintf("%d %s %v %v %s %q", rep.NID, rep.Reporter, rep.Room == "", rep.Event == "", rep.User, rep.Reason))
	}
	want := []string{`4 @bob:hs true true @alice:elsewhere ""`, `3 @bob:hs true true @alice:hs "user"`, `2 @bob:hs false false  "event"`,
		`1 @bob:hs false true  "room"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
