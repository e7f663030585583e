/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * LLFree: a lock-free, log-free allocator of page frames, volatile or persistent. docs/llfree.md
 * explains the algorithm, its invariants and recovery.
 *
 * Frames are numbers from 0; what memory they stand for is the caller's business, and so is that
 * frame 0 is as aligned as the largest order in use. All state lies in two buffers that the caller
 * provides:
 *
 *   lower  header, lanes and bits: what persists
 *   upper  header, tree words and slots: hints and caches, rebuilt when a pool is opened
 *
 * Both hold indices only, no pointers: processes, or kernel and user space, may map them at
 * different addresses and use them at once, each through its own struct llfree. Every function may
 * be called by any number of threads at once unless it says otherwise; none blocks, allocates, or
 * waits for another thread: a thread that stops anywhere hinders nobody. That *is* an exact claim
 * for get, put, get_at, drain, offline and online (each retry means that another operation took
 * effect).
 *
 * Errors are negative and equal to Linux's numbers; the core has no errno.
 */
#ifndef MORSEL_CORE_LLFREE_H
#define MORSEL_CORE_LLFREE_H

#include "llfree-layout.h"
#include "llfree-fault.h"

enum llfree_error {
	LLFREE_EBUSY = -16,  /* frames in use; for get_at also: barred */
	LLFREE_ENOMEM = -12, /* nothing free; what that means exactly: see llfree_get() */
	LLFREE_EINVAL = -22, /* an argument makes no sense: order, class, slot, alignment, flags */
	LLFREE_ENOSPC = -28, /* a metadata buffer is too small */
	LLFREE_EROFS = -30,  /* the handle is read-only */
	LLFREE_ERANGE = -34, /* frame or huge frame out of range */
	LLFREE_ENOTALLOC = -61, /* put of frames that are not allocated, or not at this order */
	LLFREE_EALREADY = -114, /* offline, online or bad already */
	LLFREE_EUCLEAN = -117,	/* metadata is not what this pool wrote */
};

/* llfree_get() and llfree_get_at(): success, and the frames read as zero. */
#define LLFREE_GOT_ZEROED 1

/* Of a pool, chosen at init and kept in its header. */
#define LLFREE_PERSISTENT (1u << 0) /* write-back in order; a slot holds no frames */
#define LLFREE_UNCACHED (1u << 1)   /* a slot holds no frames: nothing to lose when a user dies */
#define LLFREE_POOL_FLAGS (LLFREE_PERSISTENT | LLFREE_UNCACHED)
/* Of a handle. */
#define LLFREE_READONLY \
	(1u << 8) /* attach: look at the state only; the buffers may be mapped read-only */

/* Of a request. */
#define LLFREE_ZEROED (1u << 0) /* get: prefer zeroed; put: these frames read as zero */

/*
 * May a request of class @want be served from a tree of class @have? From best to worst: >= 0 is a
 * match, lower is better; LLFREE_STEAL takes frames and leaves the class; LLFREE_DEMOTE changes the
 * tree's class to @want (never while another slot has it reserved). A wholly free tree that is not
 * INVALID may be taken over by any class. Pure: it is asked once for each pair when a handle is set
 * up.
 */
typedef int (*llfree_policy)(unsigned want, unsigned have);
#define LLFREE_STEAL (-1)
#define LLFREE_DEMOTE (-2)
#define LLFREE_INVALID (-3)

/* One class. */
int llfree_policy_simple(unsigned want, unsigned have);
/* 0 immovable, 1 movable, 2 huge: immovable frames spoil as few trees as possible. */
int llfree_policy_movable(unsigned want, unsigned have);
/*
 * 0 ordinary, 1 zeroed: ordinary requests take zeroed trees last; zeroed ones fall back to
 * ordinary.
 */
int llfree_policy_zeroed(unsigned want, unsigned have);
/*
 * Each class is a group of its own (an owner, a lifetime); others are stolen from at the very end.
 */
int llfree_policy_grouped(unsigned want, unsigned have);

