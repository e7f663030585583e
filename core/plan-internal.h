/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_PLAN_INTERNAL_H
#define MORSEL_CORE_PLAN_INTERNAL_H

#include "plan.h"

#define NONE 0xffffffffu

/* A granule, or those of its pages that a run is about, by ns per page. */
struct plan_entry {
	uint64_t value;
	uint32_t granule, region;
};

/* Of a list of plan_entry: the first is the worst of it, see plan_offer(). */
struct plan_list {
	uint32_t start, count;
};

struct plan_share {
	uint64_t own, all;	   /* pages used by the account itself; with those below it */
	uint64_t warm;		   /* own pages for which this tier would pay */
	uint64_t claim, sub_claim; /* of them, those that no better tier has; with those below it */
	uint64_t due, sub_due;	   /* what it may have of the tier when all want it */
	uint64_t limit, low;	   /* of it and those below it: the lower of Max and High; Low */
	struct plan_list victims;  /* its granules there that would be missed least, least last */
};

struct plan_scratch {
	/* [account * tiers + tier] */
	struct plan_share *shares;
	struct plan_list *wishes;	    /* [account]: those that gain most elsewhere */
	uint32_t *parent, *child, *sibling; /* [account]; [accounts]: the root of all */
	uint8_t *active;		    /* [account]: has regions */
	uint32_t *donors;		    /* [account] */
	struct plan_entry *entries;
	uint32_t n_entries;
};

/* One run. */
struct run {
	struct plan *p;
	const struct heat *h;
	const struct plan_input *in;
	struct plan_scratch *s;
	struct plan_result *ret;
	struct plan_move *moves;
	uint32_t max_moves;
	uint64_t budget;
	uint32_t n_tiers;
	uint32_t usable;		/* bit t: latency known, not offline */
	uint32_t open;			/* bit t: takes moves */
	uint32_t order[PLAN_MAX_TIERS]; /* nearest first */
	uint64_t free[PLAN_MAX_TIERS];
	uint64_t bandwidth[PLAN_MAX_TIERS]; /* MB/s; 0: unknown */
	uint64_t traffic[PLAN_MAX_TIERS];   /* KB/s */
	uint32_t traffic_scale;		    /* measured by estimated × 256 */
	uint32_t stretch[PLAN_MAX_TIERS];   /* × 256 */
	uint32_t list_size;
	uint32_t copy_mbs, fixed_ns;
	uint64_t granule_cost; /* plan_cost() of a whole one */
};

/* What a run needs to know of a region. */
struct view {
	const struct plan_region *region;
	uint32_t index;
	uint32_t granules;
	uint32_t allow;			  /* usable tiers only */
	uint32_t base[PLAN_MAX_TIERS];	  /* latency, unloaded */
	uint32_t latency[PLAN_MAX_TIERS]; /* loaded */
	uint32_t error;			  /* twice how wrong forecasts were, of 256; at most that */
	uint32_t slowest;		  /* allowed tier */
	uint32_t down[PLAN_MAX_TIERS]; /* where what must leave a tier goes; PLAN_ABSENT: nowhere */
};

static inline struct plan_share *share_of(const struct run *r, uint32_t account, unsigned tier)
{
	return &r->s->shares[account * r->n_tiers + tier];
}

/* Pages of a granule of the region; the last may be cut off. */
static inline uint32_t granule_pages(const struct plan_region *region, uint32_t granule)
{
	uint32_t left = region->pages - (granule - region->first) * HEAT_PAGES;

	return left < HEAT_PAGES ? left : HEAT_PAGES;
}

#define PLAN_BUSY 128u

/* plan.c */
void plan_tell(struct run *r, enum plan_fault fault, uint32_t index, unsigned tier, uint64_t pages);
bool plan_view(const struct run *r, struct view *v, uint32_t region);
unsigned plan_next(const struct run *r, const struct view *v, unsigned tier, uint64_t pages);
void plan_load(struct run *r, unsigned tier);
uint32_t plan_horizon(const struct run *r, uint32_t steady);
/* The granule's pages, if they are to be looked at one by one. */
const struct heat_split *plan_pages(const struct run *r, const struct plan_region *region,
				    uint32_t granule);
/* Whether it lies in several tiers; and the tier of each page: bit t of the result: some are in t. */
bool plan_is_mixed(const struct run *r, uint32_t granule);
uint32_t plan_page_tiers(const struct run *r, uint32_t granule, uint8_t *ret_tiers);

/* plan-share.c */
void plan_parents(struct run *r);
void plan_limits(struct run *r);
void plan_shares(struct run *r);
/*
 * The account whose limit does not allow so many pages more: account, or the first such one above it. What goes from
 * anywhere below that one makes room there and in all above. NONE: they are within limits.
 */
uint32_t plan_limited_by(const struct run *r, uint32_t account, unsigned tier, uint64_t pages);
/* In the tier, and within limits. */
bool plan_has_room(const struct run *r, uint32_t account, unsigned tier, uint64_t pages);

/* plan-exchange.c */
uint64_t plan_cost(const struct run *r, uint64_t pages);
uint64_t plan_brake(const struct run *r, uint32_t granule, uint64_t cost);
void plan_exchange(struct run *r);

/* plan-heap.c. A list of the least values offered, at most size of them. */
void plan_offer(struct plan_entry *entries, struct plan_list *list, uint32_t size,
		struct plan_entry e);
/* Greatest last. */
void plan_sort(struct plan_entry *entries, uint32_t count);

#endif
