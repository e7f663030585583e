// SPDX-License-Identifier: GPL-2.0-or-later
/* Ordinary memory: files about processes, whose are managed, who else manages them, and what a look's table makes of heat. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "helper/procfile.h"
#include "ordinary-peers.h"
#include "ordinary-round.h"
#include "policy-file.h"
#include "test-tree.h"

#define STAT(name, flags, start, pages)                                                         \
	"42 (" name ") S 1 42 42 0 -1 " flags " 1 0 0 0 7 5 0 0 20 0 1 0 " start " 1000 " pages \
	" 1\n"

static void test_stat(void)
{
	struct proc_stat s;

	g_assert_cmpint(proc_stat_parse(STAT("a) S (b", "4194304", "1234", "55"), &s), ==, 0);
	g_assert_cmpuint(s.start, ==, 1234);
	g_assert_cmpuint(s.pages, ==, 55);
	g_assert_cmpuint(s.cpu_usec, ==, 12 * (1000000 / (uint64_t)sysconf(_SC_CLK_TCK)));
	g_assert_false(s.kernel);
	g_assert_cmpint(proc_stat_parse(STAT("kdamond.0", "2129984", "9", "0"), &s), ==, 0);
	g_assert_true(s.kernel);
	g_assert_cmpint(proc_stat_parse("", &s), ==, -EBADMSG);
	g_assert_cmpint(proc_stat_parse("42 (a) S 1 2", &s), ==, -EBADMSG);
}

static void test_maps(void)
{
	static const struct {
		const char *line;
		int result;
	} lines[] = {
		{ "7f0000000000-7f0000200000 rw-p 00000000 00:00 0 ", 0 },
		{ "555500000000-555500021000 rw-p 00000000 00:00 0                  [heap]", 0 },
		{ "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]", 0 },
		{ "7f0000000000-7f0000200000 rw-p 00000000 00:00 0 [anon:arena]", 0 },
		{ "7f0000000000-7f0000200000 rw-s 00000000 00:00 0", -ENODATA },
		/* Morsels: of nodes, and of the module. hugetlbfs. */
		{ "7f0000000000-7f0000200000 rw-s 00000000 00:01 1024 /memfd:morsel (deleted)",
		  -ENODATA },
		{ "7f0000000000-7f0000200000 rw-p 00000000 00:0e 1035 anon_inode:[morsel]",
		  -ENODATA },
		{ "7f0000000000-7f0000200000 rw-p 00000000 00:0f 7 /anon_hugepage (deleted)",
		  -ENODATA },
		{ "7f0000000000-7f0000200000 rw-p 00000000 08:01 7 /usr/lib/libc.so.6", -ENODATA },
		{ "7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0 [vdso]", -ENODATA },
		{ "7f0000000000-7f0000000000 rw-p 00000000 00:00 0", -EBADMSG },
		{ "7f0000000001-7f0000200000 rw-p 00000000 00:00 0", -EBADMSG },
		{ "rubbish", -EBADMSG },
		{ "", -EBADMSG },
	};
	struct proc_range r;

	for (gsize i = 0; i < G_N_ELEMENTS(lines); i++)
		if (proc_maps_parse(lines[i].line, &r) != lines[i].result)
			g_error("'%s' is not %d", lines[i].line, lines[i].result);
	g_assert_cmpint(proc_maps_parse(lines[0].line, &r), ==, 0);
	g_assert_cmpuint(r.start, ==, UINT64_C(0x7f0000000000));
	g_assert_cmpuint(r.end, ==, UINT64_C(0x7f0000200000));
}

static void test_ranges(void)
{
	struct tree t = tree_new();
	g_autoptr(GArray) ranges = NULL;
	unsigned int left_out;

	tree_write(&t, "proc/42/maps",
		   "10000000-10100000 rw-p 00000000 00:00 0 [heap]\n"
		   "10100000-10200000 rw-p 00000000 00:00 0 \n"
		   "20000000-20001000 rw-p 00000000 00:00 0 \n"
		   "30000000-30400000 r--p 00000000 08:01 5 /bin/x\n"
		   "40000000-40400000 rw-p 00000000 00:00 0 \n"
		   "50000000-50020000 rw-p 00000000 00:00 0 \n");
	g_assert_cmpint(proc_maps_read(t.fd, 42, 2, &ranges, &left_out), ==, 0);
	g_assert_cmpuint(ranges->len, ==, 2);
	g_assert_cmpuint(left_out, ==, 1);
	/* Neighbours are one; by address. */
	g_assert_cmpuint(g_array_index(ranges, struct proc_range, 0).start, ==, 0x10000000);
	g_assert_cmpuint(g_array_index(ranges, struct proc_range, 0).end, ==, 0x10200000);
	g_assert_cmpuint(g_array_index(ranges, struct proc_range, 1).start, ==, 0x40000000);
	g_clear_pointer(&ranges, g_array_unref);
	g_assert_cmpint(proc_maps_read(t.fd, 43, 2, &ranges, &left_out), ==, -ESRCH);
	tree_done(&t);
}

