package dotpath_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/dotpath"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, path string
		want       []string
	}{
		{"one name", "type", []string{"type"}},
		{"dots separate", "content.body", []string{"content", "body"}},
		{"an escaped dot belongs to the name", `content.m\.relates_to`, []string{"content", "m.relates_to"}},
		{"an escaped backslash is a backslash", `content.m\\foo`, []string{"content", `m\foo`}},
		{"an escaped backslash does not escape the dot after it", `a\\.b`, []string{`a\`, "b"}},
		{"other escapes stay as they are", `content.a\x`, []string{"content", `a\x`}},
		{"a last backslash is a backslash", `a\`, []string{`a\`}},
		{"names may be empty", "a..b", []string{"a", "", "b"}},
		{"the empty path is one empty name", "", []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, dotpath.Parse(c.path)); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`content.m\.relates_to.rel_type`)
	f.Add(`a\\.b\x.`)
	escape := strings.NewReplacer(`\`, `\\`, `.`, `\.`)
	f.Fuzz(func(t *testing.T, path string) {
		names := dotpath.Parse(path)
		escaped := make([]string, len(names))
		for i, n := range names {
			escaped[i] = escape.Replace(n)
		}
		if d := cmp.Diff(names, dotpath.Parse(strings.Join(escaped, "."))); d != "" {
			t.Error(d)
		}
	})
}
