// SPDX-License-Identifier: GPL-2.0-or-later
/* What a client sends on the private socket. First byte: 0x80: a good greeting comes first; 0x40: many small messages come
 * behind; the rest: how much is sent at a time. */
#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "fuzz.h"
#include "intake.h"

#define UID 1000
#define TOKEN "31303030"
#define GREETING "\0AUTH EXTERNAL " TOKEN "\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
/* Together more than the largest message, which they are the body of or come behind. */
#define SMALL_MESSAGE "l\2\0\1\0\0\0\0\1\0\0\0\0\0\0\0"
#define SMALL_MESSAGES 2200

struct world {
	struct intake *intake;
	int client, out;
	GByteArray *sent;     /* all that is to be sent */
	size_t written, seen; /* of it: the client's, and in what was passed on or thrown away */
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

/* Of the message at data, where there is a header. */
static uint64_t message_size(const uint8_t *data)
{
	uint32_t body, fields;

	memcpy(&body, data + 4, 4);
	memcpy(&fields, data + 12, 4);
	body = data[0] == 'B' ? GUINT32_FROM_BE(body) : GUINT32_FROM_LE(body);
	fields = data[0] == 'B' ? GUINT32_FROM_BE(fields) : GUINT32_FROM_LE(fields);
	return 16 + ((uint64_t)fields + 7) / 8 * 8 + body;
}

/* What sd-bus is told of who it is must be so of the client. */
static void check_line(struct world *w, const char *out, size_t length)
{
	const uint8_t *in = w->sent->data + w->seen;
	size_t left = w->written - w->seen;
	const uint8_t *end = memmem(in, left, "\r\n", 2);
	g_autofree char *line = NULL, *daemon = g_strdup_printf("%u", geteuid());
	g_autoptr(GString) token = g_string_new(NULL);
	size_t skip = w->seen == 0;

	g_assert_nonnull(end);
	g_assert_cmpuint(length, >, skip + 1);
	g_assert_true(!skip || (in[0] == '\0' && out[0] == '\0'));
	g_assert_cmpmem(out + length - 2, 2, "\r\n", 2);
	g_assert_null(memchr(out + skip, '\0', length - skip));
	g_assert_cmpuint(length, <, 512);
	line = g_strndup((const char *)in + skip, (size_t)(end - in) - skip);
	w->seen += (size_t)(end + 2 - in);
	for (const char *p = daemon; *p; p++)
		g_string_append_printf(token, "%02x", *p);
	for (int i = 0; i < 2; i++) {
		const char *command = i ? "DATA " : "AUTH EXTERNAL ";
		g_autofree char *own = g_strdup_printf("%s%s\r\n", command, token->str);
		bool same = length - skip == strlen(own) &&
			    memcmp(out + skip, own, strlen(own)) == 0;

		if (g_str_has_prefix(line, command))
			g_assert_cmpint(same, ==,
					g_ascii_strcasecmp(line + strlen(command), TOKEN) == 0);
		else
			g_assert_false(same);
	}
	if (!g_str_has_prefix(line, "AUTH EXTERNAL ") && !g_str_has_prefix(line, "DATA "))
		g_assert_cmpmem(out + skip, length - skip - 2, line, strlen(line));
}

/* Whole messages, as they were sent, and none that is too large. */
static void check_message(struct world *w, const uint8_t *out, size_t length)
{
	g_assert_cmpuint(length, >=, 16);
	g_assert_cmpuint(length, <=, INTAKE_MESSAGE_MAX);
	g_assert_cmpuint(length, ==, message_size(out));
	g_assert_cmpuint(w->seen + length, <=, w->written);
	g_assert_cmpmem(out, length, w->sent->data + w->seen, length);
	w->seen += length;
}

static void check_discarded(struct world *w)
{
	const uint8_t *in = w->sent->data + w->seen;
	uint32_t serial, want;
	uint64_t size = intake_discarded(w->intake, &serial);

	g_assert_cmpuint(size, >, INTAKE_MESSAGE_MAX);
	g_assert_cmpuint(size, ==, message_size(in));
	g_assert_cmpuint(size, <=, w->written - w->seen);
	memcpy(&want, in + 8, 4);
	want = in[0] == 'B' ? GUINT32_FROM_BE(want) : GUINT32_FROM_LE(want);
	g_assert_cmpuint(serial, ==, in[1] == 1 && !(in[2] & 1) ? want : 0);
	w->seen += size;
}

/* Of messages only: the one that is next is to blame. */
static void check_refused(const struct world *w, int r)
{
	const uint8_t *in = w->sent->data + w->seen;
	bool good;

	g_assert_cmpuint(w->written - w->seen, >=, 16);
	good = (in[0] == 'l' || in[0] == 'B') && in[3] == 1;
	g_assert_true(r == -EBADMSG ? !good : good && message_size(in) > INTAKE_DISCARD_MAX);
}

/* As long as there is a whole piece. */
static int serve(struct world *w)
{
	static uint8_t out[2 * INTAKE_MESSAGE_MAX];
	bool greeted;
	ssize_t n;
	int r;

	do {
		greeted = intake_greeted(w->intake);
		r = intake_next(w->intake);
		n = recv(w->out, out, sizeof(out), MSG_DONTWAIT);
		g_assert_true(n > 0 ? r == 1 : errno == EAGAIN);
		if (r == INTAKE_DISCARDED)
			check_discarded(w);
		else if (n > 0 && greeted)
			check_message(w, out, (size_t)n);
		else if (n > 0)
			check_line(w, (const char *)out, (size_t)n);
		g_assert_true(greeted || r < 0 || (n > 0) == (r == 1));
	} while (r > 0);
	if (greeted && (r == -EBADMSG || r == -EMSGSIZE))
		check_refused(w, r);
	g_assert_true(r == 0 || r == -ECONNRESET || r == -EBADMSG || r == -EMSGSIZE);
	return r;
}

/* Nothing whole is held back. */
static void check_rest(const struct world *w)
{
	const uint8_t *rest = w->sent->data + w->seen;
	size_t left = w->written - w->seen;

	if (!intake_greeted(w->intake))
		g_assert_true(left < 2 || !memmem(rest + 1, left - 1, "\r\n", 2));
	else
		g_assert_true(left < 16 || message_size(rest) > left);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GByteArray) sent = g_byte_array_new();
	struct world w = { .sent = sent };
	int pair[2], r = 0;
	size_t step;

