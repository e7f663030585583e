/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "inventory-merge.h"
#include "kernfile.h"
#include "warnings.h"

/* Memory that is known and is no node's: CXL devices without a region, device-dax, NVDIMMs. Each says
 * what is the next step. */

const struct cxl_region_fact *merge_find_cxl_region(const struct facts *f, const char *name)
{
	for (unsigned int i = 0; name != NULL && i < f->cxl->regions->len; i++) {
		const struct cxl_region_fact *r = f->cxl->regions->pdata[i];

		if (strcmp(r->name, name) == 0)
			return r;
	}
	return NULL;
}

const struct nd_region *merge_find_nd_region(const struct facts *f, const char *name)
{
	for (unsigned int i = 0; name != NULL && i < f->nd->regions->len; i++) {
		const struct nd_region *r = f->nd->regions->pdata[i];

		if (strcmp(r->name, name) == 0)
			return r;
	}
	return NULL;
}

static char *memdev_label(const struct cxl_memdev_fact *m)
{
	return m->serial != 0 ? g_strdup_printf("memdev %s, serial 0x%" G_GINT64_MODIFIER "x",
						m->name, m->serial)
			      : g_strdup_printf("memdev %s at %s", m->name, m->pci);
}

/* Serial numbers stay when mem0 and mem1 race; a device without one is known by its slot. */
static char *memdev_key(const struct cxl_memdev_fact *m, enum cxl_mode mode)
{
	return m->serial != 0 ? g_strdup_printf("cxl:%" G_GINT64_MODIFIER "x:%s", m->serial,
						cxl_mode_to_string(mode))
			      : g_strdup_printf("cxl:%s:%s", m->pci[0] ? m->pci : m->name,
						cxl_mode_to_string(mode));
}

/* The first region on a partition goes on under the bare device's identity. */
static const struct cxl_region_fact *
first_region_of(const struct facts *f, const struct cxl_memdev_fact *m, enum cxl_mode mode)
{
	for (unsigned int i = 0; i < f->cxl->regions->len; i++) {
		const struct cxl_region_fact *r = f->cxl->regions->pdata[i];

		if (r->mode == mode && g_ptr_array_find(r->memdevs, m, NULL))
			return r;
	}
	return NULL;
}

void merge_region_keys(const struct facts *f, const struct cxl_region_fact *r, struct draft *d)
{
	for (unsigned int i = 0; i < r->memdevs->len; i++) {
		const struct cxl_memdev_fact *m = r->memdevs->pdata[i];
		g_autofree char *key = memdev_key(m, r->mode);

		if (first_region_of(f, m, r->mode) == r)
			draft_add_key(d, "%s", key);
	}
	if (r->start != 0)
		draft_add_key(d, "region:%" G_GINT64_MODIFIER "x", r->start);
}

char *merge_region_detail(const struct cxl_region_fact *r)
{
	GString *s = g_string_new(r->name);

	for (unsigned int i = 0; i < r->memdevs->len; i++) {
		g_autofree char *label = memdev_label(r->memdevs->pdata[i]);

		g_string_append_printf(s, "%s%s", i == 0 ? " (" : "; ", label);
	}
	if (r->memdevs->len > 0)
		g_string_append_c(s, ')');
	if (r->ways > 1)
		g_string_append_printf(s, " interleaved %u ways", r->ways);
	if (!r->complete)
		g_string_append(s, " with devices that are not there");
	return g_string_free(s, FALSE);
}

void merge_nd_dax_keys(const struct nd_region *r, const struct dax_device *dax, struct draft *d)
{
	for (unsigned int i = 0; i < r->namespaces->len; i++) {
		const struct nd_namespace *n = r->namespaces->pdata[i];

		if (n->start == 0 || dax->start < n->start || dax->start >= n->start + n->size)
			continue;
		if (n->start == r->start)
			draft_add_key(d, "nd:%" G_GINT64_MODIFIER "x", r->start);
		draft_add_key(d, "ns:%" G_GINT64_MODIFIER "x", n->start);
	}
}

const struct cxl_region_fact *merge_cxl_of_nd(const struct facts *f, const struct nd_region *r)
{
	for (unsigned int i = 0; strcmp(r->provider, "CXL") == 0 && i < f->cxl->regions->len; i++) {
		const struct cxl_region_fact *c = f->cxl->regions->pdata[i];

		if (r->start >= c->start && r->start - c->start < c->size)
			return c;
	}
	return NULL;
}

