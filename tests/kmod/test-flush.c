// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stale TLB entries: after a move no store may go to the old frame, and no load come from it; after an evict and
 * an unmap none at all. Must fail with MORSEL_BREAK_FIRST_FLUSH and with MORSEL_BREAK_SECOND_FLUSH.
 *
 * An emulator keeps translations in a direct-mapped table for each CPU, indexed by the low bits of the page
 * number, from 64 entries on; it drops them all when another address space is loaded. So what is written and read here is
 * a few pages that differ in these bits from one another and from the code, stack and flags that the loops use; each
 * loop has a CPU for itself and makes no system call; and who looks whether it is right does so in a new
 * process. The mover stays on CPU 0.
 */
#include <errno.h>
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

#define SLOTS 64
#define HOT 8
/* Of an object that is used; it may be larger, so that processes link to its directory and not to its tables. */
#define SIZE (4 * MIB)
#define MOVES 60

struct flags {
	_Atomic uint64_t stop, loops, value;
	_Atomic uint64_t added[2];
};
static struct flags *flags;
static uint32_t pools[2];
static struct km_object object;
static uint64_t span = SIZE;

static unsigned int slot_of(const volatile void *p)
{
	return (uintptr_t)p / PAGE % SLOTS;
}

/* HOT pages of the first granule whose slots are free; from another place for each number. */
static void choose(char *p, volatile uint64_t **words, unsigned int number, uintptr_t code)
{
	uint64_t used = 0, page = number * 16;
	int local;

	/* Code and stack may reach into their neighbours. */
	for (int d = -1; d <= 1; d++) {
		used |= UINT64_C(1) << slot_of((void *)(code + (uintptr_t)d * PAGE));
		used |= UINT64_C(1) << slot_of((char *)&local + d * (int)PAGE);
	}
	used |= UINT64_C(1) << slot_of(flags);
	for (unsigned int i = 0; i < HOT; page++) {
		if (used >> slot_of(p + page * PAGE) & 1)
			continue;
		used |= UINT64_C(1) << slot_of(p + page * PAGE);
		words[i++] = (uint64_t *)(p + page * PAGE + 8 * number);
	}
}

struct hammer {
	pthread_t id;
	unsigned int number, cpu;
	char *p;
	volatile uint64_t *words[HOT];
};

static void *hammer(void *argument)
{
	struct hammer *h = argument;
	uint64_t done = 0;

	km_pin_cpu(h->cpu);
	choose(h->p, h->words, h->number, (uintptr_t)hammer);
	while (!flags->stop) {
		for (unsigned int k = 0; k < 256; k++)
			for (unsigned int i = 0; i < HOT; i++)
				*h->words[i] = *h->words[i] + 1;
		done += 256;
	}
	flags->added[h->number] = done;
	return NULL;
}

static void run_hammers(void *unused)
{
	char *p = km_map(object.fd, span, PROT_READ | PROT_WRITE);
	struct hammer h[2];

	for (unsigned int i = 0; i < 2; i++) {
		h[i] = (struct hammer){ .number = i, .cpu = 1 + i % (km_cpus() - 1), .p = p };
		km_require(pthread_create(&h[i].id, NULL, hammer, &h[i]) == 0);
	}
	flags->loops = 1;
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(h[i].id, NULL);
}

/* The sums of all pages: the hammers' choice of pages depends on addresses that only they know. */
static void verify(void *unused)
{
	char *p = km_map(object.fd, span, PROT_READ);

	for (unsigned int number = 0; number < 2; number++) {
		uint64_t want = flags->added[number], sum = 0;

		for (uint64_t at = 0; at < SIZE; at += PAGE) {
			uint64_t got = *(uint64_t *)(p + at + 8 * number);

			km_check(got == 0 || got == want,
				 "page %" PRIu64 ": %" PRIu64 ", not %" PRIu64, at / PAGE, got,
				 want);
			sum += got;
		}
		km_check(sum == want * HOT && want > 0, "%" PRIu64 " of %" PRIu64, sum, want * HOT);
	}
}

static void lost_stores(uint32_t kind)
{
	struct morsel_stats before = km_stats();
	struct morsel_move_range m;
	uint64_t moved = 0;
	pid_t pid;

	object = km_object(span, kind, 0, pools[0]);
	km_expect(0, km_populate(object.fd, 0, SIZE, NULL));
	memset(flags, 0, sizeof(*flags));
	pid = km_fork(run_hammers, NULL);
	while (!flags->loops)
		km_nap_ms(1);
	for (unsigned int i = 0; i < MOVES; i++) {
		int r = km_move(object.id, 0, GRANULE, pools[1 - i % 2], &m);

		km_check(r == 0, "move %u: %s", i, strerror(-r));
		moved += m.moved;
	}
	flags->stop = 1;
	km_check(km_wait(pid));
	km_check(moved >= GRANULE * MOVES / 2, "%" PRIu64 " moved", moved);
	km_check(km_in_child(verify, NULL));
	km_note("%" PRIu64 " rounds of writes during %u moves; %llu pages copied again",
		flags->added[0] + flags->added[1], MOVES,
		(unsigned long long)(km_stats().move_recopied - before.move_recopied));
	km_object_done(&object);
}

static void test_stores(void)
{
	lost_stores(0);
}

static void test_stores_huge(void)
{
	lost_stores(MORSEL_OBJECT_HUGE);
}

