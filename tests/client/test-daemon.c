// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libmorsel against the real daemon: one that is started here, on a socket in a directory of its own.
 * Usage: test-daemon MORSELD
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <morsel.h>

#define MIB ((uint64_t)1 << 20)

static const char *program, *self;

struct fixture {
	char *directory, *path;
	GPid pid;
	morsel_client *client;
};

static morsel_client *client_new(const char *path)
{
	gint64 deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
	morsel_client *c = NULL;
	int r;

	while ((r = morsel_connect(path, &c)) < 0 && g_get_monotonic_time() < deadline)
		g_usleep(10000);
	g_assert_cmpint(r, ==, 0);
	return c;
}

static void start_daemon(struct fixture *f)
{
	const char *arguments[] = { program,	    "--address",   "none",	 "--listen",
				    f->path,	    "--state-dir", f->directory, "--config",
				    "/nonexistent", NULL };
	/* The thread sanitizer cannot see the locks inside of GLib: in this test it watches libmorsel. */
	g_auto(GStrv) environment =
		g_environ_setenv(g_get_environ(), "TSAN_OPTIONS", "report_bugs=0", TRUE);
	g_autoptr(GError) error = NULL;

	g_spawn_async(NULL, (char **)arguments, environment,
		      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &f->pid,
		      &error);
	g_assert_no_error(error);
}

static void stop_daemon(struct fixture *f, int signo)
{
	int status;

	g_assert_cmpint(kill(f->pid, signo), ==, 0);
	g_assert_cmpint(waitpid(f->pid, &status, 0), ==, f->pid);
	if (signo == SIGTERM) {
		g_assert_true(WIFEXITED(status));
		g_assert_cmpint(WEXITSTATUS(status), ==, 0);
	}
}

static void set_up(struct fixture *f, gconstpointer data)
{
	f->directory = g_dir_make_tmp("morsel-daemon-XXXXXX", NULL);
	g_assert_nonnull(f->directory);
	f->path = g_build_filename(f->directory, "bus", NULL);
	start_daemon(f);
	f->client = client_new(f->path);
}

static void tear_down(struct fixture *f, gconstpointer data)
{
	const char *arguments[] = { "rm", "-rf", f->directory, NULL };

	morsel_disconnect(f->client);
	stop_daemon(f, SIGTERM);
	g_assert_true(g_spawn_sync(NULL, (char **)arguments, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
				   NULL, NULL, NULL, NULL));
	g_free(f->path);
	g_free(f->directory);
}

static unsigned int count_fds(GPid pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);
	unsigned int n = 0;

	g_assert_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void expect_fds(GPid pid, unsigned int n)
{
	gint64 deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;

	while (count_fds(pid) != n && g_get_monotonic_time() < deadline)
		g_usleep(10000);
	g_assert_cmpuint(count_fds(pid), ==, n);
}

