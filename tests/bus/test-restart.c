// SPDX-License-Identifier: GPL-2.0-or-later
/* The daemon, its keeper, and both are killed, at any moment; a full disk; a registry that is damaged. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define MIB (UINT64_C(1) << 20)
/* Under way at once, fewer than a user may have. */
#define MOVES 40

static const struct harness_options with_keeper = { .with_keeper = true };

/* Names of all morsels that List gives, in its order, joined by blanks. */
static char *list_names(sd_bus *bus)
{
	GString *names = g_string_new(NULL);
	g_autofree char *cursor = g_strdup("");

	do {
		automessage *reply = must_call(bus, "List", "sua{sv}", cursor, 1000, 0);
		const char *next;

		g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >=, 0);
		while (sd_bus_message_at_end(reply, false) == 0) {
			g_autoptr(GHashTable) info = read_dict(reply);

			g_string_append_printf(names, "%s%s", names->len ? " " : "",
					       (char *)g_hash_table_lookup(info, "name"));
		}
		g_assert_cmpint(sd_bus_message_exit_container(reply), >=, 0);
		g_assert_cmpint(sd_bus_message_read(reply, "s", &next), >, 0);
		g_free(cursor);
		cursor = g_strdup(next);
	} while (cursor[0]);
	return g_string_free(names, FALSE);
}

static GHashTable *show(sd_bus *bus, const char *name)
{
	automessage *reply = must_call(bus, "Show", "s", name);

	return read_dict(reply);
}

static uint64_t *map(sd_bus *bus, const char *name, uint64_t size)
{
	automessage *reply = must_call(bus, "Open", "ss", name, "rw");
	void *p;
	int fd;

	g_assert_cmpint(sd_bus_message_read(reply, "h", &fd), >, 0);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	g_assert_true(p != MAP_FAILED);
	return p;
}

/* The status of one capability that doctor names, and its detail. */
static char *doctor(sd_bus *bus, const char *name)
{
	automessage *reply = must_call(bus, "Doctor", "");
	char *found = NULL;

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >=, 0);
	while (sd_bus_message_at_end(reply, false) == 0) {
		g_autoptr(GHashTable) c = read_dict(reply);

		if (g_str_equal(g_hash_table_lookup(c, "name"), name))
			found = g_strdup_printf("%s: %s", (char *)g_hash_table_lookup(c, "status"),
						(char *)g_hash_table_lookup(c, "detail"));
	}
	g_assert_nonnull(found);
	return found;
}

static void must_be_same(GHashTable *a, GHashTable *b)
{
	GHashTableIter iter;
	gpointer key, value;

	g_assert_cmpuint(g_hash_table_size(a), ==, g_hash_table_size(b));
	g_hash_table_iter_init(&iter, a);
	while (g_hash_table_iter_next(&iter, &key, &value))
		g_assert_cmpstr(value, ==, g_hash_table_lookup(b, key));
}

/* --- The daemon ----------------------------------------------------------------------------- */

static char *explain(sd_bus *bus, const char *name)
{
	automessage *reply = must_call(bus, "Explain", "sa{sv}", name, 0);
	GString *s = g_string_new(NULL);

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >=, 0);
	while (sd_bus_message_at_end(reply, false) == 0) {
		g_autoptr(GHashTable) range = read_dict(reply);

		g_string_append_printf(s, "%s+%s %s: %s, since %s\n",
				       (char *)g_hash_table_lookup(range, "offset_bytes"),
				       (char *)g_hash_table_lookup(range, "length_bytes"),
				       (char *)g_hash_table_lookup(range, "rule"),
				       (char *)g_hash_table_lookup(range, "reason"),
				       (char *)g_hash_table_lookup(range, "since_usec"));
	}
	return g_string_free(s, FALSE);
}

