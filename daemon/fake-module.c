// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fake-module.h"
#include "storage.h"

struct fake_module fake;

struct fake_object *fake_find(uint64_t id)
{
	for (unsigned int i = 0; i < fake.n_objects; i++)
		if (fake.objects[i].id == id)
			return &fake.objects[i];
	return NULL;
}

static int fake_pool_create(struct morsel_pool_create *a)
{
	for (uint32_t id = 1; id <= MORSEL_MAX_POOLS; id++)
		if (fake.pools[id].pool == 0) {
			a->pool = id;
			fake.pools[id] = *a;
			fake.room[id] = a->max_bytes;
			return 0;
		}
	return -ENOSPC;
}

static int fake_pool_stat(struct morsel_pool_stat *a)
{
	const struct morsel_pool_create *p = &fake.pools[a->pool];

	if (a->pool > MORSEL_MAX_POOLS || p->pool == 0)
		return -ENOENT;
	a->kind = p->kind;
	a->tier = p->tier;
	a->node = p->node;
	a->max_bytes = p->max_bytes;
	a->free_bytes = fake.room[a->pool];
	a->start = p->kind == MORSEL_POOL_DAX ? DAX_START : 0;
	return 0;
}

struct fake_account *fake_account_find(uint64_t id)
{
	for (unsigned int i = 0; i < fake.n_accounts; i++)
		if (fake.accounts[i].id == id)
			return &fake.accounts[i];
	return NULL;
}

static int fake_account_create(const struct morsel_account_create *a)
{
	struct fake_account *new = &fake.accounts[fake.n_accounts], *at;
	unsigned int depth = 0;

	if (fake_account_find(a->id))
		return -EEXIST;
	if (a->parent && !fake_account_find(a->parent))
		return -ENOENT;
	for (at = fake_account_find(a->parent); at; at = fake_account_find(at->parent))
		depth++;
	if (depth >= 16)
		return -ELOOP;
	*new = (struct fake_account){ .id = a->id, .parent = a->parent };
	for (unsigned int i = 0; i < MORSEL_MAX_TIERS; i++)
		new->limit[i] = MORSEL_NO_LIMIT;
	fake.n_accounts++;
	return 0;
}

int fake_account_destroy(uint64_t id)
{
	struct fake_account *a = fake_account_find(id);

	if (!a)
		return -ENOENT;
	for (unsigned int i = 0; i < fake.n_accounts; i++)
		if (fake.accounts[i].parent == id)
			return -EBUSY;
	for (unsigned int i = 0; i < fake.n_objects; i++)
		if (fake.objects[i].account == id)
			return -EBUSY;
	*a = fake.accounts[--fake.n_accounts];
	return 0;
}

static int fake_account_limit(const struct morsel_account_limit *l)
{
	struct fake_account *a = fake_account_find(l->id);

	if (a)
		a->limit[l->tier] = l->limit_bytes;
	return a ? 0 : -ENOENT;
}

static int fake_account_stat(struct morsel_account_stat *s)
{
	const struct fake_account *a = fake_account_find(s->id);

	if (s->flags & MORSEL_ACCOUNT_NEXT) {
		a = NULL;
		for (unsigned int i = 0; i < fake.n_accounts; i++)
			if (fake.accounts[i].id > s->id && (!a || fake.accounts[i].id < a->id))
				a = &fake.accounts[i];
	}
	if (!a)
		return -ENOENT;
	s->id = a->id;
	s->parent = a->parent;
	memcpy(s->limit_bytes, a->limit, sizeof(a->limit));
	return 0;
}

static int fake_object_create(struct morsel_object_create *a)
{
	struct fake_object *o = &fake.objects[fake.n_objects];

	if (fake_find(a->id))
		return -EEXIST;
	for (unsigned int i = 0; i < MORSEL_MAX_TIERS && a->placement.pools[i]; i++)
		if (fake.pools[a->placement.pools[i]].pool == 0)
			return -ENOENT;
	fake.n_objects++;
	*o = (struct fake_object){ a->id, a->bytes, a->account, a->flags, a->placement };
	o->pages = g_malloc0(a->bytes / PAGE);
	a->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return 0;
}

static uint8_t fake_frame(const struct fake_object *o)
{
	for (unsigned int i = 0; i < MORSEL_MAX_TIERS && o->list.pools[i]; i++) {
		uint32_t pool = o->list.pools[i];

		if (fake.room[pool] >= PAGE) {
			fake.room[pool] -= PAGE;
			return (uint8_t)pool;
		}
	}
	return 0;
}

