// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const char *source_or_unknown(const json_t *perf, const char *key)
{
	const char *s = get_string(perf, key);

	return s[0] ? s : "unknown";
}

/* "hmat", or "hmat/measured" where latency and bandwidth come from different places. */
static char *format_source(const json_t *perf)
{
	const char *latency = source_or_unknown(perf, "latency_source");
	const char *bandwidth = source_or_unknown(perf, "bandwidth_source");

	if (strcmp(latency, bandwidth) == 0)
		return g_strdup(latency);
	return g_strdup_printf("%s/%s", latency, bandwidth);
}

static char *format_latency(uint64_t ns)
{
	return ns ? g_strdup_printf("%" PRIu64 " ns", ns) : g_strdup("-");
}

/* Smaller is nearer: the known latency, else the firmware's distance. */
static uint64_t nearness(const json_t *perf)
{
	uint64_t latency = get_u64(perf, "read_latency_ns"), distance = get_u64(perf, "distance");

	/* A latency that is known beats any distance. */
	return latency ? latency : UINT64_C(1) << 32 | distance;
}

static json_t *nearest(json_t *initiators)
{
	json_t *perf, *best = NULL;
	size_t i;

	json_array_foreach(initiators, i, perf) if (!best || nearness(perf) < nearness(best))
		best = perf;
	return best;
}

static json_t *from_node(json_t *initiators, int64_t node)
{
	json_t *perf;
	size_t i;

	json_array_foreach(initiators, i, perf) if (get_i64(perf, "node") == node) return perf;
	return NULL;
}

static bool same_numbers(const json_t *a, const json_t *b)
{
	return nearness(a) == nearness(b) &&
	       get_u64(a, "read_bandwidth_mbs") == get_u64(b, "read_bandwidth_mbs");
}

/* "node 0", or all nodes from which it looks the same. */
static char *format_from(json_t *initiators, const json_t *chosen)
{
	GString *s = g_string_new(NULL);
	json_t *perf;
	size_t i;

	json_array_foreach(initiators, i, perf) if (same_numbers(perf, chosen))
		g_string_append_printf(s, "%s%" PRId64, s->len ? "," : "", get_i64(perf, "node"));
	g_string_prepend(s, strchr(s->str, ',') ? "nodes " : "node ");
	return g_string_free(s, FALSE);
}

/* Nodes, and devices that are pools. */
static bool knows_free(const json_t *tier)
{
	return strcmp(get_string(tier, "backing"), "node") == 0 || get_string(tier, "storage")[0];
}

static char *format_backing(const json_t *tier)
{
	json_t *nodes = get_array(tier, "nodes");
	const char *device = get_string(tier, "device");
	const char *backing = get_string(tier, "backing");
	g_autofree char *list = format_integers(nodes);

	if (strcmp(backing, "node") == 0)
		return g_strdup_printf("node%s %s", json_array_size(nodes) > 1 ? "s" : "", list);
	return g_strdup_printf("%s %s", backing, device[0] ? device : "-");
}

static void print_tier_notes(json_t *tiers)
{
	bool first = true;
	size_t i, k;
	json_t *tier;

	json_array_foreach(tiers, i, tier)
	{
		json_t *warnings = get_array(tier, "warnings"), *warning;
		g_autofree char *name = escape(get_string(tier, "name"));
		g_autofree char *state = escape(get_string(tier, "state"));
		g_autofree char *reason = escape(get_string(tier, "state_reason"));

		if (reason[0]) {
			printf("%s%s is %s: %s\n", first ? "\n" : "", name, state, reason);
			first = false;
		}
		json_array_foreach(warnings, k, warning)
		{
			const char *raw = json_string_value(warning);
			g_autofree char *text = escape(raw ? raw : "");

			printf("%s%s: %s\n", first ? "\n" : "", name, text);
			first = false;
		}
	}
}

