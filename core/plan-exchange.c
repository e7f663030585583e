/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "plan-internal.h"

/* Values of what must leave: before all that only gains. */
#define MUST (1ull << 63)
#define PRICE_MAX (1ull << 62)
/* A move of pages can need the places of several victims; more are left for the next run. */
#define MAX_VICTIMS 8u

/* The pages of a granule, where they are looked at one by one. */
struct pages {
	uint32_t rate[HEAT_PAGES];
	uint8_t tier[HEAT_PAGES];
	uint32_t tiers; /* bit t: some are in t */
};

/* What is to be moved: a granule, or those of its pages in one tier that are picked. */
struct load {
	uint32_t granule;
	uint32_t pages;
	uint32_t rate, steady;
	unsigned from;
	const struct pages *of; /* NULL: the whole granule */
	uint64_t picked[HEAT_WORDS];
};

static uint64_t accesses_of(const struct run *r, uint32_t rate, uint32_t steady)
{
	return heat_accesses(rate, plan_horizon(r, steady));
}

static int64_t gain_of(const struct run *r, const struct view *v, const struct load *l, unsigned to)
{
	return (int64_t)accesses_of(r, l->rate, l->steady) *
	       ((int64_t)v->latency[l->from] - (int64_t)v->latency[to]);
}

/* How much of that may not come true: what counting leaves open, and how wrong forecasts were lately. */
static int64_t doubt_of(const struct run *r, const struct view *v, const struct load *l,
			unsigned to)
{
	uint64_t accesses = accesses_of(r, heat_doubt(r->h, l->rate), l->steady) +
			    accesses_of(r, l->rate, l->steady) * v->error / 256;
	int64_t nearer = (int64_t)v->latency[l->from] - (int64_t)v->latency[to];

	return (int64_t)accesses * (nearer < 0 ? -nearer : nearer);
}

/* KB/s */
static uint64_t traffic_of(const struct run *r, const struct load *l)
{
	return (uint64_t)l->rate * 64 / HEAT_RATE_ONE / 1000 * r->traffic_scale / 256;
}

/* What it loses because the other tier is more loaded once it is there. */
static int64_t crowding_of(struct run *r, const struct view *v, const struct load *l, unsigned to)
{
	uint64_t was = r->traffic[to], more;

	r->traffic[to] += traffic_of(r, l);
	plan_load(r, to);
	more = (uint64_t)v->base[to] * r->stretch[to] >> 8;
	r->traffic[to] = was;
	plan_load(r, to);
	more = more > v->latency[to] ? more - v->latency[to] : 0;
	return (int64_t)(accesses_of(r, l->rate, l->steady) * more);
}

/* ---- room and limits --------------------------------------------------------------------------------- */

static bool is_below(const struct run *r, uint32_t account, uint32_t top)
{
	while (account != r->in->n_accounts && account != top)
		account = r->s->parent[account];
	return account == top;
}

static void charge(struct run *r, uint32_t account, unsigned tier, uint64_t pages)
{
	share_of(r, account, tier)->own += pages;
	for (uint32_t a = account; a != r->in->n_accounts; a = r->s->parent[a])
		share_of(r, a, tier)->all += pages;
}

/* May pages be taken from account donor for account: is nobody's Low hurt who does not have both below it? */
static bool unprotected(const struct run *r, uint32_t donor, uint32_t account, unsigned tier,
			uint64_t pages)
{
	for (uint32_t a = donor; a != r->in->n_accounts; a = r->s->parent[a]) {
		const struct plan_share *x = share_of(r, a, tier);

		if (x->low && x->all < x->low + pages && !is_below(r, account, a))
			return false;
	}
	return true;
}

/* ---- pages of a granule ------------------------------------------------------------------------------ */

static bool picked(const struct load *l, unsigned page)
{
	return l->picked[page / 64] >> (page % 64) & 1;
}

static void pick(struct load *l, unsigned page)
{
	uint64_t rate = (uint64_t)l->rate + l->of->rate[page];

	l->picked[page / 64] |= 1ull << (page % 64);
	l->pages++;
	l->rate = rate < 0xffffffffu ? (uint32_t)rate : 0xffffffffu;
}

