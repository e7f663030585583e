// SPDX-License-Identifier: LGPL-2.1-or-later
/* libmorsel against the fake daemon: what the real one does rarely, or never. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake-morseld.h"
#include "morsel.h"

#define MIB ((uint64_t)1 << 20)

struct fixture {
	char *directory, *path;
	struct fake *fake;
	morsel_client *client;
	unsigned int fds; /* before there is a client */
};

static unsigned int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	g_assert_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void set_up(struct fixture *f, gconstpointer data)
{
	f->directory = g_dir_make_tmp("morsel-client-XXXXXX", NULL);
	g_assert_nonnull(f->directory);
	f->path = g_build_filename(f->directory, "bus", NULL);
	f->fake = fake_start(f->path);
	f->fds = count_fds();
	g_assert_cmpint(morsel_connect(f->path, &f->client), ==, 0);
}

static void tear_down(struct fixture *f, gconstpointer data)
{
	g_assert_null(morsel_disconnect(f->client));
	fake_stop(f->fake);
	g_unlink(f->path);
	g_rmdir(f->directory);
	g_free(f->path);
	g_free(f->directory);
}

/* The fake's thread lets go of the descriptors that it has sent a little later. */
static void expect_fds(unsigned int n)
{
	gint64 deadline = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

	while (count_fds() != n && g_get_monotonic_time() < deadline)
		g_usleep(1000);
	g_assert_cmpuint(count_fds(), ==, n);
}

static void test_errors(struct fixture *f, gconstpointer data)
{
	static const struct {
		const char *name;
		int error;
	} table[] = {
		{ "InvalidArgument", EINVAL },	{ "NoSuchMorsel", ENOENT },
		{ "NoSuchTier", ENOENT },	{ "NoSuchJob", ENOENT },
		{ "NoSuchPolicy", ENOENT },	{ "Exists", EEXIST },
		{ "AccessDenied", EACCES },	{ "NoSpace", ENOSPC },
		{ "QuotaExceeded", EDQUOT },	{ "TierOffline", ENODEV },
		{ "NoMemory", ENOMEM },		{ "NoDescriptors", EMFILE },
		{ "NotSupported", EOPNOTSUPP }, { "Busy", EBUSY },
		{ "Cancelled", ECANCELED },	{ "Failed", EIO },
		{ "InventedNextYear", EIO },
	};
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(table); i++) {
		g_autofree char *name = g_strdup_printf("error:%s", table[i].name);
		g_autofree char *text = g_strdup_printf("fake: %s", table[i].name);
		morsel *m = (morsel *)f;

		g_assert_cmpint(morsel_open(f->client, name, MORSEL_RDWR, &m), ==, -table[i].error);
		g_assert_cmpstr(morsel_error(f->client), ==, text);
		g_assert_true(m == (morsel *)f); /* written only on success */
	}
	morsel *m;

	g_assert_cmpint(morsel_open(f->client, "foreign:org.freedesktop.DBus.Error.AccessDenied",
				    MORSEL_RDWR, &m),
			==, -EACCES);
	/* An error is not the end of the connection. */
	g_assert_cmpuint(fake_connections(f->fake), ==, 1);
	g_assert_nonnull(strstr(morsel_error(NULL), "morseld"));
}

