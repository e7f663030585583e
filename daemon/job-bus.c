// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "connection.h"
#include "job-bus.h"
#include "manager.h"
#include "persist.h"
#include "provision.h"

#define PREFIX BUS_PATH "/job"
#define PROPERTIES "org.freedesktop.DBus.Properties"
/* Calls of Wait on one job. */
#define WAITERS_MAX 64

void job_bus_path(uint32_t job, char path[static 64])
{
	snprintf(path, 64, PREFIX "/%" PRIu32, job);
}

static struct job *find_job(struct manager *manager, const char *path)
{
	const char *tail = path ? strrchr(path, '/') : NULL;
	guint64 id;

	if (!tail || !g_str_has_prefix(path, PREFIX "/") ||
	    (size_t)(tail - path) != strlen(PREFIX) ||
	    !g_ascii_string_to_unsigned(tail + 1, 10, 1, UINT32_MAX, &id, NULL))
		return NULL;
	return jobs_find(manager->jobs, id);
}

/* A call while its job is made lasting. */
struct beginning {
	struct manager *manager;
	sd_bus_message *call;
	uint32_t job;
};

static void on_begun(int r, void *userdata)
{
	struct beginning *b = userdata;
	struct job *job = jobs_find(b->manager->jobs, b->job);
	char path[64];

	if (job)
		jobs_begin(job, r);
	if (r >= 0) {
		job_bus_path(b->job, path);
		(void)sd_bus_reply_method_return(b->call, "o", path);
	} else {
		g_autofree char *text =
			g_strdup_printf("the registry cannot be written: %s", g_strerror(-r));
		sd_bus_error error = SD_BUS_ERROR_NULL;

		bus_error_set(&error, r == -EFBIG || r == -EDQUOT ? -ENOSPC : r, text);
		(void)sd_bus_reply_method_error(b->call, &error);
		sd_bus_error_free(&error);
	}
	sd_bus_message_unref(b->call);
	g_free(b);
}

int job_bus_begin(struct call *call, struct job *job)
{
	struct beginning *b = g_new(struct beginning, 1);

	*b = (struct beginning){ call->manager, sd_bus_message_ref(call->message), job->id };
	persist_job_begin(job, on_begun, b);
	return 1;
}

/* EMFILE → bytes, as a{st}. */
static int append_reasons(sd_bus_message *m, GHashTable *reasons)
{
	GHashTableIter iter;
	gpointer key, value;
	int r;

	if (!reasons)
		return 0;
	g_hash_table_iter_init(&iter, reasons);
	while (g_hash_table_iter_next(&iter, &key, &value)) {
		const char *name = strerrorname_np(GPOINTER_TO_INT(key));

		r = sd_bus_message_append(m, "{st}", name ? name : "?", *(uint64_t *)value);
		if (r < 0)
			return r;
	}
	return 0;
}

static int append_moved(sd_bus_message *m, const struct job *job)
{
	int r;

	r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}", "moved_bytes", "t", job->moved.moved,
				  "already_bytes", "t", job->moved.already, "absent_bytes", "t",
				  job->moved.absent, "failed_bytes", "t", job->moved.failed);
	if (r < 0)
		return r;
	r = bus_open_array(m, "failed_reasons", "a{st}");
	if (r < 0)
		return r;
	r = append_reasons(m, job->moved.reasons);
	if (r < 0)
		return r;
	return bus_close_array(m);
}

static int append_provisioned(sd_bus_message *m, const struct job *job)
{
	const struct provision *p = job->provision;
	bool done = job->state == JOB_DONE;
	g_autofree char *summary = g_utf8_make_valid(done ? p->end.text : "", -1);
	int r;

	r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}", "summary", "s", summary, "changed", "b",
				  (int)(done && !job->dry_run && p->end.total > 0), "device", "s",
				  done ? p->end.device : "", "node", "i", done ? p->end.node : -1);
	if (r < 0)
		return r;
	r = bus_open_array(m, "steps", "as");
	for (unsigned int i = 0; r >= 0 && i < p->steps->len; i++)
		r = sd_bus_message_append(m, "s", p->steps->pdata[i]);
	return r < 0 ? r : bus_close_array(m);
}