static void move_and_wait(sd_bus *bus, const char *name)
{
	automessage *reply = must_call(bus, "Move", "ssa{sv}", name, "dram0", 2, "offset", "t", MIB,
				       "length", "t", MIB);
	automessage *m = NULL;
	const char *path;

	g_assert_cmpint(sd_bus_message_read(reply, "o", &path), >, 0);
	g_assert_cmpint(sd_bus_message_new_method_call(bus, &m, NULL, path, JOB, "Wait"), >=, 0);
	g_assert_cmpint(sd_bus_call(bus, m, 0, NULL, NULL), >=, 0);
}

/* Everything that can be asked of a morsel is the same afterwards, and a mapping goes on. */
static void test_daemon(void)
{
	struct harness *h = harness_new(&with_keeper);
	g_autofree char *names = NULL, *why = NULL, *why_plain = NULL;
	g_autoptr(GHashTable) a = NULL, b = NULL;
	uint64_t *p, *q;

	{
		autobus *bus = harness_connect(h);

		sd_bus_message_unref(must_call(
			bus, "Create", "sta{sv}", "placed", 4 * MIB, 4, "prefer", "as", 1, "dram0",
			"mode", "u", 0640, "initiators", "ai", 1, 0, "allow", "as", 1, "dram0"));
		g_free(must_create(bus, "plain", MIB));
		g_free(must_create(bus, "gone", MIB));
		g_free(must_create(bus, "last", MIB));
		move_and_wait(bus, "placed");
		p = map(bus, "placed", 4 * MIB);
		for (uint64_t i = 0; i < 4 * MIB / 8; i++)
			p[i] = i * 3;
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "gone"));
		sd_bus_message_unref(
			must_call(bus, "SetAccess", "sa{sv}", "placed", 1, "mode", "u", 0644));
		names = list_names(bus);
		g_assert_cmpstr(names, ==, "placed plain last");
		a = show(bus, "placed");
		b = show(bus, "plain");
		why = explain(bus, "placed");
		why_plain = explain(bus, "plain");
		g_assert_nonnull(strstr(why, "job 1"));
	}
	for (int round = 0; round < 3; round++) {
		if (round < 2) {
			harness_kill_daemon(h);
		} else { /* An upgrade. */
			kill(h->daemon, SIGTERM);
			g_assert_cmpint(waitpid(h->daemon, NULL, 0), ==, h->daemon);
		}
		p[round] = 77;
		harness_restart_daemon(h);
		autobus *bus = harness_connect(h);
		g_autofree char *again = list_names(bus), *why_again = explain(bus, "placed");
		g_autofree char *why_plain_again = explain(bus, "plain");
		g_autofree char *registry = doctor(bus, "registry"),
				*keeper = doctor(bus, "keeper");
		g_autoptr(GHashTable) a_again = show(bus, "placed"), b_again = show(bus, "plain");

		g_assert_cmpstr(again, ==, names);
		must_be_same(a, a_again);
		must_be_same(b, b_again);
		g_assert_cmpstr(why, ==, why_again);
		g_assert_cmpstr(why_plain, ==, why_plain_again);
		g_assert_cmpuint(harness_property_t(bus, "restored"), ==, 3);
		g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 0);
		g_assert_cmpuint(harness_property_t(bus, "kept"), ==, 3);
		g_assert_true(g_str_has_prefix(registry, "ok: 3 morsels"));
		g_assert_true(g_str_has_prefix(keeper, "ok: "));
		q = map(bus, "placed", 4 * MIB);
		g_assert_cmpuint(q[round], ==, 77);
		g_assert_cmpmem(p, 4 * MIB, q, 4 * MIB);
		q[4] = 5 + round;
		g_assert_cmpuint(p[4], ==, 5 + round);
		munmap(q, 4 * MIB);
		/* Quotas know of them, ids of jobs go on, and the name is taken. */
		must_fail(bus, "Exists", "plain", "Create", "sta{sv}", "plain", MIB, 0);
	}
	{
		autobus *bus = harness_connect(h);
		automessage *quota = must_call(bus, "Quota", "a{sv}", 0);
		g_autofree char *explained = NULL;

		g_assert_cmpint(sd_bus_message_enter_container(quota, 'a', "a{sv}"), >, 0);
		{
			g_autoptr(GHashTable) line = read_dict(quota);

			g_assert_cmpstr(g_hash_table_lookup(line, "morsels_used"), ==, "3");
			g_assert_cmpstr(g_hash_table_lookup(line, "bytes_used"), ==, "6291456");
		}
		move_and_wait(bus, "placed");
		explained = explain(bus, "placed");
		g_assert_nonnull(strstr(explained, "job 2"));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "placed"));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "plain"));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "last"));
	}
	munmap(p, 4 * MIB);
	harness_kill_daemon(h);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(harness_property_t(bus, "restored"), ==, 0);
		g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 0);
	}
	harness_free(h);
}

