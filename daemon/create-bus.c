// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "bus-error.h"
#include "bus-options.h"
#include "clock.h"
#include "connection.h"
#include "log.h"
#include "manager.h"
#include "morsel-bus.h"
#include "persist.h"
#include "policies.h"

/* Tiers or nodes in one option: a machine has fewer. */
#define LIST_MAX 64

static int create_from_message(struct call *call, bool may_wait, sd_bus_error *error);

struct create_options {
	struct manager *manager;
	GPtrArray *prefer, *allow; /* of char * */
	struct placement *spread;  /* only its spread is used */
	GArray *initiators;	   /* of int */
	uint64_t page_size;
	uint32_t mode, group;
	bool has_spread, populate;
};

/* Create's call while a worker prepares or populates the object. */
struct creation {
	struct work work;
	struct late_call late;
	struct morsel *morsel; /* a reference of its own */
	bool populate;
	int r;
	char *text;
};

static int read_tiers(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e)
{
	GPtrArray *names = *(GPtrArray **)((char *)target + o->offset);
	const char *name;
	int r;

	r = sd_bus_message_enter_container(m, 'a', "s");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_read(m, "s", &name)) > 0) {
		if (names->len >= LIST_MAX)
			return bus_error_setf(e, ERROR_INVALID_ARGUMENT,
					      "option '%s' has more than %d entries", o->name,
					      LIST_MAX);
		g_ptr_array_add(names, g_strdup(name));
	}
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m);
}

static int read_spread(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e)
{
	struct create_options *options = target;
	const char *tier;
	uint32_t weight;
	int r;

	options->has_spread = true;
	r = sd_bus_message_enter_container(m, 'a', "{su}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_read(m, "{su}", &tier, &weight)) > 0) {
		if (options->spread->spread->len >= LIST_MAX)
			return bus_error_setf(e, ERROR_INVALID_ARGUMENT,
					      "option '%s' has more than %d entries", o->name,
					      LIST_MAX);
		placement_add_spread(options->spread, tier, weight);
	}
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m);
}

static int read_initiators(sd_bus_message *m, const struct bus_option *o, void *target,
			   sd_bus_error *e)
{
	struct create_options *options = target;
	const GArray *known = inventory_initiators(options->manager->inventory);
	int32_t node;
	int r;

	r = sd_bus_message_enter_container(m, 'a', "i");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_read(m, "i", &node)) > 0) {
		bool found = false;

		for (unsigned int i = 0; i < known->len; i++)
			found = found || g_array_index(known, int, i) == node;
		if (!found)
			return bus_error_setf(e, ERROR_INVALID_ARGUMENT,
					      "initiators: node %" PRId32 " has no CPUs", node);
		for (unsigned int i = 0; i < options->initiators->len; i++)
			if (g_array_index(options->initiators, int, i) == node)
				return bus_error_setf(e, ERROR_INVALID_ARGUMENT,
						      "initiators: node %" PRId32 " is given twice",
						      node);
		g_array_append_val(options->initiators, node);
	}
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m);
}

static void options_done(struct create_options *o)
{
	g_ptr_array_unref(o->prefer);
	g_ptr_array_unref(o->allow);
	g_array_unref(o->initiators);
	placement_unref(o->spread);
}

static int check_tier(struct manager *manager, const char *option, const char *name,
		      sd_bus_error *error)
{
	struct tier *t;
	int r;

	r = morsel_bus_find_tier(manager, name, &t, error);
	if (r < 0)
		return r;
	if (tier_is_pool(t) && !manager_can_place(manager, t))
		return bus_error_setf(
			error, ERROR_TIER_OFFLINE,
			"%s: tier %s is a dax device, where only the module's morsels lie,"
			" and new ones are not the module's: morselctl doctor",
			option, t->name);
	if (!manager_can_place(manager, t))
		return bus_error_setf(error, ERROR_TIER_OFFLINE, "%s: tier %s is %s%s%s", option,
				      t->name, tier_state_to_string(t->state),
				      t->state_reason[0] ? ": " : "", t->state_reason);
	return 0;
}

