// The functions of libvips that are used here, found with dlopen when the first picture comes: neither the server's start nor its memory
// shall pay for libvips and the seventy libraries behind it, and Hearth can be built and run without them.
//
// The declarations repeat what libvips' headers say; its major version (the 42 in libvips.so.42) promises that they stay true.
#ifndef HEARTH_LIBVIPS_H
#define HEARTH_LIBVIPS_H

#include <stddef.h>

typedef struct VipsImage VipsImage;

// Values of libvips' enumerations.
enum {
	VIPS_ACCESS_SEQUENTIAL = 1,
	VIPS_ANGLE_D90 = 1,
	VIPS_ANGLE_D180 = 2,
	VIPS_ANGLE_D270 = 3,
	VIPS_DIRECTION_HORIZONTAL = 0,
	VIPS_FORMAT_UCHAR = 0,
	VIPS_INTERPRETATION_sRGB = 22,
	VIPS_PNG_FILTER_ALL = 0xf8,
	VIPS_SIZE_FORCE = 3,
};

// Each line: the type of the result, the name without "vips_", the parameters. "..." are names and values of options, ended by NULL.
#define HEARTH_VIPS_FUNCTIONS(X) \
	X(int, init, (const char *program)) \
	X(void, cache_set_max, (int max)) \
	X(void, concurrency_set, (int threads)) \
	X(void, operation_block_set, (const char *class, int blocked)) \
	X(const char *, error_buffer, (void)) \
	X(void, error_clear, (void)) \
	X(void, thread_shutdown, (void)) \
	X(size_t, tracked_get_mem, (void)) \
	X(VipsImage *, image_new_from_buffer, (const void *data, size_t size, const char *options, ...)) \
	X(VipsImage *, image_new_from_memory, (const void *data, size_t size, int width, int height, int bands, int format)) \
	X(VipsImage *, image_copy_memory, (VipsImage *in)) \
	X(void *, image_write_to_memory, (VipsImage *in, size_t *size)) \
	X(int, image_get_width, (const VipsImage *in)) \
	X(int, image_get_height, (const VipsImage *in)) \
	X(int, image_get_bands, (const VipsImage *in)) \
	X(int, image_get_interpretation, (const VipsImage *in)) \
	X(int, image_get_page_height, (VipsImage *in)) \
	X(int, image_hasalpha, (VipsImage *in)) \
	X(size_t, image_get_typeof, (const VipsImage *in, const char *field)) \
	X(int, image_remove, (VipsImage *in, const char *field)) \
	X(void, image_set_int, (VipsImage *in, const char *field, int value)) \
	X(void, image_set_array_int, (VipsImage *in, const char *field, const int *values, int n)) \
	X(int, jpegload_buffer, (void *data, size_t size, VipsImage **out, ...)) \
	X(int, thumbnail_buffer, (void *data, size_t size, VipsImage **out, int width, ...)) \
	X(int, thumbnail_image, (VipsImage *in, VipsImage **out, int width, ...)) \
	X(int, copy, (VipsImage *in, VipsImage **out, ...)) \
	X(int, icc_transform, (VipsImage *in, VipsImage **out, const char *profile, ...)) \
	X(int, colourspace, (VipsImage *in, VipsImage **out, int space, ...)) \
	X(int, rot, (VipsImage *in, VipsImage **out, int angle, ...)) \
	X(int, flip, (VipsImage *in, VipsImage **out, int direction, ...)) \
	X(int, extract_area, (VipsImage *in, VipsImage **out, int left, int top, int width, int height, ...)) \
	X(int, arrayjoin, (VipsImage **in, VipsImage **out, int n, ...)) \
	X(int, extract_band, (VipsImage *in, VipsImage **out, int band, ...)) \
	X(int, addalpha, (VipsImage *in, VipsImage **out, ...)) \
	X(int, min, (VipsImage *in, double *out, ...)) \
	X(int, avg, (VipsImage *in, double *out, ...)) \
	X(int, jpegsave_buffer, (VipsImage *in, void **data, size_t *size, ...)) \
	X(int, pngsave_buffer, (VipsImage *in, void **data, size_t *size, ...)) \
	X(int, webpsave_buffer, (VipsImage *in, void **data, size_t *size, ...))

// hearth_vips is libvips, once hearth_vips_open has succeeded.
struct hearth_vips {
#define X(result, name, parameters) result (*name) parameters;
	HEARTH_VIPS_FUNCTIONS(X)
#undef X
	void (*unref)(void *object);
	void (*free)(void *memory);
};

extern struct hearth_vips hearth_vips;

// hearth_vips_open loads libvips, when it is called for the first time, and makes it fit for strangers' files. It returns NULL, or what is
// wrong.
const char *hearth_vips_open(void);

#endif
