/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "keeper-proto.h"

/*
 * One message, with as many descriptors as it has ids if fds is not NULL. flags: MSG_DONTWAIT or 0.
 * -EAGAIN, -ETOOMANYREFS (RLIMIT_NOFILE descriptors of this user are on their way), or what sendmsg
 * gives; nothing was sent then.
 */
int keeper_send(int fd, const struct keeper_message *m, const int *fds, int flags);

/*
 * One message; those of its descriptors are the caller's (close-on-exec), *ret_n of them, which is
 * m->head.n for PUT and HAVE and 0 for the others. -EAGAIN; -ENODATA: the peer is gone; -EMFILE: this process
 * cannot hold so many; -EBADMSG: it is not a message of this protocol; nothing is left open then.
 */
int keeper_receive(int fd, struct keeper_message *m, int fds[static KEEPER_BATCH],
		   unsigned int *ret_n, int flags);
