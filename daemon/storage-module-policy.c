// SPDX-License-Identifier: GPL-2.0-or-later
/* What policies of cgroups mean for frames to come, in the module's numbers: for a placement program. */
#include "config-value.h"
#include "storage-module-account.h"

static bool is_listed(const struct morsel_policy *p, uint32_t tier)
{
	for (uint32_t i = 0; i < p->count; i++)
		if (p->tier[i] == tier)
			return true;
	return false;
}

static bool is_allowed(const struct policy_setting *allow, const char *tier)
{
	if (!allow || allow->tiers->len == 0)
		return true;
	for (unsigned int i = 0; i < allow->tiers->len; i++)
		if (g_str_equal(g_array_index(allow->tiers, struct config_share, i).tier, tier))
			return true;
	return false;
}

/* A tier without a number has no pool, so that no object can have frames of it. */
static void add(const struct module_storage *m, struct morsel_policy *p, const char *tier,
		unsigned int weight)
{
	for (uint32_t n = 0; n < MORSEL_MAX_TIERS; n++) {
		if (g_strcmp0(m->tier_names[n], tier) != 0 || is_listed(p, n))
			continue;
		p->tier[p->count] = (uint16_t)n;
		p->weight[p->count++] = (uint16_t)weight;
		p->weights += weight;
		return;
	}
}

void module_policy_of(const struct module_storage *m, const char *path,
		      struct morsel_policy *ret_policy)
{
	struct morsel_policy p = {};
	const struct policy_setting *wish, *allow;

	G_STATIC_ASSERT(MORSEL_POLICY_TIERS == MORSEL_MAX_TIERS);
	*ret_policy = p;
	if (!m->policies)
		return;
	wish = policy_effective(m->policies, path, 1u << POLICY_PREFER | 1u << POLICY_SPREAD, NULL,
				NULL);
	allow = policy_effective(m->policies, path, 1u << POLICY_ALLOW, NULL, NULL);
	for (unsigned int i = 0; wish && i < wish->tiers->len; i++) {
		const struct config_share *s = &g_array_index(wish->tiers, struct config_share, i);

		if (is_allowed(allow, s->tier))
			add(m, &p, s->tier, wish->field == POLICY_SPREAD ? s->weight : 0);
	}
	for (unsigned int i = 0; allow && i < allow->tiers->len; i++)
		add(m, &p, g_array_index(allow->tiers, struct config_share, i).tier, 0);
	if (p.count > 0 && allow && allow->tiers->len > 0)
		p.flags |= MORSEL_POLICY_ONLY;
	*ret_policy = p;
}

void module_policy_tell(struct module_storage *m, const struct module_cgroup *c)
{
	struct morsel_policy p;

	if (!m->place || !c->path || c->leaf == 0)
		return;
	module_policy_of(m, c->path, &p);
	m->place(c->leaf, &p, m->place_userdata);
}

void storage_module_set_placer(struct storage *s, storage_module_place_t place, void *userdata)
{
	struct module_storage *m = (struct module_storage *)s;
	GHashTableIter iter;
	gpointer c;

	pthread_mutex_lock(&m->lock);
	m->place = place;
	m->place_userdata = userdata;
	g_hash_table_iter_init(&iter, m->cgroups);
	while (g_hash_table_iter_next(&iter, NULL, &c))
		module_policy_tell(m, c);
	pthread_mutex_unlock(&m->lock);
}
