/* The simulator: a virtual network, clock, disk and randomness behind `sys`, deterministic by a
 * seed.
 *
 * One process runs one world (worlds are forked from a warm parent, so that each begins with fresh
 * static state). sim_start installs the table; from then on every system call of the worker is
 * answered here. Around the worker stand actors: simulated clients and servers, made of callbacks
 * that run between the worker's turns. All of it takes turns on one baton: at any moment one OS
 * thread runs, and which one runs next, when bytes arrive and which call fails is drawn from the
 * seed. So the same seed gives the same events, to the last byte, under gdb and the sanitizers too.
 *
 * Time stands still while code runs and jumps to the next thing that is due when every loop waits.
 *
 * Sockets behave as Linux's do (edges are what epoll would report; a close with unread input
 * resets; SO_LINGER 0 resets; what came before a reset can still be read, then ECONNRESET once;
 * SO_ERROR is read once; a FIN is an end after the data before it; EPOLLEXCLUSIVE wakes one).
 * sim_pair_test.c holds the same checks against both kernels. Where Linux leaves a choice (how many
 * bytes, which order, which thread), the seed chooses. What is not modelled ends the world with a
 * message, never with a quiet success.
 *
 * This file and sim_*.c are linked into the simulator's programs and unit tests only, never into
 * the server. */
#pragma once
#include "base/arena.h"
#include "base/list.h"
#include "base/span.h"
#include "io/sys.h"

/* ---- the world ---- */

/* Probabilities are per 10,000 calls (or events) of that kind; 0: never. */
struct sim_faults {
	unsigned short_read, short_write;   /* fewer bytes than there are (room for) */
	unsigned spurious_eagain;	    /* -EAGAIN though ready; a new edge follows soon */
	unsigned spurious_event;	    /* an event without cause */
	unsigned reset;			    /* per delivered segment: the connection is reset */
	unsigned refuse, hang, unreachable; /* per connect from the worker */
	unsigned emfile;  /* socket, accept, open, pipe, eventfd: -EMFILE or -ENFILE */
	unsigned enobufs; /* send, writev, socket: -ENOBUFS or -ENOMEM */
	unsigned disk_full, disk_error; /* writes to files: -ENOSPC, -EIO, or a short write */
	unsigned alloc;			/* per allocation of base/pool and base/arena: NULL */
	unsigned clock_jump;		/* per second: the wall clock jumps, up to a day each way */
	unsigned preempt; /* per recv, send, writev, connect, accept, epoll_ctl (calls that nobody
			     makes with a lock held): another thread runs first */
	unsigned datagram_loss, datagram_dup; /* per datagram, either way */
};

struct sim_options {
	uint64_t seed;
	struct sim_faults faults;
	unsigned latency_min_us,
		latency_max_us; /* of a segment, drawn for each connection and segment */
	unsigned sndbuf_min,
		sndbuf_max; /* bytes of a socket's buffers, drawn for each connection */
	/* Of the threads that sleep on a listener (EPOLLEXCLUSIVE) always the first one wakes, as
	 * with Linux, not each in its turn. */
	bool wakes_first;
	bool trace;	  /* every event to stderr as it happens */
	uint64_t epoch_s; /* the wall clock at the start; 0: a day in 2025 */
};

void sim_start(const struct sim_options *o);
/* The world's randomness begins anew (what the worker has drawn stays drawn): for fuzzing, where
 * one world sees one input after another and each must do again what it did. */
void sim_reseed(uint64_t seed);
/* Whether libraries that read clocks themselves get the world's (as at the start) or the real one:
 * a fuzzer around the world measures its own time. */
void sim_libraries_follow(bool world);
/* Faults may change while the world runs (a world that calms down before its end, say). */
void sim_set_faults(const struct sim_faults *f);
/* From now on the worker may have so many descriptors at once (0: any number); one more is refused
 * with err, EMFILE or ENFILE. */
void sim_limit_fds(unsigned max, int err);
/* Forgets everything; `sys` is &sys_linux again. Returns how many descriptors the worker had left
 * open (epoll, eventfds, pipes, files, sockets); each is described through sim_note. */
unsigned sim_stop(void);

/* True from sim_start to sim_stop. */
bool sim_running(void);

/* Random bytes of the calling thread's stream: what sys->random gives; for libraries' hooks. */
int sim_random(void *p, size_t n);

uint64_t sim_now_us(void); /* from 0; sys->mono_us is 1000 s ahead of it */
/* The world's randomness, for actors: [0, n); n > 0. One stream for all draws, so order matters and
 * is the same in each run. C leaves the order within arguments, initialisers and operands open:
 * one draw per statement, or gcc and clang make different worlds of one seed. */
uint64_t sim_draw(uint64_t n);
static inline bool sim_chance(unsigned per_10000)
{
	return per_10000 && sim_draw(10000) < per_10000;
}

/* The world's diary: the last events in a ring (and all of them to stderr with trace). sim_note
 * adds a line of the caller's; sim_print_events writes the ring, oldest first, as "time who what".
 */
