/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "caller.h"

/*
 * Whose call is served next. Cgroups (services, containers, logins: the first two names of the path) take turns; within
 * one its users do; within a user the connections: one call each. However many connections, users
 * or calls somebody floods with, another's call waits for one of theirs, not for all.
 *
 * Event loop's thread only.
 */
struct turns;
struct turn_user;

/* Embedded in what has calls to serve, one of a connection or of a name on the bus. */
struct turn {
	/* Serve one. true: there is more, or may be. May end the turn and free it, and then returns false. */
	bool (*run)(struct turn *t);
	struct turns *turns;
	struct turn_user *user;
	GList link; /* in the user's queue while queued */
	bool queued;
	int watched; /* see turn_watch(); -1: none */
};

int turns_new(sd_event *event, struct turns **ret_turns);
/* All turns must have ended. Takes NULL, returns NULL. */
struct turns *turns_free(struct turns *turns);

void turn_init(struct turn *t, struct turns *turns, const struct caller *caller,
	       bool (*run)(struct turn *t));
/* There is something to serve. Does nothing where it waits already. */
void turn_ready(struct turn *t);
/*
 * turn_ready() when fd has one of events (EPOLLIN, …), once. One fd for a turn, until it ends. All of them are
 * seen by one source of the loop: a thousand that become readable cost it one turn. Negative errno.
 */
int turn_watch(struct turn *t, int fd, uint32_t events);
/* Takes it out, and its fd. Does nothing to one that was never begun, or has ended. */
void turn_end(struct turn *t);
