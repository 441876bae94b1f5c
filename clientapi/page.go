package clientapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"html/template"
	"net/http"
	"net/url"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

// newPage makes a page for people. The dot of its content is what is to be shown, $.Nonce what its scripts need.
func newPage(content string) *template.Template {
	page := template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Server}}</title>
<style>
body{font:1.1em/1.5 sans-serif;max-width:30em;margin:3em auto;padding:0 1em}input,button{font:inherit}
code{background:#8882;padding:.1em .3em;overflow-wrap:anywhere}
</style>
<h1>{{.Server}}</h1>
{{template "content" .}}
</html>
`))
	template.Must(page.New("content").Parse("{{with .Content}}" + content + "{{end}}"))
	return page
}

// show answers with a page. It loads nothing, runs no script but its own, and is never part of another page.
func (a *API) show(page *template.Template, status int, content any) (any, error) {
	nonce := rand.Text()
	var html bytes.Buffer
	err := page.Execute(&html, struct {
		Server, Nonce string
		Content       any
	}{a.config.Get().Server.Name, nonce, content})
	if err != nil {
		return nil, err
	}
	return web.Stream{Status: status, Reader: &html, Size: int64(html.Len()), Header: http.Header{
		"Content-Type": {"text/html; charset=utf-8"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-" + nonce + "'; connect-src 'self'; " +
			"base-uri 'none'; frame-ancestors 'none'"},
		"Cache-Control":          {"no-store"},
		"Referrer-Policy":        {"no-referrer"},
		"X-Content-Type-Options": {"nosniff"},
		"X-Frame-Options":        {"DENY"},
	}}, nil
}

var problemPage = newPage(`<p><strong>{{.}}</strong></p>`)

// forPeople makes a handler say on a page what went wrong.
func (a *API) forPeople(h web.Handler) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		out, err := h(ctx, r)
		var known *merr.Error
		if !errors.As(err, &known) {
			return out, err
		}
		return a.show(problemPage, known.Status, known.Msg)
	}
}

// submitted is the form that a page has sent.
func submitted(r *web.Request) (url.Values, error) {
	r.LimitBody(8 << 10)
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body()); err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(body.String())
	if err != nil {
		return nil, merr.New(merr.InvalidParam, "The form is not correctly encoded")
	}
	return form, nil
}
