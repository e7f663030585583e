// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake-inventory.h"
#include "numlist.h"
#include "storage-module-account.h"
#include "storage-module-open.h"
#include "storage-module-place.h"
#include "storage-module.h"
#include "test-tree.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE UINT64_C(4096)

/* --- A model of the module: enough of its contract for one daemon ---------------------------- */

/* Of the one dax device. */
#define DAX_START (UINT64_C(32) << 30)
#define DAX_PLACE 4

struct fake_object {
	uint64_t id, bytes, account;
	uint32_t flags;
	struct morsel_placement list;
	uint8_t *pages; /* pool of each page, 0: none */
	bool destroyed, held;
};

struct fake_account {
	uint64_t id, parent;
	uint64_t limit[MORSEL_MAX_TIERS];
};

static struct {
	struct morsel_pool_create pools[MORSEL_MAX_POOLS + 1]; /* pool: 0 where there is none */
	uint64_t room[MORSEL_MAX_POOLS + 1];		       /* bytes */
	struct fake_account accounts[40];
	unsigned int n_accounts;
	struct fake_object objects[16];
	unsigned int n_objects;
	/* What goes wrong. */
	unsigned long fail_request;
	int fail_with;
	unsigned int interrupt; /* so many calls end with EINTR, a move after one range */
	uint64_t pinned;	/* offset of a page that does not move, 1: none */
	unsigned int moves;
	unsigned int opened; /* the dax device */
	int open_error;
} fake;

static struct fake_object *fake_find(uint64_t id)
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

static struct fake_account *fake_account(uint64_t id)
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

	if (fake_account(a->id))
		return -EEXIST;
	if (a->parent && !fake_account(a->parent))
		return -ENOENT;
	for (at = fake_account(a->parent); at; at = fake_account(at->parent))
		depth++;
	if (depth >= 16)
		return -ELOOP;
	*new = (struct fake_account){ .id = a->id, .parent = a->parent };
	for (unsigned int i = 0; i < MORSEL_MAX_TIERS; i++)
		new->limit[i] = MORSEL_NO_LIMIT;
	fake.n_accounts++;
	return 0;
}

static int fake_account_destroy(uint64_t id)
{
	struct fake_account *a = fake_account(id);

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
	struct fake_account *a = fake_account(l->id);

	if (a)
		a->limit[l->tier] = l->limit_bytes;
	return a ? 0 : -ENOENT;
}

