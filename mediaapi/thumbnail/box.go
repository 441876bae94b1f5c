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

func (b box) left() int { return (b.width - b.outWidth) / 2 }

func (b box) top() int { return (b.height - b.outHeight) / 2 }

// jpegEighths returns to how many eighths of its size libjpeg may make the picture smaller while decoding: the fewest with which neither side
// becomes smaller than wanted. The less there is left the less it costs, but for five to seven eighths, which cost more than all of it.
func (b box) jpegEighths(info Info) uint32 {
	for _, n := range []int{1, 2, 3, 4} {
		if info.Width*n >= 8*b.width && info.Height*n >= 8*b.height {
			return uint32(n)
		}
	}
	return 8
}
