#include "libjpeg.h"

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>

struct hearth_jpeg_library hearth_jpeg;

static int failed = -1;

static const char *const file_names[] = {"libjpeg.so.62", "libjpeg.so.8", "libjpeg.8.dylib", "/opt/homebrew/lib/libjpeg.8.dylib"};

struct question {
	struct hearth_jpeg_error err;
	jmp_buf answered;
};

static void hear_answer(struct hearth_jpeg *jpeg) { longjmp(((struct question *)jpeg->err)->answered, 1); }

// ask makes a reader or a writer of the given version and size, neither of which exists, and returns what the library says that it should have
// been: 0 if it says nothing.
static int ask(int reader, int version) {
	union {
		struct hearth_jpeg any;
		struct hearth_jpeg_reader reader;
		struct hearth_jpeg_writer writer;
		char room[4096];
	} jpeg = {.any = {0}};
	struct question question = {0};
	jpeg.any.err = hearth_jpeg.std_error(&question.err);
	question.err.error_exit = hear_answer;
	if (setjmp(question.answered))
		return question.err.msg_parm.i[0];
	if (reader)
		hearth_jpeg.CreateDecompress(&jpeg.reader, version, 0);
	else
		hearth_jpeg.CreateCompress(&jpeg.writer, version, 0);
	return 0;
}

static void open_library(void) {
	void *library = NULL;
	for (size_t i = 0; !library && i < sizeof file_names / sizeof *file_names; i++)
		library = dlopen(file_names[i], RTLD_LAZY | RTLD_LOCAL);
	if (!library)
		return;
#define X(result, name, parameters) \
	if (!(*(void **)&hearth_jpeg.name = dlsym(library, "jpeg_" #name))) \
		return;
	HEARTH_JPEG_FUNCTIONS(X)
#undef X
	hearth_jpeg.version = ask(1, -1);
	if (hearth_jpeg.version != 62 && hearth_jpeg.version != 80)
		return;
	int reader = ask(1, hearth_jpeg.version), writer = ask(0, hearth_jpeg.version);
	if (reader < (int)sizeof(struct hearth_jpeg_reader) || writer < (int)sizeof(struct hearth_jpeg_writer_80))
		return;
	hearth_jpeg.reader_size = (size_t)reader, hearth_jpeg.writer_size = (size_t)writer;
	failed = 0;
}

int hearth_jpeg_open(void) {
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, open_library);
	return failed;
}
