/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "plan-internal.h"

#define DEFAULT_CANDIDATES 4096u
/* Of a list of one account, however many accounts there are. */
#define LIST_MIN 4u
#define LATENCY_MAX 1000000u
#define LOADED_MAX (1u << 24) /* times accesses in a horizon, 2^36, is far below 2^63 */

/* Granules of which pages are looked at one by one, in one run: 10,000 instructions each. */
#define PAGE_GRANULES 512u

/* Moves are lately for so long: several long averages. */
#define LATELY_S 512u
#define FOREVER_S 60000u
#define MOVES_MAX 5u

/* ---- set up ------------------------------------------------------------------------------------------ */

static uint32_t entries_of(const struct plan_config *c)
{
	uint32_t n = c->candidates ? c->candidates : DEFAULT_CANDIDATES;

	return n + LIST_MIN * c->accounts * (c->tiers + 1);
}

static bool config_valid(const struct plan_config *c)
{
	return c->granules && c->granules <= 1u << 31 &&
	       c->splits <= c->granules / HEAT_SPLIT_SHARE && c->accounts && c->accounts <= 65536 &&
	       c->tiers && c->tiers < PLAN_MAX_TIERS && c->candidates <= 1u << 20;
}

static uint64_t align8(uint64_t n)
{
	return (n + 7) / 8 * 8;
}

/* Where each part is, in bytes from the start; the last is the end. */
struct layout {
	uint64_t scratch, shares, entries, granules, splits, wishes, parent, child, sibling, donors,
		active, end;
};

static struct layout layout_of(const struct plan_config *c)
{
	uint64_t a = (uint64_t)c->accounts + 1;
	struct layout l = {};

	l.shares = l.scratch + align8(sizeof(struct plan_scratch));
	l.entries = l.shares + a * c->tiers * sizeof(struct plan_share);
	l.granules = l.entries + (uint64_t)entries_of(c) * sizeof(struct plan_entry);
	l.splits = l.granules + (uint64_t)c->granules * sizeof(struct plan_granule);
	l.wishes = l.splits + align8((uint64_t)c->splits * sizeof(struct plan_split));
	l.parent = l.wishes + a * sizeof(struct plan_list);
	l.child = l.parent + align8(a * 4);
	l.sibling = l.child + align8(a * 4);
	l.donors = l.sibling + align8(a * 4);
	l.active = l.donors + align8(a * 4);
	l.end = l.active + align8(a);
	return l;
}

int plan_size(const struct plan_config *config, uint64_t *ret_size)
{
	if (!config_valid(config))
		return -EINVAL;
	*ret_size = layout_of(config).end;
	return 0;
}

int plan_init(struct plan *p, const struct plan_config *config, void *memory, uint64_t size)
{
	struct plan_scratch *s;
	struct layout l;
	char *base = memory;
	uint64_t need;
	int r = plan_size(config, &need);

	if (r < 0)
		return r;
	if (size < need)
		return -ENOSPC;
	l = layout_of(config);
	s = (struct plan_scratch *)(base + l.scratch);
	*s = (struct plan_scratch){
		.shares = (struct plan_share *)(base + l.shares),
		.entries = (struct plan_entry *)(base + l.entries),
		.wishes = (struct plan_list *)(base + l.wishes),
		.parent = (uint32_t *)(base + l.parent),
		.child = (uint32_t *)(base + l.child),
		.sibling = (uint32_t *)(base + l.sibling),
		.donors = (uint32_t *)(base + l.donors),
		.active = (uint8_t *)(base + l.active),
		.n_entries = entries_of(config),
	};
	*p = (struct plan){
		.scratch = s,
		.granules = (struct plan_granule *)(base + l.granules),
		.splits = (struct plan_split *)(base + l.splits),
		.config = *config,
		/* 0 in a granule is "long ago". */
		.now_ms = 1000,
	};
	plan_clear(p, 0, config->granules);
	for (uint32_t i = 0; i < config->splits; i++)
		p->splits[i].granule = HEAT_NONE;
	return 0;
}

void plan_account_init(struct plan_account *a, uint32_t parent)
{
	*a = (struct plan_account){ .parent = parent };
	for (unsigned t = 0; t < PLAN_MAX_TIERS; t++)
		a->max[t] = a->high[t] = PLAN_NO_LIMIT;
}

