package thumbnail

import "fmt"

// Limits bound what is decoded. A zero field stands for the value of DefaultLimits.
type Limits struct {
	// MaxBytes bounds the size of the encoded image.
	MaxBytes int64
	// MaxPixels bounds width x height of the largest picture a decoder would have to hold, whatever the headers call it.
	MaxPixels int64
	// MaxFrames bounds the frames of an animation that is thumbnailed as one; a longer one gives a still.
	MaxFrames int
	// MaxTotalPixels bounds frames x width x height of an animation that is thumbnailed as one; a larger one gives a still.
	MaxTotalPixels int64
}

// maxListedFrames bounds how many frames a file may list at all: decoders keep a record of each, even for a still. libvips' reader of
// GIFs draws the same line.
const maxListedFrames = 4096

// DefaultLimits are fit for a server of 512 MiB: a 64-megapixel photo passes, and so does a GIF of 500 frames.
func DefaultLimits() Limits {
	return Limits{MaxBytes: 64 << 20, MaxPixels: 64_000_000, MaxFrames: 500, MaxTotalPixels: 128_000_000}
}

func (l Limits) orDefaults() Limits {
	def := DefaultLimits()
	if l.MaxBytes <= 0 {
		l.MaxBytes = def.MaxBytes
	}
	if l.MaxPixels <= 0 {
		l.MaxPixels = def.MaxPixels
	}
	if l.MaxFrames <= 0 {
		l.MaxFrames = def.MaxFrames
	}
	if l.MaxTotalPixels <= 0 {
		l.MaxTotalPixels = def.MaxTotalPixels
	}
	return l
}

// check returns ErrTooLarge when one frame of the image must not be decoded.
func (l Limits) check(info Info) error {
	if info.pixels > l.MaxPixels {
		return fmt.Errorf("%w: %d pixels, %d allowed", ErrTooLarge, info.pixels, l.MaxPixels)
	}
	if info.Frames > maxListedFrames {
		return fmt.Errorf("%w: %d frames, %d allowed", ErrTooLarge, info.Frames, maxListedFrames)
	}
	return nil
}

// maxAPNGPixels bounds the frames of animated PNGs, which are composed in the server's own memory: up to 20 bytes a pixel.
const maxAPNGPixels = 4 << 20

// allowAnimation reports whether every frame of the image may be decoded.
func (l Limits) allowAnimation(info Info) bool {
	switch info.Format {
	case PNG, GIF, WebP:
		if info.Format == PNG && info.pixels > maxAPNGPixels {
			return false
		}
		return info.Frames > 1 && info.Frames <= l.MaxFrames && info.pixels*int64(info.Frames) <= l.MaxTotalPixels
	default:
		return false
	}
}