/* a{sv}; empty until the job has ended. */
static int append_result(sd_bus_message *m, const struct job *job)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	if (job->state >= JOB_DONE) {
		r = job->provision ? append_provisioned(m, job) : append_moved(m, job);
		if (r < 0)
			return r;
	}
	return sd_bus_message_close_container(m);
}

static const char *job_error(const struct job *job)
{
	/* A worker writes it while the job runs. */
	return job->state >= JOB_DONE && job->error ? job->error : "";
}

static int append_property(sd_bus_message *m, const char *property, struct job *job)
{
	if (strcmp(property, "Id") == 0)
		return sd_bus_message_append(m, "u", job->id);
	if (strcmp(property, "Kind") == 0)
		return sd_bus_message_append(m, "s", job_kind_to_string(job->kind));
	if (strcmp(property, "Morsel") == 0)
		return sd_bus_message_append(m, "s", job->morsel_id);
	if (strcmp(property, "Owner") == 0)
		return sd_bus_message_append(m, "u", job->owner);
	if (strcmp(property, "State") == 0)
		return sd_bus_message_append(m, "s", job_state_to_string(job->state));
	if (strcmp(property, "DoneBytes") == 0)
		return sd_bus_message_append(m, "t", (uint64_t)atomic_load(&job->done));
	if (strcmp(property, "TotalBytes") == 0)
		return sd_bus_message_append(m, "t", (uint64_t)atomic_load(&job->total));
	if (strcmp(property, "Error") == 0)
		return sd_bus_message_append(m, "s", job_error(job));
	return append_result(m, job);
}

int job_bus_append(sd_bus_message *m, const struct job *job)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "id", "u",
				  job->id, "kind", "s", job_kind_to_string(job->kind), "state", "s",
				  job_state_to_string(job->state), "morsel", "s", job->morsel_id,
				  "morsel_name", "s", job->morsel_name, "tier", "s", job->tier_name,
				  "memory", "s", job->provision ? job->provision->name : "",
				  "owner", "u", job->owner, "done_bytes", "t",
				  (uint64_t)atomic_load(&job->done), "total_bytes", "t",
				  (uint64_t)atomic_load(&job->total), "created_usec", "t",
				  job->created_usec, "error", "s", job_error(job));
	if (r < 0)
		return r;
	r = sd_bus_message_open_container(m, 'e', "sv");
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "s", "result");
	if (r < 0)
		return r;
	r = sd_bus_message_open_container(m, 'v', "a{sv}");
	if (r < 0)
		return r;
	r = append_result(m, job);
	if (r < 0)
		return r;
	r = sd_bus_message_close_container(m);
	if (r < 0)
		return r;
	r = sd_bus_message_close_container(m);
	if (r < 0)
		return r;
	return sd_bus_message_close_container(m);
}

static int no_such_job(const char *path, sd_bus_error *error)
{
	return bus_error_setf(error, ERROR_NO_SUCH_JOB, "no job %.80s (any more)", path);
}

static int wait_call(struct call *call, sd_bus_error *error)
{
	const char *path = sd_bus_message_get_path(call->message);
	struct job *job = find_job(call->manager, path);

	if (!job || !job_visible(job, call->caller))
		return no_such_job(path, error);
	if (job->owner != call->caller->uid && !caller_is_root(call->caller))
		return bus_error_setf(error, ERROR_ACCESS_DENIED, "job %" PRIu32 " is not yours",
				      job->id);
	if (job->state >= JOB_DONE) {
		job_bus_answer_wait(job, call->message);
		return 1;
	}
	if (g_queue_get_length(&job->waiters) >= WAITERS_MAX)
		return bus_error_setf(error, ERROR_QUOTA_EXCEEDED,
				      "%d calls wait for job %" PRIu32 "; that is the limit",
				      WAITERS_MAX, job->id);
	g_queue_push_tail(&job->waiters, sd_bus_message_ref(call->message));
	return 1;
}

