/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * morsel.ko: memory objects that are page-table subtrees, on pools of frames.
 *
 * Two kinds of descriptor:
 *
 *   control   /dev/morsel (mode 0600): pools, accounts, objects by id, moves, harvests. Whoever has it
 *             is trusted with all objects, not with the kernel.
 *   object    made by MORSEL_IOC_OBJECT_CREATE and _OPEN, writable or read-only: mmap, and the ioctls
 *             marked (o) below. It is handed to programs that are not trusted, through a socket.
 *
 * Every structure begins with its size. A caller passes sizeof() of what it was compiled with. A
 * kernel that knows more fields takes the missing ones as zero; one that knows fewer refuses with
 * E2BIG if the others are not zero. Reserved fields and unknown flags must be zero: EINVAL. Lengths
 * and offsets are bytes.
 *
 * Errors that every call may give: EFAULT, EINVAL (size, flags, reserved fields), E2BIG, ENOTTY (not
 * on this kind of descriptor), ENOMEM (the kernel's own memory), EINTR (a signal came: any in POPULATE,
 * EVICT and MOVE, which tell what was done; elsewhere, and while one call waits for another one's
 * change of the same object, only one that ends the process). Objects and pools outlive the
 * descriptor that made them: they end by their _DESTROY.
 */
#ifndef _UAPI_LINUX_MORSEL_H
#define _UAPI_LINUX_MORSEL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MORSEL_UAPI_VERSION 1

#define MORSEL_GRANULE (2 * 1024 * 1024) /* unit of tables, links and moves */
#define MORSEL_MAX_TIERS 16
#define MORSEL_MAX_POOLS 64
#define MORSEL_MAX_OBJECT_SIZE (1ULL << 44)
#define MORSEL_MAX_BATCH 4096 /* ranges in one call */
#define MORSEL_MAX_EXTENTS (1 << 20)

/* Version handshake: call it first. EPROTONOSUPPORT: the module speaks no such version. */
struct morsel_hello {
	__u32 size;
	__u32 version;	/* in: MORSEL_UAPI_VERSION; out: the module's, on EPROTONOSUPPORT too */
	__u64 features; /* out: MORSEL_FEATURE_* */
	__u64 reserved[2];
};
#define MORSEL_FEATURE_TEST (1ULL << 0)	     /* a test build: not for use */
#define MORSEL_FEATURE_PLACEMENT (1ULL << 1) /* struct_ops morsel_placement_ops can be registered */
#define MORSEL_FEATURE_EXTENTS (1ULL << 2)   /* pools and objects of that name */
#define MORSEL_FEATURE_PLACED (1ULL << 3)    /* MORSEL_OBJECT_PLACED */

/*
 * Pool: frames of one tier, given out by LLFree. The tier is a number below MORSEL_MAX_TIERS that the
 * caller chooses: accounts have limits by tier.
 *
 * MORSEL_POOL_NODE takes memory of one NUMA node in blocks of 2 MiB, when frames are wanted, up to
 * max_bytes; gives back what is wholly free when asked (RESIZE) and when the kernel runs low.
 * MORSEL_POOL_DAX takes the pages of a mapping of a device-dax file in the caller's address space
 * [address, address + max_bytes) and pins them; the mapping may go afterwards. The device stays busy
 * until the pool is destroyed.
 * MORSEL_POOL_EXTENTS takes a device in the same way, but has no allocator: it gives no frames, and cannot be
 * in a placement or be moved to (EOPNOTSUPP). Objects are made over extents of it (MORSEL_OBJECT_EXTENTS), which the
 * caller chooses. Its stat: used_bytes is the sum of what objects have, quarantine_bytes that of destroyed ones that
 * something outside still refers to, free_bytes 0.
 */
