// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Accounts: exact use, limits in a tree that hold under eight competing processes at any time, what happens at
 * the limit: the next tier, then ENOMEM at populate and SIGBUS at a fault.
 *
 * test-account [SECONDS]   that the processes compete (5)
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kmod-common.h"

/* Of the accounts here. */
#define TOP 1000
#define LEFT 1001
#define RIGHT 1002
#define BELOW 1003

static uint32_t pool, second;
static unsigned int seconds = 5;

static uint64_t use(uint64_t account, uint32_t tier)
{
	return km_account_stat(account).use_bytes[tier];
}

static void test_tree(void)
{
	struct morsel_account_stat s;
	struct km_object o;

	km_expect(0, km_account_create(TOP, 0));
	km_expect(-EEXIST, km_account_create(TOP, 0));
	km_expect(-ENOENT, km_account_create(LEFT, 4711));
	km_expect(-EINVAL, km_account_create(0, 0));
	km_expect(0, km_account_create(LEFT, TOP));
	km_expect(0, km_account_create(BELOW, LEFT));
	km_expect(-EBUSY, km_account_destroy(LEFT));
	s = km_account_stat(BELOW);
	km_check(s.id == BELOW && s.parent == LEFT && s.objects == 0 && s.refused == 0);
	for (unsigned int i = 0; i < MORSEL_MAX_TIERS; i++)
		km_check(s.limit_bytes[i] == MORSEL_NO_LIMIT && s.use_bytes[i] == 0, "tier %u", i);

	/* In the order of their numbers. */
	for (uint64_t id = TOP; id < BELOW;) {
		struct morsel_account_stat next = { .size = sizeof(next),
						    .flags = MORSEL_ACCOUNT_NEXT,
						    .id = id };

		km_expect(0, km_ioctl(km_control, MORSEL_IOC_ACCOUNT_STAT, &next));
		id = id == TOP ? LEFT : BELOW;
		km_check(next.id == id, "%" PRIu64, (uint64_t)next.id);
	}

	o = km_object(8 * MIB, 0, BELOW, pool);
	km_check(km_account_stat(BELOW).objects == 1);
	km_expect(-EBUSY, km_account_destroy(BELOW));
	km_expect(0, km_populate(o.fd, PAGE, 3 * MIB, NULL));
	km_check(use(BELOW, 0) == 3 * MIB && use(LEFT, 0) == 3 * MIB && use(TOP, 0) == 3 * MIB,
		 "%" PRIu64, use(TOP, 0));
	km_check(use(BELOW, 1) == 0);
	km_expect(0, km_evict(o.fd, 0, 2 * MIB, NULL));
	km_check(use(BELOW, 0) == MIB + PAGE && use(TOP, 0) == MIB + PAGE, "%" PRIu64,
		 use(BELOW, 0));
	km_object_done(&o);
	km_check(use(BELOW, 0) == 0 && use(TOP, 0) == 0 && km_account_stat(BELOW).objects == 0);
	km_expect(-EBUSY, km_account_destroy(TOP));
	km_expect(0, km_account_destroy(BELOW));
	km_expect(0, km_account_destroy(LEFT));
	km_expect(0, km_account_destroy(TOP));
	km_expect(-ENOENT, km_account_destroy(TOP));
}

static void test_depth(void)
{
	uint64_t id = 2000;
	int r;

	while ((r = km_account_create(id, id == 2000 ? 0 : id - 1)) == 0 && id < 2100)
		id++;
	km_check(r == -ELOOP, "%s", strerror(-r));
	km_check(id - 2000 == 16, "%" PRIu64 " levels", id - 2000);
	while (id-- > 2000)
		km_expect(0, km_account_destroy(id));
}

