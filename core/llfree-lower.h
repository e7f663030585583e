/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Internal: lanes and bits, the state that persists. Inlined into the files that allocate.
 *
 * The rule that everything rests on: a lane's count is reserved before bits are taken and given
 * back after bits are, so at every instant count <= free bits, and the surplus belongs to
 * operations in flight. Hence count == 512 means: all bits are free, and nobody is about to touch
 * them.
 */
#ifndef MORSEL_CORE_LLFREE_LOWER_H
#define MORSEL_CORE_LLFREE_LOWER_H

#include "llfree.h"
#include "llfree-fault.h"

plat_inline uint64_t *llfree_entry(const struct llfree *a, uint64_t child)
{
	return &a->entries[child / LLFREE_WORD_LANES];
}

/* Acquire: bits and contents written before the lane was changed to this are seen. */
plat_inline unsigned llfree_lane_of(const struct llfree *a, uint64_t child)
{
	return llfree_lane(plat_load(llfree_entry(a, child)), child);
}

plat_inline uint64_t *llfree_rows(const struct llfree *a, uint64_t child)
{
	return &a->bits[child * LLFREE_CHILD_ROWS];
}

/* Frames of a child that exist: 512, but for the last one. */
plat_inline unsigned llfree_child_frames(const struct llfree *a, uint64_t child)
{
	uint64_t rest = a->frames - child * LLFREE_CHILD_FRAMES;

	return rest < LLFREE_CHILD_FRAMES ? (unsigned)rest : LLFREE_CHILD_FRAMES;
}

/* Of row @r of a child with @frames frames the bits that stand for none: always allocated. */
plat_inline uint64_t llfree_row_padding(unsigned frames, unsigned r)
{
	if (frames >= (r + 1) * 64)
		return 0;
	return frames <= r * 64 ? ~(uint64_t)0 : ~(uint64_t)0 << frames % 64;
}

plat_inline bool llfree_persistent(const struct llfree *a)
{
	return plat_unlikely(a->flags & LLFREE_PERSISTENT);
}

plat_inline bool llfree_cached(const struct llfree *a)
{
	return !(a->flags & (LLFREE_PERSISTENT | LLFREE_UNCACHED));
}

/* The @n = 2^order lowest bits, order 0 to 6. */
plat_inline uint64_t llfree_run_mask(unsigned order)
{
	return ~(uint64_t)0 >> (64 - (1u << order));
}

/* Bits where an aligned run of 2^order may begin, order 0 to 6. */
plat_inline uint64_t llfree_run_starts(unsigned order)
{
	static const uint64_t starts[] = {
		0xffffffffffffffffu, 0x5555555555555555u, 0x1111111111111111u, 0x0101010101010101u,
		0x0001000100010001u, 0x0000000100000001u, 0x0000000000000001u,
	};

	return starts[order];
}

/* Of @free (set: free) the bits where an aligned run of 2^order, order 0 to 6, begins. */
plat_inline uint64_t llfree_runs(uint64_t free, unsigned order)
{
	for (unsigned shift = 1; shift < 1u << order; shift <<= 1)
		free &= free >> shift;
	return free & llfree_run_starts(order);
}

/* Pairs of neighbouring bits of a row that are both set; that are not both clear. */
plat_inline uint64_t llfree_pairs_set(const uint64_t *row)
{
	uint64_t x = plat_load_relaxed(row);

	return x & x >> 1;
}

plat_inline uint64_t llfree_pairs_not_clear(const uint64_t *row)
{
	uint64_t x = plat_load_relaxed(row);

	return x | x >> 1;
}

/* @f of each row of a child, joined by @op. */
#define LLFREE_EACH_ROW(f, rows, op)                                                       \
	(f(&(rows)[0]) op f(&(rows)[1]) op f(&(rows)[2]) op f(&(rows)[3]) op f(&(rows)[4]) \
		 op f(&(rows)[5]) op f(&(rows)[6]) op f(&(rows)[7]))

/*
 * Orders 1 to 6, all rows at once and hardly a branch: false if none has a run, and, for orders 2
 * to 5, in most children that have none. A search that fails spends its time here, so that neither
 * are loops left to the compiler nor rows turned round one by one.
 */
