// Package mediaapi serves the content repository: uploads, downloads, thumbnails and link previews, on the endpoints that need
// authentication and on the legacy ones that do not, with the freeze between them (docs/media.md).
//
// One content URI is one row; its bytes are a blob that other rows may share. Every decision - who may see it, whether it is frozen or
// quarantined - is made for the row and never for the blob. The package refuses to speak to other Matrix servers itself: that is the
// Remote it is given.
package mediaapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/flight"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/mediaapi/thumbnail"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
)

// Parts is what a Service is made of. Remote, Log and Metrics may be nil, the rest is needed.
type Parts struct {
	Server     id.ServerName
	Store      *storage.Store
	Blobs      *blob.Dir
	Hub        *hub.Hub
	Clock      clock.Clock
	Config     config.Media
	Thumbnails *thumbnail.Maker
	Web        *http.Client // fetches pages for link previews; see internal/safehttp
	Remote     Remote       // fetches media of other servers; nil: there is none of theirs
	Log        *slog.Logger
	Metrics    prometheus.Registerer
}

// Service is the content repository. Routes gives its endpoints; Run does its housekeeping.
type Service struct {
	server  id.ServerName
	store   *storage.Store
	blobs   *blob.Dir
	hub     *hub.Hub
	clock   clock.Clock
	thumbs  *thumbnail.Maker
	web     *http.Client
	remote  Remote
	log     *slog.Logger
	metrics *metrics

	config atomic.Pointer[config.Media]
	policy atomic.Pointer[Policy]

	// filing is held for reading from before a blob gets its name until a row refers to it, and for writing from before a blob is found
	// to be needed by no row until it is deleted. Without it an upload could lose its bytes to the deletion of an equal file.
	filing sync.RWMutex

	uploading uploading

	work     *flight.Owner // what several requests wait for, and what outlives the request that began it
	hosts    *hosts
	fetches  flight.Group[storage.Media]
	makes    flight.Group[storage.Thumbnail]
	previews flight.Group[storage.URLPreview]
	looking  chan struct{} // one for each link that is being fetched
}

// maxPreviews is the number of links that are fetched at the same time.
const maxPreviews = 8

// New makes the service. It fails only if metrics of the same name are registered already.
func New(p Parts) (*Service, error) {
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(p.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register media metrics: %w", err)
	}
	s := &Service{
		server: p.Server, store: p.Store, blobs: p.Blobs, hub: p.Hub, clock: p.Clock, thumbs: p.Thumbnails, web: p.Web,
		remote: p.Remote, log: p.Log, metrics: m, work: flight.NewOwner(p.Log), hosts: newHosts(p.Clock), looking: make(chan struct{}, maxPreviews),
	}
	s.config.Store(&p.Config)
	policy := policyOf(p.Config)
	s.policy.Store(&policy)
	s.log.Info("media freeze", policy.attrs()...)
	return s, nil
}

// SetConfig puts the reloadable settings of cfg in force, the freeze among them, without disturbing requests under way.
func (s *Service) SetConfig(cfg config.Media) {
	s.config.Store(&cfg)
	s.SetFreeze(policyOf(cfg))
}

func (s *Service) now() time.Time { return s.clock.Now() }

// errNotFound is the one answer for everything that is not to be had: unknown, expired, quarantined and frozen media look the same.
func errNotFound() error { return merr.New(merr.NotFound, "Media not found") }

// lookUp reads the row of a URI. A pending one that was given up does not exist any more.
func (s *Service) lookUp(ctx context.Context, mxc id.MXC) (storage.Media, error) {
	var m storage.Media
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		m, err = tx.Media(mxc)
		return err
	})
	if err == nil && m.Pending() && m.ExpiresTS <= s.now().UnixMilli() {
		err = storage.ErrNotFound
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		err = fmt.Errorf("look up %s: %w", mxc, err)
	}
	return m, err
}

// file gives a staged blob its name and makes the rows that refer to it, so that no deletion can come between.
func (s *Service) file(ctx context.Context, staged *blob.Staged, rows func(tx *storage.Tx) error) error {
	s.filing.RLock()
	defer s.filing.RUnlock()
	if err := staged.Commit(); err != nil {
		return err
	}
	return s.store.Update(ctx, rows)
}

// release deletes those of the blobs that no row needs any more.
func (s *Service) release(ctx context.Context, blobs []string) error {
	if len(blobs) == 0 {
		return nil
	}
	s.filing.Lock()
	defer s.filing.Unlock()
	var needed []string
	if err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		needed, err = tx.BlobsInUse(blobs)
		return err
	}); err != nil {
		return fmt.Errorf("find unused blobs: %w", err)
	}
	keep := make(map[string]bool, len(needed))
	for _, b := range needed {
		keep[b] = true
	}
	var problems []error
	for _, b := range blobs {
		if !keep[b] {
			problems = append(problems, s.blobs.Delete(blob.Hash(b)))
		}
	}
	return errors.Join(problems...)
}
