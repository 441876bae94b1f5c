package thumbnail

import "math"

// box is the geometry of one thumbnail, in displayed (upright) pixels: the image is first resized to width x height, then its centre
// of outWidth x outHeight is kept.
type box struct {
	width, height       int
	outWidth, outHeight int
}

// newBox computes the geometry. No side ever becomes larger than the image's own.
func newBox(info Info, spec Spec) box {
	w, h := float64(info.Width), float64(info.Height)
	across, down := float64(spec.Width)/w, float64(spec.Height)/h
	if spec.Method == Scale {
		factor := min(across, down, 1)
		width, height := side(w*factor, info.Width), side(h*factor, info.Height)
		return box{width, height, width, height}
	}
	factor := min(max(across, down), 1)
	b := box{width: side(w*factor, info.Width), height: side(h*factor, info.Height)}
	b.outWidth, b.outHeight = min(b.width, spec.Width), min(b.height, spec.Height)
	return b
}

// side rounds to a whole number of pixels between one and limit.
func side(f float64, limit int) int {
	return min(max(int(math.Round(f)), 1), limit)
}

func (b box) crops() bool { return b.outWidth != b.width || b.outHeight != b.height }

func (b box) left() int { return (b.width - b.outWidth) / 2 }

func (b box) top() int { return (b.height - b.outHeight) / 2 }

// shrinksOnLoad reports whether bimg will let libjpeg shrink this picture while decoding; it would hold the whole of it in memory
// otherwise. It also must not shrink one side to nothing: a banner of 10000 x 20 is shrunk by the factor of its longer side.
func (b box) shrinksOnLoad(info Info) bool {
	return info.Width >= 3*b.width && min(b.width, b.height) >= 16
}
