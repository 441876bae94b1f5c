package account

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/hearthd/hearth/internal/appservice"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

// LoginTypeAppservice is the type of logins and registrations of application services.
const LoginTypeAppservice = "m.login.application_service"

// masquerade makes an application service the user it wants to be: its sender, or asUser, who has to be in one of its namespaces, and perhaps
// a device of that user, which the query names.
//
// Spec: application-service-api#identity-assertion
func (s *Service) masquerade(ctx context.Context, as *appservice.Registration, asUser string, r *http.Request) (web.Caller, error) {
	user := as.Sender
	if asUser != "" {
		var err error
		if user, err = id.ParseUserID(asUser); err != nil || !as.HasUser(user) {
			return web.Caller{}, merr.New(merr.Forbidden, "The application service cannot be that user, who is not in its namespaces")
		}
	}
	var device id.DeviceID
	if r != nil && r.URL.RawQuery != "" {
		query := r.URL.Query()
		device = id.DeviceID(query.Get("device_id"))
		if device == "" {
			device = id.DeviceID(query.Get("org.matrix.msc3202.device_id")) // its name before v1.17
		}
	}
	var account storage.User
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		account, err = tx.User(user)
		if errors.Is(err, storage.ErrNotFound) || err == nil && account.Deactivated() {
			return merr.Newf(merr.Forbidden, "There is no user %s, or not any more", user)
		}
		if err != nil || device == "" {
			return err
		}
		if _, err = tx.Device(user, device); errors.Is(err, storage.ErrNotFound) {
			return merr.New(merr.UnknownDevice, "The user has no such device")
		}
		return err
	})
	if err != nil {
		return web.Caller{}, err
	}
	if device != "" {
		s.sight(storage.Session{UserID: user, DeviceID: device}, r)
	}
	return web.Caller{
		User: user, Device: device, AppserviceID: as.ID, Suspended: account.Suspended, Locked: account.Locked,
		// An administrator in a wide namespace does not make an administrator of the application service.
		Admin: account.Admin && user == as.Sender,
		// Spec: application-service-api#registration (rate_limited)
		Unlimited: !as.RateLimited || user == as.Sender,
	}, nil
}

// appserviceOf finds the application service that makes a request, by its as_token.
//
// Spec: application-service-api#server-admin-style-permissions
func (s *Service) appserviceOf(token string) (*appservice.Registration, error) {
	if token == "" {
		return nil, merr.New(merr.MissingToken, "Missing access token")
	}
	as := s.appservices.ByToken(token)
	if as == nil {
		return nil, errUnknownToken
	}
	return as, nil
}

var errExclusive = merr.New(merr.Exclusive, "The name is in a namespace of an application service")

// RegisterByAppservice makes an account without a password for an application service, in every mode of registration. The name must be in one
// of its namespaces. Errors: M_MISSING_TOKEN, M_UNKNOWN_TOKEN, M_EXCLUSIVE, M_USER_IN_USE, M_INVALID_USERNAME.
//
// Spec: application-service-api#server-admin-style-permissions
func (s *Service) RegisterByAppservice(ctx context.Context, token string, body json.RawMessage) (Login, error) {
	as, err := s.appserviceOf(token)
	if err != nil {
		return Login{}, err
	}
	var asked registration
	if err := decode(body, &asked); err != nil {
		return Login{}, err
	}
	if asked.Username == nil {
		return Login{}, merr.New(merr.MissingParam, "The username is missing")
	}
	if err := asked.loginOptions.check(); err != nil {
		return Login{}, err
	}
	user, err := s.newUserID(*asked.Username)
	if err != nil {
		return Login{}, err
	}
	if !as.HasUser(user) || s.appservices.UserTaken(user, as.ID) {
		return Login{}, merr.New(merr.Exclusive, "The name is not in a namespace of the application service, or another one's alone")
	}
	out := Login{UserID: user, HomeServer: s.server}
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		err := s.insertUser(tx, storage.User{ID: user, CreatedTS: s.now()}, user.Localpart())
		if err != nil || asked.InhibitLogin {
			return err
		}
		out, err = s.startSession(tx, user, asked.loginOptions)
		return err
	})
	return out, err
}

