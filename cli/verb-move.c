// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

/* How often the bar is drawn; the daemon reports at most as often. */
#define DRAW_USEC UINT64_C(250000)

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
	interrupted++;
}

struct progress {
	char *path; /* the job */
	uint64_t done, total;
	double began;
	sd_bus_message *reply; /* of Wait */
};

static double now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* PropertiesChanged of the job. A filter and not a match: without a broker there is no sender. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	g_autoptr(json_t) changed = NULL;
	struct progress *p = userdata;
	const char *interface;

	if (!p->path ||
	    !sd_bus_message_is_signal(m, "org.freedesktop.DBus.Properties", "PropertiesChanged") ||
	    g_strcmp0(sd_bus_message_get_path(m), p->path) != 0)
		return 0;
	if (sd_bus_message_read(m, "s", &interface) < 0 || strcmp(interface, JOB_IFACE) != 0 ||
	    message_to_json(m, &changed) < 0)
		return 0;
	if (json_object_get(changed, "DoneBytes"))
		p->done = get_u64(changed, "DoneBytes");
	if (json_object_get(changed, "TotalBytes"))
		p->total = get_u64(changed, "TotalBytes");
	return 0;
}

static int on_wait(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	struct progress *p = userdata;

	p->reply = sd_bus_message_ref(m);
	return 0;
}

static int terminal_width(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

static void draw(const struct progress *p)
{
	double seconds = now_seconds() - p->began;
	double share = p->total ? (double)p->done / (double)p->total : 0;
	double rate = seconds > 0 ? (double)p->done / seconds : 0;
	g_autofree char *done = format_bytes(p->done), *total = format_bytes(p->total);
	g_autofree char *speed = format_bytes((uint64_t)rate);
	g_autofree char *left = p->done ? format_duration(seconds / share - seconds)
					: g_strdup("-:--");
	g_autofree char *text = g_strdup_printf(" %3.0f %%  %s of %s  %s/s  %s left", 100 * share,
						done, total, speed, left);
	int width = terminal_width() - (int)strlen(text) - 3, filled;
	GString *bar = g_string_new("\r");

	if (width > 50)
		width = 50;
	if (width >= 5) {
		filled = (int)(share * width);
		g_string_append_c(bar, '[');
		for (int i = 0; i < width; i++)
			g_string_append_c(bar, i < filled ? '#' : ' ');
		g_string_append_c(bar, ']');
	}
	fprintf(stderr, "%s%s\033[K", bar->str, text);
	fflush(stderr);
	g_string_free(bar, TRUE);
}

/* Ask once; the job then ends by itself as "cancelled". */
static void cancel_job(struct cli *cli, const char *path)
{
	g_autoptr(sd_bus_message) m = NULL;

	if (sd_bus_message_new_method_call(cli->bus, &m, cli->name, path, JOB_IFACE, "Cancel") >= 0)
		sd_bus_call_async(cli->bus, NULL, m, NULL, NULL, 0);
}

/* Wait for the job, drawing meanwhile where somebody watches. ^C cancels it, a second one leaves. */
static int wait_job(struct cli *cli, struct progress *p)
{
	struct sigaction act = { .sa_handler = on_signal }, old_int, old_term;
	g_autoptr(sd_bus_message) m = NULL;
	g_autoptr(sd_bus_slot) slot = NULL;
	bool watched = isatty(STDERR_FILENO), asked = false, drawn = false;
	double last = p->began;
	int r, status;

	status = cli_message_to(cli, p->path, JOB_IFACE, "Wait", &m);
	if (status != STATUS_OK)
		return status;
	sigaction(SIGINT, &act, &old_int);
	sigaction(SIGTERM, &act, &old_term);
	r = sd_bus_call_async(cli->bus, &slot, m, on_wait, p, UINT64_MAX);
	while (r >= 0 && !p->reply) {
		r = sd_bus_process(cli->bus, NULL);
		if (r != 0)
			continue;
		if (interrupted && !asked) {
			fprintf(stderr, "%smorselctl: cancelling %s; ^C again leaves it\n",
				drawn ? "\n" : "", p->path);
			cancel_job(cli, p->path);
			asked = true;
		} else if (interrupted > 1) {
			break;
		}
		if (watched && p->total && now_seconds() - last >= 0.25) {
			draw(p);
			last = now_seconds();
			drawn = true;
		}
		r = sd_bus_wait(cli->bus, DRAW_USEC);
		if (r == -EINTR)
			r = 0;
	}
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	if (drawn)
		fputs("\r\033[K", stderr);
	if (r < 0) {
		g_autofree char *text = NULL;

		status = cli_error_status(cli, r, NULL, &text);
		return cli_fail(status, "%s", text);
	}
	if (!p->reply)
		return cli_fail(STATUS_FAILED, "left %s running; morselctl jobs shows it", p->path);
	if (sd_bus_message_is_method_error(p->reply, NULL)) {
		g_autofree char *text = NULL;

		status = cli_error_status(cli, -sd_bus_message_get_errno(p->reply),
					  sd_bus_message_get_error(p->reply), &text);
		return cli_fail(status, "%s", text);
	}
	return STATUS_OK;
}

/* The job as `jobs` has it. */
static int get_job(struct cli *cli, const char *path, json_t **ret_job)
{
	const char *id = strrchr(path, '/') + 1;
	g_autoptr(json_t) jobs = NULL;
	json_t *job;
	size_t i;
	int status;

	status = cli_get(cli, "ListJobs", &jobs);
	if (status != STATUS_OK)
		return status;
	json_array_foreach(jobs, i, job)
	{
		g_autofree char *number = g_strdup_printf("%" PRIu64, get_u64(job, "id"));

		if (strcmp(number, id) == 0) {
			*ret_job = json_incref(job);
			return STATUS_OK;
		}
	}
	return cli_fail(STATUS_NO_OBJECT,
			"no job %s; those that ended over a minute ago are forgotten", id);
}

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
		  struct progress *p)
{
	g_autoptr(json_t) job = NULL, result = NULL;
	double seconds = now_seconds() - p->began;
	const char *state, *error;
	int r;

