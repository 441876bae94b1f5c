package thumbnail

import "github.com/davidbyttow/govips/v2/vips"

// animate makes an animated WebP of a GIF or an animated WebP. libvips holds the frames as one tall picture that it streams through,
// and carries the delays and the loop count along.
func animate(data []byte, b box) (Result, error) {
	if err := rehearse(data); err != nil {
		return Result{}, err
	}
	img, err := load(data, b, -1)
	if err != nil {
		return Result{}, err
	}
	defer img.Close()
	if err := finish(img, b); err != nil {
		return Result{}, err
	}
	return exportAnimation(img, b)
}

func exportAnimation(img *vips.ImageRef, b box) (Result, error) {
	out, err := exportWebP(img, 2)
	if err != nil {
		return Result{}, err
	}
	return Result{Bytes: out, ContentType: "image/webp", Width: b.outWidth, Height: b.outHeight, Animated: true}, nil
}
