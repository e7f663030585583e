/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "heat.h"

#define RATE_MAX 0xffffffffu
#define SPLIT_MASK 0xffffffu
#define SPLIT_WAIT_SHIFT 24
#define SPLIT_WAIT_MAX 255u

/* A trial is decided once so many samples have seen so many events: with fewer, any pattern is an accident. */
#define TRIAL_SAMPLES 8u
#define TRIAL_EVENTS 64u
/* Then what was seen is halved, so that the verdict follows a change. */
#define TRIAL_REPEAT 16u
/* Pages have one average, between the two of granules: four times the short one's half-life. */
#define PAGE_HALF_LIVES 4u

/* 2^(-i/64), times 2^16: by lines between them, 2^-16 off at most. */
static const uint32_t exp_table[65] = {
	65536, 64830, 64132, 63441, 62757, 62081, 61413, 60751, 60097, 59449, 58809, 58176, 57549,
	56929, 56316, 55709, 55109, 54515, 53928, 53347, 52773, 52204, 51642, 51085, 50535, 49991,
	49452, 48920, 48393, 47871, 47356, 46846, 46341, 45842, 45348, 44859, 44376, 43898, 43425,
	42958, 42495, 42037, 41584, 41136, 40693, 40255, 39821, 39392, 38968, 38548, 38133, 37722,
	37316, 36914, 36516, 36123, 35734, 35349, 34968, 34591, 34219, 33850, 33486, 33125, 32768,
};

/* 2^(-ms / half-life), times 2^16; inverse is 2^32 / half-life. */
static uint32_t decay(uint64_t inverse, uint32_t ms)
{
	uint64_t x = (inverse * ms) >> 16;
	unsigned whole, step, rest;

	if (!ms)
		return 65536;
	if (x >> 16 >= 32)
		return 0;
	whole = (unsigned)(x >> 16);
	step = (unsigned)(x >> 10 & 63);
	rest = (unsigned)(x & 1023);
	return (exp_table[step] - ((exp_table[step] - exp_table[step + 1]) * rest >> 10)) >> whole;
}

static uint32_t scale(uint32_t rate, uint32_t by)
{
	return (uint32_t)((uint64_t)rate * by >> 16);
}

static uint32_t clamp_rate(uint64_t rate)
{
	return rate < RATE_MAX ? (uint32_t)rate : RATE_MAX;
}

/* Rounded, or a rate below 1 / (1 - by) could never be reached. */
static uint32_t blend(uint32_t old, uint32_t new, uint32_t by)
{
	return (uint32_t)(((uint64_t)old * by + (uint64_t) new *(65536 - by) + 32768) >> 16);
}

/*
 * Events (× HEAT_RATE_ONE) that set seen of bits, if each bit is as likely: bits × ln(bits / those not set). All set:
 * as if half a bit were not. The logarithm: 2 (z + z³/3 + z⁵/5 + …), z = (bits - rest) / (bits + rest), of what is
 * left after halvings; in 2^-20.
 */
static uint64_t events_of_bits(uint32_t seen, uint32_t bits)
{
	uint64_t all = 2 * bits, rest, log = 0, z, power;

	if (!seen)
		return 0;
	rest = seen < bits ? 2 * (bits - seen) : 1;
	for (; rest * 2 <= all; rest *= 2)
		log += 726817; /* ln 2 */
	z = ((all - rest) << 20) / (all + rest);
	power = z;
	for (unsigned i = 1; i <= 9; i += 2) {
		log += 2 * power / i;
		power = power * z >> 20;
		power = power * z >> 20;
	}
	return bits * log >> (20 - 8);
}
_Static_assert(HEAT_RATE_ONE == 1 << 8, "events_of_bits()");

uint16_t heat_pack(uint32_t rate)
{
	unsigned exponent;

	if (rate < 2048)
		return (uint16_t)rate;
	exponent = 31 - (unsigned)__builtin_clz(rate) - 10;
	return (uint16_t)(exponent << 11 | (rate >> exponent & 2047));
}

uint32_t heat_unpack(uint16_t packed)
{
	unsigned exponent = packed >> 11;

	/* The leading bit is kept: simpler than leaving it out, and exponents up to 21 are enough for it. */
	return (uint32_t)(packed & 2047) << exponent;
}

/* ---- set up ------------------------------------------------------------------------------------------ */

