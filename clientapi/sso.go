package clientapi

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/sso"
	"github.com/hearthd/hearth/internal/web"
)

// The pages that browsers come back to from a provider. Reverse proxies pass /_matrix/ on.
const (
	ssoPath         = "/_matrix/hearth/sso/"
	ssoCallbackPath = ssoPath + "callback"
	ssoConfirmPath  = ssoPath + "confirm"
)

func (a *API) ssoRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/login/sso/redirect", web.None, web.RateLogin, a.forPeople(a.redirectToSSO)},
		{"GET", "/_matrix/client/v3/login/sso/redirect/{idpID}", web.None, web.RateLogin, a.forPeople(a.redirectToProvider)},
		{"GET", "/_matrix/client/v3/auth/m.login.sso/fallback/web", web.None, web.RateLogin, a.forPeople(a.ssoFallback)},
		{"GET", ssoCallbackPath, web.None, web.RateWrite, a.forPeople(a.ssoCallback)},
		{"POST", ssoConfirmPath, web.None, web.RateWrite, a.forPeople(a.ssoConfirm)},
	}
}

// choice is a provider on a page.
type choice struct{ Name, URL string }

var choicePage = newPage(`<p>Continue with:</p>
<ul>{{range .}}<li><a href="{{.URL}}">{{.Name}}</a></li>{{end}}</ul>`)

// Spec: client-server-api#get_matrixclientv3loginssoredirect
func (a *API) redirectToSSO(ctx context.Context, r *web.Request) (any, error) {
	client, err := r.RequiredQuery("redirectUrl")
	if err != nil {
		return nil, err
	}
	providers := a.accounts.SSOProviders()
	switch len(providers) {
	case 0:
		return nil, merr.New(merr.NotFound, "This server has no single sign-on")
	case 1:
		return a.sendToProvider(ctx, r, account.SSOStart{Provider: providers[0].ID, Client: client})
	}
	if _, err := sso.ParseClientURL(client); err != nil {
		return nil, merr.New(merr.InvalidParam, "redirectUrl: "+err.Error())
	}
	var choices []choice
	for _, p := range providers {
		choices = append(choices, choice{p.Name, a.config.Get().BaseURL() + "/_matrix/client/v3/login/sso/redirect/" + url.PathEscape(p.ID) + "?" + r.Query().Encode()})
	}
	return a.show(choicePage, http.StatusOK, choices)
}

// Spec: client-server-api#get_matrixclientv3loginssoredirectidpid
func (a *API) redirectToProvider(ctx context.Context, r *web.Request) (any, error) {
	client, err := r.RequiredQuery("redirectUrl")
	if err != nil {
		return nil, err
	}
	return a.sendToProvider(ctx, r, account.SSOStart{Provider: r.Var("idpID"), Client: client})
}

// ssoFallback sends a user who has to confirm something to a provider that knows them.
//
// Spec: client-server-api#sso-during-user-interactive-authentication
func (a *API) ssoFallback(ctx context.Context, r *web.Request) (any, error) {
	session, err := r.RequiredQuery("session")
	if err != nil {
		return nil, err
	}
	if chosen := r.Query().Get("provider"); chosen != "" {
		return a.sendToProvider(ctx, r, account.SSOStart{Provider: chosen, Session: session})
	}
	providers, err := a.accounts.SSOProvidersFor(ctx, session)
	switch {
	case err != nil:
		return nil, err
	case len(providers) == 0:
		return nil, merr.New(merr.NotFound, "This cannot be confirmed through single sign-on")
	case len(providers) == 1:
		return a.sendToProvider(ctx, r, account.SSOStart{Provider: providers[0].ID, Session: session})
	}
	var choices []choice
	for _, p := range providers {
		choices = append(choices, choice{p.Name, "?" + url.Values{"session": {session}, "provider": {p.ID}}.Encode()})
	}
	return a.show(choicePage, http.StatusOK, choices)
}

// ssoCookie is the cookie by which the browser of a visit is known. There is one for each, so that two tabs do not get into each other's way.
func ssoCookie(state string) string { return "hearth_sso_" + state }

// sendToProvider redirects a browser to a provider and gives it a cookie to be known by when it comes back.
func (a *API) sendToProvider(ctx context.Context, r *web.Request, start account.SSOStart) (any, error) {
	base, err := url.Parse(a.config.Get().BaseURL())
	if err != nil {
		return nil, err
	}
	// The provider sends it back to one address. Under another the cookie would not be there. A proxy that hides the address at which it was
	// reached must not make this go round in circles.
	if query := r.Query(); !strings.EqualFold(base.Host, r.Host()) && !query.Has("redirected") {
		query.Set("redirected", "1")
		return web.Redirect{URL: base.String() + r.HTTP().URL.EscapedPath() + "?" + query.Encode()}, nil
	}
	start.Callback = base.String() + ssoCallbackPath
	start.Register = r.Query().Get("action") == "register"
	visit, err := a.accounts.StartSSO(ctx, start)
	if err != nil {
		return nil, err
	}
	return withCookie(web.Redirect{URL: visit.URL}, base, &http.Cookie{Name: ssoCookie(visit.State), Value: visit.Secret, MaxAge: int(visit.Life.Seconds())}), nil
}

