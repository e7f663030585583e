/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "plan-internal.h"

/* Equal values in the order of their granules, so that a run gives the same result everywhere. */
static bool less(const struct plan_entry *a, const struct plan_entry *b)
{
	return a->value != b->value ? a->value < b->value : a->granule < b->granule;
}

static void sift_down(struct plan_entry *heap, uint32_t count, uint32_t i)
{
	struct plan_entry e = heap[i];

	for (uint32_t child; (child = 2 * i + 1) < count; i = child) {
		if (child + 1 < count && less(&heap[child], &heap[child + 1]))
			child++;
		if (!less(&e, &heap[child]))
			break;
		heap[i] = heap[child];
	}
	heap[i] = e;
}

void plan_offer(struct plan_entry *entries, struct plan_list *list, uint32_t size,
		struct plan_entry e)
{
	struct plan_entry *heap = entries + list->start;
	uint32_t i = list->count;

	if (list->count == size) {
		if (size && less(&e, &heap[0])) {
			heap[0] = e;
			sift_down(heap, size, 0);
		}
		return;
	}
	list->count++;
	for (; i && less(&heap[(i - 1) / 2], &e); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = e;
}

void plan_sort(struct plan_entry *entries, uint32_t count)
{
	for (uint32_t i = count / 2; i-- > 0;)
		sift_down(entries, count, i);
	for (uint32_t n = count; n > 1; n--) {
		struct plan_entry e = entries[0];

		entries[0] = entries[n - 1];
		entries[n - 1] = e;
		sift_down(entries, n - 1, 0);
	}
}
