// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

static void print_count(const char *name, const json_t *stats, const char *key)
{
	printf("%-16s %" PRIu64 "\n", name, get_u64(stats, key));
}

static void print_bytes(const char *name, const json_t *stats, const char *key)
{
	g_autofree char *bytes = format_bytes(get_u64(stats, key));

	printf("%-16s %s\n", name, bytes);
}

static void print_text(const char *name, char *text)
{
	g_autofree char *safe = escape(text);

	printf("%-16s %s\n", name, safe);
	g_free(text);
}

static void print_stats(json_t *stats)
{
	json_t *warnings = get_array(stats, "warnings"), *warning;
	size_t i;

	print_count("Morsels:", stats, "morsels");
	print_bytes("Their size:", stats, "morsel_bytes");
	print_count("Clients:", stats, "clients");
	print_count("Created:", stats, "created");
	print_count("Destroyed:", stats, "destroyed");
	print_count("Opened:", stats, "opened");
	print_count("Restored:", stats, "restored");
	print_count("Lost:", stats, "lost");
	print_count("Kept:", stats, "kept");
	print_count("Jobs running:", stats, "jobs_running");
	print_bytes("Moved:", stats, "moved_bytes");
	print_bytes("Could not move:", stats, "move_failed_bytes");
	if (json_object_size(get_object(stats, "move_failed_reasons")) > 0)
		print_text("  because of:",
			   format_bytes_by(get_object(stats, "move_failed_reasons")));
	print_text("On tiers:", format_bytes_by(get_object(stats, "placed_bytes")));
	print_text("  as of:", format_time(get_u64(stats, "placed_usec")));
	json_array_foreach(warnings, i, warning) print_text(
		"Warning:", g_strdup(json_is_string(warning) ? json_string_value(warning) : ""));
}

static double now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static char *rate_bytes(const json_t *now, const json_t *before, const char *key, double seconds)
{
	uint64_t a = get_u64(before, key), b = get_u64(now, key);
	g_autofree char *bytes = format_bytes(b > a ? (uint64_t)((double)(b - a) / seconds) : 0);

	return g_strdup_printf("%s/s", bytes);
}

static char *rate_count(const json_t *now, const json_t *before, const char *key, double seconds)
{
	uint64_t a = get_u64(before, key), b = get_u64(now, key);

	return g_strdup_printf("%.0f/s", b > a ? (double)(b - a) / seconds : 0.0);
}

/* One line per interval: a terminal may scroll it, a file may keep it. */
static void print_watch(json_t *now, json_t *before, double seconds)
{
	g_autofree char *size = format_bytes(get_u64(now, "morsel_bytes"));
	g_autofree char *created = rate_count(now, before, "created", seconds);
	g_autofree char *opened = rate_count(now, before, "opened", seconds);
	g_autofree char *moved = rate_bytes(now, before, "moved_bytes", seconds);
	g_autofree char *failed = rate_bytes(now, before, "move_failed_bytes", seconds);
	g_autofree char *placed = format_bytes_by(get_object(now, "placed_bytes"));
	g_autofree char *safe = escape(placed);
	g_autoptr(GDateTime) t = g_date_time_new_now_local();
	g_autofree char *clock = g_date_time_format(t, "%H:%M:%S");

	printf("%-8s %8" PRIu64 " %10s %8s %8s %4" PRIu64 " %12s %12s  %s\n", clock,
	       get_u64(now, "morsels"), size, created, opened, get_u64(now, "jobs_running"), moved,
	       failed, safe);
	fflush(stdout);
}

static int watch(struct cli *cli, int interval)
{
	g_autoptr(json_t) before = NULL;
	double last = 0, now;
	int status;

	if (!cli->json)
		printf("%-8s %8s %10s %8s %8s %4s %12s %12s  %s\n", "TIME", "MORSELS", "SIZE",
		       "CREATED", "OPENED", "JOBS", "MOVED", "NOT MOVED", "ON TIERS");
	for (;;) {
		g_autoptr(json_t) stats = NULL;

		status = cli_get(cli, "Stats", &stats);
		if (status != STATUS_OK)
			return status;
		now = now_seconds();
		if (cli->json)
			print_json_line(stats);
		else if (before)
			print_watch(stats, before, now - last);
		/* Nobody reads any more: the end of head(1), not a failure of ours. */
		if (ferror(stdout))
			return STATUS_OK;
		last = now;
		json_decref(before);
		before = g_steal_pointer(&stats);
		sleep((unsigned int)interval);
	}
}

static int run_stats(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	gboolean watches = FALSE;
	int interval = 1;
	const GOptionEntry entries[] = {
		{ "watch", 'w', 0, G_OPTION_ARG_NONE, &watches,
		  "A line of rates per interval, until ^C; with --json an object per line", NULL },
		{ "interval", 'i', 0, G_OPTION_ARG_INT, &interval, "Seconds between them (1)",
		  "SECONDS" },
		{ NULL },
	};
	g_auto(GStrv) arguments = NULL;
	g_autoptr(json_t) stats = NULL;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status != STATUS_OK)
		return status;
	if (interval < 1 || interval > 86400)
		return cli_usage(verb, "--interval: %d is not 1 to 86400 seconds", interval);
	status = cli_connect(cli);
	if (status != STATUS_OK)
		return status;
	if (watches)
		return watch(cli, interval);
	status = cli_get(cli, "Stats", &stats);
	if (status != STATUS_OK)
		return status;
	if (cli->json)
		print_json(stats);
	else
		print_stats(stats);
	return STATUS_OK;
}

const struct verb verb_stats = {
	.name = "stats",
	.summary = "What morseld has done since its start",
	.run = run_stats,
};
