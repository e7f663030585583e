// SPDX-License-Identifier: GPL-2.0-or-later
/* Tiers, cgroups and morsels, the most accessed first, drawn again and again. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define CGROUPS_SHOWN 5

struct frame {
	json_t *tiers, *stats, *placement;
	double at; /* s, monotonic */
};

static volatile sig_atomic_t ended;

static void on_end(int signo)
{
	ended = 1;
}

static void frame_clear(struct frame *f)
{
	json_decref(f->tiers);
	json_decref(f->stats);
	json_decref(f->placement);
	memset(f, 0, sizeof(*f));
}

static int frame_get(struct cli *cli, struct frame *f)
{
	struct timespec t;
	int status = cli_get(cli, "ListTiers", &f->tiers);

	if (status == STATUS_OK)
		status = cli_get(cli, "Stats", &f->stats);
	if (status == STATUS_OK)
		status = cli_get_placement(cli, NULL, 1000, &f->placement);
	clock_gettime(CLOCK_MONOTONIC, &t);
	f->at = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	return status;
}

/* --- What is drawn: lines, which belong to the array ----------------------------------------- */

static void add_text(GPtrArray *lines, char *text)
{
	g_auto(GStrv) parts = g_strsplit(text, "\n", -1);

	for (char **p = parts; *p; p++)
		if (p[1] || **p)
			g_ptr_array_add(lines, g_strdup(*p));
	g_free(text);
}

static uint64_t of_tier(json_t *placement, const char *name, const char *key)
{
	json_t *t;
	size_t i;

	json_array_foreach(get_array(placement, "tiers"), i,
			   t) if (strcmp(get_string(t, "tier"), name) == 0) return get_u64(t, key);
	return 0;
}

static char *count(uint64_t n)
{
	return g_strdup_printf("%" PRIu64, n);
}

static char *format_load(uint64_t percent)
{
	return percent ? g_strdup_printf("%" PRIu64 " %%", percent) : g_strdup("-");
}

static void add_tiers(GPtrArray *lines, const struct frame *f)
{
	struct table *t = table_new();
	json_t *tier;
	size_t i;

	table_column(t, "TIER");
	table_column(t, "KIND");
	table_column(t, "STATE");
	table_column_right(t, "CAPACITY");
	table_column_right(t, "FREE");
	table_column_right(t, "WATCHED");
	table_column_right(t, "ACCESSES/S");
	table_column_right(t, "LATENCY");
	json_array_foreach(f->tiers, i, tier)
	{
		const char *name = get_string(tier, "name");

		table_row(t);
		table_cell(t, name);
		table_cell(t, get_string(tier, "kind"));
		table_cell(t, get_string(tier, "state"));
		table_cell_take(t, format_bytes(get_u64(tier, "capacity_bytes")));
		table_cell_take(t, format_bytes(get_u64(tier, "free_bytes")));
		table_cell_take(t, format_bytes(of_tier(f->placement, name, "watched_bytes")));
		table_cell_take(t, count(of_tier(f->placement, name, "accesses_per_s")));
		table_cell_take(t,
				format_load(of_tier(f->placement, name, "loaded_latency_percent")));
	}
	add_text(lines, table_string_free(t));
}

static void add_heat(struct table *t, json_t *o)
{
	table_cell(t, get_string(o, "migrate"));
	table_cell_take(t, count(get_u64(o, "accesses_per_s")));
	table_cell_take(t, format_bytes_by(get_object(o, "tiers")));
}

static void add_cgroups(GPtrArray *lines, const struct frame *f, size_t most)
{
	json_t *cgroups = get_array(f->placement, "cgroups"), *c;
	struct table *t;
	size_t i;

	if (json_array_size(cgroups) == 0)
		return;
	t = table_new();
	table_column(t, "CGROUP");
	table_column_right(t, "MORSELS");
	table_column(t, "MIGRATE");
	table_column_right(t, "ACCESSES/S");
	table_column(t, "TIERS");
	json_array_foreach(cgroups, i, c)
	{
		if (i >= most)
			break;
		table_row(t);
		table_cell(t, get_string(c, "cgroup"));
		table_cell_take(t, count(get_u64(c, "morsels")));
		add_heat(t, c);
	}
	g_ptr_array_add(lines, g_strdup(""));
	add_text(lines, table_string_free(t));
}

