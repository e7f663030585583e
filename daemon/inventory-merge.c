/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-merge.h"

#include <string.h>

#include "numlist.h"
#include "warnings.h"

static void add_perf(struct draft *d, const struct facts *f, int initiator, int node,
		     const struct perf_numbers *numbers, enum perf_source source)
{
	struct tier_perf p;

	/* Compared as bytes later: no padding may differ. */
	memset(&p, 0, sizeof(p));
	p.initiator = initiator;
	p.read_lat_ns = numbers->read_lat_ns;
	p.write_lat_ns = numbers->write_lat_ns;
	p.read_bw_mbs = numbers->read_bw_mbs;
	p.write_bw_mbs = numbers->write_bw_mbs;
	p.lat_source = p.read_lat_ns || p.write_lat_ns ? source : PERF_UNKNOWN;
	p.bw_source = p.read_bw_mbs || p.write_bw_mbs ? source : PERF_UNKNOWN;
	p.distance = perf_distance(f->nodes, initiator, node);
	g_array_append_val(d->tier->perf, p);
}

static bool any_number(const struct perf_numbers *p)
{
	return p->read_lat_ns || p->write_lat_ns || p->read_bw_mbs || p->write_bw_mbs;
}

/*
 * The kernel gives a region's numbers for the nearest CPUs without saying which those are: the
 * initiators at the smallest distance, or the only one.
 */
static bool is_nearest(const struct facts *f, int initiator, int node)
{
	unsigned int own = perf_distance(f->nodes, initiator, node);

	if (f->initiators->len == 1)
		return true;
	for (unsigned int i = 0; i < f->initiators->len && own != 0; i++) {
		unsigned int other =
			perf_distance(f->nodes, g_array_index(f->initiators, int, i), node);

		if (other != 0 && other < own)
			return false;
	}
	return own != 0;
}

void merge_fill_perf(const struct facts *f, const struct cxl_region_fact *region, struct draft *d)
{
	const struct tier *t = d->tier;
	int node = t->nodes->len > 0 ? g_array_index(t->nodes, int, 0) : t->target_node;

	if (t->nodes->len == 0 && numlist_contains(f->initiators, node))
		/* A device that was put into the domain of a socket: the domain's numbers are
		 * its DRAM's. */
		node = -1;
	for (unsigned int i = 0; i < f->initiators->len; i++) {
		int initiator = g_array_index(f->initiators, int, i);
		enum perf_source source = PERF_HMAT;
		struct perf_numbers numbers;

		facts_perf_node(f, initiator, node, &numbers);
		if (region != NULL) {
			struct perf_numbers table;

			/* The kernel computed the node's from CDAT and HMAT together, unless the
			 * firmware's HMAT knows the node itself. */
			acpi_perf_nodes(f->acpi, initiator, node, &table);
			if (!any_number(&table))
				source = PERF_CDAT;
			if (!any_number(&numbers) && is_nearest(f, initiator, node)) {
				numbers = region->access[1];
				perf_numbers_fill(&numbers, &region->access[0]);
			}
			if (!any_number(&numbers))
				facts_perf_cxl(f, initiator, region->memdevs, region->mode,
					       &numbers);
		}
		add_perf(d, f, initiator, node, &numbers, source);
	}
}

void merge_fill_perf_memdev(const struct facts *f, const struct cxl_memdev_fact *m,
			    enum cxl_mode mode, struct draft *d)
{
	g_autoptr(GPtrArray) memdevs = g_ptr_array_new();

	g_ptr_array_add(memdevs, (void *)m);
	for (unsigned int i = 0; i < f->initiators->len; i++) {
		int initiator = g_array_index(f->initiators, int, i);
		struct perf_numbers numbers;

		facts_perf_cxl(f, initiator, memdevs, mode, &numbers);
		add_perf(d, f, initiator, -1, &numbers, PERF_CDAT);
	}
}

