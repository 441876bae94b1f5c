package mail_test

import (
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/mail"
)

func TestAddressesHaveOneForm(t *testing.T) {
	for text, want := range map[string]string{
		"alice@example.org":         "alice@example.org",
		"Alice.B+tag@Example.ORG":   "alice.b+tag@example.org",
		"Strauß@Example.com":        "strauss@example.com",
		"\u212Aim@example.com":      "kim@example.com", // the sign of Kelvin
		"用户@例子.广告":                  "用户@例子.广告",
		"o'neil@sub.example.museum": "o'neil@sub.example.museum",
		"root@localhost":            "root@localhost",
	} {
		if got, err := mail.ParseAddress(text); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
	if got := mail.Domain("alice@example.org"); got != "example.org" {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsNoAddressIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "@", "alice", "alice@", "@example.org", "alice@@example.org", "a b@example.org", " alice@example.org", "alice@example.org ",
		"Alice <alice@example.org>", "<alice@example.org>", "alice@example.org,bob@example.org", "alice@[127.0.0.1]", "alice@[IPv6:::1]",
		"alice@example.org\r\nBcc: bob@example.org", "alice@example.org\nRCPT TO:<bob@example.org>", "\"a b\"@example.org", "alice@example..org",
		"alice@.example.org", "alice@-example.org", "alice@example.org.", "alice@exa_mple.org", "alice@example.org(comment)", "al\x00ice@example.org",
		"alice@example.org:25", "\xff@example.org", "@a,@b:alice@example.org", strings.Repeat("a", 250) + "@example.org",
		strings.Repeat("\u0390", 80) + "@a.b", // longer when folded
	} {
		if got, err := mail.ParseAddress(text); err == nil {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, text := range []string{"alice@example.org", "Strauß@Example.com", "a b@c", "\"x\"@y", "a@[::1]", "a@b\r\nc"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := mail.ParseAddress(text)
		if err != nil {
			return
		}
		if strings.ContainsAny(got, "\r\n\x00 <>,;\"") || strings.Count(got, "@") != 1 {
			t.Errorf("%q becomes %q", text, got)
		}
		if again, err := mail.ParseAddress(got); again != got || err != nil {
			t.Errorf("%q becomes %q and then %q, %v", text, got, again, err)
		}
	})
}
