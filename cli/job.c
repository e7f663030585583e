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

static double now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double job_watch_seconds(const struct job_watch *p)
{
	return now_seconds() - p->began;
}

/* PropertiesChanged of the job. A filter and not a match: without a broker there is no sender. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	g_autoptr(json_t) changed = NULL;
	struct job_watch *p = userdata;
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
	struct job_watch *p = userdata;

	p->reply = sd_bus_message_ref(m);
	return 0;
}

static int terminal_width(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

static char *describe(const struct job_watch *p, double share)
{
	double seconds = job_watch_seconds(p);
	double rate = seconds > 0 ? (double)p->done / seconds : 0;
	g_autofree char *done = NULL, *total = NULL, *speed = NULL, *left = NULL;

	if (p->steps)
		return g_strdup_printf(" step %" PRIu64 " of %" PRIu64, p->done + 1, p->total);
	done = format_bytes(p->done);
	total = format_bytes(p->total);
	speed = format_bytes((uint64_t)rate);
	left = p->done ? format_duration(seconds / share - seconds) : g_strdup("-:--");
	return g_strdup_printf(" %3.0f %%  %s of %s  %s/s  %s left", 100 * share, done, total,
			       speed, left);
}

static void draw(const struct job_watch *p)
{
	double share = p->total ? (double)p->done / (double)p->total : 0;
	g_autofree char *text = describe(p, share);
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

int job_wait(struct cli *cli, struct job_watch *p)
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

int job_get(struct cli *cli, const char *path, json_t **ret_job)
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

int job_end(struct cli *cli, struct job_watch *p, const char **ret_state, const char **ret_error,
	    json_t **ret_result)
{
	g_autoptr(json_t) job = NULL;
	int r, status;

	r = sd_bus_message_read(p->reply, "ss", ret_state, ret_error);
	if (r >= 0)
		r = message_to_json(p->reply, ret_result);
	if (r < 0)
		return cli_fail_message("Wait", r);
	if (!cli->json)
		return STATUS_OK;
	status = job_get(cli, p->path, &job);
	if (status == STATUS_OK)
		print_json(job);
	return status;
}

int job_started(struct cli *cli, const char *path)
{
	g_autoptr(json_t) job = NULL;
	int status;

	if (!cli->json) {
		printf("Job %s runs; morselctl jobs shows it, jobs --cancel %s ends it.\n",
		       strrchr(path, '/') + 1, strrchr(path, '/') + 1);
		return STATUS_OK;
	}
	status = job_get(cli, path, &job);
	if (status == STATUS_OK)
		print_json(job);
	return status;
}

int job_watch_begin(struct cli *cli, struct job_watch *p)
{
	p->began = now_seconds();
	if (sd_bus_add_filter(cli->bus, &p->filter, on_message, p) < 0)
		return cli_fail(STATUS_FAILED, "out of memory");
	return STATUS_OK;
}

void job_watch_end(struct job_watch *p)
{
	sd_bus_slot_unref(p->filter);
	sd_bus_message_unref(p->reply);
	g_free(p->path);
}
