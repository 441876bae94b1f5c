package directory

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
)

func TestMemoryIsBounded(t *testing.T) {
	c := clock.NewFake(time.UnixMilli(0))
	m := newMemory[int, string](c, 10*(overhead+100))
	for i := range 100 {
		m.put(i, fmt.Sprint(i), 100)
	}
	if len(m.kept) != 10 || m.size != m.limit {
		t.Errorf("%d entries of %d bytes", len(m.kept), m.size)
	}
	if v, ok := m.get(99, time.Second); !ok || v != "99" {
		t.Errorf("the last one is %q, %v", v, ok)
	}
	for range 100 {
		m.put(99, "again", 100) // in place of the one before
	}
	if len(m.kept) != 10 || m.size != m.limit {
		t.Errorf("%d entries of %d bytes", len(m.kept), m.size)
	}
	c.Advance(time.Second)
	if _, ok := m.get(99, time.Second); ok {
		t.Error("what is too old is returned")
	}
	if v, ok := m.get(99, time.Minute); !ok || v != "again" {
		t.Error("what is old enough is not returned")
	}
	if m.put(7, "large", m.limit/2); len(m.kept) > 10 || m.kept[7].value == "large" {
		t.Error("a large one drives out the others")
	}
}

func TestServersThatAreAsked(t *testing.T) {
	s := New(Parts{Server: "hs", Clock: clock.NewFake(time.UnixMilli(0))})
	got := s.servers(step{via: []id.ServerName{"hs", "a", "", "a", "b", "hs", "c", "d"}})
	if fmt.Sprint(got) != "[a b c]" {
		t.Errorf("got %v", got)
	}
}

func FuzzParseTree(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"room":{"room_id":"!a:b"}}`, `{"room":null,"children":null}`,
		`{"room":{"room_id":"!a:b","room_type":"m.space","join_rule":"restricted","allowed_room_ids":["!c:d",""],"children_state":[
			{"type":"m.space.child","state_key":"!c:d","sender":"@x:b","origin_server_ts":1,"content":{"via":["b"],"order":"x"}}]},
			"children":[{"room_id":"!c:d"}],"inaccessible_children":["!c:d","x"]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tr, err := parseTree("!a:b", json.RawMessage(text))
		if err != nil {
			return
		}
		if tr.root.RoomID != "!a:b" || tr.root.Membership != "" || len(tr.root.links) > maxChildren {
			t.Errorf("%+v", tr.root)
		}
		for child, p := range tr.children {
			if _, err := id.ParseRoomID(string(child)); err != nil || p.RoomID != child {
				t.Errorf("%q is %+v", child, p)
			}
		}
		if _, err := json.Marshal(tr.root.node(tr.root.links)); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseListing(f *testing.F) {
	f.Add(`{"chunk":[{"room_id":"!a:b","name":"x"},7],"next_batch":"n"}`)
	f.Add(`{"chunk":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		const limit = 3
		page, err := parseListing(json.RawMessage(text), limit)
		if err == nil && (len(page.Chunk) > limit || page.Chunk == nil) {
			t.Errorf("%+v", page)
		}
	})
}

func FuzzParseProfile(f *testing.F) {
	f.Add(`{"displayname":"x","avatar_url":null,"m.tz":7}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseProfile(json.RawMessage(text))
		if err != nil {
			return
		}
		for _, name := range []string{"displayname", "avatar_url", "m.tz"} {
			var s string
			if v, ok := p[name]; ok && json.Unmarshal(v, &s) != nil {
				t.Errorf("%s is %s", name, v)
			}
		}
	})
}
