// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <linux/morsel.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "clock.h"
#include "connection.h"
#include "dax-device.h"
#include "helper-client.h"
#include "hotplug.h"
#include "kernfile.h"
#include "log.h"
#include "manager.h"
#include "persist.h"
#include "policies.h"
#include "morsel-bus.h"
#include "provision.h"
#include "record-bus.h"
#include "restore.h"
#include "storage-module-open.h"
#include "tier-bus.h"

/* Residency and explain of a large object take a core; one user's take all threads but one. */
#define QUERY_THREADS 3
/* Populating and freeing, one piece of a user's at a time: bound by memory bandwidth. Two users with one
 * hundred GiB each must not hold up one MiB of a third. */
#define MEMORY_THREADS 3

static int fail(int r, const char *what, const char *object)
{
	log_line(LOG_ERR, LOG_START_FAILED, object, "%s%s%s: %s", what, object ? " " : "",
		 object ? object : "", g_strerror(-r));
	return r;
}

/* --- Descriptors ---------------------------------------------------------------------------- */

/* Each morsel and each connection is one: take all that may be had. */
static void raise_descriptors(struct manager *m)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		limit.rlim_cur = limit.rlim_max = 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = { .rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max };

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	m->descriptors = MIN(limit.rlim_cur, INT_MAX);
}

bool manager_descriptors_short(struct manager *m, int fd)
{
	int probe = fd;

	/* The kernel gives the lowest number that is free: numbers near the limit mean few are left. */
	if (fd < 0) {
		probe = fcntl(m->spare_fd, F_DUPFD_CLOEXEC, 0);
		if (probe < 0)
			return true;
		close(probe);
	}
	return (unsigned int)probe + DESCRIPTORS_RESERVED >= m->descriptors;
}

void manager_log_descriptors(struct manager *m)
{
	static struct log_rate rate = { .interval_usec = 10000000, .burst = 1 };

	if (log_rate_pass(&rate, LOG_NO_DESCRIPTORS))
		log_line(LOG_WARNING, LOG_NO_DESCRIPTORS, NULL,
			 "out of descriptors: %u morsels, %u connections, limit %u (LimitNOFILE=)",
			 registry_morsels(m->registry), g_hash_table_size(m->connections),
			 m->descriptors);
}

/* --- Connections ---------------------------------------------------------------------------- */

void manager_connection_added(struct manager *m, struct connection *c)
{
	g_hash_table_add(m->connections, c);
}

void manager_connection_closed(struct manager *m, struct connection *c)
{
	jobs_forget_connection(m->jobs, c);
	if (!c->caller)
		sd_event_source_set_enabled(m->reap, SD_EVENT_ONESHOT);
}

void manager_connection_gone(struct manager *m, struct connection *c)
{
	g_hash_table_remove(m->connections, c);
	connection_free(c);
}

/* The connection to the bus was closed. */
static int on_reap(sd_event_source *s, void *userdata)
{
	struct manager *m = userdata;

	broker_lost(m->broker);
	return 0;
}

/* --- Memory --------------------------------------------------------------------------------- */

struct release {
	struct work work;
	struct storage *storage;
	struct storage_object *object;
};

static void release_run(struct work *w)
{
	struct release *release = (struct release *)w;

	release->storage->ops->free(release->object);
}

static void release_done(struct work *w, bool ran)
{
	if (!ran)
		release_run(w);
	g_free(w);
}

/* The end of an object that outlives the daemon otherwise. */
struct destruction {
	struct work work;
	struct manager *manager;
	struct storage *storage;
	struct storage_object *object;
	struct quota_account *charged; /* with one morsel and bytes; or NULL */
	uint64_t bytes;
	sd_id128_t id;
	char *name;
	int r;
};

static void destruction_run(struct work *w)
{
	struct destruction *d = (struct destruction *)w;

	d->r = d->storage->ops->destroy(d->object);
}

