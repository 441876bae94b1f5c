package hearthtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hearthd/hearth/internal/config"
)

// Provider is an OpenID Connect provider whose people log in without being asked. It says when they did to those who
// want them to do it once more, and insists on PKCE and on the password of the client.
type Provider struct {
	// URL is its issuer.
	URL string

	t   testing.TB
	key *rsa.PrivateKey

	mu     sync.Mutex
	claims Fields
	spoil  func(claims Fields)
	info   Fields
	codes  map[string]code
}

// code is what a code can be exchanged for.
type code struct {
	challenge, redirect string
	claims              Fields
}

const clientID, clientSecret = "hearth", "a secret: with %signs"

// NewProvider starts a provider, which ends with the test.
func NewProvider(t testing.TB) *Provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{t: t, key: key, codes: map[string]code{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /userinfo", p.userInfo)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// Config is the provider as an operator writes it down.
func (p *Provider) Config(name string) config.SSOProvider {
	return config.SSOProvider{ID: name, Name: "Provider " + name, Issuer: p.URL, ClientID: clientID, ClientSecret: clientSecret}
}

// Become makes somebody sit before the browser: sub and other claims.
func (p *Provider) Become(claims Fields) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims, p.spoil = claims, nil
}

// Spoil changes the claims of ID tokens until Become is called.
func (p *Provider) Spoil(spoil func(claims Fields)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoil = spoil
}

// SetUserInfo sets what the userinfo endpoint says.
func (p *Provider) SetUserInfo(claims Fields) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info = claims
}

func (p *Provider) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		p.t.Errorf("provider: %v", err)
	}
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	p.answer(w, http.StatusOK, Fields{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"userinfo_endpoint": p.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"authorization_response_iss_parameter_supported": true, "prompt_values_supported": []string{"create"},
	})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	p.answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "1", Algorithm: "RS256", Use: "sig"}}})
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	back, err := url.Parse(query.Get("redirect_uri"))
	if err != nil || query.Get("client_id") != clientID || query.Get("response_type") != "code" || query.Get("code_challenge_method") != "S256" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claims == nil {
		back.RawQuery = url.Values{"error": {"access_denied"}, "state": {query.Get("state")}, "iss": {p.URL}}.Encode()
		http.Redirect(w, r, back.String(), http.StatusFound)
		return
	}
	claims := Fields{
		"iss": p.URL, "aud": clientID, "nonce": query.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	if query.Get("prompt") == "login" && query.Get("max_age") == "0" {
		claims["auth_time"] = time.Now().Unix()
	}
	maps.Copy(claims, p.claims)
	if p.spoil != nil {
		p.spoil(claims)
	}
	name := rand.Text()
	p.codes[name] = code{query.Get("code_challenge"), query.Get("redirect_uri"), claims}
	back.RawQuery = url.Values{"code": {name}, "state": {query.Get("state")}, "iss": {p.URL}}.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	// RFC 6749, section 2.3.1: both are form-encoded first.
	password, err := url.QueryUnescape(password)
	p.mu.Lock()
	defer p.mu.Unlock()
	given := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case err != nil || user != clientID || password != clientSecret:
		p.answer(w, http.StatusUnauthorized, Fields{"error": "invalid_client"})
		return
	case given.claims == nil || given.redirect != r.PostFormValue("redirect_uri") ||
		given.challenge != base64.RawURLEncoding.EncodeToString(sum[:]):
		p.answer(w, http.StatusBadRequest, Fields{"error": "invalid_grant"})
		return
	}
	idToken, err := p.sign(given.claims)
	if err != nil {
		p.t.Errorf("provider: %v", err)
	}
	p.answer(w, http.StatusOK, Fields{"access_token": "access", "token_type": "Bearer", "expires_in": 60, "id_token": idToken})
}

func (p *Provider) sign(claims Fields) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "1"}}, nil)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer access" {
		p.answer(w, http.StatusUnauthorized, Fields{"error": "invalid_token"})
		return
	}
	p.answer(w, http.StatusOK, p.info)
}
