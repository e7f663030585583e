// SPDX-License-Identifier: GPL-2.0-only OR MIT
#include <math.h>
#include <string.h>

#include "heat.h"
#include "test-check.h"
#include "test-random.h"

#define GRANULES 64u

static struct heat heat;
static void *memory;
static uint64_t clock_ms;

static void begin(uint32_t splits)
{
	const struct heat_config c = { .granules = GRANULES, .splits = splits };
	uint64_t size;

	CHECK(heat_size(&c, &size) == 0);
	free(memory);
	memory = malloc(size);
	CHECK(heat_init(&heat, &c, memory, size) == 0);
	clock_ms = 5000;
}

static void round_of(uint32_t ms)
{
	clock_ms += ms;
	heat_advance(&heat, clock_ms, ms);
}

static void events(uint32_t granule, uint32_t n)
{
	const struct heat_sample s = { .events = n, .bits = 1 };

	CHECK(heat_sample(&heat, granule, &s) == 0);
}

static bool near(double a, double b, double by)
{
	if (fabs(a - b) <= by * fabs(b))
		return true;
	printf("%g is not %g\n", a, b);
	return false;
}

static void test_config(void)
{
	struct heat_config c = { .granules = 80, .splits = 10 };
	uint64_t size;

	CHECK(heat_size(&c, &size) == 0);
	CHECK(size == 80 * 16 + 10 * 1048);
	CHECK(heat_init(&heat, &c, &heat, size - 1) == -ENOSPC);
	c.splits = 11;
	CHECK(heat_size(&c, &size) == -EINVAL);
	c = (struct heat_config){ .granules = 0 };
	CHECK(heat_size(&c, &size) == -EINVAL);
	c = (struct heat_config){ .granules = 1, .near_ms = 5000, .far_ms = 5000 };
	CHECK(heat_size(&c, &size) == -EINVAL);
	c = (struct heat_config){ .granules = 1, .near_ms = 99 };
	CHECK(heat_size(&c, &size) == -EINVAL);
	/* 1 TiB, with all splits that are allowed. */
	c = (struct heat_config){ .granules = 1 << 19, .splits = 1 << 16 };
	CHECK(heat_size(&c, &size) == 0);
	CHECK(size <= (1ull << 40) / 10000);
}

static void test_averages(void)
{
	struct heat_rates r;
	double expected_near = 0, expected_far = 0;

	begin(0);
	for (int i = 0; i < 20; i++) {
		round_of(1000);
		events(3, 1000);
		expected_near += (256000. - expected_near) * (1 - exp2(-0.5));
		expected_far += (256000. - expected_far) * (1 - exp2(-1 / 30.));
	}
	r = heat_rates(&heat, 3);
	CHECK(near(r.near, expected_near, 0.001));
	CHECK(near(r.far, expected_far, 0.001));
	/* Idle: faded by what has passed, without a call for it. */
	round_of(1000);
	round_of(1000);
	round_of(500);
	r = heat_rates(&heat, 3);
	CHECK(near(r.near, expected_near * exp2(-2.5 / 2), 0.002));
	CHECK(near(r.far, expected_far * exp2(-2.5 / 30), 0.002));
	/* And the next sample goes on from there. */
	round_of(1000);
	events(3, 1000);
	r = heat_rates(&heat, 3);
	expected_near *= exp2(-2.5 / 2);
	expected_near += (256000. - expected_near) * (1 - exp2(-0.5));
	CHECK(near(r.near, expected_near, 0.002));
	/* Others know nothing of it, and out of range is nothing. */
	CHECK(heat_rates(&heat, 2).near == 0);
	CHECK(heat_rates(&heat, GRANULES).near == 0);
	heat_clear(&heat, 0, 100);
	CHECK(heat_rates(&heat, 3).far == 0);
	CHECK(heat_accesses(256 * 5, 3000) == 15);
}

