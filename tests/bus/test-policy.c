// SPDX-License-Identifier: GPL-2.0-or-later
/* Policies of cgroups: in files and set over the bus; who may; what is said of what cannot be. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "fake-polkit.h"

#define MIB (UINT64_C(1) << 20)
#define NOBODY 65534 /* dbus-daemon wants users that it can look up */

static struct harness *h;

static char *in_dir(const char *name)
{
	return g_build_filename(h->dir, name, NULL);
}

static void write_file(const char *name, const char *text)
{
	g_autofree char *path = in_dir(name), *dir = g_path_get_dirname(path);

	g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
	g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static char *read_file(const char *name)
{
	g_autofree char *path = in_dir(name);
	char *text = NULL;

	(void)g_file_get_contents(path, &text, NULL, NULL);
	return text;
}

/* Warnings of a call that must succeed, one a line. */
static char *must_set(sd_bus *bus, const char *cgroup, const char *key, const char *value,
		      bool runtime)
{
	automessage *reply = must_call(bus, "SetPolicy", "sa{sv}a{sv}", cgroup, 1, key, "s", value,
				       1, "runtime", "b", (int)runtime);
	g_autoptr(GString) text = g_string_new(NULL);
	const char *s;

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "s"), >, 0);
	while (sd_bus_message_read(reply, "s", &s) > 0)
		g_string_append_printf(text, "%s\n", s);
	return g_string_free(g_steal_pointer(&text), FALSE);
}

/* "VALUE from FROM in ORIGIN", of what holds for a cgroup; "" if nothing does. */
static char *holds(sd_bus *bus, const char *cgroup, const char *key)
{
	automessage *reply = must_call(bus, "ShowPolicy", "s", cgroup);
	char *found = NULL;

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "{sv}"), >, 0);
	while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
		const char *name;

		g_assert_cmpint(sd_bus_message_read(reply, "s", &name), >, 0);
		if (strcmp(name, "effective") != 0) {
			g_assert_cmpint(sd_bus_message_skip(reply, "v"), >, 0);
		} else {
			g_assert_cmpint(sd_bus_message_enter_container(reply, 'v', "aa{sv}"), >, 0);
			g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
			while (sd_bus_message_at_end(reply, false) == 0) {
				g_autoptr(GHashTable) s = read_dict(reply);

				if (strcmp(g_hash_table_lookup(s, "key"), key) == 0)
					found = g_strdup_printf(
						"%s from %s in %s",
						(char *)g_hash_table_lookup(s, "value"),
						(char *)g_hash_table_lookup(s, "from"),
						(char *)g_hash_table_lookup(s, "origin"));
			}
			g_assert_cmpint(sd_bus_message_exit_container(reply), >=, 0);
			g_assert_cmpint(sd_bus_message_exit_container(reply), >=, 0);
		}
		g_assert_cmpint(sd_bus_message_exit_container(reply), >=, 0);
	}
	return found ? found : g_strdup("");
}

static void must_hold(sd_bus *bus, const char *cgroup, const char *key, const char *pattern)
{
	g_autofree char *got = holds(bus, cgroup, key);

	if (!g_pattern_match_simple(pattern, got))
		g_error("%s of %s: '%s', not '%s'", key, cgroup, got, pattern);
}

/* Files, at the start and on reload. */
static void test_files(void)
{
	h = harness_new(&(struct harness_options){
		.config = "[default]\nPageSize=2M\n[cgroup /a]\nMax.dram0=64M\nWeight=7\n" });
	{
		autobus *bus = harness_connect(h);

		must_hold(bus, "/a/b", "Max.dram0", "64M from /a in */morseld.conf:4");
		must_hold(bus, "/a/b", "PageSize", "2M from  in */morseld.conf");
		must_hold(bus, "/a/b", "Weight", "100 from  in ");
		write_file(
			"policy.d/10-site.conf",
			"[cgroup /a]\nMax.dram0=32M\n[cgroup /*]\nPageSize=mixed\nAllow=dram0\n");
		write_file("run/policy.d/20.conf", "[cgroup /a/b]\nMigrate=dry-run\n");
		sd_bus_message_unref(must_call(bus, "Reload", ""));
		must_hold(bus, "/a/b", "Max.dram0", "32M from /a in */policy.d/10-site.conf:2");
		must_hold(bus, "/a/b", "PageSize", "mixed from /a in */10-site.conf:4");
		must_hold(bus, "/a/b", "Migrate", "dry-run from /a/b in */run/policy.d/20.conf:2");
		must_hold(bus, "/", "PageSize", "2M from  in *");
		/* On an error all stays. */
		write_file("policy.d/30.conf", "[cgroup /a]\n\nMaxx.dram0=1M\n");
		must_fail(bus, "InvalidArgument", "policy.d/30.conf:3: Maxx.dram0=1M: unknown key",
			  "Reload", "");
		must_hold(bus, "/a", "Max.dram0", "32M from *");
		write_file("policy.d/30.conf", "[cgroup /a]\nMax.nosuch=1M\nLow.dram0=99M\n");
		kill(h->daemon, SIGHUP);
		harness_wait_log(h, "cgroup /a: Max.nosuch=1M (");
		harness_wait_log(h, "is over Max.dram0=32M (");
	}
	harness_free(h);
}