/* What the morsel's own wishes leave open is its cgroup's, as far as it fits them. */
static void add_standard(const struct manager *manager, struct placement *p,
			 const struct placement *standard, bool has_wish, bool has_allow)
{
	if (!has_wish) {
		for (unsigned int i = 0; i < standard->prefer->len; i++)
			if (placement_allows(p, standard->prefer->pdata[i]))
				g_ptr_array_add(p->prefer, g_strdup(standard->prefer->pdata[i]));
		for (unsigned int i = 0; i < standard->spread->len; i++) {
			const struct spread_weight *w =
				&g_array_index(standard->spread, struct spread_weight, i);

			if (placement_allows(p, w->tier))
				placement_add_spread(p, w->tier, w->weight);
		}
	}
	if (has_allow || standard->allow->len == 0)
		return;
	/* Its own wish goes before: what it names is allowed too, and then what is not there need not be. */
	for (unsigned int i = 0; i < standard->allow->len; i++) {
		const char *name = standard->allow->pdata[i];
		const struct tier *t = inventory_tier(manager->inventory, name);

		if (!has_wish || (t && manager_can_place(manager, t)))
			g_ptr_array_add(p->allow, g_strdup(name));
	}
	for (unsigned int i = 0; has_wish && i < p->prefer->len; i++)
		if (p->allow->len == 0 || !placement_allows(p, p->prefer->pdata[i]))
			g_ptr_array_add(p->allow, g_strdup(p->prefer->pdata[i]));
	for (unsigned int i = 0; has_wish && i < p->spread->len; i++) {
		const char *tier = g_array_index(p->spread, struct spread_weight, i).tier;

		if (p->allow->len == 0 || !placement_allows(p, tier))
			g_ptr_array_add(p->allow, g_strdup(tier));
	}
}

/* A morsel that says nothing shares the placement of its cgroup. */
static int make_placement(struct create_options *o, struct placement *standard,
			  struct placement **ret_placement, sd_bus_error *error)
{
	struct manager *manager = o->manager;
	g_autoptr(Placement) p = NULL;
	g_autofree char *text = NULL;
	int r;

	if (o->prefer->len == 0 && o->allow->len == 0 && !o->has_spread &&
	    (o->page_size == 0 || o->page_size == standard->page_size)) {
		*ret_placement = placement_ref(standard);
		return 0;
	}

	p = placement_new();
	p->page_size = o->page_size ? o->page_size : standard->page_size;
	for (unsigned int i = 0; i < o->prefer->len; i++) {
		r = check_tier(manager, "prefer", o->prefer->pdata[i], error);
		if (r < 0)
			return r;
		g_ptr_array_add(p->prefer, g_strdup(o->prefer->pdata[i]));
	}
	for (unsigned int i = 0; i < o->allow->len; i++) {
		r = check_tier(manager, "allow", o->allow->pdata[i], error);
		if (r < 0)
			return r;
		g_ptr_array_add(p->allow, g_strdup(o->allow->pdata[i]));
	}
	for (unsigned int i = 0; i < o->spread->spread->len; i++) {
		const struct spread_weight *w =
			&g_array_index(o->spread->spread, struct spread_weight, i);

		r = check_tier(manager, "spread", w->tier, error);
		if (r < 0)
			return r;
		placement_add_spread(p, w->tier, w->weight);
	}
	add_standard(manager, p, standard, o->prefer->len > 0 || o->has_spread, o->allow->len > 0);

	r = placement_check(p, &text);
	if (r < 0)
		return bus_error_set(error, r, text);
	*ret_placement = g_steal_pointer(&p);
	return 0;
}