static void test_input(void)
{
	struct heat_sample s = { .events = 0xffffffff, .bits = 1, .window_ms = 1 };

	begin(0);
	round_of(1000);
	CHECK(heat_sample(&heat, GRANULES, &s) == -ERANGE);
	s.bits = 0;
	CHECK(heat_sample(&heat, 0, &s) == -EINVAL);
	s.bits = 513;
	CHECK(heat_sample(&heat, 0, &s) == -EINVAL);
	s.bits = 512;
	/* Too much saturates. */
	heat_set_grain(&heat, 0xffffffff);
	for (int i = 0; i < 3000; i++) {
		round_of(1000);
		s.window_ms = i < 2000 && i % 2 ? 1 : 1000;
		CHECK(heat_sample(&heat, 0, &s) == 0);
	}
	CHECK(heat_rates(&heat, 0).near > 0xfff00000);
	CHECK(heat_predict(&heat, 0).rate > 0xfff00000);
}

/* Accessed bits: the estimate against the formula, for all counts. */
static void test_bits(void)
{
	for (uint32_t bits = 1; bits <= 512; bits = bits < 8 ? bits + 1 : bits * 2) {
		for (uint32_t k = 1; k <= bits; k++) {
			uint64_t pages[HEAT_WORDS] = {};
			struct heat_sample s = { .bits = (uint16_t)bits,
						 .pages = pages,
						 .window_ms = 1000 };
			double left = k == bits ? 0.5 : bits - k;

			begin(0);
			for (uint32_t i = 0; i < k; i++)
				pages[i / 64] |= 1ull << i % 64;
			round_of(1000);
			CHECK(heat_sample(&heat, 0, &s) == 0);
			/* One sample: its part of the short average. */
			CHECK(fabs(heat_rates(&heat, 0).near -
				   256 * bits * log(bits / left) * (1 - exp2(-0.5))) <=
			      1 + 0.003 * 256 * bits * log(bits / left));
		}
	}
}

static void test_grain(void)
{
	uint32_t one;

	begin(0);
	round_of(1000);
	events(0, 100);
	one = heat_rates(&heat, 0).near;
	heat_set_grain(&heat, 1000);
	events(1, 100);
	CHECK(near(heat_rates(&heat, 1).near, 1000. * one, 0.01));
	heat_set_grain(&heat, 0);
	events(2, 100);
	CHECK(heat_rates(&heat, 2).near == one);
}

static void test_clock(void)
{
	uint32_t before;

	begin(0);
	for (int i = 0; i < 200; i++) {
		round_of(1000);
		events(0, 1000);
	}
	before = heat_rates(&heat, 0).far;
	CHECK(heat.jumps == 0);
	/* Hours forwards: not more than four rounds. */
	clock_ms += 5 * 3600 * 1000;
	heat_advance(&heat, clock_ms, 1000);
	CHECK(heat.jumps == 1);
	CHECK(heat_rates(&heat, 0).far >= before * exp2(-4 / 30.) * 0.999);
	/* To the beginning, and standing still: one round each. */
	clock_ms = 0;
	heat_advance(&heat, clock_ms, 1000);
	heat_advance(&heat, clock_ms, 1000);
	CHECK(heat.jumps == 3);
	CHECK(near(heat_rates(&heat, 0).far, before * exp2(-6 / 30.), 0.002));
	clock_ms = UINT64_MAX - 10;
	heat_advance(&heat, clock_ms, 1000);
	heat_advance(&heat, 100, 1000);
	CHECK(near(heat_rates(&heat, 0).far, before * exp2(-11 / 30.), 0.002));
	/* Periods that make no sense. */
	heat_advance(&heat, 200, 0);
	heat_advance(&heat, 300, 0xffffffff);
	events(0, 1);
}

/* Stamps have 32 bits: what has been idle for as long as they can tell apart must not be young again. */
static void test_wrap(void)
{
	begin(0);
	round_of(600000);
	for (int i = 0; i < 2; i++)
		events(0, 0xffffffff);
	for (uint64_t ms = 0; ms < 3ull << 32; ms += 2400000) {
		clock_ms += 2400000;
		heat_advance(&heat, clock_ms, 600000);
		if (ms > 100ull * 2400000 && heat_rates(&heat, 0).near) {
			CHECK(!"an idle granule is hot again");
			break;
		}
	}
}

