/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "inventory.h"
#include "placement.h"
#include "storage-node-sys.h"

/*
 * From tier names to NUMA policies of ranges of a memfd. A policy set on a shared mapping of a memfd is the
 * file's: it rules the pages of every process that maps it, and stays when the mapping is gone. It says
 * where *new* pages go. Advisory: a client's cpuset wins over it, a client may set another one by mbind,
 * and a full node is passed over (except with MPOL_BIND).
 */

struct node_policy {
	int mode; /* MPOL_… */
	int home; /* which node of nodes comes first; -1: the nearest to the CPU that faults */
	struct nodeset nodes;
};

/*
 * Ranges with policies of their own cost kernel memory that nobody is charged for (about 350 bytes each with
 * 1024 possible nodes), so their number in one object is bounded. 16,384 keep stripes of 2 MiB up to
 * 32 GiB; the stripe doubles with the size from there (1 TiB: 64 MiB), which a stream read by several
 * threads does not notice.
 */
#define POLICY_RANGES_MAX 16384

/* What an object's placement comes to, over its whole length. Immutable. */
struct policy_plan {
	bool any;		 /* false: no policy at all */
	struct node_policy base; /* everywhere; with spread: of the tier with most stripes */
	/* Spread: stripe k belongs to policies[order[k % period]]. stripe 0: none. */
	uint64_t stripe; /* bytes */
	uint64_t n_stripes;
	unsigned int period;
	unsigned int base_index;
	uint16_t *order;
	GArray *policies; /* of struct node_policy, as in placement->spread */
};

/*
 * p: checked (placement_check); size: bytes of the object. ret_allow: nodes of p->allow's tiers that take
 * pages now. -ENOENT, -ENODEV, with a text that names the tier, its state and its reason.
 * Of prefer and allow, tiers that take no pages are passed over while another one does; in spread each
 * one must, for the proportions would be wrong.
 */
int policy_plan_new(const struct inventory *inv, const struct placement *p, uint64_t size,
		    const struct node_caps *caps, struct nodeset *ret_allow,
		    struct policy_plan **ret_plan, char **ret_error);
/* Nodes of those of p->allow's tiers that take pages now. p may be NULL. */
void policy_allow_nodes(const struct inventory *inv, const struct placement *p,
			struct nodeset *ret_allow);
/* Of all nodes of a tier. */
void policy_add_nodes(struct nodeset *set, const struct tier *tier);
struct policy_plan *policy_plan_free(struct policy_plan *plan); /* takes NULL, returns NULL */
/* The policy in force at offset. */
const struct node_policy *policy_plan_at(const struct policy_plan *plan, uint64_t offset);
/* How many ranges the plan's policies need: what applying it costs. */
uint64_t policy_plan_ranges(const struct policy_plan *plan);

/* Set it all on the file. -ENOMEM, or whatever mbind says. progress may be NULL; -ECANCELED. */
int policy_plan_apply(const struct policy_plan *plan, const struct node_sys *sys, int fd,
		      uint64_t size,
		      bool (*progress)(uint64_t done, uint64_t total, void *userdata),
		      void *userdata);

/* Towards one tier's nodes (which take pages); nowhere but allow if that is not NULL. */
void node_policy_towards(const struct tier *tier, const struct nodeset *allow,
			 const struct node_caps *caps, struct node_policy *ret_policy);
/* On a mapping (hugetlb keeps policies only there; a memfd shares it with all mappings). */
int node_policy_set(const struct node_policy *policy, const struct node_sys *sys, void *address,
		    uint64_t length);
/* On a range of the file. */
int node_policy_set_file(const struct node_policy *policy, const struct node_sys *sys, int fd,
			 uint64_t offset, uint64_t length);

/* "tier 'nvm0' takes no pages: it is offline (device in devdax mode)" */
char *tier_refusal(const struct tier *tier);

/*
 * Which ranges have policies given by moves: disjoint, neighbours to the same node merged, so that their
 * number stays bounded. Not thread-safe.
 */
struct policy_map;
struct policy_map *policy_map_new(void);
struct policy_map *policy_map_free(struct policy_map *map); /* takes NULL, returns NULL */
unsigned int policy_map_len(const struct policy_map *map);
/* Note [start, end) → node. -E2BIG when there would be more than limit ranges: nothing changes. */
int policy_map_set(struct policy_map *map, uint64_t start, uint64_t end, int node,
		   unsigned int limit);
