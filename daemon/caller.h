/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * Who calls: the credentials of a connection, taken once, when it was made (a process that gives up its
 * rights later keeps what its open connection had, as with open files). Immutable but for account,
 * referenced. Event loop's thread only.
 */
struct caller {
	grefcount refs;
	uid_t uid;
	gid_t gid;	     /* primary group */
	GArray *groups;	     /* of gid_t: supplementary ones */
	pid_t pid;	     /* 0: unknown */
	GRefString *account; /* see caller_account() */
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

/* Of a connected unix socket: SO_PEERCRED and SO_PEERGROUPS, as of the peer's connect(). */
int caller_from_socket(int fd, struct caller **ret_caller);

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

/* The caller's cgroup ("/user.slice/…"), read from root_fd's proc at the first question and kept; ""
 * where it cannot be known. Borrowed. */
GRefString *caller_account(struct caller *c, int root_fd);
