/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-libdaxctl.h"

#include <daxctl/libdaxctl.h>
#include <string.h>
#include <syslog.h>

#include "warnings.h"

static struct daxctl_dev *find(struct daxctl_ctx *ctx, const char *name)
{
	struct daxctl_region *region;
	struct daxctl_dev *dev;

	daxctl_region_foreach(ctx, region)
	{
		daxctl_dev_foreach(region, dev)
		{
			if (strcmp(daxctl_dev_get_devname(dev), name) == 0)
				return dev;
		}
	}
	return NULL;
}

static void check(struct daxctl_ctx *ctx, const struct dax_device *d)
{
	struct daxctl_dev *dev = find(ctx, d->name);
	struct daxctl_memory *memory;
	unsigned long long size;
	int node;

	/* It wants the device's node in /dev too, which a container may not have. */
	if (dev == NULL)
		return;
	size = daxctl_dev_get_size(dev);
	if (size != d->size)
		warnings_add(
			d->warnings,
			"libdaxctl says that %s has %llu bytes, its files say %" G_GUINT64_FORMAT,
			d->name, size, d->size);
	node = daxctl_dev_get_target_node(dev);
	if (node != d->target_node)
		warnings_add(d->warnings, "libdaxctl says that %s is for node %d, its files say %d",
			     d->name, node, d->target_node);
	memory = d->mode == DAX_SYSTEM_RAM ? daxctl_dev_get_memory(dev) : NULL;
	if (memory != NULL && daxctl_memory_is_online(memory) > 0 &&
	    daxctl_memory_is_movable(memory) == 0)
		warnings_add(
			d->warnings,
			"%s is online in a kernel zone: what the kernel puts there keeps it from "
			"going offline again",
			d->name);
}

void libdaxctl_check(const struct dax_facts *f)
{
	struct daxctl_ctx *ctx;
	int r;

	if (f->devices->len == 0)
		return;
	r = daxctl_new(&ctx);
	if (r < 0) {
		warnings_add(f->warnings, "libdaxctl cannot be asked: %s, ignoring",
			     g_strerror(-r));
		return;
	}
	/* What it has to say to a terminal is said here by warnings. */
	daxctl_set_log_priority(ctx, LOG_EMERG);
	for (unsigned int i = 0; i < f->devices->len; i++)
		check(ctx, f->devices->pdata[i]);
	daxctl_unref(ctx);
}