/* --- In the middle -------------------------------------------------------------------------- */

struct burst {
	GHashTable *created, *destroyed; /* names, as answered */
	GHashTable *destroying;		 /* as asked */
	GPtrArray *calls;		 /* of struct pending; some are never answered */
	unsigned int sent, answered;
};

struct pending {
	struct burst *burst;
	char *name;
	bool create;
};

static void pending_free(gpointer data)
{
	struct pending *p = data;

	g_free(p->name);
	g_free(p);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct pending *p = userdata;

	if (!sd_bus_message_is_method_error(m, NULL)) {
		g_hash_table_add(p->create ? p->burst->created : p->burst->destroyed,
				 g_strdup(p->name));
		p->burst->answered++;
	}
	return 0;
}

static void send_one(struct burst *b, sd_bus *bus, const char *name, bool create)
{
	automessage *m = manager_message(bus, create ? "Create" : "Destroy");
	struct pending *p = g_new(struct pending, 1);

	*p = (struct pending){ b, g_strdup(name), create };
	g_ptr_array_add(b->calls, p);
	if (!create)
		g_hash_table_add(b->destroying, g_strdup(name));
	if (create)
		g_assert_cmpint(sd_bus_message_append(m, "sta{sv}", name, UINT64_C(4096), 0), >=,
				0);
	else
		g_assert_cmpint(sd_bus_message_append(m, "s", name), >=, 0);
	g_assert_cmpint(sd_bus_call_async(bus, NULL, m, on_answer, p, 0), >=, 0);
	b->sent++;
}

/*
 * Killed in a burst of creations and destructions at another moment each time: all that was answered is so
 * afterwards, and of the rest each is or is not.
 */
static void test_burst(void)
{
	struct harness *h = harness_new(&with_keeper);
	g_autoptr(GHashTable)
		expected = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (unsigned int round = 0; round < 12; round++) {
		struct burst b = {
			.created = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
			.destroyed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
			.destroying = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
		};
		g_autoptr(GPtrArray) calls = g_ptr_array_new_with_free_func(pending_free);
		g_autofree char *names = NULL;
		g_auto(GStrv) list = NULL;
		GHashTableIter iter;
		gpointer key;

		b.calls = calls;
		{
			autobus *bus = harness_connect(h);
			unsigned int enough = 5 + 23 * round;

			while (b.answered < enough) {
				g_autofree char *name = g_strdup_printf("m-%u-%u", round, b.sent);

				if (b.sent < b.answered + 40)
					send_one(&b, bus, name, true);
				if (b.sent % 3 == 0) {
					g_hash_table_iter_init(&iter, b.created);
					while (g_hash_table_iter_next(&iter, &key, NULL))
						if (!g_hash_table_contains(b.destroying, key)) {
							send_one(&b, bus, key, false);
							break;
						}
				}
				g_assert_cmpint(sd_bus_process(bus, NULL), >=, 0);
			}
			kill(h->daemon, SIGKILL);
			/* What it had answered before is still on its way. */
			while (sd_bus_process(bus, NULL) > 0)
				;
		}
		g_assert_cmpint(waitpid(h->daemon, NULL, 0), ==, h->daemon);
		harness_restart_daemon(h);

		autobus *bus = harness_connect(h);

		names = list_names(bus);
		list = g_strsplit(names, " ", -1);
		g_hash_table_iter_init(&iter, b.created);
		while (g_hash_table_iter_next(&iter, &key, NULL))
			g_assert_true(g_hash_table_contains(b.destroying, key) ||
				      g_strv_contains((const char *const *)list, key));
		g_hash_table_iter_init(&iter, b.destroyed);
		while (g_hash_table_iter_next(&iter, &key, NULL))
			g_assert_false(g_strv_contains((const char *const *)list, key));
		/* Those of the rounds before. */
		g_hash_table_iter_init(&iter, expected);
		while (g_hash_table_iter_next(&iter, &key, NULL))
			g_assert_true(g_strv_contains((const char *const *)list, key));
		g_hash_table_remove_all(expected);
		for (unsigned int i = 0; list[i] && list[i][0]; i++)
			g_hash_table_add(expected, g_strdup(list[i]));
		g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 0);
		g_assert_cmpuint(harness_property_t(bus, "kept"), ==, g_hash_table_size(expected));
		g_hash_table_unref(b.created);
		g_hash_table_unref(b.destroyed);
		g_hash_table_unref(b.destroying);
	}
	harness_free(h);
}

