#ifndef HEARTH_RESAMPLE_H
#define HEARTH_RESAMPLE_H

#include <stdint.h>

// hearth_resample makes a picture smaller with a cubic filter. in holds in_height rows of in_width pixels of so many bytes; the picture would
// become width x height, of which the part of out_width x out_height at left and top is returned, to be freed with free. It returns NULL
// where there is no memory. No side may become larger.
uint8_t *hearth_resample(const uint8_t *in, int in_width, int in_height, int bytes, int width, int height, int left, int top, int out_width,
	int out_height);

#endif
