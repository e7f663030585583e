// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy-bus.h"

#include <inttypes.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "cgroup-path.h"
#include "manager.h"
#include "morsel-bus.h"
#include "policies.h"
#include "policy-check.h"
#include "storage-module-open.h"
#include "warnings.h"

#define PAGE_MAX 1000

int policy_bus_check_cgroup(const char *cgroup, sd_bus_error *error)
{
	g_autofree char *quoted = NULL;

	if (cgroup_path_valid(cgroup))
		return 0;
	quoted = quote(cgroup);
	return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
			      "%s is not the path of a cgroup, such as /system.slice", quoted);
}

GPtrArray *policy_bus_warnings(const struct manager *m, const char *cgroup)
{
	GPtrArray *warnings = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GHashTable) capacity = policies_capacity(m);

	if (policies_cgroup_exists(m, cgroup) == 0)
		warnings_add(warnings,
			     "cgroup %s is not there now: what is said of it holds when it is",
			     cgroup);
	policy_check_cgroup(m->policies, cgroup, capacity, warnings);
	policies_check_use(m, cgroup, warnings);
	return warnings;
}

int policy_bus_append_strings(sd_bus_message *m, const GPtrArray *strings)
{
	int r = sd_bus_message_open_container(m, 'a', "s");

	for (unsigned int i = 0; r >= 0 && i < strings->len; i++)
		r = sd_bus_message_append(m, "s", strings->pdata[i]);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* --- List ------------------------------------------------------------------------------------ */

static int append_cgroup(sd_bus_message *m, const struct manager *manager, const char *path)
{
	bool pattern = cgroup_path_is_pattern(path);
	const GPtrArray *sections = policy_set_sections(manager->policies, path);
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = bus_append_string(m, "cgroup", path);
	if (r >= 0)
		r = bus_append_bool(m, "pattern", pattern);
	if (r >= 0)
		r = bus_append_bool(m, "exists",
				    !pattern && policies_cgroup_exists(manager, path) != 0);
	if (r >= 0)
		r = bus_open_array(m, "settings", "a{ss}");
	for (unsigned int i = 0; r >= 0 && i < sections->len; i++) {
		const struct policy_section *s = sections->pdata[i];

		for (unsigned int k = 0; r >= 0 && k < s->settings->len; k++) {
			const struct policy_setting *setting = s->settings->pdata[k];
			bool counts = true;

			/* The last one of a key, once. */
			for (unsigned int j = i + 1; counts && j < sections->len; j++)
				counts = !policy_section_find(sections->pdata[j], setting->key);
			if (counts)
				r = sd_bus_message_append(m, "{ss}", setting->key, setting->value);
		}
	}
	if (r >= 0)
		r = bus_close_array(m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* Paths, then patterns: the text of number i, or NULL. */
static const char *path_at(const struct policy_set *s, uint64_t i)
{
	const GPtrArray *paths = policy_set_paths(s), *patterns = policy_set_patterns(s);

	if (i < paths->len)
		return paths->pdata[i];
	i -= paths->len;
	return i < patterns->len ? ((const struct policy_section *)patterns->pdata[i])->path : NULL;
}

/* The first of several sections of one pattern stands for all. */
static bool is_first(const struct policy_set *s, uint64_t i)
{
	const GPtrArray *paths = policy_set_paths(s), *patterns = policy_set_patterns(s);
	const struct policy_section *p;

	if (i < paths->len)
		return true;
	p = patterns->pdata[i - paths->len];
	return policy_set_sections(s, p->path)->pdata[0] == p;
}

int list_policies_call(struct call *call, sd_bus_error *error)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	const struct manager *manager = call->manager;
	guint64 at = 0;
	uint32_t limit, n = 0;
	char next[24] = "";
	const char *cursor;
	int r;

	r = sd_bus_message_read(call->message, "su", &cursor, &limit);
	if (r < 0)
		return r;
	if (limit < 1 || limit > PAGE_MAX)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "limit %" PRIu32 " is not in 1..%d", limit, PAGE_MAX);
	if (cursor[0] &&
	    !g_ascii_string_to_unsigned(cursor, 10, 0, (guint64)UINT32_MAX, &at, NULL)) {
		g_autofree char *quoted = quote(cursor);

		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "cursor %s does not come from ListPolicies", quoted);
	}
	r = sd_bus_message_new_method_return(call->message, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "a{sv}");
	for (; r >= 0 && n < limit && path_at(manager->policies, at); at++)
		if (is_first(manager->policies, at)) {
			r = append_cgroup(reply, manager, path_at(manager->policies, at));
			n++;
		}
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (path_at(manager->policies, at))
		g_snprintf(next, sizeof(next), "%" PRIu64, (uint64_t)at);
	if (r >= 0)
		r = sd_bus_message_append(reply, "s", next);
	return r < 0 ? r : sd_bus_message_send(reply);
}

