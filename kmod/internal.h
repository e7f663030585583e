/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of morsel.ko.
 *
 * An *object* owns page tables, one for each granule of 2 MiB that has frames, and processes' page
 * middle directories link to them; for a whole GiB it owns the directory, too, and one entry of a process links to it.
 * *Pools* give frames; *accounts* say how many.
 *
 * Locks, outermost first:
 *   mmap_lock or a VMA's lock   the kernel's
 *   morsel_lock          ids of pools, accounts and objects; not taken in faults
 *   object.change        one move, eviction or change of placement at a time
 *   object.frames        read: filling leaves that are none; write: changing or taking away leaves
 *   pool.grow            which blocks a pool has
 *   attach.lock          links of one mapping; inside of it the kernel's locks of the process's directories
 *   directory's own lock every change of an entry
 *   table's own lock     every change of a leaf that is not from none
 * The list of mappings has object.attach_lock, outside of attach.lock.
 * Invalidation callbacks take attach.lock only, so they may run under any lock of the kernel and
 * under object.frames.
 */
#ifndef MORSEL_KMOD_INTERNAL_H
#define MORSEL_KMOD_INTERNAL_H

#include <linux/atomic.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <linux/morsel.h>

#include "core.h"

#define GRANULE_PAGES 512u
#define GRANULE_SHIFT 21
#define GIB_GRANULES 512u
#define MORSEL_MAX_DEPTH 16 /* of accounts */

extern struct mutex morsel_lock;

/* ---- counters, fault injection (main.c) ---- */

struct morsel_counters {
	atomic64_t pools, accounts, objects, descriptors, mappings, tables;
	atomic64_t faults, links, unlinks, flushes, flush_cpus;
	atomic64_t moved, move_busy, move_recopied, quarantined, injected;
	atomic64_t placement_calls, placement_refused;
};
extern struct morsel_counters morsel_count;

/*
 * In front of each allocation that may fail, so that test builds can make it: the parameters fail_every
 * and fail_at.
 */
#ifdef MORSEL_TEST_BUILD
bool morsel_inject(void);
#else
static inline bool morsel_inject(void)
{
	return false;
}
#endif

/* ---- accounts (account.c) ---- */

struct account {
	u64 id;
	struct account *parent; /* holds a reference */
	refcount_t refs;	/* its id, children, objects, frames in quarantine */
	unsigned int depth;
	atomic64_t objects, refused;
	atomic64_t use[MORSEL_MAX_TIERS]; /* frames */
	atomic64_t limit[MORSEL_MAX_TIERS];
};

/* All or nothing, in the account and all above it: -EDQUOT. NULL: no account, no limit. */
int account_charge(struct account *a, unsigned int tier, unsigned long frames);
void account_uncharge(struct account *a, unsigned int tier, unsigned long frames);
struct account *account_get(struct account *a);
void account_put(struct account *a);
/* With morsel_lock held. A new reference, or NULL. */
struct account *account_find(u64 id);
int account_create(struct morsel_account_create *arg);
int account_destroy(u64 id);
int account_set_limit(const struct morsel_account_limit *arg);
int account_stat(struct morsel_account_stat *arg);

/* ---- pools (pool.c) ---- */

struct pool {
	u32 id, kind, tier;
	int node;
	u64 huge; /* blocks of 2 MiB at most */
	struct llfree llfree;
	void *lower, *upper;
	u64 lower_size, upper_size;
	struct mutex grow;
	unsigned long *block;	   /* pfn of each block, 0: not there; under grow */
	unsigned long *offline;	   /* bitmap: taken out of use by the operator; under grow */
	atomic_long_t blocks;	   /* there */
	u64 grown, shrunk;	   /* under grow */
	unsigned long users;	   /* placements that name it; under morsel_lock */
	atomic64_t used;	   /* EXTENTS: frames, once for each object */
	struct dev_pagemap *pgmap; /* DAX, EXTENTS: holds the device's page structures */
	int *refs;		   /* of each block's first page when nobody else had one */
	spinlock_t quarantine_lock;
	struct list_head quarantine;
	atomic64_t quarantined;
	struct delayed_work look; /* at the quarantine, while there is something in it */
	struct shrinker *shrinker;
	unsigned int slots;