static void test_strange_answers(struct fixture *f, gconstpointer data)
{
	static const char *const names[] = { "no-id", "bad-type", "long-id", "no-info" };
	unsigned int fds = count_fds();
	morsel *m;
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(names); i++) {
		g_assert_cmpint(morsel_open(f->client, names[i], MORSEL_RDWR, &m), ==, -EBADMSG);
		g_assert_cmpint(morsel_create(f->client, names[i], MIB, NULL, &m), ==, -EBADMSG);
	}
	expect_fds(fds);
	g_assert_cmpint(morsel_open(f->client, "extra", MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpuint(morsel_size(m), ==, 8 * MIB);
	morsel_close(m);
	expect_fds(fds);
}

static void test_reconnect(struct fixture *f, gconstpointer data)
{
	morsel *kept, *m;
	char *p;

	g_assert_cmpint(morsel_open(f->client, "kept", MORSEL_RDWR, &kept), ==, 0);
	g_assert_cmpint(morsel_open(f->client, "hangup", MORSEL_RDWR, &m), ==, -ECONNRESET);
	g_assert_nonnull(strstr(morsel_error(f->client), f->path));
	g_assert_cmpint(morsel_open(f->client, "again", MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpuint(fake_connections(f->fake), ==, 2);
	morsel_close(m);

	/* The daemon goes between two calls: the second does not notice. */
	fake_stop(f->fake);
	g_assert_cmpint(morsel_map(kept, 0, 0, MORSEL_RDWR, (void **)&p), ==, 0);
	p[0] = 1;
	g_assert_cmpint(morsel_destroy(f->client, "x"), ==, -ECONNREFUSED);
	g_assert_nonnull(strstr(morsel_error(f->client), f->path));
	f->fake = fake_start(f->path);
	g_assert_cmpint(morsel_destroy(f->client, "x"), ==, 0);
	g_assert_cmpint(p[0], ==, 1);
	morsel_unmap(p, morsel_size(kept));
	morsel_close(kept);
}

/* As a user for whom the socket is not. Returns what morsel_connect() said. */
static int connect_as_other(const char *path)
{
	int status;
	pid_t pid = fork();

	g_assert_cmpint(pid, >=, 0);
	if (pid == 0) {
		morsel_client *c;

		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(255);
		_exit(-morsel_connect(path, &c));
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void test_connect(struct fixture *f, gconstpointer data)
{
	g_autofree char *missing = g_build_filename(f->directory, "none", NULL);
	g_autofree char *file = g_build_filename(f->directory, "file", NULL);
	char too_long[200];
	morsel_client *c = NULL;
	unsigned int fds = count_fds();

	g_assert_cmpint(morsel_connect(missing, &c), ==, -ENOENT);
	g_assert_true(g_file_set_contents(file, "", 0, NULL));
	g_assert_cmpint(morsel_connect(file, &c), ==, -ECONNREFUSED);
	g_unlink(file);
	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = 0;
	g_assert_cmpint(morsel_connect(too_long, &c), ==, -ENAMETOOLONG);
	g_assert_null(c);
	g_setenv("MORSEL_SOCKET", missing, TRUE);
	g_assert_cmpint(morsel_connect(NULL, &c), ==, -ENOENT);
	g_unsetenv("MORSEL_SOCKET");
	if (getuid() == 0) {
		g_assert_cmpint(chmod(f->directory, 0755), ==, 0);
		g_assert_cmpint(chmod(f->path, 0600), ==, 0);
		g_assert_cmpint(connect_as_other(f->path), ==, -EACCES);
	}
	g_assert_null(morsel_disconnect(NULL));
	g_assert_null(morsel_close(NULL));
	expect_fds(fds);
}

static void test_options(struct fixture *f, gconstpointer data)
{
	struct morsel_options o = {
		MORSEL_OPTIONS_INIT,
		.prefer = " hbm0, dram0",
		.allow = "hbm0 dram0 cxl0",
		.page_size = MORSEL_PAGE_2M,
		.mode = 0640,
		.has_group = 1,
		.group = 7,
		.populate = 1,
		.initiators = "0,1",
	};
	/* A program compiled with a later header, and one with an earlier. */
	struct {
		struct morsel_options known;
		uint64_t later;
	} longer = { .known = { .struct_size = sizeof(longer) } };
	struct morsel_options shorter = o;
	morsel *m;

	g_assert_cmpint(morsel_create(f->client, "options", MIB, &o, &m), ==, -EINVAL);
	g_assert_cmpstr(
		morsel_error(f->client), ==,
		"[{prefer [[hbm0 dram0 ] ] } {allow [[hbm0 dram0 cxl0 ] ] } "
		"{initiators [[0 1 ] ] } {page_size [2097152 ] } {mode [416 ] } {group [7 ] } "
		"{populate [true ] } ]");
	o = (struct morsel_options){ MORSEL_OPTIONS_INIT, .spread = "dram0=3,cxl0=1" };
	g_assert_cmpint(morsel_create(f->client, "options", MIB, &o, &m), ==, -EINVAL);
	g_assert_cmpstr(morsel_error(f->client), ==, "[{spread [[{dram0 3 } {cxl0 1 } ] ] } ]");

	g_assert_cmpint(morsel_create(f->client, "options", MIB, &longer.known, &m), ==, -EINVAL);
	g_assert_cmpstr(morsel_error(f->client), ==, "[]");
	longer.later = 1;
	g_assert_cmpint(morsel_create(f->client, "options", MIB, &longer.known, &m), ==, -E2BIG);
	shorter.struct_size = G_STRUCT_OFFSET(struct morsel_options, page_size);
	g_assert_cmpint(morsel_create(f->client, "options", MIB, &shorter, &m), ==, -EINVAL);
	g_assert_cmpstr(morsel_error(f->client), ==,
			"[{prefer [[hbm0 dram0 ] ] } {allow [[hbm0 dram0 cxl0 ] ] } ]");
	shorter.struct_size = 0;
	g_assert_cmpint(morsel_create(f->client, "x", MIB, &shorter, &m), ==, -EINVAL);
	g_assert_nonnull(strstr(morsel_error(f->client), "MORSEL_OPTIONS_INIT"));
}

static void test_bad_options(struct fixture *f, gconstpointer data)
{
	static const char *const spreads[] = { "dram0",	   "=3",	 "dram0=",
					       "dram0=-1", "dram0=3x",	 "dram0=4294967296",
					       "a=1 b",	   "dram0= 3,x", "dram0=0x3" };
	static const char *const nodes[] = { "x", "-1", "0-1", "2147483648" };
	unsigned int calls = fake_calls(f->fake);
	struct morsel_options o = { MORSEL_OPTIONS_INIT };
	morsel *m;
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(spreads); i++) {
		o.spread = spreads[i];
		g_assert_cmpint(morsel_create(f->client, "x", MIB, &o, &m), ==, -EINVAL);
		g_assert_nonnull(strstr(morsel_error(f->client), "spread: '"));
	}
	o.spread = NULL;
	for (i = 0; i < G_N_ELEMENTS(nodes); i++) {
		o.initiators = nodes[i];
		g_assert_cmpint(morsel_create(f->client, "x", MIB, &o, &m), ==, -EINVAL);
		g_assert_nonnull(strstr(morsel_error(f->client), "initiators: '"));
	}
	g_assert_cmpint(morsel_create(f->client, NULL, MIB, NULL, &m), ==, -EINVAL);
	g_assert_cmpint(morsel_create(f->client, "\xff\xfe", MIB, NULL, &m), ==, -EINVAL);
	g_assert_nonnull(strstr(morsel_error(f->client), "UTF-8"));
	g_assert_cmpint(morsel_open(f->client, "x", (enum morsel_access)2, &m), ==, -EINVAL);
	g_assert_cmpint(morsel_open(f->client, NULL, MORSEL_RDWR, &m), ==, -EINVAL);
	g_assert_cmpint(morsel_destroy(f->client, NULL), ==, -EINVAL);
	g_assert_cmpint(morsel_create(NULL, "x", MIB, NULL, &m), ==, -EINVAL);
	/* None of it reached the daemon. */
	g_assert_cmpuint(fake_calls(f->fake), ==, calls);
}

static void test_map(struct fixture *f, gconstpointer data)
{
	static const struct {
		uint64_t offset, length;
	} bad[] = {
		{ 0, 8 * MIB + 4096 },
		{ 8 * MIB, 0 },
		{ 8 * MIB, 4096 },
		{ 4096, 8 * MIB },
		{ 1, 4096 },
		{ 0, 1 },
		{ UINT64_MAX - 4095, 0 },
		{ 4096, UINT64_MAX - 4095 },
		{ UINT64_MAX - 4095, 8192 },
	};
	morsel *m;
	void *p = NULL;
	char *q;
	size_t i;

	g_assert_cmpint(morsel_open(f->client, "thp", MORSEL_RDWR, &m), ==, 0);
	for (i = 0; i < G_N_ELEMENTS(bad); i++)
		g_assert_cmpint(morsel_map(m, bad[i].offset, bad[i].length, MORSEL_RDWR, &p), ==,
				-EINVAL);
	g_assert_null(p);
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, &p), ==, 0);
	g_assert_cmpuint((uintptr_t)p % (2 * MIB), ==, 0);
	/* What was reserved around it is free again: the bytes before and after are not mapped. */
	g_assert_cmpint(msync((char *)p - 4096, 4096, MS_ASYNC), ==, -1);
	g_assert_cmpint(msync((char *)p + 8 * MIB, 4096, MS_ASYNC), ==, -1);
	g_assert_cmpint(morsel_map(m, 2 * MIB + 4096, 4 * MIB, MORSEL_RDWR, (void **)&q), ==, 0);
	g_assert_cmpuint((uintptr_t)q % (2 * MIB), ==, 4096);
	q[0] = 42;
	g_assert_cmpint(((char *)p)[2 * MIB + 4096], ==, 42);
	g_assert_cmpint(morsel_unmap(q, 4 * MIB), ==, 0);
	g_assert_cmpint(morsel_map(m, MIB, 4096, MORSEL_RDONLY, (void **)&q), ==, 0);
	g_assert_cmpint(morsel_unmap(q, 4096), ==, 0);
	g_assert_cmpint(morsel_unmap(p, 0), ==, -EINVAL);
	g_assert_cmpint(morsel_unmap(NULL, 4096), ==, -EINVAL);
	/* The mapping outlives the handle. */
	morsel_close(m);
	g_assert_cmpint(((char *)p)[2 * MIB + 4096], ==, 42);
	g_assert_cmpint(morsel_unmap(p, 8 * MIB), ==, 0);

	g_assert_cmpint(morsel_open(f->client, "hugetlb", MORSEL_RDONLY, &m), ==, 0);
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, &p), ==, -EACCES);
	g_assert_nonnull(strstr(morsel_error(f->client), "hugetlb: "));
	g_assert_cmpint(morsel_map(m, 4096, 2 * MIB, MORSEL_RDONLY, &p), ==, -EINVAL);
	g_assert_cmpint(morsel_map(m, 0, 4096, MORSEL_RDONLY, &p), ==, -EINVAL);
	g_assert_nonnull(strstr(morsel_error(f->client), "2097152"));
	g_assert_cmpint(morsel_map(m, 2 * MIB, 0, MORSEL_RDONLY, &p), ==, 0);
	g_assert_cmpint(morsel_unmap(p, 6 * MIB), ==, 0);
	morsel_close(m);
}

