package mediaapi

// The sizes in which thumbnails are made. Whatever a client asks for is rounded up to one of them, so that nobody can fill the disk with
// thumbnails of every size there is. The sizes that the specification recommends are among them; the larger ones are for displays with
// several pixels to a point, the last one leaves nearly every picture as large as it is.
//
// Spec: client-server-api#thumbnails
const (
	methodScale = "scale"
	methodCrop  = "crop"

	largestSide = 4096
)

// scaleSizes are boxes that a scaled picture fits in.
var scaleSizes = [...]struct{ width, height int }{
	{96, 96}, {320, 240}, {640, 480}, {800, 600}, {1600, 1200}, {largestSide, largestSide},
}

// cropSides are the lengths of the longer side of a cropped picture. The shorter side is a number of quarters of it.
var cropSides = [...]int{32, 96, 160, 320, 640, 1280, largestSide}

// roundUp returns the smallest size made here that is not smaller than the given one. There is none beyond the largest.
func roundUp(method string, width, height int) (int, int) {
	if method == methodCrop {
		return roundUpCrop(width, height)
	}
	for _, s := range scaleSizes {
		if width <= s.width && height <= s.height {
			return s.width, s.height
		}
	}
	return largestSide, largestSide
}

// roundUpCrop keeps the aspect ratio, which a cropped picture is wanted for, as well as quarters allow.
func roundUpCrop(width, height int) (int, int) {
	width, height = min(width, largestSide), min(height, largestSide)
	long, short := max(width, height), min(width, height)
	for _, side := range cropSides {
		if long <= side {
			const parts = 4
			quarters := (short*parts + long - 1) / long
			long, short = side, side*quarters/parts
			break
		}
	}
	if width >= height {
		return long, short
	}
	return short, long
}
