/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "mem.h"
#include "test-check.h"

/*
 * A machine with coherent caches does not show a flush that is missing. So this one looks at the instructions: it
 * runs the CPU's implementation step by step, by the trap flag, and notes each write-back, on which line, and each
 * fence. Every variant that the CPU has is forced once. On other CPUs than x86 only the data is compared.
 */

#define LINES 8u

static uint8_t area[LINES * MORSEL_LINE] __attribute__((aligned(MORSEL_LINE)));

static const struct variant {
	const char *name;
	enum morsel_mem_flush flush;
	char write_back, invalidate; /* as noted below */
} variants[] = {
	{ "clflush", MORSEL_MEM_FLUSH_CLFLUSH, 'f', 'f' },
	{ "clflushopt", MORSEL_MEM_FLUSH_CLFLUSHOPT, 'o', 'o' },
	/* CLWB may keep the line: it is no invalidate. */
	{ "clwb", MORSEL_MEM_FLUSH_CLWB, 'w', 'o' },
};

#if defined(__x86_64__)

static char seen[2 * LINES + 1]; /* one letter per instruction, in order */
static unsigned lines_of[2 * LINES];
static unsigned count;
static unsigned long steps;

static void note(char what, uintptr_t at)
{
	if (count < 2 * LINES) {
		lines_of[count] = (unsigned)((at - (uintptr_t)area) / MORSEL_LINE);
		seen[count++] = what;
	}
}

static uintptr_t reg_value(const ucontext_t *u, unsigned reg)
{
	static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				       REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
				       REG_R12, REG_R13, REG_R14, REG_R15 };

	return (uintptr_t)u->uc_mcontext.gregs[order[reg]];
}

/* The next instruction, if it is one of 0F AE with a memory operand, or a fence (Intel SDM, volume 2). */
static void trap(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *u = context;
	const uint8_t *p = (const uint8_t *)u->uc_mcontext.gregs[REG_RIP];
	bool opsize = *p == 0x66;
	unsigned rex = 0, mod, op;
	uintptr_t at;

	steps++;
	p += opsize;
	if ((*p & 0xf0) == 0x40)
		rex = *p++;
	if (p[0] != 0x0f || p[1] != 0xae)
		return;
	mod = p[2] >> 6;
	op = p[2] >> 3 & 7;
	if (mod == 3) {
		if (op >= 6)
			note(op == 6 ? 'M' : 'S', 0); /* MFENCE, SFENCE */
		return;
	}
	if (op < 6)
		return; /* FXSAVE and its kin */
	at = reg_value(u, (p[2] & 7) | (rex & 1) << 3);
	if (mod == 1)
		at += (uintptr_t)(intptr_t)(int8_t)p[3];
	/* An address that takes more to decode: no compiler of today makes one here. */
	if ((p[2] & 7) == 4 || mod == 2 || (mod == 0 && (p[2] & 7) == 5))
		note('?', 0);
	else
		note(op == 6 && opsize ? 'w' : op == 7 && opsize ? 'o' : op == 7 ? 'f' : '?', at);
}

static void watch(void)
{
	count = 0;
	memset(seen, 0, sizeof(seen));
	/* Past the red zone, where this function may keep what it likes. */
	__asm__ volatile(
		"lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::
			: "memory", "cc");
}

static void stop(void)
{
	__asm__ volatile(
		"lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::
			: "memory", "cc");
}

/* WHAT on each of N lines from FIRST, in order, and nothing else. */
static bool only(char what, unsigned first, unsigned n)
{
	if (count != n)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (seen[i] != what || (what != 'M' && lines_of[i] != first + i))
			return false;
	return true;
}

static void test_instructions(const struct variant *v)
{
	struct morsel_mem mem = { 0 };

	watch();
	morsel_mem_write_back(&mem, area, sizeof(area));
	stop();
	CHECK(only(v->write_back, 0, LINES));
	watch();
	morsel_mem_invalidate(&mem, area, sizeof(area));
	stop();
	CHECK(only(v->invalidate, 0, LINES));
	/* Lines that a range only touches. */
	watch();
	morsel_mem_write_back(&mem, area + 3 * MORSEL_LINE - 1, MORSEL_LINE + 2);
	stop();
	CHECK(only(v->write_back, 2, 3));
	watch();
	morsel_mem_invalidate(&mem, area + MORSEL_LINE, 1);
	stop();
	CHECK(only(v->invalidate, 1, 1));
	/* SFENCE would not hold later loads back. */
	watch();
	morsel_mem_fence(&mem);
	stop();
	CHECK(only('M', 0, 1));
	CHECK(steps > 100);
}

static void set_up_watch(void)
{
	struct sigaction act = { .sa_sigaction = trap, .sa_flags = SA_SIGINFO };

	sigemptyset(&act.sa_mask);
	if (sigaction(SIGTRAP, &act, NULL) < 0)
		abort();
}

#else

static void test_instructions(const struct variant *v)
{
	(void)v;
}

static void set_up_watch(void)
{
}

#endif

/* Whatever else they do, they change no byte. */
static void test_data(void)
{
	struct morsel_mem mem = { 0 };
	uint8_t copy[sizeof(area)];

	for (unsigned i = 0; i < sizeof(area); i++)
		area[i] = (uint8_t)(i * 7 + 1);
	memcpy(copy, area, sizeof(area));
	morsel_mem_write_back(&mem, area, sizeof(area));
	morsel_mem_fence(&mem);
	morsel_mem_invalidate(&mem, area + 5, sizeof(area) - 10);
	morsel_mem_fence(&mem);
	CHECK(memcmp(copy, area, sizeof(area)) == 0);
}

static void test_words(void)
{
	struct morsel_mem mem = { 0 };
	uint64_t w = 5, expected = 4;

	CHECK(!morsel_mem_cas(&mem, &w, &expected, 9) && expected == 5 && w == 5);
	CHECK(morsel_mem_cas(&mem, &w, &expected, 9) && w == 9);
	morsel_mem_store(&mem, &w, 11);
	morsel_mem_barrier(&mem);
	CHECK(morsel_mem_load(&mem, &w) == 11);
}

int main(void)
{
	enum morsel_mem_flush best = morsel_mem_cpu_flush();
	unsigned tried = 0;

	set_up_watch();
	test_words();
	test_data();
	CHECK(best != MORSEL_MEM_FLUSH_UNKNOWN);
	CHECK(morsel_mem_cpu_set_flush(MORSEL_MEM_FLUSH_UNKNOWN) == -EOPNOTSUPP);
	CHECK(morsel_mem_cpu_set_flush(MORSEL_MEM_FLUSH_NONE) == -EOPNOTSUPP);
	CHECK(morsel_mem_cpu_flush() == best);
	for (unsigned i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
		int r = morsel_mem_cpu_set_flush(variants[i].flush);

		CHECK(r == 0 || r == -EOPNOTSUPP);
		printf("%s: %s\n", variants[i].name, r == 0 ? "tried" : "not on this CPU");
		if (r < 0)
			continue;
		tried++;
		CHECK(morsel_mem_cpu_flush() == variants[i].flush);
		test_data();
		test_instructions(&variants[i]);
	}
#if defined(__x86_64__)
	CHECK(tried >= 1); /* every x86-64 CPU has CLFLUSH */
#endif
	return check_result();
}
