package thumbnail

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
)

// libvips knows nothing of animated PNGs, so this file unpacks them: each frame becomes a PNG of its own for image/png, is laid on the
// canvas, and the canvas is shrunk at once, so that memory holds one canvas and the small frames.
// Spec: https://www.w3.org/TR/png-3/#apng-frame-based-animation

const (
	// maxRollPixels and maxRollRows bound the small frames of one animated PNG together; beyond, the thumbnail is a still.
	maxRollPixels = 16 << 20
	maxRollRows   = 1_000_000
	// maxDelay is the longest pause of a GIF, in milliseconds; more would overflow the timestamps of a WebP encoder.
	maxDelay = 655_350
)

// What becomes of a frame's place on the canvas before the next one comes.
const (
	disposeNone = iota
	disposeBackground
	disposePrevious
)

type apngFrame struct {
	place   image.Rectangle
	delay   int // milliseconds
	dispose byte
	over    bool
	data    [][]byte
}

type apng struct {
	header []byte // the data of IHDR
	shared []byte // chunks that every frame needs: palette and transparency
	plays  int    // zero is for ever
	frames []*apngFrame
}

// animatePNG makes an animated WebP of an animated PNG.
func (m *Maker) animatePNG(ctx context.Context, src io.ReaderAt, size int64, b box) (Result, error) {
	data := make([]byte, size)
	if n, err := src.ReadAt(data, 0); int64(n) < size {
		return Result{}, fmt.Errorf("read image: %w", noEOF(err))
	}
	a, err := parseAPNG(data)
	if err != nil {
		return Result{}, err
	}
	rows := b.outHeight * len(a.frames)
	if rows > maxRollRows || rows*b.outWidth > maxRollPixels {
		return m.still(ctx, src, size, Info{Format: PNG}, b)
	}
	// The delays, and behind them the small frames below each other, as the process wants them.
	roll := make([]byte, 0, 4*len(a.frames)+4*rows*b.outWidth)
	for _, f := range a.frames {
		roll = binary.NativeEndian.AppendUint32(roll, uint32(f.delay))
	}
	err = a.play(func(canvas *image.RGBA) error {
		small, err := m.shrinkFrame(ctx, canvas, b)
		roll = append(roll, small...)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	j := jobFor(int64(len(roll)), b)
	j.pixelsWidth, j.pixelsHeight, j.frames, j.loop = uint32(b.outWidth), uint32(rows), uint32(len(a.frames)), uint32(a.plays)
	return m.animation(ctx, j, bytes.NewReader(roll), b)
}

// shrinkFrame returns the pixels of the canvas at the size of the box.
func (m *Maker) shrinkFrame(ctx context.Context, canvas *image.RGBA, b box) ([]byte, error) {
	pixels := unmultiply(canvas)
	j := jobFor(int64(len(pixels)), b)
	j.pixelsWidth, j.pixelsHeight = uint32(canvas.Rect.Dx()), uint32(canvas.Rect.Dy())
	j.opaque, j.transparent = kindPixels, kindPixels
	_, small, err := m.process.do(ctx, j, bytes.NewReader(pixels))
	if err == nil && len(small) != 4*b.outWidth*b.outHeight {
		err = broken("APNG frame of %d bytes", len(small))
	}
	return small, err
}

// play composes the frames one after the other; show must not keep the canvas.
func (a *apng) play(show func(canvas *image.RGBA) error) error {
	canvas := image.NewRGBA(a.canvas())
	var saved *image.RGBA
	for n, f := range a.frames {
		picture, err := a.decode(f)
		if err != nil {
			return err
		}
		dispose := f.dispose
		if dispose == disposePrevious && n == 0 {
			dispose = disposeBackground
		}
		if dispose == disposePrevious {
			saved = image.NewRGBA(f.place)
			draw.Draw(saved, f.place, canvas, f.place.Min, draw.Src)
		}
		op := draw.Src
		if f.over {
			op = draw.Over
		}
		draw.Draw(canvas, f.place, picture, picture.Bounds().Min, op)
		if err := show(canvas); err != nil {
			return err
		}
		switch dispose {
		case disposeBackground:
			draw.Draw(canvas, f.place, image.NewUniform(color.Transparent), image.Point{}, draw.Src)
		case disposePrevious:
			draw.Draw(canvas, f.place, saved, f.place.Min, draw.Src)
		}
	}
	return nil
}

func (a *apng) canvas() image.Rectangle {
	return image.Rect(0, 0, int(be.Uint32(a.header)), int(be.Uint32(a.header[4:])))
}

// decode makes a PNG of the frame and decodes that.
func (a *apng) decode(f *apngFrame) (image.Image, error) {
	header := bytes.Clone(a.header)
	be.PutUint32(header, uint32(f.place.Dx()))
	be.PutUint32(header[4:], uint32(f.place.Dy()))
	parts := []io.Reader{bytes.NewReader(appendChunk([]byte(pngSignature), "IHDR", header)), bytes.NewReader(a.shared)}
	for _, d := range f.data {
		parts = append(parts, bytes.NewReader(appendChunk(nil, "IDAT", d)))
	}
	parts = append(parts, bytes.NewReader(appendChunk(nil, "IEND", nil)))
	picture, err := png.Decode(io.MultiReader(parts...))
	if err != nil {
		return nil, broken("APNG frame: %v", err)
	}
	return picture, nil
}

// appendChunk appends a PNG chunk: length, type, data, checksum.
func appendChunk(to []byte, kind string, data []byte) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(len(data)))
	from := len(to)
	to = append(append(to, kind...), data...)
	return binary.BigEndian.AppendUint32(to, crc32.ChecksumIEEE(to[from:]))
}

