// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "clock.h"
#include "connection.h"
#include "manager.h"
#include "morsel-bus.h"
#include "stats-bus.h"

/* Where the bytes lie is looked up again when it is older than this. */
#define PLACED_AGE_USEC 10000000
/* Looking takes no longer: what was not looked at by then is taken to lie as the rest does. */
#define LOOK_USEC 1000000
#define LOOK_MORSELS_MAX 65536

struct look {
	struct morsel *morsel;
	uint64_t allocated;
};

/* One look at all morsels, for all calls that wait for it. */
struct sample {
	struct work work;
	struct manager *manager;
	GArray *looks;	 /* of struct look */
	GArray *by_node; /* of uint64_t */
	uint64_t allocated, looked_at;
	uint64_t end_usec;
	GQueue waiting; /* of struct late_call * */
};

static gint larger_first(gconstpointer a, gconstpointer b)
{
	uint64_t x = ((const struct look *)a)->allocated, y = ((const struct look *)b)->allocated;

	return x > y ? -1 : x < y;
}

static bool on_progress(uint64_t done, uint64_t total, void *userdata)
{
	struct sample *s = userdata;

	return now_monotonic() < s->end_usec &&
	       !atomic_load_explicit(&s->manager->stopping, memory_order_relaxed);
}

static void sample_run(struct work *w)
{
	struct sample *s = (struct sample *)w;

	s->end_usec = now_monotonic() + LOOK_USEC;
	for (unsigned int i = 0; i < s->looks->len; i++) {
		struct look *look = &g_array_index(s->looks, struct look, i);

		if (look->morsel->storage->ops->allocated(look->morsel->object, &look->allocated) <
		    0)
			look->allocated = 0;
		s->allocated += look->allocated;
	}
	g_array_sort(s->looks, larger_first);

	for (unsigned int i = 0; i < s->looks->len && on_progress(0, 0, s); i++) {
		const struct look *look = &g_array_index(s->looks, struct look, i);
		struct storage_residency residency = {};

		if (look->allocated == 0)
			break;
		if (look->morsel->storage->ops->residency(look->morsel->object, 0,
							  look->morsel->size, false, on_progress, s,
							  &residency, NULL) >= 0) {
			for (unsigned int j = 0; j < residency.by_node->len; j++) {
				if (s->by_node->len <= j)
					g_array_set_size(s->by_node, j + 1);
				g_array_index(s->by_node, uint64_t, j) +=
					g_array_index(residency.by_node, uint64_t, j);
			}
			s->looked_at += look->allocated;
		}
		storage_residency_done(&residency);
	}
}

static int append_counters(sd_bus_message *m, struct manager *manager)
{
	const struct stats *s = &manager->stats;

	return sd_bus_message_append(
		m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "morsels", "t",
		(uint64_t)registry_morsels(manager->registry), "morsel_bytes", "t",
		registry_bytes(manager->registry), "clients", "t",
		(uint64_t)g_hash_table_size(manager->connections), "created", "t", s->created,
		"destroyed", "t", s->destroyed, "opened", "t", s->opened, "jobs_running", "t",
		(uint64_t)jobs_running(manager->jobs), "moved_bytes", "t", s->moved_bytes,
		"move_failed_bytes", "t", s->move_failed_bytes, "placed_usec", "t", s->placed_usec,
		"restored", "t", s->restored, "lost", "t", s->lost, "interrupted_moves", "t",
		s->interrupted, "kept", "t", (uint64_t)manager_kept(manager));
}

static int append_table(sd_bus_message *m, const char *key, GHashTable *table, bool of_errno)
{
	GHashTableIter iter;
	gpointer k, value;
	int r;

	r = bus_open_array(m, key, "a{st}");
	g_hash_table_iter_init(&iter, table);
	while (r >= 0 && g_hash_table_iter_next(&iter, &k, &value)) {
		const char *name = of_errno ? strerrorname_np(GPOINTER_TO_INT(k)) : k;

		r = sd_bus_message_append(m, "{st}", name ? name : "?", *(uint64_t *)value);
	}
	return r < 0 ? r : bus_close_array(m);
}

