package thumbnail

import "encoding/binary"

// probeWebP walks the chunks of the RIFF container.
func probeWebP(r *reader) (Info, error) {
	le := binary.LittleEndian
	r.skip(4)
	end := r.u32(le) + 8
	r.skip(4)
	if r.err != nil || end > r.size {
		return Info{}, r.failure("WebP container")
	}
	var info Info
	pictures := 0
	for extended := false; r.pos+8 <= end; {
		name := string(r.bytes(4))
		size := r.u32(le)
		next := r.pos + size + size&1
		if r.err != nil || r.pos+size > end {
			return Info{}, r.failure("WebP chunk")
		}
		width, height := 0, 0
		switch name {
		case "VP8X":
			r.skip(4)
			width, height = r.u24(le)+1, r.u24(le)+1
			if !extended && pictures == 0 {
				info.Width, info.Height, extended = width, height, true
			}
		case "ANMF":
			r.skip(6)
			width, height = r.u24(le)+1, r.u24(le)+1
			info.Frames++
			pictures++
		case "VP8 ":
			if r.u24(le)&1 != 0 || r.u24(binary.BigEndian) != 0x9d012a {
				return Info{}, broken("WebP key frame")
			}
			width, height = r.u16(le)&0x3fff, r.u16(le)&0x3fff
			pictures++
		case "VP8L":
			if r.u8() != 0x2f {
				return Info{}, broken("WebP lossless signature")
			}
			bits := r.u32(le)
			width, height = int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1
			pictures++
		case "EXIF":
			at, length := r.pos, size
			if length > 6 && string(r.peek(6)) == "Exif\x00\x00" {
				at, length = at+6, length-6
			}
			if info.Orientation == 0 {
				info.Orientation = exifOrientation(r, at, length)
			}
		}
		if r.err != nil {
			return Info{}, r.failure("WebP chunk")
		}
		if pictures > 0 && info.Width == 0 {
			info.Width, info.Height = width, height
		}
		info.pixels = max(info.pixels, int64(width)*int64(height))
		r.seek(min(next, end))
	}
	if pictures == 0 {
		return Info{}, broken("WebP without a picture")
	}
	return info, nil
}
