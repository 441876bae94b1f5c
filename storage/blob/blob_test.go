package blob

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const helloHash = Hash("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := OpenDir(filepath.Join(t.TempDir(), "media"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, d *Dir, text string) Hash {
	t.Helper()
	s, err := d.Stage(t.Context(), strings.NewReader(text), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Discard()
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	return s.Hash
}

func TestBlobsAreNamedByTheirBytes(t *testing.T) {
	d := open(t)
	if h := put(t, d, "hello"); h != helloHash {
		t.Errorf("hash %s", h)
	}
	if h := put(t, d, "hello"); h != helloHash {
		t.Errorf("hash of the second %s", h)
	}
	data, err := d.Read(helloHash, 5)
	if err != nil || string(data) != "hello" {
		t.Errorf("read %q, error %v", data, err)
	}
	if _, err := d.Read(helloHash, 4); !errors.Is(err, ErrTooLarge) {
		t.Errorf("read with a smaller limit: %v", err)
	}
	n := 0
	if err := d.Each(t.Context(), func(h Hash, _ time.Time) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d blobs, error %v", n, err)
	}
	if err := d.Delete(helloHash); err != nil {
		t.Error(err)
	}
	if err := d.Delete(helloHash); err != nil {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := d.Open(helloHash); !errors.Is(err, ErrNotFound) {
		t.Errorf("open after the deletion: %v", err)
	}
}

func TestNamesThatAreNoHashesAreNotFound(t *testing.T) {
	d := open(t)
	for _, h := range []Hash{"", "..", "../../../etc/passwd", helloHash[:63], Hash(strings.ToUpper(string(helloHash))), helloHash[:60] + "/../", Hash(strings.Repeat("/", 64))} {
		if _, err := d.Open(h); !errors.Is(err, ErrNotFound) {
			t.Errorf("open %q: %v", h, err)
		}
		if err := d.Delete(h); err != nil {
			t.Errorf("delete %q: %v", h, err)
		}
	}
}

func TestDamagedBlobIsMendedByItsEqual(t *testing.T) {
	d := open(t)
	put(t, d, "hello")
	if err := os.WriteFile(d.path(helloHash), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, d, "hello")
	if data, err := d.Read(helloHash, 5); err != nil || string(data) != "hello" {
		t.Errorf("read %q, error %v", data, err)
	}
}

func TestStageLeavesNothingWhenItFails(t *testing.T) {
	d := open(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		ctx  context.Context
		r    io.Reader
		want error
	}{
		{"too long", t.Context(), strings.NewReader("123456"), ErrTooLarge},
		{"broken on the way", t.Context(), io.MultiReader(strings.NewReader("12"), failing{broken}), broken},
		{"given up", cancelled, strings.NewReader("12"), context.Canceled},
	} {
		if _, err := d.Stage(tt.ctx, tt.r, 5); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	s, err := d.Stage(t.Context(), strings.NewReader("12345"), 5)
	if err != nil {
		t.Fatalf("as long as allowed: %v", err)
	}
	s.Discard()
	s.Discard()
	files, err := os.ReadDir(d.tmp())
	if err != nil || len(files) != 0 {
		t.Errorf("%d temporary files, error %v", len(files), err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestSweepRemovesOnlyOldTemporaryFiles(t *testing.T) {
	d := open(t)
	var staged []*Staged
	for range 2 {
		s, err := d.Stage(t.Context(), strings.NewReader("hello"), 5)
		if err != nil {
			t.Fatal(err)
		}
		staged = append(staged, s)
	}
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(staged[0].path, old, old); err != nil {
		t.Fatal(err)
	}
	if n, err := d.SweepStaged(time.Now().Add(-time.Hour)); n != 1 || err != nil {
		t.Errorf("%d removed, error %v", n, err)
	}
	if err := staged[1].Commit(); err != nil {
		t.Errorf("the recent one: %v", err)
	}
}

func TestReadersKeepADeletedBlob(t *testing.T) {
	d := open(t)
	put(t, d, "hello")
	f, err := d.Open(helloHash)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := d.Delete(helloHash); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(f); err != nil || string(data) != "hello" || f.Size != 5 {
		t.Errorf("read %q of %d, error %v", data, f.Size, err)
	}
}
