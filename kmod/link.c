// SPDX-License-Identifier: GPL-2.0-only
/*
 * Links of mappings to what their object has: whole GiBs by one entry to the object's directory, the rest by entries
 * to its tables and leaves in the process's own directory. The kernel's invalidations take them away before it looks at, or
 * frees, what they lead to.
 *
 * Walkers that hold mmap_lock for reading rely on it that a directory that is there stays there: in the place of the
 * object's comes the process's own, which is empty, never nothing. The kernel frees that one in the end.
 */
#include <linux/io.h>
#include <linux/sched/mm.h>

#include "compat.h"
#include "internal.h"

static pud_t *find_pud(struct mm_struct *mm, unsigned long address)
{
	pgd_t *pgd = pgd_offset(mm, address);
	p4d_t *p4d;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, address);
	if (p4d_none(*p4d))
		return NULL;
	return pud_offset(p4d, address);
}

static pmd_t *find_pmd(struct mm_struct *mm, unsigned long address)
{
	pud_t *pud = find_pud(mm, address);

	if (!pud || pud_none(*pud) || pud_leaf(*pud))
		return NULL;
	return pmd_offset(pud, address);
}

static unsigned long granule_at(const struct attach *a, unsigned long address)
{
	return a->first + ((address - a->start) >> GRANULE_SHIFT);
}

/* Set while the GiB of addresses is linked to the object's directory. */
static struct page **own_directory(struct attach *a, unsigned long address)
{
	return &a->own[(address >> PUD_SHIFT) - (a->start >> PUD_SHIFT)];
}

static bool gib_is_whole(const struct attach *a, unsigned long address)
{
	unsigned long start = address & PUD_MASK;

	return MORSEL_LINK_GIBS && start >= a->start && a->end - start >= PUD_SIZE &&
	       granule_at(a, start) % GIB_GRANULES == 0;
}

/* Of the granule: a link to its table, or a copy of its leaf. */
static bool is_ours(const struct attach *a, const struct granule *g, pmd_t pmd)
{
	unsigned long leaf = READ_ONCE(g->leaf);
	struct page *table = READ_ONCE(g->table[a->kind]);

	if (pmd_none(pmd))
		return false;
	if (pmd_leaf(pmd))
		return leaf_is_huge(leaf) && pmd_pfn(pmd) == leaf_pfn(leaf);
	return table && pmd_pfn(pmd) == page_to_pfn(table);
}

/* ---- away, with attach.lock held ---- */

static void set_directory(pud_t *pud, struct page *directory)
{
	set_pud(pud, __pud(page_to_phys(directory) | _PAGE_TABLE));
}

static void unlink_gib(struct attach *a, unsigned long address)
{
	struct page **own = own_directory(a, address);
	pud_t *pud = find_pud(a->mm, address);
	spinlock_t *lock = pud_lock(a->mm, pud);

	set_directory(pud, *own);
	spin_unlock(lock);
	*own = NULL;
}

/* In the process's own directory, and only what is ours: a table that the kernel put there itself stays. */
static unsigned long unlink_tables(struct attach *a, unsigned long address, unsigned long end,
				   bool by_unlinker)
{
	struct object *o = a->object;
	pmd_t *pmd = find_pmd(a->mm, address);
	unsigned long n = 0;
	spinlock_t *lock;

	if (!pmd)
		return 0;
	lock = pmd_lock(a->mm, pmd);
	for (; address < end; address += PMD_SIZE, pmd++) {
		unsigned long granule = granule_at(a, address);
		struct granule *g = &o->granule[granule];

		if (!is_ours(a, g, *pmd))
			continue;
		n++;
		if (by_unlinker)
			__set_bit(granule - o->unlink_first, &a->relink);
		if (!pmd_leaf(*pmd)) {
			set_pmd(pmd, __pmd(0));
			continue;
		}
		/* CPUs set bits in it by themselves. */
		leaf_join(g, native_make_pmd(xchg((pmdval_t *)pmd, 0)));
		a->copies--;
	}
	spin_unlock(lock);
	return n;
}

unsigned long link_remove(struct attach *a, unsigned long start, unsigned long end,
			  bool by_unlinker)
{
	unsigned long address, next, n = 0;

	if (!by_unlinker)
		a->relink = 0;
	for (address = start; address < end; address = next) {
		next = min(end, (address & PUD_MASK) + PUD_SIZE);
		if (!*own_directory(a, address)) {
			n += unlink_tables(a, address, next, by_unlinker);
		} else if (!by_unlinker) {
			/* From the object's directory the unlinker took it itself. */
			unlink_gib(a, address);
			n++;
		}
	}
	return n;
}

/* ---- there ---- */

static unsigned long link_tables(struct attach *a, unsigned long address)
{
	unsigned long start = max(address & PUD_MASK, a->start);
	unsigned long end = min((address & PUD_MASK) + PUD_SIZE, a->end), n = 0;
	pmd_t *pmd = find_pmd(a->mm, start);
	spinlock_t *lock;

	if (!pmd)
		return 0;
	lock = pmd_lock(a->mm, pmd);
	for (address = start; address < end; address += PMD_SIZE, pmd++) {
		pmd_t entry;

		if (!pmd_none(*pmd))
			continue;
		entry = granule_entry(a->object, granule_at(a, address), a->kind);
		if (pmd_none(entry))
			continue;
		set_pmd(pmd, entry);
		a->copies += pmd_leaf(entry);
		n++;
	}
	spin_unlock(lock);
	return n;
}

