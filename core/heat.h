/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_HEAT_H
#define MORSEL_CORE_HEAT_H

#include "mem-types.h"

/*
 * Heat: how often each granule of 2 MiB is accessed, and, where that is uneven inside, each of its pages of
 * 4 KiB. docs/placement.md has the model.
 *
 * Each granule has two exponentially weighted averages of its rate of accesses: a short one, which follows
 * at once, and a long one, which forgets slowly. Nothing runs over all granules to age them: an average
 * carries the time of its last sample, and what was not sampled since then was not accessed.
 *
 * Pure: no clock, no allocation. Time is what the caller tells heat_advance(), and only forwards, by one
 * step of bounded length: jumps of the caller's clock, in either direction, change no average. One thread
 * at a time. Rates are accesses per second times HEAT_RATE_ONE, saturating.
 */

#define HEAT_GRANULE (2u << 20) /* bytes */
#define HEAT_PAGES 512u		/* of 4 KiB, in a granule */
#define HEAT_WORDS (HEAT_PAGES / 64)
#define HEAT_RATE_ONE 256u /* at most 16.7 million a second, 1 GB/s, in one granule */

/*
 * Metadata of all core/ together (heat, plan) is at most 1/10,000 of what is watched: 209 bytes a granule.
 * A split costs 1,048 bytes here and 292 in core/plan: at most one granule in HEAT_SPLIT_SHARE has one.
 */
#define HEAT_SPLIT_SHARE 8u

struct heat_granule {
	uint32_t near, far; /* short and long average, as they were at stamp */
	uint32_t stamp;	    /* ms of heat's own time, modulo 2^32 */
	uint32_t split;	    /* low 24 bits: its split + 1, or 0; above: how long not to try again */
};
_Static_assert(sizeof(struct heat_granule) == 16, "metadata per granule");

struct heat_split {
	uint32_t granule; /* whose it is; HEAT_NONE: free, and next_free is in stamp */
	uint32_t stamp;
	uint16_t samples;
	uint8_t state; /* enum heat_split_state */
	uint8_t kept;  /* core/plan: pages lie in several tiers, do not take it away */
	uint32_t seen; /* of the trial: events, …                                    */
	uint32_t hits; /* … those on pages that were hot before, …                   */
	uint32_t even; /* … and how many of them would be if all pages were alike    */
	uint16_t page[HEAT_PAGES]; /* packed rates: heat_unpack() */
};
_Static_assert(sizeof(struct heat_split) == 24 + 2 * HEAT_PAGES, "metadata per split");

#define HEAT_NONE 0xffffffffu

enum heat_split_state {
	HEAT_SPLIT_TRIAL,  /* being looked at: is it uneven? */
	HEAT_SPLIT_UNEVEN, /* it is: pages may be placed one by one */
	HEAT_SPLIT_EVEN,   /* no longer, but kept */
};

struct heat_config {
	uint32_t granules; /* 1 to 2^31 */
	uint32_t splits;   /* at most granules / HEAT_SPLIT_SHARE; 0: none */
	uint32_t
		near_ms; /* half-lives of the averages; 100 ms to 1 h, near < far; 0: the defaults */
	uint32_t far_ms;
};
/*
 * Twice and thirty times a usual period of sampling, 1 s: the short average is made of some three
 * samples, the least that tells a change from an accident; the long one of a minute's.
 */
#define HEAT_NEAR_MS 2000u
#define HEAT_FAR_MS 30000u

/* The caller's; fields are private but for what heat_* functions say. */
struct heat {
	struct heat_granule *granules;
	struct heat_split *splits;
	uint32_t count, n_splits, free_split, hand, cleaner;
	uint32_t near_ms, far_ms; /* as configured */
	uint32_t period_ms;	  /* between samples of one granule */
	uint32_t grace_ms;	  /* of it, what the present round says nothing about */
	uint32_t grain;		  /* accesses that one event stands for */
	uint32_t now;		  /* ms of heat's own time */
	uint64_t clock;		  /* the caller's, at the last heat_advance() */
	bool started;
	uint64_t near_inverse, far_inverse; /* 2^32 / half-life */
	uint64_t noise;			    /* 2^8 × variance of the short average by its rate */
	uint64_t splits_made, splits_even;  /* counters: trials begun, and ended without result */
	uint64_t jumps;			    /* of the caller's clock */
};

/* Bytes for config's granules and splits; -EINVAL: it makes no sense. */
int heat_size(const struct heat_config *config, uint64_t *ret_size);
/* All granules cold. memory: heat_size() bytes, aligned to 8, the caller's as long as h is used. -ENOSPC. */
int heat_init(struct heat *h, const struct heat_config *config, void *memory, uint64_t size);

/*
 * Before the samples of a round: the caller's clock (ms, CLOCK_MONOTONIC for example), and how long ago
 * each granule was sampled before that (ms; what heat_pace_next() said times the rounds that all take).
 * Heat's time goes on by the difference, at most four periods, and by one period where the clock went
 * back or stood. Does a bounded amount of cleaning.
 */
