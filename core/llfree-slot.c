/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Slots: emptying them, giving up their trees, taking from them.
 *
 * Two pairs of *store-load* steps keep a slot's frames findable (all four accesses are sequentially
 * consistent, so at least one side sees the other):
 *   filling: publish the cache word, then read the tree word and the lane
 *   leaving: change the tree word (or set OFFLINE, BAD in the lane), then read the cache word
 * Whoever sees the other's step empties the slot.
 */
#include "llfree-upper.h"

void llfree_half_give(const struct llfree *a, uint64_t half, uint32_t mask, bool dirty)
{
	uint64_t child = half >> (LLFREE_HUGE_ORDER - LLFREE_HALF_ORDER);

	if (!mask)
		return;

	/* The caller holds these frames, so the child is not huge and its sense does not change. */
	unsigned lane = llfree_put_prepare(a, child, dirty);

	llfree_row_toggle(&a->bits[half / 2], (uint64_t)mask << half % 2 * 32,
			  ~llfree_lane_flip(lane));
	llfree_count_give(a, child, plat_popcount(mask));
}

#define KEEP_HINT (~(LLFREE_CACHE_VALID | LLFREE_CACHE_ZEROED | LLFREE_CACHE_MASK))

/*
 * False of a word that only damage makes: nobody could take frames in hand, or there are none such.
 * Slots of a shared pool are not believed.
 */
static bool word_is_sound(const struct llfree *a, uint64_t word)
{
	uint64_t first = llfree_cache_half(word) << LLFREE_HALF_ORDER;

	return (word & LLFREE_CACHE_VALID) && llfree_cached(a) && first < a->frames &&
	       (a->frames - first >= LLFREE_HALF_FRAMES ||
		!((uint32_t)word >> (a->frames - first)));
}

/* The index stays: it tells where the slot's tree is. */
static unsigned flush_word(const struct llfree *a, uint64_t *word)
{
	uint64_t old = plat_load_sc(word);

	while (old & (LLFREE_CACHE_VALID | LLFREE_CACHE_MASK)) {
		if (!plat_cas(word, &old, old & KEEP_HINT))
			continue;
		if (plat_unlikely(!word_is_sound(a, old)))
			return 0;
		llfree_half_give(a, llfree_cache_half(old), (uint32_t)old,
				 !(old & LLFREE_CACHE_ZEROED));
		return plat_popcount((uint32_t)old);
	}
	return 0;
}

unsigned llfree_slot_flush(const struct llfree *a, uint32_t slot)
{
	unsigned cache = flush_word(a, &a->slots[slot].cache);

	return cache + flush_word(a, &a->slots[slot].freed);
}

void llfree_flush_freed(const struct llfree *a, uint32_t slot)
{
	flush_word(a, &a->slots[slot].freed);
}

bool llfree_flush_admitted(const struct llfree *a, unsigned want, bool held)
{
	bool any = held && !llfree_break(BREAK_HELD);

	if (llfree_break(BREAK_STEAL))
		return false;
	for (uint32_t i = 0; i < a->slot_count; i++) {
		/* Relaxed look first: emptying what is empty would only move its line about. */
		uint64_t words = plat_load_relaxed(&a->slots[i].cache) |
				 plat_load_relaxed(&a->slots[i].freed);

		if ((words & LLFREE_CACHE_VALID) && llfree_slot_admits(a, want, i) &&
		    llfree_slot_flush(a, i))
			any = true;
	}
	/*
	 * A reserved tree keeps its class: where only a demotion would help, the reservation ends
	 * first.
	 */
	for (uint32_t t = 0; t < a->ntrees; t++) {
		uint64_t word = plat_load_relaxed(&a->trees[t]);
		unsigned slot1 = llfree_tree_slot1(word);

		if (llfree_slot1_valid(a, slot1) &&
		    a->verdict[want][llfree_tree_class(word)] == LLFREE_DEMOTE &&
		    llfree_tree_free(a, t)) {
			llfree_tree_leave(a, t, slot1 - 1);
			any = true;
		}
	}
	return any;
}

bool llfree_flush_range(const struct llfree *a, uint64_t first, uint64_t last)
{
	bool any = false;

	for (uint32_t i = 0; i < a->slot_count; i++) {
		for (int w = 0; w < 2; w++) {
			uint64_t *word = w ? &a->slots[i].freed : &a->slots[i].cache;
			uint64_t old = plat_load_sc(word);
			uint64_t child = llfree_cache_half(old) >>
					 (LLFREE_HUGE_ORDER - LLFREE_HALF_ORDER);

			if ((old & LLFREE_CACHE_VALID) && child >= first && child <= last &&
			    flush_word(a, word))
				any = true;
		}
	}
	return any;
}

void llfree_tree_leave(const struct llfree *a, uint64_t tree, uint32_t slot)
{
	uint64_t old = plat_load(&a->trees[tree]);

	for (;;) {
		uint64_t new = old;

		if (llfree_tree_slot1(old) == slot + 1)
			new &= ~(uint64_t)0xff00ffff; /* slot and owner; class stays */
		if (llfree_tree_put1(old) == slot + 1)
			new &= 0xffffffffu;
		if (new == old || plat_cas(&a->trees[tree], &old, new))
			break;
	}

	/* *Store-load*, see above: another thread of this slot may have come back to the tree. */
	uint64_t cache = plat_load_sc(&a->slots[slot].cache);
	uint64_t freed = plat_load_sc(&a->slots[slot].freed);

	if ((cache & LLFREE_CACHE_VALID) && llfree_cache_tree(cache) == tree)
		flush_word(a, &a->slots[slot].cache);
	if ((freed & LLFREE_CACHE_VALID) && llfree_cache_tree(freed) == tree)
		flush_word(a, &a->slots[slot].freed);
}

bool llfree_steal(const struct llfree *a, unsigned want, uint64_t *ret_frame, bool *ret_zeroed)
{
	for (uint32_t i = 0; i < a->slot_count; i++) {
		/* Where the tree would change its class, it must be taken over as a whole. */
		if (a->verdict[want][llfree_slot_class(a, i)] < LLFREE_STEAL ||
		    llfree_break(BREAK_STEAL))
			continue;
		for (int w = 0; w < 2; w++) {
			uint64_t *word = w ? &a->slots[i].freed : &a->slots[i].cache;
			uint64_t old = plat_load(word);

			while ((uint32_t)old && llfree_cache_frame(old) < a->frames) {
				uint64_t new = old &(old - 1);

				/* A word of freed frames is valid only while there are some. */
				if (w && !(uint32_t) new)
					new &= KEEP_HINT;
				if (!plat_cas(word, &old, new))
					continue;
				*ret_frame = llfree_cache_frame(old);
				*ret_zeroed = old & LLFREE_CACHE_ZEROED;
				return true;
			}
		}
	}
	return false;
}

static int drain_one(const struct llfree *a, uint32_t slot)
{
	uint64_t cache = plat_load(&a->slots[slot].cache), freed = plat_load(&a->slots[slot].freed);

	llfree_slot_flush(a, slot);
	llfree_tree_leave(a, llfree_hint_tree(a, cache), slot);
	llfree_tree_leave(a, llfree_hint_tree(a, freed), slot);
	return 0;
}

int llfree_drain(struct llfree *a, uint32_t slot)
{
	if (a->flags & LLFREE_READONLY)
		return LLFREE_EROFS;
	if (slot != LLFREE_ALL_SLOTS)
		return slot < a->slot_count ? drain_one(a, slot) : LLFREE_EINVAL;
	for (uint32_t i = 0; i < a->slot_count; i++)
		drain_one(a, i);
	return 0;
}