void merge_judge_nd(const struct facts *f, const struct nd_region *r, struct draft *d)
{
	const struct cxl_region_fact *cxl = merge_cxl_of_nd(f, r);

	if (cxl != NULL) {
		g_autofree char *detail = merge_region_detail(cxl);

		d->tier->kind = TIER_CXL;
		d->tier->evidence = EVIDENCE_CXL_REGION;
		draft_set_detail(d, "%s, persistent", detail);
		merge_region_keys(f, cxl, d);
		draft_add_device(d, cxl->name);
	} else if (strcmp(r->provider, "ACPI.NFIT") == 0) {
		d->tier->kind = TIER_NVM;
		d->tier->evidence = EVIDENCE_NFIT;
		draft_set_detail(d, "%s of the firmware's NVDIMM table", r->name);
	} else {
		/* e820 is memory that the firmware or the command line marked; of_pmem and papr are
		 * other firmwares'. */
		g_autofree char *provider = kernfile_quote(r->provider);

		d->tier->kind = TIER_NVM;
		d->tier->evidence = EVIDENCE_DEVICE;
		draft_set_detail(d, "%s of the nd bus %s", r->name, provider);
	}
	warnings_add_all(d->tier->warnings, r->warnings);
}

static struct draft *offline_draft(enum tier_backing backing, const char *device, uint64_t capacity)
{
	struct draft *d = draft_new();
	const char *slash = strrchr(device, '/');

	d->tier->backing = backing;
	d->tier->device = g_strdup(device);
	d->tier->capacity = capacity;
	d->tier->state = TIER_OFFLINE;
	draft_add_device(d, slash ? slash + 1 : device);
	return d;
}

static void judge_dax(const struct facts *f, const struct dax_device *dax, struct draft *d)
{
	const struct cxl_region_fact *region = merge_find_cxl_region(f, dax->cxl_region);
	const struct nd_region *nd = merge_find_nd_region(f, dax->nd_region);
	g_autofree char *detail = NULL;

	if (dax->cxl_region != NULL) {
		d->tier->kind = TIER_CXL;
		d->tier->evidence = EVIDENCE_CXL_REGION;
		if (region != NULL) {
			detail = merge_region_detail(region);
			merge_region_keys(f, region, d);
			draft_add_device(d, region->name);
			warnings_add_all(d->tier->warnings, region->warnings);
		}
		draft_set_detail(d, "%s", detail ? detail : dax->cxl_region);
	} else if (nd != NULL) {
		merge_judge_nd(f, nd, d);
		merge_nd_dax_keys(nd, dax, d);
	} else if (merge_hbm_initiator(f, dax->target_node, &detail) >= 0) {
		d->tier->kind = TIER_HBM;
		d->tier->evidence = EVIDENCE_HMAT_GUESS;
		draft_set_detail(d, "%s", detail);
	} else {
		draft_set_detail(
			d, dax->hmem ? "memory that the firmware reserved for special purpose; "
				       "nothing says what it is"
				     : "nothing says what it is");
	}
	draft_add_key(d, "dax:%" G_GINT64_MODIFIER "x", dax->start);
	warnings_add_all(d->tier->warnings, dax->warnings);
	merge_fill_perf(f, region != NULL || nd == NULL ? region : merge_cxl_of_nd(f, nd), d);
}

static void add_dax(const struct facts *f, const struct dax_device *dax, GPtrArray *drafts)
{
	const struct node_fact *node = node_facts_get(f->nodes, dax->target_node);
	g_autofree char *path = g_strdup_printf("/dev/%s", dax->name);
	struct draft *d;

	/* The seed of the next device. */
	if (dax->size == 0)
		return;
	/* A node's memory already. */
	if (dax->mode == DAX_SYSTEM_RAM && node != NULL &&
	    (node->total > 0 || node->blocks_offline > 0))
		return;
	d = offline_draft(BACKING_DAX, path, dax->size);
	d->tier->target_node = dax->target_node;
	d->tier->start = dax->start;
	d->tier->uuid = g_strdup(dax->uuid);
	if (dax->mode == DAX_DEVDAX && dax->nd_region)
		/* What is stored there may be wanted: no word of what would lose it. */
		draft_set_state(
			d, TIER_OFFLINE,
			"%s is in devdax mode and holds no pages of a node: daxctl "
			"reconfigure-device --mode=system-ram %s; or Volatile=yes and Uuid=%s in a "
			"[tier] of morseld.conf, for the module",
			dax->name, dax->name, dax->uuid ? dax->uuid : "UUID");
	else if (dax->mode == DAX_DEVDAX)
		draft_set_state(d, TIER_OFFLINE,
				"%s is in devdax mode and holds no pages of a node: daxctl "
				"reconfigure-device --mode=system-ram %s; or Volatile=yes and "
				"Device=/dev/%s in a [tier] of morseld.conf, for the module",
				dax->name, dax->name, dax->name);
	else if (dax->mode == DAX_DISABLED)
		draft_set_state(d, TIER_OFFLINE, "%s has no driver: daxctl enable-device %s",
				dax->name, dax->name);
	else
		draft_set_state(
			d, TIER_OFFLINE,
			"%s is in system-ram mode, but node %d has no memory: daxctl online-memory "
			"%s",
			dax->name, dax->target_node, dax->name);
	judge_dax(f, dax, d);
	g_ptr_array_add(drafts, d);
}

