// Package safehttp makes HTTP clients for URLs that a stranger chose: link previews, remote media, push gateways. They connect only to
// addresses the operator allows, judged at the moment of dialling, so that neither a name that resolves inside nor one that changes its
// mind between two look-ups nor a redirect gets through. They send no cookies, no referrer and, but for NewConfiding, no credentials, and
// use no proxy, since behind a proxy the address could not be judged. Whose certificates are trusted beside those of the system's authorities is
// said here for all clients of a server.
package safehttp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Limits of every client. They bound what a slow or hostile peer costs before the caller sees the first byte.
const (
	maxRedirects   = 5
	maxHeaderBytes = 64 << 10
	maxURL         = 8 << 10
	dialTimeout    = 5 * time.Second
	headerTimeout  = 15 * time.Second
)

var (
	errScheme      = errors.New("only http and https URLs are fetched")
	errHost        = errors.New("the URL has no host")
	errCredentials = errors.New("the URL contains credentials")
	errLong        = errors.New("the URL is too long")
	errAnswer      = errors.New("the answer is too long")
	errRedirects   = fmt.Errorf("more than %d redirects", maxRedirects)
)

// CheckURL refuses what no client of this package fetches: other schemes, no host, credentials in the URL.
func CheckURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errScheme
	case u.Hostname() == "":
		return errHost
	case u.User != nil:
		return errCredentials
	case len(u.Host)+len(u.Path)+len(u.RawQuery) > maxURL:
		return errLong
	}
	return nil
}

// New makes a client that names itself userAgent and connects where guard lets it. It has no overall timeout: give each request a
// context with a deadline, and read bodies through a limit. An address refused by guard is an error that wraps ErrDenied.
func New(guard *Guard, userAgent string) *http.Client {
	return &http.Client{Transport: polite{next: newTransport(guard), userAgent: userAgent}, CheckRedirect: checkRedirect}
}

// NewConfiding is New for services that are told secrets: the Authorization header is sent, a redirect is not followed, for where it leads
// nobody has chosen, and reading more than maxAnswer bytes of a body is an error. The authorities in roots are trusted, those of the system if
// it is nil.
func NewConfiding(guard *Guard, userAgent string, maxAnswer int64, roots *x509.CertPool) *http.Client {
	transport := newTransport(guard)
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &http.Client{
		Transport:     polite{next: transport, userAgent: userAgent, confiding: true, maxAnswer: maxAnswer},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func newTransport(guard *Guard) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: guard.Control}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConns:           16,
		MaxIdleConnsPerHost:    2,
		MaxConnsPerHost:        8,
		IdleConnTimeout:        30 * time.Second,
	}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errRedirects
	}
	return CheckURL(req.URL)
}

// polite checks every request, redirected ones included, and gives it the headers of a stranger.
type polite struct {
	next      http.RoundTripper
	userAgent string
	confiding bool
	maxAnswer int64 // bytes; 0: the caller sees to it
}

func (p polite) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := CheckURL(req.URL); err != nil {
		return nil, err
	}
	out := req.Clone(req.Context())
	for _, h := range []string{"Referer", "Cookie", "Authorization"} {
		if h != "Authorization" || !p.confiding {
			out.Header.Del(h)
		}
	}
	out.Header.Set("User-Agent", p.userAgent)
	resp, err := p.next.RoundTrip(out)
	if err == nil && p.maxAnswer > 0 {
		resp.Body = &bounded{ReadCloser: resp.Body, left: p.maxAnswer}
	}
	return resp, err
}

// bounded is a body that must not be longer than what is left.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errAnswer
	}
	return n, err
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport.
func (p polite) CloseIdleConnections() {
	if t, ok := p.next.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}
