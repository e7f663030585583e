/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What a client sends on the private socket, one piece at a time: a line of its greeting, or a whole
 * message. sd-bus itself would read as long as there is something, allocate what a header announces (up to
 * 128 MiB), and keep what descriptors come along; so it gets its input by a socket pair, and the intake
 * decides how much and when.
 *
 * A greeting names the user; sd-bus compares that with its peer, which is the daemon. So the intake compares
 * it with the client's, and passes on what says the same of the daemon.
 */
struct intake;

/* The largest message; no call of org.parperos.Morsel1.xml comes near. What is larger is read and thrown away, a
 * piece at a time, so that its sender can be answered: one that finds the connection closed while it is still
 * sending does not read why. */
#define INTAKE_MESSAGE_MAX (32 * 1024)
/* D-Bus's own limit. */
#define INTAKE_DISCARD_MAX (128 * 1024 * 1024)

/* fd: the client's socket, non-blocking; borrowed. uid: the client's. *ret_fd: for sd-bus's input, the
 * caller's. */
int intake_new(int fd, uid_t uid, struct intake **ret_intake, int *ret_fd);
struct intake *intake_free(struct intake *i); /* takes NULL, returns NULL */

/*
 * Pass on the next piece. 1: done, sd-bus can be asked to process it (in vain, where it was thrown away).
 * INTAKE_DISCARDED: the last piece of a message that is too large was thrown away. 0: nothing whole is there yet.
 * -EAGAIN: sd-bus has not read what it was given before. -ECONNRESET: the client has gone; and for what
 * the connection is to be closed: -EBADMSG: not D-Bus; -EMSGSIZE: a message of more than
 * INTAKE_DISCARD_MAX; -EPROTO: descriptors came along, which no call takes (the kernel has closed them).
 */
#define INTAKE_DISCARDED 2
int intake_next(struct intake *i);

/* Of the message that was thrown away: its size, and its serial number where it is a call that wants an answer,
 * else 0. */
uint64_t intake_discarded(const struct intake *i, uint32_t *ret_serial);

/* The greeting's last line was passed on: messages follow, if sd-bus agrees (sd_bus_is_ready()). */
bool intake_greeted(const struct intake *i);
