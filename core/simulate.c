/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "simulate.h"

#define MAX_MOVES 8192u

static struct plan_config plan_config_of(const struct sim_config *c)
{
	return (struct plan_config){
		.granules = c->heat.granules,
		.splits = c->heat.splits,
		.accounts = c->accounts,
		.tiers = c->tiers,
		.candidates = c->candidates,
	};
}

/* The order of the parts in memory; the last is the end. */
static int layout(const struct sim_config *c, uint64_t *ret_plan, uint64_t *ret_granules,
		  uint64_t *ret_ranks, uint64_t *ret_moves, uint64_t *ret_pages, uint64_t *ret_end)
{
	struct plan_config plan = plan_config_of(c);
	uint64_t heat_bytes, plan_bytes, n = c->heat.granules,
					 ranks = c->pages ? n * HEAT_PAGES : n;
	int r;

	r = heat_size(&c->heat, &heat_bytes);
	if (r == 0)
		r = plan_size(&plan, &plan_bytes);
	if (r < 0)
		return r;
	*ret_plan = (heat_bytes + 7) / 8 * 8;
	*ret_granules = *ret_plan + (plan_bytes + 7) / 8 * 8;
	*ret_ranks = *ret_granules + n * sizeof(struct sim_granule);
	*ret_moves = *ret_ranks + ranks * sizeof(struct sim_rank);
	*ret_pages = *ret_moves + MAX_MOVES * sizeof(struct plan_move);
	*ret_end = *ret_pages + (c->pages ? ranks * sizeof(uint64_t) : 0);
	return 0;
}

int sim_size(const struct sim_config *config, uint64_t *ret_size)
{
	uint64_t unused;

	return layout(config, &unused, &unused, &unused, &unused, &unused, ret_size);
}

int sim_init(struct sim *s, const struct sim_config *config, void *memory, uint64_t size)
{
	struct plan_config plan = plan_config_of(config);
	uint64_t at_plan, at_granules, at_ranks, at_moves, at_pages, end;
	char *base = memory;
	int r;

	r = layout(config, &at_plan, &at_granules, &at_ranks, &at_moves, &at_pages, &end);
	if (r < 0)
		return r;
	if (size < end)
		return -ENOSPC;
	*s = (struct sim){
		.config = *config,
		.granules = (struct sim_granule *)(base + at_granules),
		.ranks = (struct sim_rank *)(base + at_ranks),
		.moves = (struct plan_move *)(base + at_moves),
		.pages = config->pages ? (uint64_t *)(base + at_pages) : NULL,
		.n_moves = MAX_MOVES,
		.n_initiators = 1,
		.budget_pages = PLAN_NO_LIMIT,
	};
	if (!s->config.ping_pong_ms)
		s->config.ping_pong_ms = 60000;
	heat_init(&s->heat, &config->heat, base, at_plan);
	heat_set_grain(&s->heat, config->grain);
	plan_init(&s->plan, &plan, base + at_plan, at_granules - at_plan);
	for (uint32_t g = 0; g < config->heat.granules; g++)
		s->granules[g] =
			(struct sim_granule){ .oracle = PLAN_ABSENT, .first = PLAN_ABSENT };
	for (uint64_t i = 0; s->pages && i < (uint64_t)config->heat.granules * HEAT_PAGES; i++)
		s->pages[i] = 0;
	return 0;
}

void sim_clear(struct sim *s, uint32_t first, uint32_t count)
{
	for (uint32_t g = first; g < s->config.heat.granules && g - first < count; g++) {
		for (unsigned i = 0; i < HEAT_PAGES && s->granules[g].first != PLAN_ABSENT; i++) {
			unsigned tier = plan_tier_of(&s->plan, &s->heat, g, i);

			if (tier < s->config.tiers && s->used[tier])
				s->used[tier]--;
			if (s->pages)
				s->pages[(uint64_t)g * HEAT_PAGES + i] = 0;
		}
		s->granules[g] =
			(struct sim_granule){ .oracle = PLAN_ABSENT, .first = PLAN_ABSENT };
	}
	heat_clear(&s->heat, first, count);
	plan_clear(&s->plan, first, count);
}

