// SPDX-License-Identifier: GPL-2.0-or-later
#include "ordinary.h"

#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "manager.h"
#include "ordinary-round.h"
#include "tiering-pressure.h"

/* Between rounds; what it costs makes it longer. */
#define PERIOD_MIN_MS 1000
#define PERIOD_MAX_MS 60000
#define PPM_PER_PERCENT 10000u
/* Granules whose place is asked for in a round, in turn: 4 GiB. */
#define QUERY 2048
/* Where somebody else manages it, or there is nobody: how soon it is looked at again. */
#define IDLE_MS 5000

struct ordinary {
	struct manager *manager;
	struct worker_pool *pool; /* one thread */
	sd_event_source *timer;
	atomic_bool stopping;
	bool busy, ready;
	struct ordinary_state state;
	struct heat_pace pace;
	uint32_t period_ms;
	uint64_t last_usec; /* the last round's end; 0: there was none since it rested */
	GHashTable *cgroups;
	struct ordinary_status status;
};

static void cgroup_free(gpointer p)
{
	struct ordinary_cgroup *c = p;

	g_hash_table_unref(c->bytes);
	g_free(c);
}

static void rest(struct ordinary *o, uint64_t ms)
{
	(void)sd_event_source_set_time_relative(o->timer, ms * 1000);
	sd_event_source_set_enabled(o->timer, SD_EVENT_ONESHOT);
}

static void keep_use(struct ordinary *o, const struct ordinary_round *r)
{
	GHashTableIter iter;
	gpointer key, value;

	/* Those that are gone go; what was moved of one that is back counts anew. */
	g_hash_table_iter_init(&iter, o->cgroups);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (!g_hash_table_contains(r->use, key))
			g_hash_table_iter_remove(&iter);
	g_hash_table_iter_init(&iter, r->use);
	while (g_hash_table_iter_next(&iter, &key, &value)) {
		struct ordinary_cgroup *c = g_hash_table_lookup(o->cgroups, key);
		const struct ordinary_use *u = value;

		if (!c) {
			c = g_new0(struct ordinary_cgroup, 1);
			c->bytes = g_hash_table_new_full(NULL, NULL, NULL, g_free);
			g_hash_table_insert(o->cgroups, g_strdup(key), c);
		}
		c->processes = u->processes;
		c->up += u->up;
		c->down += u->down;
		c->last_usec = now_realtime();
		g_hash_table_remove_all(c->bytes);
		for (unsigned int i = 0; i < r->tiers.n; i++)
			if (u->bytes[i] > 0)
				stats_add(c->bytes,
					  (gpointer)g_intern_string(r->tiers.tier[i]->name),
					  u->bytes[i]);
	}
}

static void keep_status(struct ordinary *o, struct ordinary_round *r)
{
	struct ordinary_status *s = &o->status;

	if (r->trouble && g_strcmp0(r->trouble, s->trouble) != 0)
		log_line(LOG_NOTICE, LOG_TIERING, NULL, "ordinary memory is left alone: %s",
			 r->trouble);
	else if (s->trouble && !r->trouble)
		log_line(LOG_INFO, LOG_TIERING, NULL, "ordinary memory is placed again");
	g_free(s->trouble);
	s->trouble = g_steal_pointer(&r->trouble);
	s->peer = r->peer;
	s->processes = r->processes;
	s->more = r->more;
	s->left_out = r->left_out;
	s->up += r->up;
	s->down += r->down;
	s->rounds++;
	log_line(LOG_DEBUG, LOG_TIERING, NULL,
		 "ordinary memory, round %" PRIu64 ": %u processes, %" PRIu64 " wishes, %" PRIu64
		 " bytes planned, %" PRIu64 " moved up, %" PRIu64 " down, %" PRIu64
		 " us, window %u ms",
		 s->rounds, r->processes, r->wanted, r->planned, r->up, r->down, r->cpu_usec,
		 r->window_ms);
}

static void round_done(struct work *w, bool ran)
{
	struct ordinary_round *r = (struct ordinary_round *)w;
	struct ordinary *o = r->userdata;
	bool worked = ran && !r->trouble && r->processes > 0;
	uint64_t now = now_monotonic();

	if (ran) {
		keep_use(o, r);
		keep_status(o, r);
		/* With the pause before it, which pays for it. What did not look says nothing of what a look costs. */
		if (worked && o->last_usec > 0)
			o->period_ms =
				heat_pace_next(&o->pace, r->cpu_usec, (now - o->last_usec) / 1000);
		o->last_usec = worked ? now : 0;
	}
	ordinary_round_free(r);
	o->busy = false;
	if (atomic_load(&o->stopping))
		return;
	/* A look takes a window by itself. */
	rest(o, worked ? PERIOD_MIN_MS / 10 : IDLE_MS);
}