plat_inline bool llfree_bits_maybe(const uint64_t *rows, uint64_t flip, unsigned order)
{
	uint64_t pairs;

	if (order == 6) {
#define LLFREE_ROW_IS_FREE(row) (plat_load_relaxed(row) == ~flip)
		return LLFREE_EACH_ROW(LLFREE_ROW_IS_FREE, rows, ||);
#undef LLFREE_ROW_IS_FREE
	}
	if (plat_likely(flip))
		pairs = ~LLFREE_EACH_ROW(llfree_pairs_not_clear, rows, &);
	else
		pairs = LLFREE_EACH_ROW(llfree_pairs_set, rows, |);
	return pairs & llfree_run_starts(1);
}

/* Where in the child, 0 to 511, a free aligned run is, looking from row @from on; -1: nowhere. */
plat_inline int llfree_bits_find(const uint64_t *rows, uint64_t flip, unsigned order, unsigned from)
{
	if (order && order <= 6 && !llfree_bits_maybe(rows, flip, order))
		return -1;
	if (plat_likely(order <= 6)) {
		for (unsigned i = 0; i < LLFREE_CHILD_ROWS; i++) {
			unsigned r = (from + i) % LLFREE_CHILD_ROWS;
			/* Relaxed: a guess; the CAS that takes the bits decides. */
			uint64_t free = plat_load_relaxed(&rows[r]) ^ flip;

			if (free && (free = llfree_runs(free, order)))
				return (int)(r * 64 + plat_ctz(free));
		}
		return -1;
	}

	unsigned n = 1u << (order - 6);

	for (unsigned r = 0; r < LLFREE_CHILD_ROWS; r += n) {
		unsigned i = 0;

		while (i < n && !~(plat_load_relaxed(&rows[r + i]) ^ flip))
			i++;
		if (i == n)
			return (int)(r * 64);
	}
	return -1;
}

/*
 * Turn @mask of a row from free to allocated (or back: the operation is its own inverse), if all of
 * it is in the state @want (XOR with it gives ones). Acquire and release: frame contents pass from
 * the one who frees to the one who allocates through this word.
 */
plat_inline bool llfree_row_toggle(uint64_t *row, uint64_t mask, uint64_t want)
{
	uint64_t old = plat_load(row);

	do {
		if (((old ^ want) & mask) != mask)
			return false;
	} while (plat_unlikely(!plat_cas(row, &old, old ^ mask)));
	return true;
}

/* Media holds the line of @p when this returns. The two hooks leave out one half each. */
#define llfree_persist(a, p, wb_site, fence_site)            \
	do {                                                 \
		if (!llfree_break(wb_site))                  \
			plat_writeback((a)->writeback, (p)); \
		if (!llfree_break(fence_site))               \
			plat_fence((a)->writeback);          \
	} while (0)

plat_inline bool llfree_bits_take(const struct llfree *a, uint64_t *rows, unsigned pos,
				  uint64_t flip, unsigned order)
{
	if (plat_likely(order <= 6)) {
		if (llfree_force(FORCE_ROW))
			return false;
		return llfree_row_toggle(&rows[pos / 64], llfree_run_mask(order) << pos % 64, flip);
	}

	unsigned n = 1u << (order - 6), first = pos / 64;

	for (unsigned i = 0; i < n; i++) {
		if (!(i && llfree_force(FORCE_ROWS)) &&
		    llfree_row_toggle(&rows[first + i], ~(uint64_t)0, flip))
			continue;
		/* What was taken is ours: the way back cannot fail. */
		while (i-- && !llfree_break(BREAK_ROLLBACK_ROWS))
			llfree_row_toggle(&rows[first + i], ~(uint64_t)0, ~flip);
		/* Their line may have reached media half taken, for good if nothing follows. */
		if (llfree_persistent(a))
			llfree_persist(a, rows, BREAK_WB_UNDO, BREAK_FENCE_UNDO);
		return false;
	}
	return true;
}

/* False: not all of them were allocated, and none has changed. */
plat_inline bool llfree_bits_give(uint64_t *rows, unsigned pos, uint64_t flip, unsigned order)
{
	uint64_t want = llfree_break(BREAK_DOUBLE_FREE) ? plat_load(&rows[pos / 64]) ^ ~(uint64_t)0
							: ~flip;

	if (plat_likely(order <= 6))
		return llfree_row_toggle(&rows[pos / 64], llfree_run_mask(order) << pos % 64, want);

	unsigned n = 1u << (order - 6), first = pos / 64;

	for (unsigned i = 0; i < n; i++)
		if (~(plat_load(&rows[first + i]) ^ ~flip))
			return false;
	for (unsigned i = 0; i < n; i++) {
		if (llfree_row_toggle(&rows[first + i], ~(uint64_t)0, ~flip))
			continue;
		/*
		 * Only a second free of the same frames at the same time gets here: undo what is
		 * left.
		 */
		while (i--)
			llfree_row_toggle(&rows[first + i], ~(uint64_t)0, flip);
		return false;
	}
	return true;
}

