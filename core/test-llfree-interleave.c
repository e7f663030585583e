/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Bounded exhaustive interleavings: two or three threads as coroutines that may switch before every
 * atomic access. Each scenario is run once for every schedule with at most BOUND preemptions (a
 * switch away from a thread that could go on), which are enumerated depth first by running again
 * with a changed prefix.
 *
 * Sequential consistency is what is explored; that weaker orders suffice is argued at each access,
 * and ThreadSanitizer looks at them in the suite "threads".
 */
#include "test-llfree.h"

#include <ucontext.h>

#ifdef MORSEL_TEST_HOOKS

#define MAX_THREADS 3
#define MAX_CHOICES 512
#define STACK (256 * 1024)

struct scenario {
	const char *name;
	unsigned threads, flags, bound;
	uint64_t frames;
	unsigned slots;
	void (*setup)(void);
	void (*thread[MAX_THREADS])(void);
	void (*verify)(void);
};

static struct pool pool;
static struct llfree *const a = &pool.a;
static unsigned char owner[16384]; /* per frame: 0 free, 1 allocated */
static int result[MAX_THREADS][4];
static uint64_t frame[MAX_THREADS][4];

static ucontext_t contexts[MAX_THREADS], scheduler;
static char stacks[MAX_THREADS][STACK] __attribute__((aligned(64)));
static bool done[MAX_THREADS];
static int current = -1;
static unsigned nthreads, preemptions, bound;
static struct {
	unsigned char chosen, options;
} choices[MAX_CHOICES];
static unsigned nchoices, prefix;
static const struct scenario *scenario;

static unsigned choose(unsigned options)
{
	unsigned c = 0;

	if (options <= 1)
		return 0;
	check(nchoices < MAX_CHOICES);
	if (nchoices < prefix)
		c = choices[nchoices].chosen;
	choices[nchoices].chosen = (unsigned char)c;
	choices[nchoices].options = (unsigned char)options;
	nchoices++;
	return c;
}

/* The @n-th thread that can run, other than @except. */
static int runnable(int except, unsigned n)
{
	for (unsigned i = 0; i < nthreads; i++)
		if (!done[i] && (int)i != except && !n--)
			return (int)i;
	return -1;
}

static unsigned count_runnable(int except)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nthreads; i++)
		n += !done[i] && (int)i != except;
	return n;
}

static void point(void)
{
	unsigned c;

	if (current < 0 || preemptions >= bound)
		return;
	c = choose(1 + count_runnable(current));
	if (c) {
		int from = current;

		preemptions++;
		current = runnable(from, c - 1);
		swapcontext(&contexts[from], &contexts[current]);
	}
}

static void entry(void)
{
	scenario->thread[current]();
	done[current] = true;
	current = -2; /* the scheduler picks the next; that is no preemption */
	setcontext(&scheduler);
}

static void run_once(void)
{
	memset(done, 0, sizeof(done));
	preemptions = nchoices = 0;
	for (volatile unsigned i = 0; i < nthreads; i++) {
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = STACK;
		contexts[i].uc_link = NULL;
		makecontext(&contexts[i], entry, 0);
	}
	while (count_runnable(-1)) {
		current = runnable(-1, choose(count_runnable(-1)));
		swapcontext(&scheduler, &contexts[current]);
	}
	current = -1;
}

/* To the next schedule: the last choice that has one left. False: all were tried. */
static bool next_schedule(void)
{
	while (nchoices) {
		if (choices[nchoices - 1].chosen + 1 < choices[nchoices - 1].options) {
			choices[nchoices - 1].chosen++;
			prefix = nchoices;
			return true;
		}
		nchoices--;
	}
	return false;
}

/* ---- what the threads of scenarios do ---- */

static unsigned self(void)
{
	return (unsigned)current;
}

