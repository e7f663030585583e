// SPDX-License-Identifier: GPL-2.0-or-later
/* Moves as jobs: waiting, cancelling, what is told to whom, bounds. */
#include <stdio.h>
#include <string.h>

#include "harness.h"

#define MIB (UINT64_C(1) << 20)

static struct harness *h;

static char *move(sd_bus *bus, const char *name)
{
	automessage *reply = must_call(bus, "Move", "ssa{sv}", name, "dram0", 0);
	const char *path;

	g_assert_cmpint(sd_bus_message_read(reply, "o", &path), >, 0);
	return g_strdup(path);
}

static sd_bus_message *job_message(sd_bus *bus, const char *path, const char *method)
{
	const char *destination = sd_bus_is_bus_client(bus) ? "org.parperos.Morsel1" : NULL;
	sd_bus_message *m;

	g_assert_cmpint(sd_bus_message_new_method_call(bus, &m, destination, path, JOB, method), >=,
			0);
	return m;
}

/* The job's end; its result is returned. */
static GHashTable *wait_for(sd_bus *bus, const char *path, const char *want_state)
{
	automessage *m = job_message(bus, path, "Wait");
	automessage *reply = NULL;
	const char *state, *error;

	g_assert_cmpint(sd_bus_call(bus, m, 0, NULL, &reply), >=, 0);
	g_assert_cmpint(sd_bus_message_read(reply, "ss", &state, &error), >, 0);
	g_assert_cmpstr(state, ==, want_state);
	g_assert_cmpstr(error, ==, strcmp(state, "cancelled") == 0 ? "cancelled" : "");
	return read_dict(reply);
}

static uint64_t number(GHashTable *dict, const char *key)
{
	const char *value = g_hash_table_lookup(dict, key);

	g_assert_nonnull(value);
	return g_ascii_strtoull(value, NULL, 10);
}

static void move_and_wait(sd_bus *bus, const char *name)
{
	g_autofree char *path = move(bus, name);

	g_hash_table_unref(wait_for(bus, path, "done"));
}

static void populate(sd_bus *bus, const char *name, uint64_t size)
{
	sd_bus_message_unref(
		must_call(bus, "Create", "sta{sv}", name, size, 1, "populate", "b", true));
}

struct heard {
	unsigned int changed, removed;
	char *state, *path;
};

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct heard *heard = userdata;
	g_autoptr(GHashTable) dict = NULL;
	const char *interface;

	g_assert_cmpint(sd_bus_message_read(m, "s", &interface), >, 0);
	g_assert_cmpstr(interface, ==, JOB);
	dict = read_dict(m);
	heard->changed++;
	g_free(heard->state);
	heard->state = g_strdup(g_hash_table_lookup(dict, "State"));
	g_assert_nonnull(g_hash_table_lookup(dict, "DoneBytes"));
	return 0;
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct heard *heard = userdata;
	const char *path, *result;

	g_assert_cmpint(sd_bus_message_read(m, "os", &path, &result), >, 0);
	g_assert_cmpstr(result, ==, heard->state);
	g_free(heard->path);
	heard->path = g_strdup(path);
	heard->removed++;
	return 0;
}

static void listen_to(sd_bus *bus, struct heard *heard)
{
	const char *sender = sd_bus_is_bus_client(bus) ? "org.parperos.Morsel1" : NULL;

	g_assert_cmpint(sd_bus_match_signal(bus, NULL, sender, NULL, PROPERTIES,
					    "PropertiesChanged", on_changed, heard),
			>=, 0);
	g_assert_cmpint(sd_bus_match_signal(bus, NULL, sender, MANAGER_PATH, MANAGER, "JobRemoved",
					    on_removed, heard),
			>=, 0);
}

static void pump(sd_bus *bus)
{
	while (sd_bus_process(bus, NULL) > 0)
		;
}

static void heard_done(struct heard *heard)
{
	g_free(heard->state);
	g_free(heard->path);
}

