#define SLUICE_SIM /* the count of what is out is in the simulator's copy of base/ */
#include "memory.h"
#include "base/pool.h"
#include "client.h"
#include "h2_abuse.h"
#include "h2_client.h"
#include "h2_server.h"
#include "leaks.h"
#include "server.h"
#include "world.h"

#define SAMPLE_US 5000
#define STACKLESS 40000	 /* bytes of a connection's structs, heads, log lines, pieces in hand */
#define SHARED	  600000 /* tables, caches, log buffers, blocks of a thread */

static struct mem_out begin, serving;
static struct sim_timer sampler;

/* What one request may hold by its configuration. */
static size_t memory_of_route(const struct route *r)
{
	size_t buffers = (size_t)r->buffers * r->buffer_size + 2 * (size_t)r->buffer_size;

	if (r->kind == ROUTE_RETURN)
		return 0;
	if (r->kind == ROUTE_FILES)
		return 20000;
	/* a response head, copies between pipe, file and socket, a piece rescued from a pipe */
	return buffers + r->body_buffer + 3 * 65536 + 2 * 16384;
}

/* What a stream holds besides: what its client may send before it is read, twice while the room for
 * it grows; a connection: frames on their way, nghttp2's tables. */
#define H2_DEFAULT_RECV (256 * 1024)
#define H2_WINDOW_UP	(256 * 1024) /* of an answer */
#define H2_CONNECTION	(3 * 65536)

static size_t memory_of_streams(unsigned streams)
{
	const struct setup *s = &world.setup;
	size_t recv = s->h2_recv ? s->h2_recv : H2_DEFAULT_RECV;

	/* before the client has heard of our settings it may send 64 KiB whatever they say */
	return streams * 2 * (MAX_OF(recv, s->h2_preread) + 65536);
}

static size_t memory_ceiling(void)
{
	unsigned streams, muxes = muxes_connected(&streams);
	unsigned bad_streams, bad = abusers_connected(&bad_streams);
	unsigned up_streams, up = hservers_connected(&up_streams);
	size_t most = 0, connections = clients_connected() + servers_connected() + streams + bad +
				       bad_streams;

	for (unsigned i = 0; i < world.setup.nroutes; i++)
		most = MAX_OF(most, memory_of_route(&world.setup.routes[i]));
	/* two configurations may be alive, or three while one is read */
	return serving.bytes * (1 + 2 * (world.reloads > 0)) + world.setup.nthreads * SHARED +
	       connections * (most + STACKLESS) + memory_of_streams(streams + bad_streams) +
	       (muxes + up + bad) * H2_CONNECTION + up_streams * 2 * H2_WINDOW_UP;
}

#define LOGS	    2000000 /* bytes of log files that a world may write */
#define UPLOAD_MOST 400000

static size_t disk_begin;

/* Temporary files of answers and of requests. */
static void disk_sample(void)
{
	unsigned streams, bad_streams, users = clients_connected();
	size_t most = 0, now = sim_disk_bytes();

	muxes_connected(&streams);
	abusers_connected(&bad_streams);
	users += streams + bad_streams;
	for (unsigned i = 0; i < world.setup.nroutes; i++)
		if (world.setup.routes[i].temp_files)
			most = MAX_OF(most, world.setup.routes[i].temp_max);
	most = disk_begin + LOGS + users * (most + UPLOAD_MOST);
	if (now > most)
		sim_broken("disk", "%zu bytes with %u clients (at most %zu)", now, users, most);
}

static void memory_sample(struct sim_timer *t)
{
	size_t now = mem_out().bytes, most = memory_ceiling();

	if (now > most)
		sim_broken("memory",
			   "%zu bytes with %u clients and %u connections to servers (at most %zu)",
			   now, clients_connected(), servers_connected(), most);
	disk_sample();
	if (world.clients_left && !world.ending)
		sim_timer_start(&sampler, sim_now_us() + SAMPLE_US);
}

void memory_begin(void)
{
	begin = mem_out();
}

void memory_serving(void)
{
	serving = mem_out();
	disk_begin = sim_disk_bytes();
	sampler.run = memory_sample;
	sim_timer_start(&sampler, sim_now_us() + SAMPLE_US);
}

void memory_check_rest(void)
{
	size_t now = mem_out().bytes;

	if (now > serving.bytes * (1 + (world.reloads > 0)) + world.setup.nthreads * SHARED)
		sim_broken("memory", "%zu bytes at rest, %zu before the first client", now,
			   serving.bytes);
}

void memory_check_end(void)
{
	struct mem_out now = mem_out();

	if (now.objects == begin.objects)
		return;
	leaks_print();
	sim_broken("leak", "%zd objects, %zd bytes are left", now.objects - begin.objects,
		   now.bytes - begin.bytes);
}