struct llfree_config {
	uint64_t frames;      /* 512 to LLFREE_MAX_FRAMES, any number */
	uint64_t online;      /* init: huge frames from this frame on start offline (0: none do) */
	uint32_t flags;	      /* LLFREE_PERSISTENT, LLFREE_UNCACHED; attach: LLFREE_READONLY */
	uint32_t classes;     /* 1 to LLFREE_MAX_CLASSES */
	uint32_t slots;	      /* per class and owner, >= 1; one per CPU is usual */
	uint32_t owners;      /* hosts that may share the pool, 1 to LLFREE_MAX_OWNERS */
	uint32_t owner;	      /* this one, < owners */
	uint32_t writeback;   /* enum plat_writeback; persistent pools */
	llfree_policy policy; /* NULL: simple */
};

struct llfree_meta {
	void *lower; /* aligned to 64 */
	void *upper; /* aligned to 64; does not overlap lower */
	uint64_t lower_size, upper_size;
};

/*
 * A user's view of a pool. Belongs to the caller; copy it or drop it at any time. Fields are
 * private.
 */
struct llfree {
	uint64_t frames;
	uint64_t *entries; /* entry words */
	uint64_t *bits;	   /* rows */
	uint64_t *trees;   /* tree words */
	struct llfree_slot *slots;
	uint32_t classes;
	uint32_t nslots;     /* per class and owner */
	uint32_t slot_base;  /* of this owner */
	uint32_t slot_count; /* of all owners */
	uint32_t owner;
	uint32_t flags;
	uint32_t writeback;
	uint32_t ntrees;
	uint64_t children;
	struct llfree_lower_header *lower;
	struct llfree_upper_header *upper;
	int8_t verdict[LLFREE_MAX_CLASSES][LLFREE_MAX_CLASSES]; /* [want][have] */
};

struct llfree_request {
	uint8_t order;	/* 2^order frames, 0 to LLFREE_MAX_ORDER */
	uint8_t class;	/* < config.classes */
	uint16_t slot;	/* < config.slots: any thread may use any; one of its own is fastest */
	uint32_t flags; /* LLFREE_ZEROED */
};

/* Bytes of the two buffers for @config: at most 35,400 a GiB without slots (of 128 bytes). */
int llfree_sizes(const struct llfree_config *config, uint64_t *ret_lower, uint64_t *ret_upper);

/* A new pool: overwrites both buffers. All frames are free, but see config.online. Sole user. */
int llfree_init(struct llfree *a, const struct llfree_config *config,
		const struct llfree_meta *meta);

struct llfree_recovery {
	bool clean;	    /* it was closed properly */
	uint64_t free;	    /* frames */
	uint64_t huge;	    /* huge frames allocated as a whole */
	uint64_t corrected; /* children whose count was not that of their bits */
};

/*
 * An existing pool whose users have all gone: its lower part is checked and its counts made right
 * from the bits (O(metadata), no log, may itself be cut off and repeated), the upper part is made
 * anew. Sole user. EUCLEAN: it is not such a pool, or was changed while closed; or holds states
 * that no crash can leave. @ret may be NULL.
 */
int llfree_open(struct llfree *a, const struct llfree_config *config,
		const struct llfree_meta *meta, struct llfree_recovery *ret);

/*
 * As llfree_open(), for a pool whose upper part is still there (shared memory of killed processes,
 * a volatile pool after a fault): the frames that slots held in hand are taken back first. Sole
 * user.
 */
int llfree_recover(struct llfree *a, struct llfree_recovery *ret);

/* Join a pool that others are using (or will use). config.policy and owner are this user's own. */
int llfree_attach(struct llfree *a, const struct llfree_config *config,
		  const struct llfree_meta *meta);

/* The last user leaves: slots are drained, sums written, the pool marked clean. Sole user. */
int llfree_close(struct llfree *a);

/*
 * The parts that are not inlined. Called through llfree_get() and llfree_put() only: what their checks
 * refuse and orders 10 and up (_slow, put: 1 and up); order 0, with a slot that was checked.
 */
int llfree_get_frame(struct llfree *a, unsigned class, struct llfree_slot *slot,
		     uint64_t *ret_frame);
int llfree_put_frame(struct llfree *a, uint64_t frame, struct llfree_slot *slot, uint32_t flags);
/* Orders 1 to 8 (0 too, in pools without caches), and order 9 without flags; with such a slot. */
int llfree_small_get(struct llfree *a, unsigned order, unsigned class, struct llfree_slot *slot,
		     uint64_t *ret_frame);
int llfree_get_huge(struct llfree *a, unsigned class, struct llfree_slot *slot,
		    uint64_t *ret_frame);