static int on_move(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *path;

	g_assert_cmpint(sd_bus_message_read(m, "o", &path), >, 0);
	g_hash_table_add(userdata, g_strdup(strrchr(path, '/') + 1));
	return 0;
}

/* Many at once; all are answered. Their ids. */
static GHashTable *move_often(sd_bus *bus, const char *name)
{
	GHashTable *ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (unsigned int i = 0; i < MOVES; i++) {
		automessage *m = manager_message(bus, "Move");

		g_assert_cmpint(sd_bus_message_append(m, "ssa{sv}", name, "dram0", 0), >=, 0);
		g_assert_cmpint(sd_bus_call_async(bus, NULL, m, on_move, ids, 0), >=, 0);
	}
	while (g_hash_table_size(ids) < MOVES) {
		int r = sd_bus_process(bus, NULL);

		g_assert_cmpint(r, >=, 0);
		if (r == 0)
			g_assert_cmpint(sd_bus_wait(bus, 20000000), >=, 0);
	}
	return ids;
}

/* All jobs are moves of it that were interrupted, and of those that were answered. How many. */
static unsigned int must_be_interrupted(sd_bus *bus, const char *name, GHashTable *ids)
{
	automessage *jobs = must_call(bus, "ListJobs", "");
	unsigned int n = 0;

	g_assert_cmpint(sd_bus_message_enter_container(jobs, 'a', "a{sv}"), >=, 0);
	while (sd_bus_message_at_end(jobs, false) == 0) {
		g_autoptr(GHashTable) job = read_dict(jobs);

		g_assert_cmpstr(g_hash_table_lookup(job, "state"), ==, "interrupted");
		g_assert_cmpstr(g_hash_table_lookup(job, "morsel_name"), ==, name);
		g_assert_cmpstr(g_hash_table_lookup(job, "tier"), ==, "dram0");
		g_assert_cmpstr(g_hash_table_lookup(job, "error"), !=, "");
		g_assert_true(g_hash_table_contains(ids, g_hash_table_lookup(job, "id")));
		n++;
	}
	g_assert_cmpuint(harness_property_t(bus, "interrupted_moves"), ==, n);
	return n;
}

/* Moves that had not ended are told by their numbers. */
static void test_moves(void)
{
	struct harness *h = harness_new(&with_keeper);
	g_autoptr(GHashTable) ids = NULL;

	{
		autobus *bus = harness_connect(h);

		g_free(must_create(bus, "data", 2 * MIB));
		move_and_wait(bus, "data");
		harness_hold_moves(h);
		ids = move_often(bus, "data");
		harness_kill_daemon(h);
	}
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);
		g_autofree char *why = explain(bus, "data"), *log = harness_log(h);

		g_assert_cmpuint(must_be_interrupted(bus, "data", ids), ==, MOVES);
		g_assert_nonnull(strstr(why, "was interrupted by the end of morseld"));
		g_assert_nonnull(strstr(log, "was interrupted by the end of morseld"));
		/* When this is answered, what was changed before it is written. */
		g_free(must_create(bus, "later", 4096));
	}
	/* Told once: the next start knows of none. */
	harness_kill_daemon(h);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);
		g_autofree char *why = explain(bus, "data");

		g_assert_cmpuint(harness_property_t(bus, "interrupted_moves"), ==, 0);
		g_assert_nonnull(strstr(why, "was interrupted by the end of morseld"));
	}
	harness_free(h);
}

