// SPDX-License-Identifier: GPL-2.0-only
/* The body of placement.bpf.c where no module is: run by test-placement-policy with BPF_PROG_TEST_RUN. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "test-placement-policy.h"

char _license[] SEC("license") = "GPL";

SEC("syscall")
int order(struct order_test *ctx)
{
	__u32 pools[MORSEL_PLACE_POOLS], tiers[MORSEL_PLACE_POOLS], answer[MORSEL_PLACE_POOLS] = {};
	struct morsel_policy policy;

	/* The verifier takes constant offsets into the context only. */
	__builtin_memcpy(&policy, &ctx->policy, sizeof(policy));
	__builtin_memcpy(pools, ctx->pools, sizeof(pools));
	__builtin_memcpy(tiers, ctx->tiers, sizeof(tiers));
	ctx->n = morsel_policy_order(&policy, ctx->granule, pools, tiers, ctx->count, answer);
	__builtin_memcpy(ctx->order, answer, sizeof(answer));
	return 0;
}
