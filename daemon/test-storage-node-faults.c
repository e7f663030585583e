/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the node storage does when the kernel refuses: with fake system calls. The fake move_pages keeps a
 * table of where each page is and does to the statuses what the real one does: it queues pages up to one
 * that cannot be queued, migrates those, and if one of them did not go, it ends there and leaves
 * the statuses of all of them, and of the pages after, unwritten.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake-inventory.h"
#include "storage-node.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE 4096

static struct {
	int mbind_error, memfd_error;
	unsigned int memfd_calls;
	int8_t node[4096];   /* by page of the object */
	int8_t busy[4096];   /* so many more times does its migration fail; -1: always */
	bool unlisted[4096]; /* cannot be queued for migration */
	unsigned int room;   /* pages that still fit on node 1 */
	int error;	     /* of the whole call */
	unsigned int calls;  /* that move */
	unsigned int sweeps, policies;
	int sweep_error;
	uint64_t free_bytes; /* what a sweep believes of the target */
} fake;

static int fake_memfd_create(const char *name, unsigned int flags)
{
	fake.memfd_calls++;
	if (fake.memfd_error == -EINVAL && !(flags & NODE_MFD_NOEXEC_SEAL))
		return node_sys_real.memfd_create(name, flags);
	return fake.memfd_error ?: node_sys_real.memfd_create(name, flags);
}

static size_t page_of(const void *address);

/* Moves by the object's pages: those that can be, as long as there is room, and tells nobody. */
static int fake_mbind(void *address, uint64_t length, int mode, const struct nodeset *nodes,
		      int flags)
{
	size_t first;

	/* The probe's, at the start, is not asked to fail. */
	if (fake.memfd_calls == 0 || fake.mbind_error)
		return fake.memfd_calls > 0 ? fake.mbind_error : 0;
	if (!(flags & (MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))) {
		fake.policies++;
		return 0;
	}
	fake.sweeps++;
	if (fake.sweep_error)
		return fake.sweep_error;
	first = page_of(address);
	for (size_t i = first; i < first + length / PAGE; i++) {
		if (nodeset_has(nodes, fake.node[i]) || fake.busy[i] || fake.unlisted[i])
			continue;
		/* Full: the kernel takes any node that is not. */
		fake.node[i] = fake.room ? 1 : 3;
		fake.room -= fake.room > 0;
	}
	return 0;
}

static uint64_t fake_node_free(int root_fd, int node)
{
	return fake.free_bytes;
}

static int fake_set_home_node(void *address, uint64_t length, int node)
{
	return 0;
}

/* Which page of the object is mapped at address? */
static size_t page_of(const void *address)
{
	g_autofree char *text = NULL;
	unsigned long start, end, offset;

	g_assert_true(g_file_get_contents("/proc/self/maps", &text, NULL, NULL));
	for (char *line = text; *line; line = strchr(line, '\n') + 1) {
		char *at;

		start = strtoul(line, &at, 16);
		end = strtoul(at + 1, &at, 16);
		offset = strtoul(at + strlen(" r--s "), NULL, 16);
		if ((uintptr_t)address >= start && (uintptr_t)address < end)
			return (offset + ((uintptr_t)address - start)) / PAGE;
	}
	g_assert_not_reached();
}

/* The number of a call's page i; its first one is page first. They may come in any order. */
static size_t page_in_call(size_t first, void *const *pages, size_t i)
{
	return (size_t)((ssize_t)first + ((char *)pages[i] - (char *)pages[0]) / PAGE);
}

/* Migrate the queued pages [from, to) of a call; how many did not go. */
static long flush(size_t first, size_t from, size_t to, void *const *pages, int node, int *status)
{
	long stayed = 0;

	for (size_t k = from; k < to; k++) {
		size_t page = page_in_call(first, pages, k);

		if (fake.room == 0)
			return -ENOMEM;
		if (fake.busy[page] == 0) {
			fake.node[page] = (int8_t)node;
			fake.room--;
			continue;
		}
		if (fake.busy[page] > 0)
			fake.busy[page]--;
		stayed++;
	}
	for (size_t k = from; stayed == 0 && k < to; k++)
		status[k] = node;
	return stayed;
}

