package safehttp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// ErrDenied says that the address of a host is one the operator does not let strangers reach.
var ErrDenied = errors.New("the address is not allowed")

// Guard judges addresses. The zero Guard allows all.
type Guard struct {
	deny, allow []netip.Prefix
}

// NewGuard denies the addresses in deny, but for those in allow. An IPv6 address that stands for an IPv4 address, as mapped, NAT64,
// 6to4, Teredo and ISATAP ones do, is denied also if the IPv4 address is.
func NewGuard(deny, allow []netip.Prefix) *Guard {
	return &Guard{deny: deny, allow: allow}
}

// Check returns an error that wraps ErrDenied unless addr may be connected to.
func (g *Guard) Check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	if within(g.allow, addr) {
		return nil
	}
	if within(g.deny, addr) {
		return fmt.Errorf("%w: %s", ErrDenied, addr)
	}
	for _, inner := range embedded(addr) {
		if within(g.deny, inner) && !within(g.allow, inner) {
			return fmt.Errorf("%w: %s", ErrDenied, addr)
		}
	}
	return nil
}

// Control is for net.Dialer.Control: it sees the address after the name was resolved, right before connecting.
func (g *Guard) Control(network, address string, _ syscall.RawConn) error {
	switch network {
	case "tcp4", "tcp6":
	default:
		return fmt.Errorf("%w: network %s", ErrDenied, network)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrDenied, address)
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrDenied, address)
	}
	return g.Check(addr)
}

func within(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		// "::ffff:10.0.0.0/104" in a configuration means 10.0.0.0/8.
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// embedded returns the IPv4 addresses that packets to an IPv6 address may end up at.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	b := addr.As16()
	v4 := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at : at+4])) }
	var out []netip.Addr
	switch {
	case zero(b[:12]): // IPv4-compatible, RFC 4291 section 2.5.5.1
		out = append(out, v4(12))
	case [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b}: // NAT64, RFC 6052
		out = append(out, v4(12))
	case b[0] == 0x20 && b[1] == 0x02: // 6to4, RFC 3056
		out = append(out, v4(2))
	case [4]byte(b[:4]) == [4]byte{0x20, 0x01}: // Teredo, RFC 4380: the server, and the client's address with its bits inverted
		out = append(out, v4(4), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	}
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // ISATAP, RFC 5214
		out = append(out, v4(12))
	}
	return out
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
