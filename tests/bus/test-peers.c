// SPDX-License-Identifier: GPL-2.0-or-later
/* Peers that vanish, say half of it, say nonsense, never listen, or come in crowds. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

#define MIB (UINT64_C(1) << 20)

static struct harness *h;

static void say(int fd, const void *data, size_t length)
{
	g_assert_cmpint(send(fd, data, length, MSG_NOSIGNAL), ==, length);
}

static void must_serve(sd_bus *bus)
{
	sd_bus_message_unref(must_call(bus, "ListTiers", ""));
}

/* What comes within ten seconds, or "" when the connection is closed. */
static char *hear(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buffer[512];
	ssize_t n;

	g_assert_cmpint(poll(&p, 1, 20000), >, 0);
	n = recv(fd, buffer, sizeof(buffer) - 1, 0);
	return g_strndup(buffer, n > 0 ? n : 0);
}

/* first: what is said in one piece with the end of the greeting. */
static void greet_with(int fd, const void *first, size_t length)
{
	g_autoptr(GByteArray) last = g_byte_array_new();
	g_autofree char *uid = g_strdup_printf("%u", getuid());
	g_autoptr(GString) line = g_string_new("AUTH EXTERNAL ");
	g_autofree char *answer = NULL;

	for (char *p = uid; *p; p++)
		g_string_append_printf(line, "%02x", *p);
	g_string_append(line, "\r\n");
	say(fd, "\0", 1);
	say(fd, line->str, line->len);
	answer = hear(fd);
	g_assert_true(g_str_has_prefix(answer, "OK "));
	say(fd, "NEGOTIATE_UNIX_FD\r\n", 19);
	g_free(answer);
	answer = hear(fd);
	g_assert_cmpstr(answer, ==, "AGREE_UNIX_FD\r\n");
	g_byte_array_append(last, (const uint8_t *)"BEGIN\r\n", 7);
	g_byte_array_append(last, first, length);
	say(fd, last->data, last->len);
}

static void greet(int fd)
{
	greet_with(fd, "", 0);
}

static void test_vanish(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		int silent = harness_connect_raw(h);
		unsigned int descriptors;
		g_autofree char *nothing = NULL;

		must_serve(bus);
		descriptors = harness_descriptors(h);
		for (unsigned int i = 0; i < 200; i++) {
			int fd = harness_connect_raw(h);

			if (i % 4 == 1)
				say(fd, "\0AUTH EXT", 9);
			if (i % 4 == 2)
				greet(fd);
			if (i % 4 == 3) {
				greet(fd);
				/* A header that announces more than comes. */
				say(fd, "l\1\0\1\200\0\0\0\1\0\0\0\160\0\0\0", 16);
			}
			close(fd);
		}
		harness_wait_descriptors(h, descriptors);
		must_serve(bus);
		/* One that never greets is not kept. */
		nothing = hear(silent);
		g_assert_cmpstr(nothing, ==, "");
		close(silent);
		harness_wait_log(h, "did not greet");
	}
	harness_free(h);
}

static void nonsense(const char *data, size_t length)
{
	int fd = harness_connect_raw(h);
	g_autofree char *answer = NULL;

	greet(fd);
	say(fd, data, length);
	answer = hear(fd);
	g_assert_cmpstr(answer, ==, "");
	close(fd);
}

static void test_nonsense(void)
{
	g_autofree char *zeros = g_malloc0(4096);

	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		g_autofree char *rejected = NULL;
		unsigned int descriptors;
		int fd;

		must_serve(bus);
		descriptors = harness_descriptors(h);

		/* Another uid than the socket's. */
		fd = harness_connect_raw(h);
		say(fd, "\0AUTH EXTERNAL 3132333435\r\n", 27);
		rejected = hear(fd);
		g_assert_true(g_str_has_prefix(rejected, "REJECTED"));
		close(fd);
		fd = harness_connect_raw(h);
		g_free(rejected);
		say(fd, "\0AUTH ANONYMOUS\r\n", 17);
		rejected = hear(fd);
		g_assert_true(g_str_has_prefix(rejected, "REJECTED"));
		close(fd);

		nonsense(zeros, 4096);
		nonsense("GET / HTTP/1.1\r\n\r\n", 18);
		/* 4 GiB of body; 128 MiB of header. */
		nonsense("l\1\0\1\377\377\377\377\1\0\0\0\160\0\0\0", 16);
		nonsense("l\1\0\1\0\0\0\0\1\0\0\0\377\377\377\7", 16);
		must_serve(bus);
		harness_wait_descriptors(h, descriptors);
	}
	harness_free(h);
}