static uint32_t latency(const struct sim *s, unsigned tier)
{
	uint32_t best = 0;

	for (unsigned i = 0; i < s->n_initiators; i++) {
		uint32_t l = s->tiers[tier].from[i].latency_ns;

		if (l && (!best || l < best))
			best = l;
	}
	return best ? best : 0xffffffff;
}

/* Nearest first. */
static void order_tiers(const struct sim *s, unsigned *ret_order)
{
	for (unsigned i = 0; i < s->config.tiers; i++) {
		unsigned at = i;

		for (; at && latency(s, ret_order[at - 1]) > latency(s, i); at--)
			ret_order[at] = ret_order[at - 1];
		ret_order[at] = i;
	}
}

/* ---- oracles ------------------------------------------------------------------------------------------- */

/* More accesses first; of equals, those that are in the nearer tier already. */
static bool before(const struct sim_rank *a, const struct sim_rank *b)
{
	if (a->value != b->value)
		return a->value > b->value;
	return a->before != b->before ? a->before < b->before : a->index < b->index;
}

static void sift(struct sim_rank *x, uint64_t n, uint64_t i)
{
	struct sim_rank e = x[i];

	for (uint64_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && before(&x[child], &x[child + 1]))
			child++;
		if (!before(&e, &x[child]))
			break;
		x[i] = x[child];
	}
	x[i] = e;
}

static void sort(struct sim_rank *x, uint64_t n)
{
	for (uint64_t i = n / 2; i-- > 0;)
		sift(x, n, i);
	for (uint64_t end = n; end > 1; end--) {
		struct sim_rank e = x[0];

		x[0] = x[end - 1];
		x[end - 1] = e;
		sift(x, end - 1, 0);
	}
}

/* Of n ranks, sorted: the tiers filled in order, with units of so many pages. */
static void fill(const struct sim *s, uint64_t n, uint64_t pages, uint64_t *served, bool place)
{
	unsigned order[PLAN_MAX_TIERS], at = 0;
	uint64_t room = 0;

	order_tiers(s, order);
	room = s->capacity[order[0]] / pages;
	for (uint64_t i = 0; i < n; i++) {
		while (!room && at + 1 < s->config.tiers)
			room = s->capacity[order[++at]] / pages;
		room -= room > 0;
		served[order[at]] += s->ranks[i].value;
		if (place)
			s->granules[s->ranks[i].index].oracle = (uint8_t)order[at];
	}
}

static void end_phase(struct sim *s)
{
	struct sim_report *report = &s->report;
	unsigned order[PLAN_MAX_TIERS];
	uint32_t position[PLAN_MAX_TIERS];
	bool settled = s->phase_began_ms - s->began_ms >= s->config.settle_ms ||
		       !s->config.phase_ms;
	uint64_t unused[PLAN_MAX_TIERS] = {};
	uint64_t n = 0;

	order_tiers(s, order);
	for (unsigned i = 0; i < s->config.tiers; i++)
		position[order[i]] = i;
	for (uint32_t g = 0; g < s->config.heat.granules; g++) {
		struct sim_granule *x = &s->granules[g];
		unsigned was = x->oracle != PLAN_ABSENT ? x->oracle : x->first;

		if (was >= s->config.tiers)
			continue;
		s->ranks[n++] =
			(struct sim_rank){ .value = x->phase, .index = g, .before = position[was] };
		x->phase_first = (uint8_t)was;
		x->phase = 0;
	}
	sort(s->ranks, n);
	fill(s, n, HEAT_PAGES, settled ? report->oracle_phase : unused, true);
	for (uint64_t i = 0; i < n; i++) {
		const struct sim_granule *x = &s->granules[s->ranks[i].index];

		if (x->oracle != x->phase_first)
			report->needed += HEAT_PAGES;
	}
	s->phase_began_ms = s->clock_ms;
}

