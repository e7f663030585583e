// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config-value.h"
#include "policy-check.h"
#include "policy-file.h"
#include "test-tree.h"

#define MIB (UINT64_C(1) << 20)
#define WISHES (1u << POLICY_PREFER | 1u << POLICY_SPREAD)

static struct policy_file *parse(const char *path, const char *text)
{
	g_autofree char *copy = g_strdup(text), *message = NULL;
	struct policy_file *f = NULL;

	if (policy_file_parse(path, copy, &f, &message) < 0)
		g_error("%s", message);
	return f;
}

static struct policy_set *make_set(const GPtrArray *files)
{
	g_autofree char *message = NULL;
	struct policy_set *s = NULL;

	if (policy_set_new(files, &s, &message) < 0)
		g_error("%s", message);
	return s;
}

/* Of one file. */
static struct policy_set *set_of(const char *text)
{
	g_autoptr(GPtrArray)
		files = g_ptr_array_new_with_free_func((GDestroyNotify)policy_file_unref);

	g_ptr_array_add(files, parse("/p/10-a.conf", text));
	return make_set(files);
}

/* value NULL: nothing holds. */
static void must_hold(const struct policy_set *s, const char *path, unsigned int fields,
		      const char *tier, const char *value, const char *from)
{
	g_autofree char *whence = NULL;
	const struct policy_setting *got = policy_effective(s, path, fields, tier, &whence);

	g_assert_cmpstr(got ? got->value : NULL, ==, value);
	g_assert_cmpstr(whence, ==, from);
}

static void test_keys(void)
{
	struct policy_set *s = set_of(
		"[cgroup /a]\nPrefer=hbm0  dram0\nAllow = hbm0 dram0 cxl0\nLow.hbm0=1M\n"
		"High.hbm0=2M\nMax.hbm0=none\nWeight=10000\nPageSize=mixed\nMigrate=dry-run\n"
		"Bandwidth=2G\nManageOrdinary=on\n[cgroup /b]\nSpread=hbm0:3 dram0:255\n");
	g_autoptr(GPtrArray) all = policy_own_all(s, "/a");
	static const uint64_t numbers[] = { 0,
					    0,
					    MIB,
					    2 * MIB,
					    POLICY_NONE,
					    10000,
					    POLICY_PAGES_MIXED,
					    POLICY_MIGRATE_DRY_RUN,
					    2048 * MIB,
					    1 };
	const struct policy_setting *spread = policy_own(s, "/b", WISHES, NULL);

	g_assert_cmpuint(all->len, ==, G_N_ELEMENTS(numbers));
	for (unsigned int i = 0; i < all->len; i++) {
		const struct policy_setting *setting = all->pdata[i];

		g_assert_cmpuint(setting->number, ==, numbers[i]);
		g_assert_cmpuint(setting->line, ==, i + 2);
		g_assert_cmpstr(setting->section->file->path, ==, "/p/10-a.conf");
		g_assert_cmpint(setting->tier != NULL, ==, i >= 2 && i <= 4);
	}
	g_assert_cmpuint(spread->tiers->len, ==, 2);
	g_assert_cmpstr(g_array_index(spread->tiers, struct config_share, 1).tier, ==, "dram0");
	g_assert_cmpuint(g_array_index(spread->tiers, struct config_share, 1).weight, ==, 255);
	policy_set_unref(s);
}

