package storage_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// mediaUpdate and mediaView run one transaction that must succeed.
func mediaUpdate(t *testing.T, s *storage.Store, fn func(tx *storage.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func mediaView(t *testing.T, s *storage.Store, fn func(tx *storage.ReadTx) error) {
	t.Helper()
	if err := s.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func upload(name, blob string, size int64) storage.Media {
	return storage.Media{
		MXC: id.MXC{Server: "hs1", MediaID: name}, Owner: "@alice:hs1", Blob: blob, Size: size, ContentType: "text/plain", Filename: "é;\".txt",
		CreatedTS: 5, AvailableTS: 7,
	}
}

func usage(t *testing.T, s *storage.Store, owner id.UserID) (u storage.MediaUsage) {
	t.Helper()
	mediaView(t, s, func(tx *storage.ReadTx) (err error) {
		u, err = tx.MediaUsage(owner)
		return err
	})
	return u
}

func TestMediaRows(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		m := upload("one", "b1", 10)
		pending := storage.Media{MXC: id.MXC{Server: "hs1", MediaID: "two"}, Owner: "@alice:hs1", CreatedTS: 5, ExpiresTS: 100}
		remote := storage.Media{MXC: id.MXC{Server: "hs2", MediaID: "one"}, Kind: storage.MediaRemote, Blob: "b1", Size: 10, CreatedTS: 6, AvailableTS: 6}
		mediaUpdate(t, s, func(tx *storage.Tx) (err error) {
			for _, row := range []*storage.Media{&m, &pending, &remote} {
				if row.NID, err = tx.InsertMedia(*row); err != nil {
					return err
				}
			}
			return nil
		})
		mediaView(t, s, func(tx *storage.ReadTx) error {
			for _, want := range []storage.Media{m, pending, remote} {
				got, err := tx.Media(want.MXC)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("row of %s, error %v (-want +got):\n%s", want.MXC, err, diff)
				}
			}
			if _, err := tx.Media(id.MXC{Server: "hs3", MediaID: "one"}); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("unknown media: %v", err)
			}
			for now, want := range map[int64]int{99: 1, 100: 0} {
				if n, err := tx.PendingMedia("@alice:hs1", now); n != want || err != nil {
					t.Errorf("%d pending at %d, error %v", n, now, err)
				}
			}
			used, err := tx.BlobsInUse([]string{"b1", "b2", ""})
			if diff := cmp.Diff([]string{"b1"}, used); diff != "" || err != nil {
				t.Errorf("blobs in use %v, error %v", used, err)
			}
			mine, err := tx.MediaOfUser("@alice:hs1", m.NID, 10)
			if diff := cmp.Diff([]storage.Media{pending}, mine); diff != "" || err != nil {
				t.Errorf("media of alice, error %v:\n%s", err, diff)
			}
			old, err := tx.MediaOlderThan(storage.MediaRemote, 7, 10)
			if diff := cmp.Diff([]storage.Media{remote}, old); diff != "" || err != nil {
				t.Errorf("old remote media, error %v:\n%s", err, diff)
			}
			return nil
		})
		if err := s.Update(t.Context(), func(tx *storage.Tx) error {
			_, err := tx.InsertMedia(m)
			return err
		}); err == nil {
			t.Error("the same URI could be inserted twice")
		}
		if got := usage(t, s, "@alice:hs1"); got != (storage.MediaUsage{Files: 1, Bytes: 10}) {
			t.Errorf("usage: %+v", got)
		}

		done := upload("two", "b2", 5)
		done.NID, done.CreatedTS = pending.NID, 5
		mediaUpdate(t, s, func(tx *storage.Tx) error { return tx.CompleteMedia(done) })
		if err := s.Update(t.Context(), func(tx *storage.Tx) error { return tx.CompleteMedia(done) }); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("completed twice: %v", err)
		}
		if got := usage(t, s, ""); got != (storage.MediaUsage{Files: 2, Bytes: 15}) {
			t.Errorf("usage of all: %+v", got)
		}
		mediaView(t, s, func(tx *storage.ReadTx) error {
			got, err := tx.Media(done.MXC)
			if diff := cmp.Diff(done, got); diff != "" {
				t.Errorf("completed:\n%s", diff)
			}
			return err
		})

		mediaUpdate(t, s, func(tx *storage.Tx) error {
			if err := tx.SetMediaAccess(m.MXC, storage.MediaPublic); err != nil {
				return err
			}
			return tx.QuarantineMedia(m.MXC, "@admin:hs1", 9)
		})
		mediaView(t, s, func(tx *storage.ReadTx) error {
			got, err := tx.Media(m.MXC)
			if got.Access != storage.MediaPublic || !got.Quarantined() || got.QuarantinedTS != 9 {
				t.Errorf("row: %+v", got)
			}
			return err
		})
	})
}