static void destruction_done(struct work *w, bool ran)
{
	struct destruction *d = (struct destruction *)w;

	if (ran && d->r < 0)
		log_line(LOG_WARNING, LOG_INTERNAL, d->name,
			 "the memory of destroyed morsel '%s' could not be given back: %s; tried"
			 " again at the next start",
			 d->name, g_strerror(-d->r));
	if (d->charged)
		quota_linger(d->charged, -(int64_t)d->bytes);
	/* Somebody may still map it: then it stays charged. */
	if (ran && d->r >= 0 && d->charged && !d->storage->ops->gone(d->object)) {
		linger_add_object(d->manager->linger, d->storage, g_steal_pointer(&d->object),
				  g_steal_pointer(&d->charged), d->bytes, d->id);
	} else if (d->charged) {
		quota_uncharge(d->charged, QUOTA_MORSELS, 1);
		quota_uncharge(d->charged, QUOTA_BYTES, d->bytes);
		/* At our end the next start finds out. */
		if (ran)
			persist_gone(d->id, d->manager);
	}
	d->storage->ops->free(d->object);
	g_free(d->name);
	g_free(d);
}

static void destroy_object(struct manager *m, struct morsel *morsel)
{
	struct destruction *d = g_new0(struct destruction, 1);

	d->work.run = destruction_run;
	d->work.done = destruction_done;
	d->work.owner = morsel->owner;
	d->manager = m;
	d->storage = morsel->storage;
	d->object = g_steal_pointer(&morsel->object);
	d->charged = g_steal_pointer(&morsel->charged);
	d->bytes = morsel->size;
	d->id = morsel->id;
	d->name = g_strdup(morsel->name);
	if (d->charged)
		quota_linger(d->charged, (int64_t)d->bytes);
	worker_pool_submit(m->memory, &d->work);
}

/* One that is not watched yet: it never came to be (or that failed when it was destroyed). It stays charged until
 * it is free. */
static void keep_charge(struct manager *m, struct morsel *morsel)
{
	static struct log_rate rate = { .interval_usec = 10000000, .burst = 1 };
	int fd, watch, r;

	if (!morsel->charged || !m->linger)
		return;
	fd = morsel->storage->ops->open_fd(morsel->object, false);
	r = fd < 0 ? fd
		   : linger_add(m->linger, fd, morsel->charged, morsel->size, SD_ID128_NULL,
				&watch);
	if (fd >= 0)
		close(fd);
	if (r >= 0)
		morsel->charged = NULL;
	else if (log_rate_pass(&rate, LOG_INTERNAL))
		log_line(LOG_WARNING, LOG_INTERNAL, morsel->name,
			 "cannot watch destroyed morsel '%s' (%s): it is no longer charged, though"
			 " a process may still map it",
			 morsel->name, g_strerror(-r));
}

/* The last descriptor of an object takes its pages along, about a tenth of a second a GiB. */
static void on_release(struct morsel *morsel, void *userdata)
{
	struct manager *m = userdata;
	uint64_t bytes;
	struct release *release;

	if (morsel->storage->lasting) {
		/* At our end morsels are let go of, not destroyed. What was destroyed just before is
		 * what the next start finds without a morsel. */
		if (!atomic_load(&m->stopping) && m->memory)
			destroy_object(m, morsel);
		else
			morsel->object = morsel->storage->ops->free(morsel->object);
		return;
	}
	keep_charge(m, morsel);
	if (!m->memory || (morsel->storage->ops->allocated(morsel->object, &bytes) >= 0 &&
			   bytes < GRANULE_SIZE)) {
		morsel->object = morsel->storage->ops->free(morsel->object);
		return;
	}
	release = g_new0(struct release, 1);
	release->work.run = release_run;
	release->work.done = release_done;
	release->work.owner = morsel->owner;
	release->storage = morsel->storage;
	release->object = g_steal_pointer(&morsel->object);
	worker_pool_submit(m->memory, &release->work);
}

struct storage *manager_storage(struct manager *m, const char *name)
{
	if (g_str_equal(name, m->node->name))
		return m->node;
	return m->module && g_str_equal(name, m->module->name) ? m->module : NULL;
}

bool manager_can_place(const struct manager *m, const struct tier *t)
{
	return tier_has_pages(t) || (tier_is_pool(t) && m->storage == m->module);
}

uint64_t manager_capacity(struct manager *m)
{
	const GPtrArray *tiers = inventory_tiers(m->inventory);
	uint64_t sum = 0;

	for (unsigned int i = 0; i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];

		if (manager_can_place(m, t))
			sum += t->capacity;
	}
	return sum;
}

