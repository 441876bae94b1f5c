package serveracl

import (
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestAllows(t *testing.T) {
	for _, test := range []struct {
		name, content string
		server        id.ServerName
		want          bool
	}{
		{"an empty list lets nobody in", `{}`, "one.org", false},
		{"a star lets everybody in", `{"allow":["*"]}`, "one.org", true},
		{"deny wins over allow", `{"allow":["*"],"deny":["evil.com"]}`, "evil.com", false},
		{"who is in neither list is not let in", `{"allow":["good.org"],"deny":["evil.com"]}`, "one.org", false},
		{"the port does not matter", `{"allow":["*"],"deny":["evil.com"]}`, "evil.com:1234", false},
		{"the case of the name does not matter", `{"allow":["*"],"deny":["evil.com"]}`, "EVIL.com", false},
		{"the case of the pattern does not matter", `{"allow":["*"],"deny":["*.EVIL.com"]}`, "very.evil.com:8448", false},
		{"a dot is no wildcard", `{"allow":["*"],"deny":["evil.com"]}`, "evilxcom", true},
		{"a pattern matches whole names", `{"allow":["*"],"deny":["evil.com"]}`, "evil.com.au", true},
		{"a question mark is one character", `{"allow":["on?.org"]}`, "one.org", true},
		{"a question mark is not nothing", `{"allow":["one?.org"]}`, "one.org", false},
		{"stars in the middle", `{"allow":["a*b*c"]}`, "aXbYbc", true},
		{"addresses are let in unless somebody says no", `{"allow":["*"]}`, "1.2.3.4", true},
		{"addresses are not let in", `{"allow":["*"],"allow_ip_literals":false}`, "1.2.3.4:8448", false},
		{"addresses with leading zeros neither", `{"allow":["*"],"allow_ip_literals":false}`, "001.002.003.004", false},
		{"IPv6 addresses neither", `{"allow":["*"],"allow_ip_literals":false}`, "[::1]:8448", false},
		{"names are still let in", `{"allow":["*"],"allow_ip_literals":false}`, "one.org", true},
		{"three numbers are a name", `{"allow":["*"],"allow_ip_literals":false}`, "1.2.3", true},
		{"what is no truth value counts as true", `{"allow":["*"],"allow_ip_literals":"false"}`, "1.2.3.4", true},
		{"IPv6 addresses keep their brackets", `{"allow":["[2001:db8::*]"]}`, "[2001:db8::1]:8448", true},
		{"a list that is none is empty", `{"allow":"*"}`, "one.org", false},
		{"other entries of a list do not matter", `{"allow":[1,null,"*"],"deny":{}}`, "one.org", true},
		{"an overlong pattern matches nothing", `{"allow":["` + strings.Repeat("?", 256) + `"]}`, "one.org", false},
		{"many stars are one", `{"allow":["` + strings.Repeat("*", 300) + `"]}`, "one.org", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Parse([]byte(test.content)).Allows(test.server); got != test.want {
				t.Errorf("%s for %s: %t", test.content, test.server, got)
			}
		})
	}
}

func TestIn(t *testing.T) {
	s := storagetest.Open(t)
	room := storagetest.NewRoom(t, s, "!room:hs", "@alice:hs")
	check := func(name string, want bool) {
		t.Helper()
		err := s.View(t.Context(), func(tx *storage.ReadTx) error {
			list, err := In(tx, room.Row.NID)
			if got := list.Allows("evil.com"); got != want {
				t.Errorf("%s: %t", name, got)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check("without a list", true)
	room.State("@alice:hs", EventType, "", `{"allow":["*"],"deny":["evil.com"]}`)
	check("with a list", false)
}

func FuzzParse(f *testing.F) {
	f.Add(`{"allow":["*"],"deny":["x"],"allow_ip_literals":false}`, "one.org")
	f.Add(`{"allow":`, "[::1]:1")
	f.Fuzz(func(t *testing.T, content, server string) {
		name, err := id.ParseServerName(server)
		if err != nil {
			return
		}
		l := Parse([]byte(content))
		if l.Allows(name) != l.Allows(id.ServerName(strings.ToUpper(server))) {
			t.Errorf("%s: the case of %s matters", content, server)
		}
	})
}