	struct dmem_cgroup_region *dmem;	/* NULL: the kernel has none */
	struct dmem_cgroup_pool_state *charged; /* the creator's cgroup, with all of the pool */
};

/* With morsel_lock held, or by a placement that names it. */
struct pool *pool_find(u32 id);
int pool_create(struct morsel_pool_create *arg);
int pool_destroy(u32 id);
int pool_stat(struct morsel_pool_stat *arg);
/* mmap of the control descriptor. */
int pool_map_state(struct file *file, struct vm_area_struct *vma);
int pool_resize(struct morsel_pool_resize *arg);
int pool_set_offline(const struct morsel_pool_offline *arg, bool offline);
/* Take one more block of the node. -ENOMEM, -ENOSPC. @seen: pool->blocks when the caller found nothing. */
int pool_grow(struct pool *p, long seen);
/* One more compound block, as the caller's frames. With grow held. */
int pool_grow_compound(struct pool *p, u64 *ret_frame);

/*
 * ---- its blocks (block.c), with pool.grow held ----
 * A node's block is split, and serves single frames; while it serves a 2 MiB leaf it is one compound page, for a
 * leaf's references are all counted in one place. It changes by exchange with the kernel.
 */

/* One of the node at this place, split unless @kind is __GFP_COMP; or -ENOMEM. */
int block_add(struct pool *p, u64 huge, gfp_t kind);
/* Its huge frame is offline, and wholly free. */
void block_release(struct pool *p, u64 huge);
/* The same for a block whose huge frame is the caller's. -ENOMEM: it is as it was. */
int block_join(struct pool *p, u64 huge);
/* -ENOMEM: the block has gone. */
int block_split(struct pool *p, u64 huge);

/* ---- frames (frame.c) ---- */

/* The block that was looked up last: neighbours lie in the same. All zero at first; while its frames are in use. */
struct frame_memo {
	unsigned long block;
	struct pool *pool;
	u64 first;
};

/* 2^order frames (order 0 or 9) as the first one's pfn. Content: anything. May sleep. -ENOMEM. */
int frame_get(struct pool *p, unsigned int order, unsigned long *ret_pfn);
/* 2 MiB that are one page, for a leaf of 2 MiB. The same. */
int frame_get_compound(struct pool *p, unsigned long *ret_pfn);
/* It could give a single frame as it is. */
bool frame_is_there(struct pool *p);
/* Frames that no one has seen: back at once. May sleep. */
void frame_put_new(unsigned long pfn, unsigned int order);
/*
 * Frames that were mapped, and are not any more, TLBs flushed. Charged to @a until they are free: at
 * once, or when nothing outside refers to them.
 */
void frame_put(unsigned long pfn, unsigned int order, struct account *a);
void frames_put(const unsigned long *pfn, unsigned int n, struct account *a);
/* Something outside of the tables has a reference: a pin, DMA under way. */
bool frame_is_pinned_near(struct frame_memo *m, unsigned long pfn);
static inline bool frame_is_pinned(unsigned long pfn)
{
	return frame_is_pinned_near(&(struct frame_memo){}, pfn);
}
/* The pool of a frame that is in a table. */
struct pool *frame_pool_near(struct frame_memo *m, unsigned long pfn);
static inline struct pool *frame_pool(unsigned long pfn)
{
	return frame_pool_near(&(struct frame_memo){}, pfn);
}
void frame_zero(unsigned long pfn, unsigned int order);
/* (copy.c) False: the memory could not be read. */
bool frame_copy(unsigned long to, unsigned long from);
#ifdef MORSEL_TEST_BUILD
int copy_check(void);
#else
static inline int copy_check(void)
{
	return 0;
}
#endif
/* -EBUSY: some pool has it. */
int frame_blocks_insert(struct pool *p, u64 huge, unsigned long pfn);
void frame_blocks_erase(unsigned long pfn);
/* Frees what is not referred to any more. */
void frame_quarantine_look(struct pool *p);

/* ---- pools over a pinned dax device (dax.c) ---- */

/* A pool without an allocator: frames are not given, but named. */
static inline bool pool_is_extents(const struct pool *p)
{
	return p->kind == MORSEL_POOL_EXTENTS;
}

