/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "acpi-table.h"
#include "inventory-cxl.h"
#include "inventory-dax.h"
#include "inventory-nd.h"
#include "inventory-node.h"
#include "inventory-pci.h"

/* Everything one look at the machine gave, before it is judged. */
struct facts {
	struct node_facts *nodes;
	GArray *initiators; /* of int: online nodes with CPUs */
	struct acpi_tables *acpi;
	struct cxl_facts *cxl;
	struct dax_facts *dax;
	struct nd_facts *nd;
	GPtrArray *gpus;     /* of struct gpu_device * */
	GPtrArray *warnings; /* of char *: all that belong to no node */
};

/* real_root: the machine's own "/", on which libdaxctl is asked, too. */
struct facts *facts_read(int root_fd, bool real_root);
struct facts *facts_free(struct facts *f); /* takes NULL, returns NULL */

/*
 * Numbers from an initiator to a node, online or not: sysfs where it speaks of this initiator, the
 * firmware's HMAT for the rest. All 0: nobody knows.
 */
void facts_perf_node(const struct facts *f, int initiator, int node,
		     struct perf_numbers *ret_numbers);

/*
 * Numbers from an initiator to a partition of CXL devices that no node's numbers cover: HMAT's
 * to the generic port above each device, plus the device's own CDAT. Latencies add, the slower device
 * counts; of the bandwidths the smaller one counts, devices of an interleave set add up. The
 * latency of links and switches between is not in it (sysfs does not pass their tables on), so
 * it is a lower bound; the kernel's own numbers replace it when the memory is a node.
 * Unknown where either part is.
 */
void facts_perf_cxl(const struct facts *f, int initiator, const GPtrArray *memdevs,
		    enum cxl_mode mode, struct perf_numbers *ret_numbers);
