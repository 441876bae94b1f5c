package account

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/identity"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Login is what a client gets to know of its new session.
type Login struct {
	UserID       id.UserID     `json:"user_id"`
	AccessToken  string        `json:"access_token,omitempty"`
	DeviceID     id.DeviceID   `json:"device_id,omitempty"`
	RefreshToken string        `json:"refresh_token,omitempty"`
	ExpiresInMS  int64         `json:"expires_in_ms,omitempty"`
	HomeServer   id.ServerName `json:"home_server"` // deprecated, still read by some clients
}

// loginOptions are what requests to log in and to register have in common.
type loginOptions struct {
	DeviceID     string `json:"device_id"`
	DisplayName  string `json:"initial_device_display_name"`
	RefreshToken bool   `json:"refresh_token"`
}

func (o loginOptions) check() error {
	if o.DeviceID == "" {
		return nil
	}
	if _, err := id.ParseDeviceID(o.DeviceID); err != nil {
		return merr.New(merr.InvalidParam, err.Error())
	}
	return nil
}

// LoginFlow is a type of login that the server offers.
type LoginFlow struct {
	Type              string        `json:"type"`
	GetLoginToken     bool          `json:"get_login_token,omitempty"`
	IdentityProviders []SSOProvider `json:"identity_providers,omitempty"`
}

const loginTypeToken = "m.login.token"

// LoginFlows lists the ways to log in.
func (s *Service) LoginFlows() []LoginFlow {
	var flows []LoginFlow
	if s.config.Get().Passwords.Enabled {
		flows = append(flows, LoginFlow{Type: StagePassword})
	}
	if providers := s.SSOProviders(); len(providers) > 0 {
		flows = append(flows, LoginFlow{Type: StageSSO, IdentityProviders: providers})
	}
	flows = append(flows, LoginFlow{Type: loginTypeToken, GetLoginToken: true})
	if len(s.appservices.All()) > 0 {
		flows = append(flows, LoginFlow{Type: LoginTypeAppservice})
	}
	return flows
}

// Login starts a session for whoever has a password or a login token.
//
// Spec: client-server-api#post_matrixclientv3login
func (s *Service) Login(ctx context.Context, body json.RawMessage) (Login, error) {
	var asked struct {
		Type  string `json:"type"`
		Token string `json:"token"`
		credentials
		loginOptions
	}
	if err := decode(body, &asked); err != nil {
		return Login{}, err
	}
	if err := asked.loginOptions.check(); err != nil {
		return Login{}, err
	}
	switch asked.Type {
	case StagePassword:
		user, err := s.checkCredentials(ctx, asked.credentials)
		if err != nil {
			return Login{}, err
		}
		return s.login(ctx, asked.loginOptions, func(*storage.Tx) (id.UserID, error) { return user.ID, nil })
	case loginTypeToken:
		if !looksLike(loginPrefix, asked.Token) {
			return Login{}, errLoginToken
		}
		return s.login(ctx, asked.loginOptions, func(tx *storage.Tx) (id.UserID, error) {
			user, err := tx.TakeSingleToken(hashToken(asked.Token), storage.LoginToken, s.now())
			if errors.Is(err, storage.ErrNotFound) {
				err = errLoginToken
			}
			return user, err
		})
	case "":
		return Login{}, merr.New(merr.MissingParam, "The type is missing")
	}
	return Login{}, merr.New(merr.Unknown, "Bad login type.").WithStatus(400)
}

// LoginAccount names the account that a login is tried for, so that guessing can be limited per account, not only per address. It is empty
// if the request does not name one.
func (s *Service) LoginAccount(body json.RawMessage) string {
	var c credentials
	if decode(body, &c) != nil {
		return ""
	}
	i, err := c.normal()
	if err != nil {
		return ""
	}
	if i.Type == "m.id.user" {
		user, err := s.ParseLocal(lower(i.User))
		if err != nil {
			return ""
		}
		return string(user)
	}
	// As identify does, or one account would have as many names as its address has spellings.
	t, err := identity.ParseThreepid(i.Medium, i.Address)
	if err != nil {
		return ""
	}
	return t.Medium + ":" + t.Address
}

