/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "plan.h"
#include "record.h"

/*
 * The machine's CXL memory through libcxl, libdaxctl and libndctl: how it is, and what a step does to it. Those
 * libraries read sysfs once and keep what they read, so every look and every step asks anew.
 *
 * One thread; blocks for as long as the kernel takes. Needs the rights to write to sysfs.
 */
struct machine {
	const char *record_dir;
	struct provision_facts facts; /* as of the last look, names kept up to date by steps */
	struct record record;	      /* of the region that is there, made or not by morsel */
};

/*
 * Find what is wished for. 0, or a negative errno with the reason and the next step in ret_text
 * (-ENODEV: there is no such device, -EINVAL: it must be said which memory).
 */
int machine_look(struct machine *m, const struct provision_wish *w,
		 char ret_text[static HELPER_TEXT_MAX]);
/* For execute_ops.run. */
int machine_step(struct machine *m, const struct provision_step *step,
		 char text[static HELPER_TEXT_MAX]);
