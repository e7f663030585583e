// SPDX-License-Identifier: GPL-2.0-or-later
#include "tiering.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "id-hash.h"
#include "log.h"
#include "manager.h"
#include "tiering-mover.h"
#include "tiering-observe.h"
#include "tiering-pressure.h"
#include "tiering-round.h"
#include "tiering-sample.h"
#include "tiering-status.h"

/* Between rounds; the sampler's cost makes it longer. */
#define PERIOD_MIN_MS TIERING_PERIOD_MIN_MS
#define PERIOD_MAX_MS 60000
#define PPM_PER_PERCENT 10000u

/* Where the operator has set no limit for moves. */
#define BANDWIDTH_DEFAULT (UINT64_C(256) << 20)

#define PAGE UINT64_C(4096)

struct tiering {
	struct manager *manager;
	struct worker_pool *pool; /* one thread */
	sd_event_source *timer;
	atomic_bool stopping;
	bool busy;     /* a round or its moves are on their way */
	bool sampling; /* a round is */
	bool wanted;   /* some morsel's policy wants it */

	void *heat_memory, *plan_memory;
	struct heat heat;
	struct plan plan;
	struct heat_pace pace;
	uint32_t granules, period_ms, cursor, burst_us;
	uint64_t last_usec; /* the last round's end, monotonic */
	GPtrArray *regions; /* of struct tiering_region *, by first */
	GHashTable *by_id;  /* &region->id → region */
	struct tiering_round *round;
	GPtrArray *recordings; /* of struct recording * */
	struct tiering_seen seen;
	struct tiering_accounts accounts;
	struct tiering_observed observed;
	struct tiering_status status;
};

/* ---- regions ---- */

/* The first gap that is large enough. NULL: there is none. */
static struct tiering_region *add_region(struct tiering *t, const struct morsel *m)
{
	uint64_t granules = (m->size + GRANULE_SIZE - 1) / GRANULE_SIZE, at = 0;
	struct tiering_region *g;
	unsigned int i;

	for (i = 0; i < t->regions->len; i++) {
		const struct tiering_region *next = t->regions->pdata[i];

		if (next->first - at >= granules)
			break;
		at = (uint64_t)next->first + next->granules;
	}
	if (at + granules > t->granules)
		return NULL;
	g = g_new0(struct tiering_region, 1);
	g->id = m->id;
	g->first = (uint32_t)at;
	g->granules = (uint32_t)granules;
	g->fresh = true;
	g_ptr_array_insert(t->regions, (gint)i, g);
	g_hash_table_insert(t->by_id, &g->id, g);
	return g;
}

static bool can_be_watched(const struct morsel *m)
{
	return m->object && !m->destroyed && m->storage->ops->harvest;
}

static bool is_recorded(const struct tiering *t, const struct morsel *m)
{
	for (unsigned int i = 0; i < t->recordings->len; i++)
		if (recording_wants(t->recordings->pdata[i], m))
			return true;
	return false;
}

static uint32_t allowed_tiers(const struct morsel *m, const struct tiering_tiers *tiers)
{
	uint32_t allow = 0;

	if (!m->placement)
		return 0;
	for (unsigned int i = 0; i < tiers->n; i++)
		if (placement_allows(m->placement, tiers->tier[i]->name))
			allow |= 1u << i;
	/* None of them is there: it stays where it is. */
	return allow;
}

static void take_region(struct tiering *t, struct tiering_round *r, struct morsel *m)
{
	struct tiering_region *g = g_hash_table_lookup(t->by_id, &m->id);

	if (!g)
		g = add_region(t, m);
	/* More than it can watch. */
	if (!g)
		return;
	g->present = true;
	g->morsel = morsel_ref(m);
	g->account = tiering_account(r->accounts, m->account);
	g->migrate = tiering_migrate(r->accounts, g->account);
	g->fixed = tiering_is_fixed(r->accounts, g->account);
	g->watched = g->migrate != POLICY_MIGRATE_OFF || is_recorded(t, m);
	g->allow = allowed_tiers(m, &r->tiers);
	t->wanted |= g->migrate != POLICY_MIGRATE_OFF;
}