unsigned int manager_kept(const struct manager *m)
{
	return keeper_held(m->keeper) - keeper_holds(m->keeper, LINGER_KEPT_ID);
}

void manager_count_move(struct manager *m, const struct storage_move_result *result)
{
	GHashTableIter iter;
	gpointer key, value;

	m->stats.moved_bytes += result->moved;
	m->stats.move_failed_bytes += result->failed;
	if (!result->reasons)
		return;
	g_hash_table_iter_init(&iter, result->reasons);
	while (g_hash_table_iter_next(&iter, &key, &value))
		stats_add(m->stats.move_failed_reasons, key, *(uint64_t *)value);
}

/* --- The machine ---------------------------------------------------------------------------- */

/* The default policy on this machine: what the configuration prefers, as far as it exists. */
static void make_default_placement(struct manager *m)
{
	struct placement *p = placement_new();

	p->page_size = m->config->default_page_size;
	for (unsigned int i = 0; i < m->config->default_prefer->len; i++) {
		const char *name = m->config->default_prefer->pdata[i];
		struct tier *t = inventory_tier(m->inventory, name);

		if (t && manager_can_place(m, t))
			g_ptr_array_add(p->prefer, g_strdup(name));
		else
			log_line(LOG_NOTICE, LOG_TIER_WARNING, name,
				 "tier %s of Prefer= in [default] %s, ignoring", name,
				 t ? "cannot take pages now" : "does not exist");
	}
	placement_unref(m->default_placement);
	m->default_placement = p;
	policies_refresh(m);
}

static bool in_use(const char *name, void *userdata)
{
	struct manager *m = userdata;
	const char *interned = g_intern_string(name);

	for (struct morsel *morsel = registry_after(m->registry, NULL, 0); morsel;
	     morsel = registry_after(m->registry, NULL, morsel->seq)) {
		const struct placement *p = morsel->placement;

		for (unsigned int i = 0; i < p->prefer->len; i++)
			if (g_str_equal(p->prefer->pdata[i], name))
				return true;
		for (unsigned int i = 0; i < p->allow->len; i++)
			if (g_str_equal(p->allow->pdata[i], name))
				return true;
		for (unsigned int i = 0; i < p->spread->len; i++)
			if (g_str_equal(g_array_index(p->spread, struct spread_weight, i).tier,
					name))
				return true;
		for (unsigned int i = 0; morsel->records && i < morsel->records->len; i++)
			if (g_array_index(morsel->records, struct placement_record, i).tiers ==
			    interned)
				return true;
	}
	return false;
}

static void tier_unref_pointer(gpointer p)
{
	tier_unref(p);
}

static GPtrArray *copy_tiers(const GPtrArray *tiers)
{
	GPtrArray *copy = g_ptr_array_new_with_free_func(tier_unref_pointer);

	for (unsigned int i = 0; i < tiers->len; i++)
		g_ptr_array_add(copy, tier_ref(tiers->pdata[i]));
	return copy;
}

static void log_warnings(struct manager *m)
{
	const GPtrArray *tiers = inventory_tiers(m->inventory);
	const GPtrArray *warnings = inventory_warnings(m->inventory);

	for (unsigned int i = 0; i < warnings->len; i++)
		log_line(LOG_NOTICE, LOG_TIER_WARNING, NULL, "%s", (char *)warnings->pdata[i]);
	for (unsigned int i = 0; i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];

		for (unsigned int j = 0; j < t->warnings->len; j++)
			log_line(LOG_NOTICE, LOG_TIER_WARNING, t->name, "tier %s: %s", t->name,
				 (char *)t->warnings->pdata[j]);
	}
}

static void tell_status(struct manager *m)
{
	const GPtrArray *tiers = inventory_tiers(m->inventory);
	unsigned int usable = 0;

	for (unsigned int i = 0; i < tiers->len; i++)
		usable += manager_can_place(m, tiers->pdata[i]);
	sd_notifyf(0, "STATUS=%u tiers, %u take pages%s", tiers->len, usable,
		   m->dry_run ? "; dry run" : "");
}

