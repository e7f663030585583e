/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Looking at a pool. Loads only: the buffers may be mapped read-only.
 */
#include "llfree-lower.h"

int llfree_huge_state(const struct llfree *a, uint64_t huge, struct llfree_huge_state *ret)
{
	if (huge >= a->children)
		return LLFREE_ERANGE;

	unsigned lane = llfree_lane_of(a, huge);
	uint64_t tree = plat_load_relaxed(&a->trees[huge / LLFREE_TREE_CHILDREN]);

	*ret = (struct llfree_huge_state){
		.free = (uint16_t)llfree_lane_free(lane),
		.class = (uint8_t)llfree_tree_class(tree),
		.owner = (uint8_t)llfree_tree_owner(tree),
		.reserved = llfree_tree_slot1(tree),
		.huge = lane & LLFREE_LANE_HUGE,
		.zeroed = (lane & (LLFREE_LANE_ZEROED | LLFREE_LANE_HUGE)) == LLFREE_LANE_ZEROED,
		.bad = lane & LLFREE_LANE_BAD,
		.offline = lane & LLFREE_LANE_OFFLINE,
	};
	return 0;
}

static void count_child(const struct llfree *a, uint64_t child, bool exact, struct llfree_stats *s)
{
	unsigned lane = llfree_lane_of(a, child), frames = llfree_child_frames(a, child),
		 free = llfree_lane_free(lane);

	if (exact && !(lane & LLFREE_LANE_HUGE)) {
		free = 0;
		for (unsigned r = 0; r < LLFREE_CHILD_ROWS; r++)
			free += plat_popcount(plat_load_relaxed(&llfree_rows(a, child)[r]) ^
					      llfree_lane_flip(lane));
	}

	unsigned used = frames > free ? frames - free : 0;

	s->frames += frames;
	s->used += used;
	s->huge += (lane & LLFREE_LANE_HUGE) != 0;
	s->offline_huge += (lane & LLFREE_LANE_OFFLINE) != 0;
	s->bad_huge += (lane & LLFREE_LANE_BAD) != 0;
	if (lane & (LLFREE_LANE_OFFLINE | LLFREE_LANE_BAD)) {
		s->barred += free;
	} else {
		s->free += free;
		if (free == LLFREE_CHILD_FRAMES) {
			s->free_huge++;
			s->zeroed_huge += (lane & LLFREE_LANE_ZEROED) != 0;
		}
	}
	s->fill[!used		 ? 0
		: used == frames ? LLFREE_FILL_BUCKETS - 1
				 : 1 + (used - 1) * 8 / frames]++;
}

/* Frames that slots hold in hand were counted as used. */
static void count_slots(const struct llfree *a, uint64_t first, uint64_t last,
			struct llfree_stats *s)
{
	for (uint32_t i = 0; i < a->slot_count; i++) {
		uint64_t words[2] = { plat_load_relaxed(&a->slots[i].cache),
				      plat_load_relaxed(&a->slots[i].freed) };

		for (int w = 0; w < 2; w++) {
			uint64_t child = llfree_cache_half(words[w]) >>
					 (LLFREE_HUGE_ORDER - LLFREE_HALF_ORDER);

			if ((words[w] & LLFREE_CACHE_VALID) && child >= first && child <= last)
				s->cached += plat_popcount((uint32_t)words[w]);
		}
	}
	s->free += s->cached;
	s->used -= s->cached < s->used ? s->cached : s->used;
}

static int stats(const struct llfree *a, uint64_t huge, uint64_t count, bool exact,
		 struct llfree_stats *ret)
{
	struct llfree_stats s = { 0 };

	if (huge >= a->children || !count || count > a->children - huge)
		return LLFREE_ERANGE;
	for (uint64_t c = huge; c < huge + count; c++)
		count_child(a, c, exact, &s);
	count_slots(a, huge, huge + count - 1, &s);
	*ret = s;
	return 0;
}

int llfree_stats_fast(const struct llfree *a, struct llfree_stats *ret)
{
	return stats(a, 0, a->children, false, ret);
}

int llfree_stats_exact(const struct llfree *a, struct llfree_stats *ret)
{
	return stats(a, 0, a->children, true, ret);
}

int llfree_block_stats(const struct llfree *a, uint64_t huge, uint64_t count,
		       struct llfree_stats *ret)
{
	return stats(a, huge, count, false, ret);
}

