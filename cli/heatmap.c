// SPDX-License-Identifier: GPL-2.0-or-later
#include "heatmap.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "cli.h"

/* From the hottest to the coldest colour, at most: what is less than a 10,000th is as good as cold. */
#define DECADES_MAX 4

#define NO_ROW UINT32_MAX

/* What a granule does now, while the trace is read. */
struct state {
	struct heatmap *map;
	uint32_t *sizes;       /* [region] granules that a number has at most */
	uint32_t *first;       /* [region]: its first granule in level and tier */
	uint32_t *granules;    /* [region]: now; 0: gone */
	uint8_t *level, *tier; /* [granule] */
	uint32_t
		*region_row; /* [region]: index in map->regions; NO_ROW while they are not chosen */
	uint64_t *region_events; /* [region]: sixteenths, all the time */
	uint64_t *region_now;	 /* [region]: sixteenths a round … */
	uint64_t *region_since;	 /* … since so many rounds */
	char **names;
	/* Sums of what is so now. */
	uint64_t *row_now;   /* [row]: sixteenths a round */
	uint32_t *row_tiers; /* [row × (PLAN_ABSENT + 1) + tier]: granules */
	uint64_t tier_now[PLAN_ABSENT + 1];
	uint64_t round;
};

static void region_clear(void *p)
{
	g_free(((struct heatmap_region *)p)->name);
}

struct heatmap *heatmap_free(struct heatmap *h)
{
	if (!h)
		return NULL;
	g_array_unref(h->regions);
	g_array_unref(h->rows);
	for (unsigned int t = 0; t <= PLAN_ABSENT; t++)
		g_free(h->tiers[t].name);
	g_free(h->begin_ms);
	g_free(h->rate);
	g_free(h->tier);
	g_free(h->by_tier);
	g_free(h);
	return NULL;
}

static struct heatmap_row *row_at(const struct heatmap *h, uint32_t i)
{
	return &g_array_index(h->rows, struct heatmap_row, i);
}

static struct heatmap_region *region_at(const struct heatmap *h, uint32_t i)
{
	return &g_array_index(h->regions, struct heatmap_region, i);
}

static uint32_t row_of(const struct state *s, uint32_t region, uint32_t granule)
{
	const struct heatmap_region *r = region_at(s->map, s->region_row[region]);

	/* The others are one row. */
	if (r->rows == 1)
		return r->row;
	return r->row + (uint32_t)((uint64_t)granule * r->rows / r->granules);
}

/* ---- what records change ---- */

static void set_level(struct state *s, uint32_t region, uint32_t granule, uint8_t level)
{
	uint32_t g = s->first[region] + granule;
	/* Unsigned, and so right modulo 2^64 on the way down. */
	uint64_t change = trace_level_value(level) - trace_level_value(s->level[g]);
	/* The round that it is of counts with the new level. */
	uint64_t before = s->round > 0 ? s->round - 1 : 0;

	s->level[g] = level;
	s->region_events[region] += s->region_now[region] * (before - s->region_since[region]);
	s->region_since[region] = before;
	s->region_now[region] += change;
	if (!s->row_now)
		return;
	s->row_now[row_of(s, region, granule)] += change;
	s->tier_now[s->tier[g]] += change;
}

static void set_tier(struct state *s, uint32_t region, uint32_t granule, uint8_t tier)
{
	uint32_t g = s->first[region] + granule, *counts;

	if (!s->row_now) {
		s->tier[g] = tier;
		return;
	}
	counts = &s->row_tiers[(uint64_t)row_of(s, region, granule) * (PLAN_ABSENT + 1)];
	counts[s->tier[g]]--;
	counts[tier]++;
	s->tier_now[s->tier[g]] -= trace_level_value(s->level[g]);
	s->tier_now[tier] += trace_level_value(s->level[g]);
	s->tier[g] = tier;
}

static void forget(struct state *s, uint32_t region)
{
	for (uint32_t i = 0; i < s->granules[region]; i++) {
		set_level(s, region, i, 0);
		set_tier(s, region, i, PLAN_ABSENT);
	}
	s->granules[region] = 0;
}

