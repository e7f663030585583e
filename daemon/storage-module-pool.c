// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "numlist.h"
#include "storage-module-account.h"
#include "storage-node-room.h"

/*
 * What a pool leaves of its node. Frames of the module are the kernel's: what they take cannot be swapped out,
 * nor be given to a program that asks for it. A node with CPUs is where the kernel and all programs live, so a quarter
 * of it is theirs; of memory without CPUs the kernel needs its watermarks (min_free_kbytes, a few
 * per mille) and the pages that say what the others are.
 */
#define CPU_SHARE 4
#define CPU_LEAST (UINT64_C(512) << 20)
#define FAR_SHARE 32
#define FAR_LEAST (UINT64_C(64) << 20)

uint64_t module_pool_limit(uint64_t total, bool cpus)
{
	uint64_t margin = cpus ? MAX(total / CPU_SHARE, CPU_LEAST)
			       : MAX(total / FAR_SHARE, FAR_LEAST);

	return total > margin ? (total - margin) / GRANULE_SIZE * GRANULE_SIZE : 0;
}

static bool node_has_cpus(const struct module_storage *m, int node)
{
	char path[64], text[8] = "";
	int fd;

	g_snprintf(path, sizeof(path), "sys/devices/system/node/node%d/cpulist", node);
	fd = openat(m->root_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) < 0)
			text[0] = '\0';
		close(fd);
	}
	return g_ascii_isdigit(text[0]);
}

int module_pools_scan(struct module_storage *m)
{
	g_autoptr(GArray) before = m->pools;

	m->pools = g_array_new(false, true, sizeof(struct module_pool));
	for (uint32_t id = 1; id <= MORSEL_MAX_POOLS; id++) {
		struct morsel_pool_stat stat = { .size = sizeof(stat), .pool = id };
		struct module_pool pool = { .id = id };
		int r = m->sys->call(m->fd, MORSEL_IOC_POOL_STAT, &stat);

		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		pool.tier = stat.tier;
		pool.node = stat.kind == MORSEL_POOL_NODE ? stat.node : -1;
		pool.start = stat.kind == MORSEL_POOL_DAX ? stat.start : 0;
		for (unsigned int i = 0; i < before->len; i++) {
			const struct module_pool *old =
				&g_array_index(before, struct module_pool, i);

			if (old->id == id && old->start == pool.start)
				pool.ours = old->ours;
		}
		g_array_append_val(m->pools, pool);
	}
	return 0;
}

static const struct module_pool *find_node(const struct module_storage *m, int node)
{
	for (unsigned int i = 0; i < m->pools->len; i++) {
		const struct module_pool *pool = &g_array_index(m->pools, struct module_pool, i);

		if (pool->node == node)
			return pool;
	}
	return NULL;
}

static const struct module_pool *find_place(const struct module_storage *m, const struct tier *tier,
					    int place)
{
	return tier->place >= 0 ? module_pool_of_device(m, tier->start) : find_node(m, place);
}

/* One number for all nodes of a tier, and one that no other tier has. */
uint32_t module_tier_number(const struct module_storage *m, const struct tier *tier)
{
	unsigned int used = 0;

	for (unsigned int i = 0; i < tier_n_places(tier); i++) {
		const struct module_pool *pool = find_place(m, tier, tier_place(tier, i));

		if (pool)
			return pool->tier;
	}
	for (unsigned int i = 0; i < m->pools->len; i++)
		used |= 1u << g_array_index(m->pools, struct module_pool, i).tier;
	for (uint32_t n = 0; n < MORSEL_MAX_TIERS; n++)
		if (!(used & 1u << n))
			return n;
	return MORSEL_MAX_TIERS - 1;
}

static int make_node_pool(struct module_storage *m, const struct tier *tier, int node,
			  char **ret_error)
{
	static const char *const total[] = { "MemTotal:", NULL };
	struct morsel_pool_create create = {
		.size = sizeof(create),
		.kind = MORSEL_POOL_NODE,
		.tier = module_tier_number(m, tier),
		.node = node,
	};
	uint64_t bytes = node_meminfo(m->root_fd, node, total);
	struct module_pool pool = { .tier = create.tier, .node = node };
	int r;

	if (bytes != UINT64_MAX)
		create.max_bytes = module_pool_limit(bytes, node_has_cpus(m, node));
	if (create.max_bytes == 0) {
		*ret_error = g_strdup_printf("node %d of tier '%s' is too small for a pool of the"
					     " module",
					     node, tier->name);
		return -ENODEV;
	}
	r = m->sys->call(m->fd, MORSEL_IOC_POOL_CREATE, &create);
	if (r < 0) {
		*ret_error = g_strdup_printf("the module makes no pool of %" PRIu64
					     " bytes on node %d for tier '%s': %s",
					     (uint64_t)create.max_bytes, node, tier->name,
					     g_strerror(-r));
		return r;
	}
	pool.id = create.pool;
	g_array_append_val(m->pools, pool);
	return (int)pool.id;
}

int module_pool_get(struct module_storage *m, const struct tier *tier, int place, char **ret_error)
{
	const struct module_pool *pool;
	int r;

	pthread_mutex_lock(&m->lock);
	pool = find_place(m, tier, place);
	if (!pool && module_pools_scan(m) >= 0) /* another daemon's will do */
		pool = find_place(m, tier, place);
	if (pool)
		r = (int)pool->id;
	else if (tier->place >= 0)
		r = module_device_pool(m, tier, ret_error);
	else
		r = make_node_pool(m, tier, place, ret_error);
	pool = r > 0 ? find_place(m, tier, place) : NULL;
	if (pool)
		module_account_tier(m, pool->tier, tier->name);
	pthread_mutex_unlock(&m->lock);
	return r;
}

static int place_of(const struct module_storage *m, const struct module_pool *pool)
{
	if (pool->node >= 0)
		return pool->node;
	for (unsigned int i = 0; i < m->devices->len; i++) {
		const struct module_device *d = &g_array_index(m->devices, struct module_device, i);

		if (d->start == pool->start)
			return d->place;
	}
	return NODE_MAX;
}

int module_pool_place(struct module_storage *m, uint32_t id)
{
	int place = -1;

	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < m->pools->len; i++) {
		const struct module_pool *pool = &g_array_index(m->pools, struct module_pool, i);

		if (pool->id == id)
			place = place_of(m, pool);
	}
	pthread_mutex_unlock(&m->lock);
	return place;
}

static int destroy(struct module_storage *m, unsigned long request, uint64_t id)
{
	struct morsel_id which = { .size = sizeof(which), .id = id };

	return m->sys->call(m->fd, request, &which);
}

void module_pools_release(struct module_storage *m)
{
	uint64_t one;
	struct morsel_object_list list = { .size = sizeof(list),
					   .count = 1,
					   .ids = (uintptr_t)&one };

	/* An empty pool may still be the one that an object's later frames are to come from. */
	if (m->sys->call(m->fd, MORSEL_IOC_OBJECT_LIST, &list) < 0 || list.count > 0)
		return;
	for (unsigned int i = 0; i < m->pools->len; i++) {
		const struct module_pool *pool = &g_array_index(m->pools, struct module_pool, i);

		if (pool->node >= 0 || pool->ours)
			(void)destroy(m, MORSEL_IOC_POOL_DESTROY, pool->id);
	}
	module_accounts_release(m);
}
