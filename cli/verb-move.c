// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* One line in any case; the failure, if any, goes to stderr as well. */
static void print_result(const char *morsel, const char *tier, bool dry_run, const json_t *result,
			 double seconds)
{
	uint64_t moved = get_u64(result, "moved_bytes");
	g_autofree char *moved_text = format_bytes(moved);
	g_autofree char *already = format_bytes(get_u64(result, "already_bytes"));
	g_autofree char *absent = format_bytes(get_u64(result, "absent_bytes"));
	g_autofree char *failed = format_bytes(get_u64(result, "failed_bytes"));
	g_autofree char *reasons = format_bytes_by(get_object(result, "failed_reasons"));
	g_autofree char *rate = format_bytes(seconds > 0 ? (uint64_t)((double)moved / seconds) : 0);
	g_autofree char *safe = escape(morsel);

	printf("%s %s %s: %s moved, %s already there, %s without a page, %s not moved", safe,
	       dry_run ? "would go to" : "to", tier, moved_text, already, absent, failed);
	if (get_u64(result, "failed_bytes"))
		printf(" (%s)", reasons);
	if (!dry_run && moved)
		printf("; %.1f s, %s/s", seconds, rate);
	puts("");
}

static int finish(struct cli *cli, const char *morsel, const char *tier, bool dry_run,
		  struct job_watch *p)
{
	g_autoptr(json_t) result = NULL;
	double seconds = job_watch_seconds(p);
	const char *state, *error;
	int status;

	status = job_end(cli, p, &state, &error, &result);
	if (status != STATUS_OK)
		return status;
	if (!cli->json)
		print_result(morsel, tier, dry_run, result, seconds);
	if (strcmp(state, "cancelled") == 0)
		return cli_fail(STATUS_FAILED, "moving %s to %s was cancelled", morsel, tier);
	if (strcmp(state, "done") != 0)
		return cli_fail(STATUS_FAILED, "moving %s to %s failed: %s", morsel, tier, error);
	if (get_u64(result, "failed_bytes") && !dry_run) {
		g_autofree char *failed = format_bytes(get_u64(result, "failed_bytes"));
		g_autofree char *reasons = format_bytes_by(get_object(result, "failed_reasons"));

		return cli_fail(STATUS_FAILED, "%s of %s stayed where they were: %s", failed,
				morsel, reasons);
	}
	return STATUS_OK;
}

static int start_move(struct cli *cli, const char *morsel, const char *tier, uint64_t offset,
		      uint64_t length, bool dry_run, char **ret_path)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	const char *path;
	int r, status;

	status = cli_message(cli, "Move", &m);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "ss", morsel, tier);
	if (r >= 0)
		r = options_open(m);
	if (r >= 0 && offset)
		r = options_u64(m, "offset", offset);
	if (r >= 0 && length)
		r = options_u64(m, "length", length);
	if (r >= 0 && dry_run)
		r = options_bool(m, "dry_run", true);
	if (r >= 0)
		r = options_close(m);
	if (r < 0)
		return cli_fail_message("Move", r);
	status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_read(reply, "o", &path);
	if (r < 0)
		return cli_fail_message("Move", r);
	*ret_path = g_strdup(path);
	return STATUS_OK;
}

static int run_move(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autofree char *to = NULL, *range = NULL;
	gboolean dry_run = FALSE, no_wait = FALSE;
	const GOptionEntry entries[] = {
		{ "to", 0, 0, G_OPTION_ARG_STRING, &to, "Where to", "TIER" },
		{ "range", 0, 0, G_OPTION_ARG_STRING, &range, "Only the bytes from A up to B",
		  "A:B" },
		{ "dry-run", 0, 0, G_OPTION_ARG_NONE, &dry_run, "Only say what would move", NULL },
		{ "no-wait", 0, 0, G_OPTION_ARG_NONE, &no_wait, "Start it and return", NULL },
		{ NULL },
	};
	struct job_watch p = {};
	g_auto(GStrv) arguments = NULL;
	uint64_t offset = 0, length = 0;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status == STATUS_OK && !to)
		status = cli_usage(verb, "move: needs --to TIER");
	if (status == STATUS_OK && range)
		status = cli_parse_range(verb, range, &offset, &length);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status != STATUS_OK)
		return status;
	status = job_watch_begin(cli, &p);
	if (status == STATUS_OK)
		status = start_move(cli, arguments[0], to, offset, length, dry_run, &p.path);
	if (status == STATUS_OK)
		status = no_wait ? job_started(cli, p.path) : job_wait(cli, &p);
	if (status == STATUS_OK && !no_wait)
		status = finish(cli, arguments[0], to, dry_run, &p);
	job_watch_end(&p);
	return status;
}