#define ONLINE_ADVICE \
	"write online_movable to the state files in /sys/devices/system/node/node%d/memory*"

static void judge_state(const struct node_fact *n, uint64_t block_size, struct draft *d)
{
	uint64_t blocks = n->blocks_online + n->blocks_offline;
	uint64_t offline_mib = n->blocks_offline * (block_size >> 20);

	if (n->total == 0) {
		d->tier->capacity = n->blocks_offline * block_size;
		draft_set_state(d, TIER_OFFLINE,
				"all %" G_GUINT64_FORMAT
				" memory blocks of node %d are offline: " ONLINE_ADVICE,
				blocks, n->id, n->id);
	} else if (n->blocks_offline > 0) {
		draft_set_state(d, TIER_DEGRADED,
				"%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
				" memory blocks of node %d "
				"(%" G_GUINT64_FORMAT " MiB) are offline: " ONLINE_ADVICE,
				n->blocks_offline, blocks, n->id, offline_mib, n->id);
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

static struct draft *draft_of_node(const struct facts *f, const struct node_fact *n)
{
	struct draft *d = draft_new();

	d->tier->backing = BACKING_NODE;
	d->tier->target_node = n->id;
	d->tier->capacity = n->total;
	d->tier->free = n->free;
	d->tier->memory_tier = n->memory_tier;
	g_array_append_val(d->tier->nodes, n->id);
	merge_judge_node(f, n, d);
	/* After those of devices: a node's number is what changes most easily. */
	draft_add_key(d, "node:%d", n->id);
	judge_state(n, f->nodes->block_size, d);
	warnings_add_all(d->tier->warnings, n->warnings);
	return d;
}

static bool is_attached(const GPtrArray *drafts, const char *warning)
{
	for (unsigned int i = 0; i < drafts->len; i++) {
		const struct draft *d = drafts->pdata[i];

		if (g_ptr_array_find_with_equal_func(d->tier->warnings, warning, g_str_equal, NULL))
			return true;
	}
	return false;
}

static void keep_list(const struct facts *f, const GPtrArray *drafts, const GPtrArray *warnings)
{
	for (unsigned int i = 0; i < warnings->len; i++)
		if (!is_attached(drafts, warnings->pdata[i]))
			warnings_add(f->warnings, "%s", (const char *)warnings->pdata[i]);
}

/* A device whose size cannot be read is no tier: what is wrong with it must be seen all the same. */
static void keep_unattached(const struct facts *f, const GPtrArray *drafts)
{
	for (unsigned int i = 0; i < f->cxl->memdevs->len; i++)
		keep_list(f, drafts,
			  ((struct cxl_memdev_fact *)f->cxl->memdevs->pdata[i])->warnings);
	for (unsigned int i = 0; i < f->cxl->regions->len; i++)
		keep_list(f, drafts,
			  ((struct cxl_region_fact *)f->cxl->regions->pdata[i])->warnings);
	for (unsigned int i = 0; i < f->dax->devices->len; i++)
		keep_list(f, drafts, ((struct dax_device *)f->dax->devices->pdata[i])->warnings);
	for (unsigned int i = 0; i < f->nd->regions->len; i++)
		keep_list(f, drafts, ((struct nd_region *)f->nd->regions->pdata[i])->warnings);
}

GPtrArray *merge_facts(const struct facts *f)
{
	GPtrArray *drafts = g_ptr_array_new_with_free_func(draft_free);

	for (unsigned int i = 0; i < f->nodes->nodes->len; i++) {
		const struct node_fact *n = f->nodes->nodes->pdata[i];

		/* Nodes without memory are initiators, or wait for memory (GPUs announce several). */
		if (n->total == 0 && n->blocks_offline == 0) {
			warnings_add_all(f->warnings, n->warnings);
			continue;
		}
		g_ptr_array_add(drafts, draft_of_node(f, n));
	}
	merge_devices(f, drafts);
	keep_unattached(f, drafts);
	return drafts;
}
