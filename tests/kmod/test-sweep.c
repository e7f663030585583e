// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Each allocation of each operation fails in turn: the first, the second … until the operation runs without one that
 * fails. The error must be the right one, nothing may be half-made, and the same operation must work afterwards.
 * Needs a test build of the module (parameter fail_at).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kmod-common.h"

#define PARENT 80
#define ACCOUNT 81
#define BYTES (4 * MIB)
/* Some pages on both sides of a border of granules: two tables, and few steps. */
#define AT (GRANULE - 3 * PAGE)
#define SOME (6 * PAGE)
#define STEPS_MAX 200
#define SITES_MAX 64
#define PARAMETERS "/sys/module/morsel/parameters/"

static uint32_t pools[2];
static struct km_object object;
static char *map;
static uint64_t map_bytes;

static char sites[SITES_MAX][64];
static unsigned int n_sites;

/* ---- the module's parameters ---- */

static void fail_at(unsigned int n)
{
	int fd = open(PARAMETERS "fail_at", O_WRONLY | O_CLOEXEC);

	km_require(fd >= 0 && dprintf(fd, "%u", n) > 0, "fail_at: %s", strerror(errno));
	close(fd);
}

static void parameter(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "re");

	km_require(f && fgets(text, (int)size, f), "%s: %s", path, strerror(errno));
	fclose(f);
	text[strcspn(text, "\n")] = '\0';
}

static bool has_failed(void)
{
	char text[64];

	parameter(PARAMETERS "fail_at", text, sizeof(text));
	return strcmp(text, "0") == 0;
}

static void note_site(void)
{
	char text[64];
	unsigned int i;

	parameter(PARAMETERS "fail_site", text, sizeof(text));
	text[strcspn(text, " ")] = '\0';
	for (i = 0; i < n_sites; i++)
		if (strcmp(sites[i], text) == 0)
			return;
	km_require(n_sites < SITES_MAX);
	snprintf(sites[n_sites++], sizeof(sites[0]), "%s", text);
}

/* ---- what must be as before ---- */

struct state {
	struct morsel_stats stats;
	uint64_t used[2], account[2], in_object;
	int next_fd; /* a number that was taken and never used is seen nowhere else */
};

static struct state state_now(void)
{
	struct state s = { .stats = km_stats(), .next_fd = dup(km_control) };

	close(s.next_fd);

	for (unsigned int i = 0; i < 2; i++) {
		s.used[i] = km_pool_stat(pools[i]).used_bytes;
		s.account[i] = km_account_stat(ACCOUNT).use_bytes[i];
	}
	if (object.fd >= 0)
		s.in_object = km_object_stat(object.fd).used_bytes;
	return s;
}

/* Tables and files go a little later than what they belonged to. */
static void must_be_as(const struct state *before, const char *name, unsigned int n)
{
	struct state now = state_now();
	const struct morsel_stats *a = &before->stats, *b = &now.stats;

	for (unsigned int ms = 0; ms < 20000; ms++) {
		if (a->tables == b->tables && a->descriptors == b->descriptors &&
		    a->objects == b->objects && a->mappings == b->mappings)
			break;
		km_nap_ms(1);
		now = state_now();
	}
	km_check(
		a->pools == b->pools && a->accounts == b->accounts && a->objects == b->objects &&
			a->descriptors == b->descriptors && a->mappings == b->mappings &&
			a->tables == b->tables && a->quarantined == b->quarantined,
		"%s, failure %u: pools %lld accounts %lld objects %lld descriptors %lld mappings %lld "
		"tables %lld more than before",
		name, n, (long long)(b->pools - a->pools), (long long)(b->accounts - a->accounts),
		(long long)(b->objects - a->objects), (long long)(b->descriptors - a->descriptors),
		(long long)(b->mappings - a->mappings), (long long)(b->tables - a->tables));
	for (unsigned int i = 0; i < 2; i++)
		km_check(before->used[i] == now.used[i] && before->account[i] == now.account[i],
			 "%s, failure %u: pool %u has %" PRId64
			 " bytes more in use, its tier in the account %" PRId64,
			 name, n, i, now.used[i] - before->used[i],
			 now.account[i] - before->account[i]);
	km_check(before->next_fd == now.next_fd, "%s, failure %u: descriptor %d is taken", name, n,
		 before->next_fd);
	km_check(before->in_object == now.in_object, "%s, failure %u: the object has %" PRId64,
		 name, n, now.in_object - before->in_object);
}

