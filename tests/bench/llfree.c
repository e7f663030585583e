/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench-llfree MODE…: measures the allocator and prints "name value" lines for tools/bench-format.
 *
 *   time      ns per operation: bulk, repeat, random × order 0, 9 × 1, 2 threads
 *   loop WHAT N   N operations of one sort, for callgrind; WHAT: get0 put0 get9 put9 …
 *   rmw       read-modify-writes per operation (in the build that counts them)
 *   metadata  bytes per GiB
 *
 * Definitions. 8 GiB are managed; two classes, small frames and huge ones, a slot per thread.
 * *bulk*: get until half of the memory is given out (half of it for each of two threads), then put
 * in the order of the gets. *repeat*: get and put of one run, the pool half full. *random*: put in
 * random order of what bulk gave, then get. Each figure is the median of the rounds.
 */
#include <pthread.h>

#include "llfree-common.h"

#define FRAMES (8 * GIB_FRAMES)
#define ROUNDS 9
#define MAX_THREADS 2

#ifdef MORSEL_COUNT_RMW
__thread uint64_t plat_rmw_count;
#endif

/* The loops that are measured; callgrind collects in these functions only. */
static __attribute__((noinline)) void bench_get(struct llfree *a, uint64_t *out, uint64_t n,
						unsigned order, unsigned slot)
{
	struct llfree_request r = req(order, slot);

	for (uint64_t i = 0; i < n; i++)
		if (llfree_get(a, r, &out[i]) < 0)
			die("get failed");
}

static __attribute__((noinline)) void bench_put(struct llfree *a, const uint64_t *in, uint64_t n,
						unsigned order, unsigned slot)
{
	struct llfree_request r = req(order, slot);

	for (uint64_t i = 0; i < n; i++)
		if (llfree_put(a, in[i], r))
			die("put failed");
}

static __attribute__((noinline)) void bench_pair(struct llfree *a, uint64_t n, unsigned order,
						 unsigned slot)
{
	struct llfree_request r = req(order, slot);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t frame;

		if (llfree_get(a, r, &frame) < 0 || llfree_put(a, frame, r))
			die("pair failed");
	}
}

struct worker {
	pthread_t thread;
	struct pool *pool;
	pthread_barrier_t *barrier;
	unsigned order, slot;
	uint64_t n, *frames;
	double get, put, pair, rput, rget;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct llfree *a = &w->pool->a;
	uint64_t t, pairs = w->order ? 200000 : 1000000;

	pthread_barrier_wait(w->barrier);
	t = now();
	bench_get(a, w->frames, w->n, w->order, w->slot);
	w->get = (double)(now() - t) / (double)w->n;
	pthread_barrier_wait(w->barrier);
	t = now();
	bench_put(a, w->frames, w->n, w->order, w->slot);
	w->put = (double)(now() - t) / (double)w->n;
	pthread_barrier_wait(w->barrier);
	bench_get(a, w->frames, w->n, w->order, w->slot);
	shuffle(w->frames, w->n, 7 + w->slot);
	pthread_barrier_wait(w->barrier);
	t = now();
	bench_pair(a, pairs, w->order, w->slot);
	w->pair = (double)(now() - t) / (double)pairs;
	pthread_barrier_wait(w->barrier);
	t = now();
	bench_put(a, w->frames, w->n, w->order, w->slot);
	w->rput = (double)(now() - t) / (double)w->n;
	pthread_barrier_wait(w->barrier);
	t = now();
	bench_get(a, w->frames, w->n, w->order, w->slot);
	w->rget = (double)(now() - t) / (double)w->n;
	return NULL;
}

