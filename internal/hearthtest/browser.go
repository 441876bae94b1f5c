package hearthtest

import (
	"context"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/config"
)

// Browser is a web browser: it keeps cookies, follows redirects up to addresses that are no longer the test's, and sends forms.
type Browser struct {
	t    testing.TB
	http *http.Client
}

// Page is where a browser has got to.
type Page struct {
	URL    *url.URL // of the page, or where a redirect leads that leaves the test
	Status int
	Body   string
	Header http.Header
}

// PublicHost is where a server that was started WithPublicURL is for browsers.
const PublicHost = "chat.example.org"

// WithPublicURL gives a server the address that browsers know it by.
func WithPublicURL() Option {
	return WithConfig(func(c *config.Config) { c.Server.PublicBaseURL = "http://" + PublicHost })
}

// Browser opens a browser that finds the server under its public address.
func (s *Server) Browser() *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, PublicHost+":") {
			address = strings.TrimPrefix(s.URL, "http://")
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	transport := &http.Transport{DialContext: dial}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &Browser{t: s.t, http: &http.Client{
		Transport: transport, Jar: jar, Timeout: Patience,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if host := r.URL.Hostname(); host != PublicHost && host != "127.0.0.1" {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}}
}

// Open goes to an address; one that begins with a slash is the server's.
func (b *Browser) Open(address string) Page {
	b.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = "http://" + PublicHost + address
	}
	r, err := http.NewRequestWithContext(b.t.Context(), "GET", address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formField  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// Submit sends the form of a page, with fields beside the hidden ones.
func (b *Browser) Submit(p Page, fields url.Values) Page {
	b.t.Helper()
	action := formAction.FindStringSubmatch(p.Body)
	if action == nil {
		b.t.Fatalf("there is no form: %d %s", p.Status, p.Body)
	}
	form := url.Values{}
	for _, field := range formField.FindAllStringSubmatch(p.Body, -1) {
		form.Set(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	for name, values := range fields {
		form[name] = values
	}
	r, err := http.NewRequestWithContext(b.t.Context(), "POST", html.UnescapeString(action[1]), strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

func (b *Browser) do(r *http.Request) Page {
	b.t.Helper()
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	p := Page{URL: resp.Request.URL, Status: resp.StatusCode, Body: string(body), Header: resp.Header}
	if to, err := resp.Location(); err == nil {
		p.URL = to
	}
	return p
}