/* What was being moved, or has just been, is whole. */
static void test_moving(void)
{
	struct harness *h = harness_new(&with_keeper);
	g_autoptr(GHashTable) ids = NULL;
	uint64_t size = 64 * MIB, *p;

	{
		autobus *bus = harness_connect(h);

		g_free(must_create(bus, "data", size));
		p = map(bus, "data", size);
		for (uint64_t i = 0; i < size / 8; i++)
			p[i] = i;
		ids = move_often(bus, "data");
		harness_kill_daemon(h);
	}
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);

		/* It is the machine's affair how many have ended. */
		(void)must_be_interrupted(bus, "data", ids);
		for (uint64_t i = 0; i < size / 8; i++)
			g_assert_cmpuint(p[i], ==, i);
	}
	munmap(p, size);
	harness_free(h);
}

/* --- The keeper ----------------------------------------------------------------------------- */

struct awaited {
	sd_bus *bus;
	const char *prefix;
};

static bool keeper_is(void *data)
{
	struct awaited *a = data;
	g_autofree char *is = doctor(a->bus, "keeper");

	return g_str_has_prefix(is, a->prefix);
}

static void await_keeper(sd_bus *bus, const char *prefix)
{
	struct awaited a = { bus, prefix };

	harness_wait(keeper_is, &a, prefix);
}

/* The keeper, then the daemon, then the keeper: nothing is missing. */
static void test_keeper(void)
{
	struct harness *h = harness_new(&with_keeper);

	{
		autobus *bus = harness_connect(h);

		for (unsigned int i = 0; i < 600; i++) {
			g_autofree char *name = g_strdup_printf("m%u", i);

			g_free(must_create(bus, name, 4096));
		}
		harness_kill_keeper(h);
		await_keeper(bus, "degraded");
		/* All goes on without one. */
		g_free(must_create(bus, "without", 4096));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "m7"));
		harness_start_keeper(h);
		await_keeper(bus, "ok");
		g_assert_cmpuint(harness_property_t(bus, "kept"), ==, 600);
	}
	harness_kill_daemon(h);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(harness_property_t(bus, "restored"), ==, 600);
		g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 0);
		g_hash_table_unref(show(bus, "without"));
		harness_kill_keeper(h);
		await_keeper(bus, "degraded");
		harness_start_keeper(h);
		await_keeper(bus, "ok");
		g_assert_cmpuint(harness_property_t(bus, "kept"), ==, 600);
	}
	harness_free(h);
}

