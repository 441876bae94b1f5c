// Package sso lets people prove who they are at an OpenID Connect provider: it makes the address they are sent to, and finds out what the
// provider says of them when they come back. It refuses to know of accounts and browsers: who somebody is on this server, and how their
// browser is told from another, is decided above.
package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/safehttp"
)

const (
	// timeout bounds all that a provider is asked while somebody waits.
	timeout = 15 * time.Second
	// maxAnswer is the length of an answer of a provider, in bytes.
	maxAnswer = 1 << 20
	// maxSubject is the length of a subject, in bytes (OpenID Connect Core, section 2).
	maxSubject = 255
)

var (
	// ErrUnreachable says that a provider did not answer, or not as a provider does.
	ErrUnreachable = errors.New("the provider cannot be reached")
	// ErrRejected says that what came back from a provider does not prove anything.
	ErrRejected = errors.New("the answer of the provider cannot be believed")
)

// Provider is an OpenID Connect provider. What it can do it is asked when somebody first wants to log in there, so that it need not be up when
// this server starts.
type Provider struct {
	config.SSOProvider

	localpart, displayName *template.Template
	http                   *http.Client
	clock                  clock.Clock

	asking chan struct{} // held by who looks at, or asks for, known
	known  *metadata
}

// metadata is what a provider says of itself.
type metadata struct {
	oauth    oauth2.Config
	oidc     *oidc.Provider
	verifier *oidc.IDTokenVerifier
	// issuerInAnswers says that every answer names its issuer (RFC 9207, section 2.4).
	issuerInAnswers bool
	// registers says that somebody can be sent there for a new account (Initiating User Registration via OpenID Connect 1.0).
	registers bool
}

// New makes the providers of a configuration, in their order.
func New(cfg config.SSO, deny, allow []config.Prefix, userAgent string, c clock.Clock) ([]*Provider, error) {
	client := safehttp.NewConfiding(safehttp.NewGuard(deny, slices.Concat(allow, cfg.AllowNetworks)), userAgent, maxAnswer, nil)
	var out []*Provider
	for _, provider := range cfg.Providers {
		p := &Provider{SSOProvider: provider, http: client, clock: c, asking: make(chan struct{}, 1)}
		if len(p.Scopes) == 0 {
			p.Scopes = []string{"profile"}
		}
		var err error
		if p.localpart, err = parse(p.Localpart, config.DefaultLocalpart); err != nil {
			return nil, err
		}
		if p.displayName, err = parse(p.DisplayName, config.DefaultDisplayName); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func parse(text, def string) (*template.Template, error) {
	if text == "" {
		text = def
	}
	return config.ParseClaimTemplate(text)
}

// Question is what somebody takes along to a provider, or is asked for when they come back.
type Question struct {
	Callback string // the URL they come back to
	State    string
	Nonce    string
	Verifier string // of PKCE
	Register bool   // they want a new account

	// Since is when they were asked to log in, though they be logged in there already. Zero asks for no more than that they are.
	Since time.Time
}

// NewVerifier makes the secret of PKCE.
func NewVerifier() string { return oauth2.GenerateVerifier() }

// URL is where somebody is sent. The error wraps ErrUnreachable.
func (p *Provider) URL(ctx context.Context, q Question) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, err := p.metadata(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(q.Nonce), oauth2.S256ChallengeOption(q.Verifier)}
	switch {
	case !q.Since.IsZero():
		// OpenID Connect Core, section 3.1.2.1. With max_age the answer has to say when they logged in.
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	case q.Register && m.registers:
		options = append(options, oauth2.SetAuthURLParam("prompt", "create"))
	}
	oauth := m.oauth
	oauth.RedirectURL = q.Callback
	return oauth.AuthCodeURL(q.State, options...), nil
}

// Answer is what somebody brings along from a provider.
type Answer struct {
	Code   string
	Issuer string // empty: the provider did not say
}

// Identity is who somebody is at a provider.
type Identity struct {
	Provider *Provider
	Subject  string
	claims   map[string]any
}

// Identify finds out who came back with an answer. The error wraps ErrUnreachable or ErrRejected.
func (p *Provider) Identify(ctx context.Context, q Question, a Answer) (Identity, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.http), timeout)
	defer cancel()
	m, err := p.metadata(ctx)
	if err != nil {
		return Identity{}, err
	}
	// RFC 9207, section 2.4: an answer of another provider must not reach this one.
	if a.Issuer != "" && a.Issuer != p.Issuer || a.Issuer == "" && m.issuerInAnswers {
		return Identity{}, fmt.Errorf("%w: it is of the issuer %q", ErrRejected, a.Issuer)
	}
	oauth := m.oauth
	oauth.RedirectURL = q.Callback
	tokens, err := oauth.Exchange(ctx, a.Code, oauth2.VerifierOption(q.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.Response.StatusCode < 500 {
			return Identity{}, fmt.Errorf("%w: the code was refused: %w", ErrRejected, err)
		}
		return Identity{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	idToken, err := m.verifier.Verify(ctx, raw)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: ID token: %w", ErrRejected, err)
	}
	switch {
	case idToken.Nonce != q.Nonce:
		return Identity{}, fmt.Errorf("%w: the nonce of the ID token is another", ErrRejected)
	case idToken.Subject == "" || len(idToken.Subject) > maxSubject || strings.ContainsRune(idToken.Subject, 0):
		return Identity{}, fmt.Errorf("%w: the subject of the ID token is empty, too long or has NUL", ErrRejected)
	}
	if !q.Since.IsZero() {
		if err := p.checkAge(idToken, q.Since); err != nil {
			return Identity{}, fmt.Errorf("%w: %w", ErrRejected, err)
		}
	}
	out := Identity{Provider: p, Subject: idToken.Subject, claims: map[string]any{}}
	if err := idToken.Claims((*claims)(&out.claims)); err != nil {
		return Identity{}, fmt.Errorf("%w: claims: %w", ErrRejected, err)
	}
	if !p.UserInfo {
		return out, nil
	}
	info, err := m.oidc.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return Identity{}, fmt.Errorf("%w: user info: %w", ErrUnreachable, err)
	}
	// OpenID Connect Core, section 5.3.2: it may be about somebody else.
	if info.Subject != out.Subject {
		return Identity{}, fmt.Errorf("%w: the user info is about somebody else", ErrRejected)
	}
	if err := info.Claims((*claims)(&out.claims)); err != nil {
		return Identity{}, fmt.Errorf("%w: user info: %w", ErrRejected, err)
	}
	return out, nil
}

