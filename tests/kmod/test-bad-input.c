// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every call of morsel.ko with what it must refuse: sizes, flags, reserved fields, pointers, ranges, counts, ids,
 * descriptors; and descriptors that are closed meanwhile. Nothing is made, lost or written by a call that fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kmod-common.h"

#define ACCOUNT 900
#define BYTES (4 * MIB)

static uint32_t pool;
static struct km_object object;
static struct morsel_extent range = { 0, GRANULE };
static struct morsel_move_range move_range;
static uint64_t ids[64], bits[BYTES / PAGE / 64];
static uint8_t granules[BYTES / GRANULE];

/* What makes a call right, apart from its size; and what undoes it. */
static void make_hello(union km_argument *a)
{
	a->hello.version = MORSEL_UAPI_VERSION;
}

static void make_none(union km_argument *a)
{
}

static void make_pool(union km_argument *a)
{
	a->pool_create.kind = MORSEL_POOL_NODE;
	a->pool_create.tier = 3;
	a->pool_create.max_bytes = 4 * MIB;
}

static void undo_pool(union km_argument *a)
{
	km_pool_destroy(a->pool_create.pool);
}

static void make_no_id(union km_argument *a)
{
	a->id.id = 4711;
}

static void make_pool_id(union km_argument *a)
{
	a->pool_stat.pool = pool;
}

static void make_resize(union km_argument *a)
{
	a->pool_resize.pool = pool;
	a->pool_resize.bytes = km_pool_stat(pool).bytes;
}

static void make_offline(union km_argument *a)
{
	a->pool_offline.pool = pool;
	a->pool_offline.first = km_pool_stat(pool).max_bytes / GRANULE - 1;
	a->pool_offline.count = 1;
}

static void undo_offline(union km_argument *a)
{
	struct morsel_pool_offline *o = &a->pool_offline;

	o->size = sizeof(*o);
	o->flags = 0;
	km_ioctl(km_control, MORSEL_IOC_POOL_ONLINE, o);
}

static void make_online(union km_argument *a)
{
	struct morsel_pool_offline o = { .size = sizeof(o) };

	make_offline(a);
	o.pool = pool;
	o.first = a->pool_offline.first;
	o.count = 1;
	km_ioctl(km_control, MORSEL_IOC_POOL_OFFLINE, &o);
}

static void make_account(union km_argument *a)
{
	a->account_create.id = 4712;
}

static void undo_account(union km_argument *a)
{
	km_expect(0, km_account_destroy(4712));
}

static void make_limit(union km_argument *a)
{
	a->account_limit.id = ACCOUNT;
	a->account_limit.limit_bytes = MORSEL_NO_LIMIT;
}

static void make_account_id(union km_argument *a)
{
	a->account_stat.id = ACCOUNT;
}

static void make_object(union km_argument *a)
{
	a->object_create.bytes = MIB;
	a->object_create.placement.pools[0] = pool;
}

static void undo_object(union km_argument *a)
{
	close(a->object_create.fd);
	km_expect(0, km_object_destroy(a->object_create.id));
}

static void make_open(union km_argument *a)
{
	a->object_open.id = object.id;
}

static void undo_open(union km_argument *a)
{
	close(a->object_open.fd);
}

static void make_list(union km_argument *a)
{
	a->object_list.count = 64;
	a->object_list.ids = (uintptr_t)ids;
}

static void make_set(union km_argument *a)
{
	a->object_set.id = object.id;
	a->object_set.placement.pools[0] = pool;
}

static void make_object_id(union km_argument *a)
{
	a->object_stat.id = object.id;
}

static void make_ranges(union km_argument *a)
{
	a->ranges.id = object.id;
	a->ranges.count = 1;
	a->ranges.ranges = (uintptr_t)&range;
}

static void make_move(union km_argument *a)
{
	move_range = (struct morsel_move_range){ .length = GRANULE, .pool = pool };
	a->move.id = object.id;
	a->move.count = 1;
	a->move.ranges = (uintptr_t)&move_range;
}

static void make_harvest(union km_argument *a)
{
	a->harvest.id = object.id;
	a->harvest.length = BYTES;
	a->harvest.accessed = (uintptr_t)bits;
	a->harvest.dirty = (uintptr_t)bits;
}

static void make_residency(union km_argument *a)
{
	a->residency.id = object.id;
	a->residency.length = BYTES;
	a->residency.granules = (uintptr_t)granules;
}

