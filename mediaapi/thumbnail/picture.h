// What the server asks of its process for pictures, and what that answers; see process.go. Both are the same program, so the structs go over
// the socket as they are.
#ifndef HEARTH_PICTURE_H
#define HEARTH_PICTURE_H

#include <stddef.h>
#include <stdint.h>

enum { HEARTH_JPEG, HEARTH_PNG, HEARTH_WEBP, HEARTH_PIXELS };

// A job: bytes in, a picture out. size bytes follow it: a file, or pixels of four bytes (red, green, blue, alpha).
struct hearth_job {
	uint64_t size;
	// Pixels of this size instead of a file.
	uint32_t pixels_width, pixels_height;
	// The pixels are so many frames below each other, in their final size, to be shown in a loop (0: for ever). In front of them there is an
	// int32_t for each: how many milliseconds it is shown.
	uint32_t frames, loop;
	// 1 for the first frame of a file, -1 for all of them, 0 for a format that knows no frames.
	int32_t pages;
	// A JPEG, of which libjpeg makes a picture smaller by 1, 2, 4 or 8 while decoding; 0 for other files.
	uint32_t jpeg_shrink;
	// The EXIF orientation that a JPEG is to be turned by, after it was resized. Other files are turned by libvips.
	uint32_t orientation;
	// The picture is resized to exactly this, and the part at left and top is cut out of it.
	uint32_t width, height;
	uint32_t left, top, out_width, out_height;
	// What to make of an opaque picture, and of one that can be seen through.
	uint32_t opaque, transparent;
	uint32_t quality, compression, effort;
};

// An answer, followed by size bytes: the picture, or one line that says what was wrong.
struct hearth_answer {
	uint64_t size;
	uint32_t failed;
	uint32_t kind;
};

// hearth_make does a job. data is freed by the caller afterwards. The result is freed with hearth_vips.free. It returns 0, or -1 with the
// reason in libvips' error buffer.
int hearth_make(const struct hearth_job *job, void *data, void **out, size_t *size, uint32_t *kind);

#endif
