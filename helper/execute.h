/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "plan.h"

/*
 * Carries a plan out, and takes back what was done where a step fails or somebody says stop. What a step does
 * to the machine is behind run(), which makes it *so*: one that finds it so already does nothing and succeeds.
 */
struct execute_ops {
	/* A negative errno on failure, with why in text where it knows more than the errno, else "". */
	int (*run)(void *userdata, const struct provision_step *step,
		   char text[static HELPER_TEXT_MAX]);
	/* Before each: number (from 1) of total; undoing: it is being taken back. */
	void (*progress)(void *userdata, const struct provision_step *step, unsigned int number,
			 unsigned int total, bool undoing);
	/* Asked between steps. */
	bool (*stopped)(void *userdata);
	/* How it is now, for words. */
	const struct provision_facts *(*facts)(void *userdata);
};

/*
 * 0, or the first error (-ECANCELED: stopped) with what failed, why, what to do, and whether everything is
 * as it was before, in ret_text.
 */
int execute(const struct provision_plan *plan, const struct execute_ops *ops, void *userdata,
	    char ret_text[static HELPER_TEXT_MAX]);
