package thumbnail

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// maxScans bounds the passes of a progressive JPEG: encoders write about ten, and each one costs a decoder a walk over every pixel.
const maxScans = 100

// JPEG markers (ITU T.81, table B.1).
const (
	markerSOF2 = 0xc2
	markerSOI  = 0xd8
	markerEOI  = 0xd9
	markerSOS  = 0xda
	markerAPP1 = 0xe1
)

// probeJPEG walks the markers to the end-of-image marker: libjpeg paints what is missing grey and calls it a warning, so a file that
// was cut short is found here. A photo that ends with the marker, and whose one scan is all there is to decode, need not be read for that.
func probeJPEG(r *reader) (Info, error) {
	var info Info
	var progressive bool
	var components int
	r.skip(2)
	for scans := 0; ; {
		marker := nextMarker(r)
		if r.err != nil {
			return Info{}, r.failure("JPEG markers")
		}
		switch {
		case marker == markerEOI:
			if scans == 0 {
				return Info{}, broken("JPEG without image data")
			}
			return info, nil
		case marker == markerSOI || marker == 0x01 || marker >= 0xd0 && marker <= 0xd7:
			continue
		}
		length := r.u16(binary.BigEndian) - 2
		if length < 0 {
			return Info{}, broken("JPEG segment %#x of negative length", marker)
		}
		next := r.pos + int64(length)
		switch {
		case marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc:
			var err error
			if components, err = readFrameHeader(r, marker, &info); err != nil {
				return Info{}, err
			}
			progressive = marker == markerSOF2
		case marker == markerAPP1 && info.Orientation == 0 && length > 6 && string(r.peek(6)) == "Exif\x00\x00":
			info.Orientation = exifOrientation(r, r.pos+6, int64(length)-6)
		case marker == markerSOS:
			if info.pixels == 0 {
				return Info{}, broken("JPEG scan before its frame header")
			}
			if scans++; scans > maxScans {
				return Info{}, fmt.Errorf("%w: JPEG of more than %d scans", ErrTooLarge, maxScans)
			}
			if !progressive && r.u8() == components && r.endsWith(0xff, markerEOI) {
				return info, nil
			}
		}
		r.seek(next)
		if marker == markerSOS {
			skipEntropy(r)
		}
	}
}

// readFrameHeader reads a start-of-frame segment and returns the number of components, which a single scan may hold all of. Lossless,
// hierarchical and arithmetic-coded files, which nobody sends, are refused.
func readFrameHeader(r *reader, marker int, info *Info) (components int, err error) {
	if info.pixels != 0 {
		return 0, broken("JPEG with two frame headers")
	}
	if marker > markerSOF2 {
		return 0, unsupported("JPEG process %#x", marker)
	}
	depth := r.u8()
	info.Height, info.Width = r.u16(binary.BigEndian), r.u16(binary.BigEndian)
	components = r.u8()
	if r.err != nil {
		return 0, r.failure("JPEG frame header")
	}
	if depth != 8 {
		return 0, unsupported("JPEG of %d bits", depth)
	}
	if components != 1 && components != 3 && components != 4 {
		return 0, unsupported("JPEG of %d components", components)
	}
	if info.Width == 0 || info.Height == 0 {
		return 0, broken("JPEG of %d x %d pixels", info.Width, info.Height)
	}
	info.pixels = int64(info.Width) * int64(info.Height)
	return components, nil
}

// nextMarker returns the code of the marker that must follow here; fill bytes are allowed before it.
func nextMarker(r *reader) int {
	if r.u8() != 0xff {
		if r.err == nil {
			r.err = errShort
		}
		return 0
	}
	code := 0xff
	for code == 0xff && r.err == nil {
		code = r.u8()
	}
	return code
}

// skipEntropy moves to the marker after a scan: the first 0xff that is neither stuffed (0x00) nor a restart marker.
func skipEntropy(r *reader) {
	for {
		window := r.rest()
		if window == nil {
			r.err = errShort
			return
		}
		at := entropyEnd(window)
		r.skip(int64(at))
		if at < len(window)-1 {
			return
		}
		if at == len(window)-1 && r.peek(2) == nil {
			return // nothing can follow
		}
	}
}

// entropyEnd returns where in the bytes of a scan a marker is, or may be if one more byte were there; otherwise their number.
func entropyEnd(b []byte) int {
	for at := 0; at < len(b); {
		next := bytes.IndexByte(b[at:], 0xff)
		if next < 0 {
			break
		}
		at += next
		if at == len(b)-1 {
			return at
		}
		switch code := b[at+1]; {
		case code == 0xff: // the first of several fill bytes
			at++
		case code == 0 || code >= 0xd0 && code <= 0xd7:
			at += 2
		default:
			return at
		}
	}
	return len(b)
}
