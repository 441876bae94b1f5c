package thumbnail

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

func makeWithOf(t *testing.T, m *Maker) error {
	t.Helper()
	data := jpegOf(t, quarters(400, 300), 1)
	_, err := m.Make(t.Context(), bytes.NewReader(data), int64(len(data)), Spec{Width: 32, Height: 32})
	return err
}

func TestTheProcessEndsWhenItHasNothingToDo(t *testing.T) {
	t.Parallel()
	m := New(Limits{}, 1)
	defer m.Close()
	m.process.patience = time.Second
	if err := makeWithOf(t, m); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.process.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it is still there")
	}
	if err := makeWithOf(t, m); err != nil {
		t.Errorf("the next picture: %v", err)
	}
}

func TestAPictureSurvivesTheEndOfTheProcess(t *testing.T) {
	t.Parallel()
	m := New(Limits{}, 1)
	defer m.Close()
	for range 5 {
		if err := makeWithOf(t, m); err != nil {
			t.Fatal(err)
		}
		if err := m.process.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatNeedsLibvipsIsUnavailableWithoutIt(t *testing.T) {
	t.Parallel()
	here, there, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	go func() {
		defer there.Close()
		a := answer{size: 2, outcome: outcomeUnavailable}
		_, _ = io.ReadFull(there, make([]byte, unsafe.Sizeof(job{})))
		_, _ = there.Write(append(unsafe.Slice((*byte)(unsafe.Pointer(&a)), unsafe.Sizeof(a)), "no"...))
	}()
	_, _, err = exchange(here, job{}, bytes.NewReader(nil))
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrBroken) || !strings.HasSuffix(err.Error(), ": no") {
		t.Errorf("got %v", err)
	}
}

func TestWithoutTheProcessThumbnailsAreUnavailable(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"/bin/false", "/nowhere/hearth"} {
		m := New(Limits{}, 1)
		defer m.Close()
		m.process.program = program
		if err := makeWithOf(t, m); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", program, err)
		}
		m.process.program = "" // which would do, but is not tried at once
		if err := makeWithOf(t, m); !errors.Is(err, ErrUnavailable) {
			t.Errorf("another start right after one that has failed: %v", err)
		}
	}
}

func TestAFileIsHandedOver(t *testing.T) {
	t.Parallel()
	for _, data := range [][]byte{jpegOf(t, quarters(400, 300), 1), pngOf(t, quarters(400, 300))} {
		f, err := os.Create(filepath.Join(t.TempDir(), "picture"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		spec := Spec{Width: 32, Height: 32}
		sent, err := makeFrom(t, data, spec)
		if err != nil {
			t.Fatal(err)
		}
		handed, err := shared().Make(t.Context(), f, int64(len(data)), spec)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sent, handed); diff != "" {
			t.Error(diff)
		}
		// A file that has become shorter meanwhile must not be read beyond its end.
		j := jobFor(int64(len(data))+1, box{width: 5, height: 5, outWidth: 5, outHeight: 5})
		if _, _, err := shared().process.do(t.Context(), j, f); !errors.Is(err, ErrBroken) {
			t.Errorf("a file that is too short: %v", err)
		}
	}
}

func TestAClosedMakerHasNoProcess(t *testing.T) {
	t.Parallel()
	m := New(Limits{}, 1)
	m.Close()
	if err := makeWithOf(t, m); err != nil {
		t.Fatal(err)
	}
	ended := m.process.ended
	m.Close()
	select {
	case <-ended:
	default:
		t.Error("the process is still there")
	}
}
