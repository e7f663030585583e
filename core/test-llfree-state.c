/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Bad input, classes, marks, offline and online, owners, statistics, sizes.
 */
#include "test-llfree.h"

#include <sys/mman.h>
#include <unistd.h>

static uint64_t get(struct pool *p, struct llfree_request r)
{
	uint64_t frame = ~0ull;

	check(llfree_get(&p->a, r, &frame) >= 0);
	return frame;
}

static struct llfree_huge_state state(struct pool *p, uint64_t huge)
{
	struct llfree_huge_state s;

	check_eq(llfree_huge_state(&p->a, huge, &s), 0);
	return s;
}

/* llfree_check() says no to each state that breaks an invariant. */
static void check_notices(void)
{
	struct llfree_config c = config_of(4096 * 2 + 100, 2, 2, 0);
	struct llfree_slot *slots;
	uint64_t frame, cache, freed;
	struct pool p;

	pool_new(&p, &c);
	slots = p.a.slots;
	for (unsigned i = 0; i < 2; i++)
		check_eq(llfree_get(&p.a, req(0, 0, i), &frame), 0);
	check_eq(llfree_check(&p.a), 0);
	cache = slots[0].cache;
	freed = slots[0].freed;

#define NOTICED(word, value)                                  \
	do {                                                  \
		uint64_t kept = (word);                       \
                                                              \
		(word) = (value);                             \
		check_eq(llfree_check(&p.a), LLFREE_EUCLEAN); \
		(word) = kept;                                \
		check_eq(llfree_check(&p.a), 0);              \
	} while (0)
	/* frames in the hand of two, of none, beyond the end, free by their bits, not to be found */
	NOTICED(slots[1].cache, cache);
	NOTICED(slots[1].freed, cache);
	NOTICED(slots[0].cache, cache & ~LLFREE_CACHE_VALID);
	NOTICED(slots[0].cache, cache | 0xffffffffull << LLFREE_CACHE_SHIFT);
	NOTICED(slots[0].cache, cache + (3ull << LLFREE_CACHE_SHIFT));
	NOTICED(slots[0].freed, freed | LLFREE_CACHE_VALID);
	NOTICED(p.a.trees[0], p.a.trees[0] & ~0xffffull);
	/* a slot or class that there is not; a lane without a child; a count that is not its bits' */
	NOTICED(p.a.trees[1], llfree_tree_word(0, 0, 5, 0));
	NOTICED(p.a.trees[1], llfree_tree_word(0, 0, 0, 5));
	NOTICED(p.a.trees[1], llfree_tree_word(2, 0, 0, 0));
	NOTICED(p.a.entries[5], 0);
	NOTICED(p.a.entries[1], p.a.entries[1] - 1);
#undef NOTICED
	pool_done(&p);
}

