/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/plan.h"
#include "inventory.h"
#include "policy.h"

/*
 * What the planner is told of tiers and cgroups: from the inventory and the policies in force. Pure: no bus, no
 * kernel, no clock.
 */

struct tiering_tiers {
	unsigned int n, n_initiators;
	struct tier *tier[PLAN_MAX_TIERS]; /* referenced */
	struct plan_tier plan[PLAN_MAX_TIERS];
	int initiator[PLAN_MAX_INITIATORS]; /* node numbers */
};
/* Tiers that can hold pages, the first 15 of them. free is left 0. */
void tiering_tiers_init(struct tiering_tiers *t, const struct inventory *inv);
void tiering_tiers_done(struct tiering_tiers *t);
/* The index of the tier that has this node or place; PLAN_ABSENT: none. */
unsigned int tiering_tier_of(const struct tiering_tiers *t, int place);

/* So many at most: cgroups beyond count as what is above them. */
#define TIERING_ACCOUNTS_MAX 16384u

struct tiering_migrate {
	enum policy_migrate migrate;
	bool fixed; /* said so, not the default */
};

/*
 * Accounts, by path of cgroup: every one is behind what is above it. Kept from round to round, for with many cgroups it is work
 * to make them.
 */
struct tiering_accounts {
	GArray *plan;		     /* of struct plan_account */
	GArray *migrate;	     /* of enum policy_migrate */
	GPtrArray *paths;	     /* of char * */
	GHashTable *index;	     /* path → GUINT_TO_POINTER(index + 1) */
	struct policy_set *policies; /* that they were made of */
	GPtrArray *tiers;	     /* of char *, names */
	unsigned int rounds;
};
void tiering_accounts_init(struct tiering_accounts *a);
void tiering_accounts_done(struct tiering_accounts *a);
/* Before a round. Those of other policies or tiers are forgotten, and now and then all: cgroups go. */
void tiering_accounts_begin(struct tiering_accounts *a, struct policy_set *policies,
			    const struct tiering_tiers *tiers);
/*
 * The account of a cgroup ("": the root), made with all above it where it is not there yet. Deeper than 64 levels: that
 * of the 64th.
 */
uint32_t tiering_account(struct tiering_accounts *a, const char *path);
/* What Migrate says for it; off where nothing is said. */
enum policy_migrate tiering_migrate(const struct tiering_accounts *a, uint32_t account);
/* Does a policy say so itself that nothing is moved? */
bool tiering_is_fixed(const struct tiering_accounts *a, uint32_t account);
