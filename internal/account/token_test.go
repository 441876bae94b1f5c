package account

import (
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	a, b := newToken(accessPrefix), newToken(accessPrefix)
	if a == b || !strings.HasPrefix(a, "hrt_") || len(a) != len("hrt_")+26+1+7 {
		t.Errorf("%s and %s", a, b)
	}
	for name, test := range map[string]struct {
		token string
		want  bool
	}{
		"a token":                 {a, true},
		"another kind":            {newToken(refreshPrefix), false},
		"a character too many":    {a + "0", false},
		"a character too few":     {a[:len(a)-1], false},
		"another last character":  {a[:len(a)-1] + "!", false},
		"another first character": {"hrt_!" + a[5:], false},
		"nothing":                 {"", false},
		"only the prefix":         {"hrt_", false},
		"two lines":               {"hrt__", false},
	} {
		if got := looksLike(accessPrefix, test.token); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSealing(t *testing.T) {
	sealed, err := seal("secret", []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "text") {
		t.Error("the text can be read")
	}
	if plain, err := unseal("secret", sealed); err != nil || string(plain) != "text" {
		t.Errorf("got %q, %v", plain, err)
	}
	sealed[len(sealed)-1] ^= 1
	for name, broken := range map[string][]byte{"changed": sealed, "empty": nil, "short": sealed[:5]} {
		if _, err := unseal("secret", broken); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := unseal("other", sealed); err == nil {
		t.Error("another secret opens it")
	}
}