static void print_tiers(json_t *tiers, int from)
{
	struct table *t = table_new();
	bool unknown = false;
	json_t *tier;
	size_t i;

	table_column(t, "NAME");
	table_column(t, "KIND");
	table_column(t, "STATE");
	table_column_right(t, "CAPACITY");
	table_column_right(t, "FREE");
	table_column_right(t, "LATENCY");
	table_column_right(t, "BANDWIDTH");
	table_column(t, "FROM");
	table_column(t, "SOURCE");
	table_column(t, "EVIDENCE");
	table_column(t, "BACKING");
	json_array_foreach(tiers, i, tier)
	{
		json_t *initiators = get_array(tier, "initiators");
		json_t *perf = from >= 0 ? from_node(initiators, from) : nearest(initiators);
		bool has_pages = knows_free(tier);

		table_row(t);
		table_cell(t, get_string(tier, "name"));
		table_cell(t, get_string(tier, "kind"));
		table_cell(t, get_string(tier, "state"));
		table_cell_take(t, format_bytes(get_u64(tier, "capacity_bytes")));
		table_cell_take(t, has_pages ? format_bytes(get_u64(tier, "free_bytes"))
					     : g_strdup("-"));
		table_cell_take(t, format_latency(get_u64(perf, "read_latency_ns")));
		table_cell_take(t, format_bandwidth(get_u64(perf, "read_bandwidth_mbs")));
		table_cell_take(t, perf ? format_from(initiators, perf) : g_strdup("-"));
		table_cell_take(t, perf ? format_source(perf) : g_strdup("-"));
		table_cell(t, get_string(tier, "evidence"));
		table_cell_take(t, format_backing(tier));
		unknown |= perf && !get_u64(perf, "read_latency_ns");
	}
	table_print_free(t);
	print_tier_notes(tiers);
	if (json_array_size(tiers) > 0)
		printf("\nLatency and bandwidth: reading, from %s. All numbers: morselctl tier show "
		       "TIER.%s\n",
		       from >= 0 ? "the node asked for" : "the nearest node with CPUs",
		       unknown ? "\nWhere they are unknown, the firmware (HMAT, CDAT) has no number, and none is "
				 "configured."
			       : "");
}

static int run_tiers(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	int from = -1;
	const GOptionEntry entries[] = {
		{ "from", 0, 0, G_OPTION_ARG_INT, &from,
		  "Latency and bandwidth as seen from this node (default: the nearest)", "NODE" },
		{ NULL },
	};
	g_auto(GStrv) arguments = NULL;
	g_autoptr(json_t) tiers = NULL;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status != STATUS_OK)
		return status;
	if (from < -1)
		return cli_usage(verb, "--from: %d is no node", from);
	status = cli_connect(cli);
	if (status == STATUS_OK)
		status = cli_get(cli, "ListTiers", &tiers);
	if (status != STATUS_OK)
		return status;
	if (cli->json)
		print_json(tiers);
	else
		print_tiers(tiers, from);
	return STATUS_OK;
}

const struct verb verb_tiers = {
	.name = "tiers",
	.summary = "The kinds of memory, what they are and what is free",
	.description =
		"KIND is what the memory is, EVIDENCE what that was concluded from; without any, a node\n"
		"without CPUs is 'memory-only'. BACKING is where the memory comes from.",
	.run = run_tiers,
};

static void print_field(const char *name, const char *value)
{
	g_autofree char *safe = escape(value);

	printf("%-13s %s\n", name, safe);
}

static void print_field_take(const char *name, char *value)
{
	print_field(name, value);
	g_free(value);
}