void plan_clear(struct plan *p, uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < p->config.granules && i - first < count; i++)
		p->granules[i] = (struct plan_granule){ .tier = PLAN_ABSENT };
}

/* ---- where pages are --------------------------------------------------------------------------------- */

static unsigned page_tier(const struct plan_split *s, unsigned page)
{
	return s->tier[page / 2] >> (page % 2 * 4) & 15;
}

static void set_page_tier(struct plan_split *s, unsigned page, unsigned tier)
{
	unsigned shift = page % 2 * 4;

	s->count[page_tier(s, page)]--;
	s->count[tier]++;
	s->tier[page / 2] = (uint8_t)((s->tier[page / 2] & ~(15u << shift)) | tier << shift);
}

static struct plan_split *split_at(const struct plan *p, const struct heat *h,
				   const struct heat_split *s)
{
	uint64_t i = (uint64_t)(s - h->splits);

	return i < p->config.splits ? &p->splits[i] : NULL;
}

/* The places of the pages of a granule that lies in several tiers; NULL: all are in the granule's tier. */
static const struct plan_split *mixed(const struct plan *p, const struct heat *h, uint32_t granule)
{
	const struct heat_split *s = heat_has_split(h, granule) ? heat_split_of(h, granule) : NULL;
	const struct plan_split *places = s && s->kept ? split_at(p, h, s) : NULL;

	return places && places->granule == granule ? places : NULL;
}

bool plan_is_mixed(const struct run *r, uint32_t granule)
{
	return mixed(r->p, r->h, granule);
}

uint32_t plan_page_tiers(const struct run *r, uint32_t granule, uint8_t *ret_tiers)
{
	const struct plan_split *places = mixed(r->p, r->h, granule);
	uint32_t all = 0;

	for (unsigned i = 0; i < HEAT_PAGES; i++) {
		ret_tiers[i] =
			(uint8_t)(places ? page_tier(places, i) : r->p->granules[granule].tier);
		all |= 1u << ret_tiers[i];
	}
	return all;
}

unsigned plan_tier_of(const struct plan *p, const struct heat *h, uint32_t granule, unsigned page)
{
	const struct plan_split *places;

	if (granule >= p->config.granules || page >= HEAT_PAGES)
		return PLAN_ABSENT;
	places = mixed(p, h, granule);
	return places ? page_tier(places, page) : p->granules[granule].tier;
}

/*
 * Of a granule without a split there is only one tier to remember: that of the larger part. It can be wrong about
 * some pages, which the next look at the residency finds again; nothing else depends on it.
 */
int plan_place(struct plan *p, struct heat *h, uint32_t granule, unsigned page, unsigned pages,
	       unsigned tier)
{
	struct plan_granule *g;
	struct plan_split *places;
	struct heat_split *s;
	unsigned most = 0;

	if (granule >= p->config.granules || page + pages > HEAT_PAGES || page + pages < page ||
	    tier > PLAN_ABSENT)
		return -ERANGE;
	g = &p->granules[granule];
	s = heat_split_of(h, granule);
	places = s ? split_at(p, h, s) : NULL;
	if (!places) {
		if (pages >= HEAT_PAGES / 2)
			g->tier = (uint8_t)tier;
		return 0;
	}
	if (!s->kept || places->granule != granule) {
		*places = (struct plan_split){ .granule = granule };
		for (unsigned i = 0; i < HEAT_PAGES / 2; i++)
			places->tier[i] = (uint8_t)(g->tier * 17);
		places->count[g->tier] = HEAT_PAGES;
	}
	for (unsigned i = page; i < page + pages; i++)
		set_page_tier(places, i, tier);
	for (unsigned t = 1; t < PLAN_MAX_TIERS; t++) {
		if (places->count[t] > places->count[most])
			most = t;
	}
	g->tier = (uint8_t)most;
	s->kept = places->count[most] < HEAT_PAGES;
	return 0;
}

static uint32_t now_s(const struct plan *p)
{
	return (uint32_t)(p->now_ms / 1000) & 0xffff;
}

