/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Choosing trees, and orders 0 to 8 without a cache.
 *
 * Frames come from the fullest tree that has some: so what is freed in emptier trees is not used up
 * again, they empty by themselves, and huge frames come back without anything being moved.
 */
#include "llfree-upper.h"

bool llfree_tree_claim(const struct llfree *a, uint64_t tree, uint64_t tree_word, unsigned want,
		       uint32_t slot, enum llfree_kind kind)
{
	unsigned class = llfree_tree_class(tree_word);

	if (kind == LLFREE_KIND_TAKEN || kind == LLFREE_KIND_DEMOTED ||
	    (tree_word & LLFREE_TREE_FRESH))
		class = want;
	if (llfree_force(FORCE_RESERVE))
		return false;
	return plat_cas(&a->trees[tree], &tree_word,
			llfree_tree_word(class, a->owner, slot + 1, llfree_tree_put1(tree_word)));
}

void llfree_tree_reclass(const struct llfree *a, uint64_t tree, unsigned want)
{
	uint64_t old = plat_load(&a->trees[tree]);

	/* One try: if the word changes meanwhile the tree is somebody's, and so is its class. */
	if (!llfree_tree_slot1(old) &&
	    (llfree_tree_class(old) != want || (old & LLFREE_TREE_FRESH)))
		plat_cas(&a->trees[tree], &old,
			 llfree_tree_word(want, 0, 0, llfree_tree_put1(old)));
}

/*
 * Lower is better: by kind, then by the policy's distance, then fullest first, nearly full ones
 * last.
 */
static uint64_t tree_key(const struct llfree *a, unsigned want, enum llfree_kind kind,
			 uint64_t word, unsigned free)
{
	int verdict = a->verdict[want][llfree_tree_class(word)];

	return (uint64_t)kind << 32 | (uint64_t)(verdict > 0 ? verdict : 0) << 20 |
	       (uint64_t)(free < LLFREE_FEW_FREE) << 16 | free;
}

#define NO_KEY (~(uint64_t)0)

enum llfree_kind llfree_tree_reserve(const struct llfree *a, unsigned want, uint32_t slot,
				     uint64_t from, uint64_t *ret_tree)
{
	/* Each round after the first: another slot was faster with the tree chosen. */
	for (;;) {
		uint64_t best = NO_KEY, best_tree = 0, best_word = 0, tree = from;
		enum llfree_kind kind, nothing = LLFREE_KIND_NONE;

		for (uint32_t i = 0; i < a->ntrees; i++, tree++) {
			if (plat_unlikely(tree >= a->ntrees))
				tree = 0;

			unsigned free = llfree_tree_free(a, tree);

			if (free <= (llfree_break(BREAK_LAST_FRAME) ? 1 : 0))
				continue;

			/* Relaxed: the claim's CAS compares it again. */
			uint64_t word = plat_load_relaxed(&a->trees[tree]);

			kind = llfree_tree_kind(a, want, slot, word, free);
			if (kind >= LLFREE_KIND_HELD) {
				if (kind < nothing)
					nothing = kind;
				continue;
			}

			uint64_t key = tree_key(a, want, kind, word, free);

			if (key < best) {
				best = key;
				best_tree = tree;
				best_word = word;
			}
			if (i >= llfree_window(0) && best >> 32 <= LLFREE_KIND_TAKEN)
				break;
		}
		if (best == NO_KEY)
			return nothing;
		kind = (enum llfree_kind)(best >> 32);
		*ret_tree = best_tree;
		if (kind == LLFREE_KIND_RESERVED || kind == LLFREE_KIND_STOLEN ||
		    llfree_tree_claim(a, best_tree, best_word, want, slot, kind))
			return kind;
	}
}

/* A frame was found in @tree; from now on the slot looks there first. */
static void small_found(const struct llfree *a, unsigned class, uint32_t slot, uint64_t word,
			enum llfree_kind kind, uint64_t tree, uint64_t frame)
{
	struct llfree_slot *s = &a->slots[slot];

