// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "explain.h"
#include "registry.h"

/* --- A fake machine: nodes 0 to 3 are tiers t0 to t3, node 4 is none; a fake storage that has what the
 * test says. --- */

static struct tier fake_tiers[4] = { { .name = (char *)"t0" },
				     { .name = (char *)"t1" },
				     { .name = (char *)"t2" },
				     { .name = (char *)"t3" } };

struct tier *inventory_tier_of_node(const struct inventory *inv, int node)
{
	return node < 4 ? &fake_tiers[node] : NULL;
}

/* Where each unit of 100 bytes lies: a node, '.' no page, 'm' half on node 0 and half on node 1. */
static const char *fake_pages;
static bool fake_sampled;

static int fake_residency(struct storage_object *o, uint64_t offset, uint64_t length, bool exact,
			  storage_progress_t progress, void *userdata,
			  struct storage_residency *ret_residency, GArray **ret_runs)
{
	GArray *runs = storage_runs_new();

	storage_residency_init(ret_residency);
	for (uint64_t i = offset / 100; i < (offset + length) / 100; i++) {
		struct storage_run run = { .offset = i * 100, .length = 100, .present = 100 };
		const uint64_t halves[] = { 50, 50 };

		if (fake_pages[i] == '.') {
			run.node = RUN_ABSENT;
			run.present = 0;
		} else if (fake_pages[i] == 'm') {
			run.node = RUN_MIXED;
			run.by_node = g_array_new(false, true, sizeof(uint64_t));
			g_array_append_vals(run.by_node, halves, 2);
		} else {
			run.node = fake_pages[i] - '0';
			storage_residency_add(ret_residency, run.node, 100);
		}
		g_array_append_val(runs, run);
	}
	ret_residency->sampled = fake_sampled && !exact;
	if (ret_residency->sampled)
		g_array_unref(runs);
	*ret_runs = ret_residency->sampled ? NULL : runs;
	return 0;
}

static const struct storage_ops fake_ops = { .residency = fake_residency };
static struct storage fake_storage = { .name = "fake", .ops = &fake_ops };

/* --- */

static struct morsel *morsel(uint64_t size)
{
	struct morsel *m = morsel_new("x", 1, 1, 0600, size);

	m->storage = &fake_storage;
	return m;
}

static void record(struct morsel *m, uint64_t offset, uint64_t length, const char *tiers,
		   const char *rule_text, uint64_t now)
{
	GRefString *rule = g_ref_string_new(rule_text), *reason = g_ref_string_new("because");

	morsel_record(m, offset, length, tiers, rule, reason, now);
	g_ref_string_release(rule);
	g_ref_string_release(reason);
}

static GArray *explain(struct morsel *m, uint64_t offset, uint64_t length, bool exact)
{
	struct explain_pieces *p = explain_pieces_new(m, offset, length, exact);
	GArray *ranges;

	g_assert_cmpint(explain_look(p, NULL, NULL), ==, 0);
	ranges = explain_ranges(p, m, NULL);
	explain_pieces_free(p);
	return ranges;
}

static void check(GArray *ranges, unsigned int i, uint64_t offset, uint64_t length,
		  const char *tier, const char *rule, const char *reason, uint64_t since)
{
	const struct explain_range *r = &g_array_index(ranges, struct explain_range, i);

	g_assert_cmpuint(i, <, ranges->len);
	g_assert_cmpuint(r->offset, ==, offset);
	g_assert_cmpuint(r->length, ==, length);
	g_assert_cmpstr(r->tier, ==, tier);
	g_assert_cmpstr(r->rule, ==, rule);
	g_assert_nonnull(strstr(r->reason, reason));
	g_assert_cmpuint(r->since_usec, ==, since);
}

static void test_as_wanted(void)
{
	g_autoptr(Morsel) m = morsel(1000);
	g_autoptr(GArray) all = NULL, part = NULL;

	fake_pages = "0000..0011";
	record(m, 0, 1000, "t0", "policy prefer=t0", 1);
	record(m, 800, 200, "t1", "move", 2);
	all = explain(m, 0, 1000, true);
	g_assert_cmpuint(all->len, ==, 4);
	check(all, 0, 0, 400, "t0", "policy prefer=t0", "because", 1);
	check(all, 1, 400, 200, "", "policy prefer=t0", "no page yet", 1);
	check(all, 2, 600, 200, "t0", "policy prefer=t0", "because", 1);
	check(all, 3, 800, 200, "t1", "move", "because", 2);
	g_assert_cmpuint(g_array_index(all, struct explain_range, 0).present, ==, 400);
	g_assert_cmpuint(g_array_index(all, struct explain_range, 1).present, ==, 0);

	part = explain(m, 300, 600, true);
	g_assert_cmpuint(part->len, ==, 4);
	check(part, 0, 300, 100, "t0", "policy prefer=t0", "because", 1);
	check(part, 3, 800, 100, "t1", "move", "because", 2);
}

