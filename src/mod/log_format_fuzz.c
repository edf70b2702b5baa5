/* Whatever a value holds, a line in the default escaping is one printable line that can be read
 * back. */
#include "base/bug.h"
#include "mod/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int nibble(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void read_back(const struct log_line *l, const uint8_t *data, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < l->n; i++, at++) {
		uint8_t c = (uint8_t)l->p[i];

		BUG_ON(at == size || c < 0x20 || c >= 0x7f || c == '"');
		if (c == '\\') {
			BUG_ON(i + 3 >= l->n || l->p[i + 1] != 'x');
			c = (uint8_t)(nibble(l->p[i + 2]) << 4 | nibble(l->p[i + 3]));
			i += 3;
		}
		BUG_ON(c != data[at]);
	}
	BUG_ON(at != size);
}

static void check_json(const struct log_line *l)
{
	for (size_t i = 0; i < l->n; i++) {
		BUG_ON((uint8_t)l->p[i] < 0x20 || l->p[i] == '"');
		if (l->p[i] == '\\')
			BUG_ON(++i == l->n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct log_line l = {0};

	if (size > 65536)
		return 0;
	log_line_escape(&l, span_make(data, size), LOG_ESCAPE_DEFAULT);
	read_back(&l, data, size);
	l.n = 0;
	log_line_escape(&l, span_make(data, size), LOG_ESCAPE_JSON);
	check_json(&l);
	log_line_fini(&l);
	return 0;
}