static int refresh(struct manager *m, const struct config *config)
{
	g_autoptr(GPtrArray) before = copy_tiers(inventory_tiers(m->inventory));
	bool changed = false;
	int r;

	r = inventory_refresh(m->inventory, config, in_use, m, &changed);
	if (r >= 0 && m->module)
		storage_module_learn(m->module, m->inventory);
	if (r < 0 || !changed)
		return r;
	log_line(LOG_INFO, LOG_TIERS_CHANGED, NULL, "tiers changed: %u, %u before",
		 inventory_tiers(m->inventory)->len, before->len);
	log_warnings(m);
	tier_bus_tell(m, before, inventory_tiers(m->inventory));
	quota_configure(m->quota, m->config, manager_capacity(m));
	tell_status(m);
	return 0;
}

void manager_refresh(struct manager *m)
{
	int r = refresh(m, m->config);

	if (r < 0)
		log_line(LOG_WARNING, LOG_TIERS_CHANGED, NULL,
			 "cannot read the machine's memory again: %s, what was known stays",
			 g_strerror(-r));
	else
		make_default_placement(m);
}

int manager_reload(struct manager *m, char **ret_text)
{
	g_autofree char *text = NULL;
	struct policy_set *policies = NULL;
	struct config *config = NULL;
	int r;

	r = config_load(m->options.config_path, &config, &text);
	if (r >= 0)
		r = policies_read(m, config, &policies, &text);
	if (r < 0) {
		log_line(LOG_WARNING, LOG_RELOAD_FAILED, m->options.config_path,
			 "%s; the old configuration stays", text ? text : g_strerror(-r));
		*ret_text = text ? g_steal_pointer(&text) : g_strdup(g_strerror(-r));
		config_free(config);
		return r;
	}
	r = refresh(m, config);
	if (r < 0) {
		policy_set_unref(policies);
		config_free(config);
		*ret_text = g_strdup_printf("cannot read the machine's memory again: %s",
					    g_strerror(-r));
		log_line(LOG_WARNING, LOG_RELOAD_FAILED, m->options.config_path,
			 "%s; the old configuration stays", *ret_text);
		return r;
	}
	quota_configure(m->quota, config, manager_capacity(m));
	config_free(m->config);
	m->config = config;
	policies_apply(m, policies);
	make_default_placement(m);
	jobs_set_parallel(m->jobs, config->job_threads);
	log_line(LOG_INFO, LOG_RELOADED, m->options.config_path, "configuration %s read again",
		 m->options.config_path);
	return 0;
}

/* --- Signals and life ----------------------------------------------------------------------- */

static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	struct manager *m = userdata;
	g_autofree char *text = NULL;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" G_GUINT64_FORMAT, now_monotonic());
	(void)manager_reload(m, &text); /* logged there */
	sd_notify(0, "READY=1");
	tell_status(m);
	return 0;
}

static int add_signals(struct manager *m)
{
	sigset_t set;
	int r;

	/* A file that may not grow is an error of writing it. */
	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return -errno;
	/* Before any thread is started: they inherit it. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	/* Without a handler of its own a signal ends the loop with 0. */
	r = sd_event_add_signal(m->event, &m->sigterm, SIGTERM, NULL, NULL);
	if (r < 0)
		return r;
	r = sd_event_add_signal(m->event, &m->sigint, SIGINT, NULL, NULL);
	if (r < 0)
		return r;
	return sd_event_add_signal(m->event, &m->sighup, SIGHUP, on_hangup, m);
}

static int lock_state(struct manager *m)
{
	const char *path = m->options.state_dir;

	if (!path)
		return 0;
	if (g_mkdir_with_parents(path, 0700) < 0)
		return fail(-errno, "state directory", path);
	m->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->state_fd < 0)
		return fail(-errno, "state directory", path);
	/* Two daemons with one state would undo each other's work. */
	if (flock(m->state_fd, LOCK_EX | LOCK_NB) < 0) {
		log_line(LOG_ERR, LOG_START_FAILED, path, "state directory %s: %s", path,
			 errno == EWOULDBLOCK ? "another daemon uses it" : g_strerror(errno));
		return -EBUSY;
	}
	return 0;
}

/* What lasts, and whoever holds it while we are away. */
static int open_ledger(struct manager *m)
{
	g_autofree char *text = NULL;
	bool lasting = m->state_fd >= 0 && !m->dry_run;
	int r;

	/* A keeper without a registry would hold what nobody can name. */
	m->keeper = keeper_new(m->event, lasting ? m->options.keeper_path : NULL);
	if (!lasting)
		return 0;
	r = ledger_open(m->event, m->state_fd, &m->ledger, &text);
	if (r < 0)
		log_line(LOG_ERR, LOG_START_FAILED, m->options.state_dir, "%s: %s",
			 m->options.state_dir, text);
	return r;
}

