/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the allocator's benchmarks share: a pool in ordinary memory with two classes, 0 for small
 * frames and 1 for huge ones, clocks and medians.
 */
#ifndef MORSEL_BENCH_LLFREE_H
#define MORSEL_BENCH_LLFREE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/llfree.h"

#define GIB_FRAMES (1ull << 18)

struct pool {
	struct llfree a;
	struct llfree_config c;
	struct llfree_meta m;
};

static inline void die(const char *what)
{
	fprintf(stderr, "bench-llfree: %s\n", what);
	exit(1);
}

static inline void pool_new(struct pool *p, uint64_t frames, unsigned flags, unsigned slots)
{
	p->c = (struct llfree_config){
		.frames = frames,
		.flags = flags,
		.classes = 2,
		.slots = slots,
		.owners = 1,
	};
	if (llfree_sizes(&p->c, &p->m.lower_size, &p->m.upper_size))
		die("sizes");
	p->m.lower = aligned_alloc(4096, (p->m.lower_size + 4095) / 4096 * 4096);
	p->m.upper = aligned_alloc(4096, (p->m.upper_size + 4095) / 4096 * 4096);
	if (!p->m.lower || !p->m.upper)
		die("out of memory");
	if (llfree_init(&p->a, &p->c, &p->m))
		die("init");
}

static inline void pool_done(struct pool *p)
{
	free(p->m.lower);
	free(p->m.upper);
}

static inline struct llfree_request req(unsigned order, unsigned slot)
{
	return (struct llfree_request){ .order = (uint8_t)order,
					.class = order >= 9,
					.slot = (uint16_t)slot };
}

static inline uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static inline void shuffle(uint64_t *x, uint64_t n, uint64_t seed)
{
	for (uint64_t i = n - 1; i > 0; i--) {
		uint64_t j = rnd(&seed) % (i + 1), t = x[i];

		x[i] = x[j];
		x[j] = t;
	}
}

static inline int compare_double(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return a < b ? -1 : a > b;
}

static inline double median(double *x, unsigned n)
{
	qsort(x, n, sizeof(*x), compare_double);
	return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

#endif
