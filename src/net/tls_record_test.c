#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <openssl/pem.h>
#include "base/pool.h"
#include "net/tls_int.h"

#define TIMEOUT 10000
#define BIG	102400

/* ---- the record layer alone ---- */

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = 0;
	unsigned b;

	for (; sscanf(hex, "%2x", &b) == 1; hex += 2)
		out[n++] = (uint8_t)b;
	return n;
}

/* RFC 8448 section 3: the client's secret and the record it sends. */
static void known_values(void **state)
{
	uint8_t in[32], key[16], iv[12], raw[128], out[128];
	struct tls_record r;
	struct tls_opened o;
	size_t n;

	unhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", in);
	unhex("17422dda596ed5d9acd890e3c63f5051", key);
	unhex("5b78923dee08579033e523d9", iv);
	n = unhex(
		"1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395b"
		"d54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
		raw);
	assert_true(tls_record_init(&r, 0x1301, in, 0, in, 0, 32));
	assert_memory_equal(r.in.key, key, 16);
	assert_memory_equal(r.in.iv, iv, 12);
	assert_int_equal(tls_record_length(raw, n), n);
	assert_int_equal(tls_record_open(&r, raw, n, out, &o), TLS_GOT_DATA);
	assert_int_equal(o.n, 50);
	for (uint8_t i = 0; i < 50; i++)
		assert_int_equal(o.p[i], i);
	assert_false(tls_record_init(&r, 0x1304, in, 0, in, 0, 32));
	assert_false(tls_record_init(&r, 0x1302, in, 0, in, 0, 32));
	assert_false(tls_record_init(&r, 0xc02f, in, 0, in, 0, 32));
}

/* Both ends use one secret. */
static void ends_init(struct tls_record *a, struct tls_record *b, unsigned suite)
{
	static const uint8_t secret[48] = "some secret";
	size_t n = suite == 0x1302 ? 48 : 32;

	assert_true(tls_record_init(a, suite, secret, 7, secret, 0, n));
	assert_true(tls_record_init(b, suite, secret, 0, secret, 7, n));
}

static enum tls_got pass(struct tls_record *a, struct tls_record *b, int type, const void *p,
			 size_t n, struct tls_opened *o)
{
	static uint8_t room[20000];
	size_t len;

	memcpy(room + TLS_HEAD, p, n);
	len = tls_record_seal(a, room, n, (enum tls_content)type);
	assert_int_equal(len, n + TLS_OVERHEAD);
	assert_int_equal(tls_record_length(room, len), len);
	return tls_record_open(b, room, len, room + TLS_HEAD, o);
}

static void messages(void **state)
{
	static const struct {
		int type;
		const char *p;
		size_t n;
		enum tls_got got;
		int alert;
	} t[] = {
		{23, "x", 1, TLS_GOT_DATA, 0},
		{23, "x\0\0", 3, TLS_GOT_DATA, 0},
		{0, "x\x17\0\0", 4, TLS_GOT_DATA, 0}, /* padded */
		{0, "\x17\0", 2, TLS_GOT_NOTHING, 0},
		{0, "\0\0", 2, TLS_GOT_ERROR, 10},
		{20, "\1", 1, TLS_GOT_ERROR, 10},
		{24, "x", 1, TLS_GOT_ERROR, 10},
		{21, "\1\0", 2, TLS_GOT_END, 0},
		{21, "\2\x5a", 2, TLS_GOT_NOTHING, 0},
		{21, "\1\x2a", 2, TLS_GOT_ALERT, 42},
		{21, "\1", 1, TLS_GOT_ERROR, 50},
		{21, "\1\0\0", 3, TLS_GOT_ERROR, 50},
		{22, "\x18\0\0\1\0", 5, TLS_GOT_NOTHING, 0},
		{22, "\x18\0\0\1", 4, TLS_GOT_NOTHING, 0},
		{22, "\x18\0\0\1\2", 5, TLS_GOT_ERROR, 47},
		{22, "\x18\0\0\2\0", 5, TLS_GOT_ERROR, 50},
		{22, "\x18\0\0\1\0\0", 6, TLS_GOT_ERROR, 10},
		{22, "\1\0\0\1", 4, TLS_GOT_ERROR, 10},
		{0, "\x16\0", 2, TLS_GOT_ERROR, 10},
	};

	for (unsigned suite = 0x1301; suite <= 0x1303; suite++) {
		for (size_t i = 0; i < ARRAY_LEN(t); i++) {
			struct tls_record a, b;
			struct tls_opened o;

			ends_init(&a, &b, suite);
			assert_int_equal(pass(&a, &b, t[i].type, t[i].p, t[i].n, &o), t[i].got);
			assert_int_equal(o.alert, t[i].alert);
			tls_record_fini(&a);
			tls_record_fini(&b);
		}
	}
}

