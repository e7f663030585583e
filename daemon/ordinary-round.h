/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/plan.h"
#include "helper/ordinary-data.h"
#include "ordinary-members.h"
#include "tiering-input.h"
#include "worker.h"

/*
 * One round of ordinary memory, on a worker: whose it is, what of it was accessed and where it lies (both from the helper), the
 * plan, and the moves (by the helper).
 */

/* Of one cgroup. */
struct ordinary_use {
	unsigned int processes;
	uint64_t bytes
		[PLAN_MAX_TIERS]; /* by index of the round's tiers: granules count as being where most of them is */
	uint64_t up, down; /* bytes moved in this round, to tiers that answer sooner, and others */
};

/* What lasts from round to round: the worker's while a round is on its way. */
struct ordinary_state {
	int socket; /* to the helper, or -1 */
	void *heat_memory, *plan_memory;
	struct heat heat;
	struct plan plan;
	GArray *members; /* of struct ordinary_member; NULL: none yet */
	unsigned int more_members;
	uint64_t scanned_usec, looked_usec;
	const void *scanned_for;	 /* the policies, only to be compared */
	uint32_t serial[ORDINARY_SLOTS]; /* of the slots' chunks; 0: nothing there */
	uint16_t pages[HELPER_GRANULES]; /* that are there */
};

bool ordinary_state_init(struct ordinary_state *s);
/* Lets go of the helper; everything it has told is forgotten. */
void ordinary_state_end(struct ordinary_state *s);
void ordinary_state_done(struct ordinary_state *s);

struct ordinary_round {
	struct work work; /* first */
	void *userdata;
	struct ordinary_state *state;
	struct policy_set *policies; /* referenced */
	int root_fd;
	const atomic_bool *stopping;
	struct tiering_tiers tiers;
	struct tiering_accounts accounts;
	uint32_t window_ms;
	uint32_t query;	       /* granules to be asked for */
	uint64_t budget_pages; /* to be moved */

	/* What came of it. */
	char *trouble;	   /* why memory is left alone, or NULL; owned */
	bool peer;	   /* because others manage it */
	uint64_t cpu_usec; /* of this thread, the helper and the kernel's sampler */
	unsigned int processes, more, left_out;
	uint64_t wanted;	    /* granules that had better be elsewhere */
	uint64_t up, down, planned; /* bytes */
	GHashTable *use;	    /* cgroup (char *) → struct ordinary_use * */
};

void ordinary_round_run(struct work *w);
void ordinary_round_free(struct ordinary_round *r);

/*
 * Of a table of HELPER_LOOK: heat, places and page counts from it; slots that are new or gone are cleared. elapsed_ms: since the last
 * look. For tests too.
 */
void ordinary_take(struct ordinary_state *s, const struct ordinary_table *t,
		   const struct tiering_tiers *tiers, uint64_t clock_ms, uint32_t elapsed_ms);