int llfree_put_huge(struct llfree *a, uint64_t frame, struct llfree_slot *slot, uint32_t flags);
int llfree_get_slow(struct llfree *a, unsigned order, unsigned class, unsigned slot, uint32_t flags,
		    uint64_t *ret_frame);
int llfree_put_slow(struct llfree *a, uint64_t frame, unsigned order, unsigned class, unsigned slot,
		    uint32_t flags);

plat_inline struct llfree_slot *llfree_slot_of(const struct llfree *a,
					       struct llfree_request request)
{
	return &a->slots[a->slot_base + request.class * a->nslots + request.slot];
}

/*
 * Allocate 2^order frames, aligned to their size. 0 or LLFREE_GOT_ZEROED.
 *
 * When it fails with ENOMEM, there was for each aligned run of this order an instant *during the
 * call* at which the run was not free: a run that is free from the beginning of the call to its end
 * is found, whatever others do meanwhile. *Free* means here:
 *   - its huge frames are online and not bad, and the policy admits the class of its tree;
 *   - each frame is free, or in the hand of a slot whose class the policy admits;
 *   - and none is reserved by another operation under way, be it only to give it back at once: the
 *     loser of a race, a slot that is being filled or emptied (up to 32 frames of one huge frame).
 * The instants of different runs differ, if others put, drain, online or give back during the call:
 * a run may be freed behind the search while another is taken before it. If none of these overlaps
 * the call, free memory only shrinks, and at the end of the call no run of the order was free.
 * (Order 0 gives up besides after others took 1024 times what it had just seen; this bound is for
 * damaged metadata, where a count promises what the bits do not have.)
 */
plat_inline int llfree_get(struct llfree *a, struct llfree_request request, uint64_t *ret_frame)
{
	if (plat_unlikely(request.class >= a->classes || request.slot >= a->nslots ||
			  request.flags > LLFREE_ZEROED))
		return llfree_get_slow(a, request.order, request.class, request.slot, request.flags,
				       ret_frame);
	if (plat_likely(request.order == 0)) {
		struct llfree_slot *slot = llfree_slot_of(a, request);
		uint64_t *cache = &slot->cache;
		/* Acquire: what the putter of the frame wrote into it comes first. */
		uint64_t old = plat_load(cache);

		while (plat_likely((uint32_t)old)) {
			uint64_t frame = llfree_cache_frame(old);

			/* The word may be damaged, where others share it. */
			if (plat_unlikely(frame >= a->frames))
				break;
			/*
			 * The whole state of the slot is in the word, so an equal word that came
			 * back in between is as good as an unchanged one.
			 */
			if (plat_likely(plat_cas(cache, &old, old & (old - 1)))) {
				*ret_frame = frame;
				return (old & LLFREE_CACHE_ZEROED) != 0;
			}
		}
		return llfree_get_frame(a, request.class, slot, ret_frame);
	}
	if (plat_likely(request.order == LLFREE_HUGE_ORDER) && plat_likely(!request.flags))
		return llfree_get_huge(a, request.class, llfree_slot_of(a, request), ret_frame);
	if (request.order < LLFREE_HUGE_ORDER)
		return llfree_small_get(a, request.order, request.class, llfree_slot_of(a, request),
					ret_frame);
	return llfree_get_slow(a, request.order, request.class, request.slot, request.flags,
			       ret_frame);
}

/*
 * Free 2^order frames that llfree_get() or llfree_get_at() gave out, whole or in aligned parts (a
 * huge frame may be freed frame by frame, by several threads at once). request.class and .slot are
 * hints, but must be valid. Frames in an offline or bad huge frame are taken back and not given
 * out.
 *
 * ENOTALLOC: some of the frames are not allocated, or the order is 9 or more and the huge frames
 * were not allocated as such; nothing has changed. Orders are not recorded: two neighbouring frames
 * that were allocated one by one may be freed as one run.
 */
plat_inline int llfree_put(struct llfree *a, uint64_t frame, struct llfree_request request)
{
	if (plat_unlikely(request.class >= a->classes || request.slot >= a->nslots ||
			  request.flags > LLFREE_ZEROED || frame >= a->frames))
		return llfree_put_slow(a, frame, request.order, request.class, request.slot,
				       request.flags);
	if (plat_likely(request.order == 0))
		return llfree_put_frame(a, frame, llfree_slot_of(a, request), request.flags);
	if (plat_likely(request.order == LLFREE_HUGE_ORDER))
		return llfree_put_huge(a, frame, llfree_slot_of(a, request), request.flags);
	return llfree_put_slow(a, frame, request.order, request.class, request.slot, request.flags);
}

