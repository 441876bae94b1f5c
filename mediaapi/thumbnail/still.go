package thumbnail

import (
	"context"
	"io"
)

const (
	jpegQuality = 80
	webpQuality = 75
	// pngCompression is zlib's: 6 costs three times as much time for a tenth less bytes.
	pngCompression = 4
	// How hard libwebp tries, 0 to 6, with a still and with each frame of an animation.
	stillEffort, animationEffort = 4, 2
)

// still makes a still of any image.
func (m *Maker) still(ctx context.Context, src io.ReaderAt, size int64, info Info, b box) (Result, error) {
	j := jobFor(size, b)
	j.opaque, j.transparent = kindJPEG, kindPNG
	switch info.Format {
	case JPEG:
		j.jpegEighths, j.orientation = b.jpegEighths(info), uint32(info.Orientation)
		if info.Orientation >= 5 { // what is asked for is measured as the picture lies in the file, and turned at last
			j.width, j.height, j.left, j.top, j.outWidth, j.outHeight = j.height, j.width, j.top, j.left, j.outHeight, j.outWidth
		}
		j.transparent = kindJPEG
	case PNG:
		j.opaque = kindPNG
	case WebP:
		j.transparent, j.pages = kindWebP, 1
	case GIF, TIFF:
		j.pages = 1
	}
	kind, out, err := m.process.do(ctx, j, src)
	if err != nil {
		return Result{}, err
	}
	if kind == kindWebP {
		out = stripWebP(out)
	}
	return Result{Bytes: out, ContentType: contentTypes[kind], Width: b.outWidth, Height: b.outHeight}, nil
}

// jobFor asks for a picture of the box's geometry, of a file of so many bytes.
func jobFor(size int64, b box) job {
	return job{
		size: uint64(size), width: uint32(b.width), height: uint32(b.height),
		left: uint32(b.left()), top: uint32(b.top()), outWidth: uint32(b.outWidth), outHeight: uint32(b.outHeight),
		quality: jpegQuality, compression: pngCompression, effort: stillEffort,
	}
}