/* Is the region's memory in a tier already: as dax device, as node, or as nd region? */
static bool region_is_covered(const struct facts *f, const struct cxl_region_fact *r)
{
	for (unsigned int i = 0; i < f->dax->devices->len; i++) {
		const struct dax_device *dax = f->dax->devices->pdata[i];

		if (dax->size > 0 && g_strcmp0(dax->cxl_region, r->name) == 0)
			return true;
	}
	for (unsigned int i = 0; i < f->nd->regions->len; i++)
		if (merge_cxl_of_nd(f, f->nd->regions->pdata[i]) == r)
			return true;
	for (unsigned int i = 0; i < f->nodes->nodes->len; i++) {
		const struct node_fact *n = f->nodes->nodes->pdata[i];

		for (unsigned int j = 0; j < n->ranges->len && r->size > 0; j++) {
			const struct phys_range *range =
				&g_array_index(n->ranges, struct phys_range, j);

			if (range->start < r->start + r->size && r->start < range->end)
				return true;
		}
	}
	return false;
}

static void add_region(const struct facts *f, const struct cxl_region_fact *r, GPtrArray *drafts)
{
	g_autofree char *detail = merge_region_detail(r);
	struct draft *d;

	if (r->size == 0 || (r->committed && region_is_covered(f, r)))
		return;
	d = offline_draft(BACKING_DEVICE, r->name, r->size);
	d->tier->kind = TIER_CXL;
	/* A region is evidence once the decoders are committed; before it is an intention. */
	d->tier->evidence = r->committed ? EVIDENCE_CXL_REGION : EVIDENCE_DEVICE;
	draft_set_detail(d, "%s%s", detail, r->mode == CXL_PMEM ? ", persistent" : "");
	merge_region_keys(f, r, d);
	warnings_add_all(d->tier->warnings, r->warnings);
	if (!r->committed)
		draft_set_state(d, TIER_OFFLINE, "%s is not committed: cxl enable-region %s",
				r->name, r->name);
	else if (r->mode == CXL_PMEM)
		draft_set_state(
			d, TIER_OFFLINE,
			"%s is persistent and holds no pages: ndctl create-namespace -m devdax on its "
			"nd region",
			r->name);
	else
		draft_set_state(
			d, TIER_OFFLINE,
			"%s has no device-dax device: modprobe dax_cxl, then daxctl list -R",
			r->name);
	merge_fill_perf(f, r, d);
	g_ptr_array_add(drafts, d);
}

static const struct cxl_window_fact *window_for(const struct facts *f, enum cxl_mode mode)
{
	for (unsigned int i = 0; i < f->cxl->windows->len; i++) {
		const struct cxl_window_fact *w = f->cxl->windows->pdata[i];

		if (mode == CXL_RAM ? w->ram : w->pmem)
			return w;
	}
	return NULL;
}

