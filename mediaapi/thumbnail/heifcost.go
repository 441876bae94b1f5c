package thumbnail

import (
	"fmt"
	"math/bits"
)

// maxUnits bounds the units of one coded picture that are looked at.
const maxUnits = 4096

// cost returns the pixels a decoder has to hold or to compute for the primary picture, by the coded pictures' own headers. Every coded
// item is measured, since alpha planes and embedded previews are decoded too.
func (h *heif) cost(primary *heifItem) (int64, error) {
	coded := make(map[int64]int64, len(h.items))
	var most int64
	for id, it := range h.items {
		if it.kind != "hvc1" && it.kind != "av01" {
			continue
		}
		pixels, err := h.codedPixels(it)
		if err != nil {
			return 0, err
		}
		coded[id] = pixels
		most = max(most, pixels)
	}
	for _, p := range h.properties {
		most = max(most, p.width*p.height)
	}
	switch primary.kind {
	case "hvc1", "av01":
		return most, nil
	case "grid":
		canvas, err := h.gridPixels(primary)
		if err != nil {
			return 0, err
		}
		// A grid may name the same tile again and again; each mention is decoded.
		var tiles int64
		for _, id := range primary.tiles {
			if _, ok := coded[id]; !ok {
				return 0, unsupported("HEIF grid of tiles that are not pictures")
			}
			tiles += coded[id]
		}
		return max(most, canvas, tiles), nil
	default:
		return 0, unsupported("HEIF picture of type %q", primary.kind)
	}
}

// place returns where the item's only extent lies.
func (h *heif) place(it *heifItem) (span, error) {
	if len(it.extents) != 1 {
		return span{}, broken("HEIF picture without data")
	}
	s, within := it.extents[0], h.r.size
	if it.inIdat {
		within = h.idat.size
	}
	if s.from < 0 || s.size < 0 || s.from > within || s.size > within-s.from {
		return span{}, h.r.failure("HEIF picture")
	}
	if it.inIdat {
		s.from += h.idat.from
	}
	return s, nil
}

func (h *heif) codedPixels(it *heifItem) (int64, error) {
	data, err := h.place(it)
	if err != nil {
		return 0, err
	}
	var pixels int64
	if it.kind == "av01" {
		pixels, err = h.av1Units(data)
	} else {
		pixels, err = h.hevcUnits(data)
	}
	for _, p := range h.propertiesOf(it) {
		pixels = max(pixels, p.coded, p.width*p.height)
	}
	return pixels, err
}

// gridPixels reads the size of the canvas that the tiles are laid on (ISO/IEC 23008-12, 6.6.2.3).
func (h *heif) gridPixels(it *heifItem) (int64, error) {
	data, err := h.place(it)
	if err != nil {
		return 0, err
	}
	h.r.seek(data.from)
	h.r.skip(1)
	long := h.r.u8()&1 == 1
	h.r.skip(2)
	width, height := h.id(long), h.id(long)
	if h.r.err != nil {
		return 0, h.r.failure("HEIF grid")
	}
	if width > 1<<20 || height > 1<<20 {
		return 0, fmt.Errorf("%w: HEIF grid of %d x %d pixels", ErrTooLarge, width, height)
	}
	return width * height, nil
}

// hevcConfig reads the parameter sets of an hvcC property (ISO/IEC 14496-15, 8.3.3.1).
func (h *heif) hevcConfig(body span) (int64, error) {
	h.r.seek(body.from)
	h.r.skip(22)
	var most int64
	for arrays := h.r.u8(); arrays > 0 && h.r.err == nil; arrays-- {
		h.r.skip(1)
		for n := h.r.u16(be); n > 0 && h.r.err == nil; n-- {
			size := int64(h.r.u16(be))
			next := h.r.pos + size
			pixels, err := hevcUnit(h.r, size)
			if err != nil {
				return 0, err
			}
			most = max(most, pixels)
			h.r.seek(next)
		}
	}
	if h.r.err != nil {
		return 0, h.r.failure("HEVC configuration")
	}
	return most, nil
}

// hevcUnits looks through a coded picture for parameter sets that overrule those of its configuration. Phones write four-byte lengths.
func (h *heif) hevcUnits(data span) (int64, error) {
	var most int64
	h.r.seek(data.from)
	for units := 0; h.r.pos+4 <= data.end() && h.r.err == nil; units++ {
		size := h.r.u32(be)
		next := h.r.pos + size
		if next > data.end() || units > maxUnits {
			return 0, h.r.failure("HEVC picture")
		}
		pixels, err := hevcUnit(h.r, size)
		if err != nil {
			return 0, err
		}
		most = max(most, pixels)
		h.r.seek(next)
	}
	if h.r.err != nil {
		return 0, h.r.failure("HEVC picture")
	}
	return most, nil
}

