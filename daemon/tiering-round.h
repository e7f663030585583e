/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdatomic.h>

#include "core/plan.h"
#include "morsel.h"
#include "recording.h"
#include "tiering-input.h"
#include "worker.h"

/*
 * One round, on a worker: where memory is, what of it was accessed, and what to move. Everything it uses was put
 * together by the event loop (tiering.c), and is nobody else's meanwhile.
 */

/* Of a region, as the planner has it. */
struct tiering_sum {
	uint64_t rate; /* heat's unit */
	uint64_t rate_in[PLAN_MAX_TIERS];
	uint64_t bytes_in[PLAN_MAX_TIERS]; /* a granule is where most of its pages are */
};

struct tiering_observed;

struct tiering_region {
	struct morsel *morsel; /* referenced while a round goes on */
	sd_id128_t id;
	uint32_t first, granules; /* in heat's numbering */
	uint32_t account;
	uint32_t allow; /* bit: tier's index; 0: anywhere */
	enum policy_migrate migrate;
	bool fixed;   /* a policy says Migrate=off */
	bool watched; /* it is sampled: somebody wants it moved, or recorded */
	bool settled; /* it was sampled in the round before: what is seen is of one round */
	bool fresh;   /* nothing is known of it */
	bool present; /* of this round */
	struct tiering_sum sum;	 /* the round's */
	struct tiering_sum seen; /* the same of the last round, for the event loop */
};

#define TIERING_MOVES 256
/* Between rounds, at least. */
#define TIERING_PERIOD_MIN_MS 1000

/* What a round has seen, by granule, for recordings; NULL while there are none. */
#define TIERING_NOT_SEEN UINT32_MAX
struct tiering_seen {
	uint32_t *
		events; /* accesses, for each of the rounds since it was looked at; or not looked at */
	uint8_t *tiers; /* the round's numbers, or PLAN_ABSENT */
};

struct tiering_round {
	struct work work; /* first */
	struct tiering *tiering;
	struct heat *heat;
	struct plan *plan;
	struct tiering_tiers tiers;
	struct tiering_accounts *accounts; /* the tiering's */
	GPtrArray *regions; /* of struct tiering_region *, by first; the tiering's, as are: */
	GHashTable *by_id;  /* sd_id128_t → region */
	struct tiering_observed *observed;
	const atomic_bool *stopping;
	uint32_t period_ms; /* of all granules */
	uint32_t portion;   /* of 256: what of them is sampled in this round … */
	uint32_t *cursor;   /* … from this window of 1 GiB on; the tiering's */
	uint64_t budget_pages;
	bool plans;		  /* else it only looks */
	struct tiering_seen seen; /* the tiering's */
	GPtrArray *recordings;	  /* of struct recording *, borrowed */

	uint32_t burst_us; /* tiering-sample.h */

	/* What came of it. */
	unsigned int bursts, seen_again;
	uint64_t cpu_usec, sampled;
	int result; /* of plan_run() */
	struct plan_result planned;
	struct plan_move moves[TIERING_MOVES];
	GArray *plan_regions; /* of struct plan_region, as regions */
};

static inline struct tiering_region *tiering_region_at(const struct tiering_round *r,
						       unsigned int i)
{
	return r->regions->pdata[i];
}

void tiering_round_run(struct work *w);
