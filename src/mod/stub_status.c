/* stub_status: counters of the whole instance as text and variables. */
#include "http/msg.h"
#include "mod/mods.h"
#include "serve/core.h"
#include "serve/req.h"
#include "serve/serve.h"

static int stub_status(struct req *r)
{
	struct serve_counters n;
	struct span text;

	if (r->method != METHOD_GET && r->method != METHOD_HEAD)
		return req_fail(r, FAIL_METHOD_NOT_ALLOWED);
	r->discard_body = true;
	serve_counters_get(&n);
	text = arena_printf(
		&r->arena,
		"Active connections: %llu \nserver accepts handled requests\n %llu %llu %llu \n"
		"Reading: %llu Writing: %llu Waiting: %llu \n",
		(unsigned long long)n.active, (unsigned long long)n.accepted,
		(unsigned long long)n.handled, (unsigned long long)n.requests,
		(unsigned long long)n.reading, (unsigned long long)n.writing,
		(unsigned long long)n.waiting);
	if (!text.p)
		return req_fail(r, FAIL_NO_MEMORY);
	return req_answer_text(r, 200, SPAN("text/plain"), text);
}

static int stub_status_set(struct conf_call *c)
{
	struct location *l = location_of(c->scope);

	if (!l) {
		struct server *s = server_of(c->scope);

		l = s->root;
	}
	l->handler = stub_status;
	return CONF_OK;
}

static bool get_counter(struct var_ctx *v, const struct var *self, struct span *out)
{
	struct serve_counters n;

	serve_counters_get(&n);
	*out = arena_printf(v->arena, "%llu",
			    (unsigned long long)*(uint64_t *)((char *)&n + self->data));
	return out->p != NULL;
}

#define COUNTER(nm)                                                                                \
	{                                                                                          \
		.name = SPAN_INIT("connections_" #nm), .get = get_counter,                         \
		.data = offsetof(struct serve_counters, nm), .flags = VAR_NO_CACHE                 \
	}

static const struct var vars[] = {
	COUNTER(active), COUNTER(reading), COUNTER(writing), COUNTER(waiting), {.name = {NULL, 0}},
};

static const struct conf_row rows[] = {
	MCUSTOM("stub_status", IN_SERVER | IN_LOCATION, 0, 1, 0, stub_status_set,
		"Answer with counters of connections and requests."),
	MEND,
};

static struct conf_mod stub_status_mod = {.name = "stub_status", .rows = rows};
static struct conf_mod *const confs[] = {&stub_status_mod, NULL};

const struct http_module stub_status_module = {.name = "stub_status", .confs = confs, .vars = vars};