// hevcUnit returns the pixels that a unit promises if it is a sequence parameter set, else 0 (ITU-T H.265, 7.3.2.2).
func hevcUnit(r *reader, size int64) (int64, error) {
	if size < 3 {
		return 0, nil
	}
	if head := r.peek(1); head == nil || head[0]>>1&0x3f != 33 {
		return 0, nil
	}
	b := newBits(unescape(r.bytes(int(min(size, 512)))))
	b.skip(16 + 4)
	layers := int(b.read(3))
	b.skip(1 + 88 + 8)
	var present [8]uint64
	for i := range layers {
		present[i] = b.read(2)
	}
	if layers > 0 {
		b.skip(2 * (8 - layers))
	}
	for i := range layers {
		b.skip(int(present[i]>>1)*88 + int(present[i]&1)*8)
	}
	b.golomb()
	if b.golomb() == 3 {
		b.skip(1)
	}
	width, height := b.golomb(), b.golomb()
	if b.short {
		return 0, broken("HEVC parameter set")
	}
	if width > 1<<20 || height > 1<<20 {
		return 0, fmt.Errorf("%w: HEVC of %d x %d pixels", ErrTooLarge, width, height)
	}
	return int64(width) * int64(height), nil
}

// unescape removes the bytes that keep a unit from looking like a start code.
func unescape(in []byte) []byte {
	out := make([]byte, 0, len(in))
	zeros := 0
	for _, c := range in {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

// av1Units looks through a coded picture for sequence headers (AV1 specification, 5.3 and 5.5).
func (h *heif) av1Units(data span) (int64, error) {
	var most int64
	h.r.seek(data.from)
	for units := 0; h.r.pos < data.end() && h.r.err == nil; units++ {
		head := h.r.u8()
		if head&4 != 0 {
			h.r.skip(1)
		}
		size := data.end() - h.r.pos
		if head&2 != 0 {
			size = leb128(h.r)
		}
		next := h.r.pos + size
		if size < 0 || next > data.end() || units > maxUnits {
			return 0, h.r.failure("AV1 picture")
		}
		if head>>3&15 == 1 {
			pixels, err := av1Sequence(h.r.bytes(int(min(size, 512))))
			if err != nil {
				return 0, err
			}
			most = max(most, pixels)
		}
		h.r.seek(next)
	}
	if h.r.err != nil {
		return 0, h.r.failure("AV1 picture")
	}
	return most, nil
}

func leb128(r *reader) int64 {
	var v int64
	for shift := 0; shift < 35; shift += 7 {
		c := r.u8()
		v |= int64(c&0x7f) << shift
		if c&0x80 == 0 {
			return v
		}
	}
	return -1
}

// av1Sequence returns the pixels that a sequence header promises. Files that use timing models or operating points are not pictures
// anybody's encoder writes; their frames may also be larger than promised, up to the width of the size fields, so that is what counts.
func av1Sequence(header []byte) (int64, error) {
	b := newBits(header)
	b.skip(3)
	still, reduced := b.read(1), b.read(1)
	if reduced == 1 {
		b.skip(5)
	} else {
		if b.read(1) == 1 {
			return 0, unsupported("AV1 picture with timing information")
		}
		delay := b.read(1)
		for points := b.read(5) + 1; points > 0; points-- {
			b.skip(12)
			if b.read(5) > 7 {
				b.skip(1)
			}
			if delay == 1 && b.read(1) == 1 {
				b.skip(4)
			}
		}
	}
	widthBits, heightBits := int(b.read(4))+1, int(b.read(4))+1
	width, height := int64(b.read(widthBits))+1, int64(b.read(heightBits))+1
	if b.short {
		return 0, broken("AV1 sequence header")
	}
	if still == 0 || reduced == 0 {
		return 1 << (bits.Len64(uint64(width-1)) + bits.Len64(uint64(height-1))), nil
	}
	return width * height, nil
}

// bitReader reads big-endian bits; past the end it reads zeros and notes that it did.
type bitReader struct {
	data  []byte
	at    int
	short bool
}

func newBits(data []byte) *bitReader { return &bitReader{data: data} }

func (b *bitReader) read(n int) uint64 {
	var v uint64
	for ; n > 0; n-- {
		v <<= 1
		if b.at >= 8*len(b.data) {
			b.short = true
			continue
		}
		v |= uint64(b.data[b.at/8] >> (7 - b.at%8) & 1)
		b.at++
	}
	return v
}

func (b *bitReader) skip(n int) {
	b.at += n
	if b.at > 8*len(b.data) {
		b.at, b.short = 8*len(b.data), true
	}
}

// golomb reads an unsigned Exp-Golomb number; one beyond 31 bits counts as the end of the data.
func (b *bitReader) golomb() uint64 {
	zeros := 0
	for b.read(1) == 0 {
		if zeros++; zeros > 31 || b.short {
			b.short = true
			return 0
		}
	}
	return 1<<zeros - 1 + b.read(zeros)
}