func withCookie(body any, base *url.URL, c *http.Cookie) any {
	// Lax: coming back from the provider is a navigation from another site.
	c.Path, c.HttpOnly, c.SameSite, c.Secure = base.Path+ssoPath, true, http.SameSiteLaxMode, base.Scheme == "https"
	return web.WithHeader{Header: http.Header{"Set-Cookie": {c.String()}, "Cache-Control": {"no-store"}}, Body: body}
}

// ticket is what the browser shows when it comes back.
func ticket(r *web.Request, state string) account.SSOTicket {
	t := account.SSOTicket{State: state}
	if c, err := r.HTTP().Cookie(ssoCookie(state)); err == nil {
		t.Secret = c.Value
	}
	return t
}

var arrivalPage = newPage(`{{if .Operation}}<p>A client wants to <strong>{{.Operation}}</strong> with your account <code>{{.User}}</code>.</p>
<p>If you did not expect this, somebody else may have got into your account: close this page, and log out the devices you do not know.</p>
{{else}}<p>{{if .Site}}The site <code>{{.Site}}</code>{{else}}The app that opens addresses with <code>{{.App}}:</code>{{end}}
wants to log in as <code>{{.User}}</code>{{if .Fresh}}, an account that will be made for you{{end}}.</p>
<p>Go on only if you have just begun to log in there: it will be able to read and write all your messages.</p>{{end}}
<form method="post" action="{{.Action}}">
<input type="hidden" name="state" value="{{.State}}">
{{if .Terms}}<p>To have an account here you have to agree to:</p>
<ul>{{range .Terms}}<li><a href="{{.URL}}" target="_blank" rel="noopener noreferrer">{{.Name}}</a></li>{{end}}</ul>
<p><label><input type="checkbox" name="agree" value="yes" required> I agree</label></p>
{{end}}<p><button>Continue</button></p>
</form>`)

type arrival struct {
	User                                id.UserID
	Operation, Site, App, State, Action string
	Fresh                               bool
	Terms                               []config.Terms
}

// ssoCallback is where browsers come back to from a provider. Who is sent on at once are those who log in with a client that the operator
// trusts; all others are asked first, or somebody who was lured here would give an account away.
//
// Spec: client-server-api#security-considerations-6
func (a *API) ssoCallback(ctx context.Context, r *web.Request) (any, error) {
	query := r.Query()
	if reason := query.Get("error"); reason != "" {
		// RFC 6749, section 4.1.2.1. What else is in the query anybody may have written.
		if reason == "access_denied" {
			return nil, merr.New(merr.Forbidden, "You were not logged in: the provider says that you may not, or did not want to")
		}
		return nil, merr.New(merr.Forbidden, "You were not logged in: the provider has met with an error")
	}
	t := ticket(r, query.Get("state"))
	came, err := a.accounts.ArriveSSO(ctx, t, sso.Answer{Code: query.Get("code"), Issuer: query.Get("iss")})
	if err != nil {
		return nil, err
	}
	cfg := a.config.Get()
	page := arrival{User: came.User, Fresh: came.Fresh, State: t.State, Action: cfg.BaseURL() + ssoConfirmPath}
	if came.Fresh {
		page.Terms = cfg.Registration.Terms
	}
	switch {
	case came.Operation != "":
		page.Operation = deed(came.Operation)
	case came.Trusted && len(page.Terms) == 0:
		return a.finishSSO(ctx, t, false)
	default:
		client, err := url.Parse(came.Client)
		if err != nil {
			return nil, err
		}
		if page.App = client.Scheme; client.Scheme == "http" || client.Scheme == "https" {
			page.Site = client.Scheme + "://" + client.Host
		}
	}
	return a.show(arrivalPage, http.StatusOK, page)
}

// ssoConfirm takes the answer of whoever was asked. The cookie, which other sites' forms do not come with, and the state say that it was them.
func (a *API) ssoConfirm(ctx context.Context, r *web.Request) (any, error) {
	form, err := submitted(r)
	if err != nil {
		return nil, err
	}
	return a.finishSSO(ctx, ticket(r, form.Get("state")), form.Get("agree") == "yes")
}

func (a *API) finishSSO(ctx context.Context, t account.SSOTicket, agreed bool) (any, error) {
	base, err := url.Parse(a.config.Get().BaseURL())
	if err != nil {
		return nil, err
	}
	client, err := a.accounts.ConfirmSSO(ctx, t, agreed)
	if err != nil {
		return nil, err
	}
	var next any = web.Redirect{Code: http.StatusSeeOther, URL: client}
	if client == "" {
		if next, err = a.fallback(fallback{Stage: account.StageSSO, Done: true}); err != nil {
			return nil, err
		}
	}
	return withCookie(next, base, &http.Cookie{Name: ssoCookie(t.State), MaxAge: -1}), nil
}

// deed says in words what an operation does.
func deed(operation string) string {
	method, path, _ := strings.Cut(operation, " ")
	is := func(part string) bool { return strings.Contains(path, part) }
	switch {
	case method == "DELETE" && is("/devices/"), is("/delete_devices"):
		return "log devices out"
	case is("/account/deactivate"):
		return "close your account for good"
	case is("/account/password"):
		return "set a new password"
	case is("/keys/device_signing/upload"):
		return "replace the keys that your devices are verified with"
	case is("/login/get_token"):
		return "log another device in"
	case is("/account/3pid"):
		return "change your e-mail addresses or phone numbers"
	}
	return "change something that needs your consent"
}
