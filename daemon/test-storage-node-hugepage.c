/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which kind of 2 MiB pages is taken, from made files of /sys. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <unistd.h>

#include "fake-inventory.h"
#include "storage-node-count.h"
#include "storage-node-hugepage.h"

#define MM "sys/kernel/mm/"
#define THP MM "transparent_hugepage/"
#define FREE "hugepages/hugepages-2048kB/free_hugepages"
#define MIB (UINT64_C(1) << 20)

struct fixture {
	char *dir;
	int root;
	GPtrArray *files; /* of char *, in order of making */
	struct inventory *inv;
	struct placement *p;
};

static void set_up(struct fixture *f, gconstpointer data)
{
	f->dir = g_dir_make_tmp("morsel-XXXXXX", NULL);
	f->root = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	g_assert_cmpint(f->root, >=, 0);
	f->files = g_ptr_array_new_with_free_func(g_free);
	f->inv = fake_inventory_new();
	fake_inventory_add(f->inv, "a", TIER_ONLINE, (int[]){ 0 }, 1);
	fake_inventory_add(f->inv, "b", TIER_ONLINE, (int[]){ 1 }, 1);
	f->p = placement_new();
}

static void tear_down(struct fixture *f, gconstpointer data)
{
	for (unsigned int i = 0; i < f->files->len; i++) {
		g_autofree char *path = g_steal_pointer(&f->files->pdata[i]);

		unlink(path);
		/* The directories that it leaves empty. */
		for (char *slash = strrchr(path, '/'); (*slash = '\0', rmdir(path) == 0);
		     slash = strrchr(path, '/'))
			;
	}
	rmdir(f->dir);
	g_ptr_array_unref(f->files);
	placement_unref(f->p);
	fake_inventory_free(f->inv);
	close(f->root);
	g_free(f->dir);
}

static void put(struct fixture *f, const char *name, const char *text)
{
	char *path = g_build_filename(f->dir, name, NULL);
	g_autofree char *dir = g_path_get_dirname(path);

	g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
	g_assert_true(g_file_set_contents(path, text, -1, NULL));
	g_ptr_array_add(f->files, path);
}

static void expect_thp(struct fixture *f, bool on, const char *how)
{
	const char *got;

	g_assert_cmpint(hugepage_transparent(f->root, &got), ==, on);
	g_assert_cmpstr(got, ==, how);
}

static void test_transparent(struct fixture *f, gconstpointer data)
{
	expect_thp(f, false, "absent");
	put(f, THP "shmem_enabled", "always within_size advise [never] deny force\n");
	expect_thp(f, false, "never");
	put(f, THP "shmem_enabled", "always within_size [advise] never deny force\n");
	expect_thp(f, true, "advise");
	put(f, THP "shmem_enabled", "rubbish");
	expect_thp(f, false, "absent");
	put(f, THP "shmem_enabled", "[always]");
	expect_thp(f, true, "always");
	/* The switch of the size wins, but not over deny and force. */
	put(f, THP "hugepages-2048kB/shmem_enabled", "always inherit within_size advise [never]\n");
	expect_thp(f, false, "never");
	put(f, THP "shmem_enabled", "always within_size advise never deny [force]\n");
	expect_thp(f, true, "force");
	put(f, THP "hugepages-2048kB/shmem_enabled", "always inherit [within_size] advise never\n");
	expect_thp(f, true, "force");
	put(f, THP "shmem_enabled", "always within_size advise [never] deny force\n");
	expect_thp(f, true, "within_size");
	put(f, THP "shmem_enabled", "always within_size advise never [deny] force\n");
	expect_thp(f, false, "deny");
	put(f, THP "hugepages-2048kB/shmem_enabled", "always [inherit] within_size advise never\n");
	put(f, THP "shmem_enabled", "always [within_size] advise never deny force\n");
	expect_thp(f, true, "within_size");
}

static int choose(struct fixture *f, uint64_t size, enum page_backing *ret, char **ret_error)
{
	static const struct node_caps caps = { .preferred_many = true, .home_node = true };
	struct policy_plan *plan;
	struct nodeset allow;
	int r;

	g_assert_cmpint(policy_plan_new(f->inv, f->p, size, &caps, &allow, &plan, ret_error), ==,
			0);
	r = hugepage_choose(f->root, "obj", size, plan, ret, ret_error);
	policy_plan_free(plan);
	return r;
}

