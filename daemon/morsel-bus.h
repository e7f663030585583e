/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "gate.h"
#include "registry.h"

/* The methods of Manager that are about morsels: see org.parperos.Morsel1.xml. */
int create_call(struct call *call, sd_bus_error *error);
int open_call(struct call *call, sd_bus_error *error);
int destroy_call(struct call *call, sd_bus_error *error);
int show_call(struct call *call, sd_bus_error *error);
int list_call(struct call *call, sd_bus_error *error);
int move_call(struct call *call, sd_bus_error *error);
int residency_call(struct call *call, sd_bus_error *error);
int explain_call(struct call *call, sd_bus_error *error);
int quota_call(struct call *call, sd_bus_error *error);
int set_access_call(struct call *call, sd_bus_error *error);

/* The morsel that arg means to the caller; NoSuchMorsel or InvalidArgument. Borrowed. */
int morsel_bus_find(struct call *call, const char *arg, enum registry_scope scope,
		    struct morsel **ret_morsel, sd_bus_error *error);
/*
 * The morsel that arg means, which the caller may change: its owner and root; and on the system bus whom polkit allows it
 * to. 1: here it is (borrowed); 0: polkit was asked, the handler returns 0. what: "destroy". Where one may not see
 * it, the error is NoSuchMorsel, whatever polkit says.
 */
int morsel_bus_find_changeable(struct call *call, const char *arg, const char *what,
			       struct morsel **ret_morsel, sd_bus_error *error);
/* Is it a mode that a morsel may have? */
int access_check_mode(uint32_t mode, const char *name, sd_bus_error *error);
/* May the caller give a morsel this group? */
int access_check_group(struct call *call, uint32_t group, const char *name, sd_bus_error *error);
/* The tier, or NoSuchTier with the names there are. Borrowed. */
int morsel_bus_find_tier(struct manager *manager, const char *name, struct tier **ret_tier,
			 sd_bus_error *error);
/* Replies with a descriptor need a connection that passes them: NotSupported. */
int morsel_bus_check_descriptors(struct call *call, sd_bus_error *error);
/* For persist.h: answers the call (its message is userdata, and a reference) with nothing but that it is done. */
void morsel_bus_on_lasting(int r, void *userdata);
/* What Show gives: a{sv}. */
int morsel_bus_append(sd_bus_message *m, struct manager *manager, struct morsel *morsel);

/*
 * [offset, offset + *length) of a morsel, as clients give it: *length 0 when it was not given. Within
 * the morsel and multiples of unit, else InvalidArgument.
 */
int morsel_bus_check_range(const struct morsel *m, bool has_length, uint64_t unit, uint64_t offset,
			   uint64_t *length, sd_bus_error *error);

/* Pages of List that are not finished are answered with Cancelled: the daemon stops. */
void listing_cancel_all(struct manager *manager);

/*
 * A call that a worker answers: charged to its caller until it is answered. Holds the message.
 */
struct late_call {
	struct manager *manager;
	sd_bus_message *message;
	struct quota_account *account;
};
int late_call_begin(struct late_call *l, struct call *call, sd_bus_error *error);
/* Replies with r's error (text: the daemon's, may be NULL) if r < 0; then lets go of everything. */
void late_call_end(struct late_call *l, int r, const char *text);
