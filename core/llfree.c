/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * get and put of frames below a huge frame. The inlined parts in llfree.h serve what a slot has in
 * hand; here a slot is filled, frames go back, and pools without caches are served.
 */
#include "llfree-upper.h"

static bool request_ok(const struct llfree *a, unsigned order, unsigned class, unsigned slot,
		       uint32_t flags)
{
	return order <= LLFREE_MAX_ORDER && class < a->classes && slot < a->nslots &&
	       !(flags & ~LLFREE_ZEROED);
}

static struct llfree_slot *slot_at(const struct llfree *a, unsigned class, unsigned slot)
{
	return &a->slots[a->slot_base + class * a->nslots + slot];
}

/*
 * Take what is free of one half row of @child: *ret_mask of it. The count is reserved for as many
 * frames as one look found, and what the CAS on the row did not get of them is given back.
 */
static bool half_take(const struct llfree *a, uint64_t child, unsigned from, uint64_t *ret_half,
		      uint32_t *ret_mask, bool *ret_zeroed)
{
	uint64_t *rows = llfree_rows(a, child);
	unsigned lane = llfree_lane_of(a, child);

	for (unsigned i = 0; i < LLFREE_CHILD_ROWS && llfree_lane_fits(lane, 1); i++) {
		unsigned r = (from + i) % LLFREE_CHILD_ROWS;
		uint64_t row = plat_load(&rows[r]), free = row ^ llfree_lane_flip(lane);

		if (plat_unlikely(child + 1 >= a->children))
			free &= ~llfree_row_padding(
				child < a->children ? llfree_child_frames(a, child) : 0, r);

		unsigned shift = (uint32_t)free ? 0 : 32;
		uint64_t mask = free & (uint64_t)0xffffffffu << shift;

		if (!mask)
			continue;

		unsigned want = plat_popcount(mask), got = 0, n = llfree_lane_free(lane);
		uint64_t look = (uint64_t)0xffffffffu << shift;

		if (plat_unlikely(child + 1 >= a->children))
			look = mask;

		if (want > n)
			want = n;
		if (!llfree_count_take(a, child, want, &lane)) {
			/* Less than that is left by now. */
			lane = llfree_lane_of(a, child);
			i--;
			continue;
		}
		row = plat_load(&rows[r]);
		do {
			mask = (row ^ llfree_lane_flip(lane)) & look;
			if (llfree_force(FORCE_ROW))
				mask = 0;
			for (got = plat_popcount(mask); got > want; got--)
				mask &= mask - 1;
		} while (mask && !plat_cas(&rows[r], &row, row ^ mask));
		if (got < want)
			llfree_count_give(a, child, want - got);
		/* After the bits: see llfree_child_get(). */
		unsigned after = llfree_lane_of(a, child);

		if (got) {
			*ret_half = (child * LLFREE_CHILD_ROWS + r) * 2 + shift / 32;
			*ret_mask = (uint32_t)(mask >> shift);
			*ret_zeroed = (llfree_break(BREAK_ZEROED_RACE) ? lane : after) &
				      LLFREE_LANE_ZEROED;
			return true;
		}
		lane = after;
	}
	return false;
}

/*
 * The child with the fewest free frames, but some, of the tree's that are not in @tried. -1: none.
 */
static int fullest_child(const struct llfree *a, uint64_t tree, unsigned n, unsigned tried)
{
	unsigned best = LLFREE_CHILD_FRAMES + 1;
	int ret = -1;

	for (unsigned w = 0; w < LLFREE_TREE_WORDS; w++) {
		uint64_t word = plat_load_relaxed(&a->entries[tree * LLFREE_TREE_WORDS + w]);

		for (unsigned i = 0; i < LLFREE_WORD_LANES; i++, word >>= 16) {
			unsigned lane = (unsigned)word & 0xffff, c = w * LLFREE_WORD_LANES + i;

			if (llfree_lane_fits(lane, n) && llfree_lane_free(lane) < best &&
			    !(tried >> c & 1)) {
				best = llfree_lane_free(lane);
				ret = (int)c;
			}
		}
	}
	return ret;
}

