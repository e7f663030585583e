// SPDX-License-Identifier: GPL-2.0-or-later
/* What is created is what is shown, listed, explained and counted. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define MIB (UINT64_C(1) << 20)

static struct harness *h;
static const char *architecture_path;

static void must_be(GHashTable *dict, const char *key, const char *value)
{
	const char *is = g_hash_table_lookup(dict, key);

	if (g_strcmp0(is, value) != 0)
		g_error("%s is '%s', not '%s'", key, is ? is : "(not there)", value);
}

static uint64_t number(GHashTable *dict, const char *key)
{
	const char *value = g_hash_table_lookup(dict, key);

	if (!value)
		g_error("no %s", key);
	return g_ascii_strtoull(value, NULL, 10);
}

static GHashTable *show(sd_bus *bus, const char *name)
{
	automessage *reply = must_call(bus, "Show", "s", name);

	return read_dict(reply);
}

static void test_create(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		automessage *reply = must_call(bus, "Create", "sta{sv}", "größe", 2 * MIB, 4,
					       "prefer", "as", 1, "dram0", "mode", "u", 0640,
					       "initiators", "ai", 1, 0, "allow", "as", 1, "dram0");
		g_autoptr(GHashTable) info = NULL, shown = NULL, again = NULL;
		g_autofree char *uid = g_strdup_printf("%u", getuid());
		g_autofree char *by_owner = g_strdup_printf("%u:größe", getuid());
		const char *id;
		char *p;
		int fd;

		g_assert_cmpint(sd_bus_message_read(reply, "sh", &id, &fd), >, 0);
		g_assert_cmpuint(strlen(id), ==, 32);
		g_assert_cmpuint(strspn(id, "0123456789abcdef"), ==, 32);
		info = read_dict(reply);
		must_be(info, "id", id);
		must_be(info, "name", "größe");
		must_be(info, "owner", uid);
		must_be(info, "mode", "416");
		must_be(info, "size_bytes", "2097152");
		must_be(info, "allocated_bytes", "0");
		must_be(info, "page_size_bytes", "4096");
		must_be(info, "page_backing", "4k");
		must_be(info, "storage", "node");
		must_be(info, "scope", "host");
		must_be(info, "durability", "volatile");
		must_be(info, "prefer", "dram0");
		must_be(info, "allow", "dram0");
		must_be(info, "spread", "");
		must_be(info, "initiators", "0");
		g_assert_nonnull(g_hash_table_lookup(info, "account"));
		g_assert_cmpuint(number(info, "created_usec"), >, UINT64_C(1600000000000000));

		/* The descriptor is the memory. */
		p = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		g_assert_true(p != MAP_FAILED);
		memset(p, 7, MIB);
		shown = show(bus, id);
		must_be(shown, "allocated_bytes", "1048576");
		again = show(bus, by_owner);
		must_be(again, "id", id);

		/* And stays it when the name has gone. */
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "größe"));
		must_fail(bus, "NoSuchMorsel", "größe", "Show", "s", "größe");
		must_fail(bus, "NoSuchMorsel", id, "Show", "s", id);
		for (uint64_t i = 0; i < MIB; i += 4096)
			g_assert_cmpint(p[i], ==, 7);
		g_assert_cmpint(munmap(p, 2 * MIB), ==, 0);
		g_free(must_create(bus, "größe", 4096));
	}
	harness_free(h);
}

static unsigned int list(sd_bus *bus, uint32_t limit, const char *key, const char *type,
			 const void *value, GHashTable *seen)
{
	g_autofree char *cursor = g_strdup("");
	unsigned int pages = 0;

	do {
		automessage *m = manager_message(bus, "List");
		automessage *reply = NULL;
		const char *next;
		unsigned int n = 0;

		g_assert_cmpint(sd_bus_message_append(m, "su", cursor, limit), >=, 0);
		if (!key)
			g_assert_cmpint(sd_bus_message_append(m, "a{sv}", 0), >=, 0);
		else if (type[0] == 'u')
			g_assert_cmpint(sd_bus_message_append(m, "a{sv}", 1, key, "u",
							      *(const uint32_t *)value),
					>=, 0);
		else
			g_assert_cmpint(sd_bus_message_append(m, "a{sv}", 1, key, "s", value), >=,
					0);
		g_assert_cmpint(sd_bus_call(bus, m, 0, NULL, &reply), >=, 0);
		g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
		while (sd_bus_message_at_end(reply, false) == 0) {
			g_autoptr(GHashTable) info = read_dict(reply);

			/* None is given twice. */
			g_assert_true(g_hash_table_add(
				seen, g_strdup(g_hash_table_lookup(info, "name"))));
			n++;
		}
		g_assert_cmpuint(n, <=, limit);
		g_assert_cmpint(sd_bus_message_exit_container(reply), >=, 0);
		g_assert_cmpint(sd_bus_message_read(reply, "s", &next), >, 0);
		g_free(cursor);
		cursor = g_strdup(next);
		pages++;
	} while (cursor[0]);
	return pages;
}