const struct verb verb_move = {
	.name = "move",
	.arguments = "MORSEL --to TIER",
	.summary = "Move what a morsel has to another tier, while it is used",
	.description =
		"The exit status is 1 when some of it had to stay. ^C cancels the move: what has moved\n"
		"stays moved.",
	.min = 1,
	.max = 1,
	.run = run_move,
};

/* --- jobs ------------------------------------------------------------------------------------ */

/* Of what is no move, steps. */
static char *format_amount(bool bytes, uint64_t n)
{
	return bytes ? format_bytes(n) : g_strdup_printf("%" PRIu64, n);
}

static void print_jobs(json_t *jobs)
{
	struct table *t = table_new();
	json_t *job;
	size_t i;

	table_column_right(t, "ID");
	table_column(t, "KIND");
	table_column(t, "STATE");
	table_column(t, "MORSEL");
	table_column(t, "TIER");
	table_column_right(t, "DONE");
	table_column_right(t, "TOTAL");
	table_column(t, "CREATED");
	table_column(t, "ERROR");
	json_array_foreach(jobs, i, job)
	{
		const char *name = get_string(job, "morsel_name");
		bool bytes = strcmp(get_string(job, "kind"), "move") == 0;

		table_row(t);
		table_cell_take(t, g_strdup_printf("%" PRIu64, get_u64(job, "id")));
		table_cell(t, get_string(job, "kind"));
		table_cell(t, get_string(job, "state"));
		table_cell(t, name[0] ? name : get_string(job, "morsel"));
		table_cell(t, get_string(job, bytes ? "tier" : "memory"));
		table_cell_take(t, format_amount(bytes, get_u64(job, "done_bytes")));
		table_cell_take(t, format_amount(bytes, get_u64(job, "total_bytes")));
		table_cell_take(t, format_time(get_u64(job, "created_usec")));
		table_cell(t, get_string(job, "error"));
	}
	table_print_free(t);
}

static int cancel(struct cli *cli, const struct verb *verb, const char *id)
{
	g_autofree char *path = NULL;
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	g_autoptr(json_t) job = NULL;
	uint32_t number;
	int status;

	if (parse_u32(id, &number) < 0)
		return cli_usage(verb, "--cancel: '%s' is not a job's number", id);
	status = cli_connect(cli);
	if (status != STATUS_OK)
		return status;
	path = g_strdup_printf("%s/job/%u", MANAGER_PATH, number);
	status = job_get(cli, path, &job);
	if (status != STATUS_OK)
		return status;
	status = cli_message_to(cli, path, JOB_IFACE, "Cancel", &m);
	if (status == STATUS_OK)
		status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	if (!cli->json) {
		printf("Job %u is being cancelled.\n", number);
		return STATUS_OK;
	}
	g_clear_pointer(&job, json_decref);
	status = job_get(cli, path, &job);
	if (status == STATUS_OK)
		print_json(job);
	return status;
}

static int run_jobs(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autofree char *id = NULL;
	const GOptionEntry entries[] = {
		{ "cancel", 0, 0, G_OPTION_ARG_STRING, &id, "End this one", "ID" },
		{ NULL },
	};
	g_auto(GStrv) arguments = NULL;
	g_autoptr(json_t) jobs = NULL;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status != STATUS_OK)
		return status;
	if (id)
		return cancel(cli, verb, id);
	status = cli_connect(cli);
	if (status == STATUS_OK)
		status = cli_get(cli, "ListJobs", &jobs);
	if (status != STATUS_OK)
		return status;
	if (cli->json)
		print_json(jobs);
	else
		print_jobs(jobs);
	return STATUS_OK;
}

const struct verb verb_jobs = {
	.name = "jobs",
	.summary = "What morseld is doing, and what it did in the last minute",
	.run = run_jobs,
};
