#include "resample.h"

#include <math.h>
#include <stdlib.h>

// Weights are whole numbers that add up to this.
#define ONE (1 << 14)

// taps says of which of the pixels in a row or column each new one is made.
struct taps {
	int most;         // taps of each
	int *first;       // the first pixel
	int16_t *weights; // most for each
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
	t->most = (int)ceil(4 * scale) + 1;
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
		for (int k = 0; k < t->most; k++)
			sum += cubic((first + k - centre) / scale);
		int left = ONE, middle = 0;
		int16_t *w = t->weights + (size_t)i * (size_t)t->most;
		for (int k = 0; k < t->most; k++) {
			w[k] = (int16_t)lround(cubic((first + k - centre) / scale) / sum * ONE);
			left -= w[k];
			if (w[k] > w[middle])
				middle = k;
		}
		w[middle] = (int16_t)(w[middle] + left);
	}
	return 0;
}

static uint8_t clamp(int32_t sum) {
	sum = (sum + ONE / 2) / ONE;
	return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

// shrink_row makes a row narrower. bytes is a constant where it is called, so that there is a loop for each number.
static inline void shrink_row(const uint8_t *in, uint8_t *out, int count, const struct taps *t, int bytes) {
	const int16_t *w = t->weights;
	for (int i = 0; i < count; i++, w += t->most) {
		const uint8_t *from = in + (size_t)t->first[i] * (size_t)bytes;
		int32_t sum[4] = {0};
		for (int k = 0; k < t->most; k++, from += bytes)
			for (int b = 0; b < bytes; b++)
				sum[b] += w[k] * from[b];
		for (int b = 0; b < bytes; b++)
			*out++ = clamp(sum[b]);
	}
}

// mix_rows makes one row of several that lie stride apart.
static void mix_rows(const uint8_t *in, size_t stride, uint8_t *out, size_t n, const int16_t *w, int most, int32_t *sums) {
	for (size_t i = 0; i < n; i++)
		sums[i] = 0;
	for (int k = 0; k < most; k++, in += stride) {
		int32_t weight = w[k];
		if (weight == 0)
			continue;
		for (size_t i = 0; i < n; i++)
			sums[i] += weight * in[i];
	}
	for (size_t i = 0; i < n; i++)
		out[i] = clamp(sums[i]);
}

uint8_t *hearth_resample(const uint8_t *in, int in_width, int in_height, int bytes, int width, int height, int left, int top, int out_width,
	int out_height) {
	struct taps across = {0}, down = {0};
	if (make_taps(&across, in_width, width, left, out_width))
		return NULL;
	if (make_taps(&down, in_height, height, top, out_height)) {
		free_taps(&across);
		return NULL;
	}
	// Rows first: that loop runs over many pixels at once, and leaves fewer rows to be made narrower. Of the columns only those that are needed.
	size_t stride = (size_t)in_width * (size_t)bytes, from = (size_t)across.first[0] * (size_t)bytes;
	size_t n = (size_t)(across.first[out_width - 1] + across.most) * (size_t)bytes - from;
	uint8_t *row = malloc(stride);
	int32_t *sums = malloc(stride * sizeof *sums);
	uint8_t *out = malloc((size_t)out_width * (size_t)out_height * (size_t)bytes);
	for (int y = 0; row && sums && out && y < out_height; y++) {
		mix_rows(in + (size_t)down.first[y] * stride + from, stride, row + from, n, down.weights + (size_t)y * (size_t)down.most, down.most, sums);
		uint8_t *place = out + (size_t)y * (size_t)out_width * (size_t)bytes;
		if (bytes == 3)
			shrink_row(row, place, out_width, &across, 3);
		else
			shrink_row(row, place, out_width, &across, 1);
	}
	if (!row || !sums) {
		free(out);
		out = NULL;
	}
	free(sums);
	free(row);
	free_taps(&down);
	free_taps(&across);
	return out;
}
