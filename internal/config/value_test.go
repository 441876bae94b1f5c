package config

import (
	"testing"
	"time"
)

func TestParseByteSize(t *testing.T) {
	for text, want := range map[string]ByteSize{
		"0": 0, "0 B": 0, "4096": 4096, "50 MiB": 50 * MiB, "50mib": 50 * MiB, "1GB": 1e9, "1.5 KiB": 1536, " 2 TiB ": 2 * TiB,
	} {
		if got, err := ParseByteSize(text); err != nil || got != want {
			t.Errorf("ParseByteSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "-1 MiB", "1 M", "1 MiB 2", "1e3", "9999999 TiB", "1..2"} {
		if got, err := ParseByteSize(text); err == nil {
			t.Errorf("ParseByteSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestByteSizesReadAsTheyAreWritten(t *testing.T) {
	for _, size := range []ByteSize{0, 1, 1000, KiB, 1536, 50 * MiB, 3 * GiB, TiB} {
		if got, err := ParseByteSize(size.String()); err != nil || got != size {
			t.Errorf("%s reads as %d, %v", size, got, err)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "0": 0, "30s": 30 * time.Second, "1h30m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10", "-1s", "d", "-1d", "1d-1s", "1.5d", "99999999d", "1w"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %s, want an error", text, got)
		}
	}
}

func TestDurationsReadAsTheyAreWritten(t *testing.T) {
	for _, d := range []time.Duration{0, time.Second, time.Minute, 90 * time.Minute, 24 * time.Hour, 48 * time.Hour, 25 * time.Hour} {
		if got, err := ParseDuration(formatDuration(d)); err != nil || got != d {
			t.Errorf("%s is written %s and reads as %s, %v", d, formatDuration(d), got, err)
		}
	}
}
