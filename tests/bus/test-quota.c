// SPDX-License-Identifier: GPL-2.0-or-later
/* What clients try in order to have more than they may. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define MIB (UINT64_C(1) << 20)

static struct harness *h;

/* A client in a process of its own; it must end with 0. */
static pid_t start_child(void (*function)(void *data), void *data)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (pid == 0) {
		function(data);
		_exit(0);
	}
	return pid;
}

static void end_child(pid_t pid)
{
	int status;

	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
}

static int create_fd(sd_bus *bus, const char *name, uint64_t size)
{
	automessage *reply = must_call(bus, "Create", "sta{sv}", name, size, 0);
	const char *id;
	int fd;

	g_assert_cmpint(sd_bus_message_read(reply, "sh", &id, &fd), >, 0);
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static uint64_t quota_number(sd_bus *bus, const char *key)
{
	automessage *reply = must_call(bus, "Quota", "a{sv}", 0);
	g_autoptr(GHashTable) user = NULL;

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
	user = read_dict(reply);
	g_assert_cmpstr(g_hash_table_lookup(user, "scope"), ==, "user");
	g_assert_nonnull(g_hash_table_lookup(user, key));
	return g_ascii_strtoull(g_hash_table_lookup(user, key), NULL, 10);
}

static bool nothing_used(void *bus)
{
	return quota_number(bus, "bytes_used") == 0 && quota_number(bus, "morsels_used") == 0;
}

/* Destroyed, but mapped: charged until it is not. Not by the name's going, nor by the descriptor's. */
static void test_linger(void)
{
	h = harness_new(&(struct harness_options){ .config = "[quota]\nBytesPerUser=8M\n" });
	{
		autobus *bus = harness_connect(h);
		int fd = create_fd(bus, "x", 8 * MIB);
		void *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		g_assert_true(p != MAP_FAILED);
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "x"));
		must_fail(bus, "QuotaExceeded",
			  "'y' of 4096 bytes|8388608|some destroyed|BytesPerUser", "Create",
			  "sta{sv}", "y", (uint64_t)4096, 0);
		close(fd);
		g_assert_cmpuint(quota_number(bus, "bytes_used"), ==, 8 * MIB);
		g_assert_cmpuint(quota_number(bus, "lingering_bytes"), ==, 8 * MIB);
		g_assert_cmpuint(quota_number(bus, "morsels_used"), ==, 1);
		munmap(p, MIB);
		harness_wait(nothing_used, bus, "the memory's end is noticed");
		g_free(must_create(bus, "y", 8 * MIB));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "y"));
		harness_wait(nothing_used, bus, "nothing is used");
	}
	harness_free(h);
}

/* "Destroy, then create" at the limit: the second waits for the memory of the first, which a worker frees. */
static void test_again(void)
{
	h = harness_new(&(struct harness_options){ .config = "[quota]\nBytesPerUser=64M\n" });
	{
		autobus *bus = harness_connect(h);

		for (unsigned int i = 0; i < 5; i++) {
			sd_bus_message_unref(must_call(bus, "Create", "sta{sv}", "x", 64 * MIB, 1,
						       "populate", "b", true));
			sd_bus_message_unref(must_call(bus, "Destroy", "s", "x"));
		}
		/* An error keeps its name on that way. */
		sd_bus_message_unref(must_call(bus, "Create", "sta{sv}", "x", 64 * MIB, 1,
					       "populate", "b", true));
		must_fail(bus, "QuotaExceeded", "BytesPerUser", "Create", "sta{sv}", "y", MIB, 0);
	}
	harness_free(h);
}

static void create_some(void *data)
{
	autobus *bus = harness_connect(h);
	int *pipe_fd = data;

	for (unsigned int i = 0; i < 50; i++) {
		g_autofree char *name = g_strdup_printf("%d-%u", getpid(), i);
		automessage *m = manager_message(bus, "Create");

		g_assert_cmpint(sd_bus_message_append(m, "sta{sv}", name, MIB, 0), >=, 0);
		if (sd_bus_call(bus, m, 0, NULL, NULL) >= 0)
			g_assert_cmpint(write(*pipe_fd, "+", 1), ==, 1);
	}
}

