/* The input is a script of what a peer sends under the right keys: records of any content, records
 * with a byte changed, and raw bytes. Never read or write outside, never an answer that contradicts
 * the state, nothing changed gets through, and both ends agree on the keys after every KeyUpdate.
 */
#include <stdlib.h>
#include <string.h>
#include "base/bug.h"
#include "net/tls_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OP_RAW, OP_SEALED, OP_CHANGED, OP_ANSWER, OPS };

static void check(const struct tls_record *r, enum tls_got got, const struct tls_opened *o,
		  const uint8_t *room, size_t n)
{
	if (got == TLS_GOT_DATA)
		BUG_ON(o->p != room || !o->n || o->n + 1 > n - TLS_HEAD - TLS_TAG || r->barren);
	BUG_ON(got == TLS_GOT_END && !r->ended);
	BUG_ON(got == TLS_GOT_ALERT && !o->alert);
	BUG_ON(got == TLS_GOT_ERROR && !o->alert);
	BUG_ON(r->nmsg >= sizeof(r->msg) && got != TLS_GOT_ERROR);
}

/* One record to the server, from memory of just its size; changed: another bit than it was. */
static enum tls_got feed(struct tls_record *server, const uint8_t *p, size_t n)
{
	uint8_t *raw = malloc(n), *room = malloc(n);
	struct tls_opened o;
	enum tls_got got;

	BUG_ON(!raw || !room);
	memcpy(raw, p, n);
	got = tls_record_open(server, raw, n, room, &o);
	check(server, got, &o, room, n);
	free(raw);
	free(room);
	return got;
}

static enum tls_got sealed(struct tls_record *client, struct tls_record *server, const uint8_t *p,
			   size_t n, bool change)
{
	uint8_t raw[TLS_OVERHEAD + 256];
	uint64_t tag = server->in.tag;
	enum tls_got got;
	size_t len;

	if (n < 2)
		return TLS_GOT_NOTHING;
	memcpy(raw + TLS_HEAD, p + 1, n - 1);
	len = tls_record_seal(client, raw, n - 1, p[0]);
	BUG_ON(len != n - 1 + TLS_OVERHEAD || tls_record_length(raw, len) != (ssize_t)len);
	if (change)
		raw[TLS_HEAD + p[0] % (len - TLS_HEAD)] ^= (uint8_t)(p[1] | 1);
	got = feed(server, raw, len);
	BUG_ON(change && got != TLS_GOT_ERROR);
	if (server->in.tag != tag) { /* the server has understood a KeyUpdate: so does the client */
		memcpy(client->out.secret, server->in.secret, sizeof(client->out.secret));
		memcpy(client->out.key, server->in.key, sizeof(client->out.key));
		memcpy(client->out.iv, server->in.iv, sizeof(client->out.iv));
		client->out.seq = 0;
		client->out.tag = server->in.tag | 1ull << 63;
	}
	return got;
}

static enum tls_got answer(struct tls_record *client, struct tls_record *server)
{
	uint8_t raw[TLS_UPDATE_SIZE + TLS_OVERHEAD + 4];
	ssize_t n = tls_record_update(server, raw);
	struct tls_opened o;
	size_t len;

	BUG_ON(n < 0 || server->update_due);
	if (n)
		BUG_ON(tls_record_open(client, raw, (size_t)n, raw + TLS_HEAD, &o) !=
		       TLS_GOT_NOTHING);
	memcpy(raw + TLS_HEAD, "data", 4);
	len = tls_record_seal(server, raw, 4, TLS_TYPE_DATA);
	BUG_ON(tls_record_open(client, raw, len, raw + TLS_HEAD, &o) != TLS_GOT_DATA || o.n != 4);
	return TLS_GOT_NOTHING;
}

static enum tls_got raw_bytes(struct tls_record *server, const uint8_t *p, size_t n)
{
	ssize_t len = n ? tls_record_length(p, n) : 0;

	BUG_ON(len > (ssize_t)(TLS_HEAD + TLS_CIPHER_MAX));
	if (len < 0)
		return TLS_GOT_ERROR;
	if (len == 0 || (size_t)len > n)
		return TLS_GOT_NOTHING;
	BUG_ON(feed(server, p, (size_t)len) != TLS_GOT_ERROR);
	return TLS_GOT_ERROR;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t c[48] = "client", s[48] = "server";
	struct tls_record client, server;
	enum tls_got got = TLS_GOT_NOTHING;
	unsigned suite;

	if (!size)
		return 0;
	suite = 0x1301 + data[0] % 3;
	BUG_ON(!tls_record_init(&server, suite, c, 0, s, 1, suite == 0x1302 ? 48 : 32) ||
	       !tls_record_init(&client, suite, s, 1, c, 0, suite == 0x1302 ? 48 : 32));
	data++;
	size--;
	while (size >= 2 && got <= TLS_GOT_NOTHING) {
		size_t n = data[1] < size - 2 ? data[1] : size - 2;
		const uint8_t *p = data + 2;

		switch (data[0] % OPS) {
		case OP_RAW:
			got = raw_bytes(&server, p, n);
			break;
		case OP_ANSWER:
			got = answer(&client, &server);
			break;
		default:
			got = sealed(&client, &server, p, n, data[0] % OPS == OP_CHANGED);
		}
		data += 2 + n;
		size -= 2 + n;
	}
	tls_record_fini(&client);
	tls_record_fini(&server);
	return 0;
}