#define FLAGS(type, field) offsetof(struct type, field)
#define RESERVED(type) offsetof(struct type, reserved), sizeof(((struct type *)NULL)->reserved)
static const struct call {
	const char *name;
	unsigned long request;
	uint32_t size;
	void (*make)(union km_argument *a);
	void (*undo)(union km_argument *a);
	int want; /* of what make made */
	bool on_object;
	int flags; /* offset; -1: none, or they are out */
	uint32_t allowed;
	size_t reserved, reserved_bytes;
} calls[] = {
	{ "HELLO", MORSEL_IOC_HELLO, sizeof(struct morsel_hello), make_hello, NULL, 0, false, -1, 0,
	  RESERVED(morsel_hello) },
	{ "STATS", MORSEL_IOC_STATS, sizeof(struct morsel_stats), make_none, NULL, 0, false,
	  FLAGS(morsel_stats, flags), 0, RESERVED(morsel_stats) },
	{ "POOL_CREATE", MORSEL_IOC_POOL_CREATE, sizeof(struct morsel_pool_create), make_pool,
	  undo_pool, 0, false, FLAGS(morsel_pool_create, flags), 0, RESERVED(morsel_pool_create) },
	{ "POOL_DESTROY", MORSEL_IOC_POOL_DESTROY, sizeof(struct morsel_id), make_no_id, NULL,
	  -ENOENT, false, FLAGS(morsel_id, flags), 0, 0, 0 },
	{ "POOL_STAT", MORSEL_IOC_POOL_STAT, sizeof(struct morsel_pool_stat), make_pool_id, NULL, 0,
	  false, -1, 0, RESERVED(morsel_pool_stat) },
	{ "POOL_RESIZE", MORSEL_IOC_POOL_RESIZE, sizeof(struct morsel_pool_resize), make_resize,
	  NULL, 0, false, -1, 0, RESERVED(morsel_pool_resize) },
	{ "POOL_OFFLINE", MORSEL_IOC_POOL_OFFLINE, sizeof(struct morsel_pool_offline), make_offline,
	  undo_offline, 0, false, FLAGS(morsel_pool_offline, flags), MORSEL_OFFLINE_DRAIN,
	  RESERVED(morsel_pool_offline) },
	{ "POOL_ONLINE", MORSEL_IOC_POOL_ONLINE, sizeof(struct morsel_pool_offline), make_online,
	  undo_offline, 0, false, FLAGS(morsel_pool_offline, flags), 0,
	  RESERVED(morsel_pool_offline) },
	{ "ACCOUNT_CREATE", MORSEL_IOC_ACCOUNT_CREATE, sizeof(struct morsel_account_create),
	  make_account, undo_account, 0, false, FLAGS(morsel_account_create, flags), 0,
	  RESERVED(morsel_account_create) },
	{ "ACCOUNT_DESTROY", MORSEL_IOC_ACCOUNT_DESTROY, sizeof(struct morsel_id), make_no_id, NULL,
	  -ENOENT, false, FLAGS(morsel_id, flags), 0, 0, 0 },
	{ "ACCOUNT_LIMIT", MORSEL_IOC_ACCOUNT_LIMIT, sizeof(struct morsel_account_limit),
	  make_limit, NULL, 0, false, -1, 0, RESERVED(morsel_account_limit) },
	{ "ACCOUNT_STAT", MORSEL_IOC_ACCOUNT_STAT, sizeof(struct morsel_account_stat),
	  make_account_id, NULL, 0, false, FLAGS(morsel_account_stat, flags), MORSEL_ACCOUNT_NEXT,
	  RESERVED(morsel_account_stat) },
	{ "OBJECT_CREATE", MORSEL_IOC_OBJECT_CREATE, sizeof(struct morsel_object_create),
	  make_object, undo_object, 0, false, FLAGS(morsel_object_create, flags),
	  MORSEL_OBJECT_HUGE | MORSEL_OBJECT_PLACED, RESERVED(morsel_object_create) },
	{ "OBJECT_OPEN", MORSEL_IOC_OBJECT_OPEN, sizeof(struct morsel_object_open), make_open,
	  undo_open, 0, false, FLAGS(morsel_object_open, flags), MORSEL_OPEN_RDONLY,
	  RESERVED(morsel_object_open) },
	{ "OBJECT_DESTROY", MORSEL_IOC_OBJECT_DESTROY, sizeof(struct morsel_id), make_no_id, NULL,
	  -ENOENT, false, FLAGS(morsel_id, flags), 0, 0, 0 },
	{ "OBJECT_LIST", MORSEL_IOC_OBJECT_LIST, sizeof(struct morsel_object_list), make_list, NULL,
	  0, false, -1, 0, RESERVED(morsel_object_list) },
	{ "OBJECT_SET", MORSEL_IOC_OBJECT_SET, sizeof(struct morsel_object_set), make_set, NULL, 0,
	  false, FLAGS(morsel_object_set, flags), MORSEL_OBJECT_PLACED,
	  RESERVED(morsel_object_set) },
	{ "OBJECT_STAT", MORSEL_IOC_OBJECT_STAT, sizeof(struct morsel_object_stat), make_object_id,
	  NULL, 0, true, -1, 0, RESERVED(morsel_object_stat) },
	{ "POPULATE", MORSEL_IOC_POPULATE, sizeof(struct morsel_ranges), make_ranges, NULL, 0, true,
	  -1, 0, RESERVED(morsel_ranges) },
	{ "EVICT", MORSEL_IOC_EVICT, sizeof(struct morsel_ranges), make_ranges, NULL, 0, true, -1,
	  0, RESERVED(morsel_ranges) },
	{ "MOVE", MORSEL_IOC_MOVE, sizeof(struct morsel_move), make_move, NULL, 0, false, -1, 0,
	  RESERVED(morsel_move) },
	{ "HARVEST", MORSEL_IOC_HARVEST, sizeof(struct morsel_harvest), make_harvest, NULL, 0,
	  false, FLAGS(morsel_harvest, flags),
	  MORSEL_HARVEST_FLUSH | MORSEL_HARVEST_KEEP | MORSEL_HARVEST_CLEAR_DIRTY,
	  RESERVED(morsel_harvest) },
	{ "RESIDENCY", MORSEL_IOC_RESIDENCY, sizeof(struct morsel_residency), make_residency, NULL,
	  0, false, FLAGS(morsel_residency, flags), 0, RESERVED(morsel_residency) },
};
#define CALLS (sizeof(calls) / sizeof(*calls))

