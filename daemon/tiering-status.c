// SPDX-License-Identifier: GPL-2.0-or-later
#include "tiering-status.h"

#include <inttypes.h>
#include <string.h>

void tiering_status_init(struct tiering_status *s)
{
	*s = (struct tiering_status){ .problems = g_ptr_array_new_with_free_func(g_free) };
}

void tiering_status_done(struct tiering_status *s)
{
	tiering_tiers_done(&s->tiers);
	g_clear_pointer(&s->problems, g_ptr_array_unref);
}

/* What it is about: a cgroup, a morsel, or nothing besides the tier. */
static char *object_of(const struct tiering_round *r, const struct plan_problem *p)
{
	if (p->fault == PLAN_BAD_TIER)
		return NULL;
	if (p->fault == PLAN_BAD_REGION || p->fault == PLAN_NOWHERE) {
		const struct tiering_region *g =
			p->index < r->regions->len ? r->regions->pdata[p->index] : NULL;

		return g && g->morsel ? g_strdup_printf("morsel %s: ", g->morsel->name) : NULL;
	}
	return p->index < r->accounts->paths->len
		       ? g_strdup_printf("cgroup %s: ", (char *)r->accounts->paths->pdata[p->index])
		       : NULL;
}

static char *describe(const struct tiering_round *r, const struct plan_problem *p)
{
	g_autofree char *object = object_of(r, p);
	GString *text = g_string_new(NULL);

	if (p->tier < r->tiers.n)
		g_string_append_printf(text, "tier %s: ", r->tiers.tier[p->tier]->name);
	g_string_append_printf(text, "%s%s", object ? object : "",
			       plan_fault_text((enum plan_fault)p->fault));
	if (p->pages > 0)
		g_string_append_printf(text, " (%" PRIu64 " pages)", p->pages);
	return g_string_free(text, FALSE);
}

void tiering_status_take(struct tiering_status *s, struct tiering_round *r)
{
	uint32_t told = MIN(r->planned.n_problems, PLAN_MAX_PROBLEMS);

	s->rounds++;
	s->cpu_usec += r->cpu_usec;
	s->round_cpu_usec = r->cpu_usec;
	s->sampled = r->sampled;
	s->wishes = r->planned.wanted;
	memcpy(s->stretch, r->planned.stretch, sizeof(s->stretch));
	memcpy(s->traffic_mbs, r->planned.traffic_mbs, sizeof(s->traffic_mbs));
	g_ptr_array_set_size(s->problems, 0);
	for (uint32_t i = 0; i < told; i++)
		g_ptr_array_add(s->problems, describe(r, &r->planned.problems[i]));
	if (r->planned.n_problems > told)
		g_ptr_array_add(s->problems, g_strdup_printf("and %" PRIu32 " more",
							     r->planned.n_problems - told));
	tiering_tiers_done(&s->tiers);
	s->tiers = r->tiers;
	for (unsigned int i = 0; i < s->tiers.n; i++)
		tier_ref(s->tiers.tier[i]);
	for (unsigned int i = 0; i < r->regions->len; i++) {
		struct tiering_region *g = r->regions->pdata[i];

		if (g->present)
			g->seen = g->sum;
	}
}
