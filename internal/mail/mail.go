// Package mail sends the letters of this server through the operator's relay: links that confirm an address, and what somebody has missed.
// Every letter is made of a template, as text and as HTML. The package refuses to know who has an address and who may have a letter, and keeps
// no queue: whoever has something sent hears whether the relay has taken it.
package mail

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	stdmail "net/mail"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	gomail "github.com/wneessen/go-mail"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/safehttp"
)

const (
	// sendTime is how long the relay may take for one letter.
	sendTime = 20 * time.Second
	// maxSending is the number of letters that are on their way at the same time.
	maxSending = 4
)

// Sender sends mail. A nil Sender is that of a server that sends none. It is safe for concurrent use.
type Sender struct {
	config   *config.Live
	tls      *tls.Config
	password string
	from     *stdmail.Address
	slots    chan struct{}
	sent     *prometheus.CounterVec

	templates templates
}

// New returns a Sender for the settings under email, nil if they have no relay. It reads files, and connects to nothing.
func New(live *config.Live, metrics prometheus.Registerer) (*Sender, error) {
	cfg := live.Get()
	e := &cfg.Email
	if !e.Enabled() {
		return nil, nil
	}
	s := &Sender{
		config: live, password: e.Password, slots: make(chan struct{}, maxSending), tls: &tls.Config{ServerName: e.Host, MinVersion: tls.VersionTLS12},
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_mail_total",
			Help: "Letters, by result: sent, refused (the relay will never take it) or failed.",
		}, []string{"result"}),
	}
	var err error
	if s.from, err = stdmail.ParseAddress(e.From); err != nil {
		return nil, fmt.Errorf("email.from: %w", err)
	}
	if s.templates, err = parseTemplates(); err != nil {
		return nil, err
	}
	if e.PasswordFile != "" {
		text, err := os.ReadFile(cfg.File(e.PasswordFile))
		if err != nil {
			return nil, fmt.Errorf("email.password_file: %w", err)
		}
		s.password, _, _ = strings.Cut(string(text), "\n")
		s.password = strings.TrimSuffix(s.password, "\r")
	}
	trusted, err := safehttp.ReadAuthorities(cfg.File(e.CAFile))
	if err != nil {
		return nil, fmt.Errorf("email.ca_file: %w", err)
	}
	s.tls.RootCAs = trusted.Pool()
	if metrics != nil {
		err = metrics.Register(s.sent)
	}
	return s, err
}

// Enabled reports whether this server sends mail.
func (s *Sender) Enabled() bool { return s != nil }

// ErrRefused says that the relay will not take a letter, however often it is asked.
var ErrRefused = errors.New("mail: the relay refuses the letter")

// letter is what is sent.
type letter struct {
	to                  string // canonical; see ParseAddress
	subject, text, html string
	unsubscribe         string // a URL that ends such letters; empty for none
}

// send gives a letter to the relay. The error wraps ErrRefused where trying again is of no use.
func (s *Sender) send(ctx context.Context, l letter) error {
	msg, err := s.message(l)
	if err != nil {
		return err
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	err = s.deliver(ctx, msg)
	switch {
	case msg.IsDelivered(): // a relay that is rude afterwards has it all the same
		s.sent.WithLabelValues("sent").Inc()
		return nil
	case ctx.Err() != nil:
		err = fmt.Errorf("send mail: %w", ctx.Err())
	}
	var refusal *gomail.SendError
	if errors.As(err, &refusal) && !refusal.IsTemp() && refusal.ErrorCode() >= 500 {
		s.sent.WithLabelValues("refused").Inc()
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	s.sent.WithLabelValues("failed").Inc()
	return fmt.Errorf("send mail: %w", err)
}

// message is a letter in the form of the wire. The library encodes what headers cannot hold.
func (s *Sender) message(l letter) (*gomail.Msg, error) {
	msg := gomail.NewMsg()
	msg.FromMailAddress(s.from)
	if err := msg.To(l.to); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	msg.Subject(oneLine(l.subject))
	msg.SetDate()
	msg.SetMessageIDWithValue(rand.Text() + s.from.Address[strings.LastIndexByte(s.from.Address, '@'):])
	// RFC 3834: nobody's absence is to be answered with.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	if l.unsubscribe != "" {
		msg.SetGenHeader("List-Unsubscribe", "<"+l.unsubscribe+">")
		msg.SetGenHeader("List-Unsubscribe-Post", "List-Unsubscribe=One-Click") // RFC 8058
	}
	msg.SetBodyString(gomail.TypeTextPlain, l.text)
	msg.AddAlternativeString(gomail.TypeTextHTML, l.html)
	return msg, nil
}

// deliver talks to the relay, over a connection of its own. It ends when ctx does.
func (s *Sender) deliver(ctx context.Context, msg *gomail.Msg) error {
	e := s.config.Get().Email
	done := func() {}
	defer func() { done() }()
	dial := func(dialing context.Context, network, _ string) (conn net.Conn, err error) {
		address := net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
		if e.TLS == config.EmailImplicitTLS {
			conn, err = (&tls.Dialer{Config: s.tls}).DialContext(dialing, network, address)
		} else {
			conn, err = (&net.Dialer{}).DialContext(dialing, network, address)
		}
		if err == nil {
			// The library looks at ctx only while it dials, and leaves connections open that it could not begin a conversation on.
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			done = func() { stop(); _ = conn.Close() }
		}
		return conn, err
	}
	options := []gomail.Option{gomail.WithTimeout(sendTime), gomail.WithDialContextFunc(dial), gomail.WithTLSConfig(s.tls), gomail.WithoutNoop()}
	switch e.TLS {
	case config.EmailImplicitTLS:
		options = append(options, gomail.WithSSL())
	case config.EmailNoTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if e.User != "" {
		// The last two send the password itself; the library does so over TLS, or to this machine, alone.
		options = append(options, gomail.WithUsername(e.User), gomail.WithPassword(s.password), gomail.WithOpportunisticSMTPAuth(
			gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	client, err := gomail.NewClient(e.Host, options...)
	if err != nil {
		return err
	}
	return client.DialAndSendWithContext(ctx, msg)
}

// oneLine makes a line of a text.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