static void make(const struct call *c, union km_argument *a)
{
	memset(a, 0, sizeof(*a));
	a->size = c->size;
	c->make(a);
}

/* Calls it; what it made by mistake is undone and a failure. */
static int called(const struct call *c, union km_argument *a)
{
	int r = km_ioctl(km_control, c->request, a);

	if (r >= 0 && c->undo)
		c->undo(a);
	return r;
}

static void refused(const struct call *c, union km_argument *a, int want, const char *what)
{
	int r = called(c, a);

	if (want ? r != want : r >= 0)
		km_fail(__FILE__, __LINE__, "%s with %s: %s", c->name, what,
			r < 0 ? strerror(-r) : "taken");
}

static void test_sizes(void)
{
	static const uint32_t small[] = { 0, 1, 4, 7 }, large[] = { 8, 64, 4096 };
	union km_argument a;

	for (size_t i = 0; i < CALLS; i++) {
		const struct call *c = &calls[i];

		make(c, &a);
		km_check(called(c, &a) == c->want, "%s does not work", c->name);
		for (size_t k = 0; k < sizeof(small) / sizeof(*small); k++) {
			make(c, &a);
			a.size = small[k];
			refused(c, &a, -EINVAL, "a size that is too small");
		}
		make(c, &a);
		a.size = c->size - 8;
		refused(c, &a, -EINVAL, "a size below the first version's");
		for (size_t k = 0; k < sizeof(large) / sizeof(*large); k++) {
			make(c, &a);
			/* A longer one with nothing new in it is as good. */
			a.size = c->size + large[k];
			if (a.size <= 4096)
				km_check(called(c, &a) == c->want, "%s, %u bytes longer", c->name,
					 large[k]);
			make(c, &a);
			a.size = c->size + large[k];
			a.bytes[c->size + large[k] - 1] = 1;
			refused(c, &a, -E2BIG, "something new in it");
			make(c, &a);
			a.size = c->size + large[k];
			a.bytes[c->size] = 1;
			refused(c, &a, -E2BIG, "something new in it");
		}
		make(c, &a);
		a.size = UINT32_MAX;
		refused(c, &a, 0, "a size of 4 GiB");
		make(c, &a);
		a.size = INT32_MAX;
		refused(c, &a, 0, "a size of 2 GiB");
		make(c, &a);
		a.size = 1u << 20;
		refused(c, &a, 0, "a size of 1 MiB");
	}
}

static void test_flags(void)
{
	union km_argument a;
	char what[64];

	for (size_t i = 0; i < CALLS; i++) {
		const struct call *c = &calls[i];

		for (unsigned int bit = 0; c->flags >= 0 && bit < 32; bit++) {
			if (c->allowed >> bit & 1)
				continue;
			make(c, &a);
			*(uint32_t *)(a.bytes + c->flags) = 1u << bit;
			snprintf(what, sizeof(what), "flag %u", bit);
			refused(c, &a, -EINVAL, what);
		}
		for (size_t k = 0; k < c->reserved_bytes; k++) {
			make(c, &a);
			a.bytes[c->reserved + k] = 1;
			snprintf(what, sizeof(what), "reserved byte %zu", k);
			refused(c, &a, -EINVAL, what);
		}
	}
}