static void expect_hugetlb(struct fixture *f, uint64_t size)
{
	enum page_backing backing = PAGES_4K;
	g_autofree char *error = NULL;

	if (choose(f, size, &backing, &error) < 0)
		g_error("%s", error);
	g_assert_cmpint(backing, ==, PAGES_HUGETLB);
}

static void expect_refused(struct fixture *f, uint64_t size, const char *text)
{
	enum page_backing backing;
	g_autofree char *error = NULL;

	g_assert_cmpint(choose(f, size, &backing, &error), ==, -EOPNOTSUPP);
	g_assert_nonnull(strstr(error, text));
	g_assert_nonnull(strstr(error, "write advise there"));
}

static void test_reserved(struct fixture *f, gconstpointer data)
{
	expect_refused(f, 16 * MIB, "shmem_enabled: absent");
	put(f, THP "shmem_enabled", "always within_size advise [never] deny force\n");
	put(f, MM FREE, "7\n");
	expect_refused(f, 16 * MIB, "it needs 8; 7 free in all (/sys/kernel/mm/hugepages/");
	put(f, MM FREE, "8\n");
	expect_hugetlb(f, 16 * MIB);

	/* In all there are enough, but not where they may be. */
	put(f, "sys/devices/system/node/node0/" FREE, "5\n");
	put(f, "sys/devices/system/node/node1/" FREE, "3\n");
	g_ptr_array_add(f->p->allow, g_strdup("a"));
	expect_refused(f, 16 * MIB, "node 0 has 5 free (/sys/devices/system/node/node0/");
	g_ptr_array_add(f->p->allow, g_strdup("b"));
	expect_hugetlb(f, 16 * MIB);

	/* And in the proportions of spread. */
	placement_add_spread(f->p, "a", 5);
	placement_add_spread(f->p, "b", 3);
	g_ptr_array_set_size(f->p->allow, 0);
	expect_hugetlb(f, 16 * MIB);
	g_array_index(f->p->spread, struct spread_weight, 0).weight = 1;
	g_array_index(f->p->spread, struct spread_weight, 1).weight = 1;
	expect_refused(f, 16 * MIB, "node 1 has 3 free");
	put(f, THP "shmem_enabled", "always within_size [advise] never deny force\n");
	{
		enum page_backing backing = PAGES_4K;

		g_assert_cmpint(choose(f, 16 * MIB, &backing, NULL), ==, 0);
		g_assert_cmpint(backing, ==, PAGES_THP);
	}
}

static void test_count_line(void)
{
	const void *at = (void *)0x1000000000;
	struct node_counts c;

	g_assert_cmpint(
		node_count_parse("1000000000 prefer (many):0-1 file=/memfd:morsel:a\\040N9\\0753"
				 "\\040(deleted) dirty=3 active=0 N0=3 kernelpagesize_kB=4",
				 at, &c),
		==, 0);
	g_assert_cmpuint(c.total, ==, 3);
	g_assert_cmpint(c.only_node, ==, 0);
	g_assert_cmpint(
		node_count_parse("1000000000 default file=/x N0=5 N12=7 kernelpagesize_kB=4", at,
				 &c),
		==, 0);
	g_assert_cmpuint(c.total, ==, 12);
	g_assert_cmpint(c.only_node, ==, -1);
	g_assert_cmpint(node_count_parse("1000000000 default", at, &c), ==, 0);
	g_assert_cmpuint(c.total, ==, 0);
	g_assert_cmpint(c.only_node, ==, -1);
	g_assert_cmpint(node_count_parse("1000001000 default N0=5", at, &c), ==, -ENODATA);
	g_assert_cmpint(node_count_parse("", at, &c), ==, -ENODATA);
}

#define ADD(path, func) g_test_add("/hugepage/" path, struct fixture, NULL, set_up, func, tear_down)

int main(int argc, char *argv[])
{
	g_test_init(&argc, &argv, NULL);
	ADD("transparent", test_transparent);
	ADD("reserved", test_reserved);
	g_test_add_func("/count/line", test_count_line);
	return g_test_run();
}