/* Both at once: exactly what is lost is said, and it does not block its name. */
static void test_both(void)
{
	struct harness *h = harness_new(&with_keeper);
	g_autofree char *id = NULL, *lost_path = g_build_filename(h->dir, "state/lost", NULL);
	g_autofree char *lost = NULL, *log = NULL;
	uint64_t *p;

	{
		autobus *bus = harness_connect(h);

		id = must_create(bus, "mapped", MIB);
		for (unsigned int i = 0; i < 200; i++) {
			g_autofree char *name = g_strdup_printf("m%u", i);

			g_free(must_create(bus, name, 4096));
		}
		p = map(bus, "mapped", MIB);
		p[0] = 1;
	}
	kill(h->keeper, SIGSTOP); /* so that they end at once, as far as anybody can tell */
	harness_kill_daemon(h);
	harness_kill_keeper(h);
	harness_start_keeper(h);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);
		g_autofree char *names = list_names(bus), *registry = doctor(bus, "registry");
		g_auto(GStrv) lines = NULL;

		g_assert_cmpstr(names, ==, "");
		g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 201);
		g_assert_nonnull(strstr(registry, "degraded: 0 morsels"));
		g_assert_nonnull(strstr(registry, "201 morsels were lost"));
		log = harness_log(h);
		g_assert_nonnull(strstr(log, "201 are lost"));
		/* A line for each up to a bound, and a file with all. */
		lines = g_strsplit(log, "lost: morsel ", -1);
		g_assert_cmpuint(g_strv_length(lines), ==, 101);
		g_assert_true(g_file_get_contents(lost_path, &lost, NULL, NULL));
		g_strfreev(lines);
		lines = g_strsplit(lost, "\n", -1);
		g_assert_cmpuint(g_strv_length(lines), ==, 202);
		g_assert_true(g_str_has_prefix(lines[0], id));
		g_assert_nonnull(strstr(lines[0], ":mapped 1048576 bytes"));
		must_fail(bus, "NoSuchMorsel", "mapped", "Show", "s", "mapped");
		g_free(must_create(bus, "mapped", 4096));
	}
	/* Who maps it keeps it. */
	g_assert_cmpuint(p[0], ==, 1);
	p[1] = 2;
	munmap(p, MIB);
	harness_kill_daemon(h);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 0);
		g_assert_cmpuint(harness_property_t(bus, "restored"), ==, 1);
	}
	harness_free(h);
}

/* --- What was destroyed ---------------------------------------------------------------------- */

static uint64_t quota_number(sd_bus *bus, const char *key)
{
	automessage *reply = must_call(bus, "Quota", "a{sv}", 0);
	g_autoptr(GHashTable) user = NULL;

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
	user = read_dict(reply);
	return g_ascii_strtoull(g_hash_table_lookup(user, key), NULL, 10);
}

static void must_linger(sd_bus *bus, uint64_t morsels)
{
	g_assert_cmpuint(quota_number(bus, "lingering_bytes"), ==, morsels * MIB);
	g_assert_cmpuint(quota_number(bus, "bytes_used"), ==, morsels * MIB);
	g_assert_cmpuint(quota_number(bus, "morsels_used"), ==, morsels);
	g_assert_cmpuint(harness_property_t(bus, "kept"), ==, 0);
	g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 0);
}

static bool nothing_used(void *bus)
{
	return quota_number(bus, "bytes_used") == 0;
}

/* Charged to its owner while it is mapped, however often the daemon, or the keeper, ends meanwhile. */
static void test_linger(void)
{
	struct harness *h = harness_new(&(struct harness_options){
		.with_keeper = true, .config = "[quota]\nBytesPerUser=3M\n" });
	uint64_t *p[3];

	{
		autobus *bus = harness_connect(h);

		for (unsigned int i = 0; i < 3; i++) {
			g_autofree char *name = g_strdup_printf("m%u", i);

			g_free(must_create(bus, name, MIB));
			p[i] = map(bus, name, MIB);
			p[i][0] = i;
			sd_bus_message_unref(must_call(bus, "Destroy", "s", name));
		}
		must_linger(bus, 3);
	}
	for (unsigned int round = 0; round < 3; round++) {
		if (round == 1) {
			kill(h->daemon, SIGTERM);
			g_assert_cmpint(waitpid(h->daemon, NULL, 0), ==, h->daemon);
		} else {
			harness_kill_daemon(h);
		}
		/* One goes while nobody looks. */
		if (round == 1)
			munmap(p[0], MIB);
		harness_restart_daemon(h);

		autobus *bus = harness_connect(h);

		must_linger(bus, round == 0 ? 3 : 2);
		if (round == 0)
			must_fail(bus, "QuotaExceeded", "some destroyed|BytesPerUser", "Create",
				  "sta{sv}", "more", MIB, 0);
		if (round == 1) {
			/* The keeper is handed it again. */
			harness_kill_keeper(h);
			await_keeper(bus, "degraded");
			harness_start_keeper(h);
			await_keeper(bus, "ok");
		}
	}
	harness_wait_log(h, "of 2 that were destroyed the memory is still held");
	{
		autobus *bus = harness_connect(h);

		for (unsigned int i = 1; i < 3; i++) {
			g_assert_cmpuint(p[i][0], ==, i);
			munmap(p[i], MIB);
		}
		harness_wait(nothing_used, bus, "the memory's end is noticed");
		g_free(must_create(bus, "all", 3 * MIB));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "all"));
		harness_wait(nothing_used, bus, "nothing is used");
	}
	/* All of it has left the registry, too. */
	harness_kill_daemon(h);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);

		must_linger(bus, 0);
	}
	harness_free(h);
}

