// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Objects over extents of a device, which this program gives out: their content is the device's, before and after;
 * they answer until nothing refers to their frames any more; wrong ones are refused.
 *
 * test-extents DEVICE   a device-dax file; its first 16 MiB are overwritten
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kmod-common.h"
#include "kmod-uring.h"

#define POOL (16 * MIB)
#define TIER 7
#define ACCOUNT 900
#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static uint32_t pool, node_pool;
static char *device; /* all of the pool, as its owner sees it */

static int create(const struct morsel_object_extent *extents, uint32_t count, uint64_t bytes,
		  uint64_t account, struct km_object *ret)
{
	struct morsel_object_create c = { .size = sizeof(c),
					  .flags = MORSEL_OBJECT_EXTENTS,
					  .bytes = bytes,
					  .account = account,
					  .extents = (uintptr_t)extents,
					  .extents_count = count,
					  .extents_pool = pool };
	int r = km_ioctl(km_control, MORSEL_IOC_OBJECT_CREATE, &c);

	if (r == 0)
		*ret = (struct km_object){ .id = c.id, .bytes = bytes, .fd = c.fd };
	return r;
}

static struct km_object make(const struct morsel_object_extent *extents, uint32_t count,
			     uint64_t bytes)
{
	struct km_object o = {};
	int r = create(extents, count, bytes, 0, &o);

	km_require(r == 0, "object over %u extents: %s", count, strerror(-r));
	return o;
}

static int stat_by_id(uint64_t id, struct morsel_object_stat *ret)
{
	*ret = (struct morsel_object_stat){ .size = sizeof(*ret), .id = id };
	return km_ioctl(km_control, MORSEL_IOC_OBJECT_STAT, ret);
}

/* It answers, as one that is destroyed; or not at all. */
static bool answers(uint64_t id)
{
	struct morsel_object_stat s;
	int r = stat_by_id(id, &s);

	km_check(r == -ENOENT || (r == 0 && s.flags & MORSEL_STAT_DESTROYED), "%s, flags %x",
		 strerror(-r), s.flags);
	return r == 0;
}

static bool is_gone(uint64_t id)
{
	for (unsigned int ms = 0; ms < 20000; ms += 20) {
		if (!answers(id))
			return true;
		km_nap_ms(20);
	}
	return false;
}

static void mark_device(uint64_t seed)
{
	km_fill(device, POOL, seed);
}

/* The page of the object shows the page of the device. */
static void shows(const char *p, uint64_t page, uint64_t at, uint64_t seed)
{
	char want[PAGE];

	/* What km_fill writes there. */
	memcpy(want, device + at * PAGE, PAGE);
	km_check(memcmp(p + page * PAGE, want, PAGE) == 0,
		 "page %" PRIu64 " is not the device's %" PRIu64 " (seed %" PRIu64 ")", page, at,
		 seed);
}

/* Two pieces, the later first, and a hole of a page between them; neither begins where a granule does. */
static const struct morsel_object_extent pieces[] = {
	{ .offset = 2 * MIB + PAGE, .length = 3 * MIB, .at = 1 * MIB },
	{ .offset = 0, .length = 2 * MIB, .at = 9 * MIB + 5 * PAGE },
};
#define PIECES_BYTES (5 * MIB + 2 * PAGE)

