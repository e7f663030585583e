// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "linger.h"
#include "quota.h"
#include "test-tree.h"

#define GIB (UINT64_C(1) << 30)

struct world {
	struct tree tree;
	struct users *users;
	struct config *config;
	struct quota *quota;
};

static void configure(struct world *w, const char *text)
{
	g_autofree char *path = g_build_filename(w->tree.path, "morseld.conf", NULL);
	struct config *config = NULL;
	char *message = NULL;

	tree_write(&w->tree, "morseld.conf", text);
	if (config_load(path, &config, &message) < 0)
		g_error("%s", message);
	quota_configure(w->quota, config, 100 * GIB);
	config_free(w->config);
	w->config = config;
}

static void begin(struct world *w, const char *text)
{
	*w = (struct world){ .tree = tree_new(), .users = users_new(NULL) };
	w->quota = quota_new(w->users);
	configure(w, text);
}

static void end(struct world *w)
{
	quota_free(w->quota);
	users_free(w->users);
	config_free(w->config);
	tree_done(&w->tree);
}

static void must_charge(struct quota_account *a, enum quota_kind kind, uint64_t n)
{
	g_autofree char *text = NULL;

	if (quota_charge(a, kind, n, NULL, &text) < 0)
		g_error("%s", text);
}

static void must_refuse(struct quota_account *a, enum quota_kind kind, uint64_t n,
			const char *words)
{
	g_auto(GStrv) list = g_strsplit(words, "|", -1);
	g_autofree char *text = NULL;

	g_assert_cmpint(quota_charge(a, kind, n, "morsel 'x'", &text), ==, -EDQUOT);
	for (unsigned int i = 0; list[i]; i++)
		if (!strstr(text, list[i]))
			g_error("'%s' does not contain '%s'", text, list[i]);
}

/* One user: from several cgroups, several accounts; the sum that does not fit in 64 bits; undone. */
static void test_user(void)
{
	struct quota_account *a, *b;
	struct quota_line line;
	struct world w;

	begin(&w, "[quota]\nBytesPerUser=10G\nJobsPerUser=2\n[cgroup /]\nBytes=none\n");
	a = quota_account_get(w.quota, 3001000, "/a");
	b = quota_account_get(w.quota, 3001000, "/b");
	must_charge(a, QUOTA_BYTES, 6 * GIB);
	must_charge(b, QUOTA_BYTES, 4 * GIB);
	must_refuse(
		a, QUOTA_BYTES, 1,
		"morsel 'x': 3001000 has 10737418240 bytes of morsels|10737418240 (BytesPerUser="
		" in [quota], or Bytes= in [user 3001000]");
	must_refuse(b, QUOTA_BYTES, UINT64_MAX, "BytesPerUser");
	quota_uncharge(a, QUOTA_BYTES, 6 * GIB);
	must_charge(b, QUOTA_BYTES, 6 * GIB);
	must_charge(b, QUOTA_JOBS, 1);
	must_charge(a, QUOTA_JOBS, 1);
	must_refuse(b, QUOTA_JOBS, 1, "2 jobs|JobsPerUser");
	g_assert_true(quota_line(a, 0, &line));
	g_assert_cmpstr(line.scope, ==, "user");
	g_assert_cmpuint(line.used[QUOTA_BYTES], ==, 10 * GIB);
	quota_uncharge(a, QUOTA_JOBS, 1);
	quota_uncharge(b, QUOTA_JOBS, 1);
	quota_uncharge(b, QUOTA_BYTES, 4 * GIB);
	quota_uncharge(b, QUOTA_BYTES, 6 * GIB);
	quota_account_unref(a);
	quota_account_unref(b);
	end(&w);
}