func TestTheSmallestOfTheLargerThumbnailsIsFound(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		m := upload("one", "b1", 10)
		of := func(width, height int, method, blob string, animated bool) storage.Thumbnail {
			return storage.Thumbnail{Width: width, Height: height, Method: method, Blob: blob, Animated: animated, Size: 3, ContentType: "image/png"}
		}
		good := of(640, 480, "scale", "t640", false)
		mediaUpdate(t, s, func(tx *storage.Tx) (err error) {
			if m.NID, err = tx.InsertMedia(m); err != nil {
				return err
			}
			good.Media = m.NID
			for _, th := range []storage.Thumbnail{
				of(800, 600, "scale", "t800", false), good, of(320, 240, "scale", "t320", false), of(640, 640, "crop", "cut", false),
				of(640, 480, "scale", "moves", true), of(600, 600, "scale", "", false),
			} {
				th.Media = m.NID
				if err := tx.InsertThumbnail(th); err != nil {
					return err
				}
			}
			return nil
		})
		mediaView(t, s, func(tx *storage.ReadTx) error {
			if got, err := tx.LargerThumbnail(m.NID, 400, 400); got != good || err != nil {
				t.Errorf("%+v, error %v", got, err)
			}
			if _, err := tx.LargerThumbnail(m.NID, 801, 10); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("a thumbnail larger than all: %v", err)
			}
			return nil
		})
	})
}

func TestDeletingMediaTakesItsThumbnails(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		m := upload("one", "b1", 10)
		thumb := storage.Thumbnail{Width: 32, Height: 32, Method: "crop", Blob: "t1", Size: 3, ContentType: "image/png"}
		whole := storage.Thumbnail{Width: 96, Height: 96, Method: "scale", Animated: true, ContentType: "image/gif"}
		mediaUpdate(t, s, func(tx *storage.Tx) (err error) {
			if m.NID, err = tx.InsertMedia(m); err != nil {
				return err
			}
			thumb.Media, whole.Media = m.NID, m.NID
			for _, th := range []storage.Thumbnail{thumb, whole, thumb} {
				if err := tx.InsertThumbnail(th); err != nil {
					return err
				}
			}
			return nil
		})
		mediaView(t, s, func(tx *storage.ReadTx) error {
			for _, want := range []storage.Thumbnail{thumb, whole} {
				got, err := tx.Thumbnail(storage.Thumbnail{Media: want.Media, Width: want.Width, Height: want.Height, Method: want.Method, Animated: want.Animated})
				if got != want || err != nil {
					t.Errorf("thumbnail %+v, error %v", got, err)
				}
			}
			if _, err := tx.Thumbnail(storage.Thumbnail{Media: m.NID, Width: 96, Height: 96, Method: "scale"}); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("a thumbnail nobody made: %v", err)
			}
			used, err := tx.BlobsInUse([]string{"t1"})
			if len(used) != 1 {
				t.Errorf("blobs in use: %v", used)
			}
			return err
		})
		mediaUpdate(t, s, func(tx *storage.Tx) error {
			blobs, err := tx.DeleteMedia(m)
			if diff := cmp.Diff([]string{"t1", "b1"}, blobs); diff != "" {
				t.Errorf("blobs of the deleted:\n%s", diff)
			}
			return err
		})
		mediaView(t, s, func(tx *storage.ReadTx) error {
			used, err := tx.BlobsInUse([]string{"t1", "b1"})
			if len(used) != 0 {
				t.Errorf("blobs in use: %v", used)
			}
			return err
		})
		if got := usage(t, s, "@alice:hs1"); got != (storage.MediaUsage{}) {
			t.Errorf("usage: %+v", got)
		}
		if err := s.Update(t.Context(), func(tx *storage.Tx) error { return tx.InsertThumbnail(thumb) }); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("thumbnail of deleted media: %v", err)
		}
	})
}

func TestExpiredMediaAndPreviewsGo(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		mediaUpdate(t, s, func(tx *storage.Tx) error {
			for i := range int64(3) {
				m := storage.Media{MXC: id.MXC{Server: "hs1", MediaID: fmt.Sprint("m", i)}, Owner: "@alice:hs1", CreatedTS: 1, ExpiresTS: 10 + i}
				if _, err := tx.InsertMedia(m); err != nil {
					return err
				}
				p := storage.URLPreview{URL: fmt.Sprint("http://a/", i), Status: 200, Body: `{"og:title":"\u0000"}`, FetchedTS: 1, ExpiresTS: 10 + i}
				if err := tx.PutURLPreview(p); err != nil {
					return err
				}
			}
			return tx.PutURLPreview(storage.URLPreview{URL: "http://a/2", Status: 502, Body: "no", FetchedTS: 2, ExpiresTS: 20})
		})
		mediaView(t, s, func(tx *storage.ReadTx) error {
			got, err := tx.URLPreview("http://a/2", 19)
			if want := (storage.URLPreview{URL: "http://a/2", Status: 502, Body: "no", FetchedTS: 2, ExpiresTS: 20}); got != want {
				t.Errorf("preview: %+v", got)
			}
			if _, err := tx.URLPreview("http://a/2", 20); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("expired preview: %v", err)
			}
			return err
		})
		mediaUpdate(t, s, func(tx *storage.Tx) error {
			media, err := tx.DeleteExpiredMedia(11)
			if err != nil {
				return err
			}
			previews, err := tx.DeleteExpiredURLPreviews(11)
			if media != 2 || previews != 2 {
				t.Errorf("%d media and %d previews expired, want 2 and 2", media, previews)
			}
			return err
		})
	})
}
