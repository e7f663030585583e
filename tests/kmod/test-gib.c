// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whole GiBs of an object, which processes link to by one entry each, to a directory that they share. Few of their
 * granules have memory: what happens to one must be seen by all, and what one process does to its own
 * mapping by nobody else.
 *
 * kmod-gib [huge]
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"

/* Newer than Debian 12's headers. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#define SIZE (3 * GIB)
#define SEED 4711

/* On both sides of the borders of GiBs, and in the middle; the first of each GiB is one. */
static const unsigned int granules[] = { 0, 1, 511, 512, 700, 1023, 1024, 1535 };
#define N (sizeof(granules) / sizeof(*granules))

static uint32_t pools[2], flags;
static struct km_object o;
static struct shared {
	_Atomic int step, stop;
	_Atomic uint64_t faults, sum;
} * shared;

static uint64_t word(unsigned int granule, uint64_t page)
{
	return SEED + granule * UINT64_C(1000003) + page;
}

static void fill(char *p, unsigned int granule)
{
	for (uint64_t i = 0; i < GRANULE / PAGE; i++)
		*(volatile uint64_t *)(p + granule * GRANULE + i * PAGE) = word(granule, i);
}

static void whole(const char *p, const char *after)
{
	for (size_t k = 0; k < N; k++)
		for (uint64_t i = 0; i < GRANULE / PAGE; i++) {
			uint64_t at = granules[k] * GRANULE + i * PAGE;
			uint64_t got = *(const volatile uint64_t *)(p + at);

			if (got == word(granules[k], i))
				continue;
			km_check(false, "page %" PRIu64 " of granule %u is %" PRIx64 " after %s", i,
				 granules[k], got, after);
			return;
		}
}

static char *begin(void)
{
	char *p;

	o = km_object(SIZE, flags, 0, pools[0]);
	p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
	for (size_t k = 0; k < N; k++)
		fill(p, granules[k]);
	memset(shared, 0, sizeof(*shared));
	return p;
}

static void end(char *p)
{
	km_unmap(p, SIZE);
	km_object_done(&o);
}

/* Steps of a parent and a child, each of which waits for the other. */
static void step(int n)
{
	shared->step = n;
}

static void await(int n)
{
	for (unsigned int ms = 0; shared->step < n && ms < 60000; ms++)
		km_nap_ms(1);
	km_require(shared->step >= n, "the other did not come to step %d", n);
}

/* ---- one fault, and none for what others bring ---- */

static void sees(void *unused)
{
	struct morsel_object_stat before = km_object_stat(o.fd), after;
	char *p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
	uint64_t faults;

	whole(p, "the first look");
	after = km_object_stat(o.fd);
	km_check(after.faults - before.faults == 1, "%llu faults",
		 (unsigned long long)(after.faults - before.faults));
	km_check(after.links - before.links == 3, "%llu links",
		 (unsigned long long)(after.links - before.links));
	step(1);
	await(2);
	/* Another process has filled these, and moved those. */
	faults = km_minor_faults();
	for (unsigned int g = 300; g < 303; g++)
		km_check(*(volatile uint64_t *)(p + g * GRANULE) == word(g, 0), "granule %u", g);
	whole(p, "a move by another process");
	faults = km_minor_faults() - faults;
	km_check(faults == 0, "%" PRIu64 " faults", faults);
	step(3);
	await(4);
	km_check(km_first_nonzero(p + 300 * GRANULE, GRANULE) == GRANULE, "evicted, and seen");
	step(5);
	/* It is killed while it has its links. */
	pause();
}

static void test_shared(void)
{
	char *p = begin();
	pid_t pid = km_fork(sees, NULL);
	int status;

	await(1);
	/* One fault each here, none there. */
	for (unsigned int g = 300; g < 303; g++)
		fill(p, g);
	km_expect(0, km_move(o.id, 512 * GRANULE, GRANULE, pools[1], NULL));
	km_expect(0, km_move(o.id, 1535 * GRANULE, GRANULE, pools[1], NULL));
	step(2);
	await(3);
	km_expect(0, km_evict(o.fd, 300 * GRANULE, GRANULE, NULL));
	step(4);
	await(5);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	whole(p, "the end of another process");
	end(p);
}

