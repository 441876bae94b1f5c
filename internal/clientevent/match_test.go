package clientevent

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/storage"
)

func TestSelect(t *testing.T) {
	f := newFixture(t)
	plain := f.Message(alice, "plain")
	root := f.Message(bob, "root")
	f.relate(alice, root, "m.thread", "")
	picture := f.Event(alice, "m.room.message", `{"body":"picture","url":"mxc://one/x"}`)
	reaction := f.Event(bob, "m.reaction", fmt.Sprintf(`{"body":"reaction","m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"x"}}`, plain.ID))
	events := []*storage.Event{plain, root, picture, reaction}
	for _, test := range []struct {
		name, filter string
		want         []string
	}{
		{"an empty filter lets everything through", `{}`, []string{"plain", "root", "picture", "reaction"}},
		{"types", `{"types":["m.reac*"]}`, []string{"reaction"}},
		{"senders that are not wanted", `{"not_senders":["@alice:one"]}`, []string{"root", "reaction"}},
		{"events with a URL", `{"contains_url":true}`, []string{"picture"}},
		{"events without a URL", `{"contains_url":false}`, []string{"plain", "root", "reaction"}},
		{"roots of threads", `{"related_by_rel_types":["m.thread"]}`, []string{"root"}},
		{"what bob has related to", `{"related_by_senders":["@bob:one"]}`, []string{"plain"}},
		{"threads that bob has replied to", `{"related_by_senders":["@bob:one"],"related_by_rel_types":["m.thread"]}`, nil},
		{"relations that are not wanted", `{"org.matrix.msc3874.not_rel_types":["m.annotation"]}`, []string{"plain", "root", "picture"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			parsed, err := filter.ParseRoomEvents(json.RawMessage(test.filter))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			f.view(func(tx *storage.ReadTx) error {
				selected, err := Select(tx, parsed, events)
				for _, ev := range selected {
					got = append(got, ev.Get("content.body").Str)
				}
				return err
			})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
