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

// stripWebP removes EXIF, XMP and colour profile chunks in place: libvips 8.14 writes an EXIF chunk, the photographer's position and
// all, although it was told to strip. The input is libwebp's own output.
func stripWebP(data []byte) []byte {
	const riffHeader, chunkHeader = 12, 8
	const hasProfile, hasExif, hasXMP = 0x20, 0x08, 0x04
	le := binary.LittleEndian
	if len(data) < riffHeader {
		return data
	}
	out := data[:riffHeader]
	for rest := data[riffHeader:]; len(rest) >= chunkHeader; {
		size := int64(le.Uint32(rest[4:]))
		size = min(chunkHeader+size+size&1, int64(len(rest)))
		chunk := rest[:size]
		rest = rest[size:]
		switch string(chunk[:4]) {
		case "EXIF", "XMP ", "ICCP":
			continue
		case "VP8X":
			if len(chunk) > chunkHeader {
				chunk[chunkHeader] &^= hasProfile | hasExif | hasXMP
			}
		}
		out = append(out, chunk...)
	}
	le.PutUint32(out[4:], uint32(len(out)-8))
	return out
}
