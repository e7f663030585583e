// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "cgroup-path.h"
#include "config-value.h"
#include "connection.h"
#include "log.h"
#include "manager.h"
#include "morsel-bus.h"
#include "policies.h"
#include "policy-bus.h"
#include "policy-check.h"
#include "policy-file.h"
#include "warnings.h"

/* In one call. There are some hundred keys at most: a few for each tier. */
#define SETTINGS_MAX 256

struct set_options {
	bool runtime;
};

static const struct bus_option options_known[] = {
	{ "runtime", "b", bus_option_bool, offsetof(struct set_options, runtime) },
};

/*
 * A call on its way: what it changes is written by the one thread there is for it, so that changes of one file come one
 * after the other, and is in force when it is on the disk.
 */
struct policy_change;
typedef struct policy_change PolicyChange;
struct policy_change {
	struct work work;
	struct late_call late;
	char *cgroup;
	GPtrArray *keys, *values; /* to be set; of char * */
	GPtrArray *unset;	  /* to be taken back */
	bool all;		  /* all that is there */
	bool runtime;		  /* touches what holds until the next boot only */
	uid_t by;
	/* The lasting file, then the other one. */
	char *dirs[2], *names[2];
	struct policy_file *files[2]; /* what they say now; NULL: nothing */
	bool changed[2];
	int r;
	char *text;
};

static struct policy_change *change_new(const struct manager *m, const char *cgroup, uid_t by,
					bool runtime)
{
	struct policy_change *c = g_new0(struct policy_change, 1);

	c->cgroup = g_strdup(cgroup);
	c->keys = g_ptr_array_new_with_free_func(g_free);
	c->values = g_ptr_array_new_with_free_func(g_free);
	c->unset = g_ptr_array_new_with_free_func(g_free);
	c->by = by;
	c->runtime = runtime;
	c->dirs[0] = policies_dir(m);
	c->dirs[1] = policies_runtime_dir(m);
	c->names[0] = policy_dropin_name(POLICY_DROPIN, cgroup);
	c->names[1] = policy_dropin_name(POLICY_DROPIN_RUNTIME, cgroup);
	return c;
}

static void change_free(struct policy_change *c)
{
	for (unsigned int i = 0; i < 2; i++) {
		g_free(c->dirs[i]);
		g_free(c->names[i]);
		policy_file_unref(c->files[i]);
	}
	g_ptr_array_unref(c->keys);
	g_ptr_array_unref(c->values);
	g_ptr_array_unref(c->unset);
	g_free(c->cgroup);
	g_free(c->text);
	g_free(c);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PolicyChange, change_free)

static char *file_path(const struct policy_change *c, unsigned int i)
{
	return g_build_filename(c->dirs[i], c->names[i], NULL);
}

/* What the file of number i says of the cgroup now, or NULL. */
static const struct policy_section *section_of(const struct policy_set *s,
					       const struct policy_change *c, unsigned int i)
{
	const GPtrArray *sections = policy_set_sections(s, c->cgroup);
	g_autofree char *path = file_path(c, i);

	for (unsigned int k = 0; sections && k < sections->len; k++) {
		const struct policy_section *section = sections->pdata[k];

		if (g_str_equal(section->file->path, path))
			return section;
	}
	return NULL;
}

static void edit(struct policy_change *c, unsigned int i, bool set)
{
	const struct policy_edit e = {
		.dir = c->dirs[i],
		.name = c->names[i],
		.cgroup = c->cgroup,
		.keys = set ? c->keys : NULL,
		.values = set ? c->values : NULL,
		/* What is set to last must not be hidden by what was set for this boot. */
		.unset = set		    ? NULL
			 : c->keys->len > 0 ? c->keys
					    : c->unset,
		.all = c->all,
	};

	if (c->r < 0)
		return;
	c->r = policy_dropin_edit(&e, &c->files[i], &c->text);
	c->changed[i] = c->r >= 0;
}

static void change_run(struct work *w)
{
	struct policy_change *c = (struct policy_change *)w;
	bool sets = c->keys->len > 0;

	if (!c->runtime)
		edit(c, 0, sets);
	edit(c, 1, sets && c->runtime);
}