/* What is sampled only every fourth round does not fade between. */
static void test_rotation(void)
{
	uint32_t lowest = UINT32_MAX, rate;
	struct heat_sample s = { .events = 4000, .bits = 1, .window_ms = 4000 };

	begin(0);
	for (int i = 0; i < 200; i++) {
		clock_ms += 1000;
		heat_advance(&heat, clock_ms, 4000);
		if (i % 4 == 0)
			CHECK(heat_sample(&heat, 0, &s) == 0);
		rate = heat_predict(&heat, 0).rate;
		if (i > 150 && rate < lowest)
			lowest = rate;
	}
	CHECK(near(lowest, 256000., 0.02));
}

/* Steady accesses: the forecast is closer to the truth than the short average. A change: it follows. */
static void test_forecast(void)
{
	double error_near = 0, error_rate = 0, rate;
	struct heat_forecast f;
	int rounds = 0;

	begin(0);
	random_state = 7;
	for (int i = 0; i < 2000; i++) {
		round_of(1000);
		events(0, random_poisson(20));
		if (i < 200)
			continue;
		error_near += fabs(heat_rates(&heat, 0).near - 5120.);
		error_rate += fabs(heat_predict(&heat, 0).rate - 5120.);
	}
	CHECK(error_rate < error_near / 2);
	CHECK(heat_predict(&heat, 0).steady > 128);
	/* Twenty times as many. */
	do {
		round_of(1000);
		events(0, random_poisson(400));
		rate = heat_predict(&heat, 0).rate;
	} while (rate < 0.7 * 400 * 256 && ++rounds < 100);
	CHECK(rounds <= 4);
	CHECK(heat_predict(&heat, 0).steady < 128);
	for (int i = 0; i < 300; i++) {
		round_of(1000);
		events(0, random_poisson(400));
	}
	/* And nothing any more. */
	for (rounds = 0; rounds < 100; rounds++) {
		round_of(1000);
		if (heat_predict(&heat, 0).rate < 400 * 256 / 10)
			break;
	}
	CHECK(rounds <= 8);
	f = heat_predict(&heat, 1);
	CHECK(f.rate == 0 && f.steady == 256);
}

/* ---- splits ------------------------------------------------------------------------------------------ */

/* A round in which each of hot pages of the granule is seen at that probability, and cold at another. */
static void see(uint32_t granule, unsigned hot, double p_hot, double p_cold)
{
	uint64_t pages[HEAT_WORDS] = {};
	const struct heat_sample s = { .bits = 512, .pages = pages };

	for (unsigned i = 0; i < HEAT_PAGES; i++) {
		/* Hot ones are scattered. */
		if (random_unit() < (i * 37 % HEAT_PAGES < hot ? p_hot : p_cold))
			pages[i / 64] |= 1ull << i % 64;
	}
	CHECK(heat_sample(&heat, granule, &s) == 0);
}

static enum heat_split_state state(uint32_t granule)
{
	const struct heat_split *s = heat_split_of(&heat, granule);

	return s ? s->state : HEAT_SPLIT_TRIAL;
}

