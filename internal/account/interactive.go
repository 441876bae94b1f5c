package account

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// The stages of user-interactive authentication that this server knows.
//
// Spec: client-server-api#authentication-types
const (
	StagePassword          = "m.login.password"
	StageDummy             = "m.login.dummy"
	StageRegistrationToken = "m.login.registration_token"
	StageTerms             = "m.login.terms"
	StageEmail             = "m.login.email.identity"
	StageSSO               = "m.login.sso"
)

// Operation is a request that has to be confirmed interactively.
type Operation struct {
	Name string          // method and path, to which a session is pinned
	User id.UserID       // who has to confirm it; empty: whoever does
	Body json.RawMessage // the object of the request, with its auth member if there is one
	// Managed says that nobody is asked, because an application service does it with a user of its own.
	Managed bool

	purpose mail.Purpose // of the addresses with which it can be confirmed; empty: none
}

// Confirmation is the outcome of a completed authentication.
type Confirmation struct {
	User  id.UserID       // who gave a password or has the address, empty if nobody was asked for either
	Token string          // the registration token that was given
	Email provenEmail     // the address that was confirmed; to be taken before it counts
	Body  json.RawMessage // the request without auth: the pinned one where the last request had nothing but auth
}

// Challenge is the answer to a request that is not confirmed yet. It is an error, to be sent as it is with the status 401.
//
// Spec: client-server-api#user-interactive-api-in-the-rest-api
type Challenge struct {
	Code      merr.Code      `json:"errcode,omitempty"` // set if a stage failed
	Msg       string         `json:"error,omitempty"`
	Completed []string       `json:"completed,omitempty"`
	Flows     []Flow         `json:"flows"`
	Params    map[string]any `json:"params"`
	Session   string         `json:"session"`
}

// Flow is the stages of one way to confirm, in their order.
type Flow struct {
	Stages []string `json:"stages"`
}

// Error says what failed, if anything.
func (c *Challenge) Error() string {
	if c.Code == "" {
		return "user-interactive authentication is needed"
	}
	return string(c.Code) + ": " + c.Msg
}

// provenEmail is an address that was confirmed by following the link in a letter.
type provenEmail struct {
	SID         string `json:"sid"` // of the validation; empty for no address
	Address     string `json:"address"`
	ValidatedTS int64  `json:"validated_ts"`
}

// authDict is the auth member of a request.
type authDict struct {
	Type    string `json:"type"`
	Session string `json:"session"`
	Token   string `json:"token"`
	credentials
	Threepid       threepidCreds `json:"threepid_creds"`
	LegacyThreepid threepidCreds `json:"threepidCreds"` // as the first clients wrote it
}

// interaction is an authentication under way, stored sealed.
type interaction struct {
	Operation string          `json:"operation"`
	For       id.UserID       `json:"for"`
	Flows     []Flow          `json:"flows"`
	Completed []string        `json:"completed"`
	Body      json.RawMessage `json:"body"`
	User      id.UserID       `json:"user"`
	Token     string          `json:"token"`
	Email     provenEmail     `json:"email"`

	purpose mail.Purpose
	session string
	stored  bool
}

// maxConfirmed is the size, in bytes, of a request that has to be confirmed. It is kept until it is, or for as long as that may take, and
// anybody can begin one.
const maxConfirmed = 64 << 10