	if (kind == LLFREE_KIND_RESERVED || kind == LLFREE_KIND_STOLEN)
		return;
	if (llfree_cached(a)) {
		/* The slot's own tree is the one of its cache. */
		plat_store_relaxed(&s->small, frame / 64);
		if (kind == LLFREE_KIND_TAKEN || kind == LLFREE_KIND_DEMOTED ||
		    (word & LLFREE_TREE_FRESH))
			llfree_tree_reclass(a, tree, class);
		return;
	}

	/* Relaxed: a hint, only ever used to look there first. */
	uint64_t own = llfree_hint_tree(a, plat_load_relaxed(&s->cache));

	if (!llfree_tree_claim(a, tree, word, class, slot, kind))
		return;
	plat_store_relaxed(&s->cache, llfree_cache_word(frame >> LLFREE_HALF_ORDER, 0, 0));
	if (own != tree)
		llfree_tree_leave(a, own, slot);
}

/*
 * Which trees a search has looked through: a bit for each 2^shift trees, that many that the bits
 * suffice for all (up to 64 GiB a bit for each). A group counts when all its trees were looked
 * through, or had nothing to look for, in one pass.
 */
#define LOOKED_WORDS 64u
struct looked {
	uint64_t groups[LOOKED_WORDS];
	unsigned shift, left; /* groups without their bit */
};

static void looked_init(const struct llfree *a, struct looked *l)
{
	unsigned words;

	for (l->shift = 0; (a->ntrees - 1) >> l->shift >= LOOKED_WORDS * 64; l->shift++)
		;
	l->left = ((a->ntrees - 1) >> l->shift) + 1;
	words = (l->left + 63) / 64;
	for (unsigned i = 0; i < words; i++)
		l->groups[i] = 0;
}

plat_inline bool looked_at(const struct looked *l, uint64_t tree)
{
	uint64_t group = tree >> l->shift;

	return l->groups[group / 64] >> group % 64 & 1;
}

static void looked_mark(struct looked *l, uint64_t tree)
{
	uint64_t group = tree >> l->shift;

	l->groups[group / 64] |= (uint64_t)1 << group % 64;
	l->left--;
}

/*
 * Orders 1 to 8: a tree with room may still lack an aligned run, so each is tried, in the order of
 * the kinds and then of nearness. A tree may change its kind between two passes and be in none of
 * them what the pass wants: the last pass takes all trees that were not looked through by then. So
 * when nothing is found, each tree that is not held was looked at in the call, once by and large.
 */
static int64_t small_search(const struct llfree *a, unsigned order, unsigned class, uint32_t slot,
			    uint64_t from, unsigned *ret_lane, bool *ret_held)
{
	unsigned n = 1u << order, present = 0, size = llfree_window(order);
	bool window = true, cut = false, whole_group = true;
	struct looked looked;

	*ret_held = false;
	looked_init(a, &looked);
	from = from >> looked.shift << looked.shift;
	for (unsigned pass = 0; pass <= LLFREE_PASS_REST && looked.left; pass++) {
		if (pass && pass < LLFREE_PASS_REST && !(present >> pass & 1))
			continue;
		if (pass == LLFREE_PASS_REST && llfree_break(BREAK_REST))
			break;

		uint64_t tree = from;

		for (uint32_t i = 0; i < a->ntrees; i++, tree++) {
			if (plat_unlikely(tree >= a->ntrees))
				tree = 0;
			if (looked_at(&looked, tree))
				continue;
			if (!(tree & (((uint64_t)1 << looked.shift) - 1)))
				whole_group = true;

			unsigned free = llfree_tree_free(a, tree);

			if (free >= n) {
				uint64_t word = plat_load_relaxed(&a->trees[tree]);
				enum llfree_kind kind =
					llfree_tree_kind(a, class, slot, word, free);

				if (!pass)
					present |= 1u << kind;
				if (kind == pass ||
				    (pass == LLFREE_PASS_REST && kind < LLFREE_KIND_HELD)) {
					int64_t frame = llfree_tree_get(a, tree, order, ret_lane);

					if (frame >= 0) {
						small_found(a, class, slot, word, kind, tree,
							    (uint64_t)frame);
						return frame;
					}
				} else if (kind != LLFREE_KIND_NONE) {
					whole_group = false;
					*ret_held |= pass == LLFREE_PASS_REST;
				}
			}
			if (whole_group && (((tree + 1) >> looked.shift) != tree >> looked.shift ||
					    tree + 1 == a->ntrees))
				looked_mark(&looked, tree);
			if (!pass && window && i >= size &&
			    (present & (1u << LLFREE_KIND_WHOLE | 1u << LLFREE_KIND_TAKEN))) {
				window = false;
				cut = true;
				break;
			}
		}
		/* The whole trees seen were gone: start over, and look at all. */
		if (cut && pass == LLFREE_KIND_TAKEN) {
			pass = (unsigned)-1;
			cut = false;
			from = from + size < a->ntrees ? from + size : 0;
			from = from >> looked.shift << looked.shift;
		}
	}
	return -1;
}

