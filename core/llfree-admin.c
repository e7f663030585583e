/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Offline, online, bad; classes; the trees of a dead host.
 */
#include "llfree-upper.h"

static int range_ok(const struct llfree *a, uint64_t huge, uint64_t count)
{
	if (a->flags & LLFREE_READONLY)
		return LLFREE_EROFS;
	return huge < a->children && count && count <= a->children - huge ? 0 : LLFREE_ERANGE;
}

/*
 * Set @set and clear @clear in the lane, if of @mask it has just @want and, with @all_free, all its
 * frames are free. Release for what the caller wrote into the frames (zeroes), acquire for what
 * others did.
 */
static bool lane_change(const struct llfree *a, uint64_t child, unsigned mask, unsigned want,
			bool all_free, unsigned set, unsigned clear)
{
	uint64_t *entry = llfree_entry(a, child), old = plat_load(entry);
	unsigned shift = llfree_lane_shift(child);

	for (;;) {
		unsigned lane = (unsigned)(old >> shift) & 0xffff;

		if ((lane & mask) != want ||
		    (all_free && llfree_lane_free(lane) != llfree_child_frames(a, child)))
			return false;
		if (!llfree_force(FORCE_FLAGS) &&
		    plat_cas(entry, &old,
			     (old & ~((uint64_t)clear << shift)) | (uint64_t)set << shift))
			return true;
		old = plat_load(entry);
	}
}

/* Lanes of [huge, huge + count) to media; all of an entry word's lanes are in one line. */
static void lanes_persist(const struct llfree *a, uint64_t huge, uint64_t count)
{
	if (!llfree_persistent(a))
		return;
	for (uint64_t c = huge; c < huge + count; c++)
		if ((c == huge || c % LLFREE_WORD_LANES == 0) && !llfree_break(BREAK_WB_FLAGS))
			plat_writeback(a->writeback, llfree_entry(a, c));
	if (!llfree_break(BREAK_FENCE_FLAGS))
		plat_fence(a->writeback);
}

static bool all_free(const struct llfree *a, uint64_t huge, uint64_t count)
{
	for (uint64_t c = huge; c < huge + count; c++)
		if (llfree_lane_free(llfree_lane_of(a, c)) != llfree_child_frames(a, c))
			return false;
	return true;
}

/* Set OFFLINE in all, or in none: EALREADY. */
static int offline_all(const struct llfree *a, uint64_t huge, uint64_t count)
{
	for (uint64_t c = huge; c < huge + count; c++) {
		if (lane_change(a, c, LLFREE_LANE_OFFLINE, 0, false, LLFREE_LANE_OFFLINE, 0))
			continue;
		while (c-- > huge)
			lane_change(a, c, 0, 0, false, 0, LLFREE_LANE_OFFLINE);
		return LLFREE_EALREADY;
	}
	return 0;
}

int llfree_offline(struct llfree *a, uint64_t huge, uint64_t count, unsigned flags)
{
	int r = range_ok(a, huge, count);

	if (r)
		return r;
	if (flags & ~LLFREE_OFFLINE_DRAIN)
		return LLFREE_EINVAL;
	for (uint64_t c = huge; c < huge + count; c++)
		if (llfree_lane_of(a, c) & LLFREE_LANE_OFFLINE)
			return LLFREE_EALREADY;

	/*
	 * The last child may be too short to be whole; then, and with bad ones, flag first, look
	 * after.
	 */
	bool whole = huge + count < a->children ||
		     llfree_child_frames(a, huge + count - 1) == LLFREE_CHILD_FRAMES;

	if (!(flags & LLFREE_OFFLINE_DRAIN) && whole) {
		r = llfree_run(a, huge, count, LLFREE_RUN_OFFLINE, NULL);
		/* Once more if slots held some of the frames. */
		if (r && llfree_flush_range(a, huge, huge + count - 1))
			r = llfree_run(a, huge, count, LLFREE_RUN_OFFLINE, NULL);
		return r;
	}
	r = offline_all(a, huge, count);
	if (r)
		return r;
	/* *Store-load*, see llfree-slot.c: OFFLINE is set, now slots are emptied. */
	llfree_flush_range(a, huge, huge + count - 1);
	lanes_persist(a, huge, count);
	if (all_free(a, huge, count))
		return 0;
	if (!(flags & LLFREE_OFFLINE_DRAIN)) {
		for (uint64_t c = huge; c < huge + count; c++)
			lane_change(a, c, 0, 0, false, 0, LLFREE_LANE_OFFLINE);
		lanes_persist(a, huge, count);
	}
	return LLFREE_EBUSY;
}

