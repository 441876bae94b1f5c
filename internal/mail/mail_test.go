package mail_test

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/mail/mailtest"
)

// sender uses a relay; edit changes the configuration.
func sender(t *testing.T, e config.Email) *mail.Sender {
	t.Helper()
	cfg := config.Default()
	cfg.Server.Name, cfg.Email = "hs.example", e
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := mail.New(config.NewLive(cfg), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLettersArriveUnderEveryProtection(t *testing.T) {
	for _, protection := range []config.EmailTLS{config.EmailSTARTTLS, config.EmailImplicitTLS, config.EmailNoTLS} {
		t.Run(string(protection), func(t *testing.T) {
			r := mailtest.Start(t, protection)
			s := sender(t, r.Config())
			if err := s.Confirm(t.Context(), "alice@example.com", mail.Register, "https://hs.example/x?a=1&b=2", time.Hour); err != nil {
				t.Fatal(err)
			}
			l := r.Next()
			if l.From != "hearth@example.org" || l.To != "alice@example.com" || l.Header.Get("From") != `"Hearth" <hearth@example.org>` {
				t.Errorf("from %q (%s) to %q", l.From, l.Header.Get("From"), l.To)
			}
			if l.Subject != "Confirm your e-mail address for hs.example" || l.Link() != "https://hs.example/x?a=1&b=2" {
				t.Errorf("subject %q, link %q", l.Subject, l.Link())
			}
			if !strings.Contains(l.Text, "is making an account at hs.example") || !strings.Contains(l.Text, "good for 60 minutes") {
				t.Errorf("text: %s", l.Text)
			}
			if !strings.Contains(l.HTML, `href="https://hs.example/x?a=1&amp;b=2"`) {
				t.Errorf("HTML: %s", l.HTML)
			}
			if l.Header.Get("Auto-Submitted") != "auto-generated" || !strings.HasSuffix(l.Header.Get("Message-Id"), "@example.org>") {
				t.Errorf("headers: %v", l.Header)
			}
		})
	}
}

func TestWhatStrangersWriteStaysInItsPlace(t *testing.T) {
	r := mailtest.Start(t, config.EmailNoTLS)
	s := sender(t, r.Config())
	name := "Room\r\nBcc: mallory@example.com\r\n\r\n<script>alert(1)</script> ünd"
	d := mail.Digest{User: "@alice:hs", Unsubscribe: "https://hs.example/unsubscribe?a=b", More: 3, Rooms: []mail.DigestRoom{{
		Name: name, Link: "javascript:alert(1)", Messages: []mail.DigestMessage{{Sender: "<b>Bob</b>", Text: `"><img src=x>` + "\r\n.\r\nRSET", At: time.Unix(0, 0)}},
	}}}
	if err := s.Digest(t.Context(), "alice@example.com", d); err != nil {
		t.Fatal(err)
	}
	l := r.Next()
	if l.Subject != "4 messages in Room Bcc: mallory@example.com <script>alert(1)</script> ünd - hs.example" {
		t.Errorf("subject %q", l.Subject)
	}
	if len(l.Header["Bcc"]) > 0 || l.To != "alice@example.com" {
		t.Errorf("headers %v, to %s", l.Header, l.To)
	}
	if l.Header.Get("List-Unsubscribe") != "<https://hs.example/unsubscribe?a=b>" || l.Header.Get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click" {
		t.Errorf("headers %v", l.Header)
	}
	for _, bad := range []string{"<script", "<img", "<b>", `href="javascript`} {
		if strings.Contains(l.HTML, bad) {
			t.Errorf("the HTML has %s: %s", bad, l.HTML)
		}
	}
	if !strings.Contains(l.Text, "RSET") || !strings.Contains(l.Text, "There are 3 more.") || !strings.Contains(l.Text, "hs.example/unsubscribe") {
		t.Errorf("the text ends early: %s", l.Text)
	}
	r.Empty()
}

func TestEveryLetterCanBeWritten(t *testing.T) {
	r := mailtest.Start(t, config.EmailNoTLS)
	e := r.Config()
	e.AppName = "The Club"
	s := sender(t, e)
	const to = "alice@example.com"
	for subject, send := range map[string]func(context.Context) error{
		"Another password at The Club":              func(ctx context.Context) error { return s.Unknown(ctx, to) },
		"Your e-mail address at The Club":           func(ctx context.Context) error { return s.Taken(ctx, to, mail.Register) },
		"A test of The Club":                        func(ctx context.Context) error { return s.Trial(ctx, to) },
		"Confirm your e-mail address for The Club":  func(ctx context.Context) error { return s.Confirm(ctx, to, mail.Add, "https://hs", time.Hour) },
		"A message in R - The Club":                 func(ctx context.Context) error { return s.Digest(ctx, to, digest(1)) },
		"3 messages in R - The Club":                func(ctx context.Context) error { return s.Digest(ctx, to, digest(3)) },
		"2 messages in 2 rooms - The Club":          func(ctx context.Context) error { return s.Digest(ctx, to, digest(1, 1)) },
		"Another password at The Club ":             func(ctx context.Context) error { return s.Confirm(ctx, to, mail.Reset, "https://hs", 72*time.Hour) },
		"Your e-mail address at The Club ":          func(ctx context.Context) error { return s.Taken(ctx, to, mail.Add) },
		"Confirm your e-mail address for The Club ": func(ctx context.Context) error { return s.Confirm(ctx, to, mail.Register, "https://hs", 3*time.Hour) },
	} {
		if err := send(t.Context()); err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		l := r.Next()
		if l.Subject != strings.TrimSpace(subject) || l.Text == "" || strings.HasPrefix(l.Text, "\n") || !strings.Contains(l.HTML, "alice@example.com") {
			t.Errorf("%s: got %q, %q, %q", subject, l.Subject, l.Text, l.HTML)
		}
		if strings.Contains(l.Text+l.HTML, "no value") {
			t.Errorf("%s has a hole: %s %s", subject, l.Text, l.HTML)
		}
	}
}

func digest(rooms ...int) mail.Digest {
	d := mail.Digest{User: "@alice:hs", Unsubscribe: "https://hs"}
	for _, n := range rooms {
		d.Rooms = append(d.Rooms, mail.DigestRoom{Name: "R", Link: "https://hs", Messages: make([]mail.DigestMessage, n)})
	}
	return d
}

func TestAFailureSaysWhetherTryingAgainHelps(t *testing.T) {
	r := mailtest.Start(t, config.EmailSTARTTLS)
	good := r.Config()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(mailtest.Password+"\r\nnot this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	for _, test := range []struct {
		name    string
		edit    func(*config.Email)
		refusal error
		sent    bool
		forever bool
		wait    time.Duration // for the relay; 0: long
	}{
		{name: "the password is in a file", edit: func(e *config.Email) { e.Password, e.PasswordFile = "", secret }, sent: true},
		{name: "the relay has no room today", refusal: &smtp.SMTPError{Code: 451, Message: "later"}},
		{name: "the relay does not know the recipient", refusal: &smtp.SMTPError{Code: 550, Message: "who?"}, forever: true},
		{name: "the password is wrong", edit: func(e *config.Email) { e.Password = "guess" }},
		{name: "the certificate is nobody's", edit: func(e *config.Email) { e.CAFile = "" }},
		{name: "the relay does not begin TLS the other way", edit: func(e *config.Email) { e.TLS = config.EmailImplicitTLS }},
		{name: "there is no TLS where a password is asked for", edit: func(e *config.Email) { e.TLS, e.User, e.Password = config.EmailNoTLS, "", "" }, forever: true},
		{name: "the relay says nothing", edit: func(e *config.Email) { e.Port = nobody.Addr().(*net.TCPAddr).Port }, wait: time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := good
			if test.edit != nil {
				test.edit(&e)
			}
			r.Refuse(test.refusal)
			ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(test.wait, time.Minute))
			defer cancel()
			err := sender(t, e).Trial(ctx, "alice@example.com")
			if (err == nil) != test.sent || errors.Is(err, mail.ErrRefused) != test.forever {
				t.Errorf("got %v", err)
			}
			if test.sent {
				r.Next()
			}
			r.Empty()
		})
	}
}

func TestASenderNeedsItsFiles(t *testing.T) {
	for name, edit := range map[string]func(*config.Email){
		"no password file":      func(e *config.Email) { e.PasswordFile = "nowhere" },
		"no authorities":        func(e *config.Email) { e.CAFile = "nowhere" },
		"authorities of no use": func(e *config.Email) { e.CAFile = os.DevNull },
	} {
		cfg := config.Default()
		cfg.Email.Host, cfg.Email.From = "relay.example", "a@b.c"
		edit(&cfg.Email)
		if s, err := mail.New(config.NewLive(cfg), nil); err == nil {
			t.Errorf("%s: got %v", name, s)
		}
	}
	if s, err := mail.New(config.NewLive(config.Default()), nil); s.Enabled() || err != nil {
		t.Errorf("without a relay: %v, %v", s, err)
	}
}
