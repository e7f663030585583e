/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Placements to policies, with fake system calls that note what was set. Needs no nodes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake-inventory.h"
#include "storage-node-policy.h"
#include "storage.h"

#define GIB (UINT64_C(1) << 30)

static const struct node_caps all_caps = {
	.move_shared = true, .preferred_many = true, .home_node = true, .populate = true
};

struct fixture {
	struct inventory *inv;
	struct placement *p;
	struct policy_plan *plan;
	struct nodeset allow;
};

static void set_up(struct fixture *f, gconstpointer data)
{
	f->inv = fake_inventory_new();
	fake_inventory_add(f->inv, "dram0", TIER_ONLINE, (int[]){ 0 }, 1);
	fake_inventory_add(f->inv, "hbm0", TIER_ONLINE, (int[]){ 1 }, 1);
	fake_inventory_add(f->inv, "cxl0", TIER_DEGRADED, (int[]){ 2 }, 1);
	fake_inventory_add(f->inv, "both", TIER_ONLINE, (int[]){ 3, 1023 }, 2);
	fake_inventory_add(f->inv, "nvm0", TIER_OFFLINE, NULL, 0);
	f->p = placement_new();
}

static void tear_down(struct fixture *f, gconstpointer data)
{
	policy_plan_free(f->plan);
	placement_unref(f->p);
	fake_inventory_free(f->inv);
}

static void add(GPtrArray *names, const char *name)
{
	g_ptr_array_add(names, g_strdup(name));
}

static const struct policy_plan *plan(struct fixture *f, uint64_t size,
				      const struct node_caps *caps)
{
	g_autofree char *error = NULL;

	f->plan = policy_plan_free(f->plan);
	if (policy_plan_new(f->inv, f->p, size, caps, &f->allow, &f->plan, &error) < 0)
		g_error("%s", error);
	return f->plan;
}

static void expect_nodes(const struct nodeset *set, const int *nodes, unsigned int n)
{
	struct nodeset wanted = {};

	for (unsigned int i = 0; i < n; i++)
		nodeset_add(&wanted, nodes[i]);
	g_assert_cmpmem(set, sizeof(*set), &wanted, sizeof(wanted));
}

#define EXPECT(policy, mode_, home_, ...)                                     \
	do {                                                                  \
		const int nodes_[] = { __VA_ARGS__ };                         \
		g_assert_cmpint((policy)->mode, ==, mode_);                   \
		g_assert_cmpint((policy)->home, ==, home_);                   \
		expect_nodes(&(policy)->nodes, nodes_, G_N_ELEMENTS(nodes_)); \
	} while (0)

static void test_none(struct fixture *f, gconstpointer data)
{
	g_assert_false(plan(f, GIB, &all_caps)->any);
	g_assert_cmpuint(policy_plan_ranges(f->plan), ==, 0);
}

static void test_prefer(struct fixture *f, gconstpointer data)
{
	struct node_caps old = all_caps;

	add(f->p->prefer, "nvm0"); /* takes no pages: passed over */
	add(f->p->prefer, "hbm0");
	EXPECT(&plan(f, GIB, &all_caps)->base, MPOL_PREFERRED, 1, 1);
	add(f->p->prefer, "cxl0");
	EXPECT(&plan(f, GIB, &all_caps)->base, NODE_MPOL_PREFERRED_MANY, 1, 1, 2);
	old.home_node = false; /* the order could not be said: the first one it is */
	EXPECT(&plan(f, GIB, &old)->base, MPOL_PREFERRED, 1, 1);
	g_assert_cmpuint(policy_plan_ranges(f->plan), ==, 1);
}

static void test_allow(struct fixture *f, gconstpointer data)
{
	add(f->p->allow, "cxl0");
	add(f->p->allow, "dram0");
	add(f->p->allow, "nvm0");
	EXPECT(&plan(f, GIB, &all_caps)->base, MPOL_BIND, -1, 0, 2);
	expect_nodes(&f->allow, (int[]){ 0, 2 }, 2);
	add(f->p->prefer, "cxl0");
	EXPECT(&plan(f, GIB, &all_caps)->base, MPOL_BIND, 2, 0, 2);
}

static void test_joined_tier(struct fixture *f, gconstpointer data)
{
	add(f->p->prefer, "both");
	EXPECT(&plan(f, GIB, &all_caps)->base, NODE_MPOL_PREFERRED_MANY, 3, 3, 1023);
}