/* File and line, what stood there, what is wanted; and nothing of the file is used. */
static void test_errors(void)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "[cgroup /a]\n\nPreferr=x\n",
		  "f:3: Preferr=x: unknown key; policies have Prefer" },
		{ "[cgroup /a]\nBytes=1G\n", "f:2: Bytes=1G: unknown key" },
		{ "[cgroup /a]\nMax=1G\n", "f:2: Max=1G: unknown key" },
		{ "[cgroup /a]\nPrefer.x=1G\n", "f:2: Prefer.x=1G: unknown key" },
		{ "[cgroup /a]\nMax.=1G\n", "f:2: Max.=1G: a tier's name is" },
		{ "[cgroup /a]\nMax.a/b=1G\n", "a tier's name is" },
		{ "[cgroup /a]\nMax.x=lots\n", "a size such as 64M, or 'none', is wanted" },
		{ "[cgroup /a]\nMax.x=18446744073709551615\n", "a size such as" },
		{ "[cgroup /a]\nLow.x=none\n", "f:2: Low.x=none: a size such as 64M is wanted" },
		{ "[cgroup /a]\nMax.x=\n", "a value is wanted" },
		{ "[cgroup /a]\nWeight=0\n", "a whole number from 1 to 10000" },
		{ "[cgroup /a]\nWeight=10001\n", "a whole number from 1 to 10000" },
		{ "[cgroup /a]\nPageSize=1G\n", "4K, 2M or mixed" },
		{ "[cgroup /a]\nMigrate=yes\n", "on, off or dry-run" },
		{ "[cgroup /a]\nManageOrdinary=maybe\n", "yes or no is wanted" },
		{ "[cgroup /a]\nSpread=hbm0\n", "TIER:WEIGHT is wanted" },
		{ "[cgroup /a]\nSpread=hbm0:0\n", "from 1 to 255" },
		{ "[cgroup /a]\nSpread=hbm0:256\n", "from 1 to 255" },
		{ "[cgroup /a]\nSpread=a:1 b:2 a:3\n", "a stands there twice" },
		{ "[cgroup /a]\nPrefer=a:1\n", "names of tiers are wanted" },
		{ "[cgroup a]\n", "f:1: [cgroup a]: the path of a cgroup" },
		{ "[cgroup /a/]\n", "the path of a cgroup" },
		{ "[cgroup /a/../b]\n", "the path of a cgroup" },
		{ "[cgroup /.]\n", "the path of a cgroup" },
		{ "[cgroup]\n", "unknown section; files of policies have [cgroup PATH]" },
		{ "[cgroups /a]\n", "unknown section" },
		{ "[daemon]\n", "f:1: [daemon]: unknown section" },
		{ "Max.x=1\n", "f:1: Max.x=1: no [section]" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = g_strdup(cases[i].text), *message = NULL;
		struct policy_file *f = NULL;

		g_assert_cmpint(policy_file_parse("f", text, &f, &message), ==, -EINVAL);
		g_assert_null(f);
		if (!strstr(message, cases[i].says))
			g_error("'%s' does not say '%s'", message, cases[i].says);
	}
}

/* Key by key the nearest one above; a list may be empty, and is one all the same. */
static void test_inheritance(void)
{
	struct policy_set *s =
		set_of("[cgroup /]\nPrefer=dram0\nMigrate=off\nWeight=7\n"
		       "[cgroup /a]\nSpread=hbm0:1 dram0:3\nPageSize=2M\n"
		       "[cgroup /a/b]\nMigrate=on\n[cgroup /a/b/c]\nPrefer=\nWeight=9\n"
		       "[cgroup /ab]\nPageSize=4K\n");

	must_hold(s, "/a/b/c/d", WISHES, NULL, "", "/a/b/c");
	must_hold(s, "/a/b", WISHES, NULL, "hbm0:1 dram0:3", "/a");
	must_hold(s, "/a/b", 1u << POLICY_MIGRATE, NULL, "on", "/a/b");
	must_hold(s, "/a/x", 1u << POLICY_MIGRATE, NULL, "off", "/");
	must_hold(s, "/a/b/c/d/e", 1u << POLICY_PAGE_SIZE, NULL, "2M", "/a");
	/* "/ab" is not below "/a". */
	must_hold(s, "/ab", 1u << POLICY_PAGE_SIZE, NULL, "4K", "/ab");
	must_hold(s, "/b", 1u << POLICY_PAGE_SIZE, NULL, NULL, NULL);
	must_hold(s, "/b", WISHES, NULL, "dram0", "/");
	/* Unknown: what "/" has. A weight is one's own. */
	must_hold(s, "", WISHES, NULL, "dram0", "/");
	must_hold(s, "/a", 1u << POLICY_WEIGHT, NULL, NULL, NULL);
	must_hold(s, "/", 1u << POLICY_WEIGHT, NULL, "7", "/");
	/* Deeper than any section. */
	{
		g_autoptr(GString) deep = g_string_new("/a/b/c");
		g_autoptr(GPtrArray) own = NULL, all = NULL;

		for (unsigned int i = 0; i < 2000; i++)
			g_string_append(deep, "/x");
		must_hold(s, deep->str, WISHES, NULL, "", "/a/b/c");
		must_hold(s, deep->str, 1u << POLICY_PAGE_SIZE, NULL, "2M", "/a");
		own = policy_own_all(s, deep->str);
		g_assert_cmpuint(own->len, ==, 0);
		all = policy_effective_all(s, deep->str);
		g_assert_cmpuint(all->len, ==, 3);
	}
	policy_set_unref(s);
}