static void add_memdev(const struct facts *f, const struct cxl_memdev_fact *m, enum cxl_mode mode,
		       GPtrArray *drafts)
{
	uint64_t unused = m->part[mode].size - m->part[mode].used;
	const struct cxl_window_fact *w = window_for(f, mode);
	g_autofree char *label = memdev_label(m), *key = memdev_key(m, mode);
	struct draft *d;

	if (unused == 0)
		return;
	d = offline_draft(BACKING_DEVICE, m->name, unused);
	d->tier->kind = TIER_CXL;
	d->tier->evidence = EVIDENCE_DEVICE;
	draft_set_detail(d, "%s, %s", label, mode == CXL_RAM ? "volatile" : "persistent");
	draft_add_key(d, "%s%s", key, first_region_of(f, m, mode) != NULL ? ":rest" : "");
	if (!m->has_endpoint)
		draft_set_state(
			d, TIER_OFFLINE,
			"%s is below no CXL host bridge that the kernel knows: cxl enable-memdev %s",
			m->name, m->name);
	else if (w == NULL)
		draft_set_state(
			d, TIER_OFFLINE,
			"the firmware has no CXL window for %s memory, so %s cannot have a region",
			mode == CXL_RAM ? "volatile" : "persistent", m->name);
	else
		draft_set_state(d, TIER_OFFLINE,
				"no region yet: morselctl tier provision memdev:%s --mode %s",
				m->name, cxl_mode_to_string(mode));
	warnings_add_all(d->tier->warnings, m->warnings);
	merge_fill_perf_memdev(f, m, mode, d);
	g_ptr_array_add(drafts, d);
}

static void add_namespace(const struct facts *f, const struct nd_region *r,
			  const struct nd_namespace *n, GPtrArray *drafts)
{
	g_autofree char *path = n->block ? g_strdup_printf("/dev/%s", n->block) : g_strdup(n->name);
	struct draft *d;

	for (unsigned int i = 0; i < f->dax->devices->len && n->mode == ND_DEVDAX; i++) {
		const struct dax_device *dax = f->dax->devices->pdata[i];

		/* Its device is the tier. */
		if (g_strcmp0(dax->nd_region, r->name) == 0 && dax->size > 0 &&
		    (dax->start == 0 || n->start == 0 ||
		     (dax->start >= n->start && dax->start < n->start + n->size)))
			return;
	}
	d = offline_draft(n->block ? BACKING_PMEM : BACKING_DEVICE, path, n->size);
	draft_add_device(d, n->name);
	merge_judge_nd(f, r, d);
	d->tier->target_node = r->target_node;
	if (n->start != 0 && n->start == r->start)
		draft_add_key(d, "nd:%" G_GINT64_MODIFIER "x", r->start);
	draft_add_key(d, "ns:%" G_GINT64_MODIFIER "x", n->start);
	if (n->mode == ND_DEVDAX || n->block == NULL)
		draft_set_state(d, TIER_OFFLINE,
				"%s (%s) is not enabled: ndctl enable-namespace %s", n->name,
				nd_mode_to_string(n->mode), n->name);
	else
		draft_set_state(d, TIER_OFFLINE,
				"%s is in %s mode, a block device, and holds no pages of a node",
				n->name, nd_mode_to_string(n->mode));
	merge_fill_perf(f, merge_cxl_of_nd(f, r), d);
	g_ptr_array_add(drafts, d);
}

static void add_nd_region(const struct facts *f, const struct nd_region *r, GPtrArray *drafts)
{
	struct draft *d;

	for (unsigned int i = 0; i < r->namespaces->len; i++)
		add_namespace(f, r, r->namespaces->pdata[i], drafts);
	if (r->available == 0)
		return;
	d = offline_draft(BACKING_DEVICE, r->name, r->available);
	merge_judge_nd(f, r, d);
	d->tier->target_node = r->target_node;
	draft_add_key(d, "nd:%" G_GINT64_MODIFIER "x%s", r->start,
		      r->namespaces->len > 0 ? ":rest" : "");
	draft_set_state(d, TIER_OFFLINE, "no namespace yet: ndctl create-namespace -r %s -m devdax",
			r->name);
	merge_fill_perf(f, merge_cxl_of_nd(f, r), d);
	g_ptr_array_add(drafts, d);
}

void merge_devices(const struct facts *f, GPtrArray *drafts)
{
	for (unsigned int i = 0; i < f->dax->devices->len; i++)
		add_dax(f, f->dax->devices->pdata[i], drafts);
	for (unsigned int i = 0; i < f->nd->regions->len; i++)
		add_nd_region(f, f->nd->regions->pdata[i], drafts);
	for (unsigned int i = 0; i < f->cxl->regions->len; i++)
		add_region(f, f->cxl->regions->pdata[i], drafts);
	for (unsigned int i = 0; i < f->cxl->memdevs->len; i++)
		for (unsigned int mode = 0; mode < CXL_MODE_MAX; mode++)
			add_memdev(f, f->cxl->memdevs->pdata[i], mode, drafts);
}
