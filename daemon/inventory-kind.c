/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "inventory-merge.h"
#include "warnings.h"

/*
 * What a node's memory is, with the evidence. The order is that of certainty: what the kernel or the
 * firmware says of the device behind it, then that it has CPUs, then that a device claims it, and
 * only then a conclusion from numbers. Without any of them it stays memory-only.
 */

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

int merge_hbm_initiator(const struct facts *f, int node, char **ret_detail)
{
	for (unsigned int i = 0; i < f->initiators->len; i++) {
		int initiator = g_array_index(f->initiators, int, i);
		struct perf_numbers own, other;
		uint32_t own_bw, other_bw, own_lat, other_lat;

		facts_perf_node(f, initiator, initiator, &own);
		facts_perf_node(f, initiator, node, &other);
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

static bool overlaps(const GArray *ranges, uint64_t start, uint64_t end)
{
	for (unsigned int i = 0; i < ranges->len; i++) {
		const struct phys_range *r = &g_array_index(ranges, struct phys_range, i);

		if (r->start < end && start < r->end)
			return true;
	}
	return false;
}

/*
 * The regions behind a node: those whose dax devices were made its memory, and those that the
 * firmware set up and gave out as ordinary memory (then there is no dax device).
 */
static GPtrArray *regions_of(const struct facts *f, const struct node_fact *n)
{
	GPtrArray *regions = g_ptr_array_new();

	for (unsigned int i = 0; i < f->cxl->regions->len; i++) {
		struct cxl_region_fact *r = f->cxl->regions->pdata[i];
		bool is_behind = false, has_dax = false;

		if (!r->committed)
			continue;
		for (unsigned int j = 0; j < f->dax->devices->len; j++) {
			const struct dax_device *dax = f->dax->devices->pdata[j];

			if (g_strcmp0(dax->cxl_region, r->name) != 0)
				continue;
			has_dax = true;
			is_behind = is_behind ||
				    (dax->mode == DAX_SYSTEM_RAM && dax->target_node == n->id);
		}
		if (!has_dax && r->size > 0)
			is_behind = overlaps(n->ranges, r->start, r->start + r->size);
		if (is_behind)
			g_ptr_array_add(regions, r);
	}
	return regions;
}

static void add_dax_devices(const struct facts *f, const struct node_fact *n, struct draft *d)
{
	for (unsigned int i = 0; i < f->dax->devices->len; i++) {
		const struct dax_device *dax = f->dax->devices->pdata[i];

		if (dax->mode != DAX_SYSTEM_RAM || dax->target_node != n->id)
			continue;
		if (dax->nd_region != NULL) {
			const struct nd_region *r = merge_find_nd_region(f, dax->nd_region);

			if (r != NULL)
				merge_nd_dax_keys(r, dax, d);
		}
		if (dax->start != 0)
			draft_add_key(d, "dax:%" G_GINT64_MODIFIER "x", dax->start);
		draft_add_device(d, dax->name);
		warnings_add_all(d->tier->warnings, dax->warnings);
	}
}

static bool judge_regions(const struct facts *f, const struct node_fact *n, struct draft *d)
{
	g_autoptr(GPtrArray) regions = regions_of(f, n);
	g_autoptr(GString) detail = g_string_new(NULL);

	if (regions->len == 0)
		return false;
	for (unsigned int i = 0; i < regions->len; i++) {
		const struct cxl_region_fact *r = regions->pdata[i];
		g_autofree char *one = merge_region_detail(r);

		g_string_append_printf(detail, "%s%s", i > 0 ? ", " : "", one);
		merge_region_keys(f, r, d);
		draft_add_device(d, r->name);
		warnings_add_all(d->tier->warnings, r->warnings);
		for (unsigned int j = 0; j < r->memdevs->len; j++) {
			const struct cxl_memdev_fact *m = r->memdevs->pdata[j];

			warnings_add_all(d->tier->warnings, m->warnings);
		}
	}
	if (n->has_cpu) {
		warnings_add(d->tier->warnings, "CXL memory is mixed into the DRAM of node %d: %s",
			     n->id, detail->str);
		return false;
	}
	d->tier->kind = TIER_CXL;
	d->tier->evidence = EVIDENCE_CXL_REGION;
	draft_set_detail(d, "%s", detail->str);
	merge_fill_perf(f, regions->pdata[0], d);
	return true;
}

static bool judge_nd_dax(const struct facts *f, const struct node_fact *n, struct draft *d)
{
	for (unsigned int i = 0; i < f->dax->devices->len; i++) {
		const struct dax_device *dax = f->dax->devices->pdata[i];
		const struct nd_region *r;

		if (dax->mode != DAX_SYSTEM_RAM || dax->target_node != n->id ||
		    dax->nd_region == NULL)
			continue;
		r = merge_find_nd_region(f, dax->nd_region);
		if (r == NULL)
			continue;
		if (n->has_cpu) {
			warnings_add(
				d->tier->warnings,
				"persistent memory of %s (%s) is mixed into the DRAM of node %d",
				r->name, dax->name, n->id);
			return false;
		}
		merge_judge_nd(f, r, d);
		return true;
	}
	return false;
}

/* A window that no region explains: the firmware set it up and the kernel did not look inside. */
static bool judge_windows(const struct facts *f, const struct node_fact *n, struct draft *d)
{
	uint64_t start = 0, end = 0;
	const char *name = "CEDT";

	for (unsigned int i = 0; i < f->cxl->windows->len && end == 0; i++) {
		const struct cxl_window_fact *w = f->cxl->windows->pdata[i];

		if (w->size > 0 && overlaps(n->ranges, w->start, w->start + w->size)) {
			start = w->start;
			end = w->start + w->size;
			name = w->name;
		}
	}
	for (unsigned int i = 0; i < f->acpi->windows->len && end == 0; i++) {
		const struct acpi_window *w =
			&g_array_index(f->acpi->windows, struct acpi_window, i);

		if (overlaps(n->ranges, w->start, w->end)) {
			start = w->start;
			end = w->end;
		}
	}
	if (end == 0)
		return false;
	d->tier->kind = TIER_CXL;
	d->tier->evidence = EVIDENCE_CEDT;
	draft_set_detail(d,
			 "in the firmware's CXL window 0x%" G_GINT64_MODIFIER
			 "x-0x%" G_GINT64_MODIFIER "x (%s)",
			 start, end - 1, name);
	return true;
}

static bool judge_gpu(const struct facts *f, const struct node_fact *n, struct draft *d)
{
	for (unsigned int i = 0; i < f->gpus->len; i++) {
		const struct gpu_device *g = f->gpus->pdata[i];
		const char *says = NULL;

		if (g->numa_node == n->id)
			says = "numa_node";
		/* Firmware that gives a GPU several nodes names it as their initiator in SRAT. */
		for (unsigned int j = 0; j < f->acpi->devices->len && says == NULL; j++) {
			const struct acpi_device *a =
				&g_array_index(f->acpi->devices, struct acpi_device, j);

			if (!a->port && a->pci && a->segment == g->segment && a->bus == g->bus &&
			    a->devfn == g->devfn && acpi_node_of_pxm(f->acpi, a->pxm) == n->id)
				says = "SRAT";
		}
		if (says == NULL)
			continue;
		d->tier->kind = TIER_GPU;
		d->tier->evidence = EVIDENCE_DEVICE;
		draft_set_detail(d, "PCI device %s (class 0x%06x) is on node %d by its %s", g->name,
				 g->class, n->id, says);
		draft_add_key(d, "gpu:%s:%d", g->name, n->id);
		return true;
	}
	return false;
}

void merge_judge_node(const struct facts *f, const struct node_fact *n, struct draft *d)
{
	g_autofree char *detail = NULL;
	bool filled, known;

	filled = known = judge_regions(f, n, d);
	add_dax_devices(f, n, d);
	known = known || judge_nd_dax(f, n, d);
	if (!known && n->has_cpu) {
		d->tier->kind = TIER_DRAM;
		d->tier->evidence = EVIDENCE_CPU_NODE;
		draft_set_detail(d, "node %d has CPUs", n->id);
		known = true;
	}
	known = known || judge_windows(f, n, d) || judge_gpu(f, n, d);
	if (!known && merge_hbm_initiator(f, n->id, &detail) >= 0) {
		d->tier->kind = TIER_HBM;
		d->tier->evidence = EVIDENCE_HMAT_GUESS;
		draft_set_detail(d, "%s", detail);
		known = true;
	}
	if (!known) {
		d->tier->kind = TIER_MEMORY_ONLY;
		d->tier->evidence = EVIDENCE_NONE;
		draft_set_detail(d, "node %d has no CPUs, and nothing says what it is", n->id);
	}
	if (!filled)
		merge_fill_perf(f, NULL, d);
}
