/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-names.h"

#include <stdbool.h>

#include "inventory-draft.h"
#include "kernfile.h"

static const char *const prefixes[TIER_KIND_MAX] = {
	[TIER_DRAM] = "dram", [TIER_HBM] = "hbm", [TIER_CXL] = "cxl",
	[TIER_NVM] = "nvm",   [TIER_GPU] = "gpu", [TIER_MEMORY_ONLY] = "mem",
};

struct tier_names {
	GHashTable *by_key; /* char * → char *: the name that this backing had last */
};

struct tier_names *tier_names_new(void)
{
	struct tier_names *n = g_new0(struct tier_names, 1);

	n->by_key = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	return n;
}

struct tier_names *tier_names_free(struct tier_names *n)
{
	if (n == NULL)
		return NULL;
	g_hash_table_unref(n->by_key);
	g_free(n);
	return NULL;
}

int tier_compare(gconstpointer a, gconstpointer b)
{
	const struct tier *x = *(const struct tier *const *)a, *y = *(const struct tier *const *)b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return kernfile_compare_names(x->name, y->name);
}

static int compare_drafts(gconstpointer a, gconstpointer b)
{
	const struct draft *x = *(const struct draft *const *)a;
	const struct draft *y = *(const struct draft *const *)b;
	int ox = draft_order(x), oy = draft_order(y);

	if (x->tier->kind != y->tier->kind)
		return x->tier->kind < y->tier->kind ? -1 : 1;
	if (ox != oy)
		return ox < oy ? -1 : 1;
	return kernfile_compare_names(x->keys->len ? x->keys->pdata[0] : "",
				      y->keys->len ? y->keys->pdata[0] : "");
}

static bool fits_kind(const char *name, enum tier_kind kind)
{
	const char *p = prefixes[kind];

	return g_str_has_prefix(name, p) && g_ascii_isdigit(name[strlen(p)]);
}

void tier_names_assign(struct tier_names *n, GPtrArray *drafts)
{
	/* Names that this look may not give again; borrowed strings. */
	g_autoptr(GHashTable) taken = g_hash_table_new(g_str_hash, g_str_equal);
	g_autoptr(GHashTable) remembered = NULL;
	/* Two tiers of one device share a key: the first keeps it, or they would swap names. */
	g_autoptr(GHashTable) keys = g_hash_table_new(g_str_hash, g_str_equal);
	GHashTableIter iter;
	void *name;

	g_ptr_array_sort(drafts, compare_drafts);
	for (unsigned int i = 0; i < drafts->len; i++) {
		struct draft *d = drafts->pdata[i];

		if (d->named)
			g_hash_table_add(taken, d->tier->name);
	}

	/* First those seen before, so that no newcomer takes their number. */
	for (unsigned int i = 0; i < drafts->len; i++) {
		struct draft *d = drafts->pdata[i];

		for (unsigned int k = 0; k < d->keys->len && d->tier->name == NULL; k++) {
			const char *old = g_hash_table_lookup(n->by_key, d->keys->pdata[k]);

			if (old == NULL || !fits_kind(old, d->tier->kind) ||
			    g_hash_table_contains(taken, old))
				continue;
			d->tier->name = g_strdup(old);
			g_hash_table_add(taken, d->tier->name);
		}
	}

	/* Names of backings that are gone stay theirs. */
	remembered = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_hash_table_iter_init(&iter, n->by_key);
	while (g_hash_table_iter_next(&iter, NULL, &name))
		g_hash_table_add(remembered, g_strdup(name));

	for (unsigned int i = 0; i < drafts->len; i++) {
		struct draft *d = drafts->pdata[i];

		for (unsigned int number = 0; d->tier->name == NULL; number++) {
			g_autofree char *candidate =
				g_strdup_printf("%s%u", prefixes[d->tier->kind], number);

			if (g_hash_table_contains(taken, candidate) ||
			    g_hash_table_contains(remembered, candidate))
				continue;
			d->tier->name = g_steal_pointer(&candidate);
			g_hash_table_add(taken, d->tier->name);
		}
		/* The operator's names are not remembered: without the override the old one is
		 * back. */
		for (unsigned int k = 0; k < d->keys->len && !d->named; k++)
			if (g_hash_table_add(keys, d->keys->pdata[k]))
				g_hash_table_replace(n->by_key, g_strdup(d->keys->pdata[k]),
						     g_strdup(d->tier->name));
	}
}
