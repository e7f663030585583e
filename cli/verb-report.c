// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "heatmap.h"

/* Of a picture, and of a terminal of 80 columns. */
static const struct limits {
	uint32_t regions, rows, columns;
} picture = { 12, 160, 240 }, terminal = { 8, 16, 62 };

static json_t *row_to_json(const struct heatmap *h, uint32_t i)
{
	const struct heatmap_row *row = &g_array_index(h->rows, struct heatmap_row, i);
	const struct heatmap_region *r =
		&g_array_index(h->regions, struct heatmap_region, row->region);
	json_t *rates = json_array(), *tiers = json_array();

	for (uint32_t c = 0; c < h->columns; c++) {
		uint64_t at = (uint64_t)i * h->columns + c;

		json_array_append_new(rates, json_integer(llround(h->rate[at])));
		json_array_append_new(tiers, json_string(h->tier[at] == PLAN_ABSENT
								 ? ""
								 : h->tiers[h->tier[at]].name));
	}
	return json_pack("{s:s, s:I, s:I, s:o, s:o}", "region", r->name, "offset_bytes",
			 (json_int_t)row->first * HEAT_GRANULE, "length_bytes",
			 (json_int_t)row->granules * HEAT_GRANULE, "accesses_per_second", rates,
			 "tiers", tiers);
}

static json_t *tier_to_json(const struct heatmap *h, unsigned int t)
{
	const struct heatmap_tier *tier = &h->tiers[t];
	double ppm = h->accesses > 0 ? tier->accesses / h->accesses * 1e6 : 0;

	return json_pack("{s:s, s:I, s:I, s:I}", "name", tier->name, "latency_ns",
			 (json_int_t)tier->latency_ns, "accesses",
			 (json_int_t)llround(tier->accesses), "ppm", (json_int_t)llround(ppm));
}

static json_t *to_json(const struct heatmap *h, const char *path)
{
	json_t *regions = json_array(), *tiers = json_array(), *rows = json_array();
	json_t *begins = json_array();

	for (uint32_t i = 0; i < h->regions->len; i++) {
		const struct heatmap_region *r =
			&g_array_index(h->regions, struct heatmap_region, i);

		json_array_append_new(regions,
				      json_pack("{s:s, s:I, s:I}", "name", r->name, "bytes",
						(json_int_t)r->granules * HEAT_GRANULE, "accesses",
						(json_int_t)llround(r->accesses)));
	}
	for (unsigned int t = 0; t < h->n_tiers; t++)
		json_array_append_new(tiers, tier_to_json(h, t));
	for (uint32_t i = 0; i < h->rows->len; i++)
		json_array_append_new(rows, row_to_json(h, i));
	for (uint32_t c = 0; c < h->columns; c++)
		json_array_append_new(begins, json_integer((json_int_t)h->begin_ms[c]));
	return json_pack("{s:{s:s, s:b, s:s, s:I, s:I}, s:I, s:I, s:o, s:o, s:o, s:o}", "trace",
			 "file", path, "complete", h->extent.end == TRACE_GOOD, "state",
			 trace_end_text(h->extent.end), "rounds", (json_int_t)h->extent.rounds,
			 "duration_ms", (json_int_t)h->length_ms, "accesses",
			 (json_int_t)llround(h->accesses), "unplaced_accesses",
			 (json_int_t)llround(h->tiers[PLAN_ABSENT].accesses), "regions", regions,
			 "tiers", tiers, "columns_ms", begins, "rows", rows);
}

static int make(const char *path, const struct limits *limits, struct heatmap **ret)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(GMappedFile) file = g_mapped_file_new(path, FALSE, &error);
	int r;

	if (!file)
		return cli_fail(STATUS_FAILED, "%s", error->message);
	r = heatmap_new(g_mapped_file_get_contents(file), g_mapped_file_get_length(file),
			limits->regions, limits->rows, limits->columns, ret);
	switch (r) {
	case 0:
		break;
	case -EOPNOTSUPP:
		return cli_fail(STATUS_FAILED, "%s was written by a later version of morsel", path);
	case -ERANGE:
		return cli_fail(STATUS_FAILED,
				"%s watches more than %u GiB, which is the most that can be drawn",
				path, REPLAY_GRANULES_MAX / 512);
	case -ENODATA:
		return cli_fail(STATUS_FAILED, "%s has no round that can be read", path);
	default:
		return cli_fail(STATUS_FAILED, "%s is no trace, or its header is damaged", path);
	}
	if ((*ret)->extent.end != TRACE_GOOD)
		cli_fail(STATUS_OK, "%s is %s; used what stands before", path,
			 trace_end_text((*ret)->extent.end));
	return STATUS_OK;
}

static int run_report(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autofree char *output = NULL, *title = NULL, *result = NULL;
	g_auto(GStrv) arguments = NULL;
	g_autoptr(GError) error = NULL;
	const GOptionEntry entries[] = {
		{ "output", 'o', 0, G_OPTION_ARG_FILENAME, &output,
		  "Draw it as SVG into FILE; '-': to the standard output", "FILE" },
		{ NULL },
	};
	struct heatmap *h = NULL;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status != STATUS_OK)
		return status;
	if (output && cli->json)
		return cli_usage(verb, "--json and --output exclude each other");
	status = make(arguments[0], output || cli->json ? &picture : &terminal, &h);
	if (status != STATUS_OK)
		return status;
	title = g_path_get_basename(arguments[0]);
	if (cli->json) {
		g_autoptr(json_t) j = to_json(h, arguments[0]);

		print_json(j);
	} else {
		result = output ? heatmap_svg(h, title) : heatmap_text(h, title);
	}
	heatmap_free(h);
	if (result && output && strcmp(output, "-") != 0) {
		if (!g_file_set_contents(output, result, -1, &error))
			return cli_fail(STATUS_FAILED, "%s", error->message);
	} else if (result) {
		fputs(result, stdout);
	}
	return STATUS_OK;
}

const struct verb verb_report = {
	.name = "report",
	.arguments = "TRACE",
	.summary = "Draw a recorded trace: what was accessed when, and where it was",
	.description =
		"Time goes to the right, the memory of morsels downwards. Text, or with --output a picture (SVG). Of\n"
		"many morsels those that are accessed most are shown one by one. Needs no daemon.",
	.min = 1,
	.max = 1,
	.run = run_report,
};
