// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "bus-error.h"
#include "bus-options.h"
#include "connection.h"
#include "job-bus.h"
#include "manager.h"
#include "morsel-bus.h"
#include "persist.h"

int morsel_bus_find(struct call *call, const char *arg, enum registry_scope scope,
		    struct morsel **ret_morsel, sd_bus_error *error)
{
	g_autofree char *text = NULL;
	int r;

	r = registry_find(call->manager->registry, call->caller, arg, scope, ret_morsel, &text);
	return r < 0 ? bus_error_set(error, r, text) : r;
}

int morsel_bus_find_tier(struct manager *manager, const char *name, struct tier **ret_tier,
			 sd_bus_error *error)
{
	const GPtrArray *tiers = inventory_tiers(manager->inventory);
	struct tier *t = inventory_tier(manager->inventory, name);
	g_autoptr(GString) known = NULL;
	g_autofree char *quoted = NULL;

	if (t) {
		*ret_tier = t;
		return 0;
	}
	known = g_string_new(NULL);
	quoted = quote(name);
	for (unsigned int i = 0; i < tiers->len && known->len < 512; i++)
		g_string_append_printf(known, "%s%s", i > 0 ? ", " : "",
				       ((const struct tier *)tiers->pdata[i])->name);
	return bus_error_setf(error, ERROR_NO_SUCH_TIER, "no tier %s; there are: %s", quoted,
			      known->str);
}

int morsel_bus_check_range(const struct morsel *m, bool has_length, uint64_t unit, uint64_t offset,
			   uint64_t *length, sd_bus_error *error)
{
	if (!has_length)
		*length = offset < m->size ? m->size - offset : 0;
	if (offset % unit != 0 || *length % unit != 0)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "range %" PRIu64 ":+%" PRIu64
				      " of '%s': offset and length must be"
				      " multiples of %" PRIu64,
				      offset, *length, m->name, unit);
	if (*length == 0 && offset < m->size)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "a range of '%s' with length 0", m->name);
	if (offset >= m->size || *length > m->size - offset)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "range %" PRIu64 ":+%" PRIu64
				      " is outside '%s', which has %" PRIu64 " bytes",
				      offset, *length, m->name, m->size);
	return 0;
}

int morsel_bus_check_descriptors(struct call *call, sd_bus_error *error)
{
	if (sd_bus_can_send(sd_bus_message_get_bus(call->message), SD_BUS_TYPE_UNIX_FD) > 0)
		return 0;
	return bus_error_setf(
		error, ERROR_NOT_SUPPORTED,
		"your connection cannot pass descriptors: NEGOTIATE_UNIX_FD was not said");
}

static int append_names(sd_bus_message *m, const char *key, const GPtrArray *names)
{
	int r;

	r = bus_open_array(m, key, "as");
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < names->len; i++) {
		r = sd_bus_message_append_basic(m, 's', names->pdata[i]);
		if (r < 0)
			return r;
	}
	return bus_close_array(m);
}

int morsel_bus_append(sd_bus_message *m, struct manager *manager, struct morsel *morsel)
{
	const struct storage_ops *ops = morsel->storage->ops;
	const struct placement *p = morsel->placement;
	char id[MORSEL_ID_LENGTH + 1];
	uint64_t allocated = 0;
	int r;

	r = ops->allocated(morsel->object, &allocated);
	if (r < 0)
		return r;
	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}",
				  "id", "s", morsel_id_string(morsel, id), "name", "s",
				  morsel->name, "owner", "u", (uint32_t)morsel->owner, "owner_name",
				  "s", users_name(manager->users, morsel->owner), "group", "u",
				  (uint32_t)morsel->group, "mode", "u", (uint32_t)morsel->mode,
				  "size_bytes", "t", morsel->size, "allocated_bytes", "t",
				  allocated, "page_size_bytes", "t", p->page_size, "page_backing",
				  "s", page_backing_to_string(ops->page_backing(morsel->object)),
				  "storage", "s", morsel->storage->name, "scope", "s", "host",
				  "durability", "s", "volatile", "account", "s", morsel->account,
				  "created_usec", "t", morsel->created_usec);
	if (r < 0)
		return r;
	r = bus_open_array(m, "initiators", "ai");
	for (unsigned int i = 0; r >= 0 && morsel->initiators && i < morsel->initiators->len; i++)
		r = sd_bus_message_append(m, "i", g_array_index(morsel->initiators, int, i));
	if (r >= 0)
		r = bus_close_array(m);
	if (r >= 0)
		r = append_names(m, "prefer", p->prefer);
	if (r >= 0)
		r = append_names(m, "allow", p->allow);
	if (r >= 0)
		r = bus_open_array(m, "spread", "a{su}");
	for (unsigned int i = 0; r >= 0 && i < p->spread->len; i++) {
		const struct spread_weight *w = &g_array_index(p->spread, struct spread_weight, i);

		r = sd_bus_message_append(m, "{su}", w->tier, w->weight);
	}
	if (r >= 0)
		r = bus_close_array(m);
	if (r < 0)
		return r;
	return sd_bus_message_close_container(m);
}

