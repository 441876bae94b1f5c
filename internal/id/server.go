package id

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// ServerName is the name of a homeserver: a DNS name, an IPv4 address or an IPv6 address in brackets, and perhaps a port. Case matters.
//
// Spec: appendices#server-name
type ServerName string

var (
	errNoHost  = errors.New("the server name is empty")
	errBadHost = errors.New("the server name has an invalid host")
	errBadPort = errors.New("the server name has an invalid port")
)

// ParseServerName accepts what the grammar allows, within 255 bytes.
func ParseServerName(s string) (ServerName, error) {
	if err := ServerName(s).check(); err != nil {
		return "", bad("server name", err)
	}
	return ServerName(s), nil
}

// Split returns the host without brackets and the port, 0 where the name has none.
func (s ServerName) Split() (host string, port uint16) {
	h, p := s.cut()
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		n = 0
	}
	return strings.TrimSuffix(strings.TrimPrefix(h, "["), "]"), uint16(n)
}

// Host returns the name without port, and an IPv6 address without brackets.
func (s ServerName) Host() string {
	h, _ := s.Split()
	return h
}

// Addr returns the address, where the host is an address and not a name.
func (s ServerName) Addr() (netip.Addr, bool) {
	a, err := netip.ParseAddr(s.Host())
	return a, err == nil
}

// String returns the name.
func (s ServerName) String() string { return string(s) }

// cut separates the port, which comes without its colon.
func (s ServerName) cut() (host, port string) {
	i := strings.LastIndexByte(string(s), ':')
	if i < 0 || strings.HasSuffix(string(s), "]") {
		return string(s), ""
	}
	return string(s[:i]), string(s[i+1:])
}

func (s ServerName) check() error {
	if s == "" {
		return errNoHost
	}
	if len(s) > MaxLength {
		return errTooLong
	}
	host, port := s.cut()
	if len(host)+1 == len(s) {
		return errBadPort // a colon and nothing behind it
	}
	if port != "" && !validPort(port) {
		return errBadPort
	}
	if host == "" {
		return errNoHost
	}
	if host[0] == '[' {
		return checkIPv6(host)
	}
	return checkHost(host)
}

func validPort(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil && len(s) <= 5
}

func checkIPv6(host string) error {
	if len(host) < 2 || host[len(host)-1] != ']' || strings.IndexByte(host, '%') >= 0 {
		return errBadHost
	}
	if a, err := netip.ParseAddr(host[1 : len(host)-1]); err != nil || !a.Is6() {
		return errBadHost
	}
	return nil
}

// checkHost accepts dns-name and IPv4address. Four groups of digits are an address, so each must be within 0 to 255.
func checkHost(host string) error {
	digits, dots := true, 0
	for i := 0; i < len(host); i++ {
		c := host[i]
		switch {
		case '0' <= c && c <= '9':
		case c == '.':
			dots++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-':
			digits = false
		default:
			return errBadHost
		}
	}
	if !digits || dots != 3 {
		return nil
	}
	for group := range strings.SplitSeq(host, ".") {
		if n, err := strconv.ParseUint(group, 10, 8); err != nil || n > 255 || len(group) > 3 {
			return errBadHost
		}
	}
	return nil
}