/* --- Show ------------------------------------------------------------------------------------ */

struct shown {
	const char *key, *value, *from, *origin;
	bool is_bytes, lasting;
	uint64_t bytes;
};

static int append_shown(sd_bus_message *m, const struct shown *s)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = bus_append_string(m, "key", s->key);
	if (r >= 0)
		r = bus_append_string(m, "value", s->value);
	if (r >= 0 && s->is_bytes)
		r = bus_append_u64(m, "bytes", s->bytes);
	if (r >= 0)
		r = bus_append_string(m, "from", s->from);
	if (r >= 0)
		r = bus_append_string(m, "origin", s->origin);
	if (r >= 0)
		r = bus_append_bool(m, "lasting", s->lasting);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_setting(sd_bus_message *m, const struct manager *manager,
			  const struct policy_setting *s, const char *from)
{
	g_autofree char *origin = g_strdup_printf("%s:%u", s->section->file->path, s->line);
	g_autofree char *runtime = policies_runtime_dir(manager);
	g_autofree char *dir = g_path_get_dirname(s->section->file->path);
	bool is_size = s->field == POLICY_LOW || s->field == POLICY_HIGH ||
		       s->field == POLICY_MAX || s->field == POLICY_BANDWIDTH;
	const struct shown shown = {
		.key = s->key,
		.value = s->value,
		.from = from,
		.origin = origin,
		.is_bytes = is_size && s->number != POLICY_NONE,
		.bytes = s->number,
		.lasting = !g_str_equal(dir, runtime),
	};

	return append_shown(m, &shown);
}

static bool has(const GPtrArray *settings, enum policy_field a, enum policy_field b)
{
	for (unsigned int i = 0; i < settings->len; i++) {
		const struct policy_setting *s = settings->pdata[i];

		if (s->field == a || s->field == b)
			return true;
	}
	return false;
}

/* What holds where no cgroup says anything. */
static int append_defaults(sd_bus_message *m, const struct manager *manager,
			   const GPtrArray *settings)
{
	const struct config *c = manager->config;
	g_autoptr(GString) prefer = g_string_new(NULL);
	const struct {
		enum policy_field field, or_field;
		const char *key, *value, *origin;
	} defaults[] = {
		{ POLICY_PREFER, POLICY_SPREAD, "Prefer", NULL, manager->options.config_path },
		{ POLICY_WEIGHT, POLICY_WEIGHT, "Weight", G_STRINGIFY(POLICY_WEIGHT_DEFAULT), "" },
		{ POLICY_PAGE_SIZE, POLICY_PAGE_SIZE, "PageSize",
		  c->default_page_size == 4096 ? "4K" : "2M", manager->options.config_path },
		{ POLICY_MIGRATE, POLICY_MIGRATE, "Migrate", "off", "" },
		{ POLICY_MANAGE_ORDINARY, POLICY_MANAGE_ORDINARY, "ManageOrdinary", "off", "" },
	};
	int r = 0;

	for (unsigned int i = 0; i < c->default_prefer->len; i++)
		g_string_append_printf(prefer, "%s%s", i > 0 ? " " : "",
				       (char *)c->default_prefer->pdata[i]);
	for (size_t i = 0; r >= 0 && i < G_N_ELEMENTS(defaults); i++) {
		const struct shown shown = {
			.key = defaults[i].key,
			.value = defaults[i].value ? defaults[i].value : prefer->str,
			.from = "",
			.origin = defaults[i].origin,
			.lasting = true,
		};

		if (!has(settings, defaults[i].field, defaults[i].or_field))
			r = append_shown(m, &shown);
	}
	return r;
}

