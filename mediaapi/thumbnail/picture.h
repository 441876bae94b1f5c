// What the server asks of its process for pictures, and what that answers; see process.go. Both are the same program, so the structs go over
// the socket as they are.
#ifndef HEARTH_PICTURE_H
#define HEARTH_PICTURE_H

#include <stddef.h>
#include <stdint.h>

enum { HEARTH_JPEG, HEARTH_PNG, HEARTH_WEBP, HEARTH_PIXELS };

// A job: bytes in, a picture out. A descriptor of a file comes with it, of which the first size bytes count; or size bytes follow it: a file,
// or pixels of four bytes (red, green, blue, alpha).
struct hearth_job {
	uint64_t size;
	// Pixels of this size instead of a file.
	uint32_t pixels_width, pixels_height;
	// The pixels are so many frames below each other, in their final size, to be shown in a loop (0: for ever). In front of them there is an
	// int32_t for each: how many milliseconds it is shown.
	uint32_t frames, loop;
	// 1 for the first frame of a file, -1 for all of them, 0 for a format that knows no frames.
	int32_t pages;
	// A JPEG, of which libjpeg makes a picture of so many eighths of its size while decoding: 1, 2, 3, 4 or 8; 0 for other files.
	uint32_t jpeg_eighths;
	// The picture is resized to exactly this, and the part at left and top is cut out of it.
	uint32_t width, height;
	uint32_t left, top, out_width, out_height;
	// The EXIF orientation that a JPEG is to be turned by at last. Other files are turned by libvips at first.
	uint32_t orientation;
	// What to make of an opaque picture, and of one that can be seen through.
	uint32_t opaque, transparent;
	uint32_t quality, compression, effort;
};

// What became of a job.
enum { HEARTH_MADE, HEARTH_FAILED, HEARTH_UNAVAILABLE };

// An answer, followed by size bytes: the picture, or one line that says what was wrong.
struct hearth_answer {
	uint64_t size;
	uint32_t outcome; // HEARTH_UNAVAILABLE: it is not the picture's fault, but this machine has no libvips
	uint32_t kind;
};

// A picture, or why there is none.
struct hearth_made {
	unsigned char *bytes;
	unsigned long size;
	uint32_t kind;
	void (*free)(void *bytes);
	char problem[256];
};

// hearth_say notes what is wrong, as far as the first line goes.
void hearth_say(struct hearth_made *made, const char *problem);

// hearth_make does a job. data is freed by the caller afterwards, and so are the bytes that were made, with the function that is there with them.
// It returns the outcome.
int hearth_make(const struct hearth_job *job, void *data, struct hearth_made *made);

#endif
