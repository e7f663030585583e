// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* A further line in the row of a capability. */
static void print_more(struct table *t, const char *what, const char *text)
{
	if (!text[0])
		return;
	table_row(t);
	table_cell(t, "");
	table_cell(t, "");
	table_cell_take(t, g_strdup_printf("%s: %s", what, text));
}

static void print_capabilities(json_t *capabilities)
{
	struct table *t = table_new();
	json_t *c;
	size_t i;

	table_column(t, "CAPABILITY");
	table_column(t, "STATUS");
	table_column(t, "DETAIL");
	json_array_foreach(capabilities, i, c)
	{
		table_row(t);
		table_cell(t, get_string(c, "name"));
		table_cell(t, get_string(c, "status"));
		table_cell(t, get_string(c, "detail"));
		print_more(t, "instead", get_string(c, "instead"));
		print_more(t, "to get it", get_string(c, "advice"));
	}
	table_print_free(t);
}

static void print_verbs(json_t *verb_rows)
{
	static const char *const keys[] = { "verb", "module", "node", "pool", "here" };
	static const char *const names[] = { "", "MODULE", "NODE", "POOL", "HERE" };
	struct table *t = table_new();
	json_t *v;
	size_t i, k;

	for (k = 0; k < G_N_ELEMENTS(keys); k++)
		table_column(t, k == 0 ? "WHAT" : names[k]);
	json_array_foreach(verb_rows, i, v)
	{
		table_row(t);
		for (k = 0; k < G_N_ELEMENTS(keys); k++)
			table_cell(t, get_string(v, keys[k]));
	}
	table_print_free(t);
}

static int run_doctor(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	g_autoptr(json_t) all = json_object();
	json_t *capabilities, *verb_rows;
	g_auto(GStrv) arguments = NULL;
	int r, status;

	status = cli_parse(cli, verb, NULL, argc, argv, &arguments);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status == STATUS_OK)
		status = cli_message(cli, "Doctor", &m);
	if (status == STATUS_OK)
		status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, &capabilities);
	if (r < 0)
		return cli_fail_message("Doctor", r);
	json_object_set_new(all, "capabilities", capabilities);
	r = message_to_json(reply, &verb_rows);
	if (r < 0)
		return cli_fail_message("Doctor", r);
	json_object_set_new(all, "verbs", verb_rows);
	if (cli->json) {
		print_json(all);
		return STATUS_OK;
	}
	print_capabilities(capabilities);
	puts("\nWhat each storage does, and which one does it here:");
	print_verbs(verb_rows);
	return STATUS_OK;
}

const struct verb verb_doctor = {
	.name = "doctor",
	.summary = "What this machine can do, what is used instead, how to get more",
	.description = "A capability that is missing is no failure: the exit status is 0.",
	.run = run_doctor,
};