static void print_initiators(json_t *initiators)
{
	struct table *t = table_new();
	json_t *perf;
	size_t i;

	table_column_right(t, "FROM NODE");
	table_column_right(t, "RANK");
	table_column_right(t, "DISTANCE");
	table_column_right(t, "READ");
	table_column_right(t, "WRITE");
	table_column(t, "SOURCE");
	table_column_right(t, "READ");
	table_column_right(t, "WRITE");
	table_column(t, "SOURCE");
	json_array_foreach(initiators, i, perf)
	{
		uint64_t distance = get_u64(perf, "distance");

		table_row(t);
		table_cell_take(t, g_strdup_printf("%" PRId64, get_i64(perf, "node")));
		table_cell_take(t, g_strdup_printf("%" PRIu64, get_u64(perf, "rank")));
		table_cell_take(t,
				distance ? g_strdup_printf("%" PRIu64, distance) : g_strdup("-"));
		table_cell_take(t, format_latency(get_u64(perf, "read_latency_ns")));
		table_cell_take(t, format_latency(get_u64(perf, "write_latency_ns")));
		table_cell(t, source_or_unknown(perf, "latency_source"));
		table_cell_take(t, format_bandwidth(get_u64(perf, "read_bandwidth_mbs")));
		table_cell_take(t, format_bandwidth(get_u64(perf, "write_bandwidth_mbs")));
		table_cell(t, source_or_unknown(perf, "bandwidth_source"));
	}
	table_print_free(t);
}

static void print_tier(json_t *tier)
{
	json_t *initiators = get_array(tier, "initiators"), *warnings = get_array(tier, "warnings");
	const char *detail = get_string(tier, "evidence_detail");
	const char *reason = get_string(tier, "state_reason");
	const char *storage = get_string(tier, "storage");
	int64_t target = get_i64(tier, "target_node"), level = get_i64(tier, "memory_tier");
	json_t *warning;
	size_t i;

	print_field("Name:", get_string(tier, "name"));
	print_field("Kind:", get_string(tier, "kind"));
	print_field_take("Evidence:", g_strdup_printf("%s%s%s", get_string(tier, "evidence"),
						      detail[0] ? ": " : "", detail));
	print_field_take("State:", g_strdup_printf("%s%s%s", get_string(tier, "state"),
						   reason[0] ? ": " : "", reason));
	print_field_take("Backing:", format_backing(tier));
	if (target >= 0)
		print_field_take("Target node:", g_strdup_printf("%" PRId64, target));
	print_field_take("Capacity:", format_bytes(get_u64(tier, "capacity_bytes")));
	if (knows_free(tier))
		print_field_take("Free:", format_bytes(get_u64(tier, "free_bytes")));
	if (level >= 0)
		print_field_take("Kernel tier:", g_strdup_printf("memory_tier%" PRId64, level));
	print_field("Storage:", storage[0] ? storage : "none can use it as it is");
	json_array_foreach(warnings, i, warning) print_field(
		"Warning:", json_string_value(warning) ? json_string_value(warning) : "");
	if (json_array_size(initiators) > 0) {
		puts("\nLatency, then bandwidth, by the node whose CPUs ask (rank 0: its best tier):");
		print_initiators(initiators);
	}
}

static int run_tier_show(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_auto(GStrv) arguments = NULL;
	g_autoptr(json_t) tiers = NULL;
	json_t *tier;
	size_t i;
	int status;

	status = cli_parse(cli, verb, NULL, argc, argv, &arguments);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status == STATUS_OK)
		status = cli_get(cli, "ListTiers", &tiers);
	if (status != STATUS_OK)
		return status;
	json_array_foreach(tiers, i, tier)
	{
		if (strcmp(get_string(tier, "name"), arguments[0]) != 0)
			continue;
		if (cli->json)
			print_json(tier);
		else
			print_tier(tier);
		return STATUS_OK;
	}
	return cli_fail(STATUS_NO_OBJECT, "no tier '%s'; morselctl tiers lists them", arguments[0]);
}

const struct verb verb_tier_show = {
	.name = "tier show",
	.arguments = "TIER",
	.summary = "All about one tier, with its numbers from every node",
	.min = 1,
	.max = 1,
	.run = run_tier_show,
};
