// SPDX-License-Identifier: GPL-2.0-only
/* Frames: given by LLFree, known again by their page frame number, held back while pinned. */
#include <linux/highmem.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

/* pfn >> 9 → pool and huge frame. Read without a lock: a block with frames in use stays. */
static DEFINE_XARRAY(blocks);
static struct pool *pool_of_id[MORSEL_MAX_POOLS + 1];

struct held_frame {
	struct list_head node;
	unsigned long pfn;
	unsigned int order;
	struct account *account;
};

/* How often the quarantine is looked at: long against an I/O, short against a person's patience. */
#define LOOK_AGAIN msecs_to_jiffies(100)

#ifdef MORSEL_BREAK_QUARANTINE
static const bool hold_pinned;
#else
static const bool hold_pinned = true;
#endif

int frame_blocks_insert(struct pool *p, u64 huge, unsigned long pfn)
{
	pool_of_id[p->id] = p;
	if (morsel_inject())
		return -ENOMEM;
	return xa_insert(&blocks, pfn >> 9, xa_mk_value((unsigned long)p->id << 40 | huge),
			 GFP_KERNEL);
}

void frame_blocks_erase(unsigned long pfn)
{
	xa_erase(&blocks, pfn >> 9);
}

static struct pool *lookup(struct frame_memo *m, unsigned long pfn, u64 *ret_frame)
{
	unsigned long value;
	void *entry;

	if (!m->pool || m->block != pfn >> 9) {
		entry = xa_load(&blocks, pfn >> 9);
		if (WARN_ON_ONCE(!xa_is_value(entry)))
			return NULL;
		value = xa_to_value(entry);
		m->block = pfn >> 9;
		m->pool = pool_of_id[value >> 40];
		m->first = (value & ((1ul << 40) - 1)) << 9;
	}
	*ret_frame = m->first + (pfn & (GRANULE_PAGES - 1));
	return m->pool;
}

struct pool *frame_pool_near(struct frame_memo *m, unsigned long pfn)
{
	u64 frame;

	return lookup(m, pfn, &frame);
}

static struct llfree_request request_for(const struct pool *p, unsigned int order)
{
	/* A hint: any slot will do if the thread goes to another CPU meanwhile. */
	return (struct llfree_request){ .order = order, .slot = raw_smp_processor_id() % p->slots };
}

static void give(struct pool *p, u64 frame, unsigned int order)
{
	int r = llfree_put(&p->llfree, frame, request_for(p, order));

	WARN_ONCE(r < 0, "morsel: frame %llu of pool %u: put gave %d\n", frame, p->id, r);
}

/* A compound block serves leaves of 2 MiB only: a pin of one of its frames would hold all. */
static void release(struct pool *p, u64 frame, unsigned int order)
{
	u64 huge = frame >> 9;

	if (order != LLFREE_HUGE_ORDER || p->kind != MORSEL_POOL_NODE) {
		give(p, frame, order);
		return;
	}
	mutex_lock(&p->grow);
	if (PageCompound(pfn_to_page(p->block[huge])) && block_split(p, huge) < 0)
		/* Nothing is behind the huge frame any more; it is in use until it is given. */
		llfree_offline(&p->llfree, huge, 1, LLFREE_OFFLINE_DRAIN);
	give(p, frame, order);
	mutex_unlock(&p->grow);
}

static unsigned long first_bad(unsigned long pfn, unsigned int order)
{
	unsigned long i;

	for (i = 0; i < 1ul << order && !PageHWPoison(pfn_to_page(pfn + i)); i++)
		;
	return i;
}

/*
 * The kernel found a memory error: the huge frame is given out no more. No hook tells modules of errors, but the page is
 * marked; looked at when a frame is given, and when it comes back.
 */
static bool set_aside_if_bad(struct pool *p, unsigned long pfn, u64 frame, unsigned int order)
{
	unsigned long i = first_bad(pfn, order);

	if (i == 1ul << order)
		return false;
	if (llfree_mark_bad(&p->llfree, frame >> 9) >= 0)
		pr_warn("morsel: pool %u: memory error at pfn %lu: 2 MiB are out of use\n", p->id,
			pfn + i);
	give(p, frame, order);
	return true;
}

/* Not for a single frame, nor for many: its block is on its way to a leaf of 2 MiB. */
static bool is_compound(struct pool *p, unsigned long pfn)
{
	return p->kind == MORSEL_POOL_NODE && PageCompound(pfn_to_page(pfn));
}

int frame_get(struct pool *p, unsigned int order, unsigned long *ret_pfn)
{
	u64 frame;
	int r;

	if (morsel_inject())
		return -ENOMEM;
	for (;;) {
		long seen = atomic_long_read(&p->blocks);

		r = llfree_get(&p->llfree, request_for(p, order), &frame);
		if (r >= 0) {
			*ret_pfn = p->block[frame >> 9] + (frame & (GRANULE_PAGES - 1));
			if (set_aside_if_bad(p, *ret_pfn, frame, order))
				continue;
			if (!is_compound(p, *ret_pfn))
				return 0;
			give(p, frame, order);
			/* Until pool_grow_compound() has it. */
			mutex_lock(&p->grow);
			mutex_unlock(&p->grow);
			continue;
		}
		if (r != LLFREE_ENOMEM)
			return r;
		r = pool_grow(p, seen);
		if (r < 0)
			return -ENOMEM;
	}
}

