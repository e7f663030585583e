/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests/lab/checks/59-module-nvm: check-counters MIB ROUNDS TIER...
 *
 * Four threads count in words all over a morsel while it goes from tier to tier: each in a word of its own of every
 * page, by an ordinary increment, and in one that all share, by an atomic one. In the end every word is what
 * the threads say, page by page. The morsel stays, with the name "counters", for whoever asks for its way.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libclient/morsel.h"

#define NAME "counters"
#define MIB (UINT64_C(1) << 20)
#define PAGE 4096
#define THREADS 4
/* So many increments, then a pause: the mover has a part of an emulated CPU, too. */
#define BURST 512
#define PAUSE_USEC 20000

/* Of one page: in cache lines of their own, and not at its start. */
struct words {
	struct {
		volatile uint64_t own;
		uint64_t pad[15];
	} thread[THREADS];
	_Atomic uint64_t shared;
	uint64_t rest[(PAGE - THREADS * 128 - 8) / 8];
};
_Static_assert(sizeof(struct words) == PAGE, "one page");

struct counter {
	pthread_t thread;
	unsigned int index;
	uint32_t *done; /* by page */
	uint64_t sum;
};

static struct words *words;
static uint64_t pages;
static atomic_bool stop;
static morsel_client *client;

static int must(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "check-counters: %s: %s: %s\n", what, strerror(-r),
			client ? morsel_error(client) : "");
		exit(1);
	}
	return r;
}

static void *count(void *p)
{
	struct counter *c = p;
	uint64_t x = c->index + 1;

	while (!atomic_load(&stop)) {
		for (unsigned int i = 0; i < BURST; i++) {
			uint64_t page;

			/* xorshift: all pages, in no order. */
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			page = x % pages;
			words[page].thread[c->index].own++;
			atomic_fetch_add(&words[page].shared, 1);
			c->done[page]++;
			c->sum++;
		}
		usleep(PAUSE_USEC);
	}
	return NULL;
}

static uint64_t on_tier(morsel *m, const char *tier)
{
	struct morsel_tier_bytes tiers[16];
	int n = must(morsel_residency(m, 1, tiers, 16, NULL), "residency");

	for (int i = 0; i < n && i < 16; i++)
		if (!strcmp(tiers[i].tier, tier))
			return tiers[i].bytes;
	return 0;
}

static void move(morsel *m, const char *tier)
{
	struct morsel_move_result result;

	must(morsel_move(m, tier, NULL, &result), tier);
	if (result.failed || on_tier(m, tier) != pages * PAGE) {
		fprintf(stderr,
			"check-counters: move to %s: %" PRIu64 " bytes moved, %" PRIu64
			" stayed, %" PRIu64 " are there\n",
			tier, (uint64_t)result.moved, (uint64_t)result.failed, on_tier(m, tier));
		exit(1);
	}
}

static uint64_t check(const struct counter *counters)
{
	uint64_t sum = 0, wrong = 0;

	for (uint64_t page = 0; page < pages; page++) {
		uint64_t shared = 0;

		for (unsigned int t = 0; t < THREADS; t++) {
			shared += counters[t].done[page];
			wrong += words[page].thread[t].own != counters[t].done[page];
		}
		wrong += words[page].shared != shared;
		sum += words[page].shared;
	}
	for (unsigned int t = 0; t < THREADS; t++)
		sum -= counters[t].sum;
	if (wrong || sum) {
		fprintf(stderr,
			"check-counters: %" PRIu64 " words are wrong, sums differ by %" PRId64 "\n",
			wrong, (int64_t)sum);
		exit(1);
	}
	for (unsigned int t = 0; t < THREADS; t++) {
		if (counters[t].sum == 0) {
			fprintf(stderr, "check-counters: thread %u has not counted\n", t);
			exit(1);
		}
		sum += counters[t].sum;
	}
	return sum;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct morsel_options options = { MORSEL_OPTIONS_INIT, .populate = 1 };
	uint64_t mib = argc > 4 ? strtoull(argv[1], NULL, 10) : 0;
	unsigned long rounds = argc > 4 ? strtoul(argv[2], NULL, 10) : 0;
	struct counter counters[THREADS] = {};
	morsel *m = NULL;
	double began;

	if (mib == 0 || rounds == 0) {
		fprintf(stderr, "check-counters MIB ROUNDS TIER TIER...\n");
		return 2;
	}
	pages = mib * MIB / PAGE;
	options.prefer = argv[3];
	must(morsel_connect(NULL, &client), "connect");
	must(morsel_create(client, NAME, mib * MIB, &options, &m), "create");
	must(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&words), "map");
	for (unsigned int t = 0; t < THREADS; t++) {
		counters[t].index = t;
		counters[t].done = calloc(pages, sizeof(uint32_t));
		if (!counters[t].done)
			must(-ENOMEM, "calloc");
		must(-pthread_create(&counters[t].thread, NULL, count, &counters[t]), "thread");
	}
	began = seconds();
	for (unsigned long round = 0; round < rounds; round++) {
		double now = seconds();

		for (int i = 4; i < argc; i++)
			move(m, argv[i]);
		move(m, argv[3]);
		printf("round %lu: %.1f s\n", round + 1, seconds() - now);
		fflush(stdout);
	}
	began = seconds() - began;
	atomic_store(&stop, true);
	for (unsigned int t = 0; t < THREADS; t++)
		pthread_join(counters[t].thread, NULL);
	printf("%lu rounds of %d moves of %" PRIu64 " MiB in %.0f s; %" PRIu64
	       " increments by %d threads, every word exact\n",
	       rounds, argc - 3, mib, began, check(counters), THREADS);
	for (unsigned int t = 0; t < THREADS; t++)
		free(counters[t].done);
	morsel_close(m);
	return 0;
}