static int fake_account_stat(struct morsel_account_stat *s)
{
	const struct fake_account *a = fake_account(s->id);

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

static int fake_destroy(struct fake_object *o)
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

static const struct module_sys fake_sys = { .call = fake_call };

/* --- Four tiers: dram0 (node 0, with CPUs), hbm0 (1), slow0 (2 and 3), dax0 (none) ------------ */

struct fixture {
	struct storage *s;
	struct inventory *inv;
	struct tree tree;
};

static void new_storage(struct fixture *f)
{
	g_assert_cmpint(storage_module_new_with(f->tree.fd, open("/dev/null", O_RDWR | O_CLOEXEC),
						7, &fake_sys, &f->s),
			==, 0);
}

static void set_up(struct fixture *f, gconstpointer data)
{
	memset(&fake, 0, sizeof(fake));
	fake.pinned = 1;
	f->tree = tree_new();
	for (int node = 0; node < 4; node++)
		tree_node(&f->tree, node, node == 0 ? "0-1" : "", 4096 * 1024, "10");
	f->inv = fake_inventory_new();
	fake_inventory_add(f->inv, "dram0", TIER_ONLINE, (const int[]){ 0 }, 1);
	fake_inventory_add(f->inv, "hbm0", TIER_ONLINE, (const int[]){ 1 }, 1);
	fake_inventory_add(f->inv, "slow0", TIER_ONLINE, (const int[]){ 2, 3 }, 2);
	fake_inventory_add(f->inv, "dax0", TIER_OFFLINE, NULL, 0);
	new_storage(f);
}

static void tear_down(struct fixture *f, gconstpointer data)
{
	storage_module_free(f->s);
	while (fake.n_objects > 0) {
		fake.objects[0].held = false;
		fake_destroy(&fake.objects[0]);
	}
	fake_inventory_free(f->inv);
	tree_done(&f->tree);
}

static struct storage_spec spec_of(uint64_t id, uint64_t size, struct placement *p)
{
	return (struct storage_spec){ .id = { .qwords = { id, 1 } },
				      .label = "test",
				      .owner = 1000,
				      .size = size,
				      .placement = p };
}

static int try_create(struct fixture *f, uint64_t size, struct placement *p,
		      struct storage_object **ret, char **ret_error)
{
	struct storage_spec spec = spec_of(100 + fake.n_objects, size, p);

	return f->s->ops->create(f->s, f->inv, &spec, ret, ret_error);
}

static struct storage_object *create(struct fixture *f, uint64_t size, struct placement *p)
{
	g_autofree char *error = NULL;
	struct storage_object *o;

	if (try_create(f, size, p, &o, &error) < 0)
		g_error("create: %s", error);
	return o;
}

static struct placement *prefer(const char *tier)
{
	struct placement *p = placement_new();

	g_ptr_array_add(p->prefer, g_strdup(tier));
	return p;
}

static void populate(struct fixture *f, struct storage_object *o, uint64_t offset, uint64_t length)
{
	g_autofree char *error = NULL;

	if (f->s->ops->populate(o, offset, length, NULL, NULL, &error) < 0)
		g_error("populate: %s", error);
}

static void move(struct fixture *f, struct storage_object *o, const char *tier, uint64_t offset,
		 uint64_t length, struct storage_move_result *ret)
{
	g_autofree char *error = NULL;

	if (f->s->ops->move(o, offset, length, inventory_tier(f->inv, tier), 0, NULL, NULL, ret,
			    &error) < 0)
		g_error("move: %s", error);
	g_assert_cmpuint(ret->moved + ret->already + ret->absent + ret->failed, ==, length);
}

/* Pools are numbered in the order of their making. */
static uint32_t pool_of(int node)
{
	for (uint32_t i = 1; i <= MORSEL_MAX_POOLS; i++)
		if (fake.pools[i].pool && fake.pools[i].node == node)
			return i;
	return 0;
}

static void want_list(const struct morsel_placement *list, const char *want)
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

/* --- Tests ---------------------------------------------------------------------------------- */

static void test_pool_limit(void)
{
	/* The larger margin counts, what is left is in granules, too little is nothing. */
	g_assert_cmpuint(module_pool_limit(4096 * MIB, true), ==, 3072 * MIB);
	g_assert_cmpuint(module_pool_limit(1024 * MIB, true), ==, 512 * MIB);
	g_assert_cmpuint(module_pool_limit(512 * MIB, true), ==, 0);
	g_assert_cmpuint(module_pool_limit(1536 * MIB, false), ==, 1472 * MIB);
	g_assert_cmpuint(module_pool_limit(64 * 1024 * MIB, false), ==, 62 * 1024 * MIB);
	g_assert_cmpuint(module_pool_limit(65 * MIB, false), ==, 0);
	g_assert_cmpuint(module_pool_limit(67 * MIB + PAGE, false), ==, 2 * MIB);
}

static void test_place(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = prefer("hbm0"), allow = placement_new(), spread = placement_new();

	f->s->ops->free(create(f, MIB, NULL));
	want_list(&fake.objects[0].list, "0 1 2 3");
	f->s->ops->free(create(f, MIB, p));
	want_list(&fake.objects[1].list, "1 0 2 3");
	g_ptr_array_add(allow->allow, g_strdup("slow0"));
	g_ptr_array_add(allow->allow, g_strdup("hbm0"));
	g_ptr_array_add(allow->prefer, g_strdup("hbm0"));
	f->s->ops->free(create(f, MIB, allow));
	want_list(&fake.objects[2].list, "1 2 3");
	/* 3 to 1, where the one has two nodes. */
	placement_add_spread(spread, "slow0", 3);
	placement_add_spread(spread, "dram0", 1);
	f->s->ops->free(create(f, MIB, spread));
	want_list(&fake.objects[3].list, "2*3 3*3 0*2 1");

	/* One number of a tier for all its nodes. */
	g_assert_cmpuint(fake.pools[pool_of(2)].tier, ==, fake.pools[pool_of(3)].tier);
	g_assert_cmpuint(fake.pools[pool_of(0)].tier, !=, fake.pools[pool_of(1)].tier);
	g_assert_cmpuint(fake.pools[pool_of(0)].max_bytes, ==, 3072 * MIB);
	g_assert_cmpuint(fake.pools[pool_of(1)].max_bytes, ==, 3968 * MIB);
}

static void test_place_large_weights(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) spread = placement_new();

	placement_add_spread(spread, "slow0", 255);
	placement_add_spread(spread, "dram0", 255);
	placement_add_spread(spread, "hbm0", 1);
	f->s->ops->free(create(f, MIB, spread));
	want_list(&fake.objects[0].list, "2*255 3*255 0*510 1*2");
}

static void refused(struct fixture *f, uint64_t size, struct placement *p, int want,
		    const char *text)
{
	g_autofree char *error = NULL;
	struct storage_object *o;

	g_assert_cmpint(try_create(f, size, p, &o, &error), ==, want);
	if (!strstr(error, text))
		g_error("'%s' does not contain '%s'", error, text);
	g_assert_cmpuint(fake.n_objects, ==, 0);
}

static void test_create_refused(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) offline = prefer("dax0"), none = prefer("nowhere"),
			     ok = prefer("hbm0");
	g_autoptr(Placement) spread = placement_new();

	fake.fail_with = -ENOMEM;
	fake.fail_request = MORSEL_IOC_ACCOUNT_CREATE;
	refused(f, MIB, NULL, -ENOMEM, "account of cgroup ''");
	fake.fail_request = MORSEL_IOC_POOL_CREATE;
	refused(f, MIB, ok, -ENOMEM, "node 1 for tier 'hbm0'");
	refused(f, MIB, NULL, -ENODEV, "no tier with a pool");
	fake.fail_with = 0;
	refused(f, 0, NULL, -EINVAL, "size 0 of 'test'");
	refused(f, 4097, NULL, -EINVAL, "size 4097");
	refused(f, MORSEL_MAX_OBJECT_SIZE + PAGE, NULL, -EFBIG, "over the module's limit");
	refused(f, MIB, offline, -ENODEV, "dax0");
	refused(f, MIB, none, -ENOENT, "nowhere");
	placement_add_spread(spread, "hbm0", 1);
	placement_add_spread(spread, "dax0", 1);
	refused(f, MIB, spread, -ENODEV, "dax0");
	fake.fail_with = -ENOMEM;
	fake.fail_request = MORSEL_IOC_OBJECT_CREATE;
	refused(f, MIB, NULL, -ENOMEM, "makes no object of 1048576 bytes for 'test'");
	fake.fail_with = 0;
}

/* Pools that another daemon has given back are noticed. */
static void test_pool_vanished(struct fixture *f, gconstpointer data)
{
	f->s->ops->free(create(f, MIB, NULL));
	fake.pools[pool_of(1)].pool = 0;
	f->s->ops->free(create(f, MIB, NULL));
	g_assert_cmpuint(fake.n_objects, ==, 2);
	g_assert_cmpuint(pool_of(1), >, 0);
}