/* Whole 2 MiB around what is asked for. The fake's object is a memory file, so the module's calls are refused, and
 * unmapping does not need all of it; the lab has the real ones. */
static void test_module(struct fixture *f, gconstpointer data)
{
	struct morsel_range range = { 4096, 4096 };
	struct morsel_stat stat = { MORSEL_STAT_INIT };
	unsigned char *p = NULL, *q = NULL, present[1];
	morsel *m;

	g_assert_cmpint(morsel_open(f->client, "module", MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpint(morsel_map(m, 2 * MIB + 4096, 4096, MORSEL_RDWR, (void **)&p), ==, 0);
	p[0] = 42;
	g_assert_cmpint(mincore(p - 4096, 4096, present), ==, 0);
	g_assert_cmpint(mincore(p - 4096 + 2 * MIB - 4096, 4096, present), ==, 0);
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDONLY, (void **)&q), ==, 0);
	g_assert_cmpint(q[2 * MIB + 4096], ==, 42);
	g_assert_cmpint(morsel_unmap(q, 8 * MIB), ==, 0);
	g_assert_cmpint(morsel_unmap(p - 4096, 2 * MIB), ==, 0);
	g_assert_cmpint(mincore(p - 4096, 4096, present), ==, -1);
	g_assert_cmpint(morsel_map(m, 1, 4096, MORSEL_RDWR, (void **)&p), ==, -EINVAL);

	g_assert_cmpint(morsel_populate(m, &range, 1), ==, -ENOTTY);
	g_assert_nonnull(strstr(morsel_error(f->client), "module: "));
	g_assert_cmpint(morsel_evict(m, &range, 1), ==, -ENOTTY);
	g_assert_cmpint(morsel_stat(m, &stat), ==, -ENOTTY);
	g_assert_cmpint(morsel_advise(m, MORSEL_COLD, &range, 1), ==, 0);
	range.offset = 8 * MIB;
	g_assert_cmpint(morsel_populate(m, &range, 1), ==, -EINVAL);
	g_assert_cmpint(morsel_advise(m, MORSEL_COLD, &range, 1), ==, -EINVAL);
	g_assert_cmpint(morsel_populate(m, NULL, 0), ==, 0);
	morsel_close(m);
}

