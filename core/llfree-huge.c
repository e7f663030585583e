/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Orders 9 and up: whole children. No bit is touched: a huge allocation turns the sense of the
 * child's bits round, so that bits that said "all free" say "all allocated".
 */
#include "llfree-upper.h"

/* Bit 0 of each lane of entry word @w that is in [first, last]. */
plat_inline uint64_t run_lanes(uint64_t w, uint64_t first, uint64_t last)
{
	uint64_t lanes = LLFREE_LANES;

	if (w == first / LLFREE_WORD_LANES)
		lanes = lanes << llfree_lane_shift(first);
	if (w == last / LLFREE_WORD_LANES)
		lanes &= ~(uint64_t)0 >> (48 - llfree_lane_shift(last));
	return lanes;
}

/* Is the change possible for all @lanes of @old, and what does it make of it? */
plat_inline bool run_change(uint64_t old, uint64_t lanes, enum llfree_run_op op, uint64_t *ret_new)
{
	switch (op) {
	case LLFREE_RUN_GET:
		*ret_new = old ^ lanes * LLFREE_HUGE_XOR;
		return (llfree_word_whole(old) & lanes << 15) == lanes << 15;
	case LLFREE_RUN_PUT:
	case LLFREE_RUN_PUT_ZEROED:
		*ret_new = (old ^ lanes * LLFREE_HUGE_XOR) & ~(lanes * LLFREE_LANE_ZEROED);
		if (op == LLFREE_RUN_PUT_ZEROED || llfree_break(BREAK_ZEROED_PUT))
			*ret_new |= lanes * LLFREE_LANE_ZEROED;
		if (llfree_break(BREAK_OFFLINE_PUT))
			*ret_new &= ~(lanes * LLFREE_LANE_OFFLINE);
		return (old & lanes * LLFREE_LANE_HUGE) == lanes * LLFREE_LANE_HUGE;
	case LLFREE_RUN_OFFLINE:
		*ret_new = old | lanes * LLFREE_LANE_OFFLINE;
		return (llfree_word_whole(old) & lanes << 15) == lanes << 15;
	}
	return false;
}

/*
 * Words [first word, @end) were changed and are given back. What others may have set meanwhile
 * stays.
 */
static plat_noinline void run_undo(const struct llfree *a, uint64_t child, uint64_t last,
				   uint64_t end, enum llfree_run_op op)
{
	for (uint64_t w = child / LLFREE_WORD_LANES; w < end; w++) {
		uint64_t lanes = run_lanes(w, child, last), old = plat_load(&a->entries[w]), new;
		bool put = op == LLFREE_RUN_PUT || op == LLFREE_RUN_PUT_ZEROED;

		if (llfree_break(BREAK_ROLLBACK_WORDS))
			return;
		do {
			new = op == LLFREE_RUN_OFFLINE ? old & ~(lanes * LLFREE_LANE_OFFLINE)
						       : old ^ lanes *LLFREE_HUGE_XOR;
			/*
			 * Only a second free of the same run at the same time makes an undo of put,
			 * and such a one may lose its frames to a get in between. They are then
			 * that get's.
			 */
			if (put && (llfree_word_whole(old) & lanes << 15) != lanes << 15)
				break;
		} while (!plat_cas(&a->entries[w], &old, new));
		if (llfree_persistent(a) && !llfree_break(BREAK_WB_UNDO))
			plat_writeback(a->writeback, &a->entries[w]);
	}
	if (llfree_persistent(a) && !llfree_break(BREAK_FENCE_UNDO))
		plat_fence(a->writeback);
}