/* Forked clients at once, each with a connection of its own: one user all the same. */
static void test_forks(void)
{
	char buffer[1024];
	int fds[2];
	pid_t pids[8];

	g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
	h = harness_new(&(struct harness_options){ .config = "[quota]\nBytesPerUser=100M\n" });
	for (unsigned int i = 0; i < G_N_ELEMENTS(pids); i++)
		pids[i] = start_child(create_some, &fds[1]);
	for (unsigned int i = 0; i < G_N_ELEMENTS(pids); i++)
		end_child(pids[i]);
	close(fds[1]);
	g_assert_cmpint(read(fds[0], buffer, sizeof(buffer)), ==, 100);
	close(fds[0]);
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(quota_number(bus, "bytes_used"), ==, 100 * MIB);
		g_assert_cmpuint(quota_number(bus, "bytes_limit"), ==, 100 * MIB);
		g_assert_cmpuint(harness_property_t(bus, "morsels"), ==, 100);
	}
	harness_free(h);
}

static void create_as(void *data)
{
	uid_t uid = GPOINTER_TO_UINT(data);

	if (setgid(uid) < 0 || setuid(uid) < 0)
		g_error("cannot become uid %u", uid);
	{
		autobus *bus = harness_connect(h);

		g_free(must_create(bus, "x", 60 * MIB));
		must_fail(bus, "QuotaExceeded", "cgroup '/'|62914560 bytes|104857600|[cgroup /]",
			  "Create", "sta{sv}", "y", 60 * MIB, 0);
	}
}

static void refused_as(void *data)
{
	uid_t uid = GPOINTER_TO_UINT(data);

	if (setgid(uid) < 0 || setuid(uid) < 0)
		g_error("cannot become uid %u", uid);
	{
		autobus *bus = harness_connect(h);

		must_fail(bus, "QuotaExceeded", "cgroup '/'", "Create", "sta{sv}", "x", 60 * MIB,
			  0);
		must_fail(bus, "AccessDenied", "quota of another user", "Quota", "a{sv}", 1,
			  "owner", "u", 0);
	}
}

/* Many users are one cgroup. */
static void test_uids(void)
{
	if (getuid() != 0) {
		g_test_skip("only root can become other users");
		return;
	}
	h = harness_new(&(struct harness_options){ .config = "[cgroup /]\nBytes=100M\n" });
	end_child(start_child(create_as, GUINT_TO_POINTER(3001000)));
	end_child(start_child(refused_as, GUINT_TO_POINTER(3001001)));
	harness_free(h);
}

static void connect_and_leave(void *data)
{
	int fd = harness_connect_raw(h);

	/* Handed on, as to a process in another cgroup. */
	if (dup2(fd, *(int *)data) < 0)
		g_error("dup2: %s", g_strerror(errno));
	g_assert_cmpint(send(fd, "\0AUTH EXTERNAL\r\n", 16, MSG_NOSIGNAL), ==, 16);
}

/* Nobody to charge: the process that connected has gone before it was looked at. */
static void test_orphan(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		int number = 100;

		sd_bus_message_unref(must_call(bus, "ListTiers", ""));
		kill(h->daemon, SIGSTOP);
		end_child(start_child(connect_and_leave, &number));
		kill(h->daemon, SIGCONT);
		harness_wait_log(h, "no cgroup to charge");
		sd_bus_message_unref(must_call(bus, "ListTiers", ""));
	}
	harness_free(h);
}

static void connect_as(void *data)
{
	uid_t uid = GPOINTER_TO_UINT(data);
	char byte;
	int fd;

	if (setgid(uid) < 0 || setuid(uid) < 0)
		g_error("cannot become uid %u", uid);
	fd = harness_connect_raw(h);
	g_assert_cmpint(recv(fd, &byte, 1, 0), <=, 0);
}

/* A daemon in a user namespace that does not know all users: those it cannot tell apart are nobody. */
static void test_user_namespace(void)
{
	if (getuid() != 0) {
		g_test_skip("only root can become other users");
		return;
	}
	h = harness_new(&(struct harness_options){ .user_namespace = true });
	{
		autobus *bus = harness_connect(h);

		g_free(must_create(bus, "x", 4096));
		end_child(start_child(connect_as, GUINT_TO_POINTER(3001000)));
		harness_wait_log(h, "no number in the daemon's user namespace");
		end_child(start_child(connect_as, GUINT_TO_POINTER(65534)));
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/quota/linger", test_linger);
	g_test_add_func("/quota/again", test_again);
	g_test_add_func("/quota/forks", test_forks);
	g_test_add_func("/quota/uids", test_uids);
	g_test_add_func("/quota/orphan", test_orphan);
	g_test_add_func("/quota/user-namespace", test_user_namespace);
	return g_test_run();
}
