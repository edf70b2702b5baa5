/* The event loop: one per thread. It waits for readiness, resumes coroutines, runs parked
 * callbacks, timers and the inbox.
 *
 * A struct iofd is a descriptor known to a loop. It is registered once, edge-triggered, for both
 * directions; `ready` remembers what the kernel said and nobody has consumed yet. Consumers read or
 * write only when `ready` says so, and clear the bit when the call came back short or with -EAGAIN
 * (io_recv and friends below do). At most one coroutine waits per direction; when none does, the
 * parked callback is called for read or hang-up events.
 *
 * Registration is lazy: iofd_init makes no system call; the first wait registers. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "base/span.h"
#include "base/wheel.h"
#include "co/co.h"
#include "io/sys.h"

#define IO_R	 1u /* readable, or the end */
#define IO_W	 2u /* writable */
#define IO_HUP	 4u /* both directions are gone, or an error is pending */
#define IO_RDHUP 8u /* the peer sent its FIN: a short read does not mean "drained" */

struct iofd {
	int fd;	       /* -1: closed */
	uint8_t ready; /* IO_* bits not yet consumed */
	bool registered;
	bool stalled_fair; /* internal: a coroutine that may go on gave up its turn (see iofd_wait)
			    */
	bool listener;	   /* internal: by iofd_register_listener */
	struct co *reader, *writer;
	bool parked_writes;		/* parked wants to hear of IO_W too (tunnels) */
	void (*parked)(struct iofd *f); /* on the loop's stack; NULL: events only set `ready` */
};

/* A message to another thread's loop. The struct belongs to the receiver from post until run. */
struct io_msg {
	struct io_msg *next;
	void (*run)(struct io_msg *m); /* on the receiver's loop stack */
};

struct io_loop;
extern _Thread_local struct io_loop *io_loop; /* of this thread */

/* Once per process, before any thread and before the first log line that should carry the time:
 * log_time and hash_seed come from here on from `sys`, and SIGPIPE is ignored (sendfile and splice
 * have no flag against it). */
void io_clock_init(void);

/* Makes the calling thread's loop (and its co_sched). -errno on failure. */
int io_loop_init(unsigned index);
/* All coroutines have returned, nobody posts any more; messages that have not run are dropped. */
void io_loop_fini(void);
/* Runs until io_loop_stop. Each turn: wait, events, timers, inbox, ready coroutines, `turn_end`
 * hooks. */
void io_loop_run(void);
/* One turn, waiting at most max_wait_ms: tests and the simulator. */
void io_loop_turn(uint64_t max_wait_ms);
void io_loop_stop(void);
unsigned io_loop_index(void); /* as given to io_loop_init: 0 .. threads-1 */

/* Called at the end of every turn in which it was armed (io_turn_end_arm): log flushing. */
struct io_turn_end {
	struct list link;
	void (*run)(struct io_turn_end *h);
};
void io_turn_end_init(struct io_turn_end *h, void (*run)(struct io_turn_end *));
void io_turn_end_arm(struct io_turn_end *h); /* idempotent within a turn */

/* From any thread, its own included; a message runs in the receiver's next turn at the latest, and
 * those of one sender in the order they were posted. */
void io_post(struct io_loop *to, struct io_msg *m);

/* Time of this turn. */
static inline uint64_t io_now_ms(void)
{
	return co_sched.now_ms;
}
static inline uint64_t io_after(uint64_t ms) /* a deadline; ms == 0 or CO_NEVER: never */
{
	return ms == 0 || ms == CO_NEVER ? CO_NEVER : co_sched.now_ms + ms;
}
/* Wall clock of this turn. */
uint64_t io_wall_ms(void);
/* Cached texts of the wall clock, valid until the next turn. */
struct span io_time_http(void);	   /* Sun, 06 Nov 1994 08:49:37 GMT */
struct span io_time_log(void);	   /* 06/Nov/1994:08:49:37 +0000, local */
struct span io_time_iso8601(void); /* 1994-11-06T08:49:37+00:00, local */
struct span io_time_err(void);	   /* 1994/11/06 08:49:37, local */
struct span io_time_syslog(void);  /* Nov  6 08:49:37, local */
/* Not for secrets that outlive the process: a per-thread generator seeded from sys->random. */
uint64_t io_rand64(void);