/* Limits hold for all below: the smallest one above. */
static void test_limits(void)
{
	struct policy_set *s =
		set_of("[cgroup /]\nMax.dram0=1G\n[cgroup /a]\nMax.hbm0=64M\nLow.hbm0=8M\n"
		       "[cgroup /a/b]\nMax.hbm0=128M\nHigh.hbm0=32M\nBandwidth=1M\n"
		       "[cgroup /a/b/c]\nMax.hbm0=none\nBandwidth=2M\nWeight=3\nLow.hbm0=4M\n");
	struct policy_budget b;

	must_hold(s, "/a/b/c", 1u << POLICY_MAX, "hbm0", "64M", "/a");
	must_hold(s, "/a/b/c", 1u << POLICY_HIGH, "hbm0", "32M", "/a/b");
	must_hold(s, "/a/b/c", 1u << POLICY_BANDWIDTH, NULL, "1M", "/a/b");
	must_hold(s, "/a/b/c", 1u << POLICY_LOW, "hbm0", "4M", "/a/b/c");
	must_hold(s, "/a/b/c", 1u << POLICY_MAX, "dram0", "1G", "/");
	must_hold(s, "/a", 1u << POLICY_MAX, "cxl0", NULL, NULL);
	/* A budget is of the cgroup alone. */
	policy_budget(s, "/a/b/c", "hbm0", &b);
	g_assert_cmpuint(b.low, ==, 4 * MIB);
	g_assert_cmpuint(b.high, ==, POLICY_NONE);
	g_assert_cmpuint(b.max, ==, POLICY_NONE);
	g_assert_cmpuint(b.weight, ==, 3);
	policy_budget(s, "/a/b", "hbm0", &b);
	g_assert_cmpuint(b.low, ==, 0);
	g_assert_cmpuint(b.high, ==, 32 * MIB);
	g_assert_cmpuint(b.max, ==, 128 * MIB);
	g_assert_cmpuint(b.weight, ==, 100);
	policy_set_unref(s);
}