static void test_pointers(void)
{
	char *two =
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *fixed =
		mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const uintptr_t bad[] = { 0,
				  1,
				  4095,
				  UINT64_C(0xffff888000000000),
				  UINT64_MAX,
				  UINT64_C(0x00007ffffffff000),
				  UINT64_C(1) << 47,
				  (uintptr_t)two + 2 * PAGE - 4 };
	struct morsel_stats before, after;

	munmap(two + PAGE, PAGE);
	for (size_t i = 0; i < CALLS; i++) {
		const struct call *c = &calls[i];

		for (size_t k = 0; k < sizeof(bad) / sizeof(*bad); k++)
			km_check(km_ioctl(km_control, c->request, (void *)bad[k]) == -EFAULT,
				 "%s at %lx", c->name, (unsigned long)bad[k]);
		/* The end is missing. */
		make(c, (union km_argument *)fixed);
		memcpy(two + PAGE - 8, fixed, 8);
		km_check(km_ioctl(km_control, c->request, two + PAGE - 8) == -EFAULT, "%s, cut",
			 c->name);
		/* Readable only: if the answer cannot be written, nothing may have been made. */
		mprotect(fixed, 4 * PAGE, PROT_READ);
		before = km_stats();
		km_ioctl(km_control, c->request, fixed);
		after = km_stats();
		km_check(before.pools == after.pools && before.objects == after.objects &&
				 before.descriptors == after.descriptors,
			 "%s leaves something behind when its answer cannot be written", c->name);
		mprotect(fixed, 4 * PAGE, PROT_READ | PROT_WRITE);
		/* An account's creator has chosen the id: it needs no answer. */
		if (after.accounts > before.accounts)
			km_account_destroy(4712);
	}
	munmap(two, PAGE);
	munmap(fixed, 4 * PAGE);
}

static void test_descriptors(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int ro = km_object_open(object.id, MORSEL_OPEN_RDONLY);
	union km_argument a;

	km_require(ro >= 0);
	for (size_t i = 0; i < CALLS; i++) {
		const struct call *c = &calls[i];

		make(c, &a);
		km_check(km_ioctl(null, c->request, &a) == -ENOTTY, "%s on /dev/null", c->name);
		km_check(km_ioctl(-1, c->request, &a) == -EBADF, "%s on no descriptor", c->name);
		if (c->on_object)
			continue;
		km_check(km_ioctl(object.fd, c->request, &a) == -ENOTTY, "%s on an object",
			 c->name);
		km_check(km_ioctl(ro, c->request, &a) == -ENOTTY, "%s on an object, read-only",
			 c->name);
	}
	for (unsigned int number = 0; number < 256; number++) {
		bool known = false;

		for (size_t i = 0; i < CALLS; i++)
			known |= _IOC_NR(calls[i].request) == number;
		memset(&a, 0, sizeof(a));
		if (known) {
			/* Another size or direction in the number: taken as that call, or unknown. */
			km_check(km_ioctl(km_control, _IO('M', number), &a) < 0, "_IO %u", number);
			km_check(km_ioctl(km_control, _IOC(_IOC_READ, 'M', number, 16383), &a) < 0,
				 "%u", number);
			continue;
		}
		km_check(km_ioctl(km_control, _IOWR('M', number, uint64_t), &a) == -ENOTTY,
			 "number %u", number);
		km_check(km_ioctl(object.fd, _IOWR('M', number, uint64_t), &a) == -ENOTTY,
			 "number %u on an object", number);
	}
	/* What a descriptor of an object is not. */
	km_check(read(object.fd, &a, 8) < 0 && write(object.fd, &a, 8) < 0);
	km_check(ftruncate(object.fd, 0) < 0, "truncated");
	km_check(fallocate(object.fd, 0, 0, PAGE) < 0, "fallocate");
	/* It may be made writable neither through /proc nor by fcntl. */
	{
		char path[64];
		int again;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", ro);
		again = open(path, O_RDWR | O_CLOEXEC);
		km_check(again < 0, "a read-only descriptor was opened for writing through /proc");
		if (again >= 0)
			close(again);
	}
	close(ro);
	close(null);
}

