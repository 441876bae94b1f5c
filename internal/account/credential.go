package account

import (
	"context"
	"errors"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// ChangePassword replaces the password of whoever confirms it with the old one, or with an address of the account. keep is the device of the request, which stays logged in.
//
// Spec: client-server-api#post_matrixclientv3accountpassword
func (s *Service) ChangePassword(ctx context.Context, op Operation, keep id.DeviceID) error {
	if !s.config.Get().Passwords.Enabled {
		return errNoPasswords
	}
	type request struct {
		NewPassword   *string `json:"new_password"`
		LogoutDevices *bool   `json:"logout_devices"`
	}
	var asked request
	if err := decode(op.Body, &asked); err != nil {
		return err
	}
	if asked.NewPassword != nil {
		if err := s.checkPassword(*asked.NewPassword); err != nil {
			return err
		}
	}
	flows, err := s.confirmFlows(ctx, op.User)
	if err != nil {
		return err
	}
	if s.mail.Enabled() {
		op.purpose = mail.Reset
		flows = append(flows, Flow{Stages: []string{StageEmail}})
	}
	c, err := s.confirm(ctx, op, flows)
	if err != nil {
		return err
	}
	asked = request{}
	if err := decode(c.Body, &asked); err != nil {
		return err
	}
	if asked.NewPassword == nil {
		return merr.New(merr.MissingParam, "The new password is missing")
	}
	logout := asked.LogoutDevices == nil || *asked.LogoutDevices
	return s.setPassword(ctx, c.User, *asked.NewPassword, logout, keep, c.Email)
}

// setPassword stores a password. by is the address that has allowed it, if it was one.
func (s *Service) setPassword(ctx context.Context, user id.UserID, password string, logout bool, keep id.DeviceID, by provenEmail) error {
	if err := s.checkPassword(password); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		if by.SID != "" {
			if err := s.takeForReset(tx, user, by); err != nil {
				return err
			}
		}
		if err := tx.SetPasswordHash(user, hash); err != nil || !logout {
			return err
		}
		return s.logoutExcept(tx, user, keep)
	})
}

// DeactivateOwn closes the account of whoever confirms it.
//
// Spec: client-server-api#post_matrixclientv3accountdeactivate
func (s *Service) DeactivateOwn(ctx context.Context, op Operation) error {
	c, err := s.confirmUser(ctx, op)
	if err != nil {
		return err
	}
	var asked struct {
		Erase bool `json:"erase"`
	}
	if err := decode(c.Body, &asked); err != nil {
		return err
	}
	return s.Deactivate(ctx, c.User, asked.Erase)
}

// Deactivate closes an account for good and takes its user out of all rooms. Whoever has no such account gets storage.ErrNotFound.
func (s *Service) Deactivate(ctx context.Context, user id.UserID, erase bool) error {
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		u, err := tx.User(user)
		if err != nil {
			return err
		}
		ts := u.DeactivatedTS
		if ts == 0 {
			ts = s.now()
		}
		// The devices go before the rest, for others have to hear of it.
		if err := s.logoutExcept(tx, user, ""); err != nil {
			return err
		}
		return tx.DeactivateUser(user, ts, erase)
	})
	if err != nil {
		return err
	}
	// The account is closed whether or not all rooms can be left at once: the rest is tried again after a restart.
	if err := s.departUser(context.WithoutCancel(ctx), user); err != nil {
		s.log.Error("a deactivated user is still in rooms", "user", user, "error", err)
	}
	return nil
}

// depart takes deactivated users out of rooms for whom that was interrupted.
func (s *Service) depart(ctx context.Context) {
	var users []id.UserID
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		users, err = tx.DepartingUsers()
		return err
	})
	for _, user := range users {
		err = errors.Join(err, s.departUser(ctx, user))
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("deactivated users are still in rooms", "error", err)
	}
}

func (s *Service) departUser(ctx context.Context, user id.UserID) error {
	if s.rooms != nil {
		if err := s.rooms.LeaveAll(ctx, user); err != nil {
			return err
		}
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error { return tx.SetDeparted(user) })
}
