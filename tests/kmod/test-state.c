// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the module tells of its memory: the allocators' state mapped into a program, accessed and dirty bits over moves,
 * and what becomes of a page with a memory error.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "kmod-common.h"
#include "llfree.h"

#define PAGES 512u

static uint32_t pool, second;

static void *map_state(uint32_t id, bool upper, uint64_t bytes, int protection)
{
	return mmap(NULL, bytes, protection, MAP_SHARED, km_control,
		    (off_t)MORSEL_MAP_STATE(id, upper));
}

static void test_state(void)
{
	struct km_object o = km_object(6 * MIB, 0, 0, pool);
	struct llfree_config config = { .flags = LLFREE_READONLY, .classes = 1, .owners = 1 };
	struct morsel_pool_stat stat;
	struct llfree_meta meta = {};
	struct llfree_stats stats;
	struct llfree handle;

	km_expect(0, km_populate(o.fd, 0, 5 * MIB, NULL));
	stat = km_pool_stat(pool);
	km_require(stat.lower_bytes > 0 && stat.upper_bytes > 0);
	meta.lower_size = stat.lower_bytes;
	meta.upper_size = stat.upper_bytes;
	meta.lower = map_state(pool, false, stat.lower_bytes, PROT_READ);
	meta.upper = map_state(pool, true, stat.upper_bytes, PROT_READ);
	km_require(meta.lower != MAP_FAILED && meta.upper != MAP_FAILED, "%s", strerror(errno));
	config.frames = stat.max_bytes / PAGE;
	config.slots = (uint32_t)get_nprocs_conf();
	km_expect(0, llfree_attach(&handle, &config, &meta));
	km_expect(0, llfree_stats_exact(&handle, &stats));
	km_check(stats.used * PAGE == stat.used_bytes && stats.used * PAGE == 5 * MIB,
		 "%" PRIu64 " frames used, the pool says %" PRIu64 " bytes", (uint64_t)stats.used,
		 (uint64_t)stat.used_bytes);
	km_expect(0, km_evict(o.fd, 0, 2 * MIB, NULL));
	km_expect(0, llfree_stats_exact(&handle, &stats));
	km_check(stats.used * PAGE == 3 * MIB, "%" PRIu64, (uint64_t)stats.used);

	km_check(map_state(pool, false, PAGE, PROT_READ | PROT_WRITE) == MAP_FAILED &&
		 errno == EACCES);
	km_check(mprotect(meta.lower, PAGE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	km_check(map_state(pool, false, stat.lower_bytes + MIB, PROT_READ) == MAP_FAILED);
	km_check(map_state(0, false, PAGE, PROT_READ) == MAP_FAILED && errno == ENOENT);
	km_check(map_state(63, false, PAGE, PROT_READ) == MAP_FAILED && errno == ENOENT);
	km_unmap(meta.lower, stat.lower_bytes);
	km_unmap(meta.upper, stat.upper_bytes);
	km_object_done(&o);
}

static uint64_t accessed[PAGES / 64], dirty[PAGES / 64];

static void harvest(uint64_t id, uint32_t flags)
{
	struct morsel_harvest h = { .size = sizeof(h),
				    .flags = flags,
				    .id = id,
				    .length = GRANULE,
				    .accessed = (uintptr_t)accessed,
				    .dirty = (uintptr_t)dirty };

	km_expect(0, km_ioctl(km_control, MORSEL_IOC_HARVEST, &h));
	km_check(h.present_pages == PAGES, "%" PRIu64, (uint64_t)h.present_pages);
}

/* That just these pages' bits are set. */
static void bits_are(const char *what, const uint64_t *bits, const unsigned int *pages,
		     unsigned int n)
{
	uint64_t want[PAGES / 64] = {};

	for (unsigned int i = 0; i < n; i++)
		want[pages[i] / 64] |= UINT64_C(1) << pages[i] % 64;
	for (unsigned int i = 0; i < PAGES / 64; i++)
		km_check(bits[i] == want[i], "%s from page %u on: %" PRIx64 ", not %" PRIx64, what,
			 i * 64, bits[i], want[i]);
}

#define BITS_ARE(bits, ...)                                          \
	bits_are(#bits, bits, (const unsigned int[]){ __VA_ARGS__ }, \
		 sizeof((const unsigned int[]){ __VA_ARGS__ }) / sizeof(unsigned int))

static void test_bits(void)
{
	const uint32_t all = MORSEL_HARVEST_FLUSH | MORSEL_HARVEST_CLEAR_DIRTY;
	struct km_object o = km_object(GRANULE, 0, 0, pool);
	volatile char *p = km_map(o.fd, GRANULE, PROT_READ | PROT_WRITE);
	volatile char *ro;
	int fd;

	memset((char *)p, 1, GRANULE);
	harvest(o.id, all);
	harvest(o.id, all);
	bits_are("accessed", accessed, NULL, 0);
	bits_are("dirty", dirty, NULL, 0);
	p[3 * PAGE] = 2;
	(void)p[70 * PAGE];
	harvest(o.id, MORSEL_HARVEST_KEEP);
	BITS_ARE(accessed, 3, 70);
	BITS_ARE(dirty, 3);
	/* A move changes neither, in any of its steps. */
	km_expect(0, km_move(o.id, 0, GRANULE, second, NULL));
	harvest(o.id, MORSEL_HARVEST_FLUSH);
	BITS_ARE(accessed, 3, 70);
	BITS_ARE(dirty, 3);
	/* Readers through the other set of tables count too. */
	fd = km_object_open(o.id, MORSEL_OPEN_RDONLY);
	ro = km_map(fd, GRANULE, PROT_READ);
	for (unsigned int i = 0; i < PAGES; i++)
		(void)ro[i * PAGE];
	harvest(o.id, all);
	(void)ro[511 * PAGE];
	harvest(o.id, all);
	BITS_ARE(accessed, 511);
	bits_are("dirty", dirty, NULL, 0);
	km_unmap((char *)ro, GRANULE);
	close(fd);
	km_unmap((char *)p, GRANULE);
	km_object_done(&o);
}

static void test_memory_error(void)
{
	struct km_object o = km_object(4 * MIB, 0, 0, pool);
	char *p = km_map(o.fd, 4 * MIB, PROT_READ | PROT_WRITE);
	struct morsel_pool_stat stat;
	struct morsel_move_range moved;

	km_fill(p, 4 * MIB, 1);
	km_require(km_pool_stat(pool).bad_bytes == 0);
	/* EBUSY: the kernel marks the page and does not know how to free it. That is the module's affair. */
	km_check(madvise(p + 2 * MIB, PAGE, MADV_HWPOISON) == 0 || errno == EBUSY, "%s",
		 strerror(errno));
	/* It is not copied, and what is left of the granule moves. */
	km_check(km_move(o.id, 0, 4 * MIB, second, &moved) < 0);
	km_check(moved.failed == PAGE && moved.moved == 4 * MIB - PAGE, "%" PRIu64 " failed",
		 (uint64_t)moved.failed);
	km_expect(0, km_evict(o.fd, 2 * MIB, PAGE, NULL));
	stat = km_pool_stat(pool);
	km_check(stat.bad_bytes == GRANULE && stat.used_bytes == 0 && stat.quarantine_bytes == 0,
		 "%" PRIu64 " bad, %" PRIu64 " used", (uint64_t)stat.bad_bytes,
		 (uint64_t)stat.used_bytes);
	/* A new frame comes from elsewhere, and is as good as any. */
	km_check(km_first_nonzero(p + 2 * MIB, PAGE) == PAGE);
	km_expect(0, km_populate(o.fd, 0, 4 * MIB, NULL));
	km_check(km_pool_stat(pool).bad_bytes == GRANULE);
	km_unmap(p, 4 * MIB);
	km_object_done(&o);
}

int main(int argc, char **argv)
{
	int nodes[2];

	km_begin();
	km_require(km_nodes(nodes, 2) == 2);
	pool = km_pool(nodes[0], 0, 64 * MIB);
	second = km_pool(nodes[1], 1, 64 * MIB);
	km_test("the allocators' state", test_state);
	km_test("accessed and dirty bits", test_bits);
	km_test("a memory error", test_memory_error);
	km_pool_destroy(pool);
	km_pool_destroy(second);
	return km_end();
}
