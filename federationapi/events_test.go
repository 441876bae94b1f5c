package federationapi

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// history is a room of hs in which what was said before carol of server two came is for members only. Server three was never there.
type history struct {
	*rig
	room                        *storagetest.Room
	before, join, joined, after *storage.Event
}

func newHistory(t *testing.T) *history {
	h := &history{rig: newRig(t)}
	h.room = storagetest.NewRoom(t, h.store, "!room:hs", alice)
	h.room.State(alice, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
	h.before = h.room.Message(alice, "before")
	h.join = h.room.Member(carol, carol, "join")
	h.joined = h.room.Message(alice, "joined")
	h.after = h.room.Message(carol, "after")
	return h
}

// stray stores an event that is not part of the timeline.
func (h *history) stray(eventID id.EventID, status storage.EventStatus, prev ...id.EventID) {
	h.t.Helper()
	refs := ""
	for i, p := range prev {
		refs += map[bool]string{true: ","}[i > 0] + fmt.Sprintf("%q", p)
	}
	snapshot := h.room.Row.State
	if eventID == "$fetched" {
		snapshot = 0
	}
	err := h.store.Update(h.t.Context(), func(tx *storage.Tx) error {
		nid, err := tx.NextPos()
		if err != nil {
			return err
		}
		return tx.AddEvent(&storage.Event{
			NID: nid, ID: eventID, Room: h.room.Row.NID, RoomID: h.room.Row.ID, Type: "m.room.message", Sender: carol, Depth: 100, Status: status,
			StateBefore: snapshot, StateAfter: snapshot,
			JSON: []byte(`{"type":"m.room.message","content":{"body":"` + string(eventID) + `"},"depth":100,"prev_events":[` + refs + `],"auth_events":[]}`),
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestEvent(t *testing.T) {
	h := newHistory(t)
	h.stray("$soft", storage.SoftFailed)
	h.stray("$rejected", storage.Rejected)
	h.stray("$outlier", storage.Outlier)
	get := func(event id.EventID) gjson.Result {
		t.Helper()
		return h.must("GET", v1+"/event/"+string(event), "").Get("pdus")
	}
	if got := h.must("GET", v1+"/event/"+string(h.joined.ID), ""); got.Get("origin").Str != "hs" || !got.Get("origin_server_ts").Exists() {
		t.Errorf("not a transaction: %s", got.Raw)
	}
	for _, test := range []struct {
		name  string
		event id.EventID
		want  string
	}{
		{"an event", h.joined.ID, "joined"},
		{"an event of before is redacted", h.before.ID, "-"},
		{"a soft-failed event is there", "$soft", "$soft"},
		{"an outlier is there", "$outlier", "$outlier"},
	} {
		if d := cmp.Diff([]string{test.want}, names(get(test.event))); d != "" {
			t.Errorf("%s:\n%s", test.name, d)
		}
	}
	h.refused("two", "GET", v1+"/event/$rejected", "", 404, "M_NOT_FOUND")
	h.refused("two", "GET", v1+"/event/$unknown", "", 404, "M_NOT_FOUND")
	h.refused("two", "GET", v1+"/event/nonsense", "", 400, "M_INVALID_PARAM")
	h.refused("three", "GET", v1+"/event/"+string(h.joined.ID), "", 403, "M_FORBIDDEN")
	h.refused("three", "GET", v1+"/event/$rejected", "", 403, "M_FORBIDDEN")
	h.refused("three", "GET", v1+"/event/$outlier", "", 403, "M_FORBIDDEN")

	h.room.Member(alice, carol, "ban")
	later := h.room.Message(alice, "good riddance")
	if got := names(get(h.joined.ID)); got[0] != "joined" {
		t.Errorf("what the server saw once: %v", got)
	}
	h.refused("two", "GET", v1+"/event/"+string(later.ID), "", 403, "M_FORBIDDEN")
}

func TestStateBeforeAnEvent(t *testing.T) {
	h := newHistory(t)
	h.stray("$outlier", storage.Outlier)
	other := storagetest.NewRoom(t, h.store, "!other:hs", alice)
	const state, ids = v1 + "/state/!room:hs?event_id=", v1 + "/state_ids/!room:hs?event_id="
	before := []string{"@alice:hs join", "create", "history_visibility", "join_rules"}
	sorted := func(list []string) map[string]bool {
		out := map[string]bool{}
		for _, s := range list {
			out[s] = true
		}
		return out
	}
	got := h.must("GET", state+string(h.join.ID), "")
	if d := cmp.Diff(sorted(before), sorted(names(got.Get("pdus")))); d != "" {
		t.Errorf("the state before the join: %s", d)
	}
	if d := cmp.Diff([]string{"create", "@alice:hs join", "join_rules"}, names(got.Get("auth_chain"))); d != "" {
		t.Errorf("its auth chain: %s", d)
	}
	got = h.must("GET", ids+string(h.joined.ID), "")
	if list := texts(got.Get("pdu_ids")); len(list) != 5 || !sorted(list)[string(h.join.ID)] {
		t.Errorf("the state after the join: %s", got.Raw)
	}
	if list := texts(got.Get("auth_chain_ids")); len(list) != 3 {
		t.Errorf("its auth chain: %s", got.Raw)
	}
	if got := h.must("GET", ids+"$e1-room:hs", ""); got.Raw != `{"auth_chain_ids":[],"pdu_ids":[]}` {
		t.Errorf("the state before the first event: %s", got.Raw)
	}
	h.refused("two", "GET", ids+"$outlier", "", 404, "M_NOT_FOUND")
	h.stray("$fetched", storage.Accepted, "$e1-room:hs")
	h.refused("two", "GET", ids+"$fetched", "", 404, "M_NOT_FOUND")
	h.refused("two", "GET", ids+"$unknown", "", 404, "M_NOT_FOUND")
	h.refused("two", "GET", ids+string(other.Message(alice, "x").ID), "", 404, "M_NOT_FOUND")
	h.refused("two", "GET", v1+"/state_ids/!room:hs", "", 400, "M_MISSING_PARAM")
	h.refused("two", "GET", v1+"/state_ids/!nowhere:hs?event_id=$x", "", 404, "M_NOT_FOUND")
	h.refused("three", "GET", state+string(h.after.ID), "", 403, "M_FORBIDDEN")
	h.refused("three", "GET", ids+"$unknown", "", 403, "M_FORBIDDEN")

	// A server that has been thrown out may still ask how that could happen.
	kick := h.room.Member(alice, carol, "leave")
	h.must("GET", ids+string(kick.ID), "")
	h.refused("two", "GET", ids+string(h.room.Message(alice, "later").ID), "", 403, "M_FORBIDDEN")
}

func TestEventAuth(t *testing.T) {
	h := newHistory(t)
	const auth = v1 + "/event_auth/!room:hs/"
	got := h.must("GET", auth+string(h.after.ID), "")
	want := []string{"create", "@alice:hs join", "join_rules", "@carol:two join"}
	if d := cmp.Diff(want, names(got.Get("auth_chain"))); d != "" {
		t.Error(d)
	}
	if got := h.must("GET", auth+"$e1-room:hs", ""); got.Raw != `{"auth_chain":[]}` {
		t.Errorf("of the first event: %s", got.Raw)
	}
	h.refused("two", "GET", auth+"$unknown", "", 404, "M_NOT_FOUND")
	h.refused("three", "GET", auth+string(h.after.ID), "", 403, "M_FORBIDDEN")
}

func TestTimestampToEvent(t *testing.T) {
	h := newHistory(t)
	near := func(ts int64, dir string) string {
		return fmt.Sprintf("%s/timestamp_to_event/!room:hs?ts=%d&dir=%s", v1, ts, dir)
	}
	got := h.must("GET", near(h.joined.TS, "f"), "")
	if got.Get("event_id").Str != string(h.joined.ID) || got.Get("origin_server_ts").Int() != h.joined.TS {
		t.Errorf("forwards: %s", got.Raw)
	}
	if got := h.must("GET", near(h.joined.TS, "b"), ""); got.Get("event_id").Str != string(h.joined.ID) {
		t.Errorf("backwards: %s", got.Raw)
	}
	if got := h.must("GET", near(0, "f"), ""); got.Get("event_id").Str != "$e1-room:hs" {
		t.Errorf("what was before the visibility was set: %s", got.Raw)
	}
	if got := h.must("GET", near(h.before.TS, "f"), ""); got.Get("event_id").Str != string(h.join.ID) {
		t.Errorf("what is hidden is passed over: %s", got.Raw)
	}
	h.refused("two", "GET", near(h.after.TS+1, "f"), "", 404, "M_NOT_FOUND")
	h.refused("two", "GET", near(1, "x"), "", 400, "M_INVALID_PARAM")
	h.refused("two", "GET", v1+"/timestamp_to_event/!room:hs?ts=soon&dir=f", "", 400, "M_INVALID_PARAM")
	h.refused("three", "GET", near(0, "f"), "", 403, "M_FORBIDDEN")
}

func TestBackfill(t *testing.T) {
	h := newHistory(t)
	const from = v1 + "/backfill/!room:hs?v="
	h.stray("$rejected", storage.Rejected, h.joined.ID)
	h.stray("$soft", storage.SoftFailed, "$rejected")
	h.stray("$outlier", storage.Outlier, h.joined.ID)
	for _, test := range []struct {
		name, query string
		want        []string
	}{
		{"newest first, what is hidden redacted", string(h.after.ID) + "&limit=100",
			[]string{"after", "joined", "@carol:two join", "-", "history_visibility", "join_rules", "@alice:hs join", "create"}},
		{"no more than wanted", string(h.after.ID) + "&limit=2", []string{"after", "joined"}},
		{"nothing wanted", string(h.after.ID) + "&limit=0", []string{}},
		{"several events, each once", string(h.after.ID) + "&v=" + string(h.joined.ID) + "&limit=3", []string{"after", "joined", "@carol:two join"}},
		{"rejected events are passed through", "$soft&limit=2", []string{"$soft", "joined"}},
		{"outliers are not gone to", "$outlier&limit=2", []string{}},
		{"events that are not here", "$unknown&limit=2", []string{}},
	} {
		if d := cmp.Diff(test.want, names(h.must("GET", from+test.query, "").Get("pdus"))); d != "" {
			t.Errorf("%s:\n%s", test.name, d)
		}
	}
	h.refused("two", "GET", v1+"/backfill/!room:hs?limit=1", "", 400, "M_MISSING_PARAM")
	h.refused("two", "GET", from+"nonsense&limit=1", "", 400, "M_INVALID_PARAM")
	h.refused("three", "GET", from+string(h.after.ID)+"&limit=1", "", 403, "M_FORBIDDEN")
}

func TestMissingEvents(t *testing.T) {
	h := newHistory(t)
	for _, test := range []struct {
		name, body string
		want       []string
	}{
		{"oldest first, without both ends", fmt.Sprintf(`{"earliest_events":["$e1-room:hs"],"latest_events":[%q]}`, h.after.ID),
			[]string{"@alice:hs join", "join_rules", "history_visibility", "-", "@carol:two join", "joined"}},
		{"those next to the latest if not all", fmt.Sprintf(`{"limit":2,"earliest_events":["$e1-room:hs"],"latest_events":[%q]}`, h.after.ID),
			[]string{"@carol:two join", "joined"}},
		{"not below a depth", fmt.Sprintf(`{"min_depth":6,"earliest_events":[],"latest_events":[%q]}`, h.after.ID), []string{"@carol:two join", "joined"}},
		{"a latest event that is between others is no end", fmt.Sprintf(`{"earliest_events":[%q],"latest_events":[%q,%q]}`, h.before.ID, h.after.ID, h.joined.ID),
			[]string{"@carol:two join"}},
		{"nothing is missing", fmt.Sprintf(`{"earliest_events":[%q],"latest_events":[%q]}`, h.joined.ID, h.after.ID), []string{}},
		{"nothing asked", `{"earliest_events":[],"latest_events":[]}`, []string{}},
	} {
		got := h.must("POST", v1+"/get_missing_events/!room:hs", test.body).Get("events")
		if d := cmp.Diff(test.want, names(got)); d != "" {
			t.Errorf("%s:\n%s", test.name, d)
		}
	}
	h.refused("two", "POST", v1+"/get_missing_events/!room:hs", `{"latest_events":["x"]}`, 400, "M_INVALID_PARAM")
	h.refused("two", "POST", v1+"/get_missing_events/!room:hs", `{"latest_events":7}`, 400, "M_BAD_JSON")
	h.refused("three", "POST", v1+"/get_missing_events/!room:hs", fmt.Sprintf(`{"latest_events":[%q]}`, h.after.ID), 403, "M_FORBIDDEN")
}