/*
 * Orders 1 to 8: the fullest child that has a run, of those that are not in @tried. -1: none has.
 */
static int fullest_run(const struct llfree *a, uint64_t tree, unsigned order, unsigned tried)
{
	unsigned best = LLFREE_CHILD_FRAMES + 1;
	int ret = -1;

	for (unsigned w = 0; w < LLFREE_TREE_WORDS; w++) {
		/* Acquire: the sense of the bits. */
		uint64_t word = plat_load(&a->entries[tree * LLFREE_TREE_WORDS + w]);

		for (unsigned i = 0; i < LLFREE_WORD_LANES; i++, word >>= 16) {
			unsigned lane = (unsigned)word & 0xffff, c = w * LLFREE_WORD_LANES + i;

			if (!llfree_lane_fits(lane, 1u << order) ||
			    llfree_lane_free(lane) >= best || tried >> c & 1)
				continue;
			if (llfree_bits_find(llfree_rows(a, tree * LLFREE_TREE_CHILDREN + c),
					     llfree_lane_flip(lane), order, 0) < 0)
				continue;
			best = llfree_lane_free(lane);
			ret = (int)c;
		}
	}
	return ret;
}

int64_t llfree_tree_get(const struct llfree *a, uint64_t tree, unsigned order, unsigned *ret_lane)
{
	unsigned tried = 0;
	int c;

	while ((c = order ? fullest_run(a, tree, order, tried)
			  : fullest_child(a, tree, 1, tried)) >= 0) {
		int64_t frame = llfree_child_get(a, tree * LLFREE_TREE_CHILDREN + (unsigned)c,
						 order, 0, ret_lane);

		if (plat_likely(frame >= 0))
			return frame;
		/* Others were faster; it was looked through once more then. */
		tried |= 1u << c;
	}
	return -1;
}

/*
 * Fill the slot's cache, which was @old and empty, from @tree, which was reserved for it. One frame
 * is the caller's at once. False: nothing was found.
 */
static bool cache_fill(const struct llfree *a, uint32_t slot, uint64_t tree, uint64_t old,
		       uint64_t *ret_frame, bool *ret_zeroed)
{
	uint64_t *cache = &a->slots[slot].cache, half = llfree_cache_half(old), new;
	unsigned tried = 0;
	uint32_t mask = 0;
	int c = -1;

	if (llfree_cache_tree(old) == tree)
		c = (int)(half / (2 * LLFREE_CHILD_ROWS) % LLFREE_TREE_CHILDREN);
	else
		c = fullest_child(a, tree, 1, 0);
	for (; c >= 0; c = fullest_child(a, tree, 1, tried)) {
		uint64_t child = tree * LLFREE_TREE_CHILDREN + (unsigned)c;
		unsigned from =
			half / (2 * LLFREE_CHILD_ROWS) == child ? half / 2 % LLFREE_CHILD_ROWS : 0;

		if (half_take(a, child, from, &half, &mask, ret_zeroed))
			break;
		tried |= 1u << c;
	}
	if (c < 0)
		return false;

	uint64_t flags = LLFREE_CACHE_VALID | (*ret_zeroed ? LLFREE_CACHE_ZEROED : 0);

	*ret_frame = (half << LLFREE_HALF_ORDER) + plat_ctz(mask);
	mask &= mask - 1;
	new = llfree_cache_word(half, flags, mask);
	if (llfree_break(BREAK_PUBLISH)) {
		plat_store(cache, new);
	} else if (llfree_force(FORCE_PUBLISH) || !plat_cas(cache, &old, new)) {
		/* Another thread of this slot was faster. */
		llfree_half_give(a, half, mask, !*ret_zeroed);
		return true;
	}

	/* *Store-load*: see llfree-slot.c. */
	uint64_t child = half / (2 * LLFREE_CHILD_ROWS), word = plat_load_sc(&a->trees[tree]);
	unsigned lane = llfree_lane(plat_load_sc(llfree_entry(a, child)), child);

	if ((lane >= LLFREE_LANE_BAD && !llfree_break(BREAK_OFFLINE_CACHE)) ||
	    llfree_force(FORCE_LEFT) || llfree_tree_slot1(word) != slot + 1)
		llfree_slot_flush(a, slot);
	/*
	 * A half row is in one slot's word only: that makes the put into the cache a matter of one
	 * word.
	 */
	if (plat_unlikely(llfree_tree_put1(word)) &&
	    llfree_slot1_valid(a, llfree_tree_put1(word))) {
		uint32_t other = llfree_tree_put1(word) - 1;
		uint64_t freed = plat_load_sc(&a->slots[other].freed);

		if ((freed & LLFREE_CACHE_VALID) && llfree_cache_half(freed) == half)
			llfree_slot_flush(a, other);
	}
	return true;
}

