#include "picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvips.h"
#include "photo.h"

#define vips hearth_vips

#define PROFILE "icc-profile-data"

// replace puts the result of an operation in the place of its input.
static int replace(VipsImage **image, VipsImage *result, int failed) {
	if (failed)
		return -1;
	vips.unref(*image);
	*image = result;
	return 0;
}

// rehearse decodes every frame, line by line, and keeps none. When webpsave of libvips 8.14 meets a damaged frame it never frees what it was
// fed from, which is the whole canvas; so a damaged animation must not get that far. It costs about a tenth of the thumbnail.
static int rehearse(void *data, size_t size) {
	double mean;
	VipsImage *in = vips.image_new_from_buffer(data, size, "", "access", VIPS_ACCESS_SEQUENTIAL, "n", -1, "fail", 1, NULL);
	if (!in)
		return -1;
	int failed = vips.avg(in, &mean, NULL);
	vips.unref(in);
	return failed;
}

// resize puts the resize to exactly the wanted size behind an image. Transparent pixels are multiplied with alpha first.
static int resize(VipsImage **image, const struct hearth_job *job) {
	VipsImage *out = NULL;
	int failed = vips.thumbnail_image(*image, &out, (int)job->width, "height", (int)job->height, "size", VIPS_SIZE_FORCE, "no_rotate", 1, NULL);
	return replace(image, out, failed);
}

// open_pixels makes an image of pixels.
static VipsImage *open_pixels(const struct hearth_job *job, char *data, size_t size) {
	size_t delays = (size_t)job->frames * sizeof(int32_t);
	if (size != delays + (size_t)job->pixels_width * job->pixels_height * 4)
		return NULL;
	VipsImage *raw = vips.image_new_from_memory(data + delays, size - delays, (int)job->pixels_width, (int)job->pixels_height, 4, VIPS_FORMAT_UCHAR);
	VipsImage *image = NULL;
	if (!raw)
		return NULL;
	int failed = vips.copy(raw, &image, "interpretation", VIPS_INTERPRETATION_sRGB, NULL);
	vips.unref(raw);
	if (failed)
		return NULL;
	if (job->frames > 0) {
		vips.image_set_int(image, "page-height", (int)(job->pixels_height / job->frames));
		vips.image_set_int(image, "n-pages", (int)job->frames);
		vips.image_set_array_int(image, "delay", (const int *)data, (int)job->frames);
		vips.image_set_int(image, "loop", (int)job->loop);
	} else if (resize(&image, job)) {
		vips.unref(image);
		return NULL;
	}
	return image;
}

// open_file opens a file with the resize behind it. libvips decodes when the result is read, as a stream where the format allows it. What is
// cut short or damaged is an error, not a half grey picture.
static VipsImage *open_file(const struct hearth_job *job, void *data, size_t size) {
	VipsImage *image = NULL;
	if (job->jpeg_eighths > 0) {
		int shrink = job->jpeg_eighths == 3 ? 2 : 8 / (int)job->jpeg_eighths; // libvips leaves three eighths out
		if (vips.jpegload_buffer(data, size, &image, "shrink", shrink, "fail", 1, "access", VIPS_ACCESS_SEQUENTIAL, NULL))
			return NULL;
		if (resize(&image, job)) {
			vips.unref(image);
			return NULL;
		}
		return image;
	}
	if (job->pages < 0 && rehearse(data, size))
		return NULL;
	const char *options = job->pages == 0 ? "fail=TRUE" : job->pages < 0 ? "fail=TRUE,n=-1" : "fail=TRUE,n=1";
	if (vips.thumbnail_buffer(data, size, &image, (int)job->width, "height", (int)job->height, "size", VIPS_SIZE_FORCE, "option_string", options, NULL))
		return NULL;
	return image;
}

// to_srgb converts to eight-bit sRGB. A profile that cannot be used says nothing about the pixels: they are shown as they are then.
static int to_srgb(VipsImage **image) {
	VipsImage *out = NULL;
	if (vips.image_get_typeof(*image, PROFILE)) {
		int failed = vips.icc_transform(*image, &out, "srgb", "input_profile", "srgb", "embedded", 1, "depth", 8, NULL);
		if (failed) {
			vips.error_clear();
			out = NULL;
			failed = vips.copy(*image, &out, NULL);
			if (!failed)
				vips.image_remove(out, PROFILE);
		}
		if (replace(image, out, failed))
			return -1;
		out = NULL;
	}
	if (vips.image_get_interpretation(*image) == VIPS_INTERPRETATION_sRGB)
		return 0;
	int failed = vips.colourspace(*image, &out, VIPS_INTERPRETATION_sRGB, NULL);
	return replace(image, out, failed);
}

// hold decodes into memory.
static int hold(VipsImage **image) {
	VipsImage *out = vips.image_copy_memory(*image);
	return replace(image, out, out == NULL);
}

