// SPDX-License-Identifier: GPL-2.0-only
/* Blocks of 2 MiB: taken from the kernel, and given back. */
#include <linux/gfp.h>

#include "internal.h"

/* 2 MiB of the node that are the pool's @huge from now on; 0: none. */
static unsigned long take(struct pool *p, u64 huge, gfp_t kind)
{
	unsigned long pfn;
	struct page *page;

	if (morsel_inject())
		return 0;
	page = alloc_pages_node(p->node,
				GFP_KERNEL | __GFP_THISNODE | __GFP_NORETRY | __GFP_NOWARN | kind,
				LLFREE_HUGE_ORDER);
	if (!page)
		return 0;
	pfn = page_to_pfn(page);
	if (frame_blocks_insert(p, huge, pfn) < 0) {
		__free_pages(page, LLFREE_HUGE_ORDER);
		return 0;
	}
	/* Each frame has its own count of references from now on. */
	if (!(kind & __GFP_COMP))
		split_page(page, LLFREE_HUGE_ORDER);
	return pfn;
}

static void give_back(unsigned long pfn)
{
	unsigned int i;

	frame_blocks_erase(pfn);
	if (PageCompound(pfn_to_page(pfn))) {
		__free_pages(pfn_to_page(pfn), LLFREE_HUGE_ORDER);
		return;
	}
	for (i = 0; i < GRANULE_PAGES; i++)
		__free_page(pfn_to_page(pfn + i));
}

int block_add(struct pool *p, u64 huge, gfp_t kind)
{
	unsigned long pfn = take(p, huge, kind);
	int r;

	if (!pfn)
		return -ENOMEM;
	p->block[huge] = pfn;
	r = llfree_online(&p->llfree, huge, 1, 0);
	WARN_ONCE(r < 0, "morsel: block %llu of pool %u: online gave %d\n", huge, p->id, r);
	p->grown++;
	atomic_long_inc(&p->blocks);
	return 0;
}

int block_join(struct pool *p, u64 huge)
{
	unsigned long pfn = take(p, huge, __GFP_COMP);

	if (!pfn)
		return -ENOMEM;
	give_back(p->block[huge]);
	p->block[huge] = pfn;
	return 0;
}

static void forget(struct pool *p, u64 huge)
{
	p->block[huge] = 0;
	p->shrunk++;
	atomic_long_dec(&p->blocks);
}

int block_split(struct pool *p, u64 huge)
{
	/* Back first: the kernel likely hands out the same again. */
#ifdef MORSEL_BREAK_SECOND_FLUSH
	/* CPUs write to it still: it must not become the kernel's. */
	frame_blocks_erase(p->block[huge]);
#else
	give_back(p->block[huge]);
#endif
	p->block[huge] = take(p, huge, 0);
	if (p->block[huge])
		return 0;
	forget(p, huge);
	return -ENOMEM;
}

void block_release(struct pool *p, u64 huge)
{
	unsigned long pfn = p->block[huge];
	struct page *page = pfn_to_page(pfn);

	if (p->kind != MORSEL_POOL_NODE) {
		frame_blocks_erase(pfn);
		unpin_user_page_range_dirty_lock(page, GRANULE_PAGES, false);
	} else if (PageCompound(page)) {
		/* It has a memory error, which the kernel keeps out of use in single pages only. */
		frame_blocks_erase(pfn);
	} else {
		give_back(pfn);
	}
	forget(p, huge);
}