static plat_noinline int cached_get(struct llfree *a, unsigned class, struct llfree_slot *s,
				    uint64_t *ret_frame)
{
	uint32_t slot = llfree_slot_index(a, s);
	uint64_t *cache = &s->cache, tree, next;
	bool zeroed = false;

	/* Each round that ends without a frame means that other threads took what was there. */
	for (unsigned tries = 0; tries < 1024; tries++) {
		uint64_t old = plat_load(cache);

		if ((uint32_t)old) {
			if (plat_unlikely(llfree_cache_frame(old) >= a->frames)) {
				llfree_slot_flush(a, slot);
				continue;
			}
			if (!plat_cas(cache, &old, old & (old - 1)))
				continue;
			*ret_frame = llfree_cache_frame(old);
			return (old & LLFREE_CACHE_ZEROED) != 0;
		}
		tree = llfree_hint_tree(a, old);
		if (llfree_tree_slot1(plat_load(&a->trees[tree])) == slot + 1 &&
		    cache_fill(a, slot, tree, old, ret_frame, &zeroed))
			return zeroed;

		enum llfree_kind kind = llfree_tree_reserve(a, class, slot, tree, &next);
		unsigned lane;
		int64_t frame;

		if (kind >= LLFREE_KIND_HELD) {
			if (llfree_steal(a, class, ret_frame, &zeroed))
				return zeroed;
			if (!llfree_flush_admitted(a, class, kind == LLFREE_KIND_HELD))
				break;
			continue;
		}
		if (kind == LLFREE_KIND_RESERVED || kind == LLFREE_KIND_STOLEN) {
			frame = llfree_tree_get(a, next, 0, &lane);
			if (frame < 0)
				continue;
			*ret_frame = (uint64_t)frame;
			return (lane & LLFREE_LANE_ZEROED) != 0;
		}

		bool filled = cache_fill(a, slot, next, old, ret_frame, &zeroed);

		/* Of the two trees the slot keeps the one where its word points now. */
		if (next != tree)
			llfree_tree_leave(
				a, llfree_hint_tree(a, plat_load(cache)) == next ? tree : next,
				slot);
		if (filled)
			return zeroed;
	}
	return LLFREE_ENOMEM;
}

/*
 * Order 0 without a cache, where the last frame came from: two atomic writes, one for the count and
 * one for the bit. -1: look elsewhere.
 */
