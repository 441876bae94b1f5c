#ifndef HEARTH_RESAMPLE_H
#define HEARTH_RESAMPLE_H

#include <stdint.h>

// hearth_rows is a picture of width x height pixels that comes row by row. Each pixel is four bytes, of which the last says nothing.
struct hearth_rows {
	int width, height;
	// next puts the next row at the place. It returns 0, or -1 when there is none to be had.
	int (*next)(void *source, uint8_t *row);
	void *source;
};

// hearth_resample makes a picture smaller with a cubic filter. It would become width x height, of which the part of out_width x out_height
// at left and top is returned, to be freed with free. No more rows are asked for than are needed for that, and no more of them are held
// than one new row is made of. It returns NULL where a row was not to be had or there is no memory. No side may become larger.
uint8_t *hearth_resample(const struct hearth_rows *in, int width, int height, int left, int top, int out_width, int out_height);

#endif
