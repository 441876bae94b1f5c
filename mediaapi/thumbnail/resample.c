#include "resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// The compiler makes one instruction of what is done to all four parts of a pixel.
typedef float pixel __attribute__((vector_size(16)));

// taps says of which of the pixels in a row or column each new one is made.
struct taps {
	int most;       // taps of each
	int *first;     // the first pixel
	float *weights; // most for each
};

// cubic is the Catmull-Rom spline.
static double cubic(double x) {
	x = fabs(x);
	if (x < 1)
		return (1.5 * x - 2.5) * x * x + 1;
	if (x < 2)
		return ((2.5 - 0.5 * x) * x - 4) * x + 2;
	return 0;
}

static void free_taps(struct taps *t) {
	free(t->first);
	free(t->weights);
}

// make_taps computes them for the new pixels from offset on, of a side that shrinks from in to out.
static int make_taps(struct taps *t, int in, int out, int offset, int count) {
	double scale = (double)in / out;
	t->most = (int)floor(4 * scale) + 1;
	if (t->most > in)
		t->most = in;
	t->first = calloc((size_t)count, sizeof *t->first);
	t->weights = calloc((size_t)count * (size_t)t->most, sizeof *t->weights);
	if (!t->first || !t->weights) {
		free_taps(t);
		return -1;
	}
	for (int i = 0; i < count; i++) {
		double centre = (offset + i + 0.5) * scale - 0.5, sum = 0;
		int first = (int)ceil(centre - 2 * scale);
		if (first > in - t->most)
			first = in - t->most;
		if (first < 0)
			first = 0;
		t->first[i] = first;
		float *w = t->weights + (size_t)i * (size_t)t->most;
		for (int k = 0; k < t->most; k++)
			sum += w[k] = (float)cubic((first + k - centre) / scale);
		for (int k = 0; k < t->most; k++)
			w[k] = (float)(w[k] / sum);
	}
	return 0;
}

// mix_rows makes one row of several, two pixels at a time: the sums need not wait for each other.
static inline __attribute__((always_inline)) void mix_rows(const pixel *const *rows, const float *w, int most, int width, pixel *out) {
	int x = 0;
	for (; x + 1 < width; x += 2) {
		pixel one = {0}, two = {0};
		for (int k = 0; k < most; k++) {
			const pixel *from = rows[k] + x;
			one += w[k] * from[0], two += w[k] * from[1];
		}
		out[x] = one, out[x + 1] = two;
	}
	if (x < width) {
		pixel sum = {0};
		for (int k = 0; k < most; k++)
			sum += w[k] * rows[k][x];
		out[x] = sum;
	}
}

// shrink_row makes a row narrower.
static inline __attribute__((always_inline)) void shrink_row(const pixel *in, const float *w, int most, const int *first, int width, pixel *out) {
	for (int x = 0; x < width; x++, w += most) {
		const pixel *from = in + first[x];
		pixel sum = {0};
		for (int k = 0; k < most; k++)
			sum += w[k] * from[k];
		out[x] = sum;
	}
}

// WITH_MOST calls one of these. With a number that the compiler knows they take half the time, and these are what is left to do when libjpeg has
// done its part.
#define WITH_MOST(function, a, w, most, ...) \
	switch (most) { \
	case 5: function(a, w, 5, __VA_ARGS__); break; \
	case 6: function(a, w, 6, __VA_ARGS__); break; \
	case 7: function(a, w, 7, __VA_ARGS__); break; \
	case 8: function(a, w, 8, __VA_ARGS__); break; \
	default: function(a, w, most, __VA_ARGS__); \
	}

// widen makes pixels of bytes.
static void widen(const uint8_t *in, int count, pixel *out) {
	float *to = (float *)out;
	for (size_t i = 0, n = (size_t)count * 4; i < n; i++)
		to[i] = in[i];
}

// narrow makes bytes of pixels. The filter overshoots at edges.
static void narrow(const pixel *in, int count, uint8_t *out) {
	const float *from = (const float *)in;
	for (size_t i = 0, n = (size_t)count * 4; i < n; i++) {
		float v = from[i] + 0.5f;
		v = v > 0 ? v : 0;
		v = v < 255 ? v : 255;
		out[i] = (uint8_t)(int)v;
	}
}

// Where a product and its sum are one instruction, which most processors have but not all, it is used.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=x86-64-v3", "default")))
#endif
uint8_t *hearth_resample(const struct hearth_rows *in, int width, int height, int left, int top, int out_width, int out_height) {
	struct taps across = {0}, down = {0};
	if (make_taps(&across, in->width, width, left, out_width))
		return NULL;
	if (make_taps(&down, in->height, height, top, out_height)) {
		free_taps(&across);
		return NULL;
	}
	// Rows are mixed first: that loop leaves fewer rows to be made narrower, which takes longer. Of the columns only those that are needed.
	int from = across.first[0], count = across.first[out_width - 1] + across.most - from, taken = 0;
	for (int x = 0; x < out_width; x++)
		across.first[x] -= from;
	uint8_t *bytes = malloc((size_t)in->width * 4);
	pixel *ring = malloc((size_t)count * (size_t)down.most * sizeof *ring); // row n of the picture is at n % down.most
	const pixel **rows = malloc((size_t)down.most * sizeof *rows);
	pixel *mixed = malloc((size_t)count * sizeof *mixed);
	pixel *row = malloc((size_t)out_width * sizeof *row);
	uint8_t *out = malloc((size_t)out_width * (size_t)out_height * 4);
	int failed = !bytes || !ring || !rows || !mixed || !row || !out;
	for (int y = 0; y < out_height && !failed; y++) {
		int first = down.first[y];
		for (; taken < first + down.most && !failed; taken++) {
			failed = in->next(in->source, bytes);
			widen(bytes + (size_t)from * 4, count, ring + (size_t)(taken % down.most) * (size_t)count);
		}
		for (int k = 0; k < down.most; k++)
			rows[k] = ring + (size_t)((first + k) % down.most) * (size_t)count;
		WITH_MOST(mix_rows, rows, down.weights + (size_t)y * (size_t)down.most, down.most, count, mixed)
		WITH_MOST(shrink_row, mixed, across.weights, across.most, across.first, out_width, row)
		narrow(row, out_width, out + (size_t)y * (size_t)out_width * 4);
	}
	free(bytes);
	free(ring);
	free(rows);
	free(mixed);
	free(row);
	free_taps(&down);
	free_taps(&across);
	if (failed) {
		free(out);
		out = NULL;
	}
	return out;
}