int open_call(struct call *call, sd_bus_error *error)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	const char *arg, *access;
	struct morsel *m;
	bool writable;
	int r, fd;

	r = sd_bus_message_read(call->message, "ss", &arg, &access);
	if (r < 0)
		return r;
	writable = strcmp(access, "rw") == 0;
	if (!writable && strcmp(access, "ro") != 0) {
		g_autofree char *quoted = quote(access);

		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "access %s is neither 'ro' nor 'rw'", quoted);
	}
	r = morsel_bus_check_descriptors(call, error);
	if (r < 0)
		return r;
	r = morsel_bus_find(call, arg, SCOPE_OWN, &m, error);
	if (r < 0)
		return r;
	if (!morsel_may(m, call->caller, MORSEL_READ | (writable ? MORSEL_WRITE : 0)))
		return bus_error_setf(error, ERROR_ACCESS_DENIED,
				      "mode %04o of %s:%s does not let you open it for %s", m->mode,
				      users_name(call->manager->users, m->owner), m->name,
				      writable ? "writing" : "reading");
	if (manager_descriptors_short(call->manager, -1))
		return bus_error_setf(error, ERROR_NO_DESCRIPTORS,
				      "the daemon has no descriptor left to open '%s' (limit %u)",
				      m->name, call->manager->descriptors);

	fd = m->storage->ops->open_fd(m->object, writable);
	if (fd < 0)
		return fd;
	r = sd_bus_message_new_method_return(call->message, &reply);
	if (r >= 0)
		r = sd_bus_message_append(reply, "h", fd); /* duplicates it */
	close(fd);
	if (r >= 0)
		r = morsel_bus_append(reply, call->manager, m);
	if (r < 0)
		return r;
	call->manager->stats.opened++;
	return sd_bus_message_send(reply);
}

int show_call(struct call *call, sd_bus_error *error)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	const char *arg;
	struct morsel *m;
	int r;

	r = sd_bus_message_read(call->message, "s", &arg);
	if (r < 0)
		return r;
	r = morsel_bus_find(call, arg, SCOPE_ANY, &m, error);
	if (r < 0)
		return r;
	r = sd_bus_message_new_method_return(call->message, &reply);
	if (r >= 0)
		r = morsel_bus_append(reply, call->manager, m);
	if (r < 0)
		return r;
	return sd_bus_message_send(reply);
}

/* A name of another's or an id: what a bare name means depends on who asks. */
static bool names_others(const char *arg)
{
	return strchr(arg, ':') || strlen(arg) == MORSEL_ID_LENGTH;
}

int morsel_bus_find_changeable(struct call *call, const char *arg, const char *what,
			       struct morsel **ret_morsel, sd_bus_error *error)
{
	g_autofree char *text = NULL;
	struct morsel *m;
	int r;

	r = registry_find(call->manager->registry, call->caller, arg, SCOPE_ANY, &m, &text);
	if (r == -ENOENT && names_others(arg)) {
		/* Whether or not it is there, so that nobody learns which. */
		g_autoptr(Caller) root = caller_new(0, 0, 0);
		g_autofree char *again = NULL;

		bus_error_set(error, r, text);
		r = authority_check(call, ACTION_MANAGE_OTHERS, what, error);
		if (r <= 0)
			return r;
		r = registry_find(call->manager->registry, root, arg, SCOPE_OWN, &m, &again);
		if (r < 0)
			return bus_error_set(error, r, again);
		*ret_morsel = m;
		return 1;
	}
	if (r < 0)
		return bus_error_set(error, r, text);
	if (!morsel_is_owner(m, call->caller)) {
		bus_error_setf(error, ERROR_ACCESS_DENIED, "only %s and root may %s '%s'",
			       users_name(call->manager->users, m->owner), what, m->name);
		r = authority_check(call, ACTION_MANAGE_OTHERS, what, error);
		if (r <= 0)
			return r;
	}
	*ret_morsel = m;
	return 1;
}