/* --- The registry's files ------------------------------------------------------------------- */

static void cut(struct harness *h, const char *name, off_t bytes)
{
	g_autofree char *path = g_build_filename(h->dir, "state", name, NULL);
	struct stat st;

	g_assert_cmpint(stat(path, &st), ==, 0);
	g_assert_cmpint(truncate(path, MAX(st.st_size - bytes, 0)), ==, 0);
}

static void test_damaged(void)
{
	struct harness *h = harness_new(&with_keeper);

	{
		autobus *bus = harness_connect(h);

		for (unsigned int i = 0; i < 20; i++) {
			g_autofree char *name = g_strdup_printf("m%u", i);

			g_free(must_create(bus, name, 4096));
		}
	}
	harness_kill_daemon(h);
	cut(h, "registry", 100);
	harness_restart_daemon(h);
	harness_wait_log(h, "the copy registry.copy is used");
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(harness_property_t(bus, "restored"), ==, 20);
		/* Both are whole again when something is answered. */
		g_free(must_create(bus, "more", 4096));
	}
	harness_kill_daemon(h);
	cut(h, "registry.copy", 1 << 20);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(harness_property_t(bus, "restored"), ==, 21);
		g_free(must_create(bus, "again", 4096));
	}
	/* Both: what is not named any more is not given back, for it may be somebody's. */
	harness_kill_daemon(h);
	cut(h, "registry", 10);
	cut(h, "registry.copy", 10);
	harness_restart_daemon(h);
	harness_wait_log(h, "1 descriptors that no morsel claims: left there");
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(harness_property_t(bus, "restored"), ==, 21);
		g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 0);
	}
	harness_free(h);
}

/* A record of these is small; nothing is done here, for lack of a helper. */
static void provision_until_full(sd_bus *bus)
{
	for (unsigned int i = 0; i < 1000; i++) {
		automessage *m = manager_message(bus, "Provision");
		sd_bus_error error = SD_BUS_ERROR_NULL;
		bool full;

		g_assert_cmpint(sd_bus_message_append(m, "sa{sv}", "serial:1", 0), >=, 0);
		full = sd_bus_call(bus, m, 0, &error, NULL) < 0 &&
		       g_str_equal(error.name, ERROR("NoSpace"));
		sd_bus_error_free(&error);
		if (full)
			return;
	}
	g_error("the registry does not become full");
}