static void mode_time(void)
{
	static const unsigned orders[] = { 0, 9 };

	for (unsigned o = 0; o < 2; o++) {
		for (unsigned threads = 1; threads <= MAX_THREADS; threads++) {
			unsigned order = orders[o];
			uint64_t n = (FRAMES / 2 >> order) / threads;
			double v[5][ROUNDS];
			static const char *const names[][2] = { { "bulk", "get" },
								{ "bulk", "put" },
								{ "repeat", "pair" },
								{ "random", "put" },
								{ "random", "get" } };

			for (unsigned round = 0; round < ROUNDS; round++) {
				struct worker w[MAX_THREADS] = { 0 };
				pthread_barrier_t barrier;
				struct pool p;

				pool_new(&p, FRAMES, 0, threads);
				pthread_barrier_init(&barrier, NULL, threads);
				for (unsigned t = 0; t < threads; t++) {
					w[t] = (struct worker){ .pool = &p,
								.barrier = &barrier,
								.order = order,
								.slot = t,
								.n = n };
					w[t].frames = calloc(n, sizeof(uint64_t));
					if (!w[t].frames)
						die("out of memory");
					memset(w[t].frames, 1, n * sizeof(uint64_t));
				}
				for (unsigned t = 0; t < threads; t++)
					if (pthread_create(&w[t].thread, NULL, work, &w[t]))
						die("thread");
				for (unsigned i = 0; i < 5; i++)
					v[i][round] = 0;
				for (unsigned t = 0; t < threads; t++) {
					pthread_join(w[t].thread, NULL);
					v[0][round] += w[t].get / threads;
					v[1][round] += w[t].put / threads;
					v[2][round] += w[t].pair / threads;
					v[3][round] += w[t].rput / threads;
					v[4][round] += w[t].rget / threads;
					free(w[t].frames);
				}
				pthread_barrier_destroy(&barrier);
				pool_done(&p);
			}
			for (unsigned i = 0; i < 5; i++) {
				printf("llfree.%s.o%u.t%u.%s.ns %.1f\n", names[i][0], order,
				       threads, names[i][1], median(v[i], ROUNDS));
			}
		}
	}
}

/* One pool half full, then @n operations of one sort in one of the functions above. */
static void mode_loop(const char *what, uint64_t n, unsigned flags, bool count)
{
	unsigned order = (unsigned)atoi(what + 3);
	uint64_t all = FRAMES >> order, have = all / 2, *frames = calloc(all, sizeof(uint64_t));
	struct pool p;

	if (!frames || n > have)
		die("too many operations");
	pool_new(&p, FRAMES, flags, 1);
	if (!strncmp(what, "put", 3) || !strncmp(what, "rnd", 3)) {
		for (uint64_t i = 0; i < have; i++)
			if (llfree_get(&p.a, req(order, 0), &frames[i]) < 0)
				die("get failed");
		if (!strncmp(what, "rnd", 3))
			shuffle(frames, have, 7);
	}
#ifdef MORSEL_COUNT_RMW
	plat_rmw_count = 0;
#endif
	if (!strncmp(what, "get", 3))
		bench_get(&p.a, frames, n, order, 0);
	else if (!strncmp(what, "par", 3))
		bench_pair(&p.a, n, order, 0);
	else
		bench_put(&p.a, frames, n, order, 0);
#ifdef MORSEL_COUNT_RMW
	if (count)
		printf("llfree.%s.o%u.%s.rmw %.3f\n", flags ? "persistent" : "volatile", order,
		       !strncmp(what, "rnd", 3)	  ? "random_put"
		       : !strncmp(what, "par", 3) ? "pair"
		       : strncmp(what, "get", 3)  ? "put"
						  : "get",
		       (double)plat_rmw_count / (double)n);
#else
	(void)count;
#endif
	free(frames);
	pool_done(&p);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "time")) {
		mode_time();
	} else if (argc >= 4 && !strcmp(argv[1], "loop")) {
		mode_loop(argv[2], strtoull(argv[3], NULL, 10), argc > 4 ? LLFREE_PERSISTENT : 0,
			  false);
	} else if (argc == 2 && !strcmp(argv[1], "rmw")) {
		static const char *const what[] = {
			"get0", "put0", "rnd0", "par0", "get9", "put9"
		};

		for (unsigned f = 0; f < 2; f++)
			for (unsigned i = 0; i < sizeof(what) / sizeof(what[0]); i++)
				mode_loop(what[i], what[i][3] == '9' ? 2000 : 500000,
					  f ? LLFREE_PERSISTENT : 0, true);
	} else if (argc == 2 && !strcmp(argv[1], "metadata")) {
		struct llfree_config c = {
			.frames = 512 * GIB_FRAMES, .classes = 1, .slots = 1, .owners = 1
		};
		uint64_t lower, upper;

		if (llfree_sizes(&c, &lower, &upper))
			die("sizes");
		printf("llfree.metadata.bytes_per_gib %.1f\n",
		       (double)(lower + upper - sizeof(struct llfree_slot)) / 512);
	} else {
		fprintf(stderr,
			"usage: bench-llfree time | loop WHAT N [persistent] | rmw | metadata\n");
		return 2;
	}
	return 0;
}
