// SPDX-License-Identifier: GPL-2.0-or-later
/* Command line, socket, state directory, dry run. */
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static void refuse(const char *const *arguments, int status, const char *words)
{
	g_auto(GStrv) list = g_strsplit(words, "|", -1);
	g_autofree char *log = NULL;

	g_assert_cmpint(harness_run_daemon(arguments, &log), ==, status);
	for (unsigned int i = 0; list[i]; i++)
		if (!strstr(log, list[i]))
			g_error("'%s' does not contain '%s'", log, list[i]);
}

#define ARGUMENTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_command_line(void)
{
	g_autofree char *dir = g_dir_make_tmp("morsel-start-XXXXXX", NULL);
	g_autofree char *config = g_build_filename(dir, "morseld.conf", NULL);
	g_autofree char *file = g_build_filename(dir, "file", NULL);
	g_autofree char *socket = g_build_filename(dir, "bus", NULL);
	g_autofree char *long_name = g_strnfill(120, 'x');
	g_autofree char *long_path = g_build_filename(dir, long_name, NULL);

	refuse(ARGUMENTS("--colour"), 2, "--colour");
	refuse(ARGUMENTS("extra"), 2, "'extra'");
	refuse(ARGUMENTS("--address", "nowhere", "--listen", socket), 1, "bus address nowhere");
	refuse(ARGUMENTS("--address", "none", "--listen", long_path, "--config", config), 1,
	       "107 bytes");
	refuse(ARGUMENTS("--address", "none", "--listen", socket, "--root", "/does/not/exist"), 1,
	       "root directory /does/not/exist");
	g_assert_true(g_file_set_contents(file, "", -1, NULL));
	refuse(ARGUMENTS("--address", "none", "--listen", file, "--config", config), 1,
	       "not a socket");
	g_assert_true(g_file_set_contents(config, "[daemon]\n\nJobThreads=0\n", -1, NULL));
	refuse(ARGUMENTS("--address", "none", "--listen", socket, "--config", config), 1,
	       "morseld.conf:3|JobThreads");
	g_assert_true(g_file_test(file, G_FILE_TEST_EXISTS));
	unlink(config);
	unlink(file);
	g_assert_cmpint(rmdir(dir), ==, 0);
}

/* A second daemon must not take the first one's socket or state; a dead one's socket is replaced. */
static void test_socket(void)
{
	struct harness *h = harness_new(NULL);
	g_autofree char *state = g_build_filename(h->dir, "state", NULL);
	g_autofree char *other = g_build_filename(h->dir, "other", NULL);
	struct stat st;

	g_assert_cmpint(stat(h->socket_path, &st), ==, 0);
	g_assert_true(S_ISSOCK(st.st_mode));
	g_assert_cmpint(st.st_mode & 07777, ==, 0666);
	refuse(ARGUMENTS("--address", "none", "--listen", h->socket_path, "--config",
			 h->config_path),
	       1, "another daemon answers there");
	refuse(ARGUMENTS("--address", "none", "--listen", other, "--config", h->config_path,
			 "--state-dir", state),
	       1, "another daemon uses it");
	g_assert_false(g_file_test(other, G_FILE_TEST_EXISTS));
	{
		autobus *bus = harness_connect(h);

		g_free(must_create(bus, "x", 4096));
	}

	kill(h->daemon, SIGKILL);
	g_assert_cmpint(waitpid(h->daemon, NULL, 0), ==, h->daemon);
	g_assert_true(g_file_test(h->socket_path, G_FILE_TEST_EXISTS));
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);

		g_free(must_create(bus, "x", 4096));
	}
	harness_free(h);
}

static void test_reload_by_signal(void)
{
	struct harness *h = harness_new(NULL);

	{
		autobus *bus = harness_connect(h);

		g_free(must_create(bus, "x", 4096));
		g_assert_true(g_file_set_contents(h->config_path, "[quota]\nMorselsPerUser=1\n", -1,
						  NULL));
		kill(h->daemon, SIGHUP);
		harness_wait_log(h, "read again");
		must_fail(bus, "QuotaExceeded", "1 morsels", "Create", "sta{sv}", "y",
			  (uint64_t)4096, 0);
		g_assert_true(g_file_set_contents(h->config_path, "nonsense\n", -1, NULL));
		kill(h->daemon, SIGHUP);
		harness_wait_log(h, "the old configuration stays");
		must_fail(bus, "QuotaExceeded", "1 morsels", "Create", "sta{sv}", "y",
			  (uint64_t)4096, 0);
	}
	harness_free(h);
}

static void test_dry_run(void)
{
	struct harness *h = harness_new(&(struct harness_options){ .dry_run = true });

	{
		autobus *bus = harness_connect(h);
		unsigned int descriptors = harness_descriptors(h);
		automessage *list = NULL;

		must_fail(bus, "NotSupported", "dry run|would have created 'x' of 4096 bytes",
			  "Create", "sta{sv}", "x", (uint64_t)4096, 0);
		must_fail(bus, "InvalidArgument", "0 bytes", "Create", "sta{sv}", "x", (uint64_t)0,
			  0);
		list = must_call(bus, "List", "sua{sv}", "", 10, 0);
		g_assert_cmpint(sd_bus_message_enter_container(list, 'a', "a{sv}"), >, 0);
		g_assert_cmpint(sd_bus_message_at_end(list, false), >, 0);
		g_assert_cmpuint(harness_property_t(bus, "created"), ==, 0);
		harness_wait_descriptors(h, descriptors);
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/start/command-line", test_command_line);
	g_test_add_func("/start/socket", test_socket);
	g_test_add_func("/start/reload-by-signal", test_reload_by_signal);
	g_test_add_func("/start/dry-run", test_dry_run);
	return g_test_run();
}
