package sso

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// maxClientURL is the length of the URL of a client, in bytes.
const maxClientURL = 4 << 10

// ParseClientURL reads the URL that a client wants to be told the login token at: of the web, or in a scheme of its own. What browsers read
// otherwise than this server, and what runs in the page that leads there, is refused.
func ParseClientURL(text string) (*url.URL, error) {
	if len(text) > maxClientURL {
		return nil, errors.New("the address is too long")
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the address cannot be read")
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || c == '\\' {
			return nil, errors.New("the address has characters that must be escaped")
		}
	}
	switch u.Scheme {
	case "":
		return nil, errors.New("the address has no scheme")
	case "http", "https":
		if u.Opaque != "" || u.Host == "" || u.User != nil {
			return nil, errors.New("the address has no host, or a password")
		}
		// Escaped letters become what they stand for, which may look like those of another host.
		if strings.ContainsFunc(u.Host, func(r rune) bool { return r >= 0x80 || r == '%' }) {
			return nil, errors.New("the host must be written in ASCII, as browsers send it")
		}
	case "javascript", "data", "vbscript", "blob", "file", "filesystem", "about", "view-source", "chrome", "resource", "ws", "wss", "ftp":
		return nil, errors.New("the address is none of a client")
	}
	return u, nil
}

// Trusted reports whether a client is among those that the operator trusts: URLs that each stand for what is below them.
func Trusted(client *url.URL, trusted []string) bool {
	// A path with dots may end up elsewhere.
	if slices.ContainsFunc(strings.Split(client.Path, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return false
	}
	return slices.ContainsFunc(trusted, func(text string) bool {
		t, err := url.Parse(text)
		if err != nil || t.Scheme != client.Scheme || client.Opaque != "" {
			return false
		}
		if t.Host != "" && !strings.EqualFold(t.Host, client.Host) {
			return false
		}
		below := strings.TrimSuffix(t.Path, "/")
		return client.Path == below || strings.HasPrefix(client.Path, below+"/")
	})
}

// WithToken is the URL of a client with a login token, the only one in it.
//
// Spec: client-server-api#handling-the-callback-from-the-authentication-server
func WithToken(client *url.URL, token string) string {
	const name = "loginToken"
	var rest []string
	for pair := range strings.SplitSeq(client.RawQuery, "&") {
		key, _, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(key); pair != "" && (err != nil || key != name) {
			rest = append(rest, pair)
		}
	}
	out := *client
	out.RawQuery = strings.Join(append(rest, name+"="+url.QueryEscape(token)), "&")
	return out.String()
}
