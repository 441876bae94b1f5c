// Package mailtest is the mail relay of a test: it takes what a server sends over SMTP, on the loopback interface, and lets the test read it.
// It delivers nothing to anybody.
package mailtest

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/hearthd/hearth/internal/config"
)

// patience is how long, in real time, a test waits for a letter.
const patience = 15 * time.Second

// User and Password open a relay that asks for them.
const (
	User     = "hearth"
	Password = "p4ss word"
)

// Letter is a message that the relay took.
type Letter struct {
	From, To   string // of the envelope
	Header     mail.Header
	Subject    string // decoded
	Text, HTML string
}

// Relay is a server for SMTP. It is safe for concurrent use.
type Relay struct {
	t       testing.TB
	config  config.Email
	letters chan Letter
	mu      sync.Mutex
	refusal error
}

// Start starts a relay that protects connections in one of the ways of email.tls, and asks for User and Password unless that is none.
func Start(t testing.TB, protection config.EmailTLS) *Relay {
	t.Helper()
	r := &Relay{t: t, letters: make(chan Letter, 100)}
	s := smtp.NewServer(r)
	s.Domain, s.AllowInsecureAuth = "relay.test", false
	s.EnableSMTPUTF8 = true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.config = config.Default().Email
	r.config.Host, r.config.Port, r.config.TLS = "127.0.0.1", l.Addr().(*net.TCPAddr).Port, protection
	r.config.From = "Hearth <hearth@example.org>"
	if protection != config.EmailNoTLS {
		r.config.User, r.config.Password = User, Password
		s.TLSConfig, r.config.CAFile = certificate(t)
	}
	if protection == config.EmailImplicitTLS {
		l = tls.NewListener(l, s.TLSConfig)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the relay: %v", err)
		}
		<-ended
	})
	return r
}

// certificate is one for the loopback interface, and the file of its authority.
func certificate(t testing.TB) (*tls.Config, string) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: s.TLS.Certificates}, path
}

// Config is the section email of a server that uses the relay.
func (r *Relay) Config() config.Email { return r.config }

// Refuse has the relay answer every recipient with an error, an *smtp.SMTPError for instance; nil: no longer.
func (r *Relay) Refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusal = err
}

// Next waits for a letter.
func (r *Relay) Next() Letter {
	r.t.Helper()
	select {
	case l := <-r.letters:
		return l
	case <-time.After(patience):
		r.t.Fatal("no mail has come")
		return Letter{}
	}
}

// Try is Next for letters that take time of another clock: it waits for a moment, and reports whether there was one.
func (r *Relay) Try() (Letter, bool) {
	select {
	case l := <-r.letters:
		return l, true
	case <-time.After(10 * time.Millisecond):
		return Letter{}, false
	}
}

// Empty checks that there is no letter that Next has not returned.
func (r *Relay) Empty() {
	r.t.Helper()
	select {
	case l := <-r.letters:
		r.t.Errorf("%s got %q", l.To, l.Subject)
	default:
	}
}

var link = regexp.MustCompile(`https?://\S+`)

// Link is the first link of the text.
func (l Letter) Link() string { return link.FindString(l.Text) }

// NewSession is for the library.
func (r *Relay) NewSession(*smtp.Conn) (smtp.Session, error) {
	return &session{relay: r, known: r.config.User == ""}, nil
}

type session struct {
	relay    *Relay
	known    bool
	from, to string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != User || password != Password {
			return smtp.ErrAuthFailed
		}
		s.known = true
		return nil
	}), nil
}

func (s *session) Reset() { s.from, s.to = "", "" }

func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if !s.known {
		return smtp.ErrAuthRequired
	}
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.to = to
	return s.relay.refusal
}

func (s *session) Data(body io.Reader) error {
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	l, err := read(raw)
	if err != nil {
		return err
	}
	l.From, l.To = s.from, s.to
	s.relay.letters <- l
	return nil
}

// read takes a message apart.
func read(raw []byte) (Letter, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Letter{}, err
	}
	l := Letter{Header: m.Header}
	if l.Subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		return Letter{}, err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return Letter{}, err
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return l, nil
		}
		if err != nil {
			return Letter{}, err
		}
		text, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			return Letter{}, err
		}
		body := strings.ReplaceAll(string(text), "\r\n", "\n")
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			l.HTML = body
		} else {
			l.Text = body
		}
	}
}
