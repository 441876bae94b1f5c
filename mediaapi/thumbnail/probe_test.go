package thumbnail

import (
	"bytes"
	"errors"
	"image"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestProbeReadsTheHeaders(t *testing.T) {
	t.Parallel()
	img := quarters(160, 120)
	two := gifOf(t, 0, []int{10}, img, img)
	still := apngTestFrame{picture: img}
	tests := map[string]struct {
		data []byte
		want Info
	}{
		"JPEG":                  {jpegOf(t, img, 0), Info{JPEG, 160, 120, 1, 1, 160 * 120}},
		"JPEG upside down":      {jpegOf(t, img, 3), Info{JPEG, 160, 120, 1, 3, 160 * 120}},
		"JPEG on its side":      {jpegOf(t, img, 6), Info{JPEG, 120, 160, 1, 6, 160 * 120}},
		"PNG":                   {pngOf(t, img), Info{PNG, 160, 120, 1, 1, 160 * 120}},
		"PNG on its side":       {pngOf(t, img, appendChunk(nil, "eXIf", exifBlock(8))), Info{PNG, 120, 160, 1, 8, 160 * 120}},
		"APNG":                  {apngOf(t, 0, nil, 160, 120, still, still, still), Info{PNG, 160, 120, 3, 1, 160 * 120}},
		"APNG of one frame":     {apngOf(t, 0, nil, 160, 120, still), Info{PNG, 160, 120, 1, 1, 160 * 120}},
		"APNG that miscounts":   {bytes.Replace(apngOf(t, 0, nil, 160, 120, still, still), []byte("acTL\x00\x00\x00\x02"), []byte("acTL\x00\x00\x00\x03"), 1), Info{PNG, 160, 120, 1, 1, 160 * 120}},
		"GIF":                   {gifOf(t, 0, []int{10}, img), Info{GIF, 160, 120, 1, 1, 160 * 120}},
		"animated GIF":          {two, Info{GIF, 160, 120, 2, 1, 160 * 120}},
		"GIF without a trailer": {two[:len(two)-1], Info{GIF, 160, 120, 2, 1, 160 * 120}},
		"WebP":                  {webpOf(t, img, 1), Info{WebP, 160, 120, 1, 1, 160 * 120}},
		"WebP on its side":      {webpOf(t, img, 5), Info{WebP, 120, 160, 1, 5, 160 * 120}},
		"lossless WebP":         {riff("WEBP", riffChunk("VP8L", []byte{0x2f, 0x9f, 0xc0, 0x1d, 0x00})), Info{WebP, 160, 120, 1, 1, 160 * 120}},
		"animated WebP":         {remade(t, two, Spec{Width: 80, Height: 80, Animated: true}), Info{WebP, 80, 60, 2, 1, 80 * 60}},
		"TIFF":                  {tiffOf(t, img, 1), Info{TIFF, 160, 120, 1, 1, 160 * 120}},
		"TIFF on its side":      {tiffOf(t, img, 7), Info{TIFF, 120, 160, 1, 7, 160 * 120}},
		"AVIF":                  {file(t, "gradient.avif"), Info{AVIF, 160, 120, 1, 1, 160 * 120}},
		"HEIC":                  {file(t, "gradient.heic"), Info{HEIC, 160, 120, 1, 1, 160 * 120}},
	}
	for name, test := range tests {
		got, err := Probe(bytes.NewReader(test.data), int64(len(test.data)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(Info{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestACodedPictureLargerThanItsClaimCounts(t *testing.T) {
	t.Parallel()
	// The boxes are made to say 1 x 1; the pictures in them are 160 x 120 all the same.
	avif, heic := file(t, "gradient.avif"), file(t, "gradient.heic")
	claim := func(data []byte) []byte {
		return patched(data, bytes.Index(data, []byte("ispe"))+8, 0, 0, 0, 1, 0, 0, 0, 1)
	}
	for name, data := range map[string][]byte{
		"an AVIF": claim(avif), "a HEIC": claim(heic),
		// A decoder listens to the coded data; the copy of its header among the properties may be missing.
		"an AVIF without configuration": bytes.ReplaceAll(claim(avif), []byte("av1C"), []byte("free")),
	} {
		got, err := Probe(bytes.NewReader(data), int64(len(data)))
		if err != nil || got.pixels < 160*120 {
			t.Errorf("%s: %d pixels, %v", name, got.pixels, err)
		}
	}
}

func TestAParameterSetInsideAnHEVCPictureCounts(t *testing.T) {
	t.Parallel()
	heic := file(t, "gradient.heic")
	at := bytes.Index(heic, []byte{0x42, 0x01, 0x01}) // a sequence parameter set begins like this; its length is in front
	size := int(be.Uint16(heic[at-2:]))
	unit := append(be.AppendUint32(nil, uint32(size)), heic[at:at+size]...)
	slice := []byte{0, 0, 0, 3, 0x26, 0x01, 0xaf}
	data := append(slice, unit...)
	h := &heif{r: newReader(bytes.NewReader(data), int64(len(data)))}
	pixels, err := h.hevcUnits(span{0, int64(len(data))})
	if err != nil || pixels != 160*120 {
		t.Fatalf("%d pixels, %v", pixels, err)
	}
}

func TestAGridCostsWhatItsTilesCost(t *testing.T) {
	t.Parallel()
	// The file of one picture is turned into a grid that names the picture 4000 times.
	box := func(kind string, body ...byte) []byte {
		return append(append(be.AppendUint32(nil, uint32(len(body)+8)), kind...), body...)
	}
	full := func(kind string, version byte, body ...byte) []byte {
		return box(kind, append([]byte{version, 0, 0, 0}, body...)...)
	}
	infe := func(id byte, kind string) []byte {
		return full("infe", 2, append([]byte{0, id, 0, 0}, kind+"\x00"...)...)
	}
	heic := file(t, "gradient.heic")
	at := bytes.Index(heic, []byte{0x42, 0x01, 0x01})
	size := int(be.Uint16(heic[at-2:]))
	picture := append(be.AppendUint32(nil, uint32(size)), heic[at:at+size]...)
	grid := []byte{0, 0, 63, 63, 0, 16, 0, 16}
	references := []byte{0, 1, 0x0f, 0xa0}
	for range 4000 {
		references = append(references, 0, 2)
	}
	size2, both := byte(len(picture)), append(grid, picture...)
	ispe := full("ispe", 0, 0, 0, 0, 16, 0, 0, 0, 16)
	data := append(box("ftyp", []byte("heic\x00\x00\x00\x00mif1")...), full("meta", 0, slices.Concat(
		full("pitm", 0, 0, 1),
		full("iinf", 0, slices.Concat([]byte{0, 2}, infe(1, "grid"), infe(2, "hvc1"))...),
		full("iloc", 1, 0x44, 0, 0, 2,
			0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8,
			0, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, size2),
		box("iprp", slices.Concat(box("ipco", ispe...), full("ipma", 0, 0, 0, 0, 2, 0, 1, 1, 1, 0, 2, 1, 1))...),
		full("iref", 0, box("dimg", references...)...),
		box("idat", both...),
	)...)...)
	got, err := Probe(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	want := Info{HEIC, 16, 16, 1, 1, 4000 * 160 * 120}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Info{})); diff != "" {
		t.Error(diff)
	}
}

func TestGeometry(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		width, height int
		spec          Spec
		want          box
	}{
		"scale fits the wide side":              {1000, 673, Spec{32, 32, Scale, false}, box{32, 22, 32, 22}},
		"scale fits the high side":              {673, 1000, Spec{32, 32, Scale, false}, box{22, 32, 22, 32}},
		"scale leaves the small alone":          {20, 10, Spec{32, 32, Scale, false}, box{20, 10, 20, 10}},
		"scale keeps a pixel":                   {10000, 3, Spec{100, 100, Scale, false}, box{100, 1, 100, 1}},
		"crop fills":                            {1000, 673, Spec{96, 96, Crop, false}, box{143, 96, 96, 96}},
		"crop of the same shape":                {640, 480, Spec{320, 240, Crop, false}, box{320, 240, 320, 240}},
		"crop cuts what cannot shrink":          {1000, 50, Spec{96, 96, Crop, false}, box{1000, 50, 96, 50}},
		"crop leaves the small alone":           {20, 10, Spec{96, 96, Crop, false}, box{20, 10, 20, 10}},
		"crop never loses a pixel to rounding":  {3333, 2221, Spec{97, 31, Crop, false}, box{97, 65, 97, 31}},
		"crop of a portrait to a wide landmark": {3000, 4000, Spec{320, 100, Crop, false}, box{320, 427, 320, 100}},
	}
	for name, test := range tests {
		got := newBox(Info{Width: test.width, Height: test.height}, test.spec)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(box{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestCropsOfAllSizesAreExact(t *testing.T) {
	t.Parallel()
	photo, m := jpegOf(t, quarters(1021, 767), 6), New(Limits{}, 1)
	for side := 17; side < 700; side += 41 {
		for _, spec := range []Spec{{side, 96, Crop, false}, {side, side, Crop, false}, {side, side + 13, Scale, false}} {
			res, err := m.Make(t.Context(), bytes.NewReader(photo), int64(len(photo)), spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := decoded(t, res).Bounds().Size(); got != image.Pt(res.Width, res.Height) {
				t.Errorf("%+v: %v instead of %d x %d", spec, got, res.Width, res.Height)
			}
		}
	}
}

// FuzzProbe looks for a file that makes Probe panic, run for long, or report nonsense.
func FuzzProbe(f *testing.F) {
	for _, h := range hostileCorpus(f) {
		if len(h.data) < 64<<10 {
			f.Add(h.data)
		}
	}
	img := quarters(32, 24)
	for _, data := range [][]byte{
		jpegOf(f, img, 5), pngOf(f, img), gifOf(f, 3, []int{1}, img, img), webpOf(f, img, 3), tiffOf(f, img, 2),
		file(f, "gradient.avif"), file(f, "gradient.heic"),
		apngOf(f, 0, nil, 32, 24, apngTestFrame{picture: img}, apngTestFrame{picture: img}),
	} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Probe(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if !errors.Is(err, ErrBroken) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("an error of another kind: %v", err)
			}
			if diff := cmp.Diff(Info{}, info, cmpopts.IgnoreUnexported(Info{})); diff != "" {
				t.Fatalf("an error and %+v", info)
			}
			return
		}
		if info.Width < 1 || info.Height < 1 || info.Frames < 1 || info.Orientation < 1 || info.Orientation > 8 || info.Format == Unknown {
			t.Fatalf("%+v", info)
		}
		if info.pixels < int64(info.Width)*int64(info.Height) {
			t.Fatalf("%d pixels in %d x %d", info.pixels, info.Width, info.Height)
		}
		if info.Format == PNG && info.Frames > 1 {
			// What Probe lets pass, the frame parser of animations sees too.
			_, _ = parseAPNG(data)
		}
	})
}
