/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Pages by node of one of this process's own mappings, from /proc/self/numa_maps: one walk of its page
 * table, a tenth of what asking move_pages for every page costs. The file goes through all mappings by
 * address and is read only as far as the wanted one, so that one had better lie below the others.
 */
struct node_counts {
	uint64_t total; /* pages: of 4 KiB, or of 2 MiB with hugetlb */
	int only_node;	/* where all of them are; -1: on several nodes, or none at all */
};

/* Address space of length bytes for such a mapping, below the program and its libraries where that is
 * free; PROT_NONE. NULL: none to be had (errno). */
void *node_count_reserve(uint64_t length);

/* fd: of /proc/self/numa_maps, used by one thread. start: where the mapping begins. -ENODATA: not found
 * (then it lies too high, or the kernel has no such file): ask for each page instead. */
int node_count(int fd, const void *start, struct node_counts *ret_counts);

/* One line of the file, for tests. Not this mapping's: -ENODATA. */
int node_count_parse(const char *line, const void *start, struct node_counts *ret_counts);
