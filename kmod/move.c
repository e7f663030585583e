// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moves. A granule is copied while it is mapped and then switched:
 *   1. dirty bits are cleared, and all TLBs flushed: a CPU that cached a dirty leaf would not set the
 *      bit again;
 *   2. copy;
 *   3. the granule is unlinked everywhere, and flushed: now the dirty bits and the counts of
 *      references are final;
 *   4. what was written meanwhile is copied again, what is pinned stays, all else is switched, and linked again.
 * Whoever touches the granule between 3 and the end waits in its fault. The flush in 3 is the next granule's in 1: a
 * flush costs those who use the object more than anything else here.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

void move_fail(struct morsel_move_range *range, int r, unsigned int n)
{
	if (n > 0 && !range->result)
		range->result = r;
	range->failed += (u64)n << PAGE_SHIFT;
}

/* ---- a granule of single frames ---- */

/* Leaves of [first, end) that are elsewhere than in the target. */
static void collect(struct granule *g, unsigned int first, unsigned int end, struct move_step *s)
{
	struct frame_memo memo = {};
	unsigned int i;

	s->n = 0;
	for (i = first; i < end; i++) {
		pte_t leaf = READ_ONCE(table_leaves(g->table[TABLE_RW])[i]);

		if (!pte_present(leaf)) {
			s->range->absent += PAGE_SIZE;
		} else if (frame_pool_near(&memo, pte_pfn(leaf)) == s->target) {
			s->range->already += PAGE_SIZE;
		} else {
			s->leaf[s->n] = i;
			s->bad[s->n] = false;
			s->from[s->n++] = pte_pfn(leaf);
		}
	}
}

/* Charged frames for as much of the step as there are; the rest is cut off and counted. */
static void take_frames(struct object *o, struct move_step *s)
{
	unsigned int got = 0, i;
	unsigned long pfn;

	if (s->n == GRANULE_PAGES &&
	    account_charge(o->account, s->target->tier, GRANULE_PAGES) == 0) {
		if (frame_get(s->target, LLFREE_HUGE_ORDER, &pfn) >= 0) {
			for (i = 0; i < GRANULE_PAGES; i++)
				s->to[i] = pfn + i;
			return;
		}
		account_uncharge(o->account, s->target->tier, GRANULE_PAGES);
	}
	for (; got < s->n; got++) {
		if (account_charge(o->account, s->target->tier, 1) < 0) {
			move_fail(s->range, -EDQUOT, s->n - got);
			break;
		}
		if (frame_get(s->target, 0, &s->to[got]) < 0) {
			account_uncharge(o->account, s->target->tier, 1);
			move_fail(s->range, -ENOMEM, s->n - got);
			break;
		}
	}
	s->n = got;
}

static void clear_dirty(struct granule *g, struct move_step *s)
{
	struct page *table = g->table[TABLE_RW];
	unsigned int k;

	spin_lock(table_lock(table));
	for (k = 0; k < s->n; k++)
		s->dirty[k] = test_and_clear_bit(_PAGE_BIT_DIRTY,
						 (unsigned long *)&table_leaves(table)[s->leaf[k]]);
	spin_unlock(table_lock(table));
}

/* After it from[] is where the leaves are, to[] what is to be freed. */
static void switch_leaves(struct object *o, struct move_step *s)
{
	struct granule *g = &o->granule[s->granule];
	unsigned int k, busy = 0, bad = 0, moved = 0;
	struct frame_memo memo = {};

	table_take(g, s->leaf, s->n, s->old);
	for (k = 0; k < s->n; k++) {
		/* Once: a walker by frame numbers may hold a page for a moment. */
		bool pinned = frame_is_pinned_near(&memo, s->from[k]);

		/* Pins first: what is pinned may be written without a dirty bit. */
		if (pinned) {
			busy++;
		} else if (!s->bad[k] && pte_dirty(s->old[k])) {
			atomic64_inc(&morsel_count.move_recopied);
			s->bad[k] = !frame_copy(s->to[k], s->from[k]);
			bad += s->bad[k];
		} else {
			bad += s->bad[k];
		}
		if (s->dirty[k])
			s->old[k] = pte_mkdirty(s->old[k]);
		if (pinned || s->bad[k])
			continue;
		atomic64_dec(&o->in_pool[frame_pool_near(&memo, s->from[k])->id]);
		swap(s->from[k], s->to[k]);
		moved++;
	}
	table_put(g, s->leaf, s->n, s->from, s->old);
	atomic64_add(moved, &o->in_pool[s->target->id]);
	move_fail(s->range, -EBUSY, busy);
	move_fail(s->range, -EIO, bad);
	s->range->moved += (u64)moved << PAGE_SHIFT;
	atomic64_add(moved, &morsel_count.moved);
	atomic64_add(busy, &morsel_count.move_busy);
}

