// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "intake.h"

/* Bytes read at once, if no message needs more. */
#define READ_BYTES 4096
/* Of a greeting; sd-bus's own client says three lines. */
#define LINE_MAX_BYTES 256
#define LINES_MAX 16
#define HEADER_BYTES 16
/* Thrown away in one turn. */
#define DISCARD_BYTES (16 * 1024)

struct intake {
	int fd, out;
	uid_t uid;
	unsigned int lines;
	bool greeted;
	/* What was read and not passed on yet; NULL while there is nothing: most connections idle. */
	uint8_t *data;
	size_t length, room;
	/* Of a message that is too large. */
	uint64_t discard, discarded; /* bytes still to come, and in all */
	uint32_t serial;
};

int intake_new(int fd, uid_t uid, struct intake **ret_intake, int *ret_fd)
{
	struct intake *i;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	i = g_new0(struct intake, 1);
	i->fd = fd;
	i->out = pair[0];
	i->uid = uid;
	*ret_intake = i;
	*ret_fd = pair[1];
	return 0;
}

struct intake *intake_free(struct intake *i)
{
	if (i) {
		close(i->out);
		g_free(i->data);
		g_free(i);
	}
	return NULL;
}

bool intake_greeted(const struct intake *i)
{
	return i->greeted;
}