void suite_input(void)
{
	check_notices();

	struct llfree_config c = config_of(4096 * 2 + 100, 2, 2, 0), bad;
	uint64_t frame = 7, lower, upper;
	struct llfree_huge_state s;
	struct llfree_stats stats;
	struct llfree_meta meta;
	struct llfree a;
	struct pool p;

	/* configurations */
#define REFUSED(field, value)                                                \
	do {                                                                 \
		bad = c;                                                     \
		bad.field = (value);                                         \
		lower = upper = 1;                                           \
		check_eq(llfree_sizes(&bad, &lower, &upper), LLFREE_EINVAL); \
		check(lower == 1 && upper == 1);                             \
	} while (0)
	REFUSED(frames, 0);
	REFUSED(frames, 511);
	REFUSED(frames, LLFREE_MAX_FRAMES + 1);
	REFUSED(frames, ~0ull);
	REFUSED(online, c.frames + 1);
	REFUSED(flags, 4);
	REFUSED(classes, 0);
	REFUSED(classes, LLFREE_MAX_CLASSES + 1);
	REFUSED(slots, 0);
	REFUSED(slots, 0xffffffff);
	REFUSED(slots, LLFREE_MAX_SLOTS / 2 + 1); /* of each class */
	REFUSED(owners, 0);
	REFUSED(owners, LLFREE_MAX_OWNERS + 1);
	REFUSED(owner, 1);
	REFUSED(writeback, PLAT_WB_MAX);
#undef REFUSED

	/* buffers: nothing may be written when they are refused */
	pool_buffers(&p, &c);
	for (int i = 0; i < 9; i++) {
		int want = LLFREE_EINVAL;

		meta = p.meta;
		switch (i) {
		case 0:
			meta.lower = NULL;
			break;
		case 1:
			meta.upper = NULL;
			break;
		case 2:
			meta.lower = (char *)meta.lower + 8;
			break;
		case 3:
			meta.upper = (char *)meta.upper + 32;
			break;
		case 4:
			meta.upper = meta.lower;
			break;
		case 5:
			meta.upper = (char *)meta.lower + 64;
			break;
		case 6:
			meta.lower_size--;
			want = LLFREE_ENOSPC;
			break;
		case 7:
			meta.upper_size--;
			want = LLFREE_ENOSPC;
			break;
		case 8:
			meta.lower = (char *)meta.upper + 64;
			break;
		}
		memset(&a, 0x11, sizeof(a));
		check_eq(llfree_init(&a, &c, &meta), want);
		check_eq(llfree_open(&a, &c, &meta, NULL), want);
		check_eq(llfree_attach(&a, &c, &meta), want);
		check_eq(a.frames, 0x1111111111111111);
	}
	for (uint64_t i = 0; i < p.meta.lower_size; i++)
		check_eq(((unsigned char *)p.meta.lower)[i], 0xa5);
	check_eq(llfree_open(&a, &c, &p.meta, NULL), LLFREE_EUCLEAN);
	check_eq(llfree_attach(&a, &c, &p.meta), LLFREE_EUCLEAN);
	bad = c;
	bad.flags = LLFREE_READONLY;
	check_eq(llfree_init(&a, &bad, &p.meta), LLFREE_EINVAL);

	check_eq(llfree_init(&p.a, &c, &p.meta), 0);
	check_eq(llfree_open(&a, &bad, &p.meta, NULL), LLFREE_EINVAL);

	/* requests */
	for (int i = 0; i < 5; i++) {
		struct llfree_request r = req(0, 0, 0);

		switch (i) {
		case 0:
			r.order = LLFREE_MAX_ORDER + 1;
			break;
		case 1:
			r.order = 255;
			break;
		case 2:
			r.class = 2;
			break;
		case 3:
			r.slot = 2;
			break;
		case 4:
			r.flags = 2;
			break;
		}
		check_eq(llfree_get(&p.a, r, &frame), LLFREE_EINVAL);
		check_eq(frame, 7);
		check_eq(llfree_put(&p.a, 0, r), LLFREE_EINVAL);
		check_eq(llfree_get_at(&p.a, 0, r), LLFREE_EINVAL);
	}
	for (unsigned order = 0; order <= LLFREE_MAX_ORDER; order++) {
		uint64_t n = 1ull << order, end = c.frames / n * n;

		check_eq(llfree_put(&p.a, end, req(order, 0, 0)), LLFREE_ERANGE);
		check_eq(llfree_get_at(&p.a, end, req(order, 0, 0)), LLFREE_ERANGE);
		check_eq(llfree_put(&p.a, 0 - n, req(order, 0, 0)), LLFREE_ERANGE);
		check_eq(llfree_get_at(&p.a, ~0ull, req(order, 0, 0)), LLFREE_ERANGE);
		if (order && order < 12) {
			check_eq(llfree_put(&p.a, n / 2, req(order, 0, 0)), LLFREE_EINVAL);
			check_eq(llfree_get_at(&p.a, n / 2, req(order, 0, 0)), LLFREE_EINVAL);
			check_eq(llfree_is_free(&p.a, n / 2, order), LLFREE_EINVAL);
		}
		check_eq(llfree_is_free(&p.a, end, order), LLFREE_ERANGE);
		/* nothing is allocated: every put is a double free */
		if (n <= c.frames)
			check_eq(llfree_put(&p.a, 0, req(order, 0, 0)), LLFREE_ENOTALLOC);
	}
	check_eq(llfree_is_free(&p.a, 0, 64), LLFREE_EINVAL);

	/* cross-order */
	frame = 1024 + 8;
	check_eq(llfree_get_at(&p.a, frame, req(3, 0, 0)), 0);
	check_eq(llfree_put(&p.a, 1024, req(4, 0, 0)), LLFREE_ENOTALLOC);
	check_eq(llfree_put(&p.a, 1024, req(9, 0, 0)), LLFREE_ENOTALLOC);
	check_eq(llfree_put(&p.a, frame, req(3, 0, 0)), 0);
	frame = get(&p, req(9, 0, 0));
	check_eq(llfree_put(&p.a, frame & ~1023ull, req(10, 0, 0)), LLFREE_ENOTALLOC);
	check_eq(llfree_put(&p.a, frame, req(9, 0, 0)), 0);
	frame = get(&p, req(12, 0, 0));
	check_eq(llfree_put(&p.a, 0, req(13, 0, 0)), LLFREE_ENOTALLOC);
	check_eq(llfree_put(&p.a, frame, req(12, 0, 0)), 0);

	/* the rest */
	check_eq(llfree_offline(&p.a, 17, 1, 0), LLFREE_ERANGE);
	check_eq(llfree_offline(&p.a, 0, 18, 0), LLFREE_ERANGE);
	check_eq(llfree_offline(&p.a, 16, ~0ull, 0), LLFREE_ERANGE);
	check_eq(llfree_offline(&p.a, 0, 0, 0), LLFREE_ERANGE);
	check_eq(llfree_offline(&p.a, 0, 1, 2), LLFREE_EINVAL);
	check_eq(llfree_online(&p.a, 0, 18, 0), LLFREE_ERANGE);
	check_eq(llfree_online(&p.a, 0, 1, 2), LLFREE_EINVAL);
	check_eq(llfree_online(&p.a, 0, 1, 0), LLFREE_EALREADY);
	check_eq(llfree_mark_bad(&p.a, 17), LLFREE_ERANGE);
	check_eq(llfree_set_class(&p.a, 17, 0), LLFREE_ERANGE);
	check_eq(llfree_set_class(&p.a, 0, 2), LLFREE_EINVAL);
	check_eq(llfree_drain(&p.a, 4), LLFREE_EINVAL);
	check_eq(llfree_huge_state(&p.a, 17, &s), LLFREE_ERANGE);
	check_eq(llfree_block_stats(&p.a, 0, 18, &stats), LLFREE_ERANGE);
	check_eq(llfree_block_stats(&p.a, 17, 1, &stats), LLFREE_ERANGE);
	check_eq(llfree_block_stats(&p.a, 0, 0, &stats), LLFREE_ERANGE);
	check_eq(llfree_recover_owner(&p.a, 0, &lower, &upper), LLFREE_EINVAL);
	check_eq(llfree_recover_owner(&p.a, 1, &lower, &upper), LLFREE_EINVAL);

	/* attaching with another idea of the pool */
	for (int i = 0; i < 6; i++) {
		bad = c;
		switch (i) {
		case 0:
			bad.frames -= 1;
			break;
		case 1:
			bad.classes = 1;
			break;
		case 2:
			bad.slots = 1;
			break;
		case 3:
			bad.flags = LLFREE_UNCACHED;
			break;
		case 4:
			bad.flags = LLFREE_PERSISTENT;
			break;
		case 5:
			bad.classes = 1;
			bad.slots = 4;
			break;
		}
		check_eq(llfree_attach(&a, &bad, &p.meta), LLFREE_EUCLEAN);
	}

	/* a handle to look only */
	bad = c;
	bad.flags = LLFREE_READONLY;
	frame = get(&p, req(0, 0, 0));
	check_eq(llfree_attach(&a, &bad, &p.meta), 0);
	check_eq(llfree_get(&a, req(0, 0, 0), &lower), LLFREE_EROFS);
	check_eq(llfree_get(&a, req(9, 0, 0), &lower), LLFREE_EROFS);
	check_eq(llfree_put(&a, frame, req(0, 0, 0)), LLFREE_EROFS);
	check_eq(llfree_get_at(&a, frame, req(0, 0, 0)), LLFREE_EROFS);
	check_eq(llfree_drain(&a, LLFREE_ALL_SLOTS), LLFREE_EROFS);
	check_eq(llfree_offline(&a, 0, 1, 0), LLFREE_EROFS);
	check_eq(llfree_online(&a, 0, 1, 0), LLFREE_EROFS);
	check_eq(llfree_mark_bad(&a, 0), LLFREE_EROFS);
	check_eq(llfree_set_class(&a, 0, 0), LLFREE_EROFS);
	check_eq(llfree_recover(&a, NULL), LLFREE_EROFS);
	check_eq(llfree_recover_owner(&a, 0, &lower, &upper), LLFREE_EROFS);
	check_eq(llfree_close(&a), LLFREE_EROFS);
	check_eq(llfree_check(&a), 0);
	check_eq(llfree_is_free(&a, frame, 0), 0);
	check_eq(llfree_stats_exact(&a, &stats), 0);
	check_eq(stats.used, 1);
	check_eq(llfree_check(&p.a), 0);
	pool_done(&p);
}