static bool config_valid(const struct heat_config *c)
{
	uint32_t near_ms = c->near_ms ? c->near_ms : HEAT_NEAR_MS;
	uint32_t far_ms = c->far_ms ? c->far_ms : HEAT_FAR_MS;

	return c->granules && c->granules <= 1u << 31 &&
	       c->splits <= c->granules / HEAT_SPLIT_SHARE && c->splits < SPLIT_MASK &&
	       near_ms >= 100 && near_ms < far_ms && far_ms <= 3600000;
}

int heat_size(const struct heat_config *config, uint64_t *ret_size)
{
	if (!config_valid(config))
		return -EINVAL;
	*ret_size = (uint64_t)config->granules * sizeof(struct heat_granule) +
		    (uint64_t)config->splits * sizeof(struct heat_split);
	return 0;
}

/* What follows from the period: a short average of fewer than two samples would be the last one only. */
static void set_period(struct heat *h, uint32_t period_ms)
{
	uint32_t near_ms = h->near_ms > 2 * period_ms ? h->near_ms : 2 * period_ms;
	uint32_t far_ms = h->far_ms > 8 * period_ms ? h->far_ms : 8 * period_ms;

	h->period_ms = period_ms;
	h->near_inverse = (1ull << 32) / near_ms;
	h->far_inverse = (1ull << 32) / far_ms;
	/*
	 * Counting N events in a time has variance N; an exponential average of half-life T has that of
	 * counting over 2 T / ln 2. In rates times HEAT_RATE_ONE: rate × grain × HEAT_RATE_ONE × ln 2 / 2 T.
	 */
	h->noise = (uint64_t)h->grain * HEAT_RATE_ONE * 693 / 2 * 256 / near_ms;
}

int heat_init(struct heat *h, const struct heat_config *config, void *memory, uint64_t size)
{
	uint64_t need;
	int r = heat_size(config, &need);

	if (r < 0)
		return r;
	if (size < need)
		return -ENOSPC;
	*h = (struct heat){
		.granules = memory,
		.count = config->granules,
		.n_splits = config->splits,
		.free_split = config->splits ? 0 : HEAT_NONE,
		.near_ms = config->near_ms ? config->near_ms : HEAT_NEAR_MS,
		.far_ms = config->far_ms ? config->far_ms : HEAT_FAR_MS,
		.grain = 1,
	};
	h->splits = (struct heat_split *)(h->granules + h->count);
	for (uint32_t i = 0; i < h->count; i++)
		h->granules[i] = (struct heat_granule){};
	for (uint32_t i = 0; i < h->n_splits; i++) {
		h->splits[i].granule = HEAT_NONE;
		h->splits[i].stamp = i + 1 < h->n_splits ? i + 1 : HEAT_NONE;
	}
	set_period(h, 1000);
	return 0;
}

void heat_set_grain(struct heat *h, uint32_t accesses)
{
	/* Above, one event would saturate every rate. */
	h->grain = accesses == 0 ? 1 : accesses < 1u << 20 ? accesses : 1u << 20;
	set_period(h, h->period_ms);
}

/* ---- splits ------------------------------------------------------------------------------------------ */

struct heat_split *heat_split_of(const struct heat *h, uint32_t granule)
{
	uint32_t i = granule < h->count ? h->granules[granule].split & SPLIT_MASK : 0;

	return i ? &h->splits[i - 1] : NULL;
}

static void set_wait(struct heat_granule *g, uint32_t wait)
{
	g->split = (g->split & SPLIT_MASK) | wait << SPLIT_WAIT_SHIFT;
}

void heat_split_drop(struct heat *h, uint32_t granule)
{
	struct heat_split *s = heat_split_of(h, granule);

	if (!s)
		return;
	h->granules[granule].split &= ~SPLIT_MASK;
	s->granule = HEAT_NONE;
	s->stamp = h->free_split;
	h->free_split = (uint32_t)(s - h->splits);
}

/* Room for a granule of this rate: a free one, or that of a granule not half as hot. A few are looked at. */
static uint32_t take_split(struct heat *h, uint32_t rate)
{
	uint32_t i = h->free_split;

	for (unsigned tries = 0; i == HEAT_NONE && tries < 4; tries++) {
		struct heat_split *s = &h->splits[h->hand];

		if (!s->kept && heat_predict(h, s->granule).rate < rate / 2) {
			heat_split_drop(h, s->granule);
			i = h->free_split;
		}
		h->hand = h->hand + 1 < h->n_splits ? h->hand + 1 : 0;
	}
	if (i != HEAT_NONE)
		h->free_split = h->splits[i].stamp;
	return i;
}

