// JPEGs of JPEGs, with libjpeg and, where there is a colour profile, Little CMS alone: nearly all pictures are photos. To have libvips do it takes half
// as long again as libjpeg itself needs, and 25 MiB for its libraries.
#include "photo.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "libjpeg.h"
#include "liblcms.h"
#include "resample.h"

#define lib hearth_jpeg

// attempt is a reader or a writer at work. libjpeg does not come back from an error, but goes where gone_wrong was set last.
struct attempt {
	struct hearth_jpeg_error err;
	jmp_buf gone_wrong;
	struct hearth_made *made;
	struct hearth_jpeg *jpeg;
	// The colour profile of a file that is read, or NULL.
	uint8_t *profile;
	unsigned profile_size;
};

static void give_up(struct hearth_jpeg *jpeg) {
	struct attempt *a = (struct attempt *)jpeg->err;
	char text[HEARTH_JPEG_TEXT];
	a->err.format_message(jpeg, text);
	hearth_say(a->made, text);
	longjmp(a->gone_wrong, 1);
}

// hear_message gives up at the first warning, since it says that the file is damaged. The rest are messages for programmers.
static void hear_message(struct hearth_jpeg *jpeg, int level) {
	if (level < 0)
		give_up(jpeg);
}

// hear_nothing is for messages about profiles: without one that can be used the pixels are shown as they are.
static void hear_nothing(struct hearth_jpeg *jpeg, int level) { (void)jpeg, (void)level; }

// begin sets up a reader or writer of so many bytes. end is to be called after it.
static void *begin(struct attempt *a, struct hearth_made *made, size_t size) {
	a->made = made;
	a->profile = NULL;
	a->jpeg = calloc(1, size);
	if (!a->jpeg) {
		hearth_say(made, "not enough memory");
		return NULL;
	}
	a->jpeg->err = lib.std_error(&a->err);
	a->err.error_exit = give_up;
	a->err.emit_message = hear_message;
	return a->jpeg;
}

static void end(struct attempt *a) {
	lib.destroy(a->jpeg);
	free(a->jpeg);
	free(a->profile);
}

// next_row has libjpeg decode one row.
static int next_row(void *source, uint8_t *row) {
	struct attempt *a = source;
	if (setjmp(a->gone_wrong))
		return -1;
	return lib.read_scanlines((struct hearth_jpeg_reader *)a->jpeg, &row, 1) == 1 ? 0 : -1;
}

// open_photo reads the header of a file, and makes everything ready for its rows.
static int open_photo(struct attempt *a, const struct hearth_job *job, const void *data) {
	struct hearth_jpeg_reader *in = (struct hearth_jpeg_reader *)a->jpeg;
	if (setjmp(a->gone_wrong))
		return -1;
	lib.CreateDecompress(in, lib.version, lib.reader_size);
	lib.mem_src(in, data, (unsigned long)job->size);
	lib.save_markers(in, JPEG_APP2, 0xffff);
	lib.read_header(in, 1);
	if (in->jpeg_color_space != JCS_GRAYSCALE && in->jpeg_color_space != JCS_RGB && in->jpeg_color_space != JCS_YCbCr)
		return HEARTH_NOT_A_PHOTO;
	a->err.emit_message = hear_nothing;
	if (lib.read_icc_profile(in, &a->profile, &a->profile_size) && (in->jpeg_color_space == JCS_GRAYSCALE || hearth_lcms_open()))
		return HEARTH_NOT_A_PHOTO;
	a->err.emit_message = hear_message;
	in->scale_num = job->jpeg_eighths, in->scale_denom = 8;
	in->out_color_space = JCS_EXT_RGBX;
	lib.start_decompress(in);
	if (in->output_width < job->width || in->output_height < job->height) {
		hearth_say(a->made, "the picture is smaller than its header says");
		return -1;
	}
	return 0;
}

