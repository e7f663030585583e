// SPDX-License-Identifier: GPL-2.0-only
/*
 * Objects over given extents of a device, whose allocator is the caller: durable and shared pools have theirs on
 * the device itself. Tables are filled when the object is made, so that no list of extents is kept.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

#define LOOK_AGAIN msecs_to_jiffies(100) /* as frame.c does */
#define PIECE 128 /* extents that are copied at once: less than a page of them */

static DEFINE_SPINLOCK(lingering_lock);
static LIST_HEAD(lingering);
static void look(struct work_struct *work);
static DECLARE_DELAYED_WORK(look_work, look);

static int check(const struct object *o, const struct pool *p, const struct morsel_object_extent *e)
{
	u64 bytes = p->huge << GRANULE_SHIFT;
	int r = object_check_range(o, e->offset, e->length);

	if (r < 0 || !PAGE_ALIGNED(e->at))
		return r < 0 ? r : -EINVAL;
	return e->at >= bytes || e->length > bytes - e->at ? -ERANGE : 0;
}

/* Nobody else knows the object yet. */
static int fill(struct object *o, struct pool *p, const struct morsel_object_extent *e)
{
	u64 page = e->offset >> PAGE_SHIFT, end = (e->offset + e->length) >> PAGE_SHIFT;
	u64 from = e->at >> PAGE_SHIFT, done = 0;
	int r = account_charge(o->account, p->tier, end - page);

	if (r < 0)
		return r;
	for (; page + done < end && r >= 0; done++) {
		struct granule *g = &o->granule[(page + done) / GRANULE_PAGES];
		u64 at = from + done;

		if (!table_get(o, g, TABLE_RW))
			r = -ENOMEM;
		else if (!table_fill(g, (page + done) % GRANULE_PAGES,
				     p->block[at / GRANULE_PAGES] + at % GRANULE_PAGES))
			r = -EINVAL; /* an extent lies there already */
		if (r < 0)
			break;
		if (at % GRANULE_PAGES == 0) {
			cond_resched();
			if (fatal_signal_pending(current))
				r = -EINTR;
		}
	}
	account_uncharge(o->account, p->tier, end - page - done);
	atomic64_add(done, &o->used);
	atomic64_add(done, &o->in_pool[p->id]);
	atomic64_add(done, &p->used);
	return r;
}

int extents_fill(struct object *o, const struct morsel_object_create *arg)
{
	struct morsel_object_extent __user *from = u64_to_user_ptr(arg->extents);
	struct morsel_object_extent *piece;
	u32 i = 0, n, k;
	int r = 0;

	piece = morsel_inject() ? NULL : kmalloc_array(PIECE, sizeof(*piece), GFP_KERNEL);
	if (!piece)
		return -ENOMEM;
	for (; i < arg->extents_count && r >= 0; i += n) {
		n = min(arg->extents_count - i, (u32)PIECE);
		if (copy_from_user(piece, from + i, n * sizeof(*piece)))
			r = -EFAULT;
		for (k = 0; k < n && r >= 0; k++) {
			r = check(o, o->placement.pool[0], &piece[k]);
			if (r >= 0)
				r = fill(o, o->placement.pool[0], &piece[k]);
		}
		cond_resched();
		if (r >= 0 && i + n < arg->extents_count && fatal_signal_pending(current))
			r = -EINTR;
	}
	kfree(piece);
	return r;
}

void extents_empty(struct object *o)
{
	struct pool *p = o->placement.n ? o->placement.pool[0] : NULL;
	u64 used = atomic64_read(&o->used);
	unsigned long n;
	int kind;

	for (n = 0; n < o->granules; n++) {
		for (kind = 0; kind < TABLE_KINDS; kind++)
			if (o->granule[n].table[kind])
				table_free(o, o->granule[n].table[kind]);
		cond_resched();
	}
	if (!p)
		return;
	if (o->lingers)
		atomic64_sub(used, &p->quarantined);
	atomic64_sub(used, &p->used);
	account_uncharge(o->account, p->tier, used);
}

/* A page with a memory error is never let go by the kernel: it is not waited for. */
static bool is_pinned(const struct granule *g)
{
	unsigned long block = -1ul, pfn;
	unsigned int i;

	if (!g->table[TABLE_RW])
		return false;
	for (i = 0; i < GRANULE_PAGES; i++) {
		pte_t leaf = READ_ONCE(table_leaves(g->table[TABLE_RW])[i]);

		if (!pte_present(leaf))
			continue;
		pfn = pte_pfn(leaf);
		/* Pages that are compound are looked at once. */
		if (PageCompound(pfn_to_page(pfn)) && pfn >> 9 == block)
			continue;
		block = pfn >> 9;
		if (frame_is_pinned(pfn) && !PageHWPoison(pfn_to_page(pfn)))
			return true;
	}
	return false;
}

bool extents_linger(struct object *o)
{
#ifdef MORSEL_BREAK_QUARANTINE
	return false;
#endif
	for (; o->linger_granule < o->granules; o->linger_granule++) {
		if (is_pinned(&o->granule[o->linger_granule])) {
			if (!o->lingers) {
				u64 used = atomic64_read(&o->used);

				o->lingers = true;
				atomic64_add(used, &o->placement.pool[0]->quarantined);
				atomic64_add(used, &morsel_count.quarantined);
			}
			spin_lock(&lingering_lock);
			list_add_tail(&o->linger, &lingering);
			spin_unlock(&lingering_lock);
			schedule_delayed_work(&look_work, LOOK_AGAIN);
			return true;
		}
		cond_resched();
	}
	return false;
}

void extents_look(void)
{
	struct object *o, *next;
	LIST_HEAD(looked_at);

	spin_lock(&lingering_lock);
	list_splice_init(&lingering, &looked_at);
	spin_unlock(&lingering_lock);
	list_for_each_entry_safe(o, next, &looked_at, linger) {
		list_del_init(&o->linger);
		/* It comes back if something pins it still. */
		object_put(o);
	}
}

static void look(struct work_struct *work)
{
	extents_look();
}

void extents_exit(void)
{
	cancel_delayed_work_sync(&look_work);
}