static void test_populate_and_move(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = create(f, 65 * MIB, NULL);
	struct storage_move_result result;
	uint64_t bytes;

	fake.interrupt = 2;
	populate(f, o, 0, 63 * MIB);
	g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 63 * MIB);

	fake.interrupt = 3;
	move(f, o, "hbm0", 0, 65 * MIB, &result);
	g_assert_cmpuint(result.moved, ==, 63 * MIB);
	g_assert_cmpuint(result.absent, ==, 2 * MIB);
	g_assert_cmpint(result.policy_error, ==, 0);
	storage_move_result_done(&result);
	want_list(&fake.objects[0].list, "1 0 2 3");

	/* Of a part the module has no list of its own. */
	move(f, o, "dram0", MIB, 2 * MIB, &result);
	g_assert_cmpuint(result.moved, ==, 2 * MIB);
	g_assert_cmpint(result.policy_error, ==, -EOPNOTSUPP);
	storage_move_result_done(&result);
	want_list(&fake.objects[0].list, "1 0 2 3");

	fake.pinned = 8 * MIB;
	move(f, o, "dram0", 0, 65 * MIB, &result);
	g_assert_cmpuint(result.already, ==, 2 * MIB);
	g_assert_cmpuint(result.failed, ==, PAGE);
	g_assert_cmpuint(*(uint64_t *)g_hash_table_lookup(result.reasons, GINT_TO_POINTER(EBUSY)),
			 ==, PAGE);
	storage_move_result_done(&result);
	f->s->ops->free(o);
}

/* A tier of two nodes: what is on the one stays, what the one has no room for goes to the other. */
static void test_move_two_nodes(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = prefer("slow0");
	struct storage_object *o = create(f, 64 * MIB, p);
	struct storage_move_result result;

	fake.room[pool_of(2)] = 0;
	populate(f, o, 0, 4 * MIB); /* on node 3 */
	fake.room[pool_of(2)] = 20 * MIB;
	fake.room[pool_of(3)] = 0;
	populate(f, o, 4 * MIB, 60 * MIB); /* 20 on node 2, the others on node 0 */
	fake.room[pool_of(2)] = 8 * MIB;
	fake.room[pool_of(3)] = 24 * MIB;
	move(f, o, "slow0", 0, 64 * MIB, &result);
	g_assert_cmpuint(result.already, ==, 24 * MIB);
	g_assert_cmpuint(result.failed, ==, 8 * MIB);
	g_assert_cmpuint(result.moved, ==, 32 * MIB);
	g_assert_cmpuint(*(uint64_t *)g_hash_table_lookup(result.reasons, GINT_TO_POINTER(ENOMEM)),
			 ==, 8 * MIB);
	storage_move_result_done(&result);
	f->s->ops->free(o);
}

static bool stop_at(uint64_t done, uint64_t total, void *userdata)
{
	return done < *(uint64_t *)userdata;
}

static void test_move_refused(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = placement_new();
	struct storage_move_result result;
	struct storage_object *o;
	struct {
		const char *tier;
		uint64_t offset, length;
		int want;
	} cases[] = {
		{ "dram0", 0, 0, -EINVAL },	      { "dram0", 1, PAGE, -EINVAL },
		{ "dram0", 0, PAGE + 1, -EINVAL },    { "dram0", 64 * MIB, PAGE, -EINVAL },
		{ "dram0", PAGE, 64 * MIB, -EINVAL }, { "dax0", 0, PAGE, -ENODEV },
		{ "hbm0", 0, PAGE, -EINVAL },	      { "slow0", 0, 64 * MIB, -EIO },
	};
	uint64_t at = 33 * MIB;
	g_autofree char *text = NULL;

	g_ptr_array_add(p->allow, g_strdup("dram0"));
	g_ptr_array_add(p->allow, g_strdup("slow0"));
	g_ptr_array_add(p->allow, g_strdup("dax0"));
	o = create(f, 64 * MIB, p);
	fake.fail_request = MORSEL_IOC_MOVE;
	fake.fail_with = -EIO;
	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *error = NULL;

		g_assert_cmpint(f->s->ops->move(o, cases[i].offset, cases[i].length,
						inventory_tier(f->inv, cases[i].tier), 0, NULL,
						NULL, &result, &error),
				==, cases[i].want);
		g_assert_nonnull(error);
	}
	fake.fail_with = 0;
	populate(f, o, 0, 64 * MIB);
	g_assert_cmpint(f->s->ops->move(o, 0, 64 * MIB, inventory_tier(f->inv, "dram0"), 0, stop_at,
					&at, &result, &text),
			==, -ECANCELED);
	g_assert_cmpuint(result.moved, ==, 64 * MIB);
	storage_move_result_done(&result);
	g_clear_pointer(&text, g_free);
	at = 1;
	g_assert_cmpint(f->s->ops->move(o, 0, 64 * MIB, inventory_tier(f->inv, "slow0"), 0, stop_at,
					&at, &result, &text),
			==, -ECANCELED);
	g_assert_cmpuint(result.moved, ==, 32 * MIB);
	storage_move_result_done(&result);
	f->s->ops->free(o);
}

/* 8 MiB a second for 4 MiB: half a second, in pieces of one granule. */
static void test_move_bandwidth(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = create(f, 4 * MIB, NULL);
	struct storage_move_result result;
	g_autofree char *error = NULL;
	gint64 begin = g_get_monotonic_time(), took;

	populate(f, o, 0, 4 * MIB);
	g_assert_cmpint(f->s->ops->move(o, 0, 4 * MIB, inventory_tier(f->inv, "hbm0"), 8 * MIB,
					NULL, NULL, &result, &error),
			==, 0);
	took = g_get_monotonic_time() - begin;
	g_assert_cmpint(took, >=, 450000);
	g_assert_cmpuint(fake.moves, ==, 2);
	storage_move_result_done(&result);
	f->s->ops->free(o);
}

