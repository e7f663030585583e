/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage-node-view.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "storage-node-count.h"

#define PAGE UINT64_C(4096)
#define PAGES_MAX (WINDOW_SIZE / PAGE)

/* Bring in so much by one call: it holds the lock that the event loop's own mmap waits for. */
#define POPULATE_STEP (UINT64_C(8) << 20)

/* A fault brings the pages in around it, as far as they exist: this much, in aligned blocks (the
 * kernel's fault_around_bytes). */
#define AROUND (UINT64_C(64) << 10)

/* linux/fs.h since 6.7: which ranges are mapped by 2 MiB entries. */
struct pagemap_region {
	uint64_t start, end, categories;
};
struct pagemap_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct pagemap_scan)
#define PAGEMAP_IS_HUGE (UINT64_C(1) << 6)
#define REGIONS_MAX (WINDOW_SIZE / GRANULE_SIZE + 1)

int node_view_open(struct storage_object *o, struct node_view *ret_view)
{
	struct node_view v = { .o = o };

	/* A granule more, so that the window's granules can lie as the object's do: only then are huge
	 * pages mapped as such. */
	v.reserved_length = WINDOW_SIZE + GRANULE_SIZE;
	v.reserved = node_count_reserve(v.reserved_length);
	if (!v.reserved)
		return -errno;
	v.pages = g_new(void *, PAGES_MAX);
	v.bytes = g_new(uint32_t, PAGES_MAX);
	v.status = g_new(int, PAGES_MAX);
	v.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	v.numa_maps = -1;
	if (o->node->caps.numa_maps)
		v.numa_maps = open("/proc/self/numa_maps", O_RDONLY | O_CLOEXEC);
	*ret_view = v;
	return 0;
}

void node_view_close(struct node_view *v)
{
	munmap(v->reserved, v->reserved_length);
	if (v->pagemap >= 0)
		close(v->pagemap);
	if (v->numa_maps >= 0)
		close(v->numa_maps);
	g_free(v->pages);
	g_free(v->bytes);
	g_free(v->status);
}

uint64_t node_next_data(const struct storage_object *o, uint64_t offset, uint64_t end)
{
	off_t data = lseek(o->fd, (off_t)offset, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? end : offset;
	return CLAMP((uint64_t)data & ~(GRANULE_SIZE - 1), offset, end);
}

int node_view_map(struct node_view *v, uint64_t offset, uint64_t length)
{
	uintptr_t aligned = ((uintptr_t)v->reserved + GRANULE_SIZE - 1) & ~(GRANULE_SIZE - 1);
	void *p;

	v->n = 0;
	v->absent = v->swapped = v->huge = 0;
	/* Over the window before, which goes away by it. */
	p = mmap((char *)aligned + offset % GRANULE_SIZE, length, PROT_READ,
		 MAP_SHARED | MAP_NORESERVE | MAP_FIXED, v->o->fd, (off_t)offset);
	if (p == MAP_FAILED)
		return -errno;
	v->base = p;
	v->offset = offset;
	v->length = length;
	return 0;
}

/* One page at a time, over those that cannot be had. */
static int populate_slowly(struct node_view *v, uint64_t start, uint64_t end)
{
	for (uint64_t at = start; at < end; at += v->o->page_size) {
		int r = v->o->node->sys->madvise(v->base + (at - v->offset), v->o->page_size,
						 NODE_MADV_POPULATE_READ);

		if (r < 0 && r != -EHWPOISON && r != -EFAULT)
			return r;
	}
	return 0;
}

static int populate(struct node_view *v, uint64_t start, uint64_t end)
{
	uint64_t step = v->thorough || v->o->backing == PAGES_HUGETLB ? POPULATE_STEP : AROUND;
	uint64_t next;

	for (uint64_t at = start; at < end; at = next) {
		uint64_t length;
		int r;

		next = MIN(end, (at / step + 1) * step);
		/* Of a block that the kernel brings in as a whole one page is enough. */
		length = step == AROUND ? PAGE : next - at;
		r = v->o->node->sys->madvise(v->base + (at - v->offset), length,
					     NODE_MADV_POPULATE_READ);
		if (r == -EHWPOISON || r == -EFAULT)
			r = populate_slowly(v, at, next);
		if (r < 0)
			return r;
	}
	return 0;
}

static void add_page(struct node_view *v, uint64_t at, uint64_t bytes)
{
	v->pages[v->n] = v->base + (at - v->offset);
	v->bytes[v->n] = (uint32_t)bytes;
	v->n++;
}

/* List [start, end), all in 4 KiB pages, or in huge pages, which are cut at the ends. */
static void add_pages(struct node_view *v, uint64_t start, uint64_t end, uint64_t page)
{
	uint64_t next;

	for (uint64_t at = start; at < end; at = next) {
		next = MIN(end, (at / page + 1) * page);
		add_page(v, at, next - at);
	}
}

/* Which parts of [start, end) are mapped by 2 MiB entries? Regions in order; -1: cannot tell. */
static int huge_regions(const struct node_view *v, uint64_t start, uint64_t end,
			struct pagemap_region *regions)
{
	struct pagemap_scan scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)v->base + (start - v->offset),
		.end = (uintptr_t)v->base + (end - v->offset),
		.vec = (uintptr_t)regions,
		.vec_len = REGIONS_MAX,
		.category_mask = PAGEMAP_IS_HUGE,
		.return_mask = PAGEMAP_IS_HUGE,
	};

	return v->pagemap < 0 ? -1 : ioctl(v->pagemap, PAGEMAP_SCAN_IOCTL, &scan);
}

