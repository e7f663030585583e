// SPDX-License-Identifier: GPL-2.0-only
/* Leaves of 2 MiB: filled, dropped, moved as a whole, and split where only a part is meant. */
#include <linux/slab.h>

#include "internal.h"

/* Neither accessed nor dirty. */
static pmd_t clean(unsigned long pfn, pgprot_t protection)
{
	return pmd_mkold(pmd_mkhuge(pfn_pmd(pfn, protection)));
}

unsigned long leaf_make(unsigned long pfn, unsigned long old)
{
	return pmd_val(clean(pfn, PAGE_SHARED)) | (old & (_PAGE_ACCESSED | _PAGE_DIRTY));
}

pmd_t leaf_copy(unsigned long leaf, enum table_kind kind)
{
	pmd_t copy;

	if (kind == TABLE_RW)
		return __pmd(leaf);
	copy = clean(leaf_pfn(leaf), PAGE_READONLY);
	return leaf & _PAGE_ACCESSED ? pmd_mkyoung(copy) : copy;
}

void leaf_join(struct granule *g, pmd_t copy)
{
	if (pmd_young(copy))
		set_bit(_PAGE_BIT_ACCESSED, &g->leaf);
	if (pmd_dirty(copy))
		set_bit(_PAGE_BIT_DIRTY, &g->leaf);
}

static void count_leaf(struct object *o, struct pool *pool, int n)
{
	object_count_frames(o, pool, n * (long)GRANULE_PAGES);
	atomic64_add(n, &o->leaves);
}

/* Charged frames for a leaf from the first pool of the order that has any frames at all for it. */
static int take(struct object *o, unsigned long granule, struct pool **ret_pool,
		unsigned long *ret_pfn)
{
	struct pool *pools[MORSEL_MAX_TIERS];
	unsigned int n = placement_order(o, granule, LLFREE_HUGE_ORDER, pools), i;

	for (i = 0; i < n; i++) {
		struct pool *pool = pools[i];

		if (account_charge(o->account, pool->tier, GRANULE_PAGES) >= 0) {
			if (frame_get_compound(pool, ret_pfn) >= 0) {
				frame_zero(*ret_pfn, LLFREE_HUGE_ORDER);
				*ret_pool = pool;
				return 0;
			}
			account_uncharge(o->account, pool->tier, GRANULE_PAGES);
		}
		/* The right tier comes before the size of pages. */
		if (frame_is_there(pool) && account_charge(o->account, pool->tier, 1) >= 0) {
			account_uncharge(o->account, pool->tier, 1);
			break;
		}
	}
	return -ENOMEM;
}

static unsigned long make(struct object *o, unsigned long granule, u64 *ret_filled)
{
	unsigned long pfn, leaf, old;
	struct pool *pool;

	if (o->bytes >> GRANULE_SHIFT <= granule || take(o, granule, &pool, &pfn) < 0)
		return 0;
	leaf = leaf_make(pfn, _PAGE_ACCESSED | _PAGE_DIRTY);
	old = cmpxchg(&o->granule[granule].leaf, 0, leaf);
	if (old) { /* another fault was here first */
		frame_put_new(pfn, LLFREE_HUGE_ORDER);
		account_uncharge(o->account, pool->tier, GRANULE_PAGES);
		return old;
	}
	count_leaf(o, pool, 1);
	if (ret_filled)
		*ret_filled += GRANULE_PAGES;
	return leaf;
}

int huge_fill(struct object *o, u64 page, u64 *ret_filled)
{
	struct granule *g = &o->granule[page / GRANULE_PAGES];
	unsigned long leaf = READ_ONCE(g->leaf);

	if (!leaf)
		leaf = make(o, page / GRANULE_PAGES, ret_filled);
	if (!leaf)
		leaf = cmpxchg(&g->leaf, 0, LEAF_SMALL);
	if (!leaf_is_huge(leaf))
		return 1;
	return PageHWPoison(pfn_to_page(leaf_pfn(leaf) + page % GRANULE_PAGES)) ? -EHWPOISON : 0;
}

void huge_drop(struct object *o, unsigned long granule)
{
	unsigned long pfn = leaf_pfn(xchg(&o->granule[granule].leaf, 0));

	count_leaf(o, frame_pool(pfn), -1);
	frame_put(pfn, LLFREE_HUGE_ORDER, o->account);
}

/* ---- moves: the same steps as for single frames (move.c) ---- */

/* 2 MiB to go to: one page, or single frames. */
struct target {
	struct pool *pool;
	bool small;
	unsigned long pfn[GRANULE_PAGES];
};

