package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ByteSize is a number of bytes, written "50 MiB" or "1GB".
type ByteSize int64

// The binary units.
const (
	KiB ByteSize = 1 << 10
	MiB ByteSize = 1 << 20
	GiB ByteSize = 1 << 30
	TiB ByteSize = 1 << 40
)

// byteUnits maps a unit in lower case to its size.
var byteUnits = map[string]ByteSize{
	"": 1, "b": 1,
	"kib": KiB, "mib": MiB, "gib": GiB, "tib": TiB,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

// ParseByteSize reads a size such as "50 MiB", "1.5GB" or "4096".
func ParseByteSize(text string) (ByteSize, error) {
	s := strings.TrimSpace(text)
	end := strings.LastIndexAny(s, "0123456789.") + 1
	unit, ok := byteUnits[strings.ToLower(strings.TrimSpace(s[end:]))]
	if !ok || strings.Trim(s[:end], "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a size like 50 MiB or 1 GB", text)
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || n < 0 || math.IsNaN(n) {
		return 0, fmt.Errorf("%q is not a size like 50 MiB or 1 GB", text)
	}
	if n*float64(unit) >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return ByteSize(n * float64(unit)), nil
}

// String writes the size with the largest binary unit that divides it.
func (b ByteSize) String() string {
	for _, u := range []struct {
		size ByteSize
		name string
	}{{TiB, "TiB"}, {GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}} {
		if b >= u.size && b%u.size == 0 {
			return fmt.Sprintf("%d %s", b/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(b))
}

// Prefix is a network in CIDR notation; a lone address stands for itself.
type Prefix = netip.Prefix

// ParsePrefix reads "10.0.0.0/8" or "192.0.2.1".
func ParsePrefix(text string) (Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return Prefix{}, fmt.Errorf("%q is not a network like 10.0.0.0/8 or an address", text)
}

// mustPrefixes is for networks spelled out in this package.
func mustPrefixes(texts ...string) []Prefix {
	out := make([]Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

var errDuration = errors.New("not a duration like 30s, 12h or 7d")

// ParseDuration reads what time.ParseDuration reads, and days ("7d", "1d12h") before it. Negative durations are refused.
func ParseDuration(text string) (time.Duration, error) {
	s := strings.TrimSpace(text)
	var days time.Duration
	if head, tail, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is %w", text, errDuration)
		}
		days, s = time.Duration(n)*24*time.Hour, tail
		if s == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is %w", text, errDuration)
	}
	if d > math.MaxInt64-days {
		return 0, fmt.Errorf("%q is too long", text)
	}
	return days + d, nil
}

// formatDuration is the inverse of ParseDuration, in the shortest words.
func formatDuration(d time.Duration) string {
	if d > 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParseInstant reads an RFC 3339 date and time; empty is the zero time.
func ParseInstant(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not an instant like 2024-09-04T00:00:00Z (RFC 3339)", text)
	}
	return t.UTC(), nil
}
