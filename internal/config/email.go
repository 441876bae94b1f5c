package config

import (
	"net/mail"
	"net/netip"
	"strings"
	"time"
)

// EmailTLS is a value of email.tls.
type EmailTLS string

// The ways in which a connection to the mail relay is protected.
const (
	// EmailSTARTTLS begins in the clear and insists on TLS before anything is said.
	EmailSTARTTLS EmailTLS = "starttls"
	// EmailImplicitTLS is TLS from the first byte, usually on port 465.
	EmailImplicitTLS EmailTLS = "implicit"
	// EmailNoTLS is for a relay on the same machine or in a network that nobody else reads.
	EmailNoTLS EmailTLS = "none"
)

// Email says how this server sends mail, and what for.
type Email struct {
	// The relay that takes mail over SMTP. Empty: this server sends none, and knows nobody by an e-mail address.
	Host string `key:"host"`
	// The port of the relay.
	Port int `key:"port"`
	// starttls (TLS is begun in the connection, or nothing is sent), implicit (TLS from the start, usually port 465) or none.
	TLS EmailTLS `key:"tls"`
	// A file with authorities (PEM) that are trusted beside the system's, for a relay with a certificate of your own.
	CAFile string `key:"ca_file"`
	// The user name at the relay. Empty: it takes mail without.
	User string `key:"user"`
	// The password that belongs to the user name.
	Password string `key:"password" secret:"yes"`
	// A file with the password, instead of password. What ends its first line ends the password.
	PasswordFile string `key:"password_file"`
	// The sender of all mail, for instance Hearth <matrix@example.org>.
	From string `key:"from"`
	// What mail calls this server. Empty: its name.
	AppName string `key:"app_name" reload:"yes"`
	// The web client that mail about messages leads to, for instance https://app.element.io. Empty: matrix.to, where readers choose one.
	ClientURL string `key:"client_url" reload:"yes"`
	// Whether users may add e-mail addresses to their accounts and remove them.
	Changes bool `key:"changes" reload:"yes"`
	// The domains that addresses of users must belong to. Empty: any.
	AllowedDomains []string `key:"allowed_domains" reload:"yes"`
	// The hosts that clients may have somebody led to who has confirmed an address (next_link). Empty: any.
	NextLinkHosts []string `key:"next_link_hosts" reload:"yes"`
	// How long the link in a mail is good for, and after it what it has confirmed.
	TokenLifetime time.Duration `key:"token_lifetime" reload:"yes"`
}

// Enabled reports whether this server sends mail.
func (e *Email) Enabled() bool { return e.Host != "" }

func defaultEmail() Email {
	return Email{Port: 587, TLS: EmailSTARTTLS, Changes: true, TokenLifetime: time.Hour}
}

func (c *Config) validateEmail(p *problems) {
	e := c.Email
	p.between("email.port", int64(e.Port), 1, 65535)
	p.oneOf("email.tls", string(e.TLS), string(EmailSTARTTLS), string(EmailImplicitTLS), string(EmailNoTLS))
	p.check(e.TokenLifetime >= 5*time.Minute && e.TokenLifetime <= 7*24*time.Hour, "email.token_lifetime", "%s is not between 5m and 7d", e.TokenLifetime)
	p.check(e.ClientURL == "" || isHTTP(e.ClientURL), "email.client_url", "%q is not an http or https URL", e.ClientURL)
	p.check(!strings.ContainsFunc(e.AppName, isControl), "email.app_name", "must be one line")
	for _, domain := range e.AllowedDomains {
		p.check(isHostLike(domain), "email.allowed_domains", "%q is not a domain like example.org", domain)
	}
	for _, host := range e.NextLinkHosts {
		p.check(isHostLike(host), "email.next_link_hosts", "%q is not a host like example.org", host)
	}

	p.check(e.Password == "" || e.PasswordFile == "", "email.password_file", "cannot be used together with email.password")
	secret := e.Password != "" || e.PasswordFile != ""
	p.check(e.User != "" || !secret, "email.user", "is needed for the password")
	p.check(e.User == "" || secret, "email.password", "is needed for email.user")
	if !e.Enabled() {
		p.check(e.User == "" && e.From == "", "email.host", "is needed for the other settings of email")
		p.check(!c.Registration.RequireEmail, "registration.require_email", "needs email.host, or nobody could register")
		return
	}
	p.check(isHostLike(e.Host), "email.host", "%q is not a host like smtp.example.org", e.Host)
	p.check(e.TLS != EmailNoTLS || e.User == "" || isLoopback(e.Host), "email.tls", "a password is not sent to another machine without TLS")
	if _, err := mail.ParseAddress(e.From); err != nil {
		p.add("email.from", "%q is not an address like Hearth <matrix@example.org>", e.From)
	}
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// isHostLike tells a host from a URL, an address with a port and an e-mail address.
func isHostLike(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	return text != "" && !strings.ContainsAny(text, "/@: ") && !strings.ContainsFunc(text, isControl)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