static int never(unsigned want, unsigned have)
{
	return want == have ? 0 : LLFREE_INVALID;
}

static int nearest(unsigned want, unsigned have)
{
	return want > have ? (int)(want - have) : (int)(have - want) * 1000;
}

void suite_classes(void)
{
	static const unsigned modes[] = { 0, LLFREE_UNCACHED };

	for (unsigned m = 0; m < 2; m++) {
		struct llfree_config c = config_of(4096 * 4, 4, 1, modes[m]);
		uint64_t f[4], frame;
		struct pool p;

		/* each class in trees of its own */
		c.policy = llfree_policy_grouped;
		pool_new(&p, &c);
		for (int round = 0; round < 50; round++) {
			for (unsigned class = 0; class < 4; class ++) {
				frame = get(&p, req(round % 5, class, 0));
				check_eq(state(&p, frame / 512).class, class);
				if (!round)
					f[class] = frame;
				check_eq(frame / 4096, f[class] / 4096);
			}
		}
		/* stolen, not converted, when its own is full */
		for (unsigned i = 0; i < 4000; i++)
			frame = get(&p, req(0, 2, 0));
		for (unsigned class = 0; class < 4; class ++)
			check_eq(state(&p, f[class] / 512).class, class);
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);

		/* what a policy forbids is not done, for the last frame or huge frame either */
		c.policy = never;
		pool_new(&p, &c);
		for (unsigned t = 0; t < 4; t++)
			get(&p, req(0, t, 0));
		for (unsigned class = 0; class < 4; class ++) {
			for (unsigned i = 0; i < 4095; i++)
				check_eq(state(&p, get(&p, req(0, class, 0)) / 512).class, class);
			check_eq(llfree_get(&p.a, req(0, class, 0), &frame), LLFREE_ENOMEM);
			if (class < 3)
				check_eq(llfree_get(&p.a, req(9, class, 0), &frame), LLFREE_ENOMEM);
		}
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);

		/* the nearest match is taken first */
		c.policy = nearest;
		pool_new(&p, &c);
		for (unsigned t = 0; t < 4; t++) {
			check(llfree_get_at(&p.a, t * 4096, req(0, 0, 0)) >= 0);
			check_eq(llfree_set_class(&p.a, t * 8, t == 3 ? 0 : t), 0);
		}
		for (unsigned i = 0; i < 4095; i++)
			check_eq(get(&p, req(0, 3, 0)) / 4096, 2);
		check_eq(get(&p, req(0, 3, 0)) / 4096, 1);
		pool_done(&p);

		/* zeroed trees are the last that ordinary requests take */
		c.policy = llfree_policy_zeroed;
		c.classes = 2;
		pool_new(&p, &c);
		check_eq(llfree_set_class(&p.a, 0, 1), 0);
		for (unsigned i = 0; i < 3 * 4096; i++)
			check(get(&p, req(0, 0, 0)) >= 4096);
		check(get(&p, req(0, 0, 0)) < 4096);
		check_eq(state(&p, 0).class, 0);
		pool_done(&p);

		/* immovable frames go where movable ones are only when there is nothing else */
		c.policy = llfree_policy_movable;
		c.classes = 3;
		pool_new(&p, &c);
		f[0] = get(&p, req(0, 1, 0)) / 4096;
		for (unsigned i = 0; i < 3 * 4096; i++)
			check(get(&p, req(0, 0, 0)) / 4096 != f[0]);
		check_eq(state(&p, f[0] * 8).class, 1);
		check_eq(get(&p, req(0, 0, 0)) / 4096, f[0]);
		check_eq(state(&p, f[0] * 8).class, 0);
		pool_done(&p);
	}
}