static int cancel_call(struct call *call, sd_bus_error *error)
{
	const char *path = sd_bus_message_get_path(call->message);
	struct job *job = find_job(call->manager, path);
	int r;

	if (!job)
		return no_such_job(path, error);
	if (job->owner != call->caller->uid) {
		if (job_visible(job, call->caller))
			bus_error_setf(error, ERROR_ACCESS_DENIED, "job %" PRIu32 " is not yours",
				       job->id);
		else /* as of one that is not there */
			bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_OBJECT, "Unknown object '%s'.",
				       path);
		r = authority_check(call, ACTION_MANAGE_OTHERS, "cancel it", error);
		if (r <= 0)
			return r;
	}
	job_cancel(job);
	return sd_bus_reply_method_return(call->message, NULL);
}

static int on_method(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	bool wait = strcmp(sd_bus_message_get_member(m), "Wait") == 0;

	return gate_call(userdata, m, wait ? wait_call : cancel_call, error);
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
			sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct job *job = find_job(((struct connection *)userdata)->manager, path);

	return job ? append_property(reply, property, job) : -ENOENT;
}

static int on_find(sd_bus *bus, const char *path, const char *interface, void *userdata,
		   void **ret_found, sd_bus_error *error)
{
	struct connection *c = userdata;
	struct job *job = find_job(c->manager, path);
	sd_bus_message *m = sd_bus_get_current_message(bus);
	struct caller *caller = m ? gate_known(c, m) : NULL;

	/* Without a known caller only methods come here, and they pass the gate: see the filter. Cancel finds
	 * out itself who may, for it may have to ask. */
	if (!job || (caller && !job_visible(job, caller) &&
		     !sd_bus_message_is_method_call(m, BUS_JOB, "Cancel")))
		return 0;
	*ret_found = userdata;
	return 1;
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Id", "u", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Kind", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Morsel", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Owner", "u", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("State", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("DoneBytes", "t", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("TotalBytes", "t", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("Error", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("Result", "a{sv}", get_property, 0, CHANGES),
	SD_BUS_METHOD_WITH_ARGS("Wait", SD_BUS_NO_ARGS,
				SD_BUS_RESULT("s", state, "s", error, "a{sv}", result), on_method,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_method,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

int job_bus_attach(struct connection *c)
{
	return sd_bus_add_fallback_vtable(c->bus, NULL, PREFIX, BUS_JOB, vtable, on_find, c);
}

static const struct {
	const char *name, *type;
} properties[] = {
	{ "Id", "u" },	       { "Kind", "s" },	 { "Morsel", "s" },
	{ "Owner", "u" },      { "State", "s" }, { "DoneBytes", "t" },
	{ "TotalBytes", "t" }, { "Error", "s" }, { "Result", "a{sv}" },
};
#define FIRST_CHANGING 4

static int append_properties(sd_bus_message *m, struct job *job, size_t first)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	for (size_t i = first; i < G_N_ELEMENTS(properties); i++) {
		r = sd_bus_message_open_container(m, 'e', "sv");
		if (r < 0)
			return r;
		r = sd_bus_message_append(m, "s", properties[i].name);
		if (r < 0)
			return r;
		r = sd_bus_message_open_container(m, 'v', properties[i].type);
		if (r < 0)
			return r;
		r = append_property(m, properties[i].name, job);
		if (r < 0)
			return r;
		r = sd_bus_message_close_container(m);
		if (r < 0)
			return r;
		r = sd_bus_message_close_container(m);
		if (r < 0)
			return r;
	}
	return sd_bus_message_close_container(m);
}

/* Get and GetAll of a caller that had to be asked for. */
static int properties_call(struct call *call, sd_bus_error *error)
{
	const char *path = sd_bus_message_get_path(call->message);
	struct job *job = find_job(call->manager, path);
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	const char *interface, *property = NULL;
	bool all = sd_bus_message_is_method_call(call->message, PROPERTIES, "GetAll");
	size_t i;
	int r;

	r = all ? sd_bus_message_read(call->message, "s", &interface)
		: sd_bus_message_read(call->message, "ss", &interface, &property);
	if (r < 0)
		return r;
	if (!job || !job_visible(job, call->caller))
		return bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_OBJECT, "Unknown object '%.80s'.",
				      path);
	if (strcmp(interface, BUS_JOB) != 0 && (!all || interface[0] != '\0'))
		return bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_INTERFACE,
				      "Unknown interface '%.80s'.", interface);
	r = sd_bus_message_new_method_return(call->message, &reply);
	if (r < 0)
		return r;
	if (all) {
		r = append_properties(reply, job, 0);
	} else {
		for (i = 0; i < G_N_ELEMENTS(properties); i++)
			if (strcmp(properties[i].name, property) == 0)
				break;
		if (i == G_N_ELEMENTS(properties))
			return bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_PROPERTY,
					      "Unknown property '%.80s'.", property);
		r = sd_bus_message_open_container(reply, 'v', properties[i].type);
		if (r >= 0)
			r = append_property(reply, property, job);
		if (r >= 0)
			r = sd_bus_message_close_container(reply);
	}
	if (r < 0)
		return r;
	return sd_bus_message_send(reply);
}

static int on_filter(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct connection *c = userdata;
	const char *path = sd_bus_message_get_path(m);

	if (!path || !g_str_has_prefix(path, PREFIX "/") ||
	    (!sd_bus_message_is_method_call(m, PROPERTIES, "Get") &&
	     !sd_bus_message_is_method_call(m, PROPERTIES, "GetAll")) ||
	    gate_known(c, m))
		return 0;
	return gate_call(c, m, properties_call, error);
}

int job_bus_filter(struct connection *c)
{
	return sd_bus_add_filter(c->bus, NULL, on_filter, c);
}

static void send_to_starter(struct job *job, sd_bus_message *m)
{
	if (job->destination && sd_bus_message_set_destination(m, job->destination) < 0)
		return;
	(void)sd_bus_send(job->starter->bus, m, NULL);
	connection_sent(job->manager, job->starter->bus);
	(void)connection_reads(job->starter);
}

void job_bus_tell_changed(struct job *job)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *m = NULL;
	char path[64];

	if (!job->starter)
		return;
	job_bus_path(job->id, path);
	if (sd_bus_message_new_signal(job->starter->bus, &m, path, PROPERTIES,
				      "PropertiesChanged") < 0 ||
	    sd_bus_message_append(m, "s", BUS_JOB) < 0 ||
	    append_properties(m, job, FIRST_CHANGING) < 0 || sd_bus_message_append(m, "as", 0) < 0)
		return;
	send_to_starter(job, m);
}

void job_bus_tell_removed(struct job *job)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *m = NULL;
	char path[64];

	if (!job->starter)
		return;
	job_bus_path(job->id, path);
	if (sd_bus_message_new_signal(job->starter->bus, &m, BUS_PATH, BUS_MANAGER, "JobRemoved") <
		    0 ||
	    sd_bus_message_append(m, "os", path, job_state_to_string(job->state)) < 0)
		return;
	send_to_starter(job, m);
}

void job_bus_answer_wait(struct job *job, sd_bus_message *call)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *m = NULL;

	if (sd_bus_message_new_method_return(call, &m) < 0 ||
	    sd_bus_message_append(m, "ss", job_state_to_string(job->state), job_error(job)) < 0 ||
	    append_result(m, job) < 0) {
		sd_bus_reply_method_errno(call, -ENOMEM, NULL);
		return;
	}
	(void)sd_bus_message_send(m);
	connection_sent(job->manager, sd_bus_message_get_bus(call));
}