static uint64_t allocated(morsel *m)
{
	struct morsel_stat s = { MORSEL_STAT_INIT };

	g_assert_cmpint(morsel_stat(m, &s), ==, 0);
	return s.allocated;
}

static void test_populate_and_evict(struct fixture *f, gconstpointer data)
{
	const struct morsel_range ranges[] = { { 0, 8192 }, { MIB, MIB }, { 7 * MIB, 0 } };
	struct morsel_range bad[] = { { 0, 4096 }, { 8 * MIB, 4096 } };
	g_autofree struct morsel_range *many = g_new0(struct morsel_range, MORSEL_RANGES_MAX + 1);
	morsel *m, *ro;
	char *p;
	size_t i;

	g_assert_cmpint(morsel_open(f->client, "x", MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpuint(allocated(m), ==, 0);
	g_assert_cmpint(morsel_populate(m, bad, 2), ==, -EINVAL);
	g_assert_cmpint(morsel_evict(m, bad, 2), ==, -EINVAL);
	/* Nothing is done when one of them is bad. */
	g_assert_cmpuint(allocated(m), ==, 0);
	g_assert_cmpint(morsel_populate(m, many, MORSEL_RANGES_MAX + 1), ==, -EINVAL);
	g_assert_nonnull(strstr(morsel_error(f->client), "65537 ranges"));
	g_assert_cmpint(morsel_populate(m, NULL, 1), ==, -EINVAL);
	g_assert_cmpint(morsel_populate(m, NULL, 0), ==, 0);
	g_assert_cmpint(morsel_populate(m, ranges, 3), ==, 0);
	g_assert_cmpuint(allocated(m), ==, 8192 + 2 * MIB);

	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&p), ==, 0);
	memset(p, 7, 8192);
	memset(p + MIB, 8, MIB);
	g_assert_cmpint(morsel_populate(m, ranges, 3), ==, 0);
	g_assert_cmpint(p[4096], ==, 7); /* contents stay */
	g_assert_cmpint(morsel_evict(m, &ranges[1], 1), ==, 0);
	g_assert_cmpuint(allocated(m), ==, 8192 + MIB);
	g_assert_cmpint(p[4096], ==, 7);
	for (i = 0; i < MIB; i += 4096)
		g_assert_cmpint(p[MIB + i], ==, 0);
	morsel_unmap(p, 8 * MIB);
	morsel_close(m);

	g_assert_cmpint(morsel_open(f->client, "x", MORSEL_RDONLY, &ro), ==, 0);
	g_assert_cmpint(morsel_populate(ro, ranges, 1), ==, -EACCES);
	g_assert_cmpint(morsel_evict(ro, ranges, 1), ==, -EACCES);
	morsel_close(ro);
}

