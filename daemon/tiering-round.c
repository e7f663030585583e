// SPDX-License-Identifier: GPL-2.0-or-later
#include "tiering-round.h"

#include <string.h>

#include "clock.h"
#include "tiering-observe.h"
#include "tiering-sample.h"

#define PAGE UINT64_C(4096)

static void place_range(struct tiering_round *r, const struct tiering_region *g, uint64_t offset,
			uint64_t length, unsigned int tier)
{
	uint64_t end = MIN(offset + length, g->morsel->size);

	while (offset < end) {
		uint64_t next = MIN(end, (offset / GRANULE_SIZE + 1) * GRANULE_SIZE);

		if (r->seen.tiers)
			r->seen.tiers[g->first + (uint32_t)(offset / GRANULE_SIZE)] = (uint8_t)tier;
		plan_place(r->plan, r->heat, g->first + (uint32_t)(offset / GRANULE_SIZE),
			   offset % GRANULE_SIZE / PAGE, (unsigned int)((next - offset) / PAGE),
			   tier);
		offset = next;
	}
}

/* Pages of several tiers in each of them: a granule counts as being where most of it is. */
static void place_mixed(struct tiering_round *r, const struct tiering_region *g, uint64_t offset,
			uint64_t length)
{
	struct morsel *m = g->morsel;

	for (uint64_t at = offset; at < offset + length; at += GRANULE_SIZE) {
		uint64_t n = MIN(GRANULE_SIZE, m->size - at);
		uint32_t pages[PLAN_MAX_TIERS] = {};
		unsigned int most = PLAN_ABSENT;
		struct storage_residency sum;

		if (m->storage->ops->residency(m->object, at, n, true, NULL, NULL, &sum, NULL) < 0)
			continue;
		for (unsigned int i = 0; i < sum.by_node->len; i++) {
			uint64_t bytes = g_array_index(sum.by_node, uint64_t, i);
			unsigned int tier = bytes > 0 ? tiering_tier_of(&r->tiers, (int)i)
						      : PLAN_ABSENT;

			if (tier == PLAN_ABSENT)
				continue;
			pages[tier] += (uint32_t)(bytes / PAGE);
			if (most == PLAN_ABSENT || pages[tier] > pages[most])
				most = tier;
		}
		storage_residency_done(&sum);
		place_range(r, g, at, n, most);
	}
}

/* Where the region's memory is. */
static void locate(struct tiering_round *r, const struct tiering_region *g)
{
	struct morsel *m = g->morsel;
	struct storage_residency sum;
	g_autoptr(GArray) runs = NULL;

	if (m->storage->ops->residency(m->object, 0, m->size, true, NULL, NULL, &sum, &runs) < 0)
		return;
	storage_residency_done(&sum);
	for (unsigned int i = 0; runs && i < runs->len; i++) {
		const struct storage_run *run = &g_array_index(runs, struct storage_run, i);

		if (run->node == RUN_MIXED)
			place_mixed(r, g, run->offset, run->length);
		else
			place_range(r, g, run->offset, run->length,
				    run->node < 0 ? PLAN_ABSENT
						  : tiering_tier_of(&r->tiers, run->node));
	}
}

static void plan(struct tiering_round *r)
{
	struct plan_input in = { .accounts = (struct plan_account *)r->accounts->plan->data,
				 .tiers = r->tiers.plan,
				 .n_accounts = r->accounts->plan->len,
				 .n_tiers = r->tiers.n,
				 .n_initiators = r->tiers.n_initiators,
				 .clock_ms = now_monotonic() / 1000,
				 .budget_pages = r->budget_pages };

	r->plan_regions = g_array_new(false, true, sizeof(struct plan_region));
	for (unsigned int i = 0; i < r->regions->len; i++) {
		const struct tiering_region *g = tiering_region_at(r, i);
		struct plan_region region = {
			.first = g->first,
			.pages = g->present ? (uint32_t)((g->morsel->size + PAGE - 1) / PAGE) : 0,
			.account = g->account,
			.allow = g->allow,
			.migrate = g->migrate == POLICY_MIGRATE_OFF ? PLAN_MIGRATE_OFF
								    : PLAN_MIGRATE_ON,
		};

		g_array_append_val(r->plan_regions, region);
	}
	in.regions = (struct plan_region *)r->plan_regions->data;
	in.n_regions = r->plan_regions->len;
	r->result = plan_run(r->plan, r->heat, &in, r->moves, TIERING_MOVES, &r->planned);
	if (r->result < 0)
		memset(&r->planned, 0, sizeof(r->planned));
}

static void sum_up(const struct tiering_round *r, struct tiering_region *g)
{
	uint64_t left = g->morsel->size;

	memset(&g->sum, 0, sizeof(g->sum));
	for (uint32_t k = 0; k < g->granules; k++, left -= MIN(left, GRANULE_SIZE)) {
		const struct plan_granule *p = &r->plan->granules[g->first + k];
		uint64_t rate = heat_unpack(p->rate);

		if (p->tier >= r->tiers.n)
			continue;
		g->sum.bytes_in[p->tier] += MIN(left, GRANULE_SIZE);
		if (g->migrate == POLICY_MIGRATE_OFF)
			continue;
		g->sum.rate += rate;
		g->sum.rate_in[p->tier] += rate;
	}
}

void tiering_round_run(struct work *w)
{
	struct tiering_round *r = (struct tiering_round *)w;
	uint64_t cpu = now_of(CLOCK_THREAD_CPUTIME_ID);

	heat_advance(r->heat, now_monotonic() / 1000, r->period_ms);
	for (unsigned int i = 0; i < r->regions->len && !atomic_load(r->stopping); i++) {
		struct tiering_region *g = tiering_region_at(r, i);

		if (g->fresh) {
			heat_clear(r->heat, g->first, g->granules);
			plan_clear(r->plan, g->first, g->granules);
			g->fresh = false;
		}
		if (!g->present)
			continue;
		if (r->seen.events)
			for (uint32_t k = g->first; k < g->first + g->granules; k++) {
				r->seen.events[k] = TIERING_NOT_SEEN;
				r->seen.tiers[k] = PLAN_ABSENT;
			}
		locate(r, g);
	}
	for (unsigned int i = 0; i < r->tiers.n; i++)
		for (unsigned int k = 0; k < r->regions->len; k++) {
			struct tiering_region *g = tiering_region_at(r, k);

			if (!g->present)
				continue;
			/* All of them are of one storage. */
			r->tiers.plan[i].free = g->morsel->storage->ops->room(g->morsel->storage,
									      r->tiers.tier[i]) /
						PAGE;
			break;
		}
	tiering_sample(r);
	for (unsigned int i = 0; i < r->recordings->len && !atomic_load(r->stopping); i++)
		recording_round(r->recordings->pdata[i], r, now_monotonic() / 1000);
	if (r->plans && !atomic_load(r->stopping)) {
		plan(r);
		for (unsigned int i = 0; i < r->regions->len; i++)
			if (tiering_region_at(r, i)->present)
				sum_up(r, tiering_region_at(r, i));
		tiering_observe_round(r->observed, r, now_monotonic() / 1000);
	}
	r->cpu_usec = now_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
}
