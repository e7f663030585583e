// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "core/replay.h"

/* What is read at once. */
#define CHUNK 65536

struct record {
	const char *path;
	int file, stream;
	GByteArray
		*waiting; /* of the trace, up to the end of a block: only whole ones are written */
	uint64_t bytes;	  /* of the file */
	bool asked;	  /* the daemon, for the end */
	bool ended;	  /* by the daemon */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
	interrupted++;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void record_done(struct record *d)
{
	if (d->file >= 0)
		close(d->file);
	if (d->stream >= 0)
		close(d->stream);
	g_byte_array_unref(d->waiting);
}
typedef struct record Record;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Record, record_done)

/* --- the daemon ------------------------------------------------------------------------------ */

static int ask(struct cli *cli, bool all, int *ret_stream)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	int r, fd, status;

	status = cli_connect(cli);
	if (status == STATUS_OK)
		status = cli_message(cli, "Record", &m);
	if (status != STATUS_OK)
		return status;
	r = options_open(m);
	if (r >= 0 && all)
		r = options_bool(m, "all", true);
	if (r >= 0)
		r = options_close(m);
	if (r < 0)
		return cli_fail_message("Record", r);
	/* polkit may ask for a password. */
	status = cli_call_slow(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_read(reply, "h", &fd);
	if (r >= 0) {
		*ret_stream = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		r = *ret_stream < 0 ? -errno : 0;
	}
	return r < 0 ? cli_fail_message("Record", r) : STATUS_OK;
}

/* --- the file -------------------------------------------------------------------------------- */

/* Bytes of what comes next, the header or a block; 0: not all of it is there. */
static size_t next_whole(const struct record *d)
{
	struct trace_block b;

	if (d->bytes == 0)
		return d->waiting->len < sizeof(struct trace_header) ? 0
								     : sizeof(struct trace_header);
	if (d->waiting->len < sizeof(b))
		return 0;
	memcpy(&b, d->waiting->data, sizeof(b));
	return d->waiting->len - sizeof(b) < b.length ? 0 : sizeof(b) + b.length;
}

/* Where the disk is full the file ends with the block before. */
static int write_block(struct record *d, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t w = pwrite(d->file, d->waiting->data + done, n - done,
				   (off_t)(d->bytes + done));
		int error = w < 0 ? errno : ENOSPC;
		g_autofree char *kept = NULL;

		if (w < 0 && error == EINTR)
			continue;
		if (w > 0) {
			done += (size_t)w;
			continue;
		}
		kept = format_bytes(d->bytes);
		return cli_fail(STATUS_FAILED, "%s: %s; the recording ends, the first %s %s",
				d->path, g_strerror(error), kept,
				ftruncate(d->file, (off_t)d->bytes) < 0
					? "can be used"
					: "stand in it and can be used");
	}
	d->bytes += n;
	g_byte_array_remove_range(d->waiting, 0, (guint)n);
	return STATUS_OK;
}

static int write_blocks(struct record *d)
{
	int status = STATUS_OK;
	size_t n;

	while (status == STATUS_OK && (n = next_whole(d)) > 0)
		status = write_block(d, n);
	return status;
}

static int take_some(struct record *d)
{
	uint8_t chunk[CHUNK];
	ssize_t n = recv(d->stream, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return STATUS_OK;
	if (n <= 0) {
		d->ended = true;
		return STATUS_OK;
	}
	g_byte_array_append(d->waiting, chunk, (guint)n);
	return write_blocks(d);
}

/* Until the daemon has sent all: it is asked to come to an end after seconds (0: never) or by a signal; by a second
 * one what has not come is left. */
static int take(struct record *d, uint32_t seconds)
{
	struct sigaction act = { .sa_handler = on_signal }, old_int, old_term;
	uint64_t end = seconds > 0 ? now_ms() + seconds * UINT64_C(1000) : UINT64_MAX;
	int status = STATUS_OK;
	sigset_t block, old;

	/* Signals come while it waits only, so none is overlooked. */
	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &old);
	sigaction(SIGINT, &act, &old_int);
	sigaction(SIGTERM, &act, &old_term);
	/* A file that may not grow is an error of writing it. */
	signal(SIGXFSZ, SIG_IGN);
	while (status == STATUS_OK && !d->ended && interrupted < 2) {
		struct pollfd p = { .fd = d->stream, .events = POLLIN };
		uint64_t now = now_ms(), left = MIN(end > now ? end - now : 0, 3600000);
		struct timespec t = { .tv_sec = (time_t)(left / 1000),
				      .tv_nsec = (long)(left % 1000) * 1000000 };

		if (!d->asked && (interrupted || now >= end)) {
			(void)shutdown(d->stream, SHUT_WR);
			d->asked = true;
		}
		if (ppoll(&p, 1, d->asked ? NULL : &t, &old) > 0)
			status = take_some(d);
	}
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return status;
}

