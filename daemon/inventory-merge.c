/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-merge.h"

#include <string.h>

#include "inventory-draft.h"
#include "warnings.h"

/*
 * How much faster than its initiator's own DRAM a node must be to be called HBM. Sockets with HBM have
 * 3 to 5 times their DRAM's bandwidth, by the makers' figures; DRAM without CPUs that differs only in
 * the number of channels populated stays under 1.5 (8 against 6: 1.33). As ratio of integers.
 */
#define HBM_BW_NUM 3
#define HBM_BW_DEN 2
/* And no slower to answer than twice that DRAM: wide but far memory is no HBM. */
#define HBM_LAT_FACTOR 2

static uint32_t read_or_write(uint32_t r, uint32_t w)
{
	return r != 0 ? r : w;
}

/* The initiator for which node is HBM by the firmware's numbers, or -1. */
static int hbm_initiator(const struct facts *f, const struct node_fact *n, char **ret_detail)
{
	for (unsigned int i = 0; i < f->initiators->len; i++) {
		int initiator = g_array_index(f->initiators, int, i);
		struct perf_numbers own, other;
		uint32_t own_bw, other_bw, own_lat, other_lat;

		perf_of_node(f->nodes, initiator, initiator, &own);
		perf_of_node(f->nodes, initiator, n->id, &other);
		own_bw = read_or_write(own.read_bw_mbs, own.write_bw_mbs);
		other_bw = read_or_write(other.read_bw_mbs, other.write_bw_mbs);
		own_lat = read_or_write(own.read_lat_ns, own.write_lat_ns);
		other_lat = read_or_write(other.read_lat_ns, other.write_lat_ns);
		if (own_bw == 0 || other_bw == 0 ||
		    (uint64_t)other_bw * HBM_BW_DEN < (uint64_t)own_bw * HBM_BW_NUM)
			continue;
		if (own_lat != 0 && other_lat > (uint64_t)own_lat * HBM_LAT_FACTOR)
			continue;
		*ret_detail = g_strdup_printf("%u MB/s from node %d, whose own memory has %u MB/s",
					      other_bw, initiator, own_bw);
		return initiator;
	}
	return -1;
}

static void judge_kind(const struct facts *f, const struct node_fact *n, struct draft *d)
{
	g_autofree char *detail = NULL;

	if (n->has_cpu) {
		d->tier->kind = TIER_DRAM;
		d->tier->evidence = EVIDENCE_CPU_NODE;
		draft_set_detail(d, "node %d has CPUs", n->id);
	} else if (hbm_initiator(f, n, &detail) >= 0) {
		d->tier->kind = TIER_HBM;
		d->tier->evidence = EVIDENCE_HMAT_GUESS;
		draft_set_detail(d, "%s", detail);
	} else {
		d->tier->kind = TIER_MEMORY_ONLY;
		d->tier->evidence = EVIDENCE_NONE;
		draft_set_detail(d, "node %d has no CPUs, and nothing says what it is", n->id);
	}
}

static void judge_state(const struct node_fact *n, uint64_t block_size, struct draft *d)
{
	uint64_t blocks = n->blocks_online + n->blocks_offline;
	uint64_t offline_mib = n->blocks_offline * (block_size >> 20);

	if (n->total == 0) {
		d->tier->capacity = n->blocks_offline * block_size;
		draft_set_state(d, TIER_OFFLINE,
				"all %" G_GUINT64_FORMAT " memory blocks of node %d are offline: "
				"write online_movable to /sys/devices/system/memory/memory*/state",
				blocks, n->id);
	} else if (n->blocks_offline > 0) {
		draft_set_state(d, TIER_DEGRADED,
				"%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
				" memory blocks of node %d "
				"(%" G_GUINT64_FORMAT " MiB) are offline: write online_movable to "
				"/sys/devices/system/memory/memory*/state",
				n->blocks_offline, blocks, n->id, offline_mib);
	} else if (n->failures > 0) {
		draft_set_state(d, TIER_DEGRADED,
				"%" G_GUINT64_FORMAT
				" pages of node %d were taken out of use after "
				"memory errors",
				n->failures, n->id);
	} else {
		draft_set_state(d, TIER_ONLINE, "%s", "");
	}
}

static void fill_perf(const struct facts *f, const struct node_fact *n, struct draft *d)
{
	for (unsigned int i = 0; i < f->initiators->len; i++) {
		int initiator = g_array_index(f->initiators, int, i);
		struct tier_perf p;
		struct perf_numbers numbers;

		/* Compared as bytes later: no padding may differ. */
		memset(&p, 0, sizeof(p));
		perf_of_node(f->nodes, initiator, n->id, &numbers);
		p.initiator = initiator;
		p.read_lat_ns = numbers.read_lat_ns;
		p.write_lat_ns = numbers.write_lat_ns;
		p.read_bw_mbs = numbers.read_bw_mbs;
		p.write_bw_mbs = numbers.write_bw_mbs;
		p.lat_source = p.read_lat_ns || p.write_lat_ns ? PERF_HMAT : PERF_UNKNOWN;
		p.bw_source = p.read_bw_mbs || p.write_bw_mbs ? PERF_HMAT : PERF_UNKNOWN;
		p.distance = perf_distance(f->nodes, initiator, n->id);
		g_array_append_val(d->tier->perf, p);
	}
}

static struct draft *draft_of_node(const struct facts *f, const struct node_fact *n)
{
	struct draft *d = draft_new();

	draft_add_key(d, "node:%d", n->id);
	d->tier->backing = BACKING_NODE;
	d->tier->target_node = n->id;
	d->tier->capacity = n->total;
	d->tier->free = n->free;
	d->tier->memory_tier = n->memory_tier;
	g_array_append_val(d->tier->nodes, n->id);
	judge_kind(f, n, d);
	judge_state(n, f->nodes->block_size, d);
	fill_perf(f, n, d);
	warnings_add_all(d->tier->warnings, n->warnings);
	return d;
}

GPtrArray *merge_facts(const struct facts *f, GPtrArray *warnings)
{
	GPtrArray *drafts = g_ptr_array_new_with_free_func(draft_free);

	warnings_add_all(warnings, f->nodes->warnings);
	for (unsigned int i = 0; i < f->nodes->nodes->len; i++) {
		const struct node_fact *n = f->nodes->nodes->pdata[i];

		/* Nodes without memory are initiators, or wait for memory (GPUs announce several). */
		if (n->total == 0 && n->blocks_offline == 0) {
			warnings_add_all(warnings, n->warnings);
			continue;
		}
		g_ptr_array_add(drafts, draft_of_node(f, n));
	}
	return drafts;
}