static void try_split(struct heat *h, uint32_t granule)
{
	struct heat_granule *g = &h->granules[granule];
	uint32_t wait = g->split >> SPLIT_WAIT_SHIFT, i;
	struct heat_split *s;

	if (wait) {
		set_wait(g, wait - 1);
		return;
	}
	i = h->n_splits ? take_split(h, heat_predict(h, granule).rate) : HEAT_NONE;
	if (i == HEAT_NONE)
		return;
	s = &h->splits[i];
	*s = (struct heat_split){ .granule = granule, .stamp = h->now };
	g->split = i + 1;
	h->splits_made++;
}

/*
 * Do the pages that were hotter than the mean until now get more of the new events than they would by chance? Asked
 * of events that the ranking has not seen yet, so that what is hot by accident gives no answer. They must get half of
 * all, and twice what they would if all pages were alike.
 */
static void judge_split(struct heat *h, uint32_t granule, struct heat_split *s)
{
	bool uneven;

	if (s->samples < TRIAL_SAMPLES || s->seen < TRIAL_EVENTS)
		return;
	uneven = s->hits >= s->seen / 2 && s->hits >= 2 * (uint64_t)s->even;
	if (uneven) {
		s->state = HEAT_SPLIT_UNEVEN;
	} else if (s->kept) {
		s->state = HEAT_SPLIT_EVEN;
	} else {
		heat_split_drop(h, granule);
		set_wait(&h->granules[granule], SPLIT_WAIT_MAX);
		h->splits_even++;
		return;
	}
	if (s->samples >= TRIAL_REPEAT) {
		s->samples = TRIAL_SAMPLES;
		s->seen /= 2;
		s->hits /= 2;
		s->even /= 2;
	}
}

static bool bit(const uint64_t *pages, unsigned i)
{
	return pages[i / 64] >> (i % 64) & 1;
}

static uint32_t page_decay(const struct heat *h, uint32_t ms)
{
	return decay(h->near_inverse / PAGE_HALF_LIVES, ms);
}

static uint32_t page_fade(const struct heat *h, const struct heat_split *s)
{
	uint32_t age = h->now - s->stamp;

	return page_decay(h, age > h->grace_ms ? age - h->grace_ms : 0);
}

uint32_t heat_page_rate(const struct heat *h, const struct heat_split *s, unsigned page)
{
	return scale(heat_unpack(s->page[page]), page_fade(h, s));
}

void heat_page_rates(const struct heat *h, const struct heat_split *s, uint32_t *ret_rates)
{
	uint32_t by = page_fade(h, s);

	for (unsigned i = 0; i < HEAT_PAGES; i++)
		ret_rates[i] = scale(heat_unpack(s->page[i]), by);
}

/* rate: of the granule in this sample, which its pages share. */
static void sample_pages(struct heat *h, struct heat_split *s, const struct heat_sample *x,
			 uint32_t rate, uint32_t window)
{
	uint32_t age = h->now - s->stamp, by = page_decay(h, age > window ? age : window);
	uint64_t total = 0, sum = 0;
	uint32_t mean, hot = 0, hits = 0, seen = 0;

	for (unsigned i = 0; i < HEAT_PAGES; i++) {
		total += x->counts ? x->counts[i] : bit(x->pages, i);
		sum += heat_unpack(s->page[i]);
	}
	if (!total)
		return;
	mean = (uint32_t)(sum / HEAT_PAGES);
	for (unsigned i = 0; i < HEAT_PAGES; i++) {
		uint32_t old = heat_unpack(s->page[i]);
		uint64_t n = x->counts ? x->counts[i] : bit(x->pages, i);
		/* In events of the sampler, but for large counts, where only shares matter. */
		uint32_t weight = (uint32_t)(total > 65536 ? n * 65536 / total : n);

		seen += weight;
		if (old > mean) {
			hot++;
			hits += weight;
		}
		s->page[i] = heat_pack(blend(old, (uint32_t)((uint64_t)rate * n / total), by));
	}
	if (s->samples) {
		s->seen += seen;
		s->hits += hits;
		s->even += seen * hot / HEAT_PAGES;
	}
	s->samples++;
	s->stamp = h->now;
}

/* ---- samples ----------------------------------------------------------------------------------------- */

static uint32_t seen_pages(const struct heat_sample *s)
{
	uint32_t seen = 0;

	for (unsigned i = 0; s->pages && i < HEAT_WORDS; i++)
		seen += plat_popcount(s->pages[i]);
	return seen;
}