enum {
	MORSEL_POOL_NODE = 1,
	MORSEL_POOL_DAX = 2,
	MORSEL_POOL_EXTENTS = 3,
};
struct morsel_pool_create {
	__u32 size;
	__u32 kind;
	__u32 tier;
	__s32 node;	   /* NODE: must have memory. DAX, EXTENTS: -1 */
	__u64 max_bytes;   /* multiple of 2 MiB. ENOSPC: more than the node has */
	__u64 start_bytes; /* NODE: take so much at once (ENOMEM: nothing made) */
	__u64 address;	   /* DAX, EXTENTS */
	__u32 pool;	   /* out: id, from 1 */
	__u32 flags;	   /* 0 */
	__u64 reserved[2];
};

struct morsel_pool_stat {
	__u32 size;
	__u32 pool; /* in */
	__u32 kind, tier;
	__s32 node;
	__u32 pad;
	__u64 max_bytes;
	__u64 bytes;			/* taken from the node or device now */
	__u64 used_bytes;		/* in objects, quarantine included */
	__u64 free_bytes;		/* of bytes: can be given out */
	__u64 free_huge_bytes;		/* of these, in wholly free 2 MiB */
	__u64 quarantine_bytes;		/* freed, but something outside still refers to them */
	__u64 offline_bytes;		/* of bytes: taken out of use by OFFLINE */
	__u64 bad_bytes;		/* memory errors */
	__u64 grown, shrunk;		/* blocks of 2 MiB so far */
	__u64 lower_bytes, upper_bytes; /* of the allocator's state: see MORSEL_MAP_STATE */
	__u64 start; /* DAX, EXTENTS: physical address of its first byte: which device it is */
	__u64 reserved[1];
};

/*
 * mmap of the control descriptor, shared and read-only: the state of a pool's allocator, as core/llfree.h
 * lays it out, upper or lower part, for llfree_attach() with LLFREE_READONLY. Lengths: POOL_STAT,
 * rounded up to pages. It stays readable, and stands still, after the pool was destroyed.
 */
#define MORSEL_MAP_STATE(pool, upper) (((__u64)(pool) << 40) | ((upper) ? 1ULL << 39 : 0))

/* NODE: shrink towards, or grow to, this many bytes. EBUSY: less could be given back (bytes: now). */
struct morsel_pool_resize {
	__u32 size;
	__u32 pool;
	__u64 bytes; /* in: wanted; out: what it has */
	__u64 reserved[3];
};

/* Take huge frames of 2 MiB out of use, or back. EBUSY: in use (with DRAIN they empty by themselves). */
struct morsel_pool_offline {
	__u32 size;
	__u32 pool;
	__u64 first, count; /* huge frames */
	__u32 flags;
	__u32 pad;
	__u64 reserved[2];
};
#define MORSEL_OFFLINE_DRAIN (1u << 0)

/*
 * by id: POOL_DESTROY (EBUSY: frames or extents in use), ACCOUNT_DESTROY (EBUSY: in use), OBJECT_DESTROY: the object cannot
 * be opened any more; OBJECT_STAT by id tells of it until its last descriptor and mapping have gone,
 * and so long its id is taken.
 */
struct morsel_id {
	__u32 size;
	__u32 flags; /* 0 */
	__u64 id;    /* ENOENT */
};

/*
 * Account: limits and exact use per tier, in a tree. A frame is charged to its object's account and
 * all above it when it is given, and uncharged when it is free again; in quarantine it stays charged.
 */
#define MORSEL_NO_LIMIT (~0ULL)
struct morsel_account_create {
	__u32 size;
	__u32 flags;  /* 0 */
	__u64 id;     /* chosen by the caller, not 0 (a cgroup's id, for one). EEXIST */
	__u64 parent; /* 0: none. ENOENT; ELOOP: deeper than 16 */
	__u64 reserved[2];
};
struct morsel_account_limit {
	__u32 size;
	__u32 tier;
	__u64 id;
	__u64 limit_bytes; /* below the use: nothing more is given until it has fallen */
	__u64 reserved[2];
};
struct morsel_account_stat {
	__u32 size;
	__u32 flags; /* in: MORSEL_ACCOUNT_NEXT */
	__u64 id;
	__u64 parent; /* out, like the rest */
	__u64 use_bytes[MORSEL_MAX_TIERS];
	__u64 limit_bytes[MORSEL_MAX_TIERS];
	__u64 refused; /* frames that a limit of this account denied */
	__u64 objects;
	__u64 reserved[4];
};
#define MORSEL_ACCOUNT_NEXT \
	(1u << 0) /* the first one with a higher id, which is out; ENOENT: none */