/* Readers have a directory and tables of their own. */
static void reads(void *unused)
{
	int fd = km_object_open(o.id, MORSEL_OPEN_RDONLY);
	char *p = km_map(fd, SIZE, PROT_READ);

	whole(p, "the first look of a reader");
	km_check(!km_touch(p, true), "a reader wrote");
	step(1);
	await(2);
	whole(p, "a move");
	km_check(*(volatile uint64_t *)(p + 600 * GRANULE) == word(600, 0), "a new granule");
	km_check(!km_touch(p + 512 * GRANULE, true) && !km_touch(p + 600 * GRANULE, true),
		 "a reader wrote");
}

static void test_readers(void)
{
	char *p = begin();
	pid_t pid = km_fork(reads, NULL);

	await(1);
	km_expect(0, km_move(o.id, 511 * GRANULE, 2 * GRANULE, pools[1], NULL));
	fill(p, 600);
	step(2);
	km_check(km_wait(pid));
	end(p);
}

/* ---- a process's own affairs ---- */

static void looks_on(void *unused)
{
	char *p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
	struct morsel_object_stat before;

	whole(p, "the first look");
	before = km_object_stat(o.fd);
	step(1);
	await(2);
	whole(p, "what another process did to its mapping");
	/* Its own links did not go: whoever faulted was the other. */
	shared->faults = km_minor_faults();
	whole(p, "a second look");
	km_check(km_minor_faults() == shared->faults);
	km_check(km_object_stat(o.fd).faults - before.faults < 200);
	step(3);
}

static void test_advice(void)
{
	static const struct {
		int advice;
		const char *name;
	} all[] = {
		{ MADV_DONTNEED, "DONTNEED" },	   { MADV_COLD, "COLD" },
		{ MADV_PAGEOUT, "PAGEOUT" },	   { MADV_FREE, "FREE" },
		{ MADV_REMOVE, "REMOVE" },	   { MADV_HUGEPAGE, "HUGEPAGE" },
		{ MADV_NOHUGEPAGE, "NOHUGEPAGE" }, { 25 /* COLLAPSE */, "COLLAPSE" },
		{ MADV_MERGEABLE, "MERGEABLE" },
	};
	static const struct {
		uint64_t at, length;
	} ranges[] = { { 0, SIZE },
		       { 0, PAGE },
		       { GIB - PAGE, 2 * PAGE },
		       { 512 * GRANULE, GRANULE },
		       { GIB, GIB } };
	char *p = begin();
	pid_t pid = km_fork(looks_on, NULL);

	await(1);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		for (size_t k = 0; k < sizeof(ranges) / sizeof(*ranges); k++) {
			madvise(p + ranges[k].at, ranges[k].length, all[i].advice);
			whole(p, all[i].name);
			km_check(km_touch(p + 512 * GRANULE + 8, true), "%s", all[i].name);
		}
	step(2);
	km_check(km_wait(pid));
	end(p);
}

static void wipes(void *argument)
{
	/* Inherited, and wiped: what is touched is linked anew. */
	whole(argument, "fork");
	km_unmap(argument, SIZE);
}

