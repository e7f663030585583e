/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "storage-node.h"

/*
 * The daemon's look at a piece of an object. The kernel tells and moves only pages that are in the
 * caller's own page table, so a window of the object is mapped and what exists of it is brought in: nothing is
 * allocated, swapped pages stay where they are. The window's pages are then listed, a 2 MiB page that is
 * mapped as one as one entry.
 *
 * Used by one thread; costs per window of WINDOW_SIZE: docs/storage-node.md.
 */
#define WINDOW_SIZE (UINT64_C(64) << 20)

struct node_view {
	struct storage_object *o;
	char *reserved; /* address space for a window, owned */
	size_t reserved_length;
	int pagemap;   /* /proc/self/pagemap, or -1 */
	int numa_maps; /* /proc/self/numa_maps, or -1 */
	bool thorough; /* bring each page in by itself: the kernel maps no neighbours along */

	char *base;		 /* of the window: the page at offset */
	uint64_t offset, length; /* what is mapped */

	/* What exists in memory, by offset: see node_view_list(). */
	size_t n;
	void **pages;
	uint32_t *bytes;		/* of the window in that page: 4096, or up to 2 MiB */
	int *status;			/* node, or negative errno */
	uint64_t absent, swapped, huge; /* bytes */
	int only_node;			/* where all of them are; -1: not known, or on several */
};

int node_view_open(struct storage_object *o, struct node_view *ret_view);
void node_view_close(struct node_view *v);

/*
 * Map [offset, offset + length), at most WINDOW_SIZE, not crossing more than WINDOW_SIZE / GRANULE_SIZE
 * granules.
 */
int node_view_map(struct node_view *v, uint64_t offset, uint64_t length);
/*
 * List the window's pages, in order of their offsets. A page that a client frees in this moment may come
 * back as a zero page: the price of not stopping anybody. One whose memory has failed is listed, and then has
 * no node.
 */
int node_view_list(struct node_view *v);

/* Where are the listed pages? Fills status. */
int node_view_ask(struct node_view *v);

static inline uint64_t node_view_page_offset(const struct node_view *v, size_t i)
{
	return v->offset + (uint64_t)((char *)v->pages[i] - v->base);
}

/* Where in [offset, end) the first granule begins that has anything in it, or end: for large holes. */
uint64_t node_next_data(const struct storage_object *o, uint64_t offset, uint64_t end);

/* The end of the window that begins at offset: windows are cut at multiples of WINDOW_SIZE. */
static inline uint64_t node_window_end(uint64_t offset, uint64_t end)
{
	return MIN(end, (offset / WINDOW_SIZE + 1) * WINDOW_SIZE);
}
