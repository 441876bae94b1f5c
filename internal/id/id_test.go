package id

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var (
	hash   = strings.Repeat("aB3_-", 8) + "xyz"
	long   = strings.Repeat("a", 300)
	just   = strings.Repeat("a", MaxLength-3) // with sigil and ":b" it is 255 bytes
	tooOne = strings.Repeat("a", MaxLength-2)
)

// parseCases are texts and whether they are accepted.
type parseCases map[string]struct {
	in string
	ok bool
}

func check1[T ~string](t *testing.T, parse func(string) (T, error), tests parseCases) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parse(tt.in)
			if (err == nil) != tt.ok {
				t.Errorf("%.80q: error %v, want it accepted: %v", tt.in, err, tt.ok)
			}
			if want := tt.in; tt.ok && string(got) != want || !tt.ok && got != "" {
				t.Errorf("%.80q became %.80q", tt.in, got)
			}
			if err != nil && len(err.Error()) > 200 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}

func TestParseUserID(t *testing.T) {
	check1(t, ParseUserID, parseCases{
		"an ordinary id":                      {"@alice:example.org", true},
		"a port":                              {"@alice:example.org:8448", true},
		"an IPv6 server":                      {"@alice:[::1]:8448", true},
		"all characters of today":             {"@a-z0.9_=/+:b", true},
		"historical: upper case":              {"@Alice:b", true},
		"historical: any code points":         {"@é 世\x01:b", true},
		"historical: an empty localpart":      {"@:b", true},
		"a sigil within":                      {"@@a:b", true},
		"exactly 255 bytes":                   {"@" + just + ":b", true},
		"256 bytes":                           {"@" + tooOne + ":b", false},
		"255 code points but more bytes":      {"@" + strings.Repeat("é", 200) + ":b", false},
		"nothing":                             {"", false},
		"only a sigil":                        {"@", false},
		"no sigil":                            {"alice:b", false},
		"another sigil":                       {"!alice:b", false},
		"no domain":                           {"@alice", false},
		"an empty domain":                     {"@alice:", false},
		"a bad domain":                        {"@alice:ex ample", false},
		"NUL":                                 {"@a\x00:b", false},
		"invalid UTF-8":                       {"@a\xff:b", false},
		"a surrogate":                         {"@a\xed\xa0\x80:b", false},
		"a colon in the localpart, so to say": {"@a:b:c", false},
	})
}

func TestParseRoomID(t *testing.T) {
	check1(t, ParseRoomID, parseCases{
		"with a domain":             {"!abc:example.org", true},
		"a hash":                    {"!" + hash, true},
		"slashes and spaces":        {"!a/b c:d", true},
		"an empty localpart":        {"!:b", true},
		"exactly 255 bytes":         {"!" + just + ":b", true},
		"256 bytes":                 {"!" + tooOne + ":b", false},
		"only a sigil":              {"!", false},
		"a domain that is not one":  {"!abc:d/e", false},
		"NUL without a domain":      {"!a\x00", false},
		"an alias":                  {"#abc:d", false},
		"long without domain":       {"!" + long, false},
		"invalid UTF-8 in the name": {"!\xff", false},
	})
}

func TestParseEventID(t *testing.T) {
	check1(t, ParseEventID, parseCases{
		"of room version 1":    {"$143273582443PhrSn:example.org", true},
		"of room version 3":    {"$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk", true},
		"of room version 4":    {"$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg", true},
		"only a sigil":         {"$", false},
		"no sigil":             {"abc", false},
		"longer than 255":      {"$" + long, false},
		"NUL":                  {"$a\x00", false},
		"of an unusual server": {"$a:b_c", true},
	})
}

func TestParseRoomAlias(t *testing.T) {
	check1(t, ParseRoomAlias, parseCases{
		"an ordinary alias":  {"#room:example.org", true},
		"any code points":    {"#\u00fc ber/#:b", true},
		"an empty localpart": {"#:b", true},
		"no domain":          {"#room", false},
		"no sigil":           {"room:b", false},
		"too long":           {"#" + tooOne + ":b", false},
	})
}