/*
 * Placement: pools in the order of preference, each with a weight. Weights of 0: the first pool that
 * has a frame and whose tier the account allows. Else granules of 2 MiB are spread over the pools
 * with weights in proportion, and the order is what comes next when one is full.
 */
struct morsel_placement {
	__u32 pools[MORSEL_MAX_TIERS];	 /* 0 ends the list; at least one */
	__u32 weights[MORSEL_MAX_TIERS]; /* at most 1,000 each */
};

struct morsel_object_create {
	__u32 size;
	__u32 flags;   /* MORSEL_OBJECT_* */
	__u64 bytes;   /* multiple of 4096, at most MORSEL_MAX_OBJECT_SIZE */
	__u64 account; /* 0: none */
	struct morsel_placement placement;
	__u64 id; /* in: chosen by the caller, or 0; out. EEXIST */
	__s32 fd; /* out: writable, O_CLOEXEC */
	__u32 pad;
	__u64 extents;	     /* EXTENTS: address of struct morsel_object_extent[] */
	__u32 extents_count; /* at most MORSEL_MAX_EXTENTS; may be 0 */
	__u32 extents_pool;  /* of kind EXTENTS; ENOENT, EOPNOTSUPP */
	__u64 reserved[2];
};
/*
 * Each whole granule gets one page of 2 MiB where the first pool of its order that has frames for it has one, else 4 KiB
 * ones; by its first touch, and again after all of it was evicted. A page of 2 MiB has one accessed and one dirty bit, is
 * pinned, and moves, as a whole. MOVE and EVICT of a part of it split it first, by a copy in its pool.
 */
#define MORSEL_OBJECT_HUGE (1u << 0)
/*
 * Object over given extents of a device, with its content as it lies there. The placement must be all zero. What no
 * extent covers gives SIGBUS; POPULATE, EVICT, MOVE and SET give EOPNOTSUPP. The account, if one is given, is
 * charged all of it from the start (EDQUOT). Objects may share frames, and an object may show one frame twice: who owns
 * what is the caller's affair. After OBJECT_DESTROY the caller may use the extents otherwise when OBJECT_STAT by
 * id gives ENOENT: no descriptor, mapping or pinned page is left. (A device's pages may be compound: then a
 * pin of one counts for all objects with a frame in its 2 MiB.)
 */
#define MORSEL_OBJECT_EXTENTS (1u << 1)
/* The placement is this object's own, not what holds for all of its account: placement programs are told (MORSEL_PLACE_OWN). */
#define MORSEL_OBJECT_PLACED (1u << 2)

/* Multiples of 4096, in any order. EINVAL: they overlap in the object; ERANGE: beyond the object or the pool. */
struct morsel_object_extent {
	__u64 offset, length; /* in the object */
	__u64 at;	      /* offset in the pool */
};

struct morsel_object_open {
	__u32 size;
	__u32 flags; /* MORSEL_OPEN_* */
	__u64 id;
	__s32 fd; /* out, O_CLOEXEC */
	__u32 pad;
	__u64 reserved[2];
};
#define MORSEL_OPEN_RDONLY (1u << 0)

/* Ids in rising order, from the one above @after. */
struct morsel_object_list {
	__u32 size;
	__u32 count; /* in: room; out: how many */
	__u64 after; /* 0: from the start */
	__u64 ids;   /* address of __u64[] */
	__u64 reserved[2];
};

