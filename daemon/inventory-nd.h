/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Persistent memory regions and their namespaces, from /sys/bus/nd/devices (ABI: sysfs-bus-nvdimm). */

enum nd_mode {
	ND_RAW,
	ND_SECTOR,
	ND_FSDAX,
	ND_DEVDAX,
	ND_MODE_MAX
};
const char *nd_mode_to_string(enum nd_mode m); /* as ndctl calls them */

struct nd_namespace {
	char *name; /* "namespace0.0" */
	uint64_t size, start;
	enum nd_mode mode;
	char *block; /* "pmem0", NULL: no block device */
};

struct nd_region {
	char *name;			 /* "region0" */
	char *provider;			 /* of its bus: "ACPI.NFIT", "CXL", "e820", … */
	uint64_t size, available, start; /* bytes */
	int target_node, numa_node;	 /* -1 unknown */
	GPtrArray *warnings;		 /* of char * */
	GPtrArray *namespaces;		 /* of struct nd_namespace *, those with a size */
};

struct nd_facts {
	GPtrArray *regions;  /* of struct nd_region *, in natural order */
	GPtrArray *warnings; /* of char * */
};

struct nd_facts *nd_facts_read(int root_fd);
struct nd_facts *nd_facts_free(struct nd_facts *f); /* takes NULL, returns NULL */