func TestParseServerName(t *testing.T) {
	check1(t, ParseServerName, parseCases{
		"a name":                       {"matrix.org", true},
		"a name with port":             {"matrix.org:8888", true},
		"one label":                    {"hs1", true},
		"an IPv4 address":              {"1.2.3.4", true},
		"an IPv4 address with port":    {"1.2.3.4:1234", true},
		"an IPv6 address":              {"[1234:5678::abcd]", true},
		"an IPv6 address with port":    {"[1234:5678::abcd]:5678", true},
		"an IPv4 address in IPv6":      {"[::ffff:1.2.3.4]", true},
		"upper case":                   {"Matrix.ORG", true},
		"numbers that are no address":  {"1.2.3", true},
		"nothing":                      {"", false},
		"only a port":                  {":80", false},
		"an empty port":                {"a:", false},
		"an empty port after brackets": {"[::1]:", false},
		"a port of letters":            {"a:http", false},
		"a port with a sign":           {"a:+80", false},
		"a port beyond the last":       {"a:65536", false},
		"a port of six digits":         {"a:000080", false},
		"an underscore":                {"a_b", false},
		"a space":                      {"a b", false},
		"a slash":                      {"a/b", false},
		"an IPv4 address beyond 255":   {"1.2.3.256", false},
		"an IPv4 address with a gap":   {"1..3.4", false},
		"an IPv6 address without []":   {"::1", false},
		"an IPv6 address without end":  {"[::1", false},
		"text after an IPv6 address":   {"[::1]a", false},
		"an IPv6 zone":                 {"[fe80::1%25eth0]", false},
		"an IPv4 address in brackets":  {"[1.2.3.4]", false},
		"empty brackets":               {"[]", false},
		"beyond ASCII":                 {"é.org", false},
		"too long":                     {long, false},
	})
}

func TestParseDeviceID(t *testing.T) {
	check1(t, ParseDeviceID, parseCases{
		"an ordinary id": {"ABCDEFGH", true},
		"any text":       {"my phone/1 é", true},
		"nothing":        {"", false},
		"NUL":            {"a\x00", false},
		"too long":       {long, false},
		"no UTF-8":       {"\xff", false},
	})
}

func TestParts(t *testing.T) {
	if u := UserID("@a:b:80"); u.Localpart() != "a" || u.Server() != "b:80" {
		t.Errorf("%s: got %q on %q", u, u.Localpart(), u.Server())
	}
	if r := RoomID("!a:b"); r.Localpart() != "a" || r.Server() != "b" || r.IsHash() {
		t.Errorf("%s: got %q on %q, hash: %v", r, r.Localpart(), r.Server(), r.IsHash())
	}
	r := RoomID("!" + hash)
	if ev, ok := r.CreateEvent(); r.Server() != "" || !ok || ev != EventID("$"+hash) || !ev.IsHash() {
		t.Errorf("%s: got %q, %v on %q", r, ev, ok, r.Server())
	}
	if ev, ok := RoomID("!a:b").CreateEvent(); ok {
		t.Errorf("got %s", ev)
	}
	if a := RoomAlias("#a:b"); a.Localpart() != "a" || a.Server() != "b" {
		t.Errorf("%s: got %q on %q", a, a.Localpart(), a.Server())
	}
	if UserID("").Localpart() != "" || UserID("").Server() != "" {
		t.Error("an empty id has parts")
	}
}

func TestServerNameSplits(t *testing.T) {
	tests := map[ServerName]struct {
		host string
		port uint16
		addr bool
	}{
		"a.example":      {"a.example", 0, false},
		"a.example:8448": {"a.example", 8448, false},
		"1.2.3.4":        {"1.2.3.4", 0, true},
		"1.2.3.4:5":      {"1.2.3.4", 5, true},
		"[::1]":          {"::1", 0, true},
		"[::1]:5":        {"::1", 5, true},
	}
	for name, want := range tests {
		host, port := name.Split()
		_, isAddr := name.Addr()
		if host != want.host || port != want.port || isAddr != want.addr || name.Host() != host {
			t.Errorf("%s: got %q, %d, address: %v", name, host, port, isAddr)
		}
	}
}

func TestNewUserID(t *testing.T) {
	tests := map[string]struct {
		local string
		ok    bool
	}{
		"ordinary":           {"alice", true},
		"all that is legal":  {"a-z.0=9_/+", true},
		"upper case":         {"Alice", false},
		"empty":              {"", false},
		"a colon":            {"a:b", false},
		"beyond ASCII":       {"é", false},
		"a space":            {"a b", false},
		"longer than 255":    {long, false},
		"as long as allowed": {just, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u, err := NewUserID(tt.local, "b")
			if (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
			if err == nil && (!u.Compliant() || u.Localpart() != tt.local) {
				t.Errorf("%s is not compliant", u)
			}
		})
	}
}