static void play(struct state *s, const struct trace_event *e)
{
	switch (e->tag) {
	case TRACE_TIER:
		s->map->tiers[e->index].latency_ns = e->path.latency_ns;
		if (s->row_now)
			break;
		g_free(s->map->tiers[e->index].name);
		s->map->tiers[e->index].name = g_utf8_make_valid(e->name, (gssize)e->name_length);
		break;
	case TRACE_REGION: {
		uint32_t granules = (e->region.pages - 1) / HEAT_PAGES + 1;

		if (granules != s->granules[e->index])
			forget(s, e->index);
		s->granules[e->index] = granules;
		if (s->row_now)
			break;
		g_free(s->names[e->index]);
		s->names[e->index] = g_utf8_make_valid(e->name, (gssize)e->name_length);
		break;
	}
	case TRACE_GONE:
		if (e->index < s->map->extent.regions)
			forget(s, e->index);
		break;
	case TRACE_LEVELS:
		if (e->index < s->map->extent.regions && e->granule < s->granules[e->index])
			set_level(s, e->index, e->granule, e->level);
		break;
	case TRACE_PLACE:
		for (uint32_t i = 0; e->index < s->map->extent.regions && i < e->granules &&
				     e->granule + i < s->granules[e->index];
		     i++)
			set_tier(s, e->index, e->granule + i, e->tier);
		break;
	default:
		break;
	}
}

/* ---- rounds ---- */

/* What was seen in a round that has ended, of ms. */
static void add_round(struct state *s, uint64_t ms, double *column_seconds)
{
	struct heatmap *h = s->map;
	uint32_t column = (uint32_t)((s->round - 1) * h->columns / h->extent.rounds);
	double unit = (double)h->header.grain / TRACE_LEVEL_ONE;

	column_seconds[column] += (double)ms / 1000;
	for (uint32_t i = 0; i < h->rows->len; i++) {
		const uint32_t *counts = &s->row_tiers[(uint64_t)i * (PLAN_ABSENT + 1)];
		uint64_t at = (uint64_t)i * h->columns + column;
		unsigned int most = PLAN_ABSENT;

		h->rate[at] += (double)s->row_now[i] * unit;
		for (unsigned int t = 0; t < PLAN_ABSENT; t++)
			if (counts[t] > 0 && (most == PLAN_ABSENT || counts[t] > counts[most]))
				most = t;
		h->tier[at] = (uint8_t)most;
	}
	for (unsigned int t = 0; t <= PLAN_ABSENT; t++) {
		double accesses = (double)s->tier_now[t] * unit;

		h->by_tier[(uint64_t)column * (PLAN_ABSENT + 1) + t] += accesses;
		h->tiers[t].accesses += accesses;
		h->accesses += accesses;
	}
}

static void read_all(struct state *s, const void *data, uint64_t size, double *column_seconds)
{
	struct heatmap *h = s->map;
	uint64_t last_ms = 0, ms = 0;
	struct trace_reader reader;
	struct trace_event e;

	trace_open(&reader, data, size);
	s->round = 0;
	while (trace_next(&reader, &e) > 0) {
		if (e.tag != TRACE_ROUND) {
			play(s, &e);
			continue;
		}
		if (column_seconds && s->round > 0)
			add_round(s, ms, column_seconds);
		ms = s->round > 0 ? e.clock_ms - last_ms : h->header.period_ms;
		if (column_seconds) {
			uint32_t column = (uint32_t)(s->round * h->columns / h->extent.rounds);

			if (h->begin_ms[column] == UINT64_MAX)
				h->begin_ms[column] = s->round > 0 ? last_ms + h->header.period_ms
								   : 0;
		}
		last_ms = e.clock_ms;
		s->round++;
	}
	if (column_seconds)
		add_round(s, ms, column_seconds);
	for (uint32_t i = 0; i < h->extent.regions; i++) {
		s->region_events[i] += s->region_now[i] * (s->round - s->region_since[i]);
		s->region_now[i] = s->region_since[i] = 0;
	}
}

/* ---- rows ---- */

struct candidate {
	uint32_t index;
	uint64_t events;
};

static int most_first(gconstpointer a, gconstpointer b)
{
	const struct candidate *x = a, *y = b;

	if (x->events != y->events)
		return x->events < y->events ? 1 : -1;
	return x->index < y->index ? -1 : 1;
}

