// Package thumbnail turns strangers' images into small, clean ones: photos with libjpeg alone, everything else with libvips.
//
// It is pure image code: bytes in, bytes out. It knows nothing of HTTP, storage or who asks, keeps no files and no cache.
// It refuses everything that is not JPEG, PNG (and APNG), GIF, WebP, TIFF, HEIC or AVIF by its own reading of the first bytes;
// SVG, PDF and whatever ImageMagick, OpenSlide and friends would open never reach a decoder (see libvips.c). A decoder is started only
// after Probe has read the headers and the Limits were found to be kept, and only in a process of its own, which ends when there is nothing
// to do (see process.go and docs/adr/0014-pictures-in-a-process-of-their-own.md).
package thumbnail

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// The errors of this package; every error returned by Probe and Maker.Make wraps one of them, the context's error, or an error of
// the reader that was handed in.
var (
	// ErrUnsupported says that the content is not an image of a kind that is thumbnailed here.
	ErrUnsupported = errors.New("not an image that can be thumbnailed")
	// ErrTooLarge says that the image exceeds one of the Limits; nothing of it was decoded.
	ErrTooLarge = errors.New("image is too large to thumbnail")
	// ErrBroken says that the image is damaged, cut short, or contradicts itself.
	ErrBroken = errors.New("image is damaged")
	// ErrUnavailable says that there is nothing on this machine to decode the image with, or that it cannot be used. It is no fault of the image.
	ErrUnavailable = errors.New("thumbnails cannot be made here")
	// ErrBadSpec says that the wanted width or height is not positive, or that the method is unknown.
	ErrBadSpec = errors.New("thumbnail dimensions or method are not valid")
)

// Method says how the wanted size is reached.
type Method uint8

const (
	// Scale keeps the aspect ratio and fits the whole image into the wanted size.
	Scale Method = iota
	// Crop fills the wanted size and cuts off what sticks out, evenly on both sides.
	Crop
)

// Spec is what a caller wants.
type Spec struct {
	Width, Height int
	Method        Method
	// Animated asks for a moving thumbnail of a moving image. On a still image, and on an animation beyond the limits, it behaves as
	// false.
	// Spec: client-server-api#get_matrixclientv1mediathumbnailservernamemediaid
	Animated bool
}

// Halves reports whether the thumbnail is at most half as large as the picture it would be made of.
func (s Spec) Halves(of Info) bool {
	b := newBox(of, s)
	return 2*b.width <= of.Width && 2*b.height <= of.Height
}

// maxSide bounds a wanted width or height, so that a caller's number cannot make the output big. A larger wish is served with this.
const maxSide = 4096

// Result is a finished thumbnail, or the finding that the image itself is the best answer.
type Result struct {
	// Bytes are the encoded thumbnail; nil when Original is set.
	Bytes []byte
	// ContentType is image/jpeg, image/png, image/gif or image/webp. It describes the original when Original is set.
	ContentType string
	// Width and Height are in pixels as displayed, i.e. after the EXIF orientation was applied.
	Width, Height int
	// Animated says that the bytes (or the original) hold more than one frame.
	Animated bool
	// Original says that the image is not larger than what was asked for, so the caller should serve it unchanged.
	Original bool
}

// Maker makes thumbnails, at most a fixed number at a time. It is safe for concurrent use. Close it.
type Maker struct {
	limits  Limits
	slots   chan struct{}
	process process
}

// New returns a Maker that refuses what exceeds the limits (zero fields take the value of DefaultLimits) and that decodes at most
// workers images at the same time; fewer than one counts as one.
func New(limits Limits, workers int) *Maker {
	return &Maker{limits: limits.orDefaults(), slots: make(chan struct{}, max(workers, 1))}
}

// Close ends what the Maker has started. No thumbnail may be under way.
func (m *Maker) Close() { m.process.close() }

// Make returns the thumbnail of the size bytes in src. Only headers are read before the limits are checked and a worker is free; then
// the whole image is read into memory. Everything ends with ctx.
func (m *Maker) Make(ctx context.Context, src io.ReaderAt, size int64, spec Spec) (Result, error) {
	if spec.Width < 1 || spec.Height < 1 || spec.Method > Crop {
		return Result{}, ErrBadSpec
	}
	spec.Width, spec.Height = min(spec.Width, maxSide), min(spec.Height, maxSide)
	info, err := m.Inspect(src, size)
	if err != nil {
		return Result{}, err
	}
	if spec.Animated && !m.limits.allowAnimation(info) {
		spec.Animated = false
	}
	box := newBox(info, spec)
	if original(info, spec, box) {
		return Result{
			ContentType: info.Format.ContentType(), Width: info.Width, Height: info.Height,
			Animated: info.Frames > 1, Original: true,
		}, nil
	}

	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	switch {
	case spec.Animated && info.Format == PNG:
		return m.animatePNG(ctx, src, size, box)
	case spec.Animated:
		return m.animate(ctx, src, size, box)
	default:
		return m.still(ctx, src, size, info, box)
	}
}

// Inspect is Probe followed by the check of this Maker's limits: what it lets pass, Make would try to decode.
func (m *Maker) Inspect(src io.ReaderAt, size int64) (Info, error) {
	if size > m.limits.MaxBytes {
		return Info{}, fmt.Errorf("%w: %d bytes, %d allowed", ErrTooLarge, size, m.limits.MaxBytes)
	}
	info, err := Probe(src, size)
	if err != nil {
		return Info{}, err
	}
	return info, m.limits.check(info)
}

// original reports whether the image itself is the best answer: it is not larger than asked for, has a type that a thumbnail may
// have, and does not move unless that was wished.
// Spec: client-server-api#thumbnails ("When the content is smaller than the requested dimensions, servers should return the original
// content"; "Servers MUST NOT upscale thumbnails").
func original(info Info, spec Spec, b box) bool {
	if b.outWidth != info.Width || b.outHeight != info.Height {
		return false
	}
	if info.Frames > 1 && !spec.Animated {
		return false
	}
	return info.Format.Shown()
}

// noEOF makes the end of a file an error a caller can understand where more bytes were promised.
func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