static bool frame_in_hand(const struct llfree *a, uint64_t frame)
{
	for (uint32_t i = 0; i < a->slot_count; i++) {
		uint64_t words[2] = { plat_load(&a->slots[i].cache),
				      plat_load(&a->slots[i].freed) };

		for (int w = 0; w < 2; w++)
			if (llfree_cache_holds(words[w], frame) &&
			    (words[w] >> frame % LLFREE_HALF_FRAMES & 1))
				return true;
	}
	return false;
}

int llfree_is_free(const struct llfree *a, uint64_t frame, unsigned order)
{
	if (order > LLFREE_MAX_ORDER || frame & (((uint64_t)1 << order) - 1))
		return LLFREE_EINVAL;
	if (frame >= a->frames || a->frames - frame < (uint64_t)1 << order)
		return LLFREE_ERANGE;
	for (uint64_t f = frame; f < frame + ((uint64_t)1 << order); f++) {
		unsigned lane = llfree_lane_of(a, f / LLFREE_CHILD_FRAMES);
		uint64_t row = plat_load(&a->bits[f / 64]) ^ llfree_lane_flip(lane);

		if ((lane & LLFREE_LANE_HUGE) || (!(row >> f % 64 & 1) && !frame_in_hand(a, f)))
			return 0;
	}
	return 1;
}

/* A slot's word: its frames are allocated by the bits, and it can be found from its tree. */
static bool check_word(const struct llfree *a, uint32_t slot, uint64_t word, bool freed)
{
	uint64_t half = llfree_cache_half(word), child = half / (2 * LLFREE_CHILD_ROWS);

	if (!(word & LLFREE_CACHE_VALID))
		return !(uint32_t)word;
	if (freed && !(uint32_t)word)
		return false;
	if (child >= a->children)
		return false;

	unsigned lane = llfree_lane_of(a, child);
	uint64_t free = (plat_load(&a->bits[half / 2]) ^ llfree_lane_flip(lane)) >> half % 2 * 32;
	uint64_t tree = plat_load(&a->trees[child / LLFREE_TREE_CHILDREN]);

	if ((uint32_t)word && ((lane & LLFREE_LANE_BARRED) || ((uint32_t)free & (uint32_t)word)))
		return false;
	for (uint32_t i = 0; i < a->slot_count; i++) {
		uint64_t c = plat_load(&a->slots[i].cache), f = plat_load(&a->slots[i].freed);

		if (!(freed == false && i == slot) && (c >> 34) == (word >> 34) &&
		    ((uint32_t)c & (uint32_t)word))
			return false;
		if (!(freed == true && i == slot) && (f >> 34) == (word >> 34) &&
		    ((uint32_t)f & (uint32_t)word))
			return false;
	}
	return !(uint32_t)word ||
	       (freed ? llfree_tree_put1(tree) : llfree_tree_slot1(tree)) == slot + 1;
}

int llfree_check(const struct llfree *a)
{
	for (uint64_t c = 0; c < a->ntrees * (uint64_t)LLFREE_TREE_CHILDREN; c++) {
		unsigned lane = llfree_lane_of(a, c), free = 0;

		if (c >= a->children) {
			if (lane != LLFREE_LANE_PADDING)
				return LLFREE_EUCLEAN;
			continue;
		}
		for (unsigned r = 0; r < LLFREE_CHILD_ROWS; r++)
			free += plat_popcount(plat_load(&llfree_rows(a, c)[r]) ^
					      llfree_lane_flip(lane));
		if (free != llfree_lane_free(lane) || free > llfree_child_frames(a, c) ||
		    ((lane & LLFREE_LANE_HUGE) && free))
			return LLFREE_EUCLEAN;
	}
	for (uint32_t t = 0; t < a->ntrees; t++) {
		uint64_t tree = plat_load(&a->trees[t]);

		if (llfree_tree_slot1(tree) > a->slot_count ||
		    llfree_tree_put1(tree) > a->slot_count ||
		    llfree_tree_class(tree) >= a->upper->classes)
			return LLFREE_EUCLEAN;
	}
	for (uint32_t i = 0; i < a->slot_count; i++)
		if (!check_word(a, i, plat_load(&a->slots[i].cache), false) ||
		    !check_word(a, i, plat_load(&a->slots[i].freed), true))
			return LLFREE_EUCLEAN;
	return 0;
}
