package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Dir is a directory of blobs: <first two digits>/<hash>, and tmp/ for what is on its way. One process uses it at a time.
type Dir struct{ root string }

const tmpName = "tmp"

// OpenDir makes the directory if need be.
func OpenDir(root string) (*Dir, error) {
	d := &Dir{root: root}
	if err := os.MkdirAll(d.tmp(), 0o700); err != nil {
		return nil, fmt.Errorf("open the media directory: %w", err)
	}
	if err := syncDir(root); err != nil {
		return nil, fmt.Errorf("open the media directory: %w", err)
	}
	return d, nil
}

func (d *Dir) tmp() string { return filepath.Join(d.root, tmpName) }

func (d *Dir) path(h Hash) string { return filepath.Join(d.root, string(h[:2]), string(h)) }

// Open opens a blob for reading. It returns ErrNotFound if there is none.
func (d *Dir) Open(h Hash) (*File, error) {
	if !h.Valid() {
		return nil, ErrNotFound
	}
	f, err := os.Open(d.path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return &File{Content: f, Size: info.Size()}, nil
}

// Read returns a whole blob, or ErrTooLarge if it is longer than limit bytes.
func (d *Dir) Read(h Hash, limit int64) ([]byte, error) {
	f, err := d.Open(h)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size > limit {
		return nil, ErrTooLarge
	}
	data := make([]byte, f.Size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	return data, nil
}

// Delete removes a blob; one that does not exist is no error. Readers who have it open keep it.
func (d *Dir) Delete(h Hash) error {
	if !h.Valid() {
		return nil
	}
	if err := os.Remove(d.path(h)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob: %w", err)
	}
	return nil
}

// Each calls fn for every blob, in no promised order, until it returns an error.
func (d *Dir) Each(ctx context.Context, fn func(h Hash, modified time.Time) error) error {
	shelves, err := os.ReadDir(d.root)
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	for _, shelf := range shelves {
		if !shelf.IsDir() || len(shelf.Name()) != 2 {
			continue
		}
		files, err := os.ReadDir(filepath.Join(d.root, shelf.Name()))
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return err
			}
			info, err := f.Info()
			if h := Hash(f.Name()); err == nil && h.Valid() {
				if err := fn(h, info.ModTime()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// SweepStaged removes temporary files that nothing was written to since before, the leftovers of a crash, and says how many.
func (d *Dir) SweepStaged(before time.Time) (int, error) {
	files, err := os.ReadDir(d.tmp())
	if err != nil {
		return 0, fmt.Errorf("sweep temporary files: %w", err)
	}
	n := 0
	for _, f := range files {
		info, err := f.Info()
		if err != nil || !info.ModTime().Before(before) {
			continue
		}
		if err := os.Remove(filepath.Join(d.tmp(), f.Name())); err == nil {
			n++
		}
	}
	return n, nil
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
