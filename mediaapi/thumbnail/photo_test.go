package thumbnail

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
)

// hasLibvips reports whether the process for pictures has loaded libvips.
func hasLibvips(t *testing.T, m *Maker) bool {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", m.process.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(maps), "libvips")
}

func TestPhotosNeedNoLibvips(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says what a process has loaded")
	}
	m := New(Limits{}, 1)
	defer m.Close()
	makeOf := func(data []byte) {
		t.Helper()
		if _, err := m.Make(t.Context(), bytes.NewReader(data), int64(len(data)), Spec{Width: 32, Height: 32}); err != nil {
			t.Fatal(err)
		}
	}
	for _, data := range [][]byte{jpegOf(t, quarters(400, 300), 1), jpegOf(t, quarters(40, 300), 6), file(t, "progressive.jpg"), file(t, "p3.jpg")} {
		makeOf(data)
		if hasLibvips(t, m) {
			t.Fatal("libvips was loaded for a photo")
		}
	}
	makeOf(pngOf(t, quarters(400, 300)))
	if !hasLibvips(t, m) {
		t.Error("libvips was not loaded for a PNG: nothing is tested")
	}
}

func TestAProgressivePhotoIsShownAsItIs(t *testing.T) {
	t.Parallel()
	for _, spec := range []Spec{{Width: 150, Height: 150}, {Width: 80, Height: 80}, {Width: 50, Height: 50}, {Width: 32, Height: 32, Method: Crop}, {Width: 16, Height: 12}} {
		res, err := makeFrom(t, file(t, "progressive.jpg"), spec)
		if err != nil {
			t.Fatal(err)
		}
		checkUpright(t, decoded(t, res))
	}
}

func TestADamagedPhotoIsRefused(t *testing.T) {
	t.Parallel()
	photo := jpegOf(t, quarters(400, 300), 1)
	noTables := bytes.ReplaceAll(photo, []byte{0xff, 0xdb}, []byte{0xff, 0xe5})
	for name, data := range map[string][]byte{
		"ends early":       append(bytes.Clone(photo[:len(photo)*3/4]), 0xff, markerEOI),
		"lacks its tables": noTables,
	} {
		for _, spec := range []Spec{{Width: 32, Height: 32, Method: Crop}, {Width: 200, Height: 200}, {Width: 399, Height: 299}} {
			if _, err := makeFrom(t, data, spec); !errors.Is(err, ErrBroken) {
				t.Errorf("one that %s: %v", name, err)
			}
		}
	}
}

func TestMangledPhotosDoNoHarm(t *testing.T) {
	t.Parallel()
	m := New(Limits{}, 1)
	defer m.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	pid := 0
	for _, whole := range [][]byte{jpegOf(t, quarters(200, 150), 6), jpegOf(t, scene(200, 150), 1), file(t, "progressive.jpg"), file(t, "p3.jpg")} {
		for range 300 {
			data := bytes.Clone(whole)
			for range 1 + rng.IntN(8) {
				data[rng.IntN(len(data))] = byte(rng.Uint32())
			}
			_, err := m.Make(t.Context(), bytes.NewReader(data), int64(len(data)), Spec{Width: 1 + rng.IntN(90), Height: 1 + rng.IntN(90), Method: Method(rng.IntN(2))})
			if err != nil && !errors.Is(err, ErrBroken) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
			if now := m.process.cmd; now != nil && pid == 0 {
				pid = now.Process.Pid
			}
		}
	}
	if pid == 0 || m.process.cmd.Process.Pid != pid {
		t.Error("the process did not survive them")
	}
}
