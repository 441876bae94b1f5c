package account

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// registration is the body of POST /register.
type registration struct {
	Username         *string `json:"username"`
	Password         *string `json:"password"`
	InhibitLogin     bool    `json:"inhibit_login"`
	GuestAccessToken string  `json:"guest_access_token"`
	loginOptions
}

// Register makes an account and, unless the client does not want that, logs it in. It returns a *Challenge as error until the client has
// gone through one of the flows that the configuration asks for.
//
// Spec: client-server-api#post_matrixclientv3register
func (s *Service) Register(ctx context.Context, op Operation) (Login, error) {
	if s.config.Get().Registration.Mode == config.RegistrationDisabled {
		return Login{}, merr.New(merr.Forbidden, "Registration is disabled")
	}
	var asked registration
	if err := decode(op.Body, &asked); err != nil {
		return Login{}, err
	}
	// The request is judged before the client is made to do anything for it, and again once it is known in full.
	if _, err := s.checkRegistration(ctx, asked); err != nil {
		return Login{}, err
	}
	flows, err := s.registrationFlows(ctx)
	if err != nil {
		return Login{}, err
	}
	op.purpose = mail.Register
	c, err := s.confirm(ctx, op, flows)
	if err != nil {
		return Login{}, err
	}
	asked = registration{}
	if err := decode(c.Body, &asked); err != nil {
		return Login{}, err
	}
	user, err := s.checkRegistration(ctx, asked)
	if err != nil {
		return Login{}, err
	}
	if asked.Password == nil {
		return Login{}, merr.New(merr.MissingParam, "The password is missing")
	}
	hash, err := s.hasher.hash(ctx, *asked.Password)
	if err != nil {
		return Login{}, err
	}
	return s.finishRegistration(ctx, user, asked, hash, c)
}

// finishRegistration stores what Register has found to be right.
func (s *Service) finishRegistration(ctx context.Context, user id.UserID, asked registration, hash string, c Confirmation) (Login, error) {
	var out Login
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		u := storage.User{ID: user, PasswordHash: hash, CreatedTS: s.now()}
		if c.Token != "" {
			t, err := tx.UseRegistrationToken(c.Token, s.now())
			if errors.Is(err, storage.ErrNotFound) {
				return merr.New(merr.Forbidden, "The registration token is not valid any more")
			}
			if err != nil {
				return err
			}
			u.Admin = t.Admin
		}
		var err error
		if asked.GuestAccessToken != "" {
			tx.OnCommit(func() { s.sessions.drop(user) })
			if err = tx.PromoteGuest(user, hash); errors.Is(err, storage.ErrNotFound) {
				err = merr.New(merr.Forbidden, "This is no guest any more")
			}
			if err == nil && u.Admin {
				err = s.makeAdmin(tx, user)
			}
		} else {
			err = s.insertUser(tx, u, user.Localpart())
		}
		if err == nil && c.Email.SID != "" {
			err = s.giveProven(tx, user, c.Email)
		}
		if err != nil || asked.InhibitLogin {
			out = Login{UserID: user, HomeServer: s.server}
			return err
		}
		out, err = s.startSession(tx, user, asked.loginOptions)
		return err
	})
	return out, err
}

// insertUser stores an account with its display name, if any, and the push rules of somebody who has changed none.
func (s *Service) insertUser(tx *storage.Tx, u storage.User, displayName string) error {
	fresh, err := tx.InsertUser(u)
	if err != nil {
		return err
	}
	if !fresh {
		return errUserInUse
	}
	if u.Admin {
		if err := s.makeAdmin(tx, u.ID); err != nil {
			return err
		}
	}
	if displayName != "" {
		value, err := json.Marshal(displayName)
		if err != nil {
			return err
		}
		if err := tx.SetProfileField(u.ID, fieldDisplayName, value); err != nil {
			return err
		}
	}
	pos, err := s.changed(tx, u.ID)
	if err != nil {
		return err
	}
	return tx.SetAccountData(u.ID, storage.AccountData{Type: storage.PushRulesType, Content: json.RawMessage("{}"), Pos: pos})
}

// RegisterGuest makes an account that has no password and logs it in. Only the device's display name counts of what was asked.
//
// Spec: client-server-api#guest-access
func (s *Service) RegisterGuest(ctx context.Context, body json.RawMessage) (Login, error) {
	if !s.config.Get().Registration.Guests {
		return Login{}, merr.New(merr.Forbidden, "Guest access is disabled")
	}
	var asked loginOptions
	if err := decode(body, &asked); err != nil {
		return Login{}, err
	}
	user, err := id.NewUserID("guest-"+strings.ToLower(rand.Text()[:12]), s.server)
	if err != nil {
		return Login{}, err
	}
	var out Login
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		if err := s.insertUser(tx, storage.User{ID: user, Guest: true, CreatedTS: s.now()}, ""); err != nil {
			return err
		}
		out, err = s.startSession(tx, user, loginOptions{DisplayName: asked.DisplayName})
		return err
	})
	return out, err
}

// registrationFlows are the ways to register that are open now.
func (s *Service) registrationFlows(ctx context.Context) ([]Flow, error) {
	cfg := s.config.Get().Registration
	ways := [][]string{{StageRegistrationToken}}
	if cfg.Mode == config.RegistrationOpen {
		ways = [][]string{{}}
		// The first administrator uses a token even where nobody else needs one.
		switch err := s.store.View(ctx, func(tx *storage.ReadTx) error { _, err := tx.AdminToken(s.now()); return err }); {
		case err == nil:
			ways = append(ways, []string{StageRegistrationToken})
		case !errors.Is(err, storage.ErrNotFound):
			return nil, err
		}
	}
	var flows []Flow
	for _, stages := range ways {
		if len(cfg.Terms) > 0 {
			stages = append(stages, StageTerms)
		}
		flows = append(flows, s.withEmail(stages)...)
	}
	return flows, nil
}

