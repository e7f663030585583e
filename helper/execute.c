// SPDX-License-Identifier: GPL-2.0-or-later
#include "execute.h"

#include <errno.h>
#include <glib.h>

static int run(const struct execute_ops *ops, void *userdata, const struct provision_step *step,
	       char text[static HELPER_TEXT_MAX])
{
	int r;

	text[0] = 0;
	r = ops->run(userdata, step, text);
	if (r < 0 && text[0] == 0)
		plan_explain(step, r, ops->facts(userdata), text);
	return r;
}

/* From the one that failed backwards: it may be half done. NULL, or what stays. */
static char *take_back(const struct provision_plan *plan, unsigned int from,
		       const struct execute_ops *ops, void *userdata)
{
	char text[HELPER_TEXT_MAX], what[HELPER_TEXT_MAX];
	char *left = NULL;

	for (unsigned int i = from + 1; i-- > 0;) {
		struct provision_step step = { .verb = plan->steps[i].undo,
					       .undo = STEP_NONE,
					       .size = plan->steps[i].size };

		if (step.verb == STEP_NONE)
			continue;
		ops->progress(userdata, &step, i + 1, plan->n, true);
		/* What was already in the way of one may not be of the next. */
		if (run(ops, userdata, &step, text) < 0 && !left) {
			plan_describe(&step, ops->facts(userdata), what);
			left = g_strdup_printf("to %s failed too: %s", what, text);
		}
	}
	return left;
}

int execute(const struct provision_plan *plan, const struct execute_ops *ops, void *userdata,
	    char ret_text[static HELPER_TEXT_MAX])
{
	char text[HELPER_TEXT_MAX], what[HELPER_TEXT_MAX];
	g_autofree char *left = NULL, *all = NULL;
	unsigned int i;
	int r = 0;

	for (i = 0; i < plan->n; i++) {
		/* Before it is done: afterwards names may be gone. */
		plan_describe(&plan->steps[i], ops->facts(userdata), what);
		if (ops->stopped(userdata)) {
			r = -ECANCELED;
			break;
		}
		ops->progress(userdata, &plan->steps[i], i + 1, plan->n, false);
		r = run(ops, userdata, &plan->steps[i], text);
		if (r < 0)
			break;
	}
	if (r == 0)
		return 0;
	if (r == -ECANCELED) {
		if (i > 0)
			left = take_back(plan, i - 1, ops, userdata);
		all = g_strdup_printf("cancelled before \"%s\"", what);
	} else {
		left = take_back(plan, i, ops, userdata);
		all = g_strdup_printf("cannot %s: %s", what, text);
	}
	if (left)
		g_snprintf(
			ret_text, HELPER_TEXT_MAX,
			"%s Taking back what was done did not work out: %s \"tier unprovision\" removes what is "
			"left.",
			all, left);
	else
		g_snprintf(ret_text, HELPER_TEXT_MAX, "%s%s", all,
			   r == -ECANCELED ? "; everything is as it was before"
					   : " Everything is as it was before.");
	return r;
}
