// Package remotemedia fetches media from the servers it belongs to: from their authenticated endpoints first, from the legacy ones where a
// server does not know better. It refuses to keep anything and to try anything twice: that is package mediaapi's.
package remotemedia

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/mediaapi"
)

// Client speaks to other servers, as *fedclient.Client does. An answer is returned with whatever status it has, unread and not redirected.
type Client interface {
	// Stream asks a Matrix server, found by its name; path is escaped. A request that is not signed does not say who asks.
	Stream(ctx context.Context, to id.ServerName, path string, query url.Values, signed bool) (*http.Response, error)
	// Plain asks any address that a stranger named, as a stranger, and follows a few redirects. It connects to no address that the operator
	// denies.
	Plain(ctx context.Context, url string) (*http.Response, error)
}

// Fetcher is the rest of the world to mediaapi.
type Fetcher struct{ client Client }

var _ mediaapi.Remote = (*Fetcher)(nil)

// New makes a Fetcher.
func New(c Client) *Fetcher { return &Fetcher{client: c} }

// FetchMedia asks the server of a content URI for it. The order of the endpoints is that of the specification; the next one is asked only
// where the server does not know the one before.
//
// Spec: server-server-api#content-repository
func (f *Fetcher) FetchMedia(ctx context.Context, want mediaapi.RemoteRequest) (*mediaapi.RemoteMedia, error) {
	if !want.LegacyOnly {
		m, err := f.authenticated(ctx, want)
		if err == nil || !isUnknownEndpoint(err) {
			return m, err
		}
		if !want.Fallback {
			return nil, notFound()
		}
	}
	for _, version := range [...]string{"v3", "r0"} {
		m, err := f.legacy(ctx, want, version)
		if err == nil || !isUnknownEndpoint(err) {
			return m, err
		}
	}
	return nil, notFound()
}

func notFound() error { return merr.New(merr.NotFound, "Media not found") }

// authenticated asks the federation endpoint. Its answer has two parts: what is known of the media, and the media or where it is.
//
// Spec: server-server-api#get_matrixfederationv1mediadownloadmediaid
func (f *Fetcher) authenticated(ctx context.Context, want mediaapi.RemoteRequest) (*mediaapi.RemoteMedia, error) {
	query := url.Values{"timeout_ms": {milliseconds(want)}}
	resp, err := f.client.Stream(ctx, want.MXC.Server, "/_matrix/federation/v1/media/download/"+url.PathEscape(want.MXC.MediaID), query, true)
	if err != nil {
		return nil, err
	}
	if err := check(resp); err != nil {
		return nil, err
	}
	p, err := readParts(resp, want.Limit)
	if err != nil {
		resp.Body.Close()
		return nil, fmt.Errorf("answer of %s: %w", want.MXC.Server, err)
	}
	if p.location == "" {
		return p.media, nil
	}
	resp.Body.Close()
	return f.elsewhere(ctx, want.MXC.Server, p.location)
}

// elsewhere fetches media from where its server says that it is. Nothing of the address is kept: it may be good for a short while only.
func (f *Fetcher) elsewhere(ctx context.Context, server id.ServerName, location string) (*mediaapi.RemoteMedia, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("location that %s gave: %w", server, err)
	}
	var resp *http.Response
	switch {
	case u.Scheme == "https" || u.Scheme == "http":
		resp, err = f.client.Plain(ctx, u.String())
	case u.Scheme == "" && u.Host == "" && len(u.Path) > 0 && u.Path[0] == '/':
		// Other software means an address of the same server by this.
		resp, err = f.client.Stream(ctx, server, u.EscapedPath(), u.Query(), false)
	default:
		return nil, fmt.Errorf("location that %s gave: neither http, https nor a path", server)
	}
	if err != nil {
		return nil, fmt.Errorf("location that %s gave: %w", server, err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("location that %s gave: status %d", server, resp.StatusCode)
	}
	return whole(resp), nil
}

// legacy asks an endpoint that serves everybody. It must not ask further servers in its turn, and the request is not signed, whoever it is
// for.
//
// Spec: client-server-api#get_matrixmediav3downloadservernamemediaid (allow_remote)
func (f *Fetcher) legacy(ctx context.Context, want mediaapi.RemoteRequest, version string) (*mediaapi.RemoteMedia, error) {
	path := "/_matrix/media/" + version + "/download/" + url.PathEscape(string(want.MXC.Server)) + "/" + url.PathEscape(want.MXC.MediaID)
	query := url.Values{"allow_remote": {"false"}, "timeout_ms": {milliseconds(want)}}
	resp, err := f.client.Stream(ctx, want.MXC.Server, path, query, false)
	if err != nil {
		return nil, err
	}
	if err := check(resp); err != nil {
		return nil, err
	}
	return whole(resp), nil
}

func milliseconds(want mediaapi.RemoteRequest) string {
	return strconv.FormatInt(want.Wait.Milliseconds(), 10)
}

// whole is the media that an answer consists of.
func whole(resp *http.Response) *mediaapi.RemoteMedia {
	return &mediaapi.RemoteMedia{
		Body: resp.Body, Size: resp.ContentLength, ContentType: resp.Header.Get("Content-Type"),
		Filename: filename(resp.Header.Get("Content-Disposition")),
	}
}

// filename reads the name in a Content-Disposition; what cannot be read has none.
func filename(disposition string) string {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil {
		return ""
	}
	return params["filename"]
}

// closers closes what a body was read from.
type closers struct {
	io.Reader
	io.Closer
}
