// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>

#include "bus-error.h"
#include "bus-options.h"
#include "manager.h"
#include "morsel-bus.h"
#include "persist.h"

#define UNSET UINT32_MAX

struct access_options {
	uint32_t mode, group, owner;
};

int access_check_mode(uint32_t mode, const char *name, sd_bus_error *error)
{
	if (mode & ~0666u)
		return bus_error_setf(
			error, ERROR_INVALID_ARGUMENT,
			"mode %#o of '%s' is not made of rw for owner, group and others"
			" (0666 at most)",
			mode, name);
	if (!(mode & 0400))
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "mode %04o of '%s' does not let its owner read it", mode,
				      name);
	return 0;
}

int access_check_group(struct call *call, uint32_t group, const char *name, sd_bus_error *error)
{
	if (caller_is_root(call->caller) || call->granted || caller_in_group(call->caller, group))
		return 0;
	return bus_error_setf(error, ERROR_ACCESS_DENIED,
			      "group %" PRIu32 " of '%s' is not one of yours", group, name);
}

/* The new owner pays for it, from the cgroup that it was created in. */
static int give_away(struct manager *manager, struct morsel *m, uid_t owner, char **ret_text)
{
	struct quota_account *old = m->charged, *account;
	int r;

	account = quota_account_get(manager->quota, owner, m->account);
	/* Where a cgroup holds both, it is charged with both for a moment; that may be refused near its limit. */
	r = morsel_charge(m, account, ret_text);
	quota_account_unref(account);
	if (r < 0)
		return r;
	r = registry_set_owner(manager->registry, m, owner, ret_text);
	if (r < 0) {
		morsel_uncharge(m, m->charged);
		m->charged = old;
		return r;
	}
	if (old)
		morsel_uncharge(m, old);
	return 0;
}

int set_access_call(struct call *call, sd_bus_error *error)
{
	static const struct bus_option options[] = {
		{ "mode", "u", bus_option_u32, offsetof(struct access_options, mode) },
		{ "group", "u", bus_option_u32, offsetof(struct access_options, group) },
		{ "owner", "u", bus_option_u32, offsetof(struct access_options, owner) },
	};
	struct access_options o = { .mode = UNSET, .group = UNSET, .owner = UNSET };
	g_autofree char *text = NULL;
	struct morsel *m;
	const char *arg;
	int r;

	r = sd_bus_message_read(call->message, "s", &arg);
	if (r < 0)
		return r;
	r = bus_options_read(call->message, options, G_N_ELEMENTS(options), &o, error);
	if (r < 0)
		return r;
	if (o.mode == UNSET && o.group == UNSET && o.owner == UNSET)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "mode, group or owner is to be given");
	r = morsel_bus_find_changeable(call, arg, "change the access of", &m, error);
	if (r <= 0)
		return r;
	if (o.mode != UNSET) {
		r = access_check_mode(o.mode, m->name, error);
		if (r < 0)
			return r;
	}
	if (o.group != UNSET) {
		r = access_check_group(call, o.group, m->name, error);
		if (r < 0)
			return r;
	}
	if (o.owner != UNSET && o.owner != m->owner) {
		bus_error_setf(error, ERROR_ACCESS_DENIED,
			       "only root may give '%s' to uid %" PRIu32, m->name, o.owner);
		r = authority_check(call, ACTION_MANAGE_OTHERS, "give it away", error);
		if (r <= 0)
			return r;
		if (call->manager->dry_run)
			goto dry;
		r = give_away(call->manager, m, o.owner, &text);
		if (r < 0)
			return bus_error_set(error, r, text);
	}
	if (call->manager->dry_run)
		goto dry;
	if (o.mode != UNSET)
		m->mode = o.mode;
	if (o.group != UNSET)
		m->group = o.group;
	persist_update(call->manager, m, morsel_bus_on_lasting, sd_bus_message_ref(call->message));
	return 1;
dry:
	return bus_error_setf(error, ERROR_NOT_SUPPORTED,
			      "dry run: would have changed the access of '%s'", m->name);
}