/* From here on madvise(MADV_POPULATE_WRITE) fails as in kernels before 5.14. */
static void forget_populate(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 23 /* MADV_POPULATE_WRITE */, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { G_N_ELEMENTS(filter), filter };

	g_assert_cmpint(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
	g_assert_cmpint(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), ==, 0);
}

static void test_populate_on_old_kernel(struct fixture *f, gconstpointer data)
{
	const struct morsel_range ranges[] = { { 0, 8192 }, { 4 * MIB, 0 } };
	int status;
	pid_t pid;

	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (pid == 0) {
		struct morsel_stat s = { MORSEL_STAT_INIT };
		morsel_client *c;
		morsel *m;
		char *p;

		forget_populate();
		/* The fake serves one connection at a time: the parent's has to go first, here too. */
		morsel_disconnect(f->client);
		if (morsel_connect(f->path, &c) < 0 || morsel_open(c, "x", MORSEL_RDWR, &m) < 0 ||
		    morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&p) < 0)
			_exit(1);
		p[0] = 5;
		if (madvise(p, 4096, 23) == 0 || errno != EINVAL)
			_exit(2);
		if (morsel_populate(m, ranges, 2) < 0 || morsel_stat(m, &s) < 0)
			_exit(3);
		_exit(s.allocated == 8192 + 4 * MIB && p[0] == 5 ? 0 : 4);
	}
	f->client = morsel_disconnect(f->client);
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

/* A field of /proc/self/smaps for the mapping at p, up to the line's end. */
static char *smaps_field(const void *p, const char *field)
{
	g_autofree char *smaps = NULL;
	char start[40], *line, *end;

	g_assert_true(g_file_get_contents("/proc/self/smaps", &smaps, NULL, NULL));
	g_snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)p);
	line = strstr(smaps, start);
	g_assert_nonnull(line);
	line = strstr(line, field);
	g_assert_nonnull(line);
	end = strchr(line, '\n');
	g_assert_nonnull(end);
	return g_strndup(line + strlen(field), (gsize)(end - line) - strlen(field));
}

/* KiB that the processor has seen used since the last look. */
static uint64_t referenced(const void *p)
{
	g_autofree char *kib = smaps_field(p, "Referenced:");

	return g_ascii_strtoull(kib, NULL, 10);
}

/* Is a mapping of such an object marked for 2 MiB pages? */
static bool wants_huge(struct fixture *f, const char *name)
{
	g_autofree char *flags = NULL;
	morsel *m;
	void *p;

	g_assert_cmpint(morsel_open(f->client, name, MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, &p), ==, 0);
	flags = smaps_field(p, "VmFlags:");
	morsel_unmap(p, morsel_size(m));
	morsel_close(m);
	return strstr(flags, " hg") != NULL;
}

static void test_huge_pages(struct fixture *f, gconstpointer data)
{
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK) < 0) {
		g_test_skip("this kernel has no transparent huge pages");
		return;
	}
	g_assert_true(wants_huge(f, "thp"));
	g_assert_false(wants_huge(f, "x"));
}

/* The kernel passes over pages that its reclaim has in hand, on a busy machine. */
#define BUSY_KIB 512

