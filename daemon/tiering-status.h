/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "tiering-observe.h"

/* What the rounds have done and seen so far, for those who ask. Event loop's thread only. */
struct tiering_status {
	bool wanted;		   /* some morsel's policy asks for rounds */
	uint64_t rounds, cpu_usec; /* since the start; of sampling and planning */
	uint64_t moves, moved_bytes;
	uint32_t period_ms;		  /* until the next one */
	uint64_t round_cpu_usec;	  /* of the last one, and so are all below */
	uint64_t sampled, wishes;	  /* granules */
	struct tiering_tiers tiers;	  /* n 0: there was none yet */
	uint32_t stretch[PLAN_MAX_TIERS]; /* plan_result's */
	uint32_t traffic_mbs[PLAN_MAX_TIERS];
	GPtrArray *problems;	  /* of char * */
	const GPtrArray *regions; /* of struct tiering_region *, with their last sums */
	const struct tiering_observed *observed;
};

/* NULL: of nothing. Borrowed, until the loop goes on. */
const struct tiering_status *tiering_status(const struct tiering *t);

/* A round has ended well.. */
void tiering_status_take(struct tiering_status *s, struct tiering_round *r);
void tiering_status_init(struct tiering_status *s);
void tiering_status_done(struct tiering_status *s);
