/* What the files of the simulator share. One world per process, and at any moment one thread runs
 * (see sim_sched.c), so nothing here is locked. */
#pragma once
#include <stdbool.h>
#include <sys/un.h>
#include <netinet/in.h>
#include "base/list.h"
#include "base/pool.h"
#include "io/sim.h"

#define SIM_NEVER UINT64_MAX

/* ---- the world: sim.c ---- */

struct sim_world {
	struct sim_options o;
	bool running;
	uint64_t now_us;
	int64_t wall_jump_us;
	uint64_t wall_checked_s; /* clock jumps are drawn once per second */
	unsigned stuck;		 /* turns and events since time last moved */
	uint64_t print;		 /* the fingerprint */
	uint64_t timers;	 /* started so far */
	uint64_t ids;		 /* of descriptors and connections */
	uint64_t inos;
	unsigned next_port;
	uint64_t rng[4], seed;
};
extern struct sim_world sim;

uint64_t sim_between(uint64_t min, uint64_t max); /* both included */
uint64_t sim_latency_us(void);
void sim_mix(uint64_t x); /* into the fingerprint */
void sim_mix_bytes(const void *p, size_t n);
uint64_t sim_scramble(uint64_t x);

/* A record of the diary: cheap, formatted only when somebody looks. The format is a literal and
 * takes up to three %ld. */
#define SIM_LOG(fmt, ...) sim_record(__LINE__, fmt, (long[3]){__VA_ARGS__})
void sim_record(unsigned line, const char *fmt, const long v[3]);
void sim_diary_free(void);
#define SIM_MODEL(...) sim_broken("model", __VA_ARGS__)

/* ---- time: sim_time.c ---- */

uint64_t sim_timer_next(void);	    /* when, or SIM_NEVER */
bool sim_timer_run_one(void);	    /* a due one; false: none is */
void sim_time_move(uint64_t at_us); /* forward */
void sim_time_free(void);
uint64_t sim_mono_us(void);
uint64_t sim_wall_us(void);

/* ---- threads: sim_sched.c ---- */

struct sim_epoll;
void sim_sched_start(void);
void sim_sched_stop(void);
/* Lets the world go on until ep has events or the time has come. */
void sim_sched_wait(struct sim_epoll *ep, uint64_t deadline_us);
/* Another thread may run first: only in calls that nobody makes with a lock held. */
void sim_preempt(void);
uint64_t *sim_thread_rng(void); /* four words of the calling thread */
int sim_thread_index(void);
bool sim_thread_sleeping(const struct sim_epoll *ep); /* some thread waits there */
int sim_thread_start(pthread_t *id, void *(*run)(void *arg), void *arg);
void sim_thread_join(pthread_t id);
void sim_barrier_init(pthread_barrier_t *b, unsigned n);
void sim_barrier_wait(pthread_barrier_t *b);

/* ---- bytes: sim_fd.c ---- */

struct sim_bytes {
	char *p;
	size_t cap, head, len; /* p[head .. head + len) */
};
void sim_bytes_put(struct sim_bytes *b, const void *p, size_t n);
size_t sim_bytes_copy(const struct sim_bytes *b, void *p, size_t n); /* from the front */
void sim_bytes_drop(struct sim_bytes *b, size_t n);
void sim_bytes_free(struct sim_bytes *b);
size_t sim_iov_total(const struct iovec *iov, int n);
/* The first n bytes of b into iov; both are long enough. */
void sim_iov_fill(const struct iovec *iov, int niov, const struct sim_bytes *b, size_t n);
/* The first n bytes of iov behind b. */
void sim_iov_append(struct sim_bytes *b, const struct iovec *iov, int niov, size_t n);

/* ---- descriptors: sim_fd.c ---- */

#define SIM_FD_FIRST 10000 /* so that a real descriptor is told from ours */

struct sim_desc;
struct sim_kind {
	const char *name;
	unsigned (*poll)(struct sim_desc *d); /* EPOLL* bits now */
	void (*close)(struct sim_desc *d);    /* frees d */
	/* Both may be NULL: -EINVAL. They return what recv and send would. */
	ssize_t (*read)(struct sim_desc *d, const struct iovec *iov, int n, int flags);
	ssize_t (*write)(struct sim_desc *d, const struct iovec *iov, int n, int flags);
};

