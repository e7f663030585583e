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

/* --- a cgroup -------------------------------------------------------------------------------- */

static double ms(const json_t *placement, const char *key)
{
	return (double)get_i64(placement, key) / 1e6;
}

static void print_cgroup(json_t *policy, json_t *placement)
{
	json_t *problem;
	size_t i;

	print_policy(policy);
	if (get_bool(placement, "active"))
		putchar('\n');
	if (json_array_size(get_array(placement, "morsels")) > 0)
		table_print_free(morsels_table(placement));
	else if (get_bool(placement, "active"))
		puts("None of the morsels that are watched is of this cgroup (or none that you may see).");
	if (!get_bool(placement, "active"))
		puts("\nNothing is moved by itself: that is for morsels of the kernel module whose cgroup has"
		     " Migrate=on.");
	else
		printf("\nThe daemon has made %" PRIu64
		       " moves by itself, for all cgroups, in %" PRIu64 " rounds; %" PRIu64
		       " of them could be watched to the end: expected %.3f ms,"
		       " observed %.3f ms.\n"
		       "\"morselctl explain MORSEL\" says it of each range.\n",
		       get_u64(placement, "moves"), get_u64(placement, "rounds"),
		       get_u64(placement, "observed_moves"), ms(placement, "expected_gain_ns"),
		       ms(placement, "observed_gain_ns"));
	json_array_foreach(get_array(placement, "problems"), i, problem)
	{
		g_autofree char *text = escape(json_string_value(problem));

		printf("Problem: %s\n", text);
	}
}

static int explain_cgroup(struct cli *cli, const char *argument)
{
	g_autofree char *cgroup = cli_cgroup_path(argument);
	g_autoptr(json_t) policy = NULL, placement = NULL, both = NULL;
	int status = cli_get_policy(cli, cgroup, &policy);

	if (status == STATUS_OK)
		status = cli_get_placement(cli, cgroup, 1000, &placement);
	if (status != STATUS_OK)
		return status;
	if (!cli->json) {
		print_cgroup(policy, placement);
		return STATUS_OK;
	}
	both = json_object();
	json_object_set(both, "policy", policy);
	json_object_set(both, "placement", placement);
	print_json(both);
	return STATUS_OK;
}

/* --- a morsel -------------------------------------------------------------------------------- */

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
	if (status == STATUS_OK && arguments[0][0] == '/' && (range || exact))
		return cli_usage(verb, "--range and --exact are for morsels");
	if (status == STATUS_OK)
		status = cli_connect(cli);
	/* Names of morsels have no '/'. */
	if (status == STATUS_OK && arguments[0][0] == '/')
		return explain_cgroup(cli, arguments[0]);
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
	.arguments = "MORSEL|CGROUP",
	.summary = "Of each range of a morsel, or of a cgroup: where it lies, and why",
	.min = 1,
	.max = 1,
	.run = run_explain,
};
