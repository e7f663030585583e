/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * One test for each defect that was found in an earlier implementation of the algorithm
 * (docs/llfree.md lists them), and the roll-backs.
 */
#include "test-llfree.h"

static const unsigned modes[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };

static struct llfree_config mode_config(uint64_t frames, unsigned classes, unsigned slots,
					unsigned mode)
{
	struct llfree_config c = config_of(frames, classes, slots, modes[mode]);

	c.writeback = PLAT_WB_NONE;
	return c;
}

static uint64_t get(struct pool *p, unsigned order, unsigned class, unsigned slot)
{
	uint64_t frame = ~0ull;

	check(llfree_get(&p->a, req(order, class, slot), &frame) >= 0);
	return frame;
}

/* Roll-back of a multi-child get: nothing is given twice, nothing lost. */
void suite_defect1(void)
{
	for (unsigned mode = 0; mode < 3; mode++) {
		struct llfree_config c = mode_config(4096 * 4, 1, 1, mode);
		uint64_t a, b, frame;
		struct pool p;

		/* the original: get 9, get 9, put the first, get 10 */
		pool_new(&p, &c);
		a = get(&p, 9, 0, 0);
		b = get(&p, 9, 0, 0);
		check_eq(llfree_put(&p.a, a, req(9, 0, 0)), 0);
		frame = get(&p, 10, 0, 0);
		check(frame + 1024 <= b || frame >= b + 512);
		check_eq(llfree_is_free(&p.a, b, 9), 0);
		check_eq(llfree_check(&p.a), 0);
		check_eq(llfree_put(&p.a, frame, req(10, 0, 0)), 0);
		check_eq(llfree_put(&p.a, b, req(9, 0, 0)), 0);

#ifdef MORSEL_TEST_HOOKS
		/* and each word after the first lost to another, for all orders of several words */
		for (unsigned order = 12; order <= 14; order++) {
			for (unsigned skip = 0; skip + 1 < 2u << (order - 12); skip++) {
				test_force(LLFREE_FORCE_WORDS, skip, 1);
				frame = ~0ull;
				check(llfree_get_at(&p.a, 0, req(order, 0, 0)) == LLFREE_EBUSY);
				check_eq(test_forced(LLFREE_FORCE_WORDS), 1);
				check_eq(llfree_check(&p.a), 0);
				for (uint64_t f = 0; f < c.frames; f += 512)
					check_eq(llfree_is_free(&p.a, f, 9), 1);
			}
			test_force(LLFREE_FORCE_WORDS, 0, 1);
			frame = get(&p, order, 0, 0);
			check_eq(test_forced(LLFREE_FORCE_WORDS), 1);
			check_eq(llfree_put(&p.a, frame, req(order, 0, 0)), 0);
		}
#endif
		/* a run that is taken in its last child */
		b = 4096 * 2 - 512;
		check(llfree_get_at(&p.a, b, req(9, 0, 0)) >= 0);
		check_eq(llfree_get_at(&p.a, 0, req(13, 0, 0)), LLFREE_EBUSY);
		for (uint64_t f = 0; f < b; f += 512)
			check_eq(llfree_is_free(&p.a, f, 9), 1);
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);
	}
}

