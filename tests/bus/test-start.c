// SPDX-License-Identifier: GPL-2.0-or-later
/* Command line, socket, state directory, dry run. */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

/* What systemd is told, on a socket of the test's own. */
static char *notified(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buffer[1024];
	ssize_t n;

	g_assert_cmpint(poll(&p, 1, 20000), >, 0);
	n = recv(fd, buffer, sizeof(buffer), 0);
	g_assert_cmpint(n, >, 0);
	return g_strndup(buffer, n);
}

static void wait_notified(int fd, const char *prefix)
{
	g_autofree char *text = NULL;

	do {
		g_free(text);
		text = notified(fd);
	} while (!g_str_has_prefix(text, prefix));
}

static void test_notify(void)
{
	g_autofree char *dir = g_dir_make_tmp("morsel-notify-XXXXXX", NULL);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	autofd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct harness *h;

	g_snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", dir);
	g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	g_setenv("NOTIFY_SOCKET", address.sun_path, TRUE);
	/* Half a second, and so a life sign at least each quarter. */
	g_setenv("WATCHDOG_USEC", "500000", TRUE);
	h = harness_new(NULL);
	g_unsetenv("NOTIFY_SOCKET");
	g_unsetenv("WATCHDOG_USEC");
	wait_notified(fd, "READY=1");
	wait_notified(fd, "STATUS=");
	for (unsigned int i = 0; i < 4; i++)
		wait_notified(fd, "WATCHDOG=1");
	kill(h->daemon, SIGHUP);
	wait_notified(fd, "RELOADING=1\nMONOTONIC_USEC=");
	wait_notified(fd, "READY=1");
	kill(h->daemon, SIGTERM);
	wait_notified(fd, "STOPPING=1");
	harness_free(h);
	unlink(address.sun_path);
	g_assert_cmpint(rmdir(dir), ==, 0);
}

struct heard {
	GString *text;
};

static int on_tier(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct heard *heard = userdata;
	const char *path = sd_bus_message_get_path(m);

	if (strcmp(sd_bus_message_get_member(m), "PropertiesChanged") != 0)
		g_assert_cmpint(sd_bus_message_read(m, "o", &path), >, 0);
	g_string_append_printf(heard->text, "%s %s\n", sd_bus_message_get_member(m), path);
	return 0;
}

/* A tier that the configuration adds and takes away, and one that it changes. */
static void test_tier_signals(void)
{
	struct harness *h = harness_new(NULL);
	struct heard heard = { .text = g_string_new(NULL) };

	{
		autobus *bus = harness_connect(h);
		automessage *value = NULL;
		const char *kind;

		g_assert_cmpint(sd_bus_add_match(bus, NULL, "type='signal'", on_tier, &heard), >=,
				0);
		sd_bus_message_unref(must_call(bus, "ListTiers", ""));
		g_assert_true(g_file_set_contents(
			h->config_path, "[tier nvm9]\nDevice=/dev/dax99.0\nKind=nvm\n", -1, NULL));
		sd_bus_message_unref(must_call(bus, "Reload", ""));
		while (sd_bus_process(bus, NULL) > 0)
			;
		g_assert_cmpstr(heard.text->str, ==, "TierAdded " MANAGER_PATH "/tier/nvm9\n");
		g_assert_cmpint(sd_bus_get_property(bus, NULL, MANAGER_PATH "/tier/nvm9", TIER,
						    "Kind", NULL, &value, "s"),
				>=, 0);
		g_assert_cmpint(sd_bus_message_read(value, "s", &kind), >, 0);
		g_assert_cmpstr(kind, ==, "nvm");

		g_string_truncate(heard.text, 0);
		g_assert_true(g_file_set_contents(h->config_path,
						  "[tier dram0]\nNode=0\nLatency=77\n", -1, NULL));
		sd_bus_message_unref(must_call(bus, "Reload", ""));
		while (sd_bus_process(bus, NULL) > 0)
			;
		g_assert_cmpstr(heard.text->str, ==,
				"TierRemoved " MANAGER_PATH "/tier/nvm9\n"
				"PropertiesChanged " MANAGER_PATH "/tier/dram0\n");

		/* The same again is no change. */
		g_string_truncate(heard.text, 0);
		sd_bus_message_unref(must_call(bus, "Reload", ""));
		while (sd_bus_process(bus, NULL) > 0)
			;
		g_assert_cmpstr(heard.text->str, ==, "");
	}
	g_string_free(heard.text, TRUE);
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/start/command-line", test_command_line);
	g_test_add_func("/start/socket", test_socket);
	g_test_add_func("/start/reload-by-signal", test_reload_by_signal);
	g_test_add_func("/start/dry-run", test_dry_run);
	g_test_add_func("/start/notify", test_notify);
	g_test_add_func("/start/tier-signals", test_tier_signals);
	return g_test_run();
}