int llfree_online(struct llfree *a, uint64_t huge, uint64_t count, unsigned flags)
{
	unsigned set = flags & LLFREE_ZEROED ? LLFREE_LANE_ZEROED : 0;
	int r = range_ok(a, huge, count);

	if (r)
		return r;
	if (flags & ~LLFREE_ZEROED)
		return LLFREE_EINVAL;
	for (uint64_t c = huge; c < huge + count; c++)
		if (!(llfree_lane_of(a, c) & LLFREE_LANE_OFFLINE))
			return LLFREE_EALREADY;
	if (set && !all_free(a, huge, count))
		return LLFREE_EBUSY;
	/* Nobody allocates from an offline child: what was wholly free stays so. */
	for (uint64_t c = huge; c < huge + count; c++) {
		if (lane_change(a, c, LLFREE_LANE_OFFLINE, LLFREE_LANE_OFFLINE, set, set,
				LLFREE_LANE_OFFLINE))
			continue;
		/*
		 * Another online of the same range at the same time; ours are taken back if they
		 * can be.
		 */
		while (c-- > huge)
			lane_change(a, c, LLFREE_LANE_OFFLINE, 0, false, LLFREE_LANE_OFFLINE, 0);
		return LLFREE_EALREADY;
	}
	lanes_persist(a, huge, count);
	return 0;
}

int llfree_mark_bad(struct llfree *a, uint64_t huge)
{
	int r = range_ok(a, huge, 1);

	if (r)
		return r;
	if (!lane_change(a, huge, LLFREE_LANE_BAD, 0, false, LLFREE_LANE_BAD, 0))
		return LLFREE_EALREADY;
	llfree_flush_range(a, huge, huge);
	lanes_persist(a, huge, 1);
	return 0;
}

int llfree_set_class(struct llfree *a, uint64_t huge, unsigned class)
{
	int r = range_ok(a, huge, 1);

	if (r)
		return r;
	if (class >= a->classes)
		return LLFREE_EINVAL;

	uint64_t *tree = &a->trees[huge / LLFREE_TREE_CHILDREN], old = plat_load(tree);

	do {
		if (llfree_tree_slot1(old))
			return LLFREE_EBUSY;
	} while (!plat_cas(tree, &old, llfree_tree_word(class, 0, 0, llfree_tree_put1(old))));
	return 0;
}

int llfree_recover_owner(struct llfree *a, uint32_t owner, uint64_t *ret_trees,
			 uint64_t *ret_frames)
{
	uint32_t per = a->classes * a->nslots, first = owner * per;
	uint64_t trees = 0, frames = 0;

	if (a->flags & LLFREE_READONLY)
		return LLFREE_EROFS;
	if (owner == a->owner || owner >= a->slot_count / per)
		return LLFREE_EINVAL;
	for (uint32_t i = first; i < first + per; i++)
		frames += llfree_slot_flush(a, i);
	/* All trees are looked at: one may be reserved without the slot's word saying so yet. */
	for (uint32_t t = 0; t < a->ntrees && !llfree_break(BREAK_OWNER); t++) {
		uint64_t old = plat_load(&a->trees[t]);

		for (;;) {
			uint64_t slot1 = llfree_tree_slot1(old), put1 = llfree_tree_put1(old), new;
			bool mine = slot1 > first && slot1 <= first + per,
			     gathers = put1 > first && put1 <= first + per;

			if (!mine && !gathers)
				break;
			new = llfree_tree_word(llfree_tree_class(old),
					       mine ? 0 : llfree_tree_owner(old),
					       mine ? 0 : (unsigned)slot1,
					       gathers ? 0 : (unsigned)put1);
			if (!plat_cas(&a->trees[t], &old, new))
				continue;
			trees += mine;
			break;
		}
	}
	*ret_trees = trees;
	*ret_frames = frames;
	return 0;
}
