// SPDX-License-Identifier: GPL-2.0-or-later
/* DAMON's files, as a tree of plain ones: what is written there, and whose it is. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "damon.h"
#include "daemon/test-tree.h"
#include "procfile.h"

#define ADMIN "sys/kernel/mm/damon/admin"
#define KDAMONDS ADMIN "/kdamonds"
#define CONTEXT KDAMONDS "/0/contexts/0"
#define MARK "1836217203"

/* As the kernel makes them when numbers are written, for two targets of two ranges. */
static struct tree make_files(const char *kdamonds, const char *mark)
{
	static const char *const files[] = {
		KDAMONDS "/0/state",
		KDAMONDS "/0/contexts/nr_contexts",
		CONTEXT "/operations",
		CONTEXT "/monitoring_attrs/intervals/sample_us",
		CONTEXT "/monitoring_attrs/intervals/aggr_us",
		CONTEXT "/monitoring_attrs/nr_regions/min",
		CONTEXT "/monitoring_attrs/nr_regions/max",
		CONTEXT "/targets/nr_targets",
		CONTEXT "/schemes/nr_schemes",
	};
	static const char *const scheme[] = {
		"action",
		"access_pattern/sz/min",
		"access_pattern/sz/max",
		"access_pattern/nr_accesses/min",
		"access_pattern/nr_accesses/max",
		"access_pattern/age/min",
		"access_pattern/age/max",
		"filters/nr_filters",
		"filters/0/type",
		"filters/0/matching",
		"filters/0/damon_target_idx",
		"tried_regions/total_bytes",
	};
	struct tree t = tree_new();

	tree_write(&t, KDAMONDS "/nr_kdamonds", kdamonds);
	tree_write(&t, KDAMONDS "/0/pid", "77\n");
	tree_write(&t, CONTEXT "/monitoring_attrs/intervals/update_us", mark);
	for (gsize i = 0; i < G_N_ELEMENTS(files); i++)
		tree_write(&t, files[i], "");
	for (int i = 0; i < 2; i++) {
		g_autofree char *pid = g_strdup_printf(CONTEXT "/targets/%d/pid_target", i);
		g_autofree char *n = g_strdup_printf(CONTEXT "/targets/%d/regions/nr_regions", i);

		tree_write(&t, pid, "");
		tree_write(&t, n, "");
		for (int k = 0; k < 2; k++) {
			g_autofree char *start =
				g_strdup_printf(CONTEXT "/targets/%d/regions/%d/start", i, k);
			g_autofree char *end =
				g_strdup_printf(CONTEXT "/targets/%d/regions/%d/end", i, k);

			tree_write(&t, start, "");
			tree_write(&t, end, "");
		}
		for (gsize k = 0; k < G_N_ELEMENTS(scheme); k++) {
			g_autofree char *path =
				g_strdup_printf(CONTEXT "/schemes/%d/%s", i, scheme[k]);

			tree_write(&t, path, "");
		}
	}
	return t;
}

static void must_be(const struct tree *t, const char *path, const char *text)
{
	g_autofree char *whole = g_build_filename(t->path, path, NULL), *found = NULL;

	g_assert_true(g_file_get_contents(whole, &found, NULL, NULL));
	if (!g_str_equal(g_strstrip(found), text))
		g_error("%s holds '%s', not '%s'", path, found, text);
}

static GArray *ranges(uint64_t start)
{
	GArray *a = g_array_new(FALSE, FALSE, sizeof(struct proc_range));

	for (uint64_t i = 0; i < 2; i++) {
		const struct proc_range r = { start + i * 0x100000,
					      start + i * 0x100000 + 0x10000 };

		g_array_append_val(a, r);
	}
	return a;
}

static void test_watch(void)
{
	struct tree t = make_files("0", "1000000");
	g_autoptr(GArray) a = ranges(0x400000), b = ranges(0x7f0000000000), c = ranges(0x800000);
	struct damon_target targets[2] = { { 42, a }, { 43, b } };
	char text[HELPER_TEXT_MAX] = "";
	struct damon d;

	damon_init(&d, t.fd);
	g_assert_cmpint(damon_take(&d, text), ==, 0);
	g_assert_cmpint(damon_watch(&d, targets, 2, 2000, text), ==, 0);
	must_be(&t, KDAMONDS "/nr_kdamonds", "1");
	must_be(&t, KDAMONDS "/0/state", "on");
	must_be(&t, CONTEXT "/operations", "fvaddr");
	must_be(&t, CONTEXT "/monitoring_attrs/intervals/sample_us", "100000");
	must_be(&t, CONTEXT "/monitoring_attrs/intervals/aggr_us", "2000000");
	must_be(&t, CONTEXT "/monitoring_attrs/intervals/update_us", MARK);
	must_be(&t, CONTEXT "/monitoring_attrs/nr_regions/min", "10");
	must_be(&t, CONTEXT "/monitoring_attrs/nr_regions/max", "1000");
	must_be(&t, CONTEXT "/targets/1/pid_target", "43");
	must_be(&t, CONTEXT "/targets/1/regions/1/start", "139637977776128");
	must_be(&t, CONTEXT "/schemes/1/action", "stat");
	must_be(&t, CONTEXT "/schemes/1/filters/0/damon_target_idx", "1");
	must_be(&t, CONTEXT "/schemes/1/filters/0/matching", "N");
	/* The same again: nothing is written. Other ranges: committed. Other processes: begun anew. */
	tree_write(&t, KDAMONDS "/0/state", "as it was");
	g_assert_cmpint(damon_watch(&d, targets, 2, 2500, text), ==, 0);
	must_be(&t, KDAMONDS "/0/state", "as it was");
	targets[0].ranges = c;
	g_assert_cmpint(damon_watch(&d, targets, 2, 2500, text), ==, 0);
	must_be(&t, KDAMONDS "/0/state", "commit");
	must_be(&t, CONTEXT "/targets/0/regions/0/start", "8388608");
	g_assert_cmpint(damon_watch(&d, targets, 2, 8000, text), ==, 0);
	must_be(&t, CONTEXT "/monitoring_attrs/intervals/aggr_us", "8000000");
	targets[0].pid = 44;
	g_assert_cmpint(damon_watch(&d, targets, 2, 8000, text), ==, 0);
	must_be(&t, KDAMONDS "/0/state", "on");
	must_be(&t, CONTEXT "/targets/0/pid_target", "44");
	damon_done(&d);
	must_be(&t, KDAMONDS "/0/state", "off");
	must_be(&t, KDAMONDS "/nr_kdamonds", "0");
	tree_done(&t);
}