/* Trees of another class, none zeroed: the search for zeroed ones ends, and any will do. */
static void zeroed_of_other_class(void)
{
	struct llfree_config c = config_of(4096 * 32, 2, 1, 0);
	uint64_t frame;
	struct pool p;

	pool_new(&p, &c);
	for (unsigned tree = 0; tree < 32; tree++)
		check_eq(llfree_set_class(&p.a, tree * LLFREE_TREE_CHILDREN, 0), 0);
	for (unsigned order = LLFREE_HUGE_ORDER; order <= LLFREE_TREE_ORDER + 1; order++)
		check_eq(llfree_get(&p.a, req_zeroed(order, 1, 0), &frame), 0);
	check_eq(llfree_check(&p.a), 0);
	pool_done(&p);
}

void suite_zeroed(void)
{
	static const unsigned modes[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };

	zeroed_of_other_class();
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned order = 0; order <= 12; order++) {
			struct llfree_config c = config_of(4096, 1, 1, modes[m]);
			uint64_t frame, other, n = 1ull << order;
			struct llfree_stats s;
			struct pool p;
			int r;

			c.writeback = PLAT_WB_NONE;
			pool_new(&p, &c);
			/* not zeroed unless somebody said so */
			check_eq(llfree_get(&p.a, req(order, 0, 0), &frame), 0);
			check_eq(llfree_put(&p.a, frame, req(order, 0, 0)), 0);
			check_eq(llfree_offline(&p.a, 0, 8, 0), 0);
			check_eq(llfree_online(&p.a, 0, 8, LLFREE_ZEROED), 0);
			check_eq(llfree_stats_exact(&p.a, &s), 0);
			check_eq(s.zeroed_huge, 8);
			/* whatever the order, what is taken is zero, and the rest stays it */
			check_eq(llfree_get(&p.a, req(order, 0, 0), &frame), LLFREE_GOT_ZEROED);
			if (order < 12)
				check_eq(llfree_get(&p.a, req(order, 0, 0), &other),
					 LLFREE_GOT_ZEROED);
			/* given back as zero: no change */
			check_eq(llfree_put(&p.a, frame, req_zeroed(order, 0, 0)), 0);
			r = llfree_get(&p.a, req_zeroed(order, 0, 0), &frame);
			check_eq(r, LLFREE_GOT_ZEROED);
			/*
			 * given back dirty: no frame of that huge frame is handed out as zero again
			 */
			check_eq(llfree_put(&p.a, frame, req(order, 0, 0)), 0);
			check_eq(llfree_drain(&p.a, LLFREE_ALL_SLOTS), 0);
			for (uint64_t h = frame / 512; h <= (frame + n - 1) / 512; h++)
				check(!state(&p, h).zeroed);
			for (uint64_t i = 0; i < c.frames; i += n) {
				r = llfree_get(&p.a, req(order, 0, 0), &other);
				if (r == LLFREE_ENOMEM)
					break;
				check_eq(r == LLFREE_GOT_ZEROED,
					 other / 512 < frame / 512 ||
						 other / 512 > (frame + n - 1) / 512);
			}
			check_eq(llfree_check(&p.a), 0);
			pool_done(&p);
		}

		struct llfree_config c = config_of(4096 * 2, 1, 1, modes[m]);
		uint64_t frame, last = 0;
		struct pool p;

		c.writeback = PLAT_WB_NONE;
		pool_new(&p, &c);
		/* huge requests that do not care leave zeroed ones to those that do */
		check_eq(llfree_offline(&p.a, 3, 1, 0), 0);
		check_eq(llfree_online(&p.a, 3, 1, LLFREE_ZEROED), 0);
		for (unsigned i = 0; i < 7; i++) {
			check_eq(llfree_get(&p.a, req(9, 0, 0), &frame), 0);
			check(frame / 512 != 3);
		}
		check_eq(llfree_get(&p.a, req_zeroed(9, 0, 0), &frame), LLFREE_GOT_ZEROED);
		check_eq(frame / 512, 3);
		/* none left: any will do */
		check_eq(llfree_get(&p.a, req_zeroed(9, 0, 0), &last), 0);
		check_eq(llfree_put(&p.a, last, req_zeroed(9, 0, 0)), 0);
		check(state(&p, last / 512).zeroed);
		check_eq(llfree_get(&p.a, req_zeroed(9, 0, 0), &last), LLFREE_GOT_ZEROED);
		/* a split of a huge frame with one dirty part ends the mark for all */
		check_eq(llfree_put(&p.a, last + 64, req_zeroed(6, 0, 0)), 0);
		check_eq(llfree_put(&p.a, last, req(6, 0, 0)), 0);
		check(!state(&p, last / 512).zeroed);
		check_eq(llfree_get_at(&p.a, last + 64, req(6, 0, 0)), 0);

		/* a slot that has zeroed frames in hand and takes a dirty one back */
		check_eq(llfree_offline(&p.a, 8, 1, 0), LLFREE_EBUSY);
		pool_done(&p);
		pool_new(&p, &c);
		check_eq(llfree_offline(&p.a, 0, 16, 0), 0);
		check_eq(llfree_online(&p.a, 0, 16, LLFREE_ZEROED), 0);
		/*
		 * the first dirty put ends the mark of the huge frame; what the slot has is zero
		 * still
		 */
		check_eq(llfree_get(&p.a, req(0, 0, 0), &frame), LLFREE_GOT_ZEROED);
		check_eq(llfree_put(&p.a, frame, req(0, 0, 0)), 0);
		check(!state(&p, frame / 512).zeroed);
		if (!modes[m]) {
			check_eq(llfree_get(&p.a, req(0, 0, 0), &frame), LLFREE_GOT_ZEROED);
			check_eq(llfree_put(&p.a, frame, req_zeroed(0, 0, 0)), 0);
			check_eq(llfree_get(&p.a, req(0, 0, 0), &last), LLFREE_GOT_ZEROED);
			check_eq(last, frame);
			/* the second one ends the slot's */
			check_eq(llfree_put(&p.a, frame, req(0, 0, 0)), 0);
			check_eq(llfree_get(&p.a, req(0, 0, 0), &last), 0);
			check_eq(last, frame);
			check_eq(llfree_put(&p.a, frame, req(0, 0, 0)), 0);
		}
		check_eq(llfree_drain(&p.a, LLFREE_ALL_SLOTS), 0);
		check(!state(&p, frame / 512).zeroed);
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);
	}
}