/*
 * Reserve @n frames in the count. On success *lane is the lane before it. Acquire: the bits that
 * the count stands for were given back before it was raised.
 */
plat_inline bool llfree_count_take(const struct llfree *a, uint64_t child, unsigned n,
				   unsigned *lane)
{
	uint64_t *entry = llfree_entry(a, child);
	unsigned shift = llfree_lane_shift(child);
	uint64_t old = plat_load(entry);

	do {
		*lane = (unsigned)(old >> shift) & 0xffff;
		if (!llfree_lane_fits(*lane, n))
			return false;
		if (llfree_break(BREAK_CAPACITY))
			return true;
	} while (plat_unlikely(!plat_cas(entry, &old, old - ((uint64_t)n << shift))));
	return true;
}

/*
 * Release: whoever reserves from the count after this finds the bits. Cannot carry: count <= 512 -
 * n.
 */
plat_inline void llfree_count_give(const struct llfree *a, uint64_t child, unsigned n)
{
	plat_fetch_add(llfree_entry(a, child), (uint64_t)n << llfree_lane_shift(child));
}

/*
 * 2^order frames, order 0 to 8, of @child. The frame, or -1. A look at the bits comes first: a
 * child with room but no run costs no atomic write. @ret_lane: the child's lane after the bits were
 * taken.
 */
plat_inline int64_t llfree_child_get(const struct llfree *a, uint64_t child, unsigned order,
				     unsigned from, unsigned *ret_lane)
{
	unsigned lane = llfree_lane_of(a, child), n = 1u << order;
	uint64_t *rows = llfree_rows(a, child);
	int pos;

	/* The second: of lanes that stand for no child, only damage makes one that fits. */
	if (!llfree_lane_fits(lane, n) || plat_unlikely(child >= a->children))
		return -1;
	pos = llfree_bits_find(rows, llfree_lane_flip(lane), order, from);
	/* One free frame that is counted is there, though it may move while we look. */
	if (pos < 0 && order)
		return -1;
	if (plat_unlikely(!llfree_count_take(a, child, n, &lane)))
		return -1;

	uint64_t flip = llfree_lane_flip(lane);

	/*
	 * Each miss means that others took, and for order 0 gave, frames meanwhile. Order 0 goes on
	 * though it found nothing, but not for ever, and the search comes here again: in damaged
	 * metadata the count may promise what the bits do not have.
	 */
	for (unsigned tries = 0; order || tries < 16; tries++) {
		/* The last child may be short, and damaged. */
		if (pos >= 0 && plat_unlikely((unsigned)pos + n > llfree_child_frames(a, child)))
			break;
		if (plat_likely(pos >= 0) &&
		    plat_likely(llfree_bits_take(a, rows, (unsigned)pos, flip, order))) {
			if (llfree_persistent(a))
				llfree_persist(a, rows, BREAK_WB_GET, BREAK_FENCE_GET);
			/*
			 * The mark is read after the bits were taken: a put clears it before it
			 * gives dirty bits back, so if it is still set these frames are not such.
			 */
			if (!llfree_break(BREAK_ZEROED_RACE))
				lane = llfree_lane_of(a, child);
			*ret_lane = lane;
			return (int64_t)(child * LLFREE_CHILD_FRAMES) + pos;
		}
		pos = llfree_force(FORCE_CHILD) ? -1 : llfree_bits_find(rows, flip, order, from);
		if (pos < 0 && (order || llfree_force(FORCE_CHILD)))
			break;
	}
	llfree_count_give(a, child, n);
	return -1;
}

/* A flag of this lane was changed and must be on media before anything that rests on it. */
plat_inline void llfree_lane_sync(const struct llfree *a, uint64_t child, bool fence)
{
	plat_writeback(a->writeback, llfree_entry(a, child));
	if (fence)
		plat_fence(a->writeback);
	/*
	 * UNSYNC is set at most once while a frame of the child stays allocated, and the caller
	 * holds one: so this cannot clear a later one's mark.
	 */
	plat_fetch_and(llfree_entry(a, child),
		       ~((uint64_t)LLFREE_LANE_UNSYNC << llfree_lane_shift(child)));
}