static void limits(void **state)
{
	static char zero[16384];
	struct tls_record a, b;
	struct tls_opened o;
	uint8_t p[TLS_UPDATE_SIZE];

	ends_init(&a, &b, 0x1301);
	for (int i = 0; i < 32; i++)
		assert_int_equal(pass(&a, &b, 0, "\x17", 1, &o), TLS_GOT_NOTHING);
	assert_int_equal(pass(&a, &b, 23, zero, 16384, &o), TLS_GOT_DATA);
	assert_int_equal(o.n, 16384);
	for (int i = 0; i < 32; i++)
		assert_int_equal(pass(&a, &b, 0, "\x17", 1, &o), TLS_GOT_NOTHING);
	assert_int_equal(pass(&a, &b, 0, "\x17", 1, &o), TLS_GOT_ERROR);
	ends_init(&a, &b, 0x1301);
	assert_int_equal(pass(&a, &b, 22, "\x18\0\0", 3, &o), TLS_GOT_NOTHING);
	assert_int_equal(pass(&a, &b, 22, "\1\1", 2, &o), TLS_GOT_NOTHING);
	assert_true(b.update_due && b.in.seq == 0);
	assert_int_equal(tls_record_update(&b, p), sizeof(p));
	assert_int_equal(tls_record_update(&b, p), 0);
	assert_int_equal(tls_record_open(&a, p, sizeof(p), p + TLS_HEAD, &o), TLS_GOT_NOTHING);
	assert_int_equal(pass(&b, &a, 23, "back", 4, &o), TLS_GOT_DATA);
	ends_init(&a, &b, 0x1303);
	assert_int_equal(pass(&a, &b, 22, "\x18\0\0", 3, &o), TLS_GOT_NOTHING);
	assert_int_equal(pass(&a, &b, 23, "x", 1, &o), TLS_GOT_ERROR);
	assert_int_equal(tls_record_length("\x17\3\3\x41\0", 5), 5 + 16640);
	assert_int_equal(tls_record_length("\x17\3\3\x41\1", 5), -22);
	assert_int_equal(tls_record_length("\x14\3\3\0\1", 5), -10);
	assert_int_equal(tls_record_length("\x17\3\3\x41", 4), 0);
}

/* ---- against OpenSSL's own client ---- */

typedef void client_fn(SSL *ssl, int fd);

struct scene {
	struct tls_ctx *ctx;
	client_fn *fn;
	const char *suite;
	SSL_SESSION *sess; /* offered; then the new one */
	bool resumed;
	int fd, accepted, running;
	struct stream server;
	ssize_t ended; /* what the server's last read gave */
	bool truncated, owned;
	char error[300];
};

static struct arena arena;
static struct span cert_pem, key_pem;
static char big[BIG];

static void keep_session(struct scene *c, SSL *ssl)
{
	c->resumed = SSL_session_reused(ssl);
	SSL_SESSION_free(c->sess);
	c->sess = SSL_get1_session(ssl);
}

static void *client_main(void *arg)
{
	struct scene *c = arg;
	SSL_CTX *x = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(x);

	SSL_set_fd(ssl, c->fd);
	SSL_set_tlsext_host_name(ssl, "site.test");
	if (c->suite && !SSL_set_ciphersuites(ssl, c->suite))
		abort();
	if (c->sess)
		SSL_set_session(ssl, c->sess);
	if (SSL_connect(ssl) != 1)
		abort();
	c->fn(ssl, c->fd);
	keep_session(c, ssl);
	SSL_free(ssl);
	SSL_CTX_free(x);
	close(c->fd);
	return NULL;
}

/* Sends back what comes, until the end. */
static void server_main(void *arg)
{
	static char buf[5000]; /* less than a record: some stays behind */
	struct scene *c = arg;
	ssize_t n;

	c->accepted = tls_accept(&c->server, NULL, c->ctx, NULL, io_after(TIMEOUT));
	c->owned = c->accepted == 0 && c->server.tls->own;
	while (c->accepted == 0 &&
	       (n = stream_read(&c->server, buf, sizeof(buf), io_after(TIMEOUT))) >= 0) {
		c->ended = n;
		if (n == 0 || stream_write(&c->server, buf, (size_t)n, TIMEOUT) < 0)
			break;
	}
	if (c->accepted == 0 && n < 0)
		c->ended = n;
	c->truncated = tls_truncated(&c->server);
	snprintf(c->error, sizeof(c->error), "%.*s", SPAN_ARG(stream_tls_error(&c->server)));
	stream_close(&c->server);
	c->running--;
}

