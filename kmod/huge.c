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
	directory_sync(o, granule);
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
	if (!leaf) {
		leaf = cmpxchg(&g->leaf, 0, LEAF_SMALL);
		directory_sync(o, page / GRANULE_PAGES);
	}
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

/* ---- moves ---- */

static void target_put(struct object *o, struct move_step *s, unsigned int frames)
{
	unsigned int i;

	if (!s->small)
		frame_put_new(s->to[0], LLFREE_HUGE_ORDER);
	for (i = 0; i < frames && s->small; i++)
		frame_put_new(s->to[i], 0);
	account_uncharge(o->account, s->target->tier, GRANULE_PAGES);
}

static int target_get(struct object *o, struct move_step *s)
{
	unsigned int i;

	if (account_charge(o->account, s->target->tier, GRANULE_PAGES) < 0)
		return -EDQUOT;
	if (!s->small && frame_get_compound(s->target, &s->to[0]) >= 0) {
		for (i = 1; i < GRANULE_PAGES; i++)
			s->to[i] = s->to[0] + i;
		return 0;
	}
	s->small = true;
	for (i = 0; i < GRANULE_PAGES; i++)
		if (frame_get(s->target, 0, &s->to[i]) < 0) {
			target_put(o, s, i);
			return -ENOMEM;
		}
	return 0;
}

int huge_prepare(struct object *o, struct move_step *s, bool small)
{
	struct granule *g = &o->granule[s->granule];
	int r;

	s->huge = true;
	s->small = small;
	s->from[0] = leaf_pfn(g->leaf);
	r = target_get(o, s);
	if (r < 0)
		return r;
	if (s->small && !table_get(o, g, TABLE_RW)) {
		target_put(o, s, GRANULE_PAGES);
		return -ENOMEM;
	}
	object_gather(o, s->granule, _PAGE_DIRTY);
	s->dirty[0] = test_and_clear_bit(_PAGE_BIT_DIRTY, &g->leaf);
	return 0;
}

void huge_copy(struct move_step *s)
{
	unsigned int i;

	s->bad[0] = false;
	for (i = 0; i < GRANULE_PAGES && !s->bad[0]; i++)
		s->bad[0] = !frame_copy(s->to[i], s->from[0] + i);
}

static void install(struct object *o, struct granule *g, struct move_step *s, unsigned long old)
{
	unsigned int i;

	if (!s->small) {
		WRITE_ONCE(g->leaf, leaf_make(s->to[0], old));
		return;
	}
	for (i = 0; i < GRANULE_PAGES; i++) {
		s->leaf[i] = i;
		s->old[i] = __pte(old & (_PAGE_ACCESSED | _PAGE_DIRTY));
	}
	table_put(g, s->leaf, GRANULE_PAGES, s->to, s->old);
	smp_store_release(&g->leaf, LEAF_SMALL);
	atomic64_dec(&o->leaves);
}

int huge_finish(struct object *o, struct move_step *s)
{
	struct granule *g = &o->granule[s->granule];
	int r = 0;

	down_write(&o->frames);
	object_unlink(o, s->granule, 1);
	if (frame_is_pinned(s->from[0])) {
		r = -EBUSY;
	} else if (!s->bad[0] && test_bit(_PAGE_BIT_DIRTY, &g->leaf)) {
		atomic64_add(GRANULE_PAGES, &morsel_count.move_recopied);
		huge_copy(s);
	}
	if (s->dirty[0])
		set_bit(_PAGE_BIT_DIRTY, &g->leaf);
	if (!r && s->bad[0])
		r = -EIO;
	if (!r) {
		install(o, g, s, g->leaf);
		atomic64_sub(GRANULE_PAGES, &o->in_pool[frame_pool(s->from[0])->id]);
		atomic64_add(GRANULE_PAGES, &o->in_pool[s->target->id]);
	}
	object_relink(o, s->granule, 1);
	up_write(&o->frames);
	if (r)
		target_put(o, s, GRANULE_PAGES);
	else
		frame_put(s->from[0], LLFREE_HUGE_ORDER, o->account);
	return r;
}

int huge_split(struct object *o, struct move_step *s)
{
	struct pool *target = s->target;
	int r;

	s->target = frame_pool(leaf_pfn(o->granule[s->granule].leaf));
	r = huge_prepare(o, s, true);
	if (r >= 0) {
#ifndef MORSEL_BREAK_FIRST_FLUSH
		tlb_flush_object(o);
#endif
		huge_copy(s);
		r = huge_finish(o, s);
	}
	s->target = target;
	s->huge = false;
	return r;
}
