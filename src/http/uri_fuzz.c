/* Normal paths hold nothing to normalise, and stay what they are when escaped and read again;
 * escaping and unescaping are inverse; hosts, URLs, arguments and cookies stay within their
 * text. */
#include "base/bug.h"
#include "http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_within(struct span part, struct span whole)
{
	return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_normal(struct span path, bool merge_slashes)
{
	struct span rest = span_cut(path, 1, path.n), segment;

	BUG_ON(path.n == 0 || path.p[0] != '/' || memchr(path.p, '\0', path.n));
	while (span_split(&rest, '/', &segment)) {
		BUG_ON(span_eq(segment, SPAN(".")) || span_eq(segment, SPAN("..")));
		BUG_ON(segment.n == 0 && merge_slashes && rest.p);
	}
}

static void check_path(struct span s, bool merge_slashes, struct arena *a)
{
	struct span normal, again;

	if (uri_normalise(s, merge_slashes, a, &normal) != FAIL_OK || span_eq(normal, SPAN("*")))
		return;
	check_normal(normal, merge_slashes);
	BUG_ON(uri_normalise(uri_escape(a, normal, URI_ESCAPE_PATH), merge_slashes, a, &again));
	BUG_ON(!span_eq(again, normal));
}

static void check_escapes(struct span s, struct arena *a)
{
	for (int kind = URI_ESCAPE_PATH; kind <= URI_ESCAPE_MEMCACHED; kind++) {
		struct span e = uri_escape(a, s, (enum uri_escape)kind);

		for (size_t i = 0; i < e.n; i++)
			BUG_ON((uint8_t)e.p[i] <= ' ');
		/* Kinds that leave '%' alone cannot be undone. */
		if (kind != URI_ESCAPE_REFRESH)
			BUG_ON(!span_eq(uri_unescape(a, e), s));
	}
	BUG_ON(uri_unescape(a, s).n > s.n);
	BUG_ON(html_escape(a, s).n < s.n);
}

static void check_host(struct span s, struct arena *a)
{
	struct span host, again;
	struct url_parts url;
	int port;

	if (host_parse(s, a, &host, &port) == FAIL_OK) {
		BUG_ON(host.n == 0 || port < -1 || port > 65535);
		BUG_ON(host_parse(host, a, &again, &port) || !span_eq(host, again) || port != -1);
	}
	if (url_split(s, &url))
		BUG_ON(!lies_within(url.scheme, s) || !lies_within(url.host, s) ||
		       !lies_within(url.path, s) || url.host.n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_make(data, size), value;
	struct arena a;

	if (size > 4096)
		return 0;
	arena_init(&a, 1 << 20);
	check_path(s, true, &a);
	check_path(s, false, &a);
	check_escapes(s, &a);
	check_host(s, &a);
	if (uri_arg(s, SPAN("a"), &value))
		BUG_ON(!lies_within(value, s) || (value.n && memchr(value.p, '&', value.n)));
	if (cookie_value(s, SPAN("a"), &value))
		BUG_ON(!lies_within(value, s) || (value.n && memchr(value.p, ';', value.n)));
	arena_fini(&a);
	return 0;
}