int llfree_run(const struct llfree *a, uint64_t child, uint64_t count, enum llfree_run_op op,
	       unsigned *ret_lane)
{
	uint64_t last = child + count - 1, begin = child / LLFREE_WORD_LANES,
		 end = last / LLFREE_WORD_LANES + 1;
	uint64_t all = ~(uint64_t)0, new;
	bool put = op == LLFREE_RUN_PUT || op == LLFREE_RUN_PUT_ZEROED;

	if (put && end - begin > 1)
		for (uint64_t w = begin; w < end; w++)
			if (!run_change(plat_load(&a->entries[w]), run_lanes(w, child, last), op,
					&new))
				return LLFREE_ENOTALLOC;

	for (uint64_t w = begin; w < end; w++) {
		uint64_t lanes = run_lanes(w, child, last), old = plat_load(&a->entries[w]);

		do {
			if (plat_unlikely(!run_change(old, lanes, op, &new)) ||
			    (w > begin &&
			     (put ? llfree_force(FORCE_PUT_WORDS) : llfree_force(FORCE_WORDS)))) {
				if (w > begin)
					run_undo(a, child, last, w, op);
				return put ? LLFREE_ENOTALLOC : LLFREE_EBUSY;
			}
		} while (plat_unlikely(!plat_cas(&a->entries[w], &old, new)));
		all &= old | ~(lanes * 0xffff);
	}
	if (llfree_persistent(a)) {
		bool flags = op == LLFREE_RUN_OFFLINE;

		/* The lines of all words, then one fence. */
		for (uint64_t w = begin; w < end; w++)
			if ((w == begin || (uintptr_t)&a->entries[w] % PLAT_CACHE_LINE == 0) &&
			    !(flags ? llfree_break(BREAK_WB_FLAGS)
			      : put ? llfree_break(BREAK_WB_HUGE_PUT)
				    : llfree_break(BREAK_WB_HUGE)))
				plat_writeback(a->writeback, &a->entries[w]);
		if (!(flags ? llfree_break(BREAK_FENCE_FLAGS)
		      : put ? llfree_break(BREAK_FENCE_HUGE_PUT)
			    : llfree_break(BREAK_FENCE_HUGE)))
			plat_fence(a->writeback);
	}
	if (ret_lane) {
		all &= all >> 32;
		*ret_lane = (unsigned)(all & all >> 16) & 0xffff;
	}
	return 0;
}

/*
 * First of 2^@shift (0 to 2) neighbouring children that are whole in @word, -1: none. @prefer:
 * lanes with the flag set that come first, if there are any.
 */
plat_inline int word_find(uint64_t word, unsigned shift, uint64_t prefer)
{
	uint64_t whole = llfree_word_whole(word);

	if (shift == 1)
		whole &= whole >> 16 & 0x0000800000008000u;
	else if (shift == 2)
		whole = whole == LLFREE_LANES * 0x8000 ? 0x8000 : 0;
	if (!whole)
		return -1;
	if (whole & prefer)
		whole &= prefer;
	return (int)plat_ctz(whole) / 16;
}

/*
 * The run of children in the tree (order 9 to 11), or that the tree begins (12 up). The child, or
 * -1.
 */
static inline int64_t tree_find(const struct llfree *a, uint64_t tree, unsigned order, bool zeroed)
{
	const uint64_t *words = &a->entries[tree * LLFREE_TREE_WORDS];

	if (plat_likely(order < LLFREE_TREE_ORDER)) {
		for (unsigned i = 0; i < LLFREE_TREE_WORDS; i++) {
			/* Relaxed: llfree_run() looks again. */
			uint64_t word = plat_load_relaxed(&words[i]);
			uint64_t mark = word << 4 & LLFREE_LANES * 0x8000;
			int lane =
				word_find(word, order - LLFREE_HUGE_ORDER, zeroed ? mark : ~mark);

			if (lane >= 0)
				return (int64_t)(tree * LLFREE_TREE_CHILDREN +
						 i * LLFREE_WORD_LANES) +
				       lane;
		}
		return -1;
	}
	for (uint64_t i = 0; i < LLFREE_TREE_WORDS << (order - LLFREE_TREE_ORDER); i++)
		if (llfree_word_whole(plat_load_relaxed(&words[i])) != LLFREE_LANES * 0x8000)
			return -1;
	return (int64_t)(tree * LLFREE_TREE_CHILDREN);
}

/* The worst kind of the trees of a run; the first one's word. */
static inline enum llfree_kind run_kind(const struct llfree *a, unsigned class, uint32_t slot,
					uint64_t tree, uint64_t trees)
{
	enum llfree_kind worst = LLFREE_KIND_PARTLY;

	for (uint64_t i = 0; i < trees; i++) {
		enum llfree_kind kind = llfree_tree_kind(a, class, slot,
							 plat_load_relaxed(&a->trees[tree + i]),
							 llfree_tree_free(a, tree + i));

		if (kind > worst)
			worst = kind;
	}
	return worst;
}

/*
 * The passes are as those of small_search(). Each run that is whole when it is looked at is seen by
 * the first of them; that anything was seen and not taken is reason enough for the last.
 */