static int check_capacity(struct manager *manager, const char *name, uint64_t size,
			  const struct placement *p, sd_bus_error *error)
{
	const GPtrArray *tiers = inventory_tiers(manager->inventory);
	g_autoptr(GString) names = g_string_new(NULL);
	uint64_t capacity = 0;

	for (unsigned int i = 0; i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];

		if (!manager_can_place(manager, t) || !placement_allows(p, t->name))
			continue;
		capacity += t->capacity;
		g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "", t->name);
	}
	if (size <= capacity)
		return 0;
	return bus_error_setf(error, ERROR_NO_SPACE,
			      "'%s' of %" PRIu64
			      " bytes does not fit on the tiers it may lie on (%s),"
			      " which have %" PRIu64,
			      name, size, names->str, capacity);
}

static char *wanted_tiers(const struct placement *p)
{
	GString *s = g_string_new(NULL);

	for (unsigned int i = 0; i < p->prefer->len; i++)
		g_string_append_printf(s, "%s%s", i > 0 ? " " : "", (char *)p->prefer->pdata[i]);
	for (unsigned int i = 0; i < p->spread->len; i++)
		g_string_append_printf(s, "%s%s", i > 0 ? " " : "",
				       g_array_index(p->spread, struct spread_weight, i).tier);
	if (s->len == 0)
		for (unsigned int i = 0; i < p->allow->len; i++)
			g_string_append_printf(s, "%s%s", i > 0 ? " " : "",
					       (char *)p->allow->pdata[i]);
	return g_string_free(s, FALSE);
}

static bool same_names(const GPtrArray *a, const GPtrArray *b)
{
	for (unsigned int i = 0; i < a->len; i++)
		if (i >= b->len || !g_str_equal(a->pdata[i], b->pdata[i]))
			return false;
	return a->len == b->len;
}

/* Its own wishes, or those of its cgroup (then also with a page size of its own)? */
static bool is_standard(const struct placement *p, const struct placement *standard)
{
	if (!same_names(p->prefer, standard->prefer) || !same_names(p->allow, standard->allow) ||
	    p->spread->len != standard->spread->len)
		return false;
	for (unsigned int i = 0; i < p->spread->len; i++) {
		const struct spread_weight *v = &g_array_index(p->spread, struct spread_weight, i),
					   *w = &g_array_index(standard->spread,
							       struct spread_weight, i);

		if (!g_str_equal(v->tier, w->tier) || v->weight != w->weight)
			return false;
	}
	return true;
}

static char *rule_text(struct manager *manager, const struct morsel *m)
{
	const struct cgroup_placement *c = policies_placement(manager, m->account);
	const struct placement *p = m->placement;
	GString *s = g_string_new(NULL);

	if (is_standard(p, c->placement)) {
		g_string_append(s, c->source);
		if (p->prefer->len == 0 && p->spread->len == 0 && p->allow->len == 0) {
			g_string_append(s, ": none");
			return g_string_free(s, FALSE);
		}
	} else {
		g_string_append(s, "policy");
	}
	for (unsigned int i = 0; i < p->prefer->len; i++)
		g_string_append_printf(s, "%s%s",
				       i > 0 ? " " : " prefer=", (char *)p->prefer->pdata[i]);
	for (unsigned int i = 0; i < p->spread->len; i++) {
		const struct spread_weight *w = &g_array_index(p->spread, struct spread_weight, i);

		g_string_append_printf(s, "%s%s=%u", i > 0 ? " " : " spread=", w->tier, w->weight);
	}
	for (unsigned int i = 0; i < p->allow->len; i++)
		g_string_append_printf(s, "%s%s",
				       i > 0 ? " " : " allow=", (char *)p->allow->pdata[i]);
	return g_string_free(s, FALSE);
}

static void record_creation(struct manager *manager, struct morsel *m)
{
	g_autofree char *tiers = wanted_tiers(m->placement);
	g_autofree char *text = rule_text(manager, m);
	g_autofree char *unplaced = g_strdup_printf("at creation; %s", m->storage->unplaced);
	GRefString *rule = g_ref_string_new_intern(text);
	GRefString *reason = g_ref_string_new_intern(tiers[0] ? "at creation" : unplaced);

	morsel_record(m, 0, m->size, tiers, rule, reason, m->created_usec);
	g_ref_string_release(rule);
	g_ref_string_release(reason);
}

