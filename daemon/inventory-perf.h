/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "tier.h"

struct node_facts;

/* The four numbers that HMAT, CDAT and sysfs have of one path; 0: unknown. */
struct perf_numbers {
	uint32_t read_lat_ns, write_lat_ns; /* ns */
	uint32_t read_bw_mbs, write_bw_mbs; /* MB/s, 10^6 bytes */
};

/* Takes from `from` what p does not know. */
void perf_numbers_fill(struct perf_numbers *p, const struct perf_numbers *from);

/* SLIT distance, 0: unknown. */
unsigned int perf_distance(const struct node_facts *nodes, int initiator, int node);

/* What sysfs says of the path; all 0 where it names other initiators only. */
void perf_of_node(const struct node_facts *nodes, int initiator, int node,
		  struct perf_numbers *ret_numbers);

/*
 * Writes the ranks into tiers' perf entries (of struct tier *, not handed out yet): see tier.h. Where
 * one tier that holds pages has no latency or bandwidth, all are ranked by distance; tiers without
 * the number that is compared come last, as equals.
 */
void perf_rank(GPtrArray *tiers, const GArray *initiators);