static void pick_all(struct load *l)
{
	for (unsigned i = 0; i < HEAT_PAGES; i++) {
		if (l->of->tier[i] == l->from)
			pick(l, i);
	}
}

/* Of the pages in tier from, those not above their mean. */
static void pick_cold(struct load *l)
{
	uint64_t sum = 0, n = 0;

	for (unsigned i = 0; i < HEAT_PAGES; i++) {
		if (l->of->tier[i] == l->from) {
			sum += l->of->rate[i];
			n++;
		}
	}
	for (unsigned i = 0; n && i < HEAT_PAGES; i++) {
		if (l->of->tier[i] == l->from && l->of->rate[i] <= sum / n)
			pick(l, i);
	}
}

/* Of the pages in tier from, those that gain more in tier to than they cost, at price (ns a page). */
static void pick_hot(const struct run *r, const struct view *v, unsigned to, uint64_t price,
		     struct load *l)
{
	uint64_t cost = plan_brake(r, l->granule, plan_cost(r, 1)) + price;
	uint64_t nearer = v->latency[l->from] - v->latency[to];

	for (unsigned i = 0; i < HEAT_PAGES; i++) {
		if (l->of->tier[i] == l->from && l->of->rate[i] &&
		    accesses_of(r, l->of->rate[i], l->steady) * nearer > cost)
			pick(l, i);
	}
}

static unsigned runs_of(const struct load *l)
{
	unsigned n = 0;

	for (unsigned i = 0; l->of && i < HEAT_PAGES; i++)
		n += picked(l, i) && (!i || !picked(l, i - 1));
	return l->of ? n : 1;
}

static uint64_t load_cost(const struct run *r, const struct load *l)
{
	return plan_cost(r, l->pages) + (runs_of(l) - 1) * (uint64_t)r->fixed_ns;
}

static uint64_t braked_cost(const struct run *r, const struct load *l)
{
	return plan_brake(r, l->granule, load_cost(r, l));
}

/* ---- moves ------------------------------------------------------------------------------------------- */

static void emit_run(struct run *r, const struct view *v, const struct load *l, unsigned page,
		     unsigned pages, unsigned to, enum plan_reason reason)
{
	const struct plan_granule *g = &r->p->granules[l->granule];
	struct load part = *l;
	struct plan_move *m = &r->moves[r->ret->moves++];

	if (l->of) {
		part.rate = 0;
		for (unsigned i = page; i < page + pages; i++)
			pick(&part, i);
	}
	*m = (struct plan_move){
		.region = v->index,
		.granule = l->granule,
		.page = (uint16_t)page,
		.pages = (uint16_t)pages,
		.whole = !l->of,
		.from = (uint8_t)l->from,
		.to = (uint8_t)to,
		.reason = (uint8_t)reason,
		.moves = (uint8_t)(g->moves & ~PLAN_BUSY),
		.rate = part.rate,
		.steady = l->steady,
		.latency_from_ns = v->latency[l->from],
		.latency_to_ns = v->latency[to],
		.horizon_ms = plan_horizon(r, l->steady),
		.cost_ns = plan_cost(r, pages),
	};
	m->gain_ns = gain_of(r, v, &part, to) - (int64_t)m->cost_ns;
	r->ret->gain_ns += m->gain_ns;
	r->ret->pages += pages;
}

static bool has_budget(struct run *r, uint64_t pages, unsigned moves)
{
	if (pages <= r->budget && moves <= r->max_moves - r->ret->moves)
		return true;
	r->ret->more = true;
	return false;
}

/* The caller has seen that there are room and budget. */
static void emit(struct run *r, const struct view *v, const struct load *l, unsigned to,
		 enum plan_reason reason)
{
	uint64_t kbs = traffic_of(r, l);
	uint32_t account = v->region->account;