struct morsel_object_set {
	__u32 size;
	__u32 flags; /* MORSEL_OBJECT_PLACED, from now on; without it that stays as it is */
	__u64 id;
	struct morsel_placement placement; /* for frames to come; what is there stays */
	__u64 reserved[2];
};

/* (o) On an object descriptor id is ignored, and out. */
struct morsel_object_stat {
	__u32 size;
	__u32 flags; /* out: MORSEL_OBJECT_*, MORSEL_STAT_* */
	__u64 id;
	__u64 bytes;
	__u64 account;
	__u64 used_bytes;			/* in frames */
	__u64 table_bytes;			/* of page tables and the object's own */
	__u64 pool_bytes[MORSEL_MAX_POOLS + 1]; /* by pool id */
	__u64 faults;				/* handled, of all processes */
	__u64 links;				/* page-table links made */
	__u64 mappings;
	__u64 huge_bytes; /* of used_bytes: in pages of 2 MiB */
	__u64 reserved[3];
};
#define MORSEL_STAT_RDONLY (1u << 16) /* this descriptor */
#define MORSEL_STAT_DESTROYED \
	(1u << 17) /* ends with its last descriptor and mapping; EXTENTS: and pin */

/*
 * (o) On a writable object descriptor (EACCES), or by id on the control descriptor. POPULATE: ENOMEM: the
 * pools, or the account, have no more; what was populated stays. EVICT frees frames, their content
 * is lost; what is pinned goes into quarantine. EBUSY, ENOMEM, EDQUOT, EIO: a part of a page of 2 MiB, which
 * could not be split. EINTR: call again with the same ranges. What is done already is passed over, and each
 * call does a granule at least.
 */
struct morsel_extent {
	__u64 offset, length; /* multiples of 4096, inside the object: ERANGE */
};
struct morsel_ranges {
	__u32 size;
	__u32 count;  /* ranges, at most MORSEL_MAX_BATCH */
	__u64 id;     /* control descriptor; 0 on the object's */
	__u64 ranges; /* address of struct morsel_extent[] */
	__u64 bytes;  /* out: populated (new) or freed; on failure too */
	__u64 reserved[2];
};

/*
 * Move what exists of each range to frames of a pool, while it is in use. Whole granules are worked on one by
 * one; each is copied while mapped and switched at once. What cannot move stays where it is and
 * is counted. Returns 0 although some stayed.
 *
 * On failure ranges[count] is the one that it is about. After EINTR a part of it may be done: its
 * moved + already + absent + failed bytes, from its offset on; go on behind them. Each call does a
 * granule at least.
 */
struct morsel_move_range {
	__u64 offset, length; /* as above */
	__u32 pool;	      /* ENOENT */
	__s32 result; /* out: 0, or why some stayed (negative): EBUSY pinned, ENOMEM pool full, EDQUOT account */
	__u64 moved, already, absent, failed; /* out */
};
struct morsel_move {
	__u32 size;
	__u32 count; /* in: ranges; out: those that are done */
	__u64 id;
	__u64 ranges; /* address of struct morsel_move_range[] */
	__u64 reserved[2];
};

/*
 * Read accessed and dirty bits: one bit for each 4096 bytes of the range. Accessed: by any process since the last harvest,
 * which clears them, without a flush of TLBs: a page that stays in one may be missed
 * (MORSEL_HARVEST_FLUSH flushes once). A move changes neither; what a device writes into pinned memory is not seen. Offset: a multiple of 4096.
 */
struct morsel_harvest {
	__u32 size;
	__u32 flags;
	__u64 id;
	__u64 offset, length; /* length at most 1 GiB; ERANGE */
	__u64 accessed; /* address of length / 4096 bits, rounded up to 8 bytes; 0: not wanted */
	__u64 dirty; /* the same: written since CLEAR_DIRTY, or since the frame came if there was none */
	__u64 accessed_pages, present_pages; /* out */
	__u64 reserved[2];
};
#define MORSEL_HARVEST_FLUSH (1u << 0)
#define MORSEL_HARVEST_KEEP (1u << 1)	     /* accessed bits stay */
#define MORSEL_HARVEST_CLEAR_DIRTY (1u << 2) /* and flush: no write is missed */

