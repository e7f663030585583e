// SPDX-License-Identifier: GPL-2.0-or-later
/* What the planner asks of the module: accessed bits, and room. */
#include <errno.h>

#include "storage-module.h"
#include "storage-node-room.h"

#define HARVEST_MAX (UINT64_C(1) << 30)

int module_harvest(struct storage_object *o, uint64_t offset, uint64_t length, uint64_t *accessed)
{
	/* Without the flush a page that a CPU's TLB holds would look cold. */
	struct morsel_harvest h = { .size = sizeof(h),
				    .flags = MORSEL_HARVEST_FLUSH,
				    .id = o->id,
				    .offset = offset,
				    .length = length,
				    .accessed = (uintptr_t)accessed };
	int r;

	if (length > HARVEST_MAX)
		return -EINVAL;
	do
		r = o->module->sys->call(o->module->fd, MORSEL_IOC_HARVEST, &h);
	while (r == -EINTR);
	return r;
}

/* The kernel and other programs need some of a node, too. */
#define NODE_RESERVE (UINT64_C(64) << 20)

uint64_t module_room(struct storage *s, const struct tier *tier)
{
	static const char *const free_fields[] = { "MemFree:", NULL };
	struct module_storage *m = (struct module_storage *)s;
	uint64_t room = 0;

	for (unsigned int i = 0; i < tier_n_places(tier); i++) {
		int place = tier_place(tier, i);
		struct morsel_pool_stat stat = { .size = sizeof(stat) };
		char *error = NULL;
		int r = module_pool_get(m, tier, place, &error);
		uint64_t free_bytes;

		g_free(error);
		if (r <= 0)
			continue;
		stat.pool = (uint32_t)r;
		if (m->sys->call(m->fd, MORSEL_IOC_POOL_STAT, &stat) < 0)
			continue;
		room += stat.free_bytes;
		if (tier->place >= 0)
			continue;
		/* It grows into what the node has free. */
		free_bytes = node_meminfo(m->root_fd, place, free_fields);
		if (free_bytes != UINT64_MAX && free_bytes > NODE_RESERVE)
			room += MIN(free_bytes - NODE_RESERVE, stat.max_bytes - stat.bytes);
	}
	return room;
}