void heat_advance(struct heat *h, uint64_t clock_ms, uint32_t period_ms);

/*
 * How many accesses one event of the sampler stands for: 1 where it counts each; N where it takes one in N. It
 * scales rates and says how much accident is in them. Accessed bits: an access is then a TLB's miss.
 */
void heat_set_grain(struct heat *h, uint32_t accesses);

/* Forget these granules: a region that came or went. Out of range: ignored. */
void heat_clear(struct heat *h, uint32_t first, uint32_t count);

/*
 * One granule, looked at in this round. Granules without an event need no call. events: how many; 0 with
 * pages: estimated from how many of the pages were seen, for several accesses set one bit. pages: the
 * accessed ones, HEAT_PAGES bits, or NULL where the sampler cannot tell; bits: how many of them it can
 * tell apart (512, or fewer at the end of a region; 1: a single bit for the granule, and pages is NULL or
 * what it is). counts: events of each page, or NULL. window_ms: what the events cover; 0: the period.
 * -ERANGE: no such granule. -EINVAL: bits is 0 or above HEAT_PAGES.
 */
struct heat_sample {
	uint32_t window_ms;
	uint32_t events;
	uint16_t bits;
	const uint64_t *pages;
	const uint32_t *counts;
};
int heat_sample(struct heat *h, uint32_t granule, const struct heat_sample *s);
/* The events that a sample is taken for, × HEAT_RATE_ONE: as it says, or estimated. bits: 1 to HEAT_PAGES. */
uint64_t heat_sample_events(const struct heat_sample *s);

/* The averages now. Out of range: 0. */
struct heat_rates {
	uint32_t near, far;
};
struct heat_rates heat_rates(const struct heat *h, uint32_t granule);

/*
 * What is to be expected. rate: accesses per second × HEAT_RATE_ONE in the next period: the long average,
 * corrected towards the short one by as much as their difference is more than the accident of counting. steady: how
 * far the two agree, 0 (all of it is new, or gone) to 256 (it has been so for long).
 */
struct heat_forecast {
	uint32_t rate;
	uint32_t steady;
};
struct heat_forecast heat_predict(const struct heat *h, uint32_t granule);
/* Twice the standard deviation that counting alone gives a long average of this rate. */
uint32_t heat_doubt(const struct heat *h, uint32_t rate);
/* The number of accesses that a rate makes in ms, rounded down. */
uint64_t heat_accesses(uint32_t rate, uint64_t ms);

/* Has it a split? The quick way to know that it has none. */
static inline bool heat_has_split(const struct heat *h, uint32_t granule)
{
	return h->granules[granule].split & 0xffffffu;
}

/* The granule's split, if its heat is known page by page; NULL. Belongs to h; ends with the next sample. */
struct heat_split *heat_split_of(const struct heat *h, uint32_t granule);
/* The rate of a page of a split now. */
uint32_t heat_page_rate(const struct heat *h, const struct heat_split *s, unsigned page);
/* Those of all its pages. */
void heat_page_rates(const struct heat *h, const struct heat_split *s, uint32_t *ret_rates);
/* Give the split back; its pages are counted together again. */
void heat_split_drop(struct heat *h, uint32_t granule);

/* A rate in 16 bits: 11 of mantissa, 5 of exponent; packing rounds down, by less than 1/1024. */
uint16_t heat_pack(uint32_t rate);
uint32_t heat_unpack(uint16_t packed);

/* ---- the pace of sampling ---------------------------------------------------------------------------- */

/*
 * Keeps the sampler's share of a CPU below a ceiling, at the highest rate that this allows. Everything is
 * an average over rounds: a round that took too long is paid for by the pause after it.
 */
struct heat_pace {
	uint32_t min_ms, max_ms; /* of the period */
	uint32_t ceiling_ppm;	 /* of one CPU: 10,000 is 1 % */
	uint32_t period_ms;	 /* now */
	uint32_t portion;	 /* of the granules to sample in a round, of 256 */
	uint64_t cost_us;	 /* of a round of all granules, averaged */
	uint64_t debt_us;
};

/* -EINVAL: 0 < min <= max <= 1 h and 0 < ceiling <= 1,000,000 do not hold. Begins at min_ms. */
int heat_pace_init(struct heat_pace *p, uint32_t min_ms, uint32_t max_ms, uint32_t ceiling_ppm);
/*
 * After a round that took cpu_us of the sampler's own CPU time, elapsed_ms after the one before: how long to
 * wait until the next (ms). portion < 256: even at max_ms a whole round costs too much; sample that part of the
 * granules in each, in turn, and tell heat_advance() the period of all.
 */
uint32_t heat_pace_next(struct heat_pace *p, uint64_t cpu_us, uint64_t elapsed_ms);

#endif
