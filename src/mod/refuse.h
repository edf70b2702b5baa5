/* For filters that take an answer back: the built-in page of a status in its place. */
#pragma once
#include "http/fail.h"

struct req;

/* Replaces r->resp, closing its body. FAIL_NO_MEMORY, else FAIL_OK. */
enum fail refuse_answer(struct req *r, int status);
