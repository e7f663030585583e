// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "connection.h"
#include "manager.h"
#include "morsel-bus.h"

#define LIMIT_MAX 1000
/*
 * In one turn of its caller's at most so many morsels are looked at and so many given: a page takes many
 * turns, and other users' calls come in between (30 take about 0.3 ms).
 */
#define LOOKS_PER_TURN 500
/* A pattern of many stars against a long name costs some ten thousand steps. */
#define MATCHES_PER_TURN 50
#define GIVEN_PER_TURN 30
/* Looked at for one page: one who may see few of many gets short pages, even empty ones. */
#define LOOKS_PER_PAGE 20000

struct filter {
	uint32_t owner;
	bool has_owner;
	const char *name, *tier, *storage;
};

struct listing {
	struct late_call late;
	struct caller *caller;
	struct turn turn;
	sd_bus_message *reply;
	struct filter filter;
	GPatternSpec *name;
	const char *tier; /* interned */
	char *storage;
	uint64_t seq;
	uint32_t limit, given, looks;
};

static int read_owner(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e)
{
	struct filter *f = target;

	f->has_owner = true;
	return sd_bus_message_read(m, "u", &f->owner);
}

static struct listing *listing_free(struct listing *l)
{
	turn_end(&l->turn);
	sd_bus_message_unref(l->reply);
	caller_unref(l->caller);
	g_clear_pointer(&l->name, g_pattern_spec_free);
	g_free(l->storage);
	g_free(l);
	return NULL;
}

/* Placed there by policy or move: a word of what its records want. */
static bool placed_on(const struct morsel *m, const char *tier)
{
	size_t length = strlen(tier);

	for (unsigned int i = 0; m->records && i < m->records->len; i++) {
		const char *p = g_array_index(m->records, struct placement_record, i).tiers;

		while ((p = strstr(p, tier))) {
			if ((p[length] == ' ' || p[length] == '\0') &&
			    (p == g_array_index(m->records, struct placement_record, i).tiers ||
			     p[-1] == ' '))
				return true;
			p++;
		}
	}
	return false;
}

static bool wanted(const struct listing *l, const struct morsel *m)
{
	return morsel_visible(m, l->caller) &&
	       (!l->name || g_pattern_spec_match_string(l->name, m->name)) &&
	       (!l->storage || g_str_equal(l->storage, m->storage->name)) &&
	       (!l->tier || placed_on(m, l->tier));
}

/* 1: the page is full; 0: more to do; 2: there is no more. */
static int list_some(struct listing *l)
{
	struct manager *manager = l->late.manager;
	const uid_t *owner = l->filter.has_owner ? &l->filter.owner : NULL;
	unsigned int max_looks = l->name ? MATCHES_PER_TURN : LOOKS_PER_TURN;
	unsigned int given = 0;

	for (unsigned int looks = 0; looks < max_looks && given < GIVEN_PER_TURN; looks++) {
		struct morsel *m = registry_after(manager->registry, owner, l->seq);
		int r;

		if (!m)
			return 2;
		if (l->given >= l->limit || l->looks >= LOOKS_PER_PAGE)
			return 1;
		l->looks++;
		l->seq = m->seq;
		if (!wanted(l, m))
			continue;
		r = morsel_bus_append(l->reply, manager, m);
		if (r < 0)
			return r;
		l->given++;
		given++;
	}
	return 0;
}

static void finish(struct listing *l, int r)
{
	char next[32] = "";

	if (r == 1)
		g_snprintf(next, sizeof(next), "%" G_GUINT64_FORMAT, l->seq);
	if (r >= 0)
		r = sd_bus_message_close_container(l->reply);
	if (r >= 0)
		r = sd_bus_message_append(l->reply, "s", next);
	if (r >= 0)
		(void)sd_bus_message_send(l->reply);
	late_call_end(&l->late, r, NULL);
	g_queue_remove(&l->late.manager->listings, l);
	listing_free(l);
}

static bool on_turn(struct turn *t)
{
	struct listing *l = (struct listing *)((char *)t - offsetof(struct listing, turn));
	int r = list_some(l);

	if (r != 0)
		finish(l, r);
	return r == 0;
}

void listing_cancel_all(struct manager *manager)
{
	struct listing *l;

	while ((l = g_queue_peek_head(&manager->listings)))
		finish(l, -ECANCELED);
}

int list_call(struct call *call, sd_bus_error *error)
{
	static const struct bus_option options[] = {
		{ "owner", "u", read_owner, 0 },
		{ "name", "s", bus_option_string, offsetof(struct filter, name) },
		{ "tier", "s", bus_option_string, offsetof(struct filter, tier) },
		{ "storage", "s", bus_option_string, offsetof(struct filter, storage) },
	};
	struct manager *manager = call->manager;
	struct filter filter = {};
	struct listing *l;
	const char *cursor;
	uint32_t limit;
	guint64 seq = 0;
	int r;

	r = sd_bus_message_read(call->message, "su", &cursor, &limit);
	if (r < 0)
		return r;
	r = bus_options_read(call->message, options, G_N_ELEMENTS(options), &filter, error);
	if (r < 0)
		return r;
	if (limit < 1 || limit > LIMIT_MAX)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT, "limit %u is not in 1..%d",
				      limit, LIMIT_MAX);
	if (cursor[0] && !g_ascii_string_to_unsigned(cursor, 10, 1, UINT64_MAX, &seq, NULL)) {
		g_autofree char *quoted = quote(cursor);

		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "cursor %s is not one that List gave", quoted);
	}
	if (filter.name && strlen(filter.name) > 255)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "filter name has %zu bytes; names have at most 255",
				      strlen(filter.name));
	if (filter.tier) {
		struct tier *t;

		r = morsel_bus_find_tier(manager, filter.tier, &t, error);
		if (r < 0)
			return r;
	}

	l = g_new0(struct listing, 1);
	l->caller = caller_ref(call->caller);
	l->filter = filter;
	l->name = filter.name ? g_pattern_spec_new(filter.name) : NULL;
	l->tier = g_intern_string(filter.tier);
	l->storage = g_strdup(filter.storage);
	l->seq = seq;
	l->limit = limit;
	r = sd_bus_message_new_method_return(call->message, &l->reply);
	if (r >= 0)
		r = sd_bus_message_open_container(l->reply, 'a', "a{sv}");
	if (r >= 0)
		r = late_call_begin(&l->late, call, error);
	if (r < 0) {
		listing_free(l);
		return r;
	}
	g_queue_push_tail(&manager->listings, l);
	/* Short lists, the most frequent ones, are answered at once. */
	turn_init(&l->turn, manager->turns, call->caller, on_turn);
	if (on_turn(&l->turn))
		turn_ready(&l->turn);
	return 1;
}