	if (size == 0)
		return 0;
	if (data[0] & 0x80)
		g_byte_array_append(sent, (const uint8_t *)GREETING, sizeof(GREETING) - 1);
	g_byte_array_append(sent, data + 1, size - 1);
	if (data[0] & 0x40) {
		for (unsigned int i = 0; i < SMALL_MESSAGES; i++)
			g_byte_array_append(sent, (const uint8_t *)SMALL_MESSAGE, 16);
	}
	step = (data[0] & 0x3f) == 0 ? sent->len : 1u << (data[0] & 0xf);

	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			==, 0);
	w.client = pair[0];
	g_assert_cmpint(intake_new(pair[1], UID, &w.intake, &w.out), ==, 0);
	while (r == 0 && w.written < sent->len) {
		ssize_t n = send(w.client, sent->data + w.written,
				 MIN(MAX(step, sent->len / 256), sent->len - w.written),
				 MSG_NOSIGNAL);

		g_assert_cmpint(n, >, 0);
		w.written += (size_t)n;
		r = serve(&w);
		if (r == 0)
			check_rest(&w);
	}
	close(w.client);
	/* Whoever has gone is noticed. */
	if (r == 0)
		g_assert_cmpint(serve(&w), <, 0);
	intake_free(w.intake);
	close(w.out);
	close(pair[1]);
	return 0;
}
