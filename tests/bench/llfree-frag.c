/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench-llfree-frag: does memory that was fragmented come together again by itself? 4 GiB are
 * filled with single frames and a share of them, chosen at random, is freed. A round frees a tenth
 * of what is allocated, at random, and allocates as much. After 100 rounds: free huge frames by
 * those that the free memory would make.
 */
#include "llfree-common.h"

#define FRAMES (4 * GIB_FRAMES)
#define ROUNDS 100

static uint64_t free_huge(struct pool *p)
{
	struct llfree_stats s;

	if (llfree_drain(&p->a, LLFREE_ALL_SLOTS) || llfree_stats_exact(&p->a, &s))
		die("statistics");
	return s.free_huge;
}

static void measure(unsigned percent, unsigned flags, const char *mode)
{
	uint64_t n = FRAMES, *held = malloc(n * sizeof(*held)), keep = n - n * percent / 100,
		 first = 0;
	uint64_t possible = (n - keep) / LLFREE_CHILD_FRAMES;
	struct pool p;

	if (!held)
		die("out of memory");
	pool_new(&p, n, flags, 1);
	for (uint64_t i = 0; i < n; i++)
		if (llfree_get(&p.a, req(0, 0), &held[i]) < 0)
			die("get failed");
	shuffle(held, n, 42);
	for (uint64_t i = keep; i < n; i++)
		if (llfree_put(&p.a, held[i], req(0, 0)))
			die("put failed");
	for (unsigned round = 1; round <= ROUNDS; round++) {
		uint64_t tenth = keep / 10;

		shuffle(held, keep, 1000 + round);
		for (uint64_t i = 0; i < tenth; i++)
			if (llfree_put(&p.a, held[i], req(0, 0)))
				die("put failed");
		for (uint64_t i = 0; i < tenth; i++)
			if (llfree_get(&p.a, req(0, 0), &held[i]) < 0)
				die("get failed");
		/* Looking drains the slot, which is part of no workload: not in every round. */
		if (!first && round % 10 == 0 && free_huge(&p))
			first = round;
	}
	printf("llfree.frag.%sfree%u.huge_share %.4f\n", mode, percent,
	       (double)free_huge(&p) / (double)possible);
	printf("llfree.frag.%sfree%u.first_round %llu\n", mode, percent, (unsigned long long)first);
	free(held);
	pool_done(&p);
}

int main(void)
{
	measure(50, 0, "");
	measure(20, 0, "");
	measure(50, LLFREE_UNCACHED, "uncached.");
	measure(20, LLFREE_UNCACHED, "uncached.");
	return 0;
}
