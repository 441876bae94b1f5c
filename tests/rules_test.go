package tests

import (
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func TestKnockRestricted(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	club := alice.CreateRoom()
	room := alice.CreateRoom(fields{
		"preset": "private_chat", "room_version": "10",
		"initial_state": []fields{{"type": "m.room.join_rules", "state_key": "", "content": fields{
			"join_rule": "knock_restricted", "allow": []fields{{"type": "m.room_membership", "room_id": club}},
		}}},
	})
	bob.Join(club)
	bob.Join(room)
	equal(t, "joining from elsewhere", carol.Do("POST", path("join", room), fields{}).Status, 403)
	carol.Must("POST", path("knock", room), fields{})
	equal(t, "membership after the knock", alice.Membership(room, carol), "knock")
	bob.Refused("POST", path("knock", room), fields{}, 403, "M_FORBIDDEN")
	carol.Leave(room)
	equal(t, "membership after taking it back", alice.Membership(room, carol), "leave")
	alice.Ban(room, carol)
	carol.Refused("POST", path("knock", room), fields{}, 403, "M_FORBIDDEN")
}

func TestUpgradeCarriesOnesOwnRules(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	old := alice.CreateRoom()
	bob.Join(old)
	bob.Must("PUT", path("pushrules", "global", "room", old), fields{"actions": []any{}})
	bob.Must("PUT", path("user", bob.ID, "rooms", old, "tags", "m.lowpriority"), fields{})
	upgraded := alice.Must("POST", path("rooms", old, "upgrade"), fields{"new_version": "11"})
	room := id.RoomID(upgraded.Get("replacement_room").Str)
	bob.Join(room)
	equal(t, "the rule for the room", bob.Get(path("pushrules", "global", "room", room)).Get("rule_id").Str, string(room))
	equal(t, "its tags", keys(bob.Get(path("user", bob.ID, "rooms", room, "tags")).Get("tags")), []string{"m.lowpriority"})
}

func TestDirectChat(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	bob.CatchUp()
	room := alice.CreateRoom(fields{"preset": "trusted_private_chat", "is_direct": true, "invite": []any{bob.ID}})
	direct := false
	for _, e := range bob.WaitForInvite(room) {
		direct = direct || e.At("content", "is_direct").Bool()
	}
	equal(t, "the invitation says so", direct, true)
	bob.Join(room)
	equal(t, "the membership says so", bob.State(room, "m.room.member", string(bob.ID)).Get("is_direct").Exists(), false)
	level := bob.State(room, "m.room.power_levels", "").At("users", bob.ID).Int()
	equal(t, "level of who is trusted", level, 100)
}

func TestRelationsOfRelations(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	root := alice.Say(room, "soup?")
	answer := alice.SayInThread(room, root, "with bread")
	reaction := alice.React(room, answer, "👍")
	edit := alice.Edit(room, answer, "with butter")
	relations := "/_matrix/client/v1/" + path("rooms", room, "relations", root)
	equal(t, "the first level", ids(hearthtest.Events(alice.Get(relations).Get("chunk"))), []string{string(answer)})
	deep := alice.Get(relations + "?recurse=true&dir=f")
	equal(t, "all levels", ids(hearthtest.Events(deep.Get("chunk"))), []string{string(answer), string(reaction), string(edit)})
	equal(t, "how deep", deep.Get("recursion_depth").Int() >= 2, true)
	page := alice.Get(relations + "?recurse=true&dir=f&limit=2")
	next := alice.Get(relations + "?recurse=true&dir=f&limit=2&from=" + page.Get("next_batch").Str)
	equal(t, "in pages", ids(append(hearthtest.Events(page.Get("chunk")), hearthtest.Events(next.Get("chunk"))...)),
		[]string{string(answer), string(reaction), string(edit)})
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	first := bob.Say(room, "hello")
	mention := bob.Send(room, "m.room.message", fields{"msgtype": "m.text", "body": "you", "m.mentions": fields{"user_ids": []any{alice.ID}}})
	bob.Send(room, "m.room.message", fields{"msgtype": "m.notice", "body": "beep"})
	alice.Read(room, first)
	list := func(query string) []string {
		return texts(alice.Get("notifications" + query).Get("notifications.#.event.event_id"))
	}
	equal(t, "all, the newest first", list(""), []string{string(mention), string(first)})
	equal(t, "what is highlighted", list("?only=highlight"), []string{string(mention)})
	equal(t, "what is read", alice.Get("notifications").Get("notifications.#.read").Raw, "[false,true]")
	page := alice.Get("notifications?limit=1")
	equal(t, "the next page", list("?limit=1&from="+page.Get("next_token").Str), []string{string(first)})
}

func TestReports(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := alice.CreateRoom(fields{"preset": "private_chat", "invite": []any{bob.ID}})
	bob.Join(room)
	event := alice.Say(room, "buy this")
	bob.Must("POST", path("rooms", room, "report", event), fields{"reason": "spam", "score": -100})
	bob.Must("POST", path("rooms", room, "report"), fields{"reason": "spam"})
	bob.Must("POST", path("users", alice.ID, "report"), fields{"reason": "spam"})
	carol.Refused("POST", path("rooms", room, "report", event), fields{"reason": "spam"}, 404, "M_NOT_FOUND")
}

func TestThreadedReceipts(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	root := bob.Say(room, "soup?")
	inThread := bob.SayInThread(room, root, "with bread")
	main := bob.Say(room, "anyway")
	const perThread = `{"room":{"timeline":{"unread_thread_notifications":true}}}`
	counts := func() [2]int64 {
		in := alice.Sync("filter", perThread).At("rooms", "join", room)
		threads := hearthtest.Event{Result: in.Get("unread_thread_notifications")}
		return [2]int64{in.Get("unread_notifications.notification_count").Int(), threads.At(root, "notification_count").Int()}
	}
	receipt := func(event id.EventID, thread string) {
		t.Helper()
		body := fields{}
		if thread != "" {
			body["thread_id"] = thread
		}
		alice.Must("POST", path("rooms", room, "receipt", "m.read", event), body)
	}
	equal(t, "nothing is read", counts(), [2]int64{2, 1})
	receipt(root, "main")
	equal(t, "the root is read", counts(), [2]int64{1, 1})
	receipt(inThread, string(root))
	equal(t, "the thread is read", counts(), [2]int64{1, 0})
	bob.SayInThread(room, root, "and butter")
	equal(t, "more in the thread", counts(), [2]int64{1, 1})
	receipt(main, "")
	equal(t, "a receipt for all up to what is before the thread's last", counts(), [2]int64{0, 1})
	alice.Refused("POST", path("rooms", room, "receipt", "m.read", main), fields{"thread_id": ""}, 400, "M_INVALID_PARAM")
	alice.Refused("POST", path("rooms", room, "receipt", "m.read", main), fields{"thread_id": 17}, 400, "M_INVALID_PARAM")
}

func TestCreatorsOfVersion12(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := alice.CreateRoom(fields{"room_version": "12", "creation_content": fields{"additional_creators": []any{bob.ID}}})
	bob.Join(room)
	carol.Join(room)
	// Spec: rooms/v12. The id of the room is that of its create event, and creators stand above all levels.
	create := alice.Get(path("rooms", room, "state", "m.room.create", "") + "?format=event")
	equal(t, "id of the room", string(room), "!"+create.Get("event_id").Str[1:])
	equal(t, "creators in the levels", alice.State(room, "m.room.power_levels", "").Get("users").Raw, "{}")
	bob.SetState(room, "m.room.power_levels", "", fields{"users": fields{string(carol.ID): 1000}, "ban": 50, "kick": 50})
	carol.Refused("POST", path("rooms", room, "kick"), fields{"user_id": bob.ID}, 403, "M_FORBIDDEN")
	bob.Kick(room, carol)
	alice.Refused("PUT", path("rooms", room, "state", "m.room.power_levels", ""), fields{"users": fields{string(bob.ID): 100}}, 400, "M_BAD_JSON")
	alice.Refused("POST", "createRoom", fields{"room_version": "12", "creation_content": fields{"additional_creators": "bob"}}, 400, "M_BAD_JSON")
}

func TestRedactedState(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom(fields{"name": "Kitchen"})
	topic := alice.SetState(room, "m.room.topic", "", fields{"topic": "a secret"})
	rules := alice.Get(path("rooms", room, "state", "m.room.join_rules", "") + "?format=event").Get("event_id").Str
	bob.Join(room)
	alice.Redact(room, topic)
	alice.Redact(room, id.EventID(rules))
	equal(t, "topic", bob.State(room, "m.room.topic", "").Raw, "{}")
	equal(t, "what a redaction leaves", bob.State(room, "m.room.join_rules", "").Raw, `{"join_rule":"public"}`)
	timeline := bob.Sync("filter", `{"room":{"timeline":{"limit":50}}}`).Timeline(room)
	for _, e := range timeline {
		if e.ID() == string(topic) {
			equal(t, "topic in the timeline", e.Get("content").Raw, "{}")
			equal(t, "with the reason", e.At("unsigned", "redacted_because", "type").Str, "m.room.redaction")
		}
	}
	equal(t, "topic in the directory of rooms", bob.Get("/_matrix/client/v1/"+path("room_summary", room)).Get("topic").Str, "")
}

func TestLazyMembersOfThePages(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := alice.CreateRoom()
	bob.Join(room)
	carol.Join(room)
	message := bob.Say(room, "hi")
	const lazy = "filter=%7B%22lazy_load_members%22:true%7D"
	page := messages(alice, room, "dir=b&limit=1&"+lazy)
	equal(t, "members beside a page", members(page.Get("state")), []string{string(bob.ID)})
	context := alice.Get(path("rooms", room, "context", message) + "?limit=0&" + lazy)
	equal(t, "members beside a context", members(context.Get("state")), []string{string(bob.ID)})
}

func TestInvitationsCarryProfiles(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	bob.Must("PUT", path("profile", bob.ID, "displayname"), fields{"displayname": "Bobby"})
	bob.Must("PUT", path("profile", bob.ID, "avatar_url"), fields{"avatar_url": "mxc://" + string(a.Name) + "/face"})
	room := alice.CreateRoom()
	alice.Must("POST", path("rooms", room, "invite"), fields{"user_id": bob.ID, "reason": "Come and eat"})
	invited := alice.State(room, "m.room.member", string(bob.ID))
	equal(t, "the invitation", []string{invited.Get("membership").Str, invited.Get("displayname").Str, invited.Get("reason").Str},
		[]string{"invite", "Bobby", "Come and eat"})
	bob.Join(room)
	joined := alice.Get(path("rooms", room, "joined_members")).At("joined", bob.ID)
	equal(t, "the member", []string{joined.Get("display_name").Str, joined.Get("avatar_url").Str}, []string{"Bobby", "mxc://" + string(a.Name) + "/face"})
}