// withEmail adds the stage of an e-mail address to a way to register, as one more way where the address is not needed.
func (s *Service) withEmail(stages []string) []Flow {
	var flows []Flow
	if !s.mail.Enabled() || !s.config.Get().Registration.RequireEmail {
		plain := stages
		if len(plain) == 0 {
			plain = []string{StageDummy}
		}
		flows = append(flows, Flow{plain})
	}
	if s.mail.Enabled() {
		flows = append(flows, Flow{append(slices.Clone(stages), StageEmail)})
	}
	return flows
}

// terms are the parameters of the terms stage.
//
// Spec: client-server-api#terms-of-service-at-registration
func (s *Service) terms() map[string]any {
	policies := map[string]map[string]any{}
	for _, t := range s.config.Get().Registration.Terms {
		if policies[t.ID] == nil {
			policies[t.ID] = map[string]any{"version": t.Version}
		}
		policies[t.ID][t.Language] = map[string]string{"name": t.Name, "url": t.URL}
	}
	return map[string]any{"policies": policies}
}

// checkRegistration returns the user id that a request to register leads to, or why it cannot be had.
func (s *Service) checkRegistration(ctx context.Context, asked registration) (id.UserID, error) {
	if asked.Password != nil {
		if !s.config.Get().Passwords.Enabled {
			return "", errNoPasswords
		}
		if err := s.checkPassword(*asked.Password); err != nil {
			return "", err
		}
	}
	if err := asked.loginOptions.check(); err != nil {
		return "", err
	}
	if asked.GuestAccessToken != "" {
		return s.checkGuest(ctx, asked)
	}
	if asked.Username == nil {
		return id.NewUserID(strings.ToLower(rand.Text()[:12]), s.server)
	}
	return s.checkUsername(ctx, *asked.Username)
}

// checkGuest checks that a guest who becomes a user keeps the name.
//
// Spec: client-server-api#guest-access
func (s *Service) checkGuest(ctx context.Context, asked registration) (id.UserID, error) {
	session, err := s.session(ctx, asked.GuestAccessToken)
	if err != nil {
		return "", err
	}
	if !session.Guest || asked.Username == nil || *asked.Username != session.UserID.Localpart() {
		return "", merr.New(merr.Forbidden, "guest_access_token must belong to a guest, and username be its name")
	}
	return session.UserID, nil
}

var errUserInUse = merr.New(merr.UserInUse, "Desired user ID is already taken.")

// Available returns nil if somebody could register under a name, else M_USER_IN_USE or M_INVALID_USERNAME.
func (s *Service) Available(ctx context.Context, username string) error {
	if s.config.Get().Registration.Mode == config.RegistrationDisabled {
		return merr.New(merr.Forbidden, "Registration is disabled")
	}
	_, err := s.checkUsername(ctx, username)
	return err
}

// checkUsername returns the user id for a name that somebody wants, if it is free.
func (s *Service) checkUsername(ctx context.Context, username string) (id.UserID, error) {
	user, err := s.newUserID(username)
	if err != nil {
		return "", err
	}
	if s.appservices.UserTaken(user, "") {
		return "", errExclusive
	}
	if err := s.allowedUsername(user.Localpart()); err != nil {
		return "", err
	}
	return user, s.store.View(ctx, func(tx *storage.ReadTx) error {
		taken, err := tx.HasUser(user)
		if err == nil && taken {
			err = errUserInUse
		}
		return err
	})
}

// newUserID maps a name to a user id. Capitals are lowered, all else that the grammar does not have is refused.
//
// Spec: appendices#user-identifiers
func (s *Service) newUserID(username string) (id.UserID, error) {
	user, err := id.NewUserID(lower(username), s.server)
	if err != nil {
		return "", merr.New(merr.InvalidUsername, "A user name may contain only a-z, 0-9 and ._=-/+ and must not be too long")
	}
	return user, nil
}

// lower maps the capitals of ASCII alone: Unicode has others that become letters of ASCII.
func lower(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

// reserved reports whether a name is nobody's to choose.
func (s *Service) reserved(name string) bool {
	cfg := s.config.Get()
	return slices.Contains(cfg.Registration.ReservedUsernames, name) || name == cfg.ServerNotices.Localpart
}

// allowedUsername applies what this server asks of names beyond the grammar.
func (s *Service) allowedUsername(name string) error {
	cfg := s.config.Get().Registration
	switch {
	case strings.HasPrefix(name, "_"):
		return merr.New(merr.InvalidUsername, "User names that start with _ are for application services")
	case strings.HasPrefix(name, "guest-"):
		return merr.New(merr.InvalidUsername, "User names that start with guest- are for guests")
	case len(name) < cfg.UsernameMinLength:
		return merr.Newf(merr.InvalidUsername, "A user name must have at least %d characters", cfg.UsernameMinLength)
	case s.reserved(name):
		return merr.New(merr.InvalidUsername, "This user name is reserved")
	}
	if cfg.UsernamePattern == "" {
		return nil
	}
	pattern, err := regexp.Compile("^(?:" + cfg.UsernamePattern + ")$")
	if err != nil {
		return err
	}
	if !pattern.MatchString(name) {
		return merr.New(merr.InvalidUsername, "This server does not allow such user names")
	}
	return nil
}