/* Pins the caller's mapping [address, address + the pool's size) and makes all of it blocks. */
int dax_take(struct pool *p, u64 address);
/* All blocks have been released; nothing for other pools. */
void dax_release(struct pool *p);

/* ---- objects (object.c) ---- */

enum table_kind {
	TABLE_RW,
	TABLE_RO,
	TABLE_KINDS
};

struct granule {
	/* RW: the truth, there as soon as there is a frame. RO: a copy without the right to write. */
	struct page *table[TABLE_KINDS];
	/* With MORSEL_OBJECT_HUGE. 0: not decided; LEAF_SMALL: the tables; else a leaf of 2 MiB. */
	unsigned long leaf;
};

/* Whole GiBs only. NULL: nobody has linked to it yet. */
struct gib {
	struct page *directory[TABLE_KINDS];
};

#define LEAF_SMALL 1ul
static inline bool leaf_is_huge(unsigned long leaf)
{
	return leaf & _PAGE_PSE;
}

struct placement {
	unsigned int n;
	struct pool *pool[MORSEL_MAX_TIERS];
	u32 weight[MORSEL_MAX_TIERS], weights;
};

struct object {
	u64 id, bytes;
	u32 flags; /* MORSEL_OBJECT_* */
	refcount_t refs;
	bool destroyed;
	struct account *account;
	struct inode *inode; /* its mapping stands for all descriptors */
	struct mutex change;
	struct rw_semaphore frames;
	struct placement placement; /* change needs frames for writing */
	spinlock_t attach_lock;
	struct list_head attaches;
	struct list_head linger;      /* EXTENTS: destroyed, but pinned */
	unsigned long linger_granule; /* those before it are not pinned */
	bool lingers;
	struct cpumask cpus; /* scratch of tlb_flush_object(), under change */
	/* Who is in object_unlink(), and the first granule that it means. Under change. */
	struct task_struct *unlinker;
	unsigned long unlink_first;
	atomic64_t used, tables, faults, links, mappings;
	atomic64_t leaves;			  /* of 2 MiB */
	atomic64_t in_pool[MORSEL_MAX_POOLS + 1]; /* frames */
	unsigned long granules, gibs;
	struct gib *gib; /* behind the last granule */
	struct granule granule[];
};

/* A VMA of an object. */
struct attach {
	struct mmu_interval_notifier notifier;
	struct object *object;
	struct mm_struct *mm;
	unsigned long start, end;
	unsigned long first; /* granule at start */
	enum table_kind kind;
	spinlock_t lock;
	/* Of leaves of 2 MiB. While there is one the kernel frees no table above it. */
	unsigned long copies;
	/* Bits of granules from object.unlink_first on whose entries object_unlink() took, for object_relink(). */
	unsigned long relink;
	struct list_head node;
	/*
	 * For each GiB of addresses that is linked to the object's directory: the process's own, empty one,
	 * which takes its place again. It is counted as the process's all the time.
	 */
	struct page *own[];
};

/* *ret_file is to be installed as arg->fd, once the caller knows of it. */
int object_create(struct morsel_object_create *arg, struct file **ret_file);
int object_open(struct morsel_object_open *arg, struct file **ret_file);
int object_destroy(u64 id);
int object_list(struct morsel_object_list *arg);
int object_set(const struct morsel_object_set *arg);
int object_stat(struct object *o, struct morsel_object_stat *arg, bool rdonly);
/* A reference by id, or -ENOENT. @destroyed: also of one that is only mapped or open any more. */
struct object *object_by_id(u64 id, bool destroyed);
void object_put(struct object *o);
extern const struct file_operations object_fops;

/* offset and length: multiples of 4096, inside: -EINVAL, -ERANGE. */
int object_check_range(const struct object *o, u64 offset, u64 length);

/* ---- objects over given extents (extents.c): placement.pool[0] is theirs ---- */

/* Fills a new object's tables. */
int extents_fill(struct object *o, const struct morsel_object_create *arg);
/* Frees its tables; the frames are not ours. */
void extents_empty(struct object *o);
/* The caller has the last reference: true if it is taken over, to be put when nothing pins the frames any more. */
bool extents_linger(struct object *o);
/* Puts those that are not pinned any more. */
void extents_look(void);
void extents_exit(void);
static inline bool object_has_extents(const struct object *o)
{
	return o->flags & MORSEL_OBJECT_EXTENTS;
}

