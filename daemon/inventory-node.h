/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "inventory-perf.h"

/*
 * What the kernel says of its NUMA nodes: /sys/devices/system/node, the memory blocks of
 * /sys/devices/system/memory, and /sys/devices/virtual/memory_tiering. No judgement here: kinds and
 * names are inventory-merge's.
 */

/* Half-open range of physical addresses. */
struct phys_range {
	uint64_t start, end;
};

struct node_fact {
	int id;
	bool has_cpu;
	uint64_t total, free;	/* bytes; 0 for a node without memory */
	uint64_t blocks_online; /* memory blocks; 0 for both where the kernel has no hotplug */
	uint64_t blocks_offline;
	uint64_t failures; /* pages that hardware poison took, since boot */
	GArray *ranges;	   /* of struct phys_range: the blocks, merged, ascending */
	GArray *distance;  /* of unsigned int, index: node number; 0 unknown */
	/* Numbers of accessN and whom they hold for. Kernel: Documentation/admin-guide/mm/numaperf.rst.
	 * 0: best initiator of any sort, 1: best among nodes with CPUs. */
	struct node_access {
		GArray *initiators; /* of int */
		struct perf_numbers numbers;
	} access[2];
	int memory_tier;     /* N of memory_tierN; -1 */
	GPtrArray *warnings; /* of char * */
};

struct node_facts {
	GPtrArray *nodes;    /* of struct node_fact *, ascending */
	GArray *possible;    /* of int */
	uint64_t block_size; /* bytes; 0: memory blocks are not there */
	GPtrArray *warnings; /* of char *: belong to no node */
};

/*
 * Reads them below root_fd. Files that cannot be read or understood become warnings; only a root
 * with no readable list of nodes at all gives no nodes, and a warning. Never fails.
 */
struct node_facts *node_facts_read(int root_fd);
struct node_facts *node_facts_free(struct node_facts *f); /* takes NULL, returns NULL */

const struct node_fact *node_facts_get(const struct node_facts *f, int id); /* NULL: not online */

/* Free and total bytes of one node, from its meminfo. */
int node_read_meminfo(int root_fd, int id, uint64_t *ret_total, uint64_t *ret_free);
