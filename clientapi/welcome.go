package clientapi

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"net/http"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/web"
)

// welcomePage is for people who open the server's address in a browser.
var welcomePage = template.Must(template.New("welcome").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Name}} – Hearth</title>
<style>body{font:1.1em/1.5 sans-serif;max-width:38em;margin:3em auto;padding:0 1em}code{background:#8882;padding:.1em .3em}</style>
<h1>{{.Name}}</h1>
<p>This is a <a href="https://matrix.org/">Matrix</a> homeserver. It runs Hearth {{.Version}}, and it works.</p>
<p>There is nothing more to see here in a browser: people talk to it with a Matrix client. In a
<a href="https://matrix.org/ecosystem/clients/">client</a> of your choice, log in or make an account with this homeserver:</p>
<p><code>{{.URL}}</code></p>
<p>Your user id will look like <code>@you:{{.Name}}</code>.</p>
</html>
`))

// Welcome serves the page at / that says what this is and how to connect.
func Welcome(cfg *config.Config, version string) ([]web.Route, error) {
	var page bytes.Buffer
	err := welcomePage.Execute(&page, struct{ Name, Version, URL string }{cfg.Server.Name, version, cfg.BaseURL()})
	if err != nil {
		return nil, fmt.Errorf("make welcome page: %w", err)
	}
	header := http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"},
		"X-Content-Type-Options":  {"nosniff"},
	}
	handler := func(context.Context, *web.Request) (any, error) {
		return web.Stream{Header: header, Content: bytes.NewReader(page.Bytes())}, nil
	}
	return []web.Route{{Method: "GET", Path: "/", Auth: web.None, Rate: web.RateNone, Handler: handler}}, nil
}
