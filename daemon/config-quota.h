/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The limits of [quota], [user NAME] and [cgroup PATH] in morseld.conf. */

enum quota_kind {
	QUOTA_BYTES,
	QUOTA_MORSELS,
	QUOTA_JOBS,
	QUOTA_CALLS,
	QUOTA_CONNECTIONS,
	QUOTA_KINDS
};
#define QUOTA_NONE UINT64_MAX

struct config_limit {
	bool set;
	bool percent;	/* value is a share of all tiers' capacity */
	uint64_t value; /* QUOTA_NONE: no limit */
};

struct config_limits {
	struct config_limit of[QUOTA_KINDS];
};

/* A section: of one user, or of every cgroup whose path matches. */
struct config_quota {
	bool cgroup;
	uid_t uid;
	char *path;	    /* "/", "/user.slice/user-*.slice": each component a glob */
	char **components;  /* of path */
	unsigned int depth; /* how many they are */
	struct config_limits limits;
};

void config_quota_free(gpointer p); /* a struct config_quota * */
/* The limits that hold without a line: argued in docs/quotas.md. */
void config_quota_defaults(struct config_limits *user, GPtrArray *quotas);

/* name: what stands behind "user" or "cgroup" in a section's head. Finds it or appends it to quotas.
 * -EINVAL: *ret_message. */
int config_quota_section(GPtrArray *quotas, bool cgroup, const char *name,
			 struct config_quota **ret_quota, char **ret_message);
/* One line of [quota] (per_user: "BytesPerUser", …) or of the others ("Bytes", …). */
int config_quota_key(struct config_limits *limits, bool per_user, const char *key,
		     const char *value, char **ret_message);

/* Is path one of the cgroups that the section is about (not: below one)? */
bool config_quota_matches(const struct config_quota *q, const char *path);
