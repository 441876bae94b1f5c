package mediaapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/safehttp"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/mediaapi/opengraph"
	"github.com/hearthd/hearth/mediaapi/thumbnail"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxPreviewURL is in bytes; an index of PostgreSQL takes no more than 2,700.
	maxPreviewURL = 2048
	// maxPage is how much of a page is read, at most: what it says about itself is near its start.
	maxPage = 2 << 20
	// failureLifetime is how long a link that could not be fetched is not tried again.
	failureLifetime = 5 * time.Minute
)

// previewURL tells what a page says about itself.
//
// Spec: client-server-api#get_matrixclientv1mediapreview_url
func (s *Service) previewURL(ctx context.Context, r *web.Request) (any, error) {
	cfg := s.config.Load().PreviewURL
	if !cfg.Enabled || s.web == nil {
		return nil, merr.New(merr.Unrecognized, "Link previews are switched off on this server")
	}
	u, err := parsePreviewURL(r)
	if err != nil {
		return nil, err
	}
	// The server may always return a newer version than the one asked for with ts, so it only has to be a time.
	if _, err := r.IntQuery("ts", 0, 0, 1<<53); err != nil {
		return nil, err
	}
	p, err := s.preview(ctx, u)
	switch {
	case err != nil:
		return nil, err
	case p.Status != http.StatusOK:
		return nil, merr.New(merr.Unknown, p.Body).WithStatus(p.Status)
	}
	return json.RawMessage(p.Body), nil
}

func parsePreviewURL(r *web.Request) (*url.URL, error) {
	text, err := r.RequiredQuery("url")
	if err != nil {
		return nil, err
	}
	if len(text) > maxPreviewURL {
		return nil, merr.Newf(merr.InvalidParam, "The URL is longer than %d bytes", maxPreviewURL)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, merr.New(merr.InvalidParam, "The URL cannot be parsed")
	}
	if err := safehttp.CheckURL(u); err != nil {
		return nil, merr.New(merr.InvalidParam, err.Error())
	}
	u.Fragment, u.Host = "", strings.ToLower(u.Host)
	if len(u.String()) > maxPreviewURL {
		return nil, merr.Newf(merr.InvalidParam, "The URL is longer than %d bytes", maxPreviewURL)
	}
	return u, nil
}

// preview returns the answer about a link: the one that is kept, or a new one.
func (s *Service) preview(ctx context.Context, u *url.URL) (storage.URLPreview, error) {
	key := u.String()
	if p, known, err := s.keptPreview(ctx, key); known || err != nil {
		return p, err
	}
	cfg := s.config.Load().PreviewURL
	// A whole room sees a link at the same moment. The waiting for a turn counts, and page and picture have a time each.
	return s.previews.Do(ctx, s.work, key, 3*cfg.Timeout, func(ctx context.Context) (storage.URLPreview, error) {
		select {
		case s.looking <- struct{}{}:
			defer func() { <-s.looking }()
		case <-ctx.Done():
			return storage.URLPreview{}, ctx.Err()
		}
		if p, known, err := s.keptPreview(ctx, key); known || err != nil { // somebody has looked, since
			return p, err
		}
		now := s.now()
		p := storage.URLPreview{URL: key, Status: http.StatusOK, FetchedTS: now.UnixMilli(), ExpiresTS: now.Add(cfg.CacheLifetime).UnixMilli()}
		body, err := s.look(ctx, u)
		if err != nil {
			if errors.Is(ctx.Err(), context.Canceled) { // the service is stopping
				return p, err
			}
			s.log.Debug("link not fetched", slog.Any("error", err))
			p.Status, p.Body = http.StatusBadGateway, "The page could not be fetched"
			if status := siteStatus(0); errors.As(err, &status) {
				p.Body = status.Error()
			}
			p.ExpiresTS = now.Add(min(cfg.CacheLifetime, failureLifetime)).UnixMilli()
		} else {
			p.Body = string(body)
		}
		// The time for fetching may be over, keeping the answer is quick.
		return p, s.store.Update(context.WithoutCancel(ctx), func(tx *storage.Tx) error { return tx.PutURLPreview(p) })
	})
}

