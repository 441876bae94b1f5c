package mediaapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/mediaapi/thumbnail"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
)

// thumbnail serves a small picture of media. It follows the media in everything: the freeze, the quarantine, its deletion.
//
// Spec: client-server-api#get_matrixclientv1mediathumbnailservernamemediaid
func (s *Service) thumbnail(legacy bool) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		a, err := s.parseAsk(r, legacy)
		if err != nil {
			return nil, err
		}
		size, err := parseSize(r)
		if err != nil {
			return nil, err
		}
		stream, err := s.serveThumbnail(ctx, a, size)
		s.count(r, a, err)
		if err != nil {
			return nil, err
		}
		return stream, nil
	}
}

// parseSize reads the wanted size and rounds it up to one that is made here.
func parseSize(r *web.Request) (storage.Thumbnail, error) {
	t := storage.Thumbnail{Method: methodScale}
	for name, side := range map[string]*int{"width": &t.Width, "height": &t.Height} {
		n, err := strconv.Atoi(r.Query().Get(name))
		if err != nil || n < 1 {
			return t, merr.Newf(merr.Unknown, "%s must be a number greater than 0", name).WithStatus(400)
		}
		*side = n
	}
	switch method := r.Query().Get("method"); method {
	case "", methodScale:
	case methodCrop:
		t.Method = methodCrop
	default:
		return t, merr.New(merr.Unknown, "method must be crop or scale").WithStatus(400)
	}
	var err error
	t.Animated, err = r.BoolQuery("animated", false)
	t.Width, t.Height = roundUp(t.Method, t.Width, t.Height)
	return t, err
}

// serveThumbnail finds a thumbnail, or has it made.
func (s *Service) serveThumbnail(ctx context.Context, a ask, size storage.Thumbnail) (*web.Stream, error) {
	m, err := s.find(ctx, a)
	if err != nil {
		return nil, err
	}
	size.Media = m.NID
	var t storage.Thumbnail
	err = s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		t, err = tx.Thumbnail(size)
		return err
	})
	if err == nil {
		f, err := s.openThumbnail(ctx, a, m, t)
		if !errors.Is(err, blob.ErrNotFound) {
			return f, err
		}
		// Its file is lost: make it again.
	} else if !errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("look up thumbnail: %w", err)
	}
	if t, m, err = s.make(ctx, a, m, size); err != nil {
		return nil, err
	}
	return s.openThumbnail(ctx, a, m, t)
}

func (s *Service) openThumbnail(ctx context.Context, a ask, m storage.Media, t storage.Thumbnail) (*web.Stream, error) {
	var f *blob.File
	var err error
	hash := t.Blob
	if hash == "" {
		f, m, err = s.open(ctx, a, m)
		hash = m.Blob
	} else {
		f, err = s.blobs.Open(blob.Hash(hash))
	}
	if err != nil {
		return nil, err
	}
	return content(f, hash, t.ContentType, disposition(t.ContentType, "thumbnail"+extension(t.ContentType)), a.legacy), nil
}

// extension returns the usual ending of a file's name, for the types that thumbnails have.
func extension(contentType string) string {
	switch contentType {
	case "image/jpeg":
		return ".jpg"
	case "image/png", "image/apng":
		return ".png"
	case "image/gif":
		return ".gif"
	case "image/webp":
		return ".webp"
	}
	return ""
}

// makeTimeout bounds the making of one thumbnail, the wait for a free worker included.
const makeTimeout = time.Minute

// make makes a thumbnail and keeps it. All who want the same one at the same time get the same; it is finished also if they all go away,
// since they will be back.
func (s *Service) make(ctx context.Context, a ask, m storage.Media, size storage.Thumbnail) (storage.Thumbnail, storage.Media, error) {
	f, m, err := s.open(ctx, a, m)
	if err != nil {
		return size, m, err
	}
	f.Close() // it is there; the worker opens it for itself
	size.Media = m.NID
	key := fmt.Sprintf("%d %dx%d %s %t", size.Media, size.Width, size.Height, size.Method, size.Animated)
	t, err := s.makes.Do(ctx, s.work, key, makeTimeout, func(ctx context.Context) (storage.Thumbnail, error) {
		return s.makeNow(ctx, m, size)
	})
	return t, m, err
}

