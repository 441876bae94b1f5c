package fedclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/safehttp"
)

// soon is when a certificate that ends is worth a word.
const soon = 14 * 24 * time.Hour

// Check goes the way of a request to a server step by step, tells of each, and returns how many of them went wrong. It uses nothing that was found
// before if the Client is new.
func (c *Client) Check(ctx context.Context, server id.ServerName, tell func(Step)) (problems int) {
	say := func(format string, args ...any) { tell(Step{Text: fmt.Sprintf(format, args...)}) }
	problem := func(format string, args ...any) {
		problems++
		tell(Step{Text: fmt.Sprintf(format, args...), Problem: true})
	}
	r, err := c.checkRoute(ctx, server, tell)
	if err != nil {
		problem("%s cannot be found: %s.", server, plainly(err))
		return problems
	}
	say("Requests go to %v with the Host header %s, and the certificate has to be for %s.", r.targets, r.host, r.certificate)
	reached := 0
	for _, t := range r.targets {
		addrs, err := c.net.all(ctx, t.host)
		if err != nil {
			problem("%s has no address: %s.", t.host, plainly(err))
			continue
		}
		for _, addr := range addrs {
			at := netip.AddrPortFrom(addr.Unmap(), t.port)
			text, err := c.checkAddress(ctx, at, r.certificate)
			if err != nil {
				problem("%s: %s.", at, plainly(err))
				continue
			}
			say("%s: %s", at, text)
			reached++
		}
	}
	if reached == 0 {
		return problems
	}
	version, err := c.Version(ctx, server)
	if err != nil {
		problem("It does not say what software it is: %s.", plainly(err))
	} else {
		say("It runs %s %s.", version.Name, version.Version)
	}
	document, err := c.keys(ctx, server, true, c.clock.Now())
	if err != nil {
		problem("Its signing keys cannot be had: %s.", plainly(err))
		return problems
	}
	for _, k := range document.keys {
		if k.Expired != 0 {
			say("It used to sign with %s, until %s.", k.KeyID, instant(k.Expired))
			continue
		}
		say("It signs with %s, which may be believed until %s.", k.KeyID, instant(k.ValidUntil))
		if k.ValidUntil < c.clock.Now().UnixMilli() {
			problem("That is over: its clock, or this one, is wrong.")
		}
	}
	return problems
}

func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

func (c *Client) checkRoute(ctx context.Context, server id.ServerName, tell func(Step)) (*route, error) {
	if isDirect(server) {
		tell(Step{Text: fmt.Sprintf("%s says itself where it is: nothing has to be looked up.", server)})
		return direct(server), nil
	}
	r, _, err := c.discovery.find(ctx, server, tell)
	return r, err
}

// all is every address of a host, also those that the guard denies.
func (n *network) all(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := n.resolver.LookupNetIP(ctx, "ip", host)
	return addrs[:min(len(addrs), maxAddresses)], err
}

// checkAddress makes a connection and says what it is like.
func (c *Client) checkAddress(ctx context.Context, at netip.AddrPort, certificate string) (string, error) {
	if err := c.net.guard.Check(at.Addr()); err != nil {
		return "", err
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := c.net.connect(dialing, "tcp", at.String())
	if err != nil {
		return "", err
	}
	secured, err := c.net.secure(ctx, conn, certificate)
	if err != nil {
		return "", err
	}
	defer secured.Close()
	state := secured.ConnectionState()
	leaf := state.PeerCertificates[0]
	text := fmt.Sprintf("%s, certificate of %s, good until %s.", tls.VersionName(state.Version), leaf.Issuer, leaf.NotAfter.UTC().Format(time.RFC3339))
	if time.Until(leaf.NotAfter) < soon {
		text += " It has to be renewed soon."
	}
	return text, nil
}

// plainly says what is wrong in words for who runs a server.
func plainly(err error) string {
	var dns *net.DNSError
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var plain tls.RecordHeaderError
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("it answered %d %s (%s): whatever answers there does not pass this path on to a homeserver", refused.Status, refused.Code, refused.Message)
	case errors.Is(err, safehttp.ErrDenied):
		return "the address is in outbound.deny_networks, so this server does not connect to it"
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("the DNS knows no %s", dns.Name)
	case errors.As(err, &dns):
		return fmt.Sprintf("the DNS does not answer for %s", dns.Name)
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is for %s", certificateNames(name.Certificate))
	case errors.As(err, &authority):
		return "the certificate comes from an authority that is not trusted here, or its chain is not complete"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate is good from %s to %s, which is not now", invalid.Cert.NotBefore.UTC().Format(time.RFC3339),
			invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &plain):
		return "what answers there does not speak TLS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there (connection refused)"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way to this address from here"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "no answer in time: perhaps a firewall drops what is sent there"
	}
	var fetch *url.Error // its text has the URL, which has been said
	if errors.As(err, &fetch) {
		err = fetch.Err
	}
	return strings.TrimPrefix(err.Error(), ErrUnreachable.Error()+": ")
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// certificateNames is what a certificate is good for.
func certificateNames(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name at all"
	}
	return shorten(strings.Join(names, ", "), 300)
}
