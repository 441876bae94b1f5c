package glob

import (
	"regexp"
	"strings"
	"testing"
)

func FuzzMatch(f *testing.F) {
	f.Add("*.evil.com", "very.evil.com")
	f.Add("a?*b", "axxb")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 300 || len(name) > 255 || strings.ContainsFunc(pattern+name, func(r rune) bool { return r > 0x7e || r < 0x20 }) {
			return
		}
		expr := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
		want := regexp.MustCompile(`^` + expr + `$`).MatchString(name)
		if got := Match(pattern, name); got != want {
			t.Errorf("%q on %q: %t", pattern, name, got)
		}
	})
}
