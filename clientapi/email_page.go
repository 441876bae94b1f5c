package clientapi

import (
	"bytes"
	"context"
	"html/template"
	"net/http"
	"strconv"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pusher"
	"github.com/hearthd/hearth/internal/web"
)

// The pages that letters lead to. Following a link only shows a page: programs that look at every link of a letter, as mail servers do against
// viruses, must not thereby press its button.
func (a *API) emailPageRoutes() []web.Route {
	return []web.Route{
		{"GET", account.EmailPage, web.None, web.RateLogin, a.emailPage},
		{"POST", account.EmailPage, web.None, web.RateLogin, a.confirmEmail},
		{"GET", pusher.UnsubscribePage, web.None, web.RateLogin, a.unsubscribePage},
		{"POST", pusher.UnsubscribePage, web.None, web.RateLogin, a.unsubscribe},
	}
}

var letterTemplate = template.Must(template.New("letter").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="referrer" content="no-referrer">
<title>{{.Server}}</title>
<style>body{font:1.1em/1.5 sans-serif;max-width:30em;margin:3em auto;padding:0 1em}button{font:inherit}</style>
<h1>{{.Server}}</h1>
<p>{{.Text}}</p>
{{if .Button}}<form method="post">
{{range $name, $value := .Hidden}}<input type="hidden" name="{{$name}}" value="{{$value}}">
{{end}}<p><button>{{.Button}}</button></p>
</form>{{end}}
</html>
`))

// letterPage is a text, and a button that posts what is hidden.
type letterPage struct {
	Server, Text, Button string
	Hidden               map[string]string
}

// emailPage asks whoever has followed the link of a letter to confirm the address.
func (a *API) emailPage(ctx context.Context, r *web.Request) (any, error) {
	sid, token := r.Query().Get("sid"), r.Query().Get("token")
	v, err := a.accounts.EmailToConfirm(ctx, sid, token)
	if err != nil {
		return a.letterProblem(err)
	}
	page := letterPage{Hidden: map[string]string{"sid": sid, "token": token}, Button: "Confirm"}
	switch v.Purpose {
	case "reset":
		page.Text = "Do you want to set another password for the account with the address " + v.Address + "? Confirm it, and go on in your client."
	default:
		page.Text = "Is " + v.Address + " your address? Confirm it, and go on in your client."
	}
	return a.letterPage(http.StatusOK, page)
}

func (a *API) confirmEmail(ctx context.Context, r *web.Request) (any, error) {
	form, err := submitted(r)
	if err != nil {
		return nil, err
	}
	next, err := a.accounts.ConfirmEmail(ctx, form.Get("sid"), form.Get("token"))
	if err != nil {
		return a.letterProblem(err)
	}
	if next != "" {
		// Spec: identity-service-api#get_matrixidentityv2validateemailsubmittoken
		return web.Redirect{Code: http.StatusSeeOther, URL: next}, nil
	}
	return a.letterPage(http.StatusOK, letterPage{Text: "Thank you, the address is confirmed. You can close this page and go back to your client."})
}

func (a *API) unsubscribePage(context.Context, *web.Request) (any, error) {
	// What the link says stays in it: the button posts to the same URL, as programs do that end letters with one click (RFC 8058).
	return a.letterPage(http.StatusOK, letterPage{Text: "Do you want no more e-mail about messages that you have missed?", Button: "No more of these"})
}

func (a *API) unsubscribe(ctx context.Context, r *web.Request) (any, error) {
	n, err := strconv.ParseInt(r.Query().Get("pusher"), 10, 64)
	if err != nil {
		return a.letterProblem(merr.New(merr.InvalidParam, "The link is not right"))
	}
	if err := a.pushers.Unsubscribe(ctx, n, r.Query().Get("secret")); err != nil {
		return a.letterProblem(err)
	}
	return a.letterPage(http.StatusOK, letterPage{Text: "You will get no more of these. You can switch them on again in your client."})
}

// letterProblem tells a reader what is wrong with a link.
func (a *API) letterProblem(err error) (any, error) {
	e := merr.From(err)
	if e.Status >= http.StatusInternalServerError {
		return nil, err
	}
	return a.letterPage(e.Status, letterPage{Text: e.Msg + "."})
}

func (a *API) letterPage(status int, page letterPage) (any, error) {
	page.Server = a.config.Get().Server.Name
	var html bytes.Buffer
	if err := letterTemplate.Execute(&html, page); err != nil {
		return nil, err
	}
	return web.Stream{Status: status, Reader: &html, Size: int64(html.Len()), Header: http.Header{
		"Content-Type": {"text/html; charset=utf-8"},
		// No form-action: Chromium would apply it to where the button leads in the end, which is next_link.
		"Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"},
		"Cache-Control":           {"no-store"},
		"Referrer-Policy":         {"no-referrer"},
		"X-Content-Type-Options":  {"nosniff"},
		"X-Frame-Options":         {"DENY"},
	}}, nil
}