static uint64_t on_node(const struct storage_residency *res, unsigned int node)
{
	return node < res->by_node->len ? g_array_index(res->by_node, uint64_t, node) : 0;
}

static void test_residency(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = create(f, 11 * MIB + 2 * PAGE, NULL);
	struct storage_move_result result;
	struct storage_residency res;
	g_autoptr(GArray) runs = NULL;
	const struct storage_run *run;

	populate(f, o, 0, 6 * MIB);
	populate(f, o, 10 * MIB, MIB + PAGE);
	move(f, o, "hbm0", 3 * MIB, 3 * MIB, &result);
	storage_move_result_done(&result);
	fake.interrupt = 1;
	g_assert_cmpint(f->s->ops->residency(o, 0, 100 * MIB, true, NULL, NULL, &res, &runs), ==,
			0);
	g_assert_cmpuint(res.length, ==, 11 * MIB + 2 * PAGE);
	g_assert_cmpuint(res.looked_at, ==, res.length);
	g_assert_false(res.sampled);
	g_assert_cmpuint(on_node(&res, 0), ==, 4 * MIB + PAGE);
	g_assert_cmpuint(on_node(&res, 1), ==, 3 * MIB);
	g_assert_cmpuint(res.absent, ==, 4 * MIB + PAGE);
	storage_residency_done(&res);

	g_assert_cmpuint(runs->len, ==, 5);
	run = (const struct storage_run *)runs->data;
	g_assert_cmpint(run[0].node, ==, 0);
	g_assert_cmpuint(run[0].length, ==, 2 * MIB);
	g_assert_cmpint(run[1].node, ==, RUN_MIXED);
	g_assert_cmpuint(run[1].offset, ==, 2 * MIB);
	g_assert_cmpuint(run[1].length, ==, 2 * MIB);
	g_assert_cmpuint(g_array_index(run[1].by_node, uint64_t, 0), ==, MIB);
	g_assert_cmpuint(g_array_index(run[1].by_node, uint64_t, 1), ==, MIB);
	g_assert_cmpint(run[2].node, ==, 1);
	g_assert_cmpuint(run[2].present, ==, 2 * MIB);
	g_assert_cmpint(run[3].node, ==, RUN_ABSENT);
	g_assert_cmpuint(run[3].length, ==, 4 * MIB);
	g_assert_cmpint(run[4].node, ==, 0);
	g_assert_cmpuint(run[4].present, ==, MIB + PAGE);
	g_assert_cmpuint(run[4].offset + run[4].length, ==, 11 * MIB + 2 * PAGE);

	/* From within a granule to within another one. */
	g_clear_pointer(&runs, g_array_unref);
	g_assert_cmpint(f->s->ops->residency(o, 5 * MIB, 5 * MIB + 2 * PAGE, true, NULL, NULL, &res,
					     &runs),
			==, 0);
	g_assert_cmpuint(on_node(&res, 1), ==, MIB);
	g_assert_cmpuint(on_node(&res, 0), ==, 2 * PAGE);
	g_assert_cmpuint(res.absent, ==, 4 * MIB);
	g_assert_cmpuint(runs->len, ==, 3);
	storage_residency_done(&res);
	/* A part of a mixed granule: as mixed as the whole. */
	g_assert_cmpint(f->s->ops->residency(o, 2 * MIB, MIB, true, NULL, NULL, &res, NULL), ==, 0);
	g_assert_cmpuint(on_node(&res, 0) + on_node(&res, 1), ==, MIB);
	g_assert_cmpuint(on_node(&res, 1), ==, MIB / 2);
	storage_residency_done(&res);

	g_assert_cmpint(f->s->ops->residency(o, 1, MIB, true, NULL, NULL, &res, NULL), ==, -EINVAL);
	g_assert_cmpint(f->s->ops->residency(o, 0, 0, true, NULL, NULL, &res, NULL), ==, -EINVAL);
	g_assert_cmpint(f->s->ops->residency(o, 12 * MIB, MIB, true, NULL, NULL, &res, NULL), ==,
			-EINVAL);
	fake.fail_request = MORSEL_IOC_RESIDENCY;
	fake.fail_with = -EIO;
	g_assert_cmpint(f->s->ops->residency(o, 0, MIB, true, NULL, NULL, &res, NULL), ==, -EIO);
	fake.fail_with = 0;
	f->s->ops->free(o);
}

static void test_populate_refused(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = placement_new();
	g_autofree char *error = NULL;
	struct storage_object *o;

	g_ptr_array_add(p->allow, g_strdup("hbm0"));
	o = create(f, 64 * MIB, p);
	fake.room[pool_of(1)] = 40 * MIB;
	g_assert_cmpint(f->s->ops->populate(o, 0, 64 * MIB, NULL, NULL, &error), ==, -ENOMEM);
	g_assert_nonnull(strstr(error, "beyond offset 33554432"));
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(f->s->ops->populate(o, 1, 64 * MIB, NULL, NULL, &error), ==, -EINVAL);
	f->s->ops->free(o);
}

static int adopt(struct fixture *f, const struct storage_spec *spec, enum page_backing backing,
		 struct storage_object **ret, const char *want)
{
	g_autofree char *error = NULL;
	int r = f->s->ops->adopt(f->s, f->inv, spec, backing, -1, ret, &error);

	if (r < 0 && !strstr(error, want))
		g_error("'%s' does not contain '%s'", error, want);
	return r;
}

