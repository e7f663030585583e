/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "inventory-claim.h"
#include "inventory-draft.h"
#include "inventory-facts.h"
#include "inventory-merge.h"
#include "inventory-names.h"
#include "inventory-override.h"
#include "inventory-perf.h"
#include "kernfile.h"
#include "numlist.h"
#include "warnings.h"

struct inventory {
	int root_fd;
	bool real_root;
	struct tier_names *names;
	GPtrArray *tiers;    /* of struct tier *, referenced, sorted */
	GHashTable *by_name; /* tier's name → struct tier *; both borrowed from tiers */
	GHashTable *by_node; /* GINT_TO_POINTER(node) → struct tier *, borrowed */
	GArray *initiators;  /* of int */
	GPtrArray *warnings; /* of char * */
	GArray *starts; /* of uint64_t, of dax devices ever seen: the first one's place is first_place */
	int first_place; /* above all nodes' numbers */
	bool module;
};

static void unref_tier(void *t)
{
	tier_unref(t);
}

/* The kernel's limit of this boot, which is low: tables by node are as long. */
static int highest_node(int root_fd)
{
	g_autoptr(GArray) nodes = NULL;

	if (kernfile_read_listf(root_fd, NODE_MAX, &nodes, "sys/devices/system/node/possible") <
		    0 ||
	    nodes->len == 0)
		return NODE_MAX;
	return g_array_index(nodes, int, nodes->len - 1);
}

int inventory_new(int root_fd, bool real_root, struct inventory **ret_inv)
{
	struct inventory *inv;
	int fd;

	fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	inv = g_new0(struct inventory, 1);
	inv->root_fd = fd;
	inv->real_root = real_root;
	inv->names = tier_names_new();
	inv->tiers = g_ptr_array_new_with_free_func(unref_tier);
	inv->by_name = g_hash_table_new(g_str_hash, g_str_equal);
	inv->by_node = g_hash_table_new(NULL, NULL);
	inv->initiators = g_array_new(FALSE, FALSE, sizeof(int));
	inv->warnings = g_ptr_array_new_with_free_func(g_free);
	inv->starts = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	inv->first_place = highest_node(root_fd) + 1;
	*ret_inv = inv;
	return 0;
}

struct inventory *inventory_free(struct inventory *inv)
{
	if (inv == NULL)
		return NULL;
	close(inv->root_fd);
	tier_names_free(inv->names);
	g_hash_table_unref(inv->by_name);
	g_hash_table_unref(inv->by_node);
	g_ptr_array_unref(inv->tiers);
	g_array_unref(inv->initiators);
	g_ptr_array_unref(inv->warnings);
	g_array_unref(inv->starts);
	g_free(inv);
	return NULL;
}

void inventory_set_module(struct inventory *inv, bool usable)
{
	inv->module = usable;
}

static int place_of(struct inventory *inv, uint64_t start)
{
	unsigned int i = 0;

	while (i < inv->starts->len && g_array_index(inv->starts, uint64_t, i) != start)
		i++;
	if (i == inv->starts->len)
		g_array_append_val(inv->starts, start);
	return inv->first_place + (int)i;
}

static void give_places(struct inventory *inv, GPtrArray *drafts)
{
	for (unsigned int i = 0; i < drafts->len; i++) {
		struct tier *t = ((struct draft *)drafts->pdata[i])->tier;

		if (t->backing == BACKING_DAX && t->start != 0)
			t->place = place_of(inv, t->start);
	}
}

static void index_tiers(struct inventory *inv)
{
	g_hash_table_remove_all(inv->by_name);
	g_hash_table_remove_all(inv->by_node);
	for (unsigned int i = 0; i < inv->tiers->len; i++) {
		struct tier *t = inv->tiers->pdata[i];

		g_hash_table_insert(inv->by_name, t->name, t);
		for (unsigned int j = 0; j < tier_n_places(t); j++)
			g_hash_table_insert(inv->by_node, GINT_TO_POINTER(tier_place(t, j)), t);
	}
}

static bool same_lists(const GPtrArray *a, const GPtrArray *b)
{
	if (a->len != b->len)
		return false;
	for (unsigned int i = 0; i < a->len; i++)
		if (strcmp(a->pdata[i], b->pdata[i]) != 0)
			return false;
	return true;
}

static bool same_state(const struct inventory *inv, const GPtrArray *tiers,
		       const GArray *initiators, const GPtrArray *warnings)
{
	if (inv->tiers->len != tiers->len || inv->initiators->len != initiators->len ||
	    !same_lists(inv->warnings, warnings))
		return false;
	for (unsigned int i = 0; i < initiators->len; i++)
		if (g_array_index(inv->initiators, int, i) != g_array_index(initiators, int, i))
			return false;
	for (unsigned int i = 0; i < tiers->len; i++)
		if (!tier_equal(inv->tiers->pdata[i], tiers->pdata[i]))
			return false;
	return true;
}