static int get_of_device(struct pool *p, unsigned long *ret_pfn)
{
	int r = frame_get(p, LLFREE_HUGE_ORDER, ret_pfn);

	if (r < 0)
		return r;
	/* As the device's driver made them. */
	if (compound_order(pfn_to_page(*ret_pfn)) >= LLFREE_HUGE_ORDER)
		return 0;
	frame_put_new(*ret_pfn, LLFREE_HUGE_ORDER);
	return -ENOMEM;
}

int frame_get_compound(struct pool *p, unsigned long *ret_pfn)
{
	u64 frame;
	int r;

	if (p->kind != MORSEL_POOL_NODE)
		return get_of_device(p, ret_pfn);
	mutex_lock(&p->grow);
	do
		r = llfree_get(&p->llfree, request_for(p, LLFREE_HUGE_ORDER), &frame);
	while (r >= 0 && set_aside_if_bad(p, p->block[frame >> 9], frame, LLFREE_HUGE_ORDER));
	if (r < 0) {
		r = pool_grow_compound(p, &frame);
	} else {
		r = block_join(p, frame >> 9);
		if (r < 0)
			give(p, frame, LLFREE_HUGE_ORDER);
	}
	if (r >= 0)
		*ret_pfn = p->block[frame >> 9];
	mutex_unlock(&p->grow);
	return r;
}

bool frame_is_there(struct pool *p)
{
	struct llfree_stats stats;

	return llfree_stats_fast(&p->llfree, &stats) >= 0 && stats.free > 0;
}

void frame_put_new(unsigned long pfn, unsigned int order)
{
	struct frame_memo memo = {};
	u64 frame;
	struct pool *p = lookup(&memo, pfn, &frame);

	if (p)
		release(p, frame, order);
}

bool frame_is_pinned_near(struct frame_memo *m, unsigned long pfn)
{
	struct page *page = compound_head(pfn_to_page(pfn));
	struct pool *p;
	u64 frame;

	p = lookup(m, pfn, &frame);
	/* A dax device's pages are compound: what pins one of them holds all of its 2 MiB. */
	return p && morsel_page_refs(page) != (p->refs ? p->refs[frame >> 9] : 1);
}

/* False: it is in quarantine, and charged as long. */
static bool put(struct frame_memo *m, unsigned long pfn, unsigned int order, struct account *a)
{
	struct held_frame *held;
	struct pool *p;
	u64 frame;

	p = lookup(m, pfn, &frame);
	if (!p)
		return false;
	/* The kernel keeps a reference of a page with an error for good: it cannot be waited for. */
	if (set_aside_if_bad(p, pfn, frame, order))
		return true;
	if (hold_pinned && frame_is_pinned_near(m, pfn)) {
		/* Nothing else can be done with it, and it is a few words. */
		held = kmalloc(sizeof(*held), GFP_KERNEL | __GFP_NOFAIL);
		held->pfn = pfn;
		held->order = order;
		held->account = account_get(a);
		atomic64_add(1ul << order, &p->quarantined);
		atomic64_add(1ul << order, &morsel_count.quarantined);
		spin_lock(&p->quarantine_lock);
		list_add_tail(&held->node, &p->quarantine);
		spin_unlock(&p->quarantine_lock);
		schedule_delayed_work(&p->look, LOOK_AGAIN);
		return false;
	}
	release(p, frame, order);
	return true;
}

/* Uncharged last: who sees the account's use fall finds the frame. */
void frame_put(unsigned long pfn, unsigned int order, struct account *a)
{
	struct frame_memo memo = {};

	if (put(&memo, pfn, order, a))
		account_uncharge(a, memo.pool->tier, 1ul << order);
}

void frames_put(const unsigned long *pfn, unsigned int n, struct account *a)
{
	struct frame_memo memo = {};
	struct pool *p = NULL;
	unsigned long charged = 0;
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (!put(&memo, pfn[i], 0, a))
			continue;
		if (p != memo.pool) {
			if (p)
				account_uncharge(a, p->tier, charged);
			p = memo.pool;
			charged = 0;
		}
		charged++;
	}
	if (p)
		account_uncharge(a, p->tier, charged);
}

void frame_quarantine_look(struct pool *p)
{
	struct held_frame *held, *next;
	struct frame_memo memo = {};
	LIST_HEAD(free);
	u64 frame;

	spin_lock(&p->quarantine_lock);
	list_for_each_entry_safe(held, next, &p->quarantine, node)
		if (!frame_is_pinned_near(&memo, held->pfn) ||
		    first_bad(held->pfn, held->order) < 1ul << held->order)
			list_move(&held->node, &free);
	if (!list_empty(&p->quarantine))
		schedule_delayed_work(&p->look, LOOK_AGAIN);
	spin_unlock(&p->quarantine_lock);
	list_for_each_entry_safe(held, next, &free, node) {
		if (lookup(&memo, held->pfn, &frame) == p &&
		    !set_aside_if_bad(p, held->pfn, frame, held->order))
			release(p, frame, held->order);
		account_uncharge(held->account, p->tier, 1ul << held->order);
		account_put(held->account);
		atomic64_sub(1ul << held->order, &p->quarantined);
		kfree(held);
	}
}

void frame_zero(unsigned long pfn, unsigned int order)
{
	unsigned long i;

	for (i = 0; i < 1ul << order; i++)
		clear_page(page_address(pfn_to_page(pfn + i)));
}
