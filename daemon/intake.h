/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
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

/* The largest message; no call of org.parperos.Morsel1.xml comes near. */
#define INTAKE_MESSAGE_MAX (32 * 1024)

/* fd: the client's socket, non-blocking; borrowed. uid: the client's. *ret_fd: for sd-bus's input, the
 * caller's. */
int intake_new(int fd, uid_t uid, struct intake **ret_intake, int *ret_fd);
struct intake *intake_free(struct intake *i); /* takes NULL, returns NULL */

/*
 * Pass on the next piece. 1: done, sd-bus can be asked to process it. 0: nothing whole is there yet.
 * -EAGAIN: sd-bus has not read what it was given before. -ECONNRESET: the client has gone; and for what
 * the connection is to be closed: -EBADMSG: not D-Bus; -EMSGSIZE: a message that is too large;
 * -EPROTO: descriptors came along, which no call takes (the kernel has closed them).
 */
int intake_next(struct intake *i);

/* The greeting's last line was passed on: messages follow, if sd-bus agrees (sd_bus_is_ready()). */
bool intake_greeted(const struct intake *i);