/* Roll-back of orders 7 and 8 inside a child. */
void suite_defect2(void)
{
	for (unsigned mode = 0; mode < 3; mode++) {
		for (unsigned order = 7; order <= 8; order++) {
			struct llfree_config c = mode_config(512, 1, 1, mode);
			struct llfree_stats s;
			uint64_t frame;
			struct pool p;

			pool_new(&p, &c);
#ifdef MORSEL_TEST_HOOKS
			for (unsigned skip = 0; skip + 1 < 1u << (order - 6); skip++) {
				test_force(LLFREE_FORCE_ROWS, skip, 1);
				frame = get(&p, order, 0, 0);
				check_eq(test_forced(LLFREE_FORCE_ROWS), 1);
				check_eq(llfree_check(&p.a), 0);
				check_eq(llfree_put(&p.a, frame, req(order, 0, 0)), 0);
				test_force(LLFREE_FORCE_ROWS, skip, 1);
				check_eq(llfree_get_at(&p.a, 0, req(order, 0, 0)), LLFREE_EBUSY);
				check_eq(llfree_check(&p.a), 0);
				check_eq(llfree_is_free(&p.a, 0, 9), 1);
			}
#endif
			/* the second half of the run is in use: the first one stays free */
			frame = 1u << (order - 1);
			check(llfree_get_at(&p.a, frame, req(0, 0, 0)) >= 0);
			check_eq(llfree_get_at(&p.a, 0, req(order, 0, 0)), LLFREE_EBUSY);
			check_eq(llfree_stats_exact(&p.a, &s), 0);
			check_eq(s.used, 1);
			check_eq(llfree_check(&p.a), 0);
			/* all other runs can be had, and then no more */
			for (unsigned i = 1; i < 512u >> order; i++)
				check(get(&p, order, 0, 0) != 0);
			check_eq(llfree_get(&p.a, req(order, 0, 0), &frame), LLFREE_ENOMEM);
			check_eq(llfree_check(&p.a), 0);
			pool_done(&p);
		}
	}
}

/* The very last frame, wherever it is, is found. */
void suite_defect3(void)
{
	for (unsigned mode = 0; mode < 3; mode++) {
		struct llfree_config c = mode_config(4096 * 3 + 600, 1, 2, mode);
		uint64_t frame;
		struct pool p;

		pool_new(&p, &c);
		for (uint64_t i = 0; i < c.frames; i++)
			get(&p, 0, 0, 0);
		check_eq(llfree_get(&p.a, req(0, 0, 0), &frame), LLFREE_ENOMEM);
		for (uint64_t f = 0; f < c.frames; f += 97) {
			for (unsigned slot = 0; slot < 2; slot++) {
				check_eq(llfree_put(&p.a, f, req(0, 0, 1 - slot)), 0);
				check_eq(get(&p, 0, 0, slot), f);
				check_eq(llfree_get(&p.a, req(0, 0, slot), &frame), LLFREE_ENOMEM);
			}
		}
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);
	}
}

/* A free huge frame is found however many other trees look better. */
void suite_defect4(void)
{
	for (unsigned mode = 0; mode < 3; mode++) {
		const unsigned trees = 40;
		struct llfree_config c = mode_config(4096 * trees, 2, trees, mode);
		uint64_t frame;
		struct pool p;

		c.policy = llfree_policy_movable;
		pool_new(&p, &c);
		/* every tree reserved by a slot of its own, and one huge frame left in each */
		for (unsigned t = 0; t < trees; t++)
			for (unsigned i = 0; i < 7 * 512 + 1; i++)
				get(&p, 0, 0, t);
		for (unsigned i = 0; i < trees; i++) {
			struct llfree_stats s;

			check_eq(llfree_stats_exact(&p.a, &s), 0);
			if (s.free_huge)
				get(&p, 9, 1, 0);
		}
		/* all but one in use: that one must be found from everywhere */
		while (llfree_get(&p.a, req(9, 1, 0), &frame) == 0)
			;
		for (unsigned i = 0; i < 512 * 3; i++)
			if (llfree_get(&p.a, req(0, 0, 0), &frame))
				break;
		check_eq(llfree_get(&p.a, req(9, 1, 0), &frame), LLFREE_ENOMEM);
		pool_done(&p);

		pool_new(&p, &c);
		/*
		 * twenty trees that others hold, each with room for huge frames: none is free
		 * otherwise
		 */
		for (unsigned t = 0; t < trees; t++)
			get(&p, 0, 0, t);
		for (unsigned i = 0; i < trees * 7; i++)
			get(&p, 9, 1, i % trees);
		check_eq(llfree_get(&p.a, req(9, 1, 5), &frame), LLFREE_ENOMEM);
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);
	}
}

static unsigned class_of(struct pool *p, uint64_t frame)
{
	struct llfree_huge_state s;

	check_eq(llfree_huge_state(&p->a, frame / 512, &s), 0);
	return s.class;
}

