/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-pci.h"

#include <stdio.h>

#include "kernfile.h"

#define PCI_DIR "sys/bus/pci/devices"
/* PCI Code and ID Assignment: base class 03h is display; 1200h are processing accelerators, which is how
 * GPUs without a display may call themselves. */
#define CLASS_DISPLAY 0x03u
#define CLASS_ACCELERATOR 0x1200u

static void gpu_free(void *data)
{
	struct gpu_device *g = data;

	g_free(g->name);
	g_free(g);
}

GPtrArray *gpu_devices_read(int root_fd)
{
	GPtrArray *gpus = g_ptr_array_new_with_free_func(gpu_free);
	g_autoptr(GPtrArray) names = NULL;

	if (kernfile_names(root_fd, PCI_DIR, "", &names) < 0)
		return gpus;
	for (unsigned int i = 0; i < names->len; i++) {
		const char *name = names->pdata[i];
		unsigned int segment, bus, dev, fn;
		struct gpu_device *g;
		uint64_t class;
		int numa_node = -1, end = 0;

		if (kernfile_read_u64f(root_fd, &class, PCI_DIR "/%s/class", name) < 0 ||
		    (class >> 16 != CLASS_DISPLAY && class >> 8 != CLASS_ACCELERATOR))
			continue;
		if (sscanf(name, "%4x:%2x:%2x.%1x%n", &segment, &bus, &dev, &fn, &end) != 4 ||
		    name[end] != 0 || dev > 31 || fn > 7)
			continue;
		kernfile_read_intf(root_fd, &numa_node, PCI_DIR "/%s/numa_node", name);
		g = g_new0(struct gpu_device, 1);
		g->name = g_strdup(name);
		g->segment = (uint16_t)segment;
		g->bus = (uint8_t)bus;
		g->devfn = (uint8_t)(dev << 3 | fn);
		g->class = (uint32_t) class;
		g->numa_node = numa_node;
		g_ptr_array_add(gpus, g);
	}
	return gpus;
}