void sim_finish(struct sim *s)
{
	struct sim_report *report = &s->report;
	uint64_t n = 0;

	end_phase(s);
	for (uint32_t g = 0; g < s->config.heat.granules; g++) {
		if (s->granules[g].first < s->config.tiers)
			s->ranks[n++] =
				(struct sim_rank){ .value = s->granules[g].total, .index = g };
	}
	sort(s->ranks, n);
	fill(s, n, HEAT_PAGES, report->oracle, false);
	for (unsigned t = 0; t < s->config.tiers; t++) {
		report->latency_ns += report->settled[t] * latency(s, t);
		report->latency_oracle_ns += report->oracle[t] * latency(s, t);
	}
	if (!s->pages)
		return;
	n = (uint64_t)s->config.heat.granules * HEAT_PAGES;
	for (uint64_t i = 0; i < n; i++)
		s->ranks[i] = (struct sim_rank){ .value = s->pages[i], .index = (uint32_t)i };
	sort(s->ranks, n);
	fill(s, n, 1, report->oracle_pages, false);
}

uint32_t sim_share(const uint64_t *served, unsigned tier, unsigned tiers)
{
	uint64_t all = 0, part = served[tier];

	for (unsigned t = 0; t < tiers; t++)
		all += served[t];
	while (all >> 40) {
		all >>= 1;
		part >>= 1;
	}
	return all ? (uint32_t)(part * 1000000 / all) : 0;
}

/* ---- rounds -------------------------------------------------------------------------------------------- */

void sim_round(struct sim *s, uint64_t clock_ms, uint32_t period_ms)
{
	if (!s->began)
		s->began_ms = s->phase_began_ms = clock_ms;
	else if (s->config.phase_ms && clock_ms - s->phase_began_ms >= s->config.phase_ms)
		end_phase(s);
	s->began = true;
	s->clock_ms = clock_ms;
	heat_advance(&s->heat, clock_ms, period_ms);
	s->report.rounds++;
}

/* Room for a granule within Max of its account, and of those above? */
static bool may_place(const struct sim *s, const struct plan_region *region, unsigned tier,
		      uint64_t pages)
{
	uint32_t allow = region->allow ? region->allow : ~0u;

	if (!(allow >> tier & 1) || s->tiers[tier].state != PLAN_ONLINE ||
	    s->used[tier] + pages > s->capacity[tier])
		return false;
	for (uint32_t a = region->account; a < s->n_accounts; a = s->accounts[a].parent) {
		uint64_t used = 0;

		if (s->accounts[a].max[tier] == PLAN_NO_LIMIT)
			continue;
		/* Of it and all below: whose ancestor is a? */
		for (uint32_t i = 0; i < s->n_regions; i++) {
			const struct plan_region *x = &s->regions[i];
			uint32_t up = x->account;

			while (up < s->n_accounts && up != a)
				up = s->accounts[up].parent;
			for (uint32_t p = 0; up == a && p < x->pages; p += HEAT_PAGES)
				used += s->plan.granules[x->first + p / HEAT_PAGES].tier == tier
						? HEAT_PAGES
						: 0;
		}
		if (used + pages > s->accounts[a].max[tier])
			return false;
	}
	return true;
}

static void first_touch(struct sim *s, const struct plan_region *region, uint32_t granule)
{
	uint32_t left = region->pages - (granule - region->first) * HEAT_PAGES;
	uint64_t pages = left < HEAT_PAGES ? left : HEAT_PAGES;
	unsigned order[PLAN_MAX_TIERS], tier = PLAN_ABSENT;

	order_tiers(s, order);
	for (unsigned i = 0; i < s->config.tiers && tier == PLAN_ABSENT; i++) {
		if (may_place(s, region, order[i], pages))
			tier = order[i];
	}
	/* Nowhere: on the farthest, more than fits. */
	if (tier == PLAN_ABSENT)
		tier = order[s->config.tiers - 1];
	plan_place(&s->plan, &s->heat, granule, 0, HEAT_PAGES, tier);
	s->granules[granule].first = (uint8_t)tier;
	s->used[tier] += pages;
}