/* The class of a reserved tree does not change under its owner. */
void suite_defect5(void)
{
	for (unsigned mode = 0; mode < 3; mode++) {
		struct llfree_config c = mode_config(4096 * 2, 3, 1, mode);
		uint64_t movable, immovable, frame;
		struct pool p;

		c.policy = llfree_policy_movable;
		pool_new(&p, &c);
		movable = get(&p, 0, 1, 0);
		check_eq(class_of(&p, movable), 1);
		/*
		 * as long as there is another tree the immovable frames go there, and then anywhere
		 */
		for (unsigned i = 0; i < 4096; i++) {
			immovable = get(&p, 0, 0, 0);
			check(immovable / 4096 != movable / 4096);
			check_eq(class_of(&p, movable), 1);
			check_eq(class_of(&p, immovable), 0);
		}
		check_eq(llfree_set_class(&p.a, movable / 512, 0), LLFREE_EBUSY);
		check_eq(class_of(&p, movable), 1);
		/* the reservation ends before the class does */
		immovable = get(&p, 0, 0, 0);
		check_eq(immovable / 4096, movable / 4096);
		check_eq(class_of(&p, immovable), 0);
		frame = get(&p, 0, 1, 0);
		check_eq(frame / 4096, movable / 4096);
		check_eq(class_of(&p, frame), 0);
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);
	}
}

/* A put into an offline range stays there; online then works, and brings it back. */
void suite_defect6(void)
{
	for (unsigned mode = 0; mode < 3; mode++) {
		for (unsigned order = 0; order <= 9; order += 3) {
			struct llfree_config c = mode_config(4096, 1, 1, mode);
			struct llfree_huge_state s;
			uint64_t frame, n = 1ull << order, other;
			struct pool p;

			pool_new(&p, &c);
			frame = get(&p, order, 0, 0);
			check_eq(llfree_offline(&p.a, frame / 4096 * 8, 8, LLFREE_OFFLINE_DRAIN),
				 LLFREE_EBUSY);
			check_eq(llfree_put(&p.a, frame, req(order, 0, 0)), 0);
			check_eq(llfree_put(&p.a, frame, req(order, 0, 0)), LLFREE_ENOTALLOC);
			for (unsigned h = 0; h < 8; h++) {
				check_eq(llfree_huge_state(&p.a, h, &s), 0);
				check(s.offline && s.free == 512);
			}
			for (unsigned o = 0; o <= 12; o++)
				check_eq(llfree_get(&p.a, req(o, 0, 0), &other), LLFREE_ENOMEM);
			check_eq(llfree_get_at(&p.a, frame, req(order, 0, 0)), LLFREE_EBUSY);
			check_eq(llfree_offline(&p.a, 0, 1, 0), LLFREE_EALREADY);
			check_eq(llfree_online(&p.a, 0, 8, 0), 0);
			check_eq(llfree_online(&p.a, 0, 8, 0), LLFREE_EALREADY);
			for (uint64_t f = 0; f < c.frames; f += n)
				get(&p, order, 0, 0);
			check_eq(llfree_check(&p.a), 0);
			pool_done(&p);
		}
	}
}

/* Parts of one huge frame freed by two: both succeed, also if one finds the split half done. */
void suite_defect7(void)
{
	for (unsigned mode = 0; mode < 3; mode++) {
		struct llfree_config c = mode_config(4096, 1, 2, mode);
		struct pool p;

		pool_new(&p, &c);
		for (unsigned order = 0; order <= 8; order++) {
			uint64_t frame = get(&p, 9, 0, 0), n = 1ull << order;

#ifdef MORSEL_TEST_HOOKS
			/* the CAS that splits is lost to another thread, which split it */
			test_force(LLFREE_FORCE_SPLIT, 0, 1);
#endif
			for (uint64_t i = 0; i < 512; i += n)
				check_eq(llfree_put(&p.a, frame + i, req(order, 0, i / n % 2)), 0);
			check_eq(llfree_drain(&p.a, LLFREE_ALL_SLOTS), 0);
			check_eq(llfree_is_free(&p.a, frame, 9), 1);
			check_eq(llfree_check(&p.a), 0);
		}
		/* split once, it is no huge frame any more, in whatever state */
		uint64_t frame = get(&p, 9, 0, 0);

		check_eq(llfree_put(&p.a, frame + 8, req(3, 0, 0)), 0);
		check_eq(llfree_put(&p.a, frame, req(9, 0, 0)), LLFREE_ENOTALLOC);
		check(llfree_get_at(&p.a, frame + 8, req(3, 0, 0)) >= 0);
		check_eq(llfree_put(&p.a, frame, req(9, 0, 0)), LLFREE_ENOTALLOC);
		check_eq(llfree_put(&p.a, frame, req(8, 0, 0)), 0);
		check_eq(llfree_put(&p.a, frame + 256, req(8, 0, 0)), 0);
		check_eq(llfree_is_free(&p.a, frame, 9), 1);
		pool_done(&p);
	}
}

