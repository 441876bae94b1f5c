package sso

import (
	"fmt"
	"strings"
	"text/template"
)

// maxText is the length of what a template makes, in bytes; more is nobody's name.
const maxText = 1000

// Localpart is the localpart that the claims make, in the alphabet of localparts. The error says what is missing.
func (i Identity) Localpart() (string, error) {
	text, err := render(i.Provider.localpart, i.claims)
	if err == nil && text == "" {
		err = fmt.Errorf("the claims of the provider make no localpart")
	}
	return mapLocalpart(text), err
}

// DisplayName is the display name that the claims make, empty if they make none.
func (i Identity) DisplayName() string {
	text, err := render(i.Provider.displayName, i.claims)
	if err != nil {
		return ""
	}
	return text
}

// render fills a template in. A claim that is missing is an error where it would be seen, not where a template looks for another one instead.
func render(t *template.Template, claims map[string]any) (string, error) {
	var out strings.Builder
	if err := t.Execute(&out, claims); err != nil {
		return "", err
	}
	text := strings.TrimSpace(out.String())
	switch {
	case strings.Contains(text, "<no value>"):
		return "", fmt.Errorf("the provider did not send all the claims of %q", t.Root.String())
	case len(text) > maxText:
		return "", fmt.Errorf("the claims make a text of more than %d bytes", maxText)
	}
	return text, nil
}

// mapLocalpart writes any text in the alphabet of localparts.
//
// Spec: appendices#mapping-from-other-character-sets
func mapLocalpart(text string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		switch {
		case 'A' <= c && c <= 'Z':
			out.WriteByte(c + 'a' - 'A')
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("._-/+", c) >= 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "=%02x", c)
		}
	}
	return out.String()
}
