/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "caller.h"

struct connection;
struct manager;

/*
 * In front of every method: finds out who calls, then calls the handler with it. On private connections that is
 * known; on the bus it is asked for without blocking, remembered by the caller's unique name, and
 * the handler is called when the answer has come and it is the caller's turn. Both look the same to a handler.
 */
struct call;
/*
 * Replies itself, now or later, and returns 0 or more; or returns a negative errno, with error set or
 * not, and did not. Borrows everything in call.
 */
typedef int (*call_handler_t)(struct call *call, sd_bus_error *error);

struct call {
	struct manager *manager;
	struct connection *connection; /* may be gone when a late reply is sent */
	struct caller *caller;
	sd_bus_message *message;
	call_handler_t handler; /* the one that runs */
	const char *granted;	/* the action of polkit's that was allowed for this call, or NULL */
};

/* Run call->handler, and reply with its error. */
void gate_run(struct call *call);

/* For a vtable's handler: its result is the vtable handler's result. */
int gate_call(struct connection *c, sd_bus_message *m, call_handler_t handler, sd_bus_error *error);

/* The credentials of the sender of a message if they are known already, else NULL. */
struct caller *gate_known(struct connection *c, sd_bus_message *m);

/* Those of unique names on the bus. */
struct gate;
struct gate *gate_new(void);
struct gate *gate_free(struct gate *g); /* takes NULL, returns NULL */
/* The bus went away, and its unique names with it. */
void gate_forget(struct gate *g);
