/* Deadlines: when the worker must give up, neither early nor late. */
#pragma once
struct client;
struct ask;

/* The head of an answer is here: was a time-out reported when it was due? */
void time_check_answer(struct client *c, struct ask *a);
/* The worker closed the connection. */
void time_check_close(struct client *c);
