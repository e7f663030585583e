/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * morsel.ko's question to a BPF program: from which pools is a frame of an object taken first?
 *
 * A program is a struct_ops map of the type morsel_placement_ops. One at a time: another's
 * registration gives EBUSY; an update of its link replaces it at once. The module can be unloaded
 * when it is gone. It is asked in page faults and populates, not in moves, and must not sleep. It
 * proposes and never counts: an account's limit, or a pool that is full, takes the next pool of its
 * order.
 *
 * ebpf/placement.h of morsel's source has what makes this easy to use in a program.
 */
#ifndef _UAPI_LINUX_MORSEL_PLACEMENT_H
#define _UAPI_LINUX_MORSEL_PLACEMENT_H

#include <linux/types.h>

#define MORSEL_PLACE_POOLS 16 /* at most in an object's placement: MORSEL_MAX_TIERS */

struct morsel_place {
	/* What is asked; the program cannot change it. */
	__u64 object, account;		 /* ids; account 0: none */
	__u64 granule;			 /* which 2 MiB of the object */
	__u32 node;			 /* of the CPU that asks */
	__u32 frames;			 /* of 4 KiB: 1, or 512 of one piece */
	__u32 count;			 /* pools that the object may have frames of */
	__u32 flags;			 /* MORSEL_PLACE_* */
	__u32 pools[MORSEL_PLACE_POOLS]; /* their ids, in the order without a program; then 0 */
	__u32 tiers[MORSEL_PLACE_POOLS]; /* of each of these */
	/* The answer: the first so many as the program returns. */
	__u32 order[MORSEL_PLACE_POOLS];
};
#define MORSEL_PLACE_OWN \
	(1u << 0) /* MORSEL_OBJECT_PLACED: pools are in an order that was chosen for this object */

/*
 * place() returns how many entries of order it has set: ids out of pools, each at most once. Pools that it
 * leaves out are not used for this frame. 0: no opinion. All else (negative, more than count,
 * unknown ids, one of them twice) is refused: the order without a program holds, and
 * placement_refused of MORSEL_IOC_STATS counts it.
 */
struct morsel_placement_ops {
	int (*place)(struct morsel_place *place);
};

#endif
