package thumbnail

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// shared is a Maker for all tests, since starting its process takes longer than most of them. It ends with them.
var shared = sync.OnceValue(func() *Maker { return New(Limits{}, 4) })

func makeFrom(t testing.TB, data []byte, spec Spec) (Result, error) {
	t.Helper()
	return shared().Make(t.Context(), bytes.NewReader(data), int64(len(data)), spec)
}

func TestThumbnailsHaveTheRightSizeAndType(t *testing.T) {
	t.Parallel()
	opaque := quarters(400, 300)
	glass := quarters(400, 300)
	for i := 3; i < len(glass.Pix); i += 4 * 7 {
		glass.Pix[i] = 100
	}
	see := image.NewNRGBA(opaque.Rect)
	copy(see.Pix, opaque.Pix[:len(opaque.Pix)/2])
	tests := map[string]struct {
		data []byte
		spec Spec
		want Result
	}{
		"a JPEG scales into the box":                {jpegOf(t, opaque, 0), Spec{Width: 100, Height: 100}, Result{ContentType: "image/jpeg", Width: 100, Height: 75}},
		"a JPEG is cropped to the box":              {jpegOf(t, opaque, 0), Spec{Width: 96, Height: 96, Method: Crop}, Result{ContentType: "image/jpeg", Width: 96, Height: 96}},
		"an upright JPEG scales as it is shown":     {jpegOf(t, opaque, 6), Spec{Width: 100, Height: 100}, Result{ContentType: "image/jpeg", Width: 75, Height: 100}},
		"an upright JPEG is cropped as it is shown": {jpegOf(t, opaque, 8), Spec{Width: 50, Height: 90, Method: Crop}, Result{ContentType: "image/jpeg", Width: 50, Height: 90}},
		"a PNG stays a PNG":                         {pngOf(t, opaque), Spec{Width: 32, Height: 32}, Result{ContentType: "image/png", Width: 32, Height: 24}},
		"a PNG is cropped":                          {pngOf(t, glass), Spec{Width: 32, Height: 32, Method: Crop}, Result{ContentType: "image/png", Width: 32, Height: 32}},
		"an opaque WebP becomes a JPEG":             {webpOf(t, opaque, 1), Spec{Width: 32, Height: 32}, Result{ContentType: "image/jpeg", Width: 32, Height: 24}},
		"a transparent WebP stays a WebP":           {webpOf(t, glass, 1), Spec{Width: 32, Height: 32}, Result{ContentType: "image/webp", Width: 32, Height: 24}},
		"an opaque GIF becomes a JPEG":              {gifOf(t, 0, []int{10}, opaque), Spec{Width: 32, Height: 32}, Result{ContentType: "image/jpeg", Width: 32, Height: 24}},
		"a transparent GIF becomes a PNG":           {gifOf(t, 0, []int{10}, see), Spec{Width: 32, Height: 32}, Result{ContentType: "image/png", Width: 32, Height: 24}},
		"a TIFF becomes a JPEG":                     {tiffOf(t, opaque, 1), Spec{Width: 32, Height: 32}, Result{ContentType: "image/jpeg", Width: 32, Height: 24}},
		"a transparent TIFF becomes a PNG":          {tiffOf(t, glass, 1), Spec{Width: 32, Height: 32}, Result{ContentType: "image/png", Width: 32, Height: 24}},
		"an AVIF becomes a JPEG":                    {file(t, "gradient.avif"), Spec{Width: 32, Height: 32}, Result{ContentType: "image/jpeg", Width: 32, Height: 24}},
		"a HEIC becomes a JPEG":                     {file(t, "gradient.heic"), Spec{Width: 32, Height: 32}, Result{ContentType: "image/jpeg", Width: 32, Height: 24}},
		"a crop never enlarges the short side":      {pngOf(t, opaque), Spec{Width: 350, Height: 350, Method: Crop}, Result{ContentType: "image/png", Width: 350, Height: 300}},
		"a banner keeps at least one pixel":         {jpegOf(t, quarters(2000, 4), 0), Spec{Width: 100, Height: 100}, Result{ContentType: "image/jpeg", Width: 100, Height: 1}},
		"a wish without measure is cut down":        {tiffOf(t, opaque, 1), Spec{Width: 1 << 40, Height: 1 << 40}, Result{ContentType: "image/jpeg", Width: 400, Height: 300}},
		"a smaller JPEG is the best answer":         {jpegOf(t, opaque, 0), Spec{Width: 800, Height: 600}, Result{ContentType: "image/jpeg", Width: 400, Height: 300, Original: true}},
		"an equal PNG is the best answer":           {pngOf(t, opaque), Spec{Width: 400, Height: 300, Method: Crop}, Result{ContentType: "image/png", Width: 400, Height: 300, Original: true}},
		"a smaller TIFF is converted":               {tiffOf(t, opaque, 1), Spec{Width: 800, Height: 600}, Result{ContentType: "image/jpeg", Width: 400, Height: 300}},
		"a smaller HEIC is converted":               {file(t, "gradient.heic"), Spec{Width: 800, Height: 600}, Result{ContentType: "image/jpeg", Width: 160, Height: 120}},
		"animated on a still behaves as false":      {jpegOf(t, opaque, 0), Spec{Width: 100, Height: 100, Animated: true}, Result{ContentType: "image/jpeg", Width: 100, Height: 75}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := makeFrom(t, test.data, test.spec)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(Result{}, "Bytes")); diff != "" {
				t.Fatal(diff)
			}
			if got.Original {
				if got.Bytes != nil {
					t.Error("bytes beside Original")
				}
				return
			}
			if size := decoded(t, got).Bounds().Size(); size != image.Pt(test.want.Width, test.want.Height) {
				t.Errorf("the bytes are %v", size)
			}
		})
	}
}

