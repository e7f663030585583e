// SPDX-License-Identifier: GPL-2.0-only
/* From which pools a frame is taken: the object's own order, or what a BPF program proposes. */
#include <linux/topology.h>

#include "internal.h"
#include "placement.h"

static_assert(MORSEL_PLACE_POOLS == MORSEL_MAX_TIERS);

/* Which pool of the placement a granule begins with: granules in turn, in proportion to the weights. */
static unsigned int first_pool(const struct placement *p, unsigned long granule)
{
	unsigned int i;
	u32 turn;

	if (!p->weights)
		return 0;
	turn = granule % p->weights;
	for (i = 0; turn >= p->weight[i]; i++)
		turn -= p->weight[i];
	return i;
}

/* The program's answer, if it is one: pools of the placement, none of them twice. */
static bool take_over(const struct placement *p, const u32 *order, int n, struct pool **ret)
{
	struct pool *pools[MORSEL_MAX_TIERS];
	u32 seen = 0;
	unsigned int j;
	int i;

	if (n < 0 || n > p->n)
		return false;
	for (i = 0; i < n; i++) {
		for (j = 0; j < p->n && p->pool[j]->id != order[i]; j++)
			;
		if (j == p->n || seen & 1u << j)
			return false;
		seen |= 1u << j;
		pools[i] = p->pool[j];
	}
	memcpy(ret, pools, n * sizeof(*pools));
	return true;
}

static unsigned int ask(const struct object *o, unsigned long granule, unsigned int order,
			struct pool **pools)
{
	const struct placement *p = &o->placement;
	struct morsel_place place = {
		.object = o->id,
		.account = o->account ? o->account->id : 0,
		.granule = granule,
		.node = numa_node_id(),
		.frames = 1u << order,
		.count = p->n,
		.flags = READ_ONCE(o->flags) & MORSEL_OBJECT_PLACED ? MORSEL_PLACE_OWN : 0,
	};
	unsigned int i;
	int n;

	for (i = 0; i < p->n; i++) {
		place.pools[i] = pools[i]->id;
		place.tiers[i] = pools[i]->tier;
	}
	if (!placement_call(&place, &n))
		return p->n;
	atomic64_inc(&morsel_count.placement_calls);
	if (n == 0)
		return p->n;
	if (take_over(p, place.order, n, pools))
		return n;
	atomic64_inc(&morsel_count.placement_refused);
	return p->n;
}

unsigned int placement_order(const struct object *o, unsigned long granule, unsigned int order,
			     struct pool **ret)
{
	const struct placement *p = &o->placement;
	unsigned int first = first_pool(p, granule), i, n = 0;

	/* The first, then all others in their order. */
	ret[n++] = p->pool[first];
	for (i = 0; i < p->n; i++)
		if (i != first)
			ret[n++] = p->pool[i];
	return placement_is_asked() ? ask(o, granule, order, ret) : n;
}
