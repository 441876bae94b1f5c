package thumbnail

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/image/webp"
)

// The corners of the test picture; no two are alike, so a turned or mirrored picture is told from an upright one.
var corners = [4]color.NRGBA{
	{220, 20, 20, 255},  // top left: red
	{20, 200, 20, 255},  // top right: green
	{20, 20, 220, 255},  // bottom left: blue
	{230, 230, 30, 255}, // bottom right: yellow
}

// quarters draws the test picture.
func quarters(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for n, c := range corners {
		place := image.Rect(n%2*width/2, n/2*height/2, (n%2+1)*width/2, (n/2+1)*height/2)
		draw.Draw(img, place, image.NewUniform(c), image.Point{}, draw.Src)
	}
	return img
}

// held returns the picture as a camera stores it that was held so that the given EXIF orientation shows it upright.
func held(in *image.NRGBA, orientation int) *image.NRGBA {
	w, h := in.Rect.Dx(), in.Rect.Dy()
	outW, outH := w, h
	if orientation >= 5 {
		outW, outH = h, w
	}
	out := image.NewNRGBA(image.Rect(0, 0, outW, outH))
	for y := range outH {
		for x := range outW {
			// EXIF 2.3, 4.6.4 A: which side of the scene row 0 and column 0 of the file are.
			sx, sy := x, y
			switch orientation {
			case 2:
				sx = w - 1 - x
			case 3:
				sx, sy = w-1-x, h-1-y
			case 4:
				sy = h - 1 - y
			case 5:
				sx, sy = y, x
			case 6:
				sx, sy = w-1-y, x
			case 7:
				sx, sy = w-1-y, h-1-x
			case 8:
				sx, sy = y, h-1-x
			}
			out.SetNRGBA(x, y, in.NRGBAAt(sx, sy))
		}
	}
	return out
}

func exifBlock(orientation int) []byte {
	b := []byte("MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01")
	b = be.AppendUint16(b, uint16(orientation))
	return append(b, 0, 0, 0, 0, 0, 0)
}

func jpegOf(t testing.TB, img image.Image, orientation int) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, &jpeg.Options{Quality: 92}); err != nil {
		t.Fatal(err)
	}
	if orientation == 0 {
		return buf.Bytes()
	}
	exif := append([]byte("Exif\x00\x00"), exifBlock(orientation)...)
	out := append([]byte{0xff, 0xd8, 0xff, 0xe1}, be.AppendUint16(nil, uint16(len(exif)+2))...)
	return append(append(out, exif...), buf.Bytes()[2:]...)
}

func pngOf(t testing.TB, img image.Image, extra ...[]byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	const header = 8 + 25
	out := bytes.Clone(buf.Bytes()[:header])
	for _, chunk := range extra {
		out = append(out, chunk...)
	}
	return append(out, buf.Bytes()[header:]...)
}

