// SPDX-License-Identifier: GPL-2.0-or-later
#include "packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for more than the one that may come: the kernel drops silently what does not fit. */
#define FDS_ROOM 4

int packet_send(int socket, const void *packet, size_t len, int fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { .iov_base = (void *)packet, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	}
	do {
		n = sendmsg(socket, &m, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static int take_fds(struct msghdr *m, int *ret_fd)
{
	int fds[FDS_ROOM], fd = -1;
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		}
	if (n == 1 && ret_fd)
		fd = fds[0];
	else
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
	if (ret_fd)
		*ret_fd = fd;
	return (n > 0 && fd < 0) || m->msg_flags & MSG_CTRUNC ? -EPROTO : 0;
}

int packet_receive(int socket, uint8_t packet[static HELPER_PACKET_MAX], int *ret_fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FDS_ROOM * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = packet, .iov_len = HELPER_PACKET_MAX };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	ssize_t n;
	int r, fd = -1;

	/* A peer that ended with a packet of ours unread is told as ECONNRESET, once, before what it sent last. */
	do {
		n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
	} while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	r = take_fds(&m, ret_fd ? &fd : NULL);
	if (r == 0 && m.msg_flags & MSG_TRUNC)
		r = -EMSGSIZE;
	/* SEQPACKET tells an empty packet and the end alike; no packet of ours is empty. */
	if (r == 0 && n == 0)
		r = -ECONNRESET;
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	if (ret_fd)
		*ret_fd = fd;
	return (int)n;
}