static int create_pool(uint32_t kind, uint32_t tier, int node, uint64_t max, uint64_t start,
		       uint64_t address)
{
	struct morsel_pool_create c = { .size = sizeof(c),
					.kind = kind,
					.tier = tier,
					.node = node,
					.max_bytes = max,
					.start_bytes = start,
					.address = address };
	int r = km_ioctl(km_control, MORSEL_IOC_POOL_CREATE, &c);

	if (r == 0)
		km_pool_destroy(c.pool);
	return r;
}

static void test_pools(void)
{
	char *p = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct morsel_pool_offline off = { .size = sizeof(off), .pool = pool };
	struct morsel_pool_resize size = { .size = sizeof(size), .pool = pool };
	uint64_t many = 1024 * GIB;

	km_expect(-EINVAL, create_pool(0, 0, 0, MIB * 2, 0, 0));
	km_expect(-EINVAL, create_pool(3, 0, 0, MIB * 2, 0, 0));
	km_expect(-EINVAL, create_pool(1, MORSEL_MAX_TIERS, 0, MIB * 2, 0, 0));
	km_expect(-EINVAL, create_pool(1, UINT32_MAX, 0, MIB * 2, 0, 0));
	for (size_t i = 0; i < 6; i++) {
		static const int nodes[] = { -1, -2, INT32_MIN, 1023, 1024, INT32_MAX };

		km_expect(-ENODEV, create_pool(1, 0, nodes[i], MIB * 2, 0, 0));
	}
	km_expect(-EINVAL, create_pool(1, 0, 0, 0, 0, 0));
	km_expect(-EINVAL, create_pool(1, 0, 0, PAGE, 0, 0));
	km_expect(-EINVAL, create_pool(1, 0, 0, 2 * MIB + 1, 0, 0));
	km_expect(-ENOSPC, create_pool(1, 0, 0, many, 0, 0));
	km_check(create_pool(1, 0, 0, UINT64_MAX - GRANULE + 1, 0, 0) < 0);
	km_check(create_pool(1, 0, 0, UINT64_C(1) << 63, 0, 0) < 0);
	km_expect(-EINVAL, create_pool(1, 0, 0, 4 * MIB, 6 * MIB, 0));
	km_check(create_pool(1, 0, 0, 4 * MIB, UINT64_MAX, 0) < 0);
	/* No device, nothing, the kernel's, an end beyond the end. */
	km_check(create_pool(2, 0, -1, 2 * MIB, 0, (uintptr_t)p) < 0, "ordinary memory");
	km_check(create_pool(2, 0, -1, 2 * MIB, 0, 0) < 0);
	km_check(create_pool(2, 0, -1, 2 * MIB, 0, (uintptr_t)p + 1) < 0);
	km_check(create_pool(2, 0, -1, 2 * MIB, 0, UINT64_C(0xffff888000000000)) < 0);
	km_check(create_pool(2, 0, -1, 4 * MIB, 0, UINT64_MAX - GRANULE + 1) < 0);
	km_check(create_pool(2, 0, -1, UINT64_MAX - GRANULE + 1, 0, GRANULE) < 0);
	munmap(p, 8 * MIB);
	/* An object's own mapping is no device either. */
	p = km_map(object.fd, BYTES, PROT_READ | PROT_WRITE);
	km_check(create_pool(2, 0, -1, 2 * MIB, 0, (uintptr_t)p) < 0, "an object as a device");
	km_unmap(p, BYTES);

	for (size_t i = 0; i < 5; i++) {
		static const uint64_t bad[][2] = { { UINT64_MAX, 2 },
						   { 0, UINT64_MAX },
						   { UINT64_C(1) << 62, UINT64_C(1) << 63 },
						   { 1 << 20, 1 },
						   { 0, 1 << 20 } };
		off.first = bad[i][0];
		off.count = bad[i][1];
		km_check(km_ioctl(km_control, MORSEL_IOC_POOL_OFFLINE, &off) < 0, "offline %zu", i);
		km_check(km_ioctl(km_control, MORSEL_IOC_POOL_ONLINE, &off) < 0, "online %zu", i);
	}
	off = (struct morsel_pool_offline){ .size = sizeof(off), .pool = 63, .count = 1 };
	km_expect(-ENOENT, km_ioctl(km_control, MORSEL_IOC_POOL_OFFLINE, &off));
	off.pool = UINT32_MAX;
	km_expect(-ENOENT, km_ioctl(km_control, MORSEL_IOC_POOL_ONLINE, &off));
	size.bytes = PAGE;
	km_expect(-EINVAL, km_ioctl(km_control, MORSEL_IOC_POOL_RESIZE, &size));
	size.bytes = UINT64_MAX - GRANULE + 1;
	km_check(km_ioctl(km_control, MORSEL_IOC_POOL_RESIZE, &size) < 0);
	size.bytes = 2 * MIB;
	size.pool = 0;
	km_expect(-ENOENT, km_ioctl(km_control, MORSEL_IOC_POOL_RESIZE, &size));
	km_check(km_ioctl(km_control, MORSEL_IOC_POOL_DESTROY,
			  &(struct morsel_id){ .size = sizeof(struct morsel_id),
					       .id = (UINT64_C(1) << 32) + pool }) == -ENOENT,
		 "an id was cut to 32 bits");
}

