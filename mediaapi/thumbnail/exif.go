package thumbnail

import (
	"bytes"
	"encoding/binary"
	"io"
)

// tagOrientation is the TIFF and EXIF tag that says how the camera was held.
const tagOrientation = 0x112

// maxExif bounds how much of an EXIF block is looked at; the orientation is among its first entries.
const maxExif = 64 << 10

// maxEntries bounds the entries of a directory that are read.
const maxEntries = 512

// exifOrientation finds the orientation in the EXIF block at the given place; 0 when it has none or is damaged, which is not an error:
// the image is shown as it is then.
func exifOrientation(r *reader, at, size int64) int {
	if at+size > r.size {
		return 0
	}
	block := io.NewSectionReader(r.src, at, min(size, maxExif))
	orientation := 0
	order, first, ok := tiffHeader(newReader(block, block.Size()))
	if !ok {
		return 0
	}
	walkIFD(newReader(block, block.Size()), order, first, func(e entry) {
		if e.tag == tagOrientation {
			orientation = int(e.value)
		}
	})
	if orientation < 1 || orientation > 8 {
		return 0
	}
	return orientation
}

// tiffHeader reads the byte order and the offset of the first directory.
func tiffHeader(r *reader) (order binary.ByteOrder, first int64, ok bool) {
	switch magic := r.bytes(4); {
	case bytes.Equal(magic, []byte("II*\x00")):
		order = binary.LittleEndian
	case bytes.Equal(magic, []byte("MM\x00*")):
		order = binary.BigEndian
	default:
		return nil, 0, false
	}
	first = r.u32(order)
	return order, first, r.err == nil
}

// entry is one directory entry with the first of its values, when that is a whole number.
type entry struct {
	tag, kind int
	count     int64
	value     int64
}

// walkIFD hands each entry of the directory at the offset to see.
func walkIFD(r *reader, order binary.ByteOrder, offset int64, see func(entry)) {
	r.seek(offset)
	for n := min(r.u16(order), maxEntries); n > 0 && r.err == nil; n-- {
		e := entry{tag: r.u16(order), kind: r.u16(order), count: r.u32(order)}
		next := r.pos + 4
		if width := kindWidth(e.kind); width > 0 && e.count >= 1 {
			if e.count > 4/width {
				r.seek(r.u32(order))
			}
			switch e.kind {
			case 1:
				e.value = int64(r.u8())
			case 3:
				e.value = int64(r.u16(order))
			case 4:
				e.value = r.u32(order)
			}
		}
		if r.err != nil {
			return
		}
		see(e)
		r.seek(next)
	}
}

// kindWidth returns the bytes of one value of a whole-number kind (BYTE, SHORT, LONG); 0 for the others.
func kindWidth(kind int) int64 {
	switch kind {
	case 1:
		return 1
	case 3:
		return 2
	case 4:
		return 4
	default:
		return 0
	}
}
