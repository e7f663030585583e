// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Moves between pools while programs write: four threads in two processes count all over an object, and
 * every count is exact afterwards. What is pinned stays and is told.
 *
 * test-move [SIZE [ROUNDS]]   of the object (64M), and how often it goes through all pools (3)
 *
 * The pools are one on each node with memory, and one on the device in MORSEL_LAB_NVM_DAX.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"
#include "kmod-uring.h"

#define THREADS 4
#define POOLS_MAX 8
/* Of a move call, so that residency is looked at often. */
#define PART (32 * MIB)

static uint64_t size = 64 * MIB;
static unsigned int rounds = 3;
static uint32_t pools[POOLS_MAX + 1];
static unsigned int n_pools;
static const char *dax;

struct count {
	_Atomic int stop;
	_Atomic uint64_t done[THREADS];
	/* [thread][page]: what each thread has added. */
	uint32_t *want;
};
static struct count *count;
static struct km_object object;

/* A thread's word in a page: cache lines of their own. */
static uint64_t *word(char *p, uint64_t page, unsigned int thread)
{
	return (uint64_t *)(p + page * PAGE + 64 * (thread + 1));
}

struct thread {
	pthread_t id;
	unsigned int number;
	char *p;
};

static void *add(void *argument)
{
	struct thread *t = argument;
	uint64_t random = t->number + 1, pages = object.bytes / PAGE, done = 0;
	uint32_t *want = count->want + pages * t->number;

	while (!count->stop) {
		for (unsigned int i = 0; i < 64; i++) {
			uint64_t page = km_random(&random) % pages;
			volatile uint64_t *w = word(t->p, page, t->number);

			/* A few on one page, so that some of them meet its copying. */
			for (unsigned int k = 0; k < 4; k++)
				*w = *w + 1;
			want[page] += 4;
			done += 4;
		}
		count->done[t->number] = done;
	}
	return NULL;
}

static void run_adders(void *argument)
{
	unsigned int first = *(unsigned int *)argument;
	struct thread threads[THREADS / 2];
	char *p = km_map(object.fd, object.bytes, PROT_READ | PROT_WRITE);

	for (unsigned int i = 0; i < THREADS / 2; i++) {
		threads[i] = (struct thread){ .number = first + i, .p = p };
		km_require(pthread_create(&threads[i].id, NULL, add, &threads[i]) == 0);
	}
	for (unsigned int i = 0; i < THREADS / 2; i++)
		pthread_join(threads[i].id, NULL);
}

/* By a read-only descriptor: what nobody changes must always be there. */
static void run_reader(void *argument)
{
	uint64_t pages = object.bytes / PAGE, random = 99, looked = 0;
	int fd = km_object_open(object.id, MORSEL_OPEN_RDONLY);
	char *p;

	km_require(fd >= 0);
	p = km_map(fd, object.bytes, PROT_READ);
	while (!count->stop) {
		uint64_t page = km_random(&random) % pages;
		uint64_t got = *(volatile uint64_t *)(p + page * PAGE + 2048);

		km_check(got == page + 1, "page %" PRIu64 " holds %" PRIu64, page, got);
		looked++;
	}
	km_check(looked > 0);
}

/* In a process whose TLBs have never seen the object. */
static void verify(void *unused)
{
	char *p = km_map(object.fd, object.bytes, PROT_READ | PROT_WRITE);
	uint64_t pages = object.bytes / PAGE, wrong = 0, sum = 0, want = 0;

	for (unsigned int t = 0; t < THREADS; t++)
		for (uint64_t page = 0; page < pages; page++) {
			uint64_t got = *word(p, page, t);

			sum += got;
			want += count->want[pages * t + page];
			if (got != count->want[pages * t + page] && wrong++ < 4)
				km_note("thread %u, page %" PRIu64 ": %" PRIu64 ", not %u", t, page,
					got, count->want[pages * t + page]);
		}
	km_check(wrong == 0, "%" PRIu64 " words are wrong: %" PRIu64 " of %" PRIu64 " counted",
		 wrong, sum, want);
	for (uint64_t page = 0; page < pages; page++)
		km_check(*(uint64_t *)(p + page * PAGE + 2048) == page + 1, "page %" PRIu64, page);
	km_note("%" PRIu64 " counted", sum);
}

static void residency_is(uint64_t offset, uint64_t length, uint32_t pool)
{
	static uint8_t granules[32768];
	struct morsel_residency r = {
		.size = sizeof(r),
		.id = object.id,
		.offset = offset,
		.length = length,
		.granules = (uintptr_t)granules,
	};
	int e = km_ioctl(km_control, MORSEL_IOC_RESIDENCY, &r);

	km_require(e == 0, "%s", strerror(-e));
	km_check(r.pool_bytes[pool] == length, "%llu of %" PRIu64 " in pool %u",
		 (unsigned long long)r.pool_bytes[pool], length, pool);
	for (uint64_t i = 0; i < length / GRANULE; i++)
		km_check(granules[i] == pool, "granule %" PRIu64 " in pool %u", i, granules[i]);
}

