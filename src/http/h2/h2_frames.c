#include "http/h2/h2_frames.h"
#include <string.h>
#include "base/bug.h"

void h2_frames_init(struct h2_frames *s, uint32_t preface)
{
	*s = (struct h2_frames){.left = preface};
}

static void frame_head(struct h2_frames *s)
{
	const uint8_t *p = s->head;

	s->len = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
	s->type = p[3];
	s->flags = p[4];
	s->id = ((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]) &
		INT32_MAX;
	s->left = s->len;
	s->have = 0;
}

size_t h2_frames_next(struct h2_frames *s, const uint8_t *p, size_t n, bool *whole)
{
	size_t at = MIN_OF(n, (size_t)s->left), k;

	s->left -= (uint32_t)at;
	k = MIN_OF(n - at, (size_t)(H2_FRAME_HEAD - s->have));
	memcpy(s->head + s->have, p + at, k);
	s->have += (uint8_t)k;
	*whole = s->have == H2_FRAME_HEAD;
	if (*whole)
		frame_head(s);
	return at + k;
}

bool h2_frames_feed(struct h2_frames *s, const uint8_t *p, size_t n,
		    bool (*feed)(void *arg, const uint8_t *p, size_t n, size_t seen), void *arg)
{
	uint8_t head[H2_FRAME_HEAD];
	size_t have = s->have, rest = have ? MIN_OF(n, H2_FRAME_HEAD - have) : 0;

	if (have) {
		memcpy(head, s->head, have);
		memcpy(head + have, p, rest);
		if (!feed(arg, head, have + rest, have))
			return false;
	}
	return n == rest || feed(arg, p + rest, n - rest, 0);
}