struct sim_desc {
	int fd;
	uint64_t id; /* never used again, other than fd */
	const struct sim_kind *kind;
	struct list watchers; /* struct sim_item of epolls */
};

extern const struct sim_kind sim_kind_sock, sim_kind_epoll, sim_kind_eventfd, sim_kind_pipe_r,
	sim_kind_pipe_w, sim_kind_file;

/* 0, or -errno: there is no room for another one under sim_limit_fds. */
int sim_fd_room(void);
/* A new descriptor (lowest free number), or -EMFILE, -ENFILE by fault or limit. */
int sim_fd_open(struct sim_desc *d, const struct sim_kind *kind);
/* NULL when fd is negative. A number that is not open breaks the world: the worker uses a closed
 * descriptor. */
struct sim_desc *sim_fd_get(int fd, const char *call);
/* Of that kind, or NULL with *err (-EBADF or err as given). */
void *sim_fd_kind(int fd, const struct sim_kind *kind, const char *call);
int sim_close(int fd);
void sim_fd_free(void); /* closes all */
/* Something happened that epoll would report as mask. */
void sim_desc_edge(struct sim_desc *d, unsigned mask);
/* The same, a little later and even if it is an old story: after a fault hid what was there. */
void sim_desc_edge_later(struct sim_desc *d, unsigned mask);
ssize_t sim_recv(int fd, void *p, size_t n, int flags);
ssize_t sim_send(int fd, const void *p, size_t n, int flags);
ssize_t sim_readv(int fd, const struct iovec *iov, int n);
ssize_t sim_writev(int fd, const struct iovec *iov, int n);

/* ---- epoll and eventfd: sim_epoll.c ---- */

struct sim_item {
	struct list of_desc, of_epoll, ready;
	struct sim_desc *d;
	struct sim_epoll *ep;
	uint32_t events;
	epoll_data_t data;
};
bool sim_epoll_ready(const struct sim_epoll *ep);
void sim_item_wake(struct sim_item *i);
void sim_item_free(struct sim_item *i);
int sim_epoll_create(void);
int sim_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);
int sim_epoll_wait(int ep, struct epoll_event *ev, int n, int timeout_ms);
int sim_eventfd(void);
int sim_eventfd_signal(int fd);
int sim_eventfd_drain(int fd);

/* ---- addresses: sim_addr.c ---- */

struct sim_addr {
	socklen_t len; /* 0: none */
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
};
struct sim_addr sim_addr_make(const struct sockaddr *sa, socklen_t len);
bool sim_addr_eq(const struct sim_addr *a, const struct sim_addr *b);
/* Does what is bound to at get what is sent to to? (the same, or a wildcard of the port) */
bool sim_addr_serves(const struct sim_addr *at, const struct sim_addr *to);
unsigned sim_addr_port(const struct sim_addr *a);
void sim_addr_set_port(struct sim_addr *a, unsigned port);
unsigned sim_port_ephemeral(void);
/* Where a connection to `to` comes from when nobody bound it. */
struct sim_addr sim_addr_source(const struct sim_addr *to);
/* As getsockname gives it. */
int sim_addr_give(const struct sim_addr *a, struct sockaddr *sa, socklen_t *len);
const char *sim_addr_text(const struct sim_addr *a); /* valid until the fourth call from now */

/* ---- TCP: sim_tcp.c ---- */

struct sim_sock;
struct sim_conn;

/* One end of a connection, a worker's or an actor's; the names are Linux's (sk_err, sk_shutdown,
 * SOCK_DONE, SOCK_NOSPACE). tx holds what was sent and has not arrived: the first `inflight` bytes
 * are cut into segments and on their way. */