plat_inline int64_t uncached_hit(const struct llfree *a, uint64_t cache, uint32_t slot,
				 unsigned *ret_lane)
{
	uint64_t row = llfree_cache_half(cache) / 2, child = row / LLFREE_CHILD_ROWS;
	uint64_t *word = &a->bits[row], *entry = llfree_entry(a, child), old, bits, free;
	unsigned shift = llfree_lane_shift(child), lane;

	/*
	 * The hint is from shared memory: it is not believed. The last child, maybe short, is left
	 * to others.
	 */
	if (plat_unlikely(child + 1 >= a->children) ||
	    plat_unlikely(llfree_tree_slot1(plat_load_relaxed(
				  &a->trees[row / (LLFREE_TREE_FRAMES / 64)])) != slot + 1))
		return -1;
	old = plat_load(entry);
	lane = (unsigned)(old >> shift) & 0xffff;
	bits = plat_load(word);
	free = bits ^ llfree_lane_flip(lane);
	if (plat_unlikely(!free || !llfree_lane_fits(lane, 1) || llfree_break(BREAK_CAPACITY)) ||
	    plat_unlikely(!plat_cas(entry, &old, old - ((uint64_t)1 << shift))))
		return -1;
	/* The lane did not change since the row was read; the row may have. */
	if (plat_unlikely(llfree_force(FORCE_ROW)) ||
	    plat_unlikely(!plat_cas(word, &bits, bits ^ (free & -free)))) {
		llfree_count_give(a, child, 1);
		return -1;
	}
	if (llfree_persistent(a))
		llfree_persist(a, word, BREAK_WB_GET, BREAK_FENCE_GET);
	/* After the bit: see llfree_child_get(). */
	*ret_lane = llfree_break(BREAK_ZEROED_RACE) ? lane : llfree_lane_of(a, child);
	return (int64_t)(row * 64 + plat_ctz(free));
}

static plat_noinline int uncached_get(struct llfree *a, unsigned class, struct llfree_slot *slot,
				      uint64_t *ret_frame)
{
	unsigned lane;
	int64_t frame =
		uncached_hit(a, plat_load_relaxed(&slot->cache), llfree_slot_index(a, slot), &lane);

	if (plat_unlikely(frame < 0))
		return llfree_small_get(a, 0, class, slot, ret_frame);
	*ret_frame = (uint64_t)frame;
	return (lane & LLFREE_LANE_ZEROED) != 0;
}

int llfree_get_frame(struct llfree *a, unsigned class, struct llfree_slot *slot,
		     uint64_t *ret_frame)
{
	return plat_likely(llfree_cached(a)) ? cached_get(a, class, slot, ret_frame)
					     : uncached_get(a, class, slot, ret_frame);
}

int llfree_get_slow(struct llfree *a, unsigned order, unsigned class, unsigned slot, uint32_t flags,
		    uint64_t *ret_frame)
{
	if (plat_unlikely(!request_ok(a, order, class, slot, flags)))
		return a->flags & LLFREE_READONLY ? LLFREE_EROFS : LLFREE_EINVAL;
	/* Lower orders have parts of their own. */
	return llfree_huge_get(a, order, class, slot_at(a, class, slot), flags, ret_frame);
}

/* Does a slot hold any of the frames in hand? Their bits say allocated, but they are free. */
static bool in_hand(uint64_t word, uint64_t frame, unsigned order)
{
	uint64_t half = llfree_cache_half(word);

	if (!(word & LLFREE_CACHE_VALID) || half < frame >> LLFREE_HALF_ORDER ||
	    half > (frame + (1u << order) - 1) >> LLFREE_HALF_ORDER)
		return false;
	if (order >= LLFREE_HALF_ORDER)
		return (uint32_t)word;
	return (uint32_t)word & (uint32_t)llfree_run_mask(order) << frame % LLFREE_HALF_FRAMES;
}

static plat_noinline bool freed_already(const struct llfree *a, uint64_t tree_word, uint64_t frame,
					unsigned order)
{
	unsigned slot1 = llfree_tree_slot1(tree_word), put1 = llfree_tree_put1(tree_word);

	return (llfree_slot1_valid(a, slot1) && !llfree_break(BREAK_CACHED_FREE) &&
		in_hand(plat_load(&a->slots[slot1 - 1].cache), frame, order)) ||
	       (llfree_slot1_valid(a, put1) && !llfree_break(BREAK_FREED_FREE) &&
		in_hand(plat_load(&a->slots[put1 - 1].freed), frame, order));
}