static struct tier *gone(const struct tier *old)
{
	struct tier *t = tier_copy(old);

	g_array_unref(t->nodes);
	t->nodes = g_array_new(FALSE, FALSE, sizeof(int));
	g_array_unref(t->perf);
	t->perf = g_array_copy(old->perf);
	t->free = 0;
	if (old->state != TIER_MISSING) {
		t->state = TIER_MISSING;
		g_free(t->state_reason);
		t->state_reason = g_strdup_printf(
			"its memory was there and is gone; morsels still name the tier (it was %s)",
			tier_state_to_string(old->state));
	}
	return t;
}

static bool has_name(const GPtrArray *drafts, const char *name)
{
	for (unsigned int i = 0; i < drafts->len; i++) {
		const struct draft *d = drafts->pdata[i];

		if (strcmp(d->tier->name, name) == 0)
			return true;
	}
	return false;
}

int inventory_refresh(struct inventory *inv, const struct config *config,
		      bool (*in_use)(const char *name, void *userdata), void *userdata,
		      bool *ret_changed)
{
	g_autoptr(GPtrArray) drafts = NULL, tiers = NULL;
	struct facts *facts;
	bool changed;

	facts = facts_read(inv->root_fd, inv->real_root);
	drafts = merge_facts(facts);
	override_before_names(drafts, config, facts->initiators);
	tier_names_assign(inv->names, drafts);
	claim_devices(facts->dax, config, inv->module, drafts);
	give_places(inv, drafts);
	override_after_names(drafts, config, facts->initiators);

	tiers = g_ptr_array_new_with_free_func(unref_tier);
	for (unsigned int i = 0; i < drafts->len; i++) {
		struct draft *d = drafts->pdata[i];

		g_ptr_array_add(tiers, tier_ref(d->tier));
	}
	for (unsigned int i = 0; in_use != NULL && i < inv->tiers->len; i++) {
		const struct tier *old = inv->tiers->pdata[i];

		if (!has_name(drafts, old->name) && in_use(old->name, userdata))
			g_ptr_array_add(tiers, gone(old));
	}
	g_ptr_array_sort(tiers, tier_compare);
	perf_rank(tiers, facts->initiators);

	changed = !same_state(inv, tiers, facts->initiators, facts->warnings);
	g_ptr_array_unref(inv->tiers);
	inv->tiers = g_steal_pointer(&tiers);
	g_array_unref(inv->initiators);
	inv->initiators = g_array_ref(facts->initiators);
	g_ptr_array_unref(inv->warnings);
	inv->warnings = g_ptr_array_ref(facts->warnings);
	index_tiers(inv);
	facts_free(facts);
	if (ret_changed)
		*ret_changed = changed;
	return 0;
}

int inventory_refresh_free(struct inventory *inv)
{
	int ret = 0;

	for (unsigned int i = 0; i < inv->tiers->len; i++) {
		struct tier *t = inv->tiers->pdata[i], *fresh;
		uint64_t sum = 0;
		int r = 0;

		if (!tier_has_pages(t))
			continue;
		for (unsigned int j = 0; j < t->nodes->len && r == 0; j++) {
			uint64_t total, free_bytes;

			r = node_read_meminfo(inv->root_fd, g_array_index(t->nodes, int, j), &total,
					      &free_bytes);
			if (r == 0)
				sum += free_bytes;
		}
		/* A node that went away is the next refresh's business. */
		if (r < 0) {
			ret = r;
			continue;
		}
		if (sum == t->free)
			continue;
		/* Others may be reading the one that was handed out. */
		fresh = tier_copy(t);
		fresh->free = sum;
		inv->tiers->pdata[i] = fresh;
		tier_unref(t);
	}
	index_tiers(inv);
	return ret;
}

const GPtrArray *inventory_tiers(const struct inventory *inv)
{
	return inv->tiers;
}

const GArray *inventory_initiators(const struct inventory *inv)
{
	return inv->initiators;
}

struct tier *inventory_tier(const struct inventory *inv, const char *name)
{
	return g_hash_table_lookup(inv->by_name, name);
}

struct tier *inventory_tier_of_node(const struct inventory *inv, int node)
{
	return g_hash_table_lookup(inv->by_node, GINT_TO_POINTER(node));
}

bool inventory_is_node(const struct inventory *inv, int place)
{
	return place < inv->first_place;
}

const GPtrArray *inventory_warnings(const struct inventory *inv)
{
	return inv->warnings;
}
