package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/merr"
)

// maxPassword bounds passwords in bytes: nobody's is longer, and hashing reads all of it.
const maxPassword = 1024

// hashRest is how long the memory for hashes is kept for the next one.
const hashRest = time.Second

// hashGarbage is what a hash must be computed in, in KiB, to be worth collecting by itself.
const hashGarbage = 1 << 10

const (
	saltBytes = 16
	hashBytes = 32
)

// argonParams are the cost of Argon2id.
type argonParams struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// hasher makes and checks password hashes, a few at a time: each takes much memory and time.
type hasher struct {
	params argonParams
	slots  chan struct{}
	// decoy is checked where there is no hash, so that an answer takes as long for users that do not exist.
	decoy string
	// garbage is what hashes were computed in since it was last collected, in KiB.
	garbage atomic.Int64
	// rest gives the memory back when there was no hash for hashRest.
	rest *time.Timer
}

func newHasher(cfg config.Passwords) (*hasher, error) {
	h := &hasher{
		params: argonParams{memory: uint32(cfg.HashMemory / config.KiB), time: uint32(cfg.HashIterations), threads: 1},
		slots:  make(chan struct{}, max(cfg.HashWorkers, 1)),
		rest:   time.AfterFunc(time.Hour, debug.FreeOSMemory),
	}
	h.rest.Stop()
	if h.params.memory < 8 || h.params.time < 1 {
		return nil, errors.New("passwords: Argon2id needs at least 8 KiB and one pass")
	}
	// No password has this hash, or nobody will ever find it.
	h.decoy = h.params.phc([]byte(rand.Text()[:saltBytes]), []byte(rand.Text() + rand.Text())[:hashBytes])
	return h, nil
}

// phc writes a hash down.
func (p argonParams) phc(salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads,
		b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// sum computes a hash. What it was computed in is garbage afterwards, far more of it than all requests of a minute leave behind: it is collected
// when there is as much as hashes may be computed in at the same time. The collector by itself would take what is being computed in for in use, wait
// until there is half as much again, and the server would be 30 MiB larger from then on. When no more hashes come, all of it is given back.
func (h *hasher) sum(p argonParams, password string, salt []byte, size int) []byte {
	out := argon2.IDKey([]byte(password), salt, p.time, p.memory, p.threads, uint32(size))
	if p.memory < hashGarbage {
		return out
	}
	if h.garbage.Add(int64(p.memory)) >= int64(h.params.memory)*int64(cap(h.slots)) {
		h.garbage.Store(0)
		runtime.GC()
	}
	h.rest.Reset(hashRest)
	return out
}

// slot waits for one of the places in which hashes are computed.
func (h *hasher) slot(ctx context.Context) (release func(), err error) {
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash returns the PHC string of a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	release, err := h.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails
	p := h.params
	return p.phc(salt, h.sum(p, password, salt, hashBytes)), nil
}

// verify checks a password. An empty hash, of no user or one without a password, takes as long as any other and never matches. A match is
// outdated if the hash was made with other parameters than would be used today.
func (h *hasher) verify(ctx context.Context, phc, password string) (match, outdated bool, err error) {
	release, err := h.slot(ctx)
	if err != nil {
		return false, false, err
	}
	defer release()
	if len(password) > maxPassword {
		return false, false, nil
	}
	known := phc != ""
	if !known {
		phc = h.decoy
	}
	// Hashes of other servers are taken over as they are.
	if strings.HasPrefix(phc, "$2") {
		switch err := bcrypt.CompareHashAndPassword([]byte(phc), []byte(password)); {
		case err == nil:
			return true, true, nil
		case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
			return false, false, nil
		default:
			return false, false, fmt.Errorf("check a bcrypt hash: %w", err)
		}
	}
	p, salt, want, err := parsePHC(phc)
	if err != nil {
		return false, false, err
	}
	got := h.sum(p, password, salt, len(want))
	match = subtle.ConstantTimeCompare(got, want) == 1 && known
	return match, match && p != h.params, nil
}

var errPHC = errors.New("a stored password hash cannot be read")

// parsePHC takes $argon2id$v=19$m=7168,t=5,p=1$salt$hash apart. Costs beyond reason are refused.
func parsePHC(phc string) (p argonParams, salt, sum []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errPHC
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil {
		return p, nil, nil, errPHC
	}
	if p.memory > 4<<20 || p.time < 1 || p.time > 100 || p.threads < 1 {
		return p, nil, nil, errPHC
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return p, nil, nil, errPHC
	}
	if sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(sum) < 16 || len(sum) > 128 {
		return p, nil, nil, errPHC
	}
	return p, salt, sum, nil
}

// checkPassword judges a new password.
func (s *Service) checkPassword(password string) error {
	least := s.config.Get().Passwords.MinLength
	switch {
	case len(password) > maxPassword:
		return merr.Newf(merr.InvalidParam, "A password must not be longer than %d bytes", maxPassword)
	case password == "" || utf8.RuneCountInString(password) < least:
		return merr.Newf(merr.WeakPassword, "A password must have at least %d characters", max(least, 1))
	}
	return nil
}
