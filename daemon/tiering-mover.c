// SPDX-License-Identifier: GPL-2.0-or-later
#include "tiering-mover.h"

#include <inttypes.h>

#include "clock.h"
#include "log.h"
#include "manager.h"
#include "persist.h"

#define PAGE UINT64_C(4096)

static void item_free(gpointer p)
{
	struct tiering_item *item = p;

	morsel_unref(item->morsel);
	tier_unref(item->tier);
	storage_move_result_done(&item->result);
	g_free(item);
}

static bool go_on(uint64_t done, uint64_t total, void *userdata)
{
	const struct tiering_mover *mover = userdata;

	return !atomic_load(mover->stopping);
}

static void run(struct work *w)
{
	struct tiering_mover *mover = (struct tiering_mover *)w;

	for (unsigned int i = 0; i < mover->items->len && !atomic_load(mover->stopping); i++) {
		struct tiering_item *item = mover->items->pdata[i];
		g_autofree char *error = NULL;
		int r;

		/* The plan's budget is the rate: what is in it may go at once. */
		r = item->morsel->storage->ops->move(item->morsel->object, item->offset,
						     item->length, item->tier, 0, go_on, mover,
						     &item->result, &error);
		if (r < 0 && r != -ECANCELED)
			log_line(LOG_DEBUG, LOG_MOVE_FAILED, item->morsel->name, "%s",
				 error ? error : g_strerror(-r));
	}
}

/* Of a rate in heat's unit: accesses a second, as people read it. */
static char *describe(const struct tiering_round *r, const struct tiering_item *item)
{
	const struct plan_move *move = &r->moves[item->first];
	int64_t gain = 0;
	uint64_t rate = 0;

	for (unsigned int i = 0; i < item->n; i++) {
		gain += r->moves[item->first + i].gain_ns;
		rate += r->moves[item->first + i].rate;
	}
	return g_strdup_printf("%s: %" PRIu64 " accesses/s, %" PRIu32 " ns there, %" PRIu32
			       " ns here, expected to save %.3f ms in %.1f s",
			       plan_reason_text((enum plan_reason)move->reason),
			       rate / HEAT_RATE_ONE, move->latency_from_ns, move->latency_to_ns,
			       (double)gain / 1e6, (double)move->horizon_ms / 1e3);
}

static void record(struct tiering_mover *mover, struct tiering_item *item)
{
	uint64_t there = item->result.moved + item->result.already;
	g_autofree char *text = NULL;
	GRefString *rule, *reason;

	if (item->morsel->destroyed || there == 0)
		return;
	text = describe(mover->round, item);
	item->since_usec = now_realtime();
	rule = g_ref_string_new_intern("planner");
	reason = g_ref_string_new(text);
	morsel_record(item->morsel, item->offset, item->length, item->tier->name, rule, reason,
		      item->since_usec);
	g_ref_string_release(rule);
	g_ref_string_release(reason);
	persist_update(mover->manager, item->morsel, NULL, NULL);
}

static void done(struct work *w, bool ran)
{
	struct tiering_mover *mover = (struct tiering_mover *)w;

	for (unsigned int i = 0; i < mover->items->len; i++) {
		struct tiering_item *item = mover->items->pdata[i];

		item->morsel->moves--;
		manager_count_move(mover->manager, &item->result);
		record(mover, item);
	}
	mover->done(mover, mover->userdata);
	jobs_look(mover->manager->jobs);
	g_ptr_array_unref(mover->items);
	g_free(mover);
}

static struct tiering_region *region_of(const struct tiering_round *r, const struct plan_move *move)
{
	return move->region < r->regions->len ? r->regions->pdata[move->region] : NULL;
}

/* Does it go on where the item ends? */
static bool joins(const struct tiering_round *r, const struct tiering_item *item,
		  const struct plan_move *move, const struct morsel *m, uint64_t offset)
{
	const struct plan_move *last = &r->moves[item->first + item->n - 1];

	return item->morsel == m && last->to == move->to && last->from == move->from &&
	       last->reason == move->reason && item->offset + item->length == offset;
}

bool tiering_moves_start(struct manager *manager, struct worker_pool *pool,
			 struct tiering_round *round, const atomic_bool *stopping,
			 void (*ended)(struct tiering_mover *mover, void *userdata), void *userdata)
{
	g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(item_free);
	g_autoptr(GHashTable) taken = g_hash_table_new(NULL, NULL);
	struct tiering_mover *mover;

	for (unsigned int i = 0; i < round->planned.moves; i++) {
		const struct plan_move *move = &round->moves[i];
		const struct tiering_region *g = region_of(round, move);
		struct tiering_item *last = items->len > 0 ? items->pdata[items->len - 1] : NULL;
		uint64_t offset, length;
		struct morsel *m;

		if (!g || move->to >= round->tiers.n || g->migrate != POLICY_MIGRATE_ON)
			continue;
		m = g->morsel;
		offset = (move->granule - g->first) * GRANULE_SIZE + move->page * PAGE;
		if (m->destroyed || offset >= m->size)
			continue;
		length = MIN(move->pages * PAGE, m->size - offset);
		/* A job has it, and goes before. */
		if (m->moves > 0 && !g_hash_table_contains(taken, m))
			continue;
		if (last && last->first + last->n == i && joins(round, last, move, m, offset)) {
			last->length += length;
			last->n++;
			continue;
		}
		last = g_new0(struct tiering_item, 1);
		*last = (struct tiering_item){ .morsel = morsel_ref(m),
					       .tier = tier_ref(round->tiers.tier[move->to]),
					       .offset = offset,
					       .length = length,
					       .first = i,
					       .n = 1 };
		storage_move_result_init(&last->result);
		m->moves++;
		g_hash_table_add(taken, m);
		g_ptr_array_add(items, last);
	}
	if (items->len == 0)
		return false;
	mover = g_new0(struct tiering_mover, 1);
	*mover = (struct tiering_mover){ .work = { .run = run, .done = done },
					 .manager = manager,
					 .round = round,
					 .stopping = stopping,
					 .items = g_steal_pointer(&items),
					 .done = ended,
					 .userdata = userdata };
	worker_pool_submit(pool, &mover->work);
	return true;
}