/* Hierarchical: a limit holds for all below, whoever they are; nesting and other uids do not help. */
static void test_cgroups(void)
{
	struct quota_account *one, *two, *deep, *other;
	struct world w;

	begin(&w, "[cgroup /machine.slice]\nBytes=10G\n[cgroup /machine.slice/*]\nBytes=6G\n"
		  "Connections=1\n[cgroup /machine.slice/big-*]\nBytes=none\n");
	one = quota_account_get(w.quota, 1, "/machine.slice/c1.scope");
	deep = quota_account_get(w.quota, 2, "/machine.slice/c1.scope/a/b/c");
	two = quota_account_get(w.quota, 3, "/machine.slice/c2.scope");
	other = quota_account_get(w.quota, 3, "/machine.slice/big-1.scope");
	must_charge(one, QUOTA_BYTES, 4 * GIB);
	must_refuse(
		deep, QUOTA_BYTES, 3 * GIB,
		"cgroup '/machine.slice/c1.scope' has 4294967296|6442450944 (Bytes= in a section"
		" [cgroup /machine.slice/c1.scope]");
	must_charge(deep, QUOTA_BYTES, 2 * GIB);
	must_charge(two, QUOTA_BYTES, 4 * GIB);
	must_refuse(other, QUOTA_BYTES, 1, "cgroup '/machine.slice' has");
	must_charge(deep, QUOTA_CONNECTIONS, 1);
	must_refuse(one, QUOTA_CONNECTIONS, 1, "1 connections");
	must_charge(two, QUOTA_CONNECTIONS, 1);
	quota_uncharge(two, QUOTA_CONNECTIONS, 1);
	quota_uncharge(deep, QUOTA_CONNECTIONS, 1);
	quota_uncharge(two, QUOTA_BYTES, 4 * GIB);
	must_charge(other, QUOTA_BYTES, 4 * GIB);
	quota_uncharge(other, QUOTA_BYTES, 4 * GIB);
	quota_uncharge(deep, QUOTA_BYTES, 2 * GIB);
	quota_uncharge(one, QUOTA_BYTES, 4 * GIB);
	quota_account_unref(one);
	quota_account_unref(two);
	quota_account_unref(deep);
	quota_account_unref(other);
	end(&w);
}

/* A new configuration: new groups know what was charged before them, what is over stays. */
static void test_reload(void)
{
	struct quota_account *a;
	struct quota_line line;
	struct world w;

	begin(&w, "");
	a = quota_account_get(w.quota, 5, "/x/y");
	must_charge(a, QUOTA_MORSELS, 4);
	configure(&w, "[cgroup /x]\nMorsels=3\n");
	must_refuse(a, QUOTA_MORSELS, 1, "'/x' has 4 morsels|limit is 3");
	/* user, "/", "/x", "/x/y": the built-in sections stay. */
	g_assert_true(quota_line(a, 2, &line));
	g_assert_cmpstr(line.name, ==, "/x");
	g_assert_cmpuint(line.used[QUOTA_MORSELS], ==, 4);
	g_assert_true(quota_line(a, 3, &line));
	g_assert_false(quota_line(a, 4, &line));
	configure(&w, "[user 5]\nMorsels=5\n");
	must_charge(a, QUOTA_MORSELS, 1);
	must_refuse(a, QUOTA_MORSELS, 1, "limit is 5");
	quota_uncharge(a, QUOTA_MORSELS, 4);
	quota_uncharge(a, QUOTA_MORSELS, 1);
	/* Where the cgroup is not known, the whole machine's limit holds, and the user's. */
	quota_account_unref(a);
	a = quota_account_get(w.quota, 6, "");
	must_refuse(a, QUOTA_BYTES, 51 * GIB, "BytesPerUser");
	configure(&w, "[cgroup /]\nBytes=1G\n");
	must_refuse(a, QUOTA_BYTES, 2 * GIB, "cgroup '/'");
	quota_account_unref(a);
	end(&w);
}

static int make_object(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(ftruncate(fd, 4096), ==, 0);
	return fd;
}

#define ID SD_ID128_MAKE(d4, 28, bc, db, 50, 93, 42, f4, 8b, dc, dd, eb, fe, d1, 24, c3)

static void on_memory_gone(sd_id128_t id, void *userdata)
{
	g_assert_true(sd_id128_equal(id, ID));
	++*(unsigned int *)userdata;
}

static void run_until(sd_event *event, struct linger *l, unsigned int n)
{
	gint64 deadline = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

	while (linger_count(l) > n) {
		g_assert_cmpint(sd_event_run(event, 100000), >=, 0);
		g_assert_cmpint(g_get_monotonic_time(), <, deadline);
	}
}

