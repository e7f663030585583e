/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What a morsel asked for, by tier names (DESIGN: policy). Plain data, immutable once it was given
 * to a storage, referenced; references may be taken and dropped on any thread.
 *
 *   prefer   ordered; the first one that can take pages gets them, when it is full the kernel goes
 *            to the others, by distance from the first (advisory in the node storage)
 *   allow    pages may lie nowhere else; empty: anywhere
 *   spread   tier → weight 1..255: granules of 2 MiB are dealt out in these proportions
 * prefer and spread exclude each other; every tier in prefer and spread must be in allow if that is
 * not empty.
 */
#define SPREAD_WEIGHT_MAX 255 /* as the kernel's weighted interleave has it */

struct spread_weight {
	char *tier;
	unsigned int weight;
};

struct placement {
	gatomicrefcount refs;
	GPtrArray *prefer;  /* of char * */
	GPtrArray *allow;   /* of char * */
	GArray *spread;	    /* of struct spread_weight */
	uint64_t page_size; /* 4096 or 2097152 */
};

struct placement *placement_new(void); /* no wishes, 4 KiB pages */
struct placement *placement_ref(struct placement *p);
struct placement *placement_unref(struct placement *p); /* takes NULL, returns NULL */
typedef struct placement Placement;
static inline void placement_unrefp(struct placement *p)
{
	placement_unref(p);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Placement, placement_unrefp)

void placement_add_spread(struct placement *p, const char *tier, unsigned int weight);

/* Do the parts fit together (the rules above)? Says nothing about whether the tiers exist. -EINVAL
 * with a text that names the option and the tier. */
int placement_check(const struct placement *p, char **ret_error);

bool placement_allows(const struct placement *p, const char *tier);
