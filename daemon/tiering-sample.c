// SPDX-License-Identifier: GPL-2.0-or-later
#include "tiering-sample.h"

#include <string.h>
#include <time.h>

#include "clock.h"

#define WINDOW_GRANULES 512u /* 1 GiB: what a storage is asked for at once */
#define PAGE UINT64_C(4096)

#define BURST_MIN_US 5000u
#define BURST_MAX_US 200000u
/* In one round, each waited for: the rest of it has the first look only. */
#define BURSTS_MAX 64u
/* Pages seen again: fewer are an accident. */
#define SEEN_MIN 8u

static unsigned int count(const uint64_t *bits)
{
	unsigned int n = 0;

	for (unsigned int i = 0; bits && i < HEAT_WORDS; i++)
		n += (unsigned int)__builtin_popcountll(bits[i]);
	return n;
}

bool tiering_sample_of(const uint64_t *period, const uint64_t *burst, unsigned int n,
		       uint64_t period_us, uint64_t burst_us, struct heat_sample *ret)
{
	unsigned int seen = count(burst);
	unsigned __int128 events;

	*ret = (struct heat_sample){ .bits = (uint16_t)n, .pages = period };
	if (n == 0 || (count(period) == 0 && seen < SEEN_MIN))
		return false;
	if (burst_us == 0 || seen < SEEN_MIN)
		return true;
	/*
	 * As many in each moment of the period as in this one: one of each page, at least. More may be guessed only where few of
	 * them are seen; a program that goes over all of its pages now and then would be seen as a flood or as nothing.
	 */
	events = (unsigned __int128)seen * period_us / burst_us;
	if (events * HEAT_RATE_ONE <= heat_sample_events(ret))
		return true;
	ret->pages = burst;
	ret->events = (uint32_t)MIN(events, UINT32_MAX);
	return true;
}

uint32_t tiering_burst_next(uint32_t burst_us, unsigned int seen)
{
	if (seen > 192)
		return MAX(burst_us / 2, BURST_MIN_US);
	if (seen > 0 && seen < 64)
		return MIN(burst_us * 2, BURST_MAX_US);
	return burst_us;
}

/* For recordings, as they are in each round: where all are sampled in turn only, a sample is of several rounds. */
static void note_events(struct tiering_round *r, uint32_t granule, const struct heat_sample *s)
{
	uint64_t events = s ? heat_sample_events(s) * r->portion / 256 : 0;

	/* What was seen was accessed once at least. */
	r->seen.events[granule] = s ? (uint32_t)MAX(1, (events + HEAT_RATE_ONE / 2) / HEAT_RATE_ONE)
				    : 0;
}

/* Waits, and looks again. How long that was, in us; 0: there was no second look. */
static uint64_t look_again(struct tiering_round *r, struct morsel *m, uint64_t offset,
			   uint64_t length, uint64_t *bits)
{
	uint64_t began = now_monotonic();
	struct timespec t = { .tv_sec = r->burst_us / 1000000,
			      .tv_nsec = r->burst_us % 1000000 * 1000L };

	if (r->bursts >= BURSTS_MAX || atomic_load(r->stopping))
		return 0;
	r->bursts++;
	(void)nanosleep(&t, NULL);
	if (m->storage->ops->harvest(m->object, offset, length, bits) < 0)
		return 0;
	return MAX(1, now_monotonic() - began);
}

static void sample_window(struct tiering_round *r, const struct tiering_region *g, uint64_t offset)
{
	uint64_t first[WINDOW_GRANULES * HEAT_WORDS] = {}, again[WINDOW_GRANULES * HEAT_WORDS] = {};
	struct morsel *m = g->morsel;
	uint64_t length = MIN(WINDOW_GRANULES * GRANULE_SIZE, m->size - offset), burst_us;

	if (m->storage->ops->harvest(m->object, offset, length, first) < 0)
		return;
	burst_us = look_again(r, m, offset, length, again);
	for (uint64_t at = 0; at < length; at += GRANULE_SIZE) {
		const uint64_t *period = &first[at / PAGE / 64], *burst = &again[at / PAGE / 64];
		uint32_t granule = g->first + (uint32_t)((offset + at) / GRANULE_SIZE);
		unsigned int of = count(period);
		struct heat_sample s;
		bool any = tiering_sample_of(period, burst,
					     (unsigned int)(MIN(GRANULE_SIZE, length - at) / PAGE),
					     r->period_ms * UINT64_C(1000), burst_us, &s);

		if (any)
			heat_sample(r->heat, granule, &s);
		if (burst_us > 0 && of >= SEEN_MIN)
			r->seen_again = MAX(r->seen_again, MIN(256, count(burst) * 256 / of));
		/* Of the first look nobody knows how long it gathered. */
		if (r->seen.events && g->settled)
			note_events(r, granule, any ? &s : NULL);
	}
	r->sampled += (length + GRANULE_SIZE - 1) / GRANULE_SIZE;
}

/* In turn, where a round of all would cost too much. */
void tiering_sample(struct tiering_round *r)
{
	uint32_t windows = 0, at = 0, n;

	for (unsigned int i = 0; i < r->regions->len; i++)
		windows +=
			(tiering_region_at(r, i)->granules + WINDOW_GRANULES - 1) / WINDOW_GRANULES;
	if (windows == 0)
		return;
	n = MAX(1, (uint32_t)((uint64_t)windows * r->portion / 256));
	*r->cursor %= windows;
	for (unsigned int i = 0; i < r->regions->len; i++) {
		const struct tiering_region *g = tiering_region_at(r, i);

		for (uint32_t k = 0; k < g->granules; k += WINDOW_GRANULES, at++) {
			bool due = (at + windows - *r->cursor) % windows < n;

			if (atomic_load(r->stopping))
				return;
			if (due && g->present && g->watched)
				sample_window(r, g, k * GRANULE_SIZE);
		}
	}
	*r->cursor = (*r->cursor + n) % windows;
	for (unsigned int i = 0; i < r->regions->len; i++)
		tiering_region_at(r, i)->settled = tiering_region_at(r, i)->present &&
						   tiering_region_at(r, i)->watched;
}
