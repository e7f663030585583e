// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "caller.h"
#include "cgroup-path.h"

#ifndef SO_PEERPIDFD /* Linux 6.5 */
#define SO_PEERPIDFD 77
#endif

/* UINT32_MAX: all ids are mapped. */
static uid_t overflow_uid = UINT32_MAX;
static gid_t overflow_gid = UINT32_MAX;

struct caller *caller_new(uid_t uid, gid_t gid, pid_t pid)
{
	struct caller *c = g_new0(struct caller, 1);

	g_ref_count_init(&c->refs);
	c->uid = uid;
	c->gid = gid;
	c->pid = pid;
	c->groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
	c->cgroup = g_ref_string_new_intern("");
	return c;
}

struct caller *caller_ref(struct caller *c)
{
	g_ref_count_inc(&c->refs);
	return c;
}

struct caller *caller_unref(struct caller *c)
{
	if (c && g_ref_count_dec(&c->refs)) {
		g_array_unref(c->groups);
		quota_account_unref(c->account);
		g_ref_string_release(c->cgroup);
		g_free(c);
	}
	return NULL;
}

/* Files of proc/PID are short; size - 1 bytes at most. */
static int read_file(int root_fd, const char *path, char *buffer, size_t size)
{
	ssize_t n;
	int fd, e;

	fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buffer, size - 1);
	e = errno;
	close(fd);
	if (n < 0)
		return -e;
	buffer[n] = '\0';
	return 0;
}

static int read_proc(int root_fd, pid_t pid, const char *file, char *buffer, size_t size)
{
	char path[64];
	int r;

	if (pid <= 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "proc/%d/%s", pid, file);
	r = read_file(root_fd, path, buffer, size);
	return r == -ENOENT ? -ESRCH : r;
}

/* Does the one line of the map say that every number is itself or another, and none is left out? */
static bool maps_all(int root_fd, const char *path)
{
	unsigned int inside, outside, n;
	char text[4096];

	/* Without user namespaces there is no map. */
	if (read_file(root_fd, path, text, sizeof(text)) < 0)
		return true;
	return sscanf(text, "%u %u %u", &inside, &outside, &n) == 3 && inside == 0 &&
	       n == UINT32_MAX;
}

static uint32_t overflow(int root_fd, const char *path)
{
	char text[32];

	/* The kernel's default where it does not say. */
	return read_file(root_fd, path, text, sizeof(text)) < 0 ? 65534 : strtoul(text, NULL, 10);
}

void caller_init(int root_fd)
{
	if (!maps_all(root_fd, "proc/self/uid_map"))
		overflow_uid = overflow(root_fd, "proc/sys/kernel/overflowuid");
	if (!maps_all(root_fd, "proc/self/gid_map"))
		overflow_gid = overflow(root_fd, "proc/sys/kernel/overflowgid");
}

bool caller_uid_is_anybody(uid_t uid)
{
	return uid == overflow_uid || uid == UINT32_MAX;
}

int caller_read_groups(int root_fd, struct caller *c)
{
	/* 65536 groups are the kernel's limit, but the first page or two hold everyone's. */
	g_autofree char *text = g_malloc(65536);
	unsigned int uid, gid;
	char *p, *end;
	int r;

	r = read_proc(root_fd, c->pid, "status", text, 65536);
	if (r < 0)
		return r;
	p = strstr(text, "\nUid:");
	if (!p || sscanf(p, "\nUid: %*u %u", &uid) != 1 || uid != c->uid)
		return -ESRCH; /* the number belongs to another process by now */
	p = strstr(text, "\nGid:");
	if (!p || sscanf(p, "\nGid: %*u %u", &gid) != 1)
		return -EBADMSG;
	c->gid = gid;
	p = strstr(text, "\nGroups:");
	if (!p)
		return -EBADMSG;
	g_array_set_size(c->groups, 0);
	for (p += strlen("\nGroups:"); *p == ' ' || *p == '\t'; p = end) {
		gid_t g = strtoul(p, &end, 10);

		if (end == p)
			break;
		g_array_append_val(c->groups, g);
	}
	return 0;
}

