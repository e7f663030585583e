/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory.h"

#include <glib/gstdio.h>
#include <string.h>

#include "test-tree.h"

static const int from_0[] = { 0, -1 };

/* A machine with CPUs and memory on node 0. */
static struct tree small_machine(void)
{
	struct tree t = tree_new();

	tree_write(&t, "sys/devices/system/node/possible", "0-7\n");
	tree_write(&t, "sys/devices/system/node/online", "0\n");
	tree_node(&t, 0, "0-3\n", 8388608, "10\n");
	return t;
}

/* The same with HBM on node 1 and something slow on node 2. */
static struct tree three_tiers(void)
{
	struct tree t = small_machine();

	tree_write(&t, "sys/devices/system/node/online", "0-2\n");
	tree_node(&t, 0, "0-3\n", 8388608, "10 20 30\n");
	tree_node(&t, 1, "\n", 4194304, "20 10 40\n");
	tree_node(&t, 2, "\n", 16777216, "30 40 10\n");
	tree_access(&t, 0, 0, from_0, 100, 60000);
	tree_access(&t, 1, 0, from_0, 110, 200000);
	tree_access(&t, 2, 0, from_0, 250, 30000);
	tree_write(&t, "sys/devices/virtual/memory_tiering/memory_tier3/nodelist", "1\n");
	tree_write(&t, "sys/devices/virtual/memory_tiering/memory_tier4/nodes", "0\n");
	return t;
}

static struct inventory *look(struct tree *t)
{
	struct inventory *inv;
	bool changed = false;

	g_assert_cmpint(inventory_new(t->fd, false, &inv), ==, 0);
	g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, &changed), ==, 0);
	g_assert_true(changed);
	return inv;
}

static const struct tier_perf *perf(const struct tier *t, unsigned int i)
{
	g_assert_cmpuint(i, <, t->perf->len);
	return &g_array_index(t->perf, struct tier_perf, i);
}

static char *names(struct inventory *inv)
{
	const GPtrArray *tiers = inventory_tiers(inv);
	GString *s = g_string_new(NULL);

	for (unsigned int i = 0; i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];

		g_string_append_printf(s, "%s%s:%s", i ? " " : "", t->name,
				       tier_state_to_string(t->state));
	}
	return g_string_free(s, FALSE);
}

#define assert_names(inv, expected)                   \
	do {                                          \
		g_autofree char *found = names(inv);  \
		g_assert_cmpstr(found, ==, expected); \
	} while (0)

static void test_one_node(void)
{
	struct tree t = small_machine();
	struct inventory *inv = look(&t);
	struct tier *tier;

	assert_names(inv, "dram0:online");
	tier = inventory_tier(inv, "dram0");
	g_assert_cmpuint(tier->capacity, ==, UINT64_C(8) << 30);
	g_assert_cmpuint(tier->free, ==, UINT64_C(4) << 30);
	g_assert_cmpint(tier->evidence, ==, EVIDENCE_CPU_NODE);
	g_assert_true(tier_has_pages(tier));
	/* Nothing is invented where no HMAT is. */
	g_assert_cmpuint(tier->perf->len, ==, 1);
	g_assert_cmpuint(perf(tier, 0)->read_lat_ns, ==, 0);
	g_assert_cmpint(perf(tier, 0)->lat_source, ==, PERF_UNKNOWN);
	g_assert_cmpuint(perf(tier, 0)->distance, ==, 10);
	g_assert_true(inventory_tier_of_node(inv, 0) == tier);
	g_assert_null(inventory_tier_of_node(inv, 1));
	g_assert_null(inventory_tier(inv, "dram1"));
	g_assert_cmpuint(inventory_warnings(inv)->len, ==, 0);
	inventory_free(inv);
	tree_done(&t);
}

