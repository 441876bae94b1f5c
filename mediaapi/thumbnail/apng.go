package thumbnail

import (
	"bytes"
	"context"
	"encoding/binary"
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
func animatePNG(ctx context.Context, data []byte, b box) (Result, error) {
	a, err := parseAPNG(data)
	if err != nil {
		return Result{}, err
	}
	rows := b.outHeight * len(a.frames)
	if rows > maxRollRows || rows*b.outWidth > maxRollPixels {
		return still(data, Info{Format: PNG}, b)
	}
	roll := image.NewNRGBA(image.Rect(0, 0, b.outWidth, rows))
	delays := make([]int, len(a.frames))
	filled := 0
	err = a.play(func(n int, canvas *image.RGBA) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		delays[n] = a.frames[n].delay
		small, err := shrinkFrame(canvas, b)
		if err != nil {
			return err
		}
		filled += copy(roll.Pix[filled:], small)
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	packed, err := uncompressed(roll)
	if err != nil {
		return Result{}, err
	}
	img, err := load(packed, box{width: b.outWidth, height: rows}, 1)
	if err != nil {
		return Result{}, err
	}
	defer img.Close()
	if err := img.SetPages(len(a.frames)); err != nil {
		return Result{}, decodeError(err)
	}
	if err := img.SetPageHeight(b.outHeight); err != nil {
		return Result{}, decodeError(err)
	}
	if err := img.SetPageDelay(delays); err != nil {
		return Result{}, decodeError(err)
	}
	img.SetInt("loop", a.plays)
	return exportAnimation(img, b)
}

// shrinkFrame returns the RGBA bytes of the canvas at the size of the box.
func shrinkFrame(canvas *image.RGBA, b box) ([]byte, error) {
	packed, err := uncompressed(unmultiply(canvas))
	if err != nil {
		return nil, err
	}
	img, err := load(packed, b, 1)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	if err := finish(img, b); err != nil {
		return nil, err
	}
	if !img.HasAlpha() {
		if err := img.AddAlpha(); err != nil {
			return nil, decodeError(err)
		}
	}
	small, err := img.ToBytes()
	if err != nil {
		return nil, decodeError(err)
	}
	if len(small) != 4*b.outWidth*b.outHeight {
		return nil, broken("APNG frame of %d bytes", len(small))
	}
	return small, nil
}

// play composes the frames one after the other; show must not keep the canvas.
func (a *apng) play(show func(n int, canvas *image.RGBA) error) error {
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
		if err := show(n, canvas); err != nil {
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
		return nil, decodeError(err)
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

// uncompressed packs pixels into a PNG without compressing them, which is how they get into libvips.
func uncompressed(img image.Image) ([]byte, error) {
	var buf bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.NoCompression}
	if err := encoder.Encode(&buf, img); err != nil {
		return nil, decodeError(err)
	}
	return buf.Bytes(), nil
}

// unmultiply undoes what image.RGBA does to colours under transparency.
func unmultiply(in *image.RGBA) *image.NRGBA {
	out := image.NewNRGBA(in.Bounds())
	for i := 0; i+3 < len(in.Pix); i += 4 {
		alpha := uint32(in.Pix[i+3])
		switch alpha {
		case 0:
		case 255:
			copy(out.Pix[i:i+4], in.Pix[i:i+4])
		default:
			for k := range 3 {
				out.Pix[i+k] = byte((uint32(in.Pix[i+k])*255 + alpha/2) / alpha)
			}
			out.Pix[i+3] = byte(alpha)
		}
	}
	return out
}
