/* The actors' side of the network: the same ends, with callbacks instead of epoll. */
#include <errno.h>
#include "io/sim_int.h"

struct sim_conn {
	struct list all;
	struct sim_end *end;
	const struct sim_conn_ops *ops;
	void *owner;
	bool connected, full;
	bool refused; /* in that callback: freed behind it */
};

static struct list conns = {&conns, &conns};

static struct sim_conn *conn_new(struct sim_end *e)
{
	struct sim_conn *c = mem_plain_zalloc(sizeof(*c));

	list_push(&conns, &c->all);
	c->end = e;
	e->actor = c;
	return c;
}

struct sim_conn *sim_conn_take(struct sim_end *e)
{
	struct sim_conn *c = conn_new(e);

	c->connected = true;
	return c;
}

/* At most one callback, the last thing done: it may free c. */
void sim_conn_edge(struct sim_end *e, unsigned mask)
{
	struct sim_conn *c = e->actor;

	if (!c->ops)
		return;
	if (!c->connected && e->dead) {
		c->refused = true;
		c->ops->refused(c, -e->err);
		c->refused = false;
		sim_conn_free(c);
	} else if (!c->connected) {
		c->connected = true;
		if (c->ops->connected)
			c->ops->connected(c);
	} else if (e->dead) {
		c->ops->reset(c);
	} else if (mask & EPOLLIN) {
		c->ops->readable(c);
	} else if (c->full && (mask & EPOLLOUT)) {
		c->full = false;
		c->ops->writable(c);
	}
}

struct sim_conn *sim_connect(const struct sockaddr *from, const struct sockaddr *to, socklen_t len,
			     const struct sim_conn_ops *ops, void *owner)
{
	struct sim_addr t = sim_addr_make(to, len);
	struct sim_addr f = from ? sim_addr_make(from, len) : sim_addr_source(&t);
	struct sim_end *e;
	struct sim_conn *c;
	int r;

	if (from && !sim_addr_port(&f))
		sim_addr_set_port(&f, sim_port_ephemeral());
	e = &sim_link_new(&f, &t)->end[0];
	c = conn_new(e);
	c->ops = ops;
	c->owner = owner;
	r = sim_connect_start(e, false);
	if (r != -EINPROGRESS)
		sim_connect_tell(e, -r);
	return c;
}

void *sim_conn_owner(const struct sim_conn *c)
{
	return c->owner;
}

size_t sim_conn_write(struct sim_conn *c, const void *p, size_t n)
{
	ssize_t r = sim_end_send(c->end, &(struct iovec){(void *)p, n}, 1);
	size_t took = r > 0 ? (size_t)r : 0;

	SIM_LOG("actor %ld writes %ld of %ld", c->end->id, took, n);
	if (r == -EPIPE)
		sim_end_no_reader(c->end);
	if (took < n)
		c->full = true;
	return took;
}

ssize_t sim_conn_read(struct sim_conn *c, void *p, size_t n)
{
	struct sim_end *e = c->end;
	ssize_t r;

	if (e->rx.len) {
		r = sim_end_recv(e, &(struct iovec){p, n}, 1, 0);
		SIM_LOG("actor %ld reads %ld", e->id, r);
		return r;
	}
	return e->dead ? -2 : e->done ? -1 : 0;
}

size_t sim_conn_unread(const struct sim_conn *c)
{
	return c->end->rx.len;
}

size_t sim_conn_unsent(const struct sim_conn *c)
{
	return c->end->tx.len;
}

bool sim_conn_is_left(const struct sim_conn *c)
{
	return c->connected && c->end->peer->closed;
}

void sim_conn_shutdown(struct sim_conn *c)
{
	SIM_LOG("actor %ld sends its FIN", c->end->id);
	sim_end_shutdown(c->end, false, true);
}

void sim_conn_reset(struct sim_conn *c)
{
	SIM_LOG("actor %ld resets", c->end->id);
	sim_end_abort(c->end);
}

void sim_conn_vanish(struct sim_conn *c, void (*left)(void *arg), void *arg)
{
	SIM_LOG("actor %ld vanishes, %ld unread", c->end->id, c->end->rx.len);
	sim_end_vanish(c->end, left, arg);
}

void sim_conn_free(struct sim_conn *c)
{
	if (c->refused)
		return;
	SIM_LOG("actor %ld closes, %ld unread", c->end->id, c->end->rx.len);
	list_del(&c->all);
	sim_end_close(c->end, false);
	mem_plain_free(c);
}

void sim_actors_free(void)
{
	while (!list_empty(&conns))
		sim_conn_free(CONTAINER_OF(conns.next, struct sim_conn, all));
}

/* ---- listeners ---- */

struct sim_listener *sim_listen(const struct sockaddr *sa, socklen_t len,
				void (*accepted)(struct sim_listener *l, struct sim_conn *c),
				void *owner)
{
	struct sim_addr at = sim_addr_make(sa, len);
	struct sim_listener *l = sim_listener_new(&at);

	l->accepted = accepted;
	l->owner = owner;
	return l;
}

void *sim_listener_owner(const struct sim_listener *l)
{
	return l->owner;
}

void sim_conn_set(struct sim_conn *c, const struct sim_conn_ops *ops, void *owner)
{
	c->ops = ops;
	c->owner = owner;
}

void sim_listener_close(struct sim_listener *l)
{
	sim_listener_drop(l);
}