/* ---- operations: prepare, run (0 or a negative error), undo what there is ---- */

static int resize(unsigned int i, uint64_t bytes)
{
	struct morsel_pool_resize r = { .size = sizeof(r), .pool = pools[i], .bytes = bytes };
	int result = km_ioctl(km_control, MORSEL_IOC_POOL_RESIZE, &r);

	/* What it says of itself is so. */
	km_check(r.bytes == km_pool_stat(pools[i]).bytes, "%llu", r.bytes);
	return result;
}

static void make_object(uint32_t flags, unsigned int n_pools)
{
	uint32_t list[3] = { pools[0], n_pools > 1 ? pools[1] : 0, 0 };

	/* Blocks have to come anew. */
	for (unsigned int i = 0; i < 2; i++)
		km_require(resize(i, 0) == 0);
	km_require(km_object_try(BYTES, flags, ACCOUNT, list, &object) == 0);
}

static void ready_object(void)
{
	make_object(0, 1);
}

static void ready_two_pools(void)
{
	make_object(0, 2);
}

static void ready_huge(void)
{
	make_object(MORSEL_OBJECT_HUGE, 1);
}

static void map_it(int fd, int protection)
{
	map_bytes = BYTES;
	map = km_map(fd, map_bytes, protection);
}

static void ready_mapped(void)
{
	ready_object();
	map_it(object.fd, PROT_READ | PROT_WRITE);
}

static void ready_mapped_huge(void)
{
	ready_huge();
	map_it(object.fd, PROT_READ | PROT_WRITE);
}

static void ready_written(void)
{
	ready_mapped();
	for (uint64_t at = AT; at < AT + SOME; at += PAGE)
		*(uint64_t *)(map + at) = at;
}

static void ready_written_huge(void)
{
	ready_mapped_huge();
	for (uint64_t at = AT; at < AT + SOME; at += PAGE)
		*(uint64_t *)(map + at) = at;
}

static void ready_mapped_ro(void)
{
	int fd;

	ready_object();
	fd = km_object_open(object.id, MORSEL_OPEN_RDONLY);
	km_require(fd >= 0);
	map_it(fd, PROT_READ);
	close(fd);
}

static void ready_written_ro(void)
{
	int fd;

	ready_written();
	km_unmap(map, map_bytes);
	fd = km_object_open(object.id, MORSEL_OPEN_RDONLY);
	km_require(fd >= 0);
	map_it(fd, PROT_READ);
	close(fd);
}

static void undo_object(void)
{
	if (map)
		km_unmap(map, map_bytes);
	map = NULL;
	if (object.fd >= 0)
		km_object_done(&object);
}

static int run_account(void)
{
	return km_account_create(82, PARENT);
}

static void undo_account(void)
{
	km_account_destroy(82);
}

static uint32_t new_pool;

static int run_pool(void)
{
	return km_pool_try(0, 2, 8 * MIB, 4 * MIB, &new_pool);
}

static int run_device_pool(uint32_t kind)
{
	struct morsel_pool_create c = { .size = sizeof(c),
					.kind = kind,
					.tier = 2,
					.node = -1,
					.max_bytes = 4 * MIB,
					.address = (uintptr_t)map };
	int r = km_ioctl(km_control, MORSEL_IOC_POOL_CREATE, &c);

	if (r == 0)
		new_pool = c.pool;
	return r;
}

static int run_dax_pool(void)
{
	return run_device_pool(MORSEL_POOL_DAX);
}

static int run_extents_pool(void)
{
	return run_device_pool(MORSEL_POOL_EXTENTS);
}