static void test_content(void)
{
	struct morsel_object_stat s;
	struct morsel_pool_stat ps;
	struct km_object o;
	char *p;

	mark_device(11);
	o = make(pieces, COUNT(pieces), PIECES_BYTES);
	s = km_object_stat(o.fd);
	km_check(s.used_bytes == 5 * MIB && s.pool_bytes[pool] == 5 * MIB, "%llu used, %llu",
		 (unsigned long long)s.used_bytes, (unsigned long long)s.pool_bytes[pool]);
	km_check(s.flags == MORSEL_OBJECT_EXTENTS, "flags %x", s.flags);
	ps = km_pool_stat(pool);
	km_check(ps.kind == MORSEL_POOL_EXTENTS && ps.bytes == POOL && ps.used_bytes == 5 * MIB &&
			 ps.free_bytes == 0,
		 "kind %u, %llu bytes, %llu used, %llu free", ps.kind, (unsigned long long)ps.bytes,
		 (unsigned long long)ps.used_bytes, (unsigned long long)ps.free_bytes);
	p = km_map(o.fd, 6 * MIB, PROT_READ | PROT_WRITE);
	shows(p, 0, 9 * 256 + 5, 11);
	shows(p, 511, 9 * 256 + 5 + 511, 11);
	shows(p, 513, 256, 11);
	shows(p, 513 + 767, 256 + 767, 11);
	/* The hole, what comes after the extents, and after the object. */
	km_check(!km_touch(p + 512 * PAGE, false) && !km_touch(p + 512 * PAGE, true),
		 "the hole can be used");
	km_check(!km_touch(p + 5 * MIB + PAGE, true), "what no extent covers can be used");
	km_check(!km_touch(p + 5 * MIB + 2 * PAGE, false), "what is beyond the object can be used");
	km_check(km_object_stat(o.fd).used_bytes == 5 * MIB, "touches made frames");
	/* A write is the device's at once. */
	memset(p + 513 * PAGE, 0x5c, PAGE);
	km_check(device[MIB] == 0x5c && device[MIB + PAGE - 1] == 0x5c);
	device[MIB] = 0x11;
	km_check(p[513 * PAGE] == 0x11);
	km_unmap(p, 6 * MIB);
	km_object_done(&o);
	km_check(!answers(o.id), "it answers although nothing refers to it");
	km_check(km_pool_stat(pool).used_bytes == 0);

	/* Another object over the same finds it. */
	o = make(pieces, COUNT(pieces), PIECES_BYTES);
	p = km_map(o.fd, 6 * MIB, PROT_READ | PROT_WRITE);
	km_check(p[513 * PAGE] == 0x11 && p[513 * PAGE + 1] == 0x5c, "%x %x", p[513 * PAGE],
		 p[513 * PAGE + 1]);
	shows(p, 514, 257, 11);
	km_unmap(p, 6 * MIB);
	km_object_done(&o);
}

/* Frames that two objects have, and one that an object has twice. */
static void test_shared(void)
{
	const struct morsel_object_extent a[] = { { 0, 4 * MIB, 0 } }, b[] = {
		{ 0, PAGE, MIB }, { PAGE, PAGE, MIB }, { 2 * PAGE, MIB, 2 * MIB }
	};
	struct km_object x, y;
	char *p, *q;

	mark_device(12);
	x = make(a, 1, 4 * MIB);
	y = make(b, 3, 2 * MIB);
	p = km_map(x.fd, 4 * MIB, PROT_READ | PROT_WRITE);
	q = km_map(y.fd, 2 * MIB, PROT_READ | PROT_WRITE);
	p[MIB + 100] = 42;
	km_check(q[100] == 42 && q[PAGE + 100] == 42);
	q[2 * PAGE] = 43;
	km_check(p[2 * MIB] == 43);
	km_check(km_pool_stat(pool).used_bytes == 5 * MIB + 2 * PAGE);
	km_unmap(p, 4 * MIB);
	km_object_done(&x);
	km_check(!answers(x.id));
	km_check(q[100] == 42 && km_pool_stat(pool).used_bytes == MIB + 2 * PAGE);
	km_unmap(q, 2 * MIB);
	km_object_done(&y);
}

