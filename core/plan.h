/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_PLAN_H
#define MORSEL_CORE_PLAN_H

#include "heat.h"

/*
 * The planner: from heat, residency, tiers and budgets to a list of moves with reasons. docs/placement.md has the
 * model. There are no thresholds: a move is made if what it is expected to save is more than what it costs, in ns.
 *
 * Pure: no clock, no allocation, no floating point; one thread at a time. It keeps where each granule is, and
 * when it was moved; everything else the caller gives to each plan_run(). Memory is counted in pages
 * of 4 KiB. What a caller gives wrongly is left out and told as a problem; nothing is trusted to be consistent.
 *
 * The caller's loop: heat_advance(), heat_sample()…, plan_run(); carry the moves out, in their order;
 * plan_moved() for each that was done, in whole or in part; the next plan_run() only then.
 */

#define PLAN_MAX_TIERS 16u
#define PLAN_MAX_INITIATORS 16u /* nodes with CPUs */
#define PLAN_ABSENT 15u /* a granule's tier: nothing there, or not known. So at most 15 tiers */
#define PLAN_NO_LIMIT 0xffffffffffffffffull
#define PLAN_NO_PARENT 0xffffffffu

/* ---- what is given to each run: plain data, the caller's ------------------------------------------------ */

enum plan_state {
	PLAN_ONLINE,
	PLAN_DEGRADED, /* with memory errors: what is there stays, nothing is moved there */
	PLAN_DRAINING, /* is emptied */
	PLAN_OFFLINE,  /* nothing there can be moved */
	PLAN_STATES
};

struct plan_path {
	uint32_t latency_ns;	/* of reading, unloaded; 0: unknown. Above 1 ms counts as 1 ms */
	uint32_t bandwidth_mbs; /* 10^6 bytes a second; 0: unknown, and never saturated */
};

struct plan_tier {
	uint32_t state;	   /* enum plan_state */
	uint32_t load_mbs; /* measured traffic to it now; 0: unknown, and estimated from heat */
	uint64_t free;	   /* pages that may be filled: leave out what others are to have */
	struct plan_path from[PLAN_MAX_INITIATORS];
};

/*
 * A cgroup, or whatever budgets are for. Limits hold for the account with all below it; of pages, by tier.
 * Low: not taken for others up to there. High: what is above goes first, and is brought down. Max: never exceeded by
 * moves, and brought down. weight: of what is left, among the children of one parent; 0: 100.
 */
struct plan_account {
	uint32_t parent; /* index of an account before this one, or PLAN_NO_PARENT */
	uint32_t weight;
	uint64_t low[PLAN_MAX_TIERS];
	uint64_t high[PLAN_MAX_TIERS]; /* PLAN_NO_LIMIT: none */
	uint64_t max[PLAN_MAX_TIERS];
	uint64_t other[PLAN_MAX_TIERS]; /* charged to itself, and in no region: is not moved */
};
/* Without limits, below parent. */
void plan_account_init(struct plan_account *a, uint32_t parent);

enum plan_migrate {
	PLAN_MIGRATE_ON,
	PLAN_MIGRATE_OFF, /* counted, never moved; not even from a draining tier */
};

/* A morsel, or a range of a process: granules that lie one after the other in heat's numbering. */
struct plan_region {
	uint32_t first;			    /* granule; regions do not overlap */
	uint32_t pages;			    /* 0: there is none, and the place is skipped */
	uint32_t account;		    /* index */
	uint32_t allow;			    /* bit t: may be in tier t. 0: anywhere */
	uint8_t migrate;		    /* enum plan_migrate */
	uint8_t by_page;		    /* pages may be moved one by one */
	uint8_t share[PLAN_MAX_INITIATORS]; /* how its accesses divide; all 0: all alike */
};

struct plan_input {
	const struct plan_region *regions;
	const struct plan_account *accounts; /* at least one */
	const struct plan_tier *tiers;
	uint32_t n_regions, n_accounts, n_tiers, n_initiators;
	uint64_t clock_ms; /* the caller's; may jump */
	uint64_t
		budget_pages; /* to move in this run, both ways together: the mover's rate, and its back-pressure */
	uint32_t copy_mbs; /* how fast a move copies, at most; 0: 2,000 */
	uint32_t fixed_ns; /* of one move, however small: call, page tables, flushes; 0: 5,000 */
};

/* ---- what comes out ------------------------------------------------------------------------------------- */

enum plan_reason {
	PLAN_HOT,    /* expected to be accessed enough there, and there is room */
	PLAN_BETTER, /* and takes the place of something that is accessed less */
	PLAN_SHARE,  /* its account has less than its share, and takes from one that has more */
	PLAN_ROOM,   /* makes room for the move that follows */
	PLAN_SPREAD, /* the nearer tier is so loaded that the other one answers sooner */
	PLAN_DRAIN,  /* its tier is being emptied */
	PLAN_OVER_MAX,
	PLAN_OVER_HIGH,
	PLAN_MERGE, /* heat is even again: the granule's pages come together */
	PLAN_REASONS
};
const char *plan_reason_name(enum plan_reason reason); /* "hot", …: stable, for JSON; "?" */
const char *plan_reason_text(enum plan_reason reason); /* a sentence's worth */