/* GiBs of addresses that one fault links, as far as they have something: each needs a directory of the process's own. */
#define WINDOW_GIBS (LINK_WINDOW / PUD_SIZE)

struct window {
	unsigned int n;
	unsigned long address[WINDOW_GIBS];
	struct page *directory[WINDOW_GIBS];
	struct page *spare[WINDOW_GIBS]; /* of those for which the process has none yet */
};

/* Readers' tables are made for a GiB that is touched, not for its neighbours. */
static bool has_something(const struct attach *a, unsigned long address)
{
	const struct object *o = a->object;
	unsigned long granule = granule_at(a, address);

	return READ_ONCE(o->gib[granule / GIB_GRANULES].directory[a->kind]) ||
	       (a->kind == TABLE_RW && !pmd_none(granule_entry(o, granule, a->kind)));
}

static void window_prepare(struct window *w, struct attach *a, unsigned long touched)
{
	unsigned long address = touched & ~(LINK_WINDOW - 1), end = address + LINK_WINDOW;

	w->n = 0;
	for (; address != end; address += PUD_SIZE) {
		bool here = address == (touched & PUD_MASK);
		struct page *spare = NULL;
		pud_t *pud;

		if (address < a->start || address >= a->end || !gib_is_whole(a, address) ||
		    READ_ONCE(*own_directory(a, address)) || (!here && !has_something(a, address)))
			continue;
		w->directory[w->n] =
			directory_get(a->object, granule_at(a, address) / GIB_GRANULES, a->kind);
		if (!w->directory[w->n])
			continue;
		pud = find_pud(a->mm, address);
		if (!pud)
			continue;
		if (pud_none(READ_ONCE(*pud))) {
			spare = directory_page_new();
			if (!spare)
				continue;
		}
		w->spare[w->n] = spare;
		w->address[w->n++] = address;
	}
}

static unsigned long link_gibs(struct attach *a, struct window *w)
{
	unsigned long n = 0;
	unsigned int i;

	for (i = 0; i < w->n; i++) {
		struct page **own = own_directory(a, w->address[i]);
		pud_t *pud = find_pud(a->mm, w->address[i]);
		spinlock_t *lock;

		if (*own)
			continue;
		lock = pud_lock(a->mm, pud);
		if (pud_none(*pud)) {
			if (w->spare[i]) {
				mm_inc_nr_pmds(a->mm);
				swap(*own, w->spare[i]);
			}
		} else if (!pud_leaf(*pud) && !memchr_inv(pud_pgtable(*pud), 0, PAGE_SIZE)) {
			*own = virt_to_page(pud_pgtable(*pud));
		}
		if (*own) {
			/* The pages' zeroes before the entry. */
			smp_wmb();
			set_directory(pud, w->directory[i]);
			n++;
		}
		spin_unlock(lock);
	}
	return n;
}

void link_make(struct attach *a, unsigned long address, unsigned long seq)
{
	struct window w = {};
	unsigned long n = 0;
	unsigned int i;

	if (gib_is_whole(a, address)) {
		window_prepare(&w, a, address);
		/* A directory that another fault is still filling. */
		directory_sync(a->object, granule_at(a, address & PMD_MASK));
	}
	spin_lock(&a->lock);
	if (!mmu_interval_read_retry(&a->notifier, seq)) {
		n = link_gibs(a, &w);
		if (!*own_directory(a, address))
			n += link_tables(a, address);
	}
	spin_unlock(&a->lock);
	atomic64_add(n, &a->object->links);
	atomic64_add(n, &morsel_count.links);
	for (i = 0; i < w.n; i++)
		if (w.spare[i])
			directory_page_free(w.spare[i]);
}

void link_again(struct attach *a, unsigned long granule)
{
	unsigned long address = a->start + ((granule - a->first) << GRANULE_SHIFT);
	pmd_t *pmd, entry;
	spinlock_t *lock;

	if (*own_directory(a, address))
		return;
	pmd = find_pmd(a->mm, address);
	if (!pmd)
		return;
	lock = pmd_lock(a->mm, pmd);
	entry = granule_entry(a->object, granule, a->kind);
	if (pmd_none(*pmd) && !pmd_none(entry)) {
		set_pmd(pmd, entry);
		a->copies += pmd_leaf(entry);
	}
	spin_unlock(lock);
}

void link_gather(struct attach *a, unsigned long granule, unsigned long clear)
{
	unsigned long address = a->start + ((granule - a->first) << GRANULE_SHIFT);
	struct granule *g = &a->object->granule[granule];
	pmd_t *pmd = *own_directory(a, address) ? NULL : find_pmd(a->mm, address);
	spinlock_t *lock;

	if (!pmd)
		return;
	lock = pmd_lock(a->mm, pmd);
	if (pmd_leaf(*pmd) && is_ours(a, g, *pmd))
		leaf_join(g,
			  native_make_pmd(atomic_long_fetch_andnot(clear, (atomic_long_t *)pmd)));
	spin_unlock(lock);
}