static void reader(void *argument)
{
	uint64_t id = *(uint64_t *)argument;
	struct iovec local, remote;
	char byte = 1, *p;
	int fd = km_object_open(id, MORSEL_OPEN_RDONLY);

	km_require(fd >= 0);
	km_check(mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	p = km_map(fd, 4 * MIB, PROT_READ);
	shows(p, 0, 512, 13);
	shows(p, 1023, 512 + 1023, 13);
	km_check(!km_touch(p, true), "a read-only mapping was written");
	local = (struct iovec){ &byte, 1 };
	remote = (struct iovec){ p, 1 };
	km_check(process_vm_writev(getpid(), &local, 1, &remote, 1, 0) < 0,
		 "the kernel wrote a read-only mapping");
	km_expect(-EACCES, km_populate(fd, 0, PAGE, NULL));
	close(fd);
}

static void test_read_only(void)
{
	const struct morsel_object_extent all[] = { { 0, 4 * MIB, 2 * MIB } };
	struct km_object o;

	mark_device(13);
	o = make(all, 1, 4 * MIB);
	km_check(km_in_child(reader, &o.id));
	km_object_done(&o);
	km_check(!answers(o.id));
}

static void test_tables(void)
{
	static uint64_t bits[2][6 * MIB / PAGE / 64];
	static uint8_t granules[3];
	struct km_object o = make(pieces, COUNT(pieces), PIECES_BYTES);
	struct morsel_harvest h = { .size = sizeof(h),
				    .id = o.id,
				    .flags = MORSEL_HARVEST_CLEAR_DIRTY,
				    .length = PIECES_BYTES,
				    .accessed = (uintptr_t)bits[0],
				    .dirty = (uintptr_t)bits[1] };
	struct morsel_residency r = { .size = sizeof(r),
				      .id = o.id,
				      .length = PIECES_BYTES,
				      .granules = (uintptr_t)granules };
	char *p = km_map(o.fd, 6 * MIB, PROT_READ | PROT_WRITE);

	km_expect(0, km_ioctl(km_control, MORSEL_IOC_HARVEST, &h));
	km_check(h.present_pages == 5 * MIB / PAGE, "%llu present",
		 (unsigned long long)h.present_pages);
	p[3 * PAGE] = 1;
	(void)*(volatile char *)(p + 4 * PAGE);
	km_expect(0, km_ioctl(km_control, MORSEL_IOC_HARVEST, &h));
	km_check(h.accessed_pages == 2 && bits[0][0] == 0x18 && bits[1][0] == 0x8,
		 "%llu accessed: %" PRIx64 ", dirty: %" PRIx64,
		 (unsigned long long)h.accessed_pages, bits[0][0], bits[1][0]);
	km_expect(0, km_ioctl(km_control, MORSEL_IOC_RESIDENCY, &r));
	km_check(r.pool_bytes[pool] == 5 * MIB && r.pool_bytes[0] == 2 * PAGE,
		 "%llu resident, %llu absent", (unsigned long long)r.pool_bytes[pool],
		 (unsigned long long)r.pool_bytes[0]);
	for (unsigned int i = 0; i < 3; i++)
		km_check(granules[i] == pool, "granule %u: %u", i, granules[i]);
	km_unmap(p, 6 * MIB);
	km_object_done(&o);
}

/* What makes, takes or moves frames is not for them, and their pool gives none. */
static void test_refused(void)
{
	uint32_t pools[3] = { pool, 0 }, both[3] = { node_pool, pool, 0 };
	struct morsel_object_set set = { .size = sizeof(set), .placement.pools = { node_pool } };
	struct morsel_pool_resize size = { .size = sizeof(size), .pool = pool, .bytes = POOL };
	struct morsel_pool_offline off = { .size = sizeof(off), .pool = pool, .count = 1 };
	struct morsel_id id = { .size = sizeof(id), .id = pool };
	struct km_object o = make(pieces, COUNT(pieces), PIECES_BYTES), other;
	struct morsel_move_range m;
	void *state;

	km_expect(-EOPNOTSUPP, km_populate(o.fd, 0, PAGE, NULL));
	km_expect(-EOPNOTSUPP, km_evict(o.fd, 0, PAGE, NULL));
	km_expect(-EOPNOTSUPP, km_move(o.id, 0, 2 * MIB, node_pool, &m));
	km_check(km_object_stat(o.fd).used_bytes == 5 * MIB);
	set.id = o.id;
	km_expect(-EOPNOTSUPP, km_ioctl(km_control, MORSEL_IOC_OBJECT_SET, &set));
	km_expect(-EBUSY, km_ioctl(km_control, MORSEL_IOC_POOL_DESTROY, &id));
	km_object_done(&o);

	km_expect(-EOPNOTSUPP, km_object_try(2 * MIB, 0, 0, pools, &other));
	km_expect(-EOPNOTSUPP, km_object_try(2 * MIB, 0, 0, both, &other));
	other = km_object(2 * MIB, 0, 0, node_pool);
	km_expect(0, km_populate(other.fd, 0, 2 * MIB, NULL));
	km_expect(-EOPNOTSUPP, km_move(other.id, 0, 2 * MIB, pool, &m));
	set = (struct morsel_object_set){ .size = sizeof(set),
					  .id = other.id,
					  .placement.pools = { pool } };
	km_expect(-EOPNOTSUPP, km_ioctl(km_control, MORSEL_IOC_OBJECT_SET, &set));
	km_object_done(&other);
	km_expect(-EOPNOTSUPP, km_ioctl(km_control, MORSEL_IOC_POOL_RESIZE, &size));
	km_expect(-EOPNOTSUPP, km_ioctl(km_control, MORSEL_IOC_POOL_OFFLINE, &off));
	km_expect(-EOPNOTSUPP, km_ioctl(km_control, MORSEL_IOC_POOL_ONLINE, &off));
	state = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, km_control,
		     (off_t)MORSEL_MAP_STATE(pool, 0));
	km_check(state == MAP_FAILED && errno == EOPNOTSUPP, "%s", strerror(errno));
}

