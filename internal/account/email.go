package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/safehttp"
	"github.com/hearthd/hearth/storage"
)

// mediumEmail is the medium of e-mail addresses.
const mediumEmail = "email"

const (
	maxClientSecret = 255 // characters
	maxNextLink     = 2048
)

// EmailRequest is a request for a letter that confirms an address.
type EmailRequest struct {
	Address  string // canonical form
	secret   string
	attempt  int64
	nextLink string
}

// ErrNoPhones says that this server cannot confirm phone numbers.
//
// Spec: client-server-api#post_matrixclientv3account3pidmsisdnrequesttoken
var ErrNoPhones = merr.New(merr.ThreepidMediumNotSupported, "This server does not use phone numbers")

var errNoMail = merr.New(merr.ThreepidMediumNotSupported, "This server does not send e-mail")

// ParseEmailRequest reads a request for a letter. Errors: M_THREEPID_MEDIUM_NOT_SUPPORTED if no mail is sent, M_MISSING_PARAM, M_INVALID_PARAM.
//
// Spec: client-server-api#post_matrixclientv3registeremailrequesttoken
func (s *Service) ParseEmailRequest(body json.RawMessage) (EmailRequest, error) {
	if !s.mail.Enabled() {
		return EmailRequest{}, errNoMail
	}
	var asked struct {
		Secret   *string `json:"client_secret"`
		Email    *string `json:"email"`
		Attempt  *int64  `json:"send_attempt"`
		NextLink string  `json:"next_link"`
	}
	if err := decode(body, &asked); err != nil {
		return EmailRequest{}, err
	}
	if asked.Secret == nil || asked.Email == nil || asked.Attempt == nil {
		return EmailRequest{}, merr.New(merr.MissingParam, "client_secret, email and send_attempt are needed")
	}
	if !validClientSecret(*asked.Secret) {
		return EmailRequest{}, errClientSecret
	}
	address, err := mail.ParseAddress(*asked.Email)
	if err != nil {
		return EmailRequest{}, merr.New(merr.InvalidParam, "This is not an e-mail address")
	}
	return EmailRequest{address, *asked.Secret, *asked.Attempt, asked.NextLink}, s.checkNextLink(asked.NextLink)
}

var errClientSecret = merr.New(merr.InvalidParam, "client_secret must have 1 to 255 characters of 0-9, a-z, A-Z and .=_-")

// validClientSecret tells whether a text is made as client secrets are, and ids of validations.
//
// Spec: client-server-api#post_matrixclientv3registeremailrequesttoken
func validClientSecret(text string) bool {
	return text != "" && len(text) <= maxClientSecret && !strings.ContainsFunc(text, func(r rune) bool {
		return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune(".=_-", r))
	})
}

// checkNextLink refuses what nobody should be led to.
func (s *Service) checkNextLink(link string) error {
	if link == "" {
		return nil
	}
	u, err := url.Parse(link)
	if err != nil || len(link) > maxNextLink || safehttp.CheckURL(u) != nil {
		return merr.New(merr.InvalidParam, "next_link is not an http or https URL")
	}
	if hosts := s.config.Get().Email.NextLinkHosts; len(hosts) > 0 && !slices.Contains(hosts, u.Hostname()) {
		return merr.New(merr.InvalidParam, "This server does not lead anybody to the host of next_link")
	}
	return nil
}

// RequestEmail sends the letter that confirms an address for a purpose, and returns the id of the validation. user is who adds an address. Whether
// an account has the address only its owner gets to know, from the letter: the answer is the same.
//
// Spec: client-server-api#post_matrixclientv3registeremailrequesttoken
func (s *Service) RequestEmail(ctx context.Context, purpose mail.Purpose, user id.UserID, r EmailRequest) (sid string, err error) {
	if err := s.mayConfirm(purpose, r.Address); err != nil {
		return "", err
	}
	token := rand.Text()
	v := storage.EmailValidation{SID: rand.Text(), Purpose: string(purpose), Address: r.Address, Secret: hashToken(r.secret), User: user,
		Attempt: r.attempt, Token: hashToken(token), NextLink: r.nextLink, ExpiresTS: s.after(s.config.Get().Email.TokenLifetime)}
	var owner id.UserID
	var before *storage.EmailValidation
	again := false
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		if owner, err = tx.ThreepidUser(mediumEmail, r.Address); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if purpose == mail.Add && owner == user {
			return errOwnThreepid
		}
		old, err := tx.EmailValidationFor(v.Address, v.Purpose, v.Secret, user, s.now())
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return tx.PutEmailValidation(v)
		case err != nil:
			return err
		}
		v.SID, before = old.SID, &old
		if again = r.attempt <= old.Attempt || old.ValidatedTS != 0; again {
			return nil
		}
		return tx.PutEmailValidation(v)
	})
	if err != nil || again {
		return v.SID, err
	}
	if err := s.writeTo(ctx, v, owner, token); err != nil {
		s.log.Warn("a letter that confirms an address was not sent", slog.Any("error", err))
		// What was promised has not happened: the client may try again, and the link of the letter before is as good as it was.
		if err := s.store.Update(context.WithoutCancel(ctx), func(tx *storage.Tx) error {
			last, err := tx.DeleteEmailValidation(v.SID, v.Token)
			if err != nil || !last || before == nil {
				return err
			}
			return tx.PutEmailValidation(*before)
		}); err != nil {
			return "", err
		}
		return "", merr.New(merr.EmailSendError, "The e-mail could not be sent")
	}
	return v.SID, nil
}