static int create_object(uint64_t bytes, uint64_t account, uint64_t id,
			 const struct morsel_placement *p)
{
	struct morsel_object_create c = {
		.size = sizeof(c), .bytes = bytes, .account = account, .id = id, .placement = *p
	};
	int r = km_ioctl(km_control, MORSEL_IOC_OBJECT_CREATE, &c);

	if (r == 0) {
		close(c.fd);
		km_object_destroy(c.id);
	}
	return r;
}

static void test_objects(void)
{
	struct morsel_placement right = { .pools = { pool } }, p = {};

	km_expect(-EINVAL, create_object(0, 0, 0, &right));
	km_expect(-EINVAL, create_object(1, 0, 0, &right));
	km_expect(-EINVAL, create_object(4095, 0, 0, &right));
	km_expect(-EINVAL, create_object(4097, 0, 0, &right));
	km_expect(-EINVAL, create_object(MORSEL_MAX_OBJECT_SIZE + PAGE, 0, 0, &right));
	km_expect(-EINVAL, create_object(UINT64_MAX - PAGE + 1, 0, 0, &right));
	km_expect(-EINVAL, create_object(UINT64_C(1) << 63, 0, 0, &right));
	/* As large as may be: that is much memory for the kernel itself. */
	{
		int r = create_object(MORSEL_MAX_OBJECT_SIZE, 0, 0, &right);

		km_check(r == 0 || r == -ENOMEM, "%s", strerror(-r));
		km_note("an object of 16 TiB: %s", r ? strerror(-r) : "done");
	}
	km_expect(-ENOENT, create_object(PAGE, 4711, 0, &right));
	km_expect(-EEXIST, create_object(PAGE, 0, object.id, &right));
	km_expect(-EINVAL, create_object(PAGE, 0, 0, &p));
	p.pools[0] = 63;
	km_expect(-ENOENT, create_object(PAGE, 0, 0, &p));
	p.pools[0] = UINT32_MAX;
	km_expect(-ENOENT, create_object(PAGE, 0, 0, &p));
	p = right;
	p.pools[1] = 63;
	km_expect(-ENOENT, create_object(PAGE, 0, 0, &p));
	p = right;
	p.weights[0] = 1001;
	km_expect(-EINVAL, create_object(PAGE, 0, 0, &p));
	p.weights[0] = UINT32_MAX;
	km_expect(-EINVAL, create_object(PAGE, 0, 0, &p));
	p = right;
	for (unsigned int i = 0; i < MORSEL_MAX_TIERS; i++)
		p.pools[i] = pool;
	km_expect(-EINVAL, create_object(PAGE, 0, 0, &p));
	/* Something after the end. */
	p = right;
	p.pools[2] = pool;
	km_expect(-EINVAL, create_object(PAGE, 0, 0, &p));
	km_expect(-ENOENT, km_object_open(4711, 0));
	km_expect(-ENOENT, km_object_open(0, 0));
	km_expect(-ENOENT, km_object_open(UINT64_MAX, 0));
	km_expect(-ENOENT, km_object_destroy(0));
	km_expect(-ENOENT, km_object_destroy(UINT64_MAX));
	km_expect(-EINVAL, km_account_limit(ACCOUNT, MORSEL_MAX_TIERS, 0));
	km_expect(-EINVAL, km_account_limit(ACCOUNT, UINT32_MAX, 0));
	km_expect(-ENOENT, km_account_limit(4711, 0, 0));
	/* Ids chosen by the caller. */
	km_expect(0, create_object(PAGE, 0, UINT64_MAX, &right));
	km_expect(0, create_object(PAGE, ACCOUNT, 12345678, &right));
}

