/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "gate.h"

/*
 * Who may do what goes beyond one's own: root may; on the system bus, polkit is asked about everybody else, without
 * blocking. Where it does not answer, and on the private socket, only root may: there is no name there by which
 * polkit could know the caller, and pids, which it would take, are used again.
 */
struct authority;

/* packaging/org.parperos.morsel.policy has the same. */
#define ACTION_MANAGE "org.parperos.morsel.manage"		 /* the daemon, the tiers */
#define ACTION_MANAGE_OTHERS "org.parperos.morsel.manage-others" /* others' morsels and jobs */
#define ACTION_INSPECT "org.parperos.morsel.inspect"		 /* see all of the daemon's state */

struct authority *authority_new(void);
struct authority *authority_free(struct authority *a); /* takes NULL, returns NULL */
/* The bus went away, and the questions that were on their way with it. */
void authority_forget(struct authority *a);
/* What the last question came to: "answers", "does not answer: …", or NULL: none was asked yet. Borrowed. */
const char *authority_status(const struct authority *a);

/*
 * To be asked by a handler that has found that the caller's own rights do not suffice, before it changes anything.
 * 1: go on. 0: asked; the handler returns 0 at once, and is called again from its beginning when polkit
 * has agreed (what it looked at may have changed; it is asked of nobody twice). Else the answer is refused, now or then:
 * with the error that is passed in, or, where it is not set, AccessDenied. what: "reload the
 * configuration".
 */
int authority_check(struct call *call, const char *action, const char *what, sd_bus_error *error);
