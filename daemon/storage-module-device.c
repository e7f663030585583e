// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pools over dax devices. Which device a pool is over is told by where its memory begins: names change from boot to
 * boot, and pools outlive the daemon.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "storage-module.h"

/* A device that could not be had is not asked for again with each morsel that is made. */
#define RETRY_USEC (5 * UINT64_C(1000000))

const struct module_pool *module_pool_of_device(const struct module_storage *m, uint64_t start)
{
	for (unsigned int i = 0; i < m->pools->len; i++) {
		const struct module_pool *pool = &g_array_index(m->pools, struct module_pool, i);

		if (pool->node < 0 && pool->start == start)
			return pool;
	}
	return NULL;
}

static struct module_device *device_of(struct module_storage *m, const struct tier *tier)
{
	struct module_device fresh = { .start = tier->start };

	for (unsigned int i = 0; i < m->devices->len; i++) {
		struct module_device *d = &g_array_index(m->devices, struct module_device, i);

		if (d->start == tier->start)
			return d;
	}
	g_array_append_val(m->devices, fresh);
	return &g_array_index(m->devices, struct module_device, m->devices->len - 1);
}

static int open_device(const struct module_storage *m, const struct tier *tier, char **ret_error)
{
	g_autofree char *text = NULL;
	const char *path = tier->device ? tier->device : "";
	int fd = m->opener.open && path[0] == '/'
			 ? m->opener.open(path + 1, &text, m->opener.userdata)
			 : -ENOENT;

	if (fd < 0)
		*ret_error = g_strdup_printf(
			"tier '%s': %s cannot be had for a pool of the module: %s", tier->name,
			path,
			text
				?: fd == -ENOENT ? "there is no morsel-helper that opens it"
						 : g_strerror(-fd));
	return fd;
}

/* The module pins the pages of the mapping, which may go afterwards. */
static int create_pool(const struct module_storage *m, const struct tier *tier, int fd,
		       struct morsel_pool_create *create)
{
	void *p = mmap(NULL, tier->capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int r;

	if (p == MAP_FAILED)
		return -errno;
	create->address = (uintptr_t)p;
	do
		r = m->sys->call(m->fd, MORSEL_IOC_POOL_CREATE, create);
	while (r == -EINTR);
	munmap(p, tier->capacity);
	return r;
}

static int make_pool(struct module_storage *m, const struct tier *tier, char **ret_error)
{
	struct module_pool pool = { .node = -1, .start = tier->start, .ours = true };
	struct morsel_pool_create create = {
		.size = sizeof(create),
		.kind = MORSEL_POOL_DAX,
		.tier = module_tier_number(m, tier),
		.node = -1,
		.max_bytes = tier->capacity / GRANULE_SIZE * GRANULE_SIZE,
	};
	int fd, r;

	if (create.max_bytes == 0 || tier->start % GRANULE_SIZE != 0) {
		*ret_error =
			g_strdup_printf("tier '%s': %s has no 2 MiB that begin at a multiple of"
					" 2 MiB",
					tier->name, tier->device);
		return -ENODEV;
	}
	fd = open_device(m, tier, ret_error);
	if (fd < 0)
		return fd;
	r = create_pool(m, tier, fd, &create);
	close(fd);
	if (r < 0) {
		*ret_error = g_strdup_printf(
			"the module makes no pool of %" PRIu64 " bytes on %s for tier '%s': %s%s",
			(uint64_t)create.max_bytes, tier->device, tier->name, g_strerror(-r),
			r == -EINVAL  ? " (the device's align must be 2 MiB or more: ndctl"
					" create-namespace --align, daxctl list)"
			: r == -EBUSY ? " (another pool has some of it)"
				      : "");
		return r;
	}
	pool.id = create.pool;
	pool.tier = create.tier;
	g_array_append_val(m->pools, pool);
	return (int)pool.id;
}

int module_device_pool(struct module_storage *m, const struct tier *tier, char **ret_error)
{
	struct module_device *d = device_of(m, tier);
	int r;

	d->place = tier->place;
	if (!tier_is_pool(tier)) {
		*ret_error = g_strdup_printf("tier '%s' takes no pages: it is %s (%s)", tier->name,
					     tier_state_to_string(tier->state), tier->state_reason);
		return -ENODEV;
	}
	if (d->error < 0 && now_monotonic() < d->not_before) {
		*ret_error = g_strdup(d->text);
		return d->error;
	}
	r = make_pool(m, tier, ret_error);
	g_clear_pointer(&d->text, g_free);
	d->error = MIN(r, 0);
	if (r < 0) {
		d->text = g_strdup(*ret_error);
		d->not_before = now_monotonic() + RETRY_USEC;
	}
	return r;
}

void module_pools_adopt(struct module_storage *m, const __u64 pool_bytes[MORSEL_MAX_POOLS + 1])
{
	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < m->pools->len; i++) {
		struct module_pool *pool = &g_array_index(m->pools, struct module_pool, i);

		if (pool->node < 0 && pool_bytes[pool->id] > 0)
			pool->ours = true;
	}
	pthread_mutex_unlock(&m->lock);
}

/* EBUSY: an object's placement names it, or it has frames. */
static void give_back(struct module_storage *m, unsigned int i)
{
	const struct module_pool *pool = &g_array_index(m->pools, struct module_pool, i);
	struct morsel_id which = { .size = sizeof(which), .id = pool->id };

	if (m->sys->call(m->fd, MORSEL_IOC_POOL_DESTROY, &which) >= 0)
		g_array_remove_index(m->pools, i);
}

void storage_module_learn(struct storage *s, const struct inventory *inv)
{
	struct module_storage *m = (struct module_storage *)s;
	const GPtrArray *tiers = inventory_tiers(inv);

	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];
		struct module_device *d;

		if (t->place < 0)
			continue;
		d = device_of(m, t);
		d->place = t->place;
		d->error = 0; /* the operator may have changed what was in the way */
		for (unsigned int k = m->pools->len; k-- > 0;) {
			struct module_pool *pool = &g_array_index(m->pools, struct module_pool, k);

			if (pool->node >= 0 || pool->start != t->start)
				continue;
			if (t->pool)
				pool->ours = true;
			else if (pool->ours)
				give_back(m, k); /* now, or at the end */
		}
	}
	pthread_mutex_unlock(&m->lock);
}

uint64_t storage_module_tier_free(struct storage *s, const struct tier *tier)
{
	struct module_storage *m = (struct module_storage *)s;
	struct morsel_pool_stat stat = { .size = sizeof(stat) };
	const struct module_pool *pool;

	pthread_mutex_lock(&m->lock);
	pool = module_pool_of_device(m, tier->start);
	stat.pool = pool ? pool->id : 0;
	pthread_mutex_unlock(&m->lock);
	if (stat.pool == 0)
		return tier->capacity / GRANULE_SIZE * GRANULE_SIZE;
	return m->sys->call(m->fd, MORSEL_IOC_POOL_STAT, &stat) < 0 ? 0 : stat.free_bytes;
}

void storage_module_release_devices(struct storage *s)
{
	struct module_storage *m = (struct module_storage *)s;

	pthread_mutex_lock(&m->lock);
	for (unsigned int i = m->pools->len; i-- > 0;) {
		const struct module_pool *pool = &g_array_index(m->pools, struct module_pool, i);

		if (pool->node < 0 && pool->ours)
			give_back(m, i);
	}
	pthread_mutex_unlock(&m->lock);
}