static int append_warnings(sd_bus_message *m, struct manager *manager)
{
	const GPtrArray *tiers = inventory_tiers(manager->inventory);
	const GPtrArray *warnings = inventory_warnings(manager->inventory);
	int r;

	r = bus_open_array(m, "warnings", "as");
	for (unsigned int i = 0; r >= 0 && i < warnings->len; i++)
		r = sd_bus_message_append(m, "s", warnings->pdata[i]);
	for (unsigned int i = 0; r >= 0 && i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];

		for (unsigned int j = 0; r >= 0 && j < t->warnings->len; j++) {
			g_autofree char *text =
				g_strdup_printf("%s: %s", t->name, (char *)t->warnings->pdata[j]);

			r = sd_bus_message_append(m, "s", text);
		}
	}
	for (unsigned int i = 0; r >= 0 && i < manager->policy_warnings->len; i++)
		r = sd_bus_message_append(m, "s", manager->policy_warnings->pdata[i]);
	if (r >= 0 && manager_descriptors_short(manager, -1))
		r = sd_bus_message_append(m, "s",
					  "out of descriptors: nothing can be created or opened");
	if (r >= 0 && manager->stats.lost > 0) {
		g_autofree char *text = g_strdup_printf(
			"%" PRIu64 " morsels were lost before the start: see %s/lost",
			manager->stats.lost, manager->options.state_dir);

		r = sd_bus_message_append(m, "s", text);
	}
	if (r >= 0 && manager->ledger && ledger_trouble(manager->ledger)[0]) {
		g_autofree char *text = g_strdup_printf("the registry cannot be written: %s",
							ledger_trouble(manager->ledger));

		r = sd_bus_message_append(m, "s", text);
	}
	if (r >= 0 && keeper_path(manager->keeper) &&
	    keeper_state(manager->keeper) != KEEPER_COMPLETE)
		r = sd_bus_message_append(m, "s",
					  "the keeper does not hold all morsels: see doctor");
	if (r >= 0 && manager->broker && !broker_connected(manager->broker))
		r = sd_bus_message_append(m, "s", "no connection to the message bus");
	return r < 0 ? r : bus_close_array(m);
}

static int answer(struct manager *manager, sd_bus_message *call)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	int r;

	r = sd_bus_message_new_method_return(call, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = append_counters(reply, manager);
	if (r >= 0)
		r = append_table(reply, "move_failed_reasons", manager->stats.move_failed_reasons,
				 true);
	if (r >= 0)
		r = append_table(reply, "placed_bytes", manager->stats.placed, false);
	if (r >= 0)
		r = append_warnings(reply, manager);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r >= 0)
		r = sd_bus_message_send(reply);
	return r;
}

static void keep_sample(struct sample *s)
{
	struct stats *stats = &s->manager->stats;
	uint64_t seen = 0;

	for (unsigned int i = 0; i < s->by_node->len; i++)
		seen += g_array_index(s->by_node, uint64_t, i);

	g_hash_table_remove_all(stats->placed);
	for (unsigned int i = 0; i < s->by_node->len; i++) {
		struct tier *t = inventory_tier_of_node(s->manager->inventory, i);
		uint64_t bytes = g_array_index(s->by_node, uint64_t, i);

		/* Estimates are made to add up to what is allocated, which is known exactly. */
		if (seen > 0 && s->looked_at < s->allocated)
			bytes += (unsigned __int128)bytes * (s->allocated - s->looked_at) / seen;
		if (bytes > 0)
			stats_add(stats->placed, (gpointer)g_intern_string(t ? t->name : "unknown"),
				  bytes);
	}
	stats->placed_usec = now_realtime();
}

static void sample_done(struct work *w, bool ran)
{
	struct sample *s = (struct sample *)w;
	struct late_call *late;

	if (ran)
		keep_sample(s);
	s->manager->stats.sample = NULL;
	while ((late = g_queue_pop_head(&s->waiting))) {
		late_call_end(late, ran ? answer(s->manager, late->message) : -ECANCELED, NULL);
		g_free(late);
	}
	for (unsigned int i = 0; i < s->looks->len; i++)
		morsel_unref(g_array_index(s->looks, struct look, i).morsel);
	g_array_unref(s->looks);
	g_array_unref(s->by_node);
	g_free(s);
}

static struct sample *sample_new(struct manager *manager)
{
	struct sample *s = g_new0(struct sample, 1);
	uint64_t seq = 0;

	s->work.run = sample_run;
	s->work.done = sample_done;
	s->manager = manager;
	s->looks = g_array_new(FALSE, FALSE, sizeof(struct look));
	s->by_node = g_array_new(FALSE, TRUE, sizeof(uint64_t));
	g_queue_init(&s->waiting);
	while (s->looks->len < LOOK_MORSELS_MAX) {
		struct morsel *m = registry_after(manager->registry, NULL, seq);
		struct look look = { .morsel = m };

		if (!m)
			break;
		morsel_ref(m);
		g_array_append_val(s->looks, look);
		seq = m->seq;
	}
	worker_pool_submit(manager->queries, &s->work);
	return s;
}

int stats_call(struct call *call, sd_bus_error *error)
{
	struct stats *stats = &call->manager->stats;
	struct late_call *late;
	int r;

	if (!stats->sample && stats->placed_usec > 0 &&
	    now_realtime() - stats->placed_usec < PLACED_AGE_USEC)
		return answer(call->manager, call->message);

	late = g_new0(struct late_call, 1);
	r = late_call_begin(late, call, error);
	if (r < 0) {
		g_free(late);
		return r;
	}
	if (!stats->sample)
		stats->sample = sample_new(call->manager);
	g_queue_push_tail(&stats->sample->waiting, late);
	return 1;
}
