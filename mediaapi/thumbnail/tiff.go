package thumbnail

import "fmt"

// TIFF tags that decide what a decoder allocates (TIFF 6.0, section 8 and 15).
const (
	tagWidth           = 0x100
	tagHeight          = 0x101
	tagBitsPerSample   = 0x102
	tagCompression     = 0x103
	tagSamplesPerPixel = 0x115
	tagRowsPerStrip    = 0x116
	tagTileWidth       = 0x142
	tagTileHeight      = 0x143
)

// probeTIFF reads the first directory, which is the only page that is thumbnailed. BigTIFF and rare encodings are refused.
func probeTIFF(r *reader) (Info, error) {
	order, first, ok := tiffHeader(r)
	if !ok {
		return Info{}, r.failure("TIFF header")
	}
	var info Info
	var tileWidth, tileHeight, rows int64
	bits, samples, compression := int64(1), int64(1), int64(1)
	var width, height int64
	walkIFD(r, order, first, func(e entry) {
		switch e.tag {
		case tagWidth:
			width = e.value
		case tagHeight:
			height = e.value
		case tagBitsPerSample:
			bits = e.value
		case tagCompression:
			compression = e.value
		case tagSamplesPerPixel:
			samples = e.value
		case tagOrientation:
			info.Orientation = int(e.value)
		case tagTileWidth:
			tileWidth = e.value
		case tagTileHeight:
			tileHeight = e.value
		case tagRowsPerStrip:
			rows = e.value
		}
	})
	if r.err != nil {
		return Info{}, r.failure("TIFF directory")
	}
	switch compression {
	case 1, 2, 3, 4, 5, 7, 8, 32773, 32946: // none, CCITT (three), LZW, JPEG, Deflate, PackBits, old Deflate
	default:
		return Info{}, unsupported("TIFF compression %d", compression)
	}
	// A pixel of thousands of samples would make few pixels many bytes.
	if bits < 1 || bits > 16 || samples < 1 || samples > 5 {
		return Info{}, unsupported("TIFF of %d samples of %d bits", samples, bits)
	}
	const most = 1 << 24
	if width > most || height > most || tileWidth > most || tileHeight > most {
		return Info{}, fmt.Errorf("%w: TIFF of %d x %d pixels", ErrTooLarge, width, height)
	}
	// A tile or strip may be larger than the image it is a part of; it is allocated all the same.
	info.pixels = tileWidth * tileHeight
	info.pixels = max(info.pixels, width*min(rows, height))
	info.Width, info.Height = int(width), int(height)
	return info, nil
}
