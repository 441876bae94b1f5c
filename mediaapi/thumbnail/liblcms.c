#include "liblcms.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// What lcms2.h calls TYPE_RGBA_8 and INTENT_RELATIVE_COLORIMETRIC.
#define RGB_AND_ONE_MORE (4 << 16 | 1 << 7 | 3 << 3 | 1)
#define RELATIVE_COLORIMETRIC 1

// Each line: the type of the result, the name without "cms", the parameters.
#define FUNCTIONS(X) \
	X(void *, OpenProfileFromMem, (const void *data, uint32_t size)) \
	X(void *, Create_sRGBProfile, (void)) \
	X(int, CloseProfile, (void *profile)) \
	X(void *, CreateTransform, (void *from, uint32_t from_format, void *to, uint32_t to_format, uint32_t intent, uint32_t flags)) \
	X(void, DoTransform, (void *transform, const void *from, void *to, uint32_t pixels)) \
	X(void, DeleteTransform, (void *transform))

static struct {
#define X(result, name, parameters) result (*name) parameters;
	FUNCTIONS(X)
#undef X
} lcms;

static int failed = -1;

static const char *const file_names[] = {"liblcms2.so.2", "liblcms2.2.dylib", "/opt/homebrew/lib/liblcms2.2.dylib"};

static void open_library(void) {
	void *library = NULL;
	for (size_t i = 0; !library && i < sizeof file_names / sizeof *file_names; i++)
		library = dlopen(file_names[i], RTLD_LAZY | RTLD_LOCAL);
	if (!library)
		return;
#define X(result, name, parameters) \
	if (!(*(void **)&lcms.name = dlsym(library, "cms" #name))) \
		return;
	FUNCTIONS(X)
#undef X
	failed = 0;
}

int hearth_lcms_open(void) {
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, open_library);
	return failed;
}

// The profile that was used last, and the way from it to sRGB, which takes longer to prepare than to go for a thumbnail: those who send many photos
// took them with one camera.
static struct {
	pthread_mutex_t lock;
	void *profile;
	unsigned size;
	void *transform; // NULL when the profile cannot be used
} last = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void prepare(const void *profile, unsigned size) {
	if (last.transform)
		lcms.DeleteTransform(last.transform);
	free(last.profile);
	last.transform = NULL, last.size = size;
	last.profile = malloc(size);
	if (!last.profile)
		return;
	memcpy(last.profile, profile, size);
	void *from = lcms.OpenProfileFromMem(profile, size), *to = lcms.Create_sRGBProfile();
	if (from && to)
		last.transform = lcms.CreateTransform(from, RGB_AND_ONE_MORE, to, RGB_AND_ONE_MORE, RELATIVE_COLORIMETRIC, 0);
	if (to)
		lcms.CloseProfile(to);
	if (from)
		lcms.CloseProfile(from);
}

void hearth_to_srgb(uint8_t *pixels, size_t count, const void *profile, unsigned size) {
	pthread_mutex_lock(&last.lock);
	if (!last.profile || last.size != size || memcmp(last.profile, profile, size) != 0)
		prepare(profile, size);
	if (last.transform)
		lcms.DoTransform(last.transform, pixels, pixels, (uint32_t)count);
	pthread_mutex_unlock(&last.lock);
}
