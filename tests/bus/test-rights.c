// SPDX-License-Identifier: GPL-2.0-or-later
/* What others may see and do, on the private socket and on the bus. Only root can become others. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

#define NOBODY 65534
#define OTHER 1 /* "daemon" everywhere; dbus-daemon wants users that it can look up */
#define GROUP 4242

static struct harness *h;
static sd_bus *(*connect_to)(struct harness *h);

static void as_user(uid_t uid, gid_t supplementary, void (*function)(sd_bus *bus))
{
	harness_as_user(h, uid, supplementary, connect_to, function);
}

static char *create(sd_bus *bus, const char *name, uint32_t mode, gid_t group)
{
	automessage *reply = must_call(bus, "Create", "sta{sv}", name, (uint64_t)8192, 2, "mode",
				       "u", mode, "group", "u", (uint32_t)group);
	const char *id;

	g_assert_cmpint(sd_bus_message_read(reply, "s", &id), >, 0);
	return g_strdup(id);
}

static char *list_names(sd_bus *bus)
{
	automessage *reply = must_call(bus, "List", "sua{sv}", "", 1000, 0);
	GString *names = g_string_new(NULL);

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
	while (sd_bus_message_at_end(reply, false) == 0) {
		g_autoptr(GHashTable) info = read_dict(reply);

		g_string_append_printf(names, "%s%s", names->len ? " " : "",
				       (char *)g_hash_table_lookup(info, "name"));
	}
	return g_string_free(names, FALSE);
}

static char *secret_id;
static char job_path[128];

static void stranger(sd_bus *bus)
{
	const char *const keys[] = { "secret", "root:secret", "0:secret", secret_id };
	g_autofree char *names = list_names(bus);
	automessage *opened = NULL, *jobs = NULL, *wait = NULL, *get = NULL;
	const char *destination = sd_bus_is_bus_client(bus) ? "org.parperos.Morsel1" : NULL;
	char path[64];
	int fd;

	g_assert_cmpstr(names, ==, "shared");
	for (unsigned int i = 0; i < G_N_ELEMENTS(keys); i++) {
		must_fail(bus, "NoSuchMorsel", "no morsel", "Show", "s", keys[i]);
		must_fail(bus, "NoSuchMorsel", "no morsel", "Open", "ss", keys[i], "ro");
		must_fail(bus, "NoSuchMorsel", "no morsel", "Destroy", "s", keys[i]);
		must_fail(bus, "NoSuchMorsel", "no morsel", "Move", "ssa{sv}", keys[i], "dram0", 0);
		must_fail(bus, "NoSuchMorsel", "no morsel", "Residency", "sa{sv}", keys[i], 0);
		must_fail(bus, "NoSuchMorsel", "no morsel", "Explain", "sa{sv}", keys[i], 0);
	}

	/* A bare name is one's own; where somebody else's can be seen, it is said. */
	must_fail(bus, "NoSuchMorsel", "'shared'|root:shared", "Show", "s", "shared");
	sd_bus_message_unref(must_call(bus, "Show", "s", "root:shared"));
	must_fail(bus, "AccessDenied", "0644|root:shared|writing", "Open", "ss", "root:shared",
		  "rw");
	must_fail(bus, "AccessDenied", "only root|'shared'", "Destroy", "s", "root:shared");
	must_fail(bus, "AccessDenied", "only root|'shared'", "Move", "ssa{sv}", "root:shared",
		  "dram0", 0);
	opened = must_call(bus, "Open", "ss", "root:shared", "ro");
	g_assert_cmpint(sd_bus_message_read(opened, "h", &fd), >, 0);
	g_snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	g_assert_cmpint(open(path, O_RDWR), <, 0);

	must_fail(bus, "AccessDenied", "uid 65534", "Reload", "");
	must_fail(bus, "AccessDenied", "uid 65534", "Dump", "");
	must_fail(bus, "AccessDenied", "group 4242", "Create", "sta{sv}", "x", (uint64_t)4096, 1,
		  "group", "u", GROUP);

	/* A job on what one cannot see cannot be seen. */
	jobs = must_call(bus, "ListJobs", "");
	g_assert_cmpint(sd_bus_message_enter_container(jobs, 'a', "a{sv}"), >, 0);
	g_assert_cmpint(sd_bus_message_at_end(jobs, false), >, 0);
	g_assert_cmpint(sd_bus_message_new_method_call(bus, &get, destination, job_path, PROPERTIES,
						       "GetAll"),
			>=, 0);
	g_assert_cmpint(sd_bus_message_append(get, "s", JOB), >=, 0);
	must_fail_message(bus, "org.freedesktop.DBus.Error.UnknownObject", "", get);
	g_assert_cmpint(sd_bus_message_new_method_call(bus, &wait, destination, job_path, JOB,
						       "Cancel"),
			>=, 0);
	must_fail_message(bus, "org.freedesktop.DBus.Error.UnknownObject", "", wait);
}

