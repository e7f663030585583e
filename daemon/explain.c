// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "explain.h"

/* Records looked at one by one where pages are sampled: each costs a sample of its own. */
#define SAMPLED_PIECES_MAX 64

/* A range with one record, and what was found there. */
struct piece {
	struct placement_record record; /* offset and length clipped; rule and reason referenced */
	struct storage_residency residency;
	GArray *runs; /* of struct storage_run; NULL: sampled */
};

struct explain_pieces {
	struct storage *storage;
	struct storage_object *object;
	bool exact;
	GArray *pieces; /* of struct piece */
};

static void piece_clear(gpointer p)
{
	struct piece *piece = p;

	g_ref_string_release(piece->record.rule);
	g_ref_string_release(piece->record.reason);
	storage_residency_done(&piece->residency);
	g_clear_pointer(&piece->runs, g_array_unref);
}

struct explain_pieces *explain_pieces_new(const struct morsel *m, uint64_t offset, uint64_t length,
					  bool exact)
{
	struct explain_pieces *p = g_new0(struct explain_pieces, 1);
	uint64_t end = offset + length;

	p->storage = m->storage;
	p->object = m->object;
	p->exact = exact;
	p->pieces = g_array_new(FALSE, TRUE, sizeof(struct piece));
	g_array_set_clear_func(p->pieces, piece_clear);

	for (unsigned int i = 0; m->records && i < m->records->len; i++) {
		struct piece piece = { .record = g_array_index(m->records, struct placement_record,
							       i) };
		uint64_t record_end = piece.record.offset + piece.record.length;

		if (record_end <= offset || piece.record.offset >= end)
			continue;
		piece.record.offset = MAX(piece.record.offset, offset);
		piece.record.length = MIN(record_end, end) - piece.record.offset;
		g_ref_string_acquire(piece.record.rule);
		g_ref_string_acquire(piece.record.reason);
		g_array_append_val(p->pieces, piece);
	}
	return p;
}

struct explain_pieces *explain_pieces_free(struct explain_pieces *p)
{
	if (p) {
		g_array_unref(p->pieces);
		g_free(p);
	}
	return NULL;
}

int explain_look(struct explain_pieces *p, storage_progress_t progress, void *userdata)
{
	unsigned int sampled = 0;
	int r;

	for (unsigned int i = 0; i < p->pieces->len; i++) {
		struct piece *piece = &g_array_index(p->pieces, struct piece, i);

		if (sampled >= SAMPLED_PIECES_MAX) {
			/* Said as what it is: nothing was looked at. */
			storage_residency_init(&piece->residency);
			piece->residency.sampled = true;
			continue;
		}
		r = p->storage->ops->residency(p->object, piece->record.offset,
					       piece->record.length, p->exact, progress, userdata,
					       &piece->residency, &piece->runs);
		if (r < 0)
			return r;
		sampled += piece->residency.sampled;
	}
	return 0;
}

static void range_clear(gpointer p)
{
	struct explain_range *range = p;

	g_free(range->tier);
	g_free(range->rule);
	g_free(range->reason);
	g_clear_pointer(&range->by_node, g_array_unref);
}

static void add_bytes(GArray *by_node, unsigned int node, uint64_t bytes)
{
	if (by_node->len <= node)
		g_array_set_size(by_node, node + 1);
	g_array_index(by_node, uint64_t, node) += bytes;
}

/* The name of the tier that all pages lie on, "mixed", or "" where there are none. */
static const char *tier_of(const struct inventory *inv, const GArray *by_node)
{
	const char *name = "";

	for (unsigned int i = 0; by_node && i < by_node->len; i++) {
		struct tier *t;
		const char *other;

		if (g_array_index(by_node, uint64_t, i) == 0)
			continue;
		t = inventory_tier_of_node(inv, i);
		other = t ? t->name : "unknown";
		if (name[0] && !g_str_equal(name, other))
			return "mixed";
		name = other;
	}
	return name;
}

static bool is_among(const char *tiers, const char *name)
{
	g_auto(GStrv) words = g_strsplit(tiers, " ", -1);

	return g_strv_contains((const char *const *)words, name);
}

/* Several were wanted: is the first of them the place? */
static bool is_first(const char *tiers, const char *name)
{
	size_t length = strcspn(tiers, " ");

	return strlen(name) == length && strncmp(tiers, name, length) == 0;
}

