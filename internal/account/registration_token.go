package account

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// maxRegistrationToken is the length of registration tokens in bytes.
//
// Spec: client-server-api#token-authenticated-registration
const maxRegistrationToken = 64

// checkRegistrationToken returns nil for a token that can be used, or an error with the status 401.
func (s *Service) checkRegistrationToken(ctx context.Context, token string) error {
	valid, err := s.registrationTokenValid(ctx, token)
	if err == nil && !valid {
		err = merr.New(merr.Forbidden, "The registration token is not valid").WithStatus(401)
	}
	return err
}

// RegistrationTokenValid reports whether a token could be used now. M_FORBIDDEN says that nobody can register at all.
func (s *Service) RegistrationTokenValid(ctx context.Context, token string) (bool, error) {
	if s.config.Get().Registration.Mode == config.RegistrationDisabled {
		return false, merr.New(merr.Forbidden, "Registration is disabled")
	}
	return s.registrationTokenValid(ctx, token)
}

func (s *Service) registrationTokenValid(ctx context.Context, token string) (bool, error) {
	if !validRegistrationToken(token) {
		return false, nil
	}
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		_, err := tx.RegistrationToken(token, s.now())
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// validRegistrationToken checks the grammar.
//
// Spec: appendices#opaque-identifiers
func validRegistrationToken(token string) bool {
	for _, c := range []byte(token) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("-._~", c) >= 0) {
			return false
		}
	}
	return token != "" && len(token) <= maxRegistrationToken
}

// NewRegistrationToken makes a token. An empty text is replaced by a random one; uses of 0 mean any number, a life of 0 for ever.
func (s *Service) NewRegistrationToken(ctx context.Context, text string, uses int64, life time.Duration) (string, error) {
	if text == "" {
		text = rand.Text()[:16]
	}
	if !validRegistrationToken(text) {
		return "", merr.New(merr.InvalidParam, "A registration token has up to 64 characters of A-Z, a-z, 0-9 and -._~")
	}
	t := storage.RegistrationToken{Token: text, ExpiresTS: s.after(life), CreatedTS: s.now()}
	if uses > 0 {
		t.UsesAllowed = &uses
	}
	return text, s.store.Update(ctx, func(tx *storage.Tx) error {
		fresh, err := tx.InsertRegistrationToken(t)
		if err == nil && !fresh {
			err = merr.New(merr.InvalidParam, "There is such a registration token already")
		}
		return err
	})
}

// BootstrapToken returns the token with which the first administrator registers, and makes it if needed. It is empty once there is an
// administrator.
func (s *Service) BootstrapToken(ctx context.Context) (string, error) {
	var token string
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		if has, err := tx.HasAdmin(); err != nil || has {
			return err
		}
		t, err := tx.AdminToken(s.now())
		if errors.Is(err, storage.ErrNotFound) {
			once := int64(1)
			t = storage.RegistrationToken{Token: rand.Text(), UsesAllowed: &once, Admin: true, CreatedTS: s.now()}
			_, err = tx.InsertRegistrationToken(t)
		}
		token = t.Token
		return err
	})
	return token, err
}
