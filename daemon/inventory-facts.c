/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-facts.h"

#include <string.h>

#include "inventory-libdaxctl.h"
#include "numlist.h"
#include "warnings.h"

/*
 * Nodes by our count must be the kernel's, or every number goes to the wrong memory: with numa=off,
 * numa=fake= or a count of another kernel they are not. Where a memory block lies in a range of
 * SRAT's, both must name the same node.
 */
static bool nodes_agree(const struct facts *f)
{
	for (unsigned int i = 0; i < f->acpi->memory->len; i++) {
		const struct acpi_range *m = &g_array_index(f->acpi->memory, struct acpi_range, i);
		int node = acpi_node_of_pxm(f->acpi, m->pxm);

		for (unsigned int j = 0; j < f->nodes->nodes->len; j++) {
			const struct node_fact *n = f->nodes->nodes->pdata[j];

			for (unsigned int k = 0; k < n->ranges->len && n->id != node; k++) {
				const struct phys_range *r =
					&g_array_index(n->ranges, struct phys_range, k);

				/* Blocks are big and may straddle two ranges: only the inside counts. */
				if (r->start >= m->start && r->end <= m->end)
					return false;
			}
		}
	}
	for (unsigned int i = 0; i < f->acpi->pxm_of_node->len && f->nodes->possible->len > 0; i++)
		if (!numlist_contains(f->nodes->possible, (int)i))
			return false;
	return true;
}

struct facts *facts_read(int root_fd, bool real_root)
{
	struct facts *f = g_new0(struct facts, 1);

	f->nodes = node_facts_read(root_fd);
	f->initiators = g_array_new(FALSE, FALSE, sizeof(int));
	for (unsigned int i = 0; i < f->nodes->nodes->len; i++) {
		const struct node_fact *n = f->nodes->nodes->pdata[i];

		if (n->has_cpu)
			g_array_append_val(f->initiators, n->id);
	}
	f->acpi = acpi_tables_read(root_fd);
	f->cxl = cxl_facts_read(root_fd);
	f->dax = dax_facts_read(root_fd);
	f->nd = nd_facts_read(root_fd);
	f->gpus = gpu_devices_read(root_fd);
	if (real_root)
		libdaxctl_check(f->dax);

	f->warnings = g_ptr_array_new_with_free_func(g_free);
	warnings_add_all(f->warnings, f->nodes->warnings);
	warnings_add_all(f->warnings, f->acpi->warnings);
	warnings_add_all(f->warnings, f->cxl->warnings);
	warnings_add_all(f->warnings, f->dax->warnings);
	warnings_add_all(f->warnings, f->nd->warnings);
	if (!nodes_agree(f)) {
		warnings_add(
			f->warnings,
			"the firmware's SRAT and the kernel's nodes do not agree: ignoring SRAT, HMAT "
			"and CEDT");
		acpi_tables_free(f->acpi);
		f->acpi = acpi_tables_new();
	}
	return f;
}

struct facts *facts_free(struct facts *f)
{
	if (f == NULL)
		return NULL;
	node_facts_free(f->nodes);
	g_array_unref(f->initiators);
	acpi_tables_free(f->acpi);
	cxl_facts_free(f->cxl);
	dax_facts_free(f->dax);
	nd_facts_free(f->nd);
	g_ptr_array_unref(f->gpus);
	g_ptr_array_unref(f->warnings);
	g_free(f);
	return NULL;
}

void facts_perf_node(const struct facts *f, int initiator, int node,
		     struct perf_numbers *ret_numbers)
{
	struct perf_numbers table;

	perf_of_node(f->nodes, initiator, node, ret_numbers);
	acpi_perf_nodes(f->acpi, initiator, node, &table);
	perf_numbers_fill(ret_numbers, &table);
}

/* HMAT's numbers from a node to the CXL host bridge with this UID. */
static void perf_of_port(const struct facts *f, int initiator, int uid,
			 struct perf_numbers *ret_numbers)
{
	const struct acpi_tables *t = f->acpi;

	memset(ret_numbers, 0, sizeof(*ret_numbers));
	if (uid < 0 || initiator < 0 || (unsigned int)initiator >= t->pxm_of_node->len)
		return;
	for (unsigned int i = 0; i < t->devices->len; i++) {
		const struct acpi_device *d = &g_array_index(t->devices, struct acpi_device, i);

		if (d->port && !d->pci && strcmp(d->hid, "ACPI0016") == 0 &&
		    d->uid == (uint32_t)uid) {
			acpi_perf(t, g_array_index(t->pxm_of_node, uint32_t, initiator), d->pxm,
				  ret_numbers);
			return;
		}
	}
}

static uint32_t add_known(uint32_t a, uint32_t b)
{
	return a == 0 || b == 0 || a > UINT32_MAX - b ? 0 : a + b;
}

static uint32_t min_known(uint32_t a, uint32_t b)
{
	return a == 0 || b == 0 ? 0 : MIN(a, b);
}

/* One more device of an interleave set. */
static void combine(struct perf_numbers *sum, const struct perf_numbers *one, bool first)
{
	if (first) {
		*sum = *one;
		return;
	}
	sum->read_lat_ns =
		sum->read_lat_ns && one->read_lat_ns ? MAX(sum->read_lat_ns, one->read_lat_ns) : 0;
	sum->write_lat_ns = sum->write_lat_ns && one->write_lat_ns
				    ? MAX(sum->write_lat_ns, one->write_lat_ns)
				    : 0;
	sum->read_bw_mbs = add_known(sum->read_bw_mbs, one->read_bw_mbs);
	sum->write_bw_mbs = add_known(sum->write_bw_mbs, one->write_bw_mbs);
}

void facts_perf_cxl(const struct facts *f, int initiator, const GPtrArray *memdevs,
		    enum cxl_mode mode, struct perf_numbers *ret_numbers)
{
	struct perf_numbers sum = { 0 };
	g_autoptr(GHashTable) shares = g_hash_table_new(NULL, NULL);

	/* Devices below one host bridge share what it can carry. */
	for (unsigned int i = 0; i < memdevs->len; i++) {
		const struct cxl_memdev_fact *m = memdevs->pdata[i];
		void *key = GINT_TO_POINTER(m->host_bridge);
		unsigned int n = GPOINTER_TO_UINT(g_hash_table_lookup(shares, key));

		g_hash_table_insert(shares, key, GUINT_TO_POINTER(n + 1));
	}
	for (unsigned int i = 0; i < memdevs->len; i++) {
		const struct cxl_memdev_fact *m = memdevs->pdata[i];
		const struct perf_numbers *device = &m->part[mode].cdat;
		unsigned int sharers = GPOINTER_TO_UINT(
			g_hash_table_lookup(shares, GINT_TO_POINTER(m->host_bridge)));
		struct perf_numbers port, one;

		perf_of_port(f, initiator, m->host_bridge, &port);
		one.read_lat_ns = add_known(port.read_lat_ns, device->read_lat_ns);
		one.write_lat_ns = add_known(port.write_lat_ns, device->write_lat_ns);
		one.read_bw_mbs = min_known(port.read_bw_mbs / sharers, device->read_bw_mbs);
		one.write_bw_mbs = min_known(port.write_bw_mbs / sharers, device->write_bw_mbs);
		combine(&sum, &one, i == 0);
	}
	*ret_numbers = sum;
}