/* Create's call while the new morsel is made lasting. */
struct publication {
	struct manager *manager;
	struct morsel *morsel;
	sd_bus_message *call, *reply;
};

static void log_failure(struct manager *manager, const struct morsel *m, const char *text)
{
	log_line(LOG_NOTICE, LOG_CREATE_FAILED, m->name, "morsel '%s' of %s: %s", m->name,
		 users_name(manager->users, m->owner), text);
}

static void publication_end(int r, void *userdata)
{
	struct publication *p = userdata;
	struct manager *manager = p->manager;
	struct morsel *m = p->morsel;

	if (r >= 0) {
		registry_publish(manager->registry, m);
		tiering_wake(manager->tiering);
		manager->stats.created++;
		/* A caller that has gone meanwhile finds the morsel under its name when it comes back. */
		(void)sd_bus_message_send(p->reply);
	} else {
		g_autofree char *text =
			g_strdup_printf("the registry cannot be written: %s", g_strerror(-r));
		sd_bus_error error = SD_BUS_ERROR_NULL;

		registry_remove(manager->registry, m);
		log_failure(manager, m, text);
		/* Too large a file, or a user's share of the disk, is a full disk for whoever asked. */
		bus_error_set(&error, r == -EFBIG || r == -EDQUOT ? -ENOSPC : r, text);
		(void)sd_bus_reply_method_error(p->call, &error);
		sd_bus_error_free(&error);
	}
	sd_bus_message_unref(p->call);
	sd_bus_message_unref(p->reply);
	morsel_unref(m);
	g_free(p);
}

/*
 * The object is there: make it lasting, then visible, and answer. On failure m stays the caller's, in the
 * registry; else it is taken care of.
 */
static int publish(struct manager *manager, struct morsel *m, sd_bus_message *message)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	struct publication *p;
	char id[MORSEL_ID_LENGTH + 1];
	int fd, r;

	fd = m->storage->ops->open_fd(m->object, true);
	if (fd < 0)
		return fd;
	m->created_usec = now_realtime();
	r = sd_bus_message_new_method_return(message, &reply);
	if (r >= 0)
		r = sd_bus_message_append(reply, "sh", morsel_id_string(m, id), fd);
	close(fd);
	if (r >= 0)
		r = morsel_bus_append(reply, manager, m);
	if (r < 0)
		return r;

	record_creation(manager, m);
	registry_number(manager->registry, m);
	p = g_new(struct publication, 1);
	*p = (struct publication){ manager, morsel_ref(m), sd_bus_message_ref(message),
				   g_steal_pointer(&reply) };
	persist_create(manager, m, publication_end, p);
	return 1;
}

static bool on_progress(uint64_t done, uint64_t total, void *userdata)
{
	struct creation *creation = userdata;

	return !atomic_load_explicit(&creation->late.manager->stopping, memory_order_relaxed);
}

static void creation_run(struct work *w)
{
	struct creation *c = (struct creation *)w;
	const struct storage_ops *ops = c->morsel->storage->ops;

	if (ops->needs_prepare(c->morsel->object))
		c->r = ops->prepare(c->morsel->object, on_progress, c, &c->text);
	if (c->r >= 0 && c->populate)
		c->r = ops->populate(c->morsel->object, 0, c->morsel->size, on_progress, c,
				     &c->text);
}

static void creation_done(struct work *w, bool ran)
{
	struct creation *c = (struct creation *)w;
	struct manager *manager = c->late.manager;
	int r = ran ? c->r : -ECANCELED;

	if (r >= 0)
		r = publish(manager, c->morsel, c->late.message);
	if (r < 0) {
		registry_remove(manager->registry, c->morsel);
		if (r != -EINVAL)
			log_failure(manager, c->morsel, c->text ? c->text : g_strerror(-r));
	}
	late_call_end(&c->late, r, c->text);
	morsel_unref(c->morsel);
	g_free(c->text);
	g_free(c);
}

