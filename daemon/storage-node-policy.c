/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage-node-policy.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>

#include "storage.h"

char *tier_refusal(const struct tier *tier)
{
	const char *reason = tier->state_reason && *tier->state_reason ? tier->state_reason
								       : "no node is online for it";

	return g_strdup_printf("tier '%s' takes no pages: it is %s (%s)", tier->name,
			       tier_state_to_string(tier->state), reason);
}

void policy_add_nodes(struct nodeset *set, const struct tier *tier)
{
	for (unsigned int i = 0; i < tier->nodes->len; i++)
		nodeset_add(set, g_array_index(tier->nodes, int, i));
}

void node_policy_towards(const struct tier *tier, const struct nodeset *allow,
			 const struct node_caps *caps, struct node_policy *ret_policy)
{
	struct node_policy p = { .mode = MPOL_PREFERRED,
				 .home = g_array_index(tier->nodes, int, 0) };

	if (allow) {
		p.mode = MPOL_BIND;
		p.nodes = *allow;
	} else if (tier->nodes->len > 1 && caps->preferred_many && caps->home_node) {
		p.mode = NODE_MPOL_PREFERRED_MANY;
		policy_add_nodes(&p.nodes, tier);
	} else {
		nodeset_add(&p.nodes, p.home);
	}
	*ret_policy = p;
}

/* Look the names up. strict: each must take pages. ret_tiers: those that do, in order. */
static int resolve(const struct inventory *inv, const GPtrArray *names, const char *option,
		   bool strict, GPtrArray *ret_tiers, char **ret_error)
{
	struct tier *refused = NULL;

	for (unsigned int i = 0; i < names->len; i++) {
		struct tier *tier = inventory_tier(inv, names->pdata[i]);

		if (!tier) {
			*ret_error = g_strdup_printf("%s names tier '%s', which does not exist",
						     option, (char *)names->pdata[i]);
			return -ENOENT;
		}
		if (tier_has_pages(tier))
			g_ptr_array_add(ret_tiers, tier);
		else if (!refused)
			refused = tier;
	}
	if (refused && (strict || ret_tiers->len == 0)) {
		g_autofree char *refusal = tier_refusal(refused);

		*ret_error = g_strdup_printf("%s: %s", option, refusal);
		return -ENODEV;
	}
	return 0;
}

/*
 * Deal stripes out by smooth weighted round robin: each turn every tier gains its weight, the richest
 * gets the stripe and pays the sum of all. The order repeats after that sum, with each tier in it exactly
 * weight times and its turns spread as evenly as they can be.
 */
static void deal(struct policy_plan *plan, const struct placement *p)
{
	g_autofree long *credit = g_new0(long, p->spread->len);
	const struct spread_weight *w = (const struct spread_weight *)p->spread->data;
	unsigned int sum = 0;

	for (unsigned int i = 0; i < p->spread->len; i++) {
		sum += w[i].weight;
		if (w[i].weight > w[plan->base_index].weight)
			plan->base_index = i;
	}
	plan->period = sum;
	plan->order = g_new(uint16_t, sum);
	for (unsigned int k = 0; k < sum; k++) {
		unsigned int best = 0;

		for (unsigned int i = 0; i < p->spread->len; i++) {
			credit[i] += w[i].weight;
			if (credit[i] > credit[best])
				best = i;
		}
		credit[best] -= sum;
		plan->order[k] = (uint16_t)best;
	}
}

static int plan_spread(struct policy_plan *plan, const struct inventory *inv,
		       const struct placement *p, uint64_t size, const struct node_caps *caps,
		       const struct nodeset *allow, char **ret_error)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	g_autoptr(GPtrArray) tiers = g_ptr_array_new();
	int r;

	for (unsigned int i = 0; i < p->spread->len; i++)
		g_ptr_array_add(names, g_array_index(p->spread, struct spread_weight, i).tier);
	r = resolve(inv, names, "spread", true, tiers, ret_error);
	if (r < 0)
		return r;

	plan->policies = g_array_new(false, true, sizeof(struct node_policy));
	for (unsigned int i = 0; i < tiers->len; i++) {
		struct node_policy policy;

		node_policy_towards(tiers->pdata[i], allow, caps, &policy);
		g_array_append_val(plan->policies, policy);
	}
	deal(plan, p);
	plan->base = g_array_index(plan->policies, struct node_policy, plan->base_index);

	plan->stripe = GRANULE_SIZE;
	while (size / plan->stripe >= POLICY_RANGES_MAX)
		plan->stripe *= 2;
	plan->n_stripes = (size + plan->stripe - 1) / plan->stripe;
	return 0;
}

static int plan_fill(struct policy_plan *plan, const struct inventory *inv,
		     const struct placement *p, uint64_t size, const struct node_caps *caps,
		     struct nodeset *allow, char **ret_error)
{
	g_autoptr(GPtrArray) allowed = g_ptr_array_new();
	g_autoptr(GPtrArray) preferred = g_ptr_array_new();
	bool restricted = p->allow->len > 0;
	int r;

