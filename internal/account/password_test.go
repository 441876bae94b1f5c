package account

import (
	"context"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/config"
)

func cheapHasher(t testing.TB, iterations int) *hasher {
	t.Helper()
	h, err := newHasher(config.Passwords{HashMemory: 64 * config.KiB, HashIterations: iterations, HashWorkers: 1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPasswordHashes(t *testing.T) {
	h, dearer := cheapHasher(t, 1), cheapHasher(t, 2)
	phc, err := h.hash(t.Context(), "secret")
	if err != nil || !strings.HasPrefix(phc, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("hash %q, error %v", phc, err)
	}
	if again, _ := h.hash(t.Context(), "secret"); again == phc {
		t.Error("two hashes have the same salt")
	}
	for _, test := range []struct {
		name            string
		by              *hasher
		phc, password   string
		match, outdated bool
	}{
		{"right", h, phc, "secret", true, false},
		{"wrong", h, phc, "Secret", false, false},
		{"empty", h, phc, "", false, false},
		{"too long", h, phc, strings.Repeat("x", maxPassword+1), false, false},
		{"other parameters", dearer, phc, "secret", true, true},
		{"no hash", h, "", "secret", false, false},
		{"no hash, no password", h, "", "", false, false},
		{"bcrypt, wrong", h, "$2b$04$abcdefghijklmnopqrstuuUzwcjjLD4yhS7jIVrwCEA8kO0Uz8bSe", "wrong", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			match, outdated, err := test.by.verify(t.Context(), test.phc, test.password)
			if err != nil || match != test.match || outdated != test.outdated {
				t.Errorf("match %v, outdated %v, error %v", match, outdated, err)
			}
		})
	}
}

func TestHashesOfFormerDefaultsMatchAndAreOutdated(t *testing.T) {
	h, err := newHasher(config.Default().Passwords)
	if err != nil {
		t.Fatal(err)
	}
	phc, err := h.hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	for phc, want := range map[string]bool{
		phc: false,
		"$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$8qPpaWig0H31wvibKAgpght2Ry2M8rtRQYtZ93ooMus": true,
	} {
		if match, outdated, err := h.verify(t.Context(), phc, "secret"); err != nil || !match || outdated != want {
			t.Errorf("%s: match %v, outdated %v, error %v", phc, match, outdated, err)
		}
	}
}

func TestHashesThatCannotBeReadAreErrors(t *testing.T) {
	h := cheapHasher(t, 1)
	for _, phc := range []string{
		"x", "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA", "$argon2id$v=16$m=64,t=1,p=1$c2FsdA$c2FsdHNhbHRzYWx0c2FsdA",
		"$argon2id$v=19$m=64,t=0,p=1$c2FsdA$c2FsdHNhbHRzYWx0c2FsdA", "$argon2id$v=19$m=64,t=1,p=0$c2FsdA$c2FsdHNhbHRzYWx0c2FsdA",
		"$argon2id$v=19$m=99999999,t=1,p=1$c2FsdA$c2FsdHNhbHRzYWx0c2FsdA", "$argon2id$v=19$m=64,t=1,p=1$c2FsdA$c2Fs", "$2b$x",
	} {
		if match, _, err := h.verify(t.Context(), phc, "secret"); match || err == nil {
			t.Errorf("%s: match %v, error %v", phc, match, err)
		}
	}
}

func TestWaitingForAHashEndsWithTheRequest(t *testing.T) {
	h := cheapHasher(t, 1)
	release, err := h.slot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.hash(ctx, "secret"); err == nil {
		t.Error("there was no place, and still a hash")
	}
	release()
	if _, err := h.hash(t.Context(), "secret"); err != nil {
		t.Error(err)
	}
}

func FuzzPHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA")
	f.Add("$argon2id$v=19$m=-1,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, phc string) {
		p, _, sum, err := parsePHC(phc)
		if err == nil && (p.time < 1 || p.threads < 1 || p.memory > 4<<20 || len(sum) < 16) {
			t.Errorf("%q gives %+v", phc, p)
		}
	})
}