int plan_moved(struct plan *p, struct heat *h, const struct plan_move *m, unsigned pages)
{
	struct plan_granule *g;
	int r;

	if (pages > m->pages)
		return -ERANGE;
	/* The place behind the end of a region goes along. */
	if (m->whole && pages == m->pages)
		r = plan_place(p, h, m->granule, 0, HEAT_PAGES, m->to);
	else
		r = plan_place(p, h, m->granule, m->page, pages, m->to);
	if (r < 0 || !pages)
		return r;
	g = &p->granules[m->granule];
	/* Many moves of single pages in one run are one. */
	if (!g->moved || g->moved != (now_s(p) | 1))
		g->moves = (g->moves & ~PLAN_BUSY) < MOVES_MAX ? (g->moves & ~PLAN_BUSY) + 1
							       : MOVES_MAX;
	g->moved = (uint16_t)(now_s(p) | 1);
	return 0;
}

/* Seconds since the last move; FOREVER_S if that is so or was never. */
static uint32_t age_of(const struct plan *p, const struct plan_granule *g)
{
	uint32_t age = (now_s(p) - (g->moved & ~1u)) & 0xffff;

	return g->moved && age < FOREVER_S ? age : FOREVER_S;
}

/*
 * A granule moved lately must earn more: the cost counts 1 + 4 × 4^moves times at once, and half of that each 64 s. So the
 * second way back pays only for 60 times its cost.
 */
uint64_t plan_brake(const struct run *r, uint32_t granule, uint64_t cost)
{
	const struct plan_granule *g = &r->p->granules[granule];
	uint32_t moves = g->moves & ~PLAN_BUSY, halvings = age_of(r->p, g) / 64;

	if (!moves || halvings > 2 * MOVES_MAX + 2)
		return cost;
	return cost + cost * ((4u << 2 * moves) >> halvings);
}

/* ---- a run ------------------------------------------------------------------------------------------- */

void plan_tell(struct run *r, enum plan_fault fault, uint32_t index, unsigned tier, uint64_t pages)
{
	uint32_t n = r->ret->n_problems++;

	if (n < PLAN_MAX_PROBLEMS)
		r->ret->problems[n] = (struct plan_problem){
			.fault = (uint8_t)fault,
			.tier = (uint8_t)tier,
			.index = index,
			.pages = pages,
		};
}

static uint32_t path_latency(const struct plan_tier *t, unsigned initiator)
{
	uint32_t l = t->from[initiator].latency_ns;

	return l < LATENCY_MAX ? l : LATENCY_MAX;
}

/* Mean latency for those who use the region, weighted by how much each does; 0: unknown from all of them. */
static uint32_t mean_latency(const struct run *r, const struct plan_region *region,
			     const struct plan_tier *t)
{
	uint64_t sum = 0, weights = 0;
	uint32_t any = 0;

	for (unsigned i = 0; i < r->in->n_initiators; i++) {
		uint32_t l = path_latency(t, i);

		if (!l)
			continue;
		any = any && any < l ? any : l;
		sum += (uint64_t)l * region->share[i];
		weights += region->share[i];
	}
	return weights ? (uint32_t)(sum / weights) : any;
}

/* The nearest tier that is farther away than tier, takes moves, and has room for pages of the account; PLAN_ABSENT. */
unsigned plan_next(const struct run *r, const struct view *v, unsigned tier, uint64_t pages)
{
	unsigned best = PLAN_ABSENT;

	for (unsigned t = 0; t < r->n_tiers; t++) {
		if ((v->allow & r->open) >> t & 1 && v->base[t] > v->base[tier] &&
		    (best == PLAN_ABSENT || v->base[t] < v->base[best]) &&
		    plan_has_room(r, v->region->account, t, pages))
			best = t;
	}
	return best;
}

