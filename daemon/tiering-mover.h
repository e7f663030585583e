/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "tiering-round.h"

struct manager;

/* Carries a round's moves out: on a worker, in their order, neighbours together; a morsel that a job moves is left out. */

struct tiering_item {
	struct morsel *morsel; /* referenced, and counted as being moved */
	struct tier *tier;
	uint64_t offset, length;
	unsigned int first, n; /* of the round's moves */
	uint64_t since_usec;   /* of the record that was made of it; 0: none */
	struct storage_move_result result;
};

struct tiering_mover {
	struct work work; /* first */
	struct manager *manager;
	struct tiering_round *round;
	const atomic_bool *stopping;
	GPtrArray *items; /* of struct tiering_item * */
	void (*done)(struct tiering_mover *mover, void *userdata);
	void *userdata;
};

/*
 * done is called on the event loop when all have ended, and what came of them was recorded; mover is freed after it. False: there
 * is nothing to do, and done is not called. Dry runs are recorded, not moved.
 */
bool tiering_moves_start(struct manager *manager, struct worker_pool *pool,
			 struct tiering_round *round, const atomic_bool *stopping,
			 void (*done)(struct tiering_mover *mover, void *userdata), void *userdata);