static void test_order(void)
{
	struct tree t = tree_new();
	g_autofree char *etc = g_build_filename(t.path, "etc", NULL),
			*run = g_build_filename(t.path, "run", NULL),
			*lib = g_build_filename(t.path, "lib", NULL), *message = NULL;
	const char *const dirs[] = { etc, run, lib, NULL };
	g_autoptr(GPtrArray)
		files = g_ptr_array_new_with_free_func((GDestroyNotify)policy_file_unref);
	struct policy_set *s, *other;

	tree_write(&t, "lib/10-site.conf", "[cgroup /a]\nWeight=1\nPageSize=2M\n");
	tree_write(&t, "lib/20-vendor.conf", "[cgroup /a]\nWeight=2\nMigrate=off\n");
	tree_write(&t, "etc/10-site.conf", "[cgroup /a]\nWeight=3\nMigrate=on\n");
	tree_write(&t, "etc/30-late.conf", "[cgroup /a]\nAllow=late0\n");
	tree_write(&t, "run/05-early.conf", "[cgroup /a]\nAllow=early0\n");
	tree_write(&t, "run/50-x.conf", "[cgroup /*]\nWeight=4\nManageOrdinary=yes\n");
	tree_write(&t, "etc/README", "rubbish");
	tree_link(&t, "run/60-masked.conf", "/dev/null");
	tree_write(&t, "lib/60-masked.conf", "rubbish");
	/* morseld.conf comes first, whatever it is called. */
	g_ptr_array_add(files, policy_file_new("/z/morseld.conf", ""));
	g_assert_cmpint(policy_files_read(dirs, files, &message), ==, 0);
	g_assert_cmpuint(files->len, ==, 7);
	s = make_set(files);
	/* The last file; of one name the first directory's; a path before a pattern. */
	must_hold(s, "/a", 1u << POLICY_WEIGHT, NULL, "2", "/a");
	must_hold(s, "/a", 1u << POLICY_MIGRATE, NULL, "off", "/a");
	must_hold(s, "/a", 1u << POLICY_ALLOW, NULL, "late0", "/a");
	must_hold(s, "/a", 1u << POLICY_PAGE_SIZE, NULL, NULL, NULL);
	must_hold(s, "/a", 1u << POLICY_MANAGE_ORDINARY, NULL, "yes", "/a");
	must_hold(s, "/b", 1u << POLICY_WEIGHT, NULL, "4", "/b");
	g_assert_cmpuint(policy_set_paths(s)->len, ==, 1);
	g_assert_cmpuint(policy_set_patterns(s)->len, ==, 1);

	/* Another file in the place of one, and none. */
	{
		g_autofree char *path = g_build_filename(lib, "20-vendor.conf", NULL);
		struct policy_file *f = parse(path, "[cgroup /a]\nWeight=9\n");

		g_assert_cmpint(policy_set_with(s, path, f, &other, &message), ==, 0);
		policy_file_unref(f);
		must_hold(other, "/a", 1u << POLICY_WEIGHT, NULL, "9", "/a");
		must_hold(other, "/a", 1u << POLICY_MIGRATE, NULL, "on", "/a");
		policy_set_unref(other);
		g_assert_cmpint(policy_set_with(s, path, NULL, &other, &message), ==, 0);
		must_hold(other, "/a", 1u << POLICY_WEIGHT, NULL, "3", "/a");
		policy_set_unref(other);
		must_hold(s, "/a", 1u << POLICY_WEIGHT, NULL, "2", "/a");
	}
	policy_set_unref(s);

	/* One bad line, and none of it counts. */
	tree_write(&t, "run/70.conf", "[cgroup /a]\nWeight=1\nWeigth=2\n");
	g_ptr_array_set_size(files, 0);
	g_assert_cmpint(policy_files_read(dirs, files, &message), ==, -EINVAL);
	g_assert_nonnull(strstr(message, "/run/70.conf:3: Weigth=2: unknown key"));
	tree_done(&t);
}

static void test_patterns_max(void)
{
	g_autoptr(GString) text = g_string_new(NULL);
	g_autofree char *message = NULL;
	g_autoptr(GPtrArray)
		files = g_ptr_array_new_with_free_func((GDestroyNotify)policy_file_unref);
	struct policy_set *s = NULL;

	for (unsigned int i = 0; i <= POLICY_PATTERNS_MAX; i++)
		g_string_append_printf(text, "[cgroup /%u/*]\nWeight=1\n", i);
	g_ptr_array_add(files, parse("f", text->str));
	g_assert_cmpint(policy_set_new(files, &s, &message), ==, -E2BIG);
	g_assert_nonnull(strstr(message, "f: [cgroup /256/*]: there are 256 sections"));
}

