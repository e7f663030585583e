// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page tables that are freed under walkers: a process reads what is evicted without end, and another reads the memory
 * of a third one by get_user_pages. Neither may be refused, or find anything but zeroes and what was written. Must
 * fail with MORSEL_BREAK_TABLE_FREE.
 *
 * An evict waits until the CPUs of the process that maps the object have flushed, which a walker with interrupts off
 * holds up. One that only has the RCU read lock does not, nor does one that walks another process's tables. They are
 * in a table for a few instructions. So that an evict falls in between, a probe holds up whoever has found a table and
 * is about to look into it; they share their CPU with somebody who takes it from them all the time; and the kernel is
 * told to allow that anywhere. Without the probe the build that lacks the wait was not noticed in 5,000 evicts.
 *
 * test-tables [SECONDS]   for each of the tests (default 4)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmod-common.h"

#define PREEMPT "/sys/kernel/debug/sched/preempt"
#define TRACING "/sys/kernel/tracing"
#define PROBE "morsel_walk"
#define ACCOUNT 700
/* Too little for a page of 2 MiB, enough for those that are read: the granule has tables from the start. */
#define LIMIT (256 * KIB)
#define READ 48
#define SEED UINT64_C(0x7ab1e5)

struct shared {
	_Atomic uint64_t stop, reads, remote_reads;
};
static struct shared *shared;
static struct km_object object;
static char *mapping;
static unsigned int seconds = 4;

static uint64_t pattern(uint64_t page)
{
	return SEED << 32 | page;
}

static char *page_at(char *p, uint64_t page)
{
	return p + page * PAGE;
}

/* Of a word that is copied byte by byte some may be older than others. */
static bool is_ours(uint64_t word, uint64_t page)
{
	for (unsigned int shift = 0; shift < 64; shift += 8) {
		uint64_t byte = word >> shift & 0xff;

		if (byte && byte != (pattern(page) >> shift & 0xff))
			return false;
	}
	return true;
}

static void read_on(void *unused)
{
	char *p = km_map(object.fd, GRANULE, PROT_READ | PROT_WRITE);

	km_pin_cpu(1);
	for (uint64_t n = 0; !shared->stop; n++) {
		uint64_t page = n % READ, word = 0;
		bool there = km_load((uint64_t *)page_at(p, page), &word);

		km_check(there, "reading page %" PRIu64 " gave a signal", page);
		km_check(word == 0 || word == pattern(page),
			 "a reader: page %" PRIu64 " has %" PRIx64, page, word);
		shared->reads = n + 1;
		if (km_failures())
			break;
	}
}

static void read_remote(void *unused)
{
	pid_t parent = getppid();

	km_pin_cpu(1);
	for (uint64_t n = 0; !shared->stop; n++) {
		uint64_t page = n % READ, word = 0;
		struct iovec local = { &word, sizeof(word) };
		struct iovec remote = { page_at(mapping, page), sizeof(word) };
		ssize_t r = process_vm_readv(parent, &local, 1, &remote, 1, 0);

		km_check(r == sizeof(word), "process_vm_readv of page %" PRIu64 ": %s", page,
			 r < 0 ? strerror(errno) : "short");
		km_check(is_ours(word, page), "process_vm_readv: page %" PRIu64 " has %" PRIx64,
			 page, word);
		shared->remote_reads = n + 1;
		if (km_failures())
			break;
	}
}

/* Takes the readers' CPU at any moment, for about as long as some evicts. */
static void disturb(void *unused)
{
	struct sched_param first = { .sched_priority = 1 };
	uint64_t state = 1;

	km_pin_cpu(1);
	km_require(sched_setscheduler(0, SCHED_FIFO, &first) == 0, "%s", strerror(errno));
	while (!shared->stop) {
		struct timespec t = { .tv_nsec = 100000 + (long)(km_random(&state) % 300000) };
		uint64_t end;

		nanosleep(&t, NULL);
		end = km_now_ns() + 1000000;
		while (km_now_ns() < end)
			;
	}
}

/* Filled one by one: tables. */
static void cycle_small(uint64_t n)
{
	for (uint64_t page = n % 5; page < READ; page += 5)
		*(volatile uint64_t *)page_at(mapping, page) = pattern(page);
	km_expect(0, km_evict(object.fd, 0, GRANULE, NULL));
}

