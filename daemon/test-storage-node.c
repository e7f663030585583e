/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The node storage on this machine's own nodes: as root and as an ordinary user, also where a seccomp
 * filter forbids mbind or move_pages (those tests then say so and skip).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake-inventory.h"
#include "storage-node.h"

#define MIB (UINT64_C(1) << 20)
#define NOBODY 65534

struct fixture {
	struct storage *s;
	struct inventory *inv;
	unsigned int nodes;
};

static void set_up(struct fixture *f, gconstpointer data)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	g_assert_cmpint(storage_node_new(root, &f->s), ==, 0);
	close(root);
	f->inv = fake_inventory_new();
	f->nodes = fake_inventory_add_machine(f->inv);
	g_assert_cmpuint(f->nodes, >, 0);
}

static void tear_down(struct fixture *f, gconstpointer data)
{
	storage_node_free(f->s);
	fake_inventory_free(f->inv);
}

static bool may_move(const struct fixture *f)
{
	int r = ((struct node_storage *)f->s)->caps.move_pages;

	if (r < 0)
		g_test_skip_printf("move_pages is forbidden here: %s", g_strerror(-r));
	return r >= 0;
}

static struct storage_object *create(struct fixture *f, uint64_t size, struct placement *p)
{
	struct storage_object *o = NULL;
	g_autofree char *error = NULL;
	int r = f->s->ops->create(
		f->s, f->inv,
		&(struct storage_spec){ .label = "test", .size = size, .placement = p }, &o,
		&error);

	if (r < 0)
		g_error("create: %s", error);
	return o;
}

static unsigned char *map(struct fixture *f, struct storage_object *o, uint64_t size)
{
	int fd = f->s->ops->open_fd(o, true);
	void *p;

	g_assert_cmpint(fd, >=, 0);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	g_assert_true(p != MAP_FAILED);
	close(fd);
	return p;
}

static unsigned int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Mappings of memfds of ours. */
static unsigned int count_maps(void)
{
	g_autofree char *text = NULL;
	unsigned int n = 0;

	g_assert_true(g_file_get_contents("/proc/self/maps", &text, NULL, NULL));
	for (const char *at = text; (at = strstr(at, "/memfd:morsel:")); at++)
		n++;
	return n;
}

static void test_create(struct fixture *f, gconstpointer data)
{
	unsigned int fds = count_fds();
	struct storage_object *o = create(f, 4 * MIB, NULL);
	uint64_t bytes = 1;
	struct stat st;
	int fd;

	g_assert_false(f->s->ops->needs_prepare(o));
	g_assert_cmpint(f->s->ops->page_backing(o), ==, PAGES_4K);
	fd = f->s->ops->open_fd(o, true);
	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
	g_assert_cmpint(fstat(fd, &st), ==, 0);
	g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
	g_assert_cmpuint((uint64_t)st.st_size, ==, 4 * MIB);
	g_assert_cmpint(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), ==,
			F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	g_assert_cmpint(ftruncate(fd, 8 * MIB), ==, -1);
	g_assert_cmpint(errno, ==, EPERM);
	g_assert_cmpint(ftruncate(fd, 4096), ==, -1);
	g_assert_cmpint(fallocate(fd, 0, 4 * MIB, 4096), ==, -1);
	g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 0);
	g_assert_cmpint(pwrite(fd, "x", 1, MIB), ==, 1);
	g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, >=, 4096);
	close(fd);
	g_assert_null(f->s->ops->free(o));
	g_assert_null(f->s->ops->free(NULL));
	g_assert_cmpuint(count_fds(), ==, fds);
}

static void refuse(struct fixture *f, uint64_t size, struct placement *p, int r, const char *text)
{
	unsigned int fds = count_fds(), maps = count_maps();
	struct storage_object *o = NULL;
	g_autofree char *error = NULL;

	g_assert_cmpint(f->s->ops->create(f->s, f->inv,
					  &(struct storage_spec){ .label = "refused",
								  .size = size,
								  .placement = p },
					  &o, &error),
			==, r);
	g_assert_null(o);
	g_assert_nonnull(strstr(error, text));
	g_assert_cmpuint(count_fds(), ==, fds);
	g_assert_cmpuint(count_maps(), ==, maps);
}

