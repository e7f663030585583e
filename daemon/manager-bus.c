// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "connection.h"
#include "doctor-bus.h"
#include "dump.h"
#include "job-bus.h"
#include "manager-bus.h"
#include "manager.h"
#include "morsel-bus.h"
#include "placement-bus.h"
#include "policy-bus.h"
#include "provision.h"
#include "record-bus.h"
#include "stats-bus.h"
#include "tier-bus.h"

static int list_tiers_call(struct call *call, sd_bus_error *error)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	struct manager *manager = call->manager;
	const GPtrArray *tiers;
	int r;

	r = inventory_refresh_free(manager->inventory);
	if (r < 0)
		return bus_error_setf(error, ERROR_FAILED,
				      "cannot read how much of the nodes is free: %s",
				      g_strerror(-r));
	r = sd_bus_message_new_method_return(call->message, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	tiers = inventory_tiers(manager->inventory);
	for (unsigned int i = 0; r >= 0 && i < tiers->len; i++)
		r = tier_bus_append(reply, manager, tiers->pdata[i]);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r < 0)
		return r;
	return sd_bus_message_send(reply);
}

static int list_jobs_call(struct call *call, sd_bus_error *error)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	struct jobs *jobs = call->manager->jobs;
	int r;

	r = sd_bus_message_new_method_return(call->message, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (struct job *job = jobs_after(jobs, 0); r >= 0 && job; job = jobs_after(jobs, job->id))
		if (job_visible(job, call->caller))
			r = job_bus_append(reply, job);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r < 0)
		return r;
	return sd_bus_message_send(reply);
}

static int reload_call(struct call *call, sd_bus_error *error)
{
	g_autofree char *text = NULL;
	int r;

	r = authority_check(call, ACTION_MANAGE, "reload the configuration", error);
	if (r <= 0)
		return r;
	r = manager_reload(call->manager, &text);
	if (r < 0)
		return bus_error_set(error, r, text);
	return sd_bus_reply_method_return(call->message, NULL);
}

static int dump_call(struct call *call, sd_bus_error *error)
{
	int r;

	r = authority_check(call, ACTION_INSPECT, "dump the daemon's state", error);
	if (r <= 0)
		return r;
	return dump_answer(call, error);
}

static int admin_provision_call(struct call *call, sd_bus_error *error)
{
	int r;

	r = authority_check(call, ACTION_MANAGE, "provision memory", error);
	if (r <= 0)
		return r;
	return provision_call(call, error);
}

static int admin_unprovision_call(struct call *call, sd_bus_error *error)
{
	int r;

	r = authority_check(call, ACTION_MANAGE, "unprovision memory", error);
	if (r <= 0)
		return r;
	return unprovision_call(call, error);
}

static const struct {
	const char *member;
	call_handler_t handler;
} methods[] = {
	{ "Create", create_call },
	{ "Open", open_call },
	{ "Destroy", destroy_call },
	{ "Show", show_call },
	{ "List", list_call },
	{ "Residency", residency_call },
	{ "Explain", explain_call },
	{ "Move", move_call },
	{ "ListTiers", list_tiers_call },
	{ "ListJobs", list_jobs_call },
	{ "Reload", reload_call },
	{ "Stats", stats_call },
	{ "Placement", placement_call },
	{ "Doctor", doctor_call },
	{ "Dump", dump_call },
	{ "Quota", quota_call },
	{ "SetAccess", set_access_call },
	{ "Provision", admin_provision_call },
	{ "Unprovision", admin_unprovision_call },
	{ "ListPolicies", list_policies_call },
	{ "ShowPolicy", show_policy_call },
	{ "SetPolicy", set_policy_call },
	{ "UnsetPolicy", unset_policy_call },
	{ "Record", record_call },
};

static int on_method(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *member = sd_bus_message_get_member(m);

	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++)
		if (strcmp(methods[i].member, member) == 0)
			return gate_call(userdata, m, methods[i].handler, error);
	return -EOPNOTSUPP;
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
			sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct manager *manager = ((struct connection *)userdata)->manager;

	if (strcmp(property, "Version") == 0)
		return sd_bus_message_append(reply, "s", MORSEL_VERSION);
	if (strcmp(property, "DryRun") == 0)
		return sd_bus_message_append(reply, "b", (int)manager->dry_run);
	if (strcmp(property, "StartedUSec") == 0)
		return sd_bus_message_append(reply, "t", manager->started_usec);
	return sd_bus_message_append(reply, "u", registry_morsels(manager->registry));
}