bool caller_in_group(const struct caller *c, gid_t gid)
{
	if (gid == overflow_gid)
		return false;
	if (c->gid == gid)
		return true;
	for (unsigned int i = 0; i < c->groups->len; i++)
		if (g_array_index(c->groups, gid_t, i) == gid)
			return true;
	return false;
}

bool caller_is_admin(const struct caller *c)
{
	return c->uid == 0 || c->uid == geteuid();
}

/* Does the number still belong to whom it belonged to? */
static bool is_alive(int root_fd, int pidfd, const struct caller *c)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	char text[1024];
	unsigned int uid;
	const char *line;

	if (pidfd >= 0)
		return poll(&p, 1, 0) == 0;
	if (kill(c->pid, 0) < 0 && errno == ESRCH)
		return false;
	/* Where processes of others are hidden, nothing contradicts. */
	if (read_proc(root_fd, c->pid, "status", text, sizeof(text)) < 0)
		return true;
	line = strstr(text, "\nUid:");
	return !line || sscanf(line, "\nUid: %*u %u", &uid) != 1 || uid == c->uid;
}

/* The path in text, which is changed; NULL: there is none. */
static char *find_path(char *text)
{
	/* The unified hierarchy's line is "0::/path". */
	char *line = g_str_has_prefix(text, "0::") ? text : strstr(text, "\n0::"), *end;

	if (!line)
		return NULL;
	line = strstr(line, "0::") + 3;
	end = strchr(line, '\n');
	if (end)
		*end = '\0';
	/* Of a cgroup that was removed under the process. */
	if (g_str_has_suffix(line, " (deleted)"))
		line[strlen(line) - strlen(" (deleted)")] = '\0';
	return g_utf8_validate(line, -1, NULL) ? line : NULL;
}

int caller_read_cgroup(int root_fd, int pidfd, struct caller *c)
{
	char text[8192], again[8192];
	char *path, *same;
	uint64_t number = 0;

	/* 0: a process of a pid namespace that the daemon does not see. */
	if (c->pid <= 0)
		return 0;
	if (read_proc(root_fd, c->pid, "cgroup", text, sizeof(text)) < 0)
		text[0] = '\0';
	path = find_path(text);
	if (path)
		number = cgroup_number(root_fd, path);
	/* A cgroup stays while there is a process in it: the number is that one's if it is in it still. */
	if (number && (read_proc(root_fd, c->pid, "cgroup", again, sizeof(again)) < 0 ||
		       !(same = find_path(again)) || strcmp(same, path) != 0))
		number = 0;
	/* Looked at afterwards: what was read is then this process's. */
	if (!is_alive(root_fd, pidfd, c))
		return -ESRCH;
	if (!path)
		return 0;
	g_ref_string_release(c->cgroup);
	c->cgroup = g_ref_string_new(path);
	c->cgroup_id = number;
	return 0;
}

int caller_from_socket(int root_fd, int fd, struct caller **ret_caller)
{
	g_autoptr(Caller) c = NULL;
	struct ucred cred;
	socklen_t length = sizeof(cred);
	int pidfd = -1, r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
		return -errno;
	if (caller_uid_is_anybody(cred.uid))
		return -EPERM;
	c = caller_new(cred.uid, cred.gid, cred.pid);

	/* The kernel says with ERANGE how many bytes there are; they cannot change after connect(). */
	length = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) < 0) {
		if (errno != ERANGE)
			return -errno;
		g_array_set_size(c->groups, length / sizeof(gid_t));
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, c->groups->data, &length) < 0)
			return -errno;
	}

	length = sizeof(pidfd);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) < 0) {
		if (errno == ESRCH) /* reaped already */
			return -ESRCH;
		pidfd = -1;
	}
	r = caller_read_cgroup(root_fd, pidfd, c);
	if (pidfd >= 0)
		close(pidfd);
	if (r < 0)
		return r;

	*ret_caller = g_steal_pointer(&c);
	return 0;
}