static void test_bad_size(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = placement_new();

	refuse(f, 0, NULL, -EINVAL, "size 0 of 'refused'");
	refuse(f, 4097, NULL, -EINVAL, "4097");
	refuse(f, UINT64_C(1) << 63, NULL, -EFBIG, "9223372036854775808");
	refuse(f, UINT64_MAX - 4095, NULL, -EFBIG, "limit of 70368744177664");
	p->page_size = 2 * MIB;
	refuse(f, MIB, p, -EINVAL, "2097152");
	p->page_size = 1000;
	refuse(f, MIB, p, -EINVAL, "1000");
}

static void test_bad_tier(struct fixture *f, gconstpointer data)
{
	struct tier *t = fake_inventory_add(f->inv, "nvm0", TIER_OFFLINE, NULL, 0);
	g_autoptr(Placement) p = placement_new();

	g_ptr_array_add(p->prefer, g_strdup("nvm0"));
	refuse(f, MIB, p, -ENODEV, "tier 'nvm0' takes no pages: it is offline (device in devdax");
	g_free(t->state_reason);
	t->state_reason = g_strdup("");
	refuse(f, MIB, p, -ENODEV, "no node is online");
	g_ptr_array_add(p->prefer, g_strdup("nowhere"));
	refuse(f, MIB, p, -ENOENT, "'nowhere'");
	g_ptr_array_set_size(p->prefer, 0);
	g_ptr_array_add(p->allow, g_strdup("nvm0"));
	refuse(f, MIB, p, -ENODEV, "allow: tier 'nvm0'");
	g_ptr_array_set_size(p->allow, 0);
	placement_add_spread(p, "node0", 1);
	placement_add_spread(p, "nvm0", 1);
	refuse(f, MIB, p, -ENODEV, "spread: tier 'nvm0'");
}

static void test_out_of_descriptors(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = create(f, MIB, NULL);
	struct rlimit limit, none;

	g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
	none = limit;
	none.rlim_cur = 0; /* what is open stays usable */
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
	g_assert_cmpint(f->s->ops->open_fd(o, true), ==, -EMFILE);
	{
		struct storage_object *second = NULL;
		g_autofree char *error = NULL;

		g_assert_cmpint(
			f->s->ops->create(f->s, f->inv,
					  &(struct storage_spec){ .label = "second", .size = MIB },
					  &second, &error),
			==, -EMFILE);
		g_assert_nonnull(strstr(error, "RLIMIT_NOFILE"));
	}
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
	f->s->ops->free(o);
}

static void test_read_only(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = create(f, MIB, NULL);
	int fd = f->s->ops->open_fd(o, false);

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(fcntl(fd, F_GETFL) & O_ACCMODE, ==, O_RDONLY);
	g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
	g_assert_true(mmap(NULL, MIB, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	g_assert_cmpint(pwrite(fd, "x", 1, 0), ==, -1);
	close(fd);
	f->s->ops->free(o);
}

/* As somebody else, with a descriptor of each kind in hand: 0, or what was possible. */
static int try_as_nobody(int ro, int rw)
{
	char path[64];

	if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
		return 1;
	g_snprintf(path, sizeof(path), "/proc/self/fd/%d", ro);
	if (open(path, O_RDWR) >= 0 || open(path, O_WRONLY) >= 0)
		return 2;
	if (open(path, O_RDONLY) >= 0)
		return 3;
	if (fchmod(ro, 0666) == 0 || fchmod(rw, 0666) == 0)
		return 4;
	g_snprintf(path, sizeof(path), "/proc/self/fd/%d", rw);
	if (open(path, O_RDWR) >= 0 || open(path, O_RDONLY) >= 0)
		return 5;
	if (ftruncate(rw, 2 * MIB) == 0)
		return 6;
	if (mprotect(mmap(NULL, MIB, PROT_READ, MAP_SHARED, ro, 0), MIB, PROT_READ | PROT_WRITE) ==
	    0)
		return 7;
	return pwrite(rw, "y", 1, 0) == 1 ? 0 : 8;
}

static void test_others_cannot_reopen(struct fixture *f, gconstpointer data)
{
	struct storage_object *o;
	int ro, rw, status;
	pid_t child;

	if (geteuid() != 0) {
		g_test_skip("only root can become another user");
		return;
	}
	o = create(f, MIB, NULL);
	ro = f->s->ops->open_fd(o, false);
	rw = f->s->ops->open_fd(o, true);
	child = fork();
	if (child == 0)
		_exit(try_as_nobody(ro, rw));
	g_assert_cmpint(waitpid(child, &status, 0), ==, child);
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
	close(ro);
	close(rw);
	f->s->ops->free(o);
}

static uint64_t on_nodes(const struct storage_residency *res)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < res->by_node->len; i++)
		sum += g_array_index(res->by_node, uint64_t, i);
	return sum;
}