static void test_set(void)
{
	g_autofree char *text = NULL, *more = NULL, *none = NULL;

	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		g_autofree char *advisory = must_set(bus, "/x.slice", "Max.dram0", "64M", false);

		if (!strstr(advisory, "Max is advisory"))
			g_error("'%s' does not say that Max is advisory", advisory);
		text = read_file("policy.d/50-morselctl-x.slice.conf");
		g_assert_true(g_str_has_suffix(text, "\n[cgroup /x.slice]\nMax.dram0=64M\n"));
		must_hold(bus, "/x.slice/y", "Max.dram0", "64M from /x.slice in */50-morselctl-*");

		/* For this boot: goes before, in another file; a lasting one ends it. */
		g_free(must_set(bus, "/x.slice", "Max.dram0", " 32M ", true));
		must_hold(bus, "/x.slice", "Max.dram0",
			  "32M from */run/policy.d/51-morselctl-x.slice.conf:3");
		g_free(must_set(bus, "/x.slice", "Prefer", "dram0", false));
		must_hold(bus, "/x.slice", "Max.dram0", "32M *");
		g_free(must_set(bus, "/x.slice", "Max.dram0", "16M", false));
		must_hold(bus, "/x.slice", "Max.dram0",
			  "16M from /x.slice in */policy.d/50-morselctl-x.slice.conf:4");
		more = read_file("run/policy.d/51-morselctl-x.slice.conf");
		g_assert_null(more);

		/* It is there for the next daemon. */
		harness_kill_daemon(h);
		harness_restart_daemon(h);
	}
	{
		autobus *bus = harness_connect(h);

		must_hold(bus, "/x.slice", "Max.dram0", "16M *");
		sd_bus_message_unref(
			must_call(bus, "UnsetPolicy", "sasa{sv}", "/x.slice", 1, "Prefer", 0));
		must_hold(bus, "/x.slice", "Prefer", " from  in *");
		must_hold(bus, "/x.slice", "Max.dram0", "16M *");
		must_fail(bus, "NoSuchPolicy", "/x.slice has no Prefer", "UnsetPolicy", "sasa{sv}",
			  "/x.slice", 1, "Prefer", 0);
		must_fail(bus, "NoSuchPolicy",
			  "/x.slice/y has no Max.dram0 of its own|[cgroup /x.slice]", "UnsetPolicy",
			  "sasa{sv}", "/x.slice/y", 1, "Max.dram0", 0);
		must_fail(bus, "NoSuchPolicy", "until the next boot", "UnsetPolicy", "sasa{sv}",
			  "/x.slice", 0, 1, "runtime", "b", 1);
		sd_bus_message_unref(must_call(bus, "UnsetPolicy", "sasa{sv}", "/x.slice", 0, 0));
		must_hold(bus, "/x.slice", "Max.dram0", "");
		none = read_file("policy.d/50-morselctl-x.slice.conf");
		g_assert_null(none);
		must_fail(bus, "NoSuchPolicy", "no policy that was set", "UnsetPolicy", "sasa{sv}",
			  "/x.slice", 0, 0);
		write_file("policy.d/10.conf", "[cgroup /x.slice]\nWeight=3\n");
		sd_bus_message_unref(must_call(bus, "Reload", ""));
		must_fail(bus, "NoSuchPolicy", "10.conf:2, which is not morselctl's", "UnsetPolicy",
			  "sasa{sv}", "/x.slice", 1, "Weight", 0);
	}
	harness_free(h);
}

static void refuse(sd_bus *bus, const char *key, const char *value, const char *error,
		   const char *words)
{
	must_fail(bus, error, words, "SetPolicy", "sa{sv}a{sv}", "/a", 1, key, "s", value, 0);
}