static int64_t uncached_search(const struct llfree *a, unsigned class, uint32_t slot, uint64_t from,
			       unsigned *ret_lane, bool *ret_held)
{
	uint64_t *hint = &a->slots[slot].cache, tree;

	for (unsigned tries = 0; tries < 1024; tries++) {
		enum llfree_kind kind = llfree_tree_reserve(a, class, slot, from, &tree);

		*ret_held = kind == LLFREE_KIND_HELD;
		if (kind >= LLFREE_KIND_HELD)
			return -1;

		int64_t frame = llfree_tree_get(a, tree, 0, ret_lane);

		if (kind == LLFREE_KIND_RESERVED || kind == LLFREE_KIND_STOLEN) {
			if (frame >= 0)
				return frame;
			continue;
		}

		uint64_t own = llfree_hint_tree(a, plat_load_relaxed(hint));

		plat_store_relaxed(
			hint, llfree_cache_word(
				      frame >= 0 ? (uint64_t)frame >> LLFREE_HALF_ORDER
						 : tree << (LLFREE_TREE_ORDER - LLFREE_HALF_ORDER),
				      0, 0));
		if (own != tree)
			llfree_tree_leave(a, own, slot);
		if (frame >= 0)
			return frame;
	}
	return -1;
}

/*
 * Orders 1 to 6, in @row or one of those that follow it in its child: two atomic writes. The child
 * is not the last, which may be short. -1: not here, or others were at it.
 */
plat_inline int64_t row_hit(const struct llfree *a, uint64_t row, unsigned order,
			    unsigned *ret_lane)
{
	uint64_t child = row / LLFREE_CHILD_ROWS, *entry = llfree_entry(a, child),
		 old = plat_load(entry), n = (uint64_t)1 << order, runs, bits;
	unsigned shift = llfree_lane_shift(child), lane = (unsigned)(old >> shift) & 0xffff, pos;

	if (plat_unlikely(!llfree_lane_fits(lane, 1u << order) || llfree_break(BREAK_CAPACITY)))
		return -1;
	for (;; row++) {
		bits = plat_load(&a->bits[row]);
		runs = llfree_runs(bits ^ llfree_lane_flip(lane), order);
		if (plat_likely(runs))
			break;
		if (row % LLFREE_CHILD_ROWS == LLFREE_CHILD_ROWS - 1)
			return -1;
	}
	if (plat_unlikely(!plat_cas(entry, &old, old - (n << shift))))
		return -1;
	pos = plat_ctz(runs);
	/* The lane did not change since the row was read; the row may have. */
	if (plat_unlikely(llfree_force(FORCE_ROW)) ||
	    plat_unlikely(!plat_cas(&a->bits[row], &bits, bits ^ llfree_run_mask(order) << pos))) {
		llfree_count_give(a, child, (unsigned)n);
		return -1;
	}
	if (llfree_persistent(a))
		llfree_persist(a, &a->bits[row], BREAK_WB_GET, BREAK_FENCE_GET);
	/* After the bits: see llfree_child_get(). */
	*ret_lane = llfree_break(BREAK_ZEROED_RACE) ? lane : llfree_lane_of(a, child);
	return (int64_t)(row * 64 + pos);
}

