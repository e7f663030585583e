// SPDX-License-Identifier: GPL-2.0-or-later
/* Who may do what beyond their own: polkit is asked, about the right one, and not when there is no need. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fake-polkit.h"

/* dbus-daemon wants users that it can look up. */
#define OTHER 1
#define NOBODY 65534

static struct harness *h;
static struct fake_polkit *polkit;

static void begin(enum fake_polkit_answer answer)
{
	h = harness_new(&(struct harness_options){ .with_bus = true });
	harness_wait_log(h, "serving org.parperos.Morsel1 on");
	polkit = fake_polkit_new(h);
	fake_polkit_set(polkit, answer);
}

static void end(void)
{
	if (polkit)
		polkit = fake_polkit_free(polkit);
	harness_free(h);
}

static void as_user(uid_t uid, void (*function)(sd_bus *bus))
{
	harness_as_user(h, uid, 0, harness_connect_bus, function);
}

static void must_have_asked(unsigned int n, const char *action)
{
	g_autofree char *last = NULL;

	g_assert_cmpuint(fake_polkit_asked(polkit, &last), ==, n);
	if (action && !g_str_has_prefix(last, action))
		g_error("asked for '%s', not for '%s'", last, action);
}

static void create_x(sd_bus *bus)
{
	g_free(must_create(bus, "x", 4096));
	g_free(must_create(bus, "y", 4096));
	sd_bus_message_unref(must_call(bus, "SetAccess", "sa{sv}", "y", 1, "mode", "u", 0644));
}

/* What one may oneself is not asked for. */
static void use_own(sd_bus *bus)
{
	sd_bus_message_unref(must_call(bus, "Move", "ssa{sv}", "x", "dram0", 0));
	sd_bus_message_unref(must_call(bus, "SetAccess", "sa{sv}", "x", 1, "mode", "u", 0600));
	sd_bus_message_unref(must_call(bus, "Quota", "a{sv}", 0));
}

static void administer(sd_bus *bus)
{
	sd_bus_message_unref(must_call(bus, "Reload", ""));
	sd_bus_message_unref(must_call(bus, "Dump", ""));
	sd_bus_message_unref(must_call(bus, "Quota", "a{sv}", 1, "owner", "u", OTHER));
	/* Allowed; without the module there is nothing to record. */
	must_fail(bus, "NotSupported", "not in use", "Record", "a{sv}", 1, "all", "b", 1);
	sd_bus_message_unref(must_call(bus, "Move", "ssa{sv}", "daemon:y", "dram0", 0));
	sd_bus_message_unref(must_call(bus, "SetAccess", "sa{sv}", "daemon:x", 2, "owner", "u",
				       NOBODY, "group", "u", 4242));
	/* Now it is one's own. */
	sd_bus_message_unref(must_call(bus, "Destroy", "s", "x"));
	sd_bus_message_unref(must_call(bus, "Destroy", "s", "daemon:y"));
	must_fail(bus, "NoSuchMorsel", "no morsel 'daemon:z'", "Destroy", "s", "daemon:z");
}

static void test_allowed(void)
{
	if (getuid() != 0) {
		g_test_skip("only root can become other users");
		return;
	}
	begin(FAKE_POLKIT_YES);
	as_user(OTHER, create_x);
	as_user(OTHER, use_own);
	must_have_asked(0, NULL);
	as_user(NOBODY, administer);
	must_have_asked(8, "org.parperos.morsel.manage-others of :1.");
	{
		autobus *bus = harness_connect_bus(h);

		sd_bus_message_unref(must_call(bus, "Reload", ""));
		must_have_asked(8, NULL); /* root */
	}
	end();
}

static void must_be_refused(sd_bus *bus, const char *why)
{
	g_autofree char *words = g_strdup_printf("only root may reload|uid 65534|%s", why);
	g_autofree char *move = g_strdup_printf("only daemon and root may move 'y'|%s", why);

	must_fail(bus, "AccessDenied", words, "Reload", "");
	must_fail(bus, "AccessDenied", "only root may record others' morsels", "Record", "a{sv}", 1,
		  "all", "b", 1);
	must_fail(bus, "NotSupported", "not in use", "Record", "a{sv}", 0);
	must_fail(bus, "AccessDenied", move, "Move", "ssa{sv}", "daemon:y", "dram0", 0);
	/* The same whether it is there or not. */
	must_fail(bus, "NoSuchMorsel", "no morsel 'daemon:x'", "Destroy", "s", "daemon:x");
	must_fail(bus, "NoSuchMorsel", "no morsel 'daemon:z'", "Destroy", "s", "daemon:z");
	must_fail(bus, "NoSuchMorsel", "no morsel 'daemon:x'", "SetAccess", "sa{sv}", "daemon:x", 1,
		  "mode", "u", 0666);
	must_fail(bus, "NoSuchMorsel", "no morsel 'x'", "Destroy", "s", "x");
}

static void refused(sd_bus *bus)
{
	must_be_refused(bus, "polkit does not allow it");
}

static void challenged(sd_bus *bus)
{
	must_be_refused(bus, "would ask for a password: allow dialogs");
}

static void unanswered(sd_bus *bus)
{
	must_be_refused(bus, "polkit does not answer");
}

static void with_dialog(sd_bus *bus)
{
	automessage *m = manager_message(bus, "Reload");

	g_assert_cmpint(sd_bus_message_set_allow_interactive_authorization(m, true), >=, 0);
	g_assert_cmpint(sd_bus_call(bus, m, 0, NULL, NULL), >=, 0);
}