/* What is destroyed stays charged while somebody has it open or mapped, and not longer. */
static void test_linger(void)
{
	struct quota_account *a;
	struct quota_line line;
	struct linger *l;
	struct world w;
	sd_event *event;
	int own, client, watch;
	unsigned int gone = 0;
	char path[64];
	void *p;

	begin(&w, "[quota]\nBytesPerUser=8K\n");
	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(linger_new(event, on_memory_gone, &gone, &l), >=, 0);
	a = quota_account_get(w.quota, 3001000, "");
	own = make_object();
	g_snprintf(path, sizeof(path), "/proc/self/fd/%d", own);
	client = open(path, O_RDONLY | O_CLOEXEC);
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, client, 0);
	g_assert_true(p != MAP_FAILED);
	must_charge(a, QUOTA_MORSELS, 1);
	must_charge(a, QUOTA_BYTES, 4096);
	g_assert_cmpint(linger_add(l, own, a, 4096, ID, &watch), ==, 0);
	close(own);
	close(client);
	while (sd_event_run(event, 0) > 0)
		;
	g_assert_cmpuint(linger_count(l), ==, 1);
	must_refuse(a, QUOTA_BYTES, 8192, "4096 bytes of morsels (some destroyed|4096 bytes);");
	g_assert_true(quota_line(a, 0, &line));
	g_assert_cmpuint(line.lingering_bytes, ==, 4096);
	munmap(p, 4096);
	run_until(event, l, 0);
	g_assert_cmpuint(gone, ==, 1);
	g_assert_true(quota_line(a, 0, &line));
	g_assert_cmpuint(line.used[QUOTA_BYTES], ==, 0);
	g_assert_cmpuint(line.used[QUOTA_MORSELS], ==, 0);
	g_assert_cmpuint(line.lingering_bytes, ==, 0);
	linger_free(l);
	sd_event_unref(event);
	quota_account_unref(a);
	end(&w);
}

/* A lasting storage's object, held until the test says that it is not. */
struct storage_object {
	bool gone;
	unsigned int freed;
};

static bool fake_gone(const struct storage_object *o)
{
	return o->gone;
}

static struct storage_object *fake_free(struct storage_object *o)
{
	o->freed++;
	return NULL;
}

static void test_linger_object(void)
{
	const struct storage_ops ops = { .gone = fake_gone, .free = fake_free };
	struct storage storage = { .name = "fake", .ops = &ops, .lasting = true };
	struct storage_object a_object = {}, b_object = {};
	struct quota_account *a;
	struct quota_line line;
	struct linger *l;
	struct world w;
	unsigned int gone = 0;
	sd_event *event;

	begin(&w, "");
	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(linger_new(event, on_memory_gone, &gone, &l), >=, 0);
	a = quota_account_get(w.quota, 3001000, "");
	for (unsigned int i = 0; i < 2; i++) {
		must_charge(a, QUOTA_MORSELS, 1);
		must_charge(a, QUOTA_BYTES, 4096);
		linger_add_object(l, &storage, i == 0 ? &a_object : &b_object, a, 4096,
				  i == 0 ? ID : SD_ID128_NULL);
	}
	linger_look(l);
	g_assert_cmpuint(linger_count(l), ==, 2);
	a_object.gone = true;
	run_until(event, l, 1);
	g_assert_cmpuint(a_object.freed, ==, 1);
	g_assert_cmpuint(gone, ==, 1);
	g_assert_true(quota_line(a, 0, &line));
	g_assert_cmpuint(line.used[QUOTA_BYTES], ==, 4096);
	g_assert_cmpuint(line.lingering_bytes, ==, 4096);
	b_object.gone = true;
	linger_look(l);
	g_assert_cmpuint(linger_count(l), ==, 0);
	g_assert_cmpuint(b_object.freed, ==, 1);
	g_assert_true(quota_line(a, 0, &line));
	g_assert_cmpuint(line.used[QUOTA_MORSELS], ==, 0);
	linger_free(l);
	sd_event_unref(event);
	quota_account_unref(a);
	end(&w);
}