// checkAge refuses an ID token of somebody who has not logged in since a time: providers need not do as prompt and max_age say. Some never say
// when it was (Google); their users could otherwise confirm nothing.
func (p *Provider) checkAge(t *oidc.IDToken, since time.Time) error {
	var claims struct {
		AuthTime *float64 `json:"auth_time"` // seconds
	}
	if err := t.Claims(&claims); err != nil {
		return fmt.Errorf("auth_time: %w", err)
	}
	if claims.AuthTime == nil {
		return nil
	}
	issued := t.IssuedAt.Unix()
	if issued <= 0 {
		return errors.New("the ID token does not say when it was made (iat)")
	}
	// Both times are the provider's, whose clock may be another than this one. Each is cut to a second.
	if age := float64(issued) - *claims.AuthTime; age > p.clock.Now().Sub(since).Seconds()+1 {
		return fmt.Errorf("they did not log in once more: they had %.0f seconds before", age)
	}
	return nil
}

// claims keeps numbers as they are written, which for names means without an exponent.
type claims map[string]any

func (c *claims) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	return d.Decode((*map[string]any)(c))
}

// metadata asks the provider what it can do, once.
func (p *Provider) metadata(ctx context.Context) (*metadata, error) {
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
	}
	if p.known == nil {
		found, err := p.discover(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		p.known = found
	}
	return p.known, nil
}

func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, p.http), p.Issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		AuthMethods     []string `json:"token_endpoint_auth_methods_supported"`
		IssuerInAnswers bool     `json:"authorization_response_iss_parameter_supported"`
		Prompts         []string `json:"prompt_values_supported"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, err
	}
	endpoint := provider.Endpoint()
	if endpoint.AuthURL == "" || endpoint.TokenURL == "" {
		return nil, errors.New("it names no authorization or token endpoint")
	}
	// OpenID Connect Discovery, section 3: client_secret_basic is what those have that do not say. A client without a secret names itself only.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if p.ClientSecret == "" || len(more.AuthMethods) > 0 && !slices.Contains(more.AuthMethods, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &metadata{
		oauth: oauth2.Config{
			ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: endpoint,
			Scopes: append([]string{oidc.ScopeOpenID}, slices.DeleteFunc(slices.Clone(p.Scopes), func(s string) bool { return s == oidc.ScopeOpenID })...),
		},
		oidc:            provider,
		verifier:        provider.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.clock.Now}),
		issuerInAnswers: more.IssuerInAnswers,
		registers:       slices.Contains(more.Prompts, "create"),
	}, nil
}
