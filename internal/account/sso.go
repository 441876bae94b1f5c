package account

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/sso"
	"github.com/hearthd/hearth/storage"
)

// SSOProvider is a provider of single sign-on as clients show it.
//
// Spec: client-server-api#client-login-via-sso
type SSOProvider struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Icon  string `json:"icon,omitempty"`
	Brand string `json:"brand,omitempty"`
}

// SSOProviders lists the providers at which people can log in.
func (s *Service) SSOProviders() []SSOProvider {
	var out []SSOProvider
	for _, p := range s.providers {
		out = append(out, SSOProvider{p.ID, p.Name, p.Icon, p.Brand})
	}
	return out
}

// SSOProvidersFor lists the providers at which the authentication with this session can be confirmed.
func (s *Service) SSOProvidersFor(ctx context.Context, session string) ([]SSOProvider, error) {
	in, err := s.loadInteraction(ctx, session)
	if err != nil {
		return nil, err
	}
	ids, err := s.ssoProvidersOf(ctx, in.For)
	return slices.DeleteFunc(s.SSOProviders(), func(p SSOProvider) bool { return !slices.Contains(ids, p.ID) }), err
}

// ssoProvidersOf lists the ids of the providers that know a user.
func (s *Service) ssoProvidersOf(ctx context.Context, user id.UserID) ([]string, error) {
	var out []string
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		ids, err := tx.ExternalIDs(user)
		for _, e := range ids {
			if _, ok := s.provider(e.Provider); ok == nil {
				out = append(out, e.Provider)
			}
		}
		return err
	})
	return out, err
}

func (s *Service) provider(name string) (*sso.Provider, error) {
	for _, p := range s.providers {
		if p.ID == name {
			return p, nil
		}
	}
	return nil, merr.New(merr.NotFound, "This server has no such provider of single sign-on")
}

// SSOStart is what a visit at a provider is for: a login, or an interactive authentication.
type SSOStart struct {
	Provider string
	Callback string // the URL at which the browser comes back
	Client   string // of a login: the URL that gets the login token
	Register bool   // of a login: an account is to be made
	Session  string // of an interactive authentication
}

// SSOVisit is what a browser needs to go to a provider and to be known again when it comes back.
type SSOVisit struct {
	URL  string
	Life time.Duration
	SSOTicket
}

// SSOTicket proves to be the browser that began a visit.
type SSOTicket struct {
	State  string // names the visit, and is no secret
	Secret string // kept by the browser alone
}

// visit is a visit under way, stored sealed with the secret of its ticket.
type visit struct {
	SSOStart
	State    string
	Nonce    string
	Verifier string
	BegunTS  int64

	// Who came back, once somebody did.
	Arrived     bool
	Subject     string
	Localpart   string
	DisplayName string
}

// StartSSO begins a visit at a provider. Errors: M_NOT_FOUND for a provider that there is not, M_INVALID_PARAM for a client that cannot be one.
//
// Spec: client-server-api#redirecting-to-the-authentication-server
func (s *Service) StartSSO(ctx context.Context, start SSOStart) (SSOVisit, error) {
	provider, err := s.provider(start.Provider)
	if err != nil {
		return SSOVisit{}, err
	}
	if start.Session != "" {
		err = s.HasSession(ctx, start.Session)
	} else if _, err = sso.ParseClientURL(start.Client); err != nil {
		err = merr.New(merr.InvalidParam, "redirectUrl: "+err.Error())
	}
	if err != nil {
		return SSOVisit{}, err
	}
	v := visit{SSOStart: start, State: rand.Text(), Nonce: rand.Text(), Verifier: sso.NewVerifier(), BegunTS: s.now()}
	out := SSOVisit{Life: s.config.Get().Sessions.AuthLifetime, SSOTicket: SSOTicket{State: v.State, Secret: rand.Text()}}
	if out.URL, err = provider.URL(ctx, v.question()); err != nil {
		return SSOVisit{}, s.ssoFailure(provider, err)
	}
	return out, s.saveVisit(ctx, out.Secret, &v)
}