static long fake_move_pages(size_t n, void *const *pages, const int *nodes, int *status, int flags)
{
	size_t first = fake.memfd_calls > 0 ? page_of(pages[0]) : 0, from = 0;
	long r;

	if (!nodes) {
		for (size_t i = 0; i < n; i++)
			status[i] = fake.node[page_in_call(first, pages, i)];
		return 0;
	}
	fake.calls++;
	if (fake.error)
		return fake.error;
	for (size_t i = 0; i < n; i++) {
		size_t page = page_in_call(first, pages, i);

		if (fake.node[page] != nodes[i] && !fake.unlisted[page])
			continue;
		status[i] = fake.node[page] == nodes[i] ? nodes[i] : -EBUSY;
		r = flush(first, from, i, pages, nodes[i], status);
		if (r != 0)
			return r < 0 ? r : r + (long)(n - i - 1);
		from = i + 1;
	}
	return flush(first, from, n, pages, nodes[0], status);
}

static const struct node_sys fake_sys = {
	.memfd_create = fake_memfd_create,
	.mbind = fake_mbind,
	.set_home_node = fake_set_home_node,
	.move_pages = fake_move_pages,
	.node_free = fake_node_free,
	.madvise = NULL, /* the real one: set in main */
};
static struct node_sys sys;

struct fixture {
	struct storage *s;
	struct inventory *inv;
	struct tier *target;
	struct storage_object *o;
};

static void set_up(struct fixture *f, gconstpointer data)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	memset(&fake, 0, sizeof(fake));
	fake.room = UINT32_MAX / 2;
	g_assert_cmpint(storage_node_new_with(root, &sys, &f->s), ==, 0);
	close(root);
	/* It would tell where the pages really are. */
	((struct node_storage *)f->s)->caps.numa_maps = false;
	f->inv = fake_inventory_new();
	fake_inventory_add(f->inv, "near", TIER_ONLINE, (int[]){ 0 }, 1);
	f->target = fake_inventory_add(f->inv, "far", TIER_ONLINE, (int[]){ 1 }, 1);
}

