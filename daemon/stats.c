// SPDX-License-Identifier: GPL-2.0-or-later
#include "stats.h"

void stats_init(struct stats *s)
{
	s->move_failed_reasons = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	s->placed = g_hash_table_new_full(NULL, NULL, NULL, g_free);
}

void stats_done(struct stats *s)
{
	g_clear_pointer(&s->move_failed_reasons, g_hash_table_unref);
	g_clear_pointer(&s->placed, g_hash_table_unref);
}

void stats_add(GHashTable *table, gpointer key, uint64_t bytes)
{
	uint64_t *sum = g_hash_table_lookup(table, key);

	if (!sum) {
		sum = g_new0(uint64_t, 1);
		g_hash_table_insert(table, key, sum);
	}
	*sum += bytes;
}