/* False: the region is empty, or makes no sense and is told when tell. */
bool plan_view(const struct run *r, struct view *v, uint32_t region)
{
	const struct plan_region *x = &r->in->regions[region];

	if (!x->pages)
		return false;
	*v = (struct view){ .region = x, .index = region };
	v->granules = (x->pages - 1) / HEAT_PAGES + 1;
	if (x->first >= r->p->config.granules || v->granules > r->p->config.granules - x->first ||
	    x->account >= r->in->n_accounts)
		return false;
	v->allow = (x->allow ? x->allow : ~0u) & r->usable;
	v->error = 2u * r->p->granules[x->first].error;
	v->error = v->error < 256 ? v->error : 256;
	v->slowest = PLAN_ABSENT;
	for (unsigned t = 0; t < r->n_tiers; t++) {
		if (!(r->usable >> t & 1))
			continue;
		v->base[t] = mean_latency(r, x, &r->in->tiers[t]);
		v->latency[t] = (uint32_t)((uint64_t)v->base[t] * r->stretch[t] >> 8);
		if (v->latency[t] > LOADED_MAX)
			v->latency[t] = LOADED_MAX;
		if (v->allow >> t & 1 &&
		    (v->slowest == PLAN_ABSENT || v->base[t] > v->base[v->slowest]))
			v->slowest = t;
	}
	for (unsigned t = 0; t < r->n_tiers; t++)
		v->down[t] = plan_next(r, v, t, 1);
	return true;
}

/* How much longer a loaded tier takes: nothing at rest, half as long again at 70 %, three times at its bandwidth. */
void plan_load(struct run *r, unsigned tier)
{
	uint64_t u, u2, u4;

	r->stretch[tier] = 256;
	if (!r->bandwidth[tier])
		return;
	u = r->traffic[tier] * 256 / (r->bandwidth[tier] * 1000);
	/* Four times its bandwidth: 513 times as long, and latencies stay below 2^29. */
	if (u > 1024)
		u = 1024;
	u2 = u * u >> 8;
	u4 = u2 * u2 >> 8;
	r->stretch[tier] = (uint32_t)(256 + 2 * u4);
}

/*
 * For how long heat is expected to last: as long as the average that it stands in. What is new may be gone with the short
 * one; what has been so for long stays for the long one.
 */
uint32_t plan_horizon(const struct run *r, uint32_t steady)
{
	return r->h->near_ms + (uint32_t)((uint64_t)(r->h->far_ms - r->h->near_ms) * steady / 256);
}

uint64_t plan_cost(const struct run *r, uint64_t pages)
{
	return r->fixed_ns + pages * 4096 * 1000 / r->copy_mbs;
}

static void advance(struct plan *p, uint64_t clock_ms)
{
	/* As heat's time: forwards only, and not far at once. */
	if (p->started && clock_ms > p->clock)
		p->now_ms += clock_ms - p->clock < 60000 ? clock_ms - p->clock : 60000;
	p->started = true;
	p->clock = clock_ms;
}

static void set_up_tiers(struct run *r)
{
	const struct plan_input *in = r->in;
	uint32_t nearest[PLAN_MAX_TIERS] = {};

	for (unsigned t = 0; t < r->n_tiers; t++) {
		const struct plan_tier *tier = &in->tiers[t];

		for (unsigned i = 0; i < in->n_initiators; i++) {
			uint32_t l = path_latency(tier, i);

			if (l && (!nearest[t] || l < nearest[t]))
				nearest[t] = l;
			if (tier->from[i].bandwidth_mbs > r->bandwidth[t])
				r->bandwidth[t] = tier->from[i].bandwidth_mbs;
		}
		r->stretch[t] = 256;
		r->free[t] = tier->free;
		if (tier->state >= PLAN_OFFLINE)
			continue;
		if (!nearest[t]) {
			plan_tell(r, PLAN_BAD_TIER, t, t, 0);
			continue;
		}
		r->usable |= 1u << t;
		if (tier->state == PLAN_ONLINE)
			r->open |= 1u << t;
	}
	for (unsigned i = 0; i < r->n_tiers; i++) {
		unsigned at = i;

		for (; at && nearest[r->order[at - 1]] > nearest[i]; at--)
			r->order[at] = r->order[at - 1];
		r->order[at] = i;
	}
}

/* Is this one of the granules whose pages this run looks at? */
const struct heat_split *plan_pages(const struct run *r, const struct plan_region *region,
				    uint32_t granule)
{
	const struct heat_split *s = heat_split_of(r->h, granule);
	uint32_t n = r->h->n_splits, i;

	if (!s || !region->by_page || s->state != HEAT_SPLIT_UNEVEN ||
	    granule_pages(region, granule) < HEAT_PAGES)
		return NULL;
	i = (uint32_t)(s - r->h->splits);
	return n <= PAGE_GRANULES || (i + n - r->p->page_cursor) % n < PAGE_GRANULES ? s : NULL;
}

