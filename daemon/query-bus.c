// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "connection.h"
#include "explain.h"
#include "manager.h"
#include "morsel-bus.h"

/* Residency's or Explain's call on a worker. */
struct query {
	struct work work;
	struct late_call late;
	struct morsel *morsel;
	uint64_t offset, length;
	bool exact;
	struct explain_pieces *pieces; /* what Explain looks at; NULL for Residency */
	int r;
	struct storage_residency residency;
};

struct query_options {
	uint64_t offset, length;
	bool exact;
};

static bool on_progress(uint64_t done, uint64_t total, void *userdata)
{
	struct query *q = userdata;

	return !atomic_load_explicit(&q->late.manager->stopping, memory_order_relaxed);
}

static void query_run(struct work *w)
{
	struct query *q = (struct query *)w;

	if (q->pieces)
		q->r = explain_look(q->pieces, on_progress, q);
	else
		q->r = q->morsel->storage->ops->residency(q->morsel->object, q->offset, q->length,
							  q->exact, on_progress, q, &q->residency,
							  NULL);
}

static int append_nodes(sd_bus_message *m, const struct inventory *inv, const GArray *by_node)
{
	int r;

	for (unsigned int i = 0; by_node && i < by_node->len; i++) {
		uint64_t bytes = g_array_index(by_node, uint64_t, i);

		if (bytes == 0 || !inventory_is_node(inv, (int)i))
			continue;
		r = sd_bus_message_append(m, "{ut}", i, bytes);
		if (r < 0)
			return r;
	}
	return 0;
}

static int append_tiers(sd_bus_message *m, struct manager *manager, const GArray *by_node)
{
	g_autoptr(GHashTable) sums = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
	GHashTableIter iter;
	gpointer key, value;
	int r;

	for (unsigned int i = 0; i < by_node->len; i++) {
		uint64_t bytes = g_array_index(by_node, uint64_t, i);
		struct tier *t = inventory_tier_of_node(manager->inventory, i);

		if (bytes > 0)
			stats_add(sums, t ? t->name : (char *)"unknown", bytes);
	}
	g_hash_table_iter_init(&iter, sums);
	while (g_hash_table_iter_next(&iter, &key, &value)) {
		r = sd_bus_message_append(m, "{st}", key, *(uint64_t *)value);
		if (r < 0)
			return r;
	}
	return 0;
}

static int append_residency(sd_bus_message *m, struct manager *manager,
			    const struct storage_residency *res)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "offset_bytes", "t",
					  res->offset, "length_bytes", "t", res->length,
					  "absent_bytes", "t", res->absent, "swapped_bytes", "t",
					  res->swapped, "huge_bytes", "t", res->huge, "sampled",
					  "b", (int)res->sampled, "looked_at_bytes", "t",
					  res->looked_at);
	if (r >= 0)
		r = bus_open_array(m, "tiers", "a{st}");
	if (r >= 0)
		r = append_tiers(m, manager, res->by_node);
	if (r >= 0)
		r = bus_close_array(m);
	if (r >= 0)
		r = bus_open_array(m, "nodes", "a{ut}");
	if (r >= 0)
		r = append_nodes(m, manager->inventory, res->by_node);
	if (r >= 0)
		r = bus_close_array(m);
	if (r < 0)
		return r;
	return sd_bus_message_close_container(m);
}

static int append_ranges(sd_bus_message *m, const struct inventory *inv, const GArray *ranges)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "a{sv}");
	for (unsigned int i = 0; r >= 0 && i < ranges->len; i++) {
		const struct explain_range *range = &g_array_index(ranges, struct explain_range, i);

		r = sd_bus_message_open_container(m, 'a', "{sv}");
		if (r >= 0)
			r = sd_bus_message_append(
				m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "offset_bytes", "t",
				range->offset, "length_bytes", "t", range->length, "tier", "s",
				range->tier, "present_bytes", "t", range->present, "rule", "s",
				range->rule, "reason", "s", range->reason, "since_usec", "t",
				range->since_usec, "sampled", "b", (int)range->sampled);
		if (r >= 0)
			r = bus_open_array(m, "nodes", "a{ut}");
		if (r >= 0)
			r = append_nodes(m, inv, range->by_node);
		if (r >= 0)
			r = bus_close_array(m);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	if (r < 0)
		return r;
	return sd_bus_message_close_container(m);
}

static int answer(struct query *q)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	int r;

	r = sd_bus_message_new_method_return(q->late.message, &reply);
	if (r < 0)
		return r;
	if (q->pieces) {
		g_autoptr(GArray)
			ranges = explain_ranges(q->pieces, q->morsel, q->late.manager->inventory);

		r = append_ranges(reply, q->late.manager->inventory, ranges);
	} else {
		r = append_residency(reply, q->late.manager, &q->residency);
	}
	if (r < 0)
		return r;
	/* Whoever asked may have gone. */
	(void)sd_bus_message_send(reply);
	return 0;
}

static void query_done(struct work *w, bool ran)
{
	struct query *q = (struct query *)w;
	g_autofree char *text = NULL;
	int r = ran ? q->r : -ECANCELED;

	if (r >= 0)
		r = answer(q);
	if (r < 0)
		text = g_strdup_printf("cannot look at the pages of '%s': %s", q->morsel->name,
				       g_strerror(-r));
	late_call_end(&q->late, r, text);
	storage_residency_done(&q->residency);
	explain_pieces_free(q->pieces);
	morsel_unref(q->morsel);
	g_free(q);
}

static int query_call(struct call *call, bool explain, sd_bus_error *error)
{
	static const struct bus_option options[] = {
		{ "offset", "t", bus_option_u64, offsetof(struct query_options, offset) },
		{ "length", "t", bus_option_u64, offsetof(struct query_options, length) },
		{ "exact", "b", bus_option_bool, offsetof(struct query_options, exact) },
	};
	struct query_options o = { .length = UINT64_MAX };
	const char *arg;
	struct morsel *m;
	struct query *q;
	int r;

	r = sd_bus_message_read(call->message, "s", &arg);
	if (r < 0)
		return r;
	r = bus_options_read(call->message, options, G_N_ELEMENTS(options), &o, error);
	if (r < 0)
		return r;
	r = morsel_bus_find(call, arg, SCOPE_ANY, &m, error);
	if (r < 0)
		return r;
	r = morsel_bus_check_range(m, o.length != UINT64_MAX, 4096, o.offset, &o.length, error);
	if (r < 0)
		return r;

	q = g_new0(struct query, 1);
	r = late_call_begin(&q->late, call, error);
	if (r < 0) {
		g_free(q);
		return r;
	}
	q->work.run = query_run;
	q->work.done = query_done;
	q->work.owner = call->caller->uid;
	q->morsel = morsel_ref(m);
	q->offset = o.offset;
	q->length = o.length;
	q->exact = o.exact;
	if (explain)
		q->pieces = explain_pieces_new(m, o.offset, o.length, o.exact);
	worker_pool_submit(call->manager->queries, &q->work);
	return 1;
}

int residency_call(struct call *call, sd_bus_error *error)
{
	return query_call(call, false, error);
}

int explain_call(struct call *call, sd_bus_error *error)
{
	return query_call(call, true, error);
}
