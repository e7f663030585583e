/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/*
 * Packets of protocol.h over a connected socket. Both block as the socket's SO_RCVTIMEO and SO_SNDTIMEO say; no
 * SIGPIPE. 0 or a negative errno; -EAGAIN: time is up. Any thread.
 */

/* fd: a descriptor that goes along, or -1; stays the caller's. */
int packet_send(int socket, const void *packet, size_t len, int fd);
/*
 * One whole packet of at most HELPER_PACKET_MAX bytes: the length, or -ECONNRESET at the end of the
 * connection, -EMSGSIZE if it was longer. *ret_fd (NULL: none is taken): what came along, or -1; the
 * caller's. More than one descriptor, or one that is not wanted: closed, -EPROTO.
 */
int packet_receive(int socket, uint8_t packet[static HELPER_PACKET_MAX], int *ret_fd);