/* Of each whole period every tier has exactly its weight, and no tier is ever more than one turn behind. */
static void test_spread(struct fixture *f, gconstpointer data)
{
	static const unsigned int weights[] = { 5, 3, 1 };
	unsigned int counts[3] = {};

	placement_add_spread(f->p, "dram0", weights[0]);
	placement_add_spread(f->p, "hbm0", weights[1]);
	placement_add_spread(f->p, "cxl0", weights[2]);
	plan(f, GIB, &all_caps);
	g_assert_cmpuint(f->plan->stripe, ==, GRANULE_SIZE);
	g_assert_cmpuint(policy_plan_ranges(f->plan), ==, 512);
	EXPECT(&f->plan->base, MPOL_PREFERRED, 0, 0);
	for (unsigned int k = 0; k < 512; k++) {
		const struct node_policy *policy = policy_plan_at(f->plan, k * GRANULE_SIZE + 4096);

		g_assert_cmpint(policy->home, >=, 0);
		g_assert_cmpint(policy->home, <=, 2);
		counts[policy->home]++;
		for (unsigned int i = 0; i < 3; i++) {
			double share = (k + 1) * weights[i] / 9.0;

			g_assert_cmpfloat(counts[i], >, share - 1);
			g_assert_cmpfloat(counts[i], <, share + 1);
		}
		if (k == 9 * 50 - 1)
			for (unsigned int i = 0; i < 3; i++)
				g_assert_cmpuint(counts[i], ==, weights[i] * 50);
	}
}

static void test_spread_within_allow(struct fixture *f, gconstpointer data)
{
	placement_add_spread(f->p, "dram0", 1);
	placement_add_spread(f->p, "hbm0", 1);
	add(f->p->allow, "dram0");
	add(f->p->allow, "hbm0");
	add(f->p->allow, "cxl0");
	plan(f, GIB, &all_caps);
	EXPECT(policy_plan_at(f->plan, 0), MPOL_BIND, 0, 0, 1, 2);
	EXPECT(policy_plan_at(f->plan, GRANULE_SIZE), MPOL_BIND, 1, 0, 1, 2);
}

static void test_stripes_grow(struct fixture *f, gconstpointer data)
{
	static const uint64_t sizes[] = { 1, 31, 32, 33, 100, 1024, 65536 };

	placement_add_spread(f->p, "dram0", 255);
	placement_add_spread(f->p, "hbm0", 1);
	for (unsigned int i = 0; i < G_N_ELEMENTS(sizes); i++) {
		uint64_t size = sizes[i] * GIB;

		plan(f, size, &all_caps);
		g_assert_cmpuint(policy_plan_ranges(f->plan), <=, POLICY_RANGES_MAX);
		g_assert_cmpuint(f->plan->stripe * f->plan->n_stripes, >=, size);
		g_assert_cmpuint(f->plan->stripe % GRANULE_SIZE, ==, 0);
		if (sizes[i] <= 31)
			g_assert_cmpuint(f->plan->stripe, ==, GRANULE_SIZE);
	}
	g_assert_cmpuint(plan(f, 1024 * GIB, &all_caps)->stripe, ==, 128 << 20);
}

/* What was set, by granule of a file, by the fakes. */
static struct {
	int fail_after; /* calls; -1: never */
	unsigned int calls;
	GArray *homes; /* of int */
} fake;

static uint64_t mapped_offset(const void *address)
{
	g_autofree char *text = NULL;
	unsigned long start, offset;
	char *line;

	g_assert_true(g_file_get_contents("/proc/self/maps", &text, NULL, NULL));
	for (line = text; line && *line; line = strchr(line, '\n') + 1)
		if (sscanf(line, "%lx-%*x %*s %lx", &start, &offset) == 2 &&
		    start == (uintptr_t)address)
			return offset;
	g_assert_not_reached();
}

static int fake_mbind(void *address, uint64_t length, int mode, const struct nodeset *nodes,
		      int flags)
{
	uint64_t offset = mapped_offset(address);
	int node = 0;

	if (fake.fail_after >= 0 && fake.calls++ >= (unsigned int)fake.fail_after)
		return -ENOMEM;
	while (!nodeset_has(nodes, node))
		node++;
	for (uint64_t at = offset; at < offset + length; at += GRANULE_SIZE)
		g_array_index(fake.homes, int, at / GRANULE_SIZE) = node;
	return 0;
}

