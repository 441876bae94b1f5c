package directory

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

func childEvent(room string, ts int64, content string) *storage.Event {
	return &storage.Event{Type: "m.space.child", StateKey: &room, TS: ts, JSON: []byte(fmt.Sprintf(`{"content":%s}`, content))}
}

// The example of the specification, and what it does not show.
func TestChildrenAreOrdered(t *testing.T) {
	events := []*storage.Event{
		childEvent("!g:example.org", 1640741000000, `{"via":["example.org"]}`),
		childEvent("!d:example.org", 1640741000000, `{"via":["example.org"]}`),
		childEvent("!e:example.org", 1640641000000, `{"via":["example.org"]}`),
		childEvent("!c:example.org", 1640841000000, `{"order":"first","via":["example.org"]}`),
		childEvent("!a:example.org", 1640141000000, `{"order":"aaaa","via":["example.org"]}`),
		childEvent("!b:example.org", 1640341000000, `{"order":" ","via":["example.org"]}`),
		childEvent("!f:example.org", 1640141000001, `{"order":"aaaa","via":["example.org"]}`),
		childEvent("!h:example.org", 1, `{"order":"ö","via":["example.org"]}`),
		childEvent("!no-via:example.org", 1, `{}`),
		childEvent("!wrong-via:example.org", 1, `{"via":"example.org"}`),
		childEvent("no-room", 1, `{"via":["example.org"]}`),
	}
	var got []id.RoomID
	for _, l := range localLinks(events) {
		got = append(got, l.room)
	}
	want := []id.RoomID{"!b:example.org", "!a:example.org", "!f:example.org", "!c:example.org", "!h:example.org", "!e:example.org", "!d:example.org",
		"!g:example.org"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBestFitComesFirst(t *testing.T) {
	for _, test := range []struct {
		term string
		p    storage.Person
		want int
	}{
		{"alice", storage.Person{ID: "@alice:one"}, 0},
		{"@alice:one", storage.Person{ID: "@alice:one"}, 0},
		{"lady", storage.Person{ID: "@alice:one", DisplayName: "Lady"}, 0},
		{"@ali", storage.Person{ID: "@alice:one"}, 1},
		{"la", storage.Person{ID: "@alice:one", DisplayName: "Lady"}, 1},
		{"dy", storage.Person{ID: "@alice:one", DisplayName: "Lady"}, 2},
	} {
		if got := rank(test.p, test.term); got != test.want {
			t.Errorf("%q for %v: rank %d, want %d", test.term, test.p, got, test.want)
		}
	}
}

func FuzzTokens(f *testing.F) {
	for _, s := range []string{"", "1", "-1", "h1_2_true", "h1_2_false", "h-1_2_true", "h9999999999999999999999_2_true", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := offset(text); err == nil && n < 0 {
			t.Errorf("offset(%q) = %d", text, n)
		}
		q := Tree{MaxDepth: 2, SuggestedOnly: true, From: text}
		n, err := q.offset()
		if err != nil || text == "" {
			return
		}
		if again, err := (Tree{MaxDepth: 2, SuggestedOnly: true, From: q.token(n)}).offset(); n < 0 || err != nil || again != n {
			t.Errorf("%q is %d, and again %d, %v", text, n, again, err)
		}
	})
}

func FuzzParseLink(f *testing.F) {
	f.Add("!room:one", `{"via":["one"],"order":"a","suggested":true}`)
	f.Add("room", `[`)
	f.Fuzz(func(t *testing.T, key, content string) {
		l, ok := parseLink(key, 1, gjson.Parse(content))
		if ok && (string(l.room) != key || len(l.order) > maxOrder) {
			t.Errorf("%q %q: %+v", key, content, l)
		}
	})
}
