package thumbnail

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// film is what an animation shows: the colour in the middle of each frame, the delays in milliseconds, how often it plays.
type film struct {
	Width, Height int
	Colours       []color.NRGBA
	Delays        []int
	Plays         int
}

// watch reads an animated WebP back.
func watch(t *testing.T, res Result) film {
	t.Helper()
	f := film{Width: res.Width, Height: res.Height}
	le := binary.LittleEndian
	for rest := res.Bytes[12:]; len(rest) > 8; {
		size := int(le.Uint32(rest[4:]))
		body := rest[8 : 8+size]
		switch string(rest[:4]) {
		case "ANIM":
			f.Plays = int(le.Uint16(body[4:]))
		case "ANMF":
			f.Delays = append(f.Delays, int(le.Uint32(body[11:])>>8))
		}
		rest = rest[8+size+size%2:]
	}
	j := jobFor(0, box{width: res.Width, height: res.Height, outWidth: res.Width, outHeight: res.Height})
	j.pages, j.opaque, j.transparent = -1, kindPixels, kindPixels
	pixels := ordered(t, j, res.Bytes)
	for n := range len(pixels) / (4 * res.Width * res.Height) {
		p := pixels[4*((n*res.Height+res.Height/2)*res.Width+res.Width/2):]
		f.Colours = append(f.Colours, color.NRGBA{p[0], p[1], p[2], p[3]})
	}
	return f
}

// sameFilm compares with a tolerance for colours.
func sameFilm(want, got film) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b color.NRGBA) bool { return near(a, b) || a.A == 0 && b.A == 0 }))
}

func plain(width, height int, c color.Color) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Rect, image.NewUniform(c), image.Point{}, draw.Src)
	return img
}

// apngOf assembles an animated PNG of the canvas size; each frame brings its own control.
type apngTestFrame struct {
	picture        *image.NRGBA
	x, y           int
	num, den       uint16
	dispose, blend byte
}

