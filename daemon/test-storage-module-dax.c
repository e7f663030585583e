// SPDX-License-Identifier: GPL-2.0-or-later
/* A tier that is a dax device. */
#include <errno.h>

#include "numlist.h"
#include "storage-module-fixture.h"
#include "storage-module-open.h"

static struct tier *give_dax(struct fixture *f)
{
	struct tier *t = inventory_tier(f->inv, "dax0");

	t->device = (char *)"/dev/dax0.0";
	t->place = DAX_PLACE;
	t->start = DAX_START;
	t->capacity = 64 * MIB + 4096; /* the rest of a granule is left over */
	t->pool = true;
	t->state = TIER_ONLINE;
	storage_module_set_opener(f->s, &(struct module_opener){ fixture_open_dax, NULL });
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
	g_autoptr(Placement) p = fixture_prefer("dax0");
	struct storage_move_result result;
	struct storage_object *o;
	g_autofree char *error = NULL;
	struct storage_spec spec;
	uint32_t pool;

	g_assert_cmpuint(storage_module_tier_free(f->s, dax), ==, 64 * MIB);
	o = fixture_create(f, 8 * MIB, p);
	pool = fake_pool_of(-1);
	g_assert_cmpuint(fake.pools[pool].kind, ==, MORSEL_POOL_DAX);
	g_assert_cmpuint(fake.pools[pool].max_bytes, ==, 64 * MIB);
	g_assert_cmpuint(o->list.pools[0], ==, pool);
	fixture_populate(f, o, 0, 8 * MIB);
	g_assert_cmpuint(bytes_at(f, o, DAX_PLACE), ==, 8 * MIB);
	g_assert_cmpuint(storage_module_tier_free(f->s, dax), ==, 56 * MIB);
	fixture_move(f, o, "dram0", 0, 8 * MIB, &result);
	storage_move_result_done(&result);
	fixture_move(f, o, "dax0", 0, 4 * MIB, &result);
	g_assert_cmpuint(result.moved, ==, 4 * MIB);
	storage_move_result_done(&result);
	g_assert_cmpuint(bytes_at(f, o, DAX_PLACE), ==, 4 * MIB);

	/* The next daemon knows it by where it is, and makes no other. */
	f->s->ops->free(o);
	fixture_restart(f);
	spec = fixture_spec(100, 8 * MIB, p);
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
	fixture_restart(f);
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(f->s->ops->adopt(f->s, f->inv, &spec, PAGES_4K, -1, &o, &error), ==, 0);
	g_assert_cmpuint(bytes_at(f, o, NODE_MAX), ==, 4 * MIB);
	f->s->ops->destroy(o);
	f->s->ops->free(o);
	/* It was ours all the same. */
	fixture_restart(f);
	g_assert_cmpuint(fake_pool_of(-1), ==, 0);
}

/* What cannot be had is said, and not asked for again with each morsel. */
static void test_dax_refused(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = fixture_prefer("dax0");
	struct storage_object *o;
	g_autofree char *error = NULL;

	give_dax(f);
	fake.open_error = -EBUSY;
	g_assert_cmpint(fixture_try_create(f, MIB, p, &o, &error), ==, -EBUSY);
	g_assert_cmpstr(error, ==,
			"tier 'dax0': /dev/dax0.0 cannot be had for a pool of the module: "
			"dax0.0 is in use");
	/* Who does not name it does without. */
	o = fixture_create(f, MIB, NULL);
	f->s->ops->free(o);
	g_assert_cmpuint(fake.opened, ==, 1);
	fake.open_error = 0;
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(fixture_try_create(f, MIB, p, &o, &error), ==, -EBUSY);
	/* After a look at the machine it is. */
	storage_module_learn(f->s, f->inv);
	o = fixture_create(f, MIB, p);
	g_assert_cmpuint(fake.opened, ==, 2);
	g_assert_cmpuint(fake_pool_of(-1), !=, 0);
	f->s->ops->free(o);
}

/* With nothing left, and for a provisioning, the device is given back; one that is not morsel's is not. */
static void test_dax_release(struct fixture *f, gconstpointer data)
{
	struct tier *dax = give_dax(f);
	g_autoptr(Placement) p = fixture_prefer("dax0");
	struct storage_object *o = fixture_create(f, MIB, p);

	f->s->ops->destroy(o);
	f->s->ops->free(o);
	storage_module_release_devices(f->s);
	g_assert_cmpuint(fake_pool_of(-1), ==, 0);
	o = fixture_create(f, MIB, p);
	g_assert_cmpuint(fake_pool_of(-1), !=, 0);
	f->s->ops->destroy(o);
	f->s->ops->free(o);
	/* Taken away in the configuration. */
	o = fixture_create(f, MIB, p);
	dax->pool = false;
	storage_module_learn(f->s, f->inv);
	g_assert_cmpuint(fake_pool_of(-1), !=, 0);
	f->s->ops->destroy(o);
	f->s->ops->free(o);
	storage_module_learn(f->s, f->inv);
	g_assert_cmpuint(fake_pool_of(-1), ==, 0);

	fake.pools[9] =
		(struct morsel_pool_create){ .pool = 9, .kind = MORSEL_POOL_DAX, .node = -1 };
	fixture_restart(f);
	storage_module_release_devices(f->s);
	fixture_restart(f);
	g_assert_cmpuint(fake.pools[9].pool, ==, 9);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	FIXTURE_ADD("dax", test_dax);
	FIXTURE_ADD("dax-refused", test_dax_refused);
	FIXTURE_ADD("dax-release", test_dax_release);
	return g_test_run();
}