// confirm asks for the stages of one of the flows. It returns a *Challenge as error as long as some are missing.
func (s *Service) confirm(ctx context.Context, op Operation, flows []Flow) (Confirmation, error) {
	if len(op.Body) > maxConfirmed {
		return Confirmation{}, merr.Newf(merr.TooLarge, "The body is larger than the %d bytes allowed here", maxConfirmed)
	}
	auth, body, err := splitAuth(op.Body)
	if err != nil {
		return Confirmation{}, err
	}
	if op.Managed {
		return Confirmation{User: op.User, Body: body}, nil
	}
	in := &interaction{Operation: op.Name, For: op.User, Flows: flows, Body: body}
	if auth != nil && auth.Session != "" {
		if in, err = s.resume(ctx, auth.Session, op, body); err != nil {
			return Confirmation{}, err
		}
		// What is asked for may have changed since, by a reload.
		in.Flows = flows
	}
	in.purpose = op.purpose
	var failed *merr.Error
	if auth != nil && auth.Type != "" && !slices.Contains(in.Completed, auth.Type) {
		if err := s.stage(ctx, in, auth); err != nil {
			// A wrong password, or a link that was not followed yet, is part of the conversation; all else, such as another user's password, ends it.
			if !errors.As(err, &failed) || failed.Code != merr.Forbidden && failed.Code != merr.Unauthorized || failed.Status != 401 {
				return Confirmation{}, err
			}
		}
	}
	if auth != nil && failed == nil && in.complete() {
		return s.finish(ctx, in)
	}
	return Confirmation{}, s.challenge(ctx, in, failed)
}

// splitAuth takes the auth member out of a request.
func splitAuth(raw json.RawMessage) (*authDict, json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	if err := decode(raw, &members); err != nil {
		return nil, nil, err
	}
	text := members["auth"]
	delete(members, "auth")
	body, err := json.Marshal(members) // sorted, so that equal requests are equal bytes
	if err != nil {
		return nil, nil, err
	}
	if len(text) == 0 || string(text) == "null" {
		return nil, body, nil
	}
	auth := &authDict{}
	if err := decode(text, auth); err != nil {
		return nil, nil, merr.New(merr.BadJSON, "auth is not an object, or has members of a wrong type")
	}
	return auth, body, nil
}

// resume loads an authentication and makes sure that the request is the one it was begun for. The parameters may still change until the
// first stage is completed, because some clients begin without; a request with nothing but auth means the ones from before.
func (s *Service) resume(ctx context.Context, session string, op Operation, body json.RawMessage) (*interaction, error) {
	in, err := s.loadInteraction(ctx, session)
	if err != nil {
		return nil, err
	}
	if in.Operation != op.Name || in.For != op.User {
		return nil, merr.New(merr.Forbidden, "The authentication session belongs to another request")
	}
	switch {
	case string(body) == "{}":
	case len(in.Completed) == 0 || string(in.Body) == "{}":
		in.Body = body
	case !bytes.Equal(in.Body, body):
		return nil, merr.New(merr.Forbidden, "The request has changed during its authentication")
	}
	return in, nil
}

// stage tries one stage and notes its completion. An error with the status 401 lets the client try again.
func (s *Service) stage(ctx context.Context, in *interaction, auth *authDict) error {
	if !in.next(auth.Type) {
		return merr.Newf(merr.Forbidden, "This is not the time for %q", brief(auth.Type)).WithStatus(401)
	}
	switch auth.Type {
	case StagePassword:
		user, err := s.checkCredentials(ctx, auth.credentials)
		if err != nil {
			if merr.HasCode(err, merr.Forbidden) {
				return merr.New(merr.Forbidden, "Invalid password").WithStatus(401)
			}
			return err
		}
		if in.For != "" && in.For != user.ID {
			return errNotOwner
		}
		if err := mayLogIn(user); err != nil {
			return err
		}
		in.User = user.ID
	case StageEmail:
		if err := s.emailStage(ctx, in, auth); err != nil {
			return err
		}
	case StageSSO:
		return merr.New(merr.Forbidden, "This is done in a browser, on the page of this server for it").WithStatus(401)
	case StageRegistrationToken:
		if err := s.checkRegistrationToken(ctx, auth.Token); err != nil {
			return err
		}
		in.Token = auth.Token
	}
	in.Completed = append(in.Completed, auth.Type)
	return nil
}

// next reports whether a stage can come after those that are completed.
func (in *interaction) next(stage string) bool {
	n := len(in.Completed)
	return slices.ContainsFunc(in.Flows, func(f Flow) bool {
		return len(f.Stages) > n && slices.Equal(f.Stages[:n], in.Completed) && f.Stages[n] == stage
	})
}

func (in *interaction) complete() bool {
	return slices.ContainsFunc(in.Flows, func(f Flow) bool { return slices.Equal(f.Stages, in.Completed) })
}