void suite_offline(void)
{
	static const unsigned modes[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };

	for (unsigned m = 0; m < 3; m++) {
		struct llfree_config c = config_of(4096 * 3 + 700, 1, 2, modes[m]);
		uint64_t frame, other;
		struct llfree_stats s;
		struct pool p;

		c.writeback = PLAT_WB_NONE;
		pool_new(&p, &c);
		/* a slot has frames of it in hand: not in use, so it can go offline */
		frame = get(&p, req(0, 0, 0));
		check_eq(llfree_put(&p.a, frame, req(0, 0, 0)), 0);
		check_eq(llfree_offline(&p.a, frame / 512, 1, 0), 0);
		check(get(&p, req(0, 0, 0)) / 512 != frame / 512);
		check_eq(llfree_online(&p.a, frame / 512, 1, 0), 0);
		check_eq(llfree_check(&p.a), 0);

		/* all or none: one frame in the middle */
		frame = 4096 + 1000;
		check(llfree_get_at(&p.a, frame, req(0, 0, 0)) >= 0);
		check_eq(llfree_offline(&p.a, 8, 8, 0), LLFREE_EBUSY);
		for (unsigned h = 8; h < 16; h++)
			check(!state(&p, h).offline);
		check_eq(llfree_offline(&p.a, 14, 1, 0), 0);
		check_eq(llfree_offline(&p.a, 12, 4, LLFREE_OFFLINE_DRAIN), LLFREE_EALREADY);
		check(!state(&p, 12).offline && !state(&p, 13).offline && state(&p, 14).offline);
		check_eq(llfree_online(&p.a, 13, 2, 0), LLFREE_EALREADY);
		check(state(&p, 14).offline);
		check_eq(llfree_online(&p.a, 14, 1, LLFREE_ZEROED), 0);

		/* draining: what is put, in whatever way, is not given out again */
		check_eq(llfree_offline(&p.a, 8, 8, LLFREE_OFFLINE_DRAIN), LLFREE_EBUSY);
		check_eq(llfree_online(&p.a, 8, 8, LLFREE_ZEROED), LLFREE_EBUSY);
		check_eq(llfree_put(&p.a, frame, req(0, 0, 0)), 0);
		check_eq(state(&p, frame / 512).free, 512);
		while (llfree_get(&p.a, req(0, 0, 0), &other) >= 0)
			check(other / 4096 != 1);
		check_eq(llfree_stats_exact(&p.a, &s), 0);
		check_eq(s.used, c.frames - 4096 - 0);
		check_eq(s.free, 0);
		check_eq(s.barred, 4096);
		check_eq(llfree_online(&p.a, 8, 8, LLFREE_ZEROED), 0);
		check_eq(llfree_get(&p.a, req(12, 0, 0), &other), LLFREE_GOT_ZEROED);
		check_eq(other, 4096);
		/* a huge frame put while it is offline */
		check_eq(llfree_offline(&p.a, 8, 1, LLFREE_OFFLINE_DRAIN), LLFREE_EBUSY);
		check_eq(llfree_put(&p.a, other, req(12, 0, 0)), 0);
		check_eq(state(&p, 8).free, 512);
		check_eq(llfree_get(&p.a, req(12, 0, 0), &other), LLFREE_ENOMEM);
		check_eq(llfree_online(&p.a, 8, 1, 0), 0);

		/* the last, short huge frame too */
		uint64_t last = c.frames / 512;

		check_eq(llfree_offline(&p.a, last, 1, 0), LLFREE_EBUSY);
		check(!state(&p, last).offline);
		for (frame = last * 512; frame < c.frames; frame++)
			check_eq(llfree_put(&p.a, frame, req(0, 0, 0)), 0);
		check_eq(llfree_offline(&p.a, last, 1, 0), 0);
		check_eq(llfree_is_free(&p.a, last * 512, 0), 1);
		check_eq(llfree_online(&p.a, last, 1, LLFREE_ZEROED), 0);
		check_eq(llfree_get_at(&p.a, last * 512, req(0, 0, 0)), LLFREE_GOT_ZEROED);
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);
	}
}