static void take_regions(struct tiering *t, struct tiering_round *r)
{
	struct morsel *m = NULL;

	t->wanted = false;
	while ((m = registry_after(t->manager->registry, NULL, m ? m->seq : 0)))
		if (can_be_watched(m))
			take_region(t, r, m);
	for (unsigned int i = t->regions->len; i-- > 0;) {
		struct tiering_region *g = t->regions->pdata[i];

		if (g->present)
			continue;
		g_hash_table_remove(t->by_id, &g->id);
		g_ptr_array_remove_index(t->regions, i);
	}
	t->status.wanted = t->wanted;
}

static void let_regions_go(struct tiering *t)
{
	for (unsigned int i = 0; i < t->regions->len; i++) {
		struct tiering_region *g = t->regions->pdata[i];

		g->morsel = morsel_unref(g->morsel);
		g->present = false;
	}
}

/* ---- recordings ---- */

/* What rounds note for them is there while there are any. */
static bool make_seen(struct tiering *t)
{
	if (t->recordings->len == 0) {
		g_clear_pointer(&t->seen.events, g_free);
		g_clear_pointer(&t->seen.tiers, g_free);
		return true;
	}
	if (!t->seen.events)
		t->seen.events = g_try_new(uint32_t, t->granules);
	if (!t->seen.tiers)
		t->seen.tiers = g_try_malloc(t->granules);
	return t->seen.events && t->seen.tiers;
}

/* Only while no round has it. */
static void end_recording(struct tiering *t, struct recording *rec)
{
	g_ptr_array_remove(t->recordings, rec);
	recording_flush(rec);
	rec->news(rec, true, rec->userdata);
}

static void tell_recordings(struct tiering *t)
{
	for (unsigned int i = t->recordings->len; i-- > 0;) {
		struct recording *rec = t->recordings->pdata[i];

		if (rec->ending || rec->result < 0)
			end_recording(t, rec);
		else
			rec->news(rec, false, rec->userdata);
	}
}

/* ---- rounds ---- */

static void round_free(struct tiering_round *r)
{
	if (r->plan_regions)
		g_array_unref(r->plan_regions);
	if (r->recordings)
		g_ptr_array_unref(r->recordings);
	tiering_tiers_done(&r->tiers);
	g_free(r);
}

