package account

import (
	"context"
	"errors"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// credentials are a user identifier and a password, as in requests to log in and in password stages. The members outside of identifier are
// deprecated forms of it.
//
// Spec: client-server-api#identifier-types
type credentials struct {
	Identifier *identifier `json:"identifier"`
	User       string      `json:"user"`
	Medium     string      `json:"medium"`
	Address    string      `json:"address"`
	Password   *string     `json:"password"`
}

type identifier struct {
	Type    string `json:"type"`
	User    string `json:"user"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
	Phone   string `json:"phone"`
}

// normal returns the identifier in its one form today.
func (c credentials) normal() (identifier, error) {
	i := identifier{Type: "m.id.user", User: c.User}
	switch {
	case c.Identifier != nil:
		i = *c.Identifier
	case c.User == "" && c.Medium != "":
		i = identifier{Type: "m.id.thirdparty", Medium: c.Medium, Address: c.Address}
	}
	if i.Type == "" && i.Medium != "" {
		i.Type = "m.id.thirdparty" // as the specification's own example of a login has it
	}
	switch i.Type {
	case "m.id.user":
		if i.User == "" {
			return i, merr.New(merr.MissingParam, "The identifier has no user")
		}
	case "m.id.thirdparty":
		if i.Medium == "" || i.Address == "" {
			return i, merr.New(merr.MissingParam, "The identifier lacks medium or address")
		}
	case "m.id.phone":
		if i.Phone == "" {
			return i, merr.New(merr.MissingParam, "The identifier has no phone")
		}
		// Numbers in the international form are the canonical one but for decoration. Others would need every country's dialling rules.
		i = identifier{Type: "m.id.thirdparty", Medium: "msisdn", Address: digits(i.Phone)}
	case "":
		return i, merr.New(merr.MissingParam, "The identifier has no type")
	default:
		return i, merr.New(merr.Unknown, "Unknown type of identifier").WithStatus(400)
	}
	return i, nil
}

func digits(phone string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, phone)
}

// errWrongPassword does not tell whether there is such a user.
var errWrongPassword = merr.New(merr.Forbidden, "Invalid username or password")

var errNoPasswords = merr.New(merr.Forbidden, "Passwords are not used on this server")

// checkCredentials returns the user whom identifier and password belong to, or M_FORBIDDEN. It takes as long for users that do not exist.
// The account may be locked.
func (s *Service) checkCredentials(ctx context.Context, c credentials) (storage.User, error) {
	if !s.config.Get().Passwords.Enabled {
		return storage.User{}, errNoPasswords
	}
	i, err := c.normal()
	if err != nil {
		return storage.User{}, err
	}
	if c.Password == nil {
		return storage.User{}, merr.New(merr.MissingParam, "The password is missing")
	}
	user, err := s.identify(ctx, i)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return storage.User{}, err
	}
	match, outdated, err := s.hasher.verify(ctx, user.PasswordHash, *c.Password)
	if err != nil {
		return storage.User{}, err
	}
	if !match || user.Deactivated() {
		return storage.User{}, errWrongPassword
	}
	if outdated {
		s.rehash(ctx, user, *c.Password)
	}
	return user, nil
}

// rehash stores a password with the parameters of today. Failure is no reason to turn the user away.
func (s *Service) rehash(ctx context.Context, user storage.User, password string) {
	hash, err := s.hasher.hash(ctx, password)
	if err == nil {
		err = s.store.Update(ctx, func(tx *storage.Tx) error {
			if now, err := tx.User(user.ID); err != nil || now.PasswordHash != user.PasswordHash {
				return err // changed in the meantime
			}
			return tx.SetPasswordHash(user.ID, hash)
		})
	}
	if err != nil {
		s.log.Warn("a password hash was not renewed", "user", user.ID, "error", err)
	}
}

// identify finds the user of an identifier, or storage.ErrNotFound.
func (s *Service) identify(ctx context.Context, i identifier) (user storage.User, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		var known id.UserID
		if i.Type == "m.id.thirdparty" {
			address, ok := canonicalThreepid(i.Medium, i.Address)
			if !ok {
				return storage.ErrNotFound
			}
			if known, err = tx.ThreepidUser(i.Medium, address); err != nil {
				return err
			}
		} else if known, err = s.ParseLocal(i.User); err != nil {
			return storage.ErrNotFound
		}
		user, err = tx.User(known)
		if errors.Is(err, storage.ErrNotFound) {
			// Spec: appendices#user-identifiers. @USER:matrix.org should reach @user:matrix.org.
			user, err = tx.User(id.UserID("@" + lower(known.Localpart()) + ":" + string(known.Server())))
		}
		return err
	})
	return user, err
}

// ParseLocal reads a user id of this server, or only its localpart.
func (s *Service) ParseLocal(text string) (id.UserID, error) {
	if !strings.HasPrefix(text, "@") {
		text = "@" + text + ":" + string(s.server)
	}
	user, err := id.ParseUserID(text)
	if err != nil {
		return "", err
	}
	if user.Server() != s.server {
		return "", errors.New("the user belongs to another server")
	}
	return user, nil
}

// FindLocal is the id of a user of this server who can log in, named by it or by only its localpart. There being none is M_NOT_FOUND.
func (s *Service) FindLocal(ctx context.Context, text string) (id.UserID, error) {
	user, err := s.ParseLocal(text)
	if err != nil {
		return "", err
	}
	u, err := s.User(ctx, user)
	if errors.Is(err, storage.ErrNotFound) || err == nil && u.Deactivated() {
		err = merr.New(merr.NotFound, "User not found.")
	}
	return user, err
}

// IsLocal reports whether a user belongs to this server.
func (s *Service) IsLocal(user id.UserID) bool { return user.Server() == s.server }