static int run_extents(void)
{
	static const struct morsel_object_extent extents[] = { { 0, MIB, 2 * MIB },
							       { 2 * MIB, PAGE, MIB } };
	struct morsel_object_create c = { .size = sizeof(c),
					  .flags = MORSEL_OBJECT_EXTENTS,
					  .bytes = BYTES,
					  .account = ACCOUNT,
					  .extents = (uintptr_t)extents,
					  .extents_count = 2,
					  .extents_pool = new_pool };
	int r = km_ioctl(km_control, MORSEL_IOC_OBJECT_CREATE, &c);

	if (r == 0)
		object = (struct km_object){ .id = c.id, .bytes = BYTES, .fd = c.fd };
	return r;
}

static void undo_pool(void)
{
	if (new_pool)
		km_pool_destroy(new_pool);
	new_pool = 0;
}

static void ready_dax(void)
{
	int fd = open(getenv("MORSEL_LAB_NVM_DAX"), O_RDWR | O_CLOEXEC);

	map_bytes = 4 * MIB;
	map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	km_require(map != MAP_FAILED, "%s", strerror(errno));
	close(fd);
}

static void undo_dax(void)
{
	undo_pool();
	undo_object();
}

static void ready_extents(void)
{
	ready_dax();
	km_require(run_extents_pool() == 0);
}

static void undo_extents(void)
{
	undo_object();
	undo_pool();
}

static void ready_resize(void)
{
	km_require(resize(1, 0) == 0);
}

static int run_resize(void)
{
	return resize(1, 6 * MIB);
}

static int run_object(void)
{
	uint32_t list[3] = { pools[0], pools[1], 0 };

	return km_object_try(BYTES, 0, ACCOUNT, list, &object);
}

static int other_fd = -1;

static int run_open(void)
{
	other_fd = km_object_open(object.id, 0);
	return other_fd < 0 ? other_fd : 0;
}

static int run_open_ro(void)
{
	other_fd = km_object_open(object.id, MORSEL_OPEN_RDONLY);
	return other_fd < 0 ? other_fd : 0;
}

static void undo_open(void)
{
	if (other_fd >= 0)
		close(other_fd);
	other_fd = -1;
	undo_object();
}

static int run_mmap(void)
{
	char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, object.fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	map = p;
	map_bytes = BYTES;
	return 0;
}

static int run_write(void)
{
	for (uint64_t at = AT; at < AT + SOME; at += PAGE)
		if (!km_touch(map + at, true))
			return -EFAULT;
	return 0;
}

static int run_read(void)
{
	for (uint64_t at = AT; at < AT + SOME; at += PAGE)
		if (!km_touch(map + at, false))
			return -EFAULT;
	return 0;
}

static int populate(uint64_t offset, uint64_t length)
{
	uint64_t before = km_object_stat(object.fd).used_bytes, bytes = ~UINT64_C(0);
	int r = km_populate(object.fd, offset, length, &bytes);

	km_check(before + bytes == km_object_stat(object.fd).used_bytes, "%" PRIu64, bytes);
	return r;
}

static int run_populate(void)
{
	return populate(AT, SOME);
}

static int run_populate_all(void)
{
	return populate(0, BYTES);
}

static int move(uint64_t offset, uint64_t length)
{
	struct morsel_move_range m = {};
	int r = km_move(object.id, offset, length, pools[1], &m);
	uint64_t told = m.moved + m.failed + m.already + m.absent;

	/* Every page is told of, unless the call could not even begin. */
	km_check(told == length || (r < 0 && told == 0), "%" PRIu64, told);
	km_check((r == 0) == (m.failed == 0 && told > 0), "%s, %llu failed", strerror(-r),
		 m.failed);
	for (uint64_t at = AT; at < AT + SOME; at += PAGE)
		km_check(*(uint64_t *)(map + at) == at, "page %" PRIu64 " lost", at / PAGE);
	return r;
}

static int run_move(void)
{
	return move(AT, SOME);
}

static int run_move_all(void)
{
	return move(0, BYTES);
}