static void test_life(struct fixture *f, gconstpointer data)
{
	struct morsel_options o = { MORSEL_OPTIONS_INIT, .page_size = MORSEL_PAGE_4K,
				    .mode = 0640 };
	struct morsel_tier_bytes tiers[16];
	struct morsel_stat s = { MORSEL_STAT_INIT };
	uint64_t absent, present = 0;
	morsel *m, *again;
	char *p, *q;
	int n, i;

	g_assert_cmpint(morsel_create(f->client, "one", 4 * MIB, &o, &m), ==, 0);
	g_assert_cmpuint(morsel_size(m), ==, 4 * MIB);
	g_assert_cmpint(morsel_stat(m, &s), ==, 0);
	g_assert_cmpuint(s.size, ==, 4 * MIB);
	g_assert_cmpuint(s.allocated, ==, 0);
	g_assert_cmpuint(s.owner, ==, getuid());
	g_assert_cmpuint(s.mode, ==, 0640);
	g_assert_cmpuint(s.page_size, ==, MORSEL_PAGE_4K);
	g_assert_cmpuint(s.created_usec / G_USEC_PER_SEC, >, 1600000000);
	g_assert_cmpint(morsel_create(f->client, "one", MIB, NULL, &again), ==, -EEXIST);
	g_assert_nonnull(strstr(morsel_error(f->client), "'one'"));

	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&p), ==, 0);
	memset(p, 7, MIB);
	g_assert_cmpint(morsel_open(f->client, s.id, MORSEL_RDONLY, &again), ==, 0);
	g_assert_cmpint(morsel_map(again, 0, 0, MORSEL_RDONLY, (void **)&q), ==, 0);
	g_assert_cmpint(q[MIB - 1], ==, 7);
	g_assert_cmpint(q[MIB], ==, 0);

	n = morsel_residency(m, 1, tiers, G_N_ELEMENTS(tiers), &absent);
	g_assert_cmpint(n, >=, 1);
	for (i = 0; i < n; i++)
		present += tiers[i].bytes;
	g_assert_cmpuint(present + absent, ==, 4 * MIB);
	g_assert_cmpuint(present, >=, MIB);

	/* Whom it is for can be changed; what is open stays open. */
	g_assert_cmpint(morsel_chmod(f->client, "one", 0644), ==, 0);
	g_assert_cmpint(morsel_chmod(f->client, "one", 0777), ==, -EINVAL);
	g_assert_nonnull(strstr(morsel_error(f->client), "0666"));
	g_assert_cmpint(morsel_chown(f->client, "one", (uid_t)-1, getegid()), ==, 0);
	g_assert_cmpint(morsel_chown(f->client, "one", (uid_t)-1, (gid_t)-1), ==, -EINVAL);
	g_assert_cmpint(morsel_chmod(f->client, "none", 0600), ==, -ENOENT);
	{
		morsel *changed = NULL;
		struct morsel_stat after = { MORSEL_STAT_INIT };

		g_assert_cmpint(morsel_open(f->client, "one", MORSEL_RDONLY, &changed), ==, 0);
		g_assert_cmpint(morsel_stat(changed, &after), ==, 0);
		g_assert_cmpuint(after.mode, ==, 0644);
		g_assert_cmpuint(after.group, ==, getegid());
		morsel_close(changed);
	}

	/* The name goes; who has it keeps it. */
	g_assert_cmpint(morsel_destroy(f->client, "one"), ==, 0);
	g_assert_cmpint(morsel_destroy(f->client, "one"), ==, -ENOENT);
	p[2 * MIB] = 9;
	g_assert_cmpint(q[2 * MIB], ==, 9);
	morsel_unmap(p, 4 * MIB);
	morsel_unmap(q, 4 * MIB);
	morsel_close(again);
	morsel_close(m);
}

static void test_read_only(struct fixture *f, gconstpointer data)
{
	morsel *m, *ro;
	void *p;

	g_assert_cmpint(morsel_create(f->client, "one", MIB, NULL, &m), ==, 0);
	g_assert_cmpint(morsel_open(f->client, "one", MORSEL_RDONLY, &ro), ==, 0);
	g_assert_cmpint(morsel_map(ro, 0, 0, MORSEL_RDWR, &p), ==, -EACCES);
	g_assert_cmpint(morsel_populate(ro, &(struct morsel_range){}, 1), ==, -EACCES);
	g_assert_cmpint(morsel_map(ro, 0, 0, MORSEL_RDONLY, &p), ==, 0);
	/* Not only by the library's word. */
	g_assert_cmpint(mprotect(p, MIB, PROT_READ | PROT_WRITE), ==, -1);
	g_assert_true(mmap(NULL, MIB, PROT_WRITE, MAP_SHARED, morsel_fd(ro), 0) == MAP_FAILED);
	g_assert_cmpint(write(morsel_fd(ro), "x", 1), ==, -1);
	g_assert_cmpint(ftruncate(morsel_fd(m), 2 * MIB), ==, -1);
	g_assert_cmpint(ftruncate(morsel_fd(m), 4096), ==, -1);
	morsel_unmap(p, MIB);
	morsel_close(ro);
	morsel_close(m);
}

