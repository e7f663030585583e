// SPDX-License-Identifier: GPL-2.0-or-later
#include "tiering-observe.h"

#include <inttypes.h>

#include "registry.h"

#define WATCHES_MAX 4096u

static void watch_clear(gpointer p)
{
	struct tiering_watch *w = p;

	w->tier = tier_unref(w->tier);
}

void tiering_observed_init(struct tiering_observed *o)
{
	*o = (struct tiering_observed){ .watches = g_array_new(false, true,
							       sizeof(struct tiering_watch)) };
	g_array_set_clear_func(o->watches, watch_clear);
}

void tiering_observed_done(struct tiering_observed *o)
{
	g_clear_pointer(&o->watches, g_array_unref);
}

void tiering_observe(struct tiering_observed *o, const struct tiering_round *r,
		     const struct tiering_item *item, uint64_t now_ms)
{
	const struct plan_move *first = &r->moves[item->first];
	struct tiering_watch w = {
		.id = item->morsel->id,
		.offset = item->offset,
		.length = item->length,
		.since_usec = item->since_usec,
		.saved_ns = (int64_t)first->latency_from_ns - first->latency_to_ns,
		.begun_ms = now_ms,
		.last_ms = now_ms,
		.horizon_ms = first->horizon_ms,
	};

	if (o->watches->len >= WATCHES_MAX || item->since_usec == 0)
		return;
	for (unsigned int i = 0; i < item->n; i++) {
		w.cost_ns += r->moves[item->first + i].cost_ns;
		w.expected_ns += r->moves[item->first + i].gain_ns;
	}
	w.tier = tier_ref(item->tier);
	g_array_append_val(o->watches, w);
}

static void look(struct tiering_watch *w, const struct tiering_round *r, uint64_t now_ms)
{
	const struct tiering_region *g = g_hash_table_lookup(r->by_id, &w->id);
	uint64_t first = w->offset / GRANULE_SIZE,
		 end = (w->offset + w->length + GRANULE_SIZE - 1) / GRANULE_SIZE;

	if (!g || !g->present || end > g->granules) {
		w->over = w->left = true;
		return;
	}
	for (uint64_t k = first; k < end; k++) {
		uint32_t granule = g->first + (uint32_t)k;
		unsigned int tier = r->plan->granules[granule].tier;

		w->left |= tier >= r->tiers.n ||
			   !g_str_equal(r->tiers.tier[tier]->name, w->tier->name);
		w->accesses +=
			heat_accesses(heat_rates(r->heat, granule).near, now_ms - w->last_ms);
	}
	w->last_ms = now_ms;
	w->over = w->left || now_ms - w->begun_ms >= w->horizon_ms;
}

void tiering_observe_round(struct tiering_observed *o, const struct tiering_round *r,
			   uint64_t now_ms)
{
	for (unsigned int i = 0; i < o->watches->len; i++)
		look(&g_array_index(o->watches, struct tiering_watch, i), r, now_ms);
}

static int64_t observed_ns(const struct tiering_watch *w)
{
	__int128 ns = (__int128)w->accesses * w->saved_ns - (__int128)w->cost_ns;

	return (int64_t)CLAMP(ns, INT64_MIN / 2, INT64_MAX / 2);
}

/* The record that the move made, if nothing has come over it since. */
static void tell(const struct tiering_watch *w, struct morsel *m, int64_t ns)
{
	double seconds = (double)(w->last_ms - w->begun_ms) / 1e3;

	for (unsigned int i = 0; m->records && i < m->records->len; i++) {
		struct placement_record *record =
			&g_array_index(m->records, struct placement_record, i);
		g_autofree char *text = NULL;

		if (record->since_usec != w->since_usec || record->offset < w->offset ||
		    record->offset + record->length > w->offset + w->length)
			continue;
		text = g_strdup_printf("%s; observed: %.3f ms in %.1f s", record->reason,
				       (double)ns / 1e6, seconds);
		g_ref_string_release(record->reason);
		record->reason = g_ref_string_new(text);
	}
}

void tiering_observe_tell(struct tiering_observed *o, struct registry *registry)
{
	for (unsigned int i = o->watches->len; i-- > 0;) {
		const struct tiering_watch *w = &g_array_index(o->watches, struct tiering_watch, i);
		struct morsel *m = w->over ? registry_by_id(registry, w->id) : NULL;

		if (!w->over)
			continue;
		/* What lay elsewhere before its time was up could not pay off as expected: not a figure for either. */
		if (m && !w->left) {
			int64_t ns = observed_ns(w);

			o->moves++;
			o->expected_ns += w->expected_ns;
			o->observed_ns += ns;
			tell(w, m, ns);
		}
		g_array_remove_index_fast(o->watches, i);
	}
}