static void test_regions(void)
{
	struct tree t = make_files("0", "0");
	g_autoptr(GArray) regions = NULL;
	struct damon d;

	damon_init(&d, t.fd);
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/0/start", "4096\n");
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/0/end", "8192\n");
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/0/nr_accesses", "3\n");
	/* More than there are samples; an end before the start; a file that is none. */
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/1/start", "8192\n");
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/1/end", "12288\n");
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/1/nr_accesses", "4000000000\n");
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/2/start", "8192\n");
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/2/end", "4096\n");
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/2/nr_accesses", "1\n");
	g_assert_cmpint(damon_regions(&d, 1, &regions), ==, 0);
	g_assert_cmpuint(regions->len, ==, 2);
	g_assert_cmpuint(g_array_index(regions, struct damon_region, 0).accesses, ==, 3);
	g_assert_cmpuint(g_array_index(regions, struct damon_region, 1).accesses, ==,
			 DAMON_SAMPLES);
	g_clear_pointer(&regions, g_array_unref);
	tree_write(&t, CONTEXT "/schemes/1/tried_regions/0/start", "rubbish\n");
	g_assert_cmpint(damon_regions(&d, 1, &regions), ==, -EBADMSG);
	g_assert_null(regions);
	tree_done(&t);
}

/* Somebody else's is left alone; what one of ours left goes; what one of ours uses stays. */
static void test_owners(void)
{
	char text[HELPER_TEXT_MAX] = "";
	struct tree t = make_files("2", MARK);
	struct damon d, other;
	int fd;

	damon_init(&d, t.fd);
	g_assert_cmpint(damon_take(&d, text), ==, -EBUSY);
	g_assert_nonnull(strstr(text, "somebody else"));
	must_be(&t, KDAMONDS "/nr_kdamonds", "2");
	tree_done(&t);

	t = make_files("1", "1000000");
	damon_init(&d, t.fd);
	g_assert_cmpint(damon_take(&d, text), ==, -EBUSY);
	damon_tidy(t.fd);
	must_be(&t, KDAMONDS "/nr_kdamonds", "1");
	tree_done(&t);

	t = make_files("1", MARK);
	fd = openat(t.fd, ADMIN, O_RDONLY | O_DIRECTORY);
	g_assert_cmpint(flock(fd, LOCK_EX), ==, 0);
	damon_init(&d, t.fd);
	g_assert_cmpint(damon_take(&d, text), ==, -EBUSY);
	g_assert_nonnull(strstr(text, "another morsel-helper"));
	damon_tidy(t.fd);
	must_be(&t, KDAMONDS "/nr_kdamonds", "1");
	close(fd);
	damon_tidy(t.fd);
	must_be(&t, KDAMONDS "/nr_kdamonds", "0");
	tree_done(&t);

	/* Of two of ours the first has it. */
	t = make_files("0", "1000000");
	damon_init(&d, t.fd);
	damon_init(&other, t.fd);
	g_assert_cmpint(damon_take(&d, text), ==, 0);
	g_assert_cmpint(damon_take(&other, text), ==, -EBUSY);
	damon_done(&d);
	g_assert_cmpint(damon_take(&other, text), ==, 0);
	/* The kernel's own use counts even while it is ours. */
	tree_write(&t, "sys/module/damon_lru_sort/parameters/enabled", "N\n");
	g_assert_cmpint(damon_take(&other, text), ==, 0);
	tree_write(&t, "sys/module/damon_reclaim/parameters/enabled", "Y\n");
	g_assert_cmpint(damon_take(&other, text), ==, -EBUSY);
	g_assert_nonnull(strstr(text, "damon_reclaim"));
	damon_done(&other);
	tree_done(&t);

	t = tree_new();
	damon_init(&d, t.fd);
	g_assert_cmpint(damon_take(&d, text), ==, -ENOENT);
	damon_tidy(t.fd);
	tree_done(&t);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/damon/watch", test_watch);
	g_test_add_func("/damon/regions", test_regions);
	g_test_add_func("/damon/owners", test_owners);
	return g_test_run();
}