static GHashTable *names(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static void test_list(void)
{
	enum {
		N = 700
	};

	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		g_autoptr(GHashTable) seen = names();
		uint32_t uid = getuid(), other = uid + 1;

		g_assert_cmpuint(list(bus, 10, NULL, NULL, NULL, seen), ==, 1);
		g_assert_cmpuint(g_hash_table_size(seen), ==, 0);
		for (unsigned int i = 0; i < N; i++) {
			g_autofree char *name =
				g_strdup_printf("%s%u", i % 7 ? "m" : "seventh-", i);

			g_free(must_create(bus, name, 4096));
		}
		for (uint32_t limit = 1; limit <= 1000; limit = limit * 3 + 4) {
			g_hash_table_remove_all(seen);
			g_assert_cmpuint(list(bus, limit, NULL, NULL, NULL, seen), ==,
					 (N + limit - 1) / limit);
			g_assert_cmpuint(g_hash_table_size(seen), ==, N);
		}
		g_hash_table_remove_all(seen);
		list(bus, 33, "name", "s", "seventh-*", seen);
		g_assert_cmpuint(g_hash_table_size(seen), ==, N / 7);
		g_hash_table_remove_all(seen);
		list(bus, 33, "owner", "u", &uid, seen);
		g_assert_cmpuint(g_hash_table_size(seen), ==, N);
		g_hash_table_remove_all(seen);
		list(bus, 33, "owner", "u", &other, seen);
		g_assert_cmpuint(g_hash_table_size(seen), ==, 0);
		list(bus, 33, "storage", "s", "node", seen);
		g_assert_cmpuint(g_hash_table_size(seen), ==, N);
		g_hash_table_remove_all(seen);
		list(bus, 33, "storage", "s", "pool", seen);
		list(bus, 33, "tier", "s", "dram0", seen);
		g_assert_cmpuint(g_hash_table_size(seen), ==, 0);
		sd_bus_message_unref(must_call(bus, "Create", "sta{sv}", "placed", (uint64_t)4096,
					       1, "prefer", "as", 1, "dram0"));
		list(bus, 33, "tier", "s", "dram0", seen);
		g_assert_cmpuint(g_hash_table_size(seen), ==, 1);
		g_assert_true(g_hash_table_contains(seen, "placed"));
	}
	harness_free(h);
}

/* The place that a page of the list ended at may go, and others come. */
static void test_list_changes(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		automessage *first = NULL, *second = NULL;
		g_autoptr(GHashTable) info = NULL;
		const char *next;

		for (unsigned int i = 0; i < 6; i++) {
			char name[] = { 'a' + i, '\0' };

			g_free(must_create(bus, name, 4096));
		}
		first = must_call(bus, "List", "sua{sv}", "", 3, 0);
		g_assert_cmpint(sd_bus_message_skip(first, "aa{sv}"), >=, 0);
		g_assert_cmpint(sd_bus_message_read(first, "s", &next), >, 0);
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "c"));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "d"));
		g_free(must_create(bus, "c", 4096));
		second = must_call(bus, "List", "sua{sv}", next, 3, 0);
		g_assert_cmpint(sd_bus_message_enter_container(second, 'a', "a{sv}"), >, 0);
		info = read_dict(second);
		must_be(info, "name", "e");
	}
	harness_free(h);
}

static GPtrArray *explain(sd_bus *bus, const char *name)
{
	automessage *reply = must_call(bus, "Explain", "sa{sv}", name, 1, "exact", "b", true);
	GPtrArray *ranges = g_ptr_array_new_with_free_func((GDestroyNotify)g_hash_table_unref);

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
	while (sd_bus_message_at_end(reply, false) == 0)
		g_ptr_array_add(ranges, read_dict(reply));
	return ranges;
}

static void must_contain(GHashTable *dict, const char *key, const char *part)
{
	const char *is = g_hash_table_lookup(dict, key);

	if (!is || !strstr(is, part))
		g_error("%s is '%s', without '%s'", key, is ? is : "(not there)", part);
}

