// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whom the module's TLB flushes interrupt: CPUs that run the process whose mapping goes, and no others. An
 * unprivileged process maps, touches and unmaps as fast as it can on CPU 0; a neighbour that has nothing to do with
 * it has CPU 1. Interrupts are counted by the kernel (CAL in /proc/interrupts). The control: a thread of the
 * process on CPU 1, which then must be interrupted; and the stock kernel's own flushes for anonymous memory.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"

#define BYTES (4 * MIB)
#define NOBODY 65534
#define TURNS 2000u

static uint32_t pool;
static struct km_object object;
static pid_t neighbour;

static struct shared {
	_Atomic uint64_t loops; /* of the neighbour */
	_Atomic int stop;
	uint64_t ns; /* that the turns took */
} * shared;

static void run_neighbour(void *unused)
{
	km_pin_cpu(1);
	for (;;)
		shared->loops++;
}

/* Interrupts of a kind that a CPU has had, or 0 where there is no such line. */
static uint64_t interrupts(const char *kind, unsigned int cpu)
{
	FILE *f = fopen("/proc/interrupts", "re");
	uint64_t n = 0;
	char line[1024];

	km_require(f, "%s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		char *at = strstr(line, kind);

		if (!at)
			continue;
		at += strlen(kind);
		for (unsigned int i = 0; i <= cpu; i++)
			n = strtoull(at, &at, 10);
		break;
	}
	fclose(f);
	return n;
}

struct attack {
	bool anonymous; /* memory of the kernel's own */
	bool thread;	/* another one of the process, on CPU 1 */
	bool was_there; /* the process has run on CPU 1 before */
	/* What it came to. */
	uint64_t cal, flushes, flush_cpus, loops;
};

static _Atomic bool ready;

static void *spin(void *unused)
{
	km_pin_cpu(1);
	ready = true;
	while (!shared->stop)
		;
	return NULL;
}

static void run_attack(void *argument)
{
	const struct attack *a = argument;
	/* Of the kernel's own one page: it would clear 2 MiB at a time. */
	uint64_t bytes = a->anonymous ? PAGE : BYTES, began;
	pthread_t thread;

	km_require(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
		   setresuid(NOBODY, NOBODY, NOBODY) == 0);
	if (a->was_there) {
		km_pin_cpu(1);
		km_nap_ms(1);
	}
	km_pin_cpu(0);
	if (a->thread) {
		km_require(pthread_create(&thread, NULL, spin, NULL) == 0);
		while (!ready)
			;
	}
	began = km_now_ns();
	for (unsigned int i = 0; i < TURNS; i++) {
		char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       a->anonymous ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED,
			       a->anonymous ? -1 : object.fd, 0);

		km_require(p != MAP_FAILED, "%s", strerror(errno));
		*(volatile char *)p = 1;
		munmap(p, bytes);
	}
	shared->ns = km_now_ns() - began;
	shared->stop = 1;
	if (a->thread)
		pthread_join(thread, NULL);
}

static void attack(struct attack *a, const char *what)
{
	struct morsel_stats before, after;
	uint64_t cal, loops;

	shared->stop = 0;
	ready = false;
	before = km_stats();
	cal = interrupts("CAL:", 1) + interrupts("TLB:", 1);
	loops = shared->loops;
	km_check(km_in_child(run_attack, a), "%s", what);
	after = km_stats();
	a->cal = interrupts("CAL:", 1) + interrupts("TLB:", 1) - cal;
	a->loops = shared->loops - loops;
	a->flushes = after.flushes - before.flushes;
	a->flush_cpus = after.flush_cpus - before.flush_cpus;
	km_note("%s: %u turns in %" PRIu64 " ms, CPU 1 interrupted %" PRIu64
		" times, the module flushed %" PRIu64 " times, %" PRIu64
		" CPUs; neighbour: %" PRIu64 " loops a ms",
		what, TURNS, shared->ns / 1000000, a->cal, a->flushes, a->flush_cpus,
		a->loops / (shared->ns / 1000000 + 1));
}

static void test_neighbour(void)
{
	struct attack a = {};

	attack(&a, "one thread");
	km_check(a.flushes >= TURNS && a.flush_cpus <= a.flushes + TURNS / 20,
		 "%" PRIu64 " CPUs in %" PRIu64 " flushes", a.flush_cpus, a.flushes);
	km_check(a.cal < TURNS / 20, "the neighbour's CPU was interrupted %" PRIu64 " times",
		 a.cal);
}

/* Newer kernels take a CPU out of a process's mask late. */
static void test_moved_away(void)
{
	struct attack a = { .was_there = true };

	attack(&a, "one thread that was on the neighbour's CPU before");
	km_check(a.flush_cpus <= a.flushes + TURNS / 20, "%" PRIu64 " CPUs in %" PRIu64 " flushes",
		 a.flush_cpus, a.flushes);
	km_check(a.cal < TURNS / 20, "the neighbour's CPU was interrupted %" PRIu64 " times",
		 a.cal);
}

/* Where these two fail, the others have not looked at the right thing. */
static void test_control(void)
{
	struct attack a = { .thread = true }, stock = { .thread = true, .anonymous = true };

	/* CPU 1 is the thread's alone. */
	kill(neighbour, SIGSTOP);
	attack(&a, "a second thread on CPU 1");
	km_check(a.cal >= TURNS / 2, "its own thread was interrupted only %" PRIu64 " times",
		 a.cal);
	km_check(a.flush_cpus >= a.flushes + TURNS / 2, "%" PRIu64 " CPUs in %" PRIu64 " flushes",
		 a.flush_cpus, a.flushes);
	attack(&stock, "the same with anonymous memory");
	km_check(stock.cal >= TURNS / 2,
		 "the stock kernel interrupts only %" PRIu64 " times: no basis for a limit",
		 stock.cal);
}

int main(void)
{
	km_begin();
	km_require(km_cpus() >= 2, "%u CPU", km_cpus());
	shared = km_shared(sizeof(*shared));
	km_pin_cpu(0);
	pool = km_pool(0, 0, 2 * BYTES);
	object = km_object(BYTES, 0, 0, pool);
	neighbour = km_fork(run_neighbour, NULL);
	while (!shared->loops)
		;
	km_test("a neighbour is not interrupted", test_neighbour);
	km_test("a neighbour on a CPU where the process was", test_moved_away);
	km_test("the process's own threads are, as by the stock kernel", test_control);
	kill(neighbour, SIGKILL);
	waitpid(neighbour, NULL, 0);
	km_object_done(&object);
	km_pool_destroy(pool);
	return km_end();
}
