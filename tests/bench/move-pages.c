/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moving an object between NUMA nodes against a bare loop of move_pages over the same object, in the
 * same run, by turns and in both directions. The object is 256 MiB, all written, and mapped by one idle
 * client; then by two writers besides. The bare loop is run by the idle client on its own mapping, which
 * is all there: the least that any mover can do. Ours has to find the pages first.
 *
 * move-pages [--bench] [--direct] [--idle] [--size MIB] [--turns N] [FROM TO]
 *   --direct  without a daemon: the node storage linked in
 *   --idle    without the writers
 *   --bench   print only "name value" lines for tools/bench
 *   FROM TO   node numbers; the default is the two farthest apart by what they take
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "move-backend.h"

#define PAGE 4096u
#define WRITERS 2
#define TURNS_MAX 99
/* Pages of one bare call: as many as ours gives the kernel at once. */
#define BARE_BATCH 8192u

struct shared {
	_Atomic int command; /* node to move to; IDLE; QUIT */
	_Atomic uint64_t bare_ns;
	_Atomic uint64_t bare_left; /* pages that did not go */
	_Atomic bool write;
	_Atomic uint64_t written[WRITERS];
};
#define IDLE (-1)
#define QUIT (-2)

static struct shared *shared;
static uint64_t size = UINT64_C(256) << 20;

static void die(const char *what, int r, const char *detail)
{
	fprintf(stderr, "move-pages: %s: %s\n", what, detail ? detail : strerror(-r));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void nap_us(unsigned int us)
{
	struct timespec t = { .tv_nsec = (long)us * 1000 };

	nanosleep(&t, NULL);
}

static char *map_object(int fd)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		die("mmap", -errno, NULL);
	return p;
}

static void bare_loop(char *object, int node, void **pages, int *nodes, int *status)
{
	uint64_t began = now_ns(), left = 0;

	for (uint64_t at = 0; at < size; at += (uint64_t)BARE_BATCH * PAGE) {
		for (uint64_t k = 0; k < BARE_BATCH; k++) {
			pages[k] = object + at + k * PAGE;
			nodes[k] = node;
			status[k] = -EAGAIN;
		}
		if (syscall(SYS_move_pages, 0, (unsigned long)BARE_BATCH, pages, nodes, status,
			    MPOL_MF_MOVE_ALL) < 0)
			die("bare move_pages", -errno, NULL);
		for (uint64_t k = 0; k < BARE_BATCH; k++)
			left += status[k] != node;
	}
	shared->bare_ns = now_ns() - began;
	shared->bare_left = left;
}

/* The idle client; moves its own pages when told to. */
static void run_client(int fd)
{
	char *object = map_object(fd);
	void **pages = calloc(BARE_BATCH, sizeof(*pages));
	int *nodes = calloc(BARE_BATCH, sizeof(*nodes));
	int *status = calloc(BARE_BATCH, sizeof(*status));

	for (uint64_t at = 0; at < size; at += PAGE)
		*(volatile char *)(object + at);
	shared->command = IDLE;
	for (;;) {
		int node = shared->command;

		if (node == QUIT)
			_exit(0);
		if (node == IDLE) {
			nap_us(500);
			continue;
		}
		bare_loop(object, node, pages, nodes, status);
		shared->command = IDLE;
	}
}

/* Adds to a word of each page, in an order that no prefetcher likes; odd words so that writers differ. */
static void run_writer(int fd, unsigned int id)
{
	char *object = map_object(fd);
	uint64_t pages = size / PAGE, at = id * 7919;

	for (;;) {
		if (!shared->write) {
			nap_us(500);
			continue;
		}
		for (unsigned int i = 0; i < 64; i++) {
			at = (at + 40503) % pages;
			(*(volatile uint64_t *)(object + at * PAGE + 64 * (id + 1)))++;
		}
		atomic_fetch_add_explicit(&shared->written[id], 64, memory_order_relaxed);
	}
}

static pid_t start(void (*run)(int fd, unsigned int id), int fd, unsigned int id)
{
	pid_t child = fork();

	if (child < 0)
		die("fork", -errno, NULL);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(fd, id);
	}
	return child;
}

static void run_client_any(int fd, unsigned int id)
{
	run_client(fd);
}

static uint64_t written(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < WRITERS; i++)
		sum += shared->written[i];
	return sum;
}

static uint64_t bare_move(int node)
{
	shared->command = node;
	while (shared->command != IDLE)
		nap_us(500);
	return shared->bare_ns;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double median_ms(uint64_t *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), compare_u64);
	return (double)(values[n / 2] + values[(n - 1) / 2]) / 2e6;
}

struct outcome {
	double ours_ms, bare_ms;
	double alone_rate, ours_rate, bare_rate; /* writes a second */
	uint64_t ours_failed, bare_failed;	 /* bytes */
};

/* One scenario: by turns ours and bare, there and back. */
static void measure(struct move_backend *b, const int *nodes, unsigned int turns, bool write,
		    struct outcome *ret)
{
	uint64_t ours[TURNS_MAX * 2], bare[TURNS_MAX * 2], count, began, ours_ns = 0, bare_ns = 0;
	uint64_t ours_written = 0, bare_written = 0, failed;
	struct outcome o = {};