/* want 0: some error */
static void bad_range(uint64_t offset, uint64_t length, int want)
{
	static const unsigned long requests[] = { MORSEL_IOC_POPULATE, MORSEL_IOC_EVICT };
	struct morsel_extent two[2] = { { 0, PAGE }, { offset, length } };
	struct morsel_move_range m = { .offset = offset, .length = length, .pool = pool };
	struct morsel_move move = {
		.size = sizeof(move), .count = 1, .id = object.id, .ranges = (uintptr_t)&m
	};
	union km_argument a;
	int r;

	for (size_t i = 0; i < 2; i++)
		for (unsigned int k = 0; k < 2; k++) {
			a.ranges = (struct morsel_ranges){ .size = sizeof(a.ranges),
							   .count = 2 - k,
							   .id = object.id,
							   .ranges = (uintptr_t)&two[k] };
			r = km_ioctl(km_control, requests[i], &a);
			km_check(want ? r == want : r < 0, "%s of %" PRIx64 " at %" PRIx64 ": %s",
				 i ? "EVICT" : "POPULATE", length, offset, strerror(-r));
			a.ranges.id = 0;
			r = km_ioctl(object.fd, requests[i], &a);
			km_check(want ? r == want : r < 0, "%" PRIx64 " at %" PRIx64 ": %s", length,
				 offset, strerror(-r));
		}
	r = km_ioctl(km_control, MORSEL_IOC_MOVE, &move);
	if (r == 0)
		r = m.result;
	km_check(want ? r == want : r < 0, "MOVE of %" PRIx64 " at %" PRIx64 ": %s", length, offset,
		 strerror(-r));
	a.harvest = (struct morsel_harvest){
		.size = sizeof(a.harvest), .id = object.id, .offset = offset, .length = length
	};
	r = km_ioctl(km_control, MORSEL_IOC_HARVEST, &a);
	km_check(want ? r == want : r < 0, "HARVEST of %" PRIx64 " at %" PRIx64 ": %s", length,
		 offset, strerror(-r));
	a.residency = (struct morsel_residency){
		.size = sizeof(a.residency), .id = object.id, .offset = offset, .length = length
	};
	r = km_ioctl(km_control, MORSEL_IOC_RESIDENCY, &a);
	km_check(r < 0, "RESIDENCY of %" PRIx64 " at %" PRIx64, length, offset);
}

static void bad_count(uint32_t count, uint64_t pointer, int want)
{
	static const unsigned long requests[] = { MORSEL_IOC_POPULATE, MORSEL_IOC_EVICT };
	union km_argument a;
	int r;

	for (size_t i = 0; i < 2; i++) {
		a.ranges = (struct morsel_ranges){
			.size = sizeof(a.ranges), .count = count, .id = object.id, .ranges = pointer
		};
		r = km_ioctl(km_control, requests[i], &a);
		km_check(want ? r == want : r < 0, "%u ranges at %" PRIx64 ": %s", count, pointer,
			 strerror(-r));
	}
	a.move = (struct morsel_move){
		.size = sizeof(a.move), .count = count, .id = object.id, .ranges = pointer
	};
	r = km_ioctl(km_control, MORSEL_IOC_MOVE, &a);
	km_check(want ? r == want : r < 0, "%u moves at %" PRIx64 ": %s", count, pointer,
		 strerror(-r));
}