/* --- what there is now ----------------------------------------------------------------------- */

static int show(struct cli *cli, const struct record *d)
{
	g_autofree uint32_t *sizes = g_new(uint32_t, TRACE_REGIONS_MAX);
	g_autoptr(GError) error = NULL;
	g_autoptr(GMappedFile) file = g_mapped_file_new_from_fd(d->file, FALSE, &error);
	struct replay_extent x;
	int r;

	if (!file)
		return cli_fail(STATUS_FAILED, "%s: %s", d->path, error->message);
	r = replay_scan(g_mapped_file_get_contents(file), g_mapped_file_get_length(file), sizes,
			&x);
	/* Larger than the simulator takes is no fault of the recording's. */
	if (r < 0 && r != -ERANGE)
		return cli_fail(STATUS_FAILED, "%s: nothing was recorded", d->path);
	if (r < 0)
		x = (struct replay_extent){};
	if (cli->json) {
		g_autoptr(json_t)
			j = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "file", d->path, "bytes",
				      (json_int_t)d->bytes, "rounds", (json_int_t)x.rounds,
				      "duration_ms", (json_int_t)x.clock_ms, "regions",
				      (json_int_t)x.regions, "watched_bytes",
				      (json_int_t)(x.regions ? x.granules : 0) * HEAT_GRANULE);

		print_json(j);
	} else {
		g_autofree char *bytes = format_bytes(d->bytes);
		g_autofree char *lasts = format_duration((double)x.clock_ms / 1000);
		g_autofree char *path = escape(d->path);

		printf("%s: %" PRIu64 " rounds in %s, %u morsels, %s.\n", path, x.rounds, lasts,
		       x.regions, bytes);
		if (x.rounds > 0 && x.regions == 0)
			puts("Note: there was no morsel whose accesses can be seen.");
	}
	return STATUS_OK;
}

/* --- the verb -------------------------------------------------------------------------------- */

static int run_record(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autofree char *duration = NULL;
	g_auto(GStrv) arguments = NULL;
	gboolean all = FALSE, force = FALSE;
	const GOptionEntry entries[] = {
		{ "duration", 'd', 0, G_OPTION_ARG_STRING, &duration,
		  "End after so long: 90, 10m, 2h (else by ^C)", "TIME" },
		{ "all", 0, 0, G_OPTION_ARG_NONE, &all, "Others' morsels too; root has them anyway",
		  NULL },
		{ "force", 0, 0, G_OPTION_ARG_NONE, &force, "Overwrite FILE", NULL },
		{ NULL },
	};
	g_auto(Record) d = { .file = -1, .stream = -1, .waiting = g_byte_array_new() };
	uint32_t seconds = 0;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status == STATUS_OK && duration)
		status = cli_parse_duration(verb, "--duration", duration, &seconds);
	if (status != STATUS_OK)
		return status;
	d.path = arguments[0];
	status = ask(cli, all, &d.stream);
	if (status != STATUS_OK)
		return status;
	d.file = open(d.path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | (force ? O_TRUNC : O_EXCL),
		      0600);
	if (d.file < 0 && errno == EEXIST)
		return cli_fail(STATUS_FAILED, "%s is there already; --force overwrites it",
				d.path);
	if (d.file < 0)
		return cli_fail(STATUS_FAILED, "%s: %s", d.path, g_strerror(errno));
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "morselctl: recording, ^C ends it\n");
	status = take(&d, seconds);
	if (status != STATUS_OK)
		return status;
	status = show(cli, &d);
	if (status == STATUS_OK && d.ended && !d.asked)
		return cli_fail(STATUS_FAILED,
				"morseld has ended the recording (its journal says why)");
	return status;
}

const struct verb verb_record = {
	.name = "record",
	.arguments = "FILE",
	.summary = "Record what is accessed of morsels, for simulate",
	.description =
		"What is accessed of one's own morsels (root: of all), and where they are, goes to FILE\n"
		"until ^C, or for as long as --duration says. Nothing is moved for it.",
	.min = 1,
	.max = 1,
	.run = run_record,
};
