package mediaapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Info returns what is known of media, whoever may see it, or storage.ErrNotFound.
func (s *Service) Info(ctx context.Context, mxc id.MXC) (storage.Media, error) {
	return s.lookUp(ctx, mxc)
}

// Frozen reports whether the legacy endpoints hide media as things are now.
func (s *Service) Frozen(m storage.Media) bool { return frozen(s.Freeze(), m) }

// Quarantine hides media from everybody, on all endpoints; by says who ordered it. It returns storage.ErrNotFound for unknown media.
func (s *Service) Quarantine(ctx context.Context, mxc id.MXC, by string) error {
	if by == "" {
		by = "unknown"
	}
	return s.setQuarantine(ctx, mxc, by, s.now().UnixMilli())
}

// Unquarantine ends a quarantine.
func (s *Service) Unquarantine(ctx context.Context, mxc id.MXC) error {
	return s.setQuarantine(ctx, mxc, "", 0)
}

func (s *Service) setQuarantine(ctx context.Context, mxc id.MXC, by string, ts int64) error {
	if err := s.store.Update(ctx, func(tx *storage.Tx) error { return tx.QuarantineMedia(mxc, by, ts) }); err != nil {
		return fmt.Errorf("quarantine %s: %w", mxc, err)
	}
	s.log.Info("media quarantine changed", slog.String("media", mxc.String()), slog.String("by", by))
	return nil
}

// SetAccess overrules the freeze for one media, or stops doing so: an icon that people see before they log in has to be public. It returns
// storage.ErrNotFound for unknown media.
func (s *Service) SetAccess(ctx context.Context, mxc id.MXC, access storage.MediaAccess) error {
	if err := s.store.Update(ctx, func(tx *storage.Tx) error { return tx.SetMediaAccess(mxc, access) }); err != nil {
		return fmt.Errorf("set access of %s: %w", mxc, err)
	}
	s.log.Info("media access changed", slog.String("media", mxc.String()), slog.Int("access", int(access)))
	return nil
}

// Delete removes media with its thumbnails, and their files unless other media has the same bytes. It returns storage.ErrNotFound for
// unknown media.
func (s *Service) Delete(ctx context.Context, mxc id.MXC) error {
	var blobs []string
	if err := s.store.Update(ctx, func(tx *storage.Tx) error {
		m, err := tx.Media(mxc)
		if err != nil {
			return err
		}
		blobs, err = tx.DeleteMedia(m)
		return err
	}); err != nil {
		return fmt.Errorf("delete %s: %w", mxc, err)
	}
	return s.release(context.WithoutCancel(ctx), blobs)
}

// DeleteOfUser removes all uploads of a user and returns how many they were.
func (s *Service) DeleteOfUser(ctx context.Context, user id.UserID) (int, error) {
	const batch = 100
	for n := 0; ; {
		var rows []storage.Media
		if err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			rows, err = tx.MediaOfUser(user, 0, batch)
			return err
		}); err != nil || len(rows) == 0 {
			return n, err
		}
		for _, m := range rows {
			if err := s.Delete(ctx, m.MXC); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return n, err
			}
			n++
		}
	}
}
