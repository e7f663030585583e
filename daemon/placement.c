/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "placement.h"

#include <errno.h>

#include "storage.h"

static void spread_weight_clear(void *p)
{
	g_free(((struct spread_weight *)p)->tier);
}

struct placement *placement_new(void)
{
	struct placement *p = g_new0(struct placement, 1);

	g_atomic_ref_count_init(&p->refs);
	p->prefer = g_ptr_array_new_with_free_func(g_free);
	p->allow = g_ptr_array_new_with_free_func(g_free);
	p->spread = g_array_new(false, true, sizeof(struct spread_weight));
	g_array_set_clear_func(p->spread, spread_weight_clear);
	p->page_size = 4096;
	return p;
}

struct placement *placement_ref(struct placement *p)
{
	g_atomic_ref_count_inc(&p->refs);
	return p;
}

struct placement *placement_unref(struct placement *p)
{
	if (!p || !g_atomic_ref_count_dec(&p->refs))
		return NULL;
	g_ptr_array_unref(p->prefer);
	g_ptr_array_unref(p->allow);
	g_array_unref(p->spread);
	g_free(p);
	return NULL;
}

void placement_add_spread(struct placement *p, const char *tier, unsigned int weight)
{
	struct spread_weight w = { g_strdup(tier), weight };

	g_array_append_val(p->spread, w);
}

static bool names_contain(const GPtrArray *names, const char *name, unsigned int before)
{
	for (unsigned int i = 0; i < before; i++)
		if (g_str_equal(names->pdata[i], name))
			return true;
	return false;
}

bool placement_allows(const struct placement *p, const char *tier)
{
	return p->allow->len == 0 || names_contain(p->allow, tier, p->allow->len);
}

static int check_names(const struct placement *p, const GPtrArray *names, const char *option,
		       char **ret_error)
{
	for (unsigned int i = 0; i < names->len; i++) {
		const char *name = names->pdata[i];

		if (names_contain(names, name, i)) {
			*ret_error = g_strdup_printf("%s names tier '%s' twice", option, name);
			return -EINVAL;
		}
		if (!placement_allows(p, name)) {
			*ret_error = g_strdup_printf("%s names tier '%s', which is not in allow",
						     option, name);
			return -EINVAL;
		}
	}
	return 0;
}

int placement_check(const struct placement *p, char **ret_error)
{
	int r;

	if (p->page_size != 4096 && p->page_size != GRANULE_SIZE) {
		*ret_error = g_strdup_printf("page size %" PRIu64 " is neither 4096 nor 2097152",
					     p->page_size);
		return -EINVAL;
	}
	if (p->prefer->len > 0 && p->spread->len > 0) {
		*ret_error = g_strdup("prefer and spread exclude each other");
		return -EINVAL;
	}

	r = check_names(p, p->allow, "allow", ret_error);
	if (r < 0)
		return r;
	r = check_names(p, p->prefer, "prefer", ret_error);
	if (r < 0)
		return r;

	for (unsigned int i = 0; i < p->spread->len; i++) {
		const struct spread_weight *w = &g_array_index(p->spread, struct spread_weight, i);

		if (w->weight < 1 || w->weight > SPREAD_WEIGHT_MAX) {
			*ret_error =
				g_strdup_printf("spread weight %u of tier '%s' is not in 1..%d",
						w->weight, w->tier, SPREAD_WEIGHT_MAX);
			return -EINVAL;
		}
		for (unsigned int k = 0; k < i; k++)
			if (g_str_equal(g_array_index(p->spread, struct spread_weight, k).tier,
					w->tier)) {
				*ret_error =
					g_strdup_printf("spread names tier '%s' twice", w->tier);
				return -EINVAL;
			}
		if (!placement_allows(p, w->tier)) {
			*ret_error = g_strdup_printf(
				"spread names tier '%s', which is not in allow", w->tier);
			return -EINVAL;
		}
	}
	return 0;
}
