package thumbnail

/*
#cgo pkg-config: vips
#include <stdlib.h>
#include <vips/vips.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

// Big buffers get their own mapping, so that freeing them gives them back; by default glibc raises this threshold up to 32 MiB.
static void hearth_tune_malloc(void) {
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
	mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
	mallopt(M_ARENA_MAX, 2);
#endif
}

static void hearth_release_memory(void) {
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

// Decodes every frame, line by line, and keeps none.
static int hearth_rehearse(void *data, size_t size) {
	double mean;
	VipsImage *in = vips_image_new_from_buffer(data, size, "", "access", VIPS_ACCESS_SEQUENTIAL, "n", -1, "fail", TRUE, NULL);
	if (!in)
		return -1;
	int failed = vips_avg(in, &mean, NULL);
	g_object_unref(in);
	return failed;
}
*/
import "C"

import (
	"errors"
	"strings"
	"sync"
	"unsafe"

	"github.com/davidbyttow/govips/v2/vips"
	"github.com/h2non/bimg"
)

// trustedLoaders are the only classes of libvips loaders that may run; each has its Format here.
var trustedLoaders = []string{
	"VipsForeignLoadJpeg", "VipsForeignLoadPng", "VipsForeignLoadNsgif",
	"VipsForeignLoadWebp", "VipsForeignLoadTiff", "VipsForeignLoadHeif",
}

// startVips prepares libvips once per process; libvips' own state is process-wide, so any number of Makers share it. Importing bimg has
// started the library already; what happens here is what makes it fit for strangers' files:
//
//   - Every loader is blocked, then the trusted ones are allowed again. libvips' own list of untrusted loaders (which
//     VIPS_BLOCK_UNTRUSTED or vips_block_untrusted_set would block) leaves a few in place that are of no use here, and loaders that a
//     later version or module adds would have to be known to it. With an allow-list a gap in sniff cannot reach ImageMagick, librsvg,
//     poppler or OpenSlide.
//   - The operation cache is off: it would keep strangers' images alive, and no two requests share an operation.
//   - One thread per operation: the worker slots of a Maker are the parallelism, and each libvips thread holds its own line buffers.
//   - libvips is never shut down: it cannot be started again, and another server of this process may still use it.
var startVips = sync.OnceFunc(func() {
	vips.LoggingSettings(func(string, vips.LogLevel, string) {}, vips.LogLevelError)
	vips.Startup(&vips.Config{ConcurrencyLevel: 1})
	bimg.VipsCacheSetMax(0)
	bimg.VipsCacheSetMaxMem(0)
	C.hearth_tune_malloc()
	setBlocked("VipsForeignLoad", true)
	for _, class := range trustedLoaders {
		setBlocked(class, false)
	}
})

func setBlocked(class string, blocked bool) {
	name := C.CString(class)
	defer C.free(unsafe.Pointer(name))
	state := C.gboolean(0)
	if blocked {
		state = 1
	}
	C.vips_operation_block_set(name, state)
}

// rehearse returns an error if any frame of an animation is damaged, see exportWebP. It costs about a tenth of what making the thumbnail
// costs.
func rehearse(data []byte) error {
	if C.hearth_rehearse(unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))) == 0 {
		return nil
	}
	defer C.vips_error_clear()
	return decodeError(errors.New(C.GoString(C.vips_error_buffer())))
}

// allocate returns n bytes of the C heap, and how to free them once libvips is done. They are libvips' to read from at any time until
// then, which Go's memory may not be used for, and megabytes are given back at once instead of at the next garbage collection.
func allocate(n int64) (data []byte, free func()) {
	p := C.malloc(C.size_t(n))
	return unsafe.Slice((*byte)(p), n), func() { C.free(p) }
}

// releaseMemory gives what a large decode has left in the C heap back to the system; the Go runtime does not know of it.
func releaseMemory(info Info) {
	if info.pixels*int64(info.Frames) >= 1<<20 {
		C.hearth_release_memory()
	}
}

// decodeError makes ErrBroken of an error of bimg or govips. Both put libvips' whole error buffer into the text, govips a stack trace
// as well; the first line is what an operator wants to see.
func decodeError(err error) error {
	if errors.Is(err, ErrBroken) {
		return err
	}
	text, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return broken("%s", text)
}