static int64_t huge_search(const struct llfree *a, unsigned order, unsigned class, uint32_t slot,
			   uint64_t from, bool zeroed, bool only_zeroed, unsigned *ret_lane,
			   bool *ret_held)
{
	unsigned present = 0, seen = 0;
	uint64_t step = order <= LLFREE_TREE_ORDER ? 1 : (uint64_t)1 << (order - LLFREE_TREE_ORDER);
	uint64_t runs = a->ntrees / step, children = (uint64_t)1 << (order - LLFREE_HUGE_ORDER);
	bool window = true, cut = false;

	*ret_held = false;
	if (!runs)
		return -1;
	from = from / step < runs ? from / step : 0;
	for (unsigned pass = LLFREE_KIND_WHOLE; pass <= LLFREE_PASS_REST; pass++) {
		if (pass > LLFREE_KIND_WHOLE &&
		    !(pass == LLFREE_PASS_REST ? present : present >> pass & 1))
			continue;
		if (pass == LLFREE_PASS_REST && llfree_break(BREAK_REST))
			break;

		uint64_t run = from;

		for (uint64_t i = 0; i < runs; i++, run++) {
			if (plat_unlikely(run >= runs))
				run = 0;

			uint64_t tree = run * step;
			int64_t child = tree_find(a, tree, order, zeroed);

			if (child < 0 ||
			    ((uint64_t)child + children) * LLFREE_CHILD_FRAMES > a->frames)
				continue;
			if (llfree_break(BREAK_HUGE_WINDOW) && ++seen > 8)
				return -1;

			enum llfree_kind kind = run_kind(a, class, slot, tree, step);

			present |= 1u << kind;
			/*
			 * The first pass takes any tree of a matching class, partly used or whole.
			 */
			if (pass == LLFREE_PASS_REST
				    ? kind >= LLFREE_KIND_HELD
				    : kind > pass || (kind < pass && pass != LLFREE_KIND_WHOLE)) {
				*ret_held |= kind == LLFREE_KIND_HELD && pass == LLFREE_PASS_REST;
				if (window && i >= llfree_window(LLFREE_HUGE_ORDER) &&
				    kind == LLFREE_KIND_TAKEN && pass == LLFREE_KIND_WHOLE) {
					window = false;
					cut = true;
					break;
				}
				continue;
			}
			if (only_zeroed &&
			    !(llfree_lane_of(a, (uint64_t)child) & LLFREE_LANE_ZEROED))
				continue;
			/* Lost to another: the tree may have more. */
			if (llfree_run(a, (uint64_t)child, children, LLFREE_RUN_GET, ret_lane)) {
				i--;
				run--;
				continue;
			}
			for (uint64_t t = 0; t < step; t++)
				if (kind == LLFREE_KIND_TAKEN || kind == LLFREE_KIND_DEMOTED ||
				    (plat_load_relaxed(&a->trees[tree + t]) & LLFREE_TREE_FRESH))
					llfree_tree_reclass(a, tree + t, class);
			return child;
		}
		if (cut && pass == LLFREE_KIND_TAKEN) {
			/* What the window saw is gone: look at all. */
			pass = LLFREE_KIND_PARTLY;
			cut = false;
			from = from + llfree_window(LLFREE_HUGE_ORDER) < runs
				       ? from + llfree_window(LLFREE_HUGE_ORDER)
				       : 0;
		}
	}
	return -1;
}

/*
 * Order 9 from a tree of the right class that no other slot has reserved: one atomic write. False:
 * there is none, or another thread was at it.
 */
plat_inline bool huge_hit(const struct llfree *a, unsigned class, const struct llfree_slot *slot,
			  uint64_t tree, uint64_t *ret_frame)
{
	/*
	 * The hint is from shared memory: not believed. The last tree may be short, and is left to
	 * the search.
	 */
	if (plat_unlikely(tree >= a->ntrees - 1))
		return false;

	uint64_t word = plat_load_relaxed(&a->trees[tree]);
	uint64_t *entry = &a->entries[tree * LLFREE_TREE_WORDS], old = plat_load(entry), dirty;
	unsigned slot1 = llfree_tree_slot1(word), shift;

	if (plat_unlikely((word & LLFREE_TREE_FRESH) ||
			  a->verdict[class][llfree_tree_class(word)] < 0 ||
			  (slot1 && slot1 != llfree_slot_index(a, slot) + 1)))
		return false;
	/* Zeroed ones are left to those that want them, as long as the tree has others. */
	dirty = llfree_word_whole(old) & ~(old << 4);
	if (!dirty) {
		old = plat_load(++entry);
		dirty = llfree_word_whole(old) & ~(old << 4);
		if (!dirty)
			return false;
	}
	shift = plat_ctz(dirty) - 15;
	if (plat_unlikely(!plat_cas(entry, &old, old ^ (uint64_t)LLFREE_HUGE_XOR << shift)))
		return false;
	*ret_frame = ((uint64_t)(entry - a->entries) * LLFREE_WORD_LANES + shift / 16) *
		     LLFREE_CHILD_FRAMES;
	if (llfree_persistent(a))
		llfree_persist(a, entry, BREAK_WB_HUGE, BREAK_FENCE_HUGE);
	return true;
}