int sim_sample(struct sim *s, uint32_t region, uint32_t granule, const struct heat_sample *x)
{
	bool settled = s->clock_ms - s->began_ms >= s->config.settle_ms;
	struct sim_report *report = &s->report;
	uint64_t total = (uint64_t)x->events * s->heat.grain, bits = 0;
	struct sim_granule *g;

	if (granule >= s->config.heat.granules || region >= s->n_regions)
		return -ERANGE;
	g = &s->granules[granule];
	if (g->first == PLAN_ABSENT)
		first_touch(s, &s->regions[region], granule);
	for (unsigned i = 0; x->pages && i < HEAT_WORDS; i++)
		bits += plat_popcount(x->pages[i]);
	if (!total)
		total = bits * s->heat.grain;
	report->accesses += total;
	g->phase += total;
	if (settled)
		g->total += total;
	for (unsigned i = 0; (x->pages || x->counts) && i < HEAT_PAGES; i++) {
		uint64_t n = x->counts ? (uint64_t)x->counts[i] * s->heat.grain
			     : x->pages[i / 64] >> (i % 64) & 1 ? total / bits
								: 0;
		unsigned tier = plan_tier_of(&s->plan, &s->heat, granule, i);

		if (!n)
			continue;
		report->served[tier] += n;
		if (settled)
			report->settled[tier] += n;
		if (settled && s->pages)
			s->pages[(uint64_t)granule * HEAT_PAGES + i] += n;
	}
	if (!x->pages && !x->counts) {
		unsigned tier = plan_tier_of(&s->plan, &s->heat, granule, 0);

		report->served[tier] += total;
		if (settled)
			report->settled[tier] += total;
		for (unsigned i = 0; settled && s->pages && i < HEAT_PAGES; i++)
			s->pages[(uint64_t)granule * HEAT_PAGES + i] += total / HEAT_PAGES;
	}
	return heat_sample(&s->heat, granule, x);
}

static void apply(struct sim *s, const struct plan_move *m)
{
	struct sim_granule *g = &s->granules[m->granule];
	uint32_t now = (uint32_t)(s->clock_ms / 1000) + 1;

	if (s->used[m->to] + m->pages > s->capacity[m->to] || s->used[m->from] < m->pages) {
		s->report.refused++;
		return;
	}
	s->used[m->to] += m->pages;
	s->used[m->from] -= m->pages;
	plan_moved(&s->plan, &s->heat, m, m->pages);
	*(latency(s, m->to) < latency(s, m->from) ? &s->report.up : &s->report.down) += m->pages;
	if (m->pages < HEAT_PAGES)
		s->report.page_moves++;
	else if (g->at_s && g->was == m->to && (now - g->at_s) * 1000ull < s->config.ping_pong_ms)
		s->report.ping_pong += m->pages;
	g->at_s = now;
	g->was = m->from;
	s->report.moves++;
	s->report.gain_ns += m->gain_ns;
}

int sim_plan(struct sim *s)
{
	struct plan_input in = {
		.regions = s->regions,
		.accounts = s->accounts,
		.tiers = s->tiers,
		.n_regions = s->n_regions,
		.n_accounts = s->n_accounts,
		.n_tiers = s->config.tiers,
		.n_initiators = s->n_initiators,
		.clock_ms = s->clock_ms,
		.budget_pages = s->budget_pages,
	};
	int r;

	if (s->config.stay)
		return 0;
	for (unsigned t = 0; t < s->config.tiers; t++)
		s->tiers[t].free = s->used[t] < s->capacity[t] ? s->capacity[t] - s->used[t] : 0;
	r = plan_run(&s->plan, &s->heat, &in, s->moves, s->n_moves, &s->result);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < s->result.moves; i++)
		apply(s, &s->moves[i]);
	if (s->result.n_problems) {
		s->report.problems += s->result.n_problems;
		s->report.problem = s->result.problems[0];
	}
	return 0;
}