var errLoginToken = merr.New(merr.Forbidden, "The login token is not valid")

// login starts a session for the user whom who finds.
func (s *Service) login(ctx context.Context, o loginOptions, who func(*storage.Tx) (id.UserID, error)) (Login, error) {
	var out Login
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		name, err := who(tx)
		if err != nil {
			return err
		}
		user, err := tx.User(name)
		if err != nil {
			return err
		}
		if err := mayLogIn(user); err != nil {
			return err
		}
		out, err = s.startSession(tx, user.ID, o)
		return err
	})
	return out, err
}

// mayLogIn refuses users who have proven who they are but may not come in.
func mayLogIn(u storage.User) error {
	switch {
	case u.Deactivated():
		return merr.New(merr.UserDeactivated, "This account has been deactivated")
	case u.Locked:
		// Spec: client-server-api#account-locking
		return errLocked
	}
	return nil
}

var errLocked = merr.New(merr.UserLocked, "This account has been locked").With("soft_logout", true)

// startSession makes tokens for a device, which is made if it is not there. Tokens it had before are revoked.
//
// Spec: client-server-api#relationship-between-access-tokens-and-devices
func (s *Service) startSession(tx *storage.Tx, user id.UserID, o loginOptions) (Login, error) {
	device := id.DeviceID(o.DeviceID)
	if device == "" {
		device = id.DeviceID(newDeviceID())
	}
	fresh, err := s.insertDevice(tx, user, device, o.DisplayName)
	if err != nil {
		return Login{}, err
	}
	if !fresh {
		tx.OnCommit(func() { s.loggedOut(user) })
		if err := tx.DeleteDeviceTokens(user, device); err != nil {
			return Login{}, err
		}
	}
	return s.issue(tx, user, device, o.RefreshToken, nil)
}

// insertDevice makes a device, unless it is there, and reports whether it is new.
func (s *Service) insertDevice(tx *storage.Tx, user id.UserID, device id.DeviceID, displayName string) (bool, error) {
	// Spec: client-server-api#key-and-signature-security, names of devices and of cross-signing keys are in one space
	switch taken, err := tx.IsCrossSigningKey(user, string(device)); {
	case err != nil:
		return false, err
	case taken:
		return false, merr.New(merr.Forbidden, "The device_id is the name of a cross-signing key")
	}
	// Spec: MSC3814, who logs in takes over its messages, not the device
	switch dehydrated, err := tx.DehydratedDevice(user); {
	case err == nil && dehydrated.Device == device:
		return false, merr.New(merr.Forbidden, "The device_id is that of the dehydrated device")
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return false, err
	}
	row := storage.Device{UserID: user, ID: device, CreatedTS: s.now()}
	if name := deviceName(displayName); name != "" {
		row.DisplayName = &name
	}
	return tx.InsertDevice(row)
}

// issue makes an access token and, if asked to, a refresh token that follows upon previous.
func (s *Service) issue(tx *storage.Tx, user id.UserID, device id.DeviceID, refresh bool, previous *storage.TokenHash) (Login, error) {
	cfg := s.config.Get().Sessions
	out := Login{UserID: user, DeviceID: device, AccessToken: newToken(accessPrefix), HomeServer: s.server}
	access := storage.AccessToken{Hash: hashToken(out.AccessToken), UserID: user, DeviceID: device, CreatedTS: s.now()}
	life := cfg.PlainTokenLifetime
	if refresh {
		life = cfg.AccessTokenLifetime
		out.RefreshToken = newToken(refreshPrefix)
		hash := hashToken(out.RefreshToken)
		access.Refresh = &hash
		if err := tx.InsertRefreshToken(storage.RefreshToken{
			Hash: hash, UserID: user, DeviceID: device, Previous: previous, ExpiresTS: s.after(cfg.RefreshTokenLifetime),
		}); err != nil {
			return Login{}, err
		}
	}
	access.ExpiresTS, out.ExpiresInMS = s.after(life), life.Milliseconds()
	return out, tx.InsertAccessToken(access)
}

