/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Fault hooks of llfree, in builds with MORSEL_TEST_HOOKS only.
 *
 * FORCE sites take the path of a lost race, which is right but rare: tests drive every roll-back
 * with them. BREAK sites make the allocator wrong in one way; `test-llfree-faults` switches each on
 * and expects the test named here to fail.
 */
#ifndef MORSEL_CORE_LLFREE_FAULT_H
#define MORSEL_CORE_LLFREE_FAULT_H

#define LLFREE_FORCE_SITES(X)                                                                     \
	X(FORCE_ROW)	 /* the row chosen is taken before its CAS */                             \
	X(FORCE_CHILD)	 /* no row is left in the child: the count is given back */               \
	X(FORCE_ROWS)	 /* orders 7, 8: a later row is taken: the first ones are given back */   \
	X(FORCE_WORDS)	 /* orders >= 12: a later word is taken: the first ones are given back */ \
	X(FORCE_PUBLISH) /* the slot was filled by another thread */                              \
	X(FORCE_RESERVE) /* the tree was reserved by another slot */                              \
	X(FORCE_LEFT)	 /* the slot's tree was taken away while it was filled */                 \
	X(FORCE_SPLIT)	 /* another thread split the huge frame */                                \
	X(FORCE_FLAGS)	 /* the lanes changed under offline, online or bad */                     \
	X(FORCE_PUT_WORDS) /* put of order >= 12: a later word is no longer allocated */

/*  X(hook, suite of the test that must fail, what it does) */
#define LLFREE_BREAK_SITES(X)                                                                     \
	X(BREAK_ROLLBACK_WORDS, "defect1", "multi-child roll-back restores its first word only")  \
	X(BREAK_ROLLBACK_ROWS, "defect2", "roll-back of orders 7 and 8 leaves rows allocated")    \
	X(BREAK_LAST_FRAME, "defect3", "a tree with one free frame counts as full")               \
	X(BREAK_HUGE_WINDOW, "defect4", "a huge get looks at eight candidate trees only")         \
	X(BREAK_REST, "interleave", "a tree that changes its kind during a search is left out")   \
	X(BREAK_HELD, "interleave",                                                               \
	  "a held tree that its slot leaves during a search is left out")                         \
	X(BREAK_CLASS, "defect5", "a reserved tree is demoted")                                   \
	X(BREAK_OFFLINE_PUT, "defect6", "a put brings its huge frame online")                     \
	X(BREAK_SPLIT, "defect7", "the loser of a split refuses its put")                         \
	X(BREAK_WB_GET, "crash", "no write-back of bits in get")                                  \
	X(BREAK_FENCE_GET, "crash", "no fence after it")                                          \
	X(BREAK_WB_PUT, "crash", "no write-back of bits in put")                                  \
	X(BREAK_FENCE_PUT, "crash", "no fence after it")                                          \
	X(BREAK_WB_HUGE, "crash", "no write-back of lanes in a huge get")                         \
	X(BREAK_FENCE_HUGE, "crash", "no fence after it")                                         \
	X(BREAK_WB_HUGE_PUT, "crash", "no write-back of lanes in a huge put")                     \
	X(BREAK_FENCE_HUGE_PUT, "crash", "no fence after it")                                     \
	X(BREAK_WB_SPLIT, "crash", "no write-back of the lane in a split")                        \
	X(BREAK_FENCE_SPLIT, "crash", "no fence after it")                                        \
	X(BREAK_SYNC_HELP, "crash", "a put does not complete another's pending write-back")       \
	X(BREAK_WB_DIRTY, "crash", "no write-back when a put ends the zeroed mark")               \
	X(BREAK_FENCE_DIRTY, "crash", "no fence after it")                                        \
	X(BREAK_WB_FLAGS, "crash", "no write-back of offline, online and bad")                    \
	X(BREAK_FENCE_FLAGS, "crash", "no fence after it")                                        \
	X(BREAK_WB_OPEN, "crash", "no write-back of the dirty state when a pool is opened")       \
	X(BREAK_FENCE_OPEN, "crash", "no fence after it")                                         \
	X(BREAK_WB_CLOSE, "crash", "no write-back of metadata before a pool is marked clean")     \
	X(BREAK_FENCE_CLOSE, "crash", "no fence after it")                                        \
	X(BREAK_WB_UNDO, "crash",                                                                 \
	  "no write-back when a get of several rows or words is rolled back")                     \
	X(BREAK_FENCE_UNDO, "crash", "no fence after it")                                         \
	X(BREAK_WB_INIT, "crash", "no write-back of a new pool's metadata")                       \
	X(BREAK_FENCE_INIT, "crash", "no fence after it")                                         \
	X(BREAK_WB_RECOVER, "crash", "no write-back of the bits that recovery made right")        \
	X(BREAK_FENCE_RECOVER, "crash", "no fence after it")                                      \
	X(BREAK_ORDER_PUT, "crash", "a put counts its frames before their bits are durable")      \
	X(BREAK_CAPACITY, "model", "get takes bits without reserving them in the count")          \
	X(BREAK_DOUBLE_FREE, "model", "put does not look at the bits")                            \
	X(BREAK_CACHED_FREE, "model", "put does not look into the slot that caches the row")      \
	X(BREAK_FREED_FREE, "model", "put does not look into the slot that gathers freed frames") \
	X(BREAK_STEAL, "model", "get does not take from, nor empty, other slots at the end")      \
	X(BREAK_ZEROED_PUT, "zeroed", "a dirty put leaves the zeroed mark")                       \
	X(BREAK_ZEROED_RACE, "interleave", "get reads the zeroed mark before it has the bits")    \
	X(BREAK_ZEROED_CACHE, "zeroed", "a dirty put into a slot leaves the slot's zeroed mark")  \
	X(BREAK_PUBLISH, "interleave", "a slot filled by another thread is overwritten")          \
	X(BREAK_OFFLINE_CACHE, "interleave",                                                      \
	  "frames cached while offline is set stay in the slot")                                  \
	X(BREAK_RECOVER_INVERTED, "recover", "recovery ignores the sense of the bits")            \
	X(BREAK_RECOVER_CACHE, "recover", "recovery forgets the frames in slots")                 \
	X(BREAK_RECOVER_SUM, "flips", "a clean pool is not checked against its sums")             \
	X(BREAK_OWNER, "owner", "recover_owner leaves the trees reserved")

#ifdef MORSEL_TEST_HOOKS
#define LLFREE_X_FORCE(name) LLFREE_##name,
#define LLFREE_X_BREAK(name, suite, what) LLFREE_##name,
enum llfree_fault {
	LLFREE_FORCE_SITES(LLFREE_X_FORCE) LLFREE_FORCE_MAX,
	LLFREE_BREAK_SITES(LLFREE_X_BREAK) LLFREE_FAULT_MAX
};
#undef LLFREE_X_FORCE
#undef LLFREE_X_BREAK
#endif

#define llfree_force(site) plat_unlikely(plat_test_force(LLFREE_##site))
#define llfree_break(site) plat_unlikely(plat_test_break(LLFREE_##site))

#endif