static int apply(struct manager *m, struct policy_change *c)
{
	struct policy_set *set = policy_set_ref(m->policies);
	int r = 0;

	for (unsigned int i = 0; r >= 0 && i < 2; i++) {
		g_autofree char *path = file_path(c, i);
		struct policy_set *next;

		if (!c->changed[i])
			continue;
		r = policy_set_with(set, path, c->files[i], &next, &c->text);
		if (r < 0)
			break;
		policy_set_unref(set);
		set = next;
	}
	policies_apply(m, set);
	return r;
}

static void log_change(struct manager *m, const struct policy_change *c)
{
	g_autoptr(GString) s = g_string_new(NULL);

	for (unsigned int i = 0; i < c->keys->len; i++)
		g_string_append_printf(s, " %s=%s", (char *)c->keys->pdata[i],
				       (char *)c->values->pdata[i]);
	for (unsigned int i = 0; i < c->unset->len; i++)
		g_string_append_printf(s, " %s", (char *)c->unset->pdata[i]);
	log_line(LOG_INFO, LOG_POLICY_CHANGED, c->cgroup, "policy of cgroup %s: %s by %s:%s%s",
		 c->cgroup, c->keys->len > 0 ? "set" : "taken back", users_name(m->users, c->by),
		 c->all ? " all" : s->str, c->runtime ? " (until the next boot)" : "");
}

static int reply_warnings(struct policy_change *c, const GPtrArray *warnings)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	int r = sd_bus_message_new_method_return(c->late.message, &reply);

	if (r >= 0)
		r = policy_bus_append_strings(reply, warnings);
	/* Whoever asked may have gone. */
	if (r >= 0)
		(void)sd_bus_message_send(reply);
	return r;
}

static void change_done(struct work *w, bool ran)
{
	g_autoptr(PolicyChange) c = (struct policy_change *)w;
	struct manager *m = c->late.manager;
	g_autoptr(GPtrArray) before = NULL, warnings = NULL;
	int r = ran ? c->r : -ECANCELED;

	if (c->changed[0] || c->changed[1]) {
		int applied;

		before = g_ptr_array_ref(m->policy_warnings);
		applied = apply(m, c);
		if (r >= 0)
			r = applied;
	}
	if (r >= 0) {
		log_change(m, c);
		warnings = policy_bus_warnings(m, c->cgroup);
		/* What it means for others: cgroups below, all together. */
		for (unsigned int i = 0; i < m->policy_warnings->len; i++)
			if (!before ||
			    !g_ptr_array_find_with_equal_func(before, m->policy_warnings->pdata[i],
							      g_str_equal, NULL))
				warnings_add(warnings, "%s", (char *)m->policy_warnings->pdata[i]);
		r = reply_warnings(c, warnings);
	}
	/* ENOENT is a morsel's. */
	late_call_end(&c->late, r == -ENOENT ? -EIO : r, c->text);
}

static int submit(struct call *call, struct policy_change *c, sd_bus_error *error)
{
	int r;

	if (call->manager->dry_run) {
		r = bus_error_setf(error, ERROR_NOT_SUPPORTED,
				   "dry run: would have changed the policy of cgroup %s",
				   c->cgroup);
		change_free(c);
		return r;
	}
	r = late_call_begin(&c->late, call, error);
	if (r < 0) {
		change_free(c);
		return r;
	}
	c->work.run = change_run;
	c->work.done = change_done;
	c->work.owner = call->caller->uid;
	worker_pool_submit(call->manager->policy_files, &c->work);
	return 1;
}

static int check_path(const char *cgroup, sd_bus_error *error)
{
	int r = policy_bus_check_cgroup(cgroup, error);

	if (r >= 0 && cgroup_path_is_pattern(cgroup)) {
		g_autofree char *quoted = quote(cgroup);

		r = bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				   "%s means several cgroups: that is for a file of one's own in "
				   "policy.d",
				   quoted);
	}
	return r;
}

/* --- Set ------------------------------------------------------------------------------------- */