static void put(GByteArray *a, const void *data, size_t length, size_t align)
{
	static const uint8_t zeros[8];

	while (a->len % align)
		g_byte_array_append(a, zeros, 1);
	g_byte_array_append(a, data, length);
}

static void put_string(GByteArray *a, const char *s, uint32_t length)
{
	put(a, &length, 4, 4);
	put(a, s, length + 1, 1);
}

static void put_field(GByteArray *a, uint8_t code, char type, const char *value)
{
	uint8_t head[4] = { code, 1, type, 0 };
	uint8_t length = strlen(value);

	put(a, head, 4, 8);
	if (type == 'g') {
		put(a, &length, 1, 1);
		put(a, value, length + 1, 1);
	} else {
		put_string(a, value, length);
	}
}

/* sd-bus does not send a name with a NUL in it, nor a message in one piece with the greeting: by hand. */
static void create_by_hand(const char *name, size_t name_length, uint8_t want_type)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		g_autoptr(GByteArray) m = g_byte_array_new(), body = g_byte_array_new();
		uint64_t size = 4096;
		uint32_t n, serial = 1, fields_at = 12;
		g_autofree char *answer = NULL;
		int fd = harness_connect_raw(h);
		unsigned int descriptors;

		must_serve(bus);
		descriptors = harness_descriptors(h);
		put_string(body, name, name_length);
		put(body, &size, 8, 8);
		n = 0;
		put(body, &n, 4, 4); /* an empty a{sv}, whose elements would be aligned to 8 */
		put(body, "", 0, 8);
		n = body->len;
		put(m, "l\1\0\1", 4, 1);
		put(m, &n, 4, 4);
		put(m, &serial, 4, 4);
		put(m, &n, 4, 4); /* length of the fields: below */
		put_field(m, 1, 'o', MANAGER_PATH);
		put_field(m, 2, 's', MANAGER);
		put_field(m, 3, 's', "Create");
		put_field(m, 8, 'g', "sta{sv}");
		n = m->len - 16;
		memcpy(m->data + fields_at, &n, 4);
		put(m, body->data, body->len, 8);

		greet_with(fd, m->data, m->len);
		answer = hear(fd);
		/* A method's return or an error. */
		g_assert_cmpint(answer[0], ==, 'l');
		g_assert_cmpint(answer[1], ==, want_type);
		close(fd);
		must_serve(bus);
		/* When they were counted, this one had not greeted yet. */
		harness_wait_descriptors(h, descriptors - 1 + (want_type == 2));
		g_assert_cmpuint(harness_property_t(bus, "morsels"), ==, want_type == 2);
	}
	harness_free(h);
}

static void test_nul(void)
{
	create_by_hand("a\0b", 3, 3);
}

static void test_one_piece(void)
{
	create_by_hand("ab", 2, 2);
}

static void send_and_leave(const char *method, const char *types, ...)
{
	sd_bus *bus = harness_connect(h);
	automessage *m = manager_message(bus, method);
	uint64_t cookie;
	va_list args;

	va_start(args, types);
	g_assert_cmpint(sd_bus_message_appendv(m, types, args), >=, 0);
	va_end(args);
	g_assert_cmpint(sd_bus_send(bus, m, &cookie), >=, 0);
	g_assert_cmpint(sd_bus_flush(bus), >=, 0);
	m = sd_bus_message_unref(m);
	sd_bus_close_unref(bus);
}

static bool populated(void *data)
{
	return harness_property_t(data, "created") == 2;
}

static void test_vanish_mid_call(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		unsigned int descriptors;

		sd_bus_message_unref(must_call(bus, "Create", "sta{sv}", "x", 64 * MIB, 1,
					       "populate", "b", true));
		descriptors = harness_descriptors(h);
		for (unsigned int i = 0; i < 50; i++) {
			send_and_leave("Residency", "sa{sv}", "x", 1, "exact", "b", true);
			send_and_leave("Explain", "sa{sv}", "x", 1, "exact", "b", true);
			send_and_leave("List", "sua{sv}", "", 1000, 0);
			send_and_leave("Open", "ss", "x", "rw");
			send_and_leave("Stats", "");
			send_and_leave("Doctor", "");
		}
		harness_wait_descriptors(h, descriptors);
		must_serve(bus);
		/* What was begun is finished: it is there, under its name. */
		send_and_leave("Create", "sta{sv}", "y", 64 * MIB, 1, "populate", "b", true);
		harness_wait(populated, bus, "the morsel is there though nobody waits");
		sd_bus_message_unref(must_call(bus, "Show", "s", "y"));
		harness_wait_descriptors(h, descriptors + 1);
	}
	harness_free(h);
}