/* A move, seen by the connection that started it and by another one. */
static void check_job(sd_bus *(*connect_to)(struct harness *))
{
	autobus *bus = connect_to(h);
	autobus *other = connect_to(h);
	struct heard heard = {}, overheard = {};
	g_autofree char *path = NULL, *again = NULL;
	g_autoptr(GHashTable) result = NULL, job = NULL;
	automessage *jobs = NULL;

	listen_to(bus, &heard);
	listen_to(other, &overheard);
	populate(bus, "x", 8 * MIB);
	path = move(bus, "x");
	result = wait_for(bus, path, "done");
	/* dram0 is the only tier with pages that every machine has: all is there already. */
	g_assert_cmpuint(number(result, "moved_bytes") + number(result, "already_bytes"), ==,
			 8 * MIB);
	g_assert_cmpuint(number(result, "absent_bytes") + number(result, "failed_bytes"), ==, 0);
	pump(bus);
	g_assert_cmpuint(heard.removed, ==, 1);
	g_assert_cmpuint(heard.changed, >=, 1);
	g_assert_cmpstr(heard.state, ==, "done");
	g_assert_cmpstr(heard.path, ==, path);

	/* It stays for a while, and can be asked for by whoever may see it. */
	again = g_strdup(path);
	g_hash_table_unref(wait_for(other, again, "done"));
	jobs = must_call(other, "ListJobs", "");
	g_assert_cmpint(sd_bus_message_enter_container(jobs, 'a', "a{sv}"), >, 0);
	job = read_dict(jobs);
	g_assert_cmpstr(g_hash_table_lookup(job, "state"), ==, "done");
	g_assert_cmpstr(g_hash_table_lookup(job, "kind"), ==, "move");
	g_assert_cmpstr(g_hash_table_lookup(job, "tier"), ==, "dram0");
	g_assert_cmpstr(g_hash_table_lookup(job, "morsel_name"), ==, "x");
	g_assert_cmpuint(number(job, "done_bytes"), ==, 8 * MIB);
	g_assert_cmpuint(number(job, "total_bytes"), ==, 8 * MIB);
	pump(other);
	g_assert_cmpuint(overheard.changed + overheard.removed, ==, 0);

	{
		automessage *m = job_message(bus, MANAGER_PATH "/job/999999", "Wait");

		must_fail_message(bus, "org.freedesktop.DBus.Error.UnknownObject", "", m);
	}
	sd_bus_message_unref(must_call(bus, "Destroy", "s", "x"));
	heard_done(&heard);
	heard_done(&overheard);
}

static void test_private(void)
{
	h = harness_new(NULL);
	check_job(harness_connect);
	harness_free(h);
}

static void test_bus(void)
{
	h = harness_new(&(struct harness_options){ .with_bus = true });
	harness_wait_log(h, "serving org.parperos.Morsel1 on");
	check_job(harness_connect_bus);
	harness_free(h);
}

static void test_dry_run(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		automessage *reply = NULL, *explained = NULL;
		g_autoptr(GHashTable) result = NULL, range = NULL;
		const char *path;

		populate(bus, "x", 4 * MIB);
		g_free(must_create(bus, "empty", 4 * MIB));
		reply = must_call(bus, "Move", "ssa{sv}", "x", "dram0", 2, "dry_run", "b", true,
				  "offset", "t", MIB);
		g_assert_cmpint(sd_bus_message_read(reply, "o", &path), >, 0);
		result = wait_for(bus, path, "done");
		g_assert_cmpuint(number(result, "already_bytes"), ==, 3 * MIB);
		g_assert_cmpuint(number(result, "moved_bytes"), ==, 0);
		/* No rule was changed by it. */
		explained = must_call(bus, "Explain", "sa{sv}", "x", 0);
		g_assert_cmpint(sd_bus_message_enter_container(explained, 'a', "a{sv}"), >, 0);
		range = read_dict(explained);
		g_assert_cmpstr(g_hash_table_lookup(range, "rule"), !=, "move");
		g_assert_cmpuint(harness_property_t(bus, "moved_bytes"), ==, 0);
	}
	harness_free(h);
}

/* One at a time: those behind wait, and can be cancelled; so can all by destroying their morsel. */
static void test_cancel(void)
{
	g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);

	h = harness_new(&(struct harness_options){ .config = "[daemon]\nJobThreads=1\n" });
	{
		autobus *bus = harness_connect(h);

		populate(bus, "big", 8 * MIB);
		g_free(must_create(bus, "small", 4096));
		move_and_wait(bus, "small");
		harness_hold_moves(h);
		for (unsigned int i = 0; i < 40; i++)
			g_ptr_array_add(paths, move(bus, "big"));
		g_ptr_array_add(paths, move(bus, "small"));
		for (unsigned int i = 0; i < 2; i++) {
			automessage *cancel = job_message(bus, paths->pdata[40], "Cancel");

			/* Cancelling what has ended changes nothing. */
			g_assert_cmpint(sd_bus_call(bus, cancel, 0, NULL, NULL), >=, 0);
			g_hash_table_unref(wait_for(bus, paths->pdata[40], "cancelled"));
		}

		sd_bus_message_unref(must_call(bus, "Destroy", "s", "big"));
		for (unsigned int i = 1; i < 40; i++)
			g_hash_table_unref(wait_for(bus, paths->pdata[i], "cancelled"));
		/* The first had its turn. */
		harness_release_moves(h);
		g_hash_table_unref(wait_for(bus, paths->pdata[0], "cancelled"));
		must_fail(bus, "NoSuchMorsel", "'big'", "Move", "ssa{sv}", "big", "dram0", 0);
		/* The queue goes on. */
		move_and_wait(bus, "small");
	}
	harness_free(h);
}

