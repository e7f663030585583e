// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "cli.h"

static char *format_tier(const json_t *range)
{
	const char *tier = get_string(range, "tier");

	return g_strdup(tier[0] ? tier : "-");
}

static void print_ranges(json_t *ranges)
{
	struct table *t = table_new();
	bool sampled = false;
	json_t *range;
	size_t i;

	table_column_right(t, "OFFSET");
	table_column_right(t, "LENGTH");
	table_column(t, "TIER");
	table_column_right(t, "PRESENT");
	table_column(t, "NODES");
	table_column(t, "RULE");
	table_column(t, "SINCE");
	table_column(t, "REASON");
	json_array_foreach(ranges, i, range)
	{
		json_t *nodes = get_object(range, "nodes"), *bytes;
		GString *list = g_string_new(NULL);
		const char *node;

		json_object_foreach(nodes, node, bytes)
		{
			g_autofree char *amount = format_bytes((uint64_t)json_integer_value(bytes));

			g_string_append_printf(list, "%s%s", list->len ? ", " : "", node);
			/* One node has all that is present. */
			if (json_object_size(nodes) > 1)
				g_string_append_printf(list, ": %s", amount);
		}
		table_row(t);
		table_cell_take(t, format_bytes(get_u64(range, "offset_bytes")));
		table_cell_take(t, format_bytes(get_u64(range, "length_bytes")));
		table_cell_take(t, format_tier(range));
		table_cell_take(t, format_bytes(get_u64(range, "present_bytes")));
		table_cell_take(t, g_string_free(list, FALSE));
		table_cell(t, get_string(range, "rule"));
		table_cell_take(t, format_time(get_u64(range, "since_usec")));
		table_cell(t, get_string(range, "reason"));
		sampled |= get_bool(range, "sampled");
	}
	table_print_free(t);
	if (sampled)
		puts("\nSome ranges are estimated from samples; --exact looks at every page.");
}

static int run_explain(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autofree char *range = NULL;
	gboolean exact = FALSE;
	const GOptionEntry entries[] = {
		{ "exact", 0, 0, G_OPTION_ARG_NONE, &exact,
		  "Look at every page, where it is large too", NULL },
		{ "range", 0, 0, G_OPTION_ARG_STRING, &range, "Only the bytes from A up to B",
		  "A:B" },
		{ NULL },
	};
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	g_autoptr(json_t) ranges = NULL;
	g_auto(GStrv) arguments = NULL;
	uint64_t offset = 0, length = 0;
	int r, status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status == STATUS_OK && range)
		status = cli_parse_range(verb, range, &offset, &length);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status == STATUS_OK)
		status = cli_message(cli, "Explain", &m);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "s", arguments[0]);
	if (r >= 0)
		r = options_open(m);
	if (r >= 0 && range)
		r = options_u64(m, "offset", offset);
	if (r >= 0 && length)
		r = options_u64(m, "length", length);
	if (r >= 0 && exact)
		r = options_bool(m, "exact", true);
	if (r >= 0)
		r = options_close(m);
	if (r < 0)
		return cli_fail_message("Explain", r);
	status = cli_call_slow(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, &ranges);
	if (r < 0)
		return cli_fail_message("Explain", r);
	if (cli->json)
		print_json(ranges);
	else
		print_ranges(ranges);
	return STATUS_OK;
}

const struct verb verb_explain = {
	.name = "explain",
	.arguments = "MORSEL",
	.summary = "For each range of a morsel: on which tier it lies, and why",
	.min = 1,
	.max = 1,
	.run = run_explain,
};