static void get(unsigned i, unsigned order, unsigned slot)
{
	unsigned t = self();

	result[t][i] = llfree_get(a, req(order, 0, slot), &frame[t][i]);
	if (result[t][i] >= 0) {
		check_eq(frame[t][i] % (1u << order), 0);
		for (uint64_t f = frame[t][i]; f < frame[t][i] + (1u << order); f++) {
			check_eq(owner[f], 0);
			owner[f] = 1;
		}
	}
}

static void get_at(unsigned i, uint64_t at, unsigned order)
{
	unsigned t = self();

	result[t][i] = llfree_get_at(a, at, req(order, 0, 0));
	if (result[t][i] >= 0)
		memset(owner + at, 1, 1u << order);
}

static void put(uint64_t at, unsigned order, unsigned slot)
{
	memset(owner + at, 0, 1u << order);
	check_eq(llfree_put(a, at, req(order, 0, slot)), 0);
}

static void setup_take(uint64_t at, unsigned order)
{
	check(llfree_get_at(a, at, req(order, 0, 0)) >= 0);
	memset(owner + at, 1, 1u << order);
}

/* All frames of [from, to) in use, but for @leave: the lowest ones. */
static void setup_fill(uint64_t from, uint64_t to, unsigned leave)
{
	for (uint64_t f = from + leave; f < to; f++)
		setup_take(f, 0);
}

static unsigned successes(unsigned i)
{
	unsigned n = 0;

	for (unsigned t = 0; t < nthreads; t++)
		n += result[t][i] >= 0;
	return n;
}

/* Two frames are free, two gets: without caches both must have one. */
static void last_two_setup(void)
{
	setup_fill(0, 512, 2);
}

static void get_one(void)
{
	get(0, 0, self() % scenario->slots);
}

static void last_two_verify(void)
{
	check_eq(successes(0), 2);
}

/* Two threads of one slot fill it at once. */
static void same_slot_thread(void)
{
	get(0, 0, 0);
	get(1, 0, 0);
}

static void same_slot_verify(void)
{
	check_eq(successes(0) + successes(1), 4);
}

/* One of them moves on to another tree meanwhile. */
static void leave_setup(void)
{
	setup_fill(0, 4096, 33);
}

static void leave_thread(void)
{
	get(0, 0, 0);
	put(frame[self()][0], 0, 0);
	get(1, 0, 0);
}

static void exhaust_setup(void)
{
	uint64_t f;

	setup_fill(0, 4096, 2);
	/* the slot works on that tree, and has one frame in hand */
	check(llfree_get(a, req(0, 0, 0), &f) >= 0);
	owner[f] = 1;
}

/* Two threads free halves of one huge frame, in frames and in larger parts. */
static void split_setup(void)
{
	setup_take(0, 9);
}

static void split_low(void)
{
	put(0, 8, 0);
}

static void split_high(void)
{
	put(256, 7, scenario->slots - 1);
	put(384, 0, scenario->slots - 1);
}

static void split_verify(void)
{
	check_eq(llfree_is_free(a, 0, 8), 1);
	check_eq(llfree_is_free(a, 256, 7), 1);
	check_eq(llfree_is_free(a, 384, 0), 1);
}

/* A dirty frame comes back into a zeroed child while somebody takes frames from it. */
static void zeroed_setup(void)
{
	check_eq(llfree_offline(a, 0, 1, 0), 0);
	check_eq(llfree_online(a, 0, 1, LLFREE_ZEROED), 0);
	setup_fill(0, scenario->frames, 0);
	/* one zeroed frame is free, in the half row of the dirty one */
	owner[500] = 0;
	check_eq(llfree_put(a, 500, req_zeroed(0, 0, 0)), 0);
	check_eq(llfree_drain(a, LLFREE_ALL_SLOTS), 0);
}

static void zeroed_put(void)
{
	put(511, 0, 0);
}

static void zeroed_get(void)
{
	get(0, 0, 1);
	if (result[1][0] >= 0 && frame[1][0] == 511)
		check_eq(result[1][0], 0);
}