void suite_bad(void)
{
	static const unsigned modes[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };

	for (unsigned m = 0; m < 3; m++) {
		struct llfree_config c = config_of(4096, 1, 1, modes[m]);
		uint64_t frame, other, huge;
		struct llfree_stats s;
		struct pool p;

		c.writeback = PLAT_WB_NONE;
		pool_new(&p, &c);
		frame = get(&p, req(0, 0, 0));
		check_eq(llfree_mark_bad(&p.a, frame / 512), 0);
		check_eq(llfree_mark_bad(&p.a, frame / 512), LLFREE_EALREADY);
		/*
		 * what is in use can be put, and is not seen again; nor is what the slot had in
		 * hand
		 */
		other = get(&p, req(0, 0, 0));
		check(other / 512 != frame / 512);
		check_eq(llfree_put(&p.a, frame, req(0, 0, 0)), 0);
		check_eq(llfree_put(&p.a, frame, req(0, 0, 0)), LLFREE_ENOTALLOC);
		huge = get(&p, req(9, 0, 0));
		check_eq(llfree_mark_bad(&p.a, huge / 512), 0);
		check_eq(llfree_put(&p.a, huge, req(9, 0, 0)), 0);
		for (unsigned i = 0; i < 6 * 512 - 1; i++) {
			uint64_t f = get(&p, req(0, 0, 0));

			check(f / 512 != frame / 512 && f / 512 != huge / 512);
		}
		for (unsigned order = 0; order <= 12; order++)
			check_eq(llfree_get(&p.a, req(order, 0, 0), &other), LLFREE_ENOMEM);
		check_eq(llfree_get_at(&p.a, frame, req(0, 0, 0)), LLFREE_EBUSY);
		check_eq(llfree_stats_fast(&p.a, &s), 0);
		check_eq(s.bad_huge, 2);
		check_eq(s.barred, 1024);
		/* offline and online do not heal it */
		check_eq(llfree_offline(&p.a, frame / 512, 1, 0), LLFREE_EBUSY);
		check_eq(llfree_offline(&p.a, frame / 512, 1, LLFREE_OFFLINE_DRAIN), 0);
		check_eq(llfree_online(&p.a, frame / 512, 1, 0), 0);
		check_eq(llfree_get_at(&p.a, frame, req(0, 0, 0)), LLFREE_EBUSY);
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);
	}
}

void suite_owner(void)
{
	static const unsigned modes[] = { 0, LLFREE_UNCACHED };

	for (unsigned m = 0; m < 2; m++) {
		struct llfree_config c = config_of(4096 * 8, 2, 2, modes[m]);
		uint64_t kept[64], trees, frames, f, used = 0;
		struct llfree_stats s;
		struct pool p;
		struct llfree b;

		c.owners = 3;
		pool_new(&p, &c);
		c.owner = 2;
		check_eq(llfree_attach(&b, &c, &p.meta), 0);
		/* two hosts in one pool: trees of their own, whoever puts what */
		for (unsigned i = 0; i < 64; i++) {
			check(llfree_get(i % 2 ? &b : &p.a, req(0, i / 2 % 2, i / 4 % 2),
					 &kept[i]) >= 0);
			check_eq(state(&p, kept[i] / 512).owner, i % 2 ? 2 : 0);
			check(state(&p, kept[i] / 512).reserved);
			used++;
		}
		/* gathered by the host that dies, from the other's frames too */
		for (unsigned i = 0; i < 64; i += 4) {
			check_eq(llfree_put(&b, kept[i], req(0, 0, 1)), 0);
			used--;
		}
		check_eq(llfree_check(&p.a), 0);
		check_eq(llfree_stats_exact(&p.a, &s), 0);
		check_eq(s.used, used);
		check_eq(llfree_recover_owner(&p.a, 0, &trees, &frames), LLFREE_EINVAL);
		check_eq(llfree_recover_owner(&p.a, 3, &trees, &frames), LLFREE_EINVAL);
		check_eq(llfree_recover_owner(&p.a, 1, &trees, &frames), 0);
		check(trees == 0 && frames == 0);
		check_eq(llfree_recover_owner(&p.a, 2, &trees, &frames), 0);
		check_eq(trees, 4);
		check(modes[m] ? frames == 0 : frames > 0);
		for (unsigned h = 0; h < 64; h++)
			check(state(&p, h).owner == 0);
		for (unsigned i = 0; i < 64; i++)
			if (i % 2)
				check(!state(&p, kept[i] / 512).reserved);
		check_eq(llfree_check(&p.a), 0);
		/* nothing is lost: what the dead host held is what it had given out */
		for (f = 0; used < c.frames; used++)
			check(llfree_get(&p.a, req(0, 0, 0), &f) >= 0);
		check_eq(llfree_get(&p.a, req(0, 0, 0), &f), LLFREE_ENOMEM);
		/* and its frames can be put */
		for (unsigned i = 1; i < 64; i += 2)
			check_eq(llfree_put(&p.a, kept[i], req(0, 0, 0)), 0);
		check_eq(llfree_check(&p.a), 0);
		pool_done(&p);
	}
}