static void test_peers(void)
{
	static const struct {
		const char *path, *text, *says;
	} peers[] = {
		{ "proc/sys/kernel/numa_balancing", "2\n", "tiering mode" },
		{ "sys/kernel/mm/numa/demotion_enabled", "true\n", "demotes" },
		{ "proc/99/comm", "memtierd\n", "memtierd" },
	};
	struct tree t = tree_new();

	tree_write(&t, "proc/1/comm", "init\n");
	tree_write(&t, "proc/sys/kernel/numa_balancing", "1\n");
	tree_write(&t, "sys/kernel/mm/numa/demotion_enabled", "false\n");
	g_assert_null(ordinary_peers(t.fd, true));
	for (gsize i = 0; i < G_N_ELEMENTS(peers); i++) {
		g_autofree char *text = NULL;

		tree_write(&t, peers[i].path, peers[i].text);
		text = ordinary_peers(t.fd, true);
		g_assert_nonnull(text);
		g_assert_nonnull(strstr(text, peers[i].says));
		tree_write(&t, peers[i].path, "0\n");
	}
	tree_done(&t);
}

static struct policy_set *make_policies(const char *text)
{
	g_autoptr(GPtrArray) files = g_ptr_array_new();
	g_autofree char *message = NULL, *copy = g_strdup(text);
	struct policy_file *f = NULL;
	struct policy_set *set = NULL;

	g_assert_cmpint(policy_file_parse("test.conf", copy, &f, &message), ==, 0);
	g_ptr_array_add(files, f);
	g_assert_cmpint(policy_set_new(files, &set, &message), ==, 0);
	policy_file_unref(f);
	return set;
}

static void add_process(struct tree *t, const char *pid, const char *pages)
{
	g_autofree char *path = g_strdup_printf("proc/%s/stat", pid);
	g_autofree char *text = g_strdup_printf(
		"%s (p) S 1 42 42 0 -1 4194304 1 0 0 0 7 5 0 0 20 0 1 0 77 1000 %s 1\n", pid,
		pages);

	tree_write(t, path, text);
}

static void test_members(void)
{
	struct policy_set *set = make_policies("[cgroup /a]\nManageOrdinary=yes\n"
					       "[cgroup /a/off]\nMigrate=off\n"
					       "[cgroup /a/no]\nManageOrdinary=no\n"
					       "[cgroup /a/dry]\nMigrate=dry-run\n");
	struct tree t = tree_new();
	g_autoptr(GArray) members = NULL;
	unsigned int more;

	g_assert_true(ordinary_is_wanted(set));
	tree_write(&t, "sys/fs/cgroup/cgroup.procs", "10\n");
	tree_write(&t, "sys/fs/cgroup/a/cgroup.procs", "11\n999\n0\n1\n");
	tree_write(&t, "sys/fs/cgroup/a/off/cgroup.procs", "12\n");
	tree_write(&t, "sys/fs/cgroup/a/no/cgroup.procs", "13\n");
	tree_write(&t, "sys/fs/cgroup/a/dry/cgroup.procs", "14\n");
	tree_write(&t, "sys/fs/cgroup/a/b/c/cgroup.procs", "15\n");
	for (int pid = 10; pid <= 15; pid++) {
		g_autofree char *name = g_strdup_printf("%d", pid);

		add_process(&t, name, name);
	}
	members = ordinary_members(t.fd, set, 2, &more);
	g_assert_cmpuint(members->len, ==, 2);
	g_assert_cmpuint(more, ==, 1);
	/* The largest first; what holds for each. */
	g_assert_cmpint(g_array_index(members, struct ordinary_member, 0).pid, ==, 15);
	g_assert_cmpstr(g_array_index(members, struct ordinary_member, 0).cgroup, ==, "/a/b/c");
	g_assert_cmpuint(g_array_index(members, struct ordinary_member, 0).start, ==, 77);
	g_assert_cmpint(g_array_index(members, struct ordinary_member, 1).pid, ==, 14);
	g_assert_cmpint(g_array_index(members, struct ordinary_member, 1).migrate, ==,
			POLICY_MIGRATE_DRY_RUN);
	policy_set_unref(set);
	set = make_policies("[cgroup /*]\nManageOrdinary=yes\n");
	g_clear_pointer(&members, g_array_unref);
	members = ordinary_members(t.fd, set, 16, &more);
	g_assert_cmpuint(members->len, ==, 5);
	policy_set_unref(set);
	set = make_policies("[cgroup /a]\nManageOrdinary=no\n");
	g_assert_false(ordinary_is_wanted(set));
	policy_set_unref(set);
	tree_done(&t);
}