static void test_residency(struct fixture *f, gconstpointer data)
{
	struct storage_residency res;
	struct storage_object *o;
	GArray *runs = NULL;
	unsigned char *p;
	unsigned int fds;

	if (!may_move(f))
		return;
	o = create(f, 16 * MIB, NULL);
	p = map(f, o, 16 * MIB);
	memset(p + 4 * MIB, 1, 3 * MIB); /* one granule and half of the next */
	p[12 * MIB] = 1;
	fds = count_fds();
	g_assert_cmpint(f->s->ops->residency(o, 0, 16 * MIB, true, NULL, NULL, &res, &runs), ==, 0);
	g_assert_cmpuint(on_nodes(&res), ==, 3 * MIB + 4096);
	g_assert_cmpuint(res.absent, ==, 13 * MIB - 4096);
	g_assert_cmpuint(res.swapped, ==, 0);
	g_assert_cmpuint(res.looked_at, ==, 16 * MIB);
	g_assert_false(res.sampled);
	if (f->nodes == 1) {
		const struct storage_run *r = (const struct storage_run *)runs->data;

		/* absent 0-4, node 4-8, absent 8-12, node 12-14, absent 14-16 */
		g_assert_cmpuint(runs->len, ==, 5);
		g_assert_cmpint(r[0].node, ==, RUN_ABSENT);
		g_assert_cmpuint(r[1].offset, ==, 4 * MIB);
		g_assert_cmpuint(r[1].length, ==, 4 * MIB);
		g_assert_cmpuint(r[1].present, ==, 3 * MIB);
		g_assert_cmpint(r[1].node, >=, 0);
		g_assert_cmpuint(r[3].present, ==, 4096);
		g_assert_cmpuint(r[4].offset + r[4].length, ==, 16 * MIB);
	}
	storage_residency_done(&res);
	g_array_unref(runs);

	/* A part, cut at odd pages; clipped at the end; looked at it did not come into being. */
	g_assert_cmpint(f->s->ops->residency(o, 5 * MIB + 4096, 64 * MIB, true, NULL, NULL, &res,
					     NULL),
			==, 0);
	g_assert_cmpuint(res.length, ==, 11 * MIB - 4096);
	g_assert_cmpuint(on_nodes(&res), ==, 2 * MIB);
	storage_residency_done(&res);
	{
		uint64_t bytes;

		g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
		g_assert_cmpuint(bytes, ==, 3 * MIB + 4096);
	}
	g_assert_cmpint(f->s->ops->residency(o, 16 * MIB, 4096, true, NULL, NULL, &res, NULL), ==,
			-EINVAL);
	g_assert_cmpint(f->s->ops->residency(o, 0, 0, true, NULL, NULL, &res, NULL), ==, -EINVAL);
	g_assert_cmpint(f->s->ops->residency(o, 100, 4096, true, NULL, NULL, &res, NULL), ==,
			-EINVAL);
	g_assert_cmpuint(count_fds(), ==, fds);
	munmap(p, 16 * MIB);
	f->s->ops->free(o);
	g_assert_cmpuint(count_maps(), ==, 0);
}

static void test_residency_sampled(struct fixture *f, gconstpointer data)
{
	const uint64_t size = 8192 * MIB;
	struct storage_residency res;
	struct storage_object *o;
	GArray *runs = (GArray *)1;
	uint64_t bytes;
	int fd;

	if (!may_move(f))
		return;
	o = create(f, size, NULL);
	fd = f->s->ops->open_fd(o, true);
	/* One page of every granule: 4096 granules, 16 MiB. */
	for (uint64_t at = 0; at < size; at += 2 * MIB)
		g_assert_cmpint(pwrite(fd, "x", 1, (off_t)(at + 4096 * (at / 2 / MIB % 512))), ==,
				1);
	g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpint(f->s->ops->residency(o, 0, size, false, NULL, NULL, &res, &runs), ==, 0);
	g_assert_true(res.sampled);
	g_assert_null(runs);
	g_assert_cmpuint(res.looked_at, ==, 1024 * MIB);
	/* That it is the allocated bytes, and how many are not there, is known exactly. */
	g_assert_cmpuint(on_nodes(&res), <=, bytes);
	g_assert_cmpuint(on_nodes(&res), >=, bytes - 4096 * 8);
	g_assert_cmpuint(on_nodes(&res) + res.absent + res.swapped, ==, size);
	storage_residency_done(&res);

	/* Of a part it is an estimate: here an even one. */
	g_assert_cmpint(f->s->ops->residency(o, size / 2, size / 2, false, NULL, NULL, &res, &runs),
			==, 0);
	g_assert_true(res.sampled);
	g_assert_cmpuint(on_nodes(&res), ==, bytes / 2);
	storage_residency_done(&res);

	/* Exactly, it is the same. */
	g_assert_cmpint(f->s->ops->residency(o, 0, size, true, NULL, NULL, &res, &runs), ==, 0);
	g_assert_false(res.sampled);
	g_assert_cmpuint(on_nodes(&res), ==, bytes);
	storage_residency_done(&res);
	g_array_unref(runs);
	close(fd);
	f->s->ops->free(o);
}

