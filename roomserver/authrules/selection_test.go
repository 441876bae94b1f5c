package authrules

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

func TestTheSelectionNamesWhatAnEventDependsOn(t *testing.T) {
	create := storage.StateKey{Type: spec.MRoomCreate}
	levels := storage.StateKey{Type: spec.MRoomPowerLevels}
	rule := storage.StateKey{Type: spec.MRoomJoinRules}
	member := func(u string) storage.StateKey { return storage.StateKey{Type: spec.MRoomMember, Key: u} }
	invite := storage.StateKey{Type: spec.MRoomThirdPartyInvite, Key: "tok"}
	those := func(more ...storage.StateKey) []storage.StateKey {
		return append([]storage.StateKey{create, levels}, more...)
	}
	key := func(s string) *string { return &s }
	tpi := `{"membership":"invite","third_party_invite":{"signed":{"token":"tok"}}}`
	via := `{"membership":"join","join_authorised_via_users_server":"@mod:b"}`
	for name, c := range map[string]struct {
		version int
		typ     string
		key     *string
		content string
		want    []storage.StateKey
	}{
		"nothing for a create event":               {11, spec.MRoomCreate, key(""), `{}`, nil},
		"a message":                                {11, "m.room.message", nil, `{}`, those(member("@u:a"))},
		"no create event in version 12":            {12, "m.room.message", nil, `{}`, []storage.StateKey{levels, member("@u:a")}},
		"aliases are no exception":                 {1, spec.MRoomAliases, key("a"), `{}`, those(member("@u:a"))},
		"one's own join":                           {11, spec.MRoomMember, key("@u:a"), `{"membership":"join"}`, those(rule, member("@u:a"))},
		"one's own leave needs no join rule":       {11, spec.MRoomMember, key("@u:a"), `{"membership":"leave"}`, those(member("@u:a"))},
		"a ban":                                    {11, spec.MRoomMember, key("@v:a"), `{"membership":"ban"}`, those(member("@u:a"), member("@v:a"))},
		"an invite":                                {11, spec.MRoomMember, key("@v:a"), `{"membership":"invite"}`, those(rule, member("@u:a"), member("@v:a"))},
		"a knock":                                  {11, spec.MRoomMember, key("@u:a"), `{"membership":"knock"}`, those(rule, member("@u:a"))},
		"a third-party invite":                     {11, spec.MRoomMember, key("@v:a"), tpi, those(rule, member("@u:a"), member("@v:a"), invite)},
		"a restricted join":                        {8, spec.MRoomMember, key("@u:a"), via, those(rule, member("@u:a"), member("@mod:b"))},
		"a restricted join vouched for by oneself": {8, spec.MRoomMember, key("@mod:b"), via, those(rule, member("@u:a"), member("@mod:b"))},
		"nobody vouches before version 8":          {7, spec.MRoomMember, key("@u:a"), via, those(rule, member("@u:a"))},
		"nobody vouches for a leave": {
			8, spec.MRoomMember, key("@u:a"), `{"membership":"leave","join_authorised_via_users_server":"@mod:b"}`,
			those(member("@u:a")),
		},
		"what is no text is not selected": {
			11, spec.MRoomMember, key("@u:a"), `{"membership":"join","join_authorised_via_users_server":["@mod:b"]}`,
			those(rule, member("@u:a")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t, c.version)
			got := Select(r.version, c.typ, c.key, "@u:a", []byte(c.content))
			less := func(a, b storage.StateKey) bool { return a.Type+a.Key < b.Type+b.Key }
			if diff := cmp.Diff(c.want, got, cmpopts.SortSlices(less)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAuthEventsMustBeThoseSelected(t *testing.T) {
	type given struct {
		names    []string // in the event
		rejected []id.EventID
	}
	for name, c := range map[string]struct {
		given
		versions string
	}{
		"the right ones":                {given{names: []string{"$create", "$levels", "$mod"}}, "1-11"},
		"the right ones in version 12":  {given{names: []string{"$levels", "$mod"}}, "12"},
		"fewer, where there is no such": {given{names: []string{"$create"}}, "1-11"},
		"none":                          {given{}, "12"},
		"one twice":                     {given{names: []string{"$create", "$create", "$levels", "$mod"}}, ""},
		"two for one key":               {given{names: []string{"$create", "$levels", "$levels2", "$mod"}}, ""},
		"one not needed":                {given{names: []string{"$create", "$levels", "$mod", "$user"}}, ""},
		"a rule not needed":             {given{names: []string{"$create", "$rule"}}, ""},
		"one that is no state":          {given{names: []string{"$create", "$message"}}, ""},
		"one from another room":         {given{names: []string{"$create", "$elsewhere"}}, ""},
		"one that was rejected":         {given{[]string{"$create", "$levels", "$mod"}, []id.EventID{"$levels"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for version := 1; version <= 12; version++ {
				r := newRoom(t, version)
				g := golden{Allowed: c.versions}
				create := "$create"
				if r.version.DomainlessRoomIDs() {
					create = r.create.EventID()
				}
				known := map[string]Event{
					create:     r.create,
					"$levels":  r.event("$levels", fields{"type": spec.MRoomPowerLevels, "state_key": "", "sender": alice, "content": fields{}}),
					"$levels2": r.event("$levels2", fields{"type": spec.MRoomPowerLevels, "state_key": "", "sender": alice, "content": fields{}}),
					"$mod":     r.event("$mod", fields{"type": spec.MRoomMember, "state_key": mod, "sender": mod, "content": fields{}}),
					"$user":    r.event("$user", fields{"type": spec.MRoomMember, "state_key": "@user:b", "sender": mod, "content": fields{}}),
					"$rule":    r.event("$rule", fields{"type": spec.MRoomJoinRules, "state_key": "", "sender": alice, "content": fields{}}),
					"$message": r.event("$message", fields{"type": "m.room.message", "sender": alice, "content": fields{}}),
					"$elsewhere": r.event("$elsewhere", fields{
						"type": spec.MRoomPowerLevels, "state_key": "", "sender": alice, "content": fields{}, "room_id": "!other:a",
					}),
				}
				names := []string{}
				for _, n := range c.names {
					if n == "$create" {
						n = create
					}
					names = append(names, n)
				}
				event := r.event("$event", fields{"type": "m.x", "sender": mod, "content": fields{}, "auth_events": names})
				var auth []Event
				for _, a := range event.AuthEventIDs() {
					auth = append(auth, known[a])
				}
				err := CheckAuthEvents(r.version, event, auth, c.rejected...)
				if want := g.allowedIn(t, version); want != (err == nil) {
					t.Errorf("version %d: %v", version, err)
				}
				if e := merr.From(err); err != nil && e.Code != merr.Forbidden {
					t.Errorf("version %d: %v, want M_FORBIDDEN", version, err)
				}
			}
		})
	}
}

func TestLevelsAreFoundByAnyName(t *testing.T) {
	r := newRoom(t, 11)
	names := []string{
		"", ".", "a.b", "*", "a*b", "?", "#", "@", "@this", "!x", "|", `\`, `"`, "0", "-1", "é", "\x00", "\n", "[0]", "{}", "a\\.b", "\u2028", "😀", " ", "a|b",
		"==", "~", "$", "<&>",
	}
	events := fields{}
	for i, n := range names {
		events[n] = i + 1
	}
	p, err := Power(r.version, NewEvents([]Event{r.create, r.state(spec.MRoomPowerLevels, "", alice, fields{"events": events})}))
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		if got := p.EventLevel(n, false); got != int64(i+1) {
			t.Errorf("%q has %d, want %d", n, got, i+1)
		}
		if got := p.EventLevel(n+"x", false); got != 0 {
			t.Errorf("%q has %d", n+"x", got)
		}
	}
}

func TestPowerIsWhatTheStateSays(t *testing.T) {
	levels := json.RawMessage(`{"users":{"@mod:b":50},"users_default":5}`)
	for version, want := range map[int][]int64{1: {5, 50, 5}, 11: {5, 50, 5}, 12: {1<<63 - 1, 50, 5}} {
		r := newRoom(t, version)
		p, err := Power(r.version, NewEvents([]Event{r.create, r.state(spec.MRoomPowerLevels, "", alice, levels)}))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, []int64{p.User(alice), p.User(mod), p.User("@user:b")}); diff != "" {
			t.Errorf("version %s: %s", strconv.Itoa(version), diff)
		}
	}
}