/* ---- tables (table.c) ---- */

/* The granule's table; makes it if it is missing. NULL: no memory. May sleep. */
struct page *table_get(struct object *o, struct granule *g, enum table_kind kind);
void table_free(struct object *o, struct page *table);
static inline pte_t *table_leaves(struct page *table)
{
	return page_address(table);
}
static inline spinlock_t *table_lock(struct page *table)
{
	return ptlock_ptr(page_ptdesc(table));
}
/* Set leaf i, which is none, in all the granule's tables; false: it was not none any more. */
bool table_fill(struct granule *g, unsigned int i, unsigned long pfn);
/* Copy leaf i from the RW table to the RO one, if there is one. */
void table_fill_ro(struct granule *g, unsigned int i);
/*
 * With object.frames held for writing and the granule unlinked everywhere: n leaves become none; ret[] has what they
 * were, dirty and accessed bits of all tables joined.
 */
void table_take(struct granule *g, const u16 *leaf, unsigned int n, pte_t *ret);
/* The same places, with the bits of old[]. */
void table_put(struct granule *g, const u16 *leaf, unsigned int n, const unsigned long *pfn,
	       const pte_t *old);

/* ---- directories (directory.c) ---- */

/* An empty one, as the kernel makes and frees them. NULL: no memory. */
struct page *directory_page_new(void);
void directory_page_free(struct page *page);
/* What leads to the granule's table or is its leaf; or none. */
pmd_t granule_entry(const struct object *o, unsigned long granule, enum table_kind kind);
/* The GiB's directory; makes it if it is missing. NULL: no memory. With object.frames held for reading. */
struct page *directory_get(struct object *o, unsigned long gib, enum table_kind kind);
/* The granule has got a table or a leaf: directories that have no entry for it get one. */
void directory_sync(struct object *o, unsigned long granule);
/* With object.frames held for writing. A leaf's bits are joined into the truth. */
void directory_clear(struct object *o, unsigned long granule);
/* Part of object_gather(). */
void directory_gather(struct object *o, unsigned long granule, unsigned long clear);
/* Nothing maps the object. */
void directories_free(struct object *o);

/* ---- order of pools (placement.c, placement-bpf.c) ---- */

/*
 * The pools that a frame for the granule is taken from, in order. How many, at least one. With
 * object.frames held.
 */
unsigned int placement_order(const struct object *o, unsigned long granule, unsigned int order,
			     struct pool **ret);
void placement_register(void);
bool placement_can_be_asked(void);

/* A granule, or a part of one, on its way to a pool (move.c). */
struct move_step {
	unsigned long granule;
	struct pool *target;
	struct morsel_move_range *range; /* counts what comes of it */
	bool huge;			 /* a leaf of 2 MiB; to[] are single frames: */
	bool small;
	unsigned int n; /* pages */
	u16 leaf[GRANULE_PAGES];
	unsigned long from[GRANULE_PAGES], to[GRANULE_PAGES];
	pte_t old[GRANULE_PAGES];
	bool bad[GRANULE_PAGES]; /* could not be read; of a leaf of 2 MiB the first stands for all */
	bool dirty[GRANULE_PAGES]; /* before the move */
};

/*
 * ---- leaves of 2 MiB (huge.c) ----
 * The granule has the truth, as an entry of a page middle directory; processes have copies of it. Accessed and dirty bits of copies are
 * joined into it when a copy goes, and by object_gather().
 */

static inline unsigned long leaf_pfn(unsigned long leaf)
{
	return pmd_pfn(__pmd(leaf));
}
/* With the bits of @old. */
unsigned long leaf_make(unsigned long pfn, unsigned long old);
pmd_t leaf_copy(unsigned long leaf, enum table_kind kind);
void leaf_join(struct granule *g, pmd_t copy);
/* 0: there is a leaf; 1: the granule is filled frame by frame; -EHWPOISON. With object.frames held for reading. */
int huge_fill(struct object *o, u64 page, u64 *ret_filled);
/* With object.frames held for writing and the granule unlinked: the leaf's frames go. */
void huge_drop(struct object *o, unsigned long granule);
/*
 * A leaf's part of a step (move.c), with object.change held. It goes to one page of 2 MiB, or with @small, and where there is none, to
 * single frames. -EDQUOT, -ENOMEM.
 */
