/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench-llfree-latency: single operations, and gets that fail.
 *
 * Each operation is timed by itself and the clock's own cost (the median of empty measurements) is
 * taken off. What another process or an interrupt took in between is not: p99 and p99.9 are of
 * 2,000,000 frames, so that the rare preemption lies beyond them. Failing gets are medians of 200.
 */
#include "llfree-common.h"

#include <sched.h>

#if defined(__x86_64__)
#include <x86intrin.h>
static inline uint64_t ticks(void)
{
	unsigned aux;
	uint64_t t = __rdtscp(&aux);

	_mm_lfence();
	return t;
}
#else
static inline uint64_t ticks(void)
{
	return now();
}
#endif

#define FRAMES (8 * GIB_FRAMES)

static double ns_per_tick;
static uint64_t overhead;

static int compare_u32(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return a < b ? -1 : a > b;
}

static void calibrate(void)
{
	uint64_t t = ticks(), n = now(), x[1001];
	double d[1001];

	while (now() - n < 50000000)
		;
	ns_per_tick = (double)(now() - n) / (double)(ticks() - t);
	for (int i = 0; i < 1001; i++) {
		x[i] = ticks();
		d[i] = (double)(ticks() - x[i]);
	}
	overhead = (uint64_t)median(d, 1001);
}

static void report(const char *what, uint32_t *sample, uint64_t n)
{
	static const struct {
		const char *name;
		double share;
	} p[] = { { "p50", 0.5 }, { "p99", 0.99 }, { "p999", 0.999 } };

	qsort(sample, n, sizeof(*sample), compare_u32);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t t = sample[(uint64_t)((double)n * p[i].share)];

		t = t > overhead ? t - overhead : 0;
		printf("llfree.latency.%s.%s_ns %.1f\n", what, p[i].name, (double)t * ns_per_tick);
	}
}

static void operations(unsigned order)
{
	uint64_t n = FRAMES / 2 >> order, *held = malloc(n * sizeof(*held));
	uint32_t *sample = malloc(n * sizeof(*sample));
	struct llfree_request r = req(order, 0);
	char name[32];
	struct pool p;

	if (!held || !sample)
		die("out of memory");
	memset(held, 1, n * sizeof(*held));
	memset(sample, 1, n * sizeof(*sample));
	pool_new(&p, FRAMES, 0, 1);
	for (int random = 0; random < 2; random++) {
		for (uint64_t i = 0; i < n; i++) {
			uint64_t t = ticks();

			if (llfree_get(&p.a, r, &held[i]) < 0)
				die("get failed");
			sample[i] = (uint32_t)(ticks() - t);
		}
		snprintf(name, sizeof(name), "o%u.%s.get", order, random ? "random" : "bulk");
		report(name, sample, n);
		if (random)
			shuffle(held, n, 3);
		for (uint64_t i = 0; i < n; i++) {
			uint64_t t = ticks();

			if (llfree_put(&p.a, held[i], r))
				die("put failed");
			sample[i] = (uint32_t)(ticks() - t);
		}
		snprintf(name, sizeof(name), "o%u.%s.put", order, random ? "random" : "bulk");
		report(name, sample, n);
	}
	free(held);
	free(sample);
	pool_done(&p);
}

#define FAILS 200

static double failing(struct pool *p, unsigned order)
{
	double us[FAILS];

	for (int i = 0; i < FAILS; i++) {
		uint64_t frame, t = now();

		if (llfree_get(&p->a, req(order, 0), &frame) != LLFREE_ENOMEM)
			die("a get did not fail");
		us[i] = (double)(now() - t) / 1000;
	}
	return median(us, FAILS);
}

/* Reading the bitfields once: what a search cannot do without. */
static __attribute__((noinline)) uint64_t read_bits(const uint64_t *bits, uint64_t n)
{
	uint64_t free = 0;

	for (uint64_t i = 0; i < n; i++)
		free += (uint64_t)__builtin_popcountll(
			~__atomic_load_n(&bits[i], __ATOMIC_RELAXED));
	return free;
}

static void failures(void)
{
	double us[FAILS], reading;
	volatile uint64_t sink = 0;
	uint64_t frame;
	struct pool p;

	pool_new(&p, FRAMES, 0, 1);
	while (llfree_get(&p.a, req(0, 0), &frame) >= 0)
		;
	printf("llfree.fail.o0.us %.2f\n", failing(&p, 0));
	/* every second frame free: no two together */
	for (uint64_t f = 0; f < FRAMES; f += 2)
		if (llfree_put(&p.a, f, req(0, 0)))
			die("put failed");
	if (llfree_drain(&p.a, LLFREE_ALL_SLOTS))
		die("drain");
	for (int i = 0; i < FAILS; i++) {
		uint64_t t = now();

		sink += read_bits(p.a.bits, FRAMES / 64);
		us[i] = (double)(now() - t) / 1000;
	}
	reading = median(us, FAILS);
	printf("llfree.fail.reading.us %.2f\n", reading);
	printf("llfree.fail.o9.us %.2f\n", failing(&p, 9));
	for (unsigned order = 1; order <= 8; order++)
		printf("llfree.fail.o%u.to_reading %.3f\n", order, failing(&p, order) / reading);
	pool_done(&p);
}

int main(void)
{
	calibrate();
	operations(0);
	operations(9);
	failures();
	return 0;
}
