/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "placement.h"

static void add(GPtrArray *names, const char *name)
{
	g_ptr_array_add(names, g_strdup(name));
}

static void expect(const struct placement *p, int r, const char *text)
{
	g_autofree char *error = NULL;

	g_assert_cmpint(placement_check(p, &error), ==, r);
	if (text)
		g_assert_nonnull(strstr(error, text));
	else
		g_assert_null(error);
}

static void test_plain(void)
{
	g_autoptr(Placement) p = placement_new();

	expect(p, 0, NULL);
	g_assert_true(placement_allows(p, "any"));
	p->page_size = 2 << 20;
	expect(p, 0, NULL);
	p->page_size = 8192;
	expect(p, -EINVAL, "8192");
}

static void test_allow(void)
{
	g_autoptr(Placement) p = placement_new();

	add(p->allow, "hbm0");
	add(p->allow, "dram0");
	add(p->prefer, "dram0");
	expect(p, 0, NULL);
	g_assert_true(placement_allows(p, "hbm0"));
	g_assert_false(placement_allows(p, "cxl0"));
	add(p->prefer, "cxl0");
	expect(p, -EINVAL, "'cxl0'");
	g_ptr_array_set_size(p->prefer, 0);
	add(p->allow, "hbm0");
	expect(p, -EINVAL, "'hbm0' twice");
}

static void test_spread(void)
{
	g_autoptr(Placement) p = placement_new();

	placement_add_spread(p, "dram0", 255);
	placement_add_spread(p, "cxl0", 1);
	expect(p, 0, NULL);
	placement_add_spread(p, "cxl0", 1);
	expect(p, -EINVAL, "'cxl0' twice");
	g_array_set_size(p->spread, 2);
	placement_add_spread(p, "hbm0", 256);
	expect(p, -EINVAL, "256");
	g_array_index(p->spread, struct spread_weight, 2).weight = 0;
	expect(p, -EINVAL, "weight 0 of tier 'hbm0'");
	g_array_set_size(p->spread, 2);
	add(p->prefer, "dram0");
	expect(p, -EINVAL, "exclude each other");
	g_ptr_array_set_size(p->prefer, 0);
	add(p->allow, "dram0");
	expect(p, -EINVAL, "'cxl0'");
}

static void test_references(void)
{
	struct placement *p = placement_new();

	g_assert_true(placement_ref(p) == p);
	g_assert_null(placement_unref(p));
	add(p->prefer, "still-there");
	g_assert_cmpuint(p->prefer->len, ==, 1);
	g_assert_null(placement_unref(p));
	g_assert_null(placement_unref(NULL));
}

int main(int argc, char *argv[])
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/placement/plain", test_plain);
	g_test_add_func("/placement/allow", test_allow);
	g_test_add_func("/placement/spread", test_spread);
	g_test_add_func("/placement/references", test_references);
	return g_test_run();
}
