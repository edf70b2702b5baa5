/* Deadlines: when the worker must give up, neither early nor late. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
struct client;
struct ask;

/* The head of an answer is here: was a time-out reported when it was due? */
void time_check_answer(struct client *c, struct ask *a);
/* The worker closed the connection. */
void time_check_close(struct client *c);
/* It closed a tunnel in which nothing moved any more. */
void time_check_tunnel(struct client *c);
/* HTTP/2: the head of the answer to a is here. */
void time_check_stream(struct ask *a, unsigned client, bool slow);
/* The connection of that client begins to end: its last request was made and its last answer was
 * here at these times. */
void time_check_idle(unsigned client, uint64_t asked, uint64_t answered, unsigned requests);
/* A thread has no connections any more; its end began at began_us. timeout_ms 0: none. */
void time_check_end(uint64_t began_us, unsigned timeout_ms);
