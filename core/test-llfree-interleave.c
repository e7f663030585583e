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
#include "llfree-upper.h"

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
	unsigned classes; /* 0: one */
	unsigned owners;  /* 0: one */
};

static struct pool pool;
static struct llfree *const a = &pool.a;
#define MAX_FRAMES 16384u
static unsigned char owner[MAX_FRAMES]; /* per frame: 0 free, 1 allocated */
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

/*
 * The contract of a get that fails: no run of its order was free during the whole call. A schedule
 * in which a get failed is run once more, and the pool looked at before every atomic access, which
 * are all the states there are.
 */
static bool watching, failed;
static struct watch {
	bool active;
	unsigned order, n;
	uint64_t still[MAX_FRAMES]; /* runs that were free all the time */
} watches[MAX_THREADS];

/* Frames of [from, from + n) in slots' hands: free, though their bits say otherwise. */
static unsigned in_hands(uint64_t from, uint64_t n)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < a->slot_count; i++) {
		const uint64_t words[2] = { a->slots[i].cache, a->slots[i].freed };

		for (int w = 0; w < 2; w++) {
			uint64_t first = llfree_cache_half(words[w]) * LLFREE_HALF_FRAMES;

			if (!(words[w] & LLFREE_CACHE_VALID) ||
			    first + LLFREE_HALF_FRAMES <= from || first >= from + n)
				continue;
			for (uint64_t f = first; f < first + LLFREE_HALF_FRAMES; f++)
				count += (words[w] >> (f - first) & 1) && f >= from && f < from + n;
		}
	}
	return count;
}

/*
 * Free and online; and the child's count, where it has one, covers the run: what it does not is
 * reserved by others.
 */
static bool run_is_free(uint64_t at, unsigned order)
{
	uint64_t n = (uint64_t)1 << order, step = n < LLFREE_CHILD_FRAMES ? n : LLFREE_CHILD_FRAMES;

	for (uint64_t f = at; f < at + n; f += step) {
		uint64_t child = f / LLFREE_CHILD_FRAMES, bits = 0;
		unsigned lane = llfree_lane(a->entries[child / LLFREE_WORD_LANES], child);
		unsigned hand = in_hands(f, step);

		if (lane >= LLFREE_LANE_BAD || llfree_lane_free(lane) + hand < step)
			return false;
		for (uint64_t i = f; i < f + step; i += 64)
			bits += plat_popcount((a->bits[i / 64] ^ llfree_lane_flip(lane)) &
					      llfree_run_mask(order < 6 ? order : 6) << i % 64);
		if (bits + hand != step)
			return false;
	}
	return true;
}

static void watch(void)
{
	for (unsigned t = 0; t < nthreads; t++) {
		struct watch *w = &watches[t];
		unsigned n = 0;

		for (unsigned i = 0; w->active && i < w->n; i++)
			if (run_is_free(w->still[i], w->order))
				w->still[n++] = w->still[i];
		w->n = n;
	}
}

static void watch_begin(unsigned t, unsigned order)
{
	struct watch *w = &watches[t];

	w->active = watching;
	w->order = order;
	w->n = 0;
	for (uint64_t f = 0; watching && f + (1u << order) <= a->frames; f += 1u << order)
		w->still[w->n++] = f;
}

static void watch_end(unsigned t, int r)
{
	struct watch *w = &watches[t];

	watch();
	if (r < 0 && w->n) {
		fprintf(stderr, "%s: get of order %u failed, %llu was free all the time\n",
			scenario->name, w->order, (unsigned long long)w->still[0]);
		check(!"a get fails only if no run was free all the time");
	}
	w->active = false;
	failed |= r < 0;
}