/* So little of so much that samples would miss it: all of it is looked at, and it does not take long. */
static void test_residency_sparse(struct fixture *f, gconstpointer data)
{
	const uint64_t size = UINT64_C(8) << 40;
	struct storage_residency res;
	struct storage_object *o;
	GArray *runs;
	int fd;

	if (!may_move(f))
		return;
	o = create(f, size, NULL);
	fd = f->s->ops->open_fd(o, true);
	g_assert_cmpint(pwrite(fd, "x", 1, (off_t)(size / 3)), ==, 1);
	g_assert_cmpint(pwrite(fd, "x", 1, (off_t)(size - 1)), ==, 1);
	g_assert_cmpint(f->s->ops->residency(o, 0, size, false, NULL, NULL, &res, &runs), ==, 0);
	g_assert_false(res.sampled);
	g_assert_cmpuint(on_nodes(&res), ==, 8192);
	g_assert_cmpuint(res.absent, ==, size - 8192);
	g_assert_cmpuint(res.looked_at, ==, size);
	g_assert_cmpuint(runs->len, ==, 4);
	storage_residency_done(&res);
	g_array_unref(runs);
	close(fd);
	f->s->ops->free(o);
}

static void test_move(struct fixture *f, gconstpointer data)
{
	struct tier *tier = inventory_tier(f->inv, "node0");
	struct storage_move_result res;
	struct storage_object *o;
	g_autofree char *error = NULL;
	unsigned char *p;
	unsigned int fds;

	if (!may_move(f) || !tier)
		return;
	o = create(f, 16 * MIB, NULL);
	p = map(f, o, 16 * MIB);
	for (uint64_t at = 4 * MIB; at < 7 * MIB; at++)
		p[at] = (unsigned char)(at * 7 >> 3);
	fds = count_fds();
	g_assert_cmpint(f->s->ops->move(o, 0, 16 * MIB, tier, 0, NULL, NULL, &res, &error), ==, 0);
	g_assert_null(error);
	g_assert_cmpuint(res.moved + res.already, ==, 3 * MIB);
	g_assert_cmpuint(res.absent, ==, 13 * MIB);
	g_assert_cmpuint(res.failed, ==, 0);
	storage_move_result_done(&res);
	for (uint64_t at = 4 * MIB; at < 7 * MIB; at++)
		g_assert_cmpuint(p[at], ==, (unsigned char)(at * 7 >> 3));
	g_assert_cmpuint(count_fds(), ==, fds);
	munmap(p, 16 * MIB);
	g_assert_cmpuint(count_maps(), ==, 0);
	f->s->ops->free(o);
}

static void refuse_move(struct fixture *f, struct storage_object *o, uint64_t offset,
			uint64_t length, struct tier *tier, int r, const char *text)
{
	struct storage_move_result res;
	g_autofree char *error = NULL;
	unsigned int fds = count_fds();

	g_assert_cmpint(f->s->ops->move(o, offset, length, tier, 0, NULL, NULL, &res, &error), ==,
			r);
	g_assert_nonnull(strstr(error, text));
	g_assert_cmpuint(count_fds(), ==, fds);
	g_assert_cmpuint(policy_map_len(o->moved), ==, 0);
}