/* By morsel-helper; a daemon that root started has none, and may itself. */
static int open_device(const char *path, char **ret_text, void *userdata)
{
	const struct manager *m = userdata;
	int fd = -ENOENT;

	if (m->real_root && m->options.helper_path)
		fd = helper_client_open_device(path, ret_text);
	if (fd == -ENOENT && g_str_has_prefix(path, "dev/dax")) {
		g_clear_pointer(ret_text, g_free);
		fd = dax_device_open(m->root_fd, m->options.config_path, path + strlen("dev/"),
				     ret_text);
	}
	return fd;
}

/*
 * The module is opened where new morsels are not to be its, too: older ones are. It is looked for now only: a daemon
 * that changes its storage while it serves would leave nobody certain of what he gets.
 */
static void choose_storage(struct manager *m)
{
	bool lasting = m->state_fd >= 0 && !m->dry_run;
	const struct module_opener opener = { .open = open_device, .userdata = m };

	m->module_facts.wish = m->config->storage;
	storage_module_open(m->root_fd, lasting ? m->state_fd : -1, &opener, &m->module_facts.probe,
			    &m->module);
	m->storage = module_is_chosen(&m->module_facts) ? m->module : m->node;
	if (m->config->storage == STORAGE_MODULE && m->storage == m->node)
		m->create_refusal = module_refusal(&m->module_facts);
	if (m->create_refusal)
		log_line(LOG_ERR, LOG_STORAGE, "module",
			 "Storage=module, but %s: nothing is created", m->create_refusal);
	else if (m->storage == m->module)
		log_line(LOG_INFO, LOG_STORAGE, "module",
			 "new morsels are objects of the kernel module (version %u)",
			 m->module_facts.probe.version);
	else if (m->config->storage == STORAGE_AUTO &&
		 m->module_facts.probe.state != MODULE_ABSENT) {
		g_autofree char *why = module_refusal(&m->module_facts);

		log_line(LOG_NOTICE, LOG_STORAGE, "module",
			 "%s: new morsels are memory files (node storage)", why);
	}
}

static void on_policy(uint64_t account, const struct morsel_policy *policy, void *userdata)
{
	placer_set(userdata, account, policy);
}

/* Of this machine's module only. */
static void start_placer(struct manager *m)
{
	uint64_t wanted = MORSEL_FEATURE_PLACEMENT | MORSEL_FEATURE_PLACED;

	if (!m->module || !m->real_root || !m->options.bpf_path ||
	    (m->module_facts.probe.features & wanted) != wanted)
		return;
	m->placer = placer_new(m->root_fd, m->options.bpf_path);
	storage_module_set_placer(m->module, on_policy, m->placer);
}

static int read_machine(struct manager *m)
{
	g_autofree char *text = NULL;
	struct policy_set *policies;
	bool changed;
	int r;

	r = config_load(m->options.config_path, &m->config, &text);
	if (r < 0) {
		log_line(LOG_ERR, LOG_START_FAILED, m->options.config_path, "%s",
			 text ? text : g_strerror(-r));
		return r;
	}
	helper_client_init(m->options.helper_path);
	/* Of this machine only: a fixture's files are ours or nobody's. */
	if (m->real_root && m->options.helper_path)
		kernfile_set_opener(helper_client_open);
	r = inventory_new(m->root_fd, m->real_root, &m->inventory);
	if (r < 0)
		return fail(r, "inventory", NULL);
	r = storage_node_new(m->root_fd, &m->node);
	if (r < 0)
		return fail(r, "node storage", NULL);
	choose_storage(m);
	start_placer(m);
	inventory_set_module(m->inventory, m->module != NULL);
	r = inventory_refresh(m->inventory, m->config, NULL, NULL, &changed);
	if (r < 0)
		return fail(r, "cannot read the machine's memory", NULL);
	if (m->module)
		storage_module_learn(m->module, m->inventory);
	r = policies_read(m, m->config, &policies, &text);
	if (r < 0) {
		log_line(LOG_ERR, LOG_START_FAILED, m->options.config_path, "%s",
			 text ? text : g_strerror(-r));
		return r;
	}
	log_warnings(m);
	policies_apply(m, policies);
	make_default_placement(m);
	return 0;
}