func TestEveryExifOrientationIsShownUpright(t *testing.T) {
	t.Parallel()
	for orientation := 1; orientation <= 8; orientation++ {
		stored := held(quarters(320, 240), orientation)
		kinds := map[string][]byte{
			"JPEG": jpegOf(t, stored, orientation),
			"TIFF": tiffOf(t, stored, orientation),
			"PNG":  pngOf(t, stored, appendChunk(nil, "eXIf", exifBlock(orientation))),
			"WebP": webpOf(t, stored, orientation),
		}
		for kind, data := range kinds {
			for _, spec := range []Spec{{Width: 80, Height: 80}, {Width: 60, Height: 60, Method: Crop}, {Width: 150, Height: 150}, {Width: 150, Height: 150, Method: Crop}} {
				res, err := makeFrom(t, data, spec)
				if err != nil {
					t.Fatalf("%s held as %d: %v", kind, orientation, err)
				}
				img := decoded(t, res)
				if size := img.Bounds().Size(); size != image.Pt(res.Width, res.Height) {
					t.Errorf("%s held as %d: %v instead of %d x %d", kind, orientation, size, res.Width, res.Height)
				}
				checkUpright(t, img)
				if t.Failed() {
					t.Fatalf("%s held as %d, %+v", kind, orientation, spec)
				}
			}
		}
	}
}

func TestPhotosAreShrunkInPlace(t *testing.T) {
	t.Parallel()
	// Brightness grows from left to right. A filter that is off by a part of a pixel, or has weights that do not add up, shows in the numbers.
	grey, colour := image.NewGray(image.Rect(0, 0, 1000, 700)), image.NewNRGBA(image.Rect(0, 0, 1000, 700))
	for i := range grey.Pix {
		v := uint8(i % 1000 / 4)
		grey.Pix[i] = v
		copy(colour.Pix[4*i:], []byte{v, v, v, 255})
	}
	for kind, img := range map[string]image.Image{"grey": grey, "colour": colour} {
		for _, spec := range []Spec{
			{Width: 999, Height: 999}, {Width: 640, Height: 640}, {Width: 320, Height: 240}, {Width: 100, Height: 100}, {Width: 96, Height: 96, Method: Crop},
			{Width: 700, Height: 500, Method: Crop}, {Width: 3, Height: 3},
		} {
			res, err := makeFrom(t, jpegOf(t, img, 0), spec)
			if err != nil {
				t.Fatal(err)
			}
			small := decoded(t, res)
			b := newBox(Info{Width: 1000, Height: 700}, spec)
			for x := range res.Width {
				want := (float64(x+b.left()) + 0.5) / float64(b.width) * 250
				got := float64(color.GrayModel.Convert(small.At(x, res.Height/2)).(color.Gray).Y)
				if off := got - want; off > 4 || off < -4 {
					t.Errorf("%s %+v: column %d of %d is %v, want %v", kind, spec, x, res.Width, got, want)
					break
				}
			}
		}
	}
}