/* At most n bytes, at least 1; 0: there is nothing more. */
static ssize_t take(struct intake *i, void *data, size_t n)
{
	struct iovec piece = { data, n };
	struct msghdr h = { .msg_iov = &piece, .msg_iovlen = 1 };
	ssize_t got;

	do {
		/* Without room for them the kernel closes descriptors, and says that there were some. */
		got = recvmsg(i->fd, &h, MSG_DONTWAIT);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? 0 : -ECONNRESET;
	if (got == 0)
		return -ECONNRESET;
	return h.msg_flags & MSG_CTRUNC ? -EPROTO : got;
}

/* Read until there are want bytes, or nothing more. 1: they are there. */
static int fill(struct intake *i, size_t want)
{
	while (i->length < want) {
		ssize_t n;

		if (i->room < MAX(want, READ_BYTES)) {
			i->room = MAX(want, READ_BYTES);
			i->data = g_realloc(i->data, i->room);
		}
		n = take(i, i->data + i->length, i->room - i->length);
		if (n <= 0)
			return (int)n;
		i->length += n;
	}
	return 1;
}

static void consume(struct intake *i, size_t n)
{
	i->length -= n;
	memmove(i->data, i->data + n, i->length);
	/* One large message does not cost its memory for ever. */
	if (i->length == 0) {
		g_clear_pointer(&i->data, g_free);
		i->room = 0;
	}
}

static int pass_on(struct intake *i, const void *data, size_t n)
{
	ssize_t sent = send(i->out, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0)
		return errno == EAGAIN ? -EAGAIN : -ECONNRESET;
	/* The pair holds more than the largest message, and is empty when sd-bus has processed the last. */
	return (size_t)sent == n ? 1 : -ECONNRESET;
}

/* --- Greeting ------------------------------------------------------------------------------- */

/* "31303030", as in the token of AUTH EXTERNAL: the uid in decimal, each digit in hexadecimal. */
static void put_token(GString *s, uid_t uid)
{
	char digits[16];

	snprintf(digits, sizeof(digits), "%u", uid);
	for (const char *p = digits; *p; p++)
		g_string_append_printf(s, "%02x", *p);
}

/* The line that says of the daemon what this one says of the client. */
static void translate(GString *out, const char *command, const char *token, uid_t uid)
{
	g_autoptr(GString) own = g_string_new(NULL);

	g_string_append(out, command);
	if (!*token)
		return; /* "whoever the socket says" */
	put_token(own, uid);
	g_string_append_c(out, ' ');
	/* A wrong one stays wrong. */
	put_token(out, g_ascii_strcasecmp(token, own->str) == 0 ? geteuid() : geteuid() + 1);
}

static int next_line(struct intake *i)
{
	g_autoptr(GString) out = g_string_new(NULL);
	g_autofree char *line = NULL;
	/* sd-bus wants the byte before the first line along with it. */
	size_t skip = i->lines == 0 ? 1 : 0;
	const uint8_t *end = NULL;
	size_t length;
	int r;

	if (i->length > skip + 1)
		end = memmem(i->data + skip, i->length - skip, "\r\n", 2);
	if (!end) {
		/* As much as is there: a line has no length of its own. */
		r = fill(i, i->length + 1);
		if (r <= 0)
			return r;
		if (i->length > skip + 1)
			end = memmem(i->data + skip, i->length - skip, "\r\n", 2);
		if (!end)
			return i->length > LINE_MAX_BYTES ? -EBADMSG : 0;
	}
	length = end + 2 - i->data;
	if (length > LINE_MAX_BYTES || i->lines >= LINES_MAX || (skip && i->data[0] != '\0'))
		return -EBADMSG;
	line = g_strndup((const char *)i->data + skip, length - skip - 2);
	if (strlen(line) != length - skip - 2)
		return -EBADMSG;

	if (skip)
		g_string_append_c(out, '\0');
	if (g_str_has_prefix(line, "AUTH EXTERNAL "))
		translate(out, "AUTH EXTERNAL", line + strlen("AUTH EXTERNAL "), i->uid);
	else if (g_str_has_prefix(line, "DATA "))
		translate(out, "DATA", line + strlen("DATA "), i->uid);
	else
		g_string_append(out, line);
	g_string_append(out, "\r\n");

	r = pass_on(i, out->str, out->len);
	if (r < 0)
		return r;
	i->lines++;
	i->greeted = strcmp(line, "BEGIN") == 0;
	consume(i, length);
	return 1;
}

/* --- Messages ------------------------------------------------------------------------------- */

static uint32_t header_word(const uint8_t *h, size_t at)
{
	uint32_t word;

	memcpy(&word, h + at, 4);
	return h[0] == 'l' ? GUINT32_FROM_LE(word) : GUINT32_FROM_BE(word);
}

static int discard_some(struct intake *i)
{
	uint8_t rubbish[DISCARD_BYTES];
	ssize_t n = take(i, rubbish, MIN(i->discard, sizeof(rubbish)));

	if (n <= 0)
		return (int)n;
	i->discard -= n;
	return i->discard == 0 ? INTAKE_DISCARDED : 1;
}

/* Its header is there, and perhaps more. */
static int discard(struct intake *i, uint64_t total)
{
	size_t n = MIN(i->length, total);
	/* A call (1), without the flag NO_REPLY_EXPECTED (1). */
	bool asks = i->data[1] == 1 && !(i->data[2] & 1);

	i->serial = asks ? header_word(i->data, 8) : 0;
	i->discarded = total;
	i->discard = total - n;
	consume(i, n);
	return i->discard == 0 ? INTAKE_DISCARDED : 1;
}

uint64_t intake_discarded(const struct intake *i, uint32_t *ret_serial)
{
	*ret_serial = i->serial;
	return i->discarded;
}

static int next_message(struct intake *i)
{
	uint64_t total;
	int r;

	if (i->discard > 0)
		return discard_some(i);
	r = fill(i, HEADER_BYTES);
	if (r <= 0)
		return r;
	if ((i->data[0] != 'l' && i->data[0] != 'B') || i->data[3] != 1)
		return -EBADMSG;
	/* Header, its fields filled up to a multiple of 8, body. */
	total = HEADER_BYTES + (((uint64_t)header_word(i->data, 12) + 7) & ~UINT64_C(7)) +
		header_word(i->data, 4);
	if (total > INTAKE_DISCARD_MAX)
		return -EMSGSIZE;
	if (total > INTAKE_MESSAGE_MAX)
		return discard(i, total);
	r = fill(i, total);
	if (r <= 0)
		return r;
	r = pass_on(i, i->data, total);
	if (r < 0)
		return r;
	consume(i, total);
	return 1;
}

int intake_next(struct intake *i)
{
	return i->greeted ? next_message(i) : next_line(i);
}