static void test_bad_input(void)
{
	static const char *const paths[] = { "",     "a",  "/a/", "/a//b",  "/a\n",
					     "/a]b", "/*", "/..", "/a/./b", NULL };
	g_autofree char *dir = NULL;

	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);

		refuse(bus, "Maxx", "1", "InvalidArgument", "'Maxx'='1': unknown key");
		refuse(bus, "Max.dram0", "lots", "InvalidArgument", "a size such as 64M");
		refuse(bus, "Max.dram0", "", "InvalidArgument", "a value is wanted");
		refuse(bus, "Max.dram0", "1M\nWeight=1", "InvalidArgument", "a size such as");
		refuse(bus, "Max.nosuch", "1M", "NoSuchTier", "'nosuch'|dram0");
		refuse(bus, "Prefer", "dram0 nosuch", "NoSuchTier", "'nosuch'");
		refuse(bus, "Bytes", "1G", "InvalidArgument", "unknown key");
		for (unsigned int i = 0; paths[i]; i++)
			must_fail(bus, "InvalidArgument", "", "SetPolicy", "sa{sv}a{sv}", paths[i],
				  1, "Weight", "s", "1", 0);
		must_fail(bus, "InvalidArgument", "at least one setting", "SetPolicy",
			  "sa{sv}a{sv}", "/a", 0, 0);
		must_fail(bus, "InvalidArgument", "'Weight' has type 't', not 's'", "SetPolicy",
			  "sa{sv}a{sv}", "/a", 1, "Weight", "t", (uint64_t)1, 0);
		must_fail(bus, "InvalidArgument", "'Weight' is given twice", "SetPolicy",
			  "sa{sv}a{sv}", "/a", 2, "Weight", "s", "1", "Weight", "s", "2", 0);
		must_fail(bus, "InvalidArgument", "unknown option 'forever'", "SetPolicy",
			  "sa{sv}a{sv}", "/a", 1, "Weight", "s", "1", 1, "forever", "b", 1);
		must_fail(bus, "InvalidArgument", "unknown key 'Wait'", "UnsetPolicy", "sasa{sv}",
			  "/a", 1, "Wait", 0);
		must_fail(bus, "InvalidArgument", "limit 0 is not", "ListPolicies", "su", "", 0);
		must_fail(bus, "InvalidArgument", "cursor 'x'", "ListPolicies", "su", "x", 1);
		must_fail(bus, "InvalidArgument", "is not the path", "ShowPolicy", "s", "a");
		/* Contradictions, in one call and with what is there. */
		must_fail(bus, "InvalidArgument", "Low.dram0=2M|is over Max.dram0=1M", "SetPolicy",
			  "sa{sv}a{sv}", "/a", 2, "Low.dram0", "s", "2M", "Max.dram0", "s", "1M",
			  0);
		g_free(must_set(bus, "/a", "Max.dram0", "1M", false));
		refuse(bus, "Low.dram0", "2M", "InvalidArgument", "is over Max.dram0=1M");
		refuse(bus, "High.dram0", "2M", "InvalidArgument", "is over Max.dram0=1M");
		must_hold(bus, "/a", "Low.dram0", "");
		/* More than there is together: said. */
		{
			g_autofree char *said = must_set(bus, "/b", "Low.dram0", "1000000G", false);

			g_assert_nonnull(strstr(said, "Low.dram0 of all cgroups is"));
		}
		/* What cannot be written does not hold. */
		dir = in_dir("policy.d");
		{
			g_autofree char *aside = in_dir("aside");

			g_assert_cmpint(rename(dir, aside), ==, 0);
		}
		write_file("policy.d", "");
		refuse(bus, "Weight", "9", "Failed", "50-morselctl-a.conf");
		must_hold(bus, "/a", "Weight", "100 from *");
	}
	harness_free(h);
}

/* A morsel's own wishes, its cgroup's, the default: in this order. */
static void test_creation(void)
{
	h = harness_new(&(struct harness_options){ .config = "[default]\nPrefer=\n" });
	{
		autobus *bus = harness_connect(h);
		automessage *reply = NULL;
		g_autoptr(GHashTable) range = NULL;

		/* Tests run in some cgroup or other, or in one that is not known: all are below "/". */
		g_free(must_set(bus, "/", "Prefer", "dram0", false));
		g_free(must_set(bus, "/", "PageSize", "mixed", false));
		g_free(must_create(bus, "a", 4096));
		reply = must_call(bus, "Explain", "sa{sv}", "a", 0);
		g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
		range = read_dict(reply);
		g_assert_true(g_pattern_match_simple(
			"policy of cgroup / (*/policy.d/50-morselctl--.conf:3) prefer=dram0",
			g_hash_table_lookup(range, "rule")));
		must_fail(bus, "InvalidArgument", "not a multiple of its page size", "Create",
			  "sta{sv}", "b", (uint64_t)4096, 1, "page_size", "t", 2 * MIB);
		/* What is nowhere allowed is not allowed anywhere. */
		write_file("policy.d/60.conf", "[cgroup /]\nAllow=gone0\n");
		sd_bus_message_unref(must_call(bus, "Reload", ""));
		must_fail(bus, "NoSpace", "does not fit on the tiers", "Create", "sta{sv}", "c",
			  (uint64_t)4096, 0);
		sd_bus_message_unref(must_call(bus, "Create", "sta{sv}", "d", (uint64_t)4096, 1,
					       "allow", "as", 1, "dram0"));
		sd_bus_message_unref(must_call(bus, "Create", "sta{sv}", "e", (uint64_t)4096, 1,
					       "prefer", "as", 1, "dram0"));
	}
	harness_free(h);
}

