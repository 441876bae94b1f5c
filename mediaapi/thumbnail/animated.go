package thumbnail

import (
	"context"
	"io"
)

// animate makes an animated WebP of a GIF or an animated WebP. libvips holds the frames as one tall picture that it streams through,
// and carries the delays and the loop count along.
func (m *Maker) animate(ctx context.Context, src io.ReaderAt, size int64, b box) (Result, error) {
	j := jobFor(size, b)
	j.pages = -1
	return m.animation(ctx, j, src, b)
}

// animation has the frames of a job made into a WebP.
func (m *Maker) animation(ctx context.Context, j job, src io.ReaderAt, b box) (Result, error) {
	j.opaque, j.transparent, j.quality, j.effort = kindWebP, kindWebP, webpQuality, animationEffort
	_, out, err := m.process.do(ctx, j, src)
	if err != nil {
		return Result{}, err
	}
	return Result{Bytes: stripWebP(out), ContentType: "image/webp", Width: b.outWidth, Height: b.outHeight, Animated: true}, nil
}
