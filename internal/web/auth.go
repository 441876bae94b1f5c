package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// Auth says who may use a route: one level, perhaps with flags, as in User|WhileSuspended.
type Auth uint16

// The levels.
const (
	None       Auth = iota + 1 // no token is looked for
	Optional                   // a token is checked if there is one; without, the Caller is empty
	Guest                      // a token of a user or a guest
	User                       // a token of a user who is no guest
	Admin                      // a token of an administrator of the server
	Federation                 // a signature of another server, whose name is the Origin of the request

	levelMask Auth = 0x0f
)

// The flags.
const (
	// WhileSuspended lets suspended users use a route that changes something. GET and HEAD they may always use.
	//
	// Spec: client-server-api#account-suspension
	WhileSuspended Auth = 0x10 << iota
	// WhileLocked lets locked users use a route: they may still log out.
	//
	// Spec: client-server-api#account-locking
	WhileLocked
	// LongBody is for routes for other servers whose body may be as long as a transaction. The body of such routes has been read before the
	// handler is called, so that the limit cannot be the handler's.
	LongBody
	// ForAppservices is for routes without a caller that application services use with their token: where it is one of theirs, the caller is
	// known, so that its limits hold. No other token is looked at, nor whom the application service wants to be, who may not be there yet.
	ForAppservices
	// SecretPath is for routes whose path holds what must not be logged.
	SecretPath
)

func (a Auth) level() Auth { return a & levelMask }

// Caller is who makes a request. It is empty where nobody had to say.
type Caller struct {
	User         id.UserID
	Device       id.DeviceID // empty for an application service that does not act as a device
	TokenID      int64       // of the access token, for transaction ids and logging out
	AppserviceID string      // set for application services
	Guest        bool
	Admin        bool
	Suspended    bool
	Locked       bool
	Unlimited    bool // no rate limits apply
}

// IsZero reports whether the request came without a token.
func (c Caller) IsZero() bool { return c.User == "" && c.AppserviceID == "" }

// Authenticator knows the tokens. The answer to a token that it does not know is merr.UnknownToken. The parameter asUser is the user_id
// that an application service asserts, empty if absent; r is for further parameters of that kind.
type Authenticator interface {
	Authenticate(ctx context.Context, token, asUser string, r *http.Request) (Caller, error)
}

type nobody struct{}

func (nobody) Authenticate(context.Context, string, string, *http.Request) (Caller, error) {
	return Caller{}, merr.New(merr.UnknownToken, "Unknown access token")
}

// maxToken bounds access tokens, in bytes. Ours are far shorter; those of other issuers may be signed documents.
const maxToken = 8 << 10

// authenticate finds out who the caller is and whether it may use the route at all.
func (s *Server) authenticate(r *Request) error {
	auth := r.endpoint.Auth
	if auth.level() == None {
		return s.recognise(r)
	}
	token := r.Token()
	if token == "" {
		if auth.level() == Optional {
			return nil
		}
		return merr.New(merr.MissingToken, "Missing access token")
	}
	if len(token) > maxToken {
		return merr.New(merr.UnknownToken, "Unknown access token")
	}
	asUser := ""
	if r.http.URL.RawQuery != "" {
		asUser = r.Query().Get("user_id")
	}
	caller, err := s.auth.Authenticate(r.http.Context(), token, asUser, r.http)
	if err != nil {
		return err
	}
	r.Caller = caller
	return admit(caller, auth, r.Method)
}

// recognise finds out whether an application service makes a request that needs no caller.
func (s *Server) recognise(r *Request) error {
	if r.endpoint.Auth&ForAppservices == 0 {
		return nil
	}
	token := r.Token()
	if token == "" || len(token) > maxToken {
		return nil
	}
	// What is wrong with a token is for the handler to say, if it wants one.
	if caller, err := s.auth.Authenticate(r.http.Context(), token, "", nil); err == nil && caller.AppserviceID != "" {
		r.Caller = caller
	}
	return nil
}

// Reauthenticate looks again whether the caller may use the route, for handlers that wait: meanwhile the session can have ended.
func (r *Request) Reauthenticate() error { return r.server.authenticate(r) }

func admit(c Caller, auth Auth, method string) error {
	switch {
	case c.Locked && auth&WhileLocked == 0:
		return merr.New(merr.UserLocked, "This account has been locked").With("soft_logout", true)
	case c.Guest && auth.level() >= User:
		return merr.New(merr.GuestAccessForbidden, "Guests may not do this")
	case auth.level() == Admin && !c.Admin:
		return merr.New(merr.Forbidden, "You are not an administrator of this server")
	case c.Suspended && auth&WhileSuspended == 0 && method != http.MethodGet && method != http.MethodHead:
		return Suspended()
	}
	return nil
}

// Suspended is the refusal of what a suspended user may not do, for handlers of routes that are open to them in part.
func Suspended() *merr.Error {
	return merr.New(merr.UserSuspended, "You cannot perform this action while suspended.")
}

// Token returns the access token of the request, or nothing. The header wins over the parameter of the query.
//
// Spec: client-server-api#using-access-tokens
func (r *Request) Token() string {
	if token := bearer(r.Header.Get("Authorization")); token != "" {
		return token
	}
	if !strings.Contains(r.http.URL.RawQuery, "access_token") {
		return ""
	}
	return r.Query().Get("access_token")
}

// bearer returns the token of an Authorization header. The name of the scheme is case-insensitive (RFC 9110, section 11.1).
func bearer(header string) string {
	const scheme = "bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return ""
	}
	token := strings.Trim(header[len(scheme):], " ")
	if strings.ContainsAny(token, " ,\t") {
		return ""
	}
	return token
}
