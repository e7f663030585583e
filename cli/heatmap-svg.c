// SPDX-License-Identifier: GPL-2.0-or-later
#include <math.h>
#include <string.h>

#include "cli.h"
#include "heatmap.h"

/* Pixels. Wide enough for a page, small enough for a screen. */
#define WIDTH 1000
#define LEFT 150
#define RIGHT 860
#define MAP_WIDTH (RIGHT - LEFT)
#define TOP 92
#define MAP_HEIGHT 300
#define SHARE_HEIGHT 110
#define PANEL_GAP 74

#define LEVELS 24

/* Lightness falls all the way from cold to hot, so that grey paper shows the same. */
static const uint8_t stops[][3] = {
	{ 255, 243, 199 }, { 249, 190, 85 }, { 228, 107, 44 }, { 166, 32, 54 }, { 58, 12, 58 }
};
/* Of tiers, the nearest first: they differ in lightness, too. */
static const char *const tier_colours[] = { "#173f5f", "#3c9d9b", "#f2c14e", "#b23a48",
					    "#8fb8de", "#6b4e71", "#a3a380", "#444444" };

static void colour_of(unsigned int level, char text[static 8])
{
	double place = (double)(level - 1) / (LEVELS - 1) * (double)(G_N_ELEMENTS(stops) - 1);
	unsigned int i = MIN((unsigned int)place, (unsigned int)G_N_ELEMENTS(stops) - 2);
	double part = place - i;
	unsigned int c[3];

	for (unsigned int k = 0; k < 3; k++)
		c[k] = (unsigned int)lround(stops[i][k] + part * (stops[i + 1][k] - stops[i][k]));
	g_snprintf(text, 8, "#%02x%02x%02x", c[0], c[1], c[2]);
}

struct svg {
	GString *s;
	const struct heatmap *h;
	double *row_y; /* [rows + 1], from the map's top; a gap stands before each morsel but the first */
	double height;
	unsigned int order[PLAN_ABSENT]; /* tiers, the nearest first */
};

/* ---- geometry ---- */

static const struct heatmap_row *row_at(const struct heatmap *h, uint32_t i)
{
	return &g_array_index(h->rows, struct heatmap_row, i);
}

static const struct heatmap_region *region_at(const struct heatmap *h, uint32_t i)
{
	return &g_array_index(h->regions, struct heatmap_region, i);
}

static double x_of(const struct heatmap *h, uint64_t ms)
{
	/* Whole pixels: nothing shines through between columns. */
	return LEFT + floor((double)ms / (double)h->length_ms * MAP_WIDTH);
}

#define REGION_GAP 4
#define REGION_LEAST 16 /* a line of text */

/* Heights by granules, but none too small for its name. */
static void lay_out(struct svg *v)
{
	const struct heatmap *h = v->h;
	double granules = 0, room, y = 0;

	for (uint32_t i = 0; i < h->regions->len; i++)
		granules += region_at(h, i)->granules;
	room = MAX(0, MAP_HEIGHT - (double)h->regions->len * (REGION_LEAST + REGION_GAP));
	v->row_y = g_new0(double, h->rows->len + 1);
	for (uint32_t i = 0; i < h->regions->len; i++) {
		const struct heatmap_region *r = region_at(h, i);
		double height = REGION_LEAST + room * r->granules / granules;

		if (i > 0)
			y += REGION_GAP;
		for (uint32_t k = 0; k < r->rows; k++)
			/* Whole pixels: nothing shines through between rows. */
			v->row_y[r->row + k] =
				floor(y + height * row_at(h, r->row + k)->first / r->granules);
		y = floor(y + height);
	}
	v->row_y[h->rows->len] = v->height = MAX(y, REGION_LEAST);
}

static double row_end(const struct svg *v, uint32_t i)
{
	const struct heatmap_row *row = row_at(v->h, i);
	bool last = i + 1 == v->h->rows->len || row_at(v->h, i + 1)->region != row->region;

	return v->row_y[i + 1] - (last && i + 1 < v->h->rows->len ? REGION_GAP : 0);
}

/* ---- pieces ---- */