static GHashTable *tiers(void)
{
	GHashTable *t = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
	uint64_t hbm = 64 * MIB, dram = 1024 * MIB;

	g_hash_table_insert(t, (gpointer) "hbm0", g_memdup2(&hbm, sizeof(hbm)));
	g_hash_table_insert(t, (gpointer) "dram0", g_memdup2(&dram, sizeof(dram)));
	return t;
}

/* says: what the warnings say, one each; NULL: there is none. */
static void must_warn(const char *text, const char *const *says)
{
	struct policy_set *s = set_of(text);
	g_autoptr(GHashTable) capacity = tiers();
	g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);

	policy_check_all(s, capacity, warnings);
	for (unsigned int i = 0; i < warnings->len; i++)
		if (!says[i] || !strstr(warnings->pdata[i], says[i]))
			g_error("'%s' is not '%s'", (char *)warnings->pdata[i], says[i]);
	g_assert_null(says[warnings->len]);
	policy_set_unref(s);
}

static void test_warnings(void)
{
	must_warn("[cgroup /a]\nPrefer=hbm0 dram0\nAllow=hbm0 dram0\nLow.hbm0=64M\nHigh.hbm0=64M\n"
		  "Max.hbm0=64M\n",
		  (const char *const[]){ NULL });
	must_warn("[cgroup /a]\nPrefer=cxl0 hbm0\nMax.cxl9=1M\n",
		  (const char *const[]){
			  "cgroup /a: Prefer=cxl0 hbm0 (/p/10-a.conf:2): there is no tier cxl0 now",
			  "cgroup /a: Max.cxl9=1M (/p/10-a.conf:3): there is no tier cxl9", NULL });
	must_warn(
		"[cgroup /]\nAllow=dram0\n[cgroup /a/*]\nSpread=hbm0:1 dram0:1\n",
		(const char *const[]){
			"cgroup /a/*: Spread=hbm0:1 dram0:1 (/p/10-a.conf:4): tier hbm0 is not in "
			"Allow=dram0",
			NULL });
	must_warn("[cgroup /a]\nMax.hbm0=1M\n[cgroup /a/b]\nLow.hbm0=2M\n",
		  (const char *const[]){
			  "cgroup /a/b: Low.hbm0=2M (/p/10-a.conf:4): is over "
			  "Max.hbm0=1M (/p/10-a.conf:2)",
			  "cgroup /a: Max.hbm0=1M (/p/10-a.conf:2): the cgroups below", NULL });
}

/* What is asked for together is over what there is; those below one that has its own Low are within it. */
static void test_low_together(void)
{
	must_warn("[cgroup /a]\nLow.hbm0=32M\n[cgroup /a/x]\nLow.hbm0=30M\n[cgroup /a/y]\n"
		  "Low.hbm0=30M\n[cgroup /b/c]\nLow.hbm0=32M\n",
		  (const char *const[]){ NULL });
	must_warn("[cgroup /a]\nLow.hbm0=32M\n[cgroup /a/x]\nLow.hbm0=30M\n[cgroup /a-b]\n"
		  "Low.hbm0=1M\n[cgroup /b/c]\nLow.hbm0=32M\n",
		  (const char *const[]){ "tier hbm0: Low.hbm0 of all cgroups is 68157440 bytes "
					 "together, and the tier has 67108864",
					 NULL });
	must_warn("[cgroup /a]\nLow.hbm0=18446744073709551614\n[cgroup /b]\nLow.hbm0=2\n",
		  (const char *const[]){ "Low.hbm0 of all cgroups is 18446744073709551615", NULL });
	must_warn("[cgroup /a]\nMax.hbm0=10M\n[cgroup /a/x]\nLow.hbm0=6M\n[cgroup /a/y]\n"
		  "Low.hbm0=6M\n",
		  (const char *const[]){
			  "cgroup /a: Max.hbm0=10M (/p/10-a.conf:2): the cgroups below it have "
			  "Low.hbm0 of 12582912 bytes together",
			  NULL });
}

/* --- Drop-ins --------------------------------------------------------------------------------- */

