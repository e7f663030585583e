// SPDX-License-Identifier: GPL-2.0-or-later
/* Pools, placements, objects that are made; what is refused. */
#include <errno.h>
#include <string.h>

#include "storage-module-fixture.h"
#include "storage-module-open.h"
#include "storage-module-place.h"

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
	g_autoptr(Placement) p = fixture_prefer("hbm0"), allow = placement_new(),
			     spread = placement_new();

	f->s->ops->free(fixture_create(f, MIB, NULL));
	fake_want_list(&fake.objects[0].list, "0 1 2 3");
	f->s->ops->free(fixture_create(f, MIB, p));
	fake_want_list(&fake.objects[1].list, "1 0 2 3");
	g_ptr_array_add(allow->allow, g_strdup("slow0"));
	g_ptr_array_add(allow->allow, g_strdup("hbm0"));
	g_ptr_array_add(allow->prefer, g_strdup("hbm0"));
	f->s->ops->free(fixture_create(f, MIB, allow));
	fake_want_list(&fake.objects[2].list, "1 2 3");
	/* 3 to 1, where the one has two nodes. */
	placement_add_spread(spread, "slow0", 3);
	placement_add_spread(spread, "dram0", 1);
	f->s->ops->free(fixture_create(f, MIB, spread));
	fake_want_list(&fake.objects[3].list, "2*3 3*3 0*2 1");

	/* One number of a tier for all its nodes. */
	g_assert_cmpuint(fake.pools[fake_pool_of(2)].tier, ==, fake.pools[fake_pool_of(3)].tier);
	g_assert_cmpuint(fake.pools[fake_pool_of(0)].tier, !=, fake.pools[fake_pool_of(1)].tier);
	g_assert_cmpuint(fake.pools[fake_pool_of(0)].max_bytes, ==, 3072 * MIB);
	g_assert_cmpuint(fake.pools[fake_pool_of(1)].max_bytes, ==, 3968 * MIB);
}

static void test_place_large_weights(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) spread = placement_new();

	placement_add_spread(spread, "slow0", 255);
	placement_add_spread(spread, "dram0", 255);
	placement_add_spread(spread, "hbm0", 1);
	f->s->ops->free(fixture_create(f, MIB, spread));
	fake_want_list(&fake.objects[0].list, "2*255 3*255 0*510 1*2");
}

static void refused(struct fixture *f, uint64_t size, struct placement *p, int want,
		    const char *text)
{
	g_autofree char *error = NULL;
	struct storage_object *o;

	g_assert_cmpint(fixture_try_create(f, size, p, &o, &error), ==, want);
	if (!strstr(error, text))
		g_error("'%s' does not contain '%s'", error, text);
	g_assert_cmpuint(fake.n_objects, ==, 0);
}

static void test_create_refused(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) offline = fixture_prefer("dax0"), none = fixture_prefer("nowhere"),
			     ok = fixture_prefer("hbm0");
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
	f->s->ops->free(fixture_create(f, MIB, NULL));
	fake.pools[fake_pool_of(1)].pool = 0;
	f->s->ops->free(fixture_create(f, MIB, NULL));
	g_assert_cmpuint(fake.n_objects, ==, 2);
	g_assert_cmpuint(fake_pool_of(1), >, 0);
}

static void test_populate_refused(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = placement_new();
	g_autofree char *error = NULL;
	struct storage_object *o;

	g_ptr_array_add(p->allow, g_strdup("hbm0"));
	o = fixture_create(f, 64 * MIB, p);
	fake.room[fake_pool_of(1)] = 40 * MIB;
	g_assert_cmpint(f->s->ops->populate(o, 0, 64 * MIB, NULL, NULL, &error), ==, -ENOMEM);
	g_assert_nonnull(strstr(error, "beyond offset 33554432"));
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(f->s->ops->populate(o, 1, 64 * MIB, NULL, NULL, &error), ==, -EINVAL);
	f->s->ops->free(o);
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

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/storage-module/pool-limit", test_pool_limit);
	FIXTURE_ADD("place", test_place);
	FIXTURE_ADD("place-large-weights", test_place_large_weights);
	FIXTURE_ADD("create-refused", test_create_refused);
	FIXTURE_ADD("pool-vanished", test_pool_vanished);
	FIXTURE_ADD("populate-refused", test_populate_refused);
	g_test_add_func("/storage-module/open", test_open);
	return g_test_run();
}
