// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages of 2 MiB: where they come, that they are one entry of a page table, that parts of them go and move after a
 * split, their bits, pins, limits, and that pools are whole afterwards.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kmod-common.h"
#include "kmod-uring.h"

#define SIZE (8 * MIB)
#define PAGES (GRANULE / PAGE)
#define SEED 0xb16
#define ACCOUNT 77

static uint32_t pool, second;
static struct km_object o;
static char *p;

static uint64_t huge_bytes(void)
{
	return km_object_stat(o.fd).huge_bytes;
}

#define huge_is(want) \
	km_check(huge_bytes() == (want), "%" PRIu64 " bytes in huge pages", huge_bytes())

static void make(uint64_t account)
{
	o = km_object(SIZE, MORSEL_OBJECT_HUGE, account, pool);
	p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
}

static void done(void)
{
	km_unmap(p, SIZE);
	km_object_done(&o);
}

/* What the kernel says of the mapping at @at in kB, or -1. */
static long pmd_mapped(const void *at)
{
	char line[256];
	unsigned long start;
	bool here = false;
	long kb, found = -1;
	FILE *f = fopen("/proc/self/smaps", "re");

	km_require(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%*x ", &start) == 1 && strchr(line, '-'))
			here = start == (uintptr_t)at;
		else if (here && sscanf(line, "FilePmdMapped: %ld kB", &kb) == 1)
			found = kb;
	}
	fclose(f);
	return found;
}

static void other_process(void *unused)
{
	int fd = km_object_open(o.id, MORSEL_OPEN_RDONLY);
	char *ro;

	km_require(fd >= 0);
	ro = km_map(fd, SIZE, PROT_READ);
	km_check(km_filled(ro, SIZE, SEED) == SIZE / PAGE);
	km_check(pmd_mapped(ro) == SIZE / KIB, "%ld kB", pmd_mapped(ro));
	km_check(!km_touch(ro, true), "written through a read-only mapping");
	km_unmap(ro, SIZE);
	close(fd);
}

static void test_leaves(void)
{
	uint64_t bytes = 0, faults;

	make(0);
	/* One touch brings one page. */
	km_check(km_touch(p + GRANULE + 5 * PAGE, false));
	huge_is(GRANULE);
	km_expect(0, km_populate(o.fd, 0, SIZE, &bytes));
	km_check(bytes == SIZE - GRANULE, "%" PRIu64, bytes);
	huge_is(SIZE);
	km_check(km_object_stat(o.fd).used_bytes == SIZE);
	km_check(km_first_nonzero(p, SIZE) == SIZE);
	km_fill(p, SIZE, SEED);
	km_check(pmd_mapped(p) == SIZE / KIB, "%ld kB", pmd_mapped(p));
	km_unmap(p, SIZE);
	p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
	faults = km_minor_faults();
	km_check(km_filled(p, SIZE, SEED) == SIZE / PAGE);
	km_check(km_minor_faults() - faults <= 1, "%" PRIu64 " faults", km_minor_faults() - faults);
	km_check(km_in_child(other_process, NULL));
	km_check(km_filled(p, SIZE, SEED) == SIZE / PAGE);
	done();
}

/* An object's last, incomplete 2 MiB are single frames. */
static void test_tail(void)
{
	struct km_object t = km_object(GRANULE + 3 * PAGE, MORSEL_OBJECT_HUGE, 0, pool);

	km_expect(0, km_populate(t.fd, 0, GRANULE + 3 * PAGE, NULL));
	km_check(km_object_stat(t.fd).huge_bytes == GRANULE);
	km_check(km_object_stat(t.fd).used_bytes == GRANULE + 3 * PAGE);
	km_object_done(&t);
}

