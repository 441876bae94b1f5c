package tests

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestReportsAreShownToAdministrators(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	admin, alice, bob := a.Admin("admin"), a.User("alice"), a.User("bob")
	room := alice.CreateRoom(hearthtest.Fields{"name": "Den"})
	bob.Join(room)
	said := alice.Say(room, "buy this")
	for i := range 3 {
		bob.Must("POST", hearthtest.Path("rooms", room, "report", said), hearthtest.Fields{"reason": fmt.Sprint("spam ", i)})
	}
	bob.Must("POST", hearthtest.Path("rooms", room, "report"), hearthtest.Fields{"reason": "a bad place"})
	bob.Must("POST", hearthtest.Path("users", alice.ID, "report"), hearthtest.Fields{"reason": "a bad person"})

	const path = "/_synapse/admin/v1/"
	for _, name := range []string{"event_reports", "room_reports", "user_reports", "event_reports/1"} {
		bob.Refused("GET", path+name, nil, 403, "M_FORBIDDEN")
	}
	first := admin.Get(path + "event_reports?limit=2")
	equal(t, "of three", []int64{first.Get("total").Int(), first.Get("next_token").Int()}, []int64{3, 2})
	equal(t, "the newest", first.At("event_reports", "0", "reason").Str, "spam 2")
	rest := admin.Get(path + "event_reports?limit=2&from=2")
	equal(t, "the rest", rest.Get("event_reports.#.reason").Raw, `["spam 0"]`)
	equal(t, "the end", rest.Get("next_token").Exists(), false)
	equal(t, "the oldest first", admin.Get(path+"event_reports?dir=f").At("event_reports", "0", "reason").Str, "spam 0")
	equal(t, "by nobody", admin.Get(path+"event_reports?user_id=alice").Get("total").Int(), int64(0))
	one := admin.Get(path + "event_reports/1")
	for field, want := range map[string]string{
		"event_id": string(said), "sender": string(alice.ID), "user_id": string(bob.ID), "name": "Den", "room_id": string(room), "reason": "spam 0",
		"event_json.content.body": "buy this",
	} {
		equal(t, field, one.Get(field).Str, want)
	}
	equal(t, "the room", admin.Get(path+"room_reports").Get("room_reports.#.reason").Raw, `["a bad place"]`)
	equal(t, "the user", admin.Get(path+"user_reports").Get("user_reports.0.target_user_id").Str, string(alice.ID))
	admin.Refused("GET", path+"room_reports/1", nil, 404, "M_NOT_FOUND")
	admin.Refused("GET", path+"event_reports/x", nil, 400, "M_INVALID_PARAM")
	admin.Refused("GET", path+"event_reports?dir=x", nil, 400, "M_INVALID_PARAM")
	admin.Refused("GET", path+"event_reports?from=-1", nil, 400, "M_INVALID_PARAM")
	admin.Must("DELETE", path+"event_reports/1", nil)
	admin.Refused("DELETE", path+"event_reports/1", nil, 404, "M_NOT_FOUND")

	all, err := a.Console().ListReports(t.Context())
	if err != nil || len(all) != 4 {
		t.Fatalf("the command lists %v, %v", all, err)
	}
	equal(t, "the newest", []string{all[0].About, all[0].Reason}, []string{string(alice.ID), "a bad person"})
	equal(t, "an event", []string{all[2].About, all[2].Sender}, []string{string(said), string(alice.ID)})
	if err := a.Console().DeleteReport(t.Context(), all[0].Number); err != nil {
		t.Fatal(err)
	}
	equal(t, "users", admin.Get(path+"user_reports").Get("total").Int(), int64(0))
}
