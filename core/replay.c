/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "replay.h"

static uint32_t granules_of(uint32_t pages)
{
	return pages ? (pages - 1) / HEAT_PAGES + 1 : 0;
}

int replay_scan(const void *data, uint64_t size, uint32_t *sizes, struct replay_extent *ret)
{
	struct replay_extent x = { .accounts = 1 };
	struct trace_reader reader;
	struct trace_event e;
	uint64_t granules = 0, pages = 0;
	int r = trace_open(&reader, data, size);

	if (r < 0)
		return r;
	while (trace_next(&reader, &e) > 0) {
		switch (e.tag) {
		case TRACE_TIER:
			x.tiers = e.index < x.tiers ? x.tiers : e.index + 1;
			break;
		case TRACE_ACCOUNT:
			x.accounts = e.index < x.accounts ? x.accounts : e.index + 1;
			break;
		case TRACE_REGION:
			while (x.regions <= e.index)
				sizes[x.regions++] = 0;
			if (granules_of(e.region.pages) > sizes[e.index]) {
				granules += granules_of(e.region.pages) - sizes[e.index];
				sizes[e.index] = granules_of(e.region.pages);
			}
			break;
		case TRACE_ROUND:
			x.rounds++;
			x.clock_ms = e.clock_ms;
			break;
		case TRACE_PAGES:
			pages += e.n_classes > 0;
			break;
		default:
			break;
		}
		if (granules > REPLAY_GRANULES_MAX)
			return -ERANGE;
	}
	x.granules = granules ? (uint32_t)granules : 1;
	x.splits = pages < x.granules / HEAT_SPLIT_SHARE ? (uint32_t)pages
							 : x.granules / HEAT_SPLIT_SHARE;
	x.good = reader.end == TRACE_GOOD ? size : reader.at;
	x.end = reader.end;
	*ret = x;
	return 0;
}

static struct sim_config sim_config_of(const struct replay_extent *extent,
				       const struct sim_config *config)
{
	struct sim_config c = *config;

	c.heat.granules = extent->granules;
	c.heat.splits = extent->granules / HEAT_SPLIT_SHARE;
	c.accounts = extent->accounts;
	return c;
}

static uint64_t align8(uint64_t n)
{
	return (n + 7) / 8 * 8;
}

int replay_size(const struct replay_extent *extent, const struct sim_config *config,
		uint64_t *ret_size)
{
	struct sim_config c = sim_config_of(extent, config);
	uint64_t sim;
	int r = sim_size(&c, &sim);

	if (r < 0)
		return r;
	*ret_size = align8(sim) + align8(extent->regions * sizeof(struct plan_region)) +
		    align8(extent->accounts * sizeof(struct plan_account)) +
		    align8(extent->regions * 4ull) + 2 * align8(extent->granules) +
		    align8(extent->granules * 4ull) + extent->splits * sizeof(struct replay_pages);
	return 0;
}

static void *take(char **at, uint64_t n)
{
	char *p = *at;

	*at += align8(n);
	for (uint64_t i = 0; i < n; i++)
		p[i] = 0;
	return p;
}

int replay_init(struct replay *r, const void *data, uint64_t size,
		const struct replay_extent *extent, const uint32_t *sizes,
		const struct sim_config *config, void *memory, uint64_t memory_size)
{
	struct sim_config c = sim_config_of(extent, config);
	struct trace_reader reader;
	char *at = memory;
	uint64_t need, sim;
	uint32_t first = 0;
	int error = replay_size(extent, config, &need);

	if (error == 0)
		error = trace_open(&reader, data, size);
	if (error < 0)
		return error;
	if (memory_size < need)
		return -ENOSPC;
	sim_size(&c, &sim);
	*r = (struct replay){
		.reader = reader,
		.n_pages = extent->splits,
		.granules = extent->granules,
	};
	c.grain = reader.header.grain;
	sim_init(&r->sim, &c, at, sim);
	at += align8(sim);
	r->regions = take(&at, extent->regions * sizeof(struct plan_region));
	r->accounts = take(&at, extent->accounts * sizeof(struct plan_account));
	r->firsts = take(&at, extent->regions * 4ull);
	r->levels = take(&at, extent->granules);
	r->carry = take(&at, extent->granules);
	r->pages_of = take(&at, extent->granules * 4ull);
	r->pages = take(&at, extent->splits * sizeof(struct replay_pages));
	for (uint32_t i = 0; i < extent->splits; i++)
		r->pages[i].granule = HEAT_NONE;
	for (uint32_t i = 0; i < extent->regions; i++) {
		r->firsts[i] = first;
		first += sizes[i];
	}
	/* Accounts that the trace has not told about have no limits. */
	for (uint32_t i = 0; i < extent->accounts; i++)
		plan_account_init(&r->accounts[i], PLAN_NO_PARENT);
	r->sim.regions = r->regions;
	r->sim.accounts = r->accounts;
	r->sim.n_regions = extent->regions;
	r->sim.n_accounts = extent->accounts;
	return 0;
}

/* ---- the state that records change --------------------------------------------------------------------- */

static void forget_pages(struct replay *r, uint32_t granule)
{
	if (r->pages_of[granule])
		r->pages[r->pages_of[granule] - 1].granule = HEAT_NONE;
	r->pages_of[granule] = 0;
}