static void test_mremap_fork(void)
{
	char *p = begin(), *hole, *q;

	hole = mmap(NULL, 3 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	km_require(hole != MAP_FAILED);
	hole += -(uintptr_t)hole & (GIB - 1);
	/* Where all its GiBs are whole, then where they are not, and back. */
	for (unsigned int i = 0; i < 3; i++) {
		char *to = i == 1 ? hole + SIZE + 7 * GRANULE : hole;

		q = mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		km_require(q == to, "%s", strerror(errno));
		p = q;
		whole(p, "mremap");
		km_check(km_in_child(wipes, p));
		whole(p, "fork");
	}
	km_check(mremap(p, SIZE, GIB, 0) == MAP_FAILED);
	whole(p, "mremap that is refused");
	end(p);
}

/* Parts of an object, at places where its GiBs are not those of the addresses. */
static void test_parts(void)
{
	char *p = begin(), *q;

	for (uint64_t first = 510; first < 515; first++)
		for (uint64_t n = 1; n < 520; n += 173) {
			q = mmap(NULL, n * GRANULE, PROT_READ | PROT_WRITE, MAP_SHARED, o.fd,
				 (off_t)(first * GRANULE));
			km_require(q != MAP_FAILED, "%s", strerror(errno));
			for (size_t k = 0; k < N; k++)
				if (granules[k] >= first && granules[k] < first + n)
					km_check(*(volatile uint64_t *)(q + (granules[k] - first) *
										    GRANULE) ==
							 word(granules[k], 0),
						 "granule %u from %" PRIu64, granules[k], first);
			km_unmap(q, n * GRANULE);
		}
	whole(p, "mappings of parts");
	end(p);
}

/* ---- all at once ---- */

#define COUNTERS 64

static void *count(void *argument)
{
	char *p = argument;
	uint64_t n = 0;

	/* A word of pages of granules on both sides of a border. */
	while (!shared->stop) {
		for (unsigned int i = 0; i < COUNTERS; i++)
			__atomic_fetch_add((uint64_t *)(p + 511 * GRANULE + i * 16 * PAGE + 512), 1,
					   __ATOMIC_RELAXED);
		n++;
	}
	shared->sum += n;
	return NULL;
}

static void counts(void *unused)
{
	char *p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
	pthread_t threads[2];

	for (unsigned int i = 0; i < 2; i++)
		km_require(pthread_create(&threads[i], NULL, count, p) == 0);
	/* Their links are taken from under them. */
	for (uint64_t i = 0; !shared->stop; i++) {
		madvise(p + (i % 3) * GIB, i % 2 ? GIB : PAGE, MADV_DONTNEED);
		if (i % 8 == 0)
			madvise(p, SIZE, MADV_COLD);
	}
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void maps_and_goes(void *unused)
{
	while (!shared->stop) {
		char *p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);

		km_check(*(volatile uint64_t *)(p + 700 * GRANULE) == word(700, 0));
		km_check(*(volatile uint64_t *)(p + 1024 * GRANULE) == word(1024, 0));
		km_unmap(p, SIZE);
	}
}

static void reads_remotely(void *argument)
{
	pid_t pid = *(pid_t *)argument;
	char *p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
	uint64_t got;

	/* The neighbour was forked from the same parent, which has it mapped at this address. */
	while (!shared->stop) {
		struct iovec local = { &got, 8 }, remote = { p + 1023 * GRANULE, 8 };
		ssize_t r = process_vm_readv(pid, &local, 1, &remote, 1, 0);

		km_check(r != 8 || got == word(1023, 0), "%" PRIx64, got);
	}
}

static void test_storm(void)
{
	char *p = begin();
	pid_t parent = getpid(), pids[4];
	uint64_t sum = 0, evicted = 0, end_ns = km_now_ns() + UINT64_C(20000000000);
	unsigned int rounds = 0;

	pids[0] = km_fork(counts, NULL);
	pids[1] = km_fork(counts, NULL);
	pids[2] = km_fork(maps_and_goes, NULL);
	pids[3] = km_fork(reads_remotely, &parent);
	/* Fewer where the machine is slow: emulated CPUs that wait for each other. */
	for (; rounds < 60 && (rounds < 6 || km_now_ns() < end_ns); rounds++) {
		km_expect(0,
			  km_move(o.id, 511 * GRANULE, 2 * GRANULE, pools[1 - rounds % 2], NULL));
		fill(p, 40);
		km_expect(0, km_evict(o.fd, 40 * GRANULE, GRANULE, &evicted));
		km_check(km_first_nonzero(p + 40 * GRANULE, GRANULE) == GRANULE, "evicted");
		fill(p, 41);
		km_expect(0, km_evict(o.fd, 41 * GRANULE + PAGE, PAGE, NULL));
		km_check(*(volatile uint64_t *)(p + 41 * GRANULE) == word(41, 0));
		km_check(*(volatile uint64_t *)(p + 41 * GRANULE + PAGE) == 0);
		km_expect(0, km_evict(o.fd, 41 * GRANULE, GRANULE, NULL));
	}
	shared->stop = 1;
	for (unsigned int i = 0; i < 4; i++)
		km_check(km_wait(pids[i]), "process %u", i);
	for (unsigned int i = 0; i < COUNTERS; i++)
		sum += *(uint64_t *)(p + 511 * GRANULE + i * 16 * PAGE + 512);
	km_check(sum == shared->sum * COUNTERS && sum > 0, "%" PRIu64 " of %" PRIu64, sum,
		 shared->sum * COUNTERS);
	km_note("%" PRIu64 " increments during %u moves", sum, rounds);
	/* They are beside the words that are looked at. */
	whole(p, "the storm");
	end(p);
}

/* Accessed bits are those of all processes: of one directory, and of what each has for itself. */
static void touches(void *unused)
{
	char *p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
	char *part = mmap(NULL, GRANULE, PROT_READ | PROT_WRITE, MAP_SHARED, o.fd,
			  (off_t)(700 * GRANULE));

	km_require(part != MAP_FAILED);
	*(volatile char *)p = 0;
	km_check(*(volatile uint64_t *)(p + 512 * GRANULE) == word(512, 0));
	step(1);
	await(2);
	*(volatile uint64_t *)(p + 512 * GRANULE + 8) = 1;
	*(volatile uint64_t *)(part + 8) = 1;
}

static bool harvested(unsigned int granule, bool dirty)
{
	uint64_t bits[2][GRANULE / PAGE / 64] = {};
	struct morsel_harvest h = { .size = sizeof(h),
				    .flags = MORSEL_HARVEST_FLUSH | MORSEL_HARVEST_CLEAR_DIRTY,
				    .id = o.id,
				    .offset = granule * GRANULE,
				    .length = GRANULE,
				    .accessed = (uintptr_t)bits[0],
				    .dirty = (uintptr_t)bits[1] };

	km_expect(0, km_ioctl(km_control, MORSEL_IOC_HARVEST, &h));
	return bits[dirty][0] & 1;
}

static void test_harvest(void)
{
	char *p = begin();
	pid_t pid = km_fork(touches, NULL);

	await(1);
	for (size_t k = 0; k < N; k++)
		harvested(granules[k], false);
	for (size_t k = 0; k < N; k++)
		km_check(!harvested(granules[k], false), "granule %u was not touched", granules[k]);
	step(2);
	km_check(km_wait(pid));
	km_check(harvested(512, true), "granule 512 was written");
	km_check(harvested(700, true), "granule 700 was written, by a mapping of its own");
	km_check(!harvested(511, true) && !harvested(1024, true));
	end(p);
}

/* The one way of userfaultfd that cannot be refused: it must stay that process's own affair. */
static void protects(void *unused)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	char *p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
	struct uffdio_register r = { .range = { (uintptr_t)p, SIZE },
				     .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect w = { .range = { (uintptr_t)p + GIB, 4 * GRANULE },
					 .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	whole(p, "the first look");
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) != 0) {
		km_note("no asynchronous write-protection: %s", strerror(errno));
		return;
	}
	km_note("registered: %s", ioctl(fd, UFFDIO_REGISTER, &r) == 0 ? "yes" : strerror(errno));
	for (unsigned int i = 0; i < 20; i++) {
		int e = km_error(ioctl(fd, UFFDIO_WRITEPROTECT, &w));

		if (i == 0)
			km_note("protected: %s", e ? strerror(-e) : "yes");
		km_touch(p + GIB + 8, i % 2);
		km_touch(p + GIB + 3 * GRANULE, true);
		km_touch(p + 8, true);
	}
	close(fd);
}