static void move_all(uint32_t pool)
{
	for (uint64_t at = 0; at < object.bytes; at += PART) {
		uint64_t length = object.bytes - at < PART ? object.bytes - at : PART;
		struct morsel_move_range m;
		int r = km_move(object.id, at, length, pool, &m);

		km_check(r == 0, "to pool %u: %s, %llu failed", pool, strerror(-r),
			 (unsigned long long)m.failed);
		km_check(m.moved + m.already + m.absent + m.failed == length,
			 "%llu moved, %llu already, %llu absent, %llu failed",
			 (unsigned long long)m.moved, (unsigned long long)m.already,
			 (unsigned long long)m.absent, (unsigned long long)m.failed);
		if (r == 0)
			residency_is(at, length, pool);
	}
}

static void moves(uint32_t flags)
{
	unsigned int first[2] = { 0, THREADS / 2 };
	struct morsel_stats before = km_stats(), after;
	uint64_t began, pages;
	pid_t pids[3];
	char *p;

	object = km_object(size, flags, 0, pools[0]);
	pages = size / PAGE;
	count = km_shared(sizeof(*count));
	count->want = km_shared(THREADS * pages * sizeof(uint32_t));
	p = km_map(object.fd, size, PROT_READ | PROT_WRITE);
	for (uint64_t page = 0; page < pages; page++)
		*(uint64_t *)(p + page * PAGE + 2048) = page + 1;
	km_unmap(p, size);
	pids[0] = km_fork(run_adders, &first[0]);
	pids[1] = km_fork(run_adders, &first[1]);
	pids[2] = km_fork(run_reader, NULL);
	/* On a machine with fewer CPUs than threads the mover gets its share all the same. */
	setpriority(PRIO_PROCESS, 0, -15);
	began = km_now_ns();
	for (unsigned int t = 0; t < THREADS; t++)
		while (count->done[t] == 0 && km_now_ns() - began < UINT64_C(60000000000))
			km_nap_ms(1);
	began = km_now_ns();
	for (unsigned int r = 0; r < rounds; r++)
		for (unsigned int i = 1; i <= n_pools; i++)
			move_all(pools[i % n_pools]);
	began = km_now_ns() - began;
	count->stop = 1;
	setpriority(PRIO_PROCESS, 0, 0);
	for (unsigned int i = 0; i < 3; i++)
		km_check(km_wait(pids[i]));
	km_check(km_in_child(verify, NULL));
	after = km_stats();
	km_note("%u moves of %" PRIu64
		" MiB in %.1f s: %llu pages, %llu copied again, %llu busy, %llu flushes "
		"of %llu CPUs",
		rounds * n_pools, size / MIB, (double)began / 1e9,
		(unsigned long long)(after.moved_pages - before.moved_pages),
		(unsigned long long)(after.move_recopied - before.move_recopied),
		(unsigned long long)(after.move_busy - before.move_busy),
		(unsigned long long)(after.flushes - before.flushes),
		(unsigned long long)(after.flush_cpus - before.flush_cpus));
	km_check(km_object_stat(object.fd).used_bytes == size);
	munmap(count->want, THREADS * pages * sizeof(uint32_t));
	munmap(count, sizeof(*count));
	km_object_done(&object);
}

static void test_small(void)
{
	moves(0);
}

static void test_huge(void)
{
	moves(MORSEL_OBJECT_HUGE);
}