int huge_prepare(struct object *o, struct move_step *s, bool small);
void huge_copy(struct move_step *s);
/* -EBUSY: pinned; -EIO: nothing has changed. */
int huge_finish(struct object *o, struct move_step *s);
/* Single frames of the same pool instead of the leaf. -EBUSY, -ENOMEM, -EDQUOT, -EIO. Of the step the granule is used. */
int huge_split(struct object *o, struct move_step *s);

/* ---- frames of objects (fill.c) ---- */

void object_count_frames(struct object *o, struct pool *pool, long n);

/* Leaf @page has a frame when it returns 0. With object.frames held for reading. -EDQUOT, -ENOMEM, -EHWPOISON. */
int object_fill(struct object *o, u64 page, enum table_kind kind, u64 *ret_filled);
int object_populate(struct object *o, u64 offset, u64 length, u64 *ret_bytes);
int object_evict(struct object *o, u64 offset, u64 length, u64 *ret_bytes);
/* Free all frames and tables. Nothing maps it, nobody else has a reference. */
void object_empty(struct object *o);

/* ---- links (link.c) ---- */

/* Addresses that one fault may link, in whole GiBs. */
#define LINK_WINDOW (16 * PUD_SIZE)

/*
 * With attach.lock held: those to [start, end) go. How many; TLBs have them still. @by_unlinker: by object_unlink(), which has taken
 * those in the object's own directories.
 */
unsigned long link_remove(struct attach *a, unsigned long start, unsigned long end,
			  bool by_unlinker);
/*
 * To all that the object has in the GiB of the address, and to its neighbours where one entry does. With object.frames
 * held for reading. Does nothing if an invalidation came after @seq: the fault comes again.
 */
void link_make(struct attach *a, unsigned long address, unsigned long seq);
/* With attach.lock held: to the granule, whose link object_unlink() took. */
void link_again(struct attach *a, unsigned long granule);
/* With attach.lock held: part of object_gather(). */
void link_gather(struct attach *a, unsigned long granule, unsigned long clear);

/* ---- mappings (map.c) ---- */

int object_mmap(struct file *file, struct vm_area_struct *vma);
unsigned long object_get_area(struct file *file, unsigned long address, unsigned long length,
			      unsigned long offset, unsigned long flags);
/* What copies of the leaf have in accessed and dirty bits joins the truth; of the copies those in @clear are cleared. */
void object_gather(struct object *o, unsigned long granule, unsigned long clear);
/*
 * Every process's links to these granules, 64 at most, are gone, and its TLBs do not have them. With object.change, and
 * object.frames for writing. object_relink() must follow.
 */
void object_unlink(struct object *o, unsigned long first, unsigned int count);
/* Those that were linked are so again, if there is something to link to: nobody has to fault for it. The same locks. */
void object_relink(struct object *o, unsigned long first, unsigned int count);

/* ---- moves (move.c), harvest (harvest.c) ---- */

/* *ret_done: how many ranges are done, from the first on; on failure ranges[*ret_done] is the one that it is about. */
int object_move(struct object *o, struct morsel_move_range __user *ranges, u32 count,
		u32 *ret_done);
int object_harvest(struct object *o, struct morsel_harvest *arg);
/* Counts @pages that stay as not moved because of @r. */
void move_fail(struct morsel_move_range *range, int r, unsigned int pages);
int object_residency(struct object *o, struct morsel_residency *arg);

/* ---- TLBs (tlb.c) ---- */

/* What mm's page tables said before is not in any CPU's TLB afterwards. IRQs on; may hold spinlocks. */
void tlb_flush_mm(struct mm_struct *mm);
/* The same for every process that maps the object; with object.change held. */
void tlb_flush_object(struct object *o);
int tlb_check(void);

/* ---- ioctls (control.c) ---- */

extern const struct file_operations control_fops;
/* Reads a structure that begins with its size; min: that of its first version. */
int ioctl_copy_in(void *arg, size_t size, const void __user *from);
int ioctl_copy_out(void __user *to, const void *arg, size_t size);
int ioctl_ranges(struct object *o, struct morsel_ranges *arg, bool populate);

#endif