/* The next daemon finds objects by number, with their pools, and goes on. */
static void test_adopt(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = prefer("hbm0");
	struct storage_object *o = create(f, 4 * MIB, p);
	struct storage_spec spec = spec_of(100, 4 * MIB, p);
	struct storage_move_result result;
	uint64_t bytes;

	populate(f, o, 0, 4 * MIB);
	f->s->ops->free(o);
	storage_module_free(f->s);
	g_assert_cmpuint(fake.n_objects, ==, 1);
	new_storage(f);
	g_assert_cmpint(adopt(f, &spec, PAGES_4K, &o, ""), ==, 0);
	g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 4 * MIB);
	move(f, o, "dram0", 0, 4 * MIB, &result);
	g_assert_cmpuint(result.moved, ==, 4 * MIB);
	storage_move_result_done(&result);
	want_list(&fake.objects[0].list, "0 1 2 3");
	g_assert_cmpuint(fake.pools[5].pool, ==, 0);
	f->s->ops->free(o);

	g_assert_cmpint(adopt(f, &spec, PAGES_THP, &o, "pages"), ==, -EINVAL);
	spec.size = 2 * MIB;
	g_assert_cmpint(adopt(f, &spec, PAGES_4K, &o, "another size"), ==, -EINVAL);
	spec.size = 4 * MIB;
	fake.objects[0].account ^= UINT64_C(1) << 40;
	g_assert_cmpint(adopt(f, &spec, PAGES_4K, &o, "not made by this daemon"), ==, -EINVAL);
	spec.id.qwords[0] = 5;
	g_assert_cmpint(adopt(f, &spec, PAGES_4K, &o, "no more"), ==, -ENOENT);
}

static void test_destroy(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = create(f, 4 * MIB, NULL), *again;

	fake.objects[0].held = true;
	g_assert_cmpint(f->s->ops->destroy(o), ==, 0);
	g_assert_false(f->s->ops->gone(o));
	/* As the next daemon asks. */
	again = storage_module_lingering(f->s, spec_of(100, 0, NULL).id);
	g_assert_false(f->s->ops->gone(again));
	f->s->ops->free(again);
	g_assert_null(storage_module_lingering(f->s, spec_of(5, 0, NULL).id));
	fake.objects[0].held = false;
	fake_destroy(&fake.objects[0]);
	g_assert_true(f->s->ops->gone(o));
	g_assert_cmpint(f->s->ops->destroy(o), ==, 0);
	f->s->ops->free(o);
	/* Nothing is left: pools and accounts are given back, so that the module can go. */
	g_assert_cmpuint(pool_of(0), >, 0);
	g_assert_cmpuint(fake.n_accounts, ==, 1);
	storage_module_free(f->s);
	for (int node = 0; node < 4; node++)
		g_assert_cmpuint(pool_of(node), ==, 0);
	g_assert_cmpuint(fake.n_accounts, ==, 0);
	new_storage(f);
}

static bool claims(uint64_t id, void *userdata)
{
	return id == *(uint64_t *)userdata;
}

static void test_strays(struct fixture *f, gconstpointer data)
{
	struct storage_module_strays strays;
	uint64_t claimed = 101;

	for (unsigned int i = 0; i < 4; i++)
		f->s->ops->free(create(f, 4 * MIB, NULL));
	fake.objects[0].account = 12;		      /* somebody else's */
	fake.objects[2].account ^= UINT64_C(1) << 33; /* another daemon's */
	g_assert_cmpint(storage_module_strays(f->s, claims, &claimed, false, &strays), ==, 0);
	g_assert_cmpuint(strays.foreign, ==, 2);
	g_assert_cmpuint(strays.left, ==, 1);
	g_assert_cmpuint(strays.destroyed, ==, 0);
	g_assert_cmpint(storage_module_strays(f->s, claims, &claimed, true, &strays), ==, 0);
	g_assert_cmpuint(strays.left, ==, 0);
	g_assert_cmpuint(strays.destroyed, ==, 1);
	g_assert_cmpuint(fake.n_objects, ==, 3);
	g_assert_null(fake_find(103));
}

/* What is there is no module. */
static void test_open(void)
{
	struct tree tree = tree_new();
	int fd = tree.fd;
	struct module_probe probe;
	struct storage *s;

	storage_module_open(fd, fd, NULL, &probe, &s);
	g_assert_cmpint(probe.state, ==, MODULE_ABSENT);
	g_assert_null(s);
	tree_write(&tree, "dev/morsel", "");
	storage_module_open(fd, fd, NULL, &probe, &s);
	g_assert_cmpint(probe.state, ==, MODULE_OTHER);
	g_assert_cmpint(probe.error, ==, -ENOTTY);
	g_assert_null(s);
	tree_done(&tree);
}

static int open_dax(const char *path, char **ret_text, void *userdata)
{
	g_assert_cmpstr(path, ==, "dev/dax0.0");
	fake.opened++;
	if (fake.open_error) {
		*ret_text = g_strdup("dax0.0 is in use");
		return fake.open_error;
	}
	return memfd_create("dax", MFD_CLOEXEC);
}

static void restart(struct fixture *f)
{
	storage_module_free(f->s);
	new_storage(f);
	storage_module_set_opener(f->s, &(struct module_opener){ open_dax, NULL });
	storage_module_learn(f->s, f->inv);
}

/* --- Accounts -------------------------------------------------------------------------------- */

#define CGROUPS "sys/fs/cgroup"

static uint64_t make_cgroup(struct fixture *f, const char *path)
{
	g_autofree char *dir = g_strconcat(f->tree.path, "/" CGROUPS, path, NULL);
	struct stat st;

	g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
	g_assert_cmpint(stat(dir, &st), ==, 0);
	return st.st_ino;
}

