// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "manager.h"
#include "morsel-bus.h"
#include "storage-module-open.h"

struct quota_options {
	uint32_t owner;
};

static const char *const keys[QUOTA_KINDS] = {
	[QUOTA_BYTES] = "bytes", [QUOTA_MORSELS] = "morsels",	      [QUOTA_JOBS] = "jobs",
	[QUOTA_CALLS] = "calls", [QUOTA_CONNECTIONS] = "connections",
};

/* Of a cgroup: what its morsels of the module have on each tier. */
static int append_tiers(sd_bus_message *m, const char *key, GArray *tiers, bool limits)
{
	int r = bus_open_array(m, key, "a{st}");

	for (unsigned int i = 0; r >= 0 && i < tiers->len; i++) {
		const struct storage_module_tier *t =
			&g_array_index(tiers, struct storage_module_tier, i);

		if (!limits || t->limit != QUOTA_NONE)
			r = sd_bus_message_append(m, "{st}", t->name, limits ? t->limit : t->used);
	}
	return r < 0 ? r : bus_close_array(m);
}

static int append_module(sd_bus_message *m, struct manager *manager, const struct quota_line *line)
{
	g_autoptr(GArray) tiers = NULL;
	int r;

	if (!manager->module || strcmp(line->scope, "cgroup") != 0)
		return 0;
	tiers = storage_module_cgroup_tiers(manager->module, line->name);
	r = append_tiers(m, "tiers_used", tiers, false);
	return r < 0 ? r : append_tiers(m, "tiers_limit", tiers, true);
}

static int append_line(sd_bus_message *m, struct manager *manager, const struct quota_line *line)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = bus_append_string(m, "scope", line->scope);
	if (r >= 0)
		r = bus_append_string(m, "name", line->name);
	for (unsigned int k = 0; r >= 0 && k < QUOTA_KINDS; k++) {
		char used[32], limit[32];

		g_snprintf(used, sizeof(used), "%s_used", keys[k]);
		g_snprintf(limit, sizeof(limit), "%s_limit", keys[k]);
		r = bus_append_u64(m, used, line->used[k]);
		if (r >= 0 && line->limit[k] != QUOTA_NONE)
			r = bus_append_u64(m, limit, line->limit[k]);
	}
	if (r >= 0)
		r = bus_append_u64(m, "lingering_bytes", line->lingering_bytes);
	if (r >= 0)
		r = append_module(m, manager, line);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int quota_call(struct call *call, sd_bus_error *error)
{
	static const struct bus_option options[] = {
		{ "owner", "u", bus_option_u32, offsetof(struct quota_options, owner) },
	};
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	struct quota_options o = { .owner = call->caller->uid };
	struct quota_account *account;
	struct quota_line line;
	int r;

	r = bus_options_read(call->message, options, G_N_ELEMENTS(options), &o, error);
	if (r < 0)
		return r;
	if (o.owner != call->caller->uid) {
		r = authority_check(call, ACTION_INSPECT, "see the quota of another user", error);
		if (r <= 0)
			return r;
	}
	/* Of somebody else only the user's own line: where they come from next is not known. */
	account = o.owner == call->caller->uid
			  ? quota_account_ref(call->caller->account)
			  : quota_account_get(call->manager->quota, o.owner, "");

	r = sd_bus_message_new_method_return(call->message, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (unsigned int i = 0; r >= 0 && quota_line(account, i, &line); i++)
		r = append_line(reply, call->manager, &line);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	quota_account_unref(account);
	if (r < 0)
		return r;
	return sd_bus_message_send(reply);
}
