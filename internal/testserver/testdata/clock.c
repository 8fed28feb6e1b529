// A server that is started with this library in LD_PRELOAD reads a wall clock that is ahead of the machine's by the
// number of nanoseconds in the file that ASIDE_TEST_CLOCK names. Clocks that count from the machine's start are left
// alone, as when an operator sets the time.
//
// The kernel is asked directly: what looks up the next gettimeofday may allocate memory, and an allocator may ask for
// the time.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *ahead;

__attribute__((constructor)) static void open_clock(void) {
	const char *path = getenv("ASIDE_TEST_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0) return;
	void *p = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED) ahead = p;
	close(fd);
}

int clock_gettime(clockid_t id, struct timespec *t) {
	int failed = syscall(SYS_clock_gettime, id, t);
	if (failed || !ahead || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return failed;
	const long long second = 1000000000;
	long long ns = t->tv_sec * second + t->tv_nsec + *ahead;
	t->tv_sec = ns / second;
	t->tv_nsec = ns % second;
	return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
	struct timespec now;
	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
	t->tv_sec = now.tv_sec;
	t->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t) {
	struct timespec now;
	if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
	if (t) *t = now.tv_sec;
	return now.tv_sec;
}