static void point(void)
{
	unsigned c;

	if (watching)
		watch();
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

static void get_class(unsigned i, unsigned order, unsigned class, unsigned slot)
{
	unsigned t = self();

	watch_begin(t, order);
	result[t][i] = llfree_get(a, req(order, class, slot), &frame[t][i]);
	watch_end(t, result[t][i]);
	if (result[t][i] >= 0) {
		check_eq(frame[t][i] % (1u << order), 0);
		for (uint64_t f = frame[t][i]; f < frame[t][i] + (1u << order); f++) {
			check_eq(owner[f], 0);
			owner[f] = 1;
		}
	}
}

static void get(unsigned i, unsigned order, unsigned slot)
{
	get_class(i, order, 0, slot);
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

/* Two runs of order 3 are left, in the row where the slot found the last one; a third get fails. */
static void row_setup(void)
{
	uint64_t f;

	for (f = 0; f < 512; f++)
		if (f < 64 || f >= 80)
			setup_take(f, 0);
	check(llfree_get(a, req(3, 0, 0), &f) >= 0);
	check_eq(llfree_put(a, f, req(3, 0, 0)), 0);
	setup_fill(512, scenario->frames, 0);
}

static void row_get(void)
{
	get(0, 3, 0);
}

static void row_get_put(void)
{
	get(0, 3, 0);
	if (result[self()][0] >= 0)
		put(frame[self()][0], 3, 0);
	get(1, 3, 0);
}

static void row_verify(void)
{
	check(result[0][0] >= 0 && result[1][1] >= 0);
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

/* Of two that take ranges which overlap out of use, or back, one succeeds; none is left in part. */
static void overlap_offline(void)
{
	result[self()][0] = self() ? llfree_offline(a, 1, 1, LLFREE_OFFLINE_DRAIN)
				   : llfree_offline(a, 0, 2, LLFREE_OFFLINE_DRAIN);
}

static void overlap_offline_setup(void)
{
	setup_take(0, 0); /* so that the lanes are changed one by one */
}

static bool is_offline(uint64_t child)
{
	return llfree_lane(a->entries[0], child) & LLFREE_LANE_OFFLINE;
}

static void overlap_offline_verify(void)
{
	/* EBUSY: it is offline, and not all of it is free */
	check(result[0][0] == LLFREE_EBUSY || result[0][0] == LLFREE_EALREADY);
	check_eq(result[1][0], result[0][0] == LLFREE_EBUSY ? LLFREE_EALREADY : 0);
	check_eq(is_offline(0), result[0][0] == LLFREE_EBUSY);
	check(is_offline(1));
}

static void overlap_online_setup(void)
{
	check_eq(llfree_offline(a, 0, 2, 0), 0);
}

static void overlap_online(void)
{
	result[self()][0] = self() ? llfree_online(a, 1, 1, 0) : llfree_online(a, 0, 2, 0);
}

static void overlap_online_verify(void)
{
	check_eq(successes(0), 1);
	check_eq(result[result[0][0] ? 0 : 1][0], LLFREE_EALREADY);
	check_eq(is_offline(0), result[0][0] != 0);
	check(!is_offline(1));
}

/*
 * A host has died with frames in hand, and one more that its slot gathered; the others go on in the
 * same trees while it is recovered: nothing is lost, whoever comes first.
 */
static void dead_setup(void)
{
	struct llfree_config c = pool.config;
	struct llfree dead;
	uint64_t f;

	setup_fill(0, scenario->frames, 6);
	c.owner = 1;
	check_eq(llfree_attach(&dead, &c, &pool.meta), 0);
	check(llfree_get(&dead, req(0, 0, 0), &f) >= 0);
	owner[f] = 1;
	for (uint64_t i = 100; i < 103; i++) {
		owner[i] = 0;
		check_eq(llfree_put(&dead, i, req(0, 0, 0)), 0);
	}
}

static void dead_recover(void)
{
	uint64_t trees, frames;

	check_eq(llfree_recover_owner(a, 1, &trees, &frames), 0);
	check(trees <= 1);
}

static void dead_use(void)
{
	put(101 + 2, 0, 0);
	get(0, 0, 0);
	get(1, 0, 0);
}

static void dead_verify(void)
{
	uint64_t f;
	unsigned n = 0;

	check(result[1][0] >= 0 && result[1][1] >= 0);
	/* 5 of the 6, 3 that were gathered, and one put; less the two gets */
	while (llfree_get(a, req(0, 0, 0), &f) >= 0)
		n++;
	check_eq(n, 5 + 3 + 1 - 2);
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

/*
 * A search looks at trees in several passes, by how well they suit; a tree may change that between
 * them. Tree 0 has frames and no run. Tree 1 has the only run of order @order, and slot @slot is
 * working there.
 */
static void kinds_setup(unsigned order, unsigned class, unsigned slot)
{
	uint64_t f, run = 4096 + 2048;

	for (f = 0; f < 4096; f++)
		if (f % 32)
			setup_take(f, 0);
	for (f = 4096; f < 8192; f++)
		if ((f < run || f >= run + (1u << order)) && (f >= run || f % 64))
			setup_take(f, 0);
	/* Slots begin apart: the second one's hint is tree 1. */
	a->trees[0] = llfree_tree_word(0, 0, 0, 0);
	a->trees[1] = llfree_tree_word(class, 0, class * scenario->slots + slot + 1, 0);
}

static void kinds3_setup(void)
{
	kinds_setup(3, 0, 1);
}

static void kinds7_setup(void)
{
	kinds_setup(7, 0, 1);
}

static void kinds9_setup(void)
{
	kinds_setup(9, 0, 1);
}

static void kinds10_setup(void)
{
	kinds_setup(10, 0, 1);
}

static void demote3_setup(void)
{
	kinds_setup(3, 1, 0);
}

static void demote10_setup(void)
{
	kinds_setup(10, 1, 0);
}

/* Trees 2 and 3 are whole, and slot 1 is working there. */
static void kinds13_setup(void)
{
	uint64_t f;

	for (f = 0; f < 8192; f++)
		if (f % 32)
			setup_take(f, 0);
	a->trees[2] = llfree_tree_word(0, 0, 2, 0);
	a->trees[3] = llfree_tree_word(0, 0, 2, 0);
}

static void kinds_get3(void)
{
	get(0, 3, 0);
}

static void kinds_get7(void)
{
	get(0, 7, 0);
}

static void kinds_get9(void)
{
	get(0, 9, 0);
}

static void kinds_get10(void)
{
	get(0, 10, 0);
}

static void kinds_get13(void)
{
	get(0, 13, 0);
}

/* The only run was there all the time. */
static void kinds_verify(void)
{
	check(result[0][0] >= 0);
}

static void leave_tree(void)
{
	check_eq(llfree_drain(a, 1), 0);
}

/* As if slot 1 gave these two up, one after the other. */
static void leave_trees(void)
{
	llfree_tree_leave(a, 2, 1);
	llfree_tree_leave(a, 3, 1);
}

/* The slot of the other class leaves the tree, and takes it again. */
static void leave_and_return(void)
{
	uint32_t slot = scenario->slots;

	check_eq(llfree_drain(a, slot), 0);
	get_class(0, 0, 1, 0);
	check_eq(llfree_drain(a, slot), 0);
}

/* Tree 1 is wholly free, then not: one of its frames is taken, and comes back. */
static void whole_kind_setup(void)
{
	for (uint64_t f = 0; f < 4096; f++)
		if (f % 32)
			setup_take(f, 0);
}

static void whole_kind_change(void)
{
	get_at(0, 4096 + 1000, 0);
	if (result[self()][0] >= 0)
		put(4096 + 1000, 0, 1);
	get_at(1, 4096 + 2000, 0);
}

/* The class of the tree with the run goes to and fro. */
static void class_setup(void)
{
	kinds_setup(3, 0, 1);
	check_eq(llfree_drain(a, LLFREE_ALL_SLOTS), 0);
}

static void class_change(void)
{
	for (unsigned i = 0; i < 3; i++) {
		int r = llfree_set_class(a, 8, i % 2 ? 0 : 1);

		check(r == 0 || r == LLFREE_EBUSY);
	}
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
	{ "offline, ranges that overlap",
	  2,
	  LLFREE_UNCACHED,
	  5,
	  1024,
	  1,
	  overlap_offline_setup,
	  { overlap_offline, overlap_offline },
	  overlap_offline_verify },
	{ "online, ranges that overlap",
	  2,
	  LLFREE_UNCACHED,
	  5,
	  1024,
	  1,
	  overlap_online_setup,
	  { overlap_online, overlap_online },
	  overlap_online_verify },
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
	{ "one row", 2, 0, 4, 1024, 1, row_setup, { row_get, row_get_put }, row_verify },
	{ "one row, persistent",
	  2,
	  LLFREE_PERSISTENT,
	  4,
	  1024,
	  1,
	  row_setup,
	  { row_get, row_get_put },
	  row_verify },
	{ "one row, three",
	  3,
	  LLFREE_UNCACHED,
	  2,
	  1024,
	  1,
	  row_setup,
	  { row_get, row_get, row_get },
	  runs_verify },
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
	{ "dead owner",
	  2,
	  0,
	  2,
	  512,
	  1,
	  dead_setup,
	  { dead_recover, dead_use },
	  dead_verify,
	  1,
	  2 },
	{ "dead owner, uncached",
	  2,
	  LLFREE_UNCACHED,
	  3,
	  512,
	  1,
	  dead_setup,
	  { dead_recover, dead_use },
	  dead_verify,
	  1,
	  2 },
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
	{ "kind changes, order 3",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  8192,
	  2,
	  kinds3_setup,
	  { kinds_get3, leave_tree },
	  kinds_verify },
	{ "kind changes, order 3, cached",
	  2,
	  0,
	  2,
	  8192,
	  2,
	  kinds3_setup,
	  { kinds_get3, leave_tree },
	  kinds_verify },
	{ "kind changes, order 7",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  8192,
	  2,
	  kinds7_setup,
	  { kinds_get7, leave_tree },
	  kinds_verify },
	{ "kind changes, order 9",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  8192,
	  2,
	  kinds9_setup,
	  { kinds_get9, leave_tree },
	  kinds_verify },
	{ "kind changes, order 10",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  8192,
	  2,
	  kinds10_setup,
	  { kinds_get10, leave_tree },
	  kinds_verify },
	{ "kind changes, order 13",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  16384,
	  2,
	  kinds13_setup,
	  { kinds_get13, leave_trees },
	  kinds_verify },
	{ "whole tree is broken, order 3",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  8192,
	  2,
	  whole_kind_setup,
	  { kinds_get3, whole_kind_change },
	  kinds_verify },
	{ "whole tree is broken, order 10",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  8192,
	  2,
	  whole_kind_setup,
	  { kinds_get10, whole_kind_change },
	  kinds_verify },
	{ "tree to demote is left and taken, order 3",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  8192,
	  1,
	  demote3_setup,
	  { kinds_get3, leave_and_return },
	  kinds_verify,
	  2 },
	{ "tree to demote is left and taken, order 10",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  8192,
	  1,
	  demote10_setup,
	  { kinds_get10, leave_and_return },
	  kinds_verify,
	  2 },
	{ "class changes",
	  2,
	  LLFREE_UNCACHED,
	  2,
	  8192,
	  2,
	  class_setup,
	  { kinds_get3, class_change },
	  kinds_verify,
	  2 },
};

static uint64_t explore(const struct scenario *s, unsigned extra)
{
	struct llfree_config c =
		config_of(s->frames, s->classes ? s->classes : 1, s->slots, s->flags);

	c.owners = s->owners ? s->owners : 1;
	unsigned char *lower, *upper, *owners;
	struct llfree handle;
	uint64_t runs = 0;

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
		failed = false;
		test_on_point = point;
		run_once();
		test_on_point = NULL;
		if (failed && !watching) {
			/* The same schedule again, watched. */
			watching = true;
			prefix = nchoices;
			continue;
		}
		watching = false;
		runs++;
		check_eq(llfree_check(a), 0);
		check_eq(llfree_stats_exact(a, &st), 0);
		for (uint64_t f = 0; f < s->frames; f++)
			used += owner[f];
		check_eq(st.used, used);
		if (s->verify)
			s->verify();
	} while (watching || next_schedule());
	free(lower);
	free(upper);
	free(owners);
	pool_done(&pool);
	return runs;
}

void suite_interleave(void)
{
	const char *only = getenv("MORSEL_TEST_SCENARIO");

	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (only && strcmp(only, scenarios[i].name))
			continue;

		uint64_t runs = explore(&scenarios[i], test_scale > 1);

		printf("# %s: %llu schedules, %u preemptions\n", scenarios[i].name,
		       (unsigned long long)runs, scenarios[i].bound + (test_scale > 1));
		fflush(stdout);
	}
}

#else

typedef int no_hooks_no_schedules;

#endif