void morsel_bus_on_lasting(int r, void *userdata)
{
	sd_bus_message *message = userdata;

	(void)sd_bus_reply_method_return(message, NULL);
	sd_bus_message_unref(message);
}

int destroy_call(struct call *call, sd_bus_error *error)
{
	const char *arg;
	struct morsel *m;
	int r;

	r = sd_bus_message_read(call->message, "s", &arg);
	if (r < 0)
		return r;
	r = morsel_bus_find_changeable(call, arg, "destroy", &m, error);
	if (r <= 0)
		return r;
	if (call->manager->dry_run)
		return bus_error_setf(error, ERROR_NOT_SUPPORTED,
				      "dry run: would have destroyed '%s' of %" PRIu64 " bytes",
				      m->name, m->size);
	morsel_ref(m);
	jobs_cancel_morsel(call->manager->jobs, m);
	registry_remove(call->manager->registry, m);
	call->manager->stats.destroyed++;
	persist_destroy(call->manager, m, morsel_bus_on_lasting, sd_bus_message_ref(call->message));
	morsel_unref(m);
	return 1;
}

struct move_options {
	uint64_t offset, length;
	bool dry_run;
};

int move_call(struct call *call, sd_bus_error *error)
{
	static const struct bus_option options[] = {
		{ "offset", "t", bus_option_u64, offsetof(struct move_options, offset) },
		{ "length", "t", bus_option_u64, offsetof(struct move_options, length) },
		{ "dry_run", "b", bus_option_bool, offsetof(struct move_options, dry_run) },
	};
	struct move_options o = { .length = UINT64_MAX };
	const char *arg, *tier_name;
	g_autofree char *text = NULL;
	struct morsel *m;
	struct tier *t;
	struct job *job;
	uint64_t unit;
	int r;

	r = sd_bus_message_read(call->message, "ss", &arg, &tier_name);
	if (r < 0)
		return r;
	r = bus_options_read(call->message, options, G_N_ELEMENTS(options), &o, error);
	if (r < 0)
		return r;
	r = morsel_bus_find_changeable(call, arg, "move", &m, error);
	if (r <= 0)
		return r;
	unit = m->storage->ops->page_backing(m->object) == PAGES_HUGETLB ? GRANULE_SIZE : 4096;
	r = morsel_bus_check_range(m, o.length != UINT64_MAX, unit, o.offset, &o.length, error);
	if (r < 0)
		return r;
	r = morsel_bus_find_tier(call->manager, tier_name, &t, error);
	if (r < 0)
		return r;
	if (tier_is_pool(t) && m->storage != call->manager->module)
		return bus_error_setf(
			error, ERROR_TIER_OFFLINE,
			"tier %s is a dax device, where only the module's morsels lie;"
			" '%s' is the storage %s's",
			t->name, m->name, m->storage->name);
	if (!tier_has_pages(t) && !tier_is_pool(t))
		return bus_error_setf(error, ERROR_TIER_OFFLINE, "tier %s is %s%s%s", t->name,
				      tier_state_to_string(t->state),
				      t->state_reason[0] ? ": " : "", t->state_reason);
	if (!placement_allows(m->placement, t->name))
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "'%s' does not allow tier %s: see allow in its policy",
				      m->name, t->name);
	if (o.length > t->capacity)
		return bus_error_setf(error, ERROR_NO_SPACE,
				      "%" PRIu64
				      " bytes of '%s' do not fit on tier %s, which has %" PRIu64,
				      o.length, m->name, t->name, t->capacity);

	r = jobs_move(call->manager->jobs, m, t, o.offset, o.length,
		      o.dry_run || call->manager->dry_run, call->caller, call->connection,
		      call->connection->caller ? NULL : sd_bus_message_get_sender(call->message),
		      &job, &text);
	if (r < 0)
		return bus_error_set(error, r, text);
	return job_bus_begin(call, job);
}