static void test_limit(void)
{
	struct km_object o, huge;
	uint64_t bytes;
	char *p;

	km_expect(0, km_account_create(TOP, 0));
	km_expect(0, km_account_create(LEFT, TOP));
	km_expect(0, km_account_limit(TOP, 0, 3 * MIB));
	o = km_object(8 * MIB, 0, LEFT, pool);
	p = km_map(o.fd, 8 * MIB, PROT_READ | PROT_WRITE);
	km_expect(-ENOMEM, km_populate(o.fd, 0, 8 * MIB, &bytes));
	km_check(bytes == 3 * MIB, "%" PRIu64 " populated", bytes);
	km_check(use(TOP, 0) == 3 * MIB && use(LEFT, 0) == 3 * MIB);
	km_check(km_account_stat(TOP).refused > 0);
	km_check(km_account_stat(LEFT).refused == 0, "a limit of another account");
	km_check(km_touch(p, true) && km_touch(p + 3 * MIB - 1, true));
	km_check(!km_touch(p + 3 * MIB, true), "no SIGBUS over the limit");
	km_check(!km_touch(p + 3 * MIB, false), "no SIGBUS over the limit, reading");
	km_expect(-ENOMEM, km_populate(o.fd, 7 * MIB, PAGE, NULL));

	/* One free, one more. */
	km_expect(0, km_evict(o.fd, PAGE, PAGE, NULL));
	km_check(km_touch(p + 5 * MIB, true), "one page was freed");
	km_check(!km_touch(p + PAGE, true), "and is taken");
	/* Limits below the use, and off. */
	km_expect(0, km_account_limit(TOP, 0, MIB));
	km_expect(0, km_evict(o.fd, 0, MIB, NULL));
	km_check(!km_touch(p, true), "more given although the use is above the limit");
	km_expect(0, km_account_limit(TOP, 0, MORSEL_NO_LIMIT));
	km_check(km_touch(p, true));
	km_expect(0, km_populate(o.fd, 0, 8 * MIB, NULL));
	km_check(use(LEFT, 0) == 8 * MIB);
	km_expect(0, km_account_limit(LEFT, 0, 0));
	km_check(km_touch(p + 8 * MIB - 1, true), "what is there stays");
	km_unmap(p, 8 * MIB);
	km_object_done(&o);

	/* Pieces of 2 MiB may not go over it, nor be refused whole while single frames fit. */
	km_expect(0, km_account_limit(LEFT, 0, 3 * MIB));
	huge = km_object(8 * MIB, MORSEL_OBJECT_HUGE, LEFT, pool);
	km_expect(-ENOMEM, km_populate(huge.fd, 0, 8 * MIB, &bytes));
	km_check(bytes == 3 * MIB, "%" PRIu64 " of huge pieces", bytes);
	km_check(use(LEFT, 0) == 3 * MIB, "%" PRIu64, use(LEFT, 0));
	km_object_done(&huge);
	km_check(use(TOP, 0) == 0, "%" PRIu64, use(TOP, 0));
	km_expect(0, km_account_destroy(LEFT));
	km_expect(0, km_account_destroy(TOP));
}

static void test_next_tier(void)
{
	uint32_t pools[3] = { pool, second, 0 }, small;
	struct morsel_object_stat s;
	struct morsel_move_range m;
	struct km_object o;
	uint64_t bytes;

	km_expect(0, km_account_create(TOP, 0));
	km_expect(0, km_account_limit(TOP, 0, 5 * MIB));
	km_expect(0, km_account_limit(TOP, 1, 6 * MIB));
	km_require(km_object_try(16 * MIB, 0, TOP, pools, &o) == 0);
	km_expect(-ENOMEM, km_populate(o.fd, 0, 16 * MIB, &bytes));
	s = km_object_stat(o.fd);
	km_check(bytes == 11 * MIB && s.pool_bytes[pool] == 5 * MIB &&
			 s.pool_bytes[second] == 6 * MIB,
		 "%" PRIu64 ", %llu, %llu", bytes, (unsigned long long)s.pool_bytes[pool],
		 (unsigned long long)s.pool_bytes[second]);
	km_check(use(TOP, 0) == 5 * MIB && use(TOP, 1) == 6 * MIB);
	/* Moves are held to it, too, and charge where frames are. */
	km_check(km_move(o.id, 0, 16 * MIB, pool, &m) == -EDQUOT, "%s", strerror(-m.result));
	km_check(m.moved + m.already + m.absent + m.failed == 16 * MIB);
	km_check(use(TOP, 0) <= 5 * MIB && use(TOP, 0) + use(TOP, 1) == 11 * MIB);
	km_expect(0, km_account_limit(TOP, 0, MORSEL_NO_LIMIT));
	km_expect(0, km_move(o.id, 0, 16 * MIB, pool, &m));
	km_check(use(TOP, 0) == 11 * MIB && use(TOP, 1) == 0, "%" PRIu64 ", %" PRIu64, use(TOP, 0),
		 use(TOP, 1));
	km_object_done(&o);

	/* A pool that is full is no error while the next one is not. */
	small = km_pool(0, 2, 4 * MIB);
	pools[0] = small;
	km_require(km_object_try(16 * MIB, 0, 0, pools, &o) == 0);
	km_expect(0, km_populate(o.fd, 0, 16 * MIB, NULL));
	s = km_object_stat(o.fd);
	km_check(s.pool_bytes[small] == 4 * MIB && s.pool_bytes[second] == 12 * MIB, "%llu, %llu",
		 (unsigned long long)s.pool_bytes[small], (unsigned long long)s.pool_bytes[second]);
	km_object_done(&o);
	km_pool_destroy(small);
	km_expect(0, km_account_destroy(TOP));
}

#define PROCESSES 8
#define EACH (8 * MIB)

struct race {
	_Atomic int stop;
	_Atomic uint64_t refused, given;
	struct km_object o[PROCESSES];
};
static struct race *race;