/*
 * Begin to gather frames of @frame's half row in the slot: it is the second put there in a row.
 * False: not done, the frame is still the caller's.
 */
static plat_noinline bool gather_begin(const struct llfree *a, uint32_t slot, uint64_t frame,
				       uint64_t zeroed)
{
	uint64_t *freed = &a->slots[slot].freed;
	uint64_t old = plat_load(freed), tree = frame >> LLFREE_TREE_ORDER,
		 half = frame >> LLFREE_HALF_ORDER;
	uint64_t word = plat_load(&a->trees[tree]);
	uint64_t new = llfree_cache_word(half, LLFREE_CACHE_VALID | zeroed,
					 1u << frame % LLFREE_HALF_FRAMES);

	if (llfree_tree_put1(word) != slot + 1) {
		/* A tree has one gatherer, so that a double free is found by one look. */
		if (llfree_tree_put1(word) ||
		    !plat_cas(&a->trees[tree], &word,
			      (word & 0xffffffffu) | (uint64_t)(slot + 1) << 32))
			return false;
		if (llfree_cache_tree(old) != tree)
			llfree_tree_leave(a, llfree_hint_tree(a, old), slot);
		old = plat_load(freed);
	}
	if (old & LLFREE_CACHE_VALID) {
		llfree_flush_freed(a, slot);
		old = plat_load(freed);
	}
	if ((old & LLFREE_CACHE_VALID) || llfree_force(FORCE_PUBLISH) ||
	    !plat_cas(freed, &old, new))
		return false;

	/* *Store-load*, as in cache_fill(). */
	uint64_t child = frame >> LLFREE_HUGE_ORDER;
	unsigned lane = llfree_lane(plat_load_sc(llfree_entry(a, child)), child);

	word = plat_load_sc(&a->trees[tree]);

	unsigned slot1 = llfree_tree_slot1(word);
	uint64_t cache = llfree_slot1_valid(a, slot1) ? plat_load_sc(&a->slots[slot1 - 1].cache)
						      : 0;

	if (lane >= LLFREE_LANE_BAD || llfree_tree_put1(word) != slot + 1 ||
	    llfree_force(FORCE_LEFT) ||
	    ((cache & LLFREE_CACHE_VALID) && llfree_cache_half(cache) == half))
		llfree_flush_freed(a, slot);
	return true;
}

/*
 * The child of frames that are about to be given back is huge, marked zeroed, or not in sync with
 * media.
 */
static plat_noinline unsigned put_prepare(const struct llfree *a, uint64_t child, bool dirty)
{
	return llfree_put_prepare(a, child, dirty);
}

/*
 * The frames are allocated, and in nobody's hand: from the lane @lane on, as it was when that was
 * seen.
 */
plat_inline int put_bits(const struct llfree *a, uint64_t frame, unsigned order, unsigned lane,
			 bool dirty)
{
	uint64_t child = frame / LLFREE_CHILD_FRAMES;
	uint64_t *rows = llfree_rows(a, child);
	unsigned pos = frame % LLFREE_CHILD_FRAMES, n = 1u << order;

	if (plat_unlikely(lane & (LLFREE_LANE_HUGE | LLFREE_LANE_ZEROED | LLFREE_LANE_UNSYNC))) {
		lane = put_prepare(a, child, dirty);
		if (lane & LLFREE_LANE_HUGE)
			return LLFREE_ENOTALLOC;
	}
	if (plat_unlikely(!llfree_bits_give(rows, pos, llfree_lane_flip(lane), order)))
		return LLFREE_ENOTALLOC;
	if (llfree_break(BREAK_ORDER_PUT))
		llfree_count_give(a, child, n);
	/*
	 * Durable before counted: a count of 512 then means that all bits on media are free, which
	 * a huge allocation relies on when it turns their sense round.
	 */
	if (llfree_persistent(a))
		llfree_persist(a, rows, BREAK_WB_PUT, BREAK_FENCE_PUT);
	if (!llfree_break(BREAK_ORDER_PUT))
		llfree_count_give(a, child, n);
	if (llfree_break(BREAK_OFFLINE_PUT))
		plat_fetch_and(llfree_entry(a, child),
			       ~((uint64_t)LLFREE_LANE_OFFLINE << llfree_lane_shift(child)));
	return 0;
}

