/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "storage-node-policy.h"

struct interval {
	uint64_t start, end;
	int node;
};

struct policy_map {
	GArray *intervals; /* of struct interval, ascending, disjoint, never empty ones */
};

struct policy_map *policy_map_new(void)
{
	struct policy_map *map = g_new0(struct policy_map, 1);

	map->intervals = g_array_new(false, false, sizeof(struct interval));
	return map;
}

struct policy_map *policy_map_free(struct policy_map *map)
{
	if (!map)
		return NULL;
	g_array_unref(map->intervals);
	g_free(map);
	return NULL;
}

unsigned int policy_map_len(const struct policy_map *map)
{
	return map ? map->intervals->len : 0;
}

/* The first interval that ends at or after offset: the first that a range from there touches. */
static unsigned int first_touching(const GArray *intervals, uint64_t offset)
{
	unsigned int low = 0, high = intervals->len;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (g_array_index(intervals, struct interval, mid).end < offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int policy_map_set(struct policy_map *map, uint64_t start, uint64_t end, int node,
		   unsigned int limit)
{
	struct interval fresh = { start, end, node }, pieces[3];
	unsigned int from = first_touching(map->intervals, start), to, n = 0;
	struct interval left = {}, right = {};

	/* [from, to) touch the new one: swallowed, merged with it, or cut at its edges. */
	for (to = from; to < map->intervals->len; to++) {
		struct interval old = g_array_index(map->intervals, struct interval, to);

		if (old.start > end)
			break;
		if (old.node == node) {
			fresh.start = MIN(fresh.start, old.start);
			fresh.end = MAX(fresh.end, old.end);
			continue;
		}
		if (old.start < start)
			left = (struct interval){ old.start, MIN(old.end, start), old.node };
		if (old.end > end)
			right = (struct interval){ MAX(old.start, end), old.end, old.node };
	}

	if (left.end > left.start)
		pieces[n++] = left;
	pieces[n++] = fresh;
	if (right.end > right.start)
		pieces[n++] = right;
	if (map->intervals->len - (to - from) + n > limit)
		return -E2BIG;
	if (to > from)
		g_array_remove_range(map->intervals, from, to - from);
	g_array_insert_vals(map->intervals, from, pieces, n);
	return 0;
}
