/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "protocol.h"

/* What a run needs to know of the one who asked; all borrowed. */
struct provision_call {
	const char *who; /* for the log */
	void (*step)(void *userdata, const char *text, unsigned int number, unsigned int total);
	bool (*stopped)(void *userdata);
	void *userdata;
};

/*
 * HELPER_PROVISION and HELPER_UNPROVISION from look to end, one at a time on the machine. Fills in ret_reply, an
 * end. Logs what was done and by whom.
 */
void provision(const struct helper_request *request, const struct provision_call *call,
	       struct helper_reply *ret_reply);
