// SPDX-License-Identifier: GPL-2.0-or-later
#include "recording.h"

#include <errno.h>
#include <string.h>

#include "clock.h"
#include "tiering-round.h"

#define PAGE UINT64_C(4096)

/* A block is written so often, or when it has so much: what a crash may lose, against 32 bytes for each. */
#define FLUSH_MS 10000
#define FLUSH_BYTES (64u << 10)

/* From so many on, numbers of morsels that are gone are given again: a reader keeps room for each number. */
#define INDEX_REUSE 1024u

struct recorded {
	sd_id128_t id;
	char *name;
	struct plan_region plan; /* as it was written; pages 0: not yet */
	uint32_t index;
	const struct tiering_region *region; /* of this round; NULL: it is gone */
};

struct recorded_tier {
	char *name;
	struct plan_path path;
	uint64_t pages;
	bool written;
};

struct recorded_account {
	uint32_t index;
	struct plan_account plan;
};

static void recorded_free(gpointer p)
{
	struct recorded *d = p;

	if (!d)
		return;
	g_free(d->name);
	g_free(d);
}

static void tier_free(gpointer p)
{
	struct recorded_tier *t = p;

	g_free(t->name);
	g_free(t);
}

struct recording *recording_new(uid_t uid, bool all)
{
	struct recording *rec = g_new0(struct recording, 1);

	rec->uid = uid;
	rec->all = all;
	rec->out = g_byte_array_new();
	rec->regions = g_ptr_array_new_with_free_func(recorded_free);
	rec->tiers = g_ptr_array_new_with_free_func(tier_free);
	rec->accounts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	return rec;
}

struct recording *recording_free(struct recording *rec)
{
	if (!rec)
		return NULL;
	g_ptr_array_unref(rec->regions);
	g_ptr_array_unref(rec->tiers);
	g_hash_table_unref(rec->accounts);
	g_byte_array_unref(rec->out);
	g_free(rec->cells);
	g_free(rec->payload);
	g_free(rec->told);
	g_free(rec);
	return NULL;
}

bool recording_wants(const struct recording *rec, const struct morsel *m)
{
	return rec->all || m->owner == rec->uid;
}

/* ---- which morsels: on the loop ---- */

static struct recorded *find_recorded(const struct recording *rec, sd_id128_t id)
{
	for (unsigned int i = 0; i < rec->regions->len; i++) {
		struct recorded *d = rec->regions->pdata[i];

		if (d && sd_id128_equal(d->id, id))
			return d;
	}
	return NULL;
}

static struct recorded *add_recorded(struct recording *rec, const struct morsel *m)
{
	struct recorded *d;
	unsigned int at = rec->regions->len;

	for (unsigned int i = 0; at >= INDEX_REUSE && i < rec->regions->len; i++)
		if (!rec->regions->pdata[i])
			at = i;
	if (at >= TRACE_REGIONS_MAX)
		return NULL;
	d = g_new0(struct recorded, 1);
	d->id = m->id;
	d->index = at;
	/* Others' as OWNER:NAME, which means the same to every verb. */
	d->name = m->owner == rec->uid ? g_strdup(m->name)
				       : g_strdup_printf("%u:%s", m->owner, m->name);
	if (at == rec->regions->len)
		g_ptr_array_add(rec->regions, d);
	else
		rec->regions->pdata[at] = d;
	return d;
}

void recording_prepare(struct recording *rec, const struct tiering_round *round)
{
	for (unsigned int i = 0; i < rec->regions->len; i++)
		if (rec->regions->pdata[i])
			((struct recorded *)rec->regions->pdata[i])->region = NULL;
	for (unsigned int i = 0; i < round->regions->len; i++) {
		const struct tiering_region *g = round->regions->pdata[i];
		struct recorded *d;

		if (!g->present || !recording_wants(rec, g->morsel))
			continue;
		d = find_recorded(rec, g->id);
		if (!d)
			d = add_recorded(rec, g->morsel);
		if (d)
			d->region = g;
	}
}

/* ---- writing: on a worker ---- */

void recording_flush(struct recording *rec)
{
	struct trace_block block;

	if (!rec->payload || !trace_flush(&rec->writer, &block))
		return;
	g_byte_array_append(rec->out, (const uint8_t *)&block, sizeof(block));
	g_byte_array_append(rec->out, rec->payload, block.length);
	trace_flushed(&rec->writer);
	rec->flushed_ms = rec->writer.clock_ms;
}

