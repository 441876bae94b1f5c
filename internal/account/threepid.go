package account

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/identity"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Threepids lists the third-party ids of a user.
func (s *Service) Threepids(ctx context.Context, user id.UserID) ([]storage.Threepid, error) {
	var out []storage.Threepid
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = tx.Threepids(user)
		return err
	})
	return out, err
}

// ThreepidChanges reports whether users may add addresses to their accounts and remove them.
//
// Spec: client-server-api#m3pid_changes-capability
func (s *Service) ThreepidChanges() bool { return s.mail.Enabled() && s.config.Get().Email.Changes }

var (
	errNoChanges   = merr.New(merr.Forbidden, "Addresses cannot be changed on this server")
	errNoThreepid  = merr.New(merr.ThreepidNotFound, "The address does not belong to your account").WithStatus(404)
	errThreepidUse = merr.New(merr.ThreepidInUse, "The address belongs to another account")
)

// AddThreepid gives whoever confirms it an address that was confirmed for that. Doing it again is no error.
//
// Spec: client-server-api#post_matrixclientv3account3pidadd
func (s *Service) AddThreepid(ctx context.Context, op Operation) error {
	if !s.mail.Enabled() {
		return errNoMail
	}
	if !s.config.Get().Email.Changes {
		return errNoChanges
	}
	find := func(tx *storage.ReadTx, body json.RawMessage) (storage.EmailValidation, error) {
		creds, err := threepidCredsOf(body)
		if err != nil {
			return storage.EmailValidation{}, err
		}
		return s.confirmed(tx, creds, mail.Add, op.User)
	}
	// Nobody is asked for a password in vain. A request with nothing but auth means the one from before.
	if !onlyAuth(op.Body) {
		if err := s.store.View(ctx, func(tx *storage.ReadTx) error { _, err := find(tx, op.Body); return err }); err != nil {
			return err
		}
	}
	c, err := s.confirmUser(ctx, op)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		v, err := find(&tx.ReadTx, c.Body)
		if err != nil {
			return err
		}
		return s.giveThreepid(tx, op.User, v)
	})
}

// threepidCredsOf reads a request to add an address, in its form of today or in the deprecated one.
//
// Spec: client-server-api#post_matrixclientv3account3pid
func threepidCredsOf(body json.RawMessage) (threepidCreds, error) {
	var asked struct {
		threepidCreds
		Nested *threepidCreds `json:"three_pid_creds"`
	}
	if err := decode(body, &asked); err != nil {
		return threepidCreds{}, err
	}
	if asked.Nested != nil {
		return *asked.Nested, nil
	}
	return asked.threepidCreds, nil
}

func onlyAuth(body json.RawMessage) bool {
	auth, rest, err := splitAuth(body)
	return err == nil && auth != nil && string(rest) == "{}"
}

// giveThreepid stores a confirmed address as that of a user.
func (s *Service) giveThreepid(tx *storage.Tx, user id.UserID, v storage.EmailValidation) error {
	fresh, err := tx.InsertThreepid(user, storage.Threepid{Medium: mediumEmail, Address: v.Address, ValidatedTS: v.ValidatedTS, AddedTS: s.now()})
	if err != nil || fresh {
		return err
	}
	if owner, err := tx.ThreepidUser(mediumEmail, v.Address); err != nil || owner == user {
		return err
	}
	return errThreepidUse
}

// giveProven uses up the validation of an address and gives it to a user who is being made.
func (s *Service) giveProven(tx *storage.Tx, user id.UserID, e provenEmail) error {
	if err := s.take(tx, e); err != nil {
		return err
	}
	return s.giveThreepid(tx, user, storage.EmailValidation{Address: e.Address, ValidatedTS: e.ValidatedTS})
}

// DeleteThreepid takes an address from a user, and tells the identity server, or without one those that it was bound at. It reports whether they
// know the address no more. The address is taken from the user whatever they say.
//
// Spec: client-server-api#post_matrixclientv3account3piddelete
func (s *Service) DeleteThreepid(ctx context.Context, user id.UserID, medium, address string, server id.ServerName) (bool, error) {
	if !s.config.Get().Email.Changes {
		return false, errNoChanges
	}
	t, err := identity.ParseThreepid(medium, address)
	switch {
	case merr.HasCode(err, merr.MissingParam):
		return false, err
	case err != nil:
		return false, errNoThreepid
	}
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		known, err := tx.DeleteThreepid(user, t.Medium, t.Address)
		if err != nil {
			return err
		}
		if !known {
			return errNoThreepid
		}
		// What was confirmed before the address was deleted does not bring it back.
		if t.Medium == mediumEmail {
			if err := tx.DeleteEmailValidations(t.Address, string(mail.Add)); err != nil {
				return err
			}
		}
		// Letters about messages go only to addresses of the account.
		return tx.DeletePusher(user, "m.email", t.Address)
	})
	if err != nil {
		return false, err
	}
	unbound, err := s.UnbindThreepid(ctx, user, t, server)
	if err != nil {
		s.log.Info("a deleted address is still bound", "error", err)
	}
	return unbound, nil
}