static void test_uneven(void)
{
	double hot = 0, cold = 0;
	const struct heat_split *s;

	begin(8);
	random_state = 1;
	for (int i = 0; i < 60; i++) {
		round_of(1000);
		see(0, 20, 0.9, 0.01);	 /* a few hot ones */
		see(1, 512, 0.02, 0);	 /* few, but any */
		see(2, 512, 0.9, 0);	 /* all */
		see(3, 5, 0.9, 0);	 /* very few */
		see(4, 300, 0.25, 0.12); /* a little, which does not pay */
	}
	CHECK(!heat_split_of(&heat, 4));
	CHECK(state(0) == HEAT_SPLIT_UNEVEN);
	CHECK(state(3) == HEAT_SPLIT_UNEVEN);
	CHECK(!heat_split_of(&heat, 1));
	CHECK(!heat_split_of(&heat, 2));
	CHECK(!heat_split_of(&heat, GRANULES));
	CHECK(heat.splits_even == 2);
	s = heat_split_of(&heat, 0);
	for (unsigned i = 0; s && i < HEAT_PAGES; i++)
		*(i * 37 % HEAT_PAGES < 20 ? &hot : &cold) += heat_page_rate(&heat, s, i);
	CHECK(hot > 2 * cold);
	/* The pages have what the granule has. */
	CHECK(near(hot + cold, heat_rates(&heat, 0).near, 0.2));
	/* Pages fade as well, more slowly than the granule's short average. */
	if (s) {
		uint32_t before = heat_page_rate(&heat, s, 0);

		for (int i = 0; i < 8; i++)
			round_of(1000);
		CHECK(near(heat_page_rate(&heat, s, 0), before / 2., 0.01));
	}
	/* It becomes even: the split goes, or stays if it must. */
	if (heat_split_of(&heat, 3))
		heat_split_of(&heat, 3)->kept = 1;
	for (int i = 0; i < 60; i++) {
		round_of(1000);
		see(0, 512, 0.2, 0);
		see(3, 512, 0.2, 0);
	}
	CHECK(!heat_split_of(&heat, 0));
	CHECK(state(3) == HEAT_SPLIT_EVEN);
	heat_split_drop(&heat, 3);
	CHECK(!heat_split_of(&heat, 3));
}

static unsigned count_splits(void)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < GRANULES; i++) {
		const struct heat_split *s = heat_split_of(&heat, i);

		if (!s)
			continue;
		CHECK(s->granule == i);
		n++;
	}
	return n;
}

static void test_cap(void)
{
	unsigned kept = 0;

	begin(4);
	random_state = 2;
	for (int i = 0; i < 40; i++) {
		round_of(1000);
		for (uint32_t g = 0; g < 20; g++)
			see(g, 4, 0.9, 0);
		CHECK(count_splits() <= 4);
	}
	CHECK(count_splits() == 4);
	/* Equals do not take them from one another. */
	CHECK(heat.splits_made <= 8);
	for (uint32_t g = 0; g < 20 && !kept; g++) {
		if (heat_split_of(&heat, g)) {
			heat_split_of(&heat, g)->kept = 1;
			kept = g + 1;
		}
	}
	/* Hotter ones take them over, but not the one that is kept. */
	for (int i = 0; i < 80; i++) {
		round_of(1000);
		for (uint32_t g = 0; g < 20; g++)
			see(g, 4, 0.9, 0);
		for (uint32_t g = 30; g < 34; g++)
			see(g, 40, 0.9, 0);
	}
	CHECK(count_splits() == 4);
	CHECK(heat_split_of(&heat, kept - 1) && heat_split_of(&heat, kept - 1)->kept);
	for (unsigned n = 0, g = 30; g < 34; g++) {
		n += !!heat_split_of(&heat, g);
		CHECK(g < 33 || n == 3);
	}
	/* What goes cold gives its split back, unless it is kept. */
	for (int i = 0; i < 1000; i++)
		round_of(1000);
	CHECK(count_splits() == 1);
	heat_clear(&heat, 0, GRANULES);
	CHECK(count_splits() == 0);
}

/* Counts instead of bits, large ones too. */
static void test_counts(void)
{
	uint32_t counts[HEAT_PAGES];
	struct heat_sample s = { .bits = 512, .counts = counts };

	begin(8);
	for (int i = 0; i < 20; i++) {
		round_of(1000);
		for (unsigned j = 0; j < HEAT_PAGES; j++)
			counts[j] = j < 16 ? 50000000 : 1000;
		s.events = 16u * 50000000u;
		CHECK(heat_sample(&heat, 0, &s) == 0);
		for (unsigned j = 0; j < HEAT_PAGES; j++)
			counts[j] = 1000;
		s.events = HEAT_PAGES * 1000;
		CHECK(heat_sample(&heat, 1, &s) == 0);
	}
	CHECK(state(0) == HEAT_SPLIT_UNEVEN);
	CHECK(!heat_split_of(&heat, 1));
}