func TestMetadataIsStripped(t *testing.T) {
	t.Parallel()
	secret := []byte("51.5007 N 0.1246 W")
	comment := append([]byte{0xff, 0xfe}, be.AppendUint16(nil, uint16(len(secret)+2))...)
	photo := jpegOf(t, quarters(300, 200), 6)
	photo = append(append(append(photo[:2:2], comment...), secret...), photo[2:]...)
	text := appendChunk(nil, "tEXt", append([]byte("Comment\x00"), secret...))
	glass := quarters(300, 200)
	glass.Pix[3] = 0
	moving := gifOf(t, 0, []int{10}, quarters(300, 200), quarters(300, 200))
	moving = append(append(append(moving[:len(moving)-1:len(moving)-1], 0x21, 0xfe, byte(len(secret))), secret...), 0, 0x3b)
	for name, data := range map[string][]byte{
		"JPEG": photo, "PNG": pngOf(t, quarters(300, 200), text), "WebP": webpOf(t, glass, 6), "GIF": moving,
	} {
		res, err := makeFrom(t, data, Spec{Width: 60, Height: 60, Animated: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, leak := range [][]byte{secret, []byte("Exif"), []byte("EXIF"), []byte("ICC"), []byte("iCCP"), []byte("eXIf"), []byte("XMP")} {
			if bytes.Contains(res.Bytes, leak) {
				t.Errorf("%s thumbnail contains %q", name, leak)
			}
		}
	}
}

func TestColoursAreConvertedToSRGB(t *testing.T) {
	t.Parallel()
	// Pure sRGB red, stored in the coordinates of Display P3, where it is a duller red, and in those of a printer without a profile. Made with
	// vips icc_transform red.png p3.jpg p3 (p3.png; cmyk.jpg[strip] cmyk).
	red := color.NRGBA{255, 0, 0, 255}
	p3, ink := file(t, "p3.jpg"), file(t, "cmyk.jpg")
	at := bytes.Index(p3, []byte("ICC_PROFILE"))
	if at < 0 {
		t.Fatal("the wide-gamut JPEG has no profile: nothing is tested")
	}
	junk := bytes.Clone(p3)
	for i := at + 60; i < at+300; i++ {
		junk[i] ^= 0x5a
	}
	half := bytes.Clone(p3)
	half[at+len("ICC_PROFILE\x00")+1]++ // there are said to be more parts of it
	png := file(t, "p3.png")
	tests := map[string]struct {
		data []byte
		want color.NRGBA
	}{
		"a wide-gamut JPEG":             {p3, red},
		"a wide-gamut PNG":              {png, red},
		"a JPEG for print":              {ink, color.NRGBA{236, 45, 42, 255}},
		"a JPEG with a damaged profile": {junk, color.NRGBA{234, 51, 35, 255}},
		"a JPEG with half a profile":    {half, color.NRGBA{234, 51, 35, 255}},
	}
	for name, test := range tests {
		for _, spec := range []Spec{{Width: 40, Height: 40}, {Width: 40, Height: 30, Method: Crop}} {
			res, err := makeFrom(t, test.data, spec)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := decoded(t, res).At(20, 15); !near(got, test.want) {
				t.Errorf("%s is shown as %v", name, got)
			}
		}
	}
}

func TestTransparencyHasNoDarkEdges(t *testing.T) {
	t.Parallel()
	// White stripes on transparent black: colours that were mixed without regard to alpha would come out grey.
	img := image.NewNRGBA(image.Rect(0, 0, 400, 400))
	for y := range 400 {
		for x := range 400 {
			if x/5%2 == 0 {
				img.SetNRGBA(x, y, color.NRGBA{255, 255, 255, 255})
			}
		}
	}
	res, err := makeFrom(t, pngOf(t, img), Spec{Width: 90, Height: 90})
	if err != nil {
		t.Fatal(err)
	}
	small := decoded(t, res)
	for x := range 90 {
		if c := color.NRGBAModel.Convert(small.At(x, 45)).(color.NRGBA); c.A > 40 && c.R < 230 {
			t.Fatalf("column %d is %v", x, c)
		}
	}
}

func TestWaitingForAWorkerEndsWithTheContext(t *testing.T) {
	t.Parallel()
	m := New(Limits{}, 1)
	m.slots <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := jpegOf(t, quarters(400, 300), 0)
	_, err := m.Make(ctx, bytes.NewReader(data), int64(len(data)), Spec{Width: 32, Height: 32})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	<-m.slots
	if _, err := m.Make(t.Context(), bytes.NewReader(data), int64(len(data)), Spec{Width: 32, Height: 32}); err != nil {
		t.Fatal(err)
	}
	if len(m.slots) != 0 {
		t.Fatal("the worker was not given back")
	}
}

func TestBadWishesAreRefused(t *testing.T) {
	t.Parallel()
	for _, spec := range []Spec{{}, {Width: 10}, {Width: -1, Height: 10}, {Width: 10, Height: 10, Method: 7}} {
		if _, err := makeFrom(t, jpegOf(t, quarters(40, 30), 0), spec); !errors.Is(err, ErrBadSpec) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
}
