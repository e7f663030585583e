/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "tiering-mover.h"

/*
 * What came of a move: the accesses that its memory has over the time for which its gain was expected, until it is moved on.
 * Looked at by rounds, told on the event loop. A bounded number; those beyond are not observed.
 */

struct tiering_watch {
	sd_id128_t id; /* the morsel's */
	uint64_t offset, length, since_usec;
	struct tier *tier;   /* where it went; referenced */
	int64_t saved_ns;    /* by each access there */
	int64_t expected_ns; /* over the horizon, less the cost */
	uint64_t cost_ns, accesses;
	uint64_t begun_ms, last_ms;
	uint32_t horizon_ms;
	bool over, left; /* the time is up; it lies elsewhere by now */
};

struct tiering_observed {
	GArray *watches;		  /* of struct tiering_watch */
	uint64_t moves;			  /* whose time is up */
	int64_t expected_ns, observed_ns; /* of those */
};

void tiering_observed_init(struct tiering_observed *o);
void tiering_observed_done(struct tiering_observed *o);
/* A move that was carried out, and recorded. */
void tiering_observe(struct tiering_observed *o, const struct tiering_round *r,
		     const struct tiering_item *item, uint64_t now_ms);
/* On the round's worker, after its samples: regions by id, and heat. */
void tiering_observe_round(struct tiering_observed *o, const struct tiering_round *r,
			   uint64_t now_ms);
/* On the loop: what is over is added to the reasons of the records of its morsel, and forgotten. */
void tiering_observe_tell(struct tiering_observed *o, struct registry *registry);