// gifOf makes a GIF of one full frame per picture.
func gifOf(t testing.TB, loops int, delays []int, pictures ...image.Image) []byte {
	t.Helper()
	g := &gif.GIF{LoopCount: loops}
	palette := color.Palette{color.NRGBA{}, color.NRGBA{0, 0, 0, 255}, color.NRGBA{255, 255, 255, 255}}
	for _, c := range corners {
		palette = append(palette, c)
	}
	for n, p := range pictures {
		frame := image.NewPaletted(p.Bounds(), palette)
		draw.Draw(frame, frame.Rect, p, p.Bounds().Min, draw.Src)
		g.Image = append(g.Image, frame)
		g.Delay = append(g.Delay, delays[n%len(delays)])
		g.Disposal = append(g.Disposal, gif.DisposalBackground)
	}
	var buf bytes.Buffer
	if err := gif.EncodeAll(&buf, g); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// ordered has a job done that is none of a Maker's.
func ordered(t testing.TB, j job, data []byte) []byte {
	t.Helper()
	j.size = uint64(len(data))
	_, out, err := shared().process.do(t.Context(), j, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// webpOf makes a WebP of the picture, and adds the EXIF chunk of a camera that was held so.
func webpOf(t testing.TB, img *image.NRGBA, orientation int) []byte {
	t.Helper()
	width, height := uint32(img.Rect.Dx()), uint32(img.Rect.Dy())
	whole := ordered(t, job{
		pixelsWidth: width, pixelsHeight: height, width: width, height: height, outWidth: width, outHeight: height,
		opaque: kindWebP, transparent: kindWebP, quality: 90, effort: 2,
	}, img.Pix)
	whole = stripWebP(whole)
	if orientation == 1 {
		return whole
	}
	const hasAlpha, hasExif = 0x10, 0x08
	chunks := whole[12:]
	flags := byte(hasExif)
	if string(chunks[:4]) == "VP8X" {
		flags |= chunks[8] & hasAlpha
		chunks = chunks[18:]
	}
	le := binary.LittleEndian
	extended := append([]byte{flags, 0, 0, 0}, le.AppendUint32(nil, width-1)[:3]...)
	extended = append(extended, le.AppendUint32(nil, height-1)[:3]...)
	return riff("WEBP", riffChunk("VP8X", extended), chunks, riffChunk("EXIF", exifBlock(orientation)))
}

// tiffOf makes an uncompressed TIFF of the picture.
func tiffOf(t testing.TB, img *image.NRGBA, orientation int) []byte {
	t.Helper()
	const header, entries = 8, 11
	width, height := img.Rect.Dx(), img.Rect.Dy()
	depths := header + 2 + 12*entries + 4
	le := binary.LittleEndian
	out := le.AppendUint16([]byte("II*\x00\x08\x00\x00\x00"), entries)
	for _, e := range [entries][4]int{ // tag, kind, count, value
		{tagWidth, 4, 1, width}, {tagHeight, 4, 1, height}, {tagBitsPerSample, 3, 4, depths}, {tagCompression, 3, 1, 1}, {262, 3, 1, 2},
		{273, 4, 1, depths + 8}, {tagOrientation, 3, 1, orientation}, {tagSamplesPerPixel, 3, 1, 4}, {tagRowsPerStrip, 4, 1, height},
		{279, 4, 1, len(img.Pix)}, {338, 3, 1, 2},
	} {
		out = le.AppendUint16(le.AppendUint16(out, uint16(e[0])), uint16(e[1]))
		out = le.AppendUint32(le.AppendUint32(out, uint32(e[2])), uint32(e[3]))
	}
	out = append(out, 0, 0, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0)
	return append(out, img.Pix...)
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// decoded opens a thumbnail again.
func decoded(t testing.TB, res Result) image.Image {
	t.Helper()
	if res.ContentType == "image/webp" {
		img, err := webp.Decode(bytes.NewReader(res.Bytes))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	img, kind, err := image.Decode(bytes.NewReader(res.Bytes))
	if err != nil {
		t.Fatalf("decode %s: %v", res.ContentType, err)
	}
	if "image/"+kind != res.ContentType {
		t.Fatalf("content type %s on a %s", res.ContentType, kind)
	}
	return img
}

// near reports whether two colours look the same.
func near(got color.Color, want color.NRGBA) bool {
	c := color.NRGBAModel.Convert(got).(color.NRGBA)
	apart := func(a, b uint8) bool { return int(a)-int(b) > 24 || int(b)-int(a) > 24 }
	return !apart(c.R, want.R) && !apart(c.G, want.G) && !apart(c.B, want.B) && !apart(c.A, want.A)
}

// checkUpright looks at the middle of each quarter.
func checkUpright(t *testing.T, img image.Image) {
	t.Helper()
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	for n, want := range corners {
		x, y := w/4+n%2*w/2, h/4+n/2*h/2
		if got := img.At(img.Bounds().Min.X+x, img.Bounds().Min.Y+y); !near(got, want) {
			t.Errorf("quarter %d is %v, want %v", n, got, want)
		}
	}
}
