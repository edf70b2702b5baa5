/* The context switch: saves where this stack stands and goes on where another stood.
 *
 * x86-64 and aarch64 do it in a dozen instructions and end in an indirect jump: a `ret` would be
 * predicted to return where this stack was called from, and miss. All registers are declared lost,
 * so the compiler saves only those that hold something. The SSE and x87 control words are not
 * switched: nobody in the tree changes them. Anything else, or -DCO_PORTABLE, uses ucontext. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#if !defined(CO_PORTABLE) && !defined(__x86_64__) && !defined(__aarch64__)
#define CO_PORTABLE 1
#endif

#ifdef CO_PORTABLE

#include <ucontext.h>
struct co_ctx {
	ucontext_t uc;
};

static inline void co_ctx_init(struct co_ctx *c, char *lo, char *top, void (*entry)(void))
{
	getcontext(&c->uc);
	c->uc.uc_stack.ss_sp = lo;
	c->uc.uc_stack.ss_size = (size_t)(top - lo);
	c->uc.uc_link = NULL;
	makecontext(&c->uc, entry, 0);
}

static inline void co_ctx_switch(struct co_ctx *from, struct co_ctx *to)
{
	swapcontext(&from->uc, &to->uc);
}

#else

/* Offsets are known to the assembler below. */
struct co_ctx {
	void *sp;     /* 0 */
	void *pc;     /* 8 */
	void *fp;     /* 16 */
	void *unused; /* 24 */
};

/* top is aligned to 16. A zero return address ends backtraces there. */
static inline void co_ctx_init(struct co_ctx *c, char *lo, char *top, void (*entry)(void))
{
	void **sp = (void **)top;

	(void)lo;
#ifdef __x86_64__
	/* As after a call: the return address lies at a multiple of 16 minus 8. */
	*--sp = NULL;
	*--sp = NULL;
	*--sp = NULL;
#endif
	*c = (struct co_ctx){.sp = sp, .pc = (void *)entry};
}

#ifdef __x86_64__

static inline __attribute__((always_inline)) void co_ctx_switch(struct co_ctx *from,
								struct co_ctx *to)
{
	__asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
			 "movq %%rsp, 0(%0)\n\t"
			 "movq %%rax, 8(%0)\n\t"
			 "movq %%rbp, 16(%0)\n\t"
			 "movq 16(%1), %%rbp\n\t"
			 "movq 8(%1), %%rax\n\t"
			 "movq 0(%1), %%rsp\n\t"
			 "jmpq *%%rax\n\t"
			 "1:\n\t"
			 : "+D"(from), "+S"(to)
			 :
			 : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13",
			   "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
			   "xmm15", "memory", "cc");
}

#else /* __aarch64__ */

static inline __attribute__((always_inline)) void co_ctx_switch(struct co_ctx *from,
								struct co_ctx *to)
{
	register struct co_ctx *f __asm__("x0") = from;
	register struct co_ctx *t __asm__("x1") = to;

	/* hint #36 is "bti j": the place may be jumped to where branch targets are checked. */
	__asm__ volatile("adr x9, 1f\n\t"
			 "mov x10, sp\n\t"
			 "stp x10, x9, [%0]\n\t"
			 "str x29, [%0, #16]\n\t"
			 "ldp x10, x9, [%1]\n\t"
			 "ldr x29, [%1, #16]\n\t"
			 "mov sp, x10\n\t"
			 "mov x30, xzr\n\t"
			 "br x9\n\t"
			 "1: hint #36\n\t"
			 : "+r"(f), "+r"(t)
			 :
			 : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
			   "x13", "x14", "x15", "x16", "x17", "x19", "x20", "x21", "x22", "x23",
			   "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3", "v4",
			   "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15",
			   "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",
			   "v26", "v27", "v28", "v29", "v30", "v31", "memory", "cc");
}

#endif
#endif
