// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pools over a dax device. device-dax has no interface for modules, so the caller maps the device and
 * the pages of the mapping are pinned. A reference of the device's page map makes an unbind wait until the
 * pool is destroyed: the device's page structures are in use as long.
 */
#include <linux/memremap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

/* Of the one device whose page map the pool holds from its first block on. */
static bool of_device(struct pool *p, unsigned long pfn)
{
	struct dev_pagemap *pgmap = morsel_get_dev_pagemap(pfn);

	if (!p->pgmap) {
		p->pgmap = pgmap;
		return pgmap;
	}
	put_dev_pagemap(pgmap);
	return pgmap == p->pgmap;
}

/* One block of the mapping. Its pages must be neighbours, and of the pool's device. */
static int pin_block(struct pool *p, u64 huge, u64 address, struct page **pages)
{
	unsigned long pfn, i;
	long n;
	int r = -EINVAL;

	n = morsel_inject() ? -ENOMEM
			    : pin_user_pages_fast(address, GRANULE_PAGES,
						  FOLL_WRITE | FOLL_LONGTERM, pages);
	if (n < 0)
		return n;
	pfn = n > 0 ? page_to_pfn(pages[0]) : 0;
	if (n < GRANULE_PAGES) {
		r = -EFAULT;
		goto unpin;
	}
	if (!is_zone_device_page(pages[0]) || !IS_ALIGNED(pfn, GRANULE_PAGES))
		goto unpin;
	for (i = 1; i < GRANULE_PAGES; i++)
		if (page_to_pfn(pages[i]) != pfn + i)
			goto unpin;
	if (!of_device(p, pfn))
		goto unpin;
	/* Twice in one pool, or in two. */
	r = frame_blocks_insert(p, huge, pfn);
	if (r < 0)
		goto unpin;
	p->refs[huge] = morsel_page_refs(compound_head(pages[0]));
	p->block[huge] = pfn;
	atomic_long_inc(&p->blocks);
	return 0;
unpin:
	unpin_user_pages(pages, n);
	return r;
}

int dax_take(struct pool *p, u64 address)
{
	struct page **pages;
	u64 huge;
	int r = 0;

	p->refs = morsel_inject() ? NULL : kvcalloc(p->huge, sizeof(*p->refs), GFP_KERNEL);
	pages = morsel_inject() ? NULL : kmalloc_array(GRANULE_PAGES, sizeof(*pages), GFP_KERNEL);
	if (!p->refs || !pages)
		r = -ENOMEM;
	for (huge = 0; huge < p->huge && r >= 0; huge++) {
		r = fatal_signal_pending(current)
			    ? -EINTR
			    : pin_block(p, huge, address + (huge << GRANULE_SHIFT), pages);
		if (r >= 0 && !pool_is_extents(p))
			r = llfree_online(&p->llfree, huge, 1, 0);
		cond_resched();
	}
	kfree(pages);
	return r;
}

void dax_release(struct pool *p)
{
	put_dev_pagemap(p->pgmap);
	kvfree(p->refs);
}