/* The first thing that a connection does is to look at a job: it is not known yet who asks. */
static void stranger_to_job(sd_bus *bus)
{
	const char *destination = sd_bus_is_bus_client(bus) ? "org.parperos.Morsel1" : NULL;
	automessage *get = NULL;

	g_assert_cmpint(sd_bus_message_new_method_call(bus, &get, destination, job_path, PROPERTIES,
						       "Get"),
			>=, 0);
	g_assert_cmpint(sd_bus_message_append(get, "ss", JOB, "Morsel"), >=, 0);
	must_fail_message(bus, "org.freedesktop.DBus.Error.UnknownObject", "", get);
}

static void member_of_group(sd_bus *bus)
{
	g_autofree char *names = list_names(bus);

	g_assert_cmpstr(names, ==, "shared for-group");
	sd_bus_message_unref(must_call(bus, "Open", "ss", "root:for-group", "rw"));
	must_fail(bus, "AccessDenied", "only root", "Destroy", "s", "root:for-group");
}

static void set_access(sd_bus *bus)
{
	automessage *reply = NULL;
	g_autoptr(GHashTable) info = NULL;

	g_free(must_create(bus, "mine", 4096));
	must_fail(bus, "InvalidArgument", "mode, group or owner", "SetAccess", "sa{sv}", "mine", 0);
	must_fail(bus, "InvalidArgument", "0666", "SetAccess", "sa{sv}", "mine", 1, "mode", "u",
		  0755);
	must_fail(bus, "InvalidArgument", "owner read", "SetAccess", "sa{sv}", "mine", 1, "mode",
		  "u", 0060);
	must_fail(bus, "AccessDenied", "group 0", "SetAccess", "sa{sv}", "mine", 2, "mode", "u",
		  0666, "group", "u", 0);
	must_fail(bus, "AccessDenied", "only root may give 'mine' to uid 1", "SetAccess", "sa{sv}",
		  "mine", 1, "owner", "u", OTHER);
	/* All or nothing: the mode that came along with a wrong group was not set. */
	sd_bus_message_unref(must_call(bus, "SetAccess", "sa{sv}", "mine", 1, "group", "u", GROUP));
	reply = must_call(bus, "Show", "s", "mine");
	info = read_dict(reply);
	g_assert_cmpstr(g_hash_table_lookup(info, "mode"), ==, "384"); /* 0600 */
	g_assert_cmpstr(g_hash_table_lookup(info, "group"), ==, "4242");
	must_fail(bus, "AccessDenied", "only root", "SetAccess", "sa{sv}", "root:shared", 1, "mode",
		  "u", 0666);
	must_fail(bus, "NoSuchMorsel", "no morsel", "SetAccess", "sa{sv}", "root:secret", 1, "mode",
		  "u", 0666);
	sd_bus_message_unref(must_call(bus, "SetAccess", "sa{sv}", "mine", 1, "mode", "u", 0640));
}