static void test_bad_move(struct fixture *f, gconstpointer data)
{
	struct tier *tier = inventory_tier(f->inv, "node0");
	struct tier *nvm = fake_inventory_add(f->inv, "nvm0", TIER_OFFLINE, NULL, 0);
	g_autoptr(Placement) p = placement_new();
	struct storage_object *o;

	if (!may_move(f) || !tier)
		return;
	o = create(f, MIB, NULL);
	refuse_move(f, o, MIB, 4096, tier, -EINVAL, "not inside 'test' of 1048576 bytes");
	refuse_move(f, o, 0, 2 * MIB, tier, -EINVAL, "not inside");
	refuse_move(f, o, 4096, UINT64_MAX - 4095, tier, -EINVAL, "not inside");
	refuse_move(f, o, 0, 0, tier, -EINVAL, "whole pages");
	refuse_move(f, o, 1, 4096, tier, -EINVAL, "whole pages");
	refuse_move(f, o, 0, 4095, tier, -EINVAL, "whole pages");
	refuse_move(f, o, 0, MIB, nvm, -ENODEV, "tier 'nvm0' takes no pages: it is offline");
	f->s->ops->free(o);

	fake_inventory_add(f->inv, "other", TIER_ONLINE, (int[]){ 0 }, 1);
	g_ptr_array_add(p->allow, g_strdup("node0"));
	o = create(f, MIB, p);
	refuse_move(f, o, 0, MIB, inventory_tier(f->inv, "other"), -EINVAL, "allow");
	f->s->ops->free(o);
}

static bool stop_at_once(uint64_t done, uint64_t total, void *userdata)
{
	(*(unsigned int *)userdata)++;
	return false;
}

static void test_cancel(struct fixture *f, gconstpointer data)
{
	struct tier *tier = inventory_tier(f->inv, "node0");
	struct storage_move_result res;
	struct storage_residency residency;
	struct storage_object *o;
	g_autofree char *error = NULL;
	unsigned int calls = 0;

	if (!may_move(f) || !tier)
		return;
	o = create(f, 256 * MIB, NULL);
	g_assert_cmpint(f->s->ops->move(o, 0, 256 * MIB, tier, 0, stop_at_once, &calls, &res,
					&error),
			==, -ECANCELED);
	g_assert_nonnull(error);
	g_assert_cmpuint(calls, ==, 1);
	g_assert_cmpuint(res.absent, <, 256 * MIB);
	storage_move_result_done(&res);
	g_assert_cmpint(f->s->ops->residency(o, 0, 256 * MIB, true, stop_at_once, &calls,
					     &residency, NULL),
			==, -ECANCELED);
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(f->s->ops->populate(o, 0, 256 * MIB, stop_at_once, &calls, &error), ==,
			-ECANCELED);
	g_assert_cmpuint(calls, ==, 3);
	f->s->ops->free(o);
	g_assert_cmpuint(count_maps(), ==, 0);
}

static void test_populate(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = create(f, 8 * MIB, NULL);
	g_autofree char *error = NULL;
	uint64_t bytes;

	g_assert_cmpint(f->s->ops->populate(o, MIB, 2 * MIB, NULL, NULL, &error), ==, 0);
	g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 2 * MIB);
	g_assert_cmpint(f->s->ops->populate(o, 7 * MIB, 2 * MIB, NULL, NULL, &error), ==, -EINVAL);
	g_assert_nonnull(strstr(error, "not inside"));
	f->s->ops->free(o);
}

/* More than there is: refused before the kernel has to find somebody to kill. */
static void test_populate_too_much(struct fixture *f, gconstpointer data)
{
	struct node_storage *n = (struct node_storage *)f->s;
	g_autofree char *dir = g_dir_make_tmp("morsel-XXXXXX", NULL), *error = NULL;
	g_autofree char *proc = g_build_filename(dir, "proc", NULL);
	g_autofree char *file = g_build_filename(proc, "meminfo", NULL);
	struct storage_object *o = create(f, 64 * MIB, NULL);
	int root = n->root_fd;
	uint64_t bytes;

	g_assert_cmpint(mkdir(proc, 0700), ==, 0);
	g_assert_true(
		g_file_set_contents(file, "MemFree: 1 kB\nMemAvailable: 60000 kB\n", -1, NULL));
	n->root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	g_assert_cmpint(f->s->ops->populate(o, 0, 64 * MIB, NULL, NULL, &error), ==, -ENOMEM);
	g_assert_nonnull(strstr(error, "'test' beyond offset 0"));
	g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 0);
	g_assert_true(g_file_set_contents(file, "MemAvailable: 70000 kB\n", -1, NULL));
	g_assert_cmpint(f->s->ops->populate(o, 0, 4 * MIB, NULL, NULL, &error), ==, 0);
	/* What is there already takes no more. */
	g_assert_true(g_file_set_contents(file, "MemAvailable: 0 kB\n", -1, NULL));
	g_assert_cmpint(f->s->ops->populate(o, 0, 4 * MIB, NULL, NULL, &error), ==, 0);
	close(n->root_fd);
	n->root_fd = root;
	f->s->ops->free(o);
	unlink(file);
	rmdir(proc);
	rmdir(dir);
}

