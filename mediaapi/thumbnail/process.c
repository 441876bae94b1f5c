// The process for pictures: the server's own program, started once more by process.go. It turns off into serve before the Go runtime begins,
// so it consists of the decoders and little else. A picture that makes a decoder crash takes nothing along but this process, which holds no keys
// and no files of the server but those it is handed; when there has been nothing to do for a while it ends, and all its memory goes back.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "libvips.h"
#include "picture.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#ifndef MAP_POPULATE
#define MAP_POPULATE 0
#endif

// The socket that jobs come over.
#define CONTROL 3

// What libvips may still hold when nothing is under way; more is a leak, and ends the process.
#define HELD_MOST ((size_t)32 << 20)

static atomic_int under_way;

static int receive(int from, void *to, size_t size) {
	for (char *at = to; size > 0;) {
		ssize_t n = recv(from, at, size, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		at += n, size -= (size_t)n;
	}
	return 0;
}

// receive_with also receives the descriptor that came along with the first of the bytes; -1 stands for none.
static int receive_with(int from, void *to, size_t size, int *descriptor) {
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {to, size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t n;
	do
		n = recvmsg(from, &message, 0);
	while (n < 0 && errno == EINTR);
	*descriptor = -1;
	struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(descriptor, CMSG_DATA(header), sizeof *descriptor);
	return n > 0 ? receive(from, (char *)to + n, size - (size_t)n) : -1;
}

static int deliver(int to, const void *from, size_t size) {
	for (const char *at = from; size > 0;) {
		ssize_t n = send(to, at, size, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		at += n, size -= (size_t)n;
	}
	return 0;
}

static void answer(int to, uint32_t outcome, uint32_t kind, const void *bytes, size_t size) {
	struct hearth_answer answer = {.size = size, .outcome = outcome, .kind = kind};
	if (deliver(to, &answer, sizeof answer) == 0)
		deliver(to, bytes, size);
}

static void complain(int to, int outcome, const char *text) { answer(to, (uint32_t)outcome, 0, text, strlen(text)); }

static void make(int conn, const struct hearth_job *job, void *data) {
	struct hearth_made made = {0};
	int outcome = hearth_make(job, data, &made);
	if (outcome == HEARTH_MADE)
		answer(conn, HEARTH_MADE, made.kind, made.bytes, made.size);
	else
		complain(conn, outcome, made.problem);
	if (made.bytes)
		made.free(made.bytes);
}

// make_of_file does a job whose bytes are those of a file.
static void make_of_file(int conn, const struct hearth_job *job, int file) {
	struct stat is;
	void *data = MAP_FAILED;
	if (fstat(file, &is) == 0 && (uint64_t)is.st_size >= job->size)
		data = mmap(NULL, job->size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
	if (data == MAP_FAILED) {
		complain(conn, HEARTH_FAILED, "the file cannot be read");
		return;
	}
	make(conn, job, data);
	munmap(data, job->size);
}

// make_of_bytes does a job whose bytes follow it.
static void make_of_bytes(int conn, const struct hearth_job *job) {
	void *data = malloc(job->size);
	if (!data)
		complain(conn, HEARTH_FAILED, "not enough memory");
	else if (receive(conn, data, job->size) == 0)
		make(conn, job, data);
	free(data);
}

static void do_job(int conn) {
	struct hearth_job job;
	int file;
	int failed = receive_with(conn, &job, sizeof job, &file);
	if (!failed && file < 0)
		make_of_bytes(conn, &job);
	else if (!failed)
		make_of_file(conn, &job, file);
	if (file >= 0)
		close(file);
}

static void *work(void *conn) {
	do_job((int)(intptr_t)conn);
	close((int)(intptr_t)conn);
	atomic_fetch_sub(&under_way, 1);
	return NULL;
}

// next_job receives the socket of a job; -1 when the server has closed its end.
static int next_job(void) {
	char byte;
	int conn;
	return receive_with(CONTROL, &byte, 1, &conn) ? -1 : conn;
}

static void begin(int conn) {
	pthread_t thread;
	pthread_attr_t attr;
	atomic_fetch_add(&under_way, 1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, (size_t)2 << 20);
	if (pthread_create(&thread, &attr, work, (void *)(intptr_t)conn)) {
		close(conn);
		atomic_fetch_sub(&under_way, 1);
	}
	pthread_attr_destroy(&attr);
}

// confine takes away what decoding does not need.
static void confine(void) {
	struct rlimit none = {0, 0};
#ifdef __linux__
	// Where memory runs out, this process goes and not the server.
	int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (score >= 0) {
		if (write(score, "1000", 4) < 0)
			errno = 0; // then it is as likely as the others
		close(score);
	}
#endif
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_FSIZE, &none);
#ifdef __linux__
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#endif
	// Who stops the server stops this process by closing the socket.
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

static void serve(int patience) {
	confine();
#ifdef __GLIBC__
	// Big buffers get their own mapping, so that freeing them gives them back; by default glibc raises this threshold up to 32 MiB.
	mallopt(M_MMAP_THRESHOLD, 256 * 1024);
	mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
	mallopt(M_ARENA_MAX, 2);
#endif
	answer(CONTROL, HEARTH_MADE, 0, NULL, 0);
	for (int idle = 0; idle < patience;) {
		struct pollfd control = {.fd = CONTROL, .events = POLLIN};
		if (poll(&control, 1, 1000) > 0) {
			int conn = next_job();
			if (conn < 0)
				return;
			begin(conn);
			idle = 0;
			continue;
		}
		if (atomic_load(&under_way) > 0)
			continue;
		if (hearth_vips.tracked_get_mem && hearth_vips.tracked_get_mem() > HELD_MOST)
			return;
#ifdef __GLIBC__
		if (idle == 0)
			malloc_trim(0);
#endif
		idle++;
	}
}

// begin_as_process runs before main. Only process.go sets the variable, to the seconds that the process waits for another job.
__attribute__((constructor)) static void begin_as_process(void) {
	const char *patience = getenv("HEARTH_PICTURE_PROCESS");
	if (!patience)
		return;
	serve(atoi(patience));
	_exit(0);
}