static void test_userfaultfd(void)
{
	char *p = begin();
	uint64_t before;

	whole(p, "nothing");
	km_touch(p + GIB + 3 * GRANULE, true);
	before = km_minor_faults();
	km_check(km_in_child(protects, NULL));
	whole(p, "another process's protection");
	km_check(km_touch(p + GIB + 8, true) && km_touch(p + GIB + 3 * GRANULE, true));
	before = km_minor_faults() - before;
	km_note("%" PRIu64 " faults beside it", before);
	end(p);
}

int main(int argc, char **argv)
{
	int nodes[4];
	unsigned int n;

	flags = argc > 1 && strcmp(argv[1], "huge") == 0 ? MORSEL_OBJECT_HUGE : 0;
	km_begin();
	shared = km_shared(sizeof(*shared));
	n = km_nodes(nodes, 4);
	pools[0] = km_pool(nodes[0], 0, 64 * MIB);
	pools[1] = km_pool(nodes[n - 1], 1, 64 * MIB);
	km_test("one fault, and what others bring", test_shared);
	km_test("readers", test_readers);
	km_test("madvise", test_advice);
	km_test("mremap, fork", test_mremap_fork);
	km_test("mappings of parts", test_parts);
	km_test("harvests", test_harvest);
	km_test("userfaultfd", test_userfaultfd);
	km_test("moves, evictions, links that go, all at once", test_storm);
	km_pool_destroy(pools[0]);
	km_pool_destroy(pools[1]);
	return km_end();
}