/*
 * Before frames of @child are given back one by one: it is no longer huge, nor marked zeroed if
 * they are dirty, and both are durable. Never waits: whoever finds a change half done completes it.
 * The lane, or with LLFREE_LANE_HUGE set if a hook says so.
 */
plat_inline unsigned llfree_put_prepare(const struct llfree *a, uint64_t child, bool dirty)
{
	uint64_t *entry = llfree_entry(a, child);
	unsigned shift = llfree_lane_shift(child);
	uint64_t old = plat_load(entry);

	for (;;) {
		unsigned lane = (unsigned)(old >> shift) & 0xffff;
		uint64_t clear = lane & LLFREE_LANE_HUGE ? LLFREE_LANE_HUGE : 0;

		if (dirty && (lane & LLFREE_LANE_ZEROED) && !llfree_break(BREAK_ZEROED_PUT))
			clear |= LLFREE_LANE_ZEROED;
		if (plat_likely(!clear)) {
			if (plat_unlikely(lane & LLFREE_LANE_UNSYNC) &&
			    !llfree_break(BREAK_SYNC_HELP))
				llfree_lane_sync(a, child, true);
			return lane;
		}

		uint64_t new = old & ~(clear << shift);

		if (llfree_persistent(a))
			new |= (uint64_t)LLFREE_LANE_UNSYNC << shift;
		if (!plat_cas(entry, &old, new) || llfree_force(FORCE_SPLIT)) {
			if (llfree_break(BREAK_SPLIT) && (clear & LLFREE_LANE_HUGE))
				return LLFREE_LANE_HUGE;
			old = plat_load(entry);
			continue;
		}
		if (llfree_persistent(a)) {
			bool huge = clear & LLFREE_LANE_HUGE;

			if (huge ? llfree_break(BREAK_WB_SPLIT) : llfree_break(BREAK_WB_DIRTY))
				plat_fetch_and(entry, ~((uint64_t)LLFREE_LANE_UNSYNC << shift));
			else
				llfree_lane_sync(a, child,
						 huge ? !llfree_break(BREAK_FENCE_SPLIT)
						      : !llfree_break(BREAK_FENCE_DIRTY));
		}
		return (unsigned)(new >> shift) & 0xffff;
	}
}

/*
 * Frames of one half row that a slot held (their bits say allocated) become free in the lower part.
 */
void llfree_half_give(const struct llfree *a, uint64_t half, uint32_t mask, bool dirty);

/* ---- between the files of the allocator ---- */

plat_inline unsigned llfree_tree_free(const struct llfree *a, uint64_t tree)
{
	/* Relaxed: a snapshot to choose by. */
	const uint64_t *words = &a->entries[tree * LLFREE_TREE_WORDS];
	uint64_t counts = llfree_word_counts(plat_load_relaxed(&words[0])) +
			  llfree_word_counts(plat_load_relaxed(&words[1]));

	/* The sum of the lanes comes out in the highest; 4096 at most. */
	return (unsigned)((counts * LLFREE_LANES) >> 48);
}

/* 2^order frames, order 0 to 8, from the fullest child of @tree that has them. The frame, or -1. */
int64_t llfree_tree_get(const struct llfree *a, uint64_t tree, unsigned order, unsigned *ret_lane);
/* Empty the slot's two words: how many frames were in them. Its tree stays reserved. */
unsigned llfree_slot_flush(const struct llfree *a, uint32_t slot);
/* The tree is no longer this slot's, unless the slot has moved back to it meanwhile. */
void llfree_tree_leave(const struct llfree *a, uint64_t tree, uint32_t slot);
/* The freed frames that the slot gathers, only. */
void llfree_flush_freed(const struct llfree *a, uint32_t slot);
/* Frames of the children [first, last] that slots hold in hand go back to their bits. */
bool llfree_flush_range(const struct llfree *a, uint64_t first, uint64_t last);

/* Runs of whole children: the work of get, put, offline and online on lanes. */
enum llfree_run_op {
	LLFREE_RUN_GET,
	LLFREE_RUN_PUT,
	LLFREE_RUN_PUT_ZEROED,
	LLFREE_RUN_OFFLINE
};
int llfree_run(const struct llfree *a, uint64_t child, uint64_t count, enum llfree_run_op op,
	       unsigned *ret_lane);

/* What a huge get or put changes in a lane, both ways. */
#define LLFREE_HUGE_XOR (LLFREE_CHILD_FRAMES | LLFREE_LANE_HUGE | LLFREE_LANE_INVERTED)

#endif