// LoginByAppservice starts a session for a user in a namespace of an application service.
//
// Spec: application-service-api#server-admin-style-permissions
func (s *Service) LoginByAppservice(ctx context.Context, token string, body json.RawMessage) (Login, error) {
	as, err := s.appserviceOf(token)
	if err != nil {
		return Login{}, err
	}
	var asked struct {
		credentials
		loginOptions
	}
	if err := decode(body, &asked); err != nil {
		return Login{}, err
	}
	if err := asked.loginOptions.check(); err != nil {
		return Login{}, err
	}
	who, err := asked.credentials.normal()
	if err != nil {
		return Login{}, err
	}
	if who.Type != "m.id.user" {
		return Login{}, merr.New(merr.InvalidParam, "Application services log users in by their ids")
	}
	user, err := s.ParseLocal(who.User)
	if err != nil || !as.HasUser(user) {
		return Login{}, merr.New(merr.Exclusive, "The user is not in a namespace of the application service")
	}
	return s.login(ctx, asked.loginOptions, func(tx *storage.Tx) (id.UserID, error) {
		if _, err := tx.User(user); errors.Is(err, storage.ErrNotFound) {
			return "", merr.Newf(merr.Forbidden, "There is no user %s", user)
		}
		return user, nil
	})
}

// AddSenders makes accounts for the users as which application services act, where they are missing.
func (s *Service) AddSenders(ctx context.Context) error {
	senders := s.appservices.All()
	if len(senders) == 0 {
		return nil
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		for _, as := range senders {
			taken, err := tx.HasUser(as.Sender)
			if err == nil && !taken {
				err = s.insertUser(tx, storage.User{ID: as.Sender, CreatedTS: s.now()}, "")
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// MayRemoveAlias returns M_EXCLUSIVE for an alias that belongs to an application service alone, which the caller is not.
//
// Spec: application-service-api#registration
func (s *Service) MayRemoveAlias(caller web.Caller, alias id.RoomAlias) error {
	if s.appservices.AliasTaken(alias, caller.AppserviceID) {
		return merr.New(merr.Exclusive, "The alias is in a namespace of an application service")
	}
	return nil
}

// MayMakeAlias is MayRemoveAlias for an alias that is not there yet. Application services make them only in their namespaces.
//
// Spec: application-service-api#server-admin-style-permissions
func (s *Service) MayMakeAlias(caller web.Caller, alias id.RoomAlias) error {
	if err := s.MayRemoveAlias(caller, alias); err != nil {
		return err
	}
	if caller.AppserviceID != "" && !s.appservices.HasAlias(caller.AppserviceID, alias) {
		return merr.New(merr.Exclusive, "The alias is not in a namespace of the application service")
	}
	return nil
}

// ManagesAlias reports whether the caller is an application service that has an alias in its namespaces, and so may do with it what its
// creator may.
func (s *Service) ManagesAlias(caller web.Caller, alias id.RoomAlias) bool {
	return caller.AppserviceID != "" && s.appservices.HasAlias(caller.AppserviceID, alias)
}

// PutDevice gives a device a name, or makes it, and reports whether it is new. It is for application services, which make devices without
// logging in.
//
// Spec: application-service-api#device-management
func (s *Service) PutDevice(ctx context.Context, user id.UserID, device id.DeviceID, name *string) (bool, error) {
	err := s.RenameDevice(ctx, user, device, name)
	if !errors.Is(err, errNoDevice) {
		return false, err
	}
	var fresh bool
	err = s.store.Update(ctx, func(tx *storage.Tx) (err error) {
		text := ""
		if name != nil {
			text = *name
		}
		fresh, err = s.insertDevice(tx, user, device, text)
		return err
	})
	return fresh, err
}
