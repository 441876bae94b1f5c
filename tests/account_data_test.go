package tests

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestAccountData(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	tablet := alice.Login()
	room := alice.CreateRoom()
	tablet.CatchUp()
	global, local := path("user", alice.ID, "account_data", "example.colour"), path("user", alice.ID, "rooms", room, "account_data", "example.colour")
	alice.Refused("GET", global, nil, 404, "M_NOT_FOUND")
	alice.Must("PUT", global, fields{"colour": "red"})
	alice.Must("PUT", local, fields{"colour": "blue"})
	equal(t, "global", alice.Get(global).Get("colour").Str, "red")
	equal(t, "of the room", alice.Get(local).Get("colour").Str, "blue")

	seen := map[string]bool{}
	tablet.WaitUntil("both", func(r hearthtest.Response) bool {
		for _, e := range hearthtest.Events(r.Get("account_data.events")) {
			seen["global "+e.At("content", "colour").Str] = true
		}
		for _, e := range hearthtest.Events(r.At("rooms", "join", room, "account_data", "events")) {
			seen["room "+e.At("content", "colour").Str] = true
		}
		return seen["global red"] && seen["room blue"]
	})
	bob.Refused("GET", global, nil, 403, "M_FORBIDDEN")
	bob.Refused("PUT", global, fields{}, 403, "M_FORBIDDEN")
	alice.Refused("PUT", path("user", alice.ID, "account_data", "m.push_rules"), fields{}, 405, "M_BAD_JSON")
}

func TestDeletedAccountDataIsGone(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	const msc3391 = "/_matrix/client/unstable/org.matrix.msc3391/"
	for _, test := range []struct{ name, path string }{
		{"global", "user/" + string(alice.ID) + "/account_data/example.colour"},
		{"of a room", "user/" + string(alice.ID) + "/rooms/" + string(room) + "/account_data/example.colour"},
	} {
		for method, remove := range map[string]func(){
			"by deletion":          func() { alice.Must("DELETE", msc3391+test.path, nil) },
			"by having no content": func() { alice.Must("PUT", test.path, fields{}) },
		} {
			alice.Must("PUT", test.path, fields{"colour": "red"})
			slides := alice.Must("POST", simplified, slidingBodyWith("account_data"))
			pos := url.QueryEscape(slides.Get("pos").Str)
			equal(t, test.name+" is there", strings.Contains(string(slides.Body), "example.colour"), true)
			tablet := alice.Login()
			tablet.CatchUp()
			remove()
			alice.Refused("GET", test.path, nil, 404, "M_NOT_FOUND")
			told := func(r string) bool { return strings.Contains(r, `{"content":{},"type":"example.colour"}`) }
			tablet.WaitUntil(test.name+" is gone "+method, func(r hearthtest.Response) bool { return told(string(r.Body)) })
			equal(t, test.name+" in sliding sync "+method, told(string(alice.Must("POST", simplified+"?pos="+pos, slidingBodyWith("account_data")).Body)), true)
			for what, r := range map[string]hearthtest.Response{"sync": alice.Sync(), "sliding sync": alice.Must("POST", simplified, slidingBodyWith("account_data"))} {
				if strings.Contains(string(r.Body), "example.colour") {
					t.Errorf("%s, gone %s, is in an initial %s", test.name, method, what)
				}
			}
		}
	}
	alice.Refused("DELETE", msc3391+"user/"+string(alice.ID)+"/account_data/m.push_rules", nil, 405, "M_BAD_JSON")
	a.User("bob").Refused("DELETE", msc3391+"user/"+string(alice.ID)+"/account_data/x", nil, 403, "M_FORBIDDEN")
}

func TestSettingsOfADeviceGoWithIt(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	tablet, phone := alice.Login(), alice.Login()
	setting := func(of *hearthtest.User) string {
		return path("user", alice.ID, "account_data", "org.matrix.msc3890.local_notification_settings."+string(of.Device))
	}
	for _, u := range []*hearthtest.User{alice, tablet, phone} {
		alice.Must("PUT", setting(u), fields{"is_silenced": true})
	}
	tablet.Must("POST", "logout", nil)
	alice.Refused("GET", setting(tablet), nil, 404, "M_NOT_FOUND")
	equal(t, "of a device that is still there", alice.Get(setting(phone)).Get("is_silenced").Bool(), true)
}

