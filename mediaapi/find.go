package mediaapi

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
)

// ask is what somebody wants to see, and how.
type ask struct {
	mxc         id.MXC
	legacy      bool          // without authentication: the freeze applies
	allowRemote bool          // whether another server may be asked
	wait        time.Duration // for a pending upload
}

// defaultWait is how long a request waits for a pending upload if it does not say.
const defaultWait = 20 * time.Second

// parseAsk reads what downloads and thumbnails have in common.
func (s *Service) parseAsk(r *web.Request, legacy bool) (ask, error) {
	a := ask{legacy: legacy, allowRemote: true}
	var err error
	if a.mxc, err = r.MXC("serverName", "mediaID"); err != nil {
		return a, err
	}
	if a.wait, err = s.parseWait(r); err != nil {
		return a, err
	}
	if legacy {
		// Only the deprecated endpoints have it.
		a.allowRemote, err = r.BoolQuery("allow_remote", true)
	}
	return a, err
}

// parseWait reads how long a request may wait for a pending upload.
func (s *Service) parseWait(r *web.Request) (time.Duration, error) {
	longest := s.config.Load().MaxWait
	wait, err := r.IntQuery("timeout_ms", int(min(defaultWait, longest).Milliseconds()), 0, int(longest.Milliseconds()))
	return time.Duration(wait) * time.Millisecond, err
}

// find returns the row to serve, or the error to answer. On a legacy request the order of the checks is: known, still pending (504),
// quarantined (404), frozen (404).
func (s *Service) find(ctx context.Context, a ask) (storage.Media, error) {
	if a.legacy && !s.config.Load().LegacyEndpoints {
		return storage.Media{}, errRefused()
	}
	if s.prevented(a.mxc.Server) {
		return storage.Media{}, errNotFound()
	}
	m, err := s.lookUp(ctx, a.mxc)
	if errors.Is(err, storage.ErrNotFound) {
		return s.fetch(ctx, a)
	}
	if err == nil && m.Pending() {
		m, err = s.await(ctx, a)
	}
	if err != nil {
		return m, err
	}
	return m, s.mayServe(a, m)
}

// prevented reports whether the operator does not want media of a server to be seen. A name without a port stands for all ports.
func (s *Service) prevented(server id.ServerName) bool {
	for _, name := range s.config.Load().PreventDownloadsFrom {
		if server != s.server && (strings.EqualFold(name, string(server)) || strings.EqualFold(name, server.Host())) {
			return true
		}
	}
	return false
}

// mayServe decides for media whose bytes are here.
func (s *Service) mayServe(a ask, m storage.Media) error {
	switch {
	case m.Quarantined():
		return errNotFound()
	case a.legacy && frozen(s.Freeze(), m):
		return errRefused()
	}
	return nil
}

// refused marks the refusals of the freeze for the metrics. What goes over the wire is the same as for unknown media.
type refused struct{ error }

func errRefused() error { return refused{errNotFound()} }

func (r refused) Unwrap() error { return r.error }

// await waits until the bytes of a pending URI are there.
//
// Spec: client-server-api#get_matrixclientv1mediadownloadservernamemediaid (timeout_ms, 504 M_NOT_YET_UPLOADED)
func (s *Service) await(ctx context.Context, a ask) (storage.Media, error) {
	watch := s.hub.Watch(hub.Media(a.mxc))
	defer watch.Close()
	timer := s.clock.NewTimer(a.wait)
	defer timer.Stop()
	over := a.wait <= 0
	for {
		m, err := s.lookUp(ctx, a.mxc)
		if errors.Is(err, storage.ErrNotFound) {
			return m, errNotFound() // it was given up meanwhile
		}
		if err != nil || !m.Pending() {
			return m, err
		}
		if over {
			return m, merr.New(merr.NotYetUploaded, "The media has not yet been uploaded")
		}
		select {
		case <-watch.C():
		case <-timer.C():
			over = true
		case <-s.hub.Draining():
			over = true
		case <-ctx.Done():
			return m, ctx.Err()
		}
	}
}

// open opens the bytes of a row. A copy of another server's media whose file is lost is fetched again, for those who may have it
// fetched; the new row is a new media to the freeze.
func (s *Service) open(ctx context.Context, a ask, m storage.Media) (*blob.File, storage.Media, error) {
	f, err := s.blobs.Open(blob.Hash(m.Blob))
	if !errors.Is(err, blob.ErrNotFound) {
		return f, m, err
	}
	if m.Kind == storage.MediaRemote && !a.legacy {
		if m, err = s.fetch(ctx, a); err != nil {
			return nil, m, err
		}
		f, err = s.blobs.Open(blob.Hash(m.Blob))
		return f, m, err
	}
	if again, lost := s.lookUp(ctx, a.mxc); lost == nil && again.Blob == m.Blob {
		s.log.Error("the file of a media is missing", slog.String("media", a.mxc.String()), slog.String("blob", m.Blob))
	}
	return nil, m, errNotFound()
}

// count keeps the statistics of anonymous requests, which tell an operator whom a freeze would break.
func (s *Service) count(r *web.Request, a ask, err error) {
	if !a.legacy {
		return
	}
	result := legacyServed
	if err != nil {
		result = legacyAbsent
		if errors.As(err, new(refused)) {
			result = legacyRefused
		}
	}
	s.metrics.legacy.WithLabelValues(clientFamily(r.Header.Get("User-Agent")), result).Inc()
}