static void test_explain(void)
{
	h = harness_new(&(struct harness_options){ .config = "[default]\nPrefer=dram0\n" });
	{
		autobus *bus = harness_connect(h);
		automessage *reply = NULL, *residency = NULL, *moved = NULL;
		g_autoptr(GPtrArray) ranges = NULL, later = NULL;
		g_autoptr(GHashTable) where = NULL;
		const char *job;
		uint64_t covered = 0;
		char *p;
		int fd;

		/* Touched in the middle only. */
		reply = must_call(bus, "Create", "sta{sv}", "x", 8 * MIB, 0);
		g_assert_cmpint(sd_bus_message_skip(reply, "s"), >=, 0);
		g_assert_cmpint(sd_bus_message_read(reply, "h", &fd), >, 0);
		p = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		g_assert_true(p != MAP_FAILED);
		memset(p + 4 * MIB, 1, 2 * MIB);

		residency = must_call(bus, "Residency", "sa{sv}", "x", 1, "exact", "b", true);
		where = read_dict(residency);
		must_be(where, "tiers", "dram0=2097152");
		must_be(where, "nodes", "0=2097152");
		must_be(where, "absent_bytes", "6291456");
		must_be(where, "swapped_bytes", "0");
		must_be(where, "sampled", "false");
		must_be(where, "offset_bytes", "0");
		must_be(where, "length_bytes", "8388608");

		ranges = explain(bus, "x");
		g_assert_cmpuint(ranges->len, ==, 3);
		for (unsigned int i = 0; i < ranges->len; i++) {
			g_assert_cmpuint(number(ranges->pdata[i], "offset_bytes"), ==, covered);
			covered += number(ranges->pdata[i], "length_bytes");
			must_contain(ranges->pdata[i], "rule", "default policy of ");
			must_contain(ranges->pdata[i], "rule", "prefer=dram0");
			must_contain(ranges->pdata[i], "reason", "at creation");
			g_assert_cmpuint(number(ranges->pdata[i], "since_usec"), >, 0);
		}
		g_assert_cmpuint(covered, ==, 8 * MIB);
		must_be(ranges->pdata[0], "tier", "");
		must_be(ranges->pdata[1], "tier", "dram0");
		must_be(ranges->pdata[1], "offset_bytes", "4194304");
		must_be(ranges->pdata[1], "present_bytes", "2097152");
		must_be(ranges->pdata[1], "nodes", "0=2097152");
		must_be(ranges->pdata[2], "tier", "");

		/* A move of a part says who, which job, and only of that part. */
		moved = must_call(bus, "Move", "ssa{sv}", "x", "dram0", 2, "offset", "t", 4 * MIB,
				  "length", "t", MIB);
		g_assert_cmpint(sd_bus_message_read(moved, "o", &job), >, 0);
		{
			automessage *wait = NULL, *ended = NULL;

			g_assert_cmpint(sd_bus_message_new_method_call(bus, &wait, NULL, job, JOB,
								       "Wait"),
					>=, 0);
			g_assert_cmpint(sd_bus_call(bus, wait, 0, NULL, &ended), >=, 0);
		}
		later = explain(bus, "x");
		g_assert_cmpuint(later->len, ==, 4);
		must_be(later->pdata[1], "rule", "move");
		must_contain(later->pdata[1], "reason", "moved to dram0 by ");
		must_contain(later->pdata[1], "reason", "(job 1)");
		must_be(later->pdata[1], "length_bytes", "1048576");
		must_contain(later->pdata[2], "rule", "default policy");
		g_assert_cmpint(munmap(p, 8 * MIB), ==, 0);
	}
	harness_free(h);
}

/* A default page size of 2 MiB is for those that it fits; what is the default's is said so. */
static void test_default_page_size(void)
{
	h = harness_new(
		&(struct harness_options){ .config = "[default]\nPageSize=2M\nPrefer=dram0\n" });
	{
		autobus *bus = harness_connect(h);
		g_autoptr(GHashTable) info = NULL;
		g_autoptr(GPtrArray) ranges = NULL;

		g_free(must_create(bus, "small", 3 * 4096));
		info = show(bus, "small");
		must_be(info, "page_size_bytes", "4096");
		must_be(info, "prefer", "dram0");
		ranges = explain(bus, "small");
		g_assert_cmpuint(ranges->len, ==, 1);
		must_contain(ranges->pdata[0], "rule", "default policy of ");
		must_contain(ranges->pdata[0], "rule", " prefer=dram0");
		must_fail(bus, "InvalidArgument", "2097152|'x'", "Create", "sta{sv}", "x",
			  (uint64_t)4096, 1, "page_size", "t", (uint64_t)2097152);
	}
	harness_free(h);
}

