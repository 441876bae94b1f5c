package thumbnail

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// hostile is a file that wants something, and what it gets. A nil error means that an ordinary thumbnail is right.
type hostile struct {
	data []byte
	want error
}

// hostileCorpus builds the files, so that none has to lie in the repository; FuzzProbe starts from the same ones.
func hostileCorpus(t testing.TB) map[string]hostile {
	t.Helper()
	photo := jpegOf(t, quarters(400, 300), 1)
	picture := pngOf(t, quarters(400, 300))
	moving := gifOf(t, 0, []int{10}, plain(60, 40, corners[0]), plain(60, 40, corners[1]))
	avif, heic := file(t, "gradient.avif"), file(t, "gradient.heic")
	c := map[string]hostile{
		"nothing":             {nil, ErrUnsupported},
		"one byte":            {[]byte{0xff}, ErrUnsupported},
		"text":                {[]byte("hello world, this is not a picture"), ErrUnsupported},
		"HTML":                {[]byte("<!doctype html><script>alert(1)</script>"), ErrUnsupported},
		"SVG":                 {[]byte(`<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>`), ErrUnsupported},
		"SVG after a comment": {[]byte("<?xml version=\"1.0\"?>\n<!-- GIF89a -->\n<svg></svg>"), ErrUnsupported},
		"PDF":                 {[]byte("%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"), ErrUnsupported},
		"PostScript":          {[]byte("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), ErrUnsupported},
		"ImageMagick script":  {[]byte("push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/'\npop graphic-context"), ErrUnsupported},
		"MSL":                 {[]byte(`<?xml version="1.0"?><image><read filename="/etc/passwd"/></image>`), ErrUnsupported},
		"BMP":                 {append([]byte("BM"), make([]byte, 200)...), ErrUnsupported},
		"PPM":                 {[]byte("P6 60000 60000 255\n"), ErrUnsupported},
		"Radiance":            {[]byte("#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n"), ErrUnsupported},
		"OpenEXR":             {[]byte("\x76\x2f\x31\x01\x02\x00\x00\x00channels"), ErrUnsupported},
		"FITS":                {[]byte("SIMPLE  =                    T"), ErrUnsupported},
		"Matlab":              {[]byte("MATLAB 5.0 MAT-file, Platform: PCWIN"), ErrUnsupported},
		"Photoshop":           {[]byte("8BPS\x00\x01\x00\x00\x00\x00\x00\x00\x00\x03"), ErrUnsupported},
		"JPEG 2000":           {[]byte("\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14ftypjp2 "), ErrUnsupported},
		"JPEG XL":             {[]byte("\x00\x00\x00\x0cJXL \r\n\x87\n\x00\x00\x00\x14ftypjxl "), ErrUnsupported},
		"MP4":                 {[]byte("\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"), ErrUnsupported},
		"vips":                {append([]byte{0x08, 0xf2, 0xa6, 0xb6}, make([]byte, 64)...), ErrUnsupported},
		"BigTIFF":             {[]byte("II+\x00\x08\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00"), ErrUnsupported},

		"a GIF that is a script":      {[]byte("GIF89a/*<svg/onload=alert(1)>*/=1;"), ErrBroken},
		"a PNG that is a PDF":         {[]byte(pngSignature + "%PDF-1.7 1 0 obj <<>> endobj trailer"), ErrBroken},
		"a JPEG with a page behind":   {append(bytes.Clone(photo), "<html><script>alert(1)</script>"...), nil},
		"a PNG with an archive":       {append(bytes.Clone(picture), "PK\x03\x04 and so on"...), nil},
		"a GIF with a page behind":    {append(bytes.Clone(moving), "<script>alert(1)</script>"...), nil},
		"a JPEG named RIFF":           {append([]byte("RIFF\x10\x00\x00\x00WEBP"), photo...), ErrBroken},
		"a JPEG without a picture":    {[]byte{0xff, 0xd8, 0xff, 0xd9, 0, 0, 0, 0, 0, 0, 0, 0}, ErrBroken},
		"a JPEG of no width":          {patched(photo, sofAt(photo)+7, 0, 0), ErrBroken},
		"a JPEG of no height":         {patched(photo, sofAt(photo)+5, 0, 0), ErrBroken},
		"a JPEG of 65k x 65k":         {patched(photo, sofAt(photo)+5, 0xff, 0xdc, 0xff, 0xdc), ErrTooLarge},
		"a JPEG of twelve bits":       {patched(photo, sofAt(photo)+4, 12), ErrUnsupported},
		"a JPEG without loss":         {patched(photo, sofAt(photo)+1, 0xc3), ErrUnsupported},
		"a JPEG of a thousand scans":  {manyScans(photo, 0xc2), ErrTooLarge},
		"a JPEG of needless scans":    {manyScans(photo, 0xc0), nil},
		"a JPEG that ends halfway":    {append(bytes.Clone(photo[:len(photo)/2]), 0xff, 0xd9), ErrBroken},
		"a JPEG with two headers":     {twoFrames(photo), ErrBroken},
		"a PNG of no width":           {pngHeader(0, 10, 8, 2), ErrBroken},
		"a PNG of two billion pixels": {pngHeader(1<<31, 1<<31, 8, 2), ErrBroken},
		"a PNG of 65k x 65k":          {pngHeader(65535, 65535, 16, 6, appendChunk(nil, "IDAT", nil)), ErrTooLarge},
		"a PNG of 30k x 30k zeros":    {pngHeader(30000, 30000, 1, 0, appendChunk(nil, "IDAT", zeros(t, 1<<20))), ErrTooLarge},
		"a PNG without data":          {pngHeader(10, 10, 8, 2), ErrBroken},
		"a PNG of empty data":         {pngHeader(100, 100, 8, 2, appendChunk(nil, "IDAT", nil)), ErrBroken},
		"a PNG of an unknown kind":    {pngHeader(100, 100, 3, 5, appendChunk(nil, "IDAT", zeros(t, 40000))), ErrBroken},
		"a PNG with a vast comment":   {pngOf(t, quarters(400, 300), appendChunk(nil, "zTXt", append([]byte("Comment\x00\x00"), zeros(t, 16<<20)...))), nil},
		"a PNG with a vast profile":   {pngOf(t, quarters(400, 300), appendChunk(nil, "iCCP", append([]byte("p\x00\x00"), zeros(t, 16<<20)...))), nil},
		"a PNG of many chunks":        {pngOf(t, quarters(400, 300), bytes.Repeat(appendChunk(nil, "teSt", nil), maxChunks)), ErrBroken},
		"a GIF of no pictures":        {[]byte("GIF89a\x10\x00\x10\x00\x00\x00\x00;"), ErrBroken},
		"a GIF of no size":            {patched(moving, gifPictureAt(moving)+5, 0, 0, 0, 0), ErrBroken},
		"a GIF of 65k x 65k":          {patched(moving, 6, 0xff, 0xff, 0xff, 0xff), ErrTooLarge},
		"a GIF whose picture is vast": {patched(moving, gifPictureAt(moving)+5, 0xff, 0xff, 0xff, 0xff), ErrTooLarge},
		"a GIF of 2000 pictures":      {manyPictures(moving, 2000), nil},
		"a GIF of 60000 pictures":     {manyPictures(moving, 60000), ErrTooLarge},
		"a WebP of no pictures":       {riff("WEBP", riffChunk("VP8X", make([]byte, 10))), ErrBroken},
		"a WebP of 16M x 16M":         {riff("WEBP", riffChunk("VP8X", []byte{2, 0, 0, 0, 255, 255, 255, 255, 255, 255}), riffChunk("ANMF", make([]byte, 24))), ErrTooLarge},
		"a WebP of 16k x 16k":         {riff("WEBP", riffChunk("VP8L", []byte{0x2f, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0})), ErrTooLarge},
		"a TIFF that bites its tail":  {[]byte("II*\x00\x04\x00\x00\x00\x00\x00\x00\x00"), ErrBroken},
		"a TIFF of 60k x 60k":         {tiffHead(60000, 60000, 1, 8, 1), ErrTooLarge},
		"a TIFF of 16M x 16M":         {tiffHead(1<<30, 1<<30, 1, 8, 1), ErrTooLarge},
		"a TIFF of 65535 samples":     {tiffHead(1000, 1000, 1, 8, 65535), ErrUnsupported},
		"a TIFF of rare compression":  {tiffHead(100, 100, 34712, 8, 3), ErrUnsupported},
		"a TIFF with one vast tile":   {tiffHead(100, 100, 1, 8, 3, [2]int{tagTileWidth, 1 << 20}, [2]int{tagTileHeight, 1 << 20}), ErrTooLarge},
		"a TIFF without data":         {tiffHead(100, 100, 1, 8, 3), ErrBroken},
		"an AVIF of 60k x 60k":        {patched(avif, bytes.Index(avif, []byte("ispe"))+8, 0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60), ErrTooLarge},
		"a HEIC of no size":           {patched(heic, bytes.Index(heic, []byte("ispe"))+8, 0, 0, 0, 0), ErrBroken},
		"a HEIC without boxes":        {heic[:24], ErrBroken},
		"a HEIC of other things":      {bytes.ReplaceAll(heic, []byte("hvc1"), []byte("jpeg")), ErrUnsupported},
	}
	for name, whole := range map[string][]byte{
		"a JPEG": photo, "a PNG": picture, "a WebP": webpOf(t, quarters(400, 300), 1), "a TIFF": tiffOf(t, quarters(400, 300), 1),
		"an AVIF": avif, "a HEIC": heic,
	} {
		for tenth := 1; tenth < 10; tenth++ {
			c[name+" cut to "+string(rune('0'+tenth))+" tenths"] = hostile{whole[:len(whole)*tenth/10], ErrBroken}
		}
		c[name+" that lacks one byte"] = hostile{whole[:len(whole)-1], ErrBroken}
	}
	c["a GIF cut in a picture"] = hostile{moving[:gifPictureAt(moving)+14], ErrBroken}
	return c
}

func TestHostileFilesGiveCleanErrors(t *testing.T) {
	corpus := hostileCorpus(t)
	before := memory(t, "VmRSS")
	for _, name := range slices.Sorted(maps.Keys(corpus)) {
		h := corpus[name]
		for _, spec := range []Spec{{Width: 32, Height: 32, Method: Crop}, {Width: 64, Height: 64, Animated: true}} {
			res, err := makeFrom(t, h.data, spec)
			if !errors.Is(err, h.want) {
				t.Errorf("%s: got %v, want %v", name, err, h.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: the error has several lines: %q", name, err)
			}
			if err == nil && bytes.Contains(res.Bytes, []byte("script")) {
				t.Errorf("%s: the thumbnail carries the stowaway", name)
			}
		}
	}
	if more := memory(t, "VmHWM") - before; more > 48<<20 {
		t.Errorf("the process took %d MiB", more>>20)
	}
}

// memory returns a figure of the process for pictures, in bytes.
func memory(t *testing.T, name string) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says how much memory a process has")
	}
	if _, err := makeFrom(t, jpegOf(t, quarters(40, 30), 1), Spec{Width: 16, Height: 16}); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", shared().process.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), name+":")
	var kib int
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

func TestProbingAHostileFileTakesLittleMemory(t *testing.T) {
	for name, h := range hostileCorpus(t) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = Probe(bytes.NewReader(h.data), int64(len(h.data)))
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
			t.Errorf("%s: %d KiB", name, used>>10)
		}
	}
}

