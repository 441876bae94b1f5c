#include "libvips.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

struct hearth_vips hearth_vips;

static char problem[1024];

// The only classes of libvips' loaders that may run; each has its Format in format.go.
static const char *const trusted[] = {
	"VipsForeignLoadJpeg", "VipsForeignLoadPng", "VipsForeignLoadNsgif",
	"VipsForeignLoadWebp", "VipsForeignLoadTiff", "VipsForeignLoadHeif",
};

static const char *const file_names[] = {"libvips.so.42", "libvips.42.dylib", "/opt/homebrew/lib/libvips.42.dylib"};

// Warnings of libvips are about strangers' files, and of no use to anybody.
static void hear_nothing(const char *domain, int level, const char *message, void *data) {
	(void)domain, (void)level, (void)message, (void)data;
}

// find looks a symbol up in libvips and the libraries that came with it.
static int find(void *library, const char *name, void *place) {
	*(void **)place = dlsym(library, name);
	if (!*(void **)place)
		snprintf(problem, sizeof problem, "libvips lacks %s: Hearth needs libvips 8.13 or newer", name);
	return *(void **)place != NULL;
}

static const char *open_library(void) {
	void *library = NULL;
	for (size_t i = 0; !library && i < sizeof file_names / sizeof *file_names; i++) {
		library = dlopen(file_names[i], RTLD_LAZY | RTLD_LOCAL);
		if (!library && i == 0)
			snprintf(problem, sizeof problem, "libvips is not installed: %s", dlerror());
	}
	if (!library)
		return problem;
#define X(result, name, parameters) \
	if (!find(library, "vips_" #name, &hearth_vips.name)) \
		return problem;
	HEARTH_VIPS_FUNCTIONS(X)
#undef X
	void *(*log_handler)(void (*)(const char *, int, const char *, void *), void *);
	if (!find(library, "g_object_unref", &hearth_vips.unref) || !find(library, "g_free", &hearth_vips.free) ||
		!find(library, "g_log_set_default_handler", &log_handler))
		return problem;
	log_handler(hear_nothing, NULL);
	if (hearth_vips.init("hearth")) {
		snprintf(problem, sizeof problem, "libvips does not start: %s", hearth_vips.error_buffer());
		return problem;
	}
	// No two requests share an operation, and a cache would keep strangers' images alive.
	hearth_vips.cache_set_max(0);
	// The jobs are the parallelism, and every thread of an operation holds its own line buffers.
	hearth_vips.concurrency_set(1);
	// libvips' own list of untrusted loaders leaves a few in place that are of no use here, and loaders that a later version or module
	// adds would have to be known to it. With a list of what is allowed, a gap in sniff cannot reach ImageMagick, librsvg, poppler or
	// OpenSlide.
	hearth_vips.operation_block_set("VipsForeignLoad", 1);
	for (size_t i = 0; i < sizeof trusted / sizeof *trusted; i++)
		hearth_vips.operation_block_set(trusted[i], 0);
	return NULL;
}

static const char *result;

static void open_once(void) { result = open_library(); }

const char *hearth_vips_open(void) {
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, open_once);
	return result;
}