	r = resolve(inv, p->allow, "allow", false, allowed, ret_error);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < allowed->len; i++)
		policy_add_nodes(allow, allowed->pdata[i]);

	if (p->spread->len > 0)
		return plan_spread(plan, inv, p, size, caps, restricted ? allow : NULL, ret_error);

	r = resolve(inv, p->prefer, "prefer", false, preferred, ret_error);
	if (r < 0)
		return r;
	if (preferred->len == 0) {
		plan->base = (struct node_policy){ .mode = MPOL_BIND, .home = -1, .nodes = *allow };
		return 0;
	}
	node_policy_towards(preferred->pdata[0], restricted ? allow : NULL, caps, &plan->base);

	/*
	 * With several preferred tiers MPOL_PREFERRED would fall back from the first to whatever is
	 * near; PREFERRED_MANY with the first as home tries the others of the list before that. Their
	 * order among each other is by distance from the first: the kernel knows no other.
	 */
	if (!restricted && preferred->len > 1 && caps->preferred_many && caps->home_node) {
		plan->base.mode = NODE_MPOL_PREFERRED_MANY;
		for (unsigned int i = 0; i < preferred->len; i++)
			policy_add_nodes(&plan->base.nodes, preferred->pdata[i]);
	}
	return 0;
}

int policy_plan_new(const struct inventory *inv, const struct placement *p, uint64_t size,
		    const struct node_caps *caps, struct nodeset *ret_allow,
		    struct policy_plan **ret_plan, char **ret_error)
{
	struct policy_plan *plan = g_new0(struct policy_plan, 1);
	struct nodeset allow = {};
	int r = 0;

	plan->any = p && (p->prefer->len > 0 || p->allow->len > 0 || p->spread->len > 0);
	if (plan->any)
		r = plan_fill(plan, inv, p, size, caps, &allow, ret_error);
	if (r < 0) {
		policy_plan_free(plan);
		return r;
	}
	*ret_allow = allow;
	*ret_plan = plan;
	return 0;
}

void policy_allow_nodes(const struct inventory *inv, const struct placement *p,
			struct nodeset *ret_allow)
{
	struct nodeset allow = {};

	for (unsigned int i = 0; p && i < p->allow->len; i++) {
		const struct tier *tier = inventory_tier(inv, p->allow->pdata[i]);

		if (tier && tier_has_pages(tier))
			policy_add_nodes(&allow, tier);
	}
	*ret_allow = allow;
}

struct policy_plan *policy_plan_free(struct policy_plan *plan)
{
	if (!plan)
		return NULL;
	g_clear_pointer(&plan->policies, g_array_unref);
	g_free(plan->order);
	g_free(plan);
	return NULL;
}

static unsigned int plan_index(const struct policy_plan *plan, uint64_t stripe)
{
	return plan->order[stripe % plan->period];
}

const struct node_policy *policy_plan_at(const struct policy_plan *plan, uint64_t offset)
{
	if (plan->stripe == 0)
		return &plan->base;
	return &g_array_index(plan->policies, struct node_policy,
			      plan_index(plan, offset / plan->stripe));
}

uint64_t policy_plan_ranges(const struct policy_plan *plan)
{
	if (!plan->any)
		return 0;
	return plan->stripe == 0 ? 1 : plan->n_stripes;
}

int node_policy_set(const struct node_policy *policy, const struct node_sys *sys, void *address,
		    uint64_t length)
{
	int r;

	r = sys->mbind(address, length, policy->mode, &policy->nodes, 0);
	if (r < 0)
		return r;
	if (policy->home >= 0 &&
	    (policy->mode == MPOL_BIND || policy->mode == NODE_MPOL_PREFERRED_MANY)) {
		/* Without it the nearest allowed node comes first: the promise of allow is kept. */
		r = sys->set_home_node(address, length, policy->home);
		if (r < 0 && r != -ENOSYS && r != -EPERM)
			return r;
	}
	return 0;
}

int node_policy_set_file(const struct node_policy *policy, const struct node_sys *sys, int fd,
			 uint64_t offset, uint64_t length)
{
	void *address;
	int r;

	address = mmap(NULL, length, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset);
	if (address == MAP_FAILED)
		return -errno;
	r = node_policy_set(policy, sys, address, length);
	munmap(address, length);
	return r;
}

/*
 * One small mapping after the other at the same address: policies on pieces of one large mapping would
 * split it into as many areas as there are stripes, of which a process may have only so many.
 */
static int apply_stripes(const struct policy_plan *plan, const struct node_sys *sys, int fd,
			 uint64_t size, char *window, uint64_t window_size,
			 bool (*progress)(uint64_t done, uint64_t total, void *userdata),
			 void *userdata)
{
	uint64_t first, next;
	int r;

	for (first = 0; first < plan->n_stripes; first = next) {
		unsigned int index = plan_index(plan, first);
		uint64_t start = first * plan->stripe, length;

		next = first + 1;
		if (progress && first % 256 == 0 && !progress(start, size, userdata))
			return -ECANCELED;
		if (index == plan->base_index)
			continue;
		while (next < plan->n_stripes && plan_index(plan, next) == index &&
		       (next + 1 - first) * plan->stripe <= window_size)
			next++;
		length = MIN(size, next * plan->stripe) - start;
		if (mmap(window, length, PROT_NONE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
			 (off_t)start) == MAP_FAILED)
			return -errno;
		r = node_policy_set(&g_array_index(plan->policies, struct node_policy, index), sys,
				    window, length);
		if (r < 0)
			return r;
	}
	return 0;
}

int policy_plan_apply(const struct policy_plan *plan, const struct node_sys *sys, int fd,
		      uint64_t size,
		      bool (*progress)(uint64_t done, uint64_t total, void *userdata),
		      void *userdata)
{
	uint64_t window_size;
	void *window;
	int r;

	if (!plan->any)
		return 0;
	r = node_policy_set_file(&plan->base, sys, fd, 0, size);
	if (r < 0 || plan->stripe == 0)
		return r;

	window_size = 16 * plan->stripe;
	window = mmap(NULL, window_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		      0);
	if (window == MAP_FAILED)
		return -errno;
	r = apply_stripes(plan, sys, fd, size, window, window_size, progress, userdata);
	munmap(window, window_size);
	return r;
}