	r = sd_bus_message_read(p->reply, "ss", &state, &error);
	if (r >= 0)
		r = message_to_json(p->reply, &result);
	if (r < 0)
		return cli_fail_message("Wait", r);
	if (cli->json) {
		int status = get_job(cli, p->path, &job);

		if (status != STATUS_OK)
			return status;
		print_json(job);
	} else {
		print_result(morsel, tier, dry_run, result, seconds);
	}
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

static int started(struct cli *cli, const char *path)
{
	g_autoptr(json_t) job = NULL;
	int status;

	if (!cli->json) {
		printf("Job %s runs; morselctl jobs shows it, jobs --cancel %s ends it.\n",
		       strrchr(path, '/') + 1, strrchr(path, '/') + 1);
		return STATUS_OK;
	}
	status = get_job(cli, path, &job);
	if (status == STATUS_OK)
		print_json(job);
	return status;
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
	g_autoptr(sd_bus_slot) filter = NULL;
	struct progress p = { .began = now_seconds() };
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
	/* Before the call: the first report may come with its answer. */
	if (sd_bus_add_filter(cli->bus, &filter, on_message, &p) < 0)
		return cli_fail(STATUS_FAILED, "out of memory");
	status = start_move(cli, arguments[0], to, offset, length, dry_run, &p.path);
	if (status == STATUS_OK)
		status = no_wait ? started(cli, p.path) : wait_job(cli, &p);
	if (status == STATUS_OK && !no_wait)
		status = finish(cli, arguments[0], to, dry_run, &p);
	sd_bus_message_unref(p.reply);
	g_free(p.path);
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

		table_row(t);
		table_cell_take(t, g_strdup_printf("%" PRIu64, get_u64(job, "id")));
		table_cell(t, get_string(job, "kind"));
		table_cell(t, get_string(job, "state"));
		table_cell(t, name[0] ? name : get_string(job, "morsel"));
		table_cell(t, get_string(job, "tier"));
		table_cell_take(t, format_bytes(get_u64(job, "done_bytes")));
		table_cell_take(t, format_bytes(get_u64(job, "total_bytes")));
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
	status = get_job(cli, path, &job);
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
	status = get_job(cli, path, &job);
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