// Refresh exchanges a refresh token for a new access token and a new refresh token. The old one stays valid until one of the new is used.
//
// Spec: client-server-api#post_matrixclientv3refresh
func (s *Service) Refresh(ctx context.Context, token string) (Login, error) {
	if !looksLike(refreshPrefix, token) {
		return Login{}, errUnknownRefresh
	}
	hash := hashToken(token)
	var out Login
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		t, err := tx.RefreshToken(hash)
		if errors.Is(err, storage.ErrNotFound) {
			return errUnknownRefresh
		}
		if err != nil {
			return err
		}
		if expired(t.ExpiresTS, s.now()) {
			return merr.New(merr.UnknownToken, "The refresh token has expired").With("soft_logout", true)
		}
		user, err := tx.User(t.UserID)
		if err != nil {
			return err
		}
		if err := mayLogIn(user); err != nil {
			return err
		}
		tx.OnCommit(func() { s.sessions.drop(t.UserID) })
		if t.Previous != nil {
			if err := tx.RevokeReplaced(*t.Previous); err != nil {
				return err
			}
		}
		// The client uses this token again, so it has lost what it got for it the last time.
		if err := tx.DeleteSuccessors(hash); err != nil {
			return err
		}
		out, err = s.issue(tx, t.UserID, t.DeviceID, true, &hash)
		return err
	})
	return out, err
}

var errUnknownRefresh = merr.New(merr.UnknownToken, "Unknown refresh token")

// NewLoginToken makes a token with which another device can log in as the user, once.
//
// Spec: client-server-api#post_matrixclientv1loginget_token
func (s *Service) NewLoginToken(ctx context.Context, op Operation) (token string, expiresInMS int64, err error) {
	if _, err := s.confirmUser(ctx, op); err != nil {
		return "", 0, err
	}
	life := s.config.Get().Sessions.LoginTokenLifetime
	token, err = s.singleToken(ctx, loginPrefix, storage.LoginToken, op.User, s.after(life))
	return token, life.Milliseconds(), err
}

func (s *Service) singleToken(ctx context.Context, prefix string, p storage.TokenPurpose, user id.UserID, expires int64) (string, error) {
	token := newToken(prefix)
	return token, s.store.Update(ctx, func(tx *storage.Tx) error {
		return tx.InsertSingleToken(hashToken(token), p, user, expires)
	})
}

// confirmUser asks a user for the password, or to log in at a provider once more.
func (s *Service) confirmUser(ctx context.Context, op Operation) (Confirmation, error) {
	flows, err := s.confirmFlows(ctx, op.User)
	if err != nil {
		return Confirmation{}, err
	}
	return s.confirm(ctx, op, flows)
}

// confirmFlows are the ways in which a user can confirm something. Whoever has not said who they are gives a password.
func (s *Service) confirmFlows(ctx context.Context, user id.UserID) ([]Flow, error) {
	byPassword, bySSO := Flow{Stages: []string{StagePassword}}, Flow{Stages: []string{StageSSO}}
	if user == "" || len(s.providers) == 0 {
		return []Flow{byPassword}, nil
	}
	providers, err := s.ssoProvidersOf(ctx, user)
	if err != nil || len(providers) == 0 {
		return []Flow{byPassword}, err
	}
	u, err := s.User(ctx, user)
	if err != nil || u.PasswordHash == "" || !s.config.Get().Passwords.Enabled {
		return []Flow{bySSO}, err
	}
	return []Flow{byPassword, bySSO}, nil
}

// Confirm asks a user to confirm something on behalf of another service, and returns the request without its auth: the pinned one where the last
// request had nothing but auth. The error is a *Challenge as long as the user has not confirmed it.
func (s *Service) Confirm(ctx context.Context, op Operation) (json.RawMessage, error) {
	c, err := s.confirmUser(ctx, op)
	return c.Body, err
}

// maxDeviceName is the length of a device's display name in bytes.
const maxDeviceName = 255

// deviceName makes a display name storable: without NUL, and not longer than anybody would read.
func deviceName(name string) string {
	name = strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", ""), "")
	if len(name) > maxDeviceName {
		name = strings.ToValidUTF8(name[:maxDeviceName], "")
	}
	return name
}
