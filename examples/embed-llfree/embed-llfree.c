/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LLFree in a program that has nothing: no C library, no start-up code, no heap. It manages a static array,
 * as firmware or a hypervisor would manage its memory. Linux only comes in by the two system calls at
 * the end, write and exit, for x86-64 and arm64.
 */
#include "llfree.h"

#define FRAME_SIZE 4096
#define FRAMES 8192 /* 32 MiB */

static char memory[FRAMES][FRAME_SIZE] __attribute__((aligned(1 << 21)));
/* What llfree_sizes() asks for, with room to spare; it is checked below. */
static char lower[FRAMES / 4] __attribute__((aligned(64)));
static char upper[4096] __attribute__((aligned(64)));

/* A compiler may call these two whatever it is told; an environment without them provides them. */
void *memset(void *to, int byte, size_t n);
void *memcpy(void *to, const void *from, size_t n);

void *memset(void *to, int byte, size_t n)
{
	for (volatile char *p = to; n--; p++)
		*p = (char)byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	const char *f = from;

	for (volatile char *p = to; n--; p++)
		*p = *f++;
	return to;
}

static long call(long number, long a, long b, long c)
{
	long r;

#if defined(__x86_64__)
	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b,
			 x2 __asm__("x2") = c;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	r = x0;
#else
#error "write and exit for this machine, please"
#endif
	return r;
}

#if defined(__x86_64__)
#define SYS_WRITE 1
#define SYS_EXIT 60
#else
#define SYS_WRITE 64
#define SYS_EXIT 93
#endif

static void say(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	call(SYS_WRITE, 1, (long)text, (long)n);
}

static int run(void)
{
	const struct llfree_config config = {
		.frames = FRAMES, .classes = 1, .slots = 1, .owners = 1
	};
	struct llfree_meta meta = { lower, upper, sizeof(lower), sizeof(upper) };
	struct llfree_request small = { .order = 0 }, huge = { .order = LLFREE_HUGE_ORDER };
	uint64_t frame, chain = ~(uint64_t)0, count = 0;
	struct llfree_stats stats;
	struct llfree a;

	if (llfree_init(&a, &config, &meta))
		return 1;

	/* One huge frame, then all that is left as small ones, linked through their first word. */
	if (llfree_get(&a, huge, &frame))
		return 2;
	memory[frame][0] = 1;
	while (llfree_get(&a, small, &frame) == 0) {
		*(uint64_t *)memory[frame] = chain;
		chain = frame;
		count++;
	}
	if (count != FRAMES - LLFREE_CHILD_FRAMES)
		return 3;
	/* And all of these back. */
	while (chain != ~(uint64_t)0) {
		frame = chain;
		chain = *(uint64_t *)memory[frame];
		if (llfree_put(&a, frame, small))
			return 4;
	}
	/* A second time is refused. */
	if (llfree_put(&a, frame, small) != LLFREE_ENOTALLOC)
		return 5;
	if (llfree_drain(&a, LLFREE_ALL_SLOTS) || llfree_check(&a) ||
	    llfree_stats_exact(&a, &stats))
		return 6;
	return stats.used == LLFREE_CHILD_FRAMES &&
			       stats.free_huge == FRAMES / LLFREE_CHILD_FRAMES - 1
		       ? 0
		       : 7;
}

void _start(void);

/* The kernel enters with a stack that is aligned, as a function's caller would have it before the call. */
#ifdef __x86_64__
__attribute__((force_align_arg_pointer))
#endif
void _start(void)
{
	int r = run();

	say(r ? "embed-llfree: failed\n" : "embed-llfree: all frames given out and taken back\n");
	call(SYS_EXIT, r, 0, 0);
	__builtin_unreachable();
}