var errOwnThreepid = merr.New(merr.ThreepidInUse, "This address belongs to your account already")

// mayConfirm refuses purposes that the configuration does not allow for an address.
func (s *Service) mayConfirm(purpose mail.Purpose, address string) error {
	cfg := s.config.Get()
	switch {
	case purpose == mail.Register && cfg.Registration.Mode == config.RegistrationDisabled:
		return merr.New(merr.Forbidden, "Registration is disabled")
	case purpose == mail.Reset && !cfg.Passwords.Enabled:
		return errNoPasswords
	case purpose == mail.Add && !cfg.Email.Changes:
		return errNoChanges
	}
	if allowed := cfg.Email.AllowedDomains; purpose != mail.Reset && len(allowed) > 0 &&
		!slices.ContainsFunc(allowed, func(d string) bool { return strings.EqualFold(d, mail.Domain(address)) }) {
		return merr.New(merr.ThreepidDenied, "This server does not allow addresses of this domain")
	}
	return nil
}

// writeTo sends the letter that fits: the link, or why there is none.
func (s *Service) writeTo(ctx context.Context, v storage.EmailValidation, owner id.UserID, token string) error {
	purpose := mail.Purpose(v.Purpose)
	switch {
	case purpose == mail.Reset && owner == "":
		return s.mail.Unknown(ctx, v.Address)
	case purpose != mail.Reset && owner != "":
		return s.mail.Taken(ctx, v.Address, purpose)
	}
	cfg := s.config.Get()
	link := cfg.BaseURL() + EmailPage + "?" + url.Values{"sid": {v.SID}, "token": {token}}.Encode()
	return s.mail.Confirm(ctx, v.Address, purpose, link, cfg.Email.TokenLifetime)
}

// EmailPage is the path of the page on which somebody confirms an address.
const EmailPage = "/_matrix/client/unstable/hearth/email/confirm"

var (
	errEmailExpired = merr.New(merr.SessionExpired, "The link is unknown or has expired")
	errEmailToken   = merr.New(merr.TokenIncorrect, "The link is not right. If you have got more than one e-mail, take that of the last one")
)

// EmailToConfirm is the address that a link is about, if the link is good.
func (s *Service) EmailToConfirm(ctx context.Context, sid, token string) (storage.EmailValidation, error) {
	var v storage.EmailValidation
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		v, err = s.confirmable(tx, sid, token)
		return err
	})
	return v, err
}

func (s *Service) confirmable(tx *storage.ReadTx, sid, token string) (storage.EmailValidation, error) {
	if !validClientSecret(sid) {
		return storage.EmailValidation{}, errEmailExpired // nothing that PostgreSQL would not take
	}
	v, err := tx.EmailValidation(sid, s.now())
	if errors.Is(err, storage.ErrNotFound) {
		return v, errEmailExpired
	}
	if hash := hashToken(token); err == nil && subtle.ConstantTimeCompare(hash[:], v.Token[:]) != 1 {
		err = errEmailToken
	}
	return v, err
}

// ConfirmEmail notes that whoever has the link of a letter wants to have its address confirmed, and returns where to go next, if anywhere.
func (s *Service) ConfirmEmail(ctx context.Context, sid, token string) (nextLink string, err error) {
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		v, err := s.confirmable(&tx.ReadTx, sid, token)
		if err != nil {
			return err
		}
		nextLink = v.NextLink
		if v.ValidatedTS != 0 {
			return nil
		}
		return tx.ConfirmEmail(sid, s.now(), s.after(s.config.Get().Email.TokenLifetime))
	})
	return nextLink, err
}

