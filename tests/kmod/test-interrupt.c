// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls that are broken off: a signal with a handler, one that ends the process, a descriptor that another thread
 * closes meanwhile. What include/uapi/linux/morsel.h says of EINTR must be so: a caller can go on where it was, each
 * call gets on, and what does not promise EINTR never gives it.
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
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"

#define BYTES (48 * MIB)
#define RANGES 3u
#define PART (BYTES / RANGES)
#define SEED 11

static uint32_t pools[2];
static struct km_object object;
static char *map;

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
	signals++;
}

/* So often that several come in a call, and each granule sees one. 0: no more. */
static void every_us(unsigned int us)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct itimerval timer = { .it_interval.tv_usec = us, .it_value.tv_usec = us };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static unsigned int broken_off;

static bool again(int r, const char *what, bool progress)
{
	if (r != -EINTR) {
		km_check(r == 0, "%s: %s", what, strerror(-r));
		return false;
	}
	km_check(progress, "%s: broken off before it did anything", what);
	broken_off++;
	return true;
}

/* ---- a signal with a handler ---- */

static void on_ranges(unsigned long request, const char *what)
{
	struct morsel_extent ranges[RANGES];
	struct morsel_ranges a;
	uint64_t sum = 0;
	int r;

	for (unsigned int i = 0; i < RANGES; i++)
		ranges[i] = (struct morsel_extent){ i * PART, PART };
	broken_off = 0;
	every_us(500);
	do {
		a = (struct morsel_ranges){ .size = sizeof(a),
					    .count = RANGES,
					    .ranges = (uintptr_t)ranges };
		r = km_ioctl(object.fd, request, &a);
		sum += a.bytes;
	} while (again(r, what, a.bytes > 0));
	every_us(0);
	km_note("%s: broken off %u times", what, broken_off);
	km_check(broken_off > 0);
	km_check(sum == BYTES, "%" PRIu64 " bytes in all", sum);
}

static void test_populate(void)
{
	on_ranges(MORSEL_IOC_POPULATE, "populate");
	km_check(km_object_stat(object.fd).used_bytes == BYTES);
}

static void test_evict(void)
{
	on_ranges(MORSEL_IOC_EVICT, "evict");
	km_check(km_object_stat(object.fd).used_bytes == 0);
}

/* As the header says: behind what is done, from ranges[count] on. Each byte is moved once, and told of once. */
static void move_all(uint32_t pool)
{
	struct morsel_move_range ranges[RANGES];
	uint64_t moved = 0, other = 0;
	unsigned int first = 0;
	int r;

	for (unsigned int i = 0; i < RANGES; i++)
		ranges[i] = (struct morsel_move_range){ .offset = i * PART,
							.length = PART,
							.pool = pool,
							.moved = 4711,
							.failed = 4711 };
	do {
		struct morsel_move m = { .size = sizeof(m),
					 .count = RANGES - first,
					 .id = object.id,
					 .ranges = (uintptr_t)&ranges[first] };
		uint64_t done = 0, part;

		r = km_ioctl(km_control, MORSEL_IOC_MOVE, &m);
		km_check(m.count <= RANGES - first, "%u ranges", m.count);
		for (unsigned int i = first; i < first + m.count; i++) {
			moved += ranges[i].moved;
			other += ranges[i].already + ranges[i].absent + ranges[i].failed;
			done += PART;
		}
		first += m.count;
		if (r != -EINTR)
			continue;
		km_require(first < RANGES, "a range of %u is broken off", first);
		part = ranges[first].moved + ranges[first].already + ranges[first].absent +
		       ranges[first].failed;
		km_check(part < ranges[first].length && part % GRANULE == 0, "%" PRIu64, part);
		moved += ranges[first].moved;
		other += part - ranges[first].moved;
		ranges[first].offset += part;
		ranges[first].length -= part;
		/* A signal may have come before the first granule. */
		again(r, "move", done + part > 0);
	} while (r == -EINTR);
	km_check(r == 0, "%s", strerror(-r));
	km_check(moved == BYTES && other == 0, "%" PRIu64 " moved, %" PRIu64 " not", moved, other);
	km_check(km_object_stat(object.fd).pool_bytes[pool] == BYTES);
}

static void test_move(void)
{
	km_fill(map, BYTES, SEED);
	broken_off = 0;
	every_us(700);
	for (unsigned int i = 1; i < 5; i++)
		move_all(pools[i % 2]);
	every_us(0);
	km_note("move: broken off %u times", broken_off);
	km_check(broken_off > 10);
	km_check(km_filled(map, BYTES, SEED) == BYTES / PAGE);
}

