// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "cli.h"
#include "heatmap.h"

#define NAME_WIDTH 14

static const char ramp[] = ".:-=+*%#@";
#define LEVELS (sizeof(ramp) - 1)

static char cell_heat(const struct heatmap *h, uint64_t at)
{
	unsigned int level = heatmap_level(h, h->rate[at], LEVELS);

	return level > 0 ? ramp[level - 1] : ' ';
}

static char cell_tier(const struct heatmap *h, uint64_t at)
{
	return h->tier[at] == PLAN_ABSENT ? ' ' : (char)('A' + h->tier[at]);
}

static void print_padded(GString *s, const char *text, unsigned int width)
{
	g_string_append_printf(s, "%s%*s", text, MAX(0, (int)width - (int)g_utf8_strlen(text, -1)),
			       "");
}

static void print_map(GString *s, const struct heatmap *h,
		      char (*cell)(const struct heatmap *h, uint64_t at))
{
	for (uint32_t i = 0; i < h->rows->len; i++) {
		const struct heatmap_row *row = &g_array_index(h->rows, struct heatmap_row, i);
		const struct heatmap_region *r =
			&g_array_index(h->regions, struct heatmap_region, row->region);
		g_autofree char *label = NULL;

		if (i == r->row)
			label = heatmap_short_name(r->name, NAME_WIDTH);
		else
			label = format_bytes((uint64_t)row->first * HEAT_GRANULE);
		if (i == r->row)
			print_padded(s, label, NAME_WIDTH);
		else
			g_string_append_printf(s, "%*s", NAME_WIDTH, label);
		g_string_append(s, " |");
		for (uint32_t c = 0; c < h->columns; c++)
			g_string_append_c(s, cell(h, (uint64_t)i * h->columns + c));
		g_string_append(s, "|\n");
	}
}

static void print_time(GString *s, const struct heatmap *h)
{
	g_autofree char *end = format_duration((double)h->length_ms / 1000);
	int space = (int)h->columns - 4 - (int)strlen(end);

	g_string_append_printf(s, "%*s  0:00%*s%s\n", NAME_WIDTH, "time", MAX(1, space), "", end);
}

static void print_tiers(GString *s, const struct heatmap *h)
{
	g_string_append(s, "Tiers, and the share of accesses to what was there:\n");
	for (uint32_t t = 0; t <= PLAN_ABSENT; t++) {
		const struct heatmap_tier *tier = &h->tiers[t];
		g_autofree char *name = NULL;

		if (t >= h->n_tiers && tier->accesses <= 0)
			continue;
		name = heatmap_short_name(t == PLAN_ABSENT ? "not placed" : tier->name, 40);
		g_string_append_printf(s, "  %c  ", t == PLAN_ABSENT ? ' ' : 'A' + (char)t);
		print_padded(s, name, NAME_WIDTH);
		g_string_append_printf(s, " %6.2f %%",
				       h->accesses > 0 ? 100 * tier->accesses / h->accesses : 0);
		if (tier->latency_ns > 0)
			g_string_append_printf(s, "  %u ns", tier->latency_ns);
		g_string_append_c(s, '\n');
	}
}

char *heatmap_text(const struct heatmap *h, const char *title)
{
	g_autofree char *safe = escape(title), *summary = heatmap_summary(h);
	g_autofree char *low = heatmap_format_rate(heatmap_level_rate(h, 2, LEVELS));
	g_autofree char *high = heatmap_format_rate(h->highest);
	GString *s = g_string_new(NULL);

	g_string_append_printf(s, "%s\n%s.\n\n", safe, summary);
	g_string_append(s, "Accesses\n");
	print_map(s, h, cell_heat);
	print_time(s, h);
	if (h->highest > 0)
		g_string_append_printf(
			s, "Accesses a second of 2 MiB, by logarithm: '.' below %s, '@' up to %s\n",
			low, high);
	g_string_append(s, "\nPlacement\n");
	print_map(s, h, cell_tier);
	print_time(s, h);
	print_tiers(s, h);
	return g_string_free(s, FALSE);
}
