/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_TEST_RANDOM_H
#define MORSEL_CORE_TEST_RANDOM_H

#include <math.h>
#include <stdint.h>

/* Numbers for tests and benchmarks: the same ones in every run. Each file has its own state. */

static uint64_t random_state;

static inline uint64_t random_next(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static inline uint64_t random_below(uint64_t n)
{
	return random_next() % n;
}

/* [0, 1) */
static inline double random_unit(void)
{
	return (double)(random_next() >> 11) / (1ull << 53);
}

/* How many events come where mean ones are expected; above 64 by the normal distribution, near enough. */
static inline uint32_t random_poisson(double mean)
{
	double limit, p = 1;
	uint32_t n = 0;

	if (mean > 64) {
		double u =
			sqrt(-2 * log(1 - random_unit())) * cos(6.283185307179586 * random_unit());

		p = mean + sqrt(mean) * u + 0.5;
		return p > 0 ? (uint32_t)p : 0;
	}
	for (limit = exp(-mean); (p *= random_unit()) > limit;)
		n++;
	return n;
}

#endif