static void test_memory(struct fixture *f, gconstpointer data)
{
	const struct morsel_range middle = { 4 * MIB, 8 * MIB };
	struct morsel_stat s = { MORSEL_STAT_INIT };
	morsel *m;
	char *p;

	g_assert_cmpint(morsel_create(f->client, "one", 64 * MIB, NULL, &m), ==, 0);
	g_assert_cmpint(morsel_populate(m, &middle, 1), ==, 0);
	g_assert_cmpint(morsel_stat(m, &s), ==, 0);
	g_assert_cmpuint(s.allocated, ==, 8 * MIB);
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&p), ==, 0);
	g_assert_cmpuint((uintptr_t)p % MORSEL_PAGE_2M, ==, 0);
	p[5 * MIB] = 1;
	g_assert_cmpint(morsel_advise(m, MORSEL_COLD, &middle, 1), ==, 0);
	g_assert_cmpint(p[5 * MIB], ==, 1);
	g_assert_cmpint(morsel_evict(m, &middle, 1), ==, 0);
	g_assert_cmpint(p[5 * MIB], ==, 0);
	g_assert_cmpint(morsel_evict(m, &middle, 1), ==, 0);
	morsel_unmap(p, 64 * MIB);
	morsel_close(m);
}

/* Pages of 2 MiB, from hugetlb or transparent, as this machine gives them. */
static void test_huge_pages(struct fixture *f, gconstpointer data)
{
	const struct morsel_options o = { MORSEL_OPTIONS_INIT, .page_size = MORSEL_PAGE_2M };
	const struct morsel_range first = { 0, 4096 }, second = { 2 * MIB, 2 * MIB };
	struct morsel_stat s = { MORSEL_STAT_INIT };
	morsel *m;
	char *p;
	int r;

	r = morsel_create(f->client, "huge", 8 * MIB, &o, &m);
	if (r == -EOPNOTSUPP) {
		g_test_skip(morsel_error(f->client));
		return;
	}
	g_assert_cmpint(r, ==, 0);
	g_assert_cmpint(morsel_map(m, 2 * MIB, 4 * MIB, MORSEL_RDWR, (void **)&p), ==, 0);
	g_assert_cmpuint((uintptr_t)p % MORSEL_PAGE_2M, ==, 0);
	memset(p, 3, 4 * MIB);
	g_assert_cmpint(morsel_populate(m, &first, 1), ==, 0);
	g_assert_cmpint(morsel_populate(m, &(struct morsel_range){}, 1), ==, 0);
	g_assert_cmpint(morsel_stat(m, &s), ==, 0);
	g_assert_cmpuint(s.page_size, ==, MORSEL_PAGE_2M);
	g_assert_cmpuint(s.allocated, ==, 8 * MIB);
	g_assert_cmpint(p[2 * MIB], ==, 3);
	g_assert_cmpint(morsel_advise(m, MORSEL_COLD, &second, 1), ==, 0);
	g_assert_cmpint(morsel_evict(m, &second, 1), ==, 0);
	g_assert_cmpint(p[0], ==, 0);
	g_assert_cmpint(p[2 * MIB], ==, 3);
	g_assert_cmpint(morsel_unmap(p, 4 * MIB), ==, 0);
	morsel_close(m);
}

static void test_move(struct fixture *f, gconstpointer data)
{
	const struct morsel_range half = { 0, 2 * MIB };
	struct morsel_tier_bytes tier;
	struct morsel_move_result r;
	morsel *m;

	g_assert_cmpint(
		morsel_create(f->client, "one", 4 * MIB,
			      &(struct morsel_options){ MORSEL_OPTIONS_INIT, .populate = 1 }, &m),
		==, 0);
	g_assert_cmpint(morsel_residency(m, 1, &tier, 1, NULL), >=, 1);
	g_assert_cmpint(morsel_move(m, tier.tier, &half, &r), ==, 0);
	g_assert_cmpuint(r.moved + r.already + r.absent + r.failed, ==, 2 * MIB);
	g_assert_cmpuint(r.failed, ==, 0);
	g_assert_cmpint(morsel_move(m, tier.tier, NULL, &r), ==, 0);
	g_assert_cmpuint(r.moved + r.already, ==, 4 * MIB);
	g_assert_cmpint(morsel_move(m, "hbm99", NULL, &r), ==, -ENOENT);
	g_assert_nonnull(strstr(morsel_error(f->client), "hbm99"));
	g_assert_cmpint(morsel_move(m, tier.tier, &(struct morsel_range){ 1, 2 }, &r), ==, -EINVAL);
	g_assert_cmpint(morsel_move(m, tier.tier, &(struct morsel_range){ 4 * MIB, 4096 }, &r), ==,
			-EINVAL);
	morsel_close(m);
}