/* A table in memory, of one process, one chunk and two granules. */
struct look {
	struct ordinary_head head;
	struct ordinary_process process;
	struct ordinary_chunk chunk;
	struct ordinary_granule granule[2];
};

static struct look make_look(uint32_t serial, uint16_t node)
{
	return (struct look){
		.head = { .magic = ORDINARY_MAGIC,
			  .n_processes = 1,
			  .n_chunks = 1,
			  .n_granules = 2,
			  .window_ms = 1000 },
		.chunk = { .slot = 3, .serial = serial },
		.granule = { { .granule = 3 * ORDINARY_CHUNK,
			       .pages = 512,
			       .node = node,
			       .seen = ORDINARY_SAMPLES * 256 },
			     { .granule = 3 * ORDINARY_CHUNK + 1,
			       .pages = 100,
			       .node = ORDINARY_NODE_UNKNOWN } },
	};
}

static void test_table(void)
{
	struct look good = make_look(1, 0), bad[8];
	struct ordinary_table t;

	g_assert_cmpint(ordinary_table_parse(&good, sizeof(good), &t), ==, 0);
	g_assert_true(t.granules == good.granule);
	for (size_t n = 0; n < sizeof(good); n++)
		g_assert_cmpint(ordinary_table_parse(&good, n, &t), ==, -EBADMSG);
	for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
		bad[i] = good;
	bad[0].head.magic++;
	bad[1].head.n_granules = UINT32_MAX;
	bad[2].chunk.slot = ORDINARY_SLOTS;
	bad[3].chunk.process = 1;
	bad[4].granule[1].granule = bad[4].granule[0].granule;
	bad[5].granule[1].granule = 4 * ORDINARY_CHUNK;
	bad[6].granule[0].node = HELPER_NODES;
	bad[7].granule[0].seen++;
	for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
		if (ordinary_table_parse(&bad[i], sizeof(bad[i]), &t) != -EBADMSG)
			g_error("%zu is taken", i);
}

static void test_take(void)
{
	g_autofree struct ordinary_state *s = g_new0(struct ordinary_state, 1);
	struct tier *near = tier_new();
	struct tiering_tiers tiers = { .n = 1, .tier = { near } };
	struct look look = make_look(1, 0);
	uint32_t hot = look.granule[0].granule;
	struct ordinary_table t;
	const int node = 0;

	near->name = g_strdup("dram0");
	g_array_append_val(near->nodes, node);
	g_assert_true(ordinary_state_init(s));
	g_assert_cmpint(ordinary_table_parse(&look, sizeof(look), &t), ==, 0);
	for (uint64_t i = 1; i <= 10; i++)
		ordinary_take(s, &t, &tiers, i * 1000, 1000);
	g_assert_cmpuint(heat_rates(&s->heat, hot).near, >, 0);
	g_assert_cmpuint(heat_rates(&s->heat, hot + 1).near, ==, 0);
	g_assert_cmpuint(plan_tier_of(&s->plan, &s->heat, hot, 0), ==, 0);
	/* What was not asked for stays as it is known: not at all. */
	g_assert_cmpuint(plan_tier_of(&s->plan, &s->heat, hot + 1, 0), ==, PLAN_ABSENT);
	g_assert_cmpuint(s->pages[hot], ==, 512);
	/* Another's chunk in the slot: nothing of the old one's is left. */
	look = make_look(2, ORDINARY_NODE_UNKNOWN);
	look.granule[0].seen = 0;
	ordinary_take(s, &t, &tiers, 11000, 1000);
	g_assert_cmpuint(heat_rates(&s->heat, hot).near, ==, 0);
	g_assert_cmpuint(plan_tier_of(&s->plan, &s->heat, hot, 0), ==, PLAN_ABSENT);
	g_assert_cmpuint(s->pages[hot], ==, 0);
	/* And gone. */
	look.head.n_chunks = look.head.n_granules = 0;
	ordinary_take(s, &t, &tiers, 12000, 1000);
	g_assert_cmpuint(s->serial[3], ==, 0);
	ordinary_state_done(s);
	tier_unref(near);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/ordinary/stat", test_stat);
	g_test_add_func("/ordinary/maps", test_maps);
	g_test_add_func("/ordinary/ranges", test_ranges);
	g_test_add_func("/ordinary/peers", test_peers);
	g_test_add_func("/ordinary/members", test_members);
	g_test_add_func("/ordinary/table", test_table);
	g_test_add_func("/ordinary/take", test_take);
	return g_test_run();
}
