/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage.h"

void storage_residency_init(struct storage_residency *r)
{
	*r = (struct storage_residency){ .by_node = g_array_new(false, true, sizeof(uint64_t)) };
}

void storage_residency_done(struct storage_residency *r)
{
	g_clear_pointer(&r->by_node, g_array_unref);
}

void storage_residency_add(struct storage_residency *r, int node, uint64_t bytes)
{
	if ((unsigned int)node >= r->by_node->len)
		g_array_set_size(r->by_node, node + 1);
	g_array_index(r->by_node, uint64_t, node) += bytes;
}

static void storage_run_clear(void *p)
{
	g_clear_pointer(&((struct storage_run *)p)->by_node, g_array_unref);
}

GArray *storage_runs_new(void)
{
	GArray *runs = g_array_new(false, true, sizeof(struct storage_run));

	g_array_set_clear_func(runs, storage_run_clear);
	return runs;
}

void storage_move_result_init(struct storage_move_result *r)
{
	*r = (struct storage_move_result){
		.reasons = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, g_free),
	};
}

void storage_move_result_done(struct storage_move_result *r)
{
	g_clear_pointer(&r->reasons, g_hash_table_unref);
}

void storage_move_result_fail(struct storage_move_result *r, int error, uint64_t bytes)
{
	uint64_t *sum = g_hash_table_lookup(r->reasons, GINT_TO_POINTER(error));

	if (!sum) {
		sum = g_new0(uint64_t, 1);
		g_hash_table_insert(r->reasons, GINT_TO_POINTER(error), sum);
	}
	*sum += bytes;
	r->failed += bytes;
}

const char *page_backing_to_string(enum page_backing b)
{
	static const char *const names[PAGE_BACKING_MAX] = {
		[PAGES_4K] = "4k",
		[PAGES_THP] = "thp",
		[PAGES_HUGETLB] = "hugetlb",
	};

	return b < PAGE_BACKING_MAX ? names[b] : "unknown";
}
