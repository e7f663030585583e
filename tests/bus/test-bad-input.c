// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What clients may get wrong: each a clear error that names the object and the limit, and afterwards
 * everything is as before, descriptors too.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define GIB (UINT64_C(1) << 30)

static const char config[] = "[quota]\nBytesPerUser=1G\nMorselsPerUser=3\n"
			     "[tier nvm9]\nDevice=/dev/dax99.0\nKind=nvm\n";

static struct harness *h;
static sd_bus *bus;
static unsigned int descriptors;

static void begin(void)
{
	h = harness_new(&(struct harness_options){ .config = config });
	bus = harness_connect(h);
	g_free(must_create(bus, "there", 4 * 4096));
	descriptors = harness_descriptors(h);
}

/* Nothing has changed. */
static void end(void)
{
	automessage *list = must_call(bus, "List", "sua{sv}", "", 1000, 0);
	g_autoptr(GHashTable) first = NULL;

	g_assert_cmpint(sd_bus_message_enter_container(list, 'a', "a{sv}"), >, 0);
	first = read_dict(list);
	g_assert_cmpstr(g_hash_table_lookup(first, "name"), ==, "there");
	g_assert_cmpint(sd_bus_message_at_end(list, false), >, 0);
	harness_wait_descriptors(h, descriptors);
	sd_bus_flush_close_unref(bus);
	harness_free(h);
}

static void test_names(void)
{
	g_autofree char *long_name = g_strnfill(256, 'x');
	g_autofree char *huge = g_malloc0(4097);

	for (unsigned int i = 0; i < 4096; i += 2)
		memcpy(huge + i, "é", 2);
	begin();
	must_fail(bus, "InvalidArgument", "name ''|empty", "Create", "sta{sv}", "", (uint64_t)4096,
		  0);
	must_fail(bus, "InvalidArgument", "'a/b'|'/'", "Create", "sta{sv}", "a/b", (uint64_t)4096,
		  0);
	must_fail(bus, "InvalidArgument", "'a:b'|':'", "Create", "sta{sv}", "a:b", (uint64_t)4096,
		  0);
	must_fail(bus, "InvalidArgument", "'a\\x0ab'|control", "Create", "sta{sv}", "a\nb",
		  (uint64_t)4096, 0);
	must_fail(bus, "InvalidArgument", "'..'|reserved", "Create", "sta{sv}", "..",
		  (uint64_t)4096, 0);
	must_fail(bus, "InvalidArgument", "hexadecimal", "Create", "sta{sv}",
		  "0123456789abcdef0123456789ABCDEF", (uint64_t)4096, 0);
	must_fail(bus, "InvalidArgument", "too long|255", "Create", "sta{sv}", long_name,
		  (uint64_t)4096, 0);
	must_fail(bus, "InvalidArgument", "(4096 bytes)|too long|255", "Create", "sta{sv}", huge,
		  (uint64_t)4096, 0);
	must_fail(bus, "Exists", "'there'", "Create", "sta{sv}", "there", (uint64_t)4096, 0);
	must_fail(bus, "NoSuchMorsel", "(4096 bytes)", "Show", "s", huge);
	must_fail(bus, "NoSuchMorsel", "'nobody:there'", "Show", "s", "nobody:there");
	must_fail(bus, "NoSuchMorsel", "'0123456789abcdef0123456789abcdef'", "Destroy", "s",
		  "0123456789abcdef0123456789abcdef");
	end();
}