void sim_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sim_print_events(int fd);
/* An invariant is broken: prints it, the seed and the ring, and ends the process with SIM_BROKEN.
 * The name is one of the table in doc/simulator.md. */
#define SIM_BROKEN 66
__attribute__((noreturn)) void sim_broken(const char *invariant, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* A number over everything that happened so far (events, bytes, draws): equal seeds give equal
 * numbers; a test of the simulator itself. */
uint64_t sim_fingerprint(void);

/* ---- actors ---- */

/* At a virtual time. The struct is the caller's and may be started anew from run. Actors may
 * io_post to the worker's loops from any callback. */
struct sim_timer {
	uint64_t at_us;
	void (*run)(struct sim_timer *t);
	uint64_t tie;  /* internal: the order among those of one time, drawn */
	unsigned slot; /* internal: 0: stopped */
};
void sim_timer_start(struct sim_timer *t, uint64_t at_us);
void sim_timer_stop(struct sim_timer *t); /* idempotent; a zeroed struct counts as stopped */

/* An actor's end of a connection to the worker. Callbacks run between the worker's turns and may
 * call anything here, sim_conn_free too. */
struct sim_conn;
struct sim_conn_ops {
	void (*connected)(struct sim_conn *c); /* may be NULL */
	void (*refused)(struct sim_conn *c,
			int err);	      /* -ECONNREFUSED, ... : c is freed behind it */
	void (*readable)(struct sim_conn *c); /* bytes or the end can be read */
	void (*writable)(struct sim_conn *c); /* there is room again after a short write */
	void (*reset)(struct sim_conn *c);    /* by the worker, or by a fault */
};
/* From an address of the actor's choice (NULL: any) to one that the worker listens on. */
struct sim_conn *sim_connect(const struct sockaddr *from, const struct sockaddr *to, socklen_t len,
			     const struct sim_conn_ops *ops, void *owner);
void *sim_conn_owner(const struct sim_conn *c);
size_t sim_conn_write(struct sim_conn *c, const void *p, size_t n); /* taken; less when full */
/* > 0; 0: nothing there; -1: the end (FIN); -2: reset. */
ssize_t sim_conn_read(struct sim_conn *c, void *p, size_t n);
size_t sim_conn_unread(const struct sim_conn *c); /* bytes that arrived and were not read */
size_t sim_conn_unsent(const struct sim_conn *c); /* bytes that were taken and have not arrived */
/* Nobody holds the other end any more: the worker has closed its descriptor. (The network does not
 * tell before something is sent there.) */
bool sim_conn_is_left(const struct sim_conn *c);
void sim_conn_shutdown(struct sim_conn *c); /* FIN */
void sim_conn_reset(struct sim_conn *c);    /* RST at once */
/* The machine is gone without a word: what is on its way is lost, nothing arrives any more in
 * either direction, and no callback but left follows, when the worker closes its end (at once if it
 * has). The worker's TCP repeats what is not acknowledged, and gives up after a quarter of an hour.
 * To be followed by sim_conn_free. */
void sim_conn_vanish(struct sim_conn *c, void (*left)(void *arg), void *arg);
/* Closes (a FIN, or a reset when input is unread) and forgets it: no callback follows. */
void sim_conn_free(struct sim_conn *c);

/* An address that actors serve. Connections of the worker to it wait in accept until it returns. */
struct sim_listener;
struct sim_listener *sim_listen(const struct sockaddr *sa, socklen_t len,
				void (*accepted)(struct sim_listener *l, struct sim_conn *c),
				void *owner);
void *sim_listener_owner(const struct sim_listener *l);
void sim_conn_set(struct sim_conn *c, const struct sim_conn_ops *ops,
		  void *owner);			 /* in accepted */
void sim_listener_close(struct sim_listener *l); /* connects are refused from now on */

/* A datagram address that actors serve (DNS, syslog): called for each datagram of the worker. */
void sim_datagrams(const struct sockaddr *sa, socklen_t len,
		   void (*got)(const void *p, size_t n, const struct sockaddr *from,
			       socklen_t fromlen));
void sim_datagram_send(const struct sockaddr *from, const void *p, size_t n,
		       const struct sockaddr *to, socklen_t tolen);

/* ---- what the worker sees and actors prepare ---- */

/* A file of the virtual disk; replaces what is there. Folders above it are made. */
void sim_file_put(const char *path, const void *p, size_t n);
void sim_link_put(const char *path, const char *target); /* a symbolic link */
void sim_folder_put(const char *path);
/* The content of a file, or empty; valid until the next call of the worker. */
struct span sim_file_get(const char *path);
/* Opens for the worker: what an opener gives. >= 0 or -errno. */
int sim_open_log(const char *path);
/* What dup2 of a freshly opened file does: fd writes to that file from now on (logs reopened, after
 * the world moved the old file away with sim_file_rename). 0 or -errno. */
int sim_reopen_log(int fd, const char *path);
int sim_file_rename(const char *from, const char *to);
int sim_open_listener(const struct sockaddr *sa, socklen_t len, int backlog, bool reuseport);
size_t sim_disk_bytes(void); /* in files that are open or linked */
unsigned sim_fds_open(void); /* of the worker */