static void test_names(void)
{
	g_autofree char *root = policy_dropin_name("50-", "/"),
			*unit = policy_dropin_name("50-", "/a.slice/b-c@1.service"),
			*dot = policy_dropin_name("50-", "/.a");
	g_autoptr(GString) longer = g_string_new("/");
	g_autofree char *one = NULL, *two = NULL;

	g_assert_cmpstr(root, ==, "50--.conf");
	g_assert_cmpstr(unit, ==, "50-a.slice-b\\x2dc\\x401.service.conf");
	g_assert_cmpstr(dot, ==, "50-\\x2ea.conf");
	for (unsigned int i = 0; i < 4000; i++)
		g_string_append_c(longer, 'x');
	one = policy_dropin_name("50-morselctl-", longer->str);
	g_string_append_c(longer, 'y');
	two = policy_dropin_name("50-morselctl-", longer->str);
	g_assert_cmpuint(strlen(one), <, 255 - strlen("..new"));
	g_assert_cmpstr(one, !=, two);
}

static void add(GPtrArray *keys, GPtrArray *values, const char *key, const char *value)
{
	g_ptr_array_add(keys, (gpointer)key);
	g_ptr_array_add(values, (gpointer)value);
}

static void test_edit(void)
{
	struct tree t = tree_new();
	g_autofree char *dir = g_build_filename(t.path, "policy.d", NULL), *message = NULL,
			*path = g_build_filename(dir, "50-x.conf", NULL), *text = NULL;
	g_autoptr(GPtrArray) keys = g_ptr_array_new(), values = g_ptr_array_new(),
			     unset = g_ptr_array_new();
	struct policy_edit e = {
		.dir = dir, .name = "50-x.conf", .cgroup = "/a", .keys = keys, .values = values
	};
	struct policy_file *f = NULL;
	struct stat st;

	add(keys, values, "Max.hbm0", "64M");
	add(keys, values, "Prefer", "");
	g_assert_cmpint(policy_dropin_edit(&e, &f, &message), ==, 0);
	g_assert_cmpstr(f->path, ==, path);
	g_assert_cmpstr(f->order, ==, "50-x.conf");
	policy_file_unref(f);
	g_assert_cmpint(stat(path, &st), ==, 0);
	g_assert_cmpuint(st.st_mode & 07777, ==, 0644);
	/* What was there stays, but for what is said anew. */
	g_ptr_array_set_size(keys, 0);
	g_ptr_array_set_size(values, 0);
	add(keys, values, "Weight", "5");
	add(keys, values, "Prefer", "dram0");
	g_assert_cmpint(policy_dropin_edit(&e, &f, &message), ==, 0);
	policy_file_unref(f);
	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	g_assert_true(g_str_has_suffix(
		text, "takes it back.\n[cgroup /a]\nMax.hbm0=64M\nWeight=5\nPrefer=dram0\n"));

	/* What cannot be written is not. */
	g_ptr_array_set_size(keys, 0);
	g_ptr_array_set_size(values, 0);
	add(keys, values, "Weight", "0");
	g_assert_cmpint(policy_dropin_edit(&e, &f, &message), ==, -EINVAL);
	g_clear_pointer(&message, g_free);
	values->pdata[0] = (gpointer) "7";
	for (unsigned int i = 0; i < 3; i++) {
		static const char *const paths[] = { "/a]b", "/a\n[cgroup /b", "/a " };
		struct policy_edit other = e;

		other.name = "50-y.conf";
		other.cgroup = paths[i];
		g_assert_cmpint(policy_dropin_edit(&other, &f, &message), ==, -EINVAL);
		g_clear_pointer(&message, g_free);
	}
	g_assert_false(g_file_test(dir, G_FILE_TEST_IS_SYMLINK));
	/* The last one takes the file along. */
	e.keys = e.values = NULL;
	e.unset = unset;
	g_ptr_array_add(unset, (gpointer) "Weight");
	g_ptr_array_add(unset, (gpointer) "NoSuchKey");
	g_assert_cmpint(policy_dropin_edit(&e, &f, &message), ==, 0);
	g_assert_nonnull(f);
	policy_file_unref(f);
	e.all = true;
	g_assert_cmpint(policy_dropin_edit(&e, &f, &message), ==, 0);
	g_assert_null(f);
	g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
	g_assert_cmpint(policy_dropin_edit(&e, &f, &message), ==, 0);
	/* Somebody has made it his own. */
	tree_write(&t, "policy.d/50-x.conf", "[cgroup /a]\nWeight=1\n[cgroup /b]\nWeight=2\n");
	g_assert_cmpint(policy_dropin_edit(&e, &f, &message), ==, -EINVAL);
	g_assert_nonnull(strstr(message, "[cgroup /b]: it is not morselctl's any more"));
	g_clear_pointer(&message, g_free);
	/* No room for it. */
	e.dir = "/proc/self/fdinfo";
	e.all = false;
	e.unset = NULL;
	e.keys = keys;
	e.values = values;
	g_assert_cmpint(policy_dropin_edit(&e, &f, &message), <, 0);
	g_assert_nonnull(strstr(message, "/proc/self/fdinfo/50-x.conf cannot be written"));
	tree_done(&t);
}

