// Little CMS, which knows what colour profiles mean: the part of libvips that photos need beside libjpeg, found as that is.
#ifndef HEARTH_LIBLCMS_H
#define HEARTH_LIBLCMS_H

#include <stddef.h>
#include <stdint.h>

// hearth_lcms_open loads Little CMS when it is called for the first time. It returns 0, or -1 where there is none.
int hearth_lcms_open(void);

// hearth_to_srgb converts so many pixels of four bytes (red, green, blue, and one that says nothing) from a colour profile to sRGB. A profile that
// cannot be used says nothing about the pixels: they stay as they are then. hearth_lcms_open has succeeded before.
void hearth_to_srgb(uint8_t *pixels, size_t count, const void *profile, unsigned size);

#endif