	if (!l->of)
		emit_run(r, v, l, 0, l->pages, to, reason);
	for (unsigned i = 0, start; l->of && i < HEAT_PAGES; i++) {
		for (start = i; i < HEAT_PAGES && picked(l, i); i++)
			;
		if (i > start)
			emit_run(r, v, l, start, i - start, to, reason);
	}
	r->budget -= l->pages;
	r->free[to] -= l->pages;
	r->free[l->from] += l->pages;
	charge(r, account, to, l->pages);
	charge(r, account, l->from, -(uint64_t)l->pages);
	r->traffic[to] += kbs;
	r->traffic[l->from] -= kbs < r->traffic[l->from] ? kbs : r->traffic[l->from];
	plan_load(r, to);
	plan_load(r, l->from);
	r->p->granules[l->granule].moves |= PLAN_BUSY;
}

/* ---- lists: the second and third pass ---------------------------------------------------------------- */

/*
 * A granule, or, of one whose pages are looked at, none of those in tier from yet; false: it is not to be moved now.
 * buffer: for its pages.
 */
static bool load_init(const struct run *r, const struct view *v, uint32_t granule, unsigned from,
		      struct pages *buffer, struct load *l)
{
	const struct plan_granule *g = &r->p->granules[granule];
	const struct heat_split *s;

	*l = (struct load){
		.granule = granule,
		.pages = granule_pages(v->region, granule),
		.rate = heat_unpack(g->rate),
		.steady = g->steady,
		.from = from,
	};
	if (g->moves & PLAN_BUSY || v->region->migrate == PLAN_MIGRATE_OFF ||
	    !(r->usable >> from & 1))
		return false;
	if (!heat_has_split(r->h, granule))
		return g->tier == from;
	s = heat_split_of(r->h, granule);
	if (!plan_pages(r, v->region, granule))
		/* In several tiers: its turn comes later. */
		return g->tier == from && !s->kept;
	heat_page_rates(r->h, s, buffer->rate);
	buffer->tiers = plan_page_tiers(r, granule, buffer->tier);
	l->of = buffer;
	l->pages = l->rate = 0;
	return true;
}

static void offer_victim(struct run *r, const struct view *v, uint32_t granule, unsigned tier)
{
	unsigned down = v->down[tier];
	struct pages buffer;
	struct load l;
	int64_t loss;

	if (down == PLAN_ABSENT || !load_init(r, v, granule, tier, &buffer, &l))
		return;
	if (l.of)
		pick_cold(&l);
	if (!l.pages)
		return;
	loss = -gain_of(r, v, &l, down);
	plan_offer(r->s->entries, &share_of(r, v->region->account, tier)->victims, r->list_size,
		   (struct plan_entry){
			   .value =
				   ((loss > 0 ? (uint64_t)loss : 0) + braked_cost(r, &l)) / l.pages,
			   .granule = granule,
			   .region = v->index,
		   });
}

/* The tiers that the granule, or some of its pages, may be in. */
static uint32_t tiers_of(const struct run *r, uint32_t granule)
{
	unsigned tier = r->p->granules[granule].tier;

	if (!heat_has_split(r->h, granule))
		return tier < r->n_tiers ? 1u << tier : 0;
	return plan_is_mixed(r, granule) ? (1u << r->n_tiers) - 1
	       : tier < r->n_tiers	 ? 1u << tier
					 : 0;
}

/*
 * Most granules would not get into a list, and that can be seen without looking closely. This one's value is at least
 * what its move costs.
 */
static bool can_be_victim(const struct run *r, const struct view *v, uint32_t granule)
{
	const struct plan_granule *g = &r->p->granules[granule];
	const struct plan_list *list;
	uint64_t least = r->granule_cost / HEAT_PAGES;
	unsigned down;

	if (heat_has_split(r->h, granule))
		return true;
	if (g->tier >= r->n_tiers)
		return false;
	down = v->down[g->tier];
	if (down == PLAN_ABSENT)
		return false;
	list = &share_of(r, v->region->account, g->tier)->victims;
	if (list->count < r->list_size)
		return true;
	if (g->rate && v->latency[down] > v->latency[g->tier])
		/* Of a whole one; fewer pages have more each. */
		least = (accesses_of(r, heat_unpack(g->rate), g->steady) *
				 (v->latency[down] - v->latency[g->tier]) +
			 r->granule_cost) /
			HEAT_PAGES;
	return r->list_size && least < r->s->entries[list->start].value;
}