static void test_bad_input(struct fixture *f, gconstpointer data)
{
	static const struct {
		const char *name;
		uint64_t size;
		struct morsel_options options;
		int error;
	} bad[] = {
		{ "", MIB, { MORSEL_OPTIONS_INIT }, EINVAL },
		{ "a/b", MIB, { MORSEL_OPTIONS_INIT }, EINVAL },
		{ ".", MIB, { MORSEL_OPTIONS_INIT }, EINVAL },
		{ "x", 0, { MORSEL_OPTIONS_INIT }, EINVAL },
		{ "x", 4097, { MORSEL_OPTIONS_INIT }, EINVAL },
		{ "x", UINT64_MAX, { MORSEL_OPTIONS_INIT }, EINVAL },
		{ "x", (uint64_t)1 << 50, { MORSEL_OPTIONS_INIT }, ENOSPC },
		{ "x", (uint64_t)1 << 63, { MORSEL_OPTIONS_INIT }, ENOSPC },
		{ "x", MIB, { MORSEL_OPTIONS_INIT, .prefer = "hbm99" }, ENOENT },
		{ "x", MIB, { MORSEL_OPTIONS_INIT, .allow = "hbm99" }, ENOENT },
		{ "x", MIB, { MORSEL_OPTIONS_INIT, .spread = "hbm99=1" }, ENOENT },
		{ "x", MIB, { MORSEL_OPTIONS_INIT, .page_size = 1 }, EINVAL },
		{ "x", MIB, { MORSEL_OPTIONS_INIT, .mode = 01777 }, EINVAL },
		{ "x", MIB, { MORSEL_OPTIONS_INIT, .initiators = "999999" }, EINVAL },
	};
	g_autofree char *long_name = g_strnfill(4096, 'n');
	unsigned int daemon_fds = count_fds(f->pid), own_fds = count_fds(getpid());
	morsel *m = NULL;
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_assert_cmpint(morsel_create(f->client, bad[i].name, bad[i].size, &bad[i].options,
					      &m),
				==, -bad[i].error);
		g_assert_cmpstr(morsel_error(f->client), !=, "");
	}
	g_assert_cmpint(morsel_create(f->client, long_name, MIB, NULL, &m), ==, -EINVAL);
	g_assert_cmpint(morsel_open(f->client, "x", MORSEL_RDWR, &m), ==, -ENOENT);
	g_assert_cmpint(morsel_open(f->client, "nobody:x", MORSEL_RDWR, &m), ==, -ENOENT);
	g_assert_null(m);
	expect_fds(f->pid, daemon_fds);
	expect_fds(getpid(), own_fds);
}

/* What comes back is what was there: descriptors of daemon and client after a hundred lives. */
static void test_descriptors(struct fixture *f, gconstpointer data)
{
	unsigned int daemon_fds = count_fds(f->pid), own_fds = count_fds(getpid());
	int i;

	for (i = 0; i < 100; i++) {
		morsel_client *c = client_new(f->path);
		morsel *m, *again;

		g_assert_cmpint(morsel_create(c, "one", MIB, NULL, &m), ==, 0);
		g_assert_cmpint(morsel_open(c, "one", MORSEL_RDWR, &again), ==, 0);
		morsel_close(again);
		g_assert_cmpint(morsel_create(c, "one", MIB, NULL, &again), ==, -EEXIST);
		morsel_close(m);
		g_assert_cmpint(morsel_destroy(c, "one"), ==, 0);
		morsel_disconnect(c);
	}
	expect_fds(getpid(), own_fds);
	expect_fds(f->pid, daemon_fds);
}

/* --- Two processes --------------------------------------------------------------------------- */

#define COUNTS 20000

struct shared {
	_Atomic uint64_t ready, count;
};

/* This program again: open by name, count. */
static int other_process(const char *path)
{
	morsel_client *c;
	struct shared *s;
	morsel *m;
	int i;

	if (morsel_connect(path, &c) < 0 || morsel_open(c, "shared", MORSEL_RDWR, &m) < 0 ||
	    morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&s) < 0)
		return 1;
	atomic_fetch_add(&s->ready, 1);
	for (i = 0; i < COUNTS; i++)
		atomic_fetch_add(&s->count, 1);
	morsel_close(m);
	morsel_disconnect(c);
	return 0;
}

