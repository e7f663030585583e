/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "policy.h"

/*
 * What of policies cannot be as they say: none of it is an error of a file, for tiers come and go. Adds texts
 * (warnings.h) that name the cgroup, the value and where it stands. capacity: a tier's name → uint64_t * bytes.
 */
/* Of one cgroup: tiers that are not there, wishes outside Allow, Low over High or Max, High over Max. */
void policy_check_cgroup(const struct policy_set *s, const char *path, GHashTable *capacity,
			 GPtrArray *warnings);
/* Of those, the last: of one tier. */
void policy_check_limits(const struct policy_set *s, const char *path, const char *tier,
			 GPtrArray *warnings);
/* The same of all, and Low of several together over what there is of a tier, or over Max of the cgroup above them. */
void policy_check_all(const struct policy_set *s, GHashTable *capacity, GPtrArray *warnings);