static void test_kinds(void)
{
	struct tree t = three_tiers();
	struct inventory *inv = look(&t);
	struct tier *hbm, *mem;

	assert_names(inv, "dram0:online hbm0:online mem0:online");
	hbm = inventory_tier(inv, "hbm0");
	mem = inventory_tier(inv, "mem0");
	g_assert_cmpint(hbm->evidence, ==, EVIDENCE_HMAT_GUESS);
	g_assert_cmpstr(hbm->evidence_detail, ==,
			"200000 MB/s from node 0, whose own memory has 60000 MB/s");
	g_assert_cmpint(hbm->memory_tier, ==, 3);
	g_assert_cmpint(inventory_tier(inv, "dram0")->memory_tier, ==, 4);
	/* Slow, and nothing says why: not guessed to be CXL. */
	g_assert_cmpint(mem->kind, ==, TIER_MEMORY_ONLY);
	g_assert_cmpint(mem->evidence, ==, EVIDENCE_NONE);
	g_assert_cmpuint(perf(mem, 0)->read_lat_ns, ==, 250);
	g_assert_cmpuint(perf(mem, 0)->write_bw_mbs, ==, 30000);
	g_assert_cmpint(perf(mem, 0)->bw_source, ==, PERF_HMAT);
	g_assert_cmpuint(perf(inventory_tier(inv, "dram0"), 0)->rank, ==, 0);
	g_assert_cmpuint(perf(hbm, 0)->rank, ==, 1);
	g_assert_cmpuint(perf(mem, 0)->rank, ==, 2);
	inventory_free(inv);

	/* A little wider is more channels, not HBM. */
	tree_write(&t, "sys/devices/system/node/node1/access0/initiators/read_bandwidth",
		   "89999\n");
	inv = look(&t);
	assert_names(inv, "dram0:online mem0:online mem1:online");
	inventory_free(inv);
	/* Wide, but far. */
	tree_access(&t, 1, 1, from_0, 201, 200000);
	inv = look(&t);
	assert_names(inv, "dram0:online mem0:online mem1:online");
	inventory_free(inv);
	tree_done(&t);
}

static void test_rank_by_distance(void)
{
	struct tree t = three_tiers();
	struct inventory *inv;

	/* One tier without numbers: none can be compared by them. */
	tree_remove(&t, "sys/devices/system/node/node2/access0");
	tree_write(&t, "sys/devices/system/node/node0/distance", "10 20 15\n");
	inv = look(&t);
	g_assert_cmpuint(perf(inventory_tier(inv, "dram0"), 0)->rank, ==, 0);
	g_assert_cmpuint(perf(inventory_tier(inv, "mem0"), 0)->rank, ==, 1);
	g_assert_cmpuint(perf(inventory_tier(inv, "hbm0"), 0)->rank, ==, 2);
	inventory_free(inv);
	/* Equal ones have equal ranks. */
	tree_write(&t, "sys/devices/system/node/node0/distance", "10 20 20\n");
	inv = look(&t);
	g_assert_cmpuint(perf(inventory_tier(inv, "mem0"), 0)->rank, ==, 1);
	g_assert_cmpuint(perf(inventory_tier(inv, "hbm0"), 0)->rank, ==, 1);
	inventory_free(inv);
	tree_done(&t);
}

static bool use_all(const char *name, void *userdata)
{
	(*(unsigned int *)userdata)++;
	return true;
}

static void test_names_stay(void)
{
	struct tree t = three_tiers();
	struct inventory *inv = look(&t);
	unsigned int asked = 0;
	struct tier *kept;
	bool changed = true;

	g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, &changed), ==, 0);
	g_assert_false(changed);
	tree_write(&t, "sys/devices/system/node/node0/meminfo",
		   "Node 0 MemTotal: 8388608 kB\nNode 0 MemFree: 1024 kB\n");
	kept = tier_ref(inventory_tier(inv, "dram0"));
	g_assert_cmpint(inventory_refresh_free(inv), ==, 0);
	g_assert_cmpuint(inventory_tier(inv, "dram0")->free, ==, 1048576);
	/* A reader's tier does not change under its hands. */
	g_assert_cmpuint(kept->free, ==, UINT64_C(4) << 30);
	tier_unref(kept);
	g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, &changed), ==, 0);
	g_assert_false(changed);

	/* Node 1 goes: node 2's name must not slide, and a used tier stays as missing. */
	tree_write(&t, "sys/devices/system/node/node1/access0/initiators/read_bandwidth", "1\n");
	g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, &changed), ==, 0);
	assert_names(inv, "dram0:online mem0:online mem1:online");
	g_assert_cmpint(g_array_index(inventory_tier(inv, "mem0")->nodes, int, 0), ==, 2);
	tree_write(&t, "sys/devices/system/node/online", "0-1\n");
	tree_write(&t, "sys/devices/system/node/node0/distance", "10 20\n");
	tree_write(&t, "sys/devices/system/node/node1/distance", "20 10\n");
	g_assert_cmpint(inventory_refresh(inv, NULL, use_all, &asked, &changed), ==, 0);
	g_assert_true(changed);
	g_assert_cmpuint(asked, ==, 1);
	assert_names(inv, "dram0:online mem0:missing mem1:online");
	g_assert_false(tier_has_pages(inventory_tier(inv, "mem0")));
	g_assert_null(inventory_tier_of_node(inv, 2));
	g_assert_cmpint(inventory_refresh(inv, NULL, use_all, &asked, &changed), ==, 0);
	g_assert_false(changed);
	/* It comes back under its name. */
	tree_write(&t, "sys/devices/system/node/online", "0-2\n");
	g_assert_cmpint(inventory_refresh(inv, NULL, use_all, &asked, &changed), ==, 0);
	assert_names(inv, "dram0:online mem0:online mem1:online");
	inventory_free(inv);
	tree_done(&t);
}