static void test_pack(void)
{
	uint32_t last = 0;

	for (uint64_t v = 0; v <= UINT32_MAX; v += 1 + v / 777) {
		uint32_t back = heat_unpack(heat_pack((uint32_t)v));

		CHECK(back <= v && back >= last && v - back <= v / 1024);
		last = back;
	}
	CHECK(heat_unpack(heat_pack(UINT32_MAX)) > 0xffe00000 - 1);
}

/* ---- the pace ---------------------------------------------------------------------------------------- */

static void test_pace(void)
{
	struct heat_pace p;
	uint64_t cpu = 0, elapsed = 0;

	CHECK(heat_pace_init(&p, 0, 1000, 10000) == -EINVAL);
	CHECK(heat_pace_init(&p, 100, 99, 10000) == -EINVAL);
	CHECK(heat_pace_init(&p, 100, 3600001, 10000) == -EINVAL);
	CHECK(heat_pace_init(&p, 100, 1000, 0) == -EINVAL);
	CHECK(heat_pace_init(&p, 100, 1000, 1000001) == -EINVAL);
	CHECK(heat_pace_init(&p, 100, 60000, 10000) == 0);
	/* Cheap: as often as it may. */
	for (int i = 0; i < 10; i++)
		CHECK(heat_pace_next(&p, 500, p.period_ms) == 100);
	/* A dear round is paid for at once, and then all is as before. */
	CHECK(heat_pace_next(&p, 60000, 100) >= 6000);
	for (int i = 0; i < 40; i++)
		heat_pace_next(&p, 500, p.period_ms);
	CHECK(p.period_ms == 100);
	/* Costs that vary, with rounds that take ten times as long: below 1 %. */
	random_state = 3;
	for (int i = 0; i < 2000; i++) {
		uint64_t cost = 3000 + random_below(6000) + (i % 50 ? 0 : 60000);

		elapsed += p.period_ms;
		heat_pace_next(&p, cost, p.period_ms);
		cpu += cost;
		CHECK(p.portion == 256);
	}
	CHECK(cpu * 100 <= elapsed * 1000);
	/* But not far below. */
	CHECK(cpu * 100 >= elapsed * 1000 * 3 / 4);
	/* More than the longest period allows: a part in each round, and below 1 % again. */
	cpu = elapsed = 0;
	for (int i = 0; i < 500; i++) {
		uint64_t cost = 2000000ull * p.portion / 256;

		elapsed += p.period_ms;
		heat_pace_next(&p, cost, p.period_ms);
		if (i < 20)
			continue;
		if (i == 20)
			cpu = elapsed = 0;
		cpu += cost;
		CHECK(p.period_ms == 60000 && p.portion > 32 && p.portion < 128);
	}
	CHECK(cpu * 100 <= elapsed * 1000);
	/* Nonsense does no lasting harm. */
	heat_pace_next(&p, UINT64_MAX, UINT64_MAX);
	heat_pace_next(&p, UINT64_MAX, 0);
	for (int i = 0; i < 200; i++) {
		uint32_t ms = heat_pace_next(&p, 500, p.period_ms);

		CHECK(ms >= 100 && ms <= 60000 && p.portion >= 1 && p.portion <= 256);
	}
	CHECK(p.period_ms == 100);
}

int main(void)
{
	test_config();
	test_averages();
	test_input();
	test_bits();
	test_grain();
	test_clock();
	test_wrap();
	test_rotation();
	test_forecast();
	test_uneven();
	test_cap();
	test_counts();
	test_pack();
	test_pace();
	free(memory);
	return check_result();
}