void suite_stats(void)
{
	struct llfree_config c = config_of(512 * 1024 + 300, 1, 1, LLFREE_UNCACHED);
	struct llfree_stats s, sum = { 0 }, all;
	uint64_t frame, free = 0, huge = 0, fill[LLFREE_FILL_BUCKETS] = { 0 };
	struct pool p;

	pool_new(&p, &c);
	/* huge frame h gets h % 513 frames */
	for (uint64_t h = 0; h < 1024; h++) {
		unsigned used = h % 513;

		for (uint64_t f = 0; f < used; f++)
			check_eq(llfree_get_at(&p.a, h * 512 + f, req(0, 0, 0)), 0);
		free += 512 - used;
		huge += !used;
		fill[!used ? 0 : used == 512 ? 9 : 1 + (used - 1) / 64]++;
		check_eq(llfree_block_stats(&p.a, h, 1, &s), 0);
		check(s.frames == 512 && s.free == 512 - used && s.used == used);
	}
	free += 300;
	fill[0]++;
	check_eq(llfree_stats_exact(&p.a, &s), 0);
	check_eq(llfree_stats_fast(&p.a, &all), 0);
	check_eq(memcmp(&s, &all, sizeof(s)), 0);
	check_eq(s.frames, c.frames);
	check_eq(s.free, free);
	check_eq(s.used, c.frames - free);
	check_eq(s.free_huge, huge);
	for (unsigned i = 0; i < LLFREE_FILL_BUCKETS; i++)
		check_eq(s.fill[i], fill[i]);
	/* blocks of 128 MiB add up */
	for (uint64_t h = 0; h < 1025; h += 64) {
		check_eq(llfree_block_stats(&p.a, h, h + 64 <= 1025 ? 64 : 1025 - h, &s), 0);
		sum.free += s.free;
		sum.used += s.used;
		sum.free_huge += s.free_huge;
	}
	check(sum.free == all.free && sum.used == all.used && sum.free_huge == all.free_huge);
	/* frames in a slot's hand are free, wherever one looks */
	pool_done(&p);
	c = config_of(4096, 1, 1, 0);
	pool_new(&p, &c);
	frame = get(&p, req(0, 0, 0));
	check_eq(llfree_stats_exact(&p.a, &s), 0);
	check(s.used == 1 && s.free == 4095 && s.cached == 31);
	check_eq(llfree_block_stats(&p.a, frame / 512, 1, &s), 0);
	check(s.used == 1 && s.free == 511 && s.cached == 31);
	check_eq(llfree_is_free(&p.a, frame, 0), 0);
	check_eq(llfree_is_free(&p.a, frame ^ 1, 0), 1);
	check_eq(llfree_is_free(&p.a, frame / 512 * 512 + 256, 8), 1);
	pool_done(&p);
}

/* Initialised at its maximum, of which a part is there; grown and shrunk by huge frames. */
void suite_grow(void)
{
	struct llfree_config c = config_of(4096 * 4 + 5, 1, 1, 0);
	uint64_t frame, n = 0;
	struct llfree_stats s;
	struct pool p;

	c.online = 4096 + 1000;
	pool_new(&p, &c);
	check_eq(llfree_stats_exact(&p.a, &s), 0);
	check_eq(s.free, 4096 + 512);
	check_eq(s.offline_huge, 33 - 9);
	while (llfree_get(&p.a, req(0, 0, 0), &frame) >= 0) {
		check(frame < 4096 + 512);
		n++;
	}
	check_eq(n, 4096 + 512);
	check_eq(llfree_online(&p.a, 9, 23, 0), 0);
	check_eq(llfree_get(&p.a, req(12, 0, 0), &frame), 0);
	check_eq(llfree_offline(&p.a, frame / 512, 8, 0), LLFREE_EBUSY);
	check_eq(llfree_put(&p.a, frame, req(12, 0, 0)), 0);
	check_eq(llfree_offline(&p.a, frame / 512, 8, 0), 0);
	check_eq(llfree_online(&p.a, 32, 1, 0), 0);
	check_eq(llfree_get_at(&p.a, 4096 * 4, req(0, 0, 0)), 0);
	check_eq(llfree_check(&p.a), 0);
	pool_done(&p);
}

/* The largest pools, in memory that is only touched where it is used. */
/* The largest pool there can be: 2.3 GB of metadata, so not in every run. */
static void largest(void)
{
	struct llfree_config c = config_of(LLFREE_MAX_FRAMES, 1, 1, 0);
	uint64_t frame;
	struct pool p;

	pool_new(&p, &c);
	for (unsigned order = 0; order <= LLFREE_MAX_ORDER; order++) {
		uint64_t last = c.frames - (1ull << order);

		check(llfree_get_at(&p.a, last, req(order, 0, 0)) >= 0);
		check(llfree_get(&p.a, req(order, 0, 0), &frame) >= 0);
		check_eq(llfree_put(&p.a, last, req(order, 0, 0)), 0);
		check_eq(llfree_put(&p.a, frame, req(order, 0, 0)), 0);
	}
	check_eq(llfree_close(&p.a), 0);
	check_eq(llfree_open(&p.a, &c, &p.meta, NULL), 0);
	check_eq(llfree_check(&p.a), 0);
	pool_done(&p);
}

/*
 * More trees than the search has bits: groups of two. One run of order 3, in a tree that another
 * slot has reserved, beside one that has frames but no run.
 */
