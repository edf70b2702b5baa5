/* Sending an answer: filters, head, and the one pump that pulls the body and pushes it to the
 * client. */
#include <errno.h>
#include "base/mutant.h"
#include "serve/conn.h"
#include "serve/req_internal.h"
#include "serve/tunnel.h"

static MAY_SUSPEND enum fail run_filters(struct req *r)
{
	for (enum fail (**h)(struct req *, struct resp *) = http_hooks.filter; *h; h++) {
		enum fail f = (*h)(r, &r->resp);

		if (f != FAIL_OK)
			return f;
	}
	return FAIL_OK;
}

/* How many bytes may go now under limit_rate; sleeps when none may. 0: failed. */
static MAY_SUSPEND size_t rate_allows(struct req *r, uint64_t since_ms, size_t want, enum fail *f)
{
	int64_t rate = r->limit_rate;

	*f = FAIL_OK;
	while (rate > 0 && want) {
		uint64_t elapsed = io_now_ms() - since_ms;
		int64_t allowed = r->limit_rate_after +
				  (int64_t)((elapsed / 1000 + 1) * (uint64_t)rate) -
				  (int64_t)r->body_bytes_sent;

		if (allowed > 0)
			return MIN_OF(want, (size_t)allowed);
		if (co_sleep_until(io_now_ms() + MIN_OF((uint64_t)(-allowed * 1000 / rate + 1),
							1000)) == -ECANCELED) {
			*f = r->aborted ? FAIL_CLIENT_CLOSED : FAIL_CANCELLED;
			return 0;
		}
	}
	return want;
}

static void piece_split(struct piece *pc, struct piece *head, size_t n)
{
	*head = *pc;
	if (n >= piece_len(pc)) {
		pc->mem.n = pc->len = 0;
		return;
	}
	head->last = false;
	head->flush = true;
	if (pc->kind == PIECE_MEM) {
		head->mem.n = n;
		pc->mem.p += n;
		pc->mem.n -= n;
	} else {
		head->len = n;
		pc->off += (off_t)n;
		pc->len -= n;
	}
}

static MAY_SUSPEND enum fail send_limited(struct req *r, struct piece *pc, uint64_t since_ms)
{
	struct piece head;
	enum fail f;

	do {
		size_t n = rate_allows(r, since_ms, piece_len(pc), &f);

		if (f != FAIL_OK)
			return f;
		piece_split(pc, &head, n);
		r->body_bytes_sent += n;
		f = r->sink->data(r, &head);
		if (f != FAIL_OK)
			return f;
	} while (!head.last && piece_len(pc));
	return FAIL_OK;
}

static MAY_SUSPEND enum fail pump(struct req *r)
{
	struct body *b = r->resp.body;
	uint64_t since = io_now_ms();
	struct piece pc;
	enum fail f;

	b->accept = (uint8_t)r->sink->accepts(r);
	if (r->limit_rate > 0)
		b->accept &= (uint8_t)~PIECE_PIPE;
	if (!body_ready(b)) {
		f = r->sink->flush(r); /* the head does not wait for a slow body */
		if (f != FAIL_OK)
			return f;
	}
	do {
		f = body_next(b, &pc);
		if (MUTANT(cut_is_whole) && f == FAIL_UPSTREAM_TRUNCATED) {
			pc = (struct piece){.last = true};
			f = FAIL_OK;
		}
		if (f != FAIL_OK)
			return f;
		if (!pc.last && !body_ready(b))
			pc.flush = true;
		if (r->limit_rate > 0) {
			f = send_limited(r, &pc, since);
		} else {
			r->body_bytes_sent += piece_len(&pc);
			f = r->sink->data(r, &pc);
		}
		if (f != FAIL_OK)
			return f;
	} while (!pc.last);
	return FAIL_OK;
}

static void rate_of(struct req *r)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	int64_t v;

	if (r->resp.limit_rate >= 0) {
		r->limit_rate = r->resp.limit_rate;
	} else if (!r->limit_rate_set && l->limit_rate) {
		r->limit_rate = conf_parse_size(tmpl_eval(l->limit_rate, &r->vars), &v) ? v : 0;
	}
	r->limit_rate_after = 0;
	if (l->limit_rate_after && conf_parse_size(tmpl_eval(l->limit_rate_after, &r->vars), &v))
		r->limit_rate_after = v;
}

MAY_SUSPEND enum fail respond(struct req *r)
{
	struct resp *resp = &r->resp;
	bool has_body;
	enum fail f;

	if (r->error_status) {
		resp->status = r->error_status;
		resp->reason = (struct span){0}; /* was that of another status */
	}
	/* To CONNECT, success means a tunnel: nothing else may look like one. */
	if (r->in.method == METHOD_CONNECT && !resp->tunnel && resp->status < 300)
		return FAIL_METHOD_NOT_ALLOWED;
	r->status = resp->status;
	if (r->challenge.n) {
		f = hdrs_add_id(&resp->headers,
				r->proxied ? HDR_PROXY_AUTHENTICATE : HDR_WWW_AUTHENTICATE,
				r->challenge);
		if (f != FAIL_OK)
			return f;
	}
	f = run_filters(r);
	if (f != FAIL_OK)
		return f;
	if (resp->location.p)
		resp->location = absolute_location(r, resp->location);
	if (!http_is_field_value(resp->location) || !http_is_field_value(resp->content_type))
		return FAIL_BAD_CONFIG_VALUE;
	rate_of(r);
	r->status = resp->status;
	if (resp->status != 200 && resp->status != 206 && resp->status != 304)
		resp->last_modified = -1;
	if (resp->status == 204)
		resp->content_type = resp->charset = (struct span){0};
	has_body = resp->body && http_response_has_body(r->in.method, resp->status);
	f = r->sink->head(r, resp, resp->body != NULL);
	if (f != FAIL_OK)
		return f;
	r->head_sent = true;
	if (has_body)
		f = pump(r);
	else
		f = r->sink->flush(r);
	if (resp->body) {
		body_close(resp->body);
		resp->body = NULL;
	}
	r->sent_all = f == FAIL_OK;
	return f;
}