static void test_fallback(void)
{
	g_autoptr(Morsel) m = morsel(800);
	g_autoptr(GArray) ranges = NULL;

	/* The second choice is a fallback too: the first was wanted. */
	fake_pages = "0123m440";
	record(m, 0, 800, "t0 t1", "policy prefer=t0 t1", 1);
	ranges = explain(m, 0, 800, true);
	g_assert_cmpuint(ranges->len, ==, 7);
	check(ranges, 0, 0, 100, "t0", "policy prefer=t0 t1", "because", 1);
	check(ranges, 1, 100, 100, "t1", "fallback of the kernel", "wanted t0 t1", 1);
	check(ranges, 2, 200, 100, "t2", "fallback of the kernel", "fell back", 1);
	check(ranges, 3, 300, 100, "t3", "fallback of the kernel", "fell back", 1);
	check(ranges, 4, 400, 100, "mixed", "fallback of the kernel", "some pages", 1);
	check(ranges, 5, 500, 200, "unknown", "fallback of the kernel", "fell back", 1);
	check(ranges, 6, 700, 100, "t0", "policy prefer=t0 t1", "because", 1);
}

static void test_spread_and_none(void)
{
	g_autoptr(Morsel) m = morsel(800);
	g_autoptr(GArray) ranges = NULL;

	fake_pages = "01m23012";
	record(m, 0, 400, "t0 t1", "policy spread=t0=1 t1=1", 1);
	record(m, 400, 400, "", "default policy of c: none", 2);
	ranges = explain(m, 0, 800, true);
	g_assert_cmpuint(ranges->len, ==, 8);
	check(ranges, 0, 0, 100, "t0", "policy spread=t0=1 t1=1", "because", 1);
	check(ranges, 1, 100, 100, "t1", "policy spread=t0=1 t1=1", "because", 1);
	check(ranges, 2, 200, 100, "mixed", "policy spread=t0=1 t1=1", "because", 1);
	check(ranges, 3, 300, 100, "t2", "fallback of the kernel", "fell back", 1);
	check(ranges, 4, 400, 100, "t3", "default policy of c: none", "because", 2);
	check(ranges, 7, 700, 100, "t2", "default policy of c: none", "because", 2);
}

static void test_sampled(void)
{
	g_autoptr(Morsel) m = morsel(800);
	g_autoptr(GArray) ranges = NULL, exact = NULL;

	fake_sampled = true;
	fake_pages = "00110000";
	record(m, 0, 400, "t0", "policy prefer=t0", 1);
	record(m, 400, 400, "t0", "move", 2);
	ranges = explain(m, 0, 800, false);
	g_assert_cmpuint(ranges->len, ==, 2);
	check(ranges, 0, 0, 400, "mixed", "fallback of the kernel", "some pages", 1);
	check(ranges, 1, 400, 400, "t0", "move", "because", 2);
	g_assert_true(g_array_index(ranges, struct explain_range, 0).sampled);
	exact = explain(m, 0, 800, true);
	fake_sampled = false;
	g_assert_cmpuint(exact->len, ==, 3);
	g_assert_false(g_array_index(exact, struct explain_range, 0).sampled);
}

/* The worst pattern: bounded, and the sum is right. */
static void test_bounded(void)
{
	enum {
		UNITS = 3 * EXPLAIN_RANGES_MAX
	};
	g_autoptr(Morsel) m = morsel(UNITS * 100);
	g_autofree char *pages = g_malloc(UNITS + 1);
	g_autoptr(GArray) ranges = NULL;
	uint64_t covered = 0, present = 0;

	for (unsigned int i = 0; i < UNITS; i++)
		pages[i] = i % 2 ? '.' : '0';
	pages[UNITS] = '\0';
	fake_pages = pages;
	record(m, 0, UNITS * 100, "t0", "policy prefer=t0", 1);
	ranges = explain(m, 0, UNITS * 100, true);
	g_assert_cmpuint(ranges->len, ==, EXPLAIN_RANGES_MAX);
	for (unsigned int i = 0; i < ranges->len; i++) {
		const struct explain_range *r = &g_array_index(ranges, struct explain_range, i);

		g_assert_cmpuint(r->offset, ==, covered);
		covered += r->length;
		present += r->present;
	}
	g_assert_cmpuint(covered, ==, UNITS * 100);
	g_assert_cmpuint(present, ==, UNITS / 2 * 100);
	g_assert_cmpstr(g_array_index(ranges, struct explain_range, ranges->len - 1).rule, ==,
			"several");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/explain/as-wanted", test_as_wanted);
	g_test_add_func("/explain/fallback", test_fallback);
	g_test_add_func("/explain/spread-and-none", test_spread_and_none);
	g_test_add_func("/explain/sampled", test_sampled);
	g_test_add_func("/explain/bounded", test_bounded);
	return g_test_run();
}
