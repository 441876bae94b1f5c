package mediaapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
)

// Remote fetches media from the server it belongs to. Its errors go to the client if they are Matrix errors: merr.NotFound where the other
// server has no such media, merr.NotYetUploaded where it is pending, merr.TooLarge where it is too large for that server. All else counts as
// a server that cannot be reached. package remotemedia has the one that speaks to real servers.
type Remote interface {
	FetchMedia(ctx context.Context, want RemoteRequest) (*RemoteMedia, error)
}

// RemoteRequest says what to fetch and how.
type RemoteRequest struct {
	MXC id.MXC
	// LegacyOnly: nobody is logged in behind this request, so it must not be signed. Only the legacy endpoints may be asked, with
	// allow_remote=false.
	LegacyOnly bool
	// Fallback: the legacy endpoints may be asked where the server does not know the authenticated ones.
	Fallback bool
	// Wait is how long the other server may wait for a pending upload.
	Wait time.Duration
	// Limit is the number of bytes beyond which the body will not be read.
	Limit int64
}

// RemoteMedia is what came back. Body ends with an error if the connection broke; it is closed by who asked.
type RemoteMedia struct {
	Body        io.ReadCloser
	Size        int64 // -1: not known
	ContentType string
	Filename    string // empty: none was given
}

// remoteTimeout bounds the fetch of one media, beside the time that may be waited for its upload.
const remoteTimeout = 5 * time.Minute

// fetch gets media that has no row here, or whose file is lost, from its server and makes a row for it. It decides first whether the caller may
// make this server ask anybody at all.
func (s *Service) fetch(ctx context.Context, a ask) (storage.Media, error) {
	switch {
	case a.mxc.Server == s.server, !a.allowRemote:
		return storage.Media{}, errNotFound()
	case a.legacy && s.Freeze().frozenNow(s.now()):
		// What became available now would be frozen: the answer is no, and nobody outside hears of the question.
		return storage.Media{}, errRefused()
	case s.remote == nil:
		return storage.Media{}, errNotFound()
	}
	// Signed and unsigned requests are not the same to the other server.
	key := a.mxc.String()
	if a.legacy {
		key = "legacy " + key
	}
	if err := s.hosts.known(a.mxc.Server, key); err != nil {
		return storage.Media{}, err
	}
	// Others may be waiting for the same media: the fetch does not end with this request.
	m, err := s.fetches.Do(ctx, s.work, key, remoteTimeout+a.wait, func(ctx context.Context) (storage.Media, error) {
		leave, err := s.hosts.enter(ctx, a.mxc.Server)
		if err != nil {
			return storage.Media{}, err
		}
		defer leave()
		m, err := s.fetchNow(ctx, a)
		s.remember(ctx, a.mxc.Server, key, err)
		return m, err
	})
	if err != nil {
		return m, err
	}
	return m, s.mayServe(a, m)
}

// remember notes what became of a fetch, so that what failed is not tried again at once.
func (s *Service) remember(ctx context.Context, server id.ServerName, key string, err error) {
	switch {
	case err == nil:
		s.hosts.succeeded(server)
	case errors.Is(err, errLocal), errors.Is(ctx.Err(), context.Canceled), merr.HasCode(err, merr.NotYetUploaded):
		// It is our own trouble, or something that may be different in a moment.
	case merr.HasCode(err, merr.NotFound), merr.HasCode(err, merr.TooLarge):
		s.hosts.absent(key, err)
		s.hosts.succeeded(server)
	default:
		s.hosts.failed(server)
	}
}

// errLocal is wrapped by errors of a fetch that the other server has nothing to do with.
var errLocal = errors.New("keep remote media")

func (s *Service) fetchNow(ctx context.Context, a ask) (storage.Media, error) {
	cfg := s.config.Load()
	limit := int64(cfg.MaxUpload)
	got, err := s.remote.FetchMedia(ctx, RemoteRequest{
		MXC: a.mxc, LegacyOnly: a.legacy, Fallback: cfg.LegacyRemoteFallback, Wait: a.wait, Limit: limit,
	})
	if err != nil {
		return storage.Media{}, s.unreachable(a.mxc, err)
	}
	defer got.Body.Close()
	if got.Size > limit {
		return storage.Media{}, errRemoteTooLarge()
	}
	body := &sender{Reader: got.Body}
	staged, err := s.blobs.Stage(ctx, body, limit)
	switch {
	case errors.Is(err, blob.ErrTooLarge):
		return storage.Media{}, errRemoteTooLarge()
	case err != nil && body.failed:
		return storage.Media{}, s.unreachable(a.mxc, err)
	case err != nil:
		return storage.Media{}, fmt.Errorf("%w: %w", errLocal, err)
	}
	defer staged.Discard()
	if got.Size >= 0 && got.Size != staged.Size {
		return storage.Media{}, s.unreachable(a.mxc, io.ErrUnexpectedEOF)
	}
	now := s.now().UnixMilli()
	m := storage.Media{
		MXC: a.mxc, Kind: storage.MediaRemote, Blob: string(staged.Hash), Size: staged.Size,
		ContentType: cleanContentType(got.ContentType), CreatedTS: now, AvailableTS: now,
	}
	if checkFilename(got.Filename) == nil {
		m.Filename = got.Filename
	}
	var old []string
	err = s.file(ctx, staged, func(tx *storage.Tx) error {
		before, err := tx.Media(m.MXC)
		switch {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return err
		case before.Quarantined():
			return errNotFound()
		default:
			// What an operator decided for this URI outlives the copy.
			m.Access = before.Access
			if old, err = tx.DeleteMedia(before); err != nil {
				return err
			}
		}
		m.NID, err = tx.InsertMedia(m)
		return err
	})
	if err != nil {
		return storage.Media{}, fmt.Errorf("%w: %w", errLocal, s.notFiled(ctx, staged, err))
	}
	return m, s.release(ctx, old)
}

// sender is the other end of a download: it remembers whether it was the one who failed.
type sender struct {
	io.Reader
	failed bool
}

func (r *sender) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.failed = r.failed || err != nil && !errors.Is(err, io.EOF)
	return n, err
}

func errRemoteTooLarge() error {
	// Spec: client-server-api#content-repo-security-considerations
	return merr.New(merr.TooLarge, "The content is too large to serve").WithStatus(502)
}

// unreachable turns what went wrong with another server into an answer: what it said if it said something, else 502.
func (s *Service) unreachable(mxc id.MXC, err error) error {
	if e := (*merr.Error)(nil); errors.As(err, &e) {
		return err
	}
	s.log.Info("remote media not fetched", slog.String("media", mxc.String()), slog.Any("error", err))
	return fmt.Errorf("%w: %w", errUnreachable(), err)
}

func errUnreachable() error {
	return merr.New(merr.Unknown, "The media could not be fetched from its server").WithStatus(502)
}
