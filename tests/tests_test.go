// Package tests holds conversations: what people and their clients do with a server, told in the words of hearthtest, over HTTP with
// real servers. What a single package promises is tested beside it.
package tests

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func TestMain(m *testing.M) { os.Exit(hearthtest.Main(m)) }

// Shorthands for what is in every second line.
type fields = hearthtest.Fields

var path = hearthtest.Path

// equal compares what a conversation led to.
func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// types are the types of events, in their order.
func types(events []hearthtest.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.Type())
	}
	return out
}

// ids are the ids of events, in their order.
func ids(events []hearthtest.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.ID())
	}
	return out
}

// keys are the names in an object, sorted.
func keys(object gjson.Result) []string {
	var out []string
	for k := range object.Map() {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// texts are the values of a list.
func texts(list gjson.Result) []string {
	var out []string
	for _, v := range list.Array() {
		out = append(out, v.String())
	}
	return out
}

// stateOf returns the events of a state section as "type|key" with the events.
func stateOf(events gjson.Result) map[string]hearthtest.Event {
	out := map[string]hearthtest.Event{}
	for _, e := range hearthtest.Events(events) {
		out[e.Type()+"|"+e.Get("state_key").Str] = e
	}
	return out
}

// members are the user ids whose membership events are in a list, sorted.
func members(events gjson.Result) []string {
	var out []string
	for key := range stateOf(events) {
		if user, ok := strings.CutPrefix(key, "m.room.member|"); ok {
			out = append(out, user)
		}
	}
	slices.Sort(out)
	return out
}

// messages returns the events of one page of history.
func messages(u *hearthtest.User, room id.RoomID, query string) hearthtest.Response {
	return u.Get(path("rooms", room, "messages") + "?" + query)
}
