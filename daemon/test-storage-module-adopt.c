// SPDX-License-Identifier: GPL-2.0-or-later
/* What is there already, and what is to go. */
#include <errno.h>
#include <string.h>

#include "storage-module-fixture.h"

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
	g_autoptr(Placement) p = fixture_prefer("hbm0");
	struct storage_object *o = fixture_create(f, 4 * MIB, p);
	struct storage_spec spec = fixture_spec(100, 4 * MIB, p);
	struct storage_move_result result;
	uint64_t bytes;

	fixture_populate(f, o, 0, 4 * MIB);
	f->s->ops->free(o);
	storage_module_free(f->s);
	g_assert_cmpuint(fake.n_objects, ==, 1);
	fixture_new_storage(f);
	g_assert_cmpint(adopt(f, &spec, PAGES_4K, &o, ""), ==, 0);
	g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 4 * MIB);
	fixture_move(f, o, "dram0", 0, 4 * MIB, &result);
	g_assert_cmpuint(result.moved, ==, 4 * MIB);
	storage_move_result_done(&result);
	fake_want_list(&fake.objects[0].list, "0 1 2 3");
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
	struct storage_object *o = fixture_create(f, 4 * MIB, NULL), *again;

	fake.objects[0].held = true;
	g_assert_cmpint(f->s->ops->destroy(o), ==, 0);
	g_assert_false(f->s->ops->gone(o));
	/* As the next daemon asks. */
	again = storage_module_lingering(f->s, fixture_spec(100, 0, NULL).id);
	g_assert_false(f->s->ops->gone(again));
	f->s->ops->free(again);
	g_assert_null(storage_module_lingering(f->s, fixture_spec(5, 0, NULL).id));
	fake.objects[0].held = false;
	fake_destroy(&fake.objects[0]);
	g_assert_true(f->s->ops->gone(o));
	g_assert_cmpint(f->s->ops->destroy(o), ==, 0);
	f->s->ops->free(o);
	/* Nothing is left: pools and accounts are given back, so that the module can go. */
	g_assert_cmpuint(fake_pool_of(0), >, 0);
	g_assert_cmpuint(fake.n_accounts, ==, 1);
	storage_module_free(f->s);
	for (int node = 0; node < 4; node++)
		g_assert_cmpuint(fake_pool_of(node), ==, 0);
	g_assert_cmpuint(fake.n_accounts, ==, 0);
	fixture_new_storage(f);
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
		f->s->ops->free(fixture_create(f, 4 * MIB, NULL));
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

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	FIXTURE_ADD("adopt", test_adopt);
	FIXTURE_ADD("destroy", test_destroy);
	FIXTURE_ADD("strays", test_strays);
	return g_test_run();
}
