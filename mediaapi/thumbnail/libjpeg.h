// The functions of libjpeg-turbo that are used here, found with dlopen as those of libvips are, of which it is a part. A server that sees photos
// only never loads more than it.
//
// The declarations repeat what libjpeg's headers say. libjpeg's structs differ between its ABIs (6.2 in libjpeg.so.62, 8 in libjpeg.so.8), but not in
// what they begin with. So nothing of the rest is declared, with one exception, and the library itself says how large they are.
#ifndef HEARTH_LIBJPEG_H
#define HEARTH_LIBJPEG_H

#include <stddef.h>
#include <stdint.h>

// Values of libjpeg's enumerations.
enum {
	JCS_GRAYSCALE = 1,
	JCS_RGB = 2,
	JCS_YCbCr = 3,
	JCS_EXT_RGBX = 7, // four bytes a pixel, only in libjpeg-turbo
	JPEG_APP2 = 0xe2, // the marker that colour profiles are behind
};

// What both structs begin with.
#define HEARTH_JPEG_COMMON \
	struct hearth_jpeg_error *err; \
	void *mem, *progress, *client_data; \
	int is_decompressor, global_state;

struct hearth_jpeg {
	HEARTH_JPEG_COMMON
};

struct hearth_jpeg_error {
	void (*error_exit)(struct hearth_jpeg *jpeg);
	void (*emit_message)(struct hearth_jpeg *jpeg, int level);
	void (*output_message)(struct hearth_jpeg *jpeg);
	void (*format_message)(struct hearth_jpeg *jpeg, char *text);
	void (*reset_error_mgr)(struct hearth_jpeg *jpeg);
	int msg_code;
	union {
		int i[8];
		char s[80];
	} msg_parm;
	int trace_level;
	long num_warnings;
	const char *const *jpeg_message_table;
	int last_jpeg_message;
	const char *const *addon_message_table;
	int first_addon_message, last_addon_message;
};

// HEARTH_JPEG_TEXT is the most that format_message writes.
#define HEARTH_JPEG_TEXT 200

struct hearth_jpeg_reader {
	HEARTH_JPEG_COMMON
	void *src;
	unsigned image_width, image_height;
	int num_components, jpeg_color_space;
	int out_color_space;
	unsigned scale_num, scale_denom;
	double output_gamma;
	int buffered_image, raw_data_out, dct_method, do_fancy_upsampling, do_block_smoothing;
	int quantize_colors, dither_mode, two_pass_quantize, desired_number_of_colors, enable_1pass_quant, enable_external_quant, enable_2pass_quant;
	unsigned output_width, output_height;
};

struct hearth_jpeg_writer {
	HEARTH_JPEG_COMMON
	void *dest;
	unsigned image_width, image_height;
	int input_components, in_color_space;
	double input_gamma;
};

// The way to optimize_coding, which makes thumbnails an eighth smaller, in both ABIs.
#define HEARTH_JPEG_CODING \
	void *dc_huff_tbl_ptrs[4], *ac_huff_tbl_ptrs[4]; \
	uint8_t arithmetic[48]; \
	int num_scans; \
	const void *scan_info; \
	int raw_data_in, arith_code, optimize_coding;

struct hearth_jpeg_writer_62 {
	struct hearth_jpeg_writer begin;
	int data_precision, num_components, jpeg_color_space;
	void *comp_info, *quant_tbl_ptrs[4];
	HEARTH_JPEG_CODING
};

struct hearth_jpeg_writer_80 {
	struct hearth_jpeg_writer begin;
	unsigned scale_num, scale_denom, jpeg_width, jpeg_height;
	int data_precision, num_components, jpeg_color_space;
	void *comp_info, *quant_tbl_ptrs[4];
	int q_scale_factor[4];
	HEARTH_JPEG_CODING
};

// Each line: the type of the result, the name without "jpeg_", the parameters.
#define HEARTH_JPEG_FUNCTIONS(X) \
	X(struct hearth_jpeg_error *, std_error, (struct hearth_jpeg_error *err)) \
	X(void, destroy, (struct hearth_jpeg *jpeg)) \
	X(void, CreateDecompress, (struct hearth_jpeg_reader *jpeg, int version, size_t size)) \
	X(void, mem_src, (struct hearth_jpeg_reader *jpeg, const unsigned char *data, unsigned long size)) \
	X(void, save_markers, (struct hearth_jpeg_reader *jpeg, int marker, unsigned limit)) \
	X(int, read_header, (struct hearth_jpeg_reader *jpeg, int need_image)) \
	X(int, read_icc_profile, (struct hearth_jpeg_reader *jpeg, uint8_t **profile, unsigned *size)) \
	X(int, start_decompress, (struct hearth_jpeg_reader *jpeg)) \
	X(unsigned, read_scanlines, (struct hearth_jpeg_reader *jpeg, uint8_t **rows, unsigned most)) \
	X(void, CreateCompress, (struct hearth_jpeg_writer *jpeg, int version, size_t size)) \
	X(void, mem_dest, (struct hearth_jpeg_writer *jpeg, unsigned char **data, unsigned long *size)) \
	X(void, set_defaults, (struct hearth_jpeg_writer *jpeg)) \
	X(void, set_quality, (struct hearth_jpeg_writer *jpeg, int quality, int baseline)) \
	X(void, start_compress, (struct hearth_jpeg_writer *jpeg, int all_tables)) \
	X(unsigned, write_scanlines, (struct hearth_jpeg_writer *jpeg, uint8_t **rows, unsigned count)) \
	X(void, finish_compress, (struct hearth_jpeg_writer *jpeg))

// hearth_jpeg is libjpeg-turbo, once hearth_jpeg_open has succeeded.
struct hearth_jpeg_library {
#define X(result, name, parameters) result (*name) parameters;
	HEARTH_JPEG_FUNCTIONS(X)
#undef X
	int version;
	size_t reader_size, writer_size;
};

extern struct hearth_jpeg_library hearth_jpeg;

// hearth_jpeg_open loads libjpeg-turbo when it is called for the first time. It returns 0, or -1 where there is none.
int hearth_jpeg_open(void);

#endif