static void give_reason(struct explain_range *range, const struct placement_record *record)
{
	bool spread = strstr(record->rule, "spread=") != NULL;

	range->since_usec = record->since_usec;
	if (range->tier[0] == '\0') {
		range->rule = g_strdup(record->rule);
		range->reason =
			g_strdup_printf("%s; no page yet: none was touched", record->reason);
		return;
	}
	if (record->tiers[0] == '\0' || is_first(record->tiers, range->tier) ||
	    (spread &&
	     (is_among(record->tiers, range->tier) || g_str_equal(range->tier, "mixed")))) {
		range->rule = g_strdup(record->rule);
		range->reason = g_strdup(record->reason);
		return;
	}
	range->rule = g_strdup("fallback of the kernel");
	if (g_str_equal(range->tier, "mixed"))
		range->reason =
			g_strdup_printf("%s wanted %s (%s); some pages lie elsewhere: it was full,"
					" or they could not be moved, or a client moved them",
					record->rule, record->tiers, record->reason);
	else
		range->reason =
			g_strdup_printf("%s wanted %s (%s); the kernel fell back: it was full or"
					" could not be used, or a client moved the pages",
					record->rule, record->tiers, record->reason);
}

static bool same_place(const struct explain_range *a, const struct explain_range *b)
{
	return a->offset + a->length == b->offset && g_str_equal(a->tier, b->tier) &&
	       a->since_usec == b->since_usec && a->sampled == b->sampled &&
	       g_str_equal(a->rule, b->rule) && g_str_equal(a->reason, b->reason);
}

/* Takes over what range owns. */
static void append_range(GArray *ranges, struct explain_range range)
{
	struct explain_range *last =
		ranges->len > 0 ? &g_array_index(ranges, struct explain_range, ranges->len - 1)
				: NULL;
	bool full = ranges->len >= EXPLAIN_RANGES_MAX;

	if (!last || (!same_place(last, &range) && !full)) {
		g_array_append_val(ranges, range);
		return;
	}
	if (full && !same_place(last, &range)) {
		if (!g_str_equal(last->tier, range.tier)) {
			g_free(last->tier);
			last->tier = g_strdup("mixed");
		}
		if (!g_str_equal(last->rule, "several")) {
			g_free(last->rule);
			g_free(last->reason);
			last->rule = g_strdup("several");
			last->reason =
				g_strdup_printf("there are more than %d ranges: ask for a part",
						EXPLAIN_RANGES_MAX);
		}
	}
	last->length += range.length;
	last->present += range.present;
	for (unsigned int i = 0; range.by_node && i < range.by_node->len; i++) {
		if (!last->by_node)
			last->by_node = g_array_new(FALSE, TRUE, sizeof(uint64_t));
		add_bytes(last->by_node, i, g_array_index(range.by_node, uint64_t, i));
	}
	range_clear(&range);
}

static uint64_t sum(const GArray *by_node)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; by_node && i < by_node->len; i++)
		bytes += g_array_index(by_node, uint64_t, i);
	return bytes;
}

static void append_run(GArray *ranges, const struct storage_run *run, const struct piece *piece,
		       const struct inventory *inv)
{
	struct explain_range range = { .offset = run->offset,
				       .length = run->length,
				       .present = run->present };

	if (run->by_node) {
		range.by_node = g_array_copy(run->by_node);
	} else if (run->node >= 0) {
		range.by_node = g_array_new(FALSE, TRUE, sizeof(uint64_t));
		add_bytes(range.by_node, run->node, run->present);
	}
	range.tier = g_strdup(tier_of(inv, range.by_node));
	give_reason(&range, &piece->record);
	append_range(ranges, range);
}

GArray *explain_ranges(const struct explain_pieces *p, const struct morsel *m,
		       const struct inventory *inv)
{
	GArray *ranges = g_array_new(FALSE, TRUE, sizeof(struct explain_range));

	g_array_set_clear_func(ranges, range_clear);
	for (unsigned int i = 0; i < p->pieces->len; i++) {
		const struct piece *piece = &g_array_index(p->pieces, struct piece, i);
		struct explain_range range = { .offset = piece->record.offset,
					       .length = piece->record.length,
					       .sampled = true };

		for (unsigned int j = 0; piece->runs && j < piece->runs->len; j++)
			append_run(ranges, &g_array_index(piece->runs, struct storage_run, j),
				   piece, inv);
		if (piece->runs)
			continue;
		range.by_node = piece->residency.by_node ? g_array_copy(piece->residency.by_node)
							 : NULL;
		range.present = sum(range.by_node);
		range.tier = g_strdup(tier_of(inv, range.by_node));
		give_reason(&range, &piece->record);
		append_range(ranges, range);
	}
	return ranges;
}