func (v *visit) question() sso.Question {
	q := sso.Question{Callback: v.Callback, State: v.State, Nonce: v.Nonce, Verifier: v.Verifier, Register: v.Register}
	if v.Session != "" {
		// A browser that is logged in at the provider confirms nothing: whoever sits before it has to be its owner.
		q.Since = time.UnixMilli(v.BegunTS)
	}
	return q
}

// ssoFailure logs what went wrong with a provider, for the operator has to know, and makes what the user may.
func (s *Service) ssoFailure(p *sso.Provider, err error) error {
	s.log.Warn("single sign-on failed", "provider", p.ID, "error", err)
	if errors.Is(err, sso.ErrRejected) {
		return merr.Newf(merr.Forbidden, "What %s said of you could not be verified", p.Name)
	}
	return merr.Newf(merr.Unknown, "%s cannot be reached at the moment", p.Name).WithStatus(http.StatusBadGateway)
}

// SSOArrival is somebody who came back from a provider.
type SSOArrival struct {
	User      id.UserID
	Fresh     bool   // the account would be made
	Client    string // of a login: who would get the login token
	Trusted   bool   // of a login: the operator trusts the client, so that nobody has to be asked
	Operation string // of an interactive authentication: what is to be confirmed
}

// ArriveSSO finds out who came back from a provider. It can be done once for each visit; what follows is ConfirmSSO.
//
// Spec: client-server-api#handling-the-callback-from-the-authentication-server
func (s *Service) ArriveSSO(ctx context.Context, t SSOTicket, answer sso.Answer) (SSOArrival, error) {
	v, err := s.takeVisit(ctx, t, false)
	if err != nil {
		return SSOArrival{}, err
	}
	provider, err := s.provider(v.Provider)
	if err != nil {
		return SSOArrival{}, err
	}
	identity, err := provider.Identify(ctx, v.question(), answer)
	if err != nil {
		return SSOArrival{}, s.ssoFailure(provider, err)
	}
	v.Arrived, v.Subject, v.DisplayName = true, identity.Subject, identity.DisplayName()
	var nameless error
	v.Localpart, nameless = identity.Localpart()
	var who person
	err = s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		who, err = s.ssoUser(tx, provider, v)
		return err
	})
	if err != nil && nameless != nil && v.Session == "" {
		s.log.Warn("somebody gets no account through single sign-on, for there is no name", "provider", provider.ID, "error", nameless)
	}
	if err != nil {
		return SSOArrival{}, err
	}
	out := SSOArrival{User: who.id, Fresh: !who.exists, Client: v.Client}
	if v.Session != "" {
		in, err := s.loadInteraction(ctx, v.Session)
		if err != nil {
			return SSOArrival{}, err
		}
		if in.For != who.id || !who.linked {
			return SSOArrival{}, errNotOwner
		}
		out.Operation = in.Operation
	} else {
		client, err := sso.ParseClientURL(v.Client)
		if err != nil {
			return SSOArrival{}, err
		}
		out.Trusted = s.trusts(client)
	}
	return out, s.saveVisit(ctx, t.Secret, v)
}

// trusts reports whether a client is one of those of the configuration, or this server's own page for logging in. That page does what its query
// says, such as to take a device over, which logs it out: with a query, which anybody may have written, the user is asked.
func (s *Service) trusts(client *url.URL) bool {
	cfg := s.config.Get()
	if sso.Trusted(client, []string{cfg.BaseURL() + LoginFallbackPath}) {
		return client.RawQuery == ""
	}
	return sso.Trusted(client, cfg.SSO.TrustedClients)
}

// LoginFallbackPath is where the page for logging in is.
//
// Spec: client-server-api#login-fallback
const LoginFallbackPath = "/_matrix/static/client/login/"

