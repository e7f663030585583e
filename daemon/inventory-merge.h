/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "inventory-draft.h"
#include "inventory-facts.h"

/*
 * From facts to tiers: what is one tier, its kind with evidence, state, capacity and numbers. Pure:
 * reads nothing but its arguments. Names, ranks and overrides come afterwards.
 *
 * Of struct draft *, owned by the array.
 */
GPtrArray *merge_facts(const struct facts *f);

/* Parts of it, each in a file of its own. */

/* Kind, evidence and keys of an online node. */
void merge_judge_node(const struct facts *f, const struct node_fact *n, struct draft *d);
/* Adds the tiers of devices whose memory is in no node. */
void merge_devices(const struct facts *f, GPtrArray *drafts);

/* Identity of a region over its life: its devices', from before it was made. */
void merge_region_keys(const struct facts *f, const struct cxl_region_fact *r, struct draft *d);
/* "region0 (memdev mem0, serial 0x12)" */
char *merge_region_detail(const struct cxl_region_fact *r);
/* NULL: none of that name. */
const struct cxl_region_fact *merge_find_cxl_region(const struct facts *f, const char *name);
const struct nd_region *merge_find_nd_region(const struct facts *f, const char *name);
/* Identity of a dax device on persistent memory. */
void merge_nd_dax_keys(const struct nd_region *r, const struct dax_device *dax, struct draft *d);
/* Kind and evidence of memory on an nd region: the firmware's NVDIMM, a persistent CXL region (whose
 * keys are added), or another's. */
void merge_judge_nd(const struct facts *f, const struct nd_region *r, struct draft *d);
/* The CXL region that an nd region of the CXL bus stands on, or NULL. */
const struct cxl_region_fact *merge_cxl_of_nd(const struct facts *f, const struct nd_region *r);

/* region may be NULL. Numbers per initiator to the draft's node, its target node or its CXL region. */
void merge_fill_perf(const struct facts *f, const struct cxl_region_fact *region, struct draft *d);
/* The same for devices that are in no region. */
void merge_fill_perf_memdev(const struct facts *f, const struct cxl_memdev_fact *m,
			    enum cxl_mode mode, struct draft *d);
/* The initiator from which node is HBM by the firmware's numbers, -1: it is not known to be. */
int merge_hbm_initiator(const struct facts *f, int node, char **ret_detail);
