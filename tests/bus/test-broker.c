// SPDX-License-Identifier: GPL-2.0-or-later
/* The message bus: its name, its loss, and callers that vanish from it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define SERVING "serving org.parperos.Morsel1 on"

static unsigned int count(const char *text, const char *part)
{
	unsigned int n = 0;

	for (const char *p = text; (p = strstr(p, part)); p++)
		n++;
	return n;
}

struct times {
	struct harness *h;
	unsigned int n;
};

static bool served_times(void *data)
{
	struct times *t = data;
	g_autofree char *log = harness_log(t->h);

	return count(log, SERVING) == t->n;
}

/* The bus goes and comes back: applications notice nothing, administration works again. */
static void test_lost(void)
{
	struct harness *h = harness_new(&(struct harness_options){ .with_bus = true });
	struct times t = { .h = h };

	harness_wait_log(h, SERVING);
	{
		autobus *bus = harness_connect(h);

		g_free(must_create(bus, "x", 4096));
		for (unsigned int i = 1; i <= 2; i++) {
			{
				autobus *admin = harness_connect_bus(h);

				sd_bus_message_unref(must_call(admin, "Show", "s", "x"));
			}
			harness_stop_bus(h);
			harness_wait_log(h, "the private socket serves on");
			sd_bus_message_unref(must_call(bus, "Show", "s", "x"));
			harness_start_bus(h);
			t.n = i + 1;
			harness_wait(served_times, &t, "the daemon is on the bus again");
		}
		{
			autobus *admin = harness_connect_bus(h);

			sd_bus_message_unref(must_call(admin, "Destroy", "s", "x"));
		}
		must_fail(bus, "NoSuchMorsel", "'x'", "Show", "s", "x");
	}
	harness_free(h);
}

/* No bus yet when the daemon starts. */
static void test_late(void)
{
	struct harness *h = harness_new(&(struct harness_options){ .with_bus = true });

	harness_wait_log(h, SERVING);
	kill(h->daemon, SIGTERM);
	g_assert_cmpint(waitpid(h->daemon, NULL, 0), ==, h->daemon);
	harness_stop_bus(h);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);
		struct times t = { .h = h, .n = 2 };

		g_free(must_create(bus, "x", 4096));
		harness_start_bus(h);
		harness_wait(served_times, &t, "the daemon is on the bus");
		sd_bus_message_unref(must_call(bus, "Show", "s", "x"));
	}
	harness_free(h);
}

static void test_name_taken(void)
{
	struct harness *h = harness_new(&(struct harness_options){ .with_bus = true });
	g_autofree char *other = g_build_filename(h->dir, "other", NULL);
	g_autofree char *log = NULL;

	harness_wait_log(h, SERVING);
	g_assert_cmpint(harness_run_daemon((const char *const[]){ "--address", h->bus_address,
								  "--listen", other, "--config",
								  h->config_path, NULL },
					   &log),
			==, 1);
	g_assert_nonnull(strstr(log, "belongs to another process"));
	{
		autobus *bus = harness_connect_bus(h);

		sd_bus_message_unref(must_call(bus, "ListTiers", ""));
	}
	harness_free(h);
}

/* They go before the bus has told who they are, and while a worker answers. */
static void test_callers_vanish(void)
{
	struct harness *h = harness_new(&(struct harness_options){ .with_bus = true });

	harness_wait_log(h, SERVING);
	{
		autobus *bus = harness_connect_bus(h);
		unsigned int descriptors;

		sd_bus_message_unref(must_call(bus, "Create", "sta{sv}", "x", (uint64_t)1 << 24, 1,
					       "populate", "b", true));
		descriptors = harness_descriptors(h);
		for (unsigned int i = 0; i < 60; i++) {
			sd_bus *gone = harness_connect_bus(h);
			automessage *m = manager_message(gone, i % 2 ? "Explain" : "Open");
			uint64_t cookie;

			g_assert_cmpint(i % 2 ? sd_bus_message_append(m, "sa{sv}", "x", 0)
					      : sd_bus_message_append(m, "ss", "x", "rw"),
					>=, 0);
			g_assert_cmpint(sd_bus_send(gone, m, &cookie), >=, 0);
			g_assert_cmpint(sd_bus_flush(gone), >=, 0);
			m = sd_bus_message_unref(m);
			sd_bus_close_unref(gone);
		}
		sd_bus_message_unref(must_call(bus, "Show", "s", "x"));
		harness_wait_descriptors(h, descriptors);
	}
	harness_free(h);
}

/* Calls that come before the answer about their sender are answered in their order. */
static void test_pipelined(void)
{
	struct harness *h = harness_new(&(struct harness_options){ .with_bus = true });

	harness_wait_log(h, SERVING);
	{
		autobus *bus = harness_connect_bus(h);
		uint64_t cookies[40];

		for (unsigned int i = 0; i < G_N_ELEMENTS(cookies); i++) {
			automessage *m = manager_message(bus, "Create");
			g_autofree char *name = g_strdup_printf("m%u", i);

			g_assert_cmpint(sd_bus_message_append(m, "sta{sv}", name, (uint64_t)4096,
							      0),
					>=, 0);
			g_assert_cmpint(sd_bus_send(bus, m, &cookies[i]), >=, 0);
		}
		for (unsigned int i = 0; i < G_N_ELEMENTS(cookies);) {
			automessage *m = NULL;
			uint64_t cookie;

			if (sd_bus_process(bus, &m) == 0)
				g_assert_cmpint(sd_bus_wait(bus, 20000000), >, 0);
			if (!m || sd_bus_message_get_reply_cookie(m, &cookie) < 0)
				continue;
			g_assert_cmpint(sd_bus_message_is_method_error(m, NULL), ==, 0);
			if (cookie >= cookies[0])
				g_assert_cmpuint(cookie, ==, cookies[i++]);
		}
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/broker/lost", test_lost);
	g_test_add_func("/broker/late", test_late);
	g_test_add_func("/broker/name-taken", test_name_taken);
	g_test_add_func("/broker/callers-vanish", test_callers_vanish);
	g_test_add_func("/broker/pipelined", test_pipelined);
	return g_test_run();
}
