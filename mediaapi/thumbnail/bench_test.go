package thumbnail

import (
	"bytes"
	"image"
	"image/color"
	"math"
	"runtime"
	"testing"
)

// scene draws something with gradients and edges, so that it compresses about as a photo does.
func scene(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	noise := uint32(1)
	for y := range height {
		for x := range width {
			noise = noise*1664525 + 1013904223
			wave := 60 * math.Sin(float64(x)/37) * math.Cos(float64(y)/53)
			grain := int(noise>>28) - 8
			c := func(base int) uint8 { return uint8(min(max(base+int(wave)+grain, 0), 255)) }
			img.SetNRGBA(x, y, color.NRGBA{c(x * 255 / width), c(y * 255 / height), c(128), 255})
		}
	}
	return img
}

func benchmark(b *testing.B, data []byte, spec Spec) {
	b.Helper()
	m := New(Limits{}, runtime.GOMAXPROCS(0))
	defer m.Close()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Make(b.Context(), bytes.NewReader(data), int64(len(data)), spec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPhotoOf24Megapixels(b *testing.B) {
	stored := scene(6000, 4000)
	lying, standing := jpegOf(b, stored, 1), jpegOf(b, stored, 6)
	b.Run("scale to 800x600", func(b *testing.B) { benchmark(b, lying, Spec{Width: 800, Height: 600}) })
	b.Run("held upright, scale to 800x600", func(b *testing.B) { benchmark(b, standing, Spec{Width: 800, Height: 600}) })
	b.Run("crop to 96x96", func(b *testing.B) { benchmark(b, lying, Spec{Width: 96, Height: 96, Method: Crop}) })
}

func BenchmarkPhotoOf1Megapixel(b *testing.B) {
	data := jpegOf(b, scene(1024, 768), 1)
	b.Run("scale to 320x240", func(b *testing.B) { benchmark(b, data, Spec{Width: 320, Height: 240}) })
	b.Run("crop to 96x96", func(b *testing.B) { benchmark(b, data, Spec{Width: 96, Height: 96, Method: Crop}) })
	b.Run("with a profile, scale to 150x150", func(b *testing.B) { benchmark(b, file(b, "p3.jpg"), Spec{Width: 150, Height: 150}) })
}

func BenchmarkPhotoOf4Megapixels(b *testing.B) {
	data := jpegOf(b, scene(2400, 1700), 1)
	b.Run("scale to 800x600", func(b *testing.B) { benchmark(b, data, Spec{Width: 800, Height: 600}) })
	b.Run("crop to 96x96", func(b *testing.B) { benchmark(b, data, Spec{Width: 96, Height: 96, Method: Crop}) })
}

func BenchmarkScreenshotOf4Megapixels(b *testing.B) {
	benchmark(b, pngOf(b, quarters(2560, 1440)), Spec{Width: 800, Height: 600})
}

func BenchmarkGIFOf40Frames(b *testing.B) {
	var pictures []image.Image
	for n := range 40 {
		p := plain(480, 270, corners[n%4])
		for x := range 100 {
			p.SetNRGBA(x+n*5, 100, color.NRGBA{255, 255, 255, 255})
		}
		pictures = append(pictures, p)
	}
	data := gifOf(b, 0, []int{4}, pictures...)
	b.Run("still", func(b *testing.B) { benchmark(b, data, Spec{Width: 320, Height: 240}) })
	b.Run("animated", func(b *testing.B) { benchmark(b, data, Spec{Width: 320, Height: 240, Animated: true}) })
}

func BenchmarkProbe(b *testing.B) {
	data := jpegOf(b, scene(2400, 1700), 1)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Probe(bytes.NewReader(data), int64(len(data))); err != nil {
			b.Fatal(err)
		}
	}
}