static void test_sizes(void)
{
	begin();
	must_fail(bus, "InvalidArgument", "'x'|0 bytes", "Create", "sta{sv}", "x", (uint64_t)0, 0);
	must_fail(bus, "InvalidArgument", "4097|'x'|multiple|4096", "Create", "sta{sv}", "x",
		  (uint64_t)4097, 0);
	must_fail(bus, "InvalidArgument", "4096|'x'|2097152", "Create", "sta{sv}", "x",
		  (uint64_t)4096, 1, "page_size", "t", (uint64_t)2097152);
	must_fail(bus, "InvalidArgument", "page_size 8192|'x'", "Create", "sta{sv}", "x",
		  (uint64_t)8192, 1, "page_size", "t", (uint64_t)8192);
	/* Over what there is at all, and over what one user may have. */
	must_fail(bus, "NoSpace", "'x'|1125899906842624", "Create", "sta{sv}", "x",
		  UINT64_C(1) << 50, 0);
	must_fail(bus, "NoSpace", "'x'|18446744073709547520", "Create", "sta{sv}", "x",
		  (uint64_t)-4096, 0);
	must_fail(bus, "QuotaExceeded", "'x'|1073741824|BytesPerUser|16384 bytes of morsels",
		  "Create", "sta{sv}", "x", GIB, 0);
	g_free(must_create(bus, "two", GIB - 4 * 4096));
	must_fail(bus, "QuotaExceeded", "BytesPerUser", "Create", "sta{sv}", "x", (uint64_t)4096,
		  0);
	sd_bus_message_unref(must_call(bus, "Destroy", "s", "two"));
	g_free(must_create(bus, "two", 4096));
	g_free(must_create(bus, "three", 4096));
	must_fail(bus, "QuotaExceeded", "3 morsels|MorselsPerUser", "Create", "sta{sv}", "x",
		  (uint64_t)4096, 0);
	sd_bus_message_unref(must_call(bus, "Destroy", "s", "two"));
	sd_bus_message_unref(must_call(bus, "Destroy", "s", "three"));
	end();
}

static void test_options(void)
{
	begin();
	must_fail(bus, "InvalidArgument", "'colour'|prefer|populate", "Create", "sta{sv}", "x",
		  (uint64_t)4096, 1, "colour", "s", "red");
	must_fail(bus, "InvalidArgument", "'mode'|'u'|'s'", "Create", "sta{sv}", "x",
		  (uint64_t)4096, 1, "mode", "s", "0600");
	must_fail(bus, "InvalidArgument", "'mode'|twice", "Create", "sta{sv}", "x", (uint64_t)4096,
		  2, "mode", "u", 0600, "mode", "u", 0600);
	must_fail(bus, "InvalidArgument", "mode 0700|'x'", "Create", "sta{sv}", "x", (uint64_t)4096,
		  1, "mode", "u", 0700);
	must_fail(bus, "InvalidArgument", "mode 0200|'x'", "Create", "sta{sv}", "x", (uint64_t)4096,
		  1, "mode", "u", 0200);
	must_fail(bus, "NoSuchTier", "'fast'|dram0", "Create", "sta{sv}", "x", (uint64_t)4096, 1,
		  "prefer", "as", 1, "fast");
	must_fail(bus, "NoSuchTier", "'fast'", "Create", "sta{sv}", "x", (uint64_t)4096, 1, "allow",
		  "as", 1, "fast");
	must_fail(bus, "NoSuchTier", "'fast'", "Create", "sta{sv}", "x", (uint64_t)4096, 1,
		  "spread", "a{su}", 1, "fast", 1);
	must_fail(bus, "TierOffline", "prefer|nvm9", "Create", "sta{sv}", "x", (uint64_t)4096, 1,
		  "prefer", "as", 1, "nvm9");
	must_fail(bus, "InvalidArgument", "prefer|dram0|twice", "Create", "sta{sv}", "x",
		  (uint64_t)4096, 1, "prefer", "as", 2, "dram0", "dram0");
	must_fail(bus, "InvalidArgument", "prefer and spread", "Create", "sta{sv}", "x",
		  (uint64_t)4096, 2, "prefer", "as", 1, "dram0", "spread", "a{su}", 1, "dram0", 1);
	must_fail(bus, "InvalidArgument", "weight|0|dram0", "Create", "sta{sv}", "x",
		  (uint64_t)4096, 1, "spread", "a{su}", 1, "dram0", 0);
	must_fail(bus, "InvalidArgument", "node 77", "Create", "sta{sv}", "x", (uint64_t)4096, 1,
		  "initiators", "ai", 1, 77);
	must_fail(bus, "InvalidArgument", "node -1", "Create", "sta{sv}", "x", (uint64_t)4096, 1,
		  "initiators", "ai", 1, -1);

	must_fail(bus, "InvalidArgument", "access 'wr'", "Open", "ss", "there", "wr");
	must_fail(bus, "InvalidArgument", "limit 0", "List", "sua{sv}", "", 0, 0);
	must_fail(bus, "InvalidArgument", "limit 1001", "List", "sua{sv}", "", 1001, 0);
	must_fail(bus, "InvalidArgument", "cursor 'last'", "List", "sua{sv}", "last", 10, 0);
	must_fail(bus, "InvalidArgument", "'size'|owner", "List", "sua{sv}", "", 10, 1, "size", "t",
		  (uint64_t)1);
	must_fail(bus, "NoSuchTier", "'fast'", "List", "sua{sv}", "", 10, 1, "tier", "s", "fast");
	must_fail(bus, "InvalidArgument", "'depth'|offset", "Explain", "sa{sv}", "there", 1,
		  "depth", "t", (uint64_t)1);
	end();
}