G_GNUC_PRINTF(5, 6)
static void text(struct svg *v, double x, double y, const char *attributes, const char *format, ...)
{
	g_autofree char *plain = NULL, *safe = NULL;
	va_list ap;

	va_start(ap, format);
	plain = g_strdup_vprintf(format, ap);
	va_end(ap);
	safe = g_markup_escape_text(plain, -1);
	g_string_append_printf(v->s, "<text x=\"%.1f\" y=\"%.1f\"%s%s>%s</text>\n", x, y,
			       attributes[0] ? " " : "", attributes, safe);
}

static void line(struct svg *v, double x1, double y1, double x2, double y2)
{
	g_string_append_printf(v->s, "<path d=\"M%.1f %.1fL%.1f %.1f\" class=\"line\"/>\n", x1, y1,
			       x2, y2);
}

/* Seconds between marks of the time axis: eight of them at most. */
static uint64_t tick_seconds(uint64_t length_ms)
{
	static const uint32_t nice[] = { 1,   2,   5,	 10,   15,   30,    60,	   120,	  300,
					 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400 };

	for (size_t i = 0; i < G_N_ELEMENTS(nice); i++)
		if (length_ms / 1000 / nice[i] <= 8)
			return nice[i];
	return (length_ms / 1000 / 86400 / 8 + 1) * 86400;
}

static void time_axis(struct svg *v, double y, bool named)
{
	uint64_t step = tick_seconds(v->h->length_ms);

	for (uint64_t t = 0; t * 1000 <= v->h->length_ms; t += step) {
		g_autofree char *label = format_duration((double)t);
		double x = x_of(v->h, t * 1000);

		line(v, x, y, x, y + 4);
		text(v, x, y + 17, "text-anchor=\"middle\"", "%s", label);
	}
	if (named)
		text(v, (LEFT + RIGHT) / 2.0, y + 35, "text-anchor=\"middle\"",
		     "time since the recording began (%s)",
		     v->h->length_ms >= 3600000 ? "h:mm:ss" : "min:s");
}

/* The name, and offsets where there is room for them. */
static void region_labels(struct svg *v, double top)
{
	for (uint32_t i = 0; i < v->h->regions->len; i++) {
		const struct heatmap_region *r = region_at(v->h, i);
		g_autofree char *name = heatmap_short_name(r->name, 18), *whole = escape(r->name);
		g_autofree char *safe = g_markup_escape_text(name, -1);
		g_autofree char *title = g_markup_escape_text(whole, -1);
		g_autofree char *size = format_bytes((uint64_t)r->granules * HEAT_GRANULE);
		double from = top + v->row_y[r->row], to = top + row_end(v, r->row + r->rows - 1);
		double middle = (from + to) / 2;
		bool large = to - from >= 44;

		g_string_append_printf(v->s,
				       "<g class=\"morsel\"><title>%s, %s</title><text x=\"%d\" "
				       "y=\"%.1f\" text-anchor=\"end\">%s</text></g>\n",
				       title, size, LEFT - 8, middle + 4, safe);
		if (large) {
			text(v, LEFT - 8, from + 10, "class=\"small\" text-anchor=\"end\"", "0");
			text(v, LEFT - 8, to, "class=\"small\" text-anchor=\"end\"", "%s", size);
		}
		g_string_append_printf(v->s,
				       "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" "
				       "class=\"frame\"/>\n",
				       LEFT, from, MAP_WIDTH, to - from);
	}
}

/* All cells of one colour are one path: neighbours in time are one piece of it. */
static void cells(struct svg *v, double top, unsigned int value, const char *class,
		  const char *colour, unsigned int (*of)(const struct heatmap *h, uint64_t at))
{
	const struct heatmap *h = v->h;
	g_autoptr(GString) d = g_string_new(NULL);

	for (uint32_t i = 0; i < h->rows->len; i++) {
		double y = top + v->row_y[i], height = row_end(v, i) - v->row_y[i];

		for (uint32_t c = 0, n; c < h->columns; c += n) {
			double x = x_of(h, h->begin_ms[c]), end;

			n = 1;
			if (height <= 0)
				continue;
			if (of(h, (uint64_t)i * h->columns + c) != value)
				continue;
			while (c + n < h->columns &&
			       of(h, (uint64_t)i * h->columns + c + n) == value)
				n++;
			end = x_of(h, h->begin_ms[c + n]);
			g_string_append_printf(d, "M%.1f %.1fh%.1fv%.1fh%.1fz", x, y, end - x,
					       height, x - end);
		}
	}
	if (d->len > 0)
		g_string_append_printf(v->s, "<path class=\"%s\" fill=\"%s\" d=\"%s\"/>\n", class,
				       colour, d->str);
}