/* All that llfree_put_frame() does not do itself, which is right for every frame. */
static plat_noinline int put_frame_slow(struct llfree *a, uint64_t frame, struct llfree_slot *s,
					uint32_t flags)
{
	bool dirty = !(flags & LLFREE_ZEROED);
	unsigned lane = llfree_lane_of(a, frame / LLFREE_CHILD_FRAMES);
	uint64_t row = plat_load(&a->bits[frame / 64]);

	/* What is not allocated is refused before anything is touched. */
	if ((row ^ llfree_lane_flip(lane)) >> frame % 64 & 1 && !(lane & LLFREE_LANE_HUGE) &&
	    !llfree_break(BREAK_DOUBLE_FREE))
		return LLFREE_ENOTALLOC;
	if (llfree_cached(a) &&
	    freed_already(a, plat_load(&a->trees[frame / LLFREE_TREE_FRAMES]), frame, 0))
		return LLFREE_ENOTALLOC;
	return put_bits(a, frame, 0, lane, dirty);
}

/*
 * The common case: the frame is allocated, in a child about which there is nothing to say. The
 * putter owns the frame, so its child can become neither wholly free nor, unless it is so now,
 * huge: its sense, and the frame's bit, stay what they are here.
 */
plat_inline bool put_plain(const struct llfree *a, uint64_t frame, uint64_t row)
{
	uint64_t child = frame / LLFREE_CHILD_FRAMES;
	uint64_t lane = plat_load(llfree_entry(a, child)) >> llfree_lane_shift(child);

	return plat_likely(
		!(lane & (LLFREE_LANE_BARRED | LLFREE_LANE_ZEROED | LLFREE_LANE_UNSYNC)) &&
		((row >> frame % 64 ^ lane / LLFREE_LANE_INVERTED) & 1));
}

static plat_noinline int put_frame_gather(struct llfree *a, uint64_t frame, struct llfree_slot *s,
					  uint32_t flags)
{
	if (!put_plain(a, frame, plat_load(&a->bits[frame / 64])) &&
	    !llfree_break(BREAK_DOUBLE_FREE))
		return put_frame_slow(a, frame, s, flags);
	if (freed_already(a, plat_load(&a->trees[frame / LLFREE_TREE_FRAMES]), frame, 0))
		return LLFREE_ENOTALLOC;
	if (gather_begin(a, (uint32_t)(s - a->slots), frame,
			 flags & LLFREE_ZEROED ? LLFREE_CACHE_ZEROED : 0))
		return 0;
	return put_frame_slow(a, frame, s, flags);
}

static int put_again(struct llfree *a, uint64_t frame, struct llfree_slot *s, uint32_t flags);

static plat_noinline int put_uncached(struct llfree *a, uint64_t frame, struct llfree_slot *s,
				      uint32_t flags)
{
	uint64_t *word = &a->bits[frame / 64], row = plat_load(word);

	if (!put_plain(a, frame, row) || llfree_break(BREAK_ORDER_PUT) ||
	    plat_unlikely(!plat_cas(word, &row, row ^ (uint64_t)1 << frame % 64)))
		return put_frame_slow(a, frame, s, flags);
	/* Durable before counted: see put_bits(). */
	if (llfree_persistent(a))
		llfree_persist(a, word, BREAK_WB_PUT, BREAK_FENCE_PUT);
	llfree_count_give(a, frame / LLFREE_CHILD_FRAMES, 1);
	return 0;
}

