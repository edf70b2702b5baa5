/* What parses as a date is formatted to a date of the same second; every second formats to such a
 * date. */
#include "base/bug.h"
#include "http/date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_second(int64_t seconds)
{
	char text[HTTP_DATE_LEN];
	int64_t back;

	http_date_format(seconds, text);
	BUG_ON(!http_date_parse(span_make(text, HTTP_DATE_LEN), &back));
	BUG_ON(seconds >= -62167219200 && seconds <= 253402300799 && back != seconds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t seconds;

	if (http_date_parse(span_make(data, size), &seconds))
		check_second(seconds);
	if (size >= sizeof(seconds)) {
		memcpy(&seconds, data, sizeof(seconds));
		check_second(seconds);
		check_second(seconds % 253402300800);
	}
	return 0;
}