uint64_t heat_sample_events(const struct heat_sample *s)
{
	return s->events ? (uint64_t)s->events * HEAT_RATE_ONE
			 : events_of_bits(seen_pages(s), s->bits);
}

int heat_sample(struct heat *h, uint32_t granule, const struct heat_sample *s)
{
	uint32_t window = s->window_ms ? s->window_ms : h->period_ms, age, gap, by, rate;
	struct heat_granule *g;
	struct heat_split *split;
	uint32_t seen;
	uint64_t events;
	bool known;

	if (granule >= h->count)
		return -ERANGE;
	if (!s->bits || s->bits > HEAT_PAGES)
		return -EINVAL;
	seen = seen_pages(s);
	events = heat_sample_events(s);
	events *= h->grain; /* at most 2^60 */
	if (events / window > RATE_MAX)
		rate = RATE_MAX;
	else
		rate = clamp_rate(events / window * 1000 + events % window * 1000 / window);

	g = &h->granules[granule];
	known = g->far != 0;
	age = h->now - g->stamp;
	gap = age > window ? age - window : 0;
	by = decay(h->near_inverse, window);
	g->near = blend(scale(g->near, decay(h->near_inverse, gap)), rate, by);
	by = decay(h->far_inverse, window);
	g->far = blend(scale(g->far, decay(h->far_inverse, gap)), rate, by);
	g->stamp = h->now;

	if ((!s->pages && !s->counts) || s->bits == 1 || !rate)
		return 0;
	split = heat_split_of(h, granule);
	/* Where most bits are set they say nothing about how uneven it is. */
	if (!split && known && (s->counts || seen <= s->bits / 2u)) {
		try_split(h, granule);
		split = heat_split_of(h, granule);
	}
	if (split) {
		sample_pages(h, split, s, rate, window);
		judge_split(h, granule, split);
	}
	return 0;
}

/* Seconds of heat's own time since a stamp that the averages must fade by. */
static uint32_t idle(const struct heat *h, const struct heat_granule *g)
{
	uint32_t age = h->now - g->stamp;

	return age > h->grace_ms ? age - h->grace_ms : 0;
}

struct heat_rates heat_rates(const struct heat *h, uint32_t granule)
{
	struct heat_rates r = { 0, 0 };
	const struct heat_granule *g;
	uint32_t ms;

	if (granule >= h->count)
		return r;
	g = &h->granules[granule];
	if (!(g->near | g->far))
		return r;
	ms = idle(h, g);
	r.near = scale(g->near, decay(h->near_inverse, ms));
	r.far = scale(g->far, decay(h->far_inverse, ms));
	return r;
}

struct heat_forecast heat_predict(const struct heat *h, uint32_t granule)
{
	struct heat_rates r = heat_rates(h, granule);
	struct heat_forecast f = { r.near, 256 };
	uint32_t high = r.near > r.far ? r.near : r.far, low = r.near ^ r.far ^ high;
	uint64_t difference = high - low, square, noise;
	int64_t weight;

	if (!high)
		return f;
	f.steady = (uint32_t)((uint64_t)low * 256 / high);
	/* Twice the standard deviation, squared. Both stay below 2^62. */
	if (difference >= 1u << 31)
		return f;
	square = difference * difference;
	noise = h->noise < 1ull << 28 ? 4 * (uint64_t)high * h->noise >> 8
				      : 4 * (uint64_t)high * (h->noise >> 8);
	weight = (int64_t)(square / ((square + noise) / 256 + 1));
	if (weight > 256)
		weight = 256;
	f.rate = (uint32_t)((int64_t)r.far + ((int64_t)r.near - (int64_t)r.far) * weight / 256);
	return f;
}

static uint32_t root(uint64_t x)
{
	uint64_t r = 0;

	for (uint64_t b = 1ull << 31; b; b >>= 1) {
		if ((r + b) * (r + b) <= x)
			r += b;
	}
	return (uint32_t)r;
}

uint32_t heat_doubt(const struct heat *h, uint32_t rate)
{
	/* As for the short one, over a longer time; below 2^32 × 2^34. */
	uint64_t noise = h->noise * h->near_ms / h->far_ms;

	return root(noise < 1ull << 28 ? 4 * (uint64_t)rate * noise >> 8
				       : 4 * (uint64_t)rate * (noise >> 8));
}