/* The name, bytes and tiers are checked and reserved: make the object, now or on a worker. */
static int make_object(struct call *call, struct morsel *m, bool populate, sd_bus_error *error)
{
	struct manager *manager = call->manager;
	g_autofree char *text = NULL;
	struct storage_spec spec;
	struct creation *c;
	int r;

	if (manager->create_refusal)
		return bus_error_setf(
			error, ERROR_NOT_SUPPORTED,
			"'%s' cannot be created: Storage=module in morseld.conf, but %s", m->name,
			manager->create_refusal);
	if (manager_descriptors_short(manager, -1)) {
		manager_log_descriptors(manager);
		return bus_error_setf(error, ERROR_NO_DESCRIPTORS,
				      "the daemon has no descriptor left for '%s' (limit %u)",
				      m->name, manager->descriptors);
	}
	m->storage = manager->storage;
	spec = morsel_spec(m);
	spec.placed =
		!is_standard(m->placement, policies_placement(manager, m->account)->placement);
	r = manager->storage->ops->create(manager->storage, manager->inventory, &spec, &m->object,
					  &text);
	if (r < 0)
		return bus_error_set(error, r == -EFBIG ? -ENOSPC : r, text);
	if (!populate && !manager->storage->ops->needs_prepare(m->object))
		return publish(manager, m, call->message);

	c = g_new0(struct creation, 1);
	r = late_call_begin(&c->late, call, error);
	if (r < 0) {
		g_free(c);
		return r;
	}
	c->work.run = creation_run;
	c->work.done = creation_done;
	c->work.owner = call->caller->uid;
	c->morsel = morsel_ref(m);
	c->populate = populate;
	worker_pool_submit(manager->memory, &c->work);
	return 1;
}

static int check_arguments(struct call *call, const char *name, uint64_t size,
			   struct create_options *o, sd_bus_error *error)
{
	const char *wrong = morsel_name_check(name);
	int r;

	if (wrong) {
		g_autofree char *quoted = quote(name);

		return bus_error_setf(error, ERROR_INVALID_ARGUMENT, "name %s %s", quoted, wrong);
	}
	if (o->page_size != 0 && o->page_size != 4096 && o->page_size != GRANULE_SIZE)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "page_size %" PRIu64 " of '%s' is neither 4096 nor 2097152",
				      o->page_size, name);
	if (size == 0)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "'%s' of 0 bytes; a morsel has at least one page", name);
	r = access_check_mode(o->mode, name, error);
	return r < 0 ? r : access_check_group(call, o->group, name, error);
}

static int charge(struct call *call, struct morsel *m, char **ret_text)
{
	int r = morsel_charge(m, call->caller->account, ret_text);

	if (r != -EDQUOT)
		return r;
	/* The loop may not have come to see yet what has been let go of. */
	linger_look(call->manager->linger);
	g_clear_pointer(ret_text, g_free);
	return morsel_charge(m, call->caller->account, ret_text);
}

/* Create's call that waits for the memory of what its user has destroyed just now. */
struct postponed {
	struct work work;
	struct late_call late;
	struct caller *caller;
};

static void postponed_run(struct work *w)
{
}

static void postponed_done(struct work *w, bool ran)
{
	struct postponed *p = (struct postponed *)w;
	struct call call = { .manager = p->late.manager,
			     .caller = p->caller,
			     .message = p->late.message };
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = ran ? 0 : -ECANCELED;

	if (r >= 0) {
		linger_look(call.manager->linger);
		sd_bus_message_rewind(call.message, true);
		r = create_from_message(&call, false, &error);
		/* With the error's own name. */
		if (r < 0 && sd_bus_error_is_set(&error)) {
			(void)sd_bus_reply_method_error(call.message, &error);
			r = 0;
		}
	}
	late_call_end(&p->late, r, NULL);
	sd_bus_error_free(&error);
	caller_unref(p->caller);
	g_free(p);
}

/* Large objects are freed on workers, one user's one after the other. "Destroy, then create" has room as
 * soon as the worker is through, and need not know of that. */