static unsigned int list_all(sd_bus *bus, uint32_t limit, unsigned int *ret_pages)
{
	g_autofree char *cursor = g_strdup("");
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	*ret_pages = 0;
	do {
		automessage *reply = must_call(bus, "ListPolicies", "su", cursor, limit);
		const char *next;

		g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
		while (sd_bus_message_at_end(reply, false) == 0) {
			g_autoptr(GHashTable) p = read_dict(reply);

			g_assert_true(
				g_hash_table_add(seen, g_strdup(g_hash_table_lookup(p, "cgroup"))));
		}
		g_assert_cmpint(sd_bus_message_exit_container(reply), >=, 0);
		g_assert_cmpint(sd_bus_message_read(reply, "s", &next), >, 0);
		g_free(cursor);
		cursor = g_strdup(next);
		(*ret_pages)++;
	} while (cursor[0]);
	return g_hash_table_size(seen);
}

static void test_many(void)
{
	g_autoptr(GString) text = g_string_new("[cgroup /p*]\nWeight=1\n[cgroup /p*]\nWeight=2\n");
	unsigned int pages;

	for (unsigned int i = 0; i < 10000; i++)
		g_string_append_printf(text, "[cgroup /s/%u]\nMax.dram0=%u\n", i, i);
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(list_all(bus, 1, &pages), ==, 0);
		write_file("policy.d/10.conf", text->str);
		sd_bus_message_unref(must_call(bus, "Reload", ""));
		must_hold(bus, "/s/9999", "Max.dram0", "9999 *");
		g_assert_cmpuint(list_all(bus, 1000, &pages), ==, 10001);
		g_assert_cmpuint(pages, ==, 11);
	}
	harness_free(h);
}

static void set_some(sd_bus *bus)
{
	g_free(must_set(bus, "/a", "Weight", "5", false));
	sd_bus_message_unref(must_call(bus, "UnsetPolicy", "sasa{sv}", "/a", 0, 0));
	g_free(must_set(bus, "/a", "Weight", "6", false));
}

static void be_refused(sd_bus *bus)
{
	must_fail(bus, "AccessDenied", "only root may set policies", "SetPolicy", "sa{sv}a{sv}",
		  "/a", 1, "Weight", "s", "1", 0);
	must_fail(bus, "AccessDenied", "only root may set policies", "UnsetPolicy", "sasa{sv}",
		  "/a", 0, 0);
	/* To look is everybody's. */
	must_hold(bus, "/a", "Weight", "6 *");
}

static void test_rights(void)
{
	struct fake_polkit *polkit;

	if (getuid() != 0) {
		g_test_skip("only root can become other users");
		return;
	}
	h = harness_new(&(struct harness_options){ .with_bus = true });
	harness_wait_log(h, "serving org.parperos.Morsel1 on");
	polkit = fake_polkit_new(h);
	fake_polkit_set(polkit, FAKE_POLKIT_YES);
	harness_as_user(h, NOBODY, 0, harness_connect_bus, set_some);
	{
		g_autofree char *last = NULL;

		g_assert_cmpuint(fake_polkit_asked(polkit, &last), ==, 3);
		g_assert_true(g_str_has_prefix(last, "org.parperos.morsel.manage of"));
	}
	fake_polkit_set(polkit, FAKE_POLKIT_NO);
	harness_as_user(h, NOBODY, 0, harness_connect_bus, be_refused);
	harness_as_user(h, NOBODY, 0, harness_connect, be_refused);
	harness_wait_log(h, "policy of cgroup /a: set by nobody: Weight=6");
	fake_polkit_free(polkit);
	harness_free(h);
}

static void test_dry_run(void)
{
	h = harness_new(&(struct harness_options){ .dry_run = true });
	{
		autobus *bus = harness_connect(h);

		refuse(bus, "Weight", "5", "NotSupported", "dry run: would have changed");
		must_hold(bus, "/a", "Weight", "100 *");
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/policy/files", test_files);
	g_test_add_func("/policy/set", test_set);
	g_test_add_func("/policy/bad-input", test_bad_input);
	g_test_add_func("/policy/creation", test_creation);
	g_test_add_func("/policy/many", test_many);
	g_test_add_func("/policy/rights", test_rights);
	g_test_add_func("/policy/dry-run", test_dry_run);
	return g_test_run();
}
