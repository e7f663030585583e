/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "mem.h"

/*
 * The CPU implementation of write_back and invalidate. On one cache line of coherent memory none of this
 * is needed; on memory that several hosts map without hardware coherency it is all there is.
 */

#if defined(__x86_64__)

static void cpuid(uint32_t leaf, uint32_t sub, uint32_t *ret_ebx, uint32_t *ret_edx,
		  uint32_t *ret_max)
{
	uint32_t a = leaf, b, c = sub, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	*ret_ebx = b;
	*ret_edx = d;
	*ret_max = a;
}

static enum morsel_mem_flush detect(void)
{
	uint32_t b, d, max, unused;

	cpuid(0, 0, &b, &d, &max);
	if (max >= 7) {
		cpuid(7, 0, &b, &d, &unused);
		/* Intel SDM, CPUID.(EAX=7,ECX=0):EBX bit 24 is CLWB, bit 23 CLFLUSHOPT. */
		if ((b & (1u << 24)) && (b & (1u << 23)))
			return MORSEL_MEM_FLUSH_CLWB;
		if (b & (1u << 23))
			return MORSEL_MEM_FLUSH_CLFLUSHOPT;
	}
	cpuid(1, 0, &b, &d, &unused);
	return d & (1u << 19) ? MORSEL_MEM_FLUSH_CLFLUSH : MORSEL_MEM_FLUSH_NONE;
}

static inline void line_clwb(const char *p)
{
	__asm__ volatile("clwb %0" : "+m"(*(volatile char *)p));
}

static inline void line_clflushopt(const char *p)
{
	__asm__ volatile("clflushopt %0" : "+m"(*(volatile char *)p));
}

static inline void line_clflush(const char *p)
{
	__asm__ volatile("clflush %0" : "+m"(*(volatile char *)p));
}

#elif defined(__aarch64__)

static enum morsel_mem_flush detect(void)
{
	/* DC CVAC and CIVAC by address are part of every arm64 CPU and allowed to user space by Linux (SCTLR_EL1.UCI). */
	return MORSEL_MEM_FLUSH_ARM64;
}

static inline void line_cvac(const char *p)
{
	__asm__ volatile("dc cvac, %0" ::"r"(p) : "memory");
}

static inline void line_civac(const char *p)
{
	__asm__ volatile("dc civac, %0" ::"r"(p) : "memory");
}

#else

static enum morsel_mem_flush detect(void)
{
	return MORSEL_MEM_FLUSH_NONE;
}

#endif

/* Relaxed: every thread that races here computes the same value. */
static enum morsel_mem_flush chosen;

enum morsel_mem_flush morsel_mem_cpu_flush(void)
{
	enum morsel_mem_flush f = __atomic_load_n(&chosen, __ATOMIC_RELAXED);

	if (f == MORSEL_MEM_FLUSH_UNKNOWN) {
		f = detect();
		__atomic_store_n(&chosen, f, __ATOMIC_RELAXED);
	}
	return f;
}

int morsel_mem_cpu_set_flush(enum morsel_mem_flush flush)
{
	enum morsel_mem_flush best = detect();

	if (flush == MORSEL_MEM_FLUSH_UNKNOWN || flush == MORSEL_MEM_FLUSH_NONE || flush > best ||
	    (best == MORSEL_MEM_FLUSH_ARM64 && flush != best))
		return -EOPNOTSUPP;
	__atomic_store_n(&chosen, flush, __ATOMIC_RELAXED);
	return 0;
}

/* Bytes between two flushes: the CPU's smallest line, so that none is left out. */
static inline uintptr_t flush_step(void)
{
#if defined(__aarch64__)
	uint64_t ctr;

	/* CTR_EL0.DminLine, bits 19:16: log2 of the words of 4 bytes in the smallest data cache line. */
	__asm__ volatile("mrs %0, ctr_el0" : "=r"(ctr));
	return (uintptr_t)4 << ((ctr >> 16) & 15);
#else
	return MORSEL_LINE;
#endif
}

#define EACH_LINE(insn)                                    \
	do {                                               \
		for (a &= ~(step - 1); a < end; a += step) \
			insn((const char *)a);             \
	} while (0)

void morsel_mem_cpu_write_back(const void *p, size_t n)
{
	uintptr_t step = flush_step(), a = (uintptr_t)p, end = a + n;

	switch (morsel_mem_cpu_flush()) {
#if defined(__x86_64__)
	case MORSEL_MEM_FLUSH_CLWB:
		EACH_LINE(line_clwb);
		break;
	case MORSEL_MEM_FLUSH_CLFLUSHOPT:
		EACH_LINE(line_clflushopt);
		break;
	case MORSEL_MEM_FLUSH_CLFLUSH:
		EACH_LINE(line_clflush);
		break;
#elif defined(__aarch64__)
	case MORSEL_MEM_FLUSH_ARM64:
		EACH_LINE(line_cvac);
		break;
#endif
	default:
		(void)a;
		(void)step;
		(void)end;
		break;
	}
}

void morsel_mem_cpu_invalidate(const void *p, size_t n)
{
	uintptr_t step = flush_step(), a = (uintptr_t)p, end = a + n;

	switch (morsel_mem_cpu_flush()) {
#if defined(__x86_64__)
	case MORSEL_MEM_FLUSH_CLWB: /* CLWB may keep the line, so it is no invalidate */
	case MORSEL_MEM_FLUSH_CLFLUSHOPT:
		EACH_LINE(line_clflushopt);
		break;
	case MORSEL_MEM_FLUSH_CLFLUSH:
		EACH_LINE(line_clflush);
		break;
#elif defined(__aarch64__)
	case MORSEL_MEM_FLUSH_ARM64:
		/* CIVAC, not IVAC: a dirty neighbour in the line must not be lost. */
		EACH_LINE(line_civac);
		break;
#endif
	default:
		(void)a;
		(void)step;
		(void)end;
		break;
	}
}
