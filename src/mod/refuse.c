#include "mod/refuse.h"
#include "serve/core.h"
#include "serve/req.h"

enum fail refuse_answer(struct req *r, int status)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	struct span reason = http_reason(status), text;
	struct span token =
		l->server_tokens == TOKENS_OFF ? SPAN("sluice") : SPAN("sluice/" SLUICE_VERSION);

	text = arena_printf(
		&r->arena,
		"<html>\r\n<head><title>%d %.*s</title></head>\r\n<body>\r\n"
		"<center><h1>%d "
		"%.*s</h1></center>\r\n<hr><center>%.*s</center>\r\n</body>\r\n</html>\r\n",
		status, SPAN_ARG(reason), status, SPAN_ARG(reason), SPAN_ARG(token));
	if (!text.p || req_answer_text(r, status, SPAN("text/html"), text) != PHASE_DONE)
		return FAIL_NO_MEMORY;
	return FAIL_OK;
}