/* Many more entries than any machine has tiers. */
static void test_long_option(void)
{
	automessage *m = NULL;

	begin();
	m = manager_message(bus, "Create");
	g_assert_cmpint(sd_bus_message_append(m, "st", "x", (uint64_t)4096), >=, 0);
	g_assert_cmpint(sd_bus_message_open_container(m, 'a', "{sv}"), >=, 0);
	g_assert_cmpint(sd_bus_message_open_container(m, 'e', "sv"), >=, 0);
	g_assert_cmpint(sd_bus_message_append(m, "s", "prefer"), >=, 0);
	g_assert_cmpint(sd_bus_message_open_container(m, 'v', "as"), >=, 0);
	g_assert_cmpint(sd_bus_message_open_container(m, 'a', "s"), >=, 0);
	for (unsigned int i = 0; i < 1000; i++)
		g_assert_cmpint(sd_bus_message_append(m, "s", "dram0"), >=, 0);
	for (unsigned int i = 0; i < 4; i++)
		g_assert_cmpint(sd_bus_message_close_container(m), >=, 0);
	must_fail_message(bus, "InvalidArgument", "'prefer'|64", m);
	end();
}

static void test_ranges(void)
{
	begin();
	must_fail(bus, "InvalidArgument", "16384:+4096|outside 'there'|16384 bytes", "Move",
		  "ssa{sv}", "there", "dram0", 2, "offset", "t", (uint64_t)16384, "length", "t",
		  (uint64_t)4096);
	must_fail(bus, "InvalidArgument", "0:+20480|outside", "Move", "ssa{sv}", "there", "dram0",
		  1, "length", "t", (uint64_t)20480);
	/* The sum would overflow. */
	must_fail(bus, "InvalidArgument", "outside", "Move", "ssa{sv}", "there", "dram0", 2,
		  "offset", "t", (uint64_t)8192, "length", "t", (uint64_t)-4096);
	must_fail(bus, "InvalidArgument", "multiples of 4096", "Move", "ssa{sv}", "there", "dram0",
		  1, "offset", "t", (uint64_t)100);
	must_fail(bus, "InvalidArgument", "'there'|length 0", "Move", "ssa{sv}", "there", "dram0",
		  1, "length", "t", (uint64_t)0);
	must_fail(bus, "InvalidArgument", "outside", "Move", "ssa{sv}", "there", "dram0", 1,
		  "offset", "t", (uint64_t)16384);
	must_fail(bus, "InvalidArgument", "outside", "Residency", "sa{sv}", "there", 1, "offset",
		  "t", (uint64_t)1 << 40);
	must_fail(bus, "InvalidArgument", "outside", "Explain", "sa{sv}", "there", 1, "length", "t",
		  (uint64_t)1 << 40);
	must_fail(bus, "TierOffline", "nvm9", "Move", "ssa{sv}", "there", "nvm9", 0);
	must_fail(bus, "NoSuchTier", "'fast'|dram0", "Move", "ssa{sv}", "there", "fast", 0);
	must_fail(bus, "NoSuchTier", "''", "Move", "ssa{sv}", "there", "", 0);
	must_fail(bus, "NoSuchMorsel", "'gone'", "Move", "ssa{sv}", "gone", "dram0", 0);
	must_fail(bus, "InvalidArgument", "'dry'|dry_run", "Move", "ssa{sv}", "there", "dram0", 1,
		  "dry", "b", true);
	end();
}