static int run_harvest(void)
{
	static uint64_t bits[BYTES / PAGE / 64];
	struct morsel_harvest h = { .size = sizeof(h),
				    .id = object.id,
				    .length = BYTES,
				    .accessed = (uintptr_t)bits,
				    .dirty = (uintptr_t)bits };
	return km_ioctl(km_control, MORSEL_IOC_HARVEST, &h);
}

static int run_residency(void)
{
	struct morsel_residency v = { .size = sizeof(v), .id = object.id, .length = BYTES };

	return km_ioctl(km_control, MORSEL_IOC_RESIDENCY, &v);
}

static int run_evict(void)
{
	return km_evict(object.fd, 0, BYTES, NULL);
}

static void run_child(void *unused)
{
	for (uint64_t at = AT; at < AT + SOME; at += PAGE)
		if (!km_touch(map + at, true))
			_exit(1);
}

static int run_fork(void)
{
	return km_in_child(run_child, NULL) ? 0 : -EFAULT;
}

static int run_mremap(void)
{
	char *hole = mmap(NULL, BYTES + GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;
	char *to = (char *)(((uintptr_t)hole + GRANULE - 1) / GRANULE * GRANULE);

	p = mremap(map, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (p != MAP_FAILED)
		map = p;
	/* What it did not cover. */
	munmap(hole, (size_t)(to - hole));
	munmap(to + BYTES, (size_t)(hole + GRANULE - to));
	if (p == MAP_FAILED)
		munmap(to, BYTES);
	return p == MAP_FAILED ? -errno : run_write();
}

static int run_advice(void)
{
	return madvise(map + AT, SOME, MADV_POPULATE_WRITE) ? -errno : 0;
}

static int run_gup(void)
{
	char to[16];
	struct iovec local = { to, sizeof(to) }, remote = { map + AT, sizeof(to) };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == sizeof(to) ? 0 : -errno;
}

static int run_state(void)
{
	uint64_t bytes = (km_pool_stat(pools[0]).lower_bytes + PAGE - 1) / PAGE * PAGE;
	void *p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, km_control,
		       (off_t)MORSEL_MAP_STATE(pools[0], 0));

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, bytes);
	return 0;
}

static void nothing(void)
{
}

static const struct operation {
	const char *name;
	void (*ready)(void);
	int (*run)(void);
	void (*undo)(void);
	int errors[2];	    /* that it may give */
	bool whole;	    /* a failure leaves nothing at all behind, before undo as well */
	unsigned int least; /* so many of its allocations must have failed */
} operations[] = {
	{ "account", nothing, run_account, undo_account, { -ENOMEM }, true, 2 },
	{ "pool of a node", nothing, run_pool, undo_pool, { -ENOMEM }, true, 9 },
	{ "pool of a dax device", ready_dax, run_dax_pool, undo_dax, { -ENOMEM }, true, 10 },
	{ "pool for extents", ready_dax, run_extents_pool, undo_dax, { -ENOMEM }, true, 7 },
	{ "object over extents",
	  ready_extents,
	  run_extents,
	  undo_extents,
	  { -ENOMEM, -EMFILE },
	  true,
	  6 },
	{ "resize", ready_resize, run_resize, nothing, { -ENOMEM }, false, 6 },
	{ "object", nothing, run_object, undo_object, { -ENOMEM, -EMFILE }, true, 4 },
	{ "open", ready_object, run_open, undo_open, { -ENOMEM, -EMFILE }, true, 2 },
	{ "open read-only", ready_object, run_open_ro, undo_open, { -ENOMEM, -EMFILE }, true, 2 },
	{ "mmap", ready_object, run_mmap, undo_object, { -ENOMEM }, true, 2 },
	{ "write faults", ready_mapped, run_write, undo_object, { -EFAULT }, false, 8 },
	{ "write faults, 2 MiB", ready_mapped_huge, run_write, undo_object, { -EFAULT }, false, 4 },
	{ "read faults, read-only",
	  ready_mapped_ro,
	  run_read,
	  undo_object,
	  { -EFAULT },
	  false,
	  10 },
	{ "read faults of what was written",
	  ready_written_ro,
	  run_read,
	  undo_object,
	  { -EFAULT },
	  false,
	  2 },
	{ "populate", ready_object, run_populate, undo_object, { -ENOMEM }, false, 8 },
	{ "populate with two pools",
	  ready_two_pools,
	  run_populate,
	  undo_object,
	  { -ENOMEM },
	  false,
	  8 },
	{ "populate, 2 MiB", ready_huge, run_populate_all, undo_object, { -ENOMEM }, false, 4 },
	{ "move", ready_written, run_move, undo_object, { -ENOMEM }, false, 7 },
	{ "move, 2 MiB", ready_written_huge, run_move_all, undo_object, { -ENOMEM }, false, 3 },
	{ "harvest", ready_written, run_harvest, undo_object, { -ENOMEM }, true, 2 },
	{ "residency", ready_written, run_residency, undo_object, { -ENOMEM }, true, 0 },
	{ "evict", ready_written, run_evict, undo_object, { -ENOMEM }, false, 0 },
	{ "fork", ready_mapped, run_fork, undo_object, { -EFAULT }, false, 10 },
	{ "mremap", ready_written, run_mremap, undo_object, { -EFAULT, -ENOMEM }, false, 2 },
	{ "MADV_POPULATE_WRITE",
	  ready_mapped,
	  run_advice,
	  undo_object,
	  { -EFAULT, -ENOMEM },
	  false,
	  8 },
	{ "process_vm_readv", ready_mapped, run_gup, undo_object, { -EFAULT }, false, 2 },
	{ "map of the allocator", nothing, run_state, nothing, { -ENOMEM }, true, 0 },
};

