/* When another server is tried: nginx's rules, as a pure function. */
#include "base/mutant.h"
#include "proxy/exchange.h"

unsigned tries_status_bit(int status)
{
	switch (status) {
	case 500:
		return NEXT_HTTP_500;
	case 502:
		return NEXT_HTTP_502;
	case 503:
		return NEXT_HTTP_503;
	case 504:
		return NEXT_HTTP_504;
	case 403:
		return NEXT_HTTP_403;
	case 404:
		return NEXT_HTTP_404;
	case 429:
		return NEXT_HTTP_429;
	default:
		return 0;
	}
}

bool tries_method_is_unsafe(enum http_method m)
{
	return m == METHOD_POST || m == METHOD_LOCK || m == METHOD_PATCH;
}

bool tries_again(const struct tries_state *s, unsigned bit)
{
	if (s->bytes_out && tries_method_is_unsafe(s->method) && !MUTANT(retry_post))
		bit |= NEXT_NON_IDEMPOTENT;
	if (MUTANT(retry_any))
		bit &= NEXT_NON_IDEMPOTENT;
	return (s->tries_left > 0 || MUTANT(retry_on)) && !s->unrepeatable && !s->timeout &&
	       !(s->next_upstream & NEXT_OFF) && (s->next_upstream & bit) == bit;
}
