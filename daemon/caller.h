/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "quota.h"

/*
 * Who calls: the credentials of a connection, taken once, when it was made (a process that gives up its
 * rights later keeps what its open connection had, as with open files). Immutable once it is made,
 * referenced. Event loop's thread only.
 */
struct caller {
	grefcount refs;
	uid_t uid;
	gid_t gid;	/* primary group */
	GArray *groups; /* of gid_t: supplementary ones */
	pid_t pid;	/* 0: unknown */
	GRefString *
		cgroup; /* "/user.slice/…", as the daemon's cgroup namespace shows it; "": unknown */
	uint64_t cgroup_id; /* its number (inode), 0: unknown */
	struct quota_account
		*account; /* what its calls are charged to; set by who makes the caller */
};

struct caller *caller_new(uid_t uid, gid_t gid, pid_t pid);
struct caller *caller_ref(struct caller *c);
struct caller *caller_unref(struct caller *c); /* takes NULL, returns NULL */
typedef struct caller Caller;
static inline void caller_unrefp(Caller *c)
{
	caller_unref(c);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Caller, caller_unrefp)

/*
 * Of a connected unix socket: SO_PEERCRED and SO_PEERGROUPS, as of the peer's connect(), and its cgroup as
 * it is now, from root_fd's proc. -ESRCH: the process that connected has gone, or has given its number to
 * another: whose cgroup to charge cannot be known. -EPERM: the uid has no number in the daemon's
 * user namespace (see caller_init()).
 */
int caller_from_socket(int root_fd, int fd, struct caller **ret_caller);

/*
 * Are all ids known here? In a user namespace that maps only some, the kernel shows all others as
 * one, the overflow id: callers with it may be anybody, and so are nobody. Called once, at the start.
 */
void caller_init(int root_fd);
/* Is uid a number that many may have behind it? */
bool caller_uid_is_anybody(uid_t uid);

/* Primary group of a process, and its groups, from root_fd's proc/PID/status; for buses that do not tell.
 * -ESRCH: it is gone. */
int caller_read_groups(int root_fd, struct caller *c);

bool caller_in_group(const struct caller *c, gid_t gid);
static inline bool caller_is_root(const struct caller *c)
{
	return c->uid == 0;
}
/* root or the user that the daemon runs as. */
bool caller_is_admin(const struct caller *c);

/*
 * Read its cgroup from root_fd's proc, and that one's number. pidfd: of the process, or -1: then that the process has the right
 * uid must do. -ESRCH: it is gone. 0 with an unknown cgroup where /proc does not tell.
 */
int caller_read_cgroup(int root_fd, int pidfd, struct caller *c);
