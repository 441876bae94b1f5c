#ifndef HEARTH_PHOTO_H
#define HEARTH_PHOTO_H

#include "picture.h"

// hearth_photo makes a JPEG of a JPEG, without libvips. It returns 0, -1 with the reason in made, or HEARTH_NOT_A_PHOTO where the file is none
// that it understands or what it needs is not there; then nothing is made.
int hearth_photo(const struct hearth_job *job, const void *data, struct hearth_made *made);

#define HEARTH_NOT_A_PHOTO 1

#endif
