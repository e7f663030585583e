/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_SIMULATE_H
#define MORSEL_CORE_SIMULATE_H

#include "plan.h"

/*
 * What heat and plan would do with given accesses on given tiers, and how good that is: the same code as in the daemon,
 * moves that succeed at once, and two oracles that know the future. Pure; memory is the caller's.
 *
 * For each round: sim_round(), sim_sample() for what was accessed, sim_plan(). sim_finish() at the end. A granule
 * is placed when it is first accessed: on the nearest tier that has room and that its region and account allow.
 */

struct sim_config {
	struct heat_config heat;
	uint32_t accounts, tiers, candidates; /* as in plan_config */
	uint32_t grain;			      /* heat_set_grain(); 0: 1 */
	uint32_t phase_ms;     /* an oracle chooses anew so often; 0: once, for the whole time */
	uint32_t settle_ms;    /* what is "settled" in sim_report begins so long after the start */
	uint32_t ping_pong_ms; /* a granule that comes back within this is one; 0: 60 s */
	bool stay;	       /* the peer without any moves */
	bool pages;	       /* oracles by 4 KiB too: 4 KiB of memory for each granule */
};

struct sim_report {
	uint64_t rounds, accesses;
	uint64_t served[PLAN_MAX_TIERS];       /* accesses, by tier, all the time */
	uint64_t settled[PLAN_MAX_TIERS];      /* since settle_ms */
	uint64_t oracle[PLAN_MAX_TIERS];       /* the best that stays, since settle_ms */
	uint64_t oracle_phase[PLAN_MAX_TIERS]; /* the best in each phase, since settle_ms */
	uint64_t oracle_pages
		[PLAN_MAX_TIERS]; /* the best that stays, by 4 KiB, if wanted; since settle_ms */
	uint64_t latency_ns, latency_oracle_ns; /* sums, unloaded, since settle_ms */
	uint64_t up, down; /* pages moved to a nearer tier, and to a farther one */
	uint64_t
		needed; /* pages that the oracle by phases moves, the first time from where they were */
	uint64_t ping_pong;  /* pages that came back within ping_pong_ms */
	uint64_t page_moves; /* moves of less than a granule */
	uint64_t moves;
	int64_t gain_ns;  /* expected, sum */
	uint64_t refused; /* moves that the tiers had no room for: a fault of the planner's */
	uint64_t problems;
	struct plan_problem problem; /* the last one */
};

struct sim_granule {
	uint64_t total;	     /* accesses since settle_ms */
	uint64_t phase;	     /* in this phase */
	uint32_t at_s;	     /* of its last move, + 1; 0: never */
	uint8_t was;	     /* tier before that */
	uint8_t oracle;	     /* tier in the last phase */
	uint8_t first;	     /* tier when first accessed */
	uint8_t phase_first; /* tier when the phase began, as the oracle had it */
};

struct sim_rank {
	uint64_t value;
	uint32_t index, before;
};

struct sim {
	struct sim_config config;
	struct heat heat;
	struct plan plan;
	struct sim_granule *granules;
	struct sim_rank *ranks;
	uint64_t *pages; /* accesses by page, or NULL */
	struct plan_move *moves;
	uint32_t n_moves;
	/* The caller's, may change between rounds. */
	const struct plan_region *regions;
	const struct plan_account *accounts;
	struct plan_tier *tiers;  /* free is filled in here */
	const uint64_t *capacity; /* pages, by tier */
	uint32_t n_regions, n_accounts, n_initiators;
	uint64_t budget_pages; /* for each sim_plan() */
	uint64_t used[PLAN_MAX_TIERS];
	uint64_t clock_ms, began_ms, phase_began_ms;
	bool began, had_phase;
	struct sim_report report;
	struct plan_result result; /* of the last plan_run() */
};

int sim_size(const struct sim_config *config, uint64_t *ret_size);
int sim_init(struct sim *s, const struct sim_config *config, void *memory, uint64_t size);
/* clock_ms must go forwards here. */
void sim_round(struct sim *s, uint64_t clock_ms, uint32_t period_ms);
/* As heat_sample(); region: that the granule is of. */
int sim_sample(struct sim *s, uint32_t region, uint32_t granule, const struct heat_sample *x);
/* A region came or went: its granules are empty. */
void sim_clear(struct sim *s, uint32_t first, uint32_t count);
int sim_plan(struct sim *s);
/* Finishes the last phase; the report is complete then. */
void sim_finish(struct sim *s);
/* In millionths of the accesses. */
uint32_t sim_share(const uint64_t *served, unsigned tier, unsigned tiers);

#endif