func apngOf(t testing.TB, plays int, hidden *image.NRGBA, width, height int, frames ...apngTestFrame) []byte {
	t.Helper()
	// image/png writes no alpha for opaque pictures, but all frames share one header: a see-through corner keeps it.
	encode := func(p *image.NRGBA) (ihdr, idat []byte) {
		p = &image.NRGBA{Pix: bytes.Clone(p.Pix), Stride: p.Stride, Rect: p.Rect}
		p.Pix[3] = 254
		data := pngOf(t, p)
		r := newReader(bytes.NewReader(data), int64(len(data)))
		err := walkPNG(r, func(kind string, size int64) error {
			switch body := data[r.pos : r.pos+size]; kind {
			case "IHDR":
				ihdr = body
			case "IDAT":
				idat = append(idat, body...)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return ihdr, idat
	}
	ihdr, _ := encode(plain(width, height, color.White))
	out := appendChunk([]byte(pngSignature), "IHDR", ihdr)
	out = appendChunk(out, "acTL", be.AppendUint32(be.AppendUint32(nil, uint32(len(frames))), uint32(plays)))
	first := true
	if hidden != nil {
		_, idat := encode(hidden)
		out = appendChunk(out, "IDAT", idat)
		first = false
	}
	seq := uint32(0)
	for _, f := range frames {
		control := be.AppendUint32(nil, seq)
		seq++
		for _, n := range []int{f.picture.Rect.Dx(), f.picture.Rect.Dy(), f.x, f.y} {
			control = be.AppendUint32(control, uint32(n))
		}
		control = be.AppendUint16(be.AppendUint16(control, f.num), f.den)
		out = appendChunk(out, "fcTL", append(control, f.dispose, f.blend))
		_, idat := encode(f.picture)
		if first {
			out = appendChunk(out, "IDAT", idat)
			first = false
			continue
		}
		out = appendChunk(out, "fdAT", append(be.AppendUint32(nil, seq), idat...))
		seq++
	}
	return appendChunk(out, "IEND", nil)
}

func TestAnimationsKeepFramesDelaysAndLoops(t *testing.T) {
	t.Parallel()
	red, green, blue, clear := corners[0], corners[1], corners[2], color.NRGBA{}
	three := []image.Image{plain(200, 100, red), plain(200, 100, green), plain(200, 100, blue)}
	forever, thrice := gifOf(t, 0, []int{5, 20, 100}, three...), gifOf(t, 2, []int{7}, three...)
	webp := remade(t, forever, Spec{Width: 199, Height: 199, Animated: true})
	canvas := apngTestFrame{picture: plain(200, 100, red), num: 1, den: 10}
	spot := func(c color.Color, dispose, blend byte) apngTestFrame {
		return apngTestFrame{picture: plain(100, 60, c), x: 50, y: 20, num: 25, dispose: dispose, blend: blend}
	}
	tests := map[string]struct {
		data []byte
		spec Spec
		want film
	}{
		"a GIF that plays for ever":      {forever, Spec{Width: 100, Height: 100}, film{100, 50, []color.NRGBA{red, green, blue}, []int{50, 200, 1000}, 0}},
		"a GIF that plays three times":   {thrice, Spec{Width: 100, Height: 100}, film{100, 50, []color.NRGBA{red, green, blue}, []int{70, 70, 70}, 3}},
		"a cropped GIF":                  {forever, Spec{Width: 40, Height: 40, Method: Crop}, film{40, 40, []color.NRGBA{red, green, blue}, []int{50, 200, 1000}, 0}},
		"an animated WebP":               {webp, Spec{Width: 80, Height: 80}, film{80, 40, []color.NRGBA{red, green, blue}, []int{50, 200, 1000}, 0}},
		"a cropped WebP":                 {webp, Spec{Width: 32, Height: 32, Method: Crop}, film{32, 32, []color.NRGBA{red, green, blue}, []int{50, 200, 1000}, 0}},
		"an APNG whose frames stay":      {apngOf(t, 4, nil, 200, 100, canvas, spot(green, disposeNone, 0), spot(clear, disposeNone, 1)), Spec{Width: 100, Height: 100}, film{100, 50, []color.NRGBA{red, green, green}, []int{100, 250, 250}, 4}},
		"an APNG whose frames vanish":    {apngOf(t, 0, nil, 200, 100, canvas, spot(green, disposeBackground, 0), spot(clear, disposeNone, 1)), Spec{Width: 100, Height: 100}, film{100, 50, []color.NRGBA{red, green, clear}, []int{100, 250, 250}, 0}},
		"an APNG that goes back":         {apngOf(t, 1, nil, 200, 100, canvas, spot(green, disposePrevious, 0), spot(clear, disposeNone, 1)), Spec{Width: 100, Height: 100}, film{100, 50, []color.NRGBA{red, green, red}, []int{100, 250, 250}, 1}},
		"an APNG whose frame overwrites": {apngOf(t, 0, nil, 200, 100, canvas, spot(clear, disposeNone, 0)), Spec{Width: 50, Height: 50, Method: Crop}, film{50, 50, []color.NRGBA{red, clear}, []int{100, 250}, 0}},
		"an APNG with a hidden picture":  {apngOf(t, 0, plain(200, 100, blue), 200, 100, canvas, spot(green, disposeNone, 0)), Spec{Width: 100, Height: 100}, film{100, 50, []color.NRGBA{red, green}, []int{100, 250}, 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.spec.Animated = true
			res, err := makeFrom(t, test.data, test.spec)
			if err != nil {
				t.Fatal(err)
			}
			if res.ContentType != "image/webp" || !res.Animated || res.Width != test.want.Width || res.Height != test.want.Height {
				t.Errorf("%s %d x %d, animated %t", res.ContentType, res.Width, res.Height, res.Animated)
			}
			if diff := sameFilm(test.want, watch(t, res)); diff != "" {
				t.Error(diff)
			}

			test.spec.Animated = false
			res, err = makeFrom(t, test.data, test.spec)
			if err != nil {
				t.Fatal(err)
			}
			if res.Animated || res.ContentType == "image/webp" && watch(t, res).Delays != nil {
				t.Error("the still moves")
			}
			want := test.want.Colours[0]
			if name == "an APNG with a hidden picture" {
				want = blue
			}
			if got := decoded(t, res).At(res.Width/2, res.Height/2); !near(got, want) {
				t.Errorf("the still shows %v, want %v", got, want)
			}
		})
	}
}

func remade(t *testing.T, data []byte, spec Spec) []byte {
	t.Helper()
	res, err := makeFrom(t, data, spec)
	if err != nil {
		t.Fatal(err)
	}
	return res.Bytes
}

func TestASmallAnimationIsServedAsItIsOnlyIfItMayMove(t *testing.T) {
	t.Parallel()
	data := gifOf(t, 0, []int{10}, plain(60, 40, corners[0]), plain(60, 40, corners[1]))
	res, err := makeFrom(t, data, Spec{Width: 100, Height: 100, Animated: true})
	if err != nil || !res.Original || !res.Animated || res.ContentType != "image/gif" {
		t.Errorf("animated: %+v, %v", res, err)
	}
	res, err = makeFrom(t, data, Spec{Width: 100, Height: 100})
	if err != nil || res.Original || res.Animated || res.Width != 60 || res.Height != 40 {
		t.Errorf("still: %+v, %v", res, err)
	}
}

func TestAnAnimationBeyondTheLimitsGivesAStill(t *testing.T) {
	t.Parallel()
	data := gifOf(t, 0, []int{10}, plain(60, 40, corners[0]), plain(60, 40, corners[1]), plain(60, 40, corners[2]))
	for name, limits := range map[string]Limits{
		"too many frames": {MaxFrames: 2},
		"too many pixels": {MaxTotalPixels: 3*60*40 - 1},
	} {
		m := New(limits, 1)
		defer m.Close()
		res, err := m.Make(t.Context(), bytes.NewReader(data), int64(len(data)), Spec{Width: 30, Height: 30, Animated: true})
		if err != nil || res.Animated || res.ContentType != "image/jpeg" {
			t.Errorf("%s: %s, animated %t, %v", name, res.ContentType, res.Animated, err)
		}
	}
}

func TestADeadContextStopsAnAnimatedPNG(t *testing.T) {
	t.Parallel()
	data := apngOf(t, 0, nil, 60, 40, apngTestFrame{picture: plain(60, 40, corners[0])}, apngTestFrame{picture: plain(60, 40, corners[1])})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := shared().animatePNG(ctx, bytes.NewReader(data), int64(len(data)), box{30, 20, 30, 20}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}