/* ---- a step: a granule, or a part of one; with object.change held ---- */

/* False: there is nothing to move. What is not moved is counted. */
static bool prepare(struct object *o, struct move_step *s, unsigned int first, unsigned int end)
{
	struct granule *g = &o->granule[s->granule];
	int r;

	s->huge = false;
	if (leaf_is_huge(READ_ONCE(g->leaf))) {
		if (frame_pool(leaf_pfn(g->leaf)) == s->target) {
			s->range->already += (u64)(end - first) << PAGE_SHIFT;
			return false;
		}
		if (end - first == GRANULE_PAGES) {
			r = huge_prepare(o, s, false);
			if (r < 0)
				move_fail(s->range, r, GRANULE_PAGES);
			return r >= 0;
		}
		r = huge_split(o, s);
		if (r < 0) {
			move_fail(s->range, r, end - first);
			return false;
		}
	}
	if (!g->table[TABLE_RW]) {
		s->range->absent += (u64)(end - first) << PAGE_SHIFT;
		return false;
	}
	collect(g, first, end, s);
	take_frames(o, s);
	if (s->n > 0)
		clear_dirty(g, s);
	return s->n > 0;
}

static void copy(struct move_step *s)
{
	unsigned int k;

	if (s->huge)
		return huge_copy(s);
	for (k = 0; k < s->n; k++)
		s->bad[k] = !frame_copy(s->to[k], s->from[k]);
}

static void finish(struct object *o, struct move_step *s)
{
	int r;

	if (s->huge) {
		r = huge_finish(o, s);
		if (r < 0) {
			move_fail(s->range, r, GRANULE_PAGES);
			if (r == -EBUSY)
				atomic64_add(GRANULE_PAGES, &morsel_count.move_busy);
			return;
		}
		s->range->moved += MORSEL_GRANULE;
		atomic64_add(GRANULE_PAGES, &morsel_count.moved);
		return;
	}
	down_write(&o->frames);
	object_unlink(o, s->granule, 1);
	switch_leaves(o, s);
	object_relink(o, s->granule, 1);
	up_write(&o->frames);
	/* Old frames, and the new ones of what stayed: each is charged to its pool's tier. */
	frames_put(s->to, s->n, o->account);
}

/* ---- ranges ---- */

/* So many are moved without the object being anybody else's in between. */
#define RANGES 16

struct move {
	struct object *object;
	struct morsel_move_range range[RANGES];
	struct pool *target[RANGES];
	unsigned int n; /* ranges */
	unsigned int i; /* those before it are done */
	u64 page, end;	/* what is left of it, in pages; both 0: not begun */
	int result;	/* of the range that could not be begun */
	struct move_step step[2];
};

static void range_begin(struct move *m)
{
	struct morsel_move_range *range = &m->range[m->i];
	struct pool *target;
	int r;

	r = object_check_range(m->object, range->offset, range->length);
	if (r >= 0) {
		mutex_lock(&morsel_lock);
		target = pool_find(range->pool);
		r = !target ? -ENOENT : pool_is_extents(target) ? -EOPNOTSUPP : 0;
		if (r >= 0) {
			target->users++;
			m->target[m->i] = target;
		}
		mutex_unlock(&morsel_lock);
	}
	m->result = r;
	if (r >= 0) {
		m->page = range->offset >> PAGE_SHIFT;
		m->end = (range->offset + range->length) >> PAGE_SHIFT;
	}
}