/* A page of 2 MiB, which an evict of a part splits: tables. */
static void cycle_split(uint64_t n)
{
	uint64_t end = km_now_ns() + UINT64_C(20000000000);
	int r;

	km_expect(0, km_populate(object.fd, 0, GRANULE, NULL));
	for (uint64_t page = n % 5; page < READ; page += 5)
		*(volatile uint64_t *)page_at(mapping, page) = pattern(page);
	/* While another process reads a page it holds all of it in place. */
	do
		r = km_evict(object.fd, 0, GRANULE - PAGE, NULL);
	while (r == -EBUSY && km_now_ns() < end);
	km_check(r == 0, "%s", strerror(-r));
	/* So that the readers miss some leaves. */
	km_nap_ms(1);
	km_expect(0, km_evict(object.fd, 0, GRANULE, NULL));
}

static void under_readers(uint64_t account, void (*cycle)(uint64_t n))
{
	void (*const run[])(void *) = { read_on, read_remote, disturb };
	uint32_t pool = km_pool(0, 0, 32 * MIB);
	uint64_t end, cycles = 0;
	pid_t pids[3];

	object = km_object(GRANULE, MORSEL_OBJECT_HUGE, account, pool);
	mapping = km_map(object.fd, GRANULE, PROT_READ | PROT_WRITE);
	memset(shared, 0, sizeof(*shared));
	for (unsigned int i = 0; i < 3; i++)
		pids[i] = km_fork(run[i], NULL);
	end = km_now_ns() + seconds * UINT64_C(1000000000);
	while (km_now_ns() < end && !km_failures())
		cycle(cycles++);
	shared->stop = 1;
	for (unsigned int i = 0; i < 3; i++)
		km_check(km_wait(pids[i]), "child %u", i);
	km_check(shared->reads > 0 && shared->remote_reads > 0);
	km_note("%" PRIu64 " times tables were freed under %" PRIu64 " reads and %" PRIu64
		" of another process",
		cycles, (uint64_t)shared->reads, (uint64_t)shared->remote_reads);
	km_unmap(mapping, GRANULE);
	km_object_done(&object);
	km_pool_destroy(pool);
}

static void test_small(void)
{
	km_expect(0, km_account_create(ACCOUNT, 0));
	km_expect(0, km_account_limit(ACCOUNT, 0, LIMIT));
	under_readers(ACCOUNT, cycle_small);
	km_expect(0, km_account_destroy(ACCOUNT));
}

static void test_split(void)
{
	under_readers(0, cycle_split);
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

/* A fault that finds a table returns through a trap before it looks into the table. */
static bool probe_walkers(void)
{
	/* As newer kernels call it, and older ones. */
	static const char *const names[] = { "r:" PROBE " pte_offset_map_rw_nolock",
					     "r:" PROBE " pte_offset_map_nolock" };

	if (access(TRACING "/kprobe_events", F_OK) < 0)
		(void)mount("tracefs", TRACING, "tracefs", 0, NULL);
	for (unsigned int i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (put(TRACING "/kprobe_events", names[i]))
			return put(TRACING "/events/kprobes/" PROBE "/enable", "1");
	return false;
}

static void unprobe_walkers(void)
{
	km_check(put(TRACING "/events/kprobes/" PROBE "/enable", "0"), "%s", strerror(errno));
	km_check(put(TRACING "/kprobe_events", "-:" PROBE), "%s", strerror(errno));
}

/* The mode that was, of "none voluntary (full)"; NULL: the kernel has no choice of them. */
static char *set_preempt(const char *mode)
{
	char text[128] = "", *was, *end;
	int fd = open(PREEMPT, O_RDWR | O_CLOEXEC);

	if (fd < 0 && mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL) == 0)
		fd = open(PREEMPT, O_RDWR | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0) {
		km_note("%s: %s: tests of little power", PREEMPT, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	km_check(write(fd, mode, strlen(mode)) == (ssize_t)strlen(mode), "%s: %s", PREEMPT,
		 strerror(errno));
	close(fd);
	was = strchr(text, '(');
	end = was ? strchr(was, ')') : NULL;
	return end ? strndup(was + 1, (size_t)(end - was - 1)) : NULL;
}

int main(int argc, char **argv)
{
	bool probed;
	char *was;

	if (argc > 1)
		seconds = (unsigned int)strtoul(argv[1], NULL, 10);
	km_begin();
	km_require(km_cpus() >= 2, "on one CPU nobody evicts while another walks");
	shared = km_shared(sizeof(*shared));
	km_pin_cpu(0);
	was = set_preempt("full");
	probed = probe_walkers();
	if (!probed)
		km_note("no probe of walkers: %s: tests of little power", strerror(errno));
	km_test("tables freed under readers", test_small);
	km_test("tables of split pages freed under readers", test_split);
	if (probed)
		unprobe_walkers();
	if (was)
		free(set_preempt(was));
	free(was);
	return km_end();
}