func TestCompliant(t *testing.T) {
	for u, want := range map[UserID]bool{"@a:b": true, "@A!~:b": true, "@:b": false, "@a b:c": false, "@é:b": false, "@\x7f:b": false} {
		if got := u.Compliant(); got != want {
			t.Errorf("%q: got %v", u, got)
		}
	}
}

func TestMXC(t *testing.T) {
	tests := map[string]struct {
		in   string
		want MXC
		ok   bool
	}{
		"ordinary":             {"mxc://a.example:80/Ab_-9", MXC{"a.example:80", "Ab_-9"}, true},
		"an IPv6 server":       {"mxc://[::1]/x", MXC{"[::1]", "x"}, true},
		"another scheme":       {"https://a/b", MXC{}, false},
		"no media id":          {"mxc://a", MXC{}, false},
		"an empty media id":    {"mxc://a/", MXC{}, false},
		"a path":               {"mxc://a/b/c", MXC{}, false},
		"a way up":             {"mxc://a/..", MXC{}, false},
		"a query":              {"mxc://a/b?c", MXC{}, false},
		"a bad server":         {"mxc://a_b/c", MXC{}, false},
		"no server":            {"mxc:///c", MXC{}, false},
		"an endless media id":  {"mxc://a/" + long, MXC{}, false},
		"an upper-case scheme": {"MXC://a/b", MXC{}, false},
		"nothing at all":       {"", MXC{}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseMXC(tt.in)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %v, error %v", got, err)
			}
			if tt.ok && got.String() != tt.in {
				t.Errorf("it turned into %s", got)
			}
		})
	}
	var v struct{ A, B MXC }
	if err := json.Unmarshal([]byte(`{"A":"mxc://a/b","B":""}`), &v); err != nil || v.A != (MXC{"a", "b"}) || !v.B.IsZero() {
		t.Errorf("from JSON: %v, error %v", v, err)
	}
	if out, err := json.Marshal(v); err != nil || string(out) != `{"A":"mxc://a/b","B":""}` {
		t.Errorf("to JSON: %s, error %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"A":"x"}`), &v); err == nil {
		t.Error("nonsense was accepted")
	}
}

// FuzzParse holds all parsers to what they promise for what they accept.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"@a:b", "!a:[::1]:8448", "$" + hash, "!" + hash, "#é:b.c", "mxc://a/b", "1.2.3.4:5", "@:b", "a:b:c", "[::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		legal := func(kind string, err error) {
			if err == nil && (len(s) > MaxLength || !utf8.ValidString(s) || strings.Contains(s, "\x00") || s == "") {
				t.Errorf("%q is accepted as a %s", s, kind)
			}
		}
		u, err := ParseUserID(s)
		legal("user id", err)
		if err == nil {
			if "@"+u.Localpart()+":"+u.Server().String() != s {
				t.Errorf("%q falls into %q and %q", s, u.Localpart(), u.Server())
			}
			if _, err := ParseServerName(string(u.Server())); err != nil {
				t.Errorf("%q has the server %q: %v", s, u.Server(), err)
			}
			if again, err := NewUserID(u.Localpart(), u.Server()); err == nil && (again != u || !u.Compliant()) {
				t.Errorf("%q made anew is %q", u, again)
			}
		}
		_, err = ParseRoomAlias(s)
		legal("room alias", err)
		_, err = ParseRoomID(s)
		legal("room id", err)
		_, err = ParseEventID(s)
		legal("event id", err)
		_, err = ParseDeviceID(s)
		legal("device id", err)
		name, err := ParseServerName(s)
		legal("server name", err)
		if err == nil {
			if host, _ := name.Split(); host == "" || strings.ContainsAny(s, "/?#@ \\%") {
				t.Errorf("%q is accepted as a server name with host %q", s, host)
			}
		}
		if m, err := ParseMXC(s); err == nil && (m.String() != s || strings.ContainsAny(m.MediaID, "./%")) {
			t.Errorf("%q became %v", s, m)
		}
	})
}