static void test_evict_part(void)
{
	uint64_t bytes = 0;

	make(0);
	km_fill(p, SIZE, SEED);
	km_expect(0, km_evict(o.fd, GRANULE + 7 * PAGE, 2 * PAGE, &bytes));
	km_check(bytes == 2 * PAGE, "%" PRIu64, bytes);
	huge_is(SIZE - GRANULE);
	km_check(km_object_stat(o.fd).used_bytes == SIZE - 2 * PAGE);
	km_check(km_first_nonzero(p + GRANULE + 7 * PAGE, 2 * PAGE) == 2 * PAGE);
	km_fill(p + GRANULE + 7 * PAGE, 2 * PAGE, SEED + 1);
	km_check(km_filled(p, SIZE, SEED) == PAGES + 7);
	/* The rest of it, and it may be one page again. */
	km_expect(0, km_evict(o.fd, GRANULE, GRANULE, &bytes));
	km_check(km_touch(p + GRANULE, true));
	huge_is(SIZE);
	/* Over the border of two. */
	km_expect(0, km_evict(o.fd, GRANULE - PAGE, 2 * PAGE, &bytes));
	huge_is(SIZE - 2 * GRANULE);
	km_expect(0, km_evict(o.fd, 0, SIZE, NULL));
	huge_is(0);
	km_check(km_object_stat(o.fd).used_bytes == 0);
	km_check(km_first_nonzero(p, SIZE) == SIZE);
	done();
}

static void test_moves(void)
{
	struct morsel_move_range r;

	make(0);
	km_fill(p, SIZE, SEED);
	km_expect(0, km_move(o.id, 0, SIZE, second, &r));
	km_check(r.moved == SIZE && !r.failed && !r.absent, "%" PRIu64 " moved", (uint64_t)r.moved);
	huge_is(SIZE);
	km_check(km_object_stat(o.fd).pool_bytes[second] == SIZE);
	km_check(km_filled(p, SIZE, SEED) == SIZE / PAGE);
	km_expect(0, km_move(o.id, 0, SIZE, second, &r));
	km_check(r.already == SIZE);
	/* A part: to where it is, no split; elsewhere, one. */
	km_expect(0, km_move(o.id, 5 * PAGE, 4 * PAGE, second, &r));
	km_check(r.already == 4 * PAGE);
	huge_is(SIZE);
	km_expect(0, km_move(o.id, 5 * PAGE, 4 * PAGE, pool, &r));
	km_check(r.moved == 4 * PAGE && !r.failed, "%" PRIu64 " moved", (uint64_t)r.moved);
	huge_is(SIZE - GRANULE);
	km_check(km_object_stat(o.fd).pool_bytes[pool] == 4 * PAGE);
	km_check(km_filled(p, SIZE, SEED) == SIZE / PAGE);
	/* All back: single frames move as such. */
	km_expect(0, km_move(o.id, 0, SIZE, pool, &r));
	km_check(r.moved == SIZE - 4 * PAGE && r.already == 4 * PAGE);
	km_check(km_filled(p, SIZE, SEED) == SIZE / PAGE);
	huge_is(SIZE - GRANULE);
	done();
}

/* A pool with frames, but no 2 MiB of one piece: 4 KiB leaves; in a move, too. */
static void test_fragments(void)
{
	struct km_object small;
	uint32_t narrow = km_pool(0, 2, 8 * MIB);
	struct morsel_move_range r;

	small = km_object(8 * MIB, 0, 0, narrow);
	km_expect(0, km_populate(small.fd, 0, 8 * MIB, NULL));
	/* One frame of each granule stays; all others are free. */
	for (uint64_t at = 0; at < 8 * MIB; at += GRANULE)
		km_expect(0, km_evict(small.fd, at + PAGE, GRANULE - PAGE, NULL));
	o = km_object(SIZE, MORSEL_OBJECT_HUGE, 0, narrow);
	km_expect(0, km_populate(o.fd, 0, GRANULE, NULL));
	huge_is(0);
	km_object_done(&o);
	make(0);
	km_fill(p, GRANULE, SEED);
	huge_is(GRANULE);
	km_expect(0, km_move(o.id, 0, GRANULE, narrow, &r));
	km_check(r.moved == GRANULE, "%" PRIu64, (uint64_t)r.moved);
	huge_is(0);
	km_check(km_filled(p, GRANULE, SEED) == PAGES);
	done();
	km_object_done(&small);
	km_pool_destroy(narrow);
}

static uint64_t accessed[SIZE / PAGE / 64], dirty[SIZE / PAGE / 64];

