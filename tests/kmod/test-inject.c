// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Allocations that fail, at each place in turn, and signals at each wait: calls end with ENOMEM or EINTR, or have
 * worked; a fault ends with SIGBUS or has worked; nothing is left half-made.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"

#define ACCOUNT 70
#define BYTES (4 * MIB)
#define PARAMETER "/sys/module/morsel/parameters/fail_every"
/* More than there are allocations in one life. */
#define EVERY_MAX 60

static int allowed;
static uint64_t calls, failed;

/* Whether a call worked; its error must be the allowed one. */
static bool worked(int r, const char *what)
{
	calls++;
	if (r >= 0)
		return true;
	failed++;
	km_check(r == allowed || r == -EBUSY || r == -EMFILE, "%s: %s", what, strerror(-r));
	return false;
}

static void touch_all(char *p)
{
	for (uint64_t at = 0; at < BYTES; at += 16 * PAGE)
		km_touch(p + at, true);
}

static void run_child(void *argument)
{
	touch_all(argument);
}

static void on_mapping(struct km_object *o, int protection)
{
	char *p = mmap(NULL, BYTES, protection, MAP_SHARED, o->fd, 0);

	if (!worked(p == MAP_FAILED ? -errno : 0, "mmap"))
		return;
	if (protection & PROT_WRITE)
		touch_all(p);
	else
		for (uint64_t at = 0; at < BYTES; at += PAGE)
			km_touch(p + at, false);
	/* A copy attaches late. */
	if (protection & PROT_WRITE)
		km_check(km_in_child(run_child, p), "a child that touches it all");
	munmap(p, BYTES);
}

static void on_object(struct km_object *o, const uint32_t *pools)
{
	static uint64_t bits[BYTES / PAGE / 64];
	struct morsel_harvest h = {
		.size = sizeof(h), .id = o->id, .length = BYTES, .accessed = (uintptr_t)bits
	};
	struct km_object ro = *o;
	uint64_t bytes;

	worked(km_populate(o->fd, 0, BYTES / 2, &bytes), "populate");
	km_check(bytes <= BYTES / 2);
	on_mapping(o, PROT_READ | PROT_WRITE);
	ro.fd = km_object_open(o->id, MORSEL_OPEN_RDONLY);
	if (worked(ro.fd, "open")) {
		on_mapping(&ro, PROT_READ);
		close(ro.fd);
	}
	for (unsigned int i = 2; i-- > 0;)
		worked(km_move(o->id, 0, BYTES, pools[i], NULL), "move");
	worked(km_ioctl(km_control, MORSEL_IOC_HARVEST, &h), "harvest");
	worked(km_evict(o->fd, 0, BYTES / 4, &bytes), "evict");
}

static void pools_done(uint32_t *pools)
{
	for (unsigned int i = 0; i < 2; i++)
		if (pools[i])
			km_pool_destroy(pools[i]);
}

static bool pools_new(const int *nodes, uint32_t *pools)
{
	for (unsigned int i = 0; i < 2; i++)
		if (!worked(km_pool_try(nodes[i], i, 16 * MIB, 4 * MIB, &pools[i]), "pool"))
			return false;
	return true;
}

/* From account to object; nothing may stay. */
static void live_in(const uint32_t *pools)
{
	bool account = worked(km_account_create(ACCOUNT, 0), "account");
	struct km_object o;

	for (unsigned int flags = 0; flags < 2; flags++)
		if (worked(km_object_try(BYTES, flags, account ? ACCOUNT : 0, pools, &o),
			   "object")) {
			on_object(&o, pools);
			close(o.fd);
			km_expect(0, km_object_destroy(o.id));
		}
	if (account) {
		km_check(km_account_stat(ACCOUNT).use_bytes[0] == 0 &&
			 km_account_stat(ACCOUNT).use_bytes[1] == 0);
		km_expect(0, km_account_destroy(ACCOUNT));
	}
}

static void nothing_left(void)
{
	struct morsel_stats s = km_stats();

	km_check(s.pools == 0 && s.objects == 0 && s.accounts == 0 && s.mappings == 0 &&
		 s.descriptors == 0);
}

static void live(const int *nodes)
{
	uint32_t pools[3] = {};

	if (pools_new(nodes, pools))
		live_in(pools);
	pools_done(pools);
	nothing_left();
}

static bool fail_every(unsigned int n)
{
	int fd = open(PARAMETER, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && dprintf(fd, "%u", n) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static int nodes[2];

static void test_allocations(void)
{
	uint64_t injected = km_stats().failures_injected;

	allowed = -ENOMEM;
	calls = failed = 0;
	for (unsigned int n = 1; n <= EVERY_MAX; n += n < 20 ? 1 : 7) {
		uint32_t pools[3] = {};

		km_require(fail_every(n), "%s", PARAMETER);
		pools_new(nodes, pools);
		fail_every(0);
		pools_done(pools);
		nothing_left();
		/* A pool takes many: objects are not to depend on its success. */
		memset(pools, 0, sizeof(pools));
		km_require(pools_new(nodes, pools));
		fail_every(n);
		live_in(pools);
		fail_every(0);
		pools_done(pools);
		nothing_left();
	}
	injected = km_stats().failures_injected - injected;
	km_note("%" PRIu64 " allocations failed, %" PRIu64 " of %" PRIu64 " calls", injected,
		failed, calls);
	km_check(injected > 100 && failed > 20);
	live(nodes);
}

static void on_alarm(int number)
{
}

static void test_signals(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = {};

	allowed = -EINTR;
	calls = failed = 0;
	sigaction(SIGALRM, &action, NULL);
	for (unsigned int us = 300; us < 6000; us += 700) {
		timer.it_interval.tv_usec = timer.it_value.tv_usec = us;
		setitimer(ITIMER_REAL, &timer, NULL);
		live(nodes);
	}
	timer = (struct itimerval){};
	setitimer(ITIMER_REAL, &timer, NULL);
	km_note("%" PRIu64 " of %" PRIu64 " calls were broken off", failed, calls);
	km_check(failed > 0);
}

/* The signal that ends the process, at a random moment of such a life. */
static void run_life(void *unused)
{
	for (;;)
		live(nodes);
}

static void test_kills(void)
{
	uint64_t random = 7;

	for (unsigned int i = 0; i < 30; i++) {
		struct morsel_object_list l = { .size = sizeof(l), .count = 8 };
		uint64_t ids[8];
		pid_t pid = km_fork(run_life, NULL);

		km_nap_ms((unsigned int)(km_random(&random) % 200));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		l.ids = (uintptr_t)ids;
		km_expect(0, km_ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &l));
		for (unsigned int k = 0; k < l.count; k++)
			km_expect(0, km_object_destroy(ids[k]));
		/* Its child dies after it, and holds what it maps. */
		for (unsigned int ms = 0; ms < 20000 && km_stats().objects > 0; ms += 10)
			km_nap_ms(10);
		km_account_destroy(ACCOUNT);
		for (uint32_t pool = 1; pool <= 2; pool++) {
			struct morsel_pool_stat s = { .size = sizeof(s), .pool = pool };

			if (km_ioctl(km_control, MORSEL_IOC_POOL_STAT, &s) == 0)
				km_pool_destroy(pool);
		}
	}
}

int main(void)
{
	int all[8];
	unsigned int n;

	km_begin();
	n = km_nodes(all, 8);
	nodes[0] = all[0];
	nodes[1] = all[n - 1];
	km_test("allocations that fail", test_allocations);
	km_test("signals", test_signals);
	km_test("killed", test_kills);
	return km_end();
}
