// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper-io.h"

int keeper_send(int fd, const struct keeper_message *m, const int *fds, int flags)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * KEEPER_BATCH)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { (void *)m, keeper_message_size(m->head.n) };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fds && m->head.n > 0) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * m->head.n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * m->head.n);
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * m->head.n);
	}
	do {
		n = sendmsg(fd, &header, flags | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static int check(const struct keeper_message *m, size_t size, unsigned int n_fds, int flags)
{
	bool with_fds = m->head.type == KEEPER_PUT || m->head.type == KEEPER_HAVE;

	if (flags & MSG_CTRUNC)
		return -EMFILE;
	if (flags & MSG_TRUNC || size < sizeof(m->head) || m->head.version != KEEPER_VERSION ||
	    m->head.n > KEEPER_BATCH || size != keeper_message_size(m->head.n) ||
	    n_fds != (with_fds ? m->head.n : 0))
		return -EBADMSG;
	return 0;
}

int keeper_receive(int fd, struct keeper_message *m, int fds[static KEEPER_BATCH],
		   unsigned int *ret_n, int flags)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * KEEPER_BATCH)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr header = { .msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes) };
	unsigned int n_fds = 0;
	ssize_t n;
	int r;

	/* ECONNRESET: the peer has ended and left messages of ours unread. It is told once, before what the
	 * peer has sent, which is still there. */
	do {
		n = recvmsg(fd, &header, flags | MSG_CMSG_CLOEXEC);
	} while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
		unsigned int k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(fds + n_fds, CMSG_DATA(c), k * sizeof(int));
		n_fds += k;
	}
	if (n == 0 && n_fds == 0)
		return -ENODATA;
	r = check(m, (size_t)n, n_fds, header.msg_flags);
	if (r < 0) {
		for (unsigned int i = 0; i < n_fds; i++)
			close(fds[i]);
		return r;
	}
	*ret_n = n_fds;
	return 0;
}