static void large_groups(void)
{
	struct llfree_config c = config_of(4096ull * 8195 + 100, 1, 2, LLFREE_UNCACHED);
	static const unsigned trees[] = { 0, 1, 2, 3, 4094, 4095, 4096, 8191, 8192, 8193, 8194 };
	uint64_t frame;
	struct pool p;

	pool_new(&p, &c);
	for (uint64_t f = 0; f < c.frames; f += 512)
		for (unsigned k = 0; k < (c.frames - f < 512 ? c.frames - f : 1); k++)
			check(llfree_get_at(&p.a, f + k, req(c.frames - f < 512 ? 0 : 9, 0, 0)) >=
			      0);
	for (unsigned i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
		uint64_t run = trees[i] * 4096ull + 40, single = (trees[i] ^ 1) * 4096ull + 77;

		check_eq(llfree_get(&p.a, req(3, 0, 0), &frame), LLFREE_ENOMEM);
		check_eq(llfree_put(&p.a, run, req(3, 0, 0)), 0);
		check_eq(llfree_put(&p.a, single, req(0, 0, 0)), 0);
		p.a.trees[trees[i]] = llfree_tree_word(0, 0, 2, 0);
		p.a.trees[trees[i] ^ 1] = llfree_tree_word(0, 0, 0, 0);
		check_eq(llfree_get(&p.a, req(3, 0, 0), &frame), 0);
		check_eq(frame, run);
		check_eq(llfree_get(&p.a, req(1, 0, 0), &frame), LLFREE_ENOMEM);
		check_eq(llfree_get_at(&p.a, single, req(0, 0, 0)), 0);
	}
	check_eq(llfree_check(&p.a), 0);
	pool_done(&p);
}

/* A pool mapped at two addresses, as two processes have it: each has its handle, both are one. */
void suite_attach(void)
{
	struct llfree_config c = config_of(4096 * 3 + 77, 2, 2, 0);
	uint64_t lower, upper, frame, n = 0;
	struct llfree_meta meta[2];
	struct llfree_recovery rec;
	struct llfree_stats s;
	struct llfree a[2];
	int fd = memfd_create("pool", 0);

	check_eq(llfree_sizes(&c, &lower, &upper), 0);
	lower = (lower + 4095) / 4096 * 4096;
	upper = (upper + 4095) / 4096 * 4096;
	check(fd >= 0 && ftruncate(fd, (off_t)(lower + upper)) == 0);
	for (unsigned i = 0; i < 2; i++) {
		meta[i].lower = mmap(NULL, lower, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		meta[i].upper =
			mmap(NULL, upper, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)lower);
		check(meta[i].lower != MAP_FAILED && meta[i].upper != MAP_FAILED);
		meta[i].lower_size = lower;
		meta[i].upper_size = upper;
	}
	check(meta[0].lower != meta[1].lower);
	check_eq(llfree_init(&a[0], &c, &meta[0]), 0);
	check_eq(llfree_attach(&a[1], &c, &meta[1]), 0);
	for (unsigned i = 0; i < 500; i++) {
		unsigned order = i % 10, class = i / 2 % 2;

		/* what one gives out the other takes back, by a slot that both use */
		if (llfree_get(&a[i % 2], req(order, class, 0), &frame) < 0)
			continue;
		check_eq(llfree_get_at(&a[!(i % 2)], frame, req(order, class, 0)), LLFREE_EBUSY);
		if (i % 3)
			check_eq(llfree_put(&a[!(i % 2)], frame, req(order, class, 0)), 0);
		else
			n += 1u << order;
	}
	check(n > 1000);
	for (unsigned i = 0; i < 2; i++) {
		check_eq(llfree_check(&a[i]), 0);
		check_eq(llfree_stats_exact(&a[i], &s), 0);
		check_eq(s.used, n);
	}
	check_eq(llfree_close(&a[1]), 0);
	check_eq(llfree_open(&a[0], &c, &meta[0], &rec), 0);
	check(rec.clean);
	check_eq(rec.free, c.frames - n);
	for (unsigned i = 0; i < 2; i++)
		check(munmap(meta[i].lower, lower) == 0 && munmap(meta[i].upper, upper) == 0);
	close(fd);
}

void suite_large(void)
{
	large_groups();
	if (test_scale > 1)
		largest();

	struct llfree_config c = config_of(LLFREE_MAX_FRAMES, 1, 1, 0);
	uint64_t lower, upper;

	check_eq(llfree_sizes(&c, &lower, &upper), 0);
	check((lower + upper) / 65536 <= 35400);

	/* 1 TiB and a bit: indices beyond 32 bits of bytes, 28 bits of frames */
	c.frames = (1ull << 28) + 12345;

	uint64_t frame, got[19];
	struct pool p;

	pool_new(&p, &c);
	for (unsigned order = 0; order <= 18; order++) {
		check(llfree_get_at(&p.a, (1ull << 28) - (2ull << order), req(order, 0, 0)) >= 0);
		check(llfree_get(&p.a, req(order, 0, 0), &got[order]) >= 0);
	}
	frame = c.frames - 1;
	check_eq(llfree_get_at(&p.a, frame, req(0, 0, 0)), 0);
	check_eq(llfree_put(&p.a, frame, req(0, 0, 0)), 0);
	check_eq(llfree_get_at(&p.a, frame + 1, req(0, 0, 0)), LLFREE_ERANGE);
	for (unsigned order = 0; order <= 18; order++) {
		check_eq(llfree_put(&p.a, (1ull << 28) - (2ull << order), req(order, 0, 0)), 0);
		check_eq(llfree_put(&p.a, got[order], req(order, 0, 0)), 0);
	}
	check_eq(llfree_drain(&p.a, LLFREE_ALL_SLOTS), 0);
	check_eq(llfree_check(&p.a), 0);
	pool_done(&p);
}