func TestALargePictureIsNotHeldInFull(t *testing.T) {
	// 48 MiB of pixels that compress to nothing, within the limits: what is refused is not all that must not cost memory.
	data := pngHeader(4096, 4096, 8, 2, appendChunk(nil, "IDAT", zeros(t, 4096*(3*4096+1))))
	before := memory(t, "VmRSS")
	if _, err := makeFrom(t, data, Spec{Width: 320, Height: 240}); err != nil {
		t.Fatal(err)
	}
	if more := memory(t, "VmHWM") - before; more > 48<<20 {
		t.Errorf("the process took %d MiB", more>>20)
	}
}

func TestADamagedWebPLeaksNothing(t *testing.T) {
	glass := quarters(400, 300)
	glass.Pix[3] = 0
	moving := gifOf(t, 0, []int{10}, quarters(400, 300), held(quarters(400, 300), 3))
	for name, whole := range map[string][]byte{
		"still":  webpOf(t, glass, 1),
		"moving": remade(t, moving, Spec{Width: 300, Height: 300, Animated: true}),
	} {
		// The header of the last picture announces a few bytes more than there are, which only its decoder notices.
		at := bytes.LastIndex(whole, []byte("VP8 ")) + 8
		tag := (binary.LittleEndian.Uint32(whole[at-4:])-5)<<5 | 0x10
		data := patched(whole, at, byte(tag), byte(tag>>8), byte(tag>>16))
		before := memory(t, "VmRSS")
		for range 100 {
			if _, err := makeFrom(t, data, Spec{Width: 100, Height: 100, Animated: true}); !errors.Is(err, ErrBroken) {
				t.Fatalf("%s: got %v", name, err)
			}
		}
		// A leak is at least a canvas of 480 KB for each round.
		if more := memory(t, "VmRSS") - before; more > 24<<20 {
			t.Errorf("%s: the process has %d MiB more", name, more>>20)
		}
	}
}

