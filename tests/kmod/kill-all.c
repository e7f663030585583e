// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Workers that create, map, write, pin, move and evict are killed at random (SIGKILL), over and over. Who comes
 * after finds the objects by their ids, with what was in them; in the end nothing is left.
 *
 * kill-all [SECONDS [SEED]]   (10, 1)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"
#include "kmod-uring.h"

#define WORKERS 6
#define EACH 3 /* objects of a worker's place */
#define BYTES (6 * MIB)
#define PAGES (BYTES / PAGE)
#define TRIES_MAX 3000 /* 30 s */

static uint32_t pools[3];
static unsigned int n_pools;
static unsigned int seconds = 10;
static uint64_t seed = 1;
static struct shared {
	_Atomic uint64_t operations, adopted, created;

} * shared;

static uint64_t id_of(unsigned int place, unsigned int k)
{
	return 100 * (place + 1) + k;
}

static uint64_t mark_of(uint64_t id, uint64_t page)
{
	return (id << 32 | page) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

/* A page that was written has its mark, another one is zero. */
static void look(const char *p, uint64_t id, uint64_t page)
{
	uint64_t got;

	/* SIGBUS: the account's limit. */
	if (km_load((uint64_t *)(p + page * PAGE + page % 512 * 8), &got))
		km_check(got == 0 || got == mark_of(id, page),
			 "object %" PRIu64 ", page %" PRIu64 ": %" PRIx64, id, page, got);
}

struct place {
	unsigned int number;
	uint64_t random;
};

static void adopt(struct place *me, unsigned int k, struct km_object *o, char **ret_map)
{
	struct morsel_object_create c = { .size = sizeof(c),
					  .bytes = BYTES,
					  .account = 1 + me->number % 2,
					  .id = id_of(me->number, k),
					  .flags = k == 0 ? MORSEL_OBJECT_HUGE : 0 };
	int fd = km_object_open(c.id, 0), r;

	if (fd == -ENOENT) {
		for (unsigned int i = 0; i < n_pools; i++)
			c.placement.pools[i] = pools[(i + k) % n_pools];
		/* The id is taken while a child of one that was killed has the destroyed object mapped. */
		for (unsigned int tries = 0;; tries++) {
			r = km_ioctl(km_control, MORSEL_IOC_OBJECT_CREATE, &c);
			if (r != -EEXIST || tries == TRIES_MAX)
				break;
			km_nap_ms(10);
		}
		km_require(r == 0, "%s", strerror(-r));
		fd = c.fd;
		shared->created++;
	} else {
		km_require(fd >= 0, "%s", strerror(-fd));
		shared->adopted++;
	}
	*o = (struct km_object){ .id = c.id, .bytes = BYTES, .fd = fd };
	*ret_map = km_map(fd, BYTES, PROT_READ | PROT_WRITE);
	for (uint64_t page = 0; page < PAGES; page += 7)
		look(*ret_map, c.id, page);
}

static void live(void *argument)
{
	struct place *me = argument;
	struct km_object o[EACH];
	struct km_uring u = { .fd = -1 };
	char *p[EACH];
	int pipes[2];

	/* A control descriptor of its own, as a daemon that was restarted has. */
	close(km_control);
	km_control = open("/dev/morsel", O_RDWR | O_CLOEXEC);
	km_require(km_control >= 0 && pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0);
	for (unsigned int k = 0; k < EACH; k++)
		adopt(me, k, &o[k], &p[k]);
	for (;;) {
		uint64_t r = km_random(&me->random), page = r / 64 % PAGES;
		unsigned int k = (unsigned int)(r >> 32) % EACH;
		uint64_t offset = page * PAGE, length = (PAGES - page) / 4 * PAGE + PAGE;
		struct iovec v = { p[k] + offset, PAGE };

		switch (r % 16) {
		case 0 ... 5:
			for (uint64_t i = page; i < PAGES && i < page + 64; i++) {
				look(p[k], o[k].id, i);
				km_store((uint64_t *)(p[k] + i * PAGE + i % 512 * 8),
					 mark_of(o[k].id, i));
			}
			break;
		case 6:
			km_populate(o[k].fd, offset, length, NULL);
			break;
		case 7:
			km_evict(o[k].fd, offset, length, NULL);
			break;
		case 8 ... 9:
			km_move(o[k].id, offset, length, pools[(r >> 40) % n_pools], NULL);
			break;
		case 10:
			if (u.fd < 0 && km_uring_init(&u) == 0)
				km_uring_register(&u, p[k], BYTES);
			else if (u.fd >= 0)
				km_uring_done(&u);
			break;
		case 11:
			if (vmsplice(pipes[1], &v, 1, SPLICE_F_NONBLOCK) < 0 && errno == EAGAIN) {
				char text[PAGE];

				while (read(pipes[0], text, sizeof(text)) > 0)
					;
			}
			break;
		case 12:
			km_unmap(p[k], BYTES);
			p[k] = km_map(o[k].fd, BYTES, PROT_READ | PROT_WRITE);
			break;
		case 13:
			if (r >> 50 & 7)
				break;
			km_object_done(&o[k]);
			km_unmap(p[k], BYTES);
			adopt(me, k, &o[k], &p[k]);
			break;
		case 14: {
			struct morsel_harvest h = { .size = sizeof(h),
						    .id = o[k].id,
						    .length = BYTES };

			km_ioctl(km_control, MORSEL_IOC_HARVEST, &h);
			break;
		}
		default:
			if (fork() == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				for (uint64_t i = page; i < PAGES && i < page + 64; i++)
					look(p[k], o[k].id, i);
				_exit(0);
			}
			while (waitpid(-1, NULL, 0) > 0)
				;
		}
		shared->operations++;
	}
}

static void test_kill(void)
{
	uint64_t random = seed, end = km_now_ns() + seconds * UINT64_C(1000000000);
	struct place places[WORKERS];
	pid_t pids[WORKERS];
	uint64_t kills = 0;
	int status;

	for (unsigned int i = 0; i < WORKERS; i++) {
		places[i] = (struct place){ i, km_random(&random) };
		pids[i] = km_fork(live, &places[i]);
	}
	while (km_now_ns() < end) {
		unsigned int i = (unsigned int)(km_random(&random) % WORKERS);

		km_nap_ms(5 + (unsigned int)(km_random(&random) % 100));
		/* Now and then all at once. */
		for (unsigned int k = 0; k < WORKERS; k++) {
			if (kills % 16 != 15 && k != i)
				continue;
			kill(pids[k], SIGKILL);
		}
		for (unsigned int k = 0; k < WORKERS; k++) {
			if (kills % 16 != 15 && k != i)
				continue;
			waitpid(pids[k], &status, 0);
			km_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
				 "a worker ended by itself: %x", status);
			places[k].random = km_random(&random);
			pids[k] = km_fork(live, &places[k]);
		}
		kills++;
	}
	for (unsigned int i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], &status, 0);
	}
	km_note("%" PRIu64 " times killed, %" PRIu64 " operations, %" PRIu64
		" objects created, %" PRIu64 " found again",
		kills, (uint64_t)shared->operations, (uint64_t)shared->created,
		(uint64_t)shared->adopted);
	km_check(shared->adopted > 0 && shared->operations > kills);
}

