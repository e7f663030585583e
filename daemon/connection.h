/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "caller.h"

struct manager;

/*
 * A connection that our objects are served on: a client's private one, or the one to the bus. Both have
 * the same objects; what differs is where a caller's credentials come from (gate.h).
 */
struct connection {
	struct manager *manager;
	sd_bus *bus;
	/* Private connections: whose it is, charged with a connection. NULL: the bus. */
	struct caller *caller;
	sd_event_source *auth_timer, *greeted;
	bool closed;
};

/* A private connection: takes over fd, the reference on caller and its charge, also on failure. */
int connection_accept(struct manager *manager, int fd, struct caller *caller,
		      struct connection **ret_connection);
/* The objects of org.parperos.Morsel1.xml on c->bus, whose calls find c as their userdata. */
int connection_add_objects(struct connection *c);
/* Close at once and free soon (from the event loop): a handler of c may be running. */
void connection_close(struct connection *c);
/* Close and free now. Takes NULL, returns NULL. */
struct connection *connection_free(struct connection *c);

/* Replies and signals that a client does not read pile up here; a connection with more is closed. */
#define CONNECTION_UNREAD_MAX 1024
bool connection_reads(struct connection *c);