static void forget(struct replay *r, uint32_t region)
{
	struct plan_region *x = &r->regions[region];
	uint32_t n = granules_of(x->pages);

	for (uint32_t g = x->first; g < x->first + n; g++) {
		r->levels[g] = r->carry[g] = 0;
		forget_pages(r, g);
	}
	sim_clear(&r->sim, x->first, n);
	x->pages = 0;
}

static void set_region(struct replay *r, const struct trace_event *e)
{
	struct plan_region *x = &r->regions[e->index];

	if (x->pages && x->pages != e->region.pages)
		forget(r, e->index);
	*x = e->region;
	x->first = r->firsts[e->index];
	if (x->account >= r->sim.n_accounts)
		x->account = 0;
}

/* The granule of an event, or HEAT_NONE where the region has none such. */
static uint32_t granule_of(const struct replay *r, const struct trace_event *e)
{
	if (e->index >= r->sim.n_regions || e->granule >= granules_of(r->regions[e->index].pages))
		return HEAT_NONE;
	return r->regions[e->index].first + e->granule;
}

static void set_pages(struct replay *r, const struct trace_event *e)
{
	uint32_t g = granule_of(r, e);

	if (g == HEAT_NONE)
		return;
	forget_pages(r, g);
	for (uint32_t i = 0; e->n_classes && i < r->n_pages; i++) {
		struct replay_pages *p = &r->pages[i];

		if (p->granule != HEAT_NONE)
			continue;
		p->granule = g;
		p->n = e->n_classes;
		for (unsigned k = 0; k < e->n_classes; k++)
			p->classes[k] = e->classes[k];
		r->pages_of[g] = i + 1;
		break;
	}
}

/* ---- a round ------------------------------------------------------------------------------------------- */

/* Deals events out to the classes' pages by their levels. */
static void share_out(const struct replay_pages *p, uint32_t events, uint32_t *ret_counts)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < HEAT_PAGES; i++)
		ret_counts[i] = 0;
	for (unsigned k = 0; k < p->n; k++)
		total += trace_level_value(p->classes[k].level);
	for (unsigned k = 0; total && k < p->n; k++) {
		/* Below 2^34 × 2^32 without this. */
		uint64_t level = trace_level_value(p->classes[k].level), pages = 0;
		uint64_t part = level >> 4 ? (uint64_t)events * (level >> 4) / (total / 16 + 1)
					   : (uint64_t)events * level / total;

		for (unsigned w = 0; w < HEAT_WORDS; w++)
			pages += plat_popcount(p->classes[k].pages[w]);
		for (unsigned i = 0; pages && i < HEAT_PAGES; i++) {
			if (p->classes[k].pages[i / 64] >> (i % 64) & 1) {
				/* The rest goes to the first ones. */
				uint64_t n = (part + pages - 1) / pages;

				ret_counts[i] += (uint32_t)n;
				part -= n;
				pages--;
			}
		}
	}
}

static void play_granule(struct replay *r, uint32_t region, uint32_t g)
{
	uint64_t now = trace_level_value(r->levels[g]) + r->carry[g];
	struct heat_sample x = { .bits = HEAT_PAGES };
	uint32_t counts[HEAT_PAGES];

	r->carry[g] = now % TRACE_LEVEL_ONE;
	x.events = (uint32_t)(now / TRACE_LEVEL_ONE);
	if (!x.events)
		return;
	if (r->pages_of[g]) {
		share_out(&r->pages[r->pages_of[g] - 1], x.events, counts);
		x.counts = counts;
	}
	sim_sample(&r->sim, region, g, &x);
}

static int end_round(struct replay *r)
{
	if (!r->in_round)
		return 0;
	for (uint32_t i = 0; i < r->sim.n_regions; i++) {
		const struct plan_region *x = &r->regions[i];
		uint32_t n = granules_of(x->pages);

		for (uint32_t g = x->first; g < x->first + n; g++) {
			if (r->levels[g])
				play_granule(r, i, g);
		}
	}
	if (r->last_ms - r->planned_ms < r->plan_ms)
		return 0;
	r->planned_ms = r->last_ms;
	return sim_plan(&r->sim);
}

static int play(struct replay *r, const struct trace_event *e)
{
	uint32_t g;
	int error;

	switch (e->tag) {
	case TRACE_ACCOUNT:
		r->accounts[e->index] = e->account;
		if (r->account)
			r->account(r->userdata, e->index, e->name, e->name_length,
				   &r->accounts[e->index]);
		break;
	case TRACE_REGION:
		set_region(r, e);
		break;
	case TRACE_GONE:
		if (e->index < r->sim.n_regions)
			forget(r, e->index);
		break;
	case TRACE_ROUND:
		error = end_round(r);
		if (error < 0)
			return error;
		/* A gap, where nothing was recorded, is one round: what happened in it is not known. */
		r->last_ms = e->clock_ms + 1000;
		sim_round(&r->sim, r->last_ms, r->reader.header.period_ms);
		r->in_round = true;
		break;
	case TRACE_LEVELS:
		g = granule_of(r, e);
		if (g != HEAT_NONE)
			r->levels[g] = e->level;
		break;
	case TRACE_PAGES:
		set_pages(r, e);
		break;
	default:
		break;
	}
	return 0;
}

int replay_run(struct replay *r, uint32_t plan_ms)
{
	struct trace_event e;
	int error = 0;

	r->plan_ms = plan_ms;
	while (error == 0 && trace_next(&r->reader, &e) > 0)
		error = play(r, &e);
	if (error == 0)
		error = end_round(r);
	if (error == 0)
		sim_finish(&r->sim);
	return error;
}
