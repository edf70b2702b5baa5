/* What libraries see of time and randomness while a world runs. */
#include <ares.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <openssl/asn1.h>
#include <openssl/x509.h>
#include <openssl/rand.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "io/sim.h"

#define EPOCH 1800000000

static void start(uint64_t seed)
{
	struct sim_options o = {.seed = seed, .epoch_s = EPOCH};

	if (sim_running())
		sim_stop();
	sim_start(&o);
}

static void test_clocks(void **state)
{
	struct timespec ts;
	struct timeval tv;
	int ep;

	assert_true(time(NULL) != EPOCH);
	start(1);
	assert_int_equal(time(NULL), EPOCH);
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &ts), 0);
	assert_int_equal(ts.tv_sec, EPOCH);
	ep = sys->epoll_create();
	sys->epoll_wait(ep, &(struct epoll_event){0}, 1, 2500);
	sys->close(ep);
	assert_int_equal(gettimeofday(&tv, NULL), 0);
	assert_int_equal(tv.tv_sec, EPOCH + 2);
	assert_int_equal(tv.tv_usec, 500000);
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	assert_int_equal((uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000,
			 sys->mono_us());
	/* A clock of the machine's goes on. */
	assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
	assert_true(ts.tv_sec < 1000);
	sim_stop();
	assert_true(time(NULL) != EPOCH + 2);
}

static void test_openssl_reads_our_clock(void **state)
{
	ASN1_TIME *t = ASN1_TIME_new();
	struct tm tm, want;
	time_t epoch = EPOCH;

	start(1);
	assert_non_null(X509_gmtime_adj(t, 0));
	assert_int_equal(ASN1_TIME_to_tm(t, &tm), 1);
	gmtime_r(&epoch, &want);
	assert_int_equal(timegm(&tm), timegm(&want));
	sim_stop();
	ASN1_TIME_free(t);
}

/* OpenSSL's own generator mixes the processor's time stamps in, whatever getentropy says; this
 * method leaves it out. */
static int rand_bytes(unsigned char *p, int n)
{
	sim_random(p, (size_t)n);
	return 1;
}

static int rand_status(void)
{
	return 1;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static const RAND_METHOD method = {
	.bytes = rand_bytes, .pseudorand = rand_bytes, .status = rand_status};

static void test_openssl_draws_from_the_seed(void **state)
{
	unsigned char a[32], b[32], c[32];

	assert_int_equal(RAND_set_rand_method(&method), 1);
	start(1);
	assert_int_equal(RAND_priv_bytes(a, 32), 1);
	start(1);
	assert_int_equal(RAND_bytes(b, 32), 1);
	start(2);
	assert_int_equal(RAND_bytes(c, 32), 1);
	sim_stop();
	assert_memory_equal(a, b, 32);
	assert_memory_not_equal(a, c, 32);
	RAND_set_rand_method(NULL);
}
#pragma GCC diagnostic pop

static void test_entropy(void **state)
{
	uint64_t a[4], b[4], c[4];

	start(1);
	assert_int_equal(getentropy(a, sizeof(a)), 0);
	start(1);
	assert_int_equal(getrandom(b, sizeof(b), 0), sizeof(b));
	start(2);
	assert_int_equal(sys->random(c, sizeof(c)), 0);
	sim_stop();
	assert_memory_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, c, sizeof(a));
	assert_int_equal(getentropy(a, sizeof(a)), 0);
	assert_memory_not_equal(a, b, sizeof(a));
}

/* ---- c-ares ---- */

static unsigned char question[512];
static size_t nquestion;
static int asked;

static void on_question(const void *p, size_t n, const struct sockaddr *from, socklen_t len)
{
	memcpy(question, p, n);
	nquestion = n;
	asked++;
}

static ares_socket_t ask_socket(int domain, int type, int protocol, void *arg)
{
	return sys->socket(domain, type, protocol);
}

static int ask_close(ares_socket_t fd, void *arg)
{
	return sys->close(fd);
}

static int ask_connect(ares_socket_t fd, const struct sockaddr *sa, ares_socklen_t len, void *arg)
{
	return sys->connect(fd, sa, len);
}

static ares_ssize_t ask_send(ares_socket_t fd, const struct iovec *iov, int n, void *arg)
{
	return sys->writev(fd, iov, n);
}

static const struct ares_socket_functions functions = {ask_socket, ask_close, ask_connect, NULL,
						       ask_send};

static void on_answer(void *arg, int status, int timeouts, unsigned char *p, int n)
{
}

/* The question's id, and how often it was repeated within 400 ms of the world's time. */
static unsigned ask(uint64_t seed, int *repeats)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x0a000001)};
	struct ares_options o = {.timeout = 100, .tries = 3, .lookups = (char *)"b"};
	struct ares_addr_node node = {.family = AF_INET, .addr.addr4 = sa.sin_addr};
	ares_channel ch;
	int ep;

	start(seed);
	asked = 0;
	sim_datagrams((void *)&sa, sizeof(sa), on_question);
	assert_int_equal(
		ares_init_options(&ch, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS),
		ARES_SUCCESS);
	ares_set_socket_functions(ch, &functions, NULL);
	assert_int_equal(ares_set_servers(ch, &node), ARES_SUCCESS);
	ares_query(ch, "example.org", ns_c_in, ns_t_a, on_answer, NULL);
	ep = sys->epoll_create();
	for (int i = 0; i < 40; i++) {
		sys->epoll_wait(ep, &(struct epoll_event){0}, 1, 10);
		ares_process_fd(ch, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	}
	ares_destroy(ch);
	sys->close(ep);
	assert_int_equal(sim_stop(), 0);
	assert_true(nquestion > 12);
	*repeats = asked - 1;
	return (unsigned)question[0] << 8 | question[1];
}

static void test_ares(void **state)
{
	int once = 0, again = 0, other = 0;
	unsigned a = ask(1, &once), b = ask(1, &again), c = ask(2, &other);

	assert_int_equal(a, b);
	assert_int_not_equal(a, c);
	assert_int_equal(once, again);
	assert_true(once > 0);
}

/* The machine's /etc/hosts is not the world's. */
static void test_files_of_libraries(void **state)
{
	char line[64];
	FILE *f;

	start(1);
	assert_null(fopen("/etc/hosts", "r"));
	sim_file_put("/etc/hosts", "10.0.0.1 there\n", 15);
	f = fopen("/etc/hosts", "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(line, "10.0.0.1 there\n");
	fclose(f);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clocks),
		cmocka_unit_test(test_openssl_reads_our_clock),
		cmocka_unit_test(test_openssl_draws_from_the_seed),
		cmocka_unit_test(test_entropy),
		cmocka_unit_test(test_ares),
		cmocka_unit_test(test_files_of_libraries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