/* A child goes offline while a slot is filled from it: nothing of it is given out afterwards. */
static void offline_thread(void)
{
	result[0][0] = llfree_offline(a, 0, 1, LLFREE_OFFLINE_DRAIN);
	check(result[0][0] == 0 || result[0][0] == LLFREE_EBUSY);
}

static void offline_get(void)
{
	get(0, 0, 0);
	if (result[1][0] >= 0)
		put(frame[1][0], 0, 0);
}

static void offline_verify(void)
{
	uint64_t f;

	/* the other children are full: only the offline one has frames */
	check_eq(llfree_get(a, req(0, 0, 0), &f), LLFREE_ENOMEM);
	check_eq(llfree_offline(a, 0, 1, LLFREE_OFFLINE_DRAIN), LLFREE_EALREADY);
	check_eq(llfree_online(a, 0, 1, LLFREE_ZEROED), 0);
}

static void offline_setup(void)
{
	setup_fill(512, scenario->frames, 0);
}

/* All-or-none against a single: just one of them succeeds. */
static void run_get(void)
{
	get_at(0, 0, 12);
}

static void run_one(void)
{
	get_at(0, 2048, 9);
}

static void run_verify(void)
{
	check_eq(successes(0), 1);
}

/* Two runs for three threads. */
static void runs_get(void)
{
	get(0, 11, 0);
}

static void runs_verify(void)
{
	check_eq(successes(0), 2);
}

/* Orders 7 and 8 in one child: a roll-back of rows hides frames for a moment only. */
static void rows_get8(void)
{
	get_at(0, 0, 8);
}

static void rows_get0(void)
{
	get_at(0, 200, 0);
}

/* The last frame of a huge frame comes back while others want the huge frame. */
static void whole_setup(void)
{
	setup_take(7, 0);
	setup_fill(512, scenario->frames, 0);
}

static void whole_put(void)
{
	put(7, 0, 0);
}

static void whole_get(void)
{
	get(0, 9, 0);
	if (result[1][0] >= 0)
		put(frame[1][0], 9, 0);
}

static void whole_verify(void)
{
	uint64_t f;

	check_eq(llfree_get(a, req(9, 0, 0), &f), 0);
	check_eq(llfree_put(a, f, req(9, 0, 0)), 0);
}

/* Gathering freed frames against the search for a huge frame, which empties the gatherer. */
static void gather_setup(void)
{
	for (uint64_t f = 0; f < 4; f++)
		setup_take(f, 0);
	setup_fill(512, scenario->frames, 0);
}

static void gather_put(void)
{
	for (uint64_t f = 0; f < 4; f++)
		put(f, 0, 0);
}

/* Two threads of one slot gather in different trees. */
static void gather2_setup(void)
{
	for (uint64_t f = 0; f < 3; f++) {
		setup_take(f, 0);
		setup_take(4096 + f, 0);
	}
}

static void gather2_thread(void)
{
	for (uint64_t f = 0; f < 3; f++)
		put(self() * 4096 + f, 0, 0);
}

/* A half row is gathered by one slot while another is filled from it. */
static void half_setup(void)
{
	setup_fill(0, scenario->frames, 1);
}

static void half_put(void)
{
	put(3, 0, 0);
	put(4, 0, 0);
	put(5, 0, 0);
}

static void half_get(void)
{
	get(0, 0, 1);
	get(1, 0, 1);
}

/* The last frame is in a slot's hand; two others want it, and the slot is drained. */
static void steal_setup(void)
{
	uint64_t f;

	setup_fill(0, scenario->frames, 2);
	check(llfree_get(a, req(0, 0, 0), &f) >= 0);
	owner[f] = 1;
}

static void steal_get(void)
{
	get(0, 0, 1);
}

static void steal_verify(void)
{
	check_eq(successes(0), 1);
}

static void drain_thread(void)
{
	check_eq(llfree_drain(a, LLFREE_ALL_SLOTS), 0);
	result[self()][0] = -1;
}

