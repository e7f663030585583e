// SPDX-License-Identifier: GPL-2.0-or-later
/* What the planner is told of cgroups, and back-pressure. */
#include <errno.h>
#include <string.h>

#include "id-hash.h"
#include "registry.h"
#include "tiering-input.h"
#include "tiering-observe.h"
#include "tiering-pressure.h"
#include "tiering-sample.h"

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
	tiering_accounts_begin(&a, set, &tiers);
	b = tiering_account(&a, "/a/b");
	/* The root, /a, /a/b: each behind what is above it. */
	g_assert_cmpuint(a.plan->len, ==, 3);
	g_assert_cmpuint(account(&a, 0)->parent, ==, PLAN_NO_PARENT);
	g_assert_cmpuint(account(&a, b)->parent, ==, 1);
	g_assert_cmpuint(account(&a, 1)->max[0], ==, (64 << 20) / 4096);
	g_assert_cmpuint(account(&a, b)->max[0], ==, PLAN_NO_LIMIT);
	g_assert_cmpuint(account(&a, b)->low[0], ==, (16 << 20) / 4096);
	g_assert_cmpuint(account(&a, b)->weight, ==, 300);
	g_assert_cmpuint(account(&a, 1)->weight, ==, 100);
	again = tiering_account(&a, "/a/b");
	g_assert_cmpuint(again, ==, b);
	g_assert_cmpuint(tiering_account(&a, ""), ==, 0);
	g_assert_cmpuint(tiering_account(&a, "/"), ==, 0);
	{
		GString *path = g_string_new(NULL);

		for (unsigned int i = 0; i < 200; i++)
			g_string_append_printf(path, "/%u", i);
		deep = tiering_account(&a, path->str);
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
	struct tiering_tiers tiers = {};
	struct policy_set *set = policies();
	struct tiering_accounts a;

	tiering_accounts_init(&a);
	tiering_accounts_begin(&a, set, &tiers);
	g_assert_cmpint(tiering_migrate(&a, tiering_account(&a, "/a/b/x")), ==, POLICY_MIGRATE_ON);
	g_assert_cmpint(tiering_migrate(&a, tiering_account(&a, "/c")), ==, POLICY_MIGRATE_DRY_RUN);
	g_assert_cmpint(tiering_migrate(&a, tiering_account(&a, "/d")), ==, POLICY_MIGRATE_OFF);
	g_assert_cmpint(tiering_migrate(&a, tiering_account(&a, "")), ==, POLICY_MIGRATE_OFF);
	tiering_accounts_done(&a);
	policy_set_unref(set);
}