static void has_become_owner(sd_bus *bus)
{
	g_autofree char *names = list_names(bus);

	g_assert_cmpstr(names, ==, "shared mine");
	sd_bus_message_unref(must_call(bus, "Open", "ss", "mine", "rw"));
	sd_bus_message_unref(must_call(bus, "SetAccess", "sa{sv}", "mine", 1, "mode", "u", 0600));
}

static void is_no_owner_any_more(sd_bus *bus)
{
	must_fail(bus, "NoSuchMorsel", "'mine'", "Show", "s", "mine");
	must_fail(bus, "NoSuchMorsel", "'daemon:mine'", "Show", "s", "daemon:mine");
}

static void create_mine(sd_bus *bus)
{
	g_free(must_create(bus, "mine", 4096));
}

static void make_own(sd_bus *bus)
{
	g_free(must_create(bus, "own", 4096));
	g_free(must_create(bus, "shared", 4096));
	/* Each has names of their own. */
	sd_bus_message_unref(must_call(bus, "Show", "s", "shared"));
}

static void make_own_too(sd_bus *bus)
{
	g_free(must_create(bus, "own", 4096));
	must_fail(bus, "NoSuchMorsel", "no morsel", "Show", "s", "65534:own");
}

static void test_rights(void)
{
	h = harness_new(&(struct harness_options){ .with_bus = connect_to == harness_connect_bus });
	if (h->bus_address)
		harness_wait_log(h, "serving org.parperos.Morsel1 on");
	{
		sd_bus *bus = connect_to(h);
		automessage *move = NULL;
		const char *path;

		secret_id = create(bus, "secret", 0600, 0);
		g_free(create(bus, "shared", 0644, 0));
		g_free(create(bus, "for-group", 0660, GROUP));
		move = must_call(bus, "Move", "ssa{sv}", "secret", "dram0", 0);
		g_assert_cmpint(sd_bus_message_read(move, "o", &path), >, 0);
		g_strlcpy(job_path, path, sizeof(job_path));

		as_user(NOBODY, 0, stranger_to_job);
		as_user(NOBODY, 0, stranger);
		as_user(NOBODY, GROUP, member_of_group);
		as_user(NOBODY, GROUP, set_access);
		sd_bus_message_unref(must_call(bus, "SetAccess", "sa{sv}", "nobody:mine", 1,
					       "owner", "u", OTHER));
		as_user(OTHER, 0, has_become_owner);
		as_user(NOBODY, 0, is_no_owner_any_more);
		/* Two of one name cannot be one user's. */
		as_user(NOBODY, 0, create_mine);
		must_fail(bus, "Exists", "daemon already has|'mine'", "SetAccess", "sa{sv}",
			  "nobody:mine", 1, "owner", "u", OTHER);
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "nobody:mine"));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "daemon:mine"));
		as_user(NOBODY, 0, make_own);

		/* root: a bare name that only one other has, but not to open. */
		sd_bus_message_unref(must_call(bus, "Show", "s", "own"));
		must_fail(bus, "NoSuchMorsel", "nobody:own", "Open", "ss", "own", "ro");
		sd_bus_message_unref(must_call(bus, "Open", "ss", "nobody:own", "rw"));
		as_user(OTHER, 0, make_own_too);
		must_fail(bus, "InvalidArgument", "more than one|nobody:own|daemon:own", "Destroy",
			  "s", "own");
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "daemon:own"));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "own"));
		must_fail(bus, "NoSuchMorsel", "'own'", "Show", "s", "own");
		/* root's own comes first. */
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "shared"));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "nobody:shared"));
		g_free(secret_id);
		sd_bus_flush_close_unref(bus);
	}
	harness_free(h);
}

static void test_private(void)
{
	connect_to = harness_connect;
	test_rights();
}

static void test_bus(void)
{
	connect_to = harness_connect_bus;
	test_rights();
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	if (getuid() != 0) {
		puts("1..0 # SKIP only root can become other users");
		return 77;
	}
	g_test_add_func("/rights/private", test_private);
	g_test_add_func("/rights/bus", test_bus);
	return g_test_run();
}