/* Allocate just these frames. EBUSY: some are in use, or barred. */
int llfree_get_at(struct llfree *a, uint64_t frame, struct llfree_request request);

/* Give back what slots hold in hand, and their trees. @slot: index of one, or LLFREE_ALL_SLOTS. */
#define LLFREE_ALL_SLOTS 0xffffffffu
int llfree_drain(struct llfree *a, uint32_t slot);

/*
 * Take @count huge frames from @huge on out of use, all or none. 0: all were wholly free, and are
 * the caller's alone. EBUSY: some are in use; without LLFREE_OFFLINE_DRAIN nothing has changed,
 * with it all are offline, nothing more is given out from them, and what is still in use can be
 * seen by llfree_huge_state(). EALREADY: one of them was offline already; nothing has changed.
 */
#define LLFREE_OFFLINE_DRAIN (1u << 0)
int llfree_offline(struct llfree *a, uint64_t huge, uint64_t count, unsigned flags);

/*
 * Bring them back (also: grow the pool). LLFREE_ZEROED: they are wholly free (else EBUSY, nothing
 * changed) and read as zero; on persistent media the zeroes are durable. EALREADY: one is not
 * offline; nothing changed.
 */
int llfree_online(struct llfree *a, uint64_t huge, uint64_t count, unsigned flags);

/*
 * Memory error: never allocate from this huge frame again. EALREADY. What is in use stays in use.
 */
int llfree_mark_bad(struct llfree *a, uint64_t huge);

/*
 * Host @owner has died, and cannot write any more (it is fenced). Its trees are free for others,
 * the frames its slots held in hand are free again; others keep running. What is lost until the
 * pool is next opened: for each operation it had in flight, the frames of that operation (a put's
 * or get's count, or bits).
 */
int llfree_recover_owner(struct llfree *a, uint32_t owner, uint64_t *ret_trees,
			 uint64_t *ret_frames);

/* The class of the tree of @huge; unless a slot has it reserved (EBUSY). */
int llfree_set_class(struct llfree *a, uint64_t huge, unsigned class);

/*
 * ---- Reading the state: never writes, works on read-only handles, and on a running pool is a
 * snapshot in which each huge frame has its own instant. ----
 */

struct llfree_huge_state {
	uint16_t free; /* frames, those in slots' hands not counted */
	uint8_t class; /* of its tree */
	uint8_t owner; /* of its tree, if reserved */
	bool reserved; /* its tree is, by a slot */
	bool huge;     /* allocated as a whole */
	bool zeroed, bad, offline;
};
int llfree_huge_state(const struct llfree *a, uint64_t huge, struct llfree_huge_state *ret);

#define LLFREE_FILL_BUCKETS 10u
struct llfree_stats {
	uint64_t frames;
	uint64_t free; /* that can be allocated: online, not bad; those in slots' hands included */
	uint64_t cached; /* of these, in slots' hands */
	uint64_t used;
	uint64_t barred;      /* free frames in offline and bad huge frames */
	uint64_t huge;	      /* huge frames allocated as a whole */
	uint64_t free_huge;   /* wholly free, online */
	uint64_t zeroed_huge; /* of these, zeroed */
	uint64_t offline_huge, bad_huge;
	uint64_t fill[LLFREE_FILL_BUCKETS]; /* by used share: [0] none, [9] all, else eighths */
};

/* The whole pool from the lanes' counts: 2 bytes read for each 2 MiB. */
int llfree_stats_fast(const struct llfree *a, struct llfree_stats *ret);
/* The same from every bit. */
int llfree_stats_exact(const struct llfree *a, struct llfree_stats *ret);
/*
 * @count huge frames from @huge on, fast: 1 is a 2 MiB block, 64 one of 128 MiB, 512 one of 1 GiB.
 */
int llfree_block_stats(const struct llfree *a, uint64_t huge, uint64_t count,
		       struct llfree_stats *ret);
/* 1: all 2^order frames are free (maybe in a slot's hand); 0: not; negative: error. */
int llfree_is_free(const struct llfree *a, uint64_t frame, unsigned order);
/* EUCLEAN if an invariant of docs/llfree.md does not hold. Only while nobody uses the pool. */
int llfree_check(const struct llfree *a);

#endif
