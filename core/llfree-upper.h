/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Internal: which tree to take from, and the slots.
 */
#ifndef MORSEL_CORE_LLFREE_UPPER_H
#define MORSEL_CORE_LLFREE_UPPER_H

#include "llfree-lower.h"

/*
 * How a tree may serve a request, best first. The ones up to TAKEN and DEMOTED may become the
 * slot's own.
 */
enum llfree_kind {
	LLFREE_KIND_PARTLY, /* matching class, not reserved, partly used: keeps other trees whole */
	LLFREE_KIND_WHOLE,  /* matching class, wholly free */
	LLFREE_KIND_TAKEN,  /* wholly free, of another class: takes this one */
	LLFREE_KIND_RESERVED, /* another slot has it reserved */
	LLFREE_KIND_STOLEN,   /* another class, which stays */
	LLFREE_KIND_DEMOTED,  /* another class, which changes */
	LLFREE_KIND_HELD, /* would be demoted, but another slot has it reserved: not until it leaves */
	LLFREE_KIND_NONE /* the policy does not admit it */
};
/* The pass of a search that takes what is admitted and was not looked through yet, in any order. */
#define LLFREE_PASS_REST LLFREE_KIND_HELD

/*
 * How many trees are looked at before one that is wholly free is broken: for orders 0 to 3 256 of
 * them, 4 GiB. A search that went on to the end of a large pool would cost more than the
 * fragmentation it saves; and the larger the order the fewer requests a tree serves, so the search
 * must be cheaper: down to 8 trees for orders 8 and up.
 */
plat_inline unsigned llfree_window(unsigned order)
{
	return order <= 3 ? 256 : order >= 8 ? 8 : 256u >> (order - 3);
}
/* A tree with less than this free is not worth a reservation while others are (1.6 %). */
#define LLFREE_FEW_FREE 64u

plat_inline uint32_t llfree_slot_index(const struct llfree *a, const struct llfree_slot *slot)
{
	return (uint32_t)(slot - a->slots);
}

/* Does @slot1, from a tree word, name a slot? Words in shared memory are not believed. */
plat_inline bool llfree_slot1_valid(const struct llfree *a, unsigned slot1)
{
	return slot1 - 1 < a->slot_count;
}

/* Class of a slot by its index. */
plat_inline unsigned llfree_slot_class(const struct llfree *a, uint32_t slot)
{
	return slot / a->nslots % a->classes;
}

/* The tree where a slot's cache word points: its own, if the tree word agrees. */
plat_inline uint64_t llfree_cache_tree(uint64_t cache)
{
	return llfree_cache_half(cache) >> (LLFREE_TREE_ORDER - LLFREE_HALF_ORDER);
}

/* The same, if there is such a tree: what is in shared memory is not believed. */
plat_inline uint64_t llfree_hint_tree(const struct llfree *a, uint64_t cache)
{
	uint64_t tree = llfree_cache_tree(cache);

	return plat_likely(tree < a->ntrees) ? tree : 0;
}

/* @free: of the tree. @tree: its word. @slot: of the request. */
plat_inline enum llfree_kind llfree_tree_kind(const struct llfree *a, unsigned want, uint32_t slot,
					      uint64_t tree, unsigned free)
{
	int verdict = a->verdict[want][llfree_tree_class(tree)];
	unsigned slot1 = llfree_tree_slot1(tree);

	if (plat_unlikely(slot1 && slot1 != slot + 1 && !llfree_break(BREAK_CLASS))) {
		if (verdict >= LLFREE_STEAL)
			return LLFREE_KIND_RESERVED;
		/* A slot that there is not, which only damage makes, never leaves. */
		return verdict == LLFREE_DEMOTE && llfree_slot1_valid(a, slot1) ? LLFREE_KIND_HELD
										: LLFREE_KIND_NONE;
	}
	if (free == LLFREE_TREE_FRAMES && (tree & LLFREE_TREE_FRESH))
		return LLFREE_KIND_WHOLE;
	if (plat_likely(verdict >= 0))
		return free == LLFREE_TREE_FRAMES ? LLFREE_KIND_WHOLE : LLFREE_KIND_PARTLY;
	if (verdict == LLFREE_INVALID)
		return LLFREE_KIND_NONE;
	/*
	 * Its own tree, which another thread took for a class of its own meanwhile: leave the
	 * class.
	 */
	if (slot1 == slot + 1)
		return LLFREE_KIND_STOLEN;
	if (free == LLFREE_TREE_FRAMES)
		return LLFREE_KIND_TAKEN;
	return verdict == LLFREE_STEAL ? LLFREE_KIND_STOLEN : LLFREE_KIND_DEMOTED;
}

/* May frames in the hands of a slot of class @have serve @want? */
plat_inline bool llfree_slot_admits(const struct llfree *a, unsigned want, uint32_t slot)
{
	return a->verdict[want][llfree_slot_class(a, slot)] != LLFREE_INVALID;
}

/*
 * The best tree with a free frame for @want: reserved for @slot where the kind allows it. The kind;
 * HELD: there are none but held ones; NONE: there is none.
 */
enum llfree_kind llfree_tree_reserve(const struct llfree *a, unsigned want, uint32_t slot,
				     uint64_t from, uint64_t *ret_tree);
/*
 * Reserve one tree; class @want if @kind says so. False: its word has changed since it was
 * @tree_word.
 */
bool llfree_tree_claim(const struct llfree *a, uint64_t tree, uint64_t tree_word, unsigned want,
		       uint32_t slot, enum llfree_kind kind);
/* The class of a tree that is not reserved. */
void llfree_tree_reclass(const struct llfree *a, uint64_t tree, unsigned want);
/*
 * The last resort before ENOMEM: slots that @want may take from are emptied, and trees that it
 * could only demote are no longer reserved. True if another search may find what the last one did
 * not: because that changed something, or because the last one met a held tree, @held, which its
 * slot may have left since.
 */
bool llfree_flush_admitted(const struct llfree *a, unsigned want, bool held);
/* One frame from any slot's hand. */
bool llfree_steal(const struct llfree *a, unsigned want, uint64_t *ret_frame, bool *ret_zeroed);

/* Orders 9 and up; all was checked. */
int llfree_huge_get(struct llfree *a, unsigned order, unsigned class, struct llfree_slot *slot,
		    uint32_t flags, uint64_t *ret_frame);

#endif