// finish ends an authentication. It can be done only once.
func (s *Service) finish(ctx context.Context, in *interaction) (Confirmation, error) {
	if in.stored {
		var first bool
		err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
			first, err = tx.DeleteAuthSession(hashToken(in.session))
			return err
		})
		if err != nil {
			return Confirmation{}, err
		}
		if !first {
			return Confirmation{}, errNoSession
		}
	}
	return Confirmation{User: in.User, Token: in.Token, Email: in.Email, Body: in.Body}, nil
}

// challenge stores an authentication and says what is missing.
func (s *Service) challenge(ctx context.Context, in *interaction, failed *merr.Error) error {
	if in.session == "" {
		in.session = rand.Text()
	}
	if err := s.saveInteraction(ctx, in); err != nil {
		return err
	}
	c := &Challenge{Completed: in.Completed, Flows: in.Flows, Params: map[string]any{}, Session: in.session}
	if failed != nil {
		c.Code, c.Msg = failed.Code, failed.Msg
	}
	if slices.ContainsFunc(in.Flows, func(f Flow) bool { return slices.Contains(f.Stages, StageTerms) }) {
		c.Params[StageTerms] = s.terms()
	}
	return c
}

// CompleteStage completes a stage outside of the request, on a page in a browser. For registration tokens, token is the one given.
//
// Spec: client-server-api#fallback
func (s *Service) CompleteStage(ctx context.Context, session, stage, token string) error {
	in, err := s.loadInteraction(ctx, session)
	if err != nil {
		return err
	}
	if slices.Contains(in.Completed, stage) {
		return nil
	}
	if stage == StagePassword || stage == StageEmail {
		return merr.New(merr.Unrecognized, "This is done in your client")
	}
	if err := s.stage(ctx, in, &authDict{Type: stage, Token: token}); err != nil {
		return err
	}
	return s.saveInteraction(ctx, in)
}

// completeSSO completes the stage of single sign-on for whoever has logged in at a provider.
func (s *Service) completeSSO(ctx context.Context, session string, user id.UserID) error {
	in, err := s.loadInteraction(ctx, session)
	if err != nil || slices.Contains(in.Completed, StageSSO) {
		return err
	}
	if !in.next(StageSSO) {
		return merr.New(merr.Forbidden, "This is not the time for single sign-on")
	}
	if in.For != user {
		return errNotOwner
	}
	in.User, in.Completed = user, append(in.Completed, StageSSO)
	return s.saveInteraction(ctx, in)
}

var errNotOwner = merr.New(merr.Forbidden, "This has to be confirmed by the owner of the account")

// HasSession reports whether an authentication is under way.
func (s *Service) HasSession(ctx context.Context, session string) error {
	_, err := s.loadInteraction(ctx, session)
	return err
}

var errNoSession = merr.New(merr.Unknown, "The authentication session is unknown or has expired").WithStatus(400)

func (s *Service) loadInteraction(ctx context.Context, session string) (*interaction, error) {
	var sealed []byte
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		sealed, err = tx.AuthSession(hashToken(session), s.now())
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errNoSession
	}
	if err != nil {
		return nil, err
	}
	plain, err := unseal(session, sealed)
	if err != nil {
		return nil, err
	}
	in := &interaction{session: session, stored: true}
	if err := json.Unmarshal(plain, in); err != nil {
		return nil, fmt.Errorf("read an authentication session: %w", err)
	}
	return in, nil
}

func (s *Service) saveInteraction(ctx context.Context, in *interaction) error {
	plain, err := json.Marshal(in)
	if err != nil {
		return err
	}
	sealed, err := seal(in.session, plain)
	if err != nil {
		return err
	}
	expires := s.after(s.config.Get().Sessions.AuthLifetime)
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		return tx.PutAuthSession(hashToken(in.session), sealed, expires)
	})
}

// brief shortens what a client sent, to be repeated to it.
func brief(text string) string {
	if len(text) > 64 {
		return text[:64] + "..."
	}
	return text
}