#define UNPRIVILEGED SD_BUS_VTABLE_UNPRIVILEGED /* who may what is decided behind the gate */

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Version", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("DryRun", "b", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("StartedUSec", "t", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Morsels", "u", get_property, 0, 0),
	SD_BUS_METHOD_WITH_ARGS("Create", SD_BUS_ARGS("s", name, "t", size, "a{sv}", options),
				SD_BUS_RESULT("s", id, "h", descriptor, "a{sv}", info), on_method,
				UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Open", SD_BUS_ARGS("s", morsel, "s", access),
				SD_BUS_RESULT("h", descriptor, "a{sv}", info), on_method,
				UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Destroy", SD_BUS_ARGS("s", morsel), SD_BUS_NO_RESULT, on_method,
				UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("SetAccess", SD_BUS_ARGS("s", morsel, "a{sv}", options),
				SD_BUS_NO_RESULT, on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Show", SD_BUS_ARGS("s", morsel), SD_BUS_RESULT("a{sv}", info),
				on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("List", SD_BUS_ARGS("s", cursor, "u", limit, "a{sv}", filter),
				SD_BUS_RESULT("aa{sv}", morsels, "s", next), on_method,
				UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Residency", SD_BUS_ARGS("s", morsel, "a{sv}", options),
				SD_BUS_RESULT("a{sv}", residency), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("s", morsel, "a{sv}", options),
				SD_BUS_RESULT("aa{sv}", ranges), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Move", SD_BUS_ARGS("s", morsel, "s", tier, "a{sv}", options),
				SD_BUS_RESULT("o", job), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Provision", SD_BUS_ARGS("s", memory, "a{sv}", options),
				SD_BUS_RESULT("o", job), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Unprovision", SD_BUS_ARGS("s", memory, "a{sv}", options),
				SD_BUS_RESULT("o", job), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("ListTiers", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", tiers),
				on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("ListJobs", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", jobs),
				on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Stats", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{sv}", stats), on_method,
				UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Quota", SD_BUS_ARGS("a{sv}", options),
				SD_BUS_RESULT("aa{sv}", quotas), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("ListPolicies", SD_BUS_ARGS("s", cursor, "u", limit),
				SD_BUS_RESULT("aa{sv}", policies, "s", next), on_method,
				UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("ShowPolicy", SD_BUS_ARGS("s", cgroup),
				SD_BUS_RESULT("a{sv}", policy), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("SetPolicy",
				SD_BUS_ARGS("s", cgroup, "a{sv}", settings, "a{sv}", options),
				SD_BUS_RESULT("as", warnings), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("UnsetPolicy",
				SD_BUS_ARGS("s", cgroup, "as", keys, "a{sv}", options),
				SD_BUS_RESULT("as", warnings), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Record", SD_BUS_ARGS("a{sv}", options),
				SD_BUS_RESULT("h", descriptor), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Placement", SD_BUS_ARGS("a{sv}", options),
				SD_BUS_RESULT("a{sv}", placement), on_method, UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Doctor", SD_BUS_NO_ARGS,
				SD_BUS_RESULT("aa{sv}", capabilities, "aa{sv}", verbs), on_method,
				UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Dump", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", descriptor), on_method,
				UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_method,
				UNPRIVILEGED),
	SD_BUS_SIGNAL_WITH_ARGS("TierAdded", SD_BUS_ARGS("o", tier), 0),
	SD_BUS_SIGNAL_WITH_ARGS("TierRemoved", SD_BUS_ARGS("o", tier), 0),
	SD_BUS_SIGNAL_WITH_ARGS("JobRemoved", SD_BUS_ARGS("o", job, "s", result), 0),
	SD_BUS_VTABLE_END,
};

int manager_bus_attach(struct connection *c)
{
	return sd_bus_add_object_vtable(c->bus, NULL, BUS_PATH, BUS_MANAGER, vtable, c);
}