static void test_two_processes(struct fixture *f, gconstpointer data)
{
	const char *arguments[] = { self, "--other-process", f->path, NULL };
	struct shared *s;
	int status, i;
	GPid pids[2];
	morsel *m;

	g_assert_cmpint(morsel_create(f->client, "shared", MIB, NULL, &m), ==, 0);
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&s), ==, 0);
	for (i = 0; i < 2; i++)
		g_assert_true(g_spawn_async(NULL, (char **)arguments, NULL,
					    G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pids[i], NULL));
	for (i = 0; i < COUNTS; i++)
		atomic_fetch_add(&s->count, 1);
	for (i = 0; i < 2; i++) {
		g_assert_cmpint(waitpid(pids[i], &status, 0), ==, pids[i]);
		g_assert_cmpint(status, ==, 0);
	}
	g_assert_cmpuint(s->ready, ==, 2);
	g_assert_cmpuint(s->count, ==, 3 * COUNTS);
	morsel_unmap(s, MIB);
	morsel_close(m);
}

static void test_fork(struct fixture *f, gconstpointer data)
{
	struct shared *s;
	morsel *m, *again;
	int status;
	pid_t pid;

	g_assert_cmpint(morsel_create(f->client, "one", MIB, NULL, &m), ==, 0);
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&s), ==, 0);
	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (pid == 0) {
		morsel_client *c = NULL;

		if (morsel_destroy(f->client, "one") != -ECHILD)
			_exit(1);
		morsel_disconnect(f->client);
		atomic_fetch_add(&s->count, 1);
		/* One of its own works. */
		if (morsel_connect(f->path, &c) < 0 ||
		    morsel_open(c, "one", MORSEL_RDWR, &again) < 0)
			_exit(2);
		morsel_close(again);
		morsel_disconnect(c);
		_exit(0);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
	g_assert_cmpuint(s->count, ==, 1);
	g_assert_cmpint(morsel_open(f->client, "one", MORSEL_RDWR, &again), ==, 0);
	morsel_close(again);
	morsel_unmap(s, MIB);
	morsel_close(m);
}

static void *create_two(void *data)
{
	struct fixture *f = data;
	morsel *fresh = NULL;

	g_assert_cmpint(morsel_create(f->client, "two", MIB, NULL, &fresh), ==, 0);
	return fresh;
}

/* A handle and a mapping live through the daemon's death; the client finds the next one, for which it waits
 * a while. */
static void test_daemon_dies(struct fixture *f, gconstpointer data)
{
	struct shared *s;
	morsel *m, *fresh;
	pthread_t thread;

	g_assert_cmpint(morsel_create(f->client, "one", MIB, NULL, &m), ==, 0);
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&s), ==, 0);
	s->count = 42;
	stop_daemon(f, SIGKILL);
	g_assert_cmpint(morsel_create(f->client, "two", MIB, NULL, &fresh), ==, -ECONNREFUSED);
	g_assert_cmpint(morsel_populate(m, &(struct morsel_range){}, 1), ==, 0);
	g_assert_cmpuint(s->count, ==, 42);
	g_assert_cmpint(pthread_create(&thread, NULL, create_two, f), ==, 0);
	start_daemon(f);
	g_assert_cmpint(pthread_join(thread, (void **)&fresh), ==, 0);
	morsel_close(fresh);
	morsel_unmap(s, MIB);
	morsel_close(m);
}

#define THREADS 4
#define ROUNDS 100

struct thread {
	pthread_t id;
	morsel_client *client;
	unsigned int number;
};

