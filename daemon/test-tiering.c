// SPDX-License-Identifier: GPL-2.0-or-later
/* What the planner is told of cgroups, and back-pressure. */
#include <errno.h>

#include "tiering-input.h"
#include "tiering-pressure.h"

static void say(struct policy_file *f, const char *path, const char *key, const char *value)
{
	struct policy_section *s = NULL;
	g_autofree char *message = NULL;

	g_assert_cmpint(policy_file_section(f, path, &s, &message), ==, 0);
	g_assert_cmpint(policy_section_set(s, key, value, 1, &message), ==, 0);
}

static struct policy_set *policies(void)
{
	g_autoptr(GPtrArray) files = g_ptr_array_new();
	struct policy_file *f = policy_file_new("test.conf", "test.conf");
	g_autofree char *message = NULL;
	struct policy_set *set = NULL;

	say(f, "/a", "Migrate", "on");
	say(f, "/a", "Max.hbm0", "64M");
	say(f, "/a/b", "Low.hbm0", "16M");
	say(f, "/a/b", "Weight", "300");
	say(f, "/c", "Migrate", "dry-run");
	g_ptr_array_add(files, f);
	g_assert_cmpint(policy_set_new(files, &set, &message), ==, 0);
	policy_file_unref(f);
	return set;
}

static const struct plan_account *account(const struct tiering_accounts *a, uint32_t i)
{
	g_assert_cmpuint(i, <, a->plan->len);
	return &g_array_index(a->plan, struct plan_account, i);
}

static void test_accounts(void)
{
	struct tier *hbm = tier_new();
	struct tiering_tiers tiers = { .n = 1, .tier = { hbm } };
	struct policy_set *set = policies();
	struct tiering_accounts a;
	uint32_t b, deep, again;

	hbm->name = g_strdup("hbm0");
	tiering_accounts_init(&a);
	b = tiering_account(&a, set, &tiers, "/a/b");
	/* The root, /a, /a/b: each behind what is above it. */
	g_assert_cmpuint(a.plan->len, ==, 3);
	g_assert_cmpuint(account(&a, 0)->parent, ==, PLAN_NO_PARENT);
	g_assert_cmpuint(account(&a, b)->parent, ==, 1);
	g_assert_cmpuint(account(&a, 1)->max[0], ==, (64 << 20) / 4096);
	g_assert_cmpuint(account(&a, b)->max[0], ==, PLAN_NO_LIMIT);
	g_assert_cmpuint(account(&a, b)->low[0], ==, (16 << 20) / 4096);
	g_assert_cmpuint(account(&a, b)->weight, ==, 300);
	g_assert_cmpuint(account(&a, 1)->weight, ==, 100);
	again = tiering_account(&a, set, &tiers, "/a/b");
	g_assert_cmpuint(again, ==, b);
	g_assert_cmpuint(tiering_account(&a, set, &tiers, ""), ==, 0);
	g_assert_cmpuint(tiering_account(&a, set, &tiers, "/"), ==, 0);
	{
		GString *path = g_string_new(NULL);

		for (unsigned int i = 0; i < 200; i++)
			g_string_append_printf(path, "/%u", i);
		deep = tiering_account(&a, set, &tiers, path->str);
		g_string_free(path, TRUE);
	}
	g_assert_cmpuint(deep, ==, a.plan->len - 1);
	g_assert_cmpuint(a.plan->len, ==, 3 + 64);
	tiering_accounts_done(&a);
	policy_set_unref(set);
	tier_unref(hbm);
}

static void test_migrate(void)
{
	struct policy_set *set = policies();

	g_assert_cmpint(tiering_migrate(set, "/a/b/x"), ==, POLICY_MIGRATE_ON);
	g_assert_cmpint(tiering_migrate(set, "/c"), ==, POLICY_MIGRATE_DRY_RUN);
	g_assert_cmpint(tiering_migrate(set, "/d"), ==, POLICY_MIGRATE_OFF);
	g_assert_cmpint(tiering_migrate(set, ""), ==, POLICY_MIGRATE_OFF);
	policy_set_unref(set);
}

static void test_pressure(void)
{
	g_assert_cmpint(tiering_pressure_parse("some avg10=12.34 avg60=1.00 avg300=0.00 total=5"),
			==, 1234);
	g_assert_cmpint(tiering_pressure_parse("some avg10=0.00"), ==, 0);
	g_assert_cmpint(tiering_pressure_parse(""), ==, -1);
	g_assert_cmpint(tiering_pressure_parse("some avg10=-1.00"), ==, -1);
	g_assert_cmpint(tiering_pressure_parse("some avg10=101.00"), ==, -1);
	g_assert_cmpuint(tiering_pressure_apply(-1, 1000), ==, 1000);
	g_assert_cmpuint(tiering_pressure_apply(500, 1000), ==, 1000);
	g_assert_cmpuint(tiering_pressure_apply(2750, 1000), ==, 500);
	g_assert_cmpuint(tiering_pressure_apply(5000, 1000), ==, 0);
	g_assert_cmpuint(tiering_pressure_apply(9999, UINT64_MAX), ==, 0);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/tiering/accounts", test_accounts);
	g_test_add_func("/tiering/migrate", test_migrate);
	g_test_add_func("/tiering/pressure", test_pressure);
	return g_test_run();
}
