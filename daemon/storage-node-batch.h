/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "storage-node-view.h"

/*
 * Moving listed pages, and finding out what became of each. move_pages stops at the first batch of its
 * own that does not go through as a whole, and leaves the statuses behind that unwritten; so what it does
 * not vouch for is asked for afterwards, and tried again a bounded number of times.
 */
struct mover {
	struct node_view v;
	const struct tier *tier;
	struct nodeset on_target;
	struct storage_move_result result;
	unsigned int stuck; /* batches in a row that kept pages back */
	bool full;	    /* the target has no room: no more tries */

	/* Of the pages that are still to move. */
	size_t *index, *swap;
	void **pages;
	int *nodes, *status, *reason;
};

/* The most pages of one call: 32 MiB of small ones. Enough to make its fixed cost (it drains every CPU's
 * list of pages) vanish, few enough to answer a cancel within some 10 ms. */
#define BATCH_MAX 8192

/*
 * After a sweep: count what has come to the target as moved. Without all, by m->v.status; the list is then
 * cut down to the pages that have not, for mover_move().
 */
void mover_count_swept(struct mover *m, bool all);

int mover_init(struct mover *m, struct storage_object *o, const struct tier *tier);
void mover_done(struct mover *m);

/* Move the n listed pages of m->v from first on, whose status is known; counts them in m->result. Returns
 * the bytes that were copied. */
uint64_t mover_move(struct mover *m, size_t first, size_t n);