/* More ends at once than the kernel's queue holds: none is forgotten. */
static void test_linger_overflow(void)
{
	struct quota_account *a;
	struct linger *l;
	struct world w;
	sd_event *event;
	g_autofree char *text = NULL;
	unsigned int n, gone = 0;
	int watch;

	begin(&w, "");
	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(linger_new(event, on_memory_gone, &gone, &l), >=, 0);
	a = quota_account_get(w.quota, 3001000, "");
	g_assert_true(
		g_file_get_contents("/proc/sys/fs/inotify/max_queued_events", &text, NULL, NULL));
	n = strtoul(text, NULL, 10) / 2 + 100; /* each end gives two */
	if (n > 100000) {
		g_test_skip("max_queued_events is too large to be filled");
	} else {
		for (unsigned int i = 0; i < n; i++) {
			int fd = make_object();

			quota_charge_anyway(a, QUOTA_MORSELS, 1);
			quota_charge_anyway(a, QUOTA_BYTES, 4096);
			g_assert_cmpint(linger_add(l, fd, a, 4096, i ? SD_ID128_NULL : ID, &watch),
					==, 0);
			close(fd);
		}
		run_until(event, l, 0);
		g_assert_cmpuint(gone, ==, 1);
	}
	linger_free(l);
	sd_event_unref(event);
	quota_account_unref(a);
	end(&w);
}

static void charge_and_restore(struct linger *l, struct quota_account *a, int watch)
{
	quota_charge_anyway(a, QUOTA_MORSELS, 1);
	quota_charge_anyway(a, QUOTA_BYTES, 4096);
	linger_restore(l, watch, a, 4096, ID);
}

static unsigned int lingering(struct quota_account *a)
{
	struct quota_line line;

	g_assert_true(quota_line(a, 0, &line));
	g_assert_cmpuint(line.used[QUOTA_BYTES], ==, line.lingering_bytes);
	return line.lingering_bytes / 4096;
}

/* The next daemon has the same instance, and finds what has gone meanwhile; or another one, with nothing in it. */
static void test_linger_adopt(void)
{
	struct quota_account *a;
	struct linger *l;
	struct world w;
	sd_event *event;
	int objects[3], watches[3], kept, null;
	unsigned int gone = 0;

	begin(&w, "");
	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(linger_new(event, on_memory_gone, &gone, &l), >=, 0);
	a = quota_account_get(w.quota, 3001000, "");
	for (unsigned int i = 0; i < 3; i++) {
		objects[i] = make_object();
		quota_charge_anyway(a, QUOTA_MORSELS, 1);
		quota_charge_anyway(a, QUOTA_BYTES, 4096);
		g_assert_cmpint(linger_add(l, objects[i], a, 4096, ID, &watches[i]), ==, 0);
	}
	kept = fcntl(linger_descriptor(l), F_DUPFD_CLOEXEC, 0);
	linger_free(l);
	g_assert_cmpuint(lingering(a), ==, 0);
	close(objects[0]);
	g_assert_cmpuint(gone, ==, 0);

	g_assert_cmpint(linger_new(event, on_memory_gone, &gone, &l), >=, 0);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	g_assert_cmpint(linger_adopt(l, null), ==, -EINVAL);
	g_assert_cmpint(fcntl(null, F_GETFD), <, 0);
	g_assert_cmpint(linger_adopt(l, fcntl(kept, F_DUPFD_CLOEXEC, 0)), ==, 0);
	for (unsigned int i = 0; i < 3; i++)
		charge_and_restore(l, a, watches[i]);
	g_assert_cmpuint(lingering(a), ==, 3);
	linger_check(l);
	g_assert_cmpuint(lingering(a), ==, 2);
	g_assert_cmpuint(gone, ==, 1);
	/* It goes on as before. */
	close(objects[1]);
	run_until(event, l, 1);
	g_assert_cmpuint(lingering(a), ==, 1);
	g_assert_cmpuint(gone, ==, 2);
	linger_free(l);

	g_assert_cmpint(linger_new(event, on_memory_gone, &gone, &l), >=, 0);
	charge_and_restore(l, a, watches[2]);
	linger_check(l);
	g_assert_cmpuint(lingering(a), ==, 0);
	g_assert_cmpuint(gone, ==, 3);
	linger_free(l);
	close(kept);
	close(objects[2]);
	sd_event_unref(event);
	quota_account_unref(a);
	end(&w);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/quota/user", test_user);
	g_test_add_func("/quota/cgroups", test_cgroups);
	g_test_add_func("/quota/reload", test_reload);
	g_test_add_func("/quota/linger", test_linger);
	g_test_add_func("/quota/linger-object", test_linger_object);
	g_test_add_func("/quota/linger-overflow", test_linger_overflow);
	g_test_add_func("/quota/linger-adopt", test_linger_adopt);
	return g_test_run();
}
