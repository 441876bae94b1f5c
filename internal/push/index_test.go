package push_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
)

// named is whom an event may be about of those in an index.
func named(t testing.TB, b *push.Book, x *push.Index, content string) (*push.Pass, map[id.UserID]bool) {
	t.Helper()
	event, err := push.NewEvent("!r:hs", "$e", json.RawMessage(`{"type":"m.room.message","sender":"@sender:hs","content":`+content+`}`))
	if err != nil {
		t.Fatal(err)
	}
	out := map[id.UserID]bool{}
	p := push.NewPass(event, push.RoomContext{MemberCount: 5})
	p.Named(b, x, func(user id.UserID) { out[user] = true })
	return p, out
}

func TestIndexFindsWhomAnEventNames(t *testing.T) {
	b := push.NewBook(push.Options{LegacyMentions: true})
	var x push.Index
	for user, name := range map[id.UserID]string{
		"@alice:hs": "Alice the Great", "@bob:hs": "(Bob)", "@u1:hs": "Мария", "@u2:hs": "同", "@u3:hs": "🦊🦊", "@u4:hs": "alice", "@u5:hs": "",
	} {
		x.Add(push.Recipient{ID: user, DisplayName: name})
	}
	for content, want := range map[string]map[id.UserID]bool{
		`{"body":"hello"}`:                 {},
		`{"body":"ALICE, hello"}`:          {"@alice:hs": true, "@u4:hs": true}, // of whom not all are meant
		`{"body":"malice"}`:                {},
		`{"body":"for (bob)"}`:             {"@bob:hs": true},
		`{"body":"привет, мария!"}`:        {"@u1:hs": true},
		`{"body":"一同"}`:                    {"@u2:hs": true},
		`{"body":"a🦊🦊b"}`:                  {"@u3:hs": true},
		`{"body":"u5: hi"}`:                {"@u5:hs": true},
		`{"body":"alice","m.mentions":{}}`: {},
		`{"body":"x","m.mentions":{"user_ids":["@u1:hs","@far:away"]}}`: {"@u1:hs": true, "@far:away": true},
	} {
		_, got := named(t, b, &x, content)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", content, diff)
		}
	}
	x.Remove(push.Recipient{ID: "@alice:hs", DisplayName: "Alice the Great"})
	if _, got := named(t, b, &x, `{"body":"alice, great"}`); !cmp.Equal(got, map[id.UserID]bool{"@u4:hs": true}) {
		t.Errorf("after alice has gone: %v", got)
	}
}

// FuzzNamed looks for a recipient to whom an event is something else than to the rest, and whom the index does not find.
func FuzzNamed(f *testing.F) {
	for _, seed := range [][3]string{
		{"alice", "Alice the Great", "hello alice the great!"}, {"bob", "(Bob)", "x(bob)y"}, {"c", "Ünal_9", "ünal_9"}, {"d", "🦊", "🦊"}, {"e", "- -", "a - - b"},
		{"f.f", "K\u212a", "kk"}, {"g", "İ", "i̇"}, {"h", " h ", "h  h "},
	} {
		f.Add(seed[0], seed[1], seed[2], false)
	}
	b := push.NewBook(push.Options{LegacyMentions: true, Polls: true, Threads: true})
	f.Fuzz(func(t *testing.T, local, name, body string, mentioned bool) {
		r := push.Recipient{ID: id.UserID("@" + local + ":hs"), DisplayName: name}
		content, err := json.Marshal(map[string]any{"body": body, "msgtype": "m.text"})
		if mentioned && err == nil {
			content, err = json.Marshal(map[string]any{"body": body, "m.mentions": map[string]any{"user_ids": []any{1, r.ID, nil}}})
		}
		if err != nil {
			t.Skip()
		}
		var x push.Index
		x.Add(push.Recipient{ID: "@other:hs", DisplayName: name})
		x.Add(r)
		x.Remove(push.Recipient{ID: "@other:hs", DisplayName: name})
		p, found := named(t, b, &x, string(content))
		if diff := cmp.Diff(p.Rest(b), p.Evaluate(b.Compile(push.Stored{}), r)); diff != "" && !found[r.ID] {
			t.Errorf("%q called %q is not found in %s: %s", local, name, content, diff)
		}
	})
}

// BenchmarkVerdict is a message before the rules of many who have changed nothing.
func BenchmarkVerdict(b *testing.B) {
	book := push.NewBook(push.Options{LegacyMentions: true})
	for _, members := range []int{10, 1000, 50000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			var x push.Index
			for i := range members {
				x.Add(push.Recipient{ID: id.UserID(fmt.Sprintf("@user%d:hs", i)), DisplayName: fmt.Sprintf("User Number%d", i)})
			}
			b.ReportAllocs()
			for b.Loop() {
				p, _ := named(b, book, &x, `{"body":"The quick brown fox jumps over the lazy dog","msgtype":"m.text"}`)
				p.Rest(book)
			}
		})
	}
}