static void tear_down(struct fixture *f, gconstpointer data)
{
	f->s->ops->free(f->o);
	storage_node_free(f->s);
	fake_inventory_free(f->inv);
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

static void create_written(struct fixture *f, uint64_t size)
{
	g_autofree char *error = NULL, *bytes = g_malloc0(size);
	int fd;

	g_assert_cmpint(f->s->ops->create(f->s, f->inv,
					  &(struct storage_spec){ .label = "test", .size = size },
					  &f->o, &error),
			==, 0);
	fd = f->s->ops->open_fd(f->o, true);
	g_assert_cmpint(pwrite(fd, bytes, size, 0), ==, (ssize_t)size);
	close(fd);
}

static void move(struct fixture *f, uint64_t size, struct storage_move_result *res)
{
	g_autofree char *error = NULL;

	g_assert_cmpint(f->s->ops->move(f->o, 0, size, f->target, 0, NULL, NULL, res, &error), ==,
			0);
	g_assert_cmpuint(res->moved + res->already + res->absent + res->failed, ==, size);
}

static uint64_t reason(const struct storage_move_result *res, int error)
{
	uint64_t *bytes = g_hash_table_lookup(res->reasons, GINT_TO_POINTER(error));

	return bytes ? *bytes : 0;
}

static void test_create_fails(struct fixture *f, gconstpointer data)
{
	static const int errors[] = { -EMFILE, -ENFILE, -ENOMEM };
	unsigned int fds = count_fds();
	g_autoptr(Placement) p = placement_new();
	g_autofree char *error = NULL;

	for (unsigned int i = 0; i < G_N_ELEMENTS(errors); i++) {
		g_clear_pointer(&error, g_free);
		fake.memfd_error = errors[i];
		g_assert_cmpint(
			f->s->ops->create(f->s, f->inv,
					  &(struct storage_spec){ .label = "x", .size = MIB },
					  &f->o, &error),
			==, errors[i]);
		g_assert_nonnull(strstr(error, "'x'"));
	}
	fake.memfd_error = 0;
	fake.mbind_error = -ENOMEM;
	g_ptr_array_add(p->prefer, g_strdup("far"));
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(f->s->ops->create(
				f->s, f->inv,
				&(struct storage_spec){ .label = "x", .size = MIB, .placement = p },
				&f->o, &error),
			==, -ENOMEM);
	g_assert_nonnull(strstr(error, "memory policy of 'x'"));
	g_assert_null(f->o);

	/* A long list of policies is left to prepare, and fails there. */
	g_ptr_array_set_size(p->prefer, 0);
	placement_add_spread(p, "near", 1);
	placement_add_spread(p, "far", 1);
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(f->s->ops->create(f->s, f->inv,
					  &(struct storage_spec){ .label = "x",
								  .size = 8192 * MIB,
								  .placement = p },
					  &f->o, &error),
			==, 0);
	g_assert_true(f->s->ops->needs_prepare(f->o));
	g_assert_cmpint(f->s->ops->prepare(f->o, NULL, NULL, &error), ==, -ENOMEM);
	g_assert_nonnull(strstr(error, "4096 ranges"));
	g_assert_true(f->s->ops->needs_prepare(f->o));
	fake.mbind_error = 0;
	g_assert_cmpint(f->s->ops->prepare(f->o, NULL, NULL, &error), ==, 0);
	g_assert_false(f->s->ops->needs_prepare(f->o));
	f->o = f->s->ops->free(f->o);
	g_assert_cmpuint(count_fds(), ==, fds);
}

static void test_older_kernel(struct fixture *f, gconstpointer data)
{
	fake.memfd_error = -EINVAL; /* it does not know MFD_NOEXEC_SEAL */
	create_written(f, MIB);
	g_assert_cmpuint(fake.memfd_calls, ==, 2);
}

static void test_busy_for_a_while(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;

	create_written(f, MIB);
	fake.busy[3] = 1;
	fake.busy[100] = 3;
	fake.busy[255] = 1;
	move(f, MIB, &res);
	g_assert_cmpuint(res.moved, ==, MIB);
	g_assert_cmpuint(res.failed, ==, 0);
	storage_move_result_done(&res);
	move(f, MIB, &res);
	g_assert_cmpuint(res.already, ==, MIB);
	storage_move_result_done(&res);
}

static void test_pinned(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;

	create_written(f, MIB);
	fake.busy[7] = -1;
	fake.busy[200] = -1;
	move(f, MIB, &res);
	g_assert_cmpuint(reason(&res, EBUSY), ==, 2 * PAGE);
	g_assert_cmpuint(res.moved, ==, MIB - 2 * PAGE);
	g_assert_cmpuint(fake.calls, ==, 4);
	storage_move_result_done(&res);
}

/* The kernel ends a call at the first of these pairs; what lies behind must have its turn all the same. */
static void test_nothing_hides(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;

	create_written(f, MIB);
	for (unsigned int i = 0; i < 256; i += 32) {
		fake.busy[i] = -1;
		fake.unlisted[i + 5] = true;
	}
	move(f, MIB, &res);
	g_assert_cmpuint(reason(&res, EBUSY), ==, 16 * PAGE);
	g_assert_cmpuint(res.moved, ==, MIB - 16 * PAGE);
	g_assert_cmpuint(fake.calls, <=, 20);
	storage_move_result_done(&res);
}

static void test_full(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;

	create_written(f, MIB);
	fake.room = 100;
	move(f, MIB, &res);
	g_assert_cmpuint(res.moved, ==, 100 * PAGE);
	g_assert_cmpuint(reason(&res, ENOMEM), ==, 156 * PAGE);
	storage_move_result_done(&res);
}

static void test_full_then_next_node(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;
	const int second = 2;

	g_array_append_val(f->target->nodes, second);
	create_written(f, MIB);
	fake.error = -ENOMEM;
	move(f, MIB, &res);
	g_assert_cmpuint(fake.calls, ==, 2); /* each node was asked */
	g_assert_cmpuint(reason(&res, ENOMEM), ==, MIB);
	storage_move_result_done(&res);
}

/* numa_maps tells that all is on node 0, as it is: so the fake's mbind is asked first. */
static void test_sweep(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;

	((struct node_storage *)f->s)->caps.numa_maps = true;
	fake.free_bytes = UINT64_C(1) << 30;
	create_written(f, MIB);
	fake.busy[7] = -1;
	fake.busy[200] = 1;
	fake.policies = 0;
	move(f, MIB, &res);
	g_assert_cmpuint(fake.sweeps, ==, 1);
	g_assert_cmpuint(fake.policies, ==, 2); /* before, and gathered */
	g_assert_cmpuint(res.moved, ==, MIB - PAGE);
	g_assert_cmpuint(reason(&res, EBUSY), ==, PAGE);
	g_assert_cmpuint(res.already, ==, 0);
	g_assert_cmpuint(fake.calls, >, 0); /* for the two */
	storage_move_result_done(&res);
}

/* No room to spare, a call that fails, a limit to keep: page by page, as without. */
static void test_sweep_not(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;
	g_autofree char *error = NULL;

	((struct node_storage *)f->s)->caps.numa_maps = true;
	create_written(f, MIB);
	fake.free_bytes = 64 * MIB;
	move(f, MIB, &res);
	g_assert_cmpuint(fake.sweeps, ==, 0);
	g_assert_cmpuint(res.moved, ==, MIB);
	storage_move_result_done(&res);

	memset(fake.node, 0, sizeof(fake.node));
	fake.free_bytes = UINT64_C(1) << 30;
	fake.sweep_error = -ENOMEM;
	move(f, MIB, &res);
	g_assert_cmpuint(fake.sweeps, ==, 1);
	g_assert_cmpuint(res.moved, ==, MIB);
	storage_move_result_done(&res);

	memset(fake.node, 0, sizeof(fake.node));
	g_assert_cmpint(f->s->ops->move(f->o, 0, MIB, f->target, 1024 * MIB, NULL, NULL, &res,
					&error),
			==, 0);
	g_assert_cmpuint(fake.sweeps, ==, 1);
	g_assert_cmpuint(res.moved, ==, MIB);
	storage_move_result_done(&res);
}

/* It filled up meanwhile: what went astray is sent on, and what finds no room is told. */
static void test_sweep_full(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;

	((struct node_storage *)f->s)->caps.numa_maps = true;
	fake.free_bytes = UINT64_C(1) << 30;
	create_written(f, MIB);
	fake.room = 100;
	move(f, MIB, &res);
	g_assert_cmpuint(fake.sweeps, ==, 1);
	g_assert_cmpuint(res.moved, ==, 100 * PAGE);
	g_assert_cmpuint(reason(&res, ENOMEM), ==, 156 * PAGE);
	storage_move_result_done(&res);
}

static void test_not_allowed(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;

	create_written(f, MIB);
	fake.error = -EACCES;
	move(f, MIB, &res);
	g_assert_cmpuint(fake.calls, ==, 1); /* no use in trying again */
	g_assert_cmpuint(reason(&res, EACCES), ==, MIB);
	storage_move_result_done(&res);
}

static void test_forbidden(struct fixture *f, gconstpointer data)
{
	struct node_storage *n = (struct node_storage *)f->s;
	struct storage_residency residency;
	struct storage_move_result res;
	g_autoptr(Placement) p = placement_new();
	g_autofree char *error = NULL;

	n->caps.mbind = -EPERM;
	n->caps.move_pages = -EPERM;
	n->single_node = false;
	g_ptr_array_add(p->prefer, g_strdup("near"));
	g_assert_cmpint(f->s->ops->create(
				f->s, f->inv,
				&(struct storage_spec){ .label = "x", .size = MIB, .placement = p },
				&f->o, &error),
			==, -EOPNOTSUPP);
	g_assert_nonnull(strstr(error, "seccomp"));
	n->single_node = true; /* nothing to place */
	g_assert_cmpint(f->s->ops->create(
				f->s, f->inv,
				&(struct storage_spec){ .label = "x", .size = MIB, .placement = p },
				&f->o, &error),
			==, 0);
	g_clear_pointer(&error, g_free);
	g_assert_cmpint(f->s->ops->move(f->o, 0, MIB, f->target, 0, NULL, NULL, &res, &error), ==,
			-EOPNOTSUPP);
	g_assert_nonnull(strstr(error, "seccomp"));
	g_assert_cmpint(f->s->ops->residency(f->o, 0, MIB, true, NULL, NULL, &residency, NULL), ==,
			-EOPNOTSUPP);
}

/* Too many ranges with places of their own: pages move all the same, and the result says the rest. */
static void test_too_many_ranges(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;

	create_written(f, MIB);
	f->o->moved = policy_map_new();
	for (uint64_t i = 0; i < POLICY_RANGES_MAX; i++)
		g_assert_cmpint(policy_map_set(f->o->moved, MIB + 2 * i * PAGE,
					       MIB + (2 * i + 1) * PAGE, 0, POLICY_RANGES_MAX),
				==, 0);
	move(f, MIB, &res);
	g_assert_cmpuint(res.moved, ==, MIB);
	g_assert_cmpint(res.policy_error, ==, -E2BIG);
	storage_move_result_done(&res);
}

static void test_bandwidth(struct fixture *f, gconstpointer data)
{
	struct storage_move_result res;
	g_autofree char *error = NULL;
	int64_t began;

	create_written(f, 4 * MIB);
	began = g_get_monotonic_time();
	g_assert_cmpint(f->s->ops->move(f->o, 0, 4 * MIB, f->target, 16 * MIB, NULL, NULL, &res,
					&error),
			==, 0);
	g_assert_cmpint(g_get_monotonic_time() - began, >=, 250000);
	g_assert_cmpuint(res.moved, ==, 4 * MIB);
	/* In pieces of what the limit gives in 50 ms. */
	g_assert_cmpuint(fake.calls, >=, 5);
	storage_move_result_done(&res);
}

#define ADD(path, func) \
	g_test_add("/storage-node-faults/" path, struct fixture, NULL, set_up, func, tear_down)

int main(int argc, char *argv[])
{
	sys = fake_sys;
	sys.madvise = node_sys_real.madvise;
	g_test_init(&argc, &argv, NULL);
	ADD("create-fails", test_create_fails);
	ADD("older-kernel", test_older_kernel);
	ADD("busy-for-a-while", test_busy_for_a_while);
	ADD("pinned", test_pinned);
	ADD("nothing-hides", test_nothing_hides);
	ADD("full", test_full);
	ADD("full-then-next-node", test_full_then_next_node);
	ADD("sweep", test_sweep);
	ADD("sweep-not", test_sweep_not);
	ADD("sweep-full", test_sweep_full);
	ADD("not-allowed", test_not_allowed);
	ADD("forbidden", test_forbidden);
	ADD("too-many-ranges", test_too_many_ranges);
	ADD("bandwidth", test_bandwidth);
	return g_test_run();
}