static void bad(int want, uint64_t bytes, struct morsel_object_extent a,
		struct morsel_object_extent b)
{
	const struct morsel_object_extent two[] = { a, b };
	struct km_object o;
	int r = create(two, b.length ? 2 : 1, bytes, 0, &o);

	km_check(r == want,
		 "%" PRIu64 " bytes, {%llx %llx %llx} {%llx %llx %llx}: %s instead of %s", bytes,
		 (unsigned long long)a.offset, (unsigned long long)a.length,
		 (unsigned long long)a.at, (unsigned long long)b.offset,
		 (unsigned long long)b.length, (unsigned long long)b.at, strerror(-r),
		 strerror(-want));
	if (r == 0)
		km_object_done(&o);
}

#define E(...)                        \
	(struct morsel_object_extent) \
	{                             \
		__VA_ARGS__           \
	}
#define NONE E(0)
#define TOP (UINT64_MAX - PAGE + 1)

static void test_bad_extents(void)
{
	bad(-EINVAL, 4 * MIB, E(1, PAGE, 0), NONE);
	bad(-EINVAL, 4 * MIB, E(0, 1, 0), NONE);
	bad(-EINVAL, 4 * MIB, E(0, PAGE, 1), NONE);
	bad(-EINVAL, 4 * MIB, E(0, PAGE, 0), E(PAGE, PAGE + 512, PAGE));
	bad(-EINVAL, 4 * MIB, E(0, 0, 0), NONE);
	/* Over each other in the object: the same, in part, in another order, in another granule. */
	bad(-EINVAL, 4 * MIB, E(0, PAGE, 0), E(0, PAGE, PAGE));
	bad(-EINVAL, 4 * MIB, E(0, 2 * MIB, 0), E(2 * MIB - PAGE, 2 * PAGE, 2 * MIB));
	bad(-EINVAL, 4 * MIB, E(MIB, 2 * MIB, 0), E(0, MIB + PAGE, 2 * MIB));
	bad(-EINVAL, 4 * MIB, E(0, 4 * MIB, 0), E(3 * MIB, PAGE, 0));
	bad(-ERANGE, 4 * MIB, E(4 * MIB, PAGE, 0), NONE);
	bad(-ERANGE, 4 * MIB, E(0, 4 * MIB + PAGE, 0), NONE);
	bad(-ERANGE, 4 * MIB, E(PAGE, TOP, 0), NONE);
	bad(-ERANGE, 4 * MIB, E(TOP, PAGE, 0), NONE);
	bad(-ERANGE, 4 * MIB, E(0, PAGE, POOL), NONE);
	bad(-ERANGE, 4 * MIB, E(0, 2 * PAGE, POOL - PAGE), NONE);
	bad(-ERANGE, 4 * MIB, E(0, PAGE, TOP), NONE);
	bad(-ERANGE, 4 * MIB, E(0, 2 * PAGE, TOP), NONE);
	bad(-ERANGE, 4 * MIB, E(0, PAGE, UINT64_C(1) << 63), NONE);
	/* The first is right: nothing of it may stay. */
	bad(-ERANGE, 4 * MIB, E(0, 2 * MIB, 0), E(2 * MIB, PAGE, POOL));
	bad(0, 4 * MIB, E(0, PAGE, POOL - PAGE), E(4 * MIB - PAGE, PAGE, 0));
	km_check(km_pool_stat(pool).used_bytes == 0, "%llu used",
		 (unsigned long long)km_pool_stat(pool).used_bytes);
}