/* Reads one word for ever; ends by SIGSEGV or SIGBUS or when told to. */
static void *read_on(void *argument)
{
	volatile uint64_t *words[HOT];

	km_pin_cpu(1);
	choose(argument, words, 0, (uintptr_t)read_on);
	while (!flags->stop) {
		flags->value = *words[0];
		flags->loops++;
	}
	return NULL;
}

static void run_reader(void *argument)
{
	char *p = argument ? argument : km_map(object.fd, span, PROT_READ | PROT_WRITE);

	/* The same word for writer and reader. */
	read_on(p);
}

/* Until the reader has gone round a few times since now; false if it is dead. */
static bool reader_turned(pid_t pid)
{
	uint64_t loops = flags->loops, end = km_now_ns() + UINT64_C(30000000000);

	while (flags->loops < loops + 100) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return false;
		if (km_now_ns() > end) {
			km_check(false, "the reader stands still");
			return false;
		}
	}
	return true;
}

/* All pages get the value: which one the reader reads only it knows. */
static void write_all(char *p, uint64_t value)
{
	for (uint64_t at = 0; at < GRANULE; at += PAGE)
		*(volatile uint64_t *)(p + at) = value;
}

struct stamp {
	uint64_t value;
};

/* In a new process, whose TLB knows nothing. */
static void run_write(void *argument)
{
	char *p = km_map(object.fd, span, PROT_READ | PROT_WRITE);

	write_all(p, ((struct stamp *)argument)->value);
}

static void stale_loads(uint32_t kind)
{
	struct stamp stamp = {};
	pid_t pid;

	object = km_object(span, kind, 0, pools[0]);
	km_expect(0, km_populate(object.fd, 0, SIZE, NULL));
	memset(flags, 0, sizeof(*flags));
	pid = km_fork(run_reader, NULL);
	for (unsigned int i = 0; i < 20; i++) {
		if (!reader_turned(pid))
			break;
		km_expect(0, km_move(object.id, 0, GRANULE, pools[1 - i % 2], NULL));
		stamp.value = i + 1;
		km_check(km_in_child(run_write, &stamp));
		if (!reader_turned(pid))
			break;
		km_check(flags->value == i + 1, "after move %u the reader has %" PRIu64, i + 1,
			 (uint64_t)flags->value);
	}
	flags->stop = 1;
	km_check(km_wait(pid));
	km_object_done(&object);
}

static void test_loads(void)
{
	stale_loads(0);
}

static void test_loads_huge(void)
{
	stale_loads(MORSEL_OBJECT_HUGE);
}

/* What is evicted under a reader reads as zero from then on, whoever has the frame. */
static void test_evict(void)
{
	struct stamp stamp = { .value = 1 };
	pid_t pid;

	object = km_object(span, 0, 0, pools[0]);
	km_check(km_in_child(run_write, &stamp));
	memset(flags, 0, sizeof(*flags));
	pid = km_fork(run_reader, NULL);
	for (unsigned int i = 0; i < 20 && reader_turned(pid); i++) {
		km_check(flags->value == stamp.value, "%" PRIu64, (uint64_t)flags->value);
		km_expect(0, km_evict(object.fd, 0, GRANULE, NULL));
		if (!reader_turned(pid))
			break;
		km_check(flags->value == 0, "after an evict the reader has %" PRIu64,
			 (uint64_t)flags->value);
		stamp.value = i + 2;
		km_check(km_in_child(run_write, &stamp));
	}
	flags->stop = 1;
	km_check(km_wait(pid));
	km_object_done(&object);
}

/* One thread unmaps what another reads. */
static void run_unmap(void *argument)
{
	char *p = km_map(object.fd, span, PROT_READ | PROT_WRITE);
	pthread_t reader;

	write_all(p, 5);
	km_require(pthread_create(&reader, NULL, read_on, p) == 0);
	while (flags->loops < 1000)
		;
	flags->value = 0;
	km_unmap(p, span);
	/* If it still reads then it shows; the process should be dead. */
	for (uint64_t loops = flags->loops; flags->loops < loops + 100;)
		;
	km_check(false, "a thread still reads %" PRIu64 " after munmap", (uint64_t)flags->value);
	_exit(0);
}

static void test_unmap(void)
{
	for (unsigned int i = 0; i < 10; i++) {
		int status = 0;
		pid_t pid;

		object = km_object(span, 0, 0, pools[0]);
		memset(flags, 0, sizeof(*flags));
		pid = km_fork(run_unmap, NULL);
		waitpid(pid, &status, 0);
		km_check(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGSEGV, "status %x",
			 status);
		km_object_done(&object);
	}
}

int main(int argc, char **argv)
{
	int nodes[4];
	unsigned int n;

	if (argc > 1)
		span = km_size(argv[1]);
	km_begin();
	km_require(km_cpus() >= 2, "one CPU has one TLB");
	flags = km_shared(4096);
	n = km_nodes(nodes, 4);
	pools[0] = km_pool(nodes[0], 0, 32 * MIB);
	pools[1] = km_pool(nodes[n - 1], 1, 32 * MIB);
	km_pin_cpu(0);
	km_test("stores during moves", test_stores);
	km_test("stores during moves, huge pieces", test_stores_huge);
	km_test("loads after moves", test_loads);
	km_test("loads after moves, huge pieces", test_loads_huge);
	km_test("loads after an evict", test_evict);
	km_test("loads after munmap", test_unmap);
	km_pool_destroy(pools[0]);
	km_pool_destroy(pools[1]);
	return km_end();
}
