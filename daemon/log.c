// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Locations of the caller would be this file's; the message and its identifier say enough. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "log.h"

static bool to_journal;
static int max_level = LOG_INFO;

void log_init(int level)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;
	struct stat st;

	max_level = level;
	/* systemd(1) sets it to device and inode of the descriptor that it connected to the journal: a
	 * redirected stderr in a service must still get the lines. */
	to_journal = stream && sscanf(stream, "%ju:%ju", &dev, &ino) == 2 &&
		     fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_line(int level, const char *message_id, const char *object, const char *format, ...)
{
	int saved = errno;
	char text[2048];
	va_list args;

	if (level > max_level)
		return;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);

	if (to_journal)
		sd_journal_send("MESSAGE=%s", text, "PRIORITY=%d", level, "MESSAGE_ID=%s",
				message_id, object ? "MORSEL_OBJECT=%s" : NULL, object, NULL);
	else
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, text);

	errno = saved;
}

bool log_rate_pass(struct log_rate *rate, const char *message_id)
{
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = ts.tv_sec * UINT64_C(1000000) + ts.tv_nsec / 1000;
	if (rate->n == 0 || now - rate->begin_usec >= rate->interval_usec) {
		if (rate->suppressed > 0)
			log_line(LOG_NOTICE, message_id, NULL,
				 "%u more lines like the next were left out", rate->suppressed);
		rate->begin_usec = now;
		rate->n = rate->suppressed = 0;
	}
	if (rate->n >= rate->burst) {
		rate->suppressed++;
		return false;
	}
	rate->n++;
	return true;
}