static uint64_t rss_kib(void)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/status", h->daemon);
	g_autofree char *text = NULL;
	const char *line;

	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	line = strstr(text, "VmRSS:");
	g_assert_nonnull(line);
	return g_ascii_strtoull(line + strlen("VmRSS:"), NULL, 10);
}

/* Calls without end, and no reply is ever read: the daemon serves some, then no more of this client. */
static void test_never_reads(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		sd_bus *deaf = harness_connect(h);
		uint64_t cookie, before, queued = 0;
		unsigned int descriptors;

		g_free(must_create(bus, "x", 4096));
		g_assert_cmpint(sd_bus_flush(deaf), >=, 0);
		descriptors = harness_descriptors(h);
		before = rss_kib();
		for (unsigned int i = 0; i < 100000; i++) {
			automessage *m = manager_message(deaf, "Show");

			g_assert_cmpint(sd_bus_message_append(m, "s", "x"), >=, 0);
			/* Without a cookie no reply would be wanted. Not flushed: that would wait. */
			g_assert_cmpint(sd_bus_send(deaf, m, &cookie), >=, 0);
			if (i % 1000 == 0)
				must_serve(bus);
		}
		/* What the sockets do not hold waits at the client, not in the daemon. */
		g_assert_cmpint(sd_bus_get_n_queued_write(deaf, &queued), >=, 0);
		g_assert_cmpuint(queued, >, 10000);
		must_serve(bus);
		g_assert_cmpuint(rss_kib(), <, before + 8192);
		sd_bus_close_unref(deaf);
		harness_wait_descriptors(h, descriptors - CONNECTION_DESCRIPTORS);
	}
	harness_free(h);
}

/* It reads late, but it reads: every call has its answer. */
static void test_reads_late(void)
{
	enum {
		CALLS = 3000
	};
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		unsigned int answers = 0;
		uint64_t cookie, queued = 1;

		g_free(must_create(bus, "x", 4096));
		for (unsigned int i = 0; i < CALLS; i++) {
			automessage *m = manager_message(bus, "Show");

			g_assert_cmpint(sd_bus_message_append(m, "s", "x"), >=, 0);
			g_assert_cmpint(sd_bus_send(bus, m, &cookie), >=, 0);
		}
		while (answers < CALLS || queued > 0) {
			automessage *m = NULL;
			int r = sd_bus_process(bus, &m);

			g_assert_cmpint(r, >=, 0);
			answers += m && sd_bus_message_is_method_error(m, NULL) == 0;
			if (r == 0)
				g_assert_cmpint(sd_bus_wait(bus, 20000000), >, 0);
			g_assert_cmpint(sd_bus_get_n_queued_write(bus, &queued), >=, 0);
		}
		g_assert_cmpuint(answers, ==, CALLS);
	}
	harness_free(h);
}

static void must_close(int fd, const char *log)
{
	g_autofree char *answer = hear(fd);

	g_assert_cmpstr(answer, ==, "");
	close(fd);
	harness_wait_log(h, log);
}

static void send_unasked(sd_bus *bus, const char *name)
{
	automessage *m = manager_message(bus, "Show");

	g_assert_cmpint(sd_bus_message_append(m, "s", name), >=, 0);
	g_assert_cmpint(sd_bus_message_set_expect_reply(m, false), >=, 0);
	g_assert_cmpint(sd_bus_send(bus, m, NULL), >=, 0);
}