static int make_parts(struct manager *m)
{
	int r;

	r = worker_pool_new(m->event, "morsel-move", m->config->job_threads, &m->moves);
	if (r < 0)
		return fail(r, "workers", NULL);
	r = worker_pool_new(m->event, "morsel-query", QUERY_THREADS, &m->queries);
	if (r < 0)
		return fail(r, "workers", NULL);
	worker_pool_set_share(m->queries, QUERY_THREADS - 1);
	r = worker_pool_new(m->event, "morsel-memory", MEMORY_THREADS, &m->memory);
	if (r < 0)
		return fail(r, "workers", NULL);
	/* In order: create-bus.c waits for what was freed before. */
	worker_pool_set_share(m->memory, 1);
	r = worker_pool_new(m->event, "morsel-admin", 1, &m->admin);
	if (r < 0)
		return fail(r, "workers", NULL);
	r = worker_pool_new(m->event, "morsel-policy", 1, &m->policy_files);
	if (r < 0)
		return fail(r, "workers", NULL);
	m->provisioned = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	r = sd_event_add_defer(m->event, &m->reap, on_reap, m);
	if (r < 0)
		return fail(r, "event loop", NULL);
	sd_event_source_set_enabled(m->reap, SD_EVENT_OFF);

	m->users = users_new(m->queries);
	m->registry = registry_new(m->users, on_release, m);
	m->quota = quota_new(m->users);
	quota_configure(m->quota, m->config, manager_capacity(m));
	r = linger_new(m->event, persist_gone, m, &m->linger);
	if (r < 0)
		return fail(r, "inotify", NULL);
	m->jobs = jobs_new(m, m->moves, m->admin);
	jobs_set_parallel(m->jobs, m->config->job_threads);
	m->gate = gate_new();
	m->authority = authority_new();
	r = turns_new(m->event, &m->turns);
	if (r < 0)
		return fail(r, "event loop", NULL);
	m->connections = g_hash_table_new(NULL, NULL);
	m->connections_by_bus = g_hash_table_new(NULL, NULL);
	g_queue_init(&m->listings);
	g_queue_init(&m->records);
	stats_init(&m->stats);
	m->tiering = tiering_new(m);
	m->ordinary = ordinary_new(m);
	return 0;
}

static void on_hotplug(void *userdata)
{
	manager_refresh(userdata);
	provision_configured(userdata);
}

int manager_new(const struct manager_options *options, struct manager **ret_manager)
{
	struct manager *m = g_new0(struct manager, 1);
	int r;

	m->options = *options;
	m->dry_run = options->dry_run;
	m->real_root = g_str_equal(options->root, "/");
	m->root_fd = m->spare_fd = m->state_fd = -1;
	m->started_usec = now_realtime();

	raise_descriptors(m);
	m->root_fd = open(options->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m->root_fd < 0) {
		r = fail(-errno, "root directory", options->root);
		goto out;
	}
	caller_init(m->root_fd);
	m->spare_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (m->spare_fd < 0) {
		r = fail(-errno, "cannot open", "/dev/null");
		goto out;
	}
	r = lock_state(m);
	if (r < 0)
		goto out;
	r = sd_event_default(&m->event);
	if (r >= 0)
		r = add_signals(m);
	if (r < 0) {
		fail(r, "event loop", NULL);
		goto out;
	}
	r = read_machine(m);
	if (r < 0)
		goto out;
	r = make_parts(m);
	if (r >= 0)
		r = open_ledger(m);
	if (r < 0)
		goto out;
	if (m->real_root) {
		r = hotplug_new(m->event, on_hotplug, m, &m->hotplug);
		if (r < 0) {
			log_line(LOG_NOTICE, LOG_TIER_WARNING, NULL,
				 "no events of devices (%s): changes are seen on reload only",
				 g_strerror(-r));
			r = 0;
		}
	}
	if (options->listen_path) {
		r = listener_new(m, options->listen_path, &m->listener);
		if (r < 0)
			goto out;
	}
	if (options->address) {
		r = broker_new(m, options->address, &m->broker);
		if (r < 0) {
			fail(r, "bus address", options->address);
			goto out;
		}
	}
	/* Now that no other daemon has socket or state; whoever connects waits until the loop runs. */
	r = restore(m);
	if (r < 0)
		goto out;
	/* Only asks for a watchdog's life signs if the unit has one. */
	r = sd_event_set_watchdog(m->event, true);
	if (r < 0) {
		fail(r, "watchdog", NULL);
		goto out;
	}
	*ret_manager = m;
	return 0;
out:
	manager_free(m);
	return r;
}

