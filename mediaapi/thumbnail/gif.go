package thumbnail

import "encoding/binary"

// probeGIF walks every block of the file, without looking into the compressed data, and counts the pictures.
func probeGIF(r *reader) (Info, error) {
	le := binary.LittleEndian
	r.skip(6)
	info := Info{Width: r.u16(le), Height: r.u16(le)}
	flags := r.u8()
	r.skip(2)
	skipColours(r, flags)
	if r.err != nil {
		return Info{}, r.failure("GIF header")
	}
	for {
		// Many encoders forget the trailer, so the end of the file between two blocks is an end as well.
		if r.atEnd() && info.Frames > 0 {
			return info, nil
		}
		kind := r.u8()
		if r.err != nil {
			return Info{}, r.failure("GIF blocks")
		}
		switch kind {
		case 0x21:
			r.skip(1)
			skipSubBlocks(r)
		case 0x2c:
			left, top := r.u16(le), r.u16(le)
			width, height := r.u16(le), r.u16(le)
			skipColours(r, r.u8())
			r.skip(1)
			skipSubBlocks(r)
			if r.err != nil {
				return Info{}, r.failure("GIF picture")
			}
			if width == 0 || height == 0 {
				return Info{}, broken("GIF picture of %d x %d pixels", width, height)
			}
			// A decoder grows the canvas for a picture that sticks out of it.
			info.pixels = max(info.pixels, int64(max(left+width, info.Width))*int64(max(top+height, info.Height)))
			if info.Frames == 0 {
				info.Width, info.Height = max(info.Width, left+width), max(info.Height, top+height)
			}
			info.Frames++
		case 0x3b:
			if info.Frames == 0 {
				return Info{}, broken("GIF without a picture")
			}
			return info, nil
		default:
			if info.Frames == 0 {
				return Info{}, broken("GIF block %#x", kind)
			}
			return info, nil
		}
	}
}

func skipColours(r *reader, flags int) {
	if flags&0x80 != 0 {
		r.skip(3 << (flags&7 + 1))
	}
}

func skipSubBlocks(r *reader) {
	for n := r.u8(); n > 0; n = r.u8() {
		r.skip(int64(n))
	}
}