static void second_pass(struct run *r)
{
	struct view v;

	for (uint32_t i = 0; i < r->in->n_regions; i++) {
		if (!plan_view(r, &v, i))
			continue;
		for (uint32_t g = v.region->first; g < v.region->first + v.granules; g++) {
			uint32_t tiers = can_be_victim(r, &v, g) ? tiers_of(r, g) : 0;

			for (unsigned t = 0; tiers >> t; t++) {
				if (tiers >> t & 1)
					offer_victim(r, &v, g, t);
			}
		}
	}
	for (uint32_t a = 0; a < r->in->n_accounts; a++) {
		for (unsigned t = 0; t < r->n_tiers; t++) {
			struct plan_list *list = &share_of(r, a, t)->victims;

			plan_sort(r->s->entries + list->start, list->count);
		}
	}
}

/* What a page of the tier costs an account beyond the move: nothing, or the least of its own that must go. */
static uint64_t price_of(const struct run *r, uint32_t account, unsigned tier, uint64_t pages)
{
	const struct plan_share *x = share_of(r, account, tier);

	if (x->own + pages <= x->due || plan_has_room(r, account, tier, pages))
		return 0;
	return x->victims.count ? r->s->entries[x->victims.start].value : PRICE_MAX;
}

static void prices_of(const struct run *r, const struct view *v, uint64_t *prices)
{
	for (unsigned t = 0; t < r->n_tiers; t++)
		prices[t] = (v->allow & r->open) >> t & 1
				    ? price_of(r, v->region->account, t, HEAT_PAGES)
				    : PRICE_MAX;
}

/* The best other tier at these prices; *ret: what a page gains there. PLAN_ABSENT: none. */
static unsigned best_tier(const struct run *r, const struct view *v, const uint64_t *prices,
			  uint32_t tried, struct load *l, int64_t *ret)
{
	unsigned best = PLAN_ABSENT;
	struct load best_load = *l;

	*ret = 0;
	for (unsigned t = 0; t < r->n_tiers; t++) {
		struct load part = *l;
		int64_t gain;

		if (t == l->from || prices[t] >= PRICE_MAX || tried >> t & 1 ||
		    v->latency[t] >= v->latency[l->from])
			continue;
		if (l->of)
			pick_hot(r, v, t, prices[t], &part);
		if (!part.pages)
			continue;
		gain = gain_of(r, v, &part, t) - (int64_t)braked_cost(r, &part);
		gain = gain / (int64_t)part.pages - (int64_t)prices[t];
		if (gain > *ret) {
			*ret = gain;
			best = t;
			best_load = part;
		}
	}
	*l = best_load;
	return best;
}

static bool merges(const struct run *r, const struct view *v, uint32_t granule)
{
	const struct heat_split *s = heat_split_of(r->h, granule);

	return s && s->kept && (s->state == HEAT_SPLIT_EVEN || !v->region->by_page) &&
	       v->region->migrate != PLAN_MIGRATE_OFF;
}

/* How much a page of the granule gains at most by leaving tier; 0: it should not. */
static uint64_t wish_value(struct run *r, const struct view *v, uint32_t granule, unsigned tier,
			   const uint64_t *prices)
{
	struct pages buffer;
	struct load l;
	int64_t gain;

	if (!load_init(r, v, granule, tier, &buffer, &l))
		return 0;
	/* The hottest first: they find the best places. */
	if (r->in->tiers[tier].state == PLAN_DRAINING)
		return MUST + accesses_of(r, l.rate, l.steady);
	if (!l.of && !l.rate)
		return 0;
	if (best_tier(r, v, prices, 0, &l, &gain) == PLAN_ABSENT)
		return 0;
	return (uint64_t)gain;
}