static void test_advise(struct fixture *f, gconstpointer data)
{
	const struct morsel_range all = {}, half = { 4 * MIB, 2 * MIB };
	morsel *m, *other;
	char *p, *q;

	g_assert_cmpint(morsel_open(f->client, "x", MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpint(morsel_open(f->client, "y", MORSEL_RDWR, &other), ==, 0);
	g_assert_cmpint(morsel_map(m, 2 * MIB, 0, MORSEL_RDWR, (void **)&p), ==, 0);
	g_assert_cmpint(morsel_map(other, 0, 0, MORSEL_RDWR, (void **)&q), ==, 0);
	memset(p, 1, 6 * MIB);
	memset(q, 1, 8 * MIB);
	g_assert_cmpuint(referenced(p), ==, 6144);
	g_assert_cmpint(morsel_advise(m, MORSEL_WILLNEED, &all, 1), ==, 0);
	g_assert_cmpint(morsel_advise(m, MORSEL_COLD, &half, 1), ==, 0);
	g_assert_cmpuint(referenced(p), >=, 4096);
	g_assert_cmpuint(referenced(p), <, 4096 + BUSY_KIB);
	g_assert_cmpint(morsel_advise(m, MORSEL_COLD, &all, 1), ==, 0);
	g_assert_cmpuint(referenced(p), <, BUSY_KIB);
	g_assert_cmpuint(referenced(q), ==, 8192); /* another object's is left alone */
	g_assert_cmpint(p[5 * MIB], ==, 1);
	g_assert_cmpint(morsel_advise(m, (enum morsel_advice)3, &all, 1), ==, -EINVAL);
	g_assert_cmpint(morsel_advise(m, MORSEL_COLD, &(struct morsel_range){ 1, 2 }, 1), ==,
			-EINVAL);
	morsel_unmap(p, 6 * MIB);
	morsel_unmap(q, 8 * MIB);
	morsel_close(m);
	morsel_close(other);
}

static void test_stat(struct fixture *f, gconstpointer data)
{
	struct {
		struct morsel_stat known;
		uint64_t later;
	} longer;
	struct morsel_stat s = { MORSEL_STAT_INIT };
	morsel *m;

	g_assert_cmpint(morsel_create(f->client, "thp", 4 * MIB, NULL, &m), ==, 0);
	g_assert_cmpint(morsel_stat(m, &s), ==, 0);
	g_assert_cmpstr(s.id, ==, "0123456789abcdef0123456789abcdef");
	g_assert_cmpuint(s.size, ==, 4 * MIB);
	g_assert_cmpuint(s.page_size, ==, MORSEL_PAGE_2M);
	g_assert_cmpuint(s.owner, ==, 1234);
	g_assert_cmpuint(s.group, ==, 56);
	g_assert_cmpuint(s.mode, ==, 0640);
	g_assert_cmpuint(s.struct_size, ==, sizeof(s));

	memset(&longer, 0xff, sizeof(longer));
	longer.known.struct_size = sizeof(longer);
	g_assert_cmpint(morsel_stat(m, &longer.known), ==, 0);
	g_assert_cmpuint(longer.later, ==, 0);
	g_assert_cmpuint(longer.known.mode, ==, 0640);
	memset(&s, 0xff, sizeof(s));
	s.struct_size = G_STRUCT_OFFSET(struct morsel_stat, owner);
	g_assert_cmpint(morsel_stat(m, &s), ==, 0);
	g_assert_cmpuint(s.page_size, ==, MORSEL_PAGE_2M);
	g_assert_cmpuint(s.owner, ==, (uid_t)-1); /* beyond what the caller has room for */
	s.struct_size = 0;
	g_assert_cmpint(morsel_stat(m, &s), ==, -EINVAL);
	morsel_close(m);
}

static void test_move_and_residency(struct fixture *f, gconstpointer data)
{
	struct morsel_tier_bytes tiers[3];
	struct morsel_move_result result = {};
	const struct morsel_range range = { 4096, 8192 };
	uint64_t absent = 0;
	morsel *m;

	g_assert_cmpint(morsel_open(f->client, "signals", MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpint(morsel_move(m, "done", &range, &result), ==, 0);
	g_assert_cmpuint(result.moved, ==, 4096);
	g_assert_cmpuint(result.already, ==, 8192);
	g_assert_cmpuint(result.absent, ==, 12288);
	g_assert_cmpuint(result.failed, ==, 16384);
	g_assert_cmpint(morsel_move(m, "done", NULL, NULL), ==, 0);
	memset(&result, 0xff, sizeof(result));
	g_assert_cmpint(morsel_move(m, "failed", NULL, &result), ==, -EIO);
	g_assert_cmpstr(morsel_error(f->client), ==, "The move was failed: fake: no");
	g_assert_cmpint(morsel_move(m, "cancelled", NULL, &result), ==, -ECANCELED);
	g_assert_cmpuint(result.moved, ==, UINT64_MAX);
	g_assert_cmpint(morsel_move(m, NULL, NULL, &result), ==, -EINVAL);

	memset(tiers, 0, sizeof(tiers));
	g_assert_cmpint(morsel_residency(m, 0, tiers, 3, &absent), ==, 2);
	g_assert_cmpstr(tiers[0].tier, ==, "dram0");
	g_assert_cmpuint(tiers[0].bytes, ==, 4096);
	g_assert_cmpstr(tiers[1].tier, ==, "hbm0");
	g_assert_cmpuint(tiers[1].bytes, ==, 8192);
	g_assert_cmpuint(absent, ==, 12288);
	/* Too little room: how many there are, and no byte beyond. */
	memset(tiers, 0, sizeof(tiers));
	g_assert_cmpint(morsel_residency(m, 1, tiers, 1, NULL), ==, 2);
	g_assert_cmpstr(tiers[0].tier, ==, "dram0");
	g_assert_cmpstr(tiers[1].tier, ==, "");
	g_assert_cmpint(morsel_residency(m, 1, NULL, 0, NULL), ==, 2);
	g_assert_cmpint(morsel_residency(m, 1, NULL, 1, NULL), ==, -EINVAL);
	morsel_close(m);
}

static void test_disconnected_handles(struct fixture *f, gconstpointer data)
{
	morsel_client *c;
	morsel *m;
	void *p;

	/* The fake serves one after the other. */
	morsel_disconnect(f->client);
	f->client = NULL;
	g_assert_cmpint(morsel_connect(f->path, &c), ==, 0);
	g_assert_cmpint(morsel_open(c, "x", MORSEL_RDWR, &m), ==, 0);
	g_assert_null(morsel_disconnect(c));
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, &p), ==, 0);
	g_assert_cmpint(morsel_move(m, "done", NULL, NULL), ==, -ENOTCONN);
	morsel_unmap(p, morsel_size(m));
	g_assert_null(morsel_close(m));
	expect_fds(f->fds);
}

static int in_child(struct fixture *f, morsel *m, char *mapped)
{
	unsigned int fds = count_fds();
	void *p;

	if (morsel_open(f->client, "x", MORSEL_RDWR, &m) != -ECHILD ||
	    !strstr(morsel_error(f->client), "fork"))
		return 1;
	if (morsel_destroy(f->client, "x") != -ECHILD ||
	    morsel_move(m, "done", NULL, NULL) != -ECHILD)
		return 2;
	if (morsel_map(m, 0, 0, MORSEL_RDWR, &p) != -ECHILD)
		return 3;
	if (mapped[0] != 1)
		return 4;
	mapped[0] = 2;
	if (morsel_unmap(mapped, 8 * MIB) != 0)
		return 5;
	morsel_close(m);
	morsel_disconnect(f->client);
	/* The object's, and the socket's. */
	return count_fds() == fds - 2 ? 0 : 6;
}

static void test_fork(struct fixture *f, gconstpointer data)
{
	morsel *m, *more;
	int status;
	char *p;
	pid_t pid;

	g_assert_cmpint(morsel_open(f->client, "x", MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&p), ==, 0);
	p[0] = 1;
	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (pid == 0)
		_exit(in_child(f, m, p));
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
	g_assert_cmpint(p[0], ==, 2);
	/* The parent's connection is the same one, and works. */
	g_assert_cmpint(morsel_open(f->client, "y", MORSEL_RDWR, &more), ==, 0);
	g_assert_cmpuint(fake_connections(f->fake), ==, 1);
	morsel_unmap(p, 8 * MIB);
	morsel_close(more);
	morsel_close(m);
}

static void *hold_lock(void *data)
{
	g_assert_cmpint(morsel_move(data, "held", NULL, NULL), ==, 0);
	return NULL;
}

/* Another thread is inside of a call at the fork: its lock stays locked in the child for ever. */
static void test_fork_in_call(struct fixture *f, gconstpointer data)
{
	pthread_t thread;
	int status;
	morsel *m;
	pid_t pid;

	g_assert_cmpint(morsel_open(f->client, "x", MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpint(pthread_create(&thread, NULL, hold_lock, m), ==, 0);
	while (fake_calls(f->fake) < 3) /* Open, Move, Wait */
		g_usleep(1000);
	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (pid == 0) {
		alarm(10);
		if (morsel_destroy(f->client, "x") != -ECHILD)
			_exit(1);
		morsel_close(m);
		morsel_disconnect(f->client);
		_exit(0);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
	fake_release(f->fake);
	g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
	morsel_close(m);
}

static void test_out_of_descriptors(struct fixture *f, gconstpointer data)
{
	struct rlimit old, low;
	unsigned int calls = fake_calls(f->fake);
	int highest;
	morsel *m;

	g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
	highest = dup(0);
	g_assert_cmpint(highest, >=, 0);
	close(highest);
	/* One is left, two are needed. */
	low = (struct rlimit){ (rlim_t)highest + 1, old.rlim_max };
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &low), ==, 0);
	g_assert_cmpint(morsel_open(f->client, "x", MORSEL_RDWR, &m), ==, -EMFILE);
	g_assert_nonnull(strstr(morsel_error(f->client), "RLIMIT_NOFILE"));
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
	/* It was found out before the daemon made something that would have been lost. */
	g_assert_cmpuint(fake_calls(f->fake), ==, calls);
	g_assert_cmpint(morsel_open(f->client, "x", MORSEL_RDWR, &m), ==, 0);
	g_assert_cmpuint(fake_connections(f->fake), ==, 1);
	morsel_close(m);
}

#define ROUNDS 50

static void *use_client(void *data)
{
	struct fixture *f = data;
	const struct morsel_range first = { 0, 4096 };
	int i;

	for (i = 0; i < ROUNDS; i++) {
		morsel *m;
		char *p;

		g_assert_cmpint(morsel_open(f->client, "x", MORSEL_RDWR, &m), ==, 0);
		g_assert_cmpint(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&p), ==, 0);
		p[i]++;
		g_assert_cmpint(morsel_populate(m, &first, 1), ==, 0);
		g_assert_cmpint(morsel_map(m, 1, 0, MORSEL_RDWR, (void **)&p), ==, -EINVAL);
		g_assert_cmpint(morsel_open(f->client, "error:Busy", MORSEL_RDWR, &m), ==, -EBUSY);
		g_assert_cmpint(morsel_move(m, "done", NULL, NULL), ==, 0);
		morsel_unmap(p, morsel_size(m));
		morsel_close(m);
	}
	return NULL;
}

static void test_threads(struct fixture *f, gconstpointer data)
{
	pthread_t threads[4];
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(threads); i++)
		g_assert_cmpint(pthread_create(&threads[i], NULL, use_client, f), ==, 0);
	for (i = 0; i < G_N_ELEMENTS(threads); i++)
		g_assert_cmpint(pthread_join(threads[i], NULL), ==, 0);
	g_assert_cmpuint(fake_calls(f->fake), ==, G_N_ELEMENTS(threads) * ROUNDS * 4);
}

#define MANY_ROUNDS 100

static void *call_often(void *data)
{
	struct fixture *f = data;
	int i;

	for (i = 0; i < MANY_ROUNDS; i++)
		g_assert_cmpint(morsel_destroy(f->client, "x"), ==, 0);
	return NULL;
}

/* A message that outlives its call's lock spoils the connection's count of references, now and then: see test-locking. */
static void test_threads_quick_calls(struct fixture *f, gconstpointer data)
{
	pthread_t threads[4];
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(threads); i++)
		g_assert_cmpint(pthread_create(&threads[i], NULL, call_often, f), ==, 0);
	for (i = 0; i < G_N_ELEMENTS(threads); i++)
		g_assert_cmpint(pthread_join(threads[i], NULL), ==, 0);
}

#define ADD(name, function) \
	g_test_add("/client/" name, struct fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	ADD("errors", test_errors);
	ADD("strange-answers", test_strange_answers);
	ADD("reconnect", test_reconnect);
	ADD("connect", test_connect);
	ADD("options", test_options);
	ADD("bad-options", test_bad_options);
	ADD("map", test_map);
	ADD("module", test_module);
	ADD("populate-and-evict", test_populate_and_evict);
	ADD("populate-on-old-kernel", test_populate_on_old_kernel);
	ADD("huge-pages", test_huge_pages);
	ADD("advise", test_advise);
	ADD("stat", test_stat);
	ADD("move-and-residency", test_move_and_residency);
	ADD("disconnected-handles", test_disconnected_handles);
	ADD("fork", test_fork);
	ADD("fork-in-call", test_fork_in_call);
	ADD("out-of-descriptors", test_out_of_descriptors);
	ADD("threads", test_threads);
	ADD("threads-quick-calls", test_threads_quick_calls);
	return g_test_run();
}
