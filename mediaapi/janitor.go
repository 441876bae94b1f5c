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

// Run does the housekeeping until ctx ends: pending uploads that were given up, link previews that expired, files that a crash left
// behind. It returns when everything the service started has ended.
func (s *Service) Run(ctx context.Context) error {
	defer s.work.stop()
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
	return errors.Join(err, s.tidyPictures(ctx, now), s.tidyFiles(ctx))
}

func (s *Service) tidyPictures(ctx context.Context, now time.Time) error {
	for {
		var old []storage.Media
		if err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			old, err = tx.MediaOlderThan(storage.MediaPreview, now.Add(-previewPictureAge).UnixMilli(), tidyBatch)
			return err
		}); err != nil || len(old) == 0 {
			return err
		}
		for _, m := range old {
			if err := s.Delete(ctx, m.MXC); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
	}
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