static void remove_cgroup(struct fixture *f, const char *path)
{
	g_autofree char *dir = g_strconcat(CGROUPS, path, NULL);

	tree_remove(&f->tree, dir);
}

static struct storage_object *create_from(struct fixture *f, const char *cgroup, uint64_t id)
{
	struct storage_spec spec = spec_of(200 + fake.n_objects, MIB, NULL);
	g_autofree char *error = NULL;
	struct storage_object *o;

	spec.cgroup = cgroup;
	spec.cgroup_id = id;
	if (f->s->ops->create(f->s, f->inv, &spec, &o, &error) < 0)
		g_error("create: %s", error);
	return o;
}

static uint64_t account_of(const struct storage_object *o)
{
	return fake_find(o->id)->account;
}

static uint64_t above(uint64_t account)
{
	g_assert_nonnull(fake_account(account));
	return fake_account(account)->parent;
}

/* Of an older daemon, too. */
static void done(struct fixture *f, struct storage_object *o)
{
	fake_destroy(fake_find(o->id));
	f->s->ops->free(o);
}

static void collect(struct fixture *f)
{
	((struct module_storage *)f->s)->collected = 0;
	module_accounts_collect((struct module_storage *)f->s);
}

static void test_cgroups(struct fixture *f, gconstpointer data)
{
	uint64_t root = make_cgroup(f, ""), slice = make_cgroup(f, "/a.slice");
	uint64_t one = make_cgroup(f, "/a.slice/one"), two = make_cgroup(f, "/a.slice/two");
	struct storage_object *a, *b, *c, *other;
	uint64_t leaf, theirs;

	tree_write(&f->tree, CGROUPS "/cgroup.controllers", "memory\n");
	a = create_from(f, "/a.slice/one", one);
	leaf = account_of(a);
	g_assert_cmpuint(above(leaf), ==, one);
	g_assert_cmpuint(above(one), ==, slice);
	g_assert_cmpuint(above(slice), ==, root);
	g_assert_cmpuint(above(root), ==, 0);
	/* Another user of it has the same, another cgroup its own. */
	b = create_from(f, "/a.slice/one", one);
	g_assert_cmpuint(account_of(b), ==, leaf);
	c = create_from(f, "/a.slice/two", two);
	g_assert_cmpuint(above(account_of(c)), ==, two);
	g_assert_cmpuint(fake.n_accounts, ==, 6);

	/* The next daemon finds and makes the same; one of another mark has a leaf of its own. */
	restart(f);
	f->s->ops->free(b);
	b = create_from(f, "/a.slice/one", one);
	g_assert_cmpuint(account_of(b), ==, leaf);
	storage_module_free(f->s);
	g_assert_cmpint(storage_module_new_with(f->tree.fd, open("/dev/null", O_RDWR | O_CLOEXEC),
						8, &fake_sys, &f->s),
			==, 0);
	other = create_from(f, "/a.slice/one", one);
	g_assert_cmpuint(account_of(other), !=, leaf);
	theirs = account_of(other);
	g_assert_cmpuint(above(theirs), ==, one);
	done(f, other);
	restart(f);

	/* One that is gone, or is another one by the same name: the next above is charged. */
	other = create_from(f, "/a.slice/gone", 4711);
	g_assert_cmpuint(above(account_of(other)), ==, slice);
	done(f, other);
	other = create_from(f, "/a.slice/two", two + 1000);
	g_assert_cmpuint(above(account_of(other)), ==, slice);
	done(f, other);
	/* Unknown, or above what we see: the whole machine's. */
	other = create_from(f, "", 0);
	g_assert_cmpuint(above(account_of(other)), ==, root);
	done(f, other);
	other = create_from(f, "/../x", 0);
	g_assert_cmpuint(above(account_of(other)), ==, root);
	done(f, other);

	/* They go when the cgroup has and nothing is charged to them. */
	remove_cgroup(f, "/a.slice/two");
	collect(f);
	g_assert_nonnull(fake_account(two));
	done(f, c);
	collect(f);
	g_assert_null(fake_account(two));
	g_assert_nonnull(fake_account(one));
	g_assert_nonnull(fake_account(slice));
	/* What a kill left is known by its mark, and goes the same way. */
	done(f, b);
	for (unsigned int i = 0; i < fake.n_objects; i++)
		fake.objects[i].account = 0;
	restart(f);
	remove_cgroup(f, "/a.slice");
	collect(f);
	g_assert_null(fake_account(leaf));
	/* The other daemon's holds it. */
	g_assert_nonnull(fake_account(one));
	g_assert_cmpint(fake_account_destroy(theirs), ==, 0);
	collect(f);
	g_assert_null(fake_account(one));
	g_assert_null(fake_account(slice));
	f->s->ops->free(a);
}

/* What is deeper than the module's tree shares the lowest account that there is. */
static void test_deep_cgroups(struct fixture *f, gconstpointer data)
{
	g_autoptr(GString) path = g_string_new(NULL);
	struct storage_object *a, *b;
	uint64_t id = make_cgroup(f, ""), ids[20];

	tree_write(&f->tree, CGROUPS "/cgroup.controllers", "memory\n");
	for (unsigned int i = 0; i < 20; i++) {
		g_string_append_printf(path, "/%u", i);
		ids[i] = id = make_cgroup(f, path->str);
	}
	a = create_from(f, path->str, id);
	g_assert_cmpuint(above(account_of(a)), ==, ids[MODULE_CGROUPS_DEPTH - 2]);
	g_string_truncate(path, path->len - strlen("/19"));
	b = create_from(f, path->str, ids[18]);
	g_assert_cmpuint(account_of(b), ==, account_of(a));
	done(f, a);
	done(f, b);
}