static void compete(void *argument)
{
	unsigned int me = *(unsigned int *)argument;
	struct km_object *o = &race->o[me];
	char *p = km_map(o->fd, EACH, PROT_READ | PROT_WRITE);
	uint64_t random = me, offset, length, refused = 0, given = 0;

	while (!race->stop) {
		uint64_t r = km_random(&random);

		offset = r / 16 % (EACH / PAGE) * PAGE;
		length = (r / 65536 % 200 + 1) * PAGE;
		if (length > EACH - offset)
			length = EACH - offset;
		switch (r % 4) {
		case 0:
			km_evict(o->fd, offset, length, NULL);
			break;
		case 1:
			if (km_populate(o->fd, offset, length, NULL) < 0)
				refused++;
			else
				given++;
			break;
		default:
			for (uint64_t at = offset; at < offset + length; at += 3 * PAGE)
				if (km_touch(p + at, true))
					given++;
				else
					refused++;
		}
	}
	race->refused += refused;
	race->given += given;
	km_unmap(p, EACH);
}

static void test_race(void)
{
	const uint64_t top = 20 * MIB, left = 12 * MIB;
	uint64_t sum[2] = {}, samples = 0, at_top = 0, end;
	pid_t pids[PROCESSES];
	unsigned int numbers[PROCESSES];

	race = km_shared(sizeof(*race));
	km_expect(0, km_account_create(TOP, 0));
	km_expect(0, km_account_create(LEFT, TOP));
	km_expect(0, km_account_create(RIGHT, TOP));
	km_expect(0, km_account_limit(TOP, 0, top));
	km_expect(0, km_account_limit(LEFT, 0, left));
	for (unsigned int i = 0; i < PROCESSES; i++)
		race->o[i] = km_object(EACH, i % 4 == 3 ? MORSEL_OBJECT_HUGE : 0,
				       i % 2 ? RIGHT : LEFT, pool);
	for (unsigned int i = 0; i < PROCESSES; i++) {
		numbers[i] = i;
		pids[i] = km_fork(compete, &numbers[i]);
	}
	end = km_now_ns() + seconds * UINT64_C(1000000000);
	while (km_now_ns() < end) {
		uint64_t t = use(TOP, 0), l = use(LEFT, 0);

		km_check(t <= top && l <= left, "%" PRIu64 ", %" PRIu64, t, l);
		at_top += t > top - 64 * PAGE || l > left - 64 * PAGE;
		samples++;
		if (samples % 64 == 0)
			km_nap_ms(1);
	}
	race->stop = 1;
	for (unsigned int i = 0; i < PROCESSES; i++)
		km_check(km_wait(pids[i]));
	for (unsigned int i = 0; i < PROCESSES; i++)
		sum[i % 2] += km_object_stat(race->o[i].fd).used_bytes;
	km_check(use(LEFT, 0) == sum[0], "%" PRIu64 ", not %" PRIu64, use(LEFT, 0), sum[0]);
	km_check(use(RIGHT, 0) == sum[1], "%" PRIu64 ", not %" PRIu64, use(RIGHT, 0), sum[1]);
	km_check(use(TOP, 0) == sum[0] + sum[1], "%" PRIu64, use(TOP, 0));
	km_check(race->refused > 0 && race->given > 0 && at_top > 0,
		 "no competition: %" PRIu64 " refused, %" PRIu64 " given, %" PRIu64 " samples near",
		 (uint64_t)race->refused, (uint64_t)race->given, at_top);
	km_note("%" PRIu64 " samples, %" PRIu64 " near a limit; %" PRIu64 " given, %" PRIu64
		" refused",
		samples, at_top, (uint64_t)race->given, (uint64_t)race->refused);
	for (unsigned int i = 0; i < PROCESSES; i++)
		km_object_done(&race->o[i]);
	km_check(use(TOP, 0) == 0 && use(LEFT, 0) == 0 && use(RIGHT, 0) == 0);
	km_expect(0, km_account_destroy(LEFT));
	km_expect(0, km_account_destroy(RIGHT));
	km_expect(0, km_account_destroy(TOP));
}

int main(int argc, char *argv[])
{
	int nodes[4];
	unsigned int n;

	if (argc > 1)
		seconds = (unsigned int)atoi(argv[1]);
	km_begin();
	n = km_nodes(nodes, 4);
	pool = km_pool(nodes[0], 0, 128 * MIB);
	second = km_pool(nodes[n - 1], 1, 128 * MIB);
	km_test("tree", test_tree);
	km_test("depth", test_depth);
	km_test("at the limit", test_limit);
	km_test("the next tier", test_next_tier);
	km_test("eight processes compete", test_race);
	km_pool_destroy(pool);
	km_pool_destroy(second);
	return km_end();
}
