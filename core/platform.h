/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * All that the freestanding core takes from its surroundings: fixed-width types, bit counting,
 * atomics and write-back of cache lines. Nothing here calls a library, so that core/ builds in user
 * space, with -ffreestanding -nostdlib, and in the kernel.
 *
 * Atomics work on plain 64-bit words that other processes, or the kernel, may map at the same time.
 * With MORSEL_TEST_HOOKS each of them first calls plat_test_point(), where a test's scheduler
 * switches threads or its crash simulator cuts the power. Without it no trace of the hooks is left.
 */
#ifndef MORSEL_CORE_PLATFORM_H
#define MORSEL_CORE_PLATFORM_H

/* The kernel names these types itself and has no freestanding <stdint.h> on its include path. */
#ifndef PLAT_TYPES
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#define PLAT_CACHE_LINE 64

#define plat_likely(x) __builtin_expect(!!(x), 1)
#define plat_unlikely(x) __builtin_expect(!!(x), 0)
#define plat_inline static inline __attribute__((__always_inline__))
#define plat_noinline __attribute__((__noinline__))

#ifdef MORSEL_TEST_HOOKS
void plat_test_point(void);
/* True: the code takes the path of a lost race at this site. */
bool plat_test_force(int site);
/* True: the code misbehaves as the site's name says, which a test must notice. */
bool plat_test_break(int site);
void plat_test_writeback(const void *line);
void plat_test_fence(void);
#else
#define plat_test_point() ((void)0)
#define plat_test_force(site) false
#define plat_test_break(site) false
#endif

/* tools/bench counts read-modify-writes, which are the dear operations, in a build of its own. */
#ifdef MORSEL_COUNT_RMW
extern __thread uint64_t plat_rmw_count;
#define plat_rmw_point() (plat_rmw_count++)
#else
#define plat_rmw_point() plat_test_point()
#endif

/*
 * Orderings. Read-modify-writes are sequentially consistent: on x86 and on arm64 with LSE that
 * costs nothing over acquire-release, and the few places that need "I write mine, then read yours"
 * (marked *store-load* in the code) can use the same operations. Loads acquire unless named
 * otherwise.
 */
#define plat_load(p) (plat_test_point(), __atomic_load_n((p), __ATOMIC_ACQUIRE))
#define plat_load_relaxed(p) (plat_test_point(), __atomic_load_n((p), __ATOMIC_RELAXED))
#define plat_load_sc(p) (plat_test_point(), __atomic_load_n((p), __ATOMIC_SEQ_CST))
#define plat_store(p, v) (plat_test_point(), __atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define plat_store_relaxed(p, v) (plat_test_point(), __atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define plat_cas(p, expected, desired)                                                    \
	(plat_rmw_point(), __atomic_compare_exchange_n((p), (expected), (desired), false, \
						       __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE))
#define plat_fetch_add(p, v) (plat_rmw_point(), __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define plat_fetch_and(p, v) (plat_rmw_point(), __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))
#define plat_fetch_or(p, v) (plat_rmw_point(), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define plat_exchange(p, v) (plat_rmw_point(), __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))

plat_inline unsigned plat_ctz(uint64_t x)
{
	return (unsigned)__builtin_ctzll(x);
}

/* Without POPCNT the builtin is a call into libgcc, which neither a kernel nor -nostdlib has. */
plat_inline unsigned plat_popcount(uint64_t x)
{
#if defined(__POPCNT__) || defined(__aarch64__)
	return (unsigned)__builtin_popcountll(x);
#else
	x -= (x >> 1) & 0x5555555555555555u;
	x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
	return (unsigned)((x * 0x0101010101010101u) >> 56);
#endif
}

/* Of the eight words of a line, each XOR @flip. */
plat_inline unsigned plat_popcount_line(const uint64_t *p, uint64_t flip)
{
#if defined(__POPCNT__) || defined(__aarch64__)
#define PLAT_COUNT(i) \
	(unsigned)__builtin_popcountll(__atomic_load_n(&p[i], __ATOMIC_RELAXED) ^ flip)
	return PLAT_COUNT(0) + PLAT_COUNT(1) + PLAT_COUNT(2) + PLAT_COUNT(3) + PLAT_COUNT(4) +
	       PLAT_COUNT(5) + PLAT_COUNT(6) + PLAT_COUNT(7);
#undef PLAT_COUNT
#else
	uint64_t bytes = 0;

	/* Sums in bytes, at most 64 each, for all eight words; one multiplication at the end. */
	for (unsigned i = 0; i < 8; i++) {
		uint64_t x = __atomic_load_n(&p[i], __ATOMIC_RELAXED) ^ flip;

		x -= (x >> 1) & 0x5555555555555555u;
		x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
		bytes += (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
	}
	bytes = (bytes & 0x00ff00ff00ff00ffu) + (bytes >> 8 & 0x00ff00ff00ff00ffu);
	return (unsigned)((bytes * 0x0001000100010001u) >> 48);
#endif
}

/* How a line gets to persistent media. The caller finds out what its CPU and platform need. */
enum plat_writeback {
	PLAT_WB_NONE,	    /* stores are durable when visible: eADR, or memory that need not be */
	PLAT_WB_CLWB,	    /* x86: line stays cached */
	PLAT_WB_CLFLUSHOPT, /* x86: line is evicted */
	PLAT_WB_CLFLUSH,    /* x86: evicted, each one serialised */
	PLAT_WB_DCCVAP,	    /* arm64: clean to the point of persistence */
	PLAT_WB_MAX
};

/* Starts the write-back of the line that holds @p; plat_fence() waits for those started before. */
plat_inline void plat_writeback(unsigned how, const void *p)
{
#ifdef MORSEL_TEST_HOOKS
	if (how != PLAT_WB_NONE)
		plat_test_writeback(p);
#elif defined(__x86_64__)
	/* The prefixes are written out so that no target option is needed. */
	if (how == PLAT_WB_CLWB)
		__asm__ volatile(".byte 0x66; xsaveopt %0" : : "m"(*(const char *)p) : "memory");
	else if (how == PLAT_WB_CLFLUSHOPT)
		__asm__ volatile(".byte 0x66; clflush %0" : : "m"(*(const char *)p) : "memory");
	else if (how == PLAT_WB_CLFLUSH)
		__asm__ volatile("clflush %0" : : "m"(*(const char *)p) : "memory");
#elif defined(__aarch64__)
	if (how == PLAT_WB_DCCVAP)
		__asm__ volatile("sys #3, c7, c12, #1, %0" : : "r"(p) : "memory"); /* dc cvap */
#else
	(void)how;
	(void)p;
#endif
}

plat_inline void plat_fence(unsigned how)
{
#ifdef MORSEL_TEST_HOOKS
	if (how != PLAT_WB_NONE)
		plat_test_fence();
#elif defined(__x86_64__)
	if (how != PLAT_WB_NONE)
		__asm__ volatile("sfence" : : : "memory");
#elif defined(__aarch64__)
	if (how != PLAT_WB_NONE)
		__asm__ volatile("dsb ish" : : : "memory");
#else
	(void)how;
#endif
}

#endif