int llfree_put_huge(struct llfree *a, uint64_t frame, struct llfree_slot *slot, uint32_t flags)
{
	uint64_t child = frame / LLFREE_CHILD_FRAMES, *entry = llfree_entry(a, child),
		 old = plat_load(entry), new;
	unsigned shift = llfree_lane_shift(child);

	if (plat_unlikely(frame % LLFREE_CHILD_FRAMES))
		return LLFREE_EINVAL;
	if (plat_unlikely(a->frames - frame < LLFREE_CHILD_FRAMES))
		return LLFREE_ERANGE;
	do {
		if (plat_unlikely(!(old >> shift & LLFREE_LANE_HUGE)))
			return LLFREE_ENOTALLOC;
		new = (old | (uint64_t)LLFREE_LANE_ZEROED << shift) ^ (uint64_t)LLFREE_HUGE_XOR
									      << shift;
		if (!(flags & LLFREE_ZEROED) && !llfree_break(BREAK_ZEROED_PUT))
			new ^= (uint64_t)LLFREE_LANE_ZEROED << shift;
		if (llfree_break(BREAK_OFFLINE_PUT))
			new &= ~((uint64_t)LLFREE_LANE_OFFLINE << shift);
		/* Release: the frames' contents. */
	} while (plat_unlikely(!plat_cas(entry, &old, new)));
	if (llfree_persistent(a))
		llfree_persist(a, entry, BREAK_WB_HUGE_PUT, BREAK_FENCE_HUGE_PUT);
	/* First fit, by and large: runs of trees come together again. */
	if (frame / LLFREE_TREE_FRAMES < plat_load_relaxed(&slot->huge))
		plat_store_relaxed(&slot->huge, frame / LLFREE_TREE_FRAMES);
	return 0;
}

int llfree_huge_get(struct llfree *a, unsigned order, unsigned class, struct llfree_slot *s,
		    uint32_t flags, uint64_t *ret_frame)
{
	uint32_t slot = llfree_slot_index(a, s);
	uint64_t *hint = &s->huge;
	/* Relaxed: a hint. */
	uint64_t tree = plat_load_relaxed(hint);
	unsigned lane = 0;
	int64_t child = -1;
	bool held = false;

	/* More often than not the next tree will do. */
	if (order == LLFREE_HUGE_ORDER && !flags && tree + 1 < a->ntrees &&
	    !llfree_break(BREAK_HUGE_WINDOW)) {
		if ((plat_load_relaxed(&a->trees[tree + 1]) & LLFREE_TREE_FRESH) &&
		    llfree_tree_free(a, tree + 1) == LLFREE_TREE_FRAMES)
			llfree_tree_reclass(a, tree + 1, class);
		if (huge_hit(a, class, s, tree + 1, ret_frame)) {
			plat_store_relaxed(hint, tree + 1);
			return 0;
		}
	}
	do {
		if (plat_unlikely(flags & LLFREE_ZEROED))
			child = huge_search(a, order, class, slot, tree, true, true, &lane, &held);
		if (child < 0)
			child = huge_search(a, order, class, slot, tree, flags & LLFREE_ZEROED,
					    false, &lane, &held);
		if (plat_likely(child >= 0)) {
			if ((uint64_t)child / LLFREE_TREE_CHILDREN != tree)
				plat_store_relaxed(hint, (uint64_t)child / LLFREE_TREE_CHILDREN);
			*ret_frame = (uint64_t)child * LLFREE_CHILD_FRAMES;
			return (lane & LLFREE_LANE_ZEROED) != 0;
		}
		/* A frame in a slot's hand is all that may keep a child from being whole. */
	} while (llfree_flush_admitted(a, class, held));
	return LLFREE_ENOMEM;
}

int llfree_get_huge(struct llfree *a, unsigned class, struct llfree_slot *slot, uint64_t *ret_frame)
{
	if (plat_likely(huge_hit(a, class, slot, plat_load_relaxed(&slot->huge), ret_frame)))
		return 0;
	return llfree_huge_get(a, LLFREE_HUGE_ORDER, class, slot, 0, ret_frame);
}
