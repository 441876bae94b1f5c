package account

import (
	"context"
	"errors"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Restriction is something an administrator can do to an account without destroying it.
type Restriction int

// The restrictions.
const (
	Locked Restriction = iota
	Suspended
)

func (r Restriction) of(u storage.User) bool {
	if r == Locked {
		return u.Locked
	}
	return u.Suspended
}

// Restricted reports whether a user is locked or suspended. The caller must be an administrator.
//
// Spec: client-server-api#get_matrixclientv1adminlockuserid
func (s *Service) Restricted(ctx context.Context, user id.UserID, r Restriction) (bool, error) {
	var out bool
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		u, err := s.restrictable(tx, user)
		out = r.of(u)
		return err
	})
	return out, err
}

// Restrict locks or suspends a user, or lifts that. The caller must be an administrator.
//
// Spec: client-server-api#put_matrixclientv1adminlockuserid
func (s *Service) Restrict(ctx context.Context, admin, user id.UserID, r Restriction, on bool) error {
	if admin == user {
		return merr.New(merr.Forbidden, "Administrators cannot do this to themselves")
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		u, err := s.restrictable(&tx.ReadTx, user)
		if err != nil || r.of(u) == on {
			return err
		}
		tx.OnCommit(func() { s.loggedOut(user) })
		if r == Locked {
			return tx.SetLocked(user, on)
		}
		return tx.SetSuspended(user, on)
	})
}

// restrictable returns a user of this server who is no administrator.
func (s *Service) restrictable(tx *storage.ReadTx, user id.UserID) (storage.User, error) {
	if !s.IsLocal(user) {
		return storage.User{}, merr.New(merr.InvalidParam, "User does not belong to the local server.")
	}
	u, err := tx.User(user)
	switch {
	case errors.Is(err, storage.ErrNotFound) || err == nil && u.Deactivated():
		return u, merr.New(merr.NotFound, "User not found.")
	case err == nil && u.Admin:
		return u, merr.New(merr.Forbidden, "The user is an administrator")
	}
	return u, err
}

// NewUser is an account to be made by an administrator.
type NewUser struct {
	Localpart   string
	Password    string
	DisplayName string // empty: the localpart
	Admin       bool
}

// CreateUser makes an account in every mode of registration, under any name that the grammar allows.
func (s *Service) CreateUser(ctx context.Context, n NewUser) (id.UserID, error) {
	user, err := s.newUserID(n.Localpart)
	if err != nil {
		return "", err
	}
	if err := s.checkPassword(n.Password); err != nil {
		return "", err
	}
	hash, err := s.hasher.hash(ctx, n.Password)
	if err != nil {
		return "", err
	}
	if n.DisplayName == "" {
		n.DisplayName = user.Localpart()
	}
	return user, s.store.Update(ctx, func(tx *storage.Tx) error {
		return s.insertUser(tx, storage.User{ID: user, PasswordHash: hash, Admin: n.Admin, CreatedTS: s.now()}, n.DisplayName)
	})
}

// ResetPassword gives a user another password and, if asked to, ends all sessions. There being no such living user is M_NOT_FOUND.
func (s *Service) ResetPassword(ctx context.Context, user id.UserID, password string, logout bool) error {
	u, err := s.User(ctx, user)
	if errors.Is(err, storage.ErrNotFound) || err == nil && u.Deactivated() {
		return merr.New(merr.NotFound, "User not found.")
	}
	if err != nil {
		return err
	}
	return s.setPassword(ctx, user, password, logout, "", provenEmail{})
}

// SetAdmin makes a user an administrator, or an ordinary user again.
func (s *Service) SetAdmin(ctx context.Context, user id.UserID, admin bool) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		tx.OnCommit(func() { s.sessions.drop(user) })
		if admin {
			return s.makeAdmin(tx, user)
		}
		return tx.SetAdmin(user, false)
	})
}

// makeAdmin makes a user an administrator. The token for the first one, which was printed when the server started, must not make another.
func (s *Service) makeAdmin(tx *storage.Tx, user id.UserID) error {
	if err := tx.SetAdmin(user, true); err != nil {
		return err
	}
	return tx.DeleteAdminTokens()
}

// User returns an account, or storage.ErrNotFound.
func (s *Service) User(ctx context.Context, user id.UserID) (storage.User, error) {
	var out storage.User
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = tx.User(user)
		return err
	})
	return out, err
}

// ListUsers lists accounts in the order of their ids, starting after one of them, or with the first if that is empty.
func (s *Service) ListUsers(ctx context.Context, after id.UserID, limit int) ([]storage.User, error) {
	var out []storage.User
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = tx.Users(after, limit)
		return err
	})
	return out, err
}