/* Most granules are idle, were so in the last run, and never moved: only their place counts. False: not this one. */
static bool count_idle(struct run *r, const struct view *v, uint32_t granule)
{
	const struct heat_granule *heat = &r->h->granules[granule];
	const struct plan_granule *g = &r->p->granules[granule];

	if (heat->near | heat->far | g->rate | g->moves | heat_has_split(r->h, granule))
		return false;
	if (g->tier < r->n_tiers)
		share_of(r, v->region->account, g->tier)->own += granule_pages(v->region, granule);
	return true;
}

/* First pass, one granule: forecast, use, and what is due to its account. */
static void count_granule(struct run *r, const struct view *v, uint32_t granule, uint64_t *change,
			  uint64_t *sum)
{
	struct plan_granule *g = &r->p->granules[granule];
	uint32_t pages = granule_pages(v->region, granule);
	const struct plan_split *places = mixed(r->p, r->h, granule);
	const struct heat_granule *heat = &r->h->granules[granule];
	struct heat_forecast f = { 0, 256 };
	uint32_t last = heat_unpack(g->rate);
	uint64_t accesses, cost;

	if (heat->near | heat->far)
		f = heat_predict(r->h, granule);
	g->moves &= (uint8_t)~PLAN_BUSY;
	*change += f.rate > last ? f.rate - last : last - f.rate;
	*sum += f.rate > last ? f.rate : last;
	g->rate = heat_pack(f.rate);
	g->steady = (uint8_t)(f.steady < 255 ? f.steady : 255);
	if (g->moves && age_of(r->p, g) >= LATELY_S)
		g->moves = g->moved = 0;
	if (!places) {
		if (g->tier >= r->n_tiers)
			return;
		share_of(r, v->region->account, g->tier)->own += pages;
		r->traffic[g->tier] += f.rate;
	} else {
		for (unsigned t = 0; t < r->n_tiers; t++) {
			share_of(r, v->region->account, t)->own += places->count[t];
			r->traffic[t] += (uint64_t)f.rate * places->count[t] / HEAT_PAGES;
		}
	}
	if (!f.rate || v->slowest == PLAN_ABSENT)
		return;
	accesses = heat_accesses(f.rate, plan_horizon(r, f.steady));
	cost = pages == HEAT_PAGES ? r->granule_cost : plan_cost(r, pages);
	for (unsigned t = 0; t < r->n_tiers; t++) {
		if (v->allow >> t & 1 && accesses * (v->base[v->slowest] - v->base[t]) > cost)
			share_of(r, v->region->account, t)->warm += pages;
	}
}

/*
 * How much forecasts change from one run to the next, by all that they say, averaged over some eight runs: what held will
 * hold; what changes all the time will be wrong the next time too. Below 2^63: 2^31 granules of 2^32.
 */
static void learn_error(struct plan_granule *first, uint64_t change, uint64_t sum)
{
	uint32_t now;

	if (!sum)
		return;
	now = (uint32_t)(change / (sum / 256 + 1));
	first->error = (uint8_t)((7 * first->error + (now < 255 ? now : 255)) / 8);
}

static void first_pass(struct run *r)
{
	uint64_t change, sum;
	struct view v;

	for (uint32_t i = 0; i < r->in->n_regions; i++) {
		if (!plan_view(r, &v, i)) {
			if (r->in->regions[i].pages)
				plan_tell(r, PLAN_BAD_REGION, i, PLAN_ABSENT,
					  r->in->regions[i].pages);
			continue;
		}
		r->s->active[v.region->account] = 1;
		change = sum = 0;
		for (uint32_t g = 0; g < v.granules; g++) {
			if (!count_idle(r, &v, v.region->first + g))
				count_granule(r, &v, v.region->first + g, &change, &sum);
		}
		learn_error(&r->p->granules[v.region->first], change, sum);
	}
}

