// SPDX-License-Identifier: GPL-2.0-only
/* Blocks of 2 MiB: taken from the kernel, and given back. */
#include <linux/gfp.h>

#include "internal.h"

int block_add(struct pool *p, u64 huge)
{
	unsigned long pfn;
	struct page *page;
	int r;

	if (morsel_inject())
		return -ENOMEM;
	page = alloc_pages_node(p->node, GFP_KERNEL | __GFP_THISNODE | __GFP_NORETRY | __GFP_NOWARN,
				LLFREE_HUGE_ORDER);
	if (!page)
		return -ENOMEM;
	pfn = page_to_pfn(page);
	r = frame_blocks_insert(p, huge, pfn);
	if (r < 0) {
		__free_pages(page, LLFREE_HUGE_ORDER);
		return r;
	}
	/* Each frame has its own count of references from now on. */
	split_page(page, LLFREE_HUGE_ORDER);
	p->block[huge] = pfn;
	r = llfree_online(&p->llfree, huge, 1, 0);
	WARN_ONCE(r < 0, "morsel: block %llu of pool %u: online gave %d\n", huge, p->id, r);
	p->grown++;
	atomic_long_inc(&p->blocks);
	return 0;
}

void block_release(struct pool *p, u64 huge)
{
	unsigned long pfn = p->block[huge];
	unsigned int i;

	frame_blocks_erase(pfn);
	p->block[huge] = 0;
	if (p->kind != MORSEL_POOL_NODE)
		unpin_user_page_range_dirty_lock(pfn_to_page(pfn), GRANULE_PAGES, false);
	for (i = 0; i < GRANULE_PAGES && p->kind == MORSEL_POOL_NODE; i++)
		__free_page(pfn_to_page(pfn + i));
	p->shrunk++;
	atomic_long_dec(&p->blocks);
}