// parseAPNG collects the frames; their pixels stay in data.
func parseAPNG(data []byte) (*apng, error) {
	a := &apng{}
	r := newReader(bytes.NewReader(data), int64(len(data)))
	err := walkPNG(r, func(kind string, size int64) error {
		body := data[r.pos : r.pos+size]
		switch kind {
		case "IHDR":
			a.header = body
		case "PLTE", "tRNS":
			a.shared = appendChunk(a.shared, kind, body)
		case "acTL":
			if size < 8 {
				return broken("APNG control of %d bytes", size)
			}
			a.plays = int(min(be.Uint32(body[4:]), 0xffff))
		case "fcTL":
			f, err := parseFrame(body)
			if err != nil {
				return err
			}
			if !f.place.In(a.canvas()) {
				return broken("APNG frame outside of the canvas")
			}
			a.frames = append(a.frames, f)
		case "IDAT":
			// Without a control chunk in front, the default image is no frame of the animation.
			if n := len(a.frames); n > 0 {
				a.frames[n-1].data = append(a.frames[n-1].data, body)
			}
		case "fdAT":
			if n := len(a.frames); n > 0 && size >= 4 {
				a.frames[n-1].data = append(a.frames[n-1].data, body[4:])
			}
		}
		return nil
	})
	return a, err
}

func parseFrame(body []byte) (*apngFrame, error) {
	if len(body) != 26 {
		return nil, broken("APNG frame control of %d bytes", len(body))
	}
	width, height := int64(be.Uint32(body[4:])), int64(be.Uint32(body[8:]))
	left, top := int64(be.Uint32(body[12:])), int64(be.Uint32(body[16:]))
	if width == 0 || height == 0 {
		return nil, broken("APNG frame of %d x %d pixels", width, height)
	}
	num, den := int(be.Uint16(body[20:])), int(be.Uint16(body[22:]))
	if den == 0 {
		den = 100
	}
	return &apngFrame{
		place:   image.Rect(int(left), int(top), int(left+width), int(top+height)),
		delay:   min(num*1000/den, maxDelay),
		dispose: body[24],
		over:    body[25] == 1,
	}, nil
}

// unmultiply returns the pixels, without what image.RGBA does to colours under transparency.
func unmultiply(in *image.RGBA) []byte {
	out := make([]byte, len(in.Pix))
	for i := 0; i+3 < len(in.Pix); i += 4 {
		alpha := uint32(in.Pix[i+3])
		switch alpha {
		case 0:
		case 255:
			copy(out[i:i+4], in.Pix[i:i+4])
		default:
			for k := range 3 {
				out[i+k] = byte((uint32(in.Pix[i+k])*255 + alpha/2) / alpha)
			}
			out[i+3] = byte(alpha)
		}
	}
	return out
}