static void target_put(struct object *o, struct target *t, unsigned int frames)
{
	unsigned int i;

	if (!t->small)
		frame_put_new(t->pfn[0], LLFREE_HUGE_ORDER);
	for (i = 0; i < frames && t->small; i++)
		frame_put_new(t->pfn[i], 0);
	account_uncharge(o->account, t->pool->tier, GRANULE_PAGES);
}

static int target_get(struct object *o, struct target *t)
{
	unsigned int i;

	if (account_charge(o->account, t->pool->tier, GRANULE_PAGES) < 0)
		return -EDQUOT;
	if (!t->small && frame_get_compound(t->pool, &t->pfn[0]) >= 0) {
		for (i = 1; i < GRANULE_PAGES; i++)
			t->pfn[i] = t->pfn[0] + i;
		return 0;
	}
	t->small = true;
	for (i = 0; i < GRANULE_PAGES; i++)
		if (frame_get(t->pool, 0, &t->pfn[i]) < 0) {
			target_put(o, t, i);
			return -ENOMEM;
		}
	return 0;
}

static bool copy(struct target *t, unsigned long from)
{
	unsigned int i;

	for (i = 0; i < GRANULE_PAGES; i++)
		if (!frame_copy(t->pfn[i], from + i))
			return false;
	return true;
}

static void install(struct object *o, struct granule *g, struct target *t, unsigned long old)
{
	pte_t bits = __pte(old & (_PAGE_ACCESSED | _PAGE_DIRTY));
	unsigned int i;

	if (!t->small) {
		WRITE_ONCE(g->leaf, leaf_make(t->pfn[0], old));
		return;
	}
	for (i = 0; i < GRANULE_PAGES; i++)
		table_replace(g, i, t->pfn[i], bits);
	smp_store_release(&g->leaf, LEAF_SMALL);
	atomic64_dec(&o->leaves);
}

/* -EBUSY, -EIO. With target's frames taken, and o->change held. */
static int move(struct object *o, unsigned long granule, struct target *t)
{
	struct granule *g = &o->granule[granule];
	unsigned long from = leaf_pfn(g->leaf);
	bool dirty, good;
	int r = 0;

	object_gather(o, granule, _PAGE_DIRTY);
	dirty = test_and_clear_bit(_PAGE_BIT_DIRTY, &g->leaf);
#ifndef MORSEL_BREAK_FIRST_FLUSH
	tlb_flush_object(o);
#endif
	good = copy(t, from);

	down_write(&o->frames);
	object_unlink(o, granule, 1);
	if (frame_is_pinned(from)) {
		r = -EBUSY;
	} else if (good && test_bit(_PAGE_BIT_DIRTY, &g->leaf)) {
		atomic64_add(GRANULE_PAGES, &morsel_count.move_recopied);
		good = copy(t, from);
	}
	if (dirty)
		set_bit(_PAGE_BIT_DIRTY, &g->leaf);
	if (!r && !good)
		r = -EIO;
	if (!r) {
		install(o, g, t, g->leaf);
		atomic64_sub(GRANULE_PAGES, &o->in_pool[frame_pool(from)->id]);
		atomic64_add(GRANULE_PAGES, &o->in_pool[t->pool->id]);
	}
	up_write(&o->frames);
	if (!r)
		frame_put(from, LLFREE_HUGE_ORDER, o->account);
	return r;
}

static int move_to(struct object *o, unsigned long granule, struct pool *pool, bool small)
{
	struct target *t = morsel_inject() ? NULL : kmalloc(sizeof(*t), GFP_KERNEL);
	int r;

	if (!t)
		return -ENOMEM;
	t->pool = pool;
	t->small = small;
	r = target_get(o, t);
	if (r >= 0 && t->small && !table_get(o, &o->granule[granule], TABLE_RW)) {
		target_put(o, t, GRANULE_PAGES);
		r = -ENOMEM;
	}
	if (r >= 0) {
		r = move(o, granule, t);
		if (r < 0)
			target_put(o, t, GRANULE_PAGES);
	}
	kfree(t);
	return r;
}

void huge_move(struct object *o, unsigned long granule, struct pool *target,
	       struct morsel_move_range *range)
{
	int r;

	if (frame_pool(leaf_pfn(o->granule[granule].leaf)) == target) {
		range->already += MORSEL_GRANULE;
		return;
	}
	r = move_to(o, granule, target, false);
	if (r < 0) {
		move_fail(range, r, GRANULE_PAGES);
		if (r == -EBUSY)
			atomic64_add(GRANULE_PAGES, &morsel_count.move_busy);
		return;
	}
	range->moved += MORSEL_GRANULE;
	atomic64_add(GRANULE_PAGES, &morsel_count.moved);
}

int huge_split(struct object *o, unsigned long granule)
{
	return move_to(o, granule, frame_pool(leaf_pfn(o->granule[granule].leaf)), true);
}