// threepidCreds is how a client names a validation.
//
// Spec: client-server-api#email-based-identity--homeserver
type threepidCreds struct {
	SID    string `json:"sid"`
	Secret string `json:"client_secret"`
}

// errNotConfirmed is for validations that are not there, not the client's or not completed.
var errNotConfirmed = merr.New(merr.ThreepidAuthFailed, "The e-mail address has not been confirmed yet")

// confirmed finds the validation of an address that was confirmed for a purpose.
func (s *Service) confirmed(tx *storage.ReadTx, c threepidCreds, purpose mail.Purpose, user id.UserID) (storage.EmailValidation, error) {
	if c.SID == "" || c.Secret == "" {
		return storage.EmailValidation{}, merr.New(merr.MissingParam, "sid and client_secret are needed")
	}
	if !validClientSecret(c.Secret) {
		return storage.EmailValidation{}, errClientSecret
	}
	if !validClientSecret(c.SID) {
		return storage.EmailValidation{}, errNotConfirmed
	}
	v, err := tx.EmailValidation(c.SID, s.now())
	if errors.Is(err, storage.ErrNotFound) {
		return v, errNotConfirmed
	}
	if err != nil {
		return v, err
	}
	hash := hashToken(c.Secret)
	if subtle.ConstantTimeCompare(hash[:], v.Secret[:]) != 1 || v.Purpose != string(purpose) || v.User != user || v.ValidatedTS == 0 {
		return v, errNotConfirmed
	}
	return v, nil
}

// emailStage completes the stage of an address that was confirmed for what is being done.
//
// Spec: client-server-api#email-based-identity--homeserver
func (s *Service) emailStage(ctx context.Context, in *interaction, auth *authDict) error {
	creds := auth.Threepid
	if creds.SID == "" {
		creds = auth.LegacyThreepid
	}
	return s.store.View(ctx, func(tx *storage.ReadTx) error {
		v, err := s.confirmed(tx, creds, in.purpose, "")
		if merr.HasCode(err, merr.ThreepidAuthFailed) {
			return errUnconfirmed
		}
		if err != nil {
			return err
		}
		owner, err := tx.ThreepidUser(mediumEmail, v.Address)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		switch {
		case in.purpose == mail.Register && owner != "":
			return errThreepidUse
		case in.purpose == mail.Reset && owner == "":
			return errUnconfirmed
		case in.purpose == mail.Reset:
			if err := s.emailOwner(tx, in, owner); err != nil {
				return err
			}
		}
		in.Email = provenEmail{v.SID, v.Address, v.ValidatedTS}
		return nil
	})
}

// AwaitsEmail reports whether a request goes on with a confirmation by nothing but an address.
func AwaitsEmail(body json.RawMessage) bool {
	auth, _, err := splitAuth(body)
	return err == nil && auth != nil && auth.Type == StageEmail && auth.Session != ""
}

// errUnconfirmed lets a client try again, as it does every few seconds while somebody looks for the letter.
var errUnconfirmed = merr.New(merr.Unauthorized, errNotConfirmed.Msg).WithStatus(401)

// emailOwner notes that the owner of an address has confirmed what is being done.
func (s *Service) emailOwner(tx *storage.ReadTx, in *interaction, owner id.UserID) error {
	if in.For != "" && in.For != owner {
		return errNotOwner
	}
	user, err := tx.User(owner)
	if err != nil {
		return err
	}
	in.User = owner
	return mayLogIn(user)
}

// takeForReset uses up the validation of an address that a user still has. One letter allows one password: those that were sent beside it are
// worth nothing afterwards.
func (s *Service) takeForReset(tx *storage.Tx, user id.UserID, e provenEmail) error {
	if err := s.take(tx, e); err != nil {
		return err
	}
	owner, err := tx.ThreepidUser(mediumEmail, e.Address)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if owner != user {
		return errNotConfirmed
	}
	return tx.DeleteEmailValidations(e.Address, string(mail.Reset))
}

// take uses up the validation of an address that was confirmed interactively, in the transaction in which it counts.
func (s *Service) take(tx *storage.Tx, e provenEmail) error {
	err := tx.TakeEmailValidation(e.SID, s.now())
	if errors.Is(err, storage.ErrNotFound) {
		err = merr.New(merr.ThreepidAuthFailed, "The confirmation of the e-mail address has expired, or was used")
	}
	return err
}
