// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "authority.h"
#include "bus-error.h"
#include "connection.h"
#include "log.h"
#include "manager.h"
#include "morsel-bus.h"

/* People need time to find their password; a program that asks for no dialog gets an answer at once. */
#define ANSWER_USEC (30 * UINT64_C(1000000))
#define DIALOG_USEC (300 * UINT64_C(1000000))

struct authority {
	GQueue questions; /* of struct question */
	char *status;
};

struct question {
	struct late_call late;
	struct connection *connection;
	struct caller *caller;
	call_handler_t handler;
	const char *action; /* static */
	sd_bus_error denied;
	sd_bus_slot *slot;
	GList link;
};

struct authority *authority_new(void)
{
	struct authority *a = g_new0(struct authority, 1);

	g_queue_init(&a->questions);
	return a;
}

static void question_free(struct authority *a, struct question *q)
{
	g_queue_unlink(&a->questions, &q->link);
	sd_bus_slot_unref(q->slot);
	if (q->late.message)
		late_call_end(&q->late, 0, NULL);
	caller_unref(q->caller);
	sd_bus_error_free(&q->denied);
	g_free(q);
}

void authority_forget(struct authority *a)
{
	struct question *q;

	while ((q = g_queue_peek_head(&a->questions)))
		question_free(a, q);
}

struct authority *authority_free(struct authority *a)
{
	if (a) {
		authority_forget(a);
		g_free(a->status);
		g_free(a);
	}
	return NULL;
}

const char *authority_status(const struct authority *a)
{
	return a->status;
}

static void refuse(struct question *q, const char *why)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;

	if (q->denied.name && g_str_equal(q->denied.name, ERROR_ACCESS_DENIED) && why)
		bus_error_setf(&error, ERROR_ACCESS_DENIED, "%s (%s)", q->denied.message, why);
	else
		sd_bus_error_copy(&error, &q->denied);
	(void)sd_bus_reply_method_error(q->late.message, &error);
	sd_bus_error_free(&error);
}

/* (bba{ss}): is authorized, could be after a dialog, details. */
static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct question *q = userdata;
	struct authority *a = q->late.manager->authority;
	const sd_bus_error *e = sd_bus_message_get_error(reply);
	int granted = 0, challenge = 0;

	g_clear_pointer(&a->status, g_free);
	if (!e && (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
		   sd_bus_message_read(reply, "bb", &granted, &challenge) < 0))
		granted = challenge = 0;
	if (e) {
		static struct log_rate rate = { .interval_usec = 10000000, .burst = 1 };
		g_autofree char *why = g_strdup_printf("polkit does not answer: %s",
						       e->message ? e->message : e->name);

		a->status =
			g_strdup_printf("does not answer: %s", e->message ? e->message : e->name);
		if (log_rate_pass(&rate, LOG_NO_POLKIT))
			log_line(LOG_NOTICE, LOG_NO_POLKIT, q->action,
				 "%s; only root may do what needs %s", why, q->action);
		refuse(q, why);
	} else if (!granted) {
		a->status = g_strdup("answers");
		refuse(q, challenge ? "polkit would ask for a password: allow dialogs"
				    : "polkit does not allow it");
	} else {
		struct call call = { .manager = q->late.manager,
				     .connection = q->connection,
				     .caller = q->caller,
				     .message = q->late.message,
				     .handler = q->handler,
				     .granted = q->action };

		a->status = g_strdup("answers");
		sd_bus_message_rewind(call.message, true);
		gate_run(&call);
	}
	question_free(a, q);
	return 0;
}

static int ask(struct call *call, const char *action, sd_bus_error *error)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *m = NULL;
	struct authority *a = call->manager->authority;
	int dialog = sd_bus_message_get_allow_interactive_authorization(call->message) > 0;
	sd_bus_error refused = SD_BUS_ERROR_NULL;
	struct question *q;
	int r;

	r = sd_bus_message_new_method_call(call->connection->bus, &m, "org.freedesktop.PolicyKit1",
					   "/org/freedesktop/PolicyKit1/Authority",
					   "org.freedesktop.PolicyKit1.Authority",
					   "CheckAuthorization");
	if (r >= 0)
		/* The unique name is the subject: no other process ever has it. */
		r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
					  sd_bus_message_get_sender(call->message), action, 0,
					  dialog ? 1 : 0, "");
	if (r < 0)
		return r;
	q = g_new0(struct question, 1);
	r = late_call_begin(&q->late, call, &refused);
	if (r < 0) {
		sd_bus_error_free(error);
		sd_bus_error_move(error, &refused);
		g_free(q);
		return r;
	}
	q->connection = call->connection;
	q->caller = caller_ref(call->caller);
	q->handler = call->handler;
	q->action = action;
	sd_bus_error_move(&q->denied, error);
	q->link.data = q;
	g_queue_push_tail_link(&a->questions, &q->link);
	r = sd_bus_call_async(call->connection->bus, &q->slot, m, on_answer, q,
			      dialog ? DIALOG_USEC : ANSWER_USEC);
	if (r < 0) {
		sd_bus_error_move(error, &q->denied);
		question_free(a, q);
		return r;
	}
	return 0;
}

int authority_check(struct call *call, const char *action, const char *what, sd_bus_error *error)
{
	if (caller_is_admin(call->caller) ||
	    (call->granted && g_str_equal(call->granted, action))) {
		sd_bus_error_free(error);
		return 1;
	}
	if (!sd_bus_error_is_set(error))
		bus_error_setf(error, ERROR_ACCESS_DENIED, "only root may %s; you are uid %u", what,
			       call->caller->uid);
	if (!call->connection || call->connection->caller) {
		g_autofree char *said = g_strdup(error->message);

		/* Where it does not say that something is there that one may not see. */
		if (g_str_equal(error->name, ERROR_ACCESS_DENIED)) {
			sd_bus_error_free(error);
			bus_error_setf(error, ERROR_ACCESS_DENIED,
				       "%s (over the system bus, polkit is asked)", said);
		}
		return -sd_bus_error_get_errno(error);
	}
	return ask(call, action, error);
}
