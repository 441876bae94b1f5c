package sso

import (
	"net/url"
	"strings"
	"testing"
)

func TestTrustedClients(t *testing.T) {
	trusted := []string{"https://app.example.org", "https://chat.example.org:8443/element/", "org.example.app:/done", "element://"}
	for client, want := range map[string]bool{
		"https://app.example.org":                          true,
		"https://app.example.org/":                         true,
		"https://APP.example.org/a?b#c":                    true,
		"https://app.example.org:8443/":                    false,
		"http://app.example.org/":                          false,
		"https://app.example.org.evil.example/":            false,
		"https://evil.example/app.example.org":             false,
		"https://chat.example.org:8443/element":            true,
		"https://chat.example.org:8443/element/x":          true,
		"https://chat.example.org:8443/elementary":         false,
		"https://chat.example.org:8443/":                   false,
		"https://chat.example.org:8443/element/../other":   false,
		"https://chat.example.org:8443/element/%2e%2e/x":   false,
		"https://chat.example.org:8443/element/a..b/c.../": true,
		"org.example.app:/done":                            true,
		"org.example.app:/done/x":                          true,
		"org.example.app:/other":                           false,
		"org.example.app:done":                             false,
		"element://connect":                                true,
		"elements://connect":                               false,
	} {
		u, err := ParseClientURL(client)
		if err != nil {
			t.Errorf("%s: %v", client, err)
			continue
		}
		if got := Trusted(u, trusted); got != want {
			t.Errorf("Trusted(%s) = %v", client, got)
		}
	}
}

func TestClientURLs(t *testing.T) {
	for client, ok := range map[string]bool{
		"https://a.example/x?y#z": true, "http://localhost:8080": true, "org.example:/x": true, "org.example:x": true, "a://b/c": true,
		"": false, "/x": false, "a.example/x": false, "https:a.example": false, "https:///x": false, "https://a:b@c.example/": false,
		"HTTPS://a.example": true, "JavaScript:alert(1)": false, "data:text/html,x": false, " https://a.example": false, "https://a.example/ x": false,
		"https://a.example\\@b.example/": false, "https://a.example/\nx": false, "https://ä.example/": false,
		"https://%D0%B0pp.example/": false, "http://%61pp.example/": false, "https://a.example/%D0%B0": true, "https://[fe80::1%25en0]/": false,
		"https://%ffpp.example/": false, "https://xn--pp-6kc.example/": true, "a://%D0%B0pp": true,
		"https://a.example/%zz": false,
		"file:///etc/passwd":    false, "https://a.example/" + strings.Repeat("x", maxClientURL): false,
	} {
		if _, err := ParseClientURL(client); (err == nil) != ok {
			t.Errorf("%q: %v", client, err)
		}
	}
}

func TestTheTokenIsTheOnlyOne(t *testing.T) {
	for client, want := range map[string]string{
		"https://a.example":                                    "https://a.example?loginToken=t%26x",
		"https://a.example/?a=b&&c#d":                          "https://a.example/?a=b&c&loginToken=t%26x#d",
		"https://a.example/?loginToken=1&a=%20&login%54oken=2": "https://a.example/?a=%20&loginToken=t%26x",
		"a:b?c":             "a:b?c&loginToken=t%26x",
		"element://connect": "element://connect?loginToken=t%26x",
	} {
		u, err := ParseClientURL(client)
		if err != nil {
			t.Fatal(err)
		}
		if got := WithToken(u, "t&x"); got != want {
			t.Errorf("%s: got %s, want %s", client, got, want)
		}
	}
}

func TestLocalpartsOfAnyText(t *testing.T) {
	for text, want := range map[string]string{
		"alice": "alice", "Alice.B_c-d/e+1": "alice.b_c-d/e+1", "#": "=23", "á": "=c3=a1", "a=b": "a=3db", "": "",
	} {
		if got := mapLocalpart(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzClientURL(f *testing.F) {
	f.Add("https://app.example.org/../x?loginToken=1#y")
	f.Add("element:connect")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseClientURL(text)
		if err != nil {
			return
		}
		if Trusted(u, []string{"https://app.example.org/in/"}) && (!strings.EqualFold(u.Host, "app.example.org") || u.Scheme != "https") {
			t.Errorf("%q is trusted", text)
		}
		back, err := url.Parse(WithToken(u, "token"))
		if err != nil || back.Scheme != u.Scheme || back.Host != u.Host {
			t.Errorf("%q becomes %q: %v", text, WithToken(u, "token"), err)
			return
		}
		n := 0
		for pair := range strings.SplitSeq(back.RawQuery, "&") {
			key, _, _ := strings.Cut(pair, "=")
			if name, err := url.QueryUnescape(key); err == nil && name == "loginToken" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%q becomes %q", text, back)
		}
	})
}
