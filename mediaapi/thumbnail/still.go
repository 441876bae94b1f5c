package thumbnail

import (
	"runtime"

	"github.com/davidbyttow/govips/v2/vips"
	"github.com/h2non/bimg"
)

const (
	jpegQuality = 80
	webpQuality = 75
	// pngCompression is zlib's: 6 costs three times as much time for a tenth less bytes.
	pngCompression = 4
	// srgb is the name of a colour profile that is built into libvips.
	srgb = "srgb"
)

// stillJPEG makes a JPEG of a JPEG through bimg, which lets libjpeg shrink up to eightfold while decoding. Turning, mirroring and
// cutting come last, in a second pass over the small picture: bimg would otherwise decode a photo taken upright in full, turn all of it
// and compress it again before shrinking (24 megapixels: 1.2 s and 260 MiB instead of 0.15 s and 50 MiB).
func stillJPEG(data []byte, info Info, b box) (Result, error) {
	first := bimg.Options{
		Width: b.width, Height: b.height, Force: true, NoAutoRotate: true,
		Type: bimg.JPEG, Quality: jpegQuality, StripMetadata: true, OutputICC: srgb,
	}
	if info.Orientation >= 5 {
		first.Width, first.Height = b.height, b.width
	}
	twice := info.Orientation != 1 || b.crops()
	if twice {
		first.Type = bimg.TIFF
	}
	out, err := bimg.NewImage(data).Process(first)
	if err != nil {
		return Result{}, decodeError(err)
	}
	if twice {
		// libvips reads the small picture until the end, which neither bimg nor the garbage collector knows.
		defer runtime.KeepAlive(out)
		second := bimg.Options{
			NoAutoRotate: true, Type: bimg.JPEG, Quality: jpegQuality, StripMetadata: true,
		}
		second.Rotate, second.Flip = upright(info.Orientation)
		if b.crops() {
			second.Left, second.Top, second.AreaWidth, second.AreaHeight = b.left(), b.top(), b.outWidth, b.outHeight
		}
		if out, err = bimg.NewImage(out).Process(second); err != nil {
			return Result{}, decodeError(err)
		}
	}
	return Result{Bytes: out, ContentType: "image/jpeg", Width: b.outWidth, Height: b.outHeight}, nil
}

// upright returns how to undo an EXIF orientation: turn clockwise first, then swap left and right.
func upright(orientation int) (bimg.Angle, bool) {
	switch orientation {
	case 2:
		return bimg.D0, true
	case 3:
		return bimg.D180, false
	case 4:
		return bimg.D180, true
	case 5:
		return bimg.D90, true
	case 6:
		return bimg.D90, false
	case 7:
		return bimg.D270, true
	case 8:
		return bimg.D270, false
	default:
		return bimg.D0, false
	}
}

// still makes a still of any other image through govips. bimg asks libvips for random access, i.e. for the whole decoded picture in
// memory, and resizes without regard to transparency; vips_thumbnail streams the lines and multiplies with alpha first. See
// docs/adr/0008-two-bindings-for-thumbnails.md.
func still(data []byte, info Info, b box) (Result, error) {
	img, err := load(data, b, 1)
	if err != nil {
		return Result{}, err
	}
	defer img.Close()
	if err := finish(img, b); err != nil {
		return Result{}, err
	}
	if info.Format != PNG && img.HasAlpha() {
		if img, err = render(img); err != nil {
			return Result{}, err
		}
		defer img.Close()
	}
	res := Result{Width: b.outWidth, Height: b.outHeight}
	switch {
	case img.HasAlpha() && info.Format == WebP:
		res.ContentType = "image/webp"
		res.Bytes, err = exportWebP(img, 4)
	case img.HasAlpha() || info.Format == PNG:
		res.ContentType = "image/png"
		res.Bytes, _, err = img.ExportPng(&vips.PngExportParams{StripMetadata: true, Compression: pngCompression, Filter: vips.PngFilterAll})
	default:
		res.ContentType = "image/jpeg"
		res.Bytes, _, err = img.ExportJpeg(&vips.JpegExportParams{StripMetadata: true, Quality: jpegQuality, OptimizeCoding: true})
	}
	if err != nil {
		return Result{}, decodeError(err)
	}
	return res, nil
}

// render decodes, and returns the small picture without its alpha channel if that hides nothing, so that it can become a JPEG: nearly
// every animated GIF declares a transparent colour for the sake of its later frames. It also keeps damaged files from exportWebP.
func render(img *vips.ImageRef) (*vips.ImageRef, error) {
	plain, _, err := img.ExportTiff(&vips.TiffExportParams{Compression: vips.TiffCompressionNone, StripMetadata: true})
	if err != nil {
		return nil, decodeError(err)
	}
	small, err := vips.NewImageFromBuffer(plain)
	if err != nil {
		return nil, decodeError(err)
	}
	alpha, err := small.ExtractBandToImage(small.Bands()-1, 1)
	if err != nil {
		small.Close()
		return nil, decodeError(err)
	}
	defer alpha.Close()
	if cover, err := alpha.Average(); err != nil || cover < 255 {
		return small, nil
	}
	if err := small.Flatten(&vips.Color{}); err != nil {
		small.Close()
		return nil, decodeError(err)
	}
	return small, nil
}

// load opens the image and puts the resize to exactly the box's size in front of it; pages is 1 for the first frame, -1 for all of
// them. libvips decodes when the result is written. What is cut short or damaged is an error, not a half grey picture.
func load(data []byte, b box, pages int) (*vips.ImageRef, error) {
	params := &vips.ImportParams{}
	params.FailOnError.Set(true)
	switch sniff(data) {
	case GIF, WebP, TIFF:
		params.NumPages.Set(pages)
	}
	img, err := vips.LoadThumbnailFromBuffer(data, b.width, b.height, vips.InterestingNone, vips.SizeForce, params)
	if err != nil {
		return nil, decodeError(err)
	}
	return img, nil
}

// finish converts to eight-bit sRGB and cuts to the box.
func finish(img *vips.ImageRef, b box) error {
	if img.HasICCProfile() {
		// A profile that cannot be used says nothing about the pixels: show them as they are.
		if err := img.TransformICCProfileWithFallback(srgb, srgb); err != nil {
			if err := img.RemoveICCProfile(); err != nil {
				return decodeError(err)
			}
		}
	}
	if err := img.ToColorSpace(vips.InterpretationSRGB); err != nil {
		return decodeError(err)
	}
	if b.crops() {
		if err := img.ExtractArea(b.left(), b.top(), b.outWidth, b.outHeight); err != nil {
			return decodeError(err)
		}
	}
	return nil
}