static int create_raw(struct morsel_object_create c)
{
	int r;

	c.size = sizeof(c);
	r = km_ioctl(km_control, MORSEL_IOC_OBJECT_CREATE, &c);
	if (r == 0) {
		close(c.fd);
		km_object_destroy(c.id);
	}
	return r;
}

static void test_bad_calls(void)
{
	struct morsel_object_extent one = { 0, PAGE, 0 }, *end;
	struct morsel_object_create right = { .flags = MORSEL_OBJECT_EXTENTS,
					      .bytes = 2 * MIB,
					      .extents = (uintptr_t)&one,
					      .extents_count = 1,
					      .extents_pool = pool },
				    c;
	char *p;

	km_expect(0, create_raw(right));
	c = right;
	c.extents_count = 0;
	km_expect(0, create_raw(c));
	c = right;
	c.flags |= MORSEL_OBJECT_HUGE;
	km_expect(-EINVAL, create_raw(c));
	c = right;
	c.placement.pools[0] = node_pool;
	km_expect(-EINVAL, create_raw(c));
	c = right;
	c.placement.weights[3] = 1;
	km_expect(-EINVAL, create_raw(c));
	c = right;
	c.extents_count = MORSEL_MAX_EXTENTS + 1;
	km_expect(-EINVAL, create_raw(c));
	c.extents_count = UINT32_MAX;
	km_expect(-EINVAL, create_raw(c));
	c = right;
	c.extents_pool = node_pool;
	km_expect(-EOPNOTSUPP, create_raw(c));
	c.extents_pool = 0;
	km_expect(-ENOENT, create_raw(c));
	c.extents_pool = 64;
	km_expect(-ENOENT, create_raw(c));
	c.extents_pool = UINT32_MAX;
	km_expect(-ENOENT, create_raw(c));
	for (unsigned int i = 0; i < 2; i++) {
		c = right;
		c.reserved[i] = 1;
		km_expect(-EINVAL, create_raw(c));
	}
	c = right;
	c.account = 4711;
	km_expect(-ENOENT, create_raw(c));
	c = right;
	c.extents = 8;
	km_expect(-EFAULT, create_raw(c));
	c.extents = UINT64_C(0xffff888000000000);
	km_expect(-EFAULT, create_raw(c));
	c.extents = UINT64_MAX - 7;
	km_expect(-EFAULT, create_raw(c));
	/* The second is not there; and a count that no memory has. */
	p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(p + PAGE, PAGE);
	end = (struct morsel_object_extent *)(p + PAGE) - 1;
	*end = one;
	c = right;
	c.extents = (uintptr_t)end;
	km_expect(0, create_raw(c));
	c.extents_count = 2;
	km_expect(-EFAULT, create_raw(c));
	c.extents_count = MORSEL_MAX_EXTENTS;
	km_expect(-EFAULT, create_raw(c));
	munmap(p, PAGE);
	/* These fields belong to no other object. */
	c = (struct morsel_object_create){ .bytes = PAGE, .placement.pools = { node_pool } };
	km_expect(0, create_raw(c));
	c.extents = 1;
	km_expect(-EINVAL, create_raw(c));
	c.extents = 0;
	c.extents_count = 1;
	km_expect(-EINVAL, create_raw(c));
	c.extents_count = 0;
	c.extents_pool = pool;
	km_expect(-EINVAL, create_raw(c));
	km_check(km_pool_stat(pool).used_bytes == 0);
}

