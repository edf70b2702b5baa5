/* The same tests over ucontext: co.c is compiled here once more, and the library's stays out. */
#define CO_PORTABLE 1
#include "co/co.c"
#include "co/co_test.c"
