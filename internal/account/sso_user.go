package account

import (
	"errors"
	"strconv"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/sso"
	"github.com/hearthd/hearth/storage"
)

// maxNumber is the highest number behind a name that is taken.
const maxNumber = 999

// ssoStranger is the account for somebody who logs in at a provider for the first time. Where the name is taken, the configuration says what
// happens.
func (s *Service) ssoStranger(tx *storage.ReadTx, p *sso.Provider, localpart string) (person, error) {
	if localpart == "" {
		return person{}, errNameless
	}
	user, err := s.newUserID(localpart)
	if err != nil {
		return person{}, err
	}
	if s.appservices.UserTaken(user, "") {
		return person{}, errExclusive
	}
	u, err := tx.User(user)
	taken := err == nil
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return person{}, err
	}
	switch {
	case taken && p.Taken == config.SSOTakenLink:
		return person{id: user, exists: true}, s.mayLink(tx, p, u)
	case p.ExistingOnly:
		return person{}, merr.New(merr.Forbidden, "You have no account here, and cannot make one in this way")
	case taken && p.Taken != config.SSOTakenNumber:
		return person{}, merr.Newf(merr.UserInUse, "The name %s belongs to somebody else here. Please ask the administrator", user)
	}
	for n := 2; taken; n++ {
		if n > maxNumber {
			return person{}, errUserInUse
		}
		if user, err = id.NewUserID(localpart+strconv.Itoa(n), s.server); err != nil {
			return person{}, err
		}
		if s.appservices.UserTaken(user, "") {
			continue
		}
		if taken, err = tx.HasUser(user); err != nil {
			return person{}, err
		}
	}
	return person{id: user}, s.allowedUsername(user.Localpart())
}

// mayLink refuses accounts that cannot become somebody's who merely has the same name at a provider.
func (s *Service) mayLink(tx *storage.ReadTx, p *sso.Provider, u storage.User) error {
	if err := mayLogIn(u); err != nil {
		return err
	}
	ids, err := tx.ExternalIDs(u.ID)
	if err != nil {
		return err
	}
	for _, e := range ids {
		// Providers give a name to somebody else once its owner has gone: that one must not get the account.
		if e.Provider == p.ID {
			return merr.Newf(merr.UserInUse, "The account %s belongs to somebody else at your provider. Please ask the administrator", u.ID)
		}
	}
	// Whoever could choose a name at the provider would get more than an account.
	if u.Guest || u.Admin || u.Type == serviceType || s.reserved(u.ID.Localpart()) {
		return errUserInUse
	}
	return nil
}

// admitSSO returns the user whom somebody at a provider is, and makes or links the account before if that has to be.
func (s *Service) admitSSO(tx *storage.Tx, p *sso.Provider, v *visit, agreed bool) (id.UserID, error) {
	// What was found on arrival may have changed since.
	who, err := s.ssoUser(&tx.ReadTx, p, v)
	if err != nil || who.linked {
		return who.id, err
	}
	if !who.exists {
		if len(s.config.Get().Registration.Terms) > 0 && !agreed {
			return "", merr.New(merr.Forbidden, "An account is made only for those who agree to the terms")
		}
		name := v.DisplayName
		if name == "" {
			name = who.id.Localpart()
		}
		if err := s.insertUser(tx, storage.User{ID: who.id, CreatedTS: s.now()}, name); err != nil {
			return "", err
		}
	}
	fresh, err := tx.InsertExternalID(who.id, storage.ExternalID{Provider: p.ID, Subject: v.Subject}, s.now())
	if err == nil && !fresh {
		err = errNoVisit
	}
	return who.id, err
}