/* Full disk: Create says so and leaves nothing; what is there can be used and destroyed; then it goes on. */
static void test_full(void)
{
	struct harness *h = harness_new(
		&(struct harness_options){ .with_keeper = true, .file_size = 64 << 10 });
	unsigned int n = 0, descriptors;

	{
		autobus *bus = harness_connect(h);
		bool full = false;

		while (!full) {
			automessage *m = manager_message(bus, "Create");
			g_autofree char *name = g_strdup_printf("m%u", n);
			sd_bus_error error = SD_BUS_ERROR_NULL;

			g_assert_cmpint(sd_bus_message_append(m, "sta{sv}", name, UINT64_C(4096),
							      0),
					>=, 0);
			full = sd_bus_call(bus, m, 0, &error, NULL) < 0;
			if (full) {
				g_assert_cmpstr(error.name, ==, ERROR("NoSpace"));
				g_assert_nonnull(strstr(error.message, "registry"));
			}
			n += !full;
			g_assert_cmpuint(n, <, 10000);
			sd_bus_error_free(&error);
		}
		g_assert_cmpuint(n, >, 50);
	}
	descriptors = harness_descriptors(h);
	{
		autobus *bus = harness_connect(h);
		g_autofree char *registry = doctor(bus, "registry");

		g_assert_nonnull(strstr(registry, "degraded: "));
		must_fail(bus, "NoSpace", "registry", "Create", "sta{sv}", "more", (uint64_t)4096,
			  0);
		must_fail(bus, "NoSpace", "registry", "Move", "ssa{sv}", "m0", "dram0", 0);
		if (getuid() == 0)
			provision_until_full(bus);
		g_hash_table_unref(show(bus, "m0"));
		/* Room again. */
		for (unsigned int i = 0; i < n / 2; i++) {
			g_autofree char *name = g_strdup_printf("m%u", i);

			sd_bus_message_unref(must_call(bus, "Destroy", "s", name));
		}
		g_free(must_create(bus, "more", 4096));
		g_free(registry);
		registry = doctor(bus, "registry");
		g_assert_true(g_str_has_prefix(registry, "ok: "));
		g_assert_cmpuint(harness_property_t(bus, "morsels"), ==, n - n / 2 + 1);
	}
	harness_wait_descriptors(h, descriptors - n / 2 + 1);
	harness_kill_daemon(h);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(harness_property_t(bus, "restored"), ==, n - n / 2 + 1);
		g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 0);
		g_assert_cmpuint(harness_property_t(bus, "kept"), ==, n - n / 2 + 1);
	}
	harness_free(h);
}

/* Stopped and started under load, as an upgrade does: who asks meets the old one, nobody, or the new one. */
static void test_upgrade(void)
{
	struct harness *h = harness_new(&with_keeper);
	int fds[2];
	pid_t pid;
	unsigned int created = 0;
	char c;

	g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
	pid = fork();
	if (pid == 0) {
		for (unsigned int i = 0;; i++) {
			g_autofree char *address = g_strdup_printf("unix:path=%s", h->socket_path);
			sd_bus *bus = NULL;

			sd_bus_new(&bus);
			sd_bus_set_address(bus, address);
			sd_bus_negotiate_fds(bus, true);
			if (sd_bus_start(bus) >= 0)
				for (;; i++) {
					g_autofree char *name = g_strdup_printf("m%u", i);

					if (sd_bus_call_method(bus, NULL, MANAGER_PATH, MANAGER,
							       "Create", NULL, NULL, "sta{sv}",
							       name, UINT64_C(4096), 0) < 0)
						break;
					if (write(fds[1], "x", 1) != 1)
						_exit(0);
				}
			sd_bus_close_unref(bus);
			if (getppid() == 1)
				_exit(0);
			poll(NULL, 0, 1);
		}
	}
	close(fds[1]);
	for (unsigned int round = 0; round < 5; round++) {
		for (unsigned int i = 0; i < 50; i++, created++)
			g_assert_cmpint(read(fds[0], &c, 1), ==, 1);
		kill(h->daemon, SIGTERM);
		g_assert_cmpint(waitpid(h->daemon, NULL, 0), ==, h->daemon);
		harness_restart_daemon(h);
	}
	kill(pid, SIGKILL);
	g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
	while (read(fds[0], &c, 1) == 1)
		created++;
	close(fds[0]);
	{
		autobus *bus = harness_connect(h);

		g_assert_cmpuint(harness_property_t(bus, "lost"), ==, 0);
		g_assert_cmpuint(harness_property_t(bus, "morsels"), >=, created);
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/restart/daemon", test_daemon);
	g_test_add_func("/restart/burst", test_burst);
	g_test_add_func("/restart/moves", test_moves);
	g_test_add_func("/restart/moving", test_moving);
	g_test_add_func("/restart/keeper", test_keeper);
	g_test_add_func("/restart/both", test_both);
	g_test_add_func("/restart/linger", test_linger);
	g_test_add_func("/restart/damaged", test_damaged);
	g_test_add_func("/restart/full", test_full);
	g_test_add_func("/restart/upgrade", test_upgrade);
	return g_test_run();
}
