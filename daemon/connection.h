/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "caller.h"
#include "turns.h"

struct manager;

/*
 * A connection that our objects are served on: a client's private one, or the one to the bus. Both have
 * the same objects; what differs is where a caller's credentials come from (gate.h).
 */
struct connection {
	struct manager *manager;
	sd_bus *bus; /* NULL: the client has not said anything yet */
	/* Private connections: whose it is, charged with a connection. NULL: the bus. */
	struct caller *caller;
	int fd;		       /* the client's socket, which intake reads; -1 on the bus */
	struct intake *intake; /* what the client sends; sd-bus writes by itself, to a duplicate */
	struct turn turn;
	sd_event_source *auth_timer;
	bool closed;
};

/* A private connection: takes over fd, the reference on caller and its charge, also on failure. */
int connection_accept(struct manager *manager, int fd, struct caller *caller,
		      struct connection **ret_connection);
/* The objects of org.parperos.Morsel1.xml on c->bus, whose calls find c as their userdata. */
int connection_add_objects(struct connection *c);
/*
 * A reply or signal was sent on bus outside of a call's handler: if not all of it went out, it is seen to that
 * the rest does. (Private connections are not attached to the event loop: sd-bus would look at every one of
 * them in each of the loop's turns.) Harmless for any bus.
 */
void connection_sent(struct manager *manager, sd_bus *bus);
/* Close at once and free soon (from the event loop): a handler of c may be running. */
void connection_close(struct connection *c);
/* Close and free now. Takes NULL, returns NULL. */
struct connection *connection_free(struct connection *c);

/*
 * Of a client that does not read its replies no more calls are served once its socket is full; that is
 * soon, for what lies there is the daemon's memory. What comes without being asked for (signals of jobs
 * that it started) piles up to this number of messages, then it is closed.
 */
#define CONNECTION_SEND_BYTES (64 * 1024)
#define CONNECTION_UNREAD_MAX 1024
bool connection_reads(struct connection *c);
