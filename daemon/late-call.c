// SPDX-License-Identifier: GPL-2.0-or-later
#include "bus-error.h"
#include "connection.h"
#include "manager.h"
#include "morsel-bus.h"

int late_call_begin(struct late_call *l, struct call *call, sd_bus_error *error)
{
	g_autofree char *text = NULL;
	int r;

	r = quota_charge(call->caller->account, QUOTA_CALLS, 1, NULL, &text);
	if (r < 0)
		return bus_error_set(error, r, text);
	l->manager = call->manager;
	l->message = sd_bus_message_ref(call->message);
	l->account = call->caller->account;
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
	connection_sent(l->manager, sd_bus_message_get_bus(l->message));
	l->message = sd_bus_message_unref(l->message);
	quota_uncharge(l->account, QUOTA_CALLS, 1);
	l->account = NULL;
}