static int create_later(struct call *call, sd_bus_error *error)
{
	struct postponed *p = g_new0(struct postponed, 1);
	int r;

	r = late_call_begin(&p->late, call, error);
	if (r < 0) {
		g_free(p);
		return r;
	}
	p->work.run = postponed_run;
	p->work.done = postponed_done;
	p->work.owner = call->caller->uid;
	p->caller = caller_ref(call->caller);
	worker_pool_submit(call->manager->memory, &p->work);
	return 1;
}

static int create(struct call *call, struct create_options *o, const char *name, uint64_t size,
		  bool may_wait, sd_bus_error *error)
{
	struct manager *manager = call->manager;
	struct placement *standard = policies_placement(manager, call->caller->cgroup)->placement;
	g_autoptr(Placement) p = NULL;
	g_autoptr(Morsel) m = NULL;
	g_autofree char *text = NULL;
	int r;

	r = morsel_bus_check_descriptors(call, error);
	if (r < 0)
		return r;
	r = check_arguments(call, name, size, o, error);
	if (r < 0)
		return r;
	/* A default is for those that it fits. */
	if (o->page_size == 0 && size % standard->page_size != 0)
		o->page_size = 4096;
	r = make_placement(o, standard, &p, error);
	if (r < 0)
		return r;
	if (size % p->page_size != 0)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "size %" PRIu64 " of '%s' is not a multiple of its page size,"
				      " %" PRIu64,
				      size, name, p->page_size);
	r = check_capacity(manager, name, size, p, error);
	if (r < 0)
		return r;

	m = morsel_new(name, call->caller->uid, o->group, o->mode, size);
	m->placement = g_steal_pointer(&p);
	m->account = g_ref_string_acquire(call->caller->cgroup);
	m->cgroup_id = call->caller->cgroup_id;
	if (o->initiators->len > 0)
		m->initiators = g_array_ref(o->initiators);
	r = registry_add(manager->registry, m, &text);
	if (r < 0)
		return bus_error_set(error, r, text);
	r = charge(call, m, &text);
	if (r < 0) {
		registry_remove(manager->registry, m);
		if (r == -EDQUOT && may_wait && quota_lingers(call->caller->account))
			return create_later(call, error);
		return bus_error_set(error, r, text);
	}
	if (manager->dry_run)
		r = bus_error_setf(error, ERROR_NOT_SUPPORTED,
				   "dry run: would have created '%s' of %" PRIu64 " bytes", name,
				   size);
	else
		r = make_object(call, m, o->populate, error);
	if (r < 0)
		registry_remove(manager->registry, m);
	return r;
}

int create_call(struct call *call, sd_bus_error *error)
{
	return create_from_message(call, true, error);
}

static int create_from_message(struct call *call, bool may_wait, sd_bus_error *error)
{
	static const struct bus_option options[] = {
		{ "prefer", "as", read_tiers, offsetof(struct create_options, prefer) },
		{ "allow", "as", read_tiers, offsetof(struct create_options, allow) },
		{ "spread", "a{su}", read_spread, 0 },
		{ "page_size", "t", bus_option_u64, offsetof(struct create_options, page_size) },
		{ "mode", "u", bus_option_u32, offsetof(struct create_options, mode) },
		{ "group", "u", bus_option_u32, offsetof(struct create_options, group) },
		{ "populate", "b", bus_option_bool, offsetof(struct create_options, populate) },
		{ "initiators", "ai", read_initiators, 0 },
	};
	struct create_options o = {
		.manager = call->manager,
		.prefer = g_ptr_array_new_with_free_func(g_free),
		.allow = g_ptr_array_new_with_free_func(g_free),
		.spread = placement_new(),
		.initiators = g_array_new(FALSE, FALSE, sizeof(int)),
		.mode = 0600,
		.group = call->caller->gid,
	};
	const char *name;
	uint64_t size;
	int r;

	r = sd_bus_message_read(call->message, "st", &name, &size);
	if (r >= 0)
		r = bus_options_read(call->message, options, G_N_ELEMENTS(options), &o, error);
	if (r >= 0)
		r = create(call, &o, name, size, may_wait, error);
	options_done(&o);
	return r;
}