static void drain_verify(void)
{
	check(successes(0) <= 1);
}

/* Two offline the same child: one has it. */
static void offline2_thread(void)
{
	result[self()][0] = llfree_offline(a, 0, 1, self() ? LLFREE_OFFLINE_DRAIN : 0);
	check(result[self()][0] == 0 || result[self()][0] == LLFREE_EALREADY ||
	      result[self()][0] == LLFREE_EBUSY);
}

static void offline2_verify(void)
{
	check_eq(successes(0), 1);
	check_eq(llfree_online(a, 0, 1, 0), 0);
}

/* Double frees at the same time: one of the two is refused. */
static void double_put(void)
{
	unsigned t = self();

	result[t][0] = llfree_put(a, 9, req(0, 0, t % scenario->slots));
	check(result[t][0] == 0 || result[t][0] == LLFREE_ENOTALLOC);
}

static void double_setup(void)
{
	setup_take(9, 0);
	owner[9] = 0;
}

static void double_huge_setup(void)
{
	setup_take(0, 9);
	memset(owner, 0, 512);
}

static void double_huge(void)
{
	result[self()][0] = llfree_put(a, 0, req(9, 0, 0));
}

static const struct scenario scenarios[] = {
	{ "last two frames",
	  2,
	  LLFREE_UNCACHED,
	  4,
	  512,
	  2,
	  last_two_setup,
	  { get_one, get_one },
	  last_two_verify },
	{ "last two frames, persistent",
	  2,
	  LLFREE_PERSISTENT,
	  4,
	  512,
	  1,
	  last_two_setup,
	  { get_one, get_one },
	  last_two_verify },
	{ "one slot",
	  2,
	  0,
	  3,
	  512,
	  1,
	  NULL,
	  { same_slot_thread, same_slot_thread },
	  same_slot_verify },
	{ "one slot, two trees",
	  2,
	  0,
	  2,
	  8192,
	  1,
	  leave_setup,
	  { leave_thread, leave_thread },
	  NULL },
	{ "one slot, tree exhausted",
	  2,
	  0,
	  2,
	  8192,
	  1,
	  exhaust_setup,
	  { same_slot_thread, same_slot_thread },
	  same_slot_verify },
	{ "split", 2, 0, 3, 512, 1, split_setup, { split_low, split_high }, split_verify },
	{ "split, uncached",
	  2,
	  LLFREE_UNCACHED,
	  4,
	  512,
	  2,
	  split_setup,
	  { split_low, split_high },
	  split_verify },
	{ "split, persistent",
	  2,
	  LLFREE_PERSISTENT,
	  4,
	  512,
	  2,
	  split_setup,
	  { split_low, split_high },
	  split_verify },
	{ "zeroed", 2, LLFREE_UNCACHED, 4, 512, 2, zeroed_setup, { zeroed_put, zeroed_get }, NULL },
	{ "zeroed, cached", 2, 0, 3, 1024, 2, zeroed_setup, { zeroed_put, zeroed_get }, NULL },
	{ "offline",
	  2,
	  0,
	  3,
	  1024,
	  1,
	  offline_setup,
	  { offline_thread, offline_get },
	  offline_verify },
	{ "offline, uncached",
	  2,
	  LLFREE_UNCACHED,
	  4,
	  1024,
	  1,
	  offline_setup,
	  { offline_thread, offline_get },
	  offline_verify },
	{ "offline twice",
	  2,
	  LLFREE_UNCACHED,
	  5,
	  512,
	  1,
	  NULL,
	  { offline2_thread, offline2_thread },
	  offline2_verify },
	{ "run against one",
	  2,
	  LLFREE_UNCACHED,
	  8,
	  4096,
	  1,
	  NULL,
	  { run_get, run_one },
	  run_verify },
	{ "two runs",
	  3,
	  LLFREE_UNCACHED,
	  3,
	  4096,
	  1,
	  NULL,
	  { runs_get, runs_get, runs_get },
	  runs_verify },
	{ "rows", 2, LLFREE_UNCACHED, 6, 512, 1, NULL, { rows_get8, rows_get0 }, NULL },
	{ "last frame of a huge one",
	  2,
	  LLFREE_UNCACHED,
	  4,
	  1024,
	  1,
	  whole_setup,
	  { whole_put, whole_get },
	  whole_verify },
	{ "last frame of a huge one, cached",
	  2,
	  0,
	  3,
	  1024,
	  1,
	  whole_setup,
	  { whole_put, whole_get },
	  whole_verify },
	{ "gather", 2, 0, 2, 1024, 1, gather_setup, { gather_put, whole_get }, NULL },
	{ "gather in two trees",
	  2,
	  0,
	  2,
	  8192,
	  1,
	  gather2_setup,
	  { gather2_thread, gather2_thread },
	  NULL },
	{ "gather and fill", 2, 0, 2, 512, 2, half_setup, { half_put, half_get }, NULL },
	{ "steal", 2, 0, 3, 512, 2, steal_setup, { steal_get, steal_get }, steal_verify },
	{ "steal and drain",
	  3,
	  0,
	  2,
	  512,
	  2,
	  steal_setup,
	  { steal_get, steal_get, drain_thread },
	  drain_verify },
	{ "double free",
	  2,
	  LLFREE_UNCACHED,
	  5,
	  512,
	  2,
	  double_setup,
	  { double_put, double_put },
	  run_verify },
	{ "double free, cached",
	  2,
	  0,
	  4,
	  512,
	  2,
	  double_setup,
	  { double_put, double_put },
	  run_verify },
	{ "double free, huge",
	  2,
	  LLFREE_PERSISTENT,
	  5,
	  512,
	  2,
	  double_huge_setup,
	  { double_huge, double_huge },
	  run_verify },
};