int manager_run(struct manager *m)
{
	int r;

	sd_notify(0, "READY=1");
	tell_status(m);
	log_line(LOG_INFO, LOG_STARTED, NULL, "started: %u tiers%s%s%s",
		 inventory_tiers(m->inventory)->len, m->options.listen_path ? ", serving " : "",
		 m->options.listen_path ? m->options.listen_path : "",
		 m->dry_run ? ", dry run: nothing is created or moved" : "");
	provision_configured(m);
	tiering_wake(m->tiering);
	ordinary_wake(m->ordinary);
	r = sd_event_loop(m->event);
	sd_notify(0, "STOPPING=1");
	if (r < 0)
		log_line(LOG_ERR, LOG_STOPPED, NULL, "event loop: %s", g_strerror(-r));
	else
		log_line(LOG_INFO, LOG_STOPPED, NULL, "stopped");
	return r;
}

struct manager *manager_free(struct manager *m)
{
	GHashTableIter iter;
	gpointer key;

	if (!m)
		return NULL;

	atomic_store(&m->stopping, true);
	m->listener = listener_free(m->listener);
	m->hotplug = hotplug_free(m->hotplug);
	tiering_stop(m->tiering);
	ordinary_stop(m->ordinary);
	if (m->jobs)
		jobs_stop(m->jobs);
	/* Their ends still find everything they report to. */
	m->tiering = tiering_free(m->tiering);
	records_free(m);
	m->ordinary = ordinary_free(m->ordinary);
	m->moves = worker_pool_free(m->moves);
	m->admin = worker_pool_free(m->admin);
	m->policy_files = worker_pool_free(m->policy_files);
	if (m->registry)
		listing_cancel_all(m);
	m->queries = worker_pool_free(m->queries);
	m->memory = worker_pool_free(m->memory);
	/* What was asked for is still done and answered. */
	if (m->keeper)
		keeper_flush(m->keeper);
	m->ledger = ledger_free(m->ledger);
	m->keeper = keeper_free(m->keeper);

	if (m->connections) {
		g_hash_table_iter_init(&iter, m->connections);
		while (g_hash_table_iter_next(&iter, &key, NULL))
			connection_free(key);
	}
	broker_free(m->broker);
	jobs_free(m->jobs);
	if (m->registry)
		stats_done(&m->stats);
	/* No need to know any more who holds what. */
	m->linger = linger_free(m->linger);
	registry_free(m->registry);
	authority_free(m->authority);
	gate_free(m->gate);
	turns_free(m->turns);
	quota_free(m->quota);
	users_free(m->users);
	g_clear_pointer(&m->connections, g_hash_table_unref);
	g_clear_pointer(&m->connections_by_bus, g_hash_table_unref);
	placement_unref(m->default_placement);
	g_clear_pointer(&m->placements, g_hash_table_unref);
	g_clear_pointer(&m->policy_warnings, g_ptr_array_unref);
	policy_set_unref(m->policies);
	g_clear_pointer(&m->provisioned, g_hash_table_unref);
	if (m->placer)
		storage_module_set_placer(m->module, NULL, NULL);
	m->placer = placer_free(m->placer);
	storage_module_free(m->module);
	storage_node_free(m->node);
	g_free(m->create_refusal);
	inventory_free(m->inventory);
	config_free(m->config);
	sd_event_source_disable_unref(m->reap);
	sd_event_source_disable_unref(m->sigterm);
	sd_event_source_disable_unref(m->sigint);
	sd_event_source_disable_unref(m->sighup);
	sd_event_unref(m->event);
	if (m->state_fd >= 0)
		close(m->state_fd);
	if (m->spare_fd >= 0)
		close(m->spare_fd);
	if (m->root_fd >= 0)
		close(m->root_fd);
	g_free(m);
	return NULL;
}