static int fake_populate(struct fake_object *o, const struct morsel_ranges *a)
{
	const struct morsel_extent *range = (const void *)(uintptr_t)a->ranges;

	g_assert_cmpuint(a->count, ==, 1);
	g_assert_cmpuint(range->offset % PAGE + range->length % PAGE, ==, 0);
	g_assert_cmpuint(range->offset + range->length, <=, o->bytes);
	for (uint64_t at = range->offset; at < range->offset + range->length; at += PAGE) {
		if (o->pages[at / PAGE] == 0)
			o->pages[at / PAGE] = fake_frame(o);
		if (o->pages[at / PAGE] == 0)
			return -ENOMEM;
	}
	return 0;
}

static void fake_move_range(struct fake_object *o, struct morsel_move_range *range)
{
	g_assert_cmpuint(range->offset / GRANULE_SIZE, ==,
			 (range->offset + range->length - 1) / GRANULE_SIZE);
	range->result = 0;
	range->moved = range->already = range->absent = range->failed = 0;
	for (uint64_t at = range->offset; at < range->offset + range->length; at += PAGE) {
		uint8_t *pool = &o->pages[at / PAGE];

		if (*pool == 0) {
			range->absent += PAGE;
		} else if (*pool == range->pool) {
			range->already += PAGE;
		} else if (at == fake.pinned || fake.room[range->pool] < PAGE) {
			range->result = at == fake.pinned ? -EBUSY : -ENOMEM;
			range->failed += PAGE;
		} else {
			fake.room[*pool] += PAGE;
			fake.room[range->pool] -= PAGE;
			*pool = (uint8_t)range->pool;
			range->moved += PAGE;
		}
	}
}

static int fake_move(struct fake_object *o, struct morsel_move *a)
{
	struct morsel_move_range *ranges = (void *)(uintptr_t)a->ranges;
	uint32_t n = a->count;

	fake.moves++;
	if (fake.interrupt > 0) {
		fake.interrupt--;
		n = MIN(n, 1);
	}
	for (uint32_t i = 0; i < n; i++)
		fake_move_range(o, &ranges[i]);
	if (n == a->count)
		return 0;
	a->count = n;
	return -EINTR;
}

static int fake_residency(const struct fake_object *o, struct morsel_residency *a)
{
	uint8_t *codes = (void *)(uintptr_t)a->granules;

	g_assert_cmpuint(a->offset % GRANULE_SIZE, ==, 0);
	g_assert_true(a->length % GRANULE_SIZE == 0 || a->offset + a->length == o->bytes);
	g_assert_cmpuint(a->offset + a->length, <=, o->bytes);
	g_assert_cmpuint(a->length, >, 0);
	for (uint64_t at = a->offset; at < a->offset + a->length; at += PAGE) {
		uint8_t pool = o->pages[at / PAGE];
		uint8_t *code = codes ? &codes[(at - a->offset) / GRANULE_SIZE] : NULL;

		a->pool_bytes[pool] += PAGE;
		if (code && at % GRANULE_SIZE == 0)
			*code = 0;
		if (code && pool)
			*code = *code == 0 || *code == pool ? pool : MORSEL_MIXED;
	}
	return 0;
}

static int fake_harvest(const struct fake_object *o, struct morsel_harvest *a)
{
	g_assert_cmpuint(a->flags, ==, MORSEL_HARVEST_KEEP);
	for (uint64_t at = a->offset; at < a->offset + a->length; at += PAGE)
		a->present_pages += o->pages[at / PAGE] != 0;
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	return *(const uint64_t *)a < *(const uint64_t *)b ? -1 : 1;
}

static int fake_list(struct morsel_object_list *a)
{
	uint64_t *ids = (void *)(uintptr_t)a->ids, all[16];
	uint32_t n = 0;

	for (unsigned int i = 0; i < fake.n_objects; i++)
		all[i] = fake.objects[i].id;
	qsort(all, fake.n_objects, sizeof(all[0]), compare_ids);
	for (unsigned int i = 0; i < fake.n_objects; i++)
		if (all[i] > a->after && n < a->count)
			ids[n++] = all[i];
	a->count = n;
	return 0;
}

int fake_destroy(struct fake_object *o)
{
	o->destroyed = true;
	if (o->held)
		return 0;
	for (uint64_t i = 0; i < o->bytes / PAGE; i++)
		fake.room[o->pages[i]] += PAGE;
	g_free(o->pages);
	*o = fake.objects[--fake.n_objects];
	return 0;
}