static void list_present(struct node_view *v, uint64_t start, uint64_t end)
{
	struct pagemap_region regions[REGIONS_MAX];
	int n;

	if (v->o->backing == PAGES_HUGETLB) {
		add_pages(v, start, end, GRANULE_SIZE);
		v->huge += end - start;
		return;
	}
	n = huge_regions(v, start, end, regions);
	for (int i = 0; i < n; i++) {
		uint64_t from = v->offset + (regions[i].start - (uintptr_t)v->base);
		uint64_t to = v->offset + (regions[i].end - (uintptr_t)v->base);

		add_pages(v, start, from, PAGE);
		add_pages(v, from, to, GRANULE_SIZE);
		v->huge += to - from;
		start = to;
	}
	add_pages(v, start, end, PAGE);
}

static bool swap_in_use(void)
{
	struct sysinfo info;

	return sysinfo(&info) < 0 || info.totalswap != info.freeswap;
}

/* [start, end) has data, which may be swapped: bring in and list only what is in memory. */
static int take_extent_by_core(struct node_view *v, uint64_t start, uint64_t end)
{
	g_autofree unsigned char *in_core = g_malloc((end - start) / PAGE);
	uint64_t at = start;

	if (mincore(v->base + (start - v->offset), end - start, in_core) < 0)
		return -errno;
	while (at < end) {
		bool here = in_core[(at - start) / PAGE] & 1;
		uint64_t to = at;
		int r;

		while (to < end && (in_core[(to - start) / PAGE] & 1) == here)
			to += PAGE;
		if (here) {
			r = populate(v, at, to);
			if (r < 0)
				return r;
			list_present(v, at, to);
		} else {
			v->swapped += to - at;
		}
		at = to;
	}
	return 0;
}

static int take_extent(struct node_view *v, uint64_t start, uint64_t end, bool swap)
{
	int r;

	if (swap)
		return take_extent_by_core(v, start, end);
	r = populate(v, start, end);
	if (r < 0)
		return r;
	list_present(v, start, end);
	return 0;
}

/* Has the whole object memory? Then its windows need not be searched for holes, page by page. */
static bool is_whole(const struct storage_object *o)
{
	struct stat st;

	return fstat(o->fd, &st) == 0 && (uint64_t)st.st_blocks * 512 >= o->size;
}

static int list(struct node_view *v)
{
	bool swap = v->o->backing != PAGES_HUGETLB && swap_in_use();
	uint64_t at = v->offset, end = v->offset + v->length;
	int r;

	if (v->o->backing != PAGES_HUGETLB && is_whole(v->o))
		return take_extent(v, at, end, swap);
	while (at < end) {
		off_t data = lseek(v->o->fd, (off_t)at, SEEK_DATA), hole;
		uint64_t from, to;

		if (data < 0 && errno != ENXIO)
			return -errno;
		if (data < 0 || (uint64_t)data >= end) {
			v->absent += end - at;
			break;
		}
		from = (uint64_t)data & ~(v->o->page_size - 1);
		v->absent += from - at;
		hole = lseek(v->o->fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		to = MIN(end, (uint64_t)hole);
		if (to > from) {
			r = take_extent(v, from, to, swap);
			if (r < 0)
				return r;
		} else {
			/* Freed since: a hole already at its first byte. */
			to = from + v->o->page_size;
			v->absent += v->o->page_size;
		}
		at = to;
	}
	return 0;
}

int node_view_list(struct node_view *v)
{
	uint64_t pages = 0;
	struct node_counts counts;
	int r;

	r = list(v);
	if (r < 0)
		return r;
	v->only_node = -1;
	for (size_t i = 0; i < v->n; i++)
		pages += v->bytes[i] / v->o->page_size;
	if (v->numa_maps >= 0 && node_count(v->numa_maps, v->base, &counts) == 0 &&
	    counts.total >= pages) {
		v->only_node = counts.only_node;
		return 0;
	}
	if (v->thorough || v->o->backing == PAGES_HUGETLB)
		return 0;

	/* Not all has come along, or nobody can tell: one by one from now on. */
	v->thorough = true;
	v->n = 0;
	v->absent = v->swapped = v->huge = 0;
	return list(v);
}

int node_view_ask(struct node_view *v)
{
	long r;

	if (v->only_node >= 0) {
		for (size_t i = 0; i < v->n; i++)
			v->status[i] = v->only_node;
		return 0;
	}
	if (v->n == 0)
		return 0;
	r = v->o->node->sys->move_pages(v->n, v->pages, NULL, v->status, 0);
	return r < 0 ? (int)r : 0;
}
