// SPDX-License-Identifier: GPL-2.0-or-later
#include "bus-error.h"
#include "manager.h"
#include "morsel-bus.h"

int late_call_begin(struct late_call *l, struct call *call, sd_bus_error *error)
{
	struct user *user = registry_user_get(call->manager->registry, call->caller->uid);

	if (user->calls >= CALLS_PER_USER) {
		registry_user_put(call->manager->registry, user);
		return bus_error_setf(error, ERROR_QUOTA_EXCEEDED,
				      "%d calls of %s wait for their answers; that is the limit",
				      CALLS_PER_USER,
				      users_name(call->manager->users, call->caller->uid));
	}
	user->calls++;
	l->manager = call->manager;
	l->message = sd_bus_message_ref(call->message);
	l->user = user;
	return 0;
}

void late_call_end(struct late_call *l, int r, const char *text)
{
	if (r < 0) {
		sd_bus_error error = SD_BUS_ERROR_NULL;

		bus_error_set(&error, r, text);
		/* Whoever asked may have gone. */
		(void)sd_bus_reply_method_error(l->message, &error);
		sd_bus_error_free(&error);
		if (r == -EMFILE || r == -ENFILE)
			manager_log_descriptors(l->manager);
	}
	l->message = sd_bus_message_unref(l->message);
	l->user->calls--;
	registry_user_put(l->manager->registry, l->user);
	l->user = NULL;
}
