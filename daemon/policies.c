// SPDX-License-Identifier: GPL-2.0-or-later
#include "policies.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cgroup-path.h"
#include "config-value.h"
#include "log.h"
#include "manager.h"
#include "policy-check.h"
#include "policy-file.h"
#include "storage-module-open.h"
#include "warnings.h"

/* Placements by cgroup that are kept; more cgroups than that which create at a time have theirs made again. */
#define PLACEMENTS_MAX 4096

#define WISHES (1u << POLICY_PREFER | 1u << POLICY_SPREAD)

static void cgroup_placement_free(gpointer p)
{
	struct cgroup_placement *c = p;

	placement_unref(c->placement);
	g_free(c->source);
	g_free(c);
}

/* --- Reading --------------------------------------------------------------------------------- */

static char *beside(const char *path, const char *name)
{
	g_autofree char *dir = g_path_get_dirname(path);

	return g_build_filename(dir, name, NULL);
}

char *policies_dir(const struct manager *m)
{
	return beside(m->options.config_path, "policy.d");
}

char *policies_runtime_dir(const struct manager *m)
{
	return g_build_filename(m->options.runtime_dir, "policy.d", NULL);
}

int policies_read(const struct manager *m, const struct config *config, struct policy_set **ret_set,
		  char **ret_text)
{
	g_autoptr(GPtrArray)
		files = g_ptr_array_new_with_free_func((GDestroyNotify)policy_file_unref);
	g_autofree char *dir = policies_dir(m), *runtime = policies_runtime_dir(m);
	/* The vendor's are for the daemon of the machine, not for one that somebody runs for himself. */
	const char *vendor = g_str_has_prefix(dir, "/etc/") ? POLICY_VENDOR_DIR : NULL;
	const char *const dirs[] = { dir, runtime, vendor, NULL };
	int r;

	for (unsigned int i = 0; i < config->policies->len; i++)
		g_ptr_array_add(files, policy_file_ref(config->policies->pdata[i]));
	r = policy_files_read(dirs, files, ret_text);
	return r < 0 ? r : policy_set_new(files, ret_set, ret_text);
}

/* --- In force -------------------------------------------------------------------------------- */

GHashTable *policies_capacity(const struct manager *m)
{
	const GPtrArray *tiers = inventory_tiers(m->inventory);
	GHashTable *capacity = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

	for (unsigned int i = 0; i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];

		g_hash_table_insert(capacity, g_strdup(t->name),
				    g_memdup2(&t->capacity, sizeof(t->capacity)));
	}
	return capacity;
}

static bool contains(const GPtrArray *texts, const char *text)
{
	for (unsigned int i = 0; texts && i < texts->len; i++)
		if (g_str_equal(texts->pdata[i], text))
			return true;
	return false;
}

void policies_refresh(struct manager *m)
{
	g_autoptr(GHashTable) capacity = policies_capacity(m);
	g_autoptr(GPtrArray) before = m->policy_warnings;

	g_clear_pointer(&m->placements, g_hash_table_unref);
	m->policy_warnings = g_ptr_array_new_with_free_func(g_free);
	policy_check_all(m->policies, capacity, m->policy_warnings);
	for (unsigned int i = 0; i < m->policy_warnings->len; i++)
		if (!contains(before, m->policy_warnings->pdata[i]))
			log_line(LOG_NOTICE, LOG_POLICY_WARNING, NULL, "%s",
				 (char *)m->policy_warnings->pdata[i]);
	tiering_wake(m->tiering);
	if (m->placer)
		placer_wake(m->placer);
	ordinary_wake(m->ordinary);
}

void policies_apply(struct manager *m, struct policy_set *set)
{
	policy_set_unref(m->policies);
	m->policies = set;
	if (m->module)
		storage_module_set_policies(m->module, set);
	policies_refresh(m);
}

bool policies_enforced(const struct manager *m)
{
	return m->module && m->storage == m->module;
}

int policies_cgroup_exists(const struct manager *m, const char *cgroup)
{
	g_autofree char *dir = g_strconcat(CGROUP_DIR, cgroup, "/cgroup.controllers", NULL);

	if (faccessat(m->root_fd, CGROUP_DIR "/cgroup.controllers", F_OK, 0) < 0)
		return -1;
	return faccessat(m->root_fd, dir, F_OK, 0) == 0;
}

static unsigned int depth_of(const char *cgroup)
{
	unsigned int n = 0;

	for (const char *p = cgroup; *p && p[1]; p++)
		n += *p == '/';
	return n;
}