/* A header, a body that is announced and comes, or does not. */
static void test_large(void)
{
	g_autofree char *body = g_malloc0(64 * 1024);

	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		g_autofree char *name = g_strnfill(16000, 'x'), *long_name = g_strnfill(40000, 'x');
		g_autofree char *huge_name = g_strnfill(3 << 20, 'x');
		unsigned int descriptors;
		uint64_t before;
		int fd;

		must_serve(bus);
		descriptors = harness_descriptors(h);
		before = rss_kib();
		/* More than D-Bus knows: refused by the header alone. */
		fd = harness_connect_raw(h);
		greet(fd);
		say(fd, "l\1\0\1\0\0\0\10\1\0\0\0\160\0\0\0", 16);
		must_close(fd, "sent a message of more than 128 MiB");
		/* 100 MiB announced: nothing is kept of what comes. */
		fd = harness_connect_raw(h);
		greet(fd);
		say(fd, "l\1\0\1\0\0\100\6\1\0\0\0\160\0\0\0", 16);
		for (unsigned int i = 0; i < 200; i++)
			say(fd, body, 64 * 1024);
		must_serve(bus);
		g_assert_cmpuint(rss_kib(), <, before + 4096);
		close(fd);
		harness_wait_descriptors(h, descriptors);
		/* Within the limit, but only half of it ever comes: it waits, and costs others nothing. */
		fd = harness_connect_raw(h);
		greet(fd);
		say(fd, "l\1\0\1\0\100\0\0\1\0\0\0\160\0\0\0", 16);
		say(fd, body, 8000);
		must_serve(bus);
		close(fd);
		harness_wait_descriptors(h, descriptors);
		/* What fits gets its error, and so does what does not, however large: the connection goes on. */
		must_fail(bus, "InvalidArgument", "too long|(16000 bytes)", "Create", "sta{sv}",
			  name, (uint64_t)4096, 0);
		must_fail(bus, "InvalidArgument",
			  "a message of 40|bytes; on this socket|32768 bytes", "Show", "s",
			  long_name);
		must_fail(bus, "InvalidArgument", "a message of 31|bytes; on this socket", "Show",
			  "s", huge_name);
		must_serve(bus);
		/* Unless no answer is wanted. */
		send_unasked(bus, long_name);
		must_serve(bus);
	}
	harness_free(h);
}

/* No call takes descriptors: they are closed at once, and so is the connection. */
static void test_descriptors_in(void)
{
	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		union {
			struct cmsghdr header;
			char bytes[CMSG_SPACE(50 * sizeof(int))];
		} control = {};
		struct iovec piece = { .iov_base = "l\1\0\1", .iov_len = 4 };
		struct msghdr message = { .msg_iov = &piece,
					  .msg_iovlen = 1,
					  .msg_control = &control,
					  .msg_controllen = sizeof(control) };
		unsigned int descriptors;
		int fd;

		must_serve(bus);
		descriptors = harness_descriptors(h);
		fd = harness_connect_raw(h);
		greet(fd);
		control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS,
						   .cmsg_len = CMSG_LEN(50 * sizeof(int)) };
		for (unsigned int i = 0; i < 50; i++)
			memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &fd, sizeof(int));
		g_assert_cmpint(sendmsg(fd, &message, MSG_NOSIGNAL), ==, 4);
		must_close(fd, "sent descriptors, which no call takes");
		harness_wait_descriptors(h, descriptors);
		must_serve(bus);
	}
	harness_free(h);
}

/* Greetings that are not: too long, too many lines, messages before the end. */
static void test_greetings(void)
{
	g_autofree char *x = g_strnfill(300, 'x');

	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		unsigned int descriptors;
		int fd;

		must_serve(bus);
		descriptors = harness_descriptors(h);
		fd = harness_connect_raw(h);
		say(fd, "\0AUTH EXTERNAL ", 15);
		say(fd, x, 300);
		must_close(fd, "is not D-Bus");
		fd = harness_connect_raw(h);
		say(fd, "AUTH EXTERNAL\r\n", 15);
		must_close(fd, "is not D-Bus");
		/* BEGIN that sd-bus does not accept, and a message that would then be read as one. */
		fd = harness_connect_raw(h);
		say(fd, "\0BEGIN\r\n", 8);
		{
			g_autofree char *refusal = hear(fd);

			g_assert_true(g_str_equal(refusal, "ERROR\r\n") ||
				      g_str_equal(refusal, ""));
			/* Closed at once, not when the time for greetings is over. */
			if (refusal[0])
				must_close(fd, "is not D-Bus");
			else
				close(fd);
			harness_wait_descriptors(h, descriptors);
			{
				g_autofree char *log = harness_log(h);

				g_assert_null(strstr(log, "did not greet"));
			}
		}
		fd = harness_connect_raw(h);
		say(fd, "\0", 1);
		for (unsigned int i = 0; i < 40; i++)
			if (send(fd, "NEGOTIATE_UNIX_FD\r\n", 19, MSG_NOSIGNAL) < 0)
				break;
		close(fd);
		harness_wait_descriptors(h, descriptors);
		/* All in one piece, and without saying who: as newer sd-bus does. */
		fd = harness_connect_raw(h);
		say(fd, "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", 48);
		{
			g_autoptr(GString) heard = g_string_new(NULL);

			while (!strstr(heard->str, "AGREE_UNIX_FD\r\n")) {
				g_autofree char *more = hear(fd);

				g_assert_cmpstr(more, !=, "");
				g_string_append(heard, more);
			}
			g_assert_true(g_str_has_prefix(heard->str, "DATA\r\nOK "));
		}
		close(fd);
		must_serve(bus);
	}
	harness_free(h);
}