static void rest(struct tiering *t, uint64_t ms)
{
	if (atomic_load(&t->stopping))
		return;
	if (!t->wanted && t->recordings->len == 0) {
		sd_event_source_set_enabled(t->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time_relative(t->timer, ms * 1000);
	sd_event_source_set_enabled(t->timer, SD_EVENT_ONESHOT);
}

static void round_ended(struct tiering *t)
{
	let_regions_go(t);
	round_free(t->round);
	t->round = NULL;
	t->busy = false;
	rest(t, t->period_ms);
}

static void moves_ended(struct tiering_mover *mover, void *userdata)
{
	struct tiering *t = userdata;

	for (unsigned int i = 0; i < mover->items->len; i++) {
		const struct tiering_item *item = mover->items->pdata[i];
		uint64_t there = item->result.moved + item->result.already;

		t->status.moves += item->result.moved > 0;
		t->status.moved_bytes += item->result.moved;
		/* Else it was not what was expected of it. */
		if (there >= item->length)
			tiering_observe(&t->observed, t->round, item, now_monotonic() / 1000);
		for (unsigned int k = 0; k < item->n; k++) {
			const struct plan_move *move = &t->round->moves[item->first + k];
			uint64_t pages = MIN(there / PAGE, move->pages);

			there -= pages * PAGE;
			plan_moved(&t->plan, &t->heat, move, (unsigned int)pages);
		}
	}
	round_ended(t);
}

static void round_done(struct work *w, bool ran)
{
	struct tiering_round *r = (struct tiering_round *)w;
	struct tiering *t = r->tiering;
	uint64_t now = now_monotonic();

	t->sampling = false;
	if (ran) {
		log_line(LOG_DEBUG, LOG_TIERING, NULL,
			 "round %" PRIu64 ": %u morsels, %" PRIu64
			 " granules sampled, budget %" PRIu64 " pages; %" PRIu64 " wishes, %" PRIu32
			 " moves, %" PRIu32 " problems, result %d, %" PRIu64
			 " us, bursts of %" PRIu32 " us",
			 t->status.rounds + 1, t->regions->len, r->sampled, r->budget_pages,
			 r->planned.wanted, r->planned.moves, r->planned.n_problems, r->result,
			 r->cpu_usec, r->burst_us);
		/*
		 * With the pause before it, which pays for it. The first round has the cost of the start in it: pages of its
		 * own tables that come.
		 */
		if (t->last_usec > 0)
			t->period_ms =
				heat_pace_next(&t->pace, r->cpu_usec, (now - t->last_usec) / 1000);
		t->last_usec = now;
		t->burst_us = tiering_burst_next(t->burst_us, r->seen_again);
		tiering_status_take(&t->status, r);
		t->status.period_ms = t->period_ms;
		tiering_observe_tell(&t->observed, t->manager->registry);
	}
	tell_recordings(t);
	if (!ran || atomic_load(&t->stopping) || r->planned.moves == 0 ||
	    !tiering_moves_start(t->manager, t->pool, r, &t->stopping, moves_ended, t))
		round_ended(t);
}

/* As many granules as all tiers have, and half as many again, for morsels may be larger than what is in them. */
static bool make_heat(struct tiering *t)
{
	uint64_t granules = MAX(manager_capacity(t->manager) / GRANULE_SIZE * 3 / 2, 4096);
	struct heat_config heat = { .granules = (uint32_t)MIN(granules, 1u << 30) };
	struct plan_config plan = { .granules = heat.granules,
				    .accounts = TIERING_ACCOUNTS_MAX,
				    .tiers = PLAN_ABSENT };
	uint64_t heat_bytes, plan_bytes;

	if (t->granules > 0)
		return true;
	if (heat_size(&heat, &heat_bytes) < 0 || plan_size(&plan, &plan_bytes) < 0)
		return false;
	t->heat_memory = g_try_malloc0(heat_bytes);
	t->plan_memory = g_try_malloc0(plan_bytes);
	if (!t->heat_memory || !t->plan_memory ||
	    heat_init(&t->heat, &heat, t->heat_memory, heat_bytes) < 0 ||
	    plan_init(&t->plan, &plan, t->plan_memory, plan_bytes) < 0) {
		g_clear_pointer(&t->heat_memory, g_free);
		g_clear_pointer(&t->plan_memory, g_free);
		return false;
	}
	t->granules = heat.granules;
	return true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct tiering *t = userdata;
	struct tiering_round *r;

	sd_event_source_set_enabled(t->timer, SD_EVENT_OFF);
	if (t->busy || atomic_load(&t->stopping))
		return 0;
	if (!make_heat(t) || !make_seen(t)) {
		for (unsigned int i = 0; i < t->recordings->len; i++)
			((struct recording *)t->recordings->pdata[i])->result = -ENOMEM;
		tell_recordings(t);
		rest(t, PERIOD_MAX_MS);
		return 0;
	}
	r = g_new0(struct tiering_round, 1);
	r->tiering = t;
	tiering_tiers_init(&r->tiers, t->manager->inventory);
	r->accounts = &t->accounts;
	tiering_accounts_begin(r->accounts, t->manager->policies, &r->tiers);
	t->round = r;
	take_regions(t, r);
	/* One that nothing is charged to, for the planner wants one. */
	tiering_account(r->accounts, "");
	r->plans = t->wanted && r->tiers.n_initiators > 0;
	if (!r->plans && t->recordings->len == 0) {
		round_ended(t);
		return 0;
	}
	t->busy = t->sampling = true;
	r->heat = &t->heat;
	r->plan = &t->plan;
	r->regions = t->regions;
	/* Those that begin or end meanwhile do so behind it. */
	r->recordings = g_ptr_array_copy(t->recordings, NULL, NULL);
	for (unsigned int i = 0; i < r->recordings->len; i++)
		recording_prepare(r->recordings->pdata[i], r);
	r->seen = t->seen;
	r->by_id = t->by_id;
	r->observed = &t->observed;
	r->stopping = &t->stopping;
	r->cursor = &t->cursor;
	r->burst_us = t->burst_us;
	/* A reload may have changed it. */
	t->pace.ceiling_ppm = t->manager->config->sampling_cpu * PPM_PER_PERCENT;
	r->portion = t->pace.portion;
	r->period_ms = t->period_ms * 256 / MAX(r->portion, 1);
	r->budget_pages = tiering_pressure_scale(
		t->manager->root_fd, tiering_bandwidth(t->manager) / PAGE * t->period_ms / 1000);
	r->work.run = tiering_round_run;
	r->work.done = round_done;
	worker_pool_submit(t->pool, &r->work);
	return 0;
}

/* ---- the whole ---- */

struct tiering *tiering_new(struct manager *manager)
{
	struct tiering *t = g_new0(struct tiering, 1);

	t->manager = manager;
	t->regions = g_ptr_array_new_with_free_func(g_free);
	t->recordings = g_ptr_array_new();
	t->by_id = g_hash_table_new(id_hash, id_equal);
	tiering_accounts_init(&t->accounts);
	tiering_observed_init(&t->observed);
	tiering_status_init(&t->status);
	t->status.regions = t->regions;
	t->status.observed = &t->observed;
	t->period_ms = PERIOD_MIN_MS;
	t->burst_us = TIERING_BURST_FIRST_US;
	heat_pace_init(&t->pace, PERIOD_MIN_MS, PERIOD_MAX_MS, PPM_PER_PERCENT);
	if (worker_pool_new(manager->event, "morsel-tiering", 1, &t->pool) < 0 ||
	    sd_event_add_time_relative(manager->event, &t->timer, CLOCK_MONOTONIC,
				       PERIOD_MIN_MS * 1000, 100 * 1000, on_timer, t) < 0) {
		log_line(LOG_WARNING, LOG_INTERNAL, NULL, "nothing is placed by heat: no timer");
		return tiering_free(t);
	}
	sd_event_source_set_enabled(t->timer, SD_EVENT_OFF);
	return t;
}

void tiering_stop(struct tiering *t)
{
	if (t)
		atomic_store(&t->stopping, true);
}

struct tiering *tiering_free(struct tiering *t)
{
	if (!t)
		return NULL;
	tiering_stop(t);
	t->pool = worker_pool_free(t->pool);
	while (t->recordings->len > 0)
		end_recording(t, t->recordings->pdata[0]);
	g_ptr_array_unref(t->recordings);
	g_free(t->seen.events);
	g_free(t->seen.tiers);
	sd_event_source_disable_unref(t->timer);
	g_hash_table_unref(t->by_id);
	g_ptr_array_unref(t->regions);
	tiering_accounts_done(&t->accounts);
	tiering_observed_done(&t->observed);
	tiering_status_done(&t->status);
	g_free(t->heat_memory);
	g_free(t->plan_memory);
	g_free(t);
	return NULL;
}

const struct tiering_status *tiering_status(const struct tiering *t)
{
	return t ? &t->status : NULL;
}

void tiering_wake(struct tiering *t)
{
	int enabled = SD_EVENT_ON;

	if (!t || t->busy || atomic_load(&t->stopping) ||
	    (policy_set_is_empty(t->manager->policies) && t->recordings->len == 0) ||
	    (sd_event_source_get_enabled(t->timer, &enabled) >= 0 && enabled != SD_EVENT_OFF))
		return;
	/* Whether anything wants it is seen then. */
	t->wanted = true;
	rest(t, PERIOD_MIN_MS);
}

bool tiering_can_watch(const struct manager *manager)
{
	return manager->node->ops->harvest || (manager->module && manager->module->ops->harvest);
}

void tiering_record(struct tiering *t, struct recording *rec)
{
	uint64_t since_ms = (now_monotonic() - t->last_usec) / 1000;
	int enabled = SD_EVENT_OFF;

	g_ptr_array_add(t->recordings, rec);
	/* At once, where there have been no rounds: the first one only begins to look. */
	if (!t->busy && !atomic_load(&t->stopping) &&
	    (sd_event_source_get_enabled(t->timer, &enabled) < 0 || enabled == SD_EVENT_OFF))
		rest(t, since_ms >= PERIOD_MIN_MS ? 0 : PERIOD_MIN_MS - since_ms);
}

void tiering_end_record(struct tiering *t, struct recording *rec)
{
	rec->ending = true;
	if (!t->sampling)
		end_recording(t, rec);
}

uint64_t tiering_bandwidth(const struct manager *m)
{
	uint64_t all = m->config->move_bandwidth > 0 ? m->config->move_bandwidth
						     : BANDWIDTH_DEFAULT;

	return ordinary_is_active(m->ordinary) && m->tiering && m->tiering->wanted ? all / 2 : all;
}