func (s *Service) makeNow(ctx context.Context, m storage.Media, t storage.Thumbnail) (storage.Thumbnail, error) {
	spec := thumbnail.Spec{Width: t.Width, Height: t.Height, Animated: t.Animated}
	if t.Method == methodCrop {
		spec.Method = thumbnail.Crop
	}
	f, err := s.openSource(ctx, m, spec)
	if err != nil {
		return t, err
	}
	defer f.Close()
	result, err := s.thumbs.Make(ctx, f.Content, f.Size, spec)
	if errors.Is(err, thumbnail.ErrUnavailable) {
		s.log.Error("thumbnail not made", slog.Any("error", err))
		return s.instead(m, t)
	}
	if err != nil {
		return t, notMade(m, err)
	}
	t.ContentType = result.ContentType
	if result.Original {
		t.Size = m.Size
		return t, s.keepThumbnail(ctx, t, nil)
	}
	staged, err := s.blobs.Stage(ctx, bytes.NewReader(result.Bytes), int64(len(result.Bytes)))
	if err != nil {
		return t, err
	}
	defer staged.Discard()
	t.Blob, t.Size = string(staged.Hash), staged.Size
	return t, s.keepThumbnail(ctx, t, staged)
}

// openSource opens what a thumbnail is made of: the media, or a thumbnail of it that is at least twice as large as what is wanted, so that
// nothing of it can be told apart from one made of the media. Decoding a photo is most of the work.
func (s *Service) openSource(ctx context.Context, m storage.Media, spec thumbnail.Spec) (*blob.File, error) {
	if !spec.Animated {
		var larger storage.Thumbnail
		err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			larger, err = tx.LargerThumbnail(m.NID, 2*spec.Width, 2*spec.Height)
			return err
		})
		switch {
		case err == nil:
			if f, ok := s.openLarger(larger, spec); ok {
				return f, nil
			}
		case !errors.Is(err, storage.ErrNotFound):
			return nil, fmt.Errorf("look for a larger thumbnail: %w", err)
		}
	}
	f, err := s.blobs.Open(blob.Hash(m.Blob))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", m.MXC, err)
	}
	return f, nil
}

// openLarger opens a thumbnail if the wanted one can be made of it; its file may be lost.
func (s *Service) openLarger(t storage.Thumbnail, spec thumbnail.Spec) (*blob.File, bool) {
	f, err := s.blobs.Open(blob.Hash(t.Blob))
	if err != nil {
		return nil, false
	}
	info, err := thumbnail.Probe(f, f.Size)
	if err != nil || !spec.Halves(info) {
		f.Close()
		return nil, false
	}
	return f, true
}

// instead serves the media itself where thumbnails cannot be made, if that is a still picture that clients show. It is not kept as the
// thumbnail: libvips may be there tomorrow.
func (s *Service) instead(m storage.Media, t storage.Thumbnail) (storage.Thumbnail, error) {
	f, err := s.blobs.Open(blob.Hash(m.Blob))
	if err != nil {
		return t, fmt.Errorf("open %s: %w", m.MXC, err)
	}
	defer f.Close()
	info, err := thumbnail.Probe(f, f.Size)
	if err != nil || info.Frames > 1 || !info.Format.Shown() {
		return t, merr.New(merr.Unknown, "This server cannot make thumbnails: libvips is not installed on it").WithStatus(400)
	}
	t.ContentType, t.Size = info.Format.ContentType(), m.Size
	return t, nil
}

func (s *Service) keepThumbnail(ctx context.Context, t storage.Thumbnail, staged *blob.Staged) error {
	insert := func(tx *storage.Tx) error { return tx.InsertThumbnail(t) }
	var err error
	if staged == nil {
		err = s.store.Update(ctx, insert)
	} else if err = s.file(ctx, staged, insert); err != nil {
		err = s.notFiled(ctx, staged, err)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return errNotFound() // the media was deleted meanwhile
	}
	return err
}

// notMade says why there is no thumbnail.
func notMade(m storage.Media, err error) error {
	switch {
	case errors.Is(err, thumbnail.ErrTooLarge):
		// Spec: client-server-api#content-repo-security-considerations
		tooLarge := merr.New(merr.TooLarge, "The content is too large to thumbnail")
		if m.Kind == storage.MediaRemote {
			return tooLarge.WithStatus(502)
		}
		return tooLarge
	case errors.Is(err, thumbnail.ErrUnsupported), errors.Is(err, thumbnail.ErrBroken):
		return merr.New(merr.Unknown, "Cannot generate thumbnails for the requested content").WithStatus(400)
	}
	return fmt.Errorf("make thumbnail of %s: %w", m.MXC, err)
}
