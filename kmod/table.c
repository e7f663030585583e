// SPDX-License-Identifier: GPL-2.0-only
/* Page tables that belong to objects: how they are made, filled, changed and freed. */
#include <linux/gfp.h>
#include <linux/rcupdate.h>

#include "compat.h"
#include "internal.h"

static struct page *table_new(void)
{
	struct page *table;

	if (morsel_inject())
		return NULL;
	table = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!table)
		return NULL;
	if (!morsel_pte_ctor(page_ptdesc(table))) {
		__free_page(table);
		return NULL;
	}
	return table;
}

static void free_now(struct page *table)
{
	morsel_pte_dtor(page_ptdesc(table));
	__free_page(table);
	atomic64_dec(&morsel_count.tables);
}

static void free_rcu_table(struct rcu_head *head)
{
	free_now(ptdesc_page(container_of(head, struct ptdesc, pt_rcu_head)));
}

/* After a grace period: walkers with interrupts off (GUP-fast) or under RCU may be in it. */
void table_free(struct object *o, struct page *table)
{
	atomic64_dec(&o->tables);
#ifdef MORSEL_BREAK_TABLE_FREE
	/* As if it were freed now, and its next owner wrote to it: leaves that are of no kind (an empty marker). */
	memset64((u64 *)table_leaves(table), ~0ULL << 9, GRANULE_PAGES);
#endif
	call_rcu(&page_ptdesc(table)->pt_rcu_head, free_rcu_table);
}

struct page *table_get(struct object *o, struct granule *g, enum table_kind kind)
{
	struct page *table = smp_load_acquire(&g->table[kind]), *old;
	unsigned int i;

	if (table)
		return table;
	table = table_new();
	if (!table)
		return NULL;
	atomic64_inc(&morsel_count.tables);
	atomic64_inc(&o->tables);
	old = cmpxchg(&g->table[kind], NULL, table);
	if (old) {
		atomic64_dec(&o->tables);
		free_now(table);
		return old;
	}
	/*
	 * A leaf that is filled meanwhile: either it is seen here, or table_fill() sees the new table
	 * (cmpxchg and its barrier).
	 */
	if (kind == TABLE_RO)
		for (i = 0; i < GRANULE_PAGES; i++)
			table_fill_ro(g, i);
	directory_sync(o, g - o->granule);
	return table;
}

/* Dirty and accessed from the start: no CPU has to write the bits, and a harvest resets them. */
static pte_t leaf_rw(unsigned long pfn)
{
	return pte_mkyoung(pte_mkdirty(pfn_pte(pfn, PAGE_SHARED)));
}

static pte_t leaf_ro(unsigned long pfn)
{
	return pte_mkyoung(pfn_pte(pfn, PAGE_READONLY));
}

void table_fill_ro(struct granule *g, unsigned int i)
{
	struct page *ro = READ_ONCE(g->table[TABLE_RO]), *rw = READ_ONCE(g->table[TABLE_RW]);
	pte_t *leaf, truth;

	if (!ro || !rw)
		return;
	truth = READ_ONCE(table_leaves(rw)[i]);
	if (!pte_present(truth))
		return;
	leaf = &table_leaves(ro)[i];
	spin_lock(table_lock(ro));
	if (pte_none(*leaf))
		set_pte(leaf, leaf_ro(pte_pfn(truth)));
	spin_unlock(table_lock(ro));
}

bool table_fill(struct granule *g, unsigned int i, unsigned long pfn)
{
	struct page *rw = g->table[TABLE_RW];
	pte_t *leaf = &table_leaves(rw)[i];
	bool filled = false;

	spin_lock(table_lock(rw));
	if (pte_none(*leaf)) {
		set_pte(leaf, leaf_rw(pfn));
		filled = true;
	}
	spin_unlock(table_lock(rw));
	smp_mb(); /* pairs with cmpxchg in table_get() */
	table_fill_ro(g, i);
	return filled;
}

/* CPUs set bits by themselves: exchange, never read and write. */
static pte_t take(struct page *table, unsigned int i)
{
	return native_make_pte(xchg((pteval_t *)&table_leaves(table)[i], 0));
}

void table_take(struct granule *g, const u16 *leaf, unsigned int n, pte_t *ret)
{
	struct page *rw = g->table[TABLE_RW], *ro = g->table[TABLE_RO];
	unsigned int k;

	spin_lock(table_lock(rw));
	for (k = 0; k < n; k++)
		ret[k] = take(rw, leaf[k]);
	spin_unlock(table_lock(rw));
	if (!ro)
		return;
	spin_lock(table_lock(ro));
	for (k = 0; k < n; k++)
		if (pte_young(take(ro, leaf[k])))
			ret[k] = pte_mkyoung(ret[k]);
	spin_unlock(table_lock(ro));
}

void table_put(struct granule *g, const u16 *leaf, unsigned int n, const unsigned long *pfn,
	       const pte_t *old)
{
	struct page *rw = g->table[TABLE_RW], *ro = g->table[TABLE_RO];
	unsigned int k;

	spin_lock(table_lock(rw));
	for (k = 0; k < n; k++) {
		pte_t new = leaf_rw(pfn[k]);

		/* A move is no access, and no write. */
		if (!pte_young(old[k]))
			new = pte_mkold(new);
		if (!pte_dirty(old[k]))
			new = pte_mkclean(new);
		set_pte(&table_leaves(rw)[leaf[k]], new);
	}
	spin_unlock(table_lock(rw));
	if (!ro)
		return;
	spin_lock(table_lock(ro));
	for (k = 0; k < n; k++)
		set_pte(&table_leaves(ro)[leaf[k]], pte_mkold(leaf_ro(pfn[k])));
	spin_unlock(table_lock(ro));
}