static void test_stats(void)
{
	h = harness_new(&(struct harness_options){ .config = "[default]\nPrefer=dram0\n" });
	{
		autobus *bus = harness_connect(h);
		automessage *reply = NULL;
		g_autoptr(GHashTable) stats = NULL;

		sd_bus_message_unref(must_call(bus, "Create", "sta{sv}", "a", 3 * MIB, 1,
					       "populate", "b", true));
		g_free(must_create(bus, "b", 5 * MIB));
		g_free(must_create(bus, "c", 4096));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "c"));
		sd_bus_message_unref(must_call(bus, "Open", "ss", "a", "ro"));
		reply = must_call(bus, "Stats", "");
		stats = read_dict(reply);
		must_be(stats, "morsels", "2");
		must_be(stats, "morsel_bytes", "8388608");
		must_be(stats, "clients", "1");
		must_be(stats, "created", "3");
		must_be(stats, "destroyed", "1");
		must_be(stats, "opened", "1");
		must_be(stats, "jobs_running", "0");
		must_be(stats, "placed_bytes", "dram0=3145728");
		must_be(stats, "move_failed_reasons", "");
		g_assert_cmpuint(number(stats, "placed_usec"), >, 0);
	}
	harness_free(h);
}

static void test_placement(void)
{
	h = harness_new(&(struct harness_options){ 0 });
	{
		autobus *bus = harness_connect(h);
		automessage *reply = must_call(bus, "Placement", "a{sv}", 0);
		g_autoptr(GHashTable) placement = read_dict(reply);

		/* The node storage cannot tell what is accessed. */
		must_be(placement, "active", "false");
		must_be(placement, "rounds", "0");
		must_be(placement, "moves", "0");
		must_be(placement, "problems", "");
		must_fail(bus, "InvalidArgument", "limit 0|1..1000", "Placement", "a{sv}", 1,
			  "limit", "u", 0);
		must_fail(bus, "InvalidArgument", "limit 1001", "Placement", "a{sv}", 1, "limit",
			  "u", 1001);
		must_fail(bus, "InvalidArgument", "limit", "Placement", "a{sv}", 1, "limit", "s",
			  "x");
		must_fail(bus, "InvalidArgument", "colour|limit|cgroup", "Placement", "a{sv}", 1,
			  "colour", "u", 1);
		must_fail(bus, "InvalidArgument", "a/../b|cgroup", "Placement", "a{sv}", 1,
			  "cgroup", "s", "/a/../b");
	}
	harness_free(h);
}

/* The table between the marks of docs/architecture.md, as "verb|module|node|pool" lines. */
static char *table_of_document(void)
{
	g_autofree char *text = NULL;
	GString *table = g_string_new(NULL);
	g_auto(GStrv) parts = NULL, lines = NULL;

	g_assert_true(g_file_get_contents(architecture_path, &text, NULL, NULL));
	parts = g_strsplit(text, "<!-- verbs -->", -1);
	g_assert_cmpuint(g_strv_length(parts), ==, 3);
	lines = g_strsplit(g_strstrip(parts[1]), "\n", -1);
	for (unsigned int i = 2; lines[i]; i++) { /* behind the head and its line */
		g_auto(GStrv) cells = g_strsplit(lines[i], "|", -1);

		g_assert_cmpuint(g_strv_length(cells), ==, 6);
		g_string_append_printf(table, "%s|%s|%s|%s\n", g_strstrip(cells[1]),
				       g_strstrip(cells[2]), g_strstrip(cells[3]),
				       g_strstrip(cells[4]));
	}
	return g_string_free(table, FALSE);
}