static unsigned int heat_of(const struct heatmap *h, uint64_t at)
{
	return heatmap_level(h, h->rate[at], LEVELS);
}

static unsigned int tier_of(const struct heatmap *h, uint64_t at)
{
	return h->tier[at];
}

/* ---- panels ---- */

static void heat_legend(struct svg *v, double top)
{
	double height = MIN(MAX(v->height, 120), 220), step = height / LEVELS;
	char colour[8];

	text(v, RIGHT + 18, top + 4, "class=\"small\"", "accesses a second");
	text(v, RIGHT + 18, top + 17, "class=\"small\"", "of each 2 MiB");
	top += 30;
	for (unsigned int l = 1; l <= LEVELS; l++) {
		colour_of(l, colour);
		g_string_append_printf(v->s,
				       "<rect x=\"%d\" y=\"%.1f\" width=\"16\" height=\"%.1f\" "
				       "fill=\"%s\"/>\n",
				       RIGHT + 18, top + height - l * step, step + 0.2, colour);
	}
	for (unsigned int l = 1; l <= LEVELS + 1; l += LEVELS / 4) {
		g_autofree char *rate = heatmap_format_rate(heatmap_level_rate(v->h, l, LEVELS));
		double y = top + height - (l - 1) * step;

		line(v, RIGHT + 34, y, RIGHT + 38, y);
		text(v, RIGHT + 42, y + 4, "class=\"small\"", "%s%s", l == 1 ? "\xe2\x89\xa4 " : "",
		     rate);
	}
	g_string_append_printf(v->s,
			       "<rect x=\"%d\" y=\"%.1f\" width=\"16\" height=\"12\" "
			       "class=\"frame\"/>\n",
			       RIGHT + 18, top + height + 8);
	text(v, RIGHT + 42, top + height + 18, "class=\"small\"", "none");
}

static const char *tier_colour(const struct svg *v, unsigned int tier)
{
	for (unsigned int i = 0; i < v->h->n_tiers; i++)
		if (v->order[i] == tier)
			return tier_colours[i % G_N_ELEMENTS(tier_colours)];
	return "#ffffff";
}

static void tier_legend(struct svg *v, double top)
{
	text(v, RIGHT + 18, top + 4, "class=\"small\"", "tier, and its share");
	text(v, RIGHT + 18, top + 17, "class=\"small\"", "of all accesses");
	top += 30;
	for (unsigned int i = 0; i < v->h->n_tiers; i++, top += 34) {
		const struct heatmap_tier *t = &v->h->tiers[v->order[i]];
		g_autofree char *name = heatmap_short_name(t->name, 14);

		g_string_append_printf(v->s,
				       "<rect x=\"%d\" y=\"%.1f\" width=\"16\" height=\"14\" "
				       "fill=\"%s\"/>\n",
				       RIGHT + 18, top, tier_colour(v, v->order[i]));
		text(v, RIGHT + 40, top + 11, "", "%s", name);
		if (t->latency_ns > 0)
			text(v, RIGHT + 40, top + 25, "class=\"small\"", "%.1f %%, %u ns",
			     v->h->accesses > 0 ? 100 * t->accesses / v->h->accesses : 0,
			     t->latency_ns);
		else
			text(v, RIGHT + 40, top + 25, "class=\"small\"", "%.1f %%",
			     v->h->accesses > 0 ? 100 * t->accesses / v->h->accesses : 0);
	}
}