static void test_refused(void)
{
	g_autofree char *last = NULL;

	if (getuid() != 0) {
		g_test_skip("only root can become other users");
		return;
	}
	begin(FAKE_POLKIT_NO);
	as_user(OTHER, create_x);
	as_user(NOBODY, refused);
	must_have_asked(6, "org.parperos.morsel.manage-others of");
	fake_polkit_set(polkit, FAKE_POLKIT_CHALLENGE);
	as_user(NOBODY, challenged);
	fake_polkit_set(polkit, FAKE_POLKIT_YES);
	as_user(NOBODY, with_dialog);
	fake_polkit_asked(polkit, &last);
	g_assert_true(g_str_has_prefix(last, "org.parperos.morsel.manage of"));
	g_assert_true(g_str_has_suffix(last, ", dialog"));
	/* Without one, only root may; that is said, and doctor knows it. */
	polkit = fake_polkit_free(polkit);
	as_user(NOBODY, unanswered);
	harness_wait_log(h, "polkit does not answer");
	{
		autobus *bus = harness_connect_bus(h);
		automessage *reply = must_call(bus, "Doctor", "");
		bool found = false;

		g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
		while (sd_bus_message_at_end(reply, false) == 0) {
			g_autoptr(GHashTable) c = read_dict(reply);

			if (strcmp(g_hash_table_lookup(c, "name"), "polkit") != 0)
				continue;
			found = true;
			g_assert_cmpstr(g_hash_table_lookup(c, "status"), ==, "missing");
			g_assert_nonnull(strstr(g_hash_table_lookup(c, "detail"), "not answer"));
		}
		g_assert_true(found);
		sd_bus_message_unref(must_call(bus, "Reload", ""));
	}
	end();
}

static void ask_and_leave(sd_bus *bus)
{
	for (unsigned int i = 0; i < 100; i++) {
		automessage *m = manager_message(bus, "Reload");
		uint64_t cookie;

		g_assert_cmpint(sd_bus_send(bus, m, &cookie), >=, 0);
	}
	g_assert_cmpint(sd_bus_flush(bus), >=, 0);
	/* The rest is refused at once: 64 calls may wait. */
	for (;;) {
		automessage *m = NULL;

		g_assert_cmpint(sd_bus_process(bus, &m), >=, 0);
		if (m && sd_bus_message_is_method_error(m, ERROR("QuotaExceeded")) > 0)
			break;
		if (!m)
			g_assert_cmpint(sd_bus_wait(bus, 20000000), >=, 0);
	}
}

static bool has_asked_64(void *data)
{
	return fake_polkit_asked(polkit, NULL) == 64;
}

static bool no_call_waits(void *data)
{
	automessage *reply = must_call(data, "Quota", "a{sv}", 1, "owner", "u", NOBODY);
	g_autoptr(GHashTable) user = NULL;

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
	user = read_dict(reply);
	return strcmp(g_hash_table_lookup(user, "calls_used"), "0") == 0;
}

/* A dialog that stands open holds up nobody else; who asked may go, and the bus may. */
static void test_slow(void)
{
	if (getuid() != 0) {
		g_test_skip("only root can become other users");
		return;
	}
	begin(FAKE_POLKIT_SILENCE);
	as_user(NOBODY, ask_and_leave);
	harness_wait(has_asked_64, NULL, "64 questions were asked");
	{
		autobus *bus = harness_connect_bus(h);
		autobus *private = harness_connect(h);

		sd_bus_message_unref(must_call(bus, "ListTiers", ""));
		sd_bus_message_unref(must_call(private, "Reload", ""));
		fake_polkit_set(polkit, FAKE_POLKIT_YES);
		harness_wait(no_call_waits, bus, "all questions are answered");
	}
	/* There is room again. */
	as_user(NOBODY, with_dialog);
	fake_polkit_set(polkit, FAKE_POLKIT_SILENCE);
	as_user(NOBODY, ask_and_leave);
	polkit = fake_polkit_free(polkit);
	harness_stop_bus(h);
	harness_wait_log(h, "no connection to the bus");
	harness_start_bus(h);
	{
		autobus *private = harness_connect(h);

		sd_bus_message_unref(must_call(private, "ListTiers", ""));
	}
	end();
}

static void cancel_as_other(sd_bus *bus)
{
	automessage *m = NULL;

	g_assert_cmpint(sd_bus_message_new_method_call(bus, &m, "org.parperos.Morsel1",
						       MANAGER_PATH "/job/1", JOB, "Cancel"),
			>=, 0);
	g_assert_cmpint(sd_bus_call(bus, m, 0, NULL, NULL), >=, 0);
}

static void cancel_refused(sd_bus *bus)
{
	automessage *m = NULL;

	g_assert_cmpint(sd_bus_message_new_method_call(bus, &m, "org.parperos.Morsel1",
						       MANAGER_PATH "/job/1", JOB, "Cancel"),
			>=, 0);
	must_fail_message(bus, "org.freedesktop.DBus.Error.UnknownObject", "Unknown object", m);
}

static void test_job(void)
{
	if (getuid() != 0) {
		g_test_skip("only root can become other users");
		return;
	}
	begin(FAKE_POLKIT_NO);
	{
		autobus *bus = harness_connect_bus(h);

		g_free(must_create(bus, "x", 4096));
		sd_bus_message_unref(must_call(bus, "Move", "ssa{sv}", "x", "dram0", 0));
		as_user(NOBODY, cancel_refused);
		must_have_asked(1, "org.parperos.morsel.manage-others of");
		fake_polkit_set(polkit, FAKE_POLKIT_YES);
		as_user(NOBODY, cancel_as_other);
		must_have_asked(2, NULL);
	}
	end();
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/polkit/allowed", test_allowed);
	g_test_add_func("/polkit/refused", test_refused);
	g_test_add_func("/polkit/slow", test_slow);
	g_test_add_func("/polkit/job", test_job);
	return g_test_run();
}