/* A record that has not found room is tried again in the next block. */
#define WRITE(rec, call)                      \
	do {                                  \
		while ((call) == -ENOSPC)     \
			recording_flush(rec); \
	} while (0)

static int begin(struct recording *rec, const struct tiering_round *round)
{
	uint32_t granules = round->heat->count;
	struct trace_header header;

	rec->cells = g_try_new(struct trace_cell, granules);
	rec->payload = g_try_malloc(TRACE_BLOCK_MAX + 1024);
	rec->told = g_try_malloc(granules);
	if (!rec->cells || !rec->payload || !rec->told) {
		g_clear_pointer(&rec->payload, g_free);
		return -ENOMEM;
	}
	memset(rec->told, PLAN_ABSENT, granules);
	trace_begin(&rec->writer, &header, now_realtime() / 1000000, 1, TIERING_PERIOD_MIN_MS,
		    rec->cells, granules, rec->payload);
	g_byte_array_append(rec->out, (const uint8_t *)&header, sizeof(header));
	return 0;
}

/* Names end where a character does. */
static size_t name_length(const char *name)
{
	size_t n = strlen(name);

	if (n <= TRACE_NAME_MAX)
		return n;
	for (n = TRACE_NAME_MAX; n > 0 && ((uint8_t)name[n] & 0xc0) == 0x80; n--)
		;
	return n;
}

static uint8_t write_tier(struct recording *rec, const struct tier *tier,
			  const struct plan_tier *plan)
{
	struct recorded_tier *t = NULL;
	unsigned int i;

	for (i = 0; i < rec->tiers->len; i++) {
		t = rec->tiers->pdata[i];
		if (g_str_equal(t->name, tier->name))
			break;
	}
	if (i == PLAN_ABSENT)
		return PLAN_ABSENT;
	if (i == rec->tiers->len) {
		t = g_new0(struct recorded_tier, 1);
		t->name = g_strdup(tier->name);
		g_ptr_array_add(rec->tiers, t);
	}
	if (t->written && t->pages == tier->capacity / PAGE &&
	    memcmp(&t->path, &plan->from[0], sizeof(t->path)) == 0)
		return (uint8_t)i;
	t->pages = tier->capacity / PAGE;
	t->path = plan->from[0];
	t->written = true;
	WRITE(rec, trace_tier(&rec->writer, i, &t->path, t->pages, t->name, name_length(t->name)));
	return (uint8_t)i;
}

/* The round's numbers of tiers → the trace's. */
struct tier_map {
	uint8_t to[PLAN_MAX_TIERS];
	unsigned int n; /* the trace's */
};

static void write_tiers(struct recording *rec, const struct tiering_round *round,
			struct tier_map *ret)
{
	memset(ret->to, PLAN_ABSENT, sizeof(ret->to));
	for (unsigned int i = 0; i < round->tiers.n; i++)
		ret->to[i] = write_tier(rec, round->tiers.tier[i], &round->tiers.plan[i]);
	ret->n = rec->tiers->len;
}

/* The trace's number of an account of the round's, written if it is new or has changed; those above it first. */
static uint32_t write_account(struct recording *rec, const struct tiering_round *round,
			      const struct tier_map *map, uint32_t account)
{
	const struct plan_account *now =
		&g_array_index(round->accounts->plan, struct plan_account, account);
	const char *path = round->accounts->paths->pdata[account];
	struct recorded_account *a = g_hash_table_lookup(rec->accounts, path);
	struct plan_account plan;
	uint32_t parent = PLAN_NO_PARENT;

	if (now->parent != PLAN_NO_PARENT)
		parent = write_account(rec, round, map, now->parent);
	plan_account_init(&plan, parent);
	plan.weight = now->weight;
	for (unsigned int t = 0; t < round->tiers.n; t++) {
		uint8_t to = map->to[t];

		if (to == PLAN_ABSENT)
			continue;
		plan.low[to] = now->low[t];
		plan.high[to] = now->high[t];
		plan.max[to] = now->max[t];
	}
	if (a && memcmp(&a->plan, &plan, sizeof(plan)) == 0)
		return a->index;
	if (!a) {
		/* What more there are share the root's. */
		if (g_hash_table_size(rec->accounts) >= TRACE_ACCOUNTS_MAX)
			return 0;
		a = g_new0(struct recorded_account, 1);
		a->index = g_hash_table_size(rec->accounts);
		g_hash_table_insert(rec->accounts, g_strdup(path), a);
	}
	a->plan = plan;
	WRITE(rec, trace_account(&rec->writer, a->index, &plan, map->n, path, name_length(path)));
	return a->index;
}