/* They stay from round to round, as long as policies and tiers are the same. */
static void test_accounts_kept(void)
{
	struct tier *hbm = tier_new(), *dram = tier_new();
	struct tiering_tiers tiers = { .n = 1, .tier = { hbm } };
	struct policy_set *set = policies(), *other = policies();
	struct tiering_accounts a;

	hbm->name = g_strdup("hbm0");
	dram->name = g_strdup("dram0");
	tiering_accounts_init(&a);
	tiering_accounts_begin(&a, set, &tiers);
	(void)tiering_account(&a, "/a/b");
	tiering_accounts_begin(&a, set, &tiers);
	g_assert_cmpuint(a.plan->len, ==, 3);
	tiers.tier[tiers.n++] = dram;
	tiering_accounts_begin(&a, set, &tiers);
	g_assert_cmpuint(a.plan->len, ==, 0);
	(void)tiering_account(&a, "/a/b");
	tiering_accounts_begin(&a, other, &tiers);
	g_assert_cmpuint(a.plan->len, ==, 0);
	/* Cgroups that have gone are not kept for good. */
	(void)tiering_account(&a, "/a/b");
	for (unsigned int i = 0; i < 300; i++)
		tiering_accounts_begin(&a, other, &tiers);
	g_assert_cmpuint(a.plan->len, ==, 0);
	/* More than there may be: what is above stands for them. */
	for (unsigned int i = 0; i < TIERING_ACCOUNTS_MAX + 10; i++) {
		g_autofree char *path = g_strdup_printf("/a/x%u", i);
		uint32_t n = tiering_account(&a, path);

		g_assert_cmpuint(n, <, TIERING_ACCOUNTS_MAX);
		if (i > TIERING_ACCOUNTS_MAX)
			g_assert_cmpuint(n, ==, tiering_account(&a, "/a"));
	}
	tiering_accounts_done(&a);
	policy_set_unref(set);
	policy_set_unref(other);
	tier_unref(hbm);
	tier_unref(dram);
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

/* ---- samples -------------------------------------------------------------------------------- */

static void set_bits(uint64_t *bits, unsigned int n, unsigned int stride)
{
	memset(bits, 0, HEAT_WORDS * sizeof(*bits));
	for (unsigned int i = 0; i < n; i++)
		bits[i * stride / 64] |= UINT64_C(1) << i * stride % 64;
}

static void test_sample(void)
{
	uint64_t period[HEAT_WORDS], burst[HEAT_WORDS];
	struct heat_sample s;

	/* All bits are set: the burst tells that it is far more. */
	set_bits(period, 512, 1);
	set_bits(burst, 256, 2);
	g_assert_true(tiering_sample_of(period, burst, 512, 1000000, 10000, &s));
	g_assert_true(s.pages == burst);
	g_assert_cmpuint(s.events, ==, 25600);
	/* A few pages that were seen again by accident. */
	set_bits(burst, 7, 1);
	g_assert_true(tiering_sample_of(period, burst, 512, 1000000, 10000, &s));
	g_assert_true(s.pages == period);
	g_assert_cmpuint(s.events, ==, 0);
	/* Sparse: what is hot is accessed more often than the bits of a period can tell. */
	set_bits(period, 32, 16);
	set_bits(burst, 20, 16);
	g_assert_true(tiering_sample_of(period, burst, 512, 1000000, 5000, &s));
	g_assert_cmpuint(s.events, ==, 4000);
	/* The burst says less: most is of the rest of the period. */
	set_bits(period, 500, 1);
	set_bits(burst, 10, 1);
	g_assert_true(tiering_sample_of(period, burst, 512, 1000000, 100000, &s));
	g_assert_true(s.pages == period);
	/* No second look; nothing; a region's end of no page. */
	g_assert_true(tiering_sample_of(period, burst, 512, 1000000, 0, &s));
	g_assert_true(s.pages == period);
	set_bits(period, 0, 1);
	set_bits(burst, 0, 1);
	g_assert_false(tiering_sample_of(period, burst, 512, 1000000, 1000, &s));
	g_assert_false(tiering_sample_of(period, burst, 0, 1000000, 1000, &s));
}

static void test_burst(void)
{
	g_assert_cmpuint(tiering_burst_next(20000, 256), ==, 10000);
	g_assert_cmpuint(tiering_burst_next(20000, 128), ==, 20000);
	g_assert_cmpuint(tiering_burst_next(20000, 20), ==, 40000);
	/* Nobody was there: that says nothing. */
	g_assert_cmpuint(tiering_burst_next(20000, 0), ==, 20000);
	g_assert_cmpuint(tiering_burst_next(6000, 256), ==, 5000);
	g_assert_cmpuint(tiering_burst_next(150000, 1), ==, 200000);
}

/* ---- what came of moves --------------------------------------------------------------------- */

#define GRANULES 8u

struct observing {
	struct tiering_round round;
	struct heat heat;
	struct plan plan;
	struct tiering_region region;
	struct tiering_observed observed;
	struct tier *tier;
	struct morsel *morsel;
	struct registry *registry;
	struct users *users;
	void *heat_memory, *plan_memory;
};

static void release(struct morsel *m, void *userdata)
{
}

static void observing_begin(struct observing *o)
{
	struct heat_config heat = { .granules = GRANULES };
	struct plan_config plan = { .granules = GRANULES, .accounts = 1, .tiers = 2 };
	GRefString *rule = g_ref_string_new_intern("planner"), *reason = g_ref_string_new("hot");
	uint64_t bytes;

	*o = (struct observing){ .region = { .granules = GRANULES, .present = true } };
	g_assert_cmpint(heat_size(&heat, &bytes), ==, 0);
	o->heat_memory = g_malloc0(bytes);
	g_assert_cmpint(heat_init(&o->heat, &heat, o->heat_memory, bytes), ==, 0);
	g_assert_cmpint(plan_size(&plan, &bytes), ==, 0);
	o->plan_memory = g_malloc0(bytes);
	g_assert_cmpint(plan_init(&o->plan, &plan, o->plan_memory, bytes), ==, 0);
	o->users = users_new(NULL);
	o->registry = registry_new(o->users, release, NULL);
	o->morsel = morsel_new("m", 0, 0, 0600, GRANULES * GRANULE_SIZE);
	g_assert_cmpint(registry_add(o->registry, o->morsel, NULL), ==, 0);
	registry_number(o->registry, o->morsel);
	registry_publish(o->registry, o->morsel);
	morsel_record(o->morsel, 0, GRANULE_SIZE, "hbm0", rule, reason, 7);
	g_ref_string_release(rule);
	g_ref_string_release(reason);
	o->tier = tier_new();
	o->tier->name = g_strdup("hbm0");
	o->round.heat = &o->heat;
	o->round.plan = &o->plan;
	o->round.tiers = (struct tiering_tiers){ .n = 1, .tier = { o->tier } };
	o->round.by_id = g_hash_table_new(id_hash, id_equal);
	o->region.id = o->morsel->id;
	g_hash_table_insert(o->round.by_id, &o->region.id, &o->region);
	o->round.moves[0] = (struct plan_move){ .latency_from_ns = 300,
						.latency_to_ns = 100,
						.horizon_ms = 4000,
						.cost_ns = 1000000,
						.gain_ns = 5000000 };
	tiering_observed_init(&o->observed);
	heat_advance(&o->heat, 0, 1000);
	g_assert_cmpint(plan_place(&o->plan, &o->heat, 0, 0, 512, 0), ==, 0);
	{
		struct tiering_item item = { .morsel = o->morsel,
					     .tier = o->tier,
					     .length = GRANULE_SIZE,
					     .n = 1,
					     .since_usec = 7 };

		tiering_observe(&o->observed, &o->round, &item, 0);
	}
}

static void observing_end(struct observing *o)
{
	tiering_observed_done(&o->observed);
	g_hash_table_unref(o->round.by_id);
	tier_unref(o->tier);
	registry_remove(o->registry, o->morsel);
	morsel_unref(o->morsel);
	registry_free(o->registry);
	users_free(o->users);
	g_free(o->heat_memory);
	g_free(o->plan_memory);
}

/* A second in which the granule had so many accesses. */
static void second(struct observing *o, unsigned int n, uint32_t accesses)
{
	struct heat_sample s = { .bits = 1, .events = accesses };

	heat_advance(&o->heat, n * UINT64_C(1000), 1000);
	if (accesses > 0)
		g_assert_cmpint(heat_sample(&o->heat, 0, &s), ==, 0);
	tiering_observe_round(&o->observed, &o->round, n * UINT64_C(1000));
	tiering_observe_tell(&o->observed, o->registry);
}

static const char *reason_of(const struct observing *o)
{
	return g_array_index(o->morsel->records, struct placement_record, 0).reason;
}

static void test_observed(void)
{
	struct observing o;

	observing_begin(&o);
	for (unsigned int n = 1; n <= 3; n++)
		second(&o, n, 10000);
	/* The time is not up. */
	g_assert_cmpuint(o.observed.watches->len, ==, 1);
	g_assert_cmpstr(reason_of(&o), ==, "hot");
	second(&o, 4, 10000);
	g_assert_cmpuint(o.observed.watches->len, ==, 0);
	g_assert_cmpuint(o.observed.moves, ==, 1);
	g_assert_cmpint(o.observed.expected_ns, ==, 5000000);
	/* At most 40,000 accesses × 200 ns less 1 ms; the short average needs some seconds to get there. */
	g_assert_cmpint(o.observed.observed_ns, >, 2000000);
	g_assert_cmpint(o.observed.observed_ns, <=, 7000000);
	g_assert_true(g_str_has_prefix(reason_of(&o), "hot; observed: "));
	g_assert_true(g_str_has_suffix(reason_of(&o), " ms in 4.0 s"));
	observing_end(&o);
}

/* Nothing came: the cost is the gain. */
static void test_observed_cold(void)
{
	struct observing o;

	observing_begin(&o);
	for (unsigned int n = 1; n <= 4; n++)
		second(&o, n, 0);
	g_assert_cmpint(o.observed.observed_ns, ==, -1000000);
	g_assert_cmpstr(reason_of(&o), ==, "hot; observed: -1.000 ms in 4.0 s");
	observing_end(&o);
}

/* It lies elsewhere before the time is up: neither told nor counted. */
static void test_observed_left(void)
{
	struct observing o;

	observing_begin(&o);
	second(&o, 1, 10000);
	g_assert_cmpint(plan_place(&o.plan, &o.heat, 0, 0, 512, 1), ==, 0);
	second(&o, 2, 10000);
	g_assert_cmpuint(o.observed.watches->len, ==, 0);
	g_assert_cmpuint(o.observed.moves, ==, 0);
	g_assert_cmpstr(reason_of(&o), ==, "hot");
	observing_end(&o);
}

/* Its morsel has gone. */
static void test_observed_gone(void)
{
	struct observing o;

	observing_begin(&o);
	o.region.present = false;
	second(&o, 1, 10000);
	g_assert_cmpuint(o.observed.watches->len, ==, 0);
	g_assert_cmpuint(o.observed.moves, ==, 0);
	observing_end(&o);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/tiering/accounts", test_accounts);
	g_test_add_func("/tiering/accounts-kept", test_accounts_kept);
	g_test_add_func("/tiering/migrate", test_migrate);
	g_test_add_func("/tiering/pressure", test_pressure);
	g_test_add_func("/tiering/sample", test_sample);
	g_test_add_func("/tiering/burst", test_burst);
	g_test_add_func("/tiering/observed", test_observed);
	g_test_add_func("/tiering/observed-cold", test_observed_cold);
	g_test_add_func("/tiering/observed-left", test_observed_left);
	g_test_add_func("/tiering/observed-gone", test_observed_gone);
	return g_test_run();
}
