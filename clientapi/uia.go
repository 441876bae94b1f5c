package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) uiaRoutes() []web.Route {
	const page = "/_matrix/client/v3/auth/{type}/fallback/web"
	return []web.Route{
		{"GET", page, web.None, web.RateNone, a.fallbackForm},
		{"POST", page, web.None, web.RateLogin, a.submitFallback},
	}
}

// operation is the request as something to be confirmed.
func operation(r *web.Request, body json.RawMessage) account.Operation {
	return account.Operation{Name: r.Method + " " + r.HTTP().URL.Path, User: r.Caller.User, Body: body}
}

// managed is the request as something that has to be confirmed unless an application service does it with a user of its own.
//
// Spec: application-service-api#deleting-devices
func managed(r *web.Request, body json.RawMessage) account.Operation {
	op := operation(r, body)
	op.Managed = r.Caller.AppserviceID != ""
	return op
}

// interactive shapes the answer of an operation that has to be confirmed: a challenge is an answer like any other, with the status 401.
func interactive(body any, err error) (any, error) {
	var c *account.Challenge
	if errors.As(err, &c) {
		return web.Status{Code: http.StatusUnauthorized, Body: c}, nil
	}
	return body, err
}

// spendAttempt charges for a request that has to be confirmed, in a class. Clients look every few seconds whether somebody has followed the link
// in a letter: that nobody can guess anything by.
func spendAttempt(r *web.Request, body json.RawMessage, rate web.Rate) error {
	if account.AwaitsEmail(body) {
		rate = web.RateWrite
	}
	return r.SpendAs(rate)
}

// optionalObject returns the body, or {} if there is none.
func optionalObject(r *web.Request) (json.RawMessage, error) {
	body := json.RawMessage("{}")
	if err := r.JSONOptional(&body); err != nil {
		return nil, err
	}
	if body[0] != '{' {
		return nil, merr.New(merr.BadJSON, "The body must be an object")
	}
	return body, nil
}

var fallbackPage = newPage(`{{if .Done}}<p>Thank you. You can close this page and go back to your client.</p>
<script nonce="{{$.Nonce}}">
if (window.onAuthDone) {
	window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
	window.opener.postMessage("authDone", "*");
}
</script>
{{else}}{{if .Problem}}<p><strong>{{.Problem}}</strong></p>{{end}}
<form method="post">
<input type="hidden" name="session" value="{{.Session}}">
{{if eq .Stage "m.login.registration_token"}}<p><label>Registration token: <input name="token" maxlength="64" required autofocus></label></p>
<p><button>Continue</button></p>
{{else if eq .Stage "m.login.terms"}}<p>To make an account here you have to agree to:</p>
<ul>{{range .Terms}}<li><a href="{{.URL}}" target="_blank" rel="noopener noreferrer">{{.Name}}</a></li>{{end}}</ul>
<p><button>I agree</button></p>
{{else}}<p><button>Continue</button></p>{{end}}
</form>{{end}}`)

type fallback struct {
	Stage, Session, Problem string
	Done                    bool
	Terms                   []config.Terms
}

// fallbackStages are those that make sense on a page.
func fallbackStage(r *web.Request) (string, error) {
	switch stage := r.Var("type"); stage {
	case account.StageTerms, account.StageRegistrationToken, account.StageDummy:
		return stage, nil
	}
	return "", merr.New(merr.Unrecognized, "There is no page for this type of authentication").WithStatus(http.StatusNotFound)
}

// Spec: client-server-api#fallback
func (a *API) fallbackForm(ctx context.Context, r *web.Request) (any, error) {
	stage, err := fallbackStage(r)
	if err != nil {
		return nil, err
	}
	session, err := r.RequiredQuery("session")
	if err != nil {
		return nil, err
	}
	if err := a.accounts.HasSession(ctx, session); err != nil {
		return nil, err
	}
	return a.fallback(fallback{Stage: stage, Session: session})
}

func (a *API) submitFallback(ctx context.Context, r *web.Request) (any, error) {
	stage, err := fallbackStage(r)
	if err != nil {
		return nil, err
	}
	form, err := submitted(r)
	if err != nil {
		return nil, err
	}
	page := fallback{Stage: stage, Session: form.Get("session"), Done: true}
	if page.Session == "" {
		page.Session = r.Query().Get("session")
	}
	err = a.accounts.CompleteStage(ctx, page.Session, stage, form.Get("token"))
	if e := merr.From(err); e != nil && e.Status == http.StatusUnauthorized {
		page.Done, page.Problem = false, e.Msg
	} else if err != nil {
		return nil, err
	}
	return a.fallback(page)
}

func (a *API) fallback(page fallback) (any, error) {
	page.Terms = a.config.Get().Registration.Terms
	return a.show(fallbackPage, http.StatusOK, page)
}