/* Shares of accesses by tier, the nearest at the bottom. */
static void shares(struct svg *v, double top)
{
	const struct heatmap *h = v->h;
	g_autofree double *base = g_new0(double, h->columns);

	for (unsigned int i = 0; i < h->n_tiers; i++) {
		g_autoptr(GString) d = g_string_new(NULL);

		for (uint32_t c = 0; c < h->columns; c++) {
			const double *by = &h->by_tier[(uint64_t)c * (PLAN_ABSENT + 1)];
			double all = 0, x = x_of(h, h->begin_ms[c]);
			double end = x_of(h, h->begin_ms[c + 1]), part;

			for (unsigned int t = 0; t <= PLAN_ABSENT; t++)
				all += by[t];
			part = all > 0 ? by[v->order[i]] / all * SHARE_HEIGHT : 0;
			if (part <= 0)
				continue;
			g_string_append_printf(d, "M%.1f %.2fh%.1fv%.2fh%.1fz", x,
					       top + SHARE_HEIGHT - base[c] - part, end - x, part,
					       x - end);
			base[c] += part;
		}
		if (d->len > 0)
			g_string_append_printf(v->s,
					       "<path class=\"share\" fill=\"%s\" d=\"%s\"/>\n",
					       tier_colour(v, v->order[i]), d->str);
	}
	g_string_append_printf(
		v->s, "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\" class=\"frame\"/>\n",
		LEFT, top, MAP_WIDTH, SHARE_HEIGHT);
	for (unsigned int p = 0; p <= 100; p += 50) {
		double y = top + SHARE_HEIGHT * (100 - p) / 100.0;

		line(v, LEFT - 4, y, LEFT, y);
		text(v, LEFT - 8, y + 4, "text-anchor=\"end\"", "%u %%", p);
	}
}

static void sort_tiers(struct svg *v)
{
	for (unsigned int i = 0; i < v->h->n_tiers; i++) {
		unsigned int k = i;

		/* Those of unknown latency last. */
		for (; k > 0 && v->h->tiers[v->order[k - 1]].latency_ns - 1u >
					v->h->tiers[i].latency_ns - 1u;
		     k--)
			v->order[k] = v->order[k - 1];
		v->order[k] = i;
	}
}

char *heatmap_svg(const struct heatmap *h, const char *title)
{
	struct svg v = { .s = g_string_new(NULL), .h = h };
	g_autofree char *name = heatmap_short_name(title, 80), *whole = escape(title);
	g_autofree char *safe = g_markup_escape_text(whole, -1), *summary = heatmap_summary(h);
	g_autofree char *began = format_time(h->header.created * UINT64_C(1000000));
	double heat_top = TOP, place_top, share_top, height;
	char colour[8];

	sort_tiers(&v);
	lay_out(&v);
	place_top = heat_top + v.height + PANEL_GAP;
	share_top = place_top + MAX(v.height, 34.0 * h->n_tiers - 40) + PANEL_GAP;
	height = share_top + SHARE_HEIGHT + 50;
	g_string_append_printf(
		v.s,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" "
		"viewBox=\"0 0 %d %.0f\">\n"
		"<title>%s</title>\n"
		"<style>text{font:12px sans-serif;fill:#222}.title{font-size:18px;"
		"font-weight:bold}.panel{font-size:14px;font-weight:bold}"
		".small{font-size:11px;fill:#444}.line{stroke:#666;fill:none}"
		".frame{fill:none;stroke:#888}.heat,.place,.share{shape-rendering:crispEdges}"
		"</style>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		WIDTH, height, WIDTH, height, safe);
	text(&v, 20, 30, "class=\"title\"", "%s", name);
	text(&v, 20, 50, "class=\"small\"", "%s%s%s", summary,
	     h->header.created ? "; recorded " : "", h->header.created ? began : "");

	text(&v, LEFT, heat_top - 10, "class=\"panel\"", "Accesses");
	for (unsigned int l = 1; h->highest > 0 && l <= LEVELS; l++) {
		colour_of(l, colour);
		cells(&v, heat_top, l, "heat", colour, heat_of);
	}
	region_labels(&v, heat_top);
	time_axis(&v, heat_top + v.height, false);
	if (h->highest > 0)
		heat_legend(&v, heat_top);

	text(&v, LEFT, place_top - 10, "class=\"panel\"", "Placement");
	for (unsigned int t = 0; t < h->n_tiers; t++)
		cells(&v, place_top, t, "place", tier_colour(&v, t), tier_of);
	region_labels(&v, place_top);
	time_axis(&v, place_top + v.height, false);
	tier_legend(&v, place_top);

	text(&v, LEFT, share_top - 10, "class=\"panel\"", "Share of accesses to each tier");
	shares(&v, share_top);
	time_axis(&v, share_top + SHARE_HEIGHT, true);
	g_string_append(v.s, "</svg>\n");
	g_free(v.row_y);
	return g_string_free(v.s, FALSE);
}
