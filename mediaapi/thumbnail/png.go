package thumbnail

// maxChunks bounds the chunks of a PNG that are visited; encoders write some kilobytes into each.
const maxChunks = 1 << 16

const pngSignature = "\x89PNG\r\n\x1a\n"

// walkPNG hands each chunk up to IEND to see, with the reader at the chunk's data.
func walkPNG(r *reader, see func(kind string, size int64) error) error {
	r.seek(int64(len(pngSignature)))
	for range maxChunks {
		size, kind := r.u32(be), string(r.bytes(4))
		next := r.pos + size + 4
		if r.err != nil || next > r.size {
			return r.failure("PNG chunk")
		}
		if kind == "IEND" {
			return nil
		}
		if err := see(kind, size); err != nil {
			return err
		}
		if r.err != nil {
			return r.failure("PNG chunk " + kind)
		}
		r.seek(next)
	}
	return broken("PNG of more than %d chunks", maxChunks)
}

// probePNG reads the chunk headers. An animation whose frame count is not what it announces is a still, as it is for browsers.
// Spec: https://www.w3.org/TR/png-3/#apng-frame-based-animation
func probePNG(r *reader) (Info, error) {
	var info Info
	var announced, listed int64
	seen, data := false, false
	err := walkPNG(r, func(kind string, size int64) error {
		if !seen && (kind != "IHDR" || size != 13) {
			return broken("PNG without a header")
		}
		switch kind {
		case "IHDR":
			if seen {
				return broken("PNG with two headers")
			}
			seen = true
			width, height := r.u32(be), r.u32(be)
			if width == 0 || height == 0 || width > 1<<31-1 || height > 1<<31-1 {
				return broken("PNG of %d x %d pixels", width, height)
			}
			info.Width, info.Height = int(width), int(height)
		case "acTL":
			if !data {
				announced = r.u32(be)
			}
		case "fcTL":
			listed++
		case "IDAT":
			data = true
		case "eXIf":
			if info.Orientation == 0 {
				info.Orientation = exifOrientation(r, r.pos, size)
			}
		}
		return nil
	})
	if err != nil {
		return Info{}, err
	}
	if !data {
		return Info{}, broken("PNG without image data")
	}
	if announced == listed {
		info.Frames = int(listed)
	}
	return info, nil
}
