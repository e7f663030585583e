// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories: a whole GiB of an object as one page middle directory, for each kind of mapping. It leads to what the
 * granules have, and processes link to it with one entry. It is made when the first of them does, and stays as long as
 * the object, since walkers of page tables may be in it at any time.
 */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/rcupdate.h>

#include "compat.h"
#include "internal.h"

struct page *directory_page_new(void)
{
	struct page *page = morsel_inject() ? NULL : alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);

	if (page && !morsel_pmd_ctor(page_ptdesc(page))) {
		__free_page(page);
		return NULL;
	}
	return page;
}

void directory_page_free(struct page *page)
{
	morsel_pmd_dtor(page_ptdesc(page));
	__free_page(page);
}

static void free_rcu_directory(struct rcu_head *head)
{
	directory_page_free(ptdesc_page(container_of(head, struct ptdesc, pt_rcu_head)));
	atomic64_dec(&morsel_count.tables);
}

static pmd_t *entry_of(struct page *directory, unsigned long granule)
{
	return (pmd_t *)page_address(directory) + granule % GIB_GRANULES;
}

pmd_t granule_entry(const struct object *o, unsigned long granule, enum table_kind kind)
{
	const struct granule *g = &o->granule[granule];
	unsigned long leaf = smp_load_acquire(&g->leaf);
	struct page *table = smp_load_acquire(&g->table[kind]);

	if (leaf_is_huge(leaf))
		return leaf_copy(leaf, kind);
	/* A table may be there before it is decided that the granule has no leaf of 2 MiB. */
	if (!table || (o->flags & MORSEL_OBJECT_HUGE && !leaf))
		return __pmd(0);
	return __pmd(page_to_phys(table) | _PAGE_TABLE);
}

static struct page *directory_of(const struct object *o, unsigned long granule,
				 enum table_kind kind)
{
	unsigned long gib = granule / GIB_GRANULES;

	return gib < o->gibs ? READ_ONCE(o->gib[gib].directory[kind]) : NULL;
}

static void sync(struct object *o, struct page *directory, unsigned long granule,
		 enum table_kind kind)
{
	pmd_t *pmd = entry_of(directory, granule), entry;

	spin_lock(table_lock(directory));
	if (pmd_none(*pmd)) {
		entry = granule_entry(o, granule, kind);
		if (!pmd_none(entry))
			set_pmd(pmd, entry);
	}
	spin_unlock(table_lock(directory));
}

struct page *directory_get(struct object *o, unsigned long gib, enum table_kind kind)
{
	struct page **at = &o->gib[gib].directory[kind];
	struct page *directory = smp_load_acquire(at), *old;
	unsigned int i;

	if (directory)
		return directory;
	directory = directory_page_new();
	if (!directory)
		return NULL;
	old = cmpxchg(at, NULL, directory);
	if (old) {
		directory_page_free(directory);
		return old;
	}
	atomic64_inc(&morsel_count.tables);
	atomic64_inc(&o->tables);
	/* What comes meanwhile is either seen here, or its maker sees the directory: both have a full barrier. */
	for (i = 0; i < GIB_GRANULES; i++)
		sync(o, directory, gib * GIB_GRANULES + i, kind);
	return directory;
}

void directory_sync(struct object *o, unsigned long granule)
{
	enum table_kind kind;

	for (kind = 0; kind < TABLE_KINDS; kind++) {
		struct page *directory = directory_of(o, granule, kind);

		if (directory)
			sync(o, directory, granule, kind);
	}
}

void directory_clear(struct object *o, unsigned long granule)
{
	enum table_kind kind;

	for (kind = 0; kind < TABLE_KINDS; kind++) {
		struct page *directory = directory_of(o, granule, kind);
		pmd_t old;

		if (!directory)
			continue;
		spin_lock(table_lock(directory));
		old = native_make_pmd(xchg((pmdval_t *)entry_of(directory, granule), 0));
		spin_unlock(table_lock(directory));
		if (pmd_leaf(old))
			leaf_join(&o->granule[granule], old);
	}
}

void directory_gather(struct object *o, unsigned long granule, unsigned long clear)
{
	enum table_kind kind;

	for (kind = 0; kind < TABLE_KINDS; kind++) {
		struct page *directory = directory_of(o, granule, kind);
		pmd_t *pmd;

		if (!directory)
			continue;
		pmd = entry_of(directory, granule);
		spin_lock(table_lock(directory));
		if (pmd_leaf(*pmd))
			leaf_join(&o->granule[granule], native_make_pmd(atomic_long_fetch_andnot(
								clear, (atomic_long_t *)pmd)));
		spin_unlock(table_lock(directory));
	}
}

void directories_free(struct object *o)
{
	unsigned long gib;
	enum table_kind kind;

	for (gib = 0; gib < o->gibs; gib++)
		for (kind = 0; kind < TABLE_KINDS; kind++) {
			struct page *directory = o->gib[gib].directory[kind];

			if (!directory)
				continue;
			o->gib[gib].directory[kind] = NULL;
			atomic64_dec(&o->tables);
			/* As in table_free(). */
			call_rcu(&page_ptdesc(directory)->pt_rcu_head, free_rcu_directory);
		}
}
