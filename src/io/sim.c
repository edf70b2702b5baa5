/* The world as a whole: seed, faults, start and end, and the table. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "io/sim_int.h"

struct sim_world sim;

/* ---- randomness ---- */

uint64_t sim_scramble(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t rotate_up(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

/* xoshiro256**, by Blackman and Vigna. */
static uint64_t rng_next(uint64_t s[4])
{
	uint64_t result = rotate_up(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_up(s[3], 45);
	return result;
}

uint64_t sim_draw(uint64_t n)
{
	uint64_t x = rng_next(sim.rng);

	BUG_ON(n == 0);
	/* The high half times n: no division, and even enough. */
	return n <= UINT32_MAX ? (x >> 32) * n >> 32 : x % n;
}

uint64_t sim_between(uint64_t min, uint64_t max)
{
	return min >= max ? min : min + sim_draw(max - min + 1);
}

uint64_t sim_latency_us(void)
{
	return sim_between(sim.o.latency_min_us, sim.o.latency_max_us);
}

int sim_random(void *p, size_t n)
{
	uint64_t *rng = sim_thread_rng();

	for (size_t i = 0; i < n; i += 8) {
		uint64_t x = rng_next(rng);

		memcpy((char *)p + i, &x, MIN_OF(n - i, sizeof(x)));
	}
	return 0;
}

/* ---- the fingerprint ---- */

void sim_mix(uint64_t x)
{
	sim.print = (rotate_up(sim.print, 29) ^ x) * 0x9e3779b97f4a7c15u;
}

void sim_mix_bytes(const void *p, size_t n)
{
	const char *at = p;
	uint64_t x;

	sim_mix(n);
	for (; n >= sizeof(x); n -= sizeof(x), at += sizeof(x)) {
		memcpy(&x, at, sizeof(x));
		sim_mix(x);
	}
	x = 0;
	memcpy(&x, at, n);
	sim_mix(x);
}

uint64_t sim_fingerprint(void)
{
	return sim.print ^ sim.rng[0] ^ sim.now_us;
}

/* ---- start and end ---- */

static const struct sys_ops sys_sim = {
	.socket = sim_socket,
	.bind = sim_bind,
	.listen = sim_sock_listen,
	.accept = sim_accept,
	.connect = sim_sock_connect,
	.shutdown = sim_shutdown,
	.close = sim_close,
	.setsockopt = sim_setsockopt,
	.getsockopt = sim_getsockopt,
	.getsockname = sim_getsockname,
	.getpeername = sim_getpeername,
	.recv = sim_recv,
	.send = sim_send,
	.writev = sim_writev,
	.readv = sim_readv,
	.recvfrom = sim_recvfrom,
	.sendto = sim_sendto,
	.sendfile = sim_sendfile,
	.splice = sim_splice,
	.pipe = sim_pipe,
	.epoll_create = sim_epoll_create,
	.epoll_ctl = sim_epoll_ctl,
	.epoll_wait = sim_epoll_wait,
	.eventfd = sim_eventfd,
	.eventfd_signal = sim_eventfd_signal,
	.eventfd_drain = sim_eventfd_drain,
	.openat = sim_openat,
	.fstat = sim_fstat,
	.fstatat = sim_fstatat,
	.pread = sim_pread,
	.pwrite = sim_pwrite,
	.write = sim_write,
	.unlink = sim_unlink,
	.rename = sim_rename,
	.mkdir = sim_mkdir,
	.ftruncate = sim_ftruncate,
	.readlinkat = sim_readlinkat,
	.realpath = sim_realpath,
	.mono_us = sim_mono_us,
	.wall_us = sim_wall_us,
	.random = sim_random,
	.thread_start = sim_thread_start,
	.thread_join = sim_thread_join,
	.barrier_init = sim_barrier_init,
	.barrier_wait = sim_barrier_wait,
};

static int alloc_fails(void)
{
	if (!sim_chance(sim.o.faults.alloc))
		return 0;
	SIM_LOG("fault: an allocation fails");
	return 1;
}

void sim_reseed(uint64_t seed)
{
	for (unsigned i = 0; i < 4; i++)
		sim.rng[i] = sim_scramble(seed * 4 + i);
}

void sim_start(const struct sim_options *o)
{
	BUG_ON(sim.running);
	sim = (struct sim_world){.o = *o, .running = true, .seed = o->seed, .print = 1};
	sim_reseed(o->seed);
	if (!o->latency_max_us) {
		sim.o.latency_min_us = 20;
		sim.o.latency_max_us = 300;
	}
	if (!o->sndbuf_max) {
		sim.o.sndbuf_min = 4096;
		sim.o.sndbuf_max = 262144;
	}
	if (!o->epoch_s)
		sim.o.epoch_s = 1750000000;
	sim_sched_start();
	sys = &sys_sim;
	sim_set_faults(&o->faults);
}

void sim_set_faults(const struct sim_faults *f)
{
	sim.o.faults = *f;
	mem_fail_hook = f->alloc ? alloc_fails : NULL;
}

unsigned sim_stop(void)
{
	unsigned left = sim_fds_open();

	BUG_ON(!sim.running);
	mem_fail_hook = NULL;
	sys = &sys_linux;
	sim_fd_free();
	sim_actors_free();
	sim_handshakes_free();
	sim_listeners_free();
	sim_tcp_free();
	sim_dgrams_free();
	sim_disk_free();
	sim_time_free();
	sim_sched_stop();
	sim_diary_free();
	sim.running = false;
	return left;
}

bool sim_running(void)
{
	return sim.running;
}

uint64_t sim_now_us(void)
{
	return sim.now_us;
}
