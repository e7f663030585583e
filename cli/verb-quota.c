// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli.h"

static char *of_limit(const json_t *line, const char *what, bool bytes)
{
	g_autofree char *used_key = g_strdup_printf("%s_used", what);
	g_autofree char *limit_key = g_strdup_printf("%s_limit", what);
	uint64_t used = get_u64(line, used_key), limit = get_u64(line, limit_key);
	g_autofree char *used_text = bytes ? format_bytes(used) : g_strdup_printf("%" PRIu64, used);
	g_autofree char *limit_text = NULL;

	if (!json_object_get(line, limit_key))
		limit_text = g_strdup("-");
	else
		limit_text = bytes ? format_bytes(limit) : g_strdup_printf("%" PRIu64, limit);
	return g_strdup_printf("%s / %s", used_text, limit_text);
}

static void print_quotas(json_t *quotas)
{
	static const char *const counts[] = { "morsels", "jobs", "calls", "connections" };
	struct table *t = table_new();
	uint64_t lingering = 0;
	json_t *line;
	size_t i;

	table_column(t, "SCOPE");
	table_column(t, "NAME");
	table_column_right(t, "BYTES");
	table_column_right(t, "MORSELS");
	table_column_right(t, "JOBS");
	table_column_right(t, "CALLS");
	table_column_right(t, "CONNECTIONS");
	json_array_foreach(quotas, i, line)
	{
		table_row(t);
		table_cell(t, get_string(line, "scope"));
		table_cell(t, get_string(line, "name"));
		table_cell_take(t, of_limit(line, "bytes", true));
		for (size_t k = 0; k < G_N_ELEMENTS(counts); k++)
			table_cell_take(t, of_limit(line, counts[k], false));
		if (i == 0)
			lingering = get_u64(line, "lingering_bytes");
	}
	table_print_free(t);
	if (lingering > 0) {
		g_autofree char *bytes = format_bytes(lingering);

		printf("\n%s of it: destroyed morsels that a process still has open or mapped.\n",
		       bytes);
	}
}

/* What cgroups have of the kernel module's frames, and may have. */
static void print_tiers(json_t *quotas)
{
	struct table *t = NULL;
	json_t *line, *value;
	const char *tier;
	size_t i;

	json_array_foreach(quotas, i, line)
	{
		json_t *limits = get_object(line, "tiers_limit");

		json_object_foreach(get_object(line, "tiers_used"), tier, value)
		{
			if (!t) {
				t = table_new();
				table_column(t, "CGROUP");
				table_column(t, "TIER");
				table_column_right(t, "USED");
				table_column_right(t, "MAX");
			}
			table_row(t);
			table_cell(t, get_string(line, "name"));
			table_cell(t, tier);
			table_cell_take(t, format_bytes(json_integer_value(value)));
			table_cell_take(t, json_object_get(limits, tier)
						   ? format_bytes(get_u64(limits, tier))
						   : g_strdup("-"));
		}
	}
	if (!t)
		return;
	putchar('\n');
	table_print_free(t);
}

static int run_quota(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autofree char *user = NULL;
	const GOptionEntry entries[] = {
		{ "owner", 0, 0, G_OPTION_ARG_STRING, &user, "Of this user (for root)", "USER" },
		{ NULL },
	};
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	g_autoptr(json_t) quotas = NULL;
	g_auto(GStrv) arguments = NULL;
	uint32_t owner = 0;
	int r, status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status == STATUS_OK && user)
		status = cli_parse_user(verb, user, &owner);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status == STATUS_OK)
		status = cli_message(cli, "Quota", &m);
	if (status != STATUS_OK)
		return status;
	r = options_open(m);
	if (r >= 0 && user)
		r = options_u32(m, "owner", owner);
	if (r >= 0)
		r = options_close(m);
	if (r < 0)
		return cli_fail_message("Quota", r);
	status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, &quotas);
	if (r < 0)
		return cli_fail_message("Quota", r);
	if (cli->json) {
		print_json(quotas);
		return STATUS_OK;
	}
	print_quotas(quotas);
	print_tiers(quotas);
	return STATUS_OK;
}

const struct verb verb_quota = {
	.name = "quota",
	.summary = "What one's morsels, jobs and connections take, of what is allowed",
	.run = run_quota,
};