/* Into one of the slot's words, which holds this half row. One atomic write. */
plat_inline int put_word(struct llfree *a, uint64_t frame, struct llfree_slot *s, uint32_t flags,
			 uint64_t *word, uint64_t old)
{
	uint64_t bit = (uint64_t)1 << frame % LLFREE_HALF_FRAMES;
	bool dirty = !(flags & LLFREE_ZEROED) && !llfree_break(BREAK_ZEROED_CACHE);

	if (!put_plain(a, frame, plat_load(&a->bits[frame / 64])))
		return put_frame_slow(a, frame, s, flags);
	if (plat_unlikely(old & bit) && !llfree_break(BREAK_CACHED_FREE) &&
	    !llfree_break(BREAK_FREED_FREE))
		return LLFREE_ENOTALLOC;
	/*
	 * XOR: what is set is cleared, and the frame's bit is not set. Release: the frame's
	 * contents.
	 */
	if (plat_likely(
		    plat_cas(word, &old, (old ^ (dirty ? old & LLFREE_CACHE_ZEROED : 0)) | bit)))
		return 0;
	return put_again(a, frame, s, flags);
}

static plat_noinline int put_cache(struct llfree *a, uint64_t frame, struct llfree_slot *s,
				   uint32_t flags, uint64_t old)
{
	return put_word(a, frame, s, flags, &s->cache, old);
}

static plat_noinline int put_direct(struct llfree *a, uint64_t frame, struct llfree_slot *s,
				    uint32_t flags)
{
	uint64_t child = frame / LLFREE_CHILD_FRAMES, *word = &a->bits[frame / 64],
		 row = plat_load(word);

	/* Somebody may have it in hand: then a look at the bits is not enough. */
	if (plat_unlikely(plat_load(&a->trees[frame / LLFREE_TREE_FRAMES]) & LLFREE_TREE_HELD) ||
	    !put_plain(a, frame, row) ||
	    /* Release: the frame's contents, for whoever gets it next. */
	    plat_unlikely(!plat_cas(word, &row, row ^ (uint64_t)1 << frame % 64)))
		return put_frame_slow(a, frame, s, flags);
	/* Release, after the bit: see llfree-lower.h. */
	llfree_count_give(a, child, 1);
	return 0;
}

int llfree_put_frame(struct llfree *a, uint64_t frame, struct llfree_slot *s, uint32_t flags)
{
	uint64_t freed = plat_load(&s->freed), cache, half = frame / LLFREE_HALF_FRAMES;

	/* In a pool without caches only damage says that a slot holds it. */
	if (plat_likely(llfree_cache_holds(freed, frame)) && plat_likely(llfree_cached(a)))
		return put_word(a, frame, s, flags, &s->freed, freed);
	if (plat_unlikely(!llfree_cached(a)))
		return put_uncached(a, frame, s, flags);
	cache = plat_load(&s->cache);
	if (llfree_cache_holds(cache, frame))
		return put_cache(a, frame, s, flags, cache);
	/* Relaxed: a hint. Two puts in a row to one half row: gather more of them. */
	if (plat_load_relaxed(&s->last_half) == half + 1)
		return put_frame_gather(a, frame, s, flags);
	plat_store_relaxed(&s->last_half, half + 1);
	return put_direct(a, frame, s, flags);
}

static plat_noinline int put_again(struct llfree *a, uint64_t frame, struct llfree_slot *s,
				   uint32_t flags)
{
	return llfree_put_frame(a, frame, s, flags);
}

