package safehttp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/config"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestDefaultNetworksKeepStrangersOut(t *testing.T) {
	g := NewGuard(config.Default().Outbound.DenyNetworks, nil)
	for addr, ok := range map[string]bool{
		"1.1.1.1":         true,
		"8.8.8.8":         true,
		"2606:4700::1111": true,
		"2a00:1450::1":    true,

		"127.0.0.1": false, "127.255.0.1": false, "0.0.0.0": false, "10.1.2.3": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"172.32.0.1": true, "100.128.0.1": true,
		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd12::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:8.8.8.8": true,
		"64:ff9b::a00:1": false, "64:ff9b::808:808": false, "2002:a00:1::": false, "2001:0:1::1": false,
	} {
		err := g.Check(netip.MustParseAddr(addr))
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestEmbeddedAddressesCount(t *testing.T) {
	// Only 10.0.0.0/8 is denied: each of these stands for an address in it or outside it.
	g := NewGuard(prefixes("10.0.0.0/8"), nil)
	for addr, ok := range map[string]bool{
		"::ffff:10.0.0.1": false, "::ffff:11.0.0.1": true,
		"::10.0.0.1": false, "::11.0.0.1": true,
		"64:ff9b::10.0.0.1": false, "64:ff9b::11.0.0.1": true,
		"2002:a00:1::5": false, "2002:b00:1::5": true,
		"2001:0:a00:1::": false, "2001:0:b00:1:0:0:f5ff:fffe": false, "2001:0:b00:1:0:0:f4ff:fffe": true,
		"2a00::5efe:10.0.0.1": false, "2a00::200:5efe:10.0.0.1": false, "2a00::5efe:11.0.0.1": true,
	} {
		if err := g.Check(netip.MustParseAddr(addr)); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestExceptionsBeatDenials(t *testing.T) {
	g := NewGuard(prefixes("10.0.0.0/8", "::ffff:192.168.0.0/112"), prefixes("10.1.0.0/16"))
	for addr, ok := range map[string]bool{
		"10.0.0.1": false, "10.1.0.1": true, "::ffff:10.1.0.1": true, "64:ff9b::10.1.0.1": true, "64:ff9b::10.2.0.1": false,
		"192.168.0.1": false, "192.169.0.1": true,
	} {
		if err := g.Check(netip.MustParseAddr(addr)); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if err := new(Guard).Check(netip.MustParseAddr("127.0.0.1")); err != nil {
		t.Errorf("a guard without denials: %v", err)
	}
}

func TestControlAcceptsOnlyAddresses(t *testing.T) {
	g := NewGuard(nil, nil)
	for _, tt := range []struct {
		network, address string
		ok               bool
	}{
		{"tcp4", "1.2.3.4:80", true}, {"tcp6", "[2a00::1]:443", true}, {"tcp6", "[fe80::1%lo]:443", true},
		{"udp4", "1.2.3.4:80", false}, {"unix", "/run/x", false}, {"tcp4", "example.org:80", false}, {"tcp4", "1.2.3.4", false},
	} {
		if err := g.Control(tt.network, tt.address, nil); (err == nil) != tt.ok {
			t.Errorf("%s %s: %v", tt.network, tt.address, err)
		}
	}
}

func TestClient(t *testing.T) {
	var seen []http.Header
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header)
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Set-Cookie", "a=b")
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		fmt.Fprint(w, "hello")
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	port := server.URL[strings.LastIndexByte(server.URL, ':'):]
	via := func(to string) string { return server.URL + "/?to=" + url.QueryEscape(to) }

	client := New(NewGuard(prefixes("127.0.0.2/32"), nil), "Hearth test")
	defer client.CloseIdleConnections()
	for _, tt := range []struct {
		name, url string
		want      error // nil: success
	}{
		{"an address that is allowed", server.URL, nil},
		{"a redirect to one", via("/again"), nil},
		{"an address that is denied", "http://127.0.0.2" + port, ErrDenied},
		{"the same, mapped", "http://[::ffff:127.0.0.2]" + port, ErrDenied},
		{"a redirect to one that is denied", via("http://127.0.0.2" + port), ErrDenied},
		{"a redirect to a file", via("file:///etc/passwd"), errScheme},
		{"a redirect with credentials", via("http://a:b@127.0.0.1" + port), errCredentials},
		{"redirects without end", via("/?to=" + url.QueryEscape("/?to="+url.QueryEscape("/?to="+url.QueryEscape("/?to="+url.QueryEscape("/?to="+url.QueryEscape("/?to=/")))))), errRedirects},
		{"another scheme", "ftp://127.0.0.1/", errScheme},
		{"credentials", "http://a:b@127.0.0.1" + port, errCredentials},
		{"an endless address", server.URL + "/" + strings.Repeat("x", maxURL), errLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen = nil
			req, err := http.NewRequestWithContext(t.Context(), "GET", tt.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "secret")
			resp, err := client.Do(req)
			if err == nil {
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if tt.want != nil || string(body) != "hello" {
					t.Errorf("got %q, want %v", body, tt.want)
				}
			} else if tt.want == nil || !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			for _, h := range seen {
				if h.Get("User-Agent") != "Hearth test" || h.Get("Authorization") != "" || h.Get("Cookie") != "" || h.Get("Referer") != "" {
					t.Errorf("headers %v", h)
				}
			}
		})
	}
}

func TestConfidingClient(t *testing.T) {
	var seen http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		fmt.Fprint(w, "0123456789")
	}))
	defer server.Close()
	for name, tt := range map[string]struct {
		path      string
		maxAnswer int64
		status    int
		err       error
	}{
		"an answer as long as it may be":        {"/", 10, 200, nil},
		"an answer that is longer":              {"/", 9, 200, errAnswer},
		"a redirect is the answer, as any else": {"/away", 100, 302, nil},
	} {
		t.Run(name, func(t *testing.T) {
			client := NewConfiding(NewGuard(nil, nil), "Hearth test", tt.maxAnswer, nil)
			defer client.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "secret")
			req.Header.Set("Cookie", "a=b")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.ReadAll(resp.Body); !errors.Is(err, tt.err) || resp.StatusCode != tt.status {
				t.Errorf("got %d, %v", resp.StatusCode, err)
			}
			if seen.Get("Authorization") != "secret" || seen.Get("Cookie") != "" {
				t.Errorf("headers %v", seen)
			}
		})
	}
	client := NewConfiding(NewGuard(prefixes("127.0.0.0/8"), nil), "Hearth test", 10, nil)
	if _, err := client.Get(server.URL); !errors.Is(err, ErrDenied) {
		t.Errorf("an address that is denied: %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, a := range []string{"10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "fe80::1%x"} {
		f.Add(a)
	}
	g := NewGuard(prefixes("10.0.0.0/8"), nil)
	f.Fuzz(func(t *testing.T, text string) {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return
		}
		if g.Check(addr) == nil && g.deny[0].Contains(addr.Unmap()) {
			t.Errorf("%s passes", addr)
		}
	})
}