static void test_pinned(void)
{
	struct km_object o = km_object(8 * MIB, 0, 0, pools[0]);
	char *p = km_map(o.fd, 8 * MIB, PROT_READ | PROT_WRITE), text[PAGE], *pinned = p + 3 * MIB;
	struct morsel_move_range m;
	int pipes[2], zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct iovec v = { p + 5 * MIB, PAGE };
	struct km_uring u;
	uint64_t busy;

	km_fill(p, 8 * MIB, 3);
	km_require(km_uring_init(&u) == 0);
	km_require(km_uring_register(&u, pinned, 16 * PAGE) == 0);
	busy = km_stats().move_busy;
	km_expect(-EBUSY, km_move(o.id, 0, 8 * MIB, pools[1], &m));
	/* The granule's other pages may stay with it, or not. */
	km_check(m.failed >= 16 * PAGE && m.failed <= GRANULE, "%llu failed",
		 (unsigned long long)m.failed);
	km_check(m.moved == 8 * MIB - m.failed, "%llu moved", (unsigned long long)m.moved);
	km_check(km_stats().move_busy > busy);
	km_check(km_filled(p, 8 * MIB, 3) == 8 * MIB / PAGE);
	/* The registered pages are still the object's. */
	km_check(km_uring_rw(&u, zero, pinned, 16 * PAGE, 0, false) == 16 * (ssize_t)PAGE);
	km_check(km_first_nonzero(pinned, 16 * PAGE) == 16 * PAGE, "the buffer is another's");
	km_fill(p, 8 * MIB, 3);
	km_expect(0, km_uring_unregister(&u));
	for (unsigned int ms = 0; ms < 20000 && km_move(o.id, 0, 8 * MIB, pools[1], &m) == -EBUSY;
	     ms += 20)
		km_nap_ms(20);
	km_check(m.result == 0 && m.failed == 0, "%s", strerror(-m.result));
	km_check(km_filled(p, 8 * MIB, 3) == 8 * MIB / PAGE);
	km_uring_done(&u);

	/* A page in a pipe. */
	km_require(pipe2(pipes, O_CLOEXEC) == 0);
	km_check(vmsplice(pipes[1], &v, 1, 0) == (ssize_t)PAGE);
	km_expect(-EBUSY, km_move(o.id, 4 * MIB, GRANULE, pools[0], &m));
	km_check(read(pipes[0], text, PAGE) == (ssize_t)PAGE);
	km_check(memcmp(text, p + 5 * MIB, PAGE) == 0);
	km_expect(0, km_move(o.id, 4 * MIB, GRANULE, pools[0], &m));
	close(pipes[0]);
	close(pipes[1]);
	close(zero);
	km_unmap(p, 8 * MIB);
	km_object_done(&o);
}

/* What is not there, what is there already, a pool that is too small. */
static void test_parts(void)
{
	struct km_object o = km_object(8 * MIB, 0, 0, pools[0]);
	uint32_t small = km_pool(0, 9, 2 * MIB);
	char *p = km_map(o.fd, 8 * MIB, PROT_READ | PROT_WRITE);
	struct morsel_move_range m;

	km_expect(0, km_move(o.id, 0, 8 * MIB, pools[1], &m));
	km_check(m.absent == 8 * MIB);
	for (uint64_t at = 0; at < 8 * MIB; at += 2 * PAGE)
		p[at] = (char)(at / PAGE + 1);
	km_expect(0, km_move(o.id, PAGE, 2 * MIB, pools[1], &m));
	km_check(m.moved == MIB && m.absent == MIB, "%llu moved, %llu absent",
		 (unsigned long long)m.moved, (unsigned long long)m.absent);
	km_expect(0, km_move(o.id, 0, 8 * MIB, pools[1], &m));
	km_check(m.already == MIB && m.moved == 3 * MIB && m.absent == 4 * MIB,
		 "%llu already, %llu moved", (unsigned long long)m.already,
		 (unsigned long long)m.moved);
	km_expect(-ENOMEM, km_move(o.id, 0, 8 * MIB, small, &m));
	km_check(m.moved <= 2 * MIB && m.moved + m.failed == 4 * MIB && m.absent == 4 * MIB,
		 "%llu moved, %llu failed", (unsigned long long)m.moved,
		 (unsigned long long)m.failed);
	for (uint64_t at = 0; at < 8 * MIB; at += 2 * PAGE)
		km_check(p[at] == (char)(at / PAGE + 1), "%" PRIu64, at);
	/* A frame that a move made has no more in it than it should. */
	for (uint64_t at = PAGE; at < 8 * MIB; at += 2 * PAGE)
		km_check(km_first_nonzero(p + at, PAGE) == PAGE, "%" PRIu64, at);
	km_unmap(p, 8 * MIB);
	km_object_done(&o);
	km_pool_destroy(small);
}

int main(int argc, char *argv[])
{
	int nodes[POOLS_MAX - 1];
	unsigned int n;

	if (argc > 1)
		size = km_size(argv[1]);
	if (argc > 2)
		rounds = (unsigned int)atoi(argv[2]);
	km_begin();
	n = km_nodes(nodes, POOLS_MAX - 1);
	km_require(n >= 2, "one node only");
	for (unsigned int i = 0; i < n; i++)
		pools[n_pools++] = km_pool(nodes[i], i, size + 16 * MIB);
	dax = getenv("MORSEL_LAB_NVM_DAX");
	if (dax)
		pools[n_pools] = km_dax_pool(dax, n, size + 16 * MIB);
	if (pools[n_pools])
		n_pools++;
	else
		km_note("%s: nodes only", dax ? "no pools on devices" : "no MORSEL_LAB_NVM_DAX");
	km_test("parts", test_parts);
	km_test("what is pinned stays", test_pinned);
	km_test("four threads count", test_small);
	km_test("four threads count, huge pieces", test_huge);
	for (unsigned int i = 0; i < n_pools; i++)
		km_pool_destroy(pools[i]);
	return km_end();
}
