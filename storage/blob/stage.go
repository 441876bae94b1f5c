package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Staged is a stream that was received in full and is durable, but has no name yet. Commit or Discard it.
type Staged struct {
	Hash Hash
	Size int64

	dir  *Dir
	path string // empty once committed or discarded
}

// Stage copies r into a temporary file, up to limit bytes, and makes it durable. It returns ErrTooLarge if r goes on after that; errors of
// r itself are wrapped. When it fails nothing remains.
func (d *Dir) Stage(ctx context.Context, r io.Reader, limit int64) (_ *Staged, err error) {
	f, err := os.CreateTemp(d.tmp(), "")
	if err != nil {
		return nil, fmt.Errorf("stage blob: %w", err)
	}
	defer func() {
		f.Close() // the second time on success, and harmless
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(&contextReader{ctx, r}, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("stage blob: %w", err)
	case n > limit:
		return nil, ErrTooLarge
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("stage blob: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("stage blob: %w", err)
	}
	return &Staged{Hash: hashOf(sum.Sum(nil)), Size: n, dir: d, path: f.Name()}, nil
}

// Open reads the bytes before Commit.
func (s *Staged) Open() (*File, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, fmt.Errorf("open staged blob: %w", err)
	}
	return &File{Content: f, Size: s.Size}, nil
}

// Commit gives the bytes their name, durably. A blob that has the name already is replaced by its equal, which is as cheap as leaving it
// and mends one that was damaged.
func (s *Staged) Commit() error {
	target := s.dir.path(s.Hash)
	shelf := filepath.Dir(target)
	switch err := os.Mkdir(shelf, 0o700); {
	case err == nil:
		if err := syncDir(s.dir.root); err != nil {
			return fmt.Errorf("commit blob: %w", err)
		}
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("commit blob: %w", err)
	}
	if err := os.Rename(s.path, target); err != nil {
		return fmt.Errorf("commit blob: %w", err)
	}
	s.path = ""
	if err := syncDir(shelf); err != nil {
		return fmt.Errorf("commit blob: %w", err)
	}
	return nil
}

// Discard removes the temporary file, unless it was committed. It may be called always and more than once.
func (s *Staged) Discard() {
	if s.path != "" {
		os.Remove(s.path)
		s.path = ""
	}
}

// contextReader ends a copy when nobody waits for it any more.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
