/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake-inventory.h"

#include <stdio.h>
#include <string.h>

struct inventory {
	GPtrArray *tiers;
};

static void free_tier(void *p)
{
	struct tier *t = p;

	g_free(t->name);
	g_free(t->evidence_detail);
	g_free(t->state_reason);
	g_array_unref(t->nodes);
	g_array_unref(t->perf);
	g_ptr_array_unref(t->warnings);
	g_free(t);
}

struct inventory *fake_inventory_new(void)
{
	struct inventory *inv = g_new0(struct inventory, 1);

	inv->tiers = g_ptr_array_new_with_free_func(free_tier);
	return inv;
}

struct inventory *fake_inventory_free(struct inventory *inv)
{
	if (!inv)
		return NULL;
	g_ptr_array_unref(inv->tiers);
	g_free(inv);
	return NULL;
}

struct tier *fake_inventory_add(struct inventory *inv, const char *name, enum tier_state state,
				const int *nodes, unsigned int n)
{
	struct tier *t = g_new0(struct tier, 1);

	t->name = g_strdup(name);
	t->kind = TIER_DRAM;
	t->evidence_detail = g_strdup("");
	t->state = state;
	t->place = -1;
	t->state_reason = g_strdup(n == 0 ? "device in devdax mode" : "");
	t->backing = n > 0 ? BACKING_NODE : BACKING_DAX;
	t->nodes = g_array_new(false, true, sizeof(int));
	g_array_append_vals(t->nodes, nodes, n);
	t->perf = g_array_new(false, true, sizeof(struct tier_perf));
	t->warnings = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(inv->tiers, t);
	return t;
}

unsigned int fake_inventory_add_machine(struct inventory *inv)
{
	unsigned int n = 0;

	for (int node = 0; node < 1024; node++) {
		g_autofree char *path =
			g_strdup_printf("/sys/devices/system/node/node%d/meminfo", node);
		g_autofree char *name = g_strdup_printf("node%d", node), *text = NULL;
		const char *total;

		if (!g_file_get_contents(path, &text, NULL, NULL))
			continue;
		total = strstr(text, "MemTotal:");
		if (total && g_ascii_strtoull(total + strlen("MemTotal:"), NULL, 10) > 0) {
			fake_inventory_add(inv, name, TIER_ONLINE, &node, 1);
			n++;
		}
	}
	return n;
}

const GPtrArray *inventory_tiers(const struct inventory *inv)
{
	return inv->tiers;
}

struct tier *inventory_tier(const struct inventory *inv, const char *name)
{
	for (unsigned int i = 0; i < inv->tiers->len; i++) {
		struct tier *t = inv->tiers->pdata[i];

		if (g_str_equal(t->name, name))
			return t;
	}
	return NULL;
}