uint64_t heat_accesses(uint32_t rate, uint64_t ms)
{
	/* Below 2^53, or the caller means another time. */
	if (ms > RATE_MAX)
		ms = RATE_MAX;
	return (uint64_t)rate * ms / (1000 * HEAT_RATE_ONE);
}

/* Stamps must not get so old that they look new: every granule is seen to within 1,024 rounds. */
static void clean(struct heat *h)
{
	uint32_t n = h->count / 1024 + 64;

	for (uint32_t i = 0; i < n && i < h->count; i++) {
		struct heat_granule *g = &h->granules[h->cleaner];
		uint32_t ms = idle(h, g);
		struct heat_split *s;

		if (ms > 16 * h->far_ms) {
			s = heat_split_of(h, h->cleaner);
			if (s && !s->kept)
				heat_split_drop(h, h->cleaner);
			g->near = scale(g->near, decay(h->near_inverse, ms));
			g->far = scale(g->far, decay(h->far_inverse, ms));
			g->stamp = h->now;
		}
		h->cleaner = h->cleaner + 1 < h->count ? h->cleaner + 1 : 0;
	}
}

void heat_advance(struct heat *h, uint64_t clock_ms, uint32_t period_ms)
{
	uint64_t step = clock_ms - h->clock;

	if (!period_ms)
		period_ms = 1;
	/* Ten minutes: 1,024 rounds of four of them are less than what stamps can tell apart. */
	if (period_ms > 600000)
		period_ms = 600000;
	if (!h->started) {
		step = period_ms;
	} else if (clock_ms <= h->clock) {
		step = period_ms;
		h->jumps++;
	} else if (step > 4 * (uint64_t)period_ms) {
		step = 4 * (uint64_t)period_ms;
		h->jumps++;
	}
	h->started = true;
	h->clock = clock_ms;
	h->now += (uint32_t)step;
	set_period(h, period_ms);
	h->grace_ms = period_ms > step ? period_ms - (uint32_t)step : 0;
	clean(h);
}

void heat_clear(struct heat *h, uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < h->count && i - first < count; i++) {
		heat_split_drop(h, i);
		h->granules[i] = (struct heat_granule){ .stamp = h->now };
	}
}

/* ---- the pace of sampling ---------------------------------------------------------------------------- */

int heat_pace_init(struct heat_pace *p, uint32_t min_ms, uint32_t max_ms, uint32_t ceiling_ppm)
{
	if (!min_ms || min_ms > max_ms || max_ms > 3600000 || !ceiling_ppm || ceiling_ppm > 1000000)
		return -EINVAL;
	*p = (struct heat_pace){
		.min_ms = min_ms,
		.max_ms = max_ms,
		.ceiling_ppm = ceiling_ppm,
		.period_ms = min_ms,
		.portion = 256,
	};
	return 0;
}

uint32_t heat_pace_next(struct heat_pace *p, uint64_t cpu_us, uint64_t elapsed_ms)
{
	uint64_t longest = (uint64_t)p->max_ms * 4, cost, allowed, need;

	/* More CPU time than there was, or a clock that jumped: take what is possible. */
	if (elapsed_ms > longest)
		elapsed_ms = longest;
	if (cpu_us > longest * 1000)
		cpu_us = longest * 1000;

	cost = cpu_us * 256 / p->portion;
	p->cost_us = p->cost_us ? (3 * p->cost_us + cost + 3) / 4 : cost;
	/* ms × ppm / 1000 = µs. */
	allowed = elapsed_ms * p->ceiling_ppm / 1000;
	p->debt_us = p->debt_us + cpu_us > allowed ? p->debt_us + cpu_us - allowed : 0;
	/* Old debts do not stop the sampler for longer than one longest period. */
	if (p->debt_us > (uint64_t)p->max_ms * p->ceiling_ppm / 1000)
		p->debt_us = (uint64_t)p->max_ms * p->ceiling_ppm / 1000;

	/* A tenth is left free, for what the average does not know yet. */
	need = (p->cost_us * 10 / 9 + p->debt_us) * 1000 / p->ceiling_ppm + 1;
	p->portion = 256;
	if (need > p->max_ms) {
		p->portion = (uint32_t)((uint64_t)p->max_ms * 256 / need);
		if (!p->portion)
			p->portion = 1;
		need = p->max_ms;
	}
	p->period_ms = need < p->min_ms ? p->min_ms : (uint32_t)need;
	return p->period_ms;
}
