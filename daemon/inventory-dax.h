/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Device-dax devices, from /sys/bus/dax/devices (ABI: sysfs-bus-dax). */

enum dax_mode {
	DAX_DEVDAX,	/* a character device */
	DAX_SYSTEM_RAM, /* memory blocks of its target node */
	DAX_DISABLED,	/* no driver */
};

struct dax_device {
	char *name; /* "dax0.0" */
	enum dax_mode mode;
	uint64_t size;
	uint64_t start;	 /* physical address; 0: not said (it is root's to read) */
	int target_node; /* -1 unknown */
	int numa_node;	 /* nearest node with memory; -1 unknown */
	/* What it was made of, from its place in the device tree. At most one is set. */
	char *cxl_region;    /* "region0" */
	char *nd_region;     /* "region0" of the nd bus */
	char *uuid;	     /* of the nd namespace, lower case; NULL: not said */
	GPtrArray *warnings; /* of char * */
	bool hmem;	     /* memory that the firmware reserved for special purpose */
};

struct dax_facts {
	GPtrArray *devices;  /* of struct dax_device *, in natural order */
	GPtrArray *warnings; /* of char * */
};

struct dax_facts *dax_facts_read(int root_fd);
struct dax_facts *dax_facts_free(struct dax_facts *f); /* takes NULL, returns NULL */