static void test_ranges(void)
{
	union km_argument a;

	bad_range(1, PAGE, -EINVAL);
	bad_range(0, 1, -EINVAL);
	bad_range(PAGE - 1, PAGE, -EINVAL);
	bad_range(0, PAGE + 1, -EINVAL);
	bad_range(0, BYTES + PAGE, -ERANGE);
	bad_range(BYTES, PAGE, -ERANGE);
	bad_range(BYTES - PAGE, 2 * PAGE, -ERANGE);
	bad_range(PAGE, UINT64_MAX - PAGE + 1, 0);
	bad_range(UINT64_MAX - PAGE + 1, PAGE, 0);
	bad_range(UINT64_MAX - PAGE + 1, 2 * PAGE, 0);
	bad_range(UINT64_C(1) << 63, UINT64_C(1) << 63, 0);
	bad_count(MORSEL_MAX_BATCH + 1, (uintptr_t)&range, 0);
	bad_count(UINT32_MAX, (uintptr_t)&range, 0);
	bad_count(1, 0, -EFAULT);
	bad_count(1, 8, -EFAULT);
	bad_count(1, UINT64_C(0xffff888000000000), -EFAULT);
	bad_count(1, UINT64_MAX - 7, -EFAULT);
	{
		/* The second range is not there. */
		char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);

		munmap(p + PAGE, PAGE);
		memcpy(p + PAGE - sizeof(range), &range, sizeof(range));
		bad_count(2, (uintptr_t)p + PAGE - sizeof(struct morsel_extent), -EFAULT);
		munmap(p, PAGE);
	}
	for (unsigned int i = 0; i < 3; i++) {
		static const uint32_t none[] = { 0, 63, UINT32_MAX };
		struct morsel_move_range m;

		km_expect(-ENOENT, km_move(object.id, 0, GRANULE, none[i], &m));
	}
	km_expect(-ENOENT, km_move(4711, 0, GRANULE, pool, NULL));

	make_harvest(memset(&a, 0, sizeof(a)));
	a.size = sizeof(a.harvest);
	a.harvest.length = GIB + PAGE;
	km_check(km_ioctl(km_control, MORSEL_IOC_HARVEST, &a) < 0, "harvest of more than 1 GiB");
	for (unsigned int i = 0; i < 2; i++) {
		make_harvest(memset(&a, 0, sizeof(a)));
		a.size = sizeof(a.harvest);
		*(i ? &a.harvest.dirty : &a.harvest.accessed) = 8;
		km_expect(-EFAULT, km_ioctl(km_control, MORSEL_IOC_HARVEST, &a));
		make_harvest(memset(&a, 0, sizeof(a)));
		a.size = sizeof(a.harvest);
		*(i ? &a.harvest.dirty : &a.harvest.accessed) = UINT64_C(0xffff888000000000);
		km_expect(-EFAULT, km_ioctl(km_control, MORSEL_IOC_HARVEST, &a));
	}
	make_residency(memset(&a, 0, sizeof(a)));
	a.size = sizeof(a.residency);
	a.residency.granules = 8;
	km_expect(-EFAULT, km_ioctl(km_control, MORSEL_IOC_RESIDENCY, &a));
	make_residency(memset(&a, 0, sizeof(a)));
	a.size = sizeof(a.residency);
	a.residency.offset = PAGE;
	a.residency.length = GRANULE;
	km_expect(-EINVAL, km_ioctl(km_control, MORSEL_IOC_RESIDENCY, &a));
	make_list(memset(&a, 0, sizeof(a)));
	a.size = sizeof(a.object_list);
	a.object_list.ids = 8;
	km_expect(-EFAULT, km_ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &a));
	/* Room for more than there is needs no more memory than there is. */
	a.object_list.ids = (uintptr_t)ids;
	a.object_list.count = UINT32_MAX;
	km_check(km_ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &a) <= 0);
	make_hello(memset(&a, 0, sizeof(a)));
	a.size = sizeof(a.hello);
	a.hello.version = 0;
	km_expect(-EPROTONOSUPPORT, km_ioctl(km_control, MORSEL_IOC_HELLO, &a));
}

/* ---- descriptors that are closed by another thread ---- */

static _Atomic int shared_fd = -1;
static _Atomic bool stop;

static void *use_it(void *unused)
{
	union km_argument a;

	while (!stop) {
		int fd = shared_fd;
		char *p;

		km_populate(fd, 0, GRANULE, NULL);
		km_evict(fd, 0, GRANULE, NULL);
		make_object_id(memset(&a, 0, sizeof(a)));
		a.size = sizeof(a.object_stat);
		km_ioctl(fd, MORSEL_IOC_OBJECT_STAT, &a);
		p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p != MAP_FAILED) {
			km_touch(p, true);
			munmap(p, BYTES);
		}
	}
	return NULL;
}

static void test_close(void)
{
	uint32_t pools[2] = { pool, 0 };
	pthread_t threads[2];
	struct km_object o;

	for (unsigned int i = 0; i < 2; i++)
		km_require(pthread_create(&threads[i], NULL, use_it, NULL) == 0);
	for (unsigned int i = 0; i < 300; i++) {
		km_require(km_object_try(BYTES, 0, 0, pools, &o) == 0);
		/* A number that nothing else in this process gets. */
		dup3(o.fd, 100, O_CLOEXEC);
		shared_fd = 100;
		sched_yield();
		if (i % 2)
			km_object_destroy(o.id);
		close(100);
		close(o.fd);
		if (i % 2 == 0)
			km_object_destroy(o.id);
	}
	stop = true;
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	km_check(km_stats().objects == 1, "%llu objects", (unsigned long long)km_stats().objects);
	km_check(km_stats().mappings == 0);
}

int main(void)
{
	km_begin();
	pool = km_pool(0, 0, 64 * MIB);
	km_expect(0, km_account_create(ACCOUNT, 0));
	object = km_object(BYTES, 0, ACCOUNT, pool);
	km_test("sizes", test_sizes);
	km_test("flags and reserved fields", test_flags);
	km_test("pointers", test_pointers);
	km_test("descriptors and numbers", test_descriptors);
	km_test("pools", test_pools);
	km_test("objects", test_objects);
	km_test("ranges and counts", test_ranges);
	km_test("closed meanwhile", test_close);
	km_object_done(&object);
	km_expect(0, km_account_destroy(ACCOUNT));
	km_pool_destroy(pool);
	return km_end();
}