static int fake_object_call(unsigned long request, void *argument)
{
	/* size, a word, id: but for destroy, whose word is flags too. */
	struct fake_object *o = fake_find(((struct morsel_object_stat *)argument)->id);

	switch (request) {
	case MORSEL_IOC_POPULATE:
	case MORSEL_IOC_MOVE:
	case MORSEL_IOC_HARVEST:
	case MORSEL_IOC_RESIDENCY:
	case MORSEL_IOC_OBJECT_STAT:
	case MORSEL_IOC_OBJECT_OPEN:
	case MORSEL_IOC_OBJECT_SET:
	case MORSEL_IOC_OBJECT_DESTROY:
		break;
	default:
		g_error("request %lx", request);
	}
	if (!o)
		return -ENOENT;
	switch (request) {
	case MORSEL_IOC_POPULATE:
		return fake_populate(o, argument);
	case MORSEL_IOC_MOVE:
		return fake_move(o, argument);
	case MORSEL_IOC_HARVEST:
		return fake_harvest(o, argument);
	case MORSEL_IOC_RESIDENCY:
		return fake_residency(o, argument);
	case MORSEL_IOC_OBJECT_OPEN:
		((struct morsel_object_open *)argument)->fd =
			open("/dev/null", O_RDONLY | O_CLOEXEC);
		return 0;
	case MORSEL_IOC_OBJECT_SET:
		o->list = ((struct morsel_object_set *)argument)->placement;
		o->flags |= ((struct morsel_object_set *)argument)->flags;
		return 0;
	case MORSEL_IOC_OBJECT_DESTROY:
		return fake_destroy(o);
	default: {
		struct morsel_object_stat *stat = argument;

		stat->flags = o->flags | (o->destroyed ? MORSEL_STAT_DESTROYED : 0);
		stat->bytes = o->bytes;
		stat->account = o->account;
		for (uint64_t i = 0; i < o->bytes / PAGE; i++) {
			stat->used_bytes += o->pages[i] ? PAGE : 0;
			stat->pool_bytes[o->pages[i]] += PAGE;
		}
		return 0;
	}
	}
}

static int fake_pool_destroy(uint32_t id)
{
	for (unsigned int i = 0; i < fake.n_objects; i++)
		for (unsigned int k = 0; k < MORSEL_MAX_TIERS; k++)
			if (fake.objects[i].list.pools[k] == id)
				return -EBUSY;
	fake.pools[id].pool = 0;
	return 0;
}

static int fake_call(int fd, unsigned long request, void *argument)
{
	if (fake.fail_with && request == fake.fail_request)
		return fake.fail_with;
	if (fake.interrupt > 0 && request != MORSEL_IOC_MOVE &&
	    (request == MORSEL_IOC_POPULATE || request == MORSEL_IOC_RESIDENCY)) {
		fake.interrupt--;
		return -EINTR;
	}
	switch (request) {
	case MORSEL_IOC_POOL_CREATE:
		return fake_pool_create(argument);
	case MORSEL_IOC_POOL_STAT:
		return fake_pool_stat(argument);
	case MORSEL_IOC_POOL_DESTROY:
		return fake_pool_destroy((uint32_t)((struct morsel_id *)argument)->id);
	case MORSEL_IOC_ACCOUNT_CREATE:
		return fake_account_create(argument);
	case MORSEL_IOC_ACCOUNT_DESTROY:
		return fake_account_destroy(((struct morsel_id *)argument)->id);
	case MORSEL_IOC_ACCOUNT_LIMIT:
		return fake_account_limit(argument);
	case MORSEL_IOC_ACCOUNT_STAT:
		return fake_account_stat(argument);
	case MORSEL_IOC_OBJECT_CREATE:
		return fake_object_create(argument);
	case MORSEL_IOC_OBJECT_LIST:
		return fake_list(argument);
	default:
		return fake_object_call(request, argument);
	}
}

const struct module_sys fake_sys = { .call = fake_call };

/* Pools are numbered in the order of their making. */
uint32_t fake_pool_of(int node)
{
	for (uint32_t i = 1; i <= MORSEL_MAX_POOLS; i++)
		if (fake.pools[i].pool && fake.pools[i].node == node)
			return i;
	return 0;
}

void fake_want_list(const struct morsel_placement *list, const char *want)
{
	g_autoptr(GString) s = g_string_new(NULL);

	for (unsigned int i = 0; i < MORSEL_MAX_TIERS && list->pools[i]; i++) {
		g_string_append_printf(s, "%s%d", i > 0 ? " " : "",
				       fake.pools[list->pools[i]].node);
		if (list->weights[i])
			g_string_append_printf(s, "*%u", list->weights[i]);
	}
	g_assert_cmpstr(s->str, ==, want);
}
