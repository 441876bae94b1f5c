package mediaapi

import (
	"context"
	"net/http"

	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage/blob"
)

// Headers of everything that strangers uploaded. A browser that is made to open it as a page must not run it, and pages elsewhere may
// embed it.
//
// Spec: client-server-api#content-repository
const contentPolicy = "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';"

// download serves the bytes of media, under another name if the path has one.
//
// Spec: client-server-api#get_matrixclientv1mediadownloadservernamemediaid
func (s *Service) download(legacy bool) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		a, err := s.parseAsk(r, legacy)
		if err != nil {
			return nil, err
		}
		stream, err := s.serve(ctx, a, r.Var("fileName"))
		s.count(r, a, err)
		if err != nil {
			return nil, err
		}
		return stream, nil
	}
}

func (s *Service) serve(ctx context.Context, a ask, filename string) (*web.Stream, error) {
	m, err := s.find(ctx, a)
	if err != nil {
		return nil, err
	}
	f, m, err := s.open(ctx, a, m)
	if err != nil {
		return nil, err
	}
	if filename == "" {
		filename = m.Filename
	}
	return content(f, m.Blob, m.ContentType, disposition(m.ContentType, filename), a.legacy), nil
}

// content is the answer with the bytes of a blob. Ranges, conditions and HEAD are web.Stream's; they come after all that decides whether
// the caller may have it.
func content(f *blob.File, hash, contentType, disposition string, legacy bool) *web.Stream {
	// What a cache shared by several people may keep is only what anybody may see, and not for long: it may be hidden later.
	cache := "private, max-age=31536000, immutable"
	if legacy {
		cache = "public, max-age=3600"
	}
	const tagLength = 32
	return &web.Stream{
		Content: f.Content, // as it is: a wrapper would keep the kernel from sending it
		Header: http.Header{
			"Content-Type":                 {contentType},
			"Content-Disposition":          {disposition},
			"Content-Security-Policy":      {contentPolicy},
			"Cross-Origin-Resource-Policy": {"cross-origin"},
			"Cache-Control":                {cache},
			"Etag":                         {`"` + hash[:tagLength] + `"`},
			"X-Content-Type-Options":       {"nosniff"},
			"X-Robots-Tag":                 {"noindex, nofollow, noarchive, noimageindex"},
			"Referrer-Policy":              {"no-referrer"},
		},
	}
}