static uint64_t limit_on(uint64_t account, unsigned int tier)
{
	g_assert_nonnull(fake_account(account));
	return fake_account(account)->limit[tier];
}

static void configure(struct fixture *f, const char *text)
{
	g_autofree char *path = g_build_filename(f->tree.path, "morseld.conf", NULL),
			*message = NULL;
	struct config *config = NULL;
	struct policy_set *set = NULL;

	tree_write(&f->tree, "morseld.conf", text);
	if (config_load(path, &config, &message) < 0 ||
	    policy_set_new(config->policies, &set, &message) < 0)
		g_error("%s", message);
	storage_module_set_policies(f->s, set);
	policy_set_unref(set);
	config_free(config);
}

static void test_limits(struct fixture *f, gconstpointer data)
{
	uint64_t slice, one, two;
	struct storage_object *a, *b;
	g_autoptr(GArray) tiers = NULL;
	const struct storage_module_tier *t;

	(void)make_cgroup(f, "");
	slice = make_cgroup(f, "/a.slice");
	one = make_cgroup(f, "/a.slice/one");
	two = make_cgroup(f, "/a.slice/two");
	tree_write(&f->tree, CGROUPS "/cgroup.controllers", "memory\n");
	configure(
		f,
		"[cgroup /a.slice]\nMax.hbm0=1G\n[cgroup /a.slice/*]\nMax.hbm0=64M\nMax.dram0=8M\n"
		"[cgroup /a.slice/two]\nMax.hbm0=none\n");
	/* The first pools are made with it: dram0 is the module's tier 0, hbm0 1. */
	a = create_from(f, "/a.slice/one", one);
	b = create_from(f, "/a.slice/two", two);
	g_assert_cmpuint(limit_on(one, 0), ==, 8 * MIB);
	g_assert_cmpuint(limit_on(one, 1), ==, 64 * MIB);
	g_assert_cmpuint(limit_on(slice, 1), ==, 1024 * MIB);
	g_assert_cmpuint(limit_on(slice, 0), ==, MORSEL_NO_LIMIT);
	g_assert_cmpuint(limit_on(two, 1), ==, MORSEL_NO_LIMIT);
	g_assert_cmpuint(limit_on(two, 0), ==, 8 * MIB);
	g_assert_cmpuint(limit_on(account_of(a), 1), ==, MORSEL_NO_LIMIT);
	/* Others, at once. */
	configure(f, "[cgroup /a.slice/one]\nMax.hbm0=0\n");
	g_assert_cmpuint(limit_on(one, 1), ==, 0);
	g_assert_cmpuint(limit_on(one, 0), ==, MORSEL_NO_LIMIT);
	g_assert_cmpuint(limit_on(two, 0), ==, MORSEL_NO_LIMIT);
	tiers = storage_module_cgroup_tiers(f->s, "/a.slice/one");
	g_assert_cmpuint(tiers->len, ==, 1);
	t = &g_array_index(tiers, struct storage_module_tier, 0);
	g_assert_cmpstr(t->name, ==, "hbm0");
	g_assert_cmpuint(t->limit, ==, 0);

	/* The next daemon has another configuration: it holds for what it finds. */
	f->s->ops->free(a);
	storage_module_free(f->s);
	new_storage(f);
	configure(f, "[cgroup /a.slice/one]\nMax.hbm0=32M\n");
	/* Not known again yet. */
	g_assert_cmpuint(limit_on(one, 1), ==, 0);
	{
		struct storage_spec spec = spec_of(200, MIB, NULL);
		g_autofree char *error = NULL;

		spec.cgroup = "/a.slice/one";
		g_assert_cmpint(f->s->ops->adopt(f->s, f->inv, &spec, PAGES_4K, -1, &a, &error), ==,
				0);
	}
	g_assert_cmpuint(limit_on(one, 1), ==, 32 * MIB);
	f->s->ops->free(b);
	f->s->ops->free(a);
	storage_module_set_policies(f->s, NULL);
}

/* --- A tier that is a dax device -------------------------------------------------------------- */

static struct tier *give_dax(struct fixture *f)
{
	struct tier *t = inventory_tier(f->inv, "dax0");

	t->device = (char *)"/dev/dax0.0";
	t->place = DAX_PLACE;
	t->start = DAX_START;
	t->capacity = 64 * MIB + 4096; /* the rest of a granule is left over */
	t->pool = true;
	t->state = TIER_ONLINE;
	storage_module_set_opener(f->s, &(struct module_opener){ open_dax, NULL });
	storage_module_learn(f->s, f->inv);
	return t;
}

static uint64_t bytes_at(struct fixture *f, struct storage_object *o, int place)
{
	struct storage_residency res;
	uint64_t bytes = 0;

	g_assert_cmpint(f->s->ops->residency(o, 0, o->size, true, NULL, NULL, &res, NULL), ==, 0);
	if ((unsigned int)place < res.by_node->len)
		bytes = g_array_index(res.by_node, uint64_t, place);
	storage_residency_done(&res);
	return bytes;
}