static void test_signatures(void)
{
	begin();
	must_fail(bus, "org.freedesktop.DBus.Error.InvalidArgs", "Create", "Create", "s", "x");
	must_fail(bus, "org.freedesktop.DBus.Error.InvalidArgs", "Move", "Move", "sua{sv}", "there",
		  1, 0);
	must_fail(bus, "org.freedesktop.DBus.Error.UnknownMethod", "Resize", "Resize", "s",
		  "there");
	end();
}

/* An object never becomes larger or smaller, whoever has its descriptor. */
static void test_seals(void)
{
	automessage *reply = NULL;
	int fd;

	begin();
	reply = must_call(bus, "Open", "ss", "there", "rw");
	g_assert_cmpint(sd_bus_message_read(reply, "h", &fd), >, 0);
	g_assert_cmpint(ftruncate(fd, 1 << 30), <, 0);
	g_assert_cmpint(ftruncate(fd, 0), <, 0);
	g_assert_cmpint(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), ==,
			F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	reply = sd_bus_message_unref(reply);
	reply = must_call(bus, "Open", "ss", "there", "ro");
	g_assert_cmpint(sd_bus_message_read(reply, "h", &fd), >, 0);
	g_assert_true(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	reply = sd_bus_message_unref(reply);
	end();
}

/* A connection that was not made for descriptors gets none, and nothing is created for it. */
static void test_no_descriptors_passed(void)
{
	g_autofree char *address = NULL;
	sd_bus *poor;

	begin();
	address = g_strdup_printf("unix:path=%s", h->socket_path);
	g_assert_cmpint(sd_bus_new(&poor), >=, 0);
	g_assert_cmpint(sd_bus_set_address(poor, address), >=, 0);
	g_assert_cmpint(sd_bus_negotiate_fds(poor, false), >=, 0);
	g_assert_cmpint(sd_bus_start(poor), >=, 0);
	must_fail(poor, "NotSupported", "NEGOTIATE_UNIX_FD", "Create", "sta{sv}", "x",
		  (uint64_t)4096, 0);
	must_fail(poor, "NotSupported", "NEGOTIATE_UNIX_FD", "Open", "ss", "there", "ro");
	sd_bus_message_unref(must_call(poor, "Show", "s", "there"));
	sd_bus_flush_close_unref(poor);
	end();
}

/* Reload with nonsense: the line is named, the old configuration stays, and calls are as before. */
static void test_reload(void)
{
	begin();
	g_assert_true(
		g_file_set_contents(h->config_path, "[quota]\nMorselsPerUser=many\n", -1, NULL));
	must_fail(bus, "InvalidArgument", "morseld.conf:2|MorselsPerUser|many", "Reload", "");
	g_free(must_create(bus, "two", 4096));
	g_free(must_create(bus, "three", 4096));
	must_fail(bus, "QuotaExceeded", "MorselsPerUser", "Create", "sta{sv}", "x", (uint64_t)4096,
		  0);
	g_assert_true(g_file_set_contents(h->config_path, "[quota]\nMorselsPerUser=4\n", -1, NULL));
	sd_bus_message_unref(must_call(bus, "Reload", ""));
	g_free(must_create(bus, "four", 4096));
	must_fail(bus, "QuotaExceeded", "has 4 morsels", "Create", "sta{sv}", "x", (uint64_t)4096,
		  0);
	sd_bus_message_unref(must_call(bus, "Destroy", "s", "two"));
	sd_bus_message_unref(must_call(bus, "Destroy", "s", "three"));
	sd_bus_message_unref(must_call(bus, "Destroy", "s", "four"));
	end();
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/bad-input/names", test_names);
	g_test_add_func("/bad-input/sizes", test_sizes);
	g_test_add_func("/bad-input/options", test_options);
	g_test_add_func("/bad-input/long-option", test_long_option);
	g_test_add_func("/bad-input/ranges", test_ranges);
	g_test_add_func("/bad-input/signatures", test_signatures);
	g_test_add_func("/bad-input/seals", test_seals);
	g_test_add_func("/bad-input/no-descriptors-passed", test_no_descriptors_passed);
	g_test_add_func("/bad-input/reload", test_reload);
	return g_test_run();
}