static uint64_t explore(const struct scenario *s, unsigned extra)
{
	struct llfree_config c = config_of(s->frames, 1, s->slots, s->flags);
	uint64_t runs = 0;
	unsigned char *lower, *upper, *owners;
	struct llfree handle;

	scenario = s;
	nthreads = s->threads;
	bound = s->bound + extra;
	pool_new(&pool, &c);
	memset(owner, 0, sizeof(owner));
	if (s->setup)
		s->setup();
	lower = malloc(pool.meta.lower_size);
	upper = malloc(pool.meta.upper_size);
	owners = malloc(sizeof(owner));
	check(lower && upper && owners);
	memcpy(lower, pool.meta.lower, pool.meta.lower_size);
	memcpy(upper, pool.meta.upper, pool.meta.upper_size);
	memcpy(owners, owner, sizeof(owner));
	handle = pool.a;
	nchoices = prefix = 0;
	do {
		struct llfree_stats st;
		uint64_t used = 0;

		memcpy(pool.meta.lower, lower, pool.meta.lower_size);
		memcpy(pool.meta.upper, upper, pool.meta.upper_size);
		memcpy(owner, owners, s->frames);
		pool.a = handle;
		memset(result, 0xff, sizeof(result));
		test_on_point = point;
		run_once();
		test_on_point = NULL;
		runs++;
		check_eq(llfree_check(a), 0);
		check_eq(llfree_stats_exact(a, &st), 0);
		for (uint64_t f = 0; f < s->frames; f++)
			used += owner[f];
		check_eq(st.used, used);
		if (s->verify)
			s->verify();
	} while (next_schedule());
	free(lower);
	free(upper);
	free(owners);
	pool_done(&pool);
	return runs;
}

void suite_interleave(void)
{
	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		uint64_t runs = explore(&scenarios[i], test_scale > 1);

		printf("# %s: %llu schedules, %u preemptions\n", scenarios[i].name,
		       (unsigned long long)runs, scenarios[i].bound + (test_scale > 1));
		fflush(stdout);
	}
}

#else

typedef int no_hooks_no_schedules;

#endif