int llfree_put_slow(struct llfree *a, uint64_t frame, unsigned order, unsigned class, unsigned slot,
		    uint32_t flags)
{
	unsigned n = 1u << (order & 31);

	if (plat_unlikely(!request_ok(a, order, class, slot, flags)))
		return a->flags & LLFREE_READONLY ? LLFREE_EROFS : LLFREE_EINVAL;
	if (plat_unlikely(frame >= a->frames || a->frames - frame < n))
		return LLFREE_ERANGE;
	if (plat_unlikely(frame & (n - 1)))
		return LLFREE_EINVAL;

	struct llfree_slot *s = slot_at(a, class, slot);
	bool dirty = !(flags & LLFREE_ZEROED);
	uint64_t child = frame / LLFREE_CHILD_FRAMES;

	if (order >= LLFREE_HUGE_ORDER) {
		int r = llfree_run(a, child, n / LLFREE_CHILD_FRAMES,
				   dirty ? LLFREE_RUN_PUT : LLFREE_RUN_PUT_ZEROED, NULL);

		/* First fit, by and large: runs of trees come together again. */
		if (r == 0 && frame / LLFREE_TREE_FRAMES < plat_load_relaxed(&s->huge))
			plat_store_relaxed(&s->huge, frame / LLFREE_TREE_FRAMES);
		return r;
	}

	unsigned lane = llfree_lane_of(a, child), pos = frame % LLFREE_CHILD_FRAMES;

	if (!(lane & LLFREE_LANE_HUGE)) {
		/* Of orders 7 and 8 the first row; llfree_bits_give() looks at the others. */
		uint64_t mask = order <= 6 ? llfree_run_mask(order) << pos % 64 : ~(uint64_t)0;

		if (plat_unlikely((plat_load(&a->bits[frame / 64]) ^ llfree_lane_flip(lane)) &
				  mask) &&
		    !llfree_break(BREAK_DOUBLE_FREE))
			return LLFREE_ENOTALLOC;
	}
	if (llfree_cached(a)) {
		uint64_t word = plat_load(&a->trees[frame / LLFREE_TREE_FRAMES]);

		if ((word & LLFREE_TREE_HELD) &&
		    plat_unlikely(freed_already(a, word, frame, order)))
			return LLFREE_ENOTALLOC;
	}
	return put_bits(a, frame, order, lane, dirty);
}

int llfree_get_at(struct llfree *a, uint64_t frame, struct llfree_request request)
{
	unsigned order = request.order, n = 1u << (order & 31), pos = frame % LLFREE_CHILD_FRAMES,
		 lane;
	uint64_t child = frame >> LLFREE_HUGE_ORDER, count = n / LLFREE_CHILD_FRAMES;

	if (!request_ok(a, order, request.class, request.slot, request.flags))
		return a->flags & LLFREE_READONLY ? LLFREE_EROFS : LLFREE_EINVAL;
	if (frame >= a->frames || a->frames - frame < n)
		return LLFREE_ERANGE;
	if (frame & (n - 1))
		return LLFREE_EINVAL;

	/* Once more if slots had frames of the child in hand. */
	for (int again = 0; again < 2; again++) {
		if (order >= LLFREE_HUGE_ORDER) {
			if (llfree_run(a, child, count, LLFREE_RUN_GET, &lane) == 0)
				return (lane & LLFREE_LANE_ZEROED) != 0;
		} else if (llfree_count_take(a, child, n, &lane)) {
			uint64_t *rows = llfree_rows(a, child);

			if (llfree_bits_take(a, rows, pos, llfree_lane_flip(lane), order)) {
				if (llfree_persistent(a))
					llfree_persist(a, rows, BREAK_WB_GET, BREAK_FENCE_GET);
				return (llfree_lane_of(a, child) & LLFREE_LANE_ZEROED) != 0;
			}
			llfree_count_give(a, child, n);
		}
		if (!llfree_flush_range(a, child, child + (count ? count - 1 : 0)))
			break;
	}
	return LLFREE_EBUSY;
}
