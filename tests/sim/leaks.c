#define SLUICE_SIM /* the hook of allocations is in the simulator's copy of base/ */
#include "leaks.h"
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include "base/pool.h"

#define PLACES	  (1u << 20)
#define PRINT_MAX 8

/* Of the sanitizer; not there in other builds. */
__attribute__((weak)) int
__sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
					  void (*on_free)(const volatile void *));
__attribute__((weak)) void __asan_describe_address(void *p);

static const volatile void *places[PLACES];
static int (*older)(void);
static _Thread_local int ours; /* the next malloc is the worker's */

static uint32_t place_of(const volatile void *p)
{
	return (uint32_t)(((uintptr_t)p >> 4) * 0x9e3779b1u) % PLACES;
}

static int on_ask(void)
{
	int fails = older ? older() : 0;

	ours = !fails;
	return fails;
}

static void on_malloc(const volatile void *p, size_t n)
{
	if (!ours)
		return;
	ours = 0;
	for (uint32_t i = place_of(p), tries = 0; tries < 64; i = (i + 1) % PLACES, tries++) {
		if (!places[i]) {
			places[i] = p;
			return;
		}
	}
}

static void on_free(const volatile void *p)
{
	for (uint32_t i = place_of(p), tries = 0; p && tries < 64; i = (i + 1) % PLACES, tries++)
		if (places[i] == p)
			places[i] = NULL;
}

void leaks_watch(void)
{
	static int installed;

	if (!__sanitizer_install_malloc_and_free_hooks || mem_fail_hook == on_ask)
		return;
	older = mem_fail_hook;
	mem_fail_hook = on_ask;
	if (!installed++)
		__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
}

void leaks_print(void)
{
	unsigned printed = 0;

	mem_fail_hook = older;
	for (uint32_t i = 0; i < PLACES && printed < PRINT_MAX && __asan_describe_address; i++) {
		if (!places[i])
			continue;
		__asan_describe_address((void *)places[i]);
		printed++;
	}
}