/* What does not promise it does not give it. */
static void test_others(void)
{
	static uint64_t bits[BYTES / PAGE / 64];
	sig_atomic_t before = signals;

	every_us(200);
	for (unsigned int i = 0; i < 100; i++) {
		struct morsel_harvest h = { .size = sizeof(h),
					    .flags = MORSEL_HARVEST_FLUSH,
					    .id = object.id,
					    .length = BYTES,
					    .accessed = (uintptr_t)bits };
		struct morsel_residency v = { .size = sizeof(v), .id = object.id, .length = BYTES };
		struct km_object o;
		uint32_t pool = 0;

		km_expect(0, km_ioctl(km_control, MORSEL_IOC_HARVEST, &h));
		km_expect(0, km_ioctl(km_control, MORSEL_IOC_RESIDENCY, &v));
		km_expect(0, km_object_try(MIB, 0, 0, pools, &o));
		km_object_done(&o);
		if (i % 10 == 0) {
			km_expect(0, km_pool_try(0, 3, 8 * MIB, 8 * MIB, &pool));
			if (pool)
				km_pool_destroy(pool);
		}
	}
	every_us(0);
	km_check(signals > before + 10, "%d signals", (int)(signals - before));
}

/* The first mapping of a process registers with the kernel, which gives up when a signal is there. */
static void run_mmap(void *argument)
{
	uint64_t *interrupted = argument;
	char *p;

	every_us(100);
	for (unsigned int i = 0; i < 20; i++) {
		do {
			p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, object.fd, 0);
			*interrupted += p == MAP_FAILED && errno == EINTR;
		} while (p == MAP_FAILED && errno == EINTR);
		km_require(p != MAP_FAILED, "%s", strerror(errno));
		for (uint64_t at = 0; at < BYTES; at += GRANULE)
			km_check(km_touch(p + at, true));
		km_unmap(p, BYTES);
	}
}

static void test_mmap(void)
{
	uint64_t *interrupted = km_shared(sizeof(*interrupted));
	uint64_t before = km_stats().mappings;

	for (unsigned int i = 0; i < 20; i++)
		km_check(km_in_child(run_mmap, interrupted));
	km_note("mmap: EINTR %" PRIu64 " times", *interrupted);
	km_check(km_stats().mappings == before);
}

/* ---- SIGKILL ---- */

static void loop_populate(void *unused)
{
	for (;;) {
		km_populate(object.fd, 0, BYTES, NULL);
		km_evict(object.fd, 0, BYTES, NULL);
	}
}

static void loop_move(void *unused)
{
	for (unsigned int i = 0;; i++)
		km_move(object.id, 0, BYTES, pools[i % 2], NULL);
}

static void loop_harvest(void *unused)
{
	static uint64_t bits[BYTES / PAGE / 64];
	struct morsel_harvest h = {
		.size = sizeof(h), .id = object.id, .length = BYTES, .accessed = (uintptr_t)bits
	};

	for (;;)
		km_ioctl(km_control, MORSEL_IOC_HARVEST, &h);
}

static void loop_mmap(void *unused)
{
	for (;;) {
		char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, object.fd, 0);

		for (uint64_t at = 0; p != MAP_FAILED && at < BYTES; at += GRANULE)
			km_touch(p + at, true);
		munmap(p, BYTES);
	}
}

static void loop_pool(void *unused)
{
	for (;;) {
		uint32_t pool = 0;

		if (km_pool_try(0, 3, 64 * MIB, 64 * MIB, &pool) == 0) {
			struct morsel_id id = { .size = sizeof(id), .id = pool };

			km_ioctl(km_control, MORSEL_IOC_POOL_DESTROY, &id);
		}
	}
}

/* Two at a time, so that one often waits for the other. */
static void kill_in(void (*loop)(void *), const char *what, bool content)
{
	uint64_t random = 5, longest = 0;

	km_expect(0, km_populate(object.fd, 0, BYTES, NULL));
	km_fill(map, BYTES, SEED);
	for (unsigned int i = 0; i < 12; i++) {
		pid_t one = km_fork(loop, NULL), two = km_fork(loop, NULL);
		uint64_t began;

		km_nap_ms((unsigned int)(km_random(&random) % 60));
		began = km_now_ns();
		kill(one, SIGKILL);
		waitpid(one, NULL, 0);
		if (km_now_ns() - began > longest)
			longest = km_now_ns() - began;
		kill(two, SIGKILL);
		waitpid(two, NULL, 0);
	}
	km_note("%s: gone after %" PRIu64 " ms at most", what, longest / 1000000);
	km_check(longest < UINT64_C(5000000000), "%s", what);
	if (content)
		km_check(km_filled(map, BYTES, SEED) == BYTES / PAGE, "%s", what);
}

