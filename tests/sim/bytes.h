/* Bodies without storing them: byte `off` of the stream `key` is a function of both, so whoever
 * sends and whoever receives agree on every byte. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Streams of one request: what the client uploads, what a server's try answers, ... */
enum bytes_of { BYTES_UPLOAD, BYTES_ANSWER, BYTES_FILE, BYTES_TUNNEL_UP, BYTES_TUNNEL_DOWN };

uint64_t bytes_key(enum bytes_of what, uint64_t id, unsigned nth);
void bytes_fill(uint64_t key, uint64_t off, char *p, size_t n);
/* n when all are right, else the index of the first that is not. */
size_t bytes_check(uint64_t key, uint64_t off, const char *p, size_t n);

/* Text that grows, with malloc: the worker's own memory is counted, actors' is not. */
struct text {
	char *p;
	size_t n, cap;
};
void text_add(struct text *t, const void *p, size_t n);
void text_printf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_fini(struct text *t);