/*
 * May a request be served from where the last one came without a search: from a tree that suits and
 * that no other slot has reserved? In pools with caches the tree is not reserved for that.
 */
plat_inline bool hint_suits(const struct llfree *a, unsigned class, const struct llfree_slot *s,
			    uint64_t row, bool cached)
{
	uint64_t word = plat_load_relaxed(&a->trees[row / (LLFREE_TREE_FRAMES / 64)]);
	unsigned slot1 = llfree_tree_slot1(word);

	if (plat_unlikely(slot1 || !cached))
		return slot1 == llfree_slot_index(a, s) + 1;
	return !(word & LLFREE_TREE_FRESH) && a->verdict[class][llfree_tree_class(word)] >= 0;
}

/* Relaxed: hints. */
plat_inline uint64_t hint_row(const struct llfree_slot *s, bool cached)
{
	return cached ? plat_load_relaxed(&s->small)
		      : llfree_cache_half(plat_load_relaxed(&s->cache)) / 2;
}

plat_inline void hint_set(struct llfree_slot *s, bool cached, uint64_t frame)
{
	if (cached)
		plat_store_relaxed(&s->small, frame / 64);
	else
		plat_store_relaxed(&s->cache, llfree_cache_word(frame >> LLFREE_HALF_ORDER, 0, 0));
}

/* Beyond the row where the last one was and those that follow it. */
static plat_noinline int small_get(struct llfree *a, unsigned order, unsigned class,
				   struct llfree_slot *s, uint64_t *ret_frame)
{
	uint32_t slot = llfree_slot_index(a, s);
	bool cached = llfree_cached(a), held = false;
	uint64_t row = hint_row(s, cached), tree = row / (LLFREE_TREE_FRAMES / 64);
	unsigned lane = 0;
	int64_t frame = -1;

	/* From shared memory: not believed. */
	if (plat_unlikely(tree >= a->ntrees))
		tree = row = 0;
	if (hint_suits(a, class, s, row, cached)) {
		frame = llfree_child_get(a, row / LLFREE_CHILD_ROWS, order, row % LLFREE_CHILD_ROWS,
					 &lane);
		if (frame < 0)
			frame = llfree_tree_get(a, tree, order, &lane);
		if (frame >= 0)
			hint_set(s, cached, (uint64_t)frame);
	}
	while (frame < 0) {
		frame = order ? small_search(a, order, class, slot, tree, &lane, &held)
			      : uncached_search(a, class, slot, tree, &lane, &held);
		/*
		 * Only what slots had in hand can still make a run; once each time there was some.
		 */
		if (frame < 0 && !llfree_flush_admitted(a, class, held))
			return LLFREE_ENOMEM;
	}
	*ret_frame = (uint64_t)frame;
	return (lane & LLFREE_LANE_ZEROED) != 0;
}

int llfree_small_get(struct llfree *a, unsigned order, unsigned class, struct llfree_slot *s,
		     uint64_t *ret_frame)
{
	bool cached = llfree_cached(a);
	uint64_t row = hint_row(s, cached);
	unsigned lane;
	int64_t frame;

	/* The last child may be short; and the hint is from shared memory: not believed. */
	if (plat_unlikely(order - 1u >= 6 || row / LLFREE_CHILD_ROWS + 1 >= a->children) ||
	    plat_unlikely(!hint_suits(a, class, s, row, cached)))
		return small_get(a, order, class, s, ret_frame);
	frame = row_hit(a, row, order, &lane);
	if (plat_unlikely(frame < 0))
		return small_get(a, order, class, s, ret_frame);
	if ((uint64_t)frame / 64 != row)
		hint_set(s, cached, (uint64_t)frame);
	*ret_frame = (uint64_t)frame;
	return (lane & LLFREE_LANE_ZEROED) != 0;
}