static void test_kills(void)
{
	uint64_t before = km_stats().mappings;

	kill_in(loop_move, "move", true);
	kill_in(loop_harvest, "harvest", true);
	kill_in(loop_mmap, "mmap", false);
	kill_in(loop_populate, "populate and evict", false);
	kill_in(loop_pool, "pool", false);
	/* A pool that was made and whose maker was killed stays: that is what the daemon finds again. */
	for (uint32_t pool = 1; pool <= 4; pool++) {
		struct morsel_pool_stat s = { .size = sizeof(s), .pool = pool };

		if (pool != pools[0] && pool != pools[1] &&
		    km_ioctl(km_control, MORSEL_IOC_POOL_STAT, &s) == 0)
			km_pool_destroy(pool);
	}
	km_check(km_stats().mappings == before);
	/* And all of it still works. */
	km_expect(0, km_populate(object.fd, 0, BYTES, NULL));
	km_expect(0, km_move(object.id, 0, BYTES, pools[0], NULL));
	km_expect(0, km_evict(object.fd, 0, BYTES, NULL));
	km_check(km_object_stat(object.fd).used_bytes == 0);
}

/* ---- a descriptor that is closed in the middle of a long call ---- */

static struct long_call {
	int fd;
	uint64_t id;
	bool move;
	int result;
	_Atomic bool begun;
} call;

static void *run_long(void *unused)
{
	struct morsel_move_range range = { .length = BYTES, .pool = pools[1] };
	struct morsel_move m = {
		.size = sizeof(m), .count = 1, .id = call.id, .ranges = (uintptr_t)&range
	};

	call.begun = true;
	call.result = call.move ? km_ioctl(call.fd, MORSEL_IOC_MOVE, &m)
				: km_populate(call.fd, 0, BYTES, NULL);
	if (call.move && call.result == 0)
		call.result = range.result ? range.result : range.moved == BYTES ? 0 : -EIO;
	return NULL;
}

static void close_in(bool move)
{
	uint64_t objects = km_stats().objects;

	for (unsigned int i = 0; i < 4; i++) {
		uint32_t list[3] = { pools[0], 0 };
		pthread_t thread;
		struct km_object o;

		km_require(km_object_try(BYTES, 0, 0, list, &o) == 0);
		if (move)
			km_expect(0, km_populate(o.fd, 0, BYTES, NULL));
		call = (struct long_call){ .fd = move ? dup(km_control) : o.fd,
					   .id = o.id,
					   .move = move };
		km_require(pthread_create(&thread, NULL, run_long, NULL) == 0);
		while (!call.begun)
			;
		km_nap_ms(2 + i);
		/* Its last descriptor, and its name. */
		close(o.fd);
		if (move)
			close(call.fd);
		km_expect(0, km_object_destroy(o.id));
		pthread_join(thread, NULL);
		km_check(call.result == 0, "%s", strerror(-call.result));
		for (unsigned int ms = 0; ms < 20000 && km_stats().objects != objects; ms++)
			km_nap_ms(1);
		km_check(km_stats().objects == objects, "the object stays");
	}
}

static void test_close(void)
{
	close_in(false);
	close_in(true);
}

int main(void)
{
	int nodes[8];
	unsigned int n;

	km_begin();
	n = km_nodes(nodes, 8);
	pools[0] = km_pool(nodes[0], 0, 2 * BYTES);
	pools[1] = km_pool(nodes[n - 1], 1, 2 * BYTES);
	object = km_object(BYTES, 0, 0, pools[0]);
	map = km_map(object.fd, BYTES, PROT_READ | PROT_WRITE);
	km_test("populate goes on after a signal", test_populate);
	km_test("move goes on after a signal", test_move);
	km_test("evict goes on after a signal", test_evict);
	km_test("signals that other calls do not mind", test_others);
	km_test("mmap and faults with signals", test_mmap);
	km_test("killed in each", test_kills);
	km_test("closed in the middle", test_close);
	km_unmap(map, BYTES);
	km_object_done(&object);
	km_pool_destroy(pools[0]);
	km_pool_destroy(pools[1]);
	return km_end();
}