static void harvest(uint32_t flags)
{
	struct morsel_harvest h = { .size = sizeof(h),
				    .flags = flags,
				    .id = o.id,
				    .length = SIZE,
				    .accessed = (uintptr_t)accessed,
				    .dirty = (uintptr_t)dirty };

	km_expect(0, km_ioctl(km_control, MORSEL_IOC_HARVEST, &h));
	km_check(h.present_pages == SIZE / PAGE, "%" PRIu64, (uint64_t)h.present_pages);
}

/* One bit of @want for each granule. */
#define bits_are(bits, want)                                                   \
	for (unsigned int i = 0; i < SIZE / PAGE / 64; i++)                    \
	km_check((bits)[i] == ((want) >> i * 64 / PAGES & 1 ? UINT64_MAX : 0), \
		 #bits ", word %u: %" PRIx64, i, (bits)[i])

static void reader(void *unused)
{
	int fd = km_object_open(o.id, MORSEL_OPEN_RDONLY);
	char *ro = km_map(fd, SIZE, PROT_READ);

	(void)*(volatile char *)(ro + 3 * GRANULE);
	/* Its copies of the leaves go with it; what they say must not. */
}

static void test_bits(void)
{
	const uint32_t all = MORSEL_HARVEST_FLUSH | MORSEL_HARVEST_CLEAR_DIRTY;

	make(0);
	km_fill(p, SIZE, SEED);
	harvest(all);
	bits_are(accessed, 0xf);
	bits_are(dirty, 0xf);
	harvest(all);
	bits_are(accessed, 0);
	bits_are(dirty, 0);
	p[GRANULE + 9 * PAGE] = 1;
	(void)*(volatile char *)(p + 2 * GRANULE);
	harvest(MORSEL_HARVEST_KEEP);
	bits_are(accessed, 6);
	bits_are(dirty, 2);
	/* A move changes neither. */
	km_expect(0, km_move(o.id, 0, SIZE, second, NULL));
	harvest(MORSEL_HARVEST_FLUSH);
	bits_are(accessed, 6);
	bits_are(dirty, 2);
	km_check(km_in_child(reader, NULL));
	harvest(all);
	bits_are(accessed, 8);
	bits_are(dirty, 2);
	/* After a split each frame has what its page had. */
	p[0] = 1;
	km_expect(0, km_move(o.id, PAGE, PAGE, pool, NULL));
	harvest(all);
	bits_are(accessed, 1);
	bits_are(dirty, 1);
	done();
}

static void test_pins(void)
{
	struct morsel_move_range r;
	struct km_uring u;

	km_require(km_uring_init(&u) == 0);
	make(0);
	km_fill(p, SIZE, SEED);
	km_expect(0, km_uring_register(&u, p + GRANULE + PAGE, PAGE));
	km_expect(-EBUSY, km_move(o.id, 0, SIZE, second, &r));
	km_check(r.failed == GRANULE && r.moved == SIZE - GRANULE, "%" PRIu64 " failed",
		 (uint64_t)r.failed);
	/* A part cannot go: it would have to be copied out of what is pinned. */
	km_expect(-EBUSY, km_evict(o.fd, GRANULE + 9 * PAGE, PAGE, NULL));
	km_check(km_filled(p, SIZE, SEED) == SIZE / PAGE);
	huge_is(SIZE);
	km_expect(0, km_evict(o.fd, GRANULE, GRANULE, NULL));
	km_check(km_pool_stat(pool).quarantine_bytes == GRANULE, "%" PRIu64,
		 (uint64_t)km_pool_stat(pool).quarantine_bytes);
	km_check(km_first_nonzero(p + GRANULE, GRANULE) == GRANULE);
	km_expect(0, km_uring_unregister(&u));
	km_check(km_quarantine_empties(pool));
	km_uring_done(&u);
	done();
}

static void test_limits(void)
{
	make(0);
	done();
	km_expect(0, km_account_create(ACCOUNT, 0));
	km_expect(0, km_account_limit(ACCOUNT, 0, 3 * MIB));
	make(ACCOUNT);
	km_expect(-ENOMEM, km_populate(o.fd, 0, SIZE, NULL));
	/* To the byte: what is left for no 2 MiB is used by the page. */
	km_check(km_object_stat(o.fd).used_bytes == 3 * MIB, "%" PRIu64,
		 (uint64_t)km_object_stat(o.fd).used_bytes);
	huge_is(GRANULE);
	km_check(km_account_stat(ACCOUNT).use_bytes[0] == 3 * MIB);
	/* No room for a copy, no split. */
	km_expect(-EDQUOT, km_evict(o.fd, PAGE, PAGE, NULL));
	huge_is(GRANULE);
	km_expect(0, km_evict(o.fd, 0, GRANULE, NULL));
	km_check(km_account_stat(ACCOUNT).use_bytes[0] == MIB);
	done();
	km_check(km_account_stat(ACCOUNT).use_bytes[0] == 0);
	km_expect(0, km_account_destroy(ACCOUNT));
}

/* What served 2 MiB serves single frames afterwards, each with a count of its own. */
static void test_change(void)
{
	uint32_t narrow = km_pool(0, 3, 8 * MIB);
	struct km_object small;
	struct km_uring u;
	char *q;

	km_require(km_uring_init(&u) == 0);
	o = km_object(SIZE, MORSEL_OBJECT_HUGE, 0, narrow);
	for (int round = 0; round < 5; round++) {
		km_expect(0, km_populate(o.fd, 0, SIZE, NULL));
		huge_is(SIZE);
		km_expect(0, km_evict(o.fd, 0, SIZE, NULL));
		small = km_object(SIZE, 0, 0, narrow);
		q = km_map(small.fd, SIZE, PROT_READ | PROT_WRITE);
		km_check(km_first_nonzero(q, SIZE) == SIZE);
		km_expect(0, km_uring_register(&u, q, PAGE));
		km_expect(0, km_evict(small.fd, 0, SIZE, NULL));
		km_check(km_pool_stat(narrow).quarantine_bytes == PAGE, "%" PRIu64,
			 (uint64_t)km_pool_stat(narrow).quarantine_bytes);
		km_expect(0, km_uring_unregister(&u));
		km_unmap(q, SIZE);
		km_object_done(&small);
		km_check(km_quarantine_empties(narrow));
	}
	km_object_done(&o);
	km_uring_done(&u);
	km_pool_destroy(narrow);
}

static void test_memory_error(void)
{
	struct morsel_move_range r;

	make(0);
	km_fill(p, SIZE, SEED);
	/* The kernel marks it, and says what it thinks of pages that it does not know. */
	km_note("MADV_HWPOISON: %s",
		madvise(p + GRANULE + PAGE, PAGE, MADV_HWPOISON) == 0 ? "done" : strerror(errno));
	km_check(km_move(o.id, 0, SIZE, second, &r) < 0);
	km_check(r.failed == GRANULE && r.moved == SIZE - GRANULE, "%" PRIu64 " failed",
		 (uint64_t)r.failed);
	km_expect(0, km_evict(o.fd, GRANULE, GRANULE, NULL));
	km_check(km_pool_stat(pool).bad_bytes == GRANULE, "%" PRIu64,
		 (uint64_t)km_pool_stat(pool).bad_bytes);
	km_check(km_first_nonzero(p + GRANULE, GRANULE) == GRANULE);
	done();
}

int main(void)
{
	int nodes[2];

	km_begin();
	km_require(km_nodes(nodes, 2) == 2);
	pool = km_pool(nodes[0], 0, 64 * MIB);
	second = km_pool(nodes[1], 1, 64 * MIB);
	km_test("leaves", test_leaves);
	km_test("an incomplete end", test_tail);
	km_test("evict of a part", test_evict_part);
	km_test("moves", test_moves);
	km_test("no 2 MiB of one piece", test_fragments);
	km_test("accessed and dirty bits", test_bits);
	km_test("pins", test_pins);
	km_test("limits", test_limits);
	km_test("blocks change", test_change);
	km_test("a memory error", test_memory_error);
	km_pool_destroy(pool);
	km_pool_destroy(second);
	return km_end();
}