static void test_crowd(void)
{
	int fds[520];

	h = harness_new(NULL);
	{
		autobus *bus = harness_connect(h);
		g_autofree char *closed = NULL;
		unsigned int descriptors;

		must_serve(bus);
		descriptors = harness_descriptors(h);
		for (unsigned int i = 0; i < G_N_ELEMENTS(fds); i++)
			fds[i] = harness_connect_raw(h);
		closed = hear(fds[G_N_ELEMENTS(fds) - 1]);
		g_assert_cmpstr(closed, ==, "");
		harness_wait_log(h, "as many as ConnectionsPerUser= allows are open");
		must_serve(bus);
		for (unsigned int i = 0; i < G_N_ELEMENTS(fds); i++)
			close(fds[i]);
		harness_wait_descriptors(h, descriptors);
		{
			autobus *again = harness_connect(h);

			must_serve(again);
		}
	}
	harness_free(h);
}

/* Out of descriptors: an error of its own, and everything else goes on. */
static void test_descriptors(void)
{
	h = harness_new(&(struct harness_options){ .descriptors = 256 });
	{
		autobus *bus = harness_connect(h);
		sd_bus_error error = SD_BUS_ERROR_NULL;
		g_autofree char *closed = NULL;
		unsigned int n = 0, descriptors;
		int fd;

		for (;; n++) {
			automessage *m = manager_message(bus, "Create");
			g_autofree char *name = g_strdup_printf("m%u", n);

			g_assert_cmpint(sd_bus_message_append(m, "sta{sv}", name, (uint64_t)4096,
							      0),
					>=, 0);
			if (sd_bus_call(bus, m, 0, &error, NULL) < 0)
				break;
			g_assert_cmpuint(n, <, 256);
		}
		g_assert_cmpuint(n, >, 100);
		g_assert_cmpstr(error.name, ==, ERROR("NoDescriptors"));
		g_assert_nonnull(strstr(error.message, "256"));
		sd_bus_error_free(&error);
		g_assert_cmpuint(harness_property_t(bus, "morsels"), ==, n);
		must_fail(bus, "NoDescriptors", "'m1'", "Open", "ss", "m1", "ro");
		sd_bus_message_unref(must_call(bus, "Show", "s", "m1"));
		sd_bus_message_unref(must_call(bus, "Residency", "sa{sv}", "m1", 0));
		sd_bus_message_unref(must_call(bus, "Dump", ""));
		fd = harness_connect_raw(h);
		closed = hear(fd);
		g_assert_cmpstr(closed, ==, "");
		close(fd);
		harness_wait_log(h, "out of descriptors");
		/* Room again, when a worker has freed them. */
		descriptors = harness_descriptors(h);
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "m1"));
		sd_bus_message_unref(must_call(bus, "Destroy", "s", "m2"));
		harness_wait_descriptors(h, descriptors - 2);
		sd_bus_message_unref(must_call(bus, "Open", "ss", "m3", "ro"));
		g_free(must_create(bus, "m1", 4096));
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/peers/vanish", test_vanish);
	g_test_add_func("/peers/nonsense", test_nonsense);
	g_test_add_func("/peers/nul", test_nul);
	g_test_add_func("/peers/one-piece", test_one_piece);
	g_test_add_func("/peers/vanish-mid-call", test_vanish_mid_call);
	g_test_add_func("/peers/never-reads", test_never_reads);
	g_test_add_func("/peers/reads-late", test_reads_late);
	g_test_add_func("/peers/large", test_large);
	g_test_add_func("/peers/descriptors-in", test_descriptors_in);
	g_test_add_func("/peers/greetings", test_greetings);
	g_test_add_func("/peers/crowd", test_crowd);
	g_test_add_func("/peers/descriptors", test_descriptors);
	return g_test_run();
}