/* Which pool holds each granule: 0 none, else the pool id, MORSEL_MIXED several. */
#define MORSEL_MIXED 255
struct morsel_residency {
	__u32 size;
	__u32 flags; /* 0 */
	__u64 id;
	__u64 offset, length; /* multiples of 2 MiB, or the object's end; length at most 64 GiB */
	__u64 granules;	      /* address of __u8[], or 0 */
	__u64 pool_bytes[MORSEL_MAX_POOLS + 1]; /* out; [0]: absent */
	__u64 reserved[2];
};

struct morsel_stats {
	__u32 size;
	__u32 flags; /* 0 */
	__u64 pools, accounts, objects, descriptors, mappings;
	__u64 tables; /* page tables of objects */
	__u64 faults, links, unlinks;
	__u64 flushes, flush_cpus; /* TLB flushes by this module, and CPUs interrupted for them */
	__u64 moved_pages, move_busy, move_recopied;
	__u64 quarantined; /* frames, ever */
	__u64 failures_injected;
	__u64 placement_calls;	 /* of a BPF program: linux/morsel_placement.h */
	__u64 placement_refused; /* its answers that made no sense */
	__u64 reserved[6];
};

#define MORSEL_IOC_HELLO _IOWR('M', 0x40, struct morsel_hello)
#define MORSEL_IOC_STATS _IOWR('M', 0x41, struct morsel_stats)
#define MORSEL_IOC_POOL_CREATE _IOWR('M', 0x42, struct morsel_pool_create)
#define MORSEL_IOC_POOL_DESTROY _IOWR('M', 0x43, struct morsel_id)
#define MORSEL_IOC_POOL_STAT _IOWR('M', 0x44, struct morsel_pool_stat)
#define MORSEL_IOC_POOL_RESIZE _IOWR('M', 0x45, struct morsel_pool_resize)
#define MORSEL_IOC_POOL_OFFLINE _IOWR('M', 0x46, struct morsel_pool_offline)
#define MORSEL_IOC_POOL_ONLINE _IOWR('M', 0x47, struct morsel_pool_offline)
#define MORSEL_IOC_ACCOUNT_CREATE _IOWR('M', 0x48, struct morsel_account_create)
#define MORSEL_IOC_ACCOUNT_DESTROY _IOWR('M', 0x49, struct morsel_id)
#define MORSEL_IOC_ACCOUNT_LIMIT _IOWR('M', 0x4a, struct morsel_account_limit)
#define MORSEL_IOC_ACCOUNT_STAT _IOWR('M', 0x4b, struct morsel_account_stat)
#define MORSEL_IOC_OBJECT_CREATE _IOWR('M', 0x4c, struct morsel_object_create)
#define MORSEL_IOC_OBJECT_OPEN _IOWR('M', 0x4d, struct morsel_object_open)
#define MORSEL_IOC_OBJECT_DESTROY _IOWR('M', 0x4e, struct morsel_id)
#define MORSEL_IOC_OBJECT_LIST _IOWR('M', 0x4f, struct morsel_object_list)
#define MORSEL_IOC_OBJECT_SET _IOWR('M', 0x50, struct morsel_object_set)
#define MORSEL_IOC_OBJECT_STAT _IOWR('M', 0x51, struct morsel_object_stat) /* (o) */
#define MORSEL_IOC_POPULATE _IOWR('M', 0x52, struct morsel_ranges)	   /* (o) */
#define MORSEL_IOC_EVICT _IOWR('M', 0x53, struct morsel_ranges)		   /* (o) */
#define MORSEL_IOC_MOVE _IOWR('M', 0x54, struct morsel_move)
#define MORSEL_IOC_HARVEST _IOWR('M', 0x55, struct morsel_harvest)
#define MORSEL_IOC_RESIDENCY _IOWR('M', 0x56, struct morsel_residency)

#endif
