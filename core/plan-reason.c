/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "plan.h"

static const struct {
	const char *name, *text;
} reasons[PLAN_REASONS] = {
	[PLAN_HOT] = { "hot", "accessed enough to be worth the move, and there is room" },
	[PLAN_BETTER] = { "better", "accessed more than what it takes the place of" },
	[PLAN_SHARE] = { "share",
			 "its cgroup has less than its share, and takes from one that has more" },
	[PLAN_ROOM] = { "room", "makes room for something that is accessed more" },
	[PLAN_SPREAD] = { "spread",
			  "the nearer tier is so loaded that the other one answers sooner" },
	[PLAN_DRAIN] = { "drain", "its tier is being emptied" },
	[PLAN_OVER_MAX] = { "over-max", "its cgroup has more there than its Max" },
	[PLAN_OVER_HIGH] = { "over-high", "its cgroup has more there than its High" },
	[PLAN_MERGE] = { "merge", "accessed evenly again: its pages come together" },
};

static const char *const faults[PLAN_FAULTS] = {
	[PLAN_BAD_REGION] = "a region is out of range, or its account does not exist",
	[PLAN_BAD_ACCOUNT] = "a cgroup's parent does not come before it",
	[PLAN_BAD_TIER] = "no latency is known of this tier",
	[PLAN_LOW_MAX] =
		"Low is above its own or an ancestor's Max or High, and counts up to there",
	[PLAN_LOW_SUM] =
		"the children's Low are more than there is: each is protected in proportion",
	[PLAN_NOWHERE] = "must leave this tier, and no allowed tier has room",
};

const char *plan_reason_name(enum plan_reason reason)
{
	return reason < PLAN_REASONS ? reasons[reason].name : "?";
}

const char *plan_reason_text(enum plan_reason reason)
{
	return reason < PLAN_REASONS ? reasons[reason].text : "?";
}

const char *plan_fault_text(enum plan_fault fault)
{
	return fault < PLAN_FAULTS ? faults[fault] : "?";
}