/* As many as can be: each page is one, in reverse. */
static void test_many(void)
{
	uint32_t count = POOL / PAGE;
	struct morsel_object_extent *e = calloc(count, sizeof(*e));
	struct km_object o;
	uint64_t t;
	char *p;

	mark_device(14);
	for (uint32_t i = 0; i < count; i++)
		e[i] = E((count - 1 - i) * PAGE, PAGE, i * PAGE);
	t = km_now_ns();
	o = make(e, count, POOL);
	km_note("an object of %u extents took %" PRIu64 " us", count, (km_now_ns() - t) / 1000);
	p = km_map(o.fd, POOL, PROT_READ);
	for (uint32_t i = 0; i < count; i += 37)
		shows(p, count - 1 - i, i, 14);
	km_unmap(p, POOL);
	km_object_done(&o);
	free(e);
}

static void test_account(void)
{
	struct km_object o;

	km_expect(0, km_account_create(ACCOUNT, 0));
	km_expect(0, km_account_limit(ACCOUNT, TIER, 5 * MIB - PAGE));
	km_expect(-EDQUOT, create(pieces, COUNT(pieces), PIECES_BYTES, ACCOUNT, &o));
	km_check(km_account_stat(ACCOUNT).use_bytes[TIER] == 0, "%llu charged",
		 (unsigned long long)km_account_stat(ACCOUNT).use_bytes[TIER]);
	km_expect(0, km_account_limit(ACCOUNT, TIER, 5 * MIB));
	km_require(create(pieces, COUNT(pieces), PIECES_BYTES, ACCOUNT, &o) == 0);
	km_check(km_account_stat(ACCOUNT).use_bytes[TIER] == 5 * MIB);
	km_expect(-EBUSY, km_account_destroy(ACCOUNT));
	km_object_done(&o);
	km_check(km_account_stat(ACCOUNT).use_bytes[TIER] == 0);
	km_expect(0, km_account_destroy(ACCOUNT));
}