func TestAByteLimitIsCheckedBeforeReading(t *testing.T) {
	t.Parallel()
	_, err := New(Limits{MaxBytes: 100}, 1).Make(t.Context(), failing{}, 101, Spec{Width: 9, Height: 9})
	if !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
}

func TestAReadErrorIsNotTheImagesFault(t *testing.T) {
	t.Parallel()
	_, err := makeWith(t, failing{}, 5000)
	if !errors.Is(err, os.ErrPermission) || errors.Is(err, ErrBroken) {
		t.Fatalf("got %v", err)
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, os.ErrPermission }

func makeWith(t *testing.T, src io.ReaderAt, size int64) (Result, error) {
	return New(Limits{}, 1).Make(t.Context(), src, size, Spec{Width: 9, Height: 9})
}

func TestUntrustedLoadersAreBlockedInLibvipsToo(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"SVG":         `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>`,
		"PDF":         "%PDF-1.1\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj 3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj trailer<</Root 1 0 R>>",
		"ImageMagick": "BM" + strings.Repeat("\x00", 100),
		"PPM":         "P6 1 1 255\nabc",
		"Radiance":    "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\nabcd",
	} {
		j := jobFor(int64(len(data)), box{width: 5, height: 5, outWidth: 5, outHeight: 5})
		if _, _, err := shared().process.do(t.Context(), j, strings.NewReader(data)); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The rest of this file forges headers.

func patched(data []byte, at int, with ...byte) []byte {
	out := bytes.Clone(data)
	copy(out[at:], with)
	return out
}

// sofAt returns where the frame header of a JPEG begins.
func sofAt(data []byte) int { return bytes.Index(data, []byte{0xff, 0xc0, 0x00, 0x11}) }

// manyScans repeats the only scan of a JPEG.
func manyScans(data []byte, frame byte) []byte {
	at := bytes.Index(data, []byte{0xff, 0xda})
	scan := data[at : len(data)-2]
	out := bytes.Clone(data[:at])
	out[sofAt(out)+1] = frame
	return append(append(out, bytes.Repeat(scan, 1000)...), 0xff, 0xd9)
}

func twoFrames(data []byte) []byte {
	at := sofAt(data)
	return slices.Concat(data[:at], data[at:at+19], data[at:])
}

func zeros(t testing.TB, n int64) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := zlib.NewWriterLevel(&buf, zlib.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeroReader{}, n); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func pngHeader(width, height uint32, depth, kind byte, chunks ...[]byte) []byte {
	header := be.AppendUint32(be.AppendUint32(nil, width), height)
	out := appendChunk([]byte(pngSignature), "IHDR", append(header, depth, kind, 0, 0, 0))
	return appendChunk(slices.Concat(append([][]byte{out}, chunks...)...), "IEND", nil)
}

func gifPictureAt(data []byte) int {
	return bytes.LastIndex(data, []byte{0x2c, 0, 0, 0, 0})
}

// manyPictures repeats the last picture of a GIF.
func manyPictures(data []byte, n int) []byte {
	at := gifPictureAt(data)
	one := data[at : len(data)-1]
	return append(append(bytes.Clone(data[:at]), bytes.Repeat(one, n)...), 0x3b)
}

func riffChunk(kind string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(data)))
	out = append(out, data...)
	if len(data)%2 == 1 {
		out = append(out, 0)
	}
	return out
}

func riff(kind string, chunks ...[]byte) []byte {
	return riffChunk("RIFF", append([]byte(kind), slices.Concat(chunks...)...))
}

// tiffHead makes a TIFF of one directory that has no data.
func tiffHead(width, height, compression, bits, samples int, more ...[2]int) []byte {
	tags := append([][2]int{
		{tagWidth, width}, {tagHeight, height}, {tagBitsPerSample, bits}, {tagCompression, compression}, {262, 2}, {273, 8},
		{tagSamplesPerPixel, samples}, {tagRowsPerStrip, height}, {279, 10},
	}, more...)
	le := binary.LittleEndian
	out := le.AppendUint16([]byte("II*\x00\x08\x00\x00\x00"), uint16(len(tags)))
	for _, tag := range tags {
		out = le.AppendUint16(out, uint16(tag[0]))
		out = le.AppendUint16(out, 4)
		out = le.AppendUint32(le.AppendUint32(out, 1), uint32(tag[1]))
	}
	return append(out, 0, 0, 0, 0)
}
