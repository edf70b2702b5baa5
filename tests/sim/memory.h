/* The worker's memory: a ceiling while it runs, nothing left at the end. */
#pragma once

void memory_begin(void);   /* before the worker starts */
void memory_serving(void); /* the first configuration serves, nothing came yet */
/* Samples from now on; memory_check_rest does without connections. */
void memory_check_rest(void);
void memory_check_end(void);