struct states {
	unsigned int a, b; /* running */
	unsigned int queued;
};

static struct states look(sd_bus *bus)
{
	automessage *list = must_call(bus, "ListJobs", "");
	struct states found = {};

	g_assert_cmpint(sd_bus_message_enter_container(list, 'a', "a{sv}"), >, 0);
	while (sd_bus_message_at_end(list, false) == 0) {
		g_autoptr(GHashTable) job = read_dict(list);
		const char *state = g_hash_table_lookup(job, "state");

		found.queued += strcmp(state, "queued") == 0;
		if (strcmp(state, "running") != 0)
			continue;
		if (strcmp(g_hash_table_lookup(job, "morsel_name"), "a") == 0)
			found.a++;
		else
			found.b++;
	}
	return found;
}

/* Threads are made when work waits for one: that each of two jobs has one, the first is held meanwhile. */
static void make_two_threads(sd_bus *bus)
{
	g_autofree char *a = NULL, *b = NULL;

	move_and_wait(bus, "a");
	harness_hold_moves(h);
	a = move(bus, "a");
	b = move(bus, "b");
	harness_release_moves(h);
	g_hash_table_unref(wait_for(bus, a, "done"));
	g_hash_table_unref(wait_for(bus, b, "done"));
}

/* With threads for eight, one morsel is moved by one job at a time; two morsels by two. */
static void test_one_per_morsel(void)
{
	h = harness_new(&(struct harness_options){ .config = "[daemon]\nJobThreads=8\n" });
	{
		autobus *bus = harness_connect(h);
		gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
		struct states found;

		populate(bus, "a", 32 * MIB);
		populate(bus, "b", 32 * MIB);
		make_two_threads(bus);
		harness_hold_moves(h);
		for (unsigned int i = 0; i < 60; i++)
			g_free(move(bus, i % 2 ? "a" : "b"));
		found = look(bus);
		g_assert_cmpuint(found.a, ==, 1);
		g_assert_cmpuint(found.b, ==, 1);
		g_assert_cmpuint(found.queued, ==, 58);
		harness_release_moves(h);
		do {
			found = look(bus);
			g_assert_cmpuint(found.a, <=, 1);
			g_assert_cmpuint(found.b, <=, 1);
			g_assert_cmpint(g_get_monotonic_time(), <, end);
		} while (found.a + found.b + found.queued > 0);
	}
	harness_free(h);
}

/* A user may have 64 jobs queued or running; and the last 256 that ended are remembered. */
static void test_bounds(void)
{
	h = harness_new(&(struct harness_options){ .config = "[daemon]\nJobThreads=1\n" });
	{
		autobus *bus = harness_connect(h);
		unsigned int listed = 0;
		automessage *list = NULL;

		populate(bus, "big", 8 * MIB);
		g_free(must_create(bus, "small", 4096));
		move_and_wait(bus, "small");
		harness_hold_moves(h);
		for (unsigned int i = 0; i < 64; i++)
			g_free(move(bus, "big"));
		must_fail(bus, "QuotaExceeded", "64 jobs", "Move", "ssa{sv}", "big", "dram0", 0);
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "big"));
		harness_release_moves(h);

		for (unsigned int i = 0; i < 300; i++)
			move_and_wait(bus, "small");
		list = must_call(bus, "ListJobs", "");
		g_assert_cmpint(sd_bus_message_enter_container(list, 'a', "a{sv}"), >, 0);
		while (sd_bus_message_at_end(list, false) == 0) {
			g_hash_table_unref(read_dict(list));
			listed++;
		}
		g_assert_cmpuint(listed, ==, 256);
	}
	harness_free(h);
}

/* A caller that goes away does not take its job along. */
static void test_caller_gone(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		unsigned int descriptors;
		g_autofree char *path = NULL;

		populate(bus, "x", 64 * MIB);
		descriptors = harness_descriptors(h);
		{
			sd_bus *gone = harness_connect(h);
			automessage *wait = NULL;
			uint64_t cookie;

			path = move(gone, "x");
			wait = job_message(gone, path, "Wait");
			g_assert_cmpint(sd_bus_send(gone, wait, &cookie), >=, 0);
			sd_bus_flush(gone);
			sd_bus_close_unref(gone);
		}
		g_hash_table_unref(wait_for(bus, path, "done"));
		harness_wait_descriptors(h, descriptors);
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/jobs/private", test_private);
	g_test_add_func("/jobs/bus", test_bus);
	g_test_add_func("/jobs/dry-run", test_dry_run);
	g_test_add_func("/jobs/cancel", test_cancel);
	g_test_add_func("/jobs/one-per-morsel", test_one_per_morsel);
	g_test_add_func("/jobs/bounds", test_bounds);
	g_test_add_func("/jobs/caller-gone", test_caller_gone);
	return g_test_run();
}