/* Ten thousand cgroups: each line is looked at once, each cgroup found without a look at the others. */
static void test_many(void)
{
	struct tree t = tree_new();
	g_autoptr(GString) text = g_string_new(NULL);
	g_autofree char *dir = g_build_filename(t.path, "d", NULL), *message = NULL;
	const char *const dirs[] = { dir, NULL };
	g_autoptr(GPtrArray)
		files = g_ptr_array_new_with_free_func((GDestroyNotify)policy_file_unref);
	g_autoptr(GHashTable) capacity = tiers();
	g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
	const GPtrArray *paths;
	struct policy_set *s;
	uint64_t sum = 0;

	for (unsigned int i = 0; i < 10000; i++)
		g_string_append_printf(text,
				       "[cgroup /s%u/u%u]\nMax.hbm0=%u\nLow.hbm0=1000\nWeight=5\n",
				       i % 100, i, i + 1000);
	tree_write(&t, "d/10.conf", text->str);
	g_assert_cmpint(policy_files_read(dirs, files, &message), ==, 0);
	s = make_set(files);
	paths = policy_set_paths(s);
	g_assert_cmpuint(paths->len, ==, 10000);
	for (unsigned int i = 0; i < paths->len; i++) {
		struct policy_budget b;

		policy_budget(s, paths->pdata[i], "hbm0", &b);
		sum += b.max;
		if (i > 0)
			g_assert_cmpstr(paths->pdata[i - 1], <, paths->pdata[i]);
	}
	g_assert_cmpuint(sum, ==, UINT64_C(10000) * 9999 / 2 + UINT64_C(10000) * 1000);
	policy_check_all(s, capacity, warnings);
	g_assert_cmpuint(warnings->len, ==, 0);
	/* A thousandth more and it is told. */
	g_ptr_array_add(files, parse("/z", "[cgroup /z]\nLow.hbm0=58M\n"));
	policy_set_unref(s);
	s = make_set(files);
	policy_check_all(s, capacity, warnings);
	g_assert_cmpuint(warnings->len, ==, 1);
	policy_set_unref(s);
	tree_done(&t);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/policy/keys", test_keys);
	g_test_add_func("/policy/errors", test_errors);
	g_test_add_func("/policy/inheritance", test_inheritance);
	g_test_add_func("/policy/limits", test_limits);
	g_test_add_func("/policy/order", test_order);
	g_test_add_func("/policy/patterns-max", test_patterns_max);
	g_test_add_func("/policy/warnings", test_warnings);
	g_test_add_func("/policy/low-together", test_low_together);
	g_test_add_func("/policy/names", test_names);
	g_test_add_func("/policy/edit", test_edit);
	g_test_add_func("/policy/many", test_many);
	return g_test_run();
}