func TestTags(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	tablet := alice.Login()
	room := alice.CreateRoom()
	tags := path("user", alice.ID, "rooms", room, "tags")
	tablet.CatchUp()
	alice.Must("PUT", tags+"/m.favourite", fields{"order": 0.25})
	alice.Must("PUT", tags+"/u.work", fields{})
	equal(t, "order", alice.Get(tags).At("tags", "m.favourite", "order").Float(), 0.25)
	tagged := func(want int) func(hearthtest.Response) bool {
		return func(r hearthtest.Response) bool {
			for _, e := range hearthtest.Events(r.At("rooms", "join", room, "account_data", "events")) {
				if e.Type() == "m.tag" && len(e.Get("content.tags").Map()) == want {
					return true
				}
			}
			return false
		}
	}
	tablet.WaitUntil("two tags", tagged(2))
	alice.Must("DELETE", tags+"/u.work", nil)
	tablet.WaitUntil("one tag", tagged(1))
	equal(t, "tags", keys(alice.Get(tags).Get("tags")), []string{"m.favourite"})
}

func TestPushRules(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	tablet := alice.Login()
	room := alice.CreateRoom()
	bob.Join(room)
	tablet.CatchUp()
	rule := path("pushrules", "global", "content", "soup")
	alice.Must("PUT", rule, fields{"pattern": "soup", "actions": []any{"notify", fields{"set_tweak": "highlight"}}})
	tablet.WaitUntil("the rule", func(r hearthtest.Response) bool {
		return r.Get(`account_data.events.#(type=="m.push_rules").content.global.content.#(rule_id=="soup")`).Exists()
	})
	unread := func() string {
		return alice.Sync().At("rooms", "join", room, "unread_notifications").Raw
	}
	alice.Read(room, bob.Say(room, "bread"))
	bob.Say(room, "there is soup")
	equal(t, "highlighted", unread(), `{"highlight_count":1,"notification_count":1}`)

	alice.Must("PUT", rule+"/enabled", fields{"enabled": false})
	alice.Read(room, bob.Say(room, "more soup"))
	equal(t, "switched off", alice.Get(rule+"/enabled").Get("enabled").Bool(), false)
	alice.Must("PUT", path("pushrules", "global", "room", room), fields{"actions": []any{}})
	bob.Say(room, "and bread")
	equal(t, "a muted room", unread(), `{"highlight_count":0,"notification_count":0}`)
	alice.Must("DELETE", path("pushrules", "global", "room", room), nil)
	bob.Say(room, "and cake")
	equal(t, "no longer muted", unread(), `{"highlight_count":0,"notification_count":1}`)
	alice.Must("DELETE", rule, nil)
	alice.Refused("GET", rule, nil, 404, "M_NOT_FOUND")
	alice.Refused("DELETE", path("pushrules", "global", "override", ".m.rule.master"), nil, 400, "M_INVALID_PARAM")
}

func TestNobodyHasAccountDataWithoutBounds(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	at := func(n int) string { return path("user", alice.ID, "account_data", fmt.Sprint("m.part", n)) }
	large := fields{"text": strings.Repeat("x", 1_000_000)}
	parts := 0
	for alice.Do("PUT", at(parts), large).Status == 200 && parts < 100 {
		parts++
	}
	equal(t, "parts of a million bytes", parts, 16)
	refused := alice.Refused("PUT", at(parts), large, 403, "M_USER_LIMIT_EXCEEDED")
	equal(t, "where to read about it", refused.Get("info_uri").Str != "", true)
	alice.Must("PUT", at(0), large) // what is not longer than before is accepted
	alice.Must("PUT", at(0), fields{})
	alice.Must("PUT", at(parts), large) // in its place
	bob.Must("PUT", path("user", bob.ID, "account_data", "m.part0"), large)
}