/*
 * The next step that has something to do, prepared. Not of the granule that @pending is about: what it collects would
 * change. False: there is none, or not now.
 */
static bool next(struct move *m, struct move_step *s, const struct move_step *pending)
{
	for (;;) {
		unsigned int first;
		u64 stop;

		if (m->end && m->page == m->end) {
			m->page = m->end = 0;
			m->i++;
		}
		if (m->i == m->n)
			return false;
		if (!m->end) {
			range_begin(m);
			if (m->result < 0)
				return false;
		}
		s->granule = m->page / GRANULE_PAGES;
		if (pending && pending->granule == s->granule)
			return false;
		s->range = &m->range[m->i];
		s->target = m->target[m->i];
		stop = min(m->end, (s->granule + 1) * (u64)GRANULE_PAGES);
		first = m->page % GRANULE_PAGES;
		m->page = stop;
		if (prepare(m->object, s, first, (stop - 1) % GRANULE_PAGES + 1))
			return true;
		cond_resched();
		if (task_sigpending(current))
			return false;
	}
}

/* With object.change held: steps until the ranges are done, one cannot be begun, or a signal comes. */
static void run(struct move *m)
{
	struct move_step *now = &m->step[0], *then = &m->step[1];
	bool flushed = false, more;

	for (more = next(m, now, NULL); more;) {
#ifndef MORSEL_BREAK_FIRST_FLUSH
		if (!flushed)
			tlb_flush_object(m->object);
#endif
		copy(now);
		flushed = !task_sigpending(current) && next(m, then, now);
		finish(m->object, now);
		cond_resched();
		if (flushed) {
			swap(now, then);
			continue;
		}
		more = m->result >= 0 && !task_sigpending(current) && next(m, now, NULL);
	}
	/* Perhaps the last one ended just so. */
	if (m->end && m->page == m->end) {
		m->page = m->end = 0;
		m->i++;
	}
}

/* m->n ranges. 0: all are done; else m->i are, and the next one is what it is about. */
static int move_ranges(struct move *m)
{
	unsigned int i;
	int r;

	m->i = 0;
	m->page = m->end = 0;
	m->result = 0;
	memset(m->target, 0, sizeof(m->target));
	for (i = 0; i < m->n; i++) {
		m->range[i].result = 0;
		m->range[i].moved = m->range[i].already = 0;
		m->range[i].absent = m->range[i].failed = 0;
	}
	r = mutex_lock_killable(&m->object->change);
	if (r < 0)
		return r;
	run(m);
	mutex_unlock(&m->object->change);
	mutex_lock(&morsel_lock);
	for (i = 0; i < m->n; i++)
		if (m->target[i])
			m->target[i]->users--;
	mutex_unlock(&morsel_lock);
	return m->result < 0 ? m->result : m->i < m->n ? -EINTR : 0;
}

int object_move(struct object *o, struct morsel_move_range __user *at, u32 count, u32 *ret_done)
{
	struct move *m = morsel_inject() ? NULL : kvmalloc(sizeof(*m), GFP_KERNEL);
	unsigned int told;
	int r = 0;

	if (!m)
		return -ENOMEM;
	m->object = o;
	while (*ret_done < count && r >= 0) {
		m->n = min(count - *ret_done, (u32)RANGES);
		if (copy_from_user(m->range, at + *ret_done, m->n * sizeof(*m->range))) {
			r = -EFAULT;
			break;
		}
		r = move_ranges(m);
		/* Of the range that a signal came in, how far it got: perhaps nowhere. */
		told = m->i + (r == -EINTR && m->i < m->n);
		if (copy_to_user(at + *ret_done, m->range, told * sizeof(*m->range)))
			r = -EFAULT;
		else
			*ret_done += m->i;
	}
	kvfree(m);
	return r;
}