static void offer_wish(struct run *r, const struct view *v, uint32_t granule,
		       const uint64_t *prices)
{
	uint32_t tiers = tiers_of(r, granule);
	uint64_t value = merges(r, v, granule);

	for (unsigned t = 0; tiers >> t; t++) {
		uint64_t here = tiers >> t & 1 ? wish_value(r, v, granule, t, prices) : 0;

		value = here > value ? here : value;
	}
	if (!value)
		return;
	r->ret->wanted++;
	/* The list keeps the least. */
	plan_offer(r->s->entries, &r->s->wishes[v->region->account], r->list_size,
		   (struct plan_entry){ .value = ~value, .granule = granule, .region = v->index });
}

/* Nor would most gain anything: without a brake, would this one at these prices? */
static bool can_wish(const struct run *r, const struct view *v, uint32_t granule,
		     const uint64_t *prices)
{
	const struct plan_granule *g = &r->p->granules[granule];
	uint64_t accesses;

	if (heat_has_split(r->h, granule))
		return true;
	if (g->tier >= r->n_tiers)
		return false;
	if (r->in->tiers[g->tier].state == PLAN_DRAINING)
		return true;
	if (!g->rate)
		return false;
	accesses = accesses_of(r, heat_unpack(g->rate), g->steady);
	for (unsigned t = 0; t < r->n_tiers; t++) {
		uint64_t gain, pages = HEAT_PAGES;

		if (prices[t] >= PRICE_MAX || v->latency[t] >= v->latency[g->tier])
			continue;
		gain = accesses * (v->latency[g->tier] - v->latency[t]);
		if (gain > prices[t] * pages + r->granule_cost)
			return true;
		/* At a region's end there are fewer pages, and they cost less. */
		pages = granule_pages(v->region, granule);
		if (pages < HEAT_PAGES && gain > prices[t] * pages)
			return true;
	}
	return false;
}

static void third_pass(struct run *r)
{
	uint64_t prices[PLAN_MAX_TIERS];
	struct view v;

	for (uint32_t i = 0; i < r->in->n_regions; i++) {
		if (!plan_view(r, &v, i))
			continue;
		prices_of(r, &v, prices);
		for (uint32_t g = v.region->first; g < v.region->first + v.granules; g++) {
			if (can_wish(r, &v, g, prices))
				offer_wish(r, &v, g, prices);
		}
	}
}

/* ---- exchange ---------------------------------------------------------------------------------------- */

/* Of those below limit (NONE: of all) the account that has most above its due of the tier, and victims; NONE. */
static uint32_t find_donor(const struct run *r, uint32_t account, unsigned tier, uint32_t limit)
{
	uint64_t most = 0;
	uint32_t donor = NONE;

	for (uint32_t a = 0; a < r->in->n_accounts; a++) {
		const struct plan_share *x = share_of(r, a, tier);

		if (a != account && x->victims.count && x->own > x->due && x->own - x->due > most &&
		    (limit == NONE || is_below(r, a, limit)) &&
		    unprotected(r, a, account, tier, HEAT_PAGES)) {
			most = x->own - x->due;
			donor = a;
		}
	}
	return donor;
}

/* The first victim of a list that is still there; false: none left. */
static bool first_victim(struct run *r, struct plan_list *list, unsigned tier, struct view *v,
			 struct pages *buffer, struct load *l)
{
	for (; list->count; list->start++, list->count--) {
		const struct plan_entry *e = &r->s->entries[list->start];

		if (!plan_view(r, v, e->region) || !load_init(r, v, e->granule, tier, buffer, l))
			continue;
		if (l->of)
			pick_cold(l);
		if (l->pages)
			return true;
	}
	return false;
}

static void drop_victim(struct plan_list *list)
{
	list->start++;
	list->count--;
}

/*
 * Make room in tier for pages of account: by victims of its own, that together are worth less than worth (ns), or by
 * those of an account that has more than its due. Emits their moves; returns what they cost, or -1.
 */