struct plan_move {
	uint32_t region;
	uint32_t granule;     /* heat's number */
	uint16_t page, pages; /* within the granule */
	uint8_t whole;	      /* all that the region has of it, else single pages */
	uint8_t from, to;     /* tiers */
	uint8_t reason;	      /* enum plan_reason */
	uint8_t moves;	      /* how often it has been moved lately */
	/* The inputs. */
	uint32_t rate;				 /* of these pages, as heat_forecast.rate */
	uint32_t steady;			 /* as heat_forecast.steady */
	uint32_t latency_from_ns, latency_to_ns; /* for those who use it, as loaded now */
	uint32_t horizon_ms;			 /* over which the gain is counted */
	uint64_t cost_ns;			 /* of this move */
	/*
	 * Expected: ns saved over the horizon, less the cost; negative where others gain more (ROOM) or it must be. A
	 * move that takes another's place is preceded by that one, with a gain of its own.
	 */
	int64_t gain_ns;
};

enum plan_fault {
	PLAN_BAD_REGION,  /* out of heat's range, or an account or tiers that do not exist: index */
	PLAN_BAD_ACCOUNT, /* parent does not come before it: treated as if it had none */
	PLAN_BAD_TIER,	  /* no latency is known from any initiator: left out */
	PLAN_LOW_MAX, /* Low above its own or an ancestor's Max or High: Low counts up to there */
	PLAN_LOW_SUM, /* siblings' Low are more than there is: each is protected in proportion */
	PLAN_NOWHERE, /* pages that must leave a tier, and have no allowed tier with room */
	PLAN_FAULTS
};
const char *plan_fault_text(enum plan_fault fault);

struct plan_problem {
	uint8_t fault;
	uint8_t tier;
	uint32_t index; /* of the account, or region */
	uint64_t pages; /* how many it is about, or by how much too many */
};

#define PLAN_MAX_PROBLEMS 16u

struct plan_result {
	uint32_t moves;
	uint64_t pages;	     /* in them */
	int64_t gain_ns;     /* sum */
	uint64_t wanted;     /* candidates seen: granules for which another tier would be better */
	uint32_t n_problems; /* all; the first ones are in problems */
	bool more;	     /* the budget or the list was full before the wishes were */
	uint64_t used[PLAN_MAX_TIERS];	      /* pages in regions, before the moves */
	uint32_t stretch[PLAN_MAX_TIERS];     /* loaded by unloaded latency × 256, after them */
	uint32_t traffic_mbs[PLAN_MAX_TIERS]; /* estimated or measured, after them */
	struct plan_problem problems[PLAN_MAX_PROBLEMS];
};

/* ---- the planner ---------------------------------------------------------------------------------------- */

struct plan_granule {
	uint16_t moved; /* seconds of the planner's time, of the last move; 0: long ago */
	uint8_t tier;	/* where most of it is; PLAN_ABSENT */
	uint8_t moves;	/* lately; PLAN_BUSY: and in this run already */
	uint16_t rate;	/* as forecast in the last run, packed */
	uint8_t steady;
	uint8_t error; /* of a region's first granule: how wrong its forecasts were, of 256 */
};
_Static_assert(sizeof(struct plan_granule) == 8, "metadata per granule");

/* Where the pages of a granule with a split in heat are. */
struct plan_split {
	uint32_t granule;
	uint16_t count[PLAN_MAX_TIERS]; /* pages in each tier */
	uint8_t tier[HEAT_PAGES / 2];	/* 4 bits each */
};
_Static_assert(sizeof(struct plan_split) == 292, "metadata per split");

/* 24 bytes a granule and 1,340 a split, in heat and here together: at most 1/10,000 of what is watched. */
_Static_assert((24 + 1340 / HEAT_SPLIT_SHARE) * 10000 <= HEAT_GRANULE, "metadata");

struct plan_config {
	uint32_t granules, splits; /* as heat's */
	uint32_t accounts;	   /* at most so many; to 65,536 */
	uint32_t tiers;		   /* the same; to 15 */
	uint32_t
		candidates; /* looked at in one run; 0: 4,096. The larger, the faster a change is caught up with */
};

struct plan {
	struct plan_granule *granules;
	struct plan_split *splits;
	struct plan_scratch *scratch; /* plan-internal.h */
	struct plan_config config;
	uint64_t clock;
	uint64_t now_ms; /* the planner's own time */
	bool started;
	uint32_t page_cursor;
};

/* -EINVAL */
int plan_size(const struct plan_config *config, uint64_t *ret_size);
/* All granules absent. memory: plan_size() bytes, aligned to 8. -ENOSPC. */
int plan_init(struct plan *p, const struct plan_config *config, void *memory, uint64_t size);

/* Where pages are, as found (not moved): from page of granule on. PLAN_ABSENT: they are gone. Out of range: -ERANGE. */
int plan_place(struct plan *p, struct heat *h, uint32_t granule, unsigned page, unsigned pages,
	       unsigned tier);
/* A move was carried out; pages: how many of it, from its first one on. */
int plan_moved(struct plan *p, struct heat *h, const struct plan_move *m, unsigned pages);
/* A page's tier. */
unsigned plan_tier_of(const struct plan *p, const struct heat *h, uint32_t granule, unsigned page);
/* A region came or went: its granules are absent, and were never moved. Goes with heat_clear(). */
void plan_clear(struct plan *p, uint32_t first, uint32_t count);

/*
 * One run: reads all granules of all regions twice, and does work in proportion to config.candidates besides.
 * Writes at most max_moves to moves. -EINVAL: more accounts or tiers than configured, heat of another size, no account
 * or no initiator; nothing is changed then.
 */
int plan_run(struct plan *p, const struct heat *h, const struct plan_input *in,
	     struct plan_move *moves, uint32_t max_moves, struct plan_result *ret);

#endif