static void *use_client(void *data)
{
	const struct morsel_range first = { 0, 4096 };
	struct thread *t = data;
	char name[32];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		morsel *m, *ro;
		char *p;

		g_snprintf(name, sizeof(name), "t%u-%d", t->number, i);
		g_assert_cmpint(morsel_create(t->client, name, MIB, NULL, &m), ==, 0);
		g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&p), ==, 0);
		p[0] = (char)i;
		g_assert_cmpint(morsel_populate(m, &first, 1), ==, 0);
		g_assert_cmpint(morsel_open(t->client, name, MORSEL_RDONLY, &ro), ==, 0);
		g_assert_cmpint(morsel_residency(ro, 1, NULL, 0, NULL), >=, 1);
		g_assert_cmpint(morsel_open(t->client, "none", MORSEL_RDWR, &ro), ==, -ENOENT);
		morsel_close(ro);
		g_assert_cmpint(morsel_destroy(t->client, name), ==, 0);
		g_assert_cmpint(p[0], ==, (char)i);
		morsel_unmap(p, MIB);
		morsel_close(m);
	}
	return NULL;
}

/* All threads on one client: a lock in it serialises them. */
static void test_threads(struct fixture *f, gconstpointer data)
{
	struct thread threads[THREADS];
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		threads[i] = (struct thread){ .client = f->client, .number = i };
		g_assert_cmpint(pthread_create(&threads[i].id, NULL, use_client, &threads[i]), ==,
				0);
	}
	for (i = 0; i < THREADS; i++)
		g_assert_cmpint(pthread_join(threads[i].id, NULL), ==, 0);
}

/* Another user, without rights. Needs root to become one. */
static void test_other_user(struct fixture *f, gconstpointer data)
{
	morsel *m, *group, *world;
	int status;
	pid_t pid;

	if (getuid() != 0) {
		g_test_skip("needs root to become another user");
		return;
	}
	g_assert_cmpint(chmod(f->directory, 0755), ==, 0);
	g_assert_cmpint(morsel_create(f->client, "mine", MIB, NULL, &m), ==, 0);
	g_assert_cmpint(morsel_create(f->client, "world", MIB,
				      &(struct morsel_options){ MORSEL_OPTIONS_INIT, .mode = 0644 },
				      &world),
			==, 0);
	g_assert_cmpint(morsel_create(f->client, "group", MIB,
				      &(struct morsel_options){ MORSEL_OPTIONS_INIT, .mode = 0640,
								.has_group = 1, .group = 65533 },
				      &group),
			==, 0);
	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (pid == 0) {
		g_autofree char *reopen = g_strdup_printf("/proc/self/fd/%d", morsel_fd(m));
		morsel_client *c = NULL;
		morsel *h;

		if (setgid(65534) < 0 || setuid(65534) < 0 || morsel_connect(f->path, &c) < 0)
			_exit(1);
		if (morsel_open(c, "root:mine", MORSEL_RDONLY, &h) != -ENOENT ||
		    morsel_open(c, "root:group", MORSEL_RDONLY, &h) != -ENOENT)
			_exit(2);
		if (morsel_open(c, "root:world", MORSEL_RDONLY, &h) != 0)
			_exit(3);
		if (morsel_move(h, "dram0", NULL, NULL) != -EACCES)
			_exit(4);
		if (morsel_open(c, "root:world", MORSEL_RDWR, &h) != -EACCES)
			_exit(5);
		if (morsel_destroy(c, "root:world") != -EACCES ||
		    morsel_destroy(c, "root:mine") != -ENOENT)
			_exit(6);
		/* A descriptor that got here cannot be made writable through /proc. */
		if (open(reopen, O_RDWR) >= 0 || errno != EACCES)
			_exit(7);
		_exit(0);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
	morsel_close(m);
	morsel_close(world);
	morsel_close(group);
}

#define ADD(name, function) \
	g_test_add("/daemon/" name, struct fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--other-process") == 0)
		return other_process(argv[2]);
	g_test_init(&argc, &argv, NULL);
	if (argc != 2) {
		g_printerr("Usage: test-daemon MORSELD\n");
		return 2;
	}
	program = argv[1];
	self = g_file_read_link("/proc/self/exe", NULL);
	ADD("life", test_life);
	ADD("read-only", test_read_only);
	ADD("memory", test_memory);
	ADD("huge-pages", test_huge_pages);
	ADD("move", test_move);
	ADD("bad-input", test_bad_input);
	ADD("descriptors", test_descriptors);
	ADD("two-processes", test_two_processes);
	ADD("fork", test_fork);
	ADD("daemon-dies", test_daemon_dies);
	ADD("threads", test_threads);
	ADD("other-user", test_other_user);
	return g_test_run();
}
