// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "connection.h"
#include "job-bus.h"
#include "manager.h"
#include "provision-parse.h"
#include "provision.h"
#include "storage-module-open.h"

struct options {
	const char *mode, *as, *zone;
	uint64_t size;
	bool dry_run, force, drop_data, persist;
};

/* What a tier is to the kernel. */
static int name_tier(const struct tier *t, char *ret_name, size_t size, sd_bus_error *error)
{
	int n = -1;

	if (t->backing == BACKING_NODE && t->nodes->len == 1)
		n = g_snprintf(ret_name, size, "node%d", g_array_index(t->nodes, int, 0));
	else if (t->backing == BACKING_DAX && g_str_has_prefix(t->device, "/dev/"))
		n = g_snprintf(ret_name, size, "%s", t->device + strlen("/dev/"));
	else if (t->backing == BACKING_DEVICE && g_str_has_prefix(t->device, "mem"))
		n = g_snprintf(ret_name, size, "%s", t->device);
	if (n > 0 && (size_t)n < size)
		return 0;
	return bus_error_setf(
		error, ERROR_NOT_SUPPORTED,
		"tier %s is no CXL memory that morsel can provision: name the CXL device, by "
		"serial:NUMBER (morselctl tier show %s)",
		t->name, t->name);
}

static int read_memory(struct call *call, const char *memory, struct provision_wish *w,
		       sd_bus_error *error)
{
	struct tier *t = inventory_tier(call->manager->inventory, memory);
	g_autofree char *quoted = NULL;

	if (t) {
		w->select = SELECT_NAME;
		return name_tier(t, w->name, sizeof(w->name), error);
	}
	if (provision_parse_memory(memory, w) == 0)
		return 0;
	quoted = quote(memory);
	return bus_error_setf(
		error, ERROR_NO_SUCH_TIER,
		"%s is no tier, nor serial:NUMBER, memdev:memN, memN, regionN, daxN.M or "
		"nodeN",
		quoted);
}

static int read_words(const struct options *o, struct provision_wish *w, sd_bus_error *error)
{
	if (provision_parse_mode(o->mode, &w->mode) < 0)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT, "mode: ram or pmem is wanted");
	if (provision_parse_as(o->as, &w->as) < 0)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "as: devdax or system-ram is wanted");
	if (provision_parse_zone(o->zone, &w->zone) < 0)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "zone: movable or kernel is wanted");
	if (o->zone && w->as != AS_SYSTEM_RAM)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "zone: only system-ram is in a zone");
	w->size = o->size;
	w->flags = (o->dry_run ? PROVISION_DRY_RUN : 0) | (o->force ? PROVISION_FORCE : 0) |
		   (o->drop_data ? PROVISION_DROP_DATA : 0) | (o->persist ? PROVISION_PERSIST : 0);
	return 0;
}

static int start(struct call *call, enum helper_verb verb, const struct bus_option *known, size_t n,
		 sd_bus_error *error)
{
	struct provision_wish w = {};
	struct options o = {};
	g_autofree char *text = NULL;
	const char *memory;
	struct job *job;
	int r;

	r = sd_bus_message_read(call->message, "s", &memory);
	if (r < 0)
		return r;
	r = bus_options_read(call->message, known, n, &o, error);
	if (r < 0)
		return r;
	r = read_memory(call, memory, &w, error);
	if (r < 0)
		return r;
	o.dry_run |= call->manager->dry_run;
	r = read_words(&o, &w, error);
	if (r < 0)
		return r;
	/* What is a pool cannot be taken away, nor changed; an unused one comes again when it is wanted. */
	if (call->manager->module)
		storage_module_release_devices(call->manager->module);
	r = jobs_provision(call->manager->jobs, provision_new(verb, memory, &w), call->caller,
			   call->connection,
			   call->connection->caller ? NULL
						    : sd_bus_message_get_sender(call->message),
			   &job, &text);
	return r < 0 ? bus_error_set(error, r, text) : job_bus_begin(call, job);
}

int provision_call(struct call *call, sd_bus_error *error)
{
	static const struct bus_option known[] = {
		{ "mode", "s", bus_option_string, offsetof(struct options, mode) },
		{ "as", "s", bus_option_string, offsetof(struct options, as) },
		{ "zone", "s", bus_option_string, offsetof(struct options, zone) },
		{ "size", "t", bus_option_u64, offsetof(struct options, size) },
		{ "dry_run", "b", bus_option_bool, offsetof(struct options, dry_run) },
		{ "force", "b", bus_option_bool, offsetof(struct options, force) },
		{ "drop_data", "b", bus_option_bool, offsetof(struct options, drop_data) },
		{ "persist", "b", bus_option_bool, offsetof(struct options, persist) },
	};

	return start(call, HELPER_PROVISION, known, G_N_ELEMENTS(known), error);
}

int unprovision_call(struct call *call, sd_bus_error *error)
{
	static const struct bus_option known[] = {
		{ "mode", "s", bus_option_string, offsetof(struct options, mode) },
		{ "dry_run", "b", bus_option_bool, offsetof(struct options, dry_run) },
		{ "force", "b", bus_option_bool, offsetof(struct options, force) },
		{ "drop_data", "b", bus_option_bool, offsetof(struct options, drop_data) },
	};

	return start(call, HELPER_UNPROVISION, known, G_N_ELEMENTS(known), error);
}