static bool is_allowed(const struct operation *op, int r)
{
	return r == 0 || r == op->errors[0] || (op->errors[1] && r == op->errors[1]);
}

/* With the nth allocation from now failing. False: there are not so many. */
static bool step(const struct operation *op, unsigned int n)
{
	struct state outside = state_now(), before;
	bool failed;
	int r;

	op->ready();
	before = state_now();
	fail_at(n);
	r = op->run();
	failed = has_failed();
	fail_at(0);
	if (failed)
		note_site();
	km_check(failed ? is_allowed(op, r) : r == 0, "%s, failure %u: %s", op->name, n,
		 strerror(-r));
	if (r < 0) {
		if (op->whole)
			must_be_as(&before, op->name, n);
		/* In the same surroundings, whatever it had done. */
		r = op->run();
		km_check(r == 0, "%s after failure %u: %s", op->name, n, strerror(-r));
	}
	op->undo();
	must_be_as(&outside, op->name, n);
	return failed;
}

static const struct operation *current;

static void sweep(void)
{
	unsigned int n = 1;

	while (n <= STEPS_MAX && step(current, n))
		n++;
	km_note("%s: %u allocations, each failed once", current->name, n - 1);
	km_check(n <= STEPS_MAX, "no end");
	km_check(n - 1 >= current->least, "%u, not %u", n - 1, current->least);
}

int main(void)
{
	int nodes[8];
	unsigned int n;

	km_begin();
	object.fd = -1;
	n = km_nodes(nodes, 8);
	pools[0] = km_pool(nodes[0], 0, 16 * MIB);
	pools[1] = km_pool(nodes[n - 1], 1, 16 * MIB);
	km_expect(0, km_account_create(PARENT, 0));
	km_expect(0, km_account_create(ACCOUNT, PARENT));
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		current = &operations[i];
		if (current->ready != ready_dax || getenv("MORSEL_LAB_NVM_DAX"))
			km_test(current->name, sweep);
	}
	for (unsigned int i = 0; i < n_sites; i++)
		km_note("allocations of %s failed", sites[i]);
	km_expect(0, km_account_destroy(ACCOUNT));
	km_expect(0, km_account_destroy(PARENT));
	km_pool_destroy(pools[0]);
	km_pool_destroy(pools[1]);
	return km_end();
}
