/* Libraries read clocks and draw random numbers behind our back: c-ares (gettimeofday,
 * /dev/urandom), OpenSSL (time, getentropy). In the programs of the simulator these names are ours;
 * the executable's win over the libraries'. While a world runs they answer from it, else as always.
 */
#undef _FILE_OFFSET_BITS /* it would make fopen another name */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <dlfcn.h>
#include "io/sim_int.h"

#define EXPORTED __attribute__((visibility("default"), used))

static void real_time(clockid_t id, struct timespec *ts)
{
	syscall(SYS_clock_gettime, id, ts);
}

static uint64_t world_us(clockid_t id)
{
	return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE ? sim_wall_us() : sim_mono_us();
}

static bool real_clocks;

void sim_libraries_follow(bool world)
{
	real_clocks = !world;
}

static bool of_world(clockid_t id)
{
	return sim.running && !real_clocks && id != CLOCK_PROCESS_CPUTIME_ID &&
	       id != CLOCK_THREAD_CPUTIME_ID;
}

EXPORTED int clock_gettime(clockid_t id, struct timespec *ts)
{
	uint64_t us;

	if (!of_world(id))
		return (int)syscall(SYS_clock_gettime, id, ts);
	us = world_us(id);
	ts->tv_sec = (time_t)(us / 1000000);
	ts->tv_nsec = (long)(us % 1000000) * 1000;
	return 0;
}

EXPORTED int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

EXPORTED time_t time(time_t *out)
{
	struct timespec ts;

	if (of_world(CLOCK_REALTIME))
		clock_gettime(CLOCK_REALTIME, &ts);
	else
		real_time(CLOCK_REALTIME, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}

EXPORTED ssize_t getrandom(void *p, size_t n, unsigned flags)
{
	if (!sim.running || sim_thread_index() < 0)
		return syscall(SYS_getrandom, p, n, flags);
	sim_random(p, n);
	return (ssize_t)n;
}

EXPORTED int getentropy(void *p, size_t n)
{
	return getrandom(p, n, 0) == (ssize_t)n ? 0 : -1;
}

static ssize_t random_read(void *cookie, char *p, size_t n)
{
	sim_random(p, n);
	return (ssize_t)n;
}

/* Files that libraries open by themselves: randomness is the world's, and what lies below /etc
 * comes from the virtual disk, so that no machine's hosts or resolv.conf matter. */
EXPORTED FILE *fopen(const char *restrict path, const char *restrict mode)
{
	static FILE *(*real)(const char *, const char *);
	struct span text;

	if (!real)
		real = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
	if (!sim.running)
		return real(path, mode);
	if (strcmp(path, "/dev/urandom") == 0)
		return fopencookie(NULL, "r", (cookie_io_functions_t){.read = random_read});
	if (strncmp(path, "/etc/", 5) != 0 || mode[0] != 'r')
		return real(path, mode); /* our own tests' files */
	text = sim_file_get(path);
	if (!text.n) {
		errno = ENOENT;
		return NULL;
	}
	return fmemopen((void *)text.p, text.n, "r");
}

EXPORTED FILE *fopen64(const char *restrict path, const char *restrict mode)
{
	return fopen(path, mode);
}