struct sim_end {
	struct sim_link *link;
	struct sim_end *peer;
	struct sim_sock *sock;	/* the worker's socket; NULL: not accepted yet, closed, or .. */
	struct sim_conn *actor; /* .. an actor's */
	struct sim_addr local, remote;
	bool connecting; /* SYN_SENT */
	bool dead;	 /* CLOSE: reset, or the connect failed */
	bool closed;	 /* nobody holds it any more */
	bool unixy;
	int err;
	bool rd_shut, wr_shut, done, nospace;
	bool fin_queued, fin_sent;
	bool corked;		 /* TCP_CORK: less than a segment waits .. */
	struct sim_timer uncork; /* .. this long */
	struct sim_bytes rx, tx;
	size_t inflight, sndbuf, rcvbuf;
	struct list segs;	  /* on their way to the peer */
	struct sim_timer arrival; /* of the first one */
	uint64_t last_at;
	struct list pending; /* in a listener's queue */
	struct sim_listener *queue;
	uint64_t bytes_sent, bytes_acked, bytes_received;
	uint32_t rtt_us;
	long id;
};
struct sim_link {
	unsigned busy;	  /* callers that still touch it */
	bool vanished;	  /* nothing arrives any more */
	uint64_t lost_us; /* since when something is not acknowledged; 0: nothing is */
	struct sim_timer giveup;
	struct sim_end *stays; /* of the two ends */
	void (*left)(void *arg);
	void *left_arg;
	struct list all;
	struct sim_end end[2];
};

struct sim_link *sim_link_new(const struct sim_addr *from, const struct sim_addr *to);
void sim_link_release(struct sim_link *l); /* takes one off `busy` */
ssize_t sim_end_recv(struct sim_end *e, const struct iovec *iov, int n, int flags);
ssize_t sim_end_send(struct sim_end *e, const struct iovec *iov, int n);
/* An actor met EPIPE because a Unix socket has closed: it hears of that as of a reset. */
void sim_end_no_reader(struct sim_end *e);
unsigned sim_end_poll(struct sim_end *e);
void sim_end_shutdown(struct sim_end *e, bool rd, bool wr);
void sim_end_close(struct sim_end *e, bool linger0);
void sim_end_cork(struct sim_end *e, bool on);
void sim_end_vanish(struct sim_end *e, void (*left)(void *arg), void *arg);
unsigned sim_end_retransmits(const struct sim_end *e); /* in a row */
void sim_end_abort(struct sim_end *e);		       /* RST at once; e stays held */
void sim_end_fail(struct sim_end *e, int err);	       /* a connect came to nothing */
/* The connection stands for e: what waited may leave, and its holder hears of it. */
void sim_end_established(struct sim_end *e);
void sim_tcp_free(void);
/* Something an actor hears of: sim_actor.c. */
void sim_conn_edge(struct sim_end *e, unsigned mask);
struct sim_conn *sim_conn_take(struct sim_end *e); /* an actor's listener got it */
void sim_actors_free(void);

/* ---- listeners and connecting: sim_listen.c ---- */

struct sim_listener {
	struct list link; /* of all, in the order they were made */
	struct sim_addr at;
	bool closed;
	/* the worker's */
	struct sim_sock *sock;
	unsigned backlog, npending;
	struct list pending; /* sim_end.pending: to be accepted */
	/* an actor's */
	void (*accepted)(struct sim_listener *l, struct sim_conn *c);
	void *owner;
};
struct sim_listener *sim_listener_new(const struct sim_addr *at);
struct sim_listener *sim_listener_find(const struct sim_addr *to);
bool sim_listener_taken(const struct sim_addr *at);
void sim_listener_drop(struct sim_listener *l); /* nobody listens any more */
/* Starts to connect e (the first end of its link). 0: it stands (Unix); -EINPROGRESS; -errno. */
int sim_connect_start(struct sim_end *e, bool faulty);
/* What sim_connect_start said at once, told to an actor a moment later; err >= 0. */
void sim_connect_tell(struct sim_end *e, int err);
void sim_listeners_free(void);
void sim_handshakes_free(void);

/* ---- sockets: sim_sock.c, sim_dgram.c ---- */

