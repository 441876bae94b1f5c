package mediaapi

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
)

const (
	// tidyEvery is the time between two rounds of housekeeping.
	tidyEvery = time.Hour
	// staleAfter is the age at which a file that nothing refers to is not on its way any more.
	staleAfter = time.Hour
	// previewPictureAge is how long the picture of a link preview is kept: much longer than the preview, since clients may have it in
	// view, and not for ever.
	previewPictureAge = 30 * 24 * time.Hour
	// tidyBatch is how many rows or files are looked at together.
	tidyBatch = 200
)

// Run does the housekeeping until ctx ends: pending uploads that were given up, link previews that expired, copies of other servers' media
// that are too old or too many, files that a crash left behind. It returns when everything the service started has ended.
func (s *Service) Run(ctx context.Context) error {
	defer s.thumbs.Close()
	defer s.work.Stop()
	for {
		if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("media housekeeping failed", slog.Any("error", err))
		}
		timer := s.clock.NewTimer(tidyEvery)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// Tidy does one round of housekeeping.
func (s *Service) Tidy(ctx context.Context) error {
	now := s.now()
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		if _, err := tx.DeleteExpiredMedia(now.UnixMilli()); err != nil {
			return err
		}
		_, err := tx.DeleteExpiredURLPreviews(now.UnixMilli())
		return err
	})
	return errors.Join(err, s.tidyOlder(ctx, storage.MediaPreview, now.Add(-previewPictureAge)), s.tidyCopies(ctx, now), s.tidyFiles(ctx))
}

// tidyOlder deletes media of a kind that was made before a time.
func (s *Service) tidyOlder(ctx context.Context, kind storage.MediaKind, before time.Time) error {
	for {
		old, err := s.oldest(ctx, kind, before)
		if err != nil || len(old) == 0 {
			return err
		}
		for _, m := range old {
			if err := s.Delete(ctx, m.MXC); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
	}
}

func (s *Service) oldest(ctx context.Context, kind storage.MediaKind, before time.Time) (old []storage.Media, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		old, err = tx.MediaOlderThan(kind, before.UnixMilli(), tidyBatch)
		return err
	})
	return old, err
}

// tidyCopies deletes copies of other servers' media: those that are too old, then the oldest until the rest fits. Whoever wants them again
// has them fetched again; they are new to the freeze then (docs/media.md).
func (s *Service) tidyCopies(ctx context.Context, now time.Time) error {
	cfg := s.config.Load()
	if cfg.RemoteLifetime > 0 {
		if err := s.tidyOlder(ctx, storage.MediaRemote, now.Add(-cfg.RemoteLifetime)); err != nil {
			return err
		}
	}
	if cfg.RemoteQuota <= 0 {
		return nil
	}
	var used storage.MediaUsage
	if err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		used, err = tx.RemoteMediaUsage()
		return err
	}); err != nil {
		return err
	}
	for used.Bytes > int64(cfg.RemoteQuota) {
		old, err := s.oldest(ctx, storage.MediaRemote, now)
		if err != nil || len(old) == 0 {
			return err
		}
		for _, m := range old {
			if used.Bytes <= int64(cfg.RemoteQuota) {
				break
			}
			if err := s.Delete(ctx, m.MXC); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
			used.Bytes -= m.Size
		}
	}
	return nil
}

// tidyFiles deletes files that no row needs. Files have the time of the machine, whatever the injected clock says.
func (s *Service) tidyFiles(ctx context.Context) error {
	before := time.Now().Add(-staleAfter)
	staged, err := s.blobs.SweepStaged(before)
	if err != nil {
		return err
	}
	var batch []string
	err = s.blobs.Each(ctx, func(h blob.Hash, modified time.Time) error {
		if modified.After(before) {
			return nil
		}
		if batch = append(batch, string(h)); len(batch) < tidyBatch {
			return nil
		}
		defer func() { batch = batch[:0] }()
		return s.release(ctx, batch)
	})
	if err == nil {
		err = s.release(ctx, batch)
	}
	if staged > 0 {
		s.log.Info("left-over temporary media files removed", slog.Int("files", staged))
	}
	return err
}
