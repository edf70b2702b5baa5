/* Uploads that go out as they come in, and what can meet them: races that were once fixed from
 * reading alone. In each the delays are drawn, so that many seeds meet the moment itself. */
#include "client.h"
#include "scenarios.h"
#include "server.h"

static void upload_kernel(void)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 2);

	world.o.latency_max_us = (unsigned)(h % 4 * 300);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 8) % 5;
	world_start();
	setup_plain(&world.setup);
	world.setup.nthreads = 1 + (unsigned)sim_draw(2);
	world.o.faults.preempt = 500;
	world.o.faults.short_read = world.o.faults.short_write = (unsigned)sim_draw(3000);
}

static struct client *upload_client(const struct route *r, bool expect)
{
	struct client *c = client_new();
	struct ask *a = client_ask(c, r, ASK_PROXIED, sim_chance(5000) ? "PUT" : "POST");

	c->after_us = sim_draw(20000);
	a->length = (int64_t)sim_draw(100000);
	client_upload(c, 1 + (int64_t)sim_draw(200000), sim_chance(5000));
	a->expect = expect;
	return c;
}

/* ---- (a) 100 (Continue) and the final head at once ---- */

struct meeting {
	struct sim_timer t;
	struct sconn *s;
};

static void meeting_now(struct sim_timer *t)
{
	sconn_answer(CONTAINER_OF(t, struct meeting, t)->s, ACT_EARLY);
}

/* The server answers just about when the worker passes 100 on. */
static bool continue_hook(struct sconn *s, struct ask *a)
{
	static struct meeting m[64];
	static unsigned n;

	if (n == 64)
		return false;
	m[n] = (struct meeting){.t.run = meeting_now, .s = s};
	sim_timer_start(&m[n++].t, sim_now_us() + sim_draw(1500));
	return true;
}

static void continue_run(void)
{
	upload_kernel();
	server_hook = continue_hook;
	for (unsigned i = 0; i < 20; i++)
		client_start(upload_client(&world.setup.routes[1], true));
	world_run();
}

const struct scenario scenario_continue = {"continue", "100 (Continue) meets the final head",
					   continue_run};

/* ---- (c) a sender that is woken as it is cancelled; the next server gets the body whole ---- */

static void cancel_run(void)
{
	static enum act acts[64];

	upload_kernel();
	for (unsigned i = 0; i < 64; i++)
		acts[i] = (enum act[]){ACT_CLOSE_UPLOAD, ACT_RESET, ACT_EARLY_CLOSE,
				       ACT_STATUS,	 ACT_LAZY,  ACT_ANSWER}[sim_draw(6)];
	server_script(acts, 64);
	world.setup.groups[0].nservers = 3;
	world.setup.groups[0].honest = false;
	world.setup.groups[0].servers[1] = world.setup.groups[0].servers[2] =
		(struct server_setup){.weight = 1};
	for (unsigned i = 0; i < 3; i++)
		world.setup.routes[i].next = NEXT_ERROR | NEXT_TIMEOUT | NEXT_HTTP_500 |
					     NEXT_HTTP_502 | NEXT_HTTP_503 | NEXT_HTTP_504;
	for (unsigned i = 0; i < 20; i++)
		client_start(upload_client(&world.setup.routes[sim_draw(3)], sim_chance(3000)));
	world_run();
}

const struct scenario scenario_cancel = {"cancel", "servers give up while an upload runs",
					 cancel_run};

/* ---- (d) an early answer while an upload runs ---- */

static void early_run(void)
{
	static enum act acts[40];

	upload_kernel();
	for (unsigned i = 0; i < 40; i++)
		acts[i] = ACT_EARLY;
	server_script(acts, 40);
	for (unsigned i = 0; i < 20; i++) {
		struct client *c =
			upload_client(&world.setup.routes[sim_draw(3)], sim_chance(2000));

		c->asks[0]->length = (int64_t)sim_draw(1000000);
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_early = {"early", "answers come before the upload has ended",
					early_run};

/* ---- (e) a server closes an idle connection just as a request is sent ---- */

static void idle_run(void)
{
	static enum act acts[200];

	upload_kernel();
	for (unsigned i = 0; i < 200; i++)
		acts[i] = sim_chance(8000) ? ACT_CLOSE_IDLE : ACT_SPEAK_IDLE;
	server_script(acts, 200);
	world.setup.groups[0].honest = false;
	for (unsigned i = 0; i < 5; i++)
		world.setup.routes[i].retry_reused = sim_chance(5000);
	for (unsigned i = 0; i < 12; i++) {
		struct client *c = client_new();

		c->after_us = sim_draw(5000);
		c->think_us = (unsigned)sim_draw(60000); /* as long as the servers wait, at most */
		for (unsigned k = 0; k < 6; k++) {
			struct ask *a = client_ask(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED,
						   sim_chance(5000) ? "GET" : "POST");

			a->length = (int64_t)sim_draw(3000);
			if (a->method[0] == 'P')
				client_upload(c, (int64_t)sim_draw(5000), sim_chance(5000));
		}
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_idle = {"idle", "servers close idle connections at the worst moment",
				       idle_run};