static void choose_regions(struct state *s, uint32_t most)
{
	struct heatmap *h = s->map;
	g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(struct candidate));
	struct heatmap_region others = {};
	uint32_t n;

	for (uint32_t i = 0; i < h->extent.regions; i++) {
		struct candidate c = { i, s->region_events[i] };

		s->region_row[i] = NO_ROW;
		if (s->sizes[i] > 0)
			g_array_append_val(all, c);
	}
	g_array_sort(all, most_first);
	n = all->len > most ? most - 1 : all->len;
	for (uint32_t i = 0; i < n; i++)
		s->region_row[g_array_index(all, struct candidate, i).index] = 0;
	for (uint32_t i = 0; i < h->extent.regions; i++) {
		double accesses = (double)s->region_events[i] / TRACE_LEVEL_ONE * h->header.grain;
		struct heatmap_region r = { .name = s->names[i],
					    .granules = s->sizes[i],
					    .accesses = accesses };

		if (s->region_row[i] == NO_ROW) {
			s->region_row[i] = n;
			others.granules += s->sizes[i];
			others.accesses += accesses;
			continue;
		}
		s->region_row[i] = h->regions->len;
		s->names[i] = NULL;
		g_array_append_val(h->regions, r);
	}
	if (all->len > n) {
		others.name = g_strdup_printf("%u others", all->len - n);
		g_array_append_val(h->regions, others);
	}
}

/* One each, and the rest by size. */
static void make_rows(struct state *s, uint32_t most, bool has_others)
{
	struct heatmap *h = s->map;
	uint64_t granules = 0, seen = 0, rest = most - h->regions->len, given = 0;
	uint32_t n = h->regions->len - (has_others ? 1 : 0);

	for (uint32_t i = 0; i < n; i++)
		granules += region_at(h, i)->granules;
	for (uint32_t i = 0; i < h->regions->len; i++) {
		struct heatmap_region *r = region_at(h, i);

		r->row = h->rows->len;
		r->rows = 1;
		if (i < n) {
			seen += r->granules;
			r->rows = (uint32_t)MIN(1 + rest * seen / granules - given, r->granules);
			given = rest * seen / granules;
		}
		for (uint32_t k = 0; k < r->rows; k++) {
			/* Those that row_of() gives to it. */
			uint32_t first = (uint32_t)(((uint64_t)k * r->granules + r->rows - 1) /
						    r->rows),
				 end = (uint32_t)(((uint64_t)(k + 1) * r->granules + r->rows - 1) /
						  r->rows);
			struct heatmap_row row = { i, first, end - first };

			g_array_append_val(h->rows, row);
		}
	}
}

static void finish(struct heatmap *h, const double *column_seconds)
{
	double lowest = INFINITY;

	for (uint32_t i = 0; i < h->rows->len; i++)
		for (uint32_t c = 0; c < h->columns; c++) {
			double *rate = &h->rate[(uint64_t)i * h->columns + c];

			if (column_seconds[c] > 0)
				*rate /= column_seconds[c] * row_at(h, i)->granules;
			h->highest = MAX(h->highest, *rate);
			lowest = *rate > 0 ? MIN(lowest, *rate) : lowest;
		}
	h->decades = h->highest > 0 ? ceil(log10(h->highest / lowest)) : 1;
	h->decades = CLAMP(h->decades, 1, DECADES_MAX);
	for (unsigned int t = 0; t <= PLAN_ABSENT; t++)
		if (!h->tiers[t].name)
			h->tiers[t].name = g_strdup("-");
}

static void state_done(struct state *s)
{
	for (uint32_t i = 0; s->names && i < s->map->extent.regions; i++)
		g_free(s->names[i]);
	g_free(s->names);
	g_free(s->sizes);
	g_free(s->first);
	g_free(s->granules);
	g_free(s->level);
	g_free(s->tier);
	g_free(s->region_row);
	g_free(s->region_events);
	g_free(s->region_now);
	g_free(s->region_since);
	g_free(s->row_now);
	g_free(s->row_tiers);
}

static void make_state(struct state *s)
{
	uint32_t n = s->map->extent.regions, at = 0;

	s->first = g_new0(uint32_t, n);
	s->granules = g_new0(uint32_t, n);
	s->region_row = g_new0(uint32_t, n);
	s->region_events = g_new0(uint64_t, n);
	s->region_now = g_new0(uint64_t, n);
	s->region_since = g_new0(uint64_t, n);
	s->names = g_new0(char *, n);
	s->level = g_malloc0(s->map->extent.granules);
	s->tier = g_malloc(s->map->extent.granules);
	memset(s->tier, PLAN_ABSENT, s->map->extent.granules);
	for (uint32_t i = 0; i < n; i++) {
		s->first[i] = at;
		at += s->sizes[i];
	}
}