	shared->write = write;
	if (write) {
		nap_us(200000);
		count = written();
		began = now_ns();
		nap_us(900000);
		o.alone_rate = (double)(written() - count) / ((double)(now_ns() - began) / 1e9);
	}
	/* Everything on nodes[0], whoever touched it first. */
	move_backend_move(b, nodes[0], &failed);
	/* There and back by ours and bare in turn, each in both directions: ours there, bare back, bare
	 * there, ours back. */
	for (unsigned int t = 0; t < 2 * turns; t++)
		for (unsigned int back = 0; back < 2; back++) {
			bool is_ours = t % 2 == back;

			count = written();
			began = now_ns();
			if (is_ours) {
				move_backend_move(b, nodes[1 - back], &failed);
				ours[t] = now_ns() - began;
				ours_ns += ours[t];
				ours_written += written() - count;
				o.ours_failed += failed;
			} else {
				bare[t] = bare_move(nodes[1 - back]);
				bare_ns += bare[t];
				bare_written += written() - count;
				o.bare_failed += shared->bare_left * PAGE;
			}
		}
	shared->write = false;
	o.ours_ms = median_ms(ours, 2 * turns);
	o.bare_ms = median_ms(bare, 2 * turns);
	o.ours_rate = (double)ours_written / ((double)ours_ns / 1e9);
	o.bare_rate = (double)bare_written / ((double)bare_ns / 1e9);
	*ret = o;
}

static void report(bool bench, const struct outcome *idle, const struct outcome *busy)
{
	if (bench) {
		printf("control.move.to_move_pages %.3f\n", idle->ours_ms / idle->bare_ms);
		printf("control.move.to_move_pages_written %.3f\n", busy->ours_ms / busy->bare_ms);
		printf("control.move.writers_slowdown %.3f %.3f\n",
		       busy->alone_rate / busy->ours_rate, busy->alone_rate / busy->bare_rate);
		return;
	}
	printf("{\"size_bytes\": %" PRIu64
	       ", \"idle\": {\"ours_ms\": %.2f, \"move_pages_ms\": %.2f, "
	       "\"ratio\": %.3f, \"failed_bytes\": %" PRIu64 "}, \"writers\": {\"ours_ms\": %.2f, "
	       "\"move_pages_ms\": %.2f, \"ratio\": %.3f, \"failed_bytes\": %" PRIu64
	       ", \"move_pages_failed_bytes\": %" PRIu64 ", \"writes_per_second\": %.0f, "
	       "\"slowdown\": %.3f, \"move_pages_slowdown\": %.3f}}\n",
	       size, idle->ours_ms, idle->bare_ms, idle->ours_ms / idle->bare_ms, idle->ours_failed,
	       busy->ours_ms, busy->bare_ms, busy->ours_ms / busy->bare_ms, busy->ours_failed,
	       busy->bare_failed, busy->alone_rate, busy->alone_rate / busy->ours_rate,
	       busy->alone_rate / busy->bare_rate);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "bench", no_argument, NULL, 'b' },	   { "direct", no_argument, NULL, 'd' },
		{ "idle", no_argument, NULL, 'i' },	   { "size", required_argument, NULL, 's' },
		{ "turns", required_argument, NULL, 't' }, {},
	};
	bool bench = false, direct = false;
	unsigned int writers = WRITERS;
	unsigned int turns = 2;
	struct outcome idle, busy = {};
	struct move_backend *b;
	int nodes[2] = { -1, -1 }, option, fd;
	char *object;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'b':
			bench = true;
			break;
		case 'd':
			direct = true;
			break;
		case 'i':
			writers = 0;
			break;
		case 's':
			size = strtoull(optarg, NULL, 10) << 20;
			break;
		case 't':
			turns = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	}
	if (size == 0 || size % ((uint64_t)BARE_BATCH * PAGE) != 0 || turns == 0 ||
	    turns > TURNS_MAX || (argc != optind && argc != optind + 2)) {
		fprintf(stderr, "move-pages: --size is a multiple of 32, --turns at most %d\n",
			TURNS_MAX);
		return 2;
	}
	if (argc == optind + 2) {
		nodes[0] = atoi(argv[optind]);
		nodes[1] = atoi(argv[optind + 1]);
	}

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		die("mmap", -errno, NULL);
	b = move_backend_new(direct, size, nodes, &fd);
	fprintf(stderr, "move-pages: %" PRIu64 " MiB between nodes %d and %d, %u turns\n",
		size >> 20, nodes[0], nodes[1], turns);
	object = map_object(fd);
	for (uint64_t at = 0; at < size; at++)
		object[at] = (char)(at * 31 >> 5);
	munmap(object, size);

	shared->command = 0;
	start(run_client_any, fd, 0);
	while (shared->command != IDLE)
		nap_us(500);
	measure(b, nodes, turns, false, &idle);
	for (unsigned int i = 0; i < writers; i++)
		start(run_writer, fd, i);
	if (writers > 0)
		measure(b, nodes, turns, true, &busy);
	report(bench, &idle, &busy);
	move_backend_free(b);
	return 0;
}