static void test_doctor(void)
{
	static const char *const wanted[] = {
		"kernel",   "numa",	    "hmat",	   "cxl",	 "damon",
		"ordinary", "bpf",	    "cgroup-v2",   "module",	 "polkit",
		"nvdimm",   "memory-tiers", "hugetlb",	   "shmem-thp",	 "cap-sys-nice",
		"bus",	    "descriptors",  "numa-policy", "move-pages", "helper"
	};

	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		automessage *reply = must_call(bus, "Doctor", "");
		g_autoptr(GHashTable) capabilities = g_hash_table_new_full(
			g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_hash_table_unref);
		g_autoptr(GString) table = g_string_new(NULL);
		g_autofree char *document = table_of_document();

		g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
		while (sd_bus_message_at_end(reply, false) == 0) {
			GHashTable *c = read_dict(reply);
			const char *status = g_hash_table_lookup(c, "status");

			g_assert_true(g_strcmp0(status, "ok") == 0 ||
				      g_strcmp0(status, "degraded") == 0 ||
				      g_strcmp0(status, "missing") == 0);
			g_assert_cmpstr(g_hash_table_lookup(c, "detail"), !=, "");
			/* What is not there has something in its place, and that is said. */
			if (g_strcmp0(status, "ok") != 0)
				g_assert_cmpstr(g_hash_table_lookup(c, "instead"), !=, "");
			g_assert_nonnull(g_hash_table_lookup(c, "advice"));
			g_hash_table_insert(capabilities, g_strdup(g_hash_table_lookup(c, "name")),
					    c);
		}
		for (unsigned int i = 0; i < G_N_ELEMENTS(wanted); i++)
			if (!g_hash_table_contains(capabilities, wanted[i]))
				g_error("no capability %s", wanted[i]);
		must_be(g_hash_table_lookup(capabilities, "bus"), "status", "missing");
		must_be(g_hash_table_lookup(capabilities, "module"), "status",
			access("/dev/morsel", F_OK) == 0 ? "degraded" : "missing");
		must_be(g_hash_table_lookup(capabilities, "damon"), "status",
			access("/sys/kernel/mm/damon/admin/kdamonds", F_OK) == 0 ? "ok"
										 : "missing");
		must_be(g_hash_table_lookup(capabilities, "cgroup-v2"), "status",
			access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ? "ok" : "missing");
		g_assert_cmpint(sd_bus_message_exit_container(reply), >=, 0);

		g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
		while (sd_bus_message_at_end(reply, false) == 0) {
			g_autoptr(GHashTable) v = read_dict(reply);

			g_string_append_printf(table, "%s|%s|%s|%s\n",
					       (char *)g_hash_table_lookup(v, "verb"),
					       (char *)g_hash_table_lookup(v, "module"),
					       (char *)g_hash_table_lookup(v, "node"),
					       (char *)g_hash_table_lookup(v, "pool"));
			g_assert_cmpstr(g_hash_table_lookup(v, "here"), !=, "");
		}
		g_assert_cmpstr(table->str, ==, document);
	}
	harness_free(h);
}

/* Whoever wants the module or nothing is not given something else, and told why. */
static void test_module_or_nothing(void)
{
	struct harness_options options = { .config = "[daemon]\nStorage=module\n" };

	if (access("/dev/morsel", F_OK) == 0) {
		g_test_skip("there is a /dev/morsel");
		return;
	}
	h = harness_new(&options);
	{
		autobus *bus = harness_connect(h);

		must_fail(bus, "NotSupported", "'x'|Storage=module|/dev/morsel", "Create",
			  "sta{sv}", "x", (uint64_t)4096, 0);
	}
	harness_free(h);
}

static void test_dump(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		automessage *reply = NULL;
		g_autofree char *id = must_create(bus, "in-the-dump", 4096);
		char text[16384] = "";
		ssize_t n;
		int fd;

		reply = must_call(bus, "Dump", "");
		g_assert_cmpint(sd_bus_message_read(reply, "h", &fd), >, 0);
		n = read(fd, text, sizeof(text) - 1);
		g_assert_cmpint(n, >, 0);
		g_assert_nonnull(strstr(text, id));
		g_assert_nonnull(strstr(text, ":in-the-dump 0600, 4096 bytes"));
		g_assert_nonnull(strstr(text, "dram0: dram by "));
		g_assert_nonnull(strstr(text, h->config_path));
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	architecture_path = argv[1];
	g_assert_nonnull(architecture_path);
	g_test_add_func("/morsels/create", test_create);
	g_test_add_func("/morsels/list", test_list);
	g_test_add_func("/morsels/list-changes", test_list_changes);
	g_test_add_func("/morsels/explain", test_explain);
	g_test_add_func("/morsels/default-page-size", test_default_page_size);
	g_test_add_func("/morsels/stats", test_stats);
	g_test_add_func("/morsels/placement", test_placement);
	g_test_add_func("/morsels/doctor", test_doctor);
	g_test_add_func("/morsels/module-or-nothing", test_module_or_nothing);
	g_test_add_func("/morsels/dump", test_dump);
	return g_test_run();
}
