/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdint.h>

/* PCI display and 3D controllers with their node: the evidence that a node without CPUs is a GPU's
 * memory. */
struct gpu_device {
	char *name; /* "0009:01:00.0" */
	uint16_t segment;
	uint8_t bus, devfn;
	uint32_t class; /* 0x030200 */
	int numa_node;	/* -1 unknown */
};

/* Of struct gpu_device *, in natural order. Empty where there is no PCI. */
GPtrArray *gpu_devices_read(int root_fd);
