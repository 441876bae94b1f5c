package thumbnail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Info is what the headers of an image say.
type Info struct {
	Format Format
	// Width and Height are in pixels as displayed, i.e. after the EXIF orientation was applied.
	Width, Height int
	// Frames is 1 for a still image.
	Frames int
	// Orientation is the EXIF orientation, 1 to 8; 1 is upright.
	Orientation int

	// pixels is the largest picture that any header in the file makes a decoder allocate.
	pixels int64
}

// Probe reads the headers of the size bytes in src and decodes nothing. Its memory is bounded by a few dozen KiB whatever the file
// claims. It returns ErrUnsupported or ErrBroken for what it cannot make sense of, and does not judge sizes: see Limits.
func Probe(src io.ReaderAt, size int64) (Info, error) {
	r := newReader(src, size)
	head := r.bytes(int(min(size, sniffLen)))
	if r.err != nil {
		return Info{}, r.failure("start")
	}
	format := sniff(head)
	r.seek(0)
	var info Info
	var err error
	switch format {
	case JPEG:
		info, err = probeJPEG(r)
	case PNG:
		info, err = probePNG(r)
	case GIF:
		info, err = probeGIF(r)
	case WebP:
		info, err = probeWebP(r)
	case TIFF:
		info, err = probeTIFF(r)
	case HEIC, AVIF:
		info, err = probeHEIF(r)
	default:
		return Info{}, ErrUnsupported
	}
	if err != nil {
		return Info{}, err
	}
	if info.Width < 1 || info.Height < 1 {
		return Info{}, fmt.Errorf("%w: %d x %d pixels", ErrBroken, info.Width, info.Height)
	}
	if info.Format == Unknown {
		info.Format = format
	}
	info.Frames = max(info.Frames, 1)
	info.pixels = max(info.pixels, int64(info.Width)*int64(info.Height))
	if info.Orientation < 1 || info.Orientation > 8 {
		info.Orientation = 1
	}
	if info.Orientation >= 5 {
		info.Width, info.Height = info.Height, info.Width
	}
	return info, nil
}

// windowSize is how much of the file a reader holds, and the most it hands out at once.
const windowSize = 16 << 10

var errShort = errors.New("cut short")

// reader walks through a file with a small window. The first failure sticks: afterwards every number read is zero, so a parser checks
// err once per round of a loop rather than after every field.
type reader struct {
	src   io.ReaderAt
	size  int64
	pos   int64
	start int64 // file position of window[0]
	win   []byte
	buf   []byte
	err   error
}

func newReader(src io.ReaderAt, size int64) *reader {
	return &reader{src: src, size: size, buf: make([]byte, windowSize)}
}

// peek returns the next n bytes (n <= windowSize) without advancing; they are valid until the next call. After a failure it is nil.
func (r *reader) peek(n int) []byte {
	if r.err != nil {
		return nil
	}
	if r.pos < 0 || n > windowSize || r.pos+int64(n) > r.size {
		r.err = errShort
		return nil
	}
	at := r.pos - r.start
	if at < 0 || at+int64(n) > int64(len(r.win)) {
		want := min(int64(windowSize), r.size-r.pos)
		got, err := r.src.ReadAt(r.buf[:want], r.pos)
		if int64(got) < want {
			r.err = noEOF(err)
			return nil
		}
		r.start, r.win, at = r.pos, r.buf[:want], 0
	}
	return r.win[at : at+int64(n)]
}

// rest returns what the window holds from here on, at least one byte; nil at the end of the file or after a failure.
func (r *reader) rest() []byte {
	if r.err != nil || r.pos >= r.size || r.peek(1) == nil {
		return nil
	}
	return r.win[r.pos-r.start:]
}

func (r *reader) bytes(n int) []byte {
	b := r.peek(n)
	if b != nil {
		r.pos += int64(n)
	}
	return b
}

func (r *reader) skip(n int64) {
	if r.err != nil {
		return
	}
	if n < 0 || n > r.size-r.pos {
		r.err = errShort
		return
	}
	r.pos += n
}

func (r *reader) seek(pos int64) {
	r.pos = 0
	r.skip(pos)
}

// endsWith reports whether these are the last bytes of the file.
func (r *reader) endsWith(tail ...byte) bool {
	if r.err != nil || r.size < int64(len(tail)) {
		return false
	}
	last := make([]byte, len(tail))
	n, err := r.src.ReadAt(last, r.size-int64(len(tail)))
	if n < len(tail) {
		r.err = noEOF(err)
	}
	return bytes.Equal(last, tail)
}

func (r *reader) atEnd() bool { return r.pos >= r.size }

func (r *reader) u8() int {
	if b := r.bytes(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (r *reader) u16(o binary.ByteOrder) int {
	if b := r.bytes(2); b != nil {
		return int(o.Uint16(b))
	}
	return 0
}

func (r *reader) u24(o binary.ByteOrder) int {
	b := r.bytes(3)
	if b == nil {
		return 0
	}
	if o == binary.ByteOrder(binary.BigEndian) {
		return int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	}
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16
}

func (r *reader) u32(o binary.ByteOrder) int64 {
	if b := r.bytes(4); b != nil {
		return int64(o.Uint32(b))
	}
	return 0
}

// failure turns the sticky error into ErrBroken, or hands on an error of the source itself.
func (r *reader) failure(where string) error {
	if errors.Is(r.err, errShort) || r.err == nil {
		return broken("cut short in %s", where)
	}
	return fmt.Errorf("read image: %w", r.err)
}

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}