static int read_settings(sd_bus_message *m, struct policy_change *c, sd_bus_error *error)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		const char *key, *value, *type;
		g_autofree char *quoted = NULL;

		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0)
			r = sd_bus_message_peek_type(m, NULL, &type);
		if (r < 0)
			return r;
		quoted = quote(key);
		if (strcmp(type, "s") != 0)
			return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
					      "setting %s has type '%.32s', not 's'", quoted, type);
		if (c->keys->len >= SETTINGS_MAX)
			return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
					      "more than %d settings in one call", SETTINGS_MAX);
		r = sd_bus_message_read(m, "v", "s", &value);
		if (r < 0)
			return r;
		if (g_ptr_array_find_with_equal_func(c->keys, key, g_str_equal, NULL))
			return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
					      "setting %s is given twice", quoted);
		g_ptr_array_add(c->keys, g_strdup(key));
		g_ptr_array_add(c->values, g_strstrip(g_strdup(value)));
		r = sd_bus_message_exit_container(m);
	}
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m);
}

static int check_tiers(struct call *call, const struct policy_setting *s, sd_bus_error *error)
{
	struct tier *t;
	int r = 0;

	if (s->tier)
		r = morsel_bus_find_tier(call->manager, s->tier, &t, error);
	for (unsigned int i = 0; r >= 0 && s->tiers && i < s->tiers->len; i++)
		r = morsel_bus_find_tier(call->manager,
					 g_array_index(s->tiers, struct config_share, i).tier, &t,
					 error);
	return r;
}

/* The file as it will be, as far as can be told now; or what is wrong with a setting. */
static int make_trial(struct call *call, const struct policy_change *c, struct policy_file **ret,
		      sd_bus_error *error)
{
	unsigned int n = c->runtime ? 1 : 0;
	const struct policy_section *now = section_of(call->manager->policies, c, n);
	g_autofree char *path = file_path(c, n), *message = NULL;
	struct policy_file *f = policy_file_new(path, c->names[n]);
	struct policy_section *s;
	int r;

	r = policy_file_section(f, c->cgroup, &s, &message);
	for (unsigned int i = 0; r >= 0 && now && i < now->settings->len; i++) {
		const struct policy_setting *setting = now->settings->pdata[i];

		r = policy_section_set(s, setting->key, setting->value, 0, &message);
	}
	if (r < 0)
		bus_error_set(error, r, message);
	for (unsigned int i = 0; r >= 0 && i < c->keys->len; i++) {
		const char *key = c->keys->pdata[i], *value = c->values->pdata[i];

		r = policy_section_set(s, key, value, 0, &message);
		if (r < 0) {
			g_autofree char *quoted_key = quote(key), *quoted = quote(value);

			bus_error_setf(error, ERROR_INVALID_ARGUMENT, "%s=%s: %s", quoted_key,
				       quoted, message);
		} else {
			r = check_tiers(call, policy_section_find(s, key), error);
		}
	}
	if (r < 0)
		policy_file_unref(f);
	else
		*ret = f;
	return r;
}

/* What contradicts what is said already is told before it is written. */
static int check_trial(struct call *call, const struct policy_change *c, struct policy_file *f,
		       sd_bus_error *error)
{
	const struct policy_section *s = f->sections->pdata[0];
	g_autoptr(GPtrArray) wrong = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *message = NULL;
	struct policy_set *set;
	int r;

	r = policy_set_with(call->manager->policies, f->path, f, &set, &message);
	if (r < 0)
		return bus_error_set(error, -EINVAL, message);
	for (unsigned int i = 0; i < c->keys->len; i++) {
		const struct policy_setting *setting = policy_section_find(s, c->keys->pdata[i]);

		if (setting->tier)
			policy_check_limits(set, c->cgroup, setting->tier, wrong);
	}
	policy_set_unref(set);
	if (wrong->len > 0)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT, "%s", (char *)wrong->pdata[0]);
	return 0;
}

int set_policy_call(struct call *call, sd_bus_error *error)
{
	g_autoptr(PolicyChange) c = NULL;
	struct set_options o = {};
	struct policy_file *trial;
	const char *cgroup;
	int r;

	r = authority_check(call, ACTION_MANAGE, "set policies", error);
	if (r <= 0)
		return r;
	r = sd_bus_message_read(call->message, "s", &cgroup);
	if (r >= 0)
		r = check_path(cgroup, error);
	if (r < 0)
		return r;
	c = change_new(call->manager, cgroup, call->caller->uid, false);
	r = read_settings(call->message, c, error);
	if (r >= 0)
		r = bus_options_read(call->message, options_known, G_N_ELEMENTS(options_known), &o,
				     error);
	if (r < 0)
		return r;
	c->runtime = o.runtime;
	if (c->keys->len == 0)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "cgroup %s: at least one setting is to be given", cgroup);
	r = make_trial(call, c, &trial, error);
	if (r < 0)
		return r;
	r = check_trial(call, c, trial, error);
	policy_file_unref(trial);
	return r < 0 ? r : submit(call, g_steal_pointer(&c), error);
}

