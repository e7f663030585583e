// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage-module-place.h"

#include <errno.h>
#include <string.h>

#include "storage-module.h"
#include "storage-node-policy.h"

/* The module's limit for one weight. */
#define WEIGHT_MAX 1000u

struct placing {
	const struct inventory *inv;
	const struct placement *p;
	bool strict;
	module_pool_t pool;
	void *userdata;
	struct morsel_placement list;
	unsigned int n;
	unsigned int
		shares; /* a weight of 1 is so many shares, to be divided among a tier's nodes */
};

static bool has_pool(const struct placing *x, uint32_t id)
{
	for (unsigned int i = 0; i < x->n; i++)
		if (x->list.pools[i] == id)
			return true;
	return false;
}

/* named: the placement speaks of it, so that a pool that cannot be had is an error. */
static int add_tier(struct placing *x, const struct tier *t, unsigned int weight, bool named,
		    char **ret_error)
{
	for (unsigned int i = 0; i < tier_n_places(t) && x->n < MORSEL_MAX_TIERS; i++) {
		g_autofree char *error = NULL;
		int id = x->pool(t, tier_place(t, i), x->userdata, &error);

		if (id < 0 && named && x->strict) {
			*ret_error = g_steal_pointer(&error);
			return id;
		}
		if (id <= 0 || has_pool(x, (uint32_t)id))
			continue;
		x->list.pools[x->n] = (uint32_t)id;
		if (weight > 0)
			x->list.weights[x->n] =
				CLAMP(weight * x->shares / tier_n_places(t), 1, WEIGHT_MAX);
		x->n++;
	}
	return 0;
}

static int find_tier(const struct placing *x, const char *option, const char *name,
		     const struct tier **ret_tier, char **ret_error)
{
	*ret_tier = inventory_tier(x->inv, name);
	if (*ret_tier || !x->strict)
		return 0;
	*ret_error = g_strdup_printf("%s: there is no tier '%s'", option, name);
	return -ENOENT;
}

/* Tiers of a list of names that take pages, in order. */
static int add_names(struct placing *x, const char *option, const GPtrArray *names,
		     char **ret_error)
{
	const struct tier *refused = NULL, *t;
	unsigned int before = x->n;

	for (unsigned int i = 0; i < names->len; i++) {
		int r = find_tier(x, option, names->pdata[i], &t, ret_error);

		if (r < 0)
			return r;
		if (!t)
			continue;
		if (!module_tier_takes(t)) {
			refused = t;
			continue;
		}
		r = add_tier(x, t, 0, true, ret_error);
		if (r < 0)
			return r;
	}
	if (x->strict && refused && x->n == before && before == 0) {
		g_autofree char *text = tier_refusal(refused);

		*ret_error = g_strdup_printf("%s: %s", option, text);
		return -ENODEV;
	}
	return 0;
}

static int add_spread(struct placing *x, char **ret_error)
{
	const GArray *spread = x->p->spread;
	unsigned int most = 1;

	/* As many shares as every tier's number of nodes divides, while the weights stay in bounds. */
	x->shares = 1;
	for (unsigned int i = 0; i < spread->len; i++) {
		const struct spread_weight *w = &g_array_index(spread, struct spread_weight, i);
		const struct tier *t = inventory_tier(x->inv, w->tier);

		most = MAX(most, w->weight);
		if (t && tier_n_places(t) > 0 && x->shares % tier_n_places(t) != 0)
			x->shares *= tier_n_places(t);
	}
	x->shares = MIN(x->shares, WEIGHT_MAX / most);
	for (unsigned int i = 0; i < spread->len; i++) {
		const struct spread_weight *w = &g_array_index(spread, struct spread_weight, i);
		const struct tier *t;
		int r = find_tier(x, "spread", w->tier, &t, ret_error);

		if (r < 0)
			return r;
		if (!t)
			continue;
		if (!module_tier_takes(t)) {
			g_autofree char *text = NULL;

			if (!x->strict)
				continue;
			text = tier_refusal(t);
			*ret_error = g_strdup_printf("spread: %s", text);
			return -ENODEV;
		}
		r = add_tier(x, t, w->weight, true, ret_error);
		if (r < 0)
			return r;
	}
	return 0;
}

int module_place(const struct inventory *inv, const struct placement *p, bool strict,
		 module_pool_t pool, void *userdata, struct morsel_placement *ret_list,
		 char **ret_error)
{
	struct placing x = {
		.inv = inv, .p = p, .strict = strict, .pool = pool, .userdata = userdata
	};
	const GPtrArray *tiers = inventory_tiers(inv);
	int r = 0;

	if (p && p->spread->len > 0)
		r = add_spread(&x, ret_error);
	else if (p)
		r = add_names(&x, "prefer", p->prefer, ret_error);
	if (r >= 0 && p && p->allow->len > 0)
		r = add_names(&x, "allow", p->allow, ret_error);
	if (r < 0)
		return r;
	for (unsigned int i = 0; (!p || p->allow->len == 0) && i < tiers->len; i++)
		if (module_tier_takes(tiers->pdata[i]))
			(void)add_tier(&x, tiers->pdata[i], 0, false, NULL);
	if (x.n == 0) {
		*ret_error =
			g_strdup("there is no tier with a pool of the module that it may lie on");
		return -ENODEV;
	}
	*ret_list = x.list;
	return 0;
}

void module_place_towards(struct morsel_placement *list, const uint32_t *pools, unsigned int n)
{
	struct morsel_placement old = *list;
	struct placing x = {};

	for (unsigned int i = 0; i < n && x.n < MORSEL_MAX_TIERS; i++)
		if (!has_pool(&x, pools[i]))
			x.list.pools[x.n++] = pools[i];
	for (unsigned int i = 0; i < MORSEL_MAX_TIERS && old.pools[i] && x.n < MORSEL_MAX_TIERS;
	     i++)
		if (!has_pool(&x, old.pools[i]))
			x.list.pools[x.n++] = old.pools[i];
	*list = x.list;
}