struct sim_sock {
	struct sim_desc d;
	int domain, type;
	bool linger0, reuseport, v6only;
	struct sim_addr bound;
	struct sim_end *end;
	struct sim_listener *lis;
	struct sim_dgram *dgram;
};
int sim_socket(int domain, int type, int protocol);
int sim_bind(int fd, const struct sockaddr *sa, socklen_t len);
int sim_sock_listen(int fd, int backlog);
int sim_accept(int fd, struct sockaddr *sa, socklen_t *len);
int sim_sock_connect(int fd, const struct sockaddr *sa, socklen_t len);
int sim_shutdown(int fd, int how);
int sim_setsockopt(int fd, int level, int name, const void *val, socklen_t len);
int sim_getsockopt(int fd, int level, int name, void *val, socklen_t *len);
int sim_getsockname(int fd, struct sockaddr *sa, socklen_t *len);
int sim_getpeername(int fd, struct sockaddr *sa, socklen_t *len);

void sim_dgram_new(struct sim_sock *s);
void sim_dgram_close(struct sim_sock *s);
int sim_dgram_bind(struct sim_sock *s, const struct sim_addr *at);
int sim_dgram_connect(struct sim_sock *s, const struct sim_addr *to);
unsigned sim_dgram_poll(struct sim_sock *s);
ssize_t sim_dgram_recv(struct sim_sock *s, const struct iovec *iov, int n, int flags,
		       struct sim_addr *from);
ssize_t sim_dgram_send(struct sim_sock *s, const struct iovec *iov, int n,
		       const struct sim_addr *to);
const struct sim_addr *sim_dgram_peer(const struct sim_sock *s);
const struct sim_addr *sim_dgram_local(const struct sim_sock *s);
int sim_dgram_error(struct sim_sock *s); /* SO_ERROR: reads and forgets */
ssize_t sim_recvfrom(int fd, void *p, size_t n, int flags, struct sockaddr *sa, socklen_t *len);
ssize_t sim_sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *sa,
		   socklen_t len);
void sim_dgrams_free(void);

/* ---- pipes: sim_pipe.c ---- */

int sim_pipe(int fds[2]);
ssize_t sim_splice(int in, int out, size_t n, unsigned flags);
ssize_t sim_sendfile(int out, int in, off_t *off, size_t n);

/* ---- files: sim_disk.c (the tree), sim_file.c (the calls) ---- */

struct sim_node {
	struct sim_node *parent; /* NULL: the root, or unlinked */
	struct list link, children;
	struct list all;
	char *name;
	mode_t mode; /* with the S_IF bits */
	uint64_t ino, mtime_us;
	char *p; /* content, or the target of a symbolic link */
	size_t n, cap;
	unsigned opened; /* descriptors */
};
/* One step after the other; dir == NULL: the root. follow: a link at the end is gone through. */
int sim_node_walk(struct sim_node *dir, const char *path, bool follow, struct sim_node **found);
/* The folder that holds (or would hold) the last name of path, and that name. */
int sim_node_parent(struct sim_node *dir, const char *path, struct sim_node **folder,
		    const char **name, size_t *n);
struct sim_node *sim_node_child(struct sim_node *folder, const char *name, size_t n);
struct sim_node *sim_node_new(struct sim_node *folder, const char *name, size_t n, mode_t mode);
void sim_node_unlink(struct sim_node *node);
void sim_node_move(struct sim_node *node, struct sim_node *folder, const char *name, size_t n);
void sim_node_unref(struct sim_node *node); /* a descriptor goes */
void sim_node_resize(struct sim_node *node, size_t n);
struct sim_node *sim_disk_root(void);
void sim_file_folders(const char *path); /* those above path, made when they are not there */
void sim_disk_free(void);
/* The bytes of a file open at fd, for sendfile; -errno otherwise. */
int sim_file_bytes(int fd, off_t off, struct span *bytes);

int sim_openat(int dir, const char *path, int flags, mode_t mode);
int sim_fstat(int fd, struct stat *st);
int sim_fstatat(int dir, const char *path, struct stat *st, int flags);
ssize_t sim_pread(int fd, void *p, size_t n, off_t off);
ssize_t sim_pwrite(int fd, const void *p, size_t n, off_t off);
ssize_t sim_write(int fd, const void *p, size_t n);
int sim_unlink(const char *path);
int sim_rename(const char *from, const char *to);
int sim_mkdir(const char *path, mode_t mode);
int sim_ftruncate(int fd, off_t n);
ssize_t sim_readlinkat(int dir, const char *path, char *buf, size_t n);
ssize_t sim_realpath(const char *path, char *buf, size_t n);
