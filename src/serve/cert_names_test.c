#include "serve/cert_names.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "serve/serve_fixture.h"

static const struct say_word words[] = {{NULL, NULL}};
static char *cert_pem, *key_pem;

static char *bio_text(BIO *b)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);
	char *text = strndup(p, (size_t)n);

	BIO_free(b);
	return text;
}

static int make_cert(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	BIO *b = BIO_new(BIO_s_mem());

	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	assert_true(X509_sign(x, key, EVP_sha256()));
	PEM_write_bio_X509(b, x);
	cert_pem = bio_text(b);
	b = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
	key_pem = bio_text(b);
	X509_free(x);
	EVP_PKEY_free(key);
	return 0;
}

static int free_cert(void **state)
{
	free(cert_pem);
	free(key_pem);
	return 0;
}

struct names_test {
	struct serve_fixture f;
	struct conn conn;
	struct req *r;
	struct tmpl cert, key;
	struct cert_name name;
	struct cert_names names;
};

static void names_start(struct names_test *t)
{
	memset(t, 0, sizeof(*t));
	serve_load_ok(&t->f, "server { listen 80; }");
	snapshot_switch(t->f.snap, 0);
	t->r = serve_request(&t->conn, t->f.http->ports[0], t->f.http->ports[0]->default_server,
			     "/");
	t->cert.constant = t->key.constant = true;
	t->name = (struct cert_name){&t->cert, &t->key};
	t->names = (struct cert_names){.tls = {.server = true, .protocols = TLS_V1_2 | TLS_V1_3},
				       .v = &t->name,
				       .n = 1,
				       .prefix = SPAN("/")};
}

static void names_end(struct names_test *t)
{
	cert_names_thread_fini();
	assert_int_equal(cert_names_count(), 0);
	req_free(t->r);
	snapshot_switch(NULL, 0);
	serve_unload(&t->f);
}

/* The same certificate by another name: text in front of it is none of its matter. */
static struct tls_ctx *get(struct names_test *t, unsigned n)
{
	t->cert.source = arena_printf(&t->r->arena, "data:%u\n%s", n, cert_pem);
	t->key.source = arena_printf(&t->r->arena, "data:%s", key_pem);
	return cert_names_get(t->r, &t->names);
}

/* However many names are asked for, so many are kept; those that were used longest ago go. */
static void there_is_a_ceiling(void **state)
{
	struct tls_ctx *first, *second;
	struct names_test t;

	names_start(&t);
	first = tls_ctx_ref(get(&t, 0));
	second = tls_ctx_ref(get(&t, 1));
	assert_true(first && second && first != second);
	for (unsigned i = 2; i < CERT_NAMES_MAX; i++)
		assert_non_null(get(&t, i));
	assert_int_equal(cert_names_count(), CERT_NAMES_MAX);
	assert_ptr_equal(get(&t, 0), first); /* was used just now */
	for (unsigned i = 0; i < 10; i++) {
		assert_non_null(get(&t, CERT_NAMES_MAX + i));
		assert_int_equal(cert_names_count(), CERT_NAMES_MAX);
	}
	assert_ptr_equal(get(&t, 0), first);
	assert_ptr_not_equal(get(&t, 1), second); /* is made anew */
	assert_int_equal(cert_names_count(), CERT_NAMES_MAX);
	tls_ctx_unref(first);
	tls_ctx_unref(second);
	names_end(&t);
}

static void what_is_no_certificate_is_not_kept(void **state)
{
	struct names_test t;

	names_start(&t);
	t.cert.source = SPAN("data:nothing");
	t.key.source = SPAN("data:nothing");
	assert_null(cert_names_get(t.r, &t.names));
	t.cert.source = SPAN("../up.crt");
	assert_null(cert_names_get(t.r, &t.names));
	t.cert.source = SPAN("");
	assert_null(cert_names_get(t.r, &t.names));
	t.cert.source = SPAN("/nonexistent/file");
	assert_null(cert_names_get(t.r, &t.names));
	assert_int_equal(cert_names_count(), 0);
	names_end(&t);
}

#define T(f) cmocka_unit_test_setup_teardown(f, serve_setup, serve_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(there_is_a_ceiling),
		T(what_is_no_certificate_is_not_kept),
	};

	say_words = words;
	return cmocka_run_group_tests(tests, make_cert, free_cert);
}