static void forget_places(struct recording *rec, const struct plan_region *plan)
{
	memset(rec->told + plan->first, PLAN_ABSENT,
	       ((uint64_t)plan->pages + HEAT_PAGES - 1) / HEAT_PAGES);
}

static void write_gone(struct recording *rec)
{
	for (unsigned int i = 0; i < rec->regions->len; i++) {
		struct recorded *d = rec->regions->pdata[i];

		if (!d || d->region)
			continue;
		if (d->plan.pages > 0) {
			WRITE(rec, trace_gone(&rec->writer, i, &d->plan));
			forget_places(rec, &d->plan);
		}
		recorded_free(d);
		rec->regions->pdata[i] = NULL;
	}
}

static void write_region(struct recording *rec, const struct tiering_round *round,
			 const struct tier_map *map, struct recorded *d)
{
	const struct tiering_region *g = d->region;
	struct plan_region plan = {
		.first = g->first,
		.pages = (uint32_t)((g->morsel->size + PAGE - 1) / PAGE),
		.account = write_account(rec, round, map, g->account),
		/* Where nobody has said anything, what moving it would bring is the question. */
		.migrate = g->fixed ? PLAN_MIGRATE_OFF : PLAN_MIGRATE_ON,
	};

	for (unsigned int t = 0; t < round->tiers.n; t++)
		if (g->allow >> t & 1 && map->to[t] != PLAN_ABSENT)
			plan.allow |= 1u << map->to[t];
	if (memcmp(&d->plan, &plan, sizeof(plan)) == 0)
		return;
	d->plan = plan;
	WRITE(rec, trace_region(&rec->writer, d->index, &plan, d->name, name_length(d->name)));
}

/* What lies elsewhere than was told. */
static void write_places(struct recording *rec, const struct tiering_round *round,
			 const struct tier_map *map, const struct recorded *d)
{
	const struct tiering_region *g = d->region;

	for (uint32_t i = 0, n; i < g->granules; i += n) {
		uint8_t tier = round->seen.tiers[g->first + i];
		uint8_t to = tier < PLAN_ABSENT ? map->to[tier] : PLAN_ABSENT;

		n = 1;
		if (rec->told[g->first + i] == to)
			continue;
		while (i + n < g->granules && round->seen.tiers[g->first + i + n] == tier &&
		       rec->told[g->first + i + n] != to)
			n++;
		memset(&rec->told[g->first + i], to, n);
		WRITE(rec, trace_place(&rec->writer, d->index, i, n, to));
	}
}

static void write_levels(struct recording *rec, const struct tiering_round *round,
			 const struct recorded *d)
{
	const struct tiering_region *g = d->region;
	uint32_t at = 0;

	for (uint32_t i = g->first; i < g->first + g->granules; i++) {
		if (round->seen.events[i] == TIERING_NOT_SEEN)
			trace_skip(&rec->writer, i);
		else if (round->seen.events[i] > 0)
			trace_sample(&rec->writer, i, round->seen.events[i]);
	}
	WRITE(rec, trace_levels(&rec->writer, d->index, &d->plan, &at));
}

void recording_round(struct recording *rec, const struct tiering_round *round, uint64_t clock_ms)
{
	struct tier_map map;

	if (!rec->payload)
		rec->result = begin(rec, round);
	if (rec->result < 0)
		return;
	WRITE(rec, trace_round(&rec->writer, clock_ms));
	if (rec->rounds++ == 0)
		rec->flushed_ms = clock_ms;
	write_tiers(rec, round, &map);
	write_gone(rec);
	for (unsigned int i = 0; i < rec->regions->len; i++) {
		struct recorded *d = rec->regions->pdata[i];

		if (!d)
			continue;
		write_region(rec, round, &map, d);
		write_places(rec, round, &map, d);
		write_levels(rec, round, d);
	}
	/* The first round at once: whoever reads it sees that it goes on. */
	if (rec->rounds == 1 || rec->writer.length >= FLUSH_BYTES ||
	    clock_ms - rec->flushed_ms >= FLUSH_MS)
		recording_flush(rec);
}
