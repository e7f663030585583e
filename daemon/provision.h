/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "gate.h"
#include "helper/protocol.h"

struct manager;

/*
 * The daemon's end of provisioning: morsel-helper does it, a job stands for it. Filled in before the job begins,
 * the worker's while it runs, read when it has ended.
 */
struct provision {
	struct helper_request request;
	char *name;	  /* what was asked for: a tier, "serial:0xc0ffee01", … */
	char *section;	  /* [provision NAME] of the configuration that wants it, or NULL */
	GPtrArray *steps; /* of char *: as they were begun, or would be */
	struct helper_reply end;
};

struct provision *provision_new(enum helper_verb verb, const char *name,
				const struct provision_wish *wish);
struct provision *provision_free(struct provision *p); /* takes NULL, returns NULL */

/* On a worker. 0 or a negative errno, and *ret_error says more. done and total count steps. */
int provision_run(struct provision *p, _Atomic uint64_t *done, _Atomic uint64_t *total,
		  const atomic_bool *cancel, char **ret_error);

/* Handlers of Manager, once it is known that the caller is an admin. */
int provision_call(struct call *call, sd_bus_error *error);
int unprovision_call(struct call *call, sd_bus_error *error);

/* Start what the configuration wants and nobody has tried yet, or tried when its device was not there. */
void provision_configured(struct manager *m);
/* The job has ended, with the machine read again. */
void provision_ended(struct manager *m, const struct provision *p, int result, const char *error);