/* Until the last descriptor, mapping and pin. */
static void test_life(void)
{
	const struct morsel_object_extent all[] = { { 0, 6 * MIB, 4 * MIB } };
	struct morsel_id pool_id = { .size = sizeof(pool_id), .id = pool };
	struct km_object o = make(all, 1, 6 * MIB);
	struct morsel_object_create again = { .size = sizeof(again),
					      .flags = MORSEL_OBJECT_EXTENTS,
					      .bytes = PAGE,
					      .extents_pool = pool,
					      .id = o.id };
	char *p = km_map(o.fd, 6 * MIB, PROT_READ | PROT_WRITE), *pinned = p + 4 * MIB - 8 * PAGE;
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), pipes[2];
	struct iovec v = { p + MIB, PAGE };
	struct km_uring u;
	char text[PAGE];
	uint64_t done = 0;

	mark_device(15);
	km_require(km_uring_init(&u) == 0);
	km_require(km_uring_register(&u, pinned, 16 * PAGE) == 0);
	km_expect(0, km_object_destroy(o.id));
	km_check(answers(o.id), "it has gone, with a descriptor");
	close(o.fd);
	km_check(answers(o.id), "it has gone, with a mapping");
	km_unmap(p, 6 * MIB);
	km_nap_ms(300);
	if (!answers(o.id)) {
		km_check(false, "it has gone, with a registered buffer");
		km_uring_done(&u);
		close(zero);
		return;
	}
	km_expect(-ENOENT, km_object_open(o.id, 0));
	km_expect(-ENOENT, km_object_destroy(o.id));
	km_expect(-EEXIST, km_ioctl(km_control, MORSEL_IOC_OBJECT_CREATE, &again));
	km_check(km_pool_stat(pool).used_bytes == 6 * MIB);
	km_check(km_pool_stat(pool).quarantine_bytes == 6 * MIB);
	km_expect(-EBUSY, km_ioctl(km_control, MORSEL_IOC_POOL_DESTROY, &pool_id));
	/* The buffer is the device's still, and nobody else's. */
	memset(device + 8 * MIB - 8 * PAGE, 0x33, 16 * PAGE);
	/* It may be broken off by a signal, and be short. */
	while (done < 16 * PAGE) {
		ssize_t got = km_uring_rw(&u, zero, pinned + done, 16 * PAGE - done, 0, false);

		if (got <= 0) {
			km_check(got == -EINTR || got == -EAGAIN, "%zd read", got);
			break;
		}
		done += (uint64_t)got;
	}
	km_check(km_first_nonzero(device + 8 * MIB - 8 * PAGE, 16 * PAGE) == 16 * PAGE,
		 "the buffer is not where it was");
	km_expect(0, km_uring_unregister(&u));
	km_check(is_gone(o.id), "it answers for ever");
	km_check(km_pool_stat(pool).used_bytes == 0 && km_pool_stat(pool).quarantine_bytes == 0);
	km_uring_done(&u);
	close(zero);

	/* A reference that is no pin. */
	o = make(all, 1, 6 * MIB);
	p = km_map(o.fd, 6 * MIB, PROT_READ | PROT_WRITE);
	v.iov_base = p + MIB;
	km_require(pipe2(pipes, O_CLOEXEC) == 0);
	km_require(vmsplice(pipes[1], &v, 1, 0) == (ssize_t)PAGE);
	km_unmap(p, 6 * MIB);
	km_object_done(&o);
	km_nap_ms(300);
	km_check(answers(o.id), "it has gone, with a page in a pipe");
	km_check(read(pipes[0], text, PAGE) == (ssize_t)PAGE);
	km_check(is_gone(o.id), "it answers although the pipe is empty");
	km_check(memcmp(text, device + 5 * MIB, PAGE) == 0);
	close(pipes[0]);
	close(pipes[1]);
}

int main(int argc, char *argv[])
{
	int fd;

	if (argc != 2)
		return 2;
	km_begin();
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	km_require(fd >= 0, "%s: %s", argv[1], strerror(errno));
	device = mmap(NULL, POOL, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	km_require(device != MAP_FAILED, "%s: %s", argv[1], strerror(errno));
	close(fd);
	node_pool = km_pool(0, 0, 8 * MIB);
	pool = km_device_pool(argv[1], MORSEL_POOL_EXTENTS, TIER, POOL);
	km_test("content stays", test_content);
	km_test("frames of two objects", test_shared);
	km_test("read-only", test_read_only);
	km_test("harvest and residency", test_tables);
	km_test("what is refused", test_refused);
	km_test("wrong extents", test_bad_extents);
	km_test("wrong calls", test_bad_calls);
	km_test("an extent for each page", test_many);
	km_test("account", test_account);
	km_test("answers until nothing refers to it", test_life);
	km_pool_destroy(pool);
	km_pool_destroy(node_pool);
	return km_end();
}