static uint64_t budget(const struct ordinary *o)
{
	uint64_t bytes = tiering_bandwidth(o->manager) * o->period_ms / 1000;

	return tiering_pressure_scale(o->manager->root_fd, bytes / 4096);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct ordinary *o = userdata;
	struct ordinary_round *r;

	sd_event_source_set_enabled(o->timer, SD_EVENT_OFF);
	if (o->busy || atomic_load(&o->stopping))
		return 0;
	o->status.wanted = ordinary_is_wanted(o->manager->policies);
	if (!o->status.wanted) {
		if (o->ready)
			ordinary_state_end(&o->state);
		g_hash_table_remove_all(o->cgroups);
		g_clear_pointer(&o->status.trouble, g_free);
		o->last_usec = 0;
		return 0;
	}
	if (!o->ready)
		o->ready = ordinary_state_init(&o->state);
	if (!o->ready) {
		rest(o, PERIOD_MAX_MS);
		return 0;
	}
	r = g_new0(struct ordinary_round, 1);
	r->userdata = o;
	r->state = &o->state;
	r->policies = policy_set_ref(o->manager->policies);
	r->root_fd = o->manager->root_fd;
	r->stopping = &o->stopping;
	tiering_tiers_init(&r->tiers, o->manager->inventory);
	/* Few, and so made anew: kept ones could become more than the plan has room for. */
	tiering_accounts_init(&r->accounts);
	tiering_accounts_begin(&r->accounts, o->manager->policies, &r->tiers);
	/* A reload may have changed it. */
	o->pace.ceiling_ppm = o->manager->config->sampling_cpu * PPM_PER_PERCENT;
	r->window_ms = o->period_ms;
	r->query = QUERY;
	r->budget_pages = o->manager->dry_run ? 0 : budget(o);
	r->work.run = ordinary_round_run;
	r->work.done = round_done;
	o->busy = true;
	worker_pool_submit(o->pool, &r->work);
	return 0;
}

struct ordinary *ordinary_new(struct manager *manager)
{
	struct ordinary *o = g_new0(struct ordinary, 1);

	o->manager = manager;
	o->period_ms = PERIOD_MIN_MS;
	o->cgroups = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, cgroup_free);
	heat_pace_init(&o->pace, PERIOD_MIN_MS, PERIOD_MAX_MS, PPM_PER_PERCENT);
	if (worker_pool_new(manager->event, "morsel-ordinary", 1, &o->pool) < 0 ||
	    sd_event_add_time_relative(manager->event, &o->timer, CLOCK_MONOTONIC,
				       PERIOD_MIN_MS * 1000, 100 * 1000, on_timer, o) < 0) {
		log_line(LOG_WARNING, LOG_INTERNAL, NULL,
			 "ordinary memory is left alone: no timer");
		return ordinary_free(o);
	}
	sd_event_source_set_enabled(o->timer, SD_EVENT_OFF);
	return o;
}

void ordinary_stop(struct ordinary *o)
{
	if (o)
		atomic_store(&o->stopping, true);
}

struct ordinary *ordinary_free(struct ordinary *o)
{
	if (!o)
		return NULL;
	ordinary_stop(o);
	o->pool = worker_pool_free(o->pool);
	sd_event_source_disable_unref(o->timer);
	if (o->ready)
		ordinary_state_done(&o->state);
	g_hash_table_unref(o->cgroups);
	g_free(o->status.trouble);
	g_free(o);
	return NULL;
}

void ordinary_wake(struct ordinary *o)
{
	if (o && !o->busy && !atomic_load(&o->stopping) &&
	    (o->ready || ordinary_is_wanted(o->manager->policies)))
		rest(o, PERIOD_MIN_MS / 10);
}

bool ordinary_is_active(const struct ordinary *o)
{
	return o && o->status.wanted && !o->status.trouble && o->status.processes > 0;
}

const struct ordinary_cgroup *ordinary_cgroup(const struct ordinary *o, const char *cgroup)
{
	return o ? g_hash_table_lookup(o->cgroups, cgroup) : NULL;
}

void ordinary_status(const struct ordinary *o, struct ordinary_status *ret_status)
{
	*ret_status = (struct ordinary_status){};
	if (!o)
		return;
	*ret_status = o->status;
	ret_status->wanted = ordinary_is_wanted(o->manager->policies);
	ret_status->cgroups = g_hash_table_size(o->cgroups);
	ret_status->trouble = g_strdup(o->status.trouble);
}

void ordinary_status_done(struct ordinary_status *s)
{
	g_clear_pointer(&s->trouble, g_free);
}
