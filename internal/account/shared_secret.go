package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// nonceLife is the time within which a nonce must be used.
const nonceLife = time.Minute

// SecretRegistration is the body of POST /_synapse/admin/v1/register, the way in which tools make accounts.
type SecretRegistration struct {
	Nonce        string `json:"nonce"`
	Username     string `json:"username"`
	Password     string `json:"password"`
	Admin        bool   `json:"admin"`
	UserType     string `json:"user_type"`
	DisplayName  string `json:"displayname"`
	InhibitLogin bool   `json:"inhibit_login"`
	MAC          string `json:"mac"`
}

func (s *Service) sharedSecret() (string, error) {
	secret := s.config.Get().Registration.SharedSecret
	if secret == "" {
		return "", merr.New(merr.Unrecognized, "Shared secret registration is not enabled").WithStatus(404)
	}
	return secret, nil
}

// Nonce returns a value to be part of a SecretRegistration. Nothing is stored for it: it carries its time and a signature.
func (s *Service) Nonce() (string, error) {
	secret, err := s.sharedSecret()
	if err != nil {
		return "", err
	}
	raw := make([]byte, 24)
	binary.BigEndian.PutUint64(raw, uint64(s.now()))
	rand.Read(raw[8:]) // never fails
	return base64.RawURLEncoding.EncodeToString(append(raw, signNonce(secret, raw)...)), nil
}

func signNonce(secret string, raw []byte) []byte {
	mac := hmac.New(sha256.New, []byte("hearth nonce\x00"+secret))
	mac.Write(raw)
	return mac.Sum(nil)[:16]
}

// checkNonce returns the time at which a nonce that this server made expires.
func (s *Service) checkNonce(secret, nonce string) (int64, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) != 40 || !hmac.Equal(signNonce(secret, raw[:24]), raw[24:]) {
		return 0, false
	}
	expires := int64(binary.BigEndian.Uint64(raw)) + nonceLife.Milliseconds()
	return expires, expires > s.now()
}

// mac is the HMAC-SHA1 that proves knowledge of the shared secret.
func (r SecretRegistration) mac(secret string) string {
	role := "notadmin"
	if r.Admin {
		role = "admin"
	}
	parts := []string{r.Nonce, r.Username, r.Password, role}
	if r.UserType != "" {
		parts = append(parts, r.UserType)
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(mac.Sum(nil))
}

// RegisterWithSecret makes an account for whoever knows the shared secret, in every mode of registration.
func (s *Service) RegisterWithSecret(ctx context.Context, r SecretRegistration) (Login, error) {
	secret, err := s.sharedSecret()
	if err != nil {
		return Login{}, err
	}
	switch {
	case r.Nonce == "" || r.Username == "" || r.Password == "" || r.MAC == "":
		return Login{}, merr.New(merr.MissingParam, "nonce, username, password and mac are needed")
	case strings.ContainsRune(r.Username+r.Password+r.UserType, 0):
		return Login{}, merr.New(merr.InvalidParam, "NUL is not allowed")
	case len(r.Password) > maxPassword:
		return Login{}, merr.New(merr.InvalidParam, "The password is too long")
	}
	expires, ok := s.checkNonce(secret, r.Nonce)
	if !ok {
		return Login{}, merr.New(merr.Unknown, "The nonce is unknown or too old").WithStatus(400)
	}
	if !hmac.Equal([]byte(r.mac(secret)), []byte(strings.ToLower(r.MAC))) {
		return Login{}, merr.New(merr.Forbidden, "HMAC incorrect")
	}
	user, err := s.newUserID(r.Username)
	if err != nil {
		return Login{}, err
	}
	hash, err := s.hasher.hash(ctx, r.Password)
	if err != nil {
		return Login{}, err
	}
	name := r.DisplayName
	if name == "" {
		name = user.Localpart()
	}
	var out Login
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		fresh, err := tx.UseNonce(r.Nonce, s.now(), expires)
		if err != nil {
			return err
		}
		if !fresh {
			return merr.New(merr.Unknown, "The nonce was used before").WithStatus(400)
		}
		u := storage.User{ID: user, PasswordHash: hash, Type: r.UserType, Admin: r.Admin, CreatedTS: s.now()}
		if err := s.insertUser(tx, u, name); err != nil {
			return err
		}
		out = Login{UserID: user, HomeServer: s.server}
		if !r.InhibitLogin {
			out, err = s.startSession(tx, user, loginOptions{})
		}
		return err
	})
	return out, err
}