// decode returns the wanted part of the photo, as it lies in the file.
static int decode(const struct hearth_job *job, const void *data, struct hearth_made *made, uint8_t **pixels) {
	struct attempt a;
	if (!begin(&a, made, lib.reader_size))
		return -1;
	int failed = open_photo(&a, job, data);
	if (!failed) {
		struct hearth_jpeg_reader *in = (struct hearth_jpeg_reader *)a.jpeg;
		struct hearth_rows rows = {(int)in->output_width, (int)in->output_height, next_row, &a};
		*pixels = hearth_resample(&rows, (int)job->width, (int)job->height, (int)job->left, (int)job->top, (int)job->out_width, (int)job->out_height);
		failed = *pixels ? 0 : -1;
		if (failed && !made->problem[0])
			hearth_say(made, "not enough memory");
	}
	if (!failed && a.profile)
		hearth_to_srgb(*pixels, (size_t)job->out_width * job->out_height, a.profile, a.profile_size);
	end(&a);
	return failed;
}

// turn undoes an EXIF orientation, of a picture of width x height. It returns the picture, which has changed its sides from orientation 5 on; NULL
// where there is no memory.
static uint8_t *turn(uint8_t *pixels, int width, int height, uint32_t orientation) {
	if (orientation < 2 || orientation > 8)
		return pixels;
	uint8_t *turned = malloc((size_t)width * (size_t)height * 4);
	// Where the first pixel comes to lie, and how far the next one to its right and the next one below it are from there.
	ptrdiff_t w = width, h = height, first = 0, right = 1, down = w;
	switch (orientation) {
	case 2: first = w - 1, right = -1, down = w; break;
	case 3: first = w * h - 1, right = -1, down = -w; break;
	case 4: first = w * (h - 1), right = 1, down = -w; break;
	case 5: first = 0, right = h, down = 1; break;
	case 6: first = h - 1, right = h, down = -1; break;
	case 7: first = w * h - 1, right = -h, down = -1; break;
	case 8: first = h * (w - 1), right = -h, down = 1; break;
	}
	const uint8_t *from = pixels;
	for (ptrdiff_t y = 0; turned && y < h; y++)
		for (ptrdiff_t x = 0; x < w; x++, from += 4)
			memcpy(turned + (first + x * right + y * down) * 4, from, 4);
	free(pixels);
	return turned;
}

// write makes the file.
static int write(struct attempt *a, uint8_t *pixels, unsigned width, unsigned height, int quality) {
	struct hearth_jpeg_writer *out = (struct hearth_jpeg_writer *)a->jpeg;
	if (setjmp(a->gone_wrong))
		return -1;
	lib.CreateCompress(out, lib.version, lib.writer_size);
	lib.mem_dest(out, &a->made->bytes, &a->made->size);
	out->image_width = width, out->image_height = height;
	out->input_components = 4, out->in_color_space = JCS_EXT_RGBX;
	lib.set_defaults(out);
	lib.set_quality(out, quality, 1);
	if (lib.version == 62)
		((struct hearth_jpeg_writer_62 *)out)->optimize_coding = 1;
	else
		((struct hearth_jpeg_writer_80 *)out)->optimize_coding = 1;
	lib.start_compress(out, 1);
	for (unsigned y = 0; y < height; y++, pixels += (size_t)width * 4)
		lib.write_scanlines(out, &pixels, 1);
	lib.finish_compress(out);
	return 0;
}

// encode makes the answer.
static int encode(struct hearth_made *made, uint8_t *pixels, unsigned width, unsigned height, int quality) {
	struct attempt a;
	if (!begin(&a, made, lib.writer_size))
		return -1;
	int failed = write(&a, pixels, width, height, quality);
	end(&a);
	if (failed)
		made->bytes = NULL; // libjpeg may have freed this one and taken another, which is lost then
	return failed;
}

int hearth_photo(const struct hearth_job *job, const void *data, struct hearth_made *made) {
	if (job->jpeg_eighths == 0 || job->opaque != HEARTH_JPEG || hearth_jpeg_open())
		return HEARTH_NOT_A_PHOTO;
	uint8_t *pixels;
	int failed = decode(job, data, made, &pixels);
	if (failed)
		return failed;
	int lies = job->orientation >= 5;
	pixels = turn(pixels, (int)job->out_width, (int)job->out_height, job->orientation);
	if (!pixels) {
		hearth_say(made, "not enough memory");
		return -1;
	}
	failed = encode(made, pixels, lies ? job->out_height : job->out_width, lies ? job->out_width : job->out_height, (int)job->quality);
	free(pixels);
	made->kind = HEARTH_JPEG, made->free = free;
	return failed;
}
