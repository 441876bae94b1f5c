package push

import (
	"regexp"
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		name, pattern, text string
		all, words          bool
	}{
		{"equal", "lunch", "lunch", true, true},
		{"case does not matter", "LuncH", "lUNCh", true, true},
		{"case does not matter beyond ASCII", "ÄПРИ", "äпри", true, true},
		{"a word in a text", "lunch", "time for lunch!", false, true},
		{"a part of a word", "lunch", "time for lunches", false, false},
		{"an underscore belongs to a word", "lunch", "my_lunch", false, false},
		{"a digit belongs to a word", "lunch", "lunch2", false, false},
		{"the second place counts too", "lunch", "lunchtime lunch", false, true},
		{"the second place may overlap the first", "a a", "xa a a", false, true},
		{"several words", "for lunch", "time for lunch", false, true},
		{"letters beyond ASCII are boundaries", "тест", "протест", false, true},
		{"a pattern may start with punctuation", "@room", "hi@room", false, true},
		{"a pattern may end with punctuation", "c++", "c++lang", false, true},
		{"? is one character", "l?nch", "lunch", true, true},
		{"? is not none", "lunch?", "lunch", false, false},
		{"? is a character, not a byte", "l?nch", "lünch", true, true},
		{"? may be a space", "a?lunch", "a lunch", true, true},
		{"* is any number of characters", "lu*h", "lunch", true, true},
		{"* may be nothing", "lun*ch*", "lunch", true, true},
		{"* goes over words", "ex*ple", "An exciting triple-whammy", false, true},
		{"* alone is everything", "*", "anything at all", true, true},
		{"* alone is nothing too", "*", "", true, true},
		{"the end is a boundary", "ex*ple", "example", true, true},
		{"the end must be a boundary", "ex*ple", "examples", false, false},
		{"brackets have no meaning", "[a-z]", "b", false, false},
		{"a backslash has no meaning", `\*`, `\abc`, true, true},
		{"empty is empty", "", "", true, true},
		{"a pattern of several words of states", strings.Repeat("ab?", 60) + "*c", strings.Repeat("abx", 60) + "...c", true, true},
		{"a pattern of several words of states that fails late", strings.Repeat("ab?", 60) + "*c", strings.Repeat("abx", 60) + "...d", false, false},
		{"a wildcard at the end of a state word", strings.Repeat("a", 63) + "?*b", strings.Repeat("a", 64) + "b", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, ok := compileGlob(c.pattern)
			if !ok {
				t.Fatal("refused")
			}
			w := maxWork
			text := strings.ToLower(c.text)
			if got := g.matchAll(text, &w); got != c.all {
				t.Errorf("matchAll: got %t", got)
			}
			if got := g.matchWords(text, &w); got != c.words {
				t.Errorf("matchWords: got %t", got)
			}
		})
	}
}

func TestLongPatternsAreRefused(t *testing.T) {
	if _, ok := compileGlob(strings.Repeat("?", maxPattern+1)); ok {
		t.Error("accepted")
	}
	if _, ok := compileGlob(strings.Repeat("?", maxPattern)); !ok {
		t.Error("the limit itself is refused")
	}
}

func TestMatchingStopsWhenThereIsNoWorkLeft(t *testing.T) {
	text := strings.Repeat("ab", 100)
	for _, pattern := range []string{"*b", "ab"} {
		g, _ := compileGlob(pattern)
		for _, c := range []struct {
			work work
			want bool
		}{{maxWork, pattern == "*b"}, {0, false}} {
			w := c.work
			if got := g.matchWords(text, &w); got != c.want {
				t.Errorf("%q with %d: got %t", pattern, c.work, got)
			}
		}
	}
}

// FuzzGlob compares with regular expressions, which say the same in another way.
func FuzzGlob(f *testing.F) {
	f.Add("ex*ple", "An exciting triple-whammy")
	f.Add("l?nch*", "Lünch lunch")
	f.Add("@room", "hi@room")
	f.Add("*", "")
	f.Add("a b", "a_a b c")
	wildcards := strings.NewReplacer(`\*`, `.*`, `\?`, `.`)
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 100 || len(text) > 1000 || !legalText(pattern) || !legalText(text) {
			return
		}
		g, ok := compileGlob(pattern)
		if !ok {
			t.Fatal("refused")
		}
		text = strings.ToLower(text)
		middle := wildcards.Replace(regexp.QuoteMeta(strings.ToLower(pattern)))
		w := maxWork
		if got, want := g.matchAll(text, &w), regexp.MustCompile(`(?s)\A`+middle+`\z`).MatchString(text); got != want {
			t.Errorf("matchAll: got %t", got)
		}
		// An ASCII word boundary of regexp is one of the specification; so are both ends and the places between two non-word characters.
		want := false
		re := regexp.MustCompile(`(?s)\A` + middle + `\z`)
		for i := 0; i <= len(text) && len(text) < 60; i++ {
			for j := i; j <= len(text); j++ {
				if boundary(text, i) && boundary(text, j) && legalText(text[i:j]) && re.MatchString(text[i:j]) {
					want = true
				}
			}
		}
		if got := g.matchWords(text, &w); len(text) < 60 && got != want {
			t.Errorf("matchWords: got %t", got)
		}
	})
}
