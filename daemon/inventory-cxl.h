/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "inventory-perf.h"

/*
 * CXL memory devices, regions and fixed windows as the kernel's CXL bus has them, read from
 * /sys/bus/cxl/devices (Documentation/ABI/testing/sysfs-bus-cxl). It works the same on a
 * fixture; the lab's check 30-tiers holds it against libcxl.
 */

/* The two partitions of a device. */
enum cxl_mode {
	CXL_RAM,
	CXL_PMEM,
	CXL_MODE_MAX
};
const char *cxl_mode_to_string(enum cxl_mode m); /* "ram", "pmem" */

struct cxl_memdev_fact {
	char *name;	   /* "mem0": races from boot to boot */
	uint64_t serial;   /* 0: has none */
	char *pci;	   /* "0000:0d:00.0", or "" */
	int numa_node;	   /* of the PCI device; -1 unknown */
	bool has_endpoint; /* the device is enumerated under a root: a region can be made of it */
	int host_bridge;   /* UID of the ACPI0016 above it, -1 unknown */
	struct {
		uint64_t size; /* bytes */
		uint64_t used; /* by endpoint decoders, of a region or reserved for one */
		struct perf_numbers cdat; /* device's port to memory */
	} part[CXL_MODE_MAX];
	GPtrArray *warnings; /* of char * */
};

struct cxl_region_fact {
	char *name;	      /* "region0" */
	uint64_t start, size; /* physical address, 0 and 0: not set */
	unsigned int ways, granularity;
	bool committed;
	enum cxl_mode mode;
	GPtrArray *
		memdevs; /* of struct cxl_memdev_fact *, borrowed, in interleave order; each once */
	bool complete;	 /* every target was found among the devices */
	/* Of access0 and access1: combined from the CPU by the kernel. */
	struct perf_numbers access[2];
	GPtrArray *warnings; /* of char * */
};

/* A root decoder: one of the firmware's CXL windows. */
struct cxl_window_fact {
	char *name; /* "decoder0.0" */
	uint64_t start, size;
	bool ram, pmem;
};

struct cxl_facts {
	bool present;	     /* the kernel has a CXL bus */
	GPtrArray *memdevs;  /* of struct cxl_memdev_fact *, by serial, then name */
	GPtrArray *regions;  /* of struct cxl_region_fact *, by address */
	GPtrArray *windows;  /* of struct cxl_window_fact * */
	GPtrArray *warnings; /* of char *: what belongs to no device */
};

struct cxl_facts *cxl_facts_read(int root_fd);
struct cxl_facts *cxl_facts_free(struct cxl_facts *f); /* takes NULL, returns NULL */