static struct config *configure(struct tree *t, const char *text)
{
	g_autofree char *path = g_build_filename(t->path, "morseld.conf", NULL);
	g_autofree char *message = NULL;
	struct config *c = NULL;

	tree_write(t, "morseld.conf", text);
	if (config_load(path, &c, &message) < 0)
		g_error("%s", message);
	return c;
}

static void test_overrides(void)
{
	struct tree t = three_tiers();
	struct config *c = configure(&t,
				     "[tier far]\nNode=2 1\nKind=cxl\nLatency=300\nLatency.0=280\n"
				     "[tier dram0]\nBandwidth=5\nBandwidth.7=9\n"
				     "[tier ghost]\nNode=5\n[tier nobody]\nKind=nvm\n");
	struct inventory *inv;
	struct tier *far;

	g_assert_cmpint(inventory_new(t.fd, false, &inv), ==, 0);
	g_assert_cmpint(inventory_refresh(inv, c, NULL, NULL, NULL), ==, 0);
	assert_names(inv, "dram0:online far:online nobody:missing ghost:missing");
	far = inventory_tier(inv, "far");
	g_assert_cmpuint(far->nodes->len, ==, 2);
	g_assert_cmpint(g_array_index(far->nodes, int, 0), ==, 1);
	g_assert_cmpint(far->kind, ==, TIER_CXL);
	g_assert_cmpint(far->evidence, ==, EVIDENCE_CONFIGURED);
	g_assert_cmpstr(far->evidence_detail, ==, "morseld.conf:1 says so");
	g_assert_cmpuint(far->capacity, ==, UINT64_C(20) << 30);
	g_assert_cmpuint(perf(far, 0)->read_lat_ns, ==, 280);
	g_assert_cmpint(perf(far, 0)->lat_source, ==, PERF_CONFIGURED);
	/* Joined: the worse of both. */
	g_assert_cmpuint(perf(far, 0)->read_bw_mbs, ==, 30000);
	g_assert_cmpint(perf(far, 0)->bw_source, ==, PERF_HMAT);
	g_assert_cmpuint(perf(far, 0)->distance, ==, 30);
	g_assert_true(inventory_tier_of_node(inv, 1) == far);
	g_assert_true(inventory_tier_of_node(inv, 2) == far);
	g_assert_cmpuint(perf(inventory_tier(inv, "dram0"), 0)->read_bw_mbs, ==, 5);
	g_assert_cmpstr(inventory_tier(inv, "dram0")->warnings->pdata[0], ==,
			"morseld.conf:6 has numbers from node 7, which has no CPUs: ignoring");
	g_assert_cmpstr(inventory_tier(inv, "ghost")->state_reason, ==,
			"node 5, which morseld.conf:9 names, does not exist or has no memory");
	g_assert_cmpint(inventory_tier(inv, "nobody")->kind, ==, TIER_NVM);
	config_free(c);

	/* Half of it is there; another is switched off. */
	c = configure(&t, "[tier far]\nNode=2 5\n[tier hbm0]\nEnabled=no\n");
	g_assert_cmpint(inventory_refresh(inv, c, NULL, NULL, NULL), ==, 0);
	assert_names(inv, "dram0:online hbm0:offline far:degraded");
	g_assert_cmpstr(inventory_tier(inv, "hbm0")->state_reason, ==,
			"switched off by morseld.conf:3 (Enabled=no)");
	config_free(c);

	/* The operator's name displaces the running number's; without it the old ones are back. */
	c = configure(&t, "[tier dram0]\nNode=2\nKind=dram\n");
	g_assert_cmpint(inventory_refresh(inv, c, NULL, NULL, NULL), ==, 0);
	assert_names(inv, "dram0:online dram1:online hbm0:online");
	g_assert_cmpint(g_array_index(inventory_tier(inv, "dram1")->nodes, int, 0), ==, 0);
	config_free(c);
	inventory_free(inv);
	tree_done(&t);
}