static void test_many(struct fixture *f, gconstpointer data)
{
	struct storage_object *objects[512];
	unsigned int fds = count_fds();

	for (unsigned int i = 0; i < G_N_ELEMENTS(objects); i++)
		objects[i] = create(f, MIB, NULL);
	g_assert_cmpuint(count_fds(), ==, fds + G_N_ELEMENTS(objects));
	for (unsigned int i = 0; i < G_N_ELEMENTS(objects); i++)
		f->s->ops->free(objects[i]);
	g_assert_cmpuint(count_fds(), ==, fds);
}

struct crowd {
	struct fixture *f;
	struct storage_object *o;
	int stop; /* atomic */
};

static gpointer move_and_look(gpointer data)
{
	struct crowd *c = data;
	const struct storage_ops *ops = c->f->s->ops;

	for (unsigned int i = 0; !g_atomic_int_get(&c->stop) && i < 50; i++) {
		struct tier *tier = inventory_tier(c->f->inv, "node0");
		uint64_t offset = i % 7 * MIB, length = 160 * MIB;
		struct storage_move_result move;
		struct storage_residency res;
		g_autoptr(GArray) runs = NULL;
		g_autofree char *error = NULL;

		g_assert_cmpint(ops->move(c->o, offset, length, tier, 0, NULL, NULL, &move, &error),
				==, 0);
		g_assert_cmpuint(move.moved + move.already + move.absent + move.failed, ==, length);
		storage_move_result_done(&move);
		g_assert_cmpint(ops->residency(c->o, offset, length, true, NULL, NULL, &res, &runs),
				==, 0);
		g_assert_cmpuint(on_nodes(&res) + res.absent + res.swapped, ==, length);
		storage_residency_done(&res);
	}
	g_atomic_int_set(&c->stop, 1);
	return NULL;
}

static gpointer fill_and_evict(gpointer data)
{
	struct crowd *c = data;
	int fd = c->f->s->ops->open_fd(c->o, true);
	g_autofree char *error = NULL;

	while (!g_atomic_int_get(&c->stop)) {
		g_assert_cmpint(c->f->s->ops->populate(c->o, 32 * MIB, 16 * MIB, NULL, NULL,
						       &error),
				==, 0);
		g_assert_cmpint(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 36 * MIB,
					  8 * MIB),
				==, 0);
	}
	close(fd);
	return NULL;
}

/* Several workers on one object while a client gives pages back: nothing lost, nothing left behind. */
static void test_crowd(struct fixture *f, gconstpointer data)
{
	struct crowd c = { .f = f };
	unsigned int fds = count_fds();
	GThread *threads[3];

	if (!may_move(f) || !inventory_tier(f->inv, "node0"))
		return;
	c.o = create(f, 256 * MIB, NULL);
	threads[0] = g_thread_new("mover", move_and_look, &c);
	threads[1] = g_thread_new("mover", move_and_look, &c);
	threads[2] = g_thread_new("client", fill_and_evict, &c);
	for (unsigned int i = 0; i < G_N_ELEMENTS(threads); i++)
		g_thread_join(threads[i]);
	f->s->ops->free(c.o);
	g_assert_cmpuint(count_fds(), ==, fds);
	g_assert_cmpuint(count_maps(), ==, 0);
}

#define ADD(path, func) \
	g_test_add("/storage-node/" path, struct fixture, NULL, set_up, func, tear_down)

int main(int argc, char *argv[])
{
	g_test_init(&argc, &argv, NULL);
	ADD("create", test_create);
	ADD("bad-size", test_bad_size);
	ADD("bad-tier", test_bad_tier);
	ADD("out-of-descriptors", test_out_of_descriptors);
	ADD("read-only", test_read_only);
	ADD("others-cannot-reopen", test_others_cannot_reopen);
	ADD("residency", test_residency);
	ADD("residency-sampled", test_residency_sampled);
	ADD("residency-sparse", test_residency_sparse);
	ADD("move", test_move);
	ADD("bad-move", test_bad_move);
	ADD("cancel", test_cancel);
	ADD("populate", test_populate);
	ADD("populate-too-much", test_populate_too_much);
	ADD("many", test_many);
	ADD("crowd", test_crowd);
	return g_test_run();
}