static void test_find(void)
{
	uint64_t ids[WORKERS * EACH + 1], used = 0;
	struct morsel_object_list l = { .size = sizeof(l),
					.count = WORKERS * EACH + 1,
					.ids = (uintptr_t)ids };

	km_expect(0, km_ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &l));
	km_check(l.count <= WORKERS * EACH, "%u objects", l.count);
	for (unsigned int i = 0; i < l.count; i++) {
		int fd = km_object_open(ids[i], 0);
		char *p;

		km_require(fd >= 0, "%s", strerror(-fd));
		p = km_map(fd, BYTES, PROT_READ);
		/* Those that PDEATHSIG kills may live a little longer. */
		for (uint64_t page = 0; page < PAGES; page++)
			look(p, ids[i], page);
		km_unmap(p, BYTES);
		used += km_object_stat(fd).used_bytes;
		close(fd);
		km_expect(0, km_object_destroy(ids[i]));
	}
	km_note("%u objects with %" PRIu64 " MiB at the end", l.count, used / MIB);
	for (unsigned int i = 0; i < n_pools; i++) {
		km_check(km_quarantine_empties(pools[i]), "pool %u", pools[i]);
		km_check(km_pool_stat(pools[i]).used_bytes == 0, "pool %u: %llu bytes used",
			 pools[i], (unsigned long long)km_pool_stat(pools[i]).used_bytes);
	}
	for (uint64_t account = 1; account <= 2; account++)
		for (unsigned int tier = 0; tier < MORSEL_MAX_TIERS; tier++)
			km_check(km_account_stat(account).use_bytes[tier] == 0,
				 "account %" PRIu64 ", tier %u", account, tier);
}

int main(int argc, char *argv[])
{
	int nodes[3];

	if (argc > 1)
		seconds = (unsigned int)atoi(argv[1]);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 10);
	km_begin();
	shared = km_shared(sizeof(*shared));
	n_pools = km_nodes(nodes, 3);
	for (unsigned int i = 0; i < n_pools; i++)
		pools[i] = km_pool(nodes[i], i, 64 * MIB);
	km_expect(0, km_account_create(1, 0));
	km_expect(0, km_account_create(2, 1));
	km_expect(0, km_account_limit(1, 0, 40 * MIB));
	km_test("killed at random", test_kill);
	km_test("found again, and nothing leaks", test_find);
	km_expect(0, km_account_destroy(2));
	km_expect(0, km_account_destroy(1));
	for (unsigned int i = 0; i < n_pools; i++)
		km_pool_destroy(pools[i]);
	return km_end();
}
