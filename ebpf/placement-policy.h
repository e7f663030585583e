/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a cgroup's policy means to a placement program: the value of the map that morseld keeps, by
 * account, and the order of pools that follows from it. The same code runs in placement.bpf.c, in a
 * program that tests run with BPF_PROG_TEST_RUN, and as plain C.
 */
#ifndef MORSEL_EBPF_PLACEMENT_POLICY_H
#define MORSEL_EBPF_PLACEMENT_POLICY_H

#include <linux/morsel_placement.h>
#include <linux/types.h>

/* Cgroups whose policy a program can know. */
#define MORSEL_POLICY_ACCOUNTS 65536

/* The tiers' numbers are below this: MORSEL_MAX_TIERS. */
#define MORSEL_POLICY_TIERS 16

struct morsel_policy {
	__u32 count;			   /* of tier and weight */
	__u32 weights;			   /* sum of weight; 0: tier[0] comes first everywhere */
	__u32 flags;			   /* MORSEL_POLICY_* */
	__u32 pad;			   /* 0 */
	__u16 tier[MORSEL_POLICY_TIERS];   /* the module's numbers, in order, each once */
	__u16 weight[MORSEL_POLICY_TIERS]; /* of so many granules this tier comes first */
};
#define MORSEL_POLICY_ONLY (1u << 0) /* pools of other tiers are left out */

/*
 * The compiler must not see that a comparison is behind this, or it makes a branch of it, and the
 * verifier walks 2^n paths for n pools. Only numbers below 2^63.
 */
static inline __attribute__((always_inline)) __u64 morsel_is_below(__u64 a, __u64 b)
{
	__u64 difference = a - b;

	__asm__ volatile("" : "+r"(difference));
	return difference >> 63;
}

static inline __attribute__((always_inline)) __u64 morsel_is_same(__u64 a, __u64 b)
{
	return morsel_is_below(a ^ b, 1);
}

/* Which of policy's tiers granule begins with. */
static inline __attribute__((always_inline)) __u32
morsel_policy_first(const struct morsel_policy *policy, __u64 granule)
{
	__u64 turn;
	__u32 i;

	if (!policy->weights)
		return 0;
	turn = granule % policy->weights;
	for (i = 0; i < MORSEL_POLICY_TIERS; i++) {
		if (turn < policy->weight[i])
			return i;
		turn -= policy->weight[i];
	}
	/* weights is more than their sum. */
	return 0;
}

/*
 * The pools of an object in the order of policy, for one granule: how many, 0: no opinion. The tiers in
 * their order, but the granule's first; of a tier's several pools another one first for each round of the
 * weights; then, unless they are left out, all others as they were. pools, tiers: count of each, at
 * most MORSEL_PLACE_POOLS.
 */
static inline __attribute__((always_inline)) __u32
morsel_policy_order(const struct morsel_policy *policy, __u64 granule,
		    const __u32 pools[MORSEL_PLACE_POOLS], const __u32 tiers[MORSEL_PLACE_POOLS],
		    __u32 count, __u32 order[MORSEL_PLACE_POOLS])
{
	const __u32 unlisted = MORSEL_POLICY_TIERS + 1; /* 0 is the first, i + 1 the others */
	__u64 round = policy->weights ? granule / policy->weights : 0;
	__u32 first = morsel_policy_first(policy, granule), n = 0, i, j;
	__u32 rank[MORSEL_POLICY_TIERS], place[MORSEL_PLACE_POOLS] = {};

	for (i = 0; i < MORSEL_POLICY_TIERS; i++)
		rank[i] = unlisted;
	for (i = 0; i < MORSEL_POLICY_TIERS && i < policy->count; i++)
		rank[policy->tier[i] & (MORSEL_POLICY_TIERS - 1)] =
			i + 1 - morsel_is_same(i, first) * (i + 1);

	/* Each pool's number in the order, with gaps: by tier, then by its turn within. */
	for (i = 0; i < MORSEL_PLACE_POOLS && i < count; i++) {
		__u32 r = rank[tiers[i] & (MORSEL_POLICY_TIERS - 1)];
		__u64 have = 0, before = 0, listed = morsel_is_below(r, unlisted);

		for (j = 0; j < MORSEL_PLACE_POOLS && j < count; j++) {
			__u64 same = morsel_is_same(tiers[j], tiers[i]);

			have += same;
			before += same & morsel_is_below(j, i);
		}
		n += listed;
		/* Of what is not listed, rank decides nothing. */
		before = listed ? (before + have - round % have) % have : i;
		place[i] = r * MORSEL_PLACE_POOLS + before;
	}
	if (!(policy->flags & MORSEL_POLICY_ONLY))
		n = count;
	for (i = 0; i < MORSEL_PLACE_POOLS && i < count; i++) {
		__u64 at = 0;

		for (j = 0; j < MORSEL_PLACE_POOLS && j < count; j++)
			at += morsel_is_below(place[j], place[i]);
		order[at & (MORSEL_PLACE_POOLS - 1)] = pools[i];
	}
	return n;
}

#endif
