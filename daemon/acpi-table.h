/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inventory-perf.h"

/*
 * What sysfs does not pass on of the firmware's tables: numbers of memory that is no online node (an
 * NVDIMM, device-dax) and from initiators that are not the nearest, CXL windows, and which PCI device
 * or host bridge a proximity domain (PXM) stands for.
 *
 * Formats: ACPI 6.5, 5.2.16 (SRAT), 5.2.28 (HMAT), 5.2.6 (header); CXL 3.1, 9.18.1 (CEDT).
 * The tables are the firmware's, or a fixture's rubbish: each length and count is checked, what
 * makes no sense is left out with a warning. Nothing here reads files or allocates more than a
 * few times the table's size.
 */

/* Tables over this are refused. 64 sockets with 6 matrices of 64 × 256 fit. */
#define ACPI_TABLE_MAX ((size_t)1 << 20)

struct acpi_range {
	uint64_t start, end; /* half-open */
	uint32_t pxm;
	bool hotplug, nonvolatile;
};

/* A device that has a PXM: a generic initiator (GPU, NIC) or a generic port (CXL host bridge). */
struct acpi_device {
	uint32_t pxm;
	bool port; /* generic port */
	bool pci;  /* else acpi */
	uint16_t segment;
	uint8_t bus, devfn;
	char hid[9]; /* "ACPI0016" */
	uint32_t uid;
};

/* A CXL fixed memory window (CFMWS). */
struct acpi_window {
	uint64_t start, end;
	uint32_t pxm; /* the one Linux makes up, or the SRAT's where that covers the window */
	unsigned int ways;
	bool pmem, ram; /* what the window may hold */
};

struct acpi_tables {
	/* In the order of SRAT, which is the order in which Linux numbers nodes: PXM of each
	 * node, index = node. */
	GArray *pxm_of_node; /* of uint32_t */
	GArray *memory;	     /* of struct acpi_range */
	GArray *devices;     /* of struct acpi_device */
	GArray *windows;     /* of struct acpi_window */
	GHashTable *perf; /* (initiator PXM << 32 | target PXM) as gint64 → struct perf_numbers */
	GPtrArray *warnings; /* of char * */
};

struct acpi_tables *acpi_tables_new(void);
struct acpi_tables *acpi_tables_free(struct acpi_tables *t); /* takes NULL, returns NULL */

/*
 * In this order: CEDT's windows get their PXM from what SRAT used. data: the whole table with its
 * header. -EBADMSG: not such a table (and a warning); what could be read of a damaged one is kept.
 */
int acpi_parse_srat(struct acpi_tables *t, const uint8_t *data, size_t len);
int acpi_parse_hmat(struct acpi_tables *t, const uint8_t *data, size_t len);
int acpi_parse_cedt(struct acpi_tables *t, const uint8_t *data, size_t len);

/* Read and parse what there is below sys/firmware/acpi/tables. Unreadable ones (they are root's)
 * become a warning. */
struct acpi_tables *acpi_tables_read(int root_fd);

/* The node Linux made of a PXM, -1 if it made none. */
int acpi_node_of_pxm(const struct acpi_tables *t, uint32_t pxm);
/* HMAT's numbers, all 0 if there are none. */
void acpi_perf(const struct acpi_tables *t, uint32_t initiator_pxm, uint32_t target_pxm,
	       struct perf_numbers *ret_numbers);
/* The same between nodes of Linux; 0 for a node that no PXM stands for. */
void acpi_perf_nodes(const struct acpi_tables *t, int initiator, int target,
		     struct perf_numbers *ret_numbers);

/*
 * A coded number of HMAT or CDAT (the same code): entry × base, in ps or MB/s.
 * revision: HMAT's, 1 counts latency in 100 ps; CDAT is coded as HMAT's revision 2. 0: none.
 */
uint32_t acpi_decode(uint16_t entry, uint64_t base, bool latency, unsigned int revision);
/* Puts a decoded number where data type 0..5 of HMAT says: access, read, write latency, then
 * bandwidth. */
void acpi_put(struct perf_numbers *p, unsigned int data_type, uint32_t value);