/* Traffic: of heat, 64 bytes an access; where some tiers' is measured, all are scaled to that. */
static void measure_load(struct run *r)
{
	uint64_t estimated = 0, measured = 0;

	for (unsigned t = 0; t < r->n_tiers; t++) {
		/* Rate × 64 / HEAT_RATE_ONE bytes a second; then KB. */
		r->traffic[t] = r->traffic[t] * 64 / HEAT_RATE_ONE / 1000;
		if (r->in->tiers[t].load_mbs) {
			estimated += r->traffic[t];
			measured += (uint64_t)r->in->tiers[t].load_mbs * 1000;
		}
	}
	r->traffic_scale = 256;
	if (measured && estimated) {
		measured = measured * 256 / estimated;
		r->traffic_scale = measured < 1u << 24 ? (uint32_t)measured : 1u << 24;
	}
	for (unsigned t = 0; t < r->n_tiers; t++) {
		uint32_t load = r->in->tiers[t].load_mbs;

		r->traffic[t] = load ? (uint64_t)load * 1000
				     : r->traffic[t] * r->traffic_scale / 256;
		plan_load(r, t);
	}
}

/* Lists of equal size for all accounts that have something. */
static void make_lists(struct run *r)
{
	struct plan_scratch *s = r->s;
	uint32_t active = 0, at = 0;

	for (uint32_t a = 0; a < r->in->n_accounts; a++)
		active += s->active[a];
	if (!active)
		return;
	r->list_size = s->n_entries / (active * (r->n_tiers + 1));
	for (uint32_t a = 0; a < r->in->n_accounts; a++) {
		for (unsigned t = 0; t < r->n_tiers; t++) {
			share_of(r, a, t)->victims.start = at;
			at += s->active[a] ? r->list_size : 0;
		}
	}
	/* All accounts' wishes one after the other: fulfil_all(). */
	for (uint32_t a = 0; a < r->in->n_accounts; a++) {
		s->wishes[a].start = at;
		at += s->active[a] ? r->list_size : 0;
	}
}

int plan_run(struct plan *p, const struct heat *h, const struct plan_input *in,
	     struct plan_move *moves, uint32_t max_moves, struct plan_result *ret)
{
	struct run r = {
		.p = p,
		.h = h,
		.in = in,
		.s = p->scratch,
		.ret = ret,
		.moves = moves,
		.max_moves = max_moves,
		.budget = in->budget_pages,
		.n_tiers = in->n_tiers,
		.copy_mbs = in->copy_mbs ? in->copy_mbs : 2000,
		.fixed_ns = in->fixed_ns ? in->fixed_ns : 5000,
	};

	if (!in->n_accounts || in->n_accounts > p->config.accounts || !in->n_tiers ||
	    in->n_tiers > p->config.tiers || !in->n_initiators ||
	    in->n_initiators > PLAN_MAX_INITIATORS || h->count != p->config.granules ||
	    h->n_splits != p->config.splits)
		return -EINVAL;
	*ret = (struct plan_result){};
	advance(p, in->clock_ms);
	for (uint32_t i = 0; i < in->n_accounts * in->n_tiers; i++)
		p->scratch->shares[i] = (struct plan_share){};
	for (uint32_t a = 0; a < in->n_accounts; a++) {
		p->scratch->active[a] = 0;
		p->scratch->wishes[a] = (struct plan_list){};
	}

	r.granule_cost = plan_cost(&r, HEAT_PAGES);
	set_up_tiers(&r);
	plan_parents(&r);
	first_pass(&r);
	measure_load(&r);
	plan_limits(&r);
	plan_shares(&r);
	for (unsigned t = 0; t < r.n_tiers; t++) {
		for (uint32_t a = 0; a < in->n_accounts; a++)
			ret->used[t] += share_of(&r, a, t)->own;
	}
	make_lists(&r);
	plan_exchange(&r);

	if (h->n_splits)
		p->page_cursor = (p->page_cursor + PAGE_GRANULES) % h->n_splits;
	for (unsigned t = 0; t < r.n_tiers; t++) {
		ret->stretch[t] = r.stretch[t];
		ret->traffic_mbs[t] = (uint32_t)(r.traffic[t] / 1000);
	}
	return 0;
}
