package mediaapi

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

// What other servers ask for. They get this server's own media and no other, whatever the freeze says: they have signed their requests, and
// it is for them to know which of their users may look.

func (s *Service) federationRoutes() []web.Route {
	const media = "/_matrix/federation/v1/media"
	return []web.Route{
		{"GET", media + "/download/{mediaID}", web.Federation, web.RateFederation, s.downloadForServer},
		{"GET", media + "/thumbnail/{mediaID}", web.Federation, web.RateFederation, s.thumbnailForServer},
	}
}

// Spec: server-server-api#get_matrixfederationv1mediadownloadmediaid
func (s *Service) downloadForServer(ctx context.Context, r *web.Request) (any, error) {
	a, err := s.parseServerAsk(r)
	if err != nil {
		return nil, err
	}
	stream, err := s.serve(ctx, a, "")
	if err != nil {
		return nil, err
	}
	return inParts(stream)
}

// Spec: server-server-api#get_matrixfederationv1mediathumbnailmediaid
func (s *Service) thumbnailForServer(ctx context.Context, r *web.Request) (any, error) {
	a, err := s.parseServerAsk(r)
	if err != nil {
		return nil, err
	}
	size, err := parseSize(r)
	if err != nil {
		return nil, err
	}
	stream, err := s.serveThumbnail(ctx, a, size)
	if err != nil {
		return nil, err
	}
	return inParts(stream)
}

// parseServerAsk reads what another server wants. The path has no name of a server: it is always this one.
func (s *Service) parseServerAsk(r *web.Request) (ask, error) {
	mxc, err := id.NewMXC(string(s.server), r.Var("mediaID"))
	if err != nil {
		return ask{}, merr.New(merr.InvalidParam, err.Error())
	}
	a := ask{mxc: mxc}
	a.wait, err = s.parseWait(r)
	return a, err
}

// inParts puts media into the envelope in which servers send it to each other: an empty object, for what may be known of media one day, and
// the media with its own headers. It is sent whole, without ranges.
//
// Spec: server-server-api#get_matrixfederationv1mediadownloadmediaid
func inParts(media *web.Stream) (*web.Stream, error) {
	size, err := media.Content.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = media.Content.Seek(0, io.SeekStart)
	}
	if err != nil {
		closeContent(media)
		return nil, fmt.Errorf("measure media: %w", err)
	}
	boundary := strings.ToLower(rand.Text())
	head := "--" + boundary + "\r\nContent-Type: application/json\r\n\r\n{}\r\n--" + boundary + "\r\n"
	for _, name := range []string{"Content-Type", "Content-Disposition"} {
		head += name + ": " + media.Header.Get(name) + "\r\n"
	}
	head += fmt.Sprintf("Content-Length: %d\r\n\r\n", size)
	tail := "\r\n--" + boundary + "--\r\n"
	return &web.Stream{
		Header: http.Header{
			"Content-Type":  {"multipart/mixed; boundary=" + boundary},
			"Cache-Control": {"private, no-store"}, // another boundary each time; the receiver keeps the media itself
		},
		Reader: envelope{io.MultiReader(strings.NewReader(head), media.Content, strings.NewReader(tail)), media},
		Size:   int64(len(head)) + size + int64(len(tail)),
	}, nil
}

// envelope closes what is in it.
type envelope struct {
	io.Reader
	media *web.Stream
}

// Close closes the file of the media.
func (e envelope) Close() error {
	closeContent(e.media)
	return nil
}

func closeContent(s *web.Stream) {
	if c, ok := s.Content.(io.Closer); ok {
		_ = c.Close() // it was only read from
	}
}
