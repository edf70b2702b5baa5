/* Handing idle connections from one thread to another. Who has none asks the thread that parked one
 * last and waits a moment; only the descriptor travels. A thread never gives its last one away: two
 * threads that take turns would else hand the same connection to and fro for every request. */
#include "base/pool.h"
#include "conf/snapshot.h"
#include "proxy/upconn_int.h"

#define ASK_MS 5 /* longest wait for an answer */

/* Between post and run the struct belongs to the receiver; co and answered are the asker's alone.
 */
struct handover {
	struct io_msg msg;
	struct list link;  /* of the receiver's seat, until run */
	struct peer *peer; /* referenced */
	uint64_t identity;
	struct upconn_gift gift;
	unsigned asker; /* thread */
	struct co *co;	/* waits; NULL: it has given up */
	bool answered;
};

/* The loops that can be asked. */
static struct seat {
	pthread_mutex_t lock;
	struct io_loop *loop; /* NULL: gone, or not there yet */
	struct list posted;   /* handovers that were not run yet */
} seats[THREADS_MAX] = {[0 ... THREADS_MAX - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

/* False: that thread is gone. */
static bool post_to(unsigned thread, struct handover *h, void (*run)(struct io_msg *m))
{
	struct seat *s = &seats[thread];
	bool there;

	h->msg.run = run;
	pthread_mutex_lock(&s->lock);
	there = s->loop;
	if (there) {
		list_push(&s->posted, &h->link);
		io_post(s->loop, &h->msg);
	}
	pthread_mutex_unlock(&s->lock);
	return there;
}

static struct handover *posted_take(struct io_msg *m)
{
	struct handover *h = CONTAINER_OF(m, struct handover, msg);
	struct seat *s = &seats[io_loop_index()];

	pthread_mutex_lock(&s->lock);
	list_del(&h->link);
	pthread_mutex_unlock(&s->lock);
	return h;
}

static void handover_free(struct handover *h)
{
	if (h->gift.fd >= 0)
		sys->close(h->gift.fd);
	peer_unref(h->peer);
	mem_free(h);
}

void upconn_share_join(void)
{
	struct seat *s = &seats[io_loop_index()];

	pthread_mutex_lock(&s->lock);
	list_init(&s->posted);
	s->loop = io_loop;
	pthread_mutex_unlock(&s->lock);
}

/* All loops have stopped: nobody waits for an answer, and what was posted last is never run. */
void upconn_share_leave(void)
{
	struct seat *s = &seats[io_loop_index()];
	struct list *l;

	pthread_mutex_lock(&s->lock);
	s->loop = NULL;
	while (s->posted.next && (l = list_take(&s->posted)))
		handover_free(CONTAINER_OF(l, struct handover, link));
	pthread_mutex_unlock(&s->lock);
}

/* On the asker's thread. */
static void answer(struct io_msg *m)
{
	struct handover *h = posted_take(m);

	if (!h->co) {
		handover_free(h);
		return;
	}
	h->answered = true;
	co_wake(h->co, 0);
}

/* On the giver's thread. */
static void asked(struct io_msg *m)
{
	struct handover *h = posted_take(m);

	h->gift.fd = -1;
	upconn_give_away(h->peer, h->identity, &h->gift);
	if (!post_to(h->asker, h, answer))
		handover_free(h);
}

bool upconn_ask(struct peer *peer, uint64_t identity, struct upconn_gift *out)
{
	unsigned other = atomic_load_explicit(&peer->idle_thread, memory_order_relaxed);
	struct handover *h;
	bool got;

	if (other == io_loop_index() || atomic_load_explicit(&peer->idle, memory_order_relaxed) < 2)
		return false;
	h = mem_zalloc(sizeof(*h));
	if (!h)
		return false;
	*h = (struct handover){.peer = peer,
			       .identity = identity,
			       .gift = {.fd = -1},
			       .asker = io_loop_index(),
			       .co = co_current()};
	peer_ref(peer);
	if (!post_to(other, h, asked)) {
		handover_free(h);
		return false;
	}
	if (co_suspend(io_after(ASK_MS)) < 0 && !h->answered) {
		h->co = NULL; /* answer() frees it */
		return false;
	}
	*out = h->gift;
	got = out->fd >= 0;
	h->gift.fd = -1;
	handover_free(h);
	return got;
}