static int64_t make_room(struct run *r, uint32_t account, unsigned tier, uint64_t pages,
			 unsigned moves, int64_t worth, enum plan_reason *ret_reason)
{
	const struct plan_share *x = share_of(r, account, tier);
	int64_t spent = 0;

	*ret_reason = PLAN_BETTER;
	for (unsigned n = 0; n < MAX_VICTIMS && !plan_has_room(r, account, tier, pages); n++) {
		uint32_t limit = plan_limited_by(r, account, tier, pages);
		uint32_t donor = x->own + pages <= x->due ? find_donor(r, account, tier, limit)
							  : NONE;
		struct plan_list *list =
			&share_of(r, donor != NONE ? donor : account, tier)->victims;
		struct pages buffer;
		struct load l;
		struct view v;
		unsigned to;
		int64_t cost;

		if (!first_victim(r, list, tier, &v, &buffer, &l))
			return -1;
		to = plan_next(r, &v, tier, l.pages);
		/* What the owner loses, and that it was moved lately, does not count where it has more than its due. */
		cost = (int64_t)load_cost(r, &l);
		if (donor == NONE && to != PLAN_ABSENT) {
			int64_t loss = -gain_of(r, &v, &l, to);

			cost = (int64_t)braked_cost(r, &l) + (loss > 0 ? loss : 0) +
			       doubt_of(r, &v, &l, to);
		}
		/* The first of a list, and there is no place for it: the next one. */
		if (to == PLAN_ABSENT) {
			drop_victim(list);
			continue;
		}
		if (spent + cost >= worth || !has_budget(r, l.pages + pages, runs_of(&l) + moves))
			return -1;
		emit(r, &v, &l, to, donor != NONE ? PLAN_SHARE : PLAN_ROOM);
		drop_victim(list);
		spent += cost;
		if (donor != NONE)
			*ret_reason = PLAN_SHARE;
	}
	return plan_has_room(r, account, tier, pages) ? spent : -1;
}

/* Of a tier that is emptied: to the best tier that has room, whatever it costs. */
static void evacuate(struct run *r, const struct view *v, struct load *l)
{
	unsigned best = PLAN_ABSENT;

	if (l->of)
		pick_all(l);
	for (unsigned t = 0; t < r->n_tiers; t++) {
		if ((v->allow & r->open) >> t & 1 && t != l->from &&
		    plan_has_room(r, v->region->account, t, l->pages) &&
		    (best == PLAN_ABSENT || v->latency[t] < v->latency[best]))
			best = t;
	}
	if (best == PLAN_ABSENT)
		plan_tell(r, PLAN_NOWHERE, v->region->account, l->from, l->pages);
	else if (l->pages && has_budget(r, l->pages, runs_of(l)))
		emit(r, v, l, best, PLAN_DRAIN);
}

static void merge(struct run *r, const struct view *v, uint32_t granule)
{
	const struct heat_split *s = heat_split_of(r->h, granule);
	unsigned to = r->p->granules[granule].tier;
	struct pages buffer;

	if (to >= r->n_tiers || !((v->allow & r->open) >> to & 1))
		return;
	heat_page_rates(r->h, s, buffer.rate);
	buffer.tiers = plan_page_tiers(r, granule, buffer.tier);
	for (unsigned t = 0; t < r->n_tiers; t++) {
		struct load l = { .granule = granule, .from = t, .of = &buffer };

		if (t == to || !(buffer.tiers & r->usable & 1u << t))
			continue;
		pick_all(&l);
		if (plan_has_room(r, v->region->account, to, l.pages) &&
		    has_budget(r, l.pages, runs_of(&l)))
			emit(r, v, &l, to, PLAN_MERGE);
	}
}