void policies_check_use(const struct manager *m, const char *cgroup, GPtrArray *warnings)
{
	g_autoptr(GPtrArray) own = policy_own_all(m->policies, cgroup);
	g_autoptr(GArray) tiers = NULL;

	if (m->module)
		tiers = storage_module_cgroup_tiers(m->module, cgroup);
	for (unsigned int i = 0; i < own->len; i++) {
		const struct policy_setting *max = own->pdata[i];

		if (max->field != POLICY_MAX || max->number == POLICY_NONE)
			continue;
		if (!policies_enforced(m))
			warnings_add(
				warnings,
				"cgroup %s: Max is advisory: new morsels are not the kernel "
				"module's (morselctl doctor says why), and nothing holds them to it",
				cgroup);
		else if (depth_of(cgroup) >= MODULE_CGROUPS_DEPTH)
			warnings_add(warnings,
				     "cgroup %s: Max is not kept: from %d levels on cgroups are "
				     "counted with the one above",
				     cgroup, MODULE_CGROUPS_DEPTH);
		for (unsigned int k = 0; tiers && k < tiers->len; k++) {
			const struct storage_module_tier *t =
				&g_array_index(tiers, struct storage_module_tier, k);

			if (g_str_equal(t->name, max->tier) && t->used > max->number)
				warnings_add(warnings,
					     "cgroup %s: %" PRIu64 " bytes are in use on %s, over "
					     "%s=%s: it gets no more there, and keeps these until "
					     "they are moved",
					     cgroup, t->used, max->tier, max->key, max->value);
		}
	}
}

/* --- Placements ------------------------------------------------------------------------------ */

static bool can_take(const struct manager *m, const char *tier)
{
	const struct tier *t = inventory_tier(m->inventory, tier);

	return t && manager_can_place(m, t);
}

static void fill_allow(const struct manager *m, const struct policy_setting *s, struct placement *p)
{
	bool some = false;

	for (unsigned int i = 0; i < s->tiers->len; i++)
		some = some || can_take(m, g_array_index(s->tiers, struct config_share, i).tier);
	for (unsigned int i = 0; i < s->tiers->len; i++) {
		const char *tier = g_array_index(s->tiers, struct config_share, i).tier;

		/* Where none is there, "nowhere else" must not become "anywhere". */
		if (!some || can_take(m, tier))
			g_ptr_array_add(p->allow, g_strdup(tier));
	}
}

static void fill_wish(const struct manager *m, const struct policy_setting *s, struct placement *p)
{
	for (unsigned int i = 0; i < s->tiers->len; i++) {
		const struct config_share *share = &g_array_index(s->tiers, struct config_share, i);

		if (!can_take(m, share->tier) || !placement_allows(p, share->tier))
			continue;
		if (s->field == POLICY_SPREAD)
			placement_add_spread(p, share->tier, share->weight);
		else
			g_ptr_array_add(p->prefer, g_strdup(share->tier));
	}
}

static struct cgroup_placement *make_placement(const struct manager *m, const char *cgroup)
{
	struct cgroup_placement *c = g_new0(struct cgroup_placement, 1);
	const struct policy_setting *wish, *allow, *pages, *first;
	struct placement *p = placement_new();
	const struct placement *standard = m->default_placement;
	g_autofree char *wish_from = NULL, *allow_from = NULL, *pages_from = NULL;

	wish = policy_effective(m->policies, cgroup, WISHES, NULL, &wish_from);
	allow = policy_effective(m->policies, cgroup, 1u << POLICY_ALLOW, NULL, &allow_from);
	pages = policy_effective(m->policies, cgroup, 1u << POLICY_PAGE_SIZE, NULL, &pages_from);
	c->placement = p;
	p->page_size = !pages				  ? standard->page_size
		       : pages->number == POLICY_PAGES_4K ? 4096
							  : GRANULE_SIZE;
	if (allow)
		fill_allow(m, allow, p);
	if (wish)
		fill_wish(m, wish, p);
	for (unsigned int i = 0; !wish && i < standard->prefer->len; i++)
		if (placement_allows(p, standard->prefer->pdata[i]))
			g_ptr_array_add(p->prefer, g_strdup(standard->prefer->pdata[i]));
	first = wish ? wish : allow ? allow : pages;
	c->source = first ? g_strdup_printf("policy of cgroup %s (%s:%u)",
					    wish    ? wish_from
					    : allow ? allow_from
						    : pages_from,
					    first->section->file->path, first->line)
			  : g_strdup_printf("default policy of %s", m->options.config_path);
	return c;
}

const struct cgroup_placement *policies_placement(struct manager *m, const char *cgroup)
{
	struct cgroup_placement *c;

	/* All share one where no cgroup has a policy. */
	if (policy_set_is_empty(m->policies) || cgroup[0] == '\0')
		cgroup = "/";
	if (m->placements && g_hash_table_size(m->placements) >= PLACEMENTS_MAX)
		g_clear_pointer(&m->placements, g_hash_table_unref);
	if (!m->placements)
		m->placements = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
						      cgroup_placement_free);
	c = g_hash_table_lookup(m->placements, cgroup);
	if (!c) {
		c = make_placement(m, cgroup);
		g_hash_table_insert(m->placements, g_strdup(cgroup), c);
	}
	return c;
}