static int append_settings(sd_bus_message *m, const struct manager *manager, const char *cgroup,
			   bool own)
{
	g_autoptr(GPtrArray) all = own ? policy_own_all(manager->policies, cgroup)
				       : policy_effective_all(manager->policies, cgroup);
	int r = bus_open_array(m, own ? "own" : "effective", "aa{sv}");

	for (unsigned int i = 0; r >= 0 && i < all->len; i++) {
		const struct policy_setting *s = all->pdata[i];
		g_autofree char *from = NULL;

		(void)policy_effective(manager->policies, cgroup, 1u << s->field, s->tier, &from);
		r = append_setting(m, manager, s, own ? cgroup : from ? from : s->section->path);
	}
	if (r >= 0 && !own)
		r = append_defaults(m, manager, all);
	return r < 0 ? r : bus_close_array(m);
}

static int append_use(sd_bus_message *m, const struct manager *manager, const char *cgroup)
{
	g_autoptr(GArray) tiers = NULL;
	int r = bus_open_array(m, "tiers_used", "a{st}");

	if (manager->module)
		tiers = storage_module_cgroup_tiers(manager->module, cgroup);
	for (unsigned int i = 0; r >= 0 && tiers && i < tiers->len; i++) {
		const struct storage_module_tier *t =
			&g_array_index(tiers, struct storage_module_tier, i);

		r = sd_bus_message_append(m, "{st}", t->name, t->used);
	}
	return r < 0 ? r : bus_close_array(m);
}

/* Of the cgroup alone, as the last round found it. */
static int append_ordinary(sd_bus_message *m, const struct manager *manager, const char *cgroup)
{
	static const struct ordinary_cgroup none;
	const struct ordinary_cgroup *c = ordinary_cgroup(manager->ordinary, cgroup);
	GHashTableIter iter;
	gpointer tier, bytes;
	int r;

	r = bus_open_array(m, "ordinary_bytes", "a{st}");
	if (c) {
		g_hash_table_iter_init(&iter, c->bytes);
		while (r >= 0 && g_hash_table_iter_next(&iter, &tier, &bytes))
			r = sd_bus_message_append(m, "{st}", tier, *(uint64_t *)bytes);
	}
	if (r >= 0)
		r = bus_close_array(m);
	if (!c)
		c = &none;
	return r < 0 ? r
		     : sd_bus_message_append(m, "{sv}{sv}{sv}{sv}", "ordinary_processes", "t",
					     (uint64_t)c->processes, "ordinary_moved_up", "t",
					     c->up, "ordinary_moved_down", "t", c->down,
					     "ordinary_usec", "t", c->last_usec);
}

int show_policy_call(struct call *call, sd_bus_error *error)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	const struct manager *manager = call->manager;
	g_autoptr(GPtrArray) warnings = NULL;
	const char *cgroup;
	int r;

	r = sd_bus_message_read(call->message, "s", &cgroup);
	if (r >= 0)
		r = policy_bus_check_cgroup(cgroup, error);
	if (r < 0)
		return r;
	warnings = policy_bus_warnings(manager, cgroup);
	r = sd_bus_message_new_method_return(call->message, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = bus_append_string(reply, "cgroup", cgroup);
	if (r >= 0)
		r = bus_append_bool(reply, "exists", policies_cgroup_exists(manager, cgroup) != 0);
	if (r >= 0)
		r = append_settings(reply, manager, cgroup, true);
	if (r >= 0)
		r = append_settings(reply, manager, cgroup, false);
	if (r >= 0)
		r = bus_append_bool(reply, "enforced", policies_enforced(manager));
	if (r >= 0)
		r = append_use(reply, manager, cgroup);
	if (r >= 0)
		r = append_ordinary(reply, manager, cgroup);
	if (r >= 0)
		r = bus_open_array(reply, "warnings", "as");
	for (unsigned int i = 0; r >= 0 && i < warnings->len; i++)
		r = sd_bus_message_append(reply, "s", warnings->pdata[i]);
	if (r >= 0)
		r = bus_close_array(reply);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return r < 0 ? r : sd_bus_message_send(reply);
}