// ConfirmSSO does what a visit was for: it completes the stage of the interactive authentication and returns nothing, or makes a login token, and
// the account if need be, and returns the URL of the client with it. Whoever gets an account has agreed to the terms, if there are any.
func (s *Service) ConfirmSSO(ctx context.Context, t SSOTicket, agreed bool) (string, error) {
	v, err := s.takeVisit(ctx, t, true)
	if err != nil {
		return "", err
	}
	provider, err := s.provider(v.Provider)
	if err != nil {
		return "", err
	}
	if v.Session != "" {
		var who person
		if err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			who, err = s.ssoUser(tx, provider, v)
			return err
		}); err != nil {
			return "", err
		}
		if !who.linked {
			return "", errNotOwner
		}
		return "", s.completeSSO(ctx, v.Session, who.id)
	}
	client, err := url.Parse(v.Client)
	if err != nil {
		return "", err
	}
	token := newToken(loginPrefix)
	expires := s.after(s.config.Get().Sessions.LoginTokenLifetime)
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		user, err := s.admitSSO(tx, provider, v, agreed)
		if err != nil {
			return err
		}
		return tx.InsertSingleToken(hashToken(token), storage.LoginToken, user, expires)
	})
	return sso.WithToken(client, token), err
}

var errNoVisit = merr.New(merr.Forbidden, "This login is over, or was begun in another browser. Please start again in your client")

// takeVisit loads the visit of a ticket, which can be done once for each of its two ends.
func (s *Service) takeVisit(ctx context.Context, t SSOTicket, arrived bool) (*visit, error) {
	if t.State == "" || t.Secret == "" {
		return nil, errNoVisit
	}
	var sealed []byte
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		sealed, err = tx.AuthSession(hashToken(t.Secret), s.now())
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errNoVisit
	}
	if err != nil {
		return nil, err
	}
	plain, err := unseal(t.Secret, sealed)
	if err != nil {
		return nil, err
	}
	v := &visit{}
	if err := json.Unmarshal(plain, v); err != nil {
		return nil, fmt.Errorf("read a visit at a provider: %w", err)
	}
	if v.State != t.State || v.Arrived != arrived {
		return nil, errNoVisit
	}
	var first bool
	err = s.store.Update(ctx, func(tx *storage.Tx) (err error) {
		first, err = tx.DeleteAuthSession(hashToken(t.Secret))
		return err
	})
	if err == nil && !first {
		err = errNoVisit
	}
	return v, err
}

func (s *Service) saveVisit(ctx context.Context, secret string, v *visit) error {
	plain, err := json.Marshal(v)
	if err != nil {
		return err
	}
	sealed, err := seal(secret, plain)
	if err != nil {
		return err
	}
	expires := s.after(s.config.Get().Sessions.AuthLifetime)
	return s.store.Update(ctx, func(tx *storage.Tx) error { return tx.PutAuthSession(hashToken(secret), sealed, expires) })
}

// person is whom somebody at a provider is here.
type person struct {
	id     id.UserID
	exists bool // there is such an account
	linked bool // the account is theirs already
}

var errNameless = merr.New(merr.Forbidden, "Your provider does not tell this server a name for you. Please ask the administrator")

// ssoUser finds the account of somebody at a provider, or the one that they would get.
//
// Spec: client-server-api#handling-the-callback-from-the-authentication-server
func (s *Service) ssoUser(tx *storage.ReadTx, p *sso.Provider, v *visit) (person, error) {
	known, err := tx.ExternalUser(storage.ExternalID{Provider: p.ID, Subject: v.Subject})
	if err == nil {
		u, err := tx.User(known)
		if err == nil {
			err = mayLogIn(u)
		}
		return person{id: known, exists: true, linked: true}, err
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return person{}, err
	}
	if v.Session != "" {
		return person{}, errNotOwner
	}
	return s.ssoStranger(tx, p, v.Localpart)
}