static void test_lies(void)
{
	struct tree t = three_tiers();
	struct inventory *inv;
	struct tier *tier;

	tree_write(&t, "sys/devices/system/node/node1/distance", "20 10\n");
	tree_write(&t, "sys/devices/system/node/node1/access0/initiators/read_latency", "fast\n");
	tree_write(&t, "sys/devices/system/node/node1/access0/initiators/write_latency",
		   "99999999999999999999\n");
	tree_write(&t, "sys/devices/system/node/node1/access0/initiators/write_bandwidth",
		   "9999999999\n");
	tree_write_bytes(&t, "sys/devices/system/node/node2/cpulist", "\0\1\2", 3);
	tree_write(&t, "sys/devices/system/node/node2/meminfo",
		   "Node 2 MemTotal: 10 kB\nNode 2 MemFree: 11 kB\n");
	tree_write(&t, "sys/devices/virtual/memory_tiering/memory_tier9/nodelist", "0-1\n");
	tree_write(&t, "sys/devices/virtual/memory_tiering/memory_tier8/nodelist", "7,\n");
	inv = look(&t);
	assert_names(inv, "dram0:online hbm0:online");
	tier = inventory_tier(inv, "hbm0");
	g_assert_cmpuint(tier->warnings->len, ==, 5);
	g_assert_cmpstr(tier->warnings->pdata[0], ==,
			"distance of node 1 has 2 numbers for 3 online nodes, ignoring");
	g_assert_cmpstr(
		tier->warnings->pdata[1], ==,
		"access0 read_latency of node 1 cannot be read: what it holds makes no sense, ignoring");
	g_assert_cmpstr(
		tier->warnings->pdata[3], ==,
		"access0 write_bandwidth of node 1 is 9999999999, over 1000000000: ignoring");
	g_assert_cmpint(tier->memory_tier, ==, 3);
	g_assert_cmpint(perf(tier, 0)->lat_source, ==, PERF_UNKNOWN);
	g_assert_cmpuint(inventory_warnings(inv)->len, ==, 3);
	inventory_free(inv);
	tree_done(&t);

	/* Nothing at all. */
	t = tree_new();
	g_assert_cmpint(inventory_new(t.fd, false, &inv), ==, 0);
	g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, NULL), ==, 0);
	g_assert_cmpuint(inventory_tiers(inv)->len, ==, 0);
	g_assert_cmpuint(inventory_warnings(inv)->len, ==, 2);
	inventory_free(inv);
	tree_done(&t);
}

static volatile gint renaming;

static void *rename_all_the_time(void *data)
{
	struct tree *t = data;
	g_autofree char *a = g_build_filename(t->path, "a", NULL);
	g_autofree char *b = g_build_filename(t->path, "b", NULL);

	while (g_atomic_int_get(&renaming)) {
		g_assert_cmpint(g_rename(a, b), ==, 0);
		g_assert_cmpint(g_rename(b, a), ==, 0);
	}
	return NULL;
}

/* Any rename in the system may disturb the kernel while it resolves a link with "..". */
static void test_renames(void)
{
	struct tree t = three_tiers(), other = tree_new();
	struct inventory *inv;
	bool changed;
	GThread *thread;

	tree_link(&t, "sys/bus/dax/devices/dax0.0", "../../../devices/hmem.0/dax0.0");
	tree_write(&t, "sys/devices/hmem.0/dax0.0/size", "1073741824\n");
	tree_write(&t, "sys/devices/hmem.0/dax0.0/target_node", "1\n");
	inv = look(&t);
	tree_write(&other, "a", "");
	g_atomic_int_set(&renaming, 1);
	thread = g_thread_new("rename", rename_all_the_time, &other);
	for (int i = 0; i < 200; i++) {
		g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, &changed), ==, 0);
		g_assert_false(changed);
	}
	g_atomic_int_set(&renaming, 0);
	g_thread_join(thread);
	inventory_free(inv);
	tree_done(&other);
	tree_done(&t);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/inventory/one-node", test_one_node);
	g_test_add_func("/inventory/kinds", test_kinds);
	g_test_add_func("/inventory/rank-by-distance", test_rank_by_distance);
	g_test_add_func("/inventory/names-stay", test_names_stay);
	g_test_add_func("/inventory/overrides", test_overrides);
	g_test_add_func("/inventory/lies", test_lies);
	g_test_add_func("/inventory/renames", test_renames);
	return g_test_run();
}
