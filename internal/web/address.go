package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// ClientIP returns the address of the client behind the trusted proxies, for those who have no Request. It is not valid if there is none.
func ClientIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	return clientIP(r.RemoteAddr, r.Header.Values("X-Forwarded-For"), trusted)
}

// clientIP returns the address of a client behind the proxies that are trusted. Each proxy appends its peer to X-Forwarded-For, so the
// list is read from the right: the first address that is no trusted proxy is the client, what stands left of it anyone may have written.
func clientIP(remote string, forwarded []string, trusted []netip.Prefix) netip.Addr {
	addr := parseAddr(remote)
	if len(trusted) == 0 || !isTrusted(addr, trusted) {
		return addr
	}
	for i := len(forwarded) - 1; i >= 0; i-- {
		rest := forwarded[i]
		for rest != "" {
			hop := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				rest = ""
			}
			next := parseAddr(strings.TrimSpace(hop))
			if !next.IsValid() {
				return addr
			}
			if addr = next; !isTrusted(addr, trusted) {
				return addr
			}
		}
	}
	return addr
}

// parseAddr reads an address with or without a port. The result is not valid if there is none.
func parseAddr(s string) netip.Addr {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// network is what one client has: an IPv4 address, or the /64 that an IPv6 client can choose addresses from.
func network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