/* --- Unset ----------------------------------------------------------------------------------- */

/* Where it is said, if not by us. */
static int say_not_ours(const struct manager *m, const char *cgroup, const char *key,
			sd_bus_error *error)
{
	g_autoptr(GPtrArray) own = policy_own_all(m->policies, cgroup),
			     effective = policy_effective_all(m->policies, cgroup);

	for (unsigned int i = 0; i < own->len; i++) {
		const struct policy_setting *s = own->pdata[i];

		if (g_str_equal(s->key, key))
			return bus_error_setf(
				error, ERROR_NO_SUCH_POLICY,
				"%s of cgroup %s is set by [cgroup %s] in %s:%u, which is not "
				"morselctl's: edit that",
				key, cgroup, s->section->path, s->section->file->path, s->line);
	}
	for (unsigned int i = 0; i < effective->len; i++) {
		const struct policy_setting *s = effective->pdata[i];

		if (g_str_equal(s->key, key))
			return bus_error_setf(
				error, ERROR_NO_SUCH_POLICY,
				"cgroup %s has no %s of its own, but that of [cgroup %s] in %s:%u",
				cgroup, key, s->section->path, s->section->file->path, s->line);
	}
	return bus_error_setf(error, ERROR_NO_SUCH_POLICY, "cgroup %s has no %s", cgroup, key);
}

static int check_unset(struct call *call, const struct policy_change *c, sd_bus_error *error)
{
	const struct policy_section *lasting = section_of(call->manager->policies, c, 0),
				    *now = section_of(call->manager->policies, c, 1);

	if (c->all && !now && (c->runtime || !lasting))
		return bus_error_setf(error, ERROR_NO_SUCH_POLICY,
				      "cgroup %s has no policy that was set%s", c->cgroup,
				      c->runtime ? " until the next boot" : "");
	for (unsigned int i = 0; i < c->unset->len; i++) {
		const char *key = c->unset->pdata[i];

		if (!policy_is_key(key)) {
			g_autofree char *quoted = quote(key);

			return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
					      "unknown key %s; policies have %s", quoted,
					      policy_known_keys);
		}
		if (!(now && policy_section_find(now, key)) &&
		    (c->runtime || !(lasting && policy_section_find(lasting, key))))
			return say_not_ours(call->manager, c->cgroup, key, error);
	}
	return 0;
}

int unset_policy_call(struct call *call, sd_bus_error *error)
{
	g_autoptr(PolicyChange) c = NULL;
	struct set_options o = {};
	const char *cgroup, *key;
	int r;

	r = authority_check(call, ACTION_MANAGE, "set policies", error);
	if (r <= 0)
		return r;
	r = sd_bus_message_read(call->message, "s", &cgroup);
	if (r >= 0)
		r = check_path(cgroup, error);
	if (r < 0)
		return r;
	c = change_new(call->manager, cgroup, call->caller->uid, false);
	r = sd_bus_message_enter_container(call->message, 'a', "s");
	while (r >= 0 && (r = sd_bus_message_read(call->message, "s", &key)) > 0) {
		if (c->unset->len >= SETTINGS_MAX)
			return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
					      "more than %d keys in one call", SETTINGS_MAX);
		g_ptr_array_add(c->unset, g_strdup(key));
	}
	if (r >= 0)
		r = sd_bus_message_exit_container(call->message);
	if (r >= 0)
		r = bus_options_read(call->message, options_known, G_N_ELEMENTS(options_known), &o,
				     error);
	if (r < 0)
		return r;
	c->runtime = o.runtime;
	c->all = c->unset->len == 0;
	r = check_unset(call, c, error);
	return r < 0 ? r : submit(call, g_steal_pointer(&c), error);
}