/* Takes over fd. parked may be NULL. `ready` starts as IO_R | IO_W, for nothing is known yet: the
 * first call may come back with -EAGAIN. Registering takes IO_R back: the kernel will tell. */
void iofd_init(struct iofd *f, int fd, void (*parked)(struct iofd *));
/* Registers now (a parked descriptor must be, or nothing is ever reported). 0 or -errno. */
int iofd_register(struct iofd *f);
/* Level-triggered, shared among threads (EPOLLEXCLUSIVE): listening sockets. */
int iofd_register_listener(struct iofd *f);
/* Leaves the loop but keeps the descriptor open (handing an idle socket to another thread). */
void iofd_unregister(struct iofd *f);
/* Closes; pending events of this turn are forgotten; waiting coroutines get -EBADF, and the struct
 * must stay until they have run. Idempotent. */
void iofd_close(struct iofd *f);

/* Waits until one of `what` (IO_R, IO_W) is ready. Returns the ready bits, -ETIMEDOUT, -ECANCELED,
 * -EBADF when it is or was closed, or -errno when it cannot be registered. A coroutine that has
 * spent its budget (io_budget_spent) first lets all others go, even when the descriptor is ready.
 */
MAY_SUSPEND int iofd_wait(struct iofd *f, unsigned what, uint64_t deadline_ms);

/* Fairness: a coroutine that has moved more than IO_BUDGET_BYTES or made more than IO_BUDGET_CALLS
 * calls of the verbs below since it was last resumed should let others go. iofd_wait sees to it;
 * loops that never wait call io_fair, which yields when the budget is spent (0 or -ECANCELED). */
#define IO_BUDGET_BYTES (256 * 1024)
#define IO_BUDGET_CALLS 64
bool io_budget_spent(void);
void io_budget_spend(size_t bytes); /* one call that moved so many: for users of sys->... */
MAY_SUSPEND int io_fair(void);
/* For users of sys->... on f->fd (datagrams: there a short read does not mean drained): the call
 * came back with -EAGAIN, so what (IO_R or IO_W) is not ready. */
static inline void iofd_blocked(struct iofd *f, unsigned what)
{
	f->ready &= (uint8_t)~what;
}

/* Without waiting: >0 bytes, 0 at the end of the stream, -EAGAIN, or -errno. They keep `ready`
 * right: a short read means drained (unless IO_RDHUP or IO_HUP was seen), a short writev means
 * full; for sendfile and splice only -EAGAIN does, for the file or the pipe may have been the
 * reason. For byte streams; for splice_in the pipe must have room, for splice_out bytes, or -EAGAIN
 * misleads. */
ssize_t iofd_recv(struct iofd *f, void *p, size_t n);
ssize_t iofd_writev(struct iofd *f, const struct iovec *iov, int n);
/* More follows at once: the last packet may wait for it (MSG_MORE). */
ssize_t iofd_send_more(struct iofd *f, const void *p, size_t n);
ssize_t iofd_sendfile(struct iofd *f, int in, off_t *off, size_t n);
ssize_t iofd_splice_in(struct iofd *f, int pipe_w, size_t n);  /* socket to pipe */
ssize_t iofd_splice_out(struct iofd *f, int pipe_r, size_t n); /* pipe to socket */
/* Starts to connect and waits. 0, -ETIMEDOUT, -ECANCELED or -errno. */
MAY_SUSPEND int iofd_connect(struct iofd *f, const struct sockaddr *sa, socklen_t len,
			     uint64_t deadline_ms);
