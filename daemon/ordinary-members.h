/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "policy.h"

/* Processes of cgroups whose policy has ManageOrdinary=yes, and not Migrate=off. */
struct ordinary_member {
	pid_t pid;
	uint64_t start; /* with the pid it names one process for good */
	uint64_t pages; /* resident */
	GRefString *cgroup;
	enum policy_migrate migrate; /* on or dry-run */
};

/* Does any section want it? Not where all that say yes are patterns that mean nobody. */
bool ordinary_is_wanted(const struct policy_set *policies);
/* What holds for a cgroup; off: its ordinary memory is not morsel's. */
enum policy_migrate ordinary_migrate(const struct policy_set *policies, const char *cgroup);

/*
 * The max largest of them, largest first: of struct ordinary_member. Cgroups are looked at from those on that say so themselves;
 * at most 65,536. *ret_more: how many processes more there are. Blocking; any thread.
 */
GArray *ordinary_members(int root_fd, const struct policy_set *policies, unsigned int max,
			 unsigned int *ret_more);