/* A load from one tier: to the best that can be had. */
static void fulfil(struct run *r, struct view *v, uint32_t granule, unsigned tier)
{
	uint64_t prices[PLAN_MAX_TIERS];
	uint32_t tried = 0;
	struct pages buffer;
	struct load whole;

	if (!load_init(r, v, granule, tier, &buffer, &whole))
		return;
	if (r->in->tiers[tier].state == PLAN_DRAINING) {
		evacuate(r, v, &whole);
		return;
	}
	prices_of(r, v, prices);
	for (;;) {
		enum plan_reason reason = PLAN_HOT;
		struct load l = whole;
		int64_t each, worth;
		unsigned to = best_tier(r, v, prices, tried, &l, &each);

		if (to == PLAN_ABSENT)
			return;
		tried |= 1u << to;
		if (!has_budget(r, l.pages, runs_of(&l)))
			return;
		worth = gain_of(r, v, &l, to) - (int64_t)braked_cost(r, &l) -
			crowding_of(r, v, &l, to);
		if (worth <= 0)
			continue;
		if (!plan_has_room(r, v->region->account, to, l.pages)) {
			if (make_room(r, v->region->account, to, l.pages, runs_of(&l),
				      worth - doubt_of(r, v, &l, to), &reason) < 0)
				continue;
		}
		if (v->base[to] > v->base[tier])
			reason = PLAN_SPREAD;
		emit(r, v, &l, to, reason);
		return;
	}
}

static void fulfil_all(struct run *r)
{
	struct plan_entry *wishes = r->s->entries + r->s->wishes[0].start;
	uint32_t n = 0;
	struct view v;

	/* The lists of all accounts lie one after the other: move them together, and sort them as one. */
	for (uint32_t a = 0; a < r->in->n_accounts; a++) {
		const struct plan_list *list = &r->s->wishes[a];

		for (uint32_t i = 0; i < list->count; i++)
			wishes[n++] = r->s->entries[list->start + i];
	}
	plan_sort(wishes, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t g = wishes[i].granule, tiers = tiers_of(r, g);

		if (!r->budget || r->ret->moves == r->max_moves) {
			r->ret->more = true;
			return;
		}
		if (!plan_view(r, &v, wishes[i].region))
			continue;
		if (merges(r, &v, g)) {
			merge(r, &v, g);
			continue;
		}
		for (unsigned t = 0; tiers >> t; t++) {
			if (tiers >> t & 1)
				fulfil(r, &v, g, t);
		}
	}
}

/* ---- limits that are exceeded ------------------------------------------------------------------------ */

/* By how much is the account, or one above it, over its limit in the tier? */
static uint64_t excess_of(const struct run *r, uint32_t account, unsigned tier,
			  enum plan_reason *ret_reason)
{
	uint64_t most = 0;

	*ret_reason = PLAN_OVER_HIGH;
	for (uint32_t a = account; a != r->in->n_accounts; a = r->s->parent[a]) {
		const struct plan_share *x = share_of(r, a, tier);

		if (x->all <= x->limit)
			continue;
		if (x->all - x->limit > most)
			most = x->all - x->limit;
		if (x->all > r->in->accounts[a].max[tier])
			*ret_reason = PLAN_OVER_MAX;
	}
	return most;
}

static void bring_down(struct run *r, uint32_t account, unsigned tier)
{
	struct plan_list *list = &share_of(r, account, tier)->victims;
	enum plan_reason reason;
	struct pages buffer;
	uint64_t excess;
	struct load l;
	struct view v;

	while ((excess = excess_of(r, account, tier, &reason)) > 0) {
		unsigned to;

		if (!first_victim(r, list, tier, &v, &buffer, &l)) {
			if (r->open >> tier & 1 && !list->start)
				plan_tell(r, PLAN_NOWHERE, account, tier, excess);
			return;
		}
		to = plan_next(r, &v, tier, l.pages);
		if (to == PLAN_ABSENT) {
			plan_tell(r, PLAN_NOWHERE, account, tier, excess);
			return;
		}
		if (!has_budget(r, l.pages, runs_of(&l)))
			return;
		emit(r, &v, &l, to, reason);
		drop_victim(list);
	}
}

void plan_exchange(struct run *r)
{
	second_pass(r);
	for (uint32_t a = 0; a < r->in->n_accounts; a++) {
		for (unsigned t = 0; r->s->active[a] && t < r->n_tiers; t++)
			bring_down(r, a, t);
	}
	third_pass(r);
	fulfil_all(r);
}