static void play(struct scene *c, client_fn *fn)
{
	pthread_t t;
	int fd[2];

	c->fn = fn;
	c->running = 1;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	assert_int_equal(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
	c->fd = fd[1];
	stream_init(&c->server, fd[0], NULL);
	assert_int_equal(co_start(server_main, c), 0);
	assert_int_equal(pthread_create(&t, NULL, client_main, c), 0);
	while (c->running)
		io_loop_turn(TIMEOUT);
	pthread_join(t, NULL);
	assert_int_equal(c->accepted, 0);
	assert_int_equal(c->owned, tls_take_over);
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* n bytes there and back. */
static void echo(SSL *ssl, size_t n)
{
	static char back[BIG];
	size_t at = 0, got;

	if (!n)
		return;
	must(SSL_write(ssl, big, (int)n) == (int)n);
	while (at < n) {
		must(SSL_read_ex(ssl, back + at, n - at, &got));
		at += got;
	}
	must(memcmp(big, back, n) == 0);
}

static void bye(SSL *ssl)
{
	char c;

	must(SSL_shutdown(ssl) == 0);
	must(SSL_read(ssl, &c, 1) <= 0 && SSL_get_error(ssl, 0) == SSL_ERROR_ZERO_RETURN);
}

static void sizes(SSL *ssl, int fd)
{
	static const size_t n[] = {1, 0, 5, 4978, 5000, 5001, 16383, 16384, 16385, 40000, BIG};

	for (size_t i = 0; i < ARRAY_LEN(n); i++)
		echo(ssl, n[i]);
	bye(ssl);
}

static void small_ones(SSL *ssl, int fd)
{
	char back[16];
	size_t at = 0, got;

	for (int i = 0; i < 200; i++)
		must(SSL_write(ssl, big + 7 * i, 7) == 7);
	while (at < 1400) {
		must(SSL_read_ex(ssl, back, sizeof(back), &got));
		must(memcmp(back, big + at, got) == 0);
		at += got;
	}
	bye(ssl);
}

static void updates(SSL *ssl, int fd)
{
	for (int i = 0; i < 20; i++) {
		must(SSL_key_update(ssl, i % 3 ? SSL_KEY_UPDATE_REQUESTED
					       : SSL_KEY_UPDATE_NOT_REQUESTED));
		if (i % 2)
			must(SSL_do_handshake(ssl) == 1);
		echo(ssl, 1 + 997 * (size_t)i);
	}
	bye(ssl);
}

/* What the client writes, as bytes. */
static size_t captured(SSL *ssl, const void *p, size_t n, char **raw)
{
	BIO *old = SSL_get_wbio(ssl), *m = BIO_new(BIO_s_mem());
	char *data;
	long len;

	BIO_up_ref(old);
	SSL_set0_wbio(ssl, m);
	must(SSL_write(ssl, p, (int)n) == (int)n);
	len = BIO_get_mem_data(m, &data);
	*raw = malloc((size_t)len);
	memcpy(*raw, data, (size_t)len);
	SSL_set0_wbio(ssl, old);
	return (size_t)len;
}

static void dribble(SSL *ssl, int fd)
{
	static char back[20000];
	size_t n, at = 0, got;
	char *raw;

	n = captured(ssl, big, 20000, &raw);
	for (size_t i = 0; i < n; i++)
		must(send(fd, raw + i, 1, 0) == 1); /* the server answers when there is a record */
	free(raw);
	for (; at < 20000; at += got)
		must(SSL_read_ex(ssl, back + at, 20000 - at, &got));
	must(memcmp(back, big, 20000) == 0);
	bye(ssl);
}

static void expect_alert(SSL *ssl, int reason)
{
	char c;

	must(SSL_read(ssl, &c, 1) <= 0);
	must(ERR_GET_REASON(ERR_peek_last_error()) == reason);
	ERR_clear_error();
}

static void corrupt(SSL *ssl, int fd)
{
	char *raw;
	size_t n;

	echo(ssl, 10);
	n = captured(ssl, big, 100, &raw);
	raw[50] ^= 1;
	must(send(fd, raw, n, 0) == (ssize_t)n);
	free(raw);
	expect_alert(ssl, SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
}

static void oversize(SSL *ssl, int fd)
{
	must(send(fd, "\x17\3\3\x41\1xxxx", 9, 0) == 9);
	expect_alert(ssl, SSL_R_TLSV1_ALERT_RECORD_OVERFLOW);
}

static void vanish(SSL *ssl, int fd)
{
	echo(ssl, 10);
	must(send(fd, "\x17\3\3\0", 4, 0) == 4);
	SSL_set_quiet_shutdown(ssl, 1);
}

static void both_ways(void (*fn)(struct scene *c))
{
	for (int own = 0; own < 2; own++) {
		struct scene c = {.ctx = NULL};
		struct tls_cert cert = {cert_pem, key_pem, SPAN("c"), SPAN("k")};
		struct tls_conf conf = {.server = true,
					.certs = &cert,
					.ncerts = 1,
					.session_tickets = true,
					.session_timeout = 300,
					.cache = TLS_CACHE_NONE};
		struct span err;

		c.ctx = tls_ctx_new(&conf, &arena, &err);
		assert_non_null(c.ctx);
		tls_take_over = own;
		fn(&c);
		tls_take_over = true;
		SSL_SESSION_free(c.sess);
		tls_ctx_unref(c.ctx);
	}
}

static void play_all(struct scene *c)
{
	static const char *suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
				       "TLS_CHACHA20_POLY1305_SHA256"};
	static client_fn *const all[] = {sizes, small_ones, updates, dribble};

	for (size_t i = 0; i < ARRAY_LEN(suites); i++) {
		for (size_t k = 0; k < ARRAY_LEN(all); k++) {
			c->suite = suites[i];
			play(c, all[k]);
			assert_int_equal(c->ended, 0);
			assert_false(c->truncated);
		}
		SSL_SESSION_free(c->sess);
		c->sess = NULL;
	}
}

static void play_tickets(struct scene *c)
{
	for (unsigned n = 0; n < 3; n++) {
		SSL_CTX_set_num_tickets(c->ctx->ssl, n);
		play(c, sizes);
		assert_int_equal(c->resumed, 0);
		play(c, sizes);
		assert_int_equal(c->resumed, n > 0);
		SSL_SESSION_free(c->sess);
		c->sess = NULL;
	}
}

static void play_errors(struct scene *c)
{
	play(c, corrupt);
	assert_int_equal(c->ended, -EPROTO);
	assert_string_equal(c->error, "SSL_read() failed (SSL: error:0A000119:SSL routines::"
				      "decryption failed or bad record mac)");
	play(c, oversize);
	assert_int_equal(c->ended, -EPROTO);
	assert_string_equal(c->error, "SSL_read() failed (SSL: error:0A000096:SSL routines::"
				      "encrypted length too long)");
	play(c, vanish);
	assert_int_equal(c->ended, 0);
	assert_true(c->truncated);
}

static void play_rekeyed(struct scene *c)
{
	tls_rekey_after = 3;
	play(c, sizes);
	tls_rekey_after = 1u << 24;
}

static void talks_to_openssl(void **state)
{
	both_ways(play_all);
}

static void counts_tickets(void **state)
{
	both_ways(play_tickets);
}

static void refuses(void **state)
{
	both_ways(play_errors);
}

static void rekeys(void **state)
{
	both_ways(play_rekeyed);
}

/* ---- speed, for the eye ---- */

static void cost_of_waking(void **state)
{
	enum { N = 64, ROUNDS = 2000 };
	static struct tls_record a[N], b;
	struct timespec t0, t1;

	for (int same = 0; same < 2; same++) {
		static uint8_t p[2000];

		for (int i = 0; i < N; i++)
			ends_init(&a[i], &b, 0x1302);
		clock_gettime(CLOCK_MONOTONIC, &t0);
		for (int i = 0; i < N * ROUNDS; i++)
			tls_record_seal(&a[same ? 0 : i % N], p, 1200, TLS_TYPE_DATA);
		clock_gettime(CLOCK_MONOTONIC, &t1);
		print_message("1200 bytes, AES-256-GCM, %s: %ld ns\n",
			      same ? "key in place" : "keyed anew",
			      ((t1.tv_sec - t0.tv_sec) * 1000000000 + t1.tv_nsec - t0.tv_nsec) /
				      (N * ROUNDS));
	}
}

/* ---- */

static struct span bio_dup(BIO *b)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);
	struct span s = arena_dup(&arena, span_make(p, (size_t)n));

	BIO_free(b);
	return s;
}

static int setup(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	BIO *b = BIO_new(BIO_s_mem());

	arena_init(&arena, 64 << 20);
	X509_set_version(x, 2);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	assert_true(X509_sign(x, key, EVP_sha256()));
	PEM_write_bio_X509(b, x);
	cert_pem = bio_dup(b);
	b = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
	key_pem = bio_dup(b);
	X509_free(x);
	EVP_PKEY_free(key);
	for (size_t i = 0; i < BIG; i++)
		big[i] = (char)(i * 7 + i / 251);
	return io_loop_init(0);
}

static int teardown(void **state)
{
	stream_thread_fini();
	io_loop_fini();
	arena_fini(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),	  cmocka_unit_test(messages),
		cmocka_unit_test(limits),	  cmocka_unit_test(talks_to_openssl),
		cmocka_unit_test(counts_tickets), cmocka_unit_test(refuses),
		cmocka_unit_test(rekeys),	  cmocka_unit_test(cost_of_waking),
	};

	return cmocka_run_group_tests_name("tls_record", tests, setup, teardown);
}
