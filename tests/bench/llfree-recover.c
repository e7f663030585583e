/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench-llfree-recover: opening a pool of 512 GiB that was not closed, against reading its metadata
 * once. All rows are random and all counts wrong, so that every lane is written. Pairs in turn,
 * medians.
 */
#include "llfree-common.h"

#define ROUNDS 15

static __attribute__((noinline)) uint64_t read_all(const uint64_t *p, uint64_t words)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < words; i++)
		sum += __atomic_load_n(&p[i], __ATOMIC_RELAXED);
	return sum;
}

static void measure(uint64_t gib)
{
	double reading[ROUNDS], opening[ROUNDS], ratio[ROUNDS];
	uint64_t seed = 99, frames = gib * GIB_FRAMES;
	volatile uint64_t sink = 0;
	struct llfree_recovery rec;
	struct pool p;

	pool_new(&p, frames, LLFREE_PERSISTENT, 1);
	for (uint64_t i = 0; i < frames / 64; i++)
		p.a.bits[i] = rnd(&seed);
	for (unsigned r = 0; r < ROUNDS; r++) {
		uint64_t t;

		for (uint64_t i = 0; i < frames / LLFREE_CHILD_FRAMES / LLFREE_WORD_LANES; i++)
			p.a.entries[i] &= ~(LLFREE_LANES * LLFREE_LANE_FREE);
		t = now();
		sink += read_all(p.m.lower, p.m.lower_size / 8);
		reading[r] = (double)(now() - t) / 1000;
		t = now();
		if (llfree_open(&p.a, &p.c, &p.m, &rec) || !rec.corrected)
			die("open");
		opening[r] = (double)(now() - t) / 1000;
		ratio[r] = reading[r] / opening[r];
	}
	printf("llfree.recover.%llugib.us %.0f\n", (unsigned long long)gib,
	       median(opening, ROUNDS));
	printf("llfree.recover.%llugib.reading_us %.0f\n", (unsigned long long)gib,
	       median(reading, ROUNDS));
	printf("llfree.recover.%llugib.to_reading_speed %.3f\n", (unsigned long long)gib,
	       median(ratio, ROUNDS));
	pool_done(&p);
}

int main(void)
{
	measure(64);
	measure(512);
	return 0;
}