struct table *morsels_table(const json_t *placement)
{
	struct table *t = table_new();
	json_t *m;
	size_t i;

	table_column(t, "MORSEL");
	table_column_right(t, "SIZE");
	table_column(t, "MIGRATE");
	table_column_right(t, "ACCESSES/S");
	table_column(t, "TIERS");
	json_array_foreach(get_array(placement, "morsels"), i, m)
	{
		table_row(t);
		table_cell_take(t, g_strdup_printf("%" PRIu64 ":%s", get_u64(m, "owner"),
						   get_string(m, "name")));
		table_cell_take(t, format_bytes(get_u64(m, "size_bytes")));
		add_heat(t, m);
	}
	return t;
}

static void add_morsels(GPtrArray *lines, const struct frame *f)
{
	if (json_array_size(get_array(f->placement, "morsels")) == 0)
		return;
	g_ptr_array_add(lines, g_strdup(""));
	add_text(lines, table_string_free(morsels_table(f->placement)));
}

static void add_head(GPtrArray *lines, const struct frame *f, const struct frame *before)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_local();
	g_autofree char *clock = g_date_time_format(now, "%H:%M:%S");
	g_autofree char *size = format_bytes(get_u64(f->stats, "morsel_bytes"));
	g_autofree char *moved = format_bytes(get_u64(f->stats, "moved_bytes"));
	g_autofree char *rate = NULL;
	uint64_t then = get_u64(before->stats, "moved_bytes"), n = get_u64(f->stats, "moved_bytes");
	const json_t *p = f->placement;

	rate = format_bytes(before->stats && n > then && f->at > before->at
				    ? (uint64_t)((double)(n - then) / (f->at - before->at))
				    : 0);
	g_ptr_array_add(lines,
			g_strdup_printf("morsel %s  %" PRIu64 " morsels, %s; moved %s, %s/s", clock,
					get_u64(f->stats, "morsels"), size, moved, rate));
	if (get_bool(p, "active"))
		g_ptr_array_add(
			lines,
			g_strdup_printf("placing: round %" PRIu64
					" every %.1f s, %.2f %% of a CPU; %" PRIu64
					" moves, gained %.1f of %.1f ms",
					get_u64(p, "rounds"), (double)get_u64(p, "period_ms") / 1e3,
					(double)get_u64(p, "round_cpu_usec") /
						(double)MAX(get_u64(p, "period_ms"), 1) / 10,
					get_u64(p, "moves"),
					(double)get_i64(p, "observed_gain_ns") / 1e6,
					(double)get_i64(p, "expected_gain_ns") / 1e6));
	else
		g_ptr_array_add(lines,
				g_strdup("placing: off (for morsels of the kernel module whose"
					 " cgroup has Migrate=on)"));
	g_ptr_array_add(lines, g_strdup(""));
}

static GPtrArray *lines_of(const struct frame *f, const struct frame *before, size_t height)
{
	GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);

	add_head(lines, f, before);
	add_tiers(lines, f);
	add_cgroups(lines, f, height >= 24 ? CGROUPS_SHOWN : 2);
	add_morsels(lines, f);
	return lines;
}

/* --- A terminal ------------------------------------------------------------------------------ */

/* What of the text fits into so many columns. */
static void print_cut(const char *text, size_t width)
{
	const char *p = text;

	for (size_t column = 0; *p; p = g_utf8_next_char(p)) {
		gunichar c = g_utf8_get_char(p);
		size_t w = g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;

		if (column + w > width)
			break;
		column += w;
	}
	fwrite(text, 1, (size_t)(p - text), stdout);
}

static void draw(const GPtrArray *lines, size_t width, size_t height)
{
	fputs("\033[H", stdout);
	for (unsigned int i = 0; i < lines->len && i < height; i++) {
		print_cut(lines->pdata[i], width);
		/* Not behind the last one: it would scroll. */
		fputs(i + 1 < lines->len && i + 1 < height ? "\033[K\n" : "\033[K", stdout);
	}
	fputs("\033[J", stdout);
	fflush(stdout);
}