static void test_dax(struct fixture *f, gconstpointer data)
{
	struct tier *dax = give_dax(f);
	g_autoptr(Placement) p = prefer("dax0");
	struct storage_move_result result;
	struct storage_object *o;
	g_autofree char *error = NULL;
	struct storage_spec spec;
	uint32_t pool;

	g_assert_cmpuint(storage_module_tier_free(f->s, dax), ==, 64 * MIB);
	o = create(f, 8 * MIB, p);
	pool = pool_of(-1);
	g_assert_cmpuint(fake.pools[pool].kind, ==, MORSEL_POOL_DAX);
	g_assert_cmpuint(fake.pools[pool].max_bytes, ==, 64 * MIB);
	g_assert_cmpuint(o->list.pools[0], ==, pool);
	populate(f, o, 0, 8 * MIB);
	g_assert_cmpuint(bytes_at(f, o, DAX_PLACE), ==, 8 * MIB);
	g_assert_cmpuint(storage_module_tier_free(f->s, dax), ==, 56 * MIB);
	move(f, o, "dram0", 0, 8 * MIB, &result);
	storage_move_result_done(&result);
	move(f, o, "dax0", 0, 4 * MIB, &result);
	g_assert_cmpuint(result.moved, ==, 4 * MIB);
	storage_move_result_done(&result);
	g_assert_cmpuint(bytes_at(f, o, DAX_PLACE), ==, 4 * MIB);

	/* The next daemon knows it by where it is, and makes no other. */
	f->s->ops->free(o);
	restart(f);
	spec = spec_of(100, 8 * MIB, p);
	g_assert_cmpint(f->s->ops->adopt(f->s, f->inv, &spec, PAGES_4K, -1, &o, &error), ==, 0);
	g_assert_cmpuint(bytes_at(f, o, DAX_PLACE), ==, 4 * MIB);
	g_assert_cmpuint(fake.opened, ==, 1);

	/* Taken from morsel while bytes lie there: no more come, and these are still told of. */
	dax->pool = false;
	dax->state = TIER_OFFLINE;
	storage_module_learn(f->s, f->inv);
	g_assert_cmpuint(bytes_at(f, o, DAX_PLACE), ==, 4 * MIB);
	g_assert_cmpint(f->s->ops->move(o, 0, 8 * MIB, dax, 0, NULL, NULL, &result, &error), ==,
			-ENODEV);
	/* A device that no tier has any more. */
	dax->place = -1;
	f->s->ops->free(o);
	restart(f);
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(f->s->ops->adopt(f->s, f->inv, &spec, PAGES_4K, -1, &o, &error), ==, 0);
	g_assert_cmpuint(bytes_at(f, o, NODE_MAX), ==, 4 * MIB);
	f->s->ops->destroy(o);
	f->s->ops->free(o);
	/* It was ours all the same. */
	restart(f);
	g_assert_cmpuint(pool_of(-1), ==, 0);
}

/* What cannot be had is said, and not asked for again with each morsel. */
static void test_dax_refused(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = prefer("dax0");
	struct storage_object *o;
	g_autofree char *error = NULL;

	give_dax(f);
	fake.open_error = -EBUSY;
	g_assert_cmpint(try_create(f, MIB, p, &o, &error), ==, -EBUSY);
	g_assert_cmpstr(error, ==,
			"tier 'dax0': /dev/dax0.0 cannot be had for a pool of the module: "
			"dax0.0 is in use");
	/* Who does not name it does without. */
	o = create(f, MIB, NULL);
	f->s->ops->free(o);
	g_assert_cmpuint(fake.opened, ==, 1);
	fake.open_error = 0;
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(try_create(f, MIB, p, &o, &error), ==, -EBUSY);
	/* After a look at the machine it is. */
	storage_module_learn(f->s, f->inv);
	o = create(f, MIB, p);
	g_assert_cmpuint(fake.opened, ==, 2);
	g_assert_cmpuint(pool_of(-1), !=, 0);
	f->s->ops->free(o);
}

/* With nothing left, and for a provisioning, the device is given back; one that is not morsel's is not. */
static void test_dax_release(struct fixture *f, gconstpointer data)
{
	struct tier *dax = give_dax(f);
	g_autoptr(Placement) p = prefer("dax0");
	struct storage_object *o = create(f, MIB, p);

	f->s->ops->destroy(o);
	f->s->ops->free(o);
	storage_module_release_devices(f->s);
	g_assert_cmpuint(pool_of(-1), ==, 0);
	o = create(f, MIB, p);
	g_assert_cmpuint(pool_of(-1), !=, 0);
	f->s->ops->destroy(o);
	f->s->ops->free(o);
	/* Taken away in the configuration. */
	o = create(f, MIB, p);
	dax->pool = false;
	storage_module_learn(f->s, f->inv);
	g_assert_cmpuint(pool_of(-1), !=, 0);
	f->s->ops->destroy(o);
	f->s->ops->free(o);
	storage_module_learn(f->s, f->inv);
	g_assert_cmpuint(pool_of(-1), ==, 0);

	fake.pools[9] =
		(struct morsel_pool_create){ .pool = 9, .kind = MORSEL_POOL_DAX, .node = -1 };
	restart(f);
	storage_module_release_devices(f->s);
	restart(f);
	g_assert_cmpuint(fake.pools[9].pool, ==, 9);
}

#define ADD(name, function) \
	g_test_add("/storage-module/" name, struct fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/storage-module/pool-limit", test_pool_limit);
	ADD("place", test_place);
	ADD("place-large-weights", test_place_large_weights);
	ADD("create-refused", test_create_refused);
	ADD("pool-vanished", test_pool_vanished);
	ADD("populate-and-move", test_populate_and_move);
	ADD("move-two-nodes", test_move_two_nodes);
	ADD("move-refused", test_move_refused);
	ADD("move-bandwidth", test_move_bandwidth);
	ADD("residency", test_residency);
	ADD("populate-refused", test_populate_refused);
	ADD("adopt", test_adopt);
	ADD("destroy", test_destroy);
	ADD("strays", test_strays);
	ADD("cgroups", test_cgroups);
	ADD("deep-cgroups", test_deep_cgroups);
	ADD("limits", test_limits);
	ADD("dax", test_dax);
	ADD("dax-refused", test_dax_refused);
	ADD("dax-release", test_dax_release);
	g_test_add_func("/storage-module/open", test_open);
	return g_test_run();
}
