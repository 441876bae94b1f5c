package appservice

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
)

const complete = `
id: irc
url: http://127.0.0.1:9000/bridge/
as_token: as.token-1
hs_token: hs_token~2
sender_localpart: _irc_bot
rate_limited: false
receive_ephemeral: true
protocols: [irc]
io.element.msc4190: true
namespaces:
  users:
    - {exclusive: true, regex: "@_irc_.*"}
    - {regex: "@alice:hs$"}
  aliases:
    - {exclusive: true, regex: "#_irc_"}
  rooms:
    - {regex: "!one:hs$"}
`

func TestARegistrationIsRead(t *testing.T) {
	r, err := Parse(server, []byte(complete))
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		ID, URL     string
		Sender      id.UserID
		RateLimited bool
		Ephemeral   bool
		Protocols   []string
	}
	if d := cmp.Diff(facts{"irc", "http://127.0.0.1:9000/bridge", "@_irc_bot:hs", false, true, []string{"irc"}},
		facts{r.ID, r.URL.String(), r.Sender, r.RateLimited, r.ReceiveEphemeral, r.Protocols}); d != "" {
		t.Error(d)
	}
	for user, want := range map[id.UserID]bool{
		"@_irc_bot:hs": true, "@_irc_a:hs": true, "@alice:hs": true, "@alice2:hs": false, "@bob:hs": false,
		"@_irc_a:other": false, "@x_irc_a:hs": false,
	} {
		if got := r.HasUser(user); got != want {
			t.Errorf("HasUser(%s) is %v", user, got)
		}
	}
	for alias, want := range map[id.RoomAlias]bool{"#_irc_a:hs": true, "#_irc_a:other": false, "#a:hs": false} {
		if got := r.HasAlias(alias); got != want {
			t.Errorf("HasAlias(%s) is %v", alias, got)
		}
	}
	if !r.HasRoom("!one:hs") || r.HasRoom("!two:hs") {
		t.Error("rooms are mistaken")
	}
	registry, err := NewRegistry(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user id.UserID
		by   string
		want bool
	}{
		{"@_irc_a:hs", "", true}, {"@_irc_a:hs", "other", true}, {"@_irc_a:hs", "irc", false}, {"@_irc_bot:hs", "", true},
		{"@alice:hs", "", false}, {"@_irc_a:other", "", false},
	} {
		if got := registry.UserTaken(c.user, c.by); got != c.want {
			t.Errorf("UserTaken(%s, %q) is %v", c.user, c.by, got)
		}
	}
	if !registry.AliasTaken("#_irc_x:hs", "") || registry.AliasTaken("#_irc_x:hs", "irc") || registry.AliasTaken("#x:hs", "") {
		t.Error("aliases are mistaken")
	}
	if registry.ByToken("as.token-1") != r || registry.ByToken("hs_token~2") != nil || registry.ByToken("") != nil {
		t.Error("tokens are mistaken")
	}
}

func TestARegistrationMayAskForNothing(t *testing.T) {
	r, err := Parse(server, []byte("{id: a, url: null, as_token: a, hs_token: b, sender_localpart: a, namespaces: {}}"))
	if err != nil {
		t.Fatal(err)
	}
	if r.URL != nil || !r.RateLimited || r.ReceiveEphemeral {
		t.Errorf("%+v", r)
	}
}

func TestRegistrationsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"no id":                       {"id: irc", "id: ''", "id must be"},
		"no as_token":                 {"as_token: as.token-1", "", "as_token must be"},
		"a token that is no token":    {"hs_token~2", "'two words'", "hs_token must be"},
		"a sender with a server":      {"_irc_bot", "'@_irc_bot:hs'", "sender_localpart"},
		"another scheme":              {"http://127.0.0.1:9000/bridge/", "ftp://x", "not an http"},
		"a URL with a query":          {"/bridge/", "/?a=b", "neither a query"},
		"no host":                     {"http://127.0.0.1:9000/bridge/", "http:///x", "not an http"},
		"a look-ahead":                {`@_irc_.*`, `@(?!a)`, "namespaces.users[0].regex"},
		"half an expression":          {`@_irc_.*`, `a)|(b`, "namespaces.users[0].regex"},
		"an expression that is empty": {`!one:hs$`, ``, "namespaces.rooms[0].regex: is missing"},
		"a list for a map":            {"id: irc", "id: [irc]", "not a registration"},
		"no YAML":                     {"id: irc", "\t", "not a registration"},
		"no namespaces":               {"namespaces:", "names:", "namespaces is missing"},
		"a protocol without a name":   {"[irc]", "['']", "protocols"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(complete, c.from, c.to, 1)
			if text == complete {
				t.Fatal("nothing was replaced")
			}
			_, err := Parse(server, []byte(text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
	}
	if _, err := Parse(server, make([]byte, maxRegistration+1)); err == nil {
		t.Error("a file of any size was read")
	}
}

func TestAllThatIsWrongWithRegistrationsIsSaidAtOnce(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one := write("one.yaml", complete)
	_, err := Load(server, []string{one, write("two.yaml", complete), write("bad.yaml", "id: x"), filepath.Join(dir, "missing.yaml")})
	for _, want := range []string{`the id "irc"`, "same as_token", "sender @_irc_bot:hs", "bad.yaml", "missing.yaml"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "as.token-1") {
		t.Error("the error tells a token")
	}
	registry, err := Load(server, []string{one})
	if err != nil || len(registry.All()) != 1 {
		t.Errorf("%v %v", registry, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(complete))
	f.Add([]byte("{id: a, url: null, as_token: a, hs_token: b, sender_localpart: a, namespaces: {users: [{regex: '.*'}]}}"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(server, text)
		if err != nil {
			if r != nil {
				t.Error("both a registration and an error")
			}
			return
		}
		if r.ID == "" || r.asToken == "" || r.hsToken == "" || r.Sender.Server() != server || !r.HasUser(r.Sender) {
			t.Errorf("%+v", r)
		}
		if r.URL != nil && strings.HasSuffix(r.URL.Path, "/") {
			t.Errorf("%s", r.URL)
		}
		if _, err := NewRegistry(r); err != nil {
			t.Error(err)
		}
	})
}
