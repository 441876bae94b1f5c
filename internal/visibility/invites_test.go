package visibility

import (
	"encoding/json"
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// Spec: client-server-api#invite-permission, MSC4155
func TestInvitesAreTreatedAsTheInvitedUserWants(t *testing.T) {
	const bert, sam = id.UserID("@bert:good.org"), id.UserID("@sam:evil.org:8448")
	for _, test := range []struct {
		name      string
		data      map[string]string
		bert, sam Treatment
	}{
		{"without a wish", nil, Welcome, Welcome},
		{"nobody's are wanted", map[string]string{InvitesType: `{"default_action":"block"}`}, Refuse, Refuse},
		{"another action says nothing", map[string]string{InvitesType: `{"default_action":"allow"}`}, Welcome, Welcome},
		{"under the old name", map[string]string{invitesMSC4380: `{"default_action":"block"}`}, Refuse, Refuse},
		{"an ignored user", map[string]string{IgnoredType: `{"ignored_users":{"@bert:good.org":{}}}`}, Ignore, Welcome},
		{"blocked users", map[string]string{invitesMSC4155: `{"blocked_users":["@bert:good.org"]}`}, Refuse, Welcome},
		{"ignored users", map[string]string{invitesMSC4155: `{"ignored_users":["@b?rt:*"]}`}, Ignore, Welcome},
		{"blocked servers, their port does not matter", map[string]string{invitesMSC4155: `{"blocked_servers":["EVIL.*"]}`}, Welcome, Refuse},
		{"ignored servers", map[string]string{invitesMSC4155: `{"ignored_servers":["evil.org"]}`}, Welcome, Ignore},
		{"users before servers", map[string]string{invitesMSC4155: `{"blocked_servers":["*"],"allowed_users":["@sam:*"]}`}, Refuse, Welcome},
		{"allowed before ignored before blocked",
			map[string]string{invitesMSC4155: `{"blocked_users":["*"],"ignored_users":["*"],"allowed_users":["@bert:good.org"]}`}, Welcome, Ignore},
		{"ignored users count before allowed ones",
			map[string]string{IgnoredType: `{"ignored_users":{"@bert:good.org":{}}}`, invitesMSC4155: `{"allowed_users":["*"]}`}, Ignore, Welcome},
		{"switched off", map[string]string{invitesMSC4155: `{"enabled":false,"blocked_servers":["*"]}`}, Welcome, Welcome},
		{"switched on", map[string]string{invitesMSC4155: `{"enabled":true,"blocked_servers":["*"]}`}, Refuse, Refuse},
		{"a list that is none spoils all", map[string]string{invitesMSC4155: `{"blocked_servers":["*"],"allowed_users":"@bert:good.org"}`}, Welcome, Welcome},
		{"so does an entry that is no text", map[string]string{invitesMSC4155: `{"blocked_servers":["*"],"allowed_users":[1]}`}, Welcome, Welcome},
		{"and null", map[string]string{invitesMSC4155: `{"blocked_servers":["*"],"allowed_users":null}`}, Welcome, Welcome},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := storagetest.Open(t)
			err := s.Update(t.Context(), func(tx *storage.Tx) error {
				if _, err := tx.InsertUser(storage.User{ID: alice}); err != nil {
					return err
				}
				for typ, content := range test.data {
					if err := tx.SetAccountData(alice, storage.AccountData{Type: typ, Content: json.RawMessage(content)}); err != nil {
						return err
					}
				}
				v, err := LoadInvites(&tx.ReadTx, alice)
				if got := v.From(bert); got != test.bert {
					t.Errorf("of bert: %d", got)
				}
				if got := v.From(sam); got != test.sam {
					t.Errorf("of sam: %d", got)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func FuzzParseInvites(f *testing.F) {
	f.Add(`{"enabled":true,"blocked_users":["@a*:?"],"allowed_servers":["*"]}`)
	f.Add(`{"blocked_users":`)
	f.Fuzz(func(_ *testing.T, content string) {
		Invites{lists: parseInvites([]byte(content))}.From("@alice:hs")
	})
}