#ifdef MORSEL_TEST_HOOKS
static unsigned writebacks, fences;

static void count_writeback(const void *line)
{
	check_eq((uintptr_t)line % 8, 0);
	writebacks++;
}

static void count_fence(void)
{
	fences++;
}
#endif

/*
 * Write-back and fences: none in volatile pools, one of each for an operation on one line in
 * persistent ones.
 */
void suite_defect8(void)
{
#ifdef MORSEL_TEST_HOOKS
	for (unsigned mode = 0; mode < 3; mode++) {
		bool persistent = modes[mode] & LLFREE_PERSISTENT;
		struct llfree_config c = mode_config(4096 * 64, 1, 1, mode);
		struct pool p;

		c.writeback = PLAT_WB_CLWB;
		pool_new(&p, &c);
		test_on_writeback = count_writeback;
		test_on_fence = count_fence;
		for (unsigned order = 0; order <= 18; order++) {
			unsigned lines = order > 14 ? 1u << (order - 14) : 1;
			uint64_t frame;

			writebacks = fences = 0;
			frame = get(&p, order, 0, 0);
			check_eq(fences, persistent);
			check_eq(writebacks, persistent ? lines : 0);
			writebacks = fences = 0;
			check_eq(llfree_put(&p.a, frame, req(order, 0, 0)), 0);
			check_eq(fences, persistent);
			check_eq(writebacks, persistent ? lines : 0);
		}
		test_on_writeback = NULL;
		test_on_fence = NULL;
		pool_done(&p);
	}
#endif
}

/* What was documented there and was not so: sizes and orders are what the headers say. */
void suite_defect9(void)
{
	struct llfree_config c = config_of(1ull << 24, 1, 1, 0);
	uint64_t lower, upper, frame;
	struct pool p;

	check_eq(1u << LLFREE_TREE_ORDER, LLFREE_TREE_FRAMES);
	check_eq(LLFREE_TREE_CHILDREN, 8);
	check_eq(llfree_sizes(&c, &lower, &upper), 0);
	/* 64 GiB */
	check((lower + upper - sizeof(struct llfree_slot)) / 64 <= 35400);

	c.frames = 1ull << LLFREE_MAX_ORDER;
	pool_new(&p, &c);
	check_eq(llfree_get(&p.a, req(LLFREE_MAX_ORDER, 0, 0), &frame), 0);
	check_eq(frame, 0);
	check_eq(llfree_put(&p.a, frame, req(LLFREE_MAX_ORDER, 0, 0)), 0);
	check_eq(llfree_get(&p.a, req(LLFREE_MAX_ORDER + 1, 0, 0), &frame), LLFREE_EINVAL);
	/* a state that an assert would have changed is the same after every failure */
	check_eq(llfree_put(&p.a, frame, req(LLFREE_MAX_ORDER, 0, 0)), LLFREE_ENOTALLOC);
	check_eq(llfree_is_free(&p.a, 0, LLFREE_MAX_ORDER), 1);
	pool_done(&p);
}

#ifdef MORSEL_TEST_HOOKS
/*
 * Every way back is walked: a lost race at each site, first or later, changes nothing but the time
 * it takes.
 */
/*
 * A search stops after some trees when it has seen a whole one, and takes that; if all whole ones
 * are gone by then it starts again behind them. Order 8, for which it stops after 8 trees.
 */