static bool wants_to_quit(int timeout_ms, bool keys)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char c;

	if (poll(&p, keys ? 1 : 0, timeout_ms) <= 0 || !keys)
		return ended;
	if (read(STDIN_FILENO, &c, 1) != 1)
		return true;
	return ended || c == 'q' || c == 'Q' || c == 4;
}

static int on_terminal(struct cli *cli, int interval)
{
	struct termios was, raw;
	bool keys = tcgetattr(STDIN_FILENO, &was) == 0;
	struct frame before = {}, now = {};
	int status = frame_get(cli, &now);

	if (status != STATUS_OK) {
		frame_clear(&now);
		return status;
	}
	if (keys) {
		raw = was;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VMIN] = 1;
		raw.c_cc[VTIME] = 0;
		/* ^Z would leave it as it is now. */
		raw.c_cc[VSUSP] = _POSIX_VDISABLE;
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	/* The other screen, without a cursor: what was there comes back. */
	fputs("\033[?1049h\033[?25l", stdout);
	while (!ended) {
		struct winsize size = {};
		g_autoptr(GPtrArray) lines = NULL;

		if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0) {
			size.ws_col = 80;
			size.ws_row = 24;
		}
		lines = lines_of(&now, &before, size.ws_row);
		draw(lines, size.ws_col, size.ws_row);
		if (ferror(stdout) || wants_to_quit(interval * 1000, keys))
			break;
		frame_clear(&before);
		before = now;
		memset(&now, 0, sizeof(now));
		status = frame_get(cli, &now);
		if (status != STATUS_OK)
			break;
	}
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	if (keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &was);
	frame_clear(&now);
	frame_clear(&before);
	return status;
}

/* --- A file or pipe -------------------------------------------------------------------------- */

static void print_frame(struct cli *cli, const struct frame *f, const struct frame *before)
{
	g_autoptr(json_t) all = NULL;
	g_autoptr(GPtrArray) lines = NULL;

	if (cli->json) {
		all = json_object();
		json_object_set(all, "tiers", f->tiers);
		json_object_set(all, "stats", f->stats);
		json_object_set(all, "placement", f->placement);
		print_json_line(all);
		return;
	}
	lines = lines_of(f, before, 24);
	if (before->stats)
		putchar('\n');
	for (unsigned int i = 0; i < lines->len; i++)
		puts(lines->pdata[i]);
	fflush(stdout);
}

static int to_file(struct cli *cli, int interval, int frames)
{
	struct frame before = {}, now = {};
	int status = STATUS_OK;

	for (int i = 0; !ended && (frames == 0 || i < frames); i++) {
		status = frame_get(cli, &now);
		if (status != STATUS_OK)
			break;
		print_frame(cli, &now, &before);
		if (ferror(stdout) ||
		    ((frames == 0 || i + 1 < frames) && wants_to_quit(interval * 1000, false)))
			break;
		frame_clear(&before);
		before = now;
		memset(&now, 0, sizeof(now));
	}
	frame_clear(&now);
	frame_clear(&before);
	return status;
}

static int run_top(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	int interval = 2, frames = 0, status;
	const GOptionEntry entries[] = {
		{ "interval", 'i', 0, G_OPTION_ARG_INT, &interval, "Seconds between frames (2)",
		  "SECONDS" },
		{ "count", 'n', 0, G_OPTION_ARG_INT, &frames,
		  "So many frames, one below the other; as is all that does not go to a terminal",
		  "N" },
		{ NULL },
	};
	struct sigaction end = { .sa_handler = on_end };
	g_auto(GStrv) arguments = NULL;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status != STATUS_OK)
		return status;
	if (interval < 1 || interval > 86400)
		return cli_usage(verb, "--interval: %d is not 1 to 86400 seconds", interval);
	if (frames < 0)
		return cli_usage(verb, "--count: %d is below 0", frames);
	status = cli_connect(cli);
	if (status != STATUS_OK)
		return status;
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGHUP, &end, NULL);
	if (cli->json || frames > 0 || !isatty(STDOUT_FILENO))
		return to_file(cli, interval, frames);
	return on_terminal(cli, interval);
}

const struct verb verb_top = {
	.name = "top",
	.summary = "Tiers, cgroups and morsels by accesses, live; q ends it",
	.run = run_top,
};
