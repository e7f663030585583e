// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "caller.h"

struct caller *caller_new(uid_t uid, gid_t gid, pid_t pid)
{
	struct caller *c = g_new0(struct caller, 1);

	g_ref_count_init(&c->refs);
	c->uid = uid;
	c->gid = gid;
	c->pid = pid;
	c->groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
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
		g_clear_pointer(&c->account, g_ref_string_release);
		g_free(c);
	}
	return NULL;
}

int caller_from_socket(int fd, struct caller **ret_caller)
{
	g_autoptr(Caller) c = NULL;
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
		return -errno;
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

	*ret_caller = g_steal_pointer(&c);
	return 0;
}

/* Files of proc/PID are short; size - 1 bytes at most. */
static int read_proc(int root_fd, pid_t pid, const char *file, char *buffer, size_t size)
{
	char path[64];
	ssize_t n;
	int fd, e;

	if (pid <= 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "proc/%d/%s", pid, file);
	fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, buffer, size - 1);
	e = errno;
	close(fd);
	if (n < 0)
		return -e;
	buffer[n] = '\0';
	return 0;
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

GRefString *caller_account(struct caller *c, int root_fd)
{
	char text[4096];
	char *line, *end;

	if (c->account)
		return c->account;

	/* The unified hierarchy's line is "0::/path". */
	if (read_proc(root_fd, c->pid, "cgroup", text, sizeof(text)) < 0)
		text[0] = '\0';
	line = g_str_has_prefix(text, "0::") ? text : strstr(text, "\n0::");
	if (line) {
		line = strstr(line, "0::") + 3;
		end = strchr(line, '\n');
		if (end)
			*end = '\0';
		if (!g_utf8_validate(line, -1, NULL))
			line = NULL;
	}
	c->account = g_ref_string_new(line ? line : "");
	return c->account;
}