static void window_restart(void)
{
	struct llfree_config c = config_of(4096 * 32, 2, 1, LLFREE_UNCACHED);
	unsigned whole = 9, lost = whole * LLFREE_TREE_CHILDREN;
	uint64_t frame;
	struct pool p;

	pool_new(&p, &c);
	/* Whole, but of another class, hence not what the first pass takes; then partly used ones. */
	for (unsigned t = 0; t < 32; t++) {
		check_eq(llfree_set_class(&p.a, t * LLFREE_TREE_CHILDREN, t < whole), 0);
		if (t >= whole)
			check_eq(llfree_get_at(&p.a, t * 4096, req(0, 0, 0)), 0);
	}
	test_force(LLFREE_FORCE_ROWS, 0, lost);
	test_force(LLFREE_FORCE_CHILD, 0, lost);
	check_eq(llfree_get(&p.a, req(8, 0, 0), &frame), 0);
	check_eq(test_forced(LLFREE_FORCE_CHILD), lost);
	check(frame >= whole * 4096);
	test_force(LLFREE_FORCE_ROWS, 0, 0);
	test_force(LLFREE_FORCE_CHILD, 0, 0);
	check_eq(llfree_check(&p.a), 0);
	pool_done(&p);
}

void suite_rollback(void)
{
	window_restart();
	for (unsigned mode = 0; mode < 3; mode++) {
		for (int site = 0; site < LLFREE_FORCE_MAX; site++) {
			unsigned forced = 0;

			for (unsigned skip = 0; skip < 40; skip++) {
				struct llfree_config c = mode_config(4096 * 8, 2, 2, mode);
				uint64_t frames[40], n = 0;
				struct llfree_stats s;
				struct pool p;

				pool_new(&p, &c);
				test_force(site, skip, 1 + skip % 3);
				/* only reached after a row was lost */
				if (site == LLFREE_FORCE_CHILD)
					test_force(LLFREE_FORCE_ROW, skip, 5);
				for (unsigned i = 0; i < 36; i++)
					if (llfree_get(&p.a, req(i % 13, i % 13 >= 9, i % 2),
						       &frames[n]) >= 0)
						n++;
				check_eq(llfree_check(&p.a), 0);
				check_eq(n, 36);
				/*
				 * parts of a huge frame, rows in sequence, and runs over several
				 * words
				 */
				for (unsigned i = 0; i < n; i++) {
					unsigned order = i % 13;
					int r = 0;

					for (unsigned k = 0; order == 9 && k < 512; k++)
						check_eq(llfree_put(&p.a, frames[i] + k,
								    req(0, 0, k / 300)),
							 0);
					if (order != 9)
						r = llfree_put(&p.a, frames[i],
							       req(order, order >= 9, i % 2));
					/*
					 * a put of several words that loses one refuses, and frees
					 * none
					 */
					while (r) {
						check_eq(r, LLFREE_ENOTALLOC);
						check_eq(site, LLFREE_FORCE_PUT_WORDS);
						check_eq(llfree_check(&p.a), 0);
						r = llfree_put(&p.a, frames[i], req(order, 1, 0));
					}
				}
				check_eq(llfree_offline(&p.a, 56, 3, LLFREE_OFFLINE_DRAIN), 0);
				check_eq(llfree_online(&p.a, 56, 3, LLFREE_ZEROED), 0);
				check_eq(llfree_mark_bad(&p.a, 63), 0);
				check_eq(llfree_drain(&p.a, LLFREE_ALL_SLOTS), 0);
				check_eq(llfree_check(&p.a), 0);
				check_eq(llfree_stats_exact(&p.a, &s), 0);
				check_eq(s.used, 0);
				check_eq(s.free, c.frames - 512);
				forced += test_forced(site);
				test_force(site, 0, 0);
				test_force(LLFREE_FORCE_ROW, 0, 0);
				pool_done(&p);
			}
			/* sites of caches do not exist without, and the other way round */
			if (!forced && !modes[mode])
				fprintf(stderr, "site %d was never reached\n", site);
			check(forced || modes[mode]);
		}
	}
}
#endif
