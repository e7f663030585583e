/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "inventory.h"
#include "morsel.h"
#include "storage.h"

/*
 * Why each byte is where it is: what the records of a morsel say was meant, against where the pages
 * are. In three steps: what to look at (loop), looking (worker), the answer (loop).
 */
struct explain_pieces;

/* Of the answer: one for each run of memory with one place and one reason; strings and by_node are
 * owned. */
struct explain_range {
	uint64_t offset, length; /* bytes */
	char *tier;	  /* "" no page, "mixed" several tiers, "unknown" a node without a tier */
	GArray *by_node;  /* of uint64_t, index = node; NULL: no page */
	uint64_t present; /* bytes in memory */
	char *rule, *reason;
	uint64_t since_usec;
	bool sampled;
};

/* At most so many ranges are given; the last one then says that it stands for more. */
#define EXPLAIN_RANGES_MAX 4096

/* [offset, offset + length) must be within the morsel. */
struct explain_pieces *explain_pieces_new(const struct morsel *m, uint64_t offset, uint64_t length,
					  bool exact);
struct explain_pieces *explain_pieces_free(struct explain_pieces *p); /* takes NULL, returns NULL */

/* On a worker, while the morsel is referenced. */
int explain_look(struct explain_pieces *p, storage_progress_t progress, void *userdata);

/* Of struct explain_range; frees what its elements own. */
GArray *explain_ranges(const struct explain_pieces *p, const struct morsel *m,
		       const struct inventory *inv);
