/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_MEM_H
#define MORSEL_CORE_MEM_H

/*
 * The memory interface: all that core/coherency and core/format do to memory that others see.
 *
 * Two kinds of memory lie behind it: the *coherent* range of a pool and the host's own shared memory
 * (hold pages, gates), where load, store and cas work as between CPUs of one machine; and the
 * *incoherent* data range, where only the owner's write-back moves a line to the others and only the
 * reader's invalidate lets it see them. Two implementations: the CPU's instructions (ops == NULL, inlined
 * below and in mem-cpu.c) and the simulated incoherent cache of tests/coherency. A third (a device that
 * does compare-and-swap, a coordinator behind a network) needs only these seven functions.
 *
 * The contract is deliberately weaker than x86, so that code which keeps to it is right on arm64 too:
 *   load        acquire: no later access of this thread moves before it.
 *   store       release: no earlier access of this thread moves after it; later loads may pass it.
 *   cas         load, store and full barrier in one for loads and stores, not for write_back and invalidate.
 *               On failure *expected holds what was there.
 *   barrier     full barrier between loads and stores; says nothing about write_back and invalidate.
 *   write_back  starts to write the dirty lines of the range back; they may stay in the cache, clean.
 *               Ordered after this thread's earlier stores to the same lines, and after nothing else.
 *   invalidate  starts to drop the range's lines, writing back what is dirty. Same ordering; without a
 *               fence it may even happen before an earlier load, and a prefetch may undo it at any time.
 *   fence       waits until every earlier write_back and invalidate of this thread is complete; a full
 *               barrier as well.
 * On a host that fails between them, any subset of the unfenced ones may have happened.
 *
 * Pointers are into the caller's mapping, naturally aligned; lengths in bytes. Thread-safe: ops have no
 * state of their own, or one per thread (the simulator's).
 */

#include "mem-types.h"

#define MORSEL_LINE 64u /* bytes of a cache line on every CPU that core supports */

struct morsel_mem;

struct morsel_mem_ops {
	uint64_t (*load)(struct morsel_mem *mem, const uint64_t *p);
	void (*store)(struct morsel_mem *mem, uint64_t *p, uint64_t v);
	bool (*cas)(struct morsel_mem *mem, uint64_t *p, uint64_t *expected, uint64_t desired);
	void (*barrier)(struct morsel_mem *mem);
	void (*write_back)(struct morsel_mem *mem, const void *p, size_t n);
	void (*invalidate)(struct morsel_mem *mem, const void *p, size_t n);
	void (*fence)(struct morsel_mem *mem);
};

/* Embed it first in what an implementation needs; all zero is the CPU. */
struct morsel_mem {
	const struct morsel_mem_ops *ops;
};

/* Which instruction the CPU implementation writes back with; by CPUID, once, at the first use. */
enum morsel_mem_flush {
	MORSEL_MEM_FLUSH_UNKNOWN,
	MORSEL_MEM_FLUSH_NONE, /* this CPU has none: incoherent memory must not be used */
	MORSEL_MEM_FLUSH_CLFLUSH,
	MORSEL_MEM_FLUSH_CLFLUSHOPT,
	MORSEL_MEM_FLUSH_CLWB,
	MORSEL_MEM_FLUSH_ARM64, /* DC CVAC and DC CIVAC */
};

/* What this CPU offers. Callers refuse to attach a pool on MORSEL_MEM_FLUSH_NONE. */
enum morsel_mem_flush morsel_mem_cpu_flush(void);

/* For tests and benchmarks: use a lesser instruction than CPUID offers. -EOPNOTSUPP if it is not offered. */
int morsel_mem_cpu_set_flush(enum morsel_mem_flush flush);

void morsel_mem_cpu_write_back(const void *p, size_t n);
void morsel_mem_cpu_invalidate(const void *p, size_t n);

static inline void morsel_mem_cpu_fence(void)
{
#if defined(__x86_64__)
	/* CLWB and CLFLUSHOPT are ordered by SFENCE and MFENCE, but only MFENCE holds later loads back. */
	__asm__ volatile("mfence" ::: "memory");
#elif defined(__aarch64__)
	/* DC operations complete at a DSB; a DMB does not wait for them. */
	__asm__ volatile("dsb sy" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline void morsel_mem_cpu_barrier(void)
{
#if defined(__x86_64__)
	/* A locked operation on the own stack is a full barrier and cheaper than MFENCE, which also waits for flushes. */
	__asm__ volatile("lock; addl $0,-4(%%rsp)" ::: "memory", "cc");
#elif defined(__aarch64__)
	/* Of the whole system, not of the inner shareable domain only: other hosts look on. */
	__asm__ volatile("dmb sy" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline uint64_t morsel_mem_load(struct morsel_mem *mem, const uint64_t *p)
{
	if (mem->ops)
		return mem->ops->load(mem, p);
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void morsel_mem_store(struct morsel_mem *mem, uint64_t *p, uint64_t v)
{
	if (mem->ops)
		mem->ops->store(mem, p, v);
	else
		__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline bool morsel_mem_cas(struct morsel_mem *mem, uint64_t *p, uint64_t *expected,
				  uint64_t desired)
{
	bool done;

	if (mem->ops)
		return mem->ops->cas(mem, p, expected, desired);
		/*
	 * The contract makes it a full barrier, also when it fails. x86's locked operations are that; arm64's exclusive
	 * pairs let later loads pass the store, and a failed one orders no earlier store.
	 */
#if !defined(__x86_64__)
	morsel_mem_cpu_barrier();
#endif
	done = __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
#if !defined(__x86_64__)
	morsel_mem_cpu_barrier();
#endif
	return done;
}

static inline void morsel_mem_barrier(struct morsel_mem *mem)
{
	if (mem->ops)
		mem->ops->barrier(mem);
	else
		morsel_mem_cpu_barrier();
}

static inline void morsel_mem_write_back(struct morsel_mem *mem, const void *p, size_t n)
{
	if (mem->ops)
		mem->ops->write_back(mem, p, n);
	else
		morsel_mem_cpu_write_back(p, n);
}

static inline void morsel_mem_invalidate(struct morsel_mem *mem, const void *p, size_t n)
{
	if (mem->ops)
		mem->ops->invalidate(mem, p, n);
	else
		morsel_mem_cpu_invalidate(p, n);
}

static inline void morsel_mem_fence(struct morsel_mem *mem)
{
	if (mem->ops)
		mem->ops->fence(mem);
	else
		morsel_mem_cpu_fence();
}

#endif