/* As before anything was read. */
static void reset_state(struct state *s)
{
	struct heatmap *h = s->map;

	memset(s->granules, 0, h->extent.regions * sizeof(*s->granules));
	memset(s->level, 0, h->extent.granules);
	memset(s->tier, PLAN_ABSENT, h->extent.granules);
	s->row_now = g_new0(uint64_t, h->rows->len);
	s->row_tiers = g_new0(uint32_t, (uint64_t)h->rows->len * (PLAN_ABSENT + 1));
	for (uint32_t i = 0; i < h->rows->len; i++)
		s->row_tiers[(uint64_t)i * (PLAN_ABSENT + 1) + PLAN_ABSENT] =
			row_at(h, i)->granules;
}

int heatmap_new(const void *data, uint64_t size, uint32_t regions, uint32_t rows, uint32_t columns,
		struct heatmap **ret)
{
	struct heatmap *h = g_new0(struct heatmap, 1);
	struct state s = { .map = h };
	g_autofree double *column_seconds = NULL;
	struct trace_reader reader;
	uint64_t cells;
	int r;

	h->regions = g_array_new(FALSE, TRUE, sizeof(struct heatmap_region));
	g_array_set_clear_func(h->regions, region_clear);
	h->rows = g_array_new(FALSE, TRUE, sizeof(struct heatmap_row));
	s.sizes = g_new0(uint32_t, TRACE_REGIONS_MAX);
	r = replay_scan(data, size, s.sizes, &h->extent);
	if (r >= 0)
		r = trace_open(&reader, data, size);
	if (r >= 0 && h->extent.rounds == 0)
		r = -ENODATA;
	if (r < 0) {
		state_done(&s);
		heatmap_free(h);
		return r;
	}
	h->header = reader.header;
	h->n_tiers = h->extent.tiers;
	h->length_ms = h->extent.clock_ms + h->header.period_ms;
	make_state(&s);
	/* Once for sums, by which it is chosen what is shown. */
	read_all(&s, data, size, NULL);
	choose_regions(&s, regions);
	make_rows(&s, rows, h->regions->len == regions && h->extent.regions > regions);
	h->columns = (uint32_t)MIN(columns, h->extent.rounds);
	cells = (uint64_t)h->rows->len * h->columns;
	h->rate = g_new0(double, cells);
	h->tier = g_malloc0(cells + 1);
	h->by_tier = g_new0(double, (uint64_t)h->columns *(PLAN_ABSENT + 1));
	h->begin_ms = g_new(uint64_t, h->columns + 1);
	for (uint32_t c = 0; c < h->columns; c++)
		h->begin_ms[c] = UINT64_MAX;
	h->begin_ms[h->columns] = h->length_ms;
	column_seconds = g_new0(double, h->columns);
	reset_state(&s);
	read_all(&s, data, size, column_seconds);
	finish(h, column_seconds);
	state_done(&s);
	*ret = h;
	return 0;
}

/* ---- what both forms say ---- */

unsigned int heatmap_level(const struct heatmap *h, double rate, unsigned int levels)
{
	double place;

	if (rate <= 0)
		return 0;
	place = (1 + log10(rate / h->highest) / h->decades) * levels;
	return place < 1 ? 1 : (unsigned int)MIN(place + 1, levels);
}

double heatmap_level_rate(const struct heatmap *h, unsigned int level, unsigned int levels)
{
	return h->highest * pow(10, ((double)(level - 1) / levels - 1) * h->decades);
}

char *heatmap_format_rate(double rate)
{
	static const char *const units[] = { "", "k", "M", "G", "T" };
	unsigned int i = 0;

	for (; rate >= 999.5 && i + 1 < G_N_ELEMENTS(units); i++)
		rate /= 1000;
	return g_strdup_printf(rate < 9.95 ? "%.1f%s" : "%.0f%s", rate, units[i]);
}

char *heatmap_short_name(const char *name, unsigned int n)
{
	g_autofree char *safe = escape(name), *cut = NULL;

	if (g_utf8_strlen(safe, -1) <= n)
		return g_steal_pointer(&safe);
	cut = g_utf8_substring(safe, 0, n - 2);
	return g_strconcat(cut, "..", NULL);
}

char *heatmap_summary(const struct heatmap *h)
{
	g_autofree char *lasts = format_duration((double)h->length_ms / 1000);
	g_autofree char *watched =
		format_bytes((uint64_t)(h->extent.regions ? h->extent.granules : 0) * HEAT_GRANULE);

	return g_strdup_printf("%" G_GUINT64_FORMAT
			       " rounds in %s, %u morsels, %s; the trace is %s",
			       h->extent.rounds, lasts, h->extent.regions, watched,
			       trace_end_text(h->extent.end));
}