// keptPreview is the answer about a link that is kept, if there is one.
func (s *Service) keptPreview(ctx context.Context, key string) (p storage.URLPreview, known bool, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		p, err = tx.URLPreview(key, s.now().UnixMilli())
		return err
	})
	switch {
	case err == nil:
		return p, true, nil
	case errors.Is(err, storage.ErrNotFound):
		return p, false, nil
	}
	return p, false, fmt.Errorf("look up link preview: %w", err)
}

// siteStatus is an answer of a site that is no page. All other failures look the same to the client, or it could find out what listens on
// networks that only this server sees.
type siteStatus int

func (s siteStatus) Error() string { return fmt.Sprintf("The site answered with status %d", int(s)) }

// look fetches a page and its picture and returns the answer for the client.
func (s *Service) look(ctx context.Context, u *url.URL) (json.RawMessage, error) {
	cfg := s.config.Load().PreviewURL
	pageCtx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	resp, err := s.get(pageCtx, u.String(), "text/html, application/xhtml+xml, image/*;q=0.8, */*;q=0.1")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	contentType := resp.Header.Get("Content-Type")
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType, _, _ = strings.Cut(contentType, ";")
	}
	page := opengraph.Page{Properties: map[string]string{}}
	picture := io.Reader(nil)
	switch {
	case mediaType == "text/html", mediaType == "application/xhtml+xml":
		page = opengraph.Parse(io.LimitReader(resp.Body, min(maxPage, int64(cfg.MaxSize))), contentType, resp.Request.URL)
	case strings.HasPrefix(mediaType, "image/"):
		picture = resp.Body
	}
	answer := make(map[string]any, len(page.Properties)+5)
	for name, value := range page.Properties {
		answer[name] = value
	}
	if page.Image != "" {
		pictureCtx, cancel := context.WithTimeout(ctx, cfg.Timeout)
		defer cancel()
		if resp, err := s.get(pictureCtx, page.Image, "image/*"); err == nil {
			defer resp.Body.Close()
			picture, ctx = resp.Body, pictureCtx
		}
	}
	if picture != nil {
		// A page without its picture is still worth showing.
		if err := s.keepPicture(ctx, picture, answer); err != nil {
			s.log.Debug("picture of a link not kept", slog.Any("error", err))
		}
	}
	return json.Marshal(answer)
}

func (s *Service) get(ctx context.Context, address, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Accept-Language", "en, *;q=0.5")
	resp, err := s.web.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		resp.Body.Close()
		return nil, siteStatus(resp.StatusCode)
	}
	return resp, nil
}

// keepPicture makes the picture of a page a media of this server, to which the freeze applies as to any other, and adds it to the answer.
func (s *Service) keepPicture(ctx context.Context, body io.Reader, answer map[string]any) error {
	staged, err := s.blobs.Stage(ctx, body, int64(s.config.Load().PreviewURL.MaxSize))
	if err != nil {
		return err
	}
	defer staged.Discard()
	f, err := staged.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	// What the picture is its bytes say, not the site.
	info, err := thumbnail.Probe(f, f.Size)
	if err != nil {
		return err
	}
	now := s.now().UnixMilli()
	m := storage.Media{
		MXC: s.newMXC(), Kind: storage.MediaPreview, Blob: string(staged.Hash), Size: staged.Size,
		ContentType: info.Format.ContentType(), CreatedTS: now, AvailableTS: now,
	}
	if err := s.file(ctx, staged, func(tx *storage.Tx) error {
		if err := s.checkQuota(&tx.ReadTx, "", m.Size); err != nil {
			return err
		}
		_, err := tx.InsertMedia(m)
		return err
	}); err != nil {
		return s.notFiled(ctx, staged, err)
	}
	answer["og:image"] = m.MXC
	answer["og:image:type"] = m.ContentType
	answer["og:image:width"] = info.Width
	answer["og:image:height"] = info.Height
	answer["matrix:image:size"] = m.Size
	return nil
}