// turn undoes an EXIF orientation: clockwise first, then left and right are swapped.
static int turn(VipsImage **image, uint32_t orientation) {
	static const int angles[] = {0, 0, 0, VIPS_ANGLE_D180, VIPS_ANGLE_D180, VIPS_ANGLE_D90, VIPS_ANGLE_D90, VIPS_ANGLE_D270, VIPS_ANGLE_D270};
	static const int mirrored[] = {0, 0, 1, 0, 1, 1, 0, 1, 0};
	if (orientation < 2 || orientation > 8)
		return 0;
	if (hold(image))
		return -1;
	if (angles[orientation]) {
		VipsImage *out = NULL;
		int failed = vips.rot(*image, &out, angles[orientation], NULL);
		if (replace(image, out, failed))
			return -1;
	}
	if (mirrored[orientation]) {
		VipsImage *out = NULL;
		int failed = vips.flip(*image, &out, VIPS_DIRECTION_HORIZONTAL, NULL);
		if (replace(image, out, failed))
			return -1;
	}
	return 0;
}

// cut keeps the wanted part, of every frame. Asked for all of it, it does nothing.
static int cut(VipsImage **image, const struct hearth_job *job) {
	int width = vips.image_get_width(*image), height = vips.image_get_height(*image), each = height;
	if (job->pages < 0)
		each = vips.image_get_page_height(*image);
	if (width == (int)job->out_width && each == (int)job->out_height)
		return 0;
	int n = height / each, made = 0, failed = 0;
	VipsImage **frames = calloc((size_t)n, sizeof *frames);
	if (!frames)
		return -1;
	while (made < n && !failed) {
		failed = vips.extract_area(*image, &frames[made], (int)job->left, made * each + (int)job->top, (int)job->out_width, (int)job->out_height, NULL);
		made += !failed;
	}
	VipsImage *joined = NULL, *out = NULL;
	if (!failed)
		failed = vips.arrayjoin(frames, &joined, n, "across", 1, NULL);
	for (int i = 0; i < made; i++)
		vips.unref(frames[i]);
	free(frames);
	if (failed)
		return -1;
	failed = vips.copy(joined, &out, NULL);
	vips.unref(joined);
	if (!failed && job->pages < 0)
		vips.image_set_int(out, "page-height", (int)job->out_height);
	return replace(image, out, failed);
}

// uncover takes the alpha channel away if it hides nothing, so that the picture can become a JPEG: nearly every animated GIF declares a
// transparent colour for the sake of its later frames.
static int uncover(VipsImage **image) {
	if (hold(image))
		return -1;
	int colours = vips.image_get_bands(*image) - 1;
	VipsImage *alpha = NULL;
	double least = 0;
	if (vips.extract_band(*image, &alpha, colours, NULL))
		return -1;
	int failed = vips.min(alpha, &least, NULL);
	vips.unref(alpha);
	if (failed || least < 255)
		return failed;
	VipsImage *out = NULL;
	failed = vips.extract_band(*image, &out, 0, "n", colours, NULL);
	return replace(image, out, failed);
}

// save encodes, without metadata.
static int save(VipsImage **image, const struct hearth_job *job, struct hearth_made *made) {
	void **out = (void **)&made->bytes;
	switch (made->kind) {
	case HEARTH_JPEG:
		return vips.jpegsave_buffer(*image, out, &made->size, "strip", 1, "Q", (int)job->quality, "optimize_coding", 1, NULL);
	case HEARTH_PNG:
		return vips.pngsave_buffer(*image, out, &made->size, "strip", 1, "compression", (int)job->compression, "filter", VIPS_PNG_FILTER_ALL, NULL);
	case HEARTH_WEBP:
		return vips.webpsave_buffer(*image, out, &made->size, "strip", 1, "Q", (int)job->quality, "effort", (int)job->effort, NULL);
	}
	if (!vips.image_hasalpha(*image)) {
		VipsImage *covered = NULL;
		int failed = vips.addalpha(*image, &covered, NULL);
		if (replace(image, covered, failed))
			return -1;
	}
	*out = vips.image_write_to_memory(*image, &made->size);
	return *out ? 0 : -1;
}

// finish does what comes after opening.
static int finish(VipsImage **image, const struct hearth_job *job, struct hearth_made *made) {
	if (job->frames == 0) {
		if (to_srgb(image) || cut(image, job) || turn(image, job->orientation))
			return -1;
		if (job->opaque != job->transparent && vips.image_hasalpha(*image) && uncover(image))
			return -1;
	}
	made->kind = vips.image_hasalpha(*image) ? job->transparent : job->opaque;
	return save(image, job, made);
}

void hearth_say(struct hearth_made *made, const char *problem) {
	snprintf(made->problem, sizeof made->problem, "%.*s", (int)strcspn(problem, "\n"), problem);
}

int hearth_make(const struct hearth_job *job, void *data, struct hearth_made *made) {
	int failed = hearth_photo(job, data, made);
	if (failed != HEARTH_NOT_A_PHOTO)
		return failed ? HEARTH_FAILED : HEARTH_MADE;
	const char *problem = hearth_vips_open();
	if (problem) {
		hearth_say(made, problem);
		return HEARTH_UNAVAILABLE;
	}
	VipsImage *image = job->pixels_width > 0 ? open_pixels(job, data, job->size) : open_file(job, data, job->size);
	failed = !image || finish(&image, job, made);
	if (image)
		vips.unref(image);
	if (failed)
		hearth_say(made, vips.error_buffer());
	vips.error_clear();
	vips.thread_shutdown();
	made->free = vips.free;
	return failed ? HEARTH_FAILED : HEARTH_MADE;
}