static const struct node_sys fake_sys = { .mbind = fake_mbind };

static bool count_progress(uint64_t done, uint64_t total, void *userdata)
{
	g_assert_cmpuint(done, <, total);
	return ++*(unsigned int *)userdata < 3;
}

static void test_apply(struct fixture *f, gconstpointer data)
{
	const uint64_t size = 3 * GIB - 4096;
	int fd = memfd_create("test", MFD_CLOEXEC);
	unsigned int calls = 0;

	g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
	fake.homes = g_array_new(false, true, sizeof(int));
	g_array_set_size(fake.homes, 3 * 512);
	fake.fail_after = -1;
	placement_add_spread(f->p, "hbm0", 3);
	placement_add_spread(f->p, "dram0", 1);
	placement_add_spread(f->p, "cxl0", 3);
	plan(f, size, &all_caps);
	g_assert_cmpint(policy_plan_apply(f->plan, &fake_sys, fd, size, NULL, NULL), ==, 0);
	for (unsigned int k = 0; k < fake.homes->len; k++)
		g_assert_cmpint(g_array_index(fake.homes, int, k), ==,
				policy_plan_at(f->plan, k * GRANULE_SIZE)->home);

	fake.fail_after = 100;
	g_assert_cmpint(policy_plan_apply(f->plan, &fake_sys, fd, size, NULL, NULL), ==, -ENOMEM);
	fake.fail_after = -1;
	g_assert_cmpint(policy_plan_apply(f->plan, &fake_sys, fd, size, count_progress, &calls), ==,
			-ECANCELED);
	g_assert_cmpuint(calls, ==, 3);
	g_array_unref(fake.homes);
	close(fd);
}

/* The map against a naive one of a node per unit, with every pair of ranges. */
static void test_map(void)
{
	GRand *rand = g_rand_new_with_seed(42);

	for (unsigned int round = 0; round < 200; round++) {
		struct policy_map *map = policy_map_new();
		int naive[64];
		unsigned int expected;

		memset(naive, 0xff, sizeof(naive));
		for (unsigned int step = 0; step < 40; step++) {
			unsigned int start = (unsigned int)g_rand_int_range(rand, 0, 63);
			unsigned int end = (unsigned int)g_rand_int_range(rand, (int)start + 1, 65);
			int node = g_rand_int_range(rand, 0, 3);

			g_assert_cmpint(policy_map_set(map, start * 4096, end * 4096, node, 64), ==,
					0);
			for (unsigned int i = start; i < end; i++)
				naive[i] = node;
			expected = 0;
			for (unsigned int i = 0; i < 64; i++)
				expected += naive[i] >= 0 && (i == 0 || naive[i] != naive[i - 1]);
			g_assert_cmpuint(policy_map_len(map), ==, expected);
		}
		policy_map_free(map);
	}
	g_rand_free(rand);
}

static void test_map_limit(void)
{
	struct policy_map *map = policy_map_new();

	g_assert_cmpint(policy_map_set(map, 0, 10, 0, 3), ==, 0);
	g_assert_cmpint(policy_map_set(map, 2, 3, 1, 3), ==, 0); /* in three parts now */
	g_assert_cmpint(policy_map_set(map, 5, 6, 1, 3), ==, -E2BIG);
	g_assert_cmpuint(policy_map_len(map), ==, 3);
	g_assert_cmpint(policy_map_set(map, 3, 4, 1, 3), ==, 0);  /* widens the middle one */
	g_assert_cmpint(policy_map_set(map, 0, 10, 2, 3), ==, 0); /* swallows all */
	g_assert_cmpuint(policy_map_len(map), ==, 1);
	g_assert_null(policy_map_free(map));
	g_assert_cmpuint(policy_map_len(NULL), ==, 0);
}

#define ADD(path, func) g_test_add("/policy/" path, struct fixture, NULL, set_up, func, tear_down)

int main(int argc, char *argv[])
{
	g_test_init(&argc, &argv, NULL);
	ADD("none", test_none);
	ADD("prefer", test_prefer);
	ADD("allow", test_allow);
	ADD("joined-tier", test_joined_tier);
	ADD("spread", test_spread);
	ADD("spread-within-allow", test_spread_within_allow);
	ADD("stripes-grow", test_stripes_grow);
	ADD("apply", test_apply);
	g_test_add_func("/policy/map", test_map);
	g_test_add_func("/policy/map-limit", test_map_limit);
	return g_test_run();
}
