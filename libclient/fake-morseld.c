// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fake-morseld.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#define MUST(expression)                                                                    \
	do {                                                                                \
		if (!(expression)) {                                                        \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #expression, \
				strerror(errno));                                           \
			abort();                                                            \
		}                                                                           \
	} while (0)

struct fake {
	int listen_fd, stop_fd, release_fd;
	pthread_t thread;
	atomic_uint calls, connections;
	bool hangup;
	sd_bus *bus;
	char tier[64]; /* of the last Move */
};

static void send_signals(sd_bus *bus, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		MUST(sd_bus_emit_signal(bus, "/org/parperos/Morsel1/job/1",
					"org.freedesktop.DBus.Properties", "PropertiesChanged",
					"sa{sv}as", "org.parperos.Morsel1.Job", 1, "DoneBytes", "t",
					(uint64_t)i, 0) >= 0);
}

/* Print a value as text, enough for what libmorsel sends. */
static void print_value(sd_bus_message *m, FILE *f)
{
	const char *contents, *s;
	uint64_t t;
	uint32_t u;
	int32_t i;
	char type;
	int b;

	MUST(sd_bus_message_peek_type(m, &type, &contents) > 0);
	switch (type) {
	case 's':
		MUST(sd_bus_message_read_basic(m, type, &s) > 0);
		fputs(s, f);
		break;
	case 't':
		MUST(sd_bus_message_read_basic(m, type, &t) > 0);
		fprintf(f, "%llu", (unsigned long long)t);
		break;
	case 'u':
		MUST(sd_bus_message_read_basic(m, type, &u) > 0);
		fprintf(f, "%u", u);
		break;
	case 'i':
		MUST(sd_bus_message_read_basic(m, type, &i) > 0);
		fprintf(f, "%d", i);
		break;
	case 'b':
		MUST(sd_bus_message_read_basic(m, type, &b) > 0);
		fputs(b ? "true" : "false", f);
		break;
	default: /* a v e: containers */
		MUST(sd_bus_message_enter_container(m, type, contents) > 0);
		fputc(type == 'e' ? '{' : '[', f);
		while (sd_bus_message_at_end(m, false) == 0)
			print_value(m, f), fputc(' ', f);
		fputc(type == 'e' ? '}' : ']', f);
		MUST(sd_bus_message_exit_container(m) >= 0);
		break;
	}
}

static int reply_options(sd_bus_message *m)
{
	sd_bus_error e = SD_BUS_ERROR_NULL;
	char text[2048] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");
	int r;

	MUST(f);
	print_value(m, f);
	fclose(f);
	sd_bus_error_set(&e, "org.parperos.Morsel1.Error.InvalidArgument", text);
	r = sd_bus_reply_method_error(m, &e);
	sd_bus_error_free(&e);
	return r;
}

static int append_info(sd_bus_message *reply, const char *name, uint64_t size)
{
	const char *storage = strcmp(name, "module") == 0 ? name : "node";
	const char *backing = strcmp(name, "hugetlb") == 0 || strcmp(name, "thp") == 0 ? name
										       : "4k";
	const char *id = strcmp(name, "long-id") == 0 ? "0123456789abcdef0123456789abcdef0"
						      : "0123456789abcdef0123456789abcdef";
	int r;

	r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (strcmp(name, "no-info") == 0)
		return sd_bus_message_close_container(reply);
	if (r >= 0 && strcmp(name, "no-id") != 0)
		r = sd_bus_message_append(reply, "{sv}", "id", "s", id);
	if (r >= 0 && strcmp(name, "bad-type") == 0)
		r = sd_bus_message_append(reply, "{sv}", "size_bytes", "s", "many");
	else if (r >= 0)
		r = sd_bus_message_append(reply, "{sv}", "size_bytes", "t", size);
	if (r >= 0 && strcmp(name, "extra") == 0)
		r = sd_bus_message_append(reply, "{sv}{sv}", "new_field", "a{st}", 1, "x",
					  (uint64_t)1, "newer", "(su)", "y", 2u);
	if (r >= 0)
		r = sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "name", "s", name,
					  "storage", "s", storage, "page_backing", "s", backing,
					  "owner", "u", 1234u, "group", "u", 56u, "mode", "u",
					  0640u, "page_size_bytes", "t",
					  (uint64_t)(backing[0] == '4' ? 4096 : 2097152));
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int reply_object(sd_bus_message *m, const char *name, uint64_t size, bool is_create)
{
	sd_bus_message *reply = NULL;
	int fd, r;

	fd = memfd_create("fake", MFD_CLOEXEC);
	MUST(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0 && is_create)
		r = sd_bus_message_append(reply, "s", "0123456789abcdef0123456789abcdef");
	if (r >= 0)
		r = sd_bus_message_append(reply, "h", fd);
	if (r >= 0)
		r = append_info(reply, name, size);
	if (r >= 0)
		r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	close(fd);
	return r;
}

static int on_object_call(struct fake *f, sd_bus_message *m, bool is_create)
{
	static const char own[] = "org.parperos.Morsel1.Error.";
	uint64_t size = 8 << 20;
	const char *name, *access;
	char error[300], text[300];
	sd_bus_error e;
	int r;

	r = is_create ? sd_bus_message_read(m, "st", &name, &size)
		      : sd_bus_message_read(m, "ss", &name, &access);
	if (r < 0)
		return r;
	if (strcmp(name, "hangup") == 0) {
		f->hangup = true;
		return 1;
	}
	if (strcmp(name, "options") == 0)
		return reply_options(m);
	if (strncmp(name, "error:", 6) == 0 || strncmp(name, "foreign:", 8) == 0) {
		bool foreign = name[0] == 'f';

		snprintf(error, sizeof(error), "%s%s", foreign ? "" : own,
			 name + (foreign ? 8 : 6));
		snprintf(text, sizeof(text), "fake: %s", name + (foreign ? 8 : 6));
		e = SD_BUS_ERROR_MAKE_CONST(error, text);
		return sd_bus_reply_method_error(m, &e);
	}
	if (strcmp(name, "signals") == 0)
		send_signals(f->bus, 1000);
	return reply_object(m, name, size, is_create);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	const char *member = sd_bus_message_get_member(m), *id, *tier;
	struct fake *f = userdata;

	if (!sd_bus_message_is_method_call(m, NULL, NULL) ||
	    sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Peer", NULL))
		return 0;
	atomic_fetch_add(&f->calls, 1);
	if (strcmp(member, "Create") == 0 || strcmp(member, "Open") == 0)
		return on_object_call(f, m, member[0] == 'C');
	if (strcmp(member, "Destroy") == 0)
		return sd_bus_reply_method_return(m, "");
	if (strcmp(member, "Move") == 0) {
		if (sd_bus_message_read(m, "ss", &id, &tier) < 0)
			return -EINVAL;
		snprintf(f->tier, sizeof(f->tier), "%s", tier);
		return sd_bus_reply_method_return(m, "o", "/org/parperos/Morsel1/job/1");
	}
	if (strcmp(member, "Wait") == 0) {
		uint64_t n;

		if (strcmp(f->tier, "held") == 0) {
			MUST(read(f->release_fd, &n, sizeof(n)) == (ssize_t)sizeof(n));
			snprintf(f->tier, sizeof(f->tier), "done");
		}
		send_signals(f->bus, 1000);
		return sd_bus_reply_method_return(
			m, "ssa{sv}", f->tier, strcmp(f->tier, "done") == 0 ? "" : "fake: no", 5,
			"moved_bytes", "t", (uint64_t)4096, "already_bytes", "t", (uint64_t)8192,
			"absent_bytes", "t", (uint64_t)12288, "failed_bytes", "t", (uint64_t)16384,
			"failed_reasons", "a{st}", 1, "EBUSY", (uint64_t)16384);
	}
	if (strcmp(member, "Residency") == 0)
		return sd_bus_reply_method_return(m, "a{sv}", 4, "offset_bytes", "t", (uint64_t)0,
						  "tiers", "a{st}", 2, "dram0", (uint64_t)4096,
						  "hbm0", (uint64_t)8192, "nodes", "a{ut}", 1, 0,
						  (uint64_t)4096, "absent_bytes", "t",
						  (uint64_t)12288);
	return 0;
}

/* Serve one connection until it ends or the fake stops. Returns false to stop. */
static bool serve(struct fake *f, int fd)
{
	bool stop = false;
	sd_bus *bus = NULL;
	sd_id128_t id;

	atomic_fetch_add(&f->connections, 1);
	f->hangup = false;
	MUST(sd_id128_randomize(&id) >= 0 && sd_bus_new(&bus) >= 0);
	MUST(sd_bus_set_fd(bus, fd, fd) >= 0 && sd_bus_set_server(bus, 1, id) >= 0);
	MUST(sd_bus_negotiate_fds(bus, 1) >= 0 && sd_bus_start(bus) >= 0);
	MUST(sd_bus_add_filter(bus, NULL, on_message, f) >= 0);
	f->bus = bus;
	while (!f->hangup && !stop) {
		int r = sd_bus_process(bus, NULL);
		uint64_t until;
		struct pollfd fds[2] = { { .fd = fd }, { .fd = f->stop_fd, .events = POLLIN } };

		if (r < 0)
			break;
		if (r > 0)
			continue;
		fds[0].events = (short)sd_bus_get_events(bus);
		if (sd_bus_get_timeout(bus, &until) < 0)
			break;
		MUST(poll(fds, 2, until == UINT64_MAX ? -1 : 100) >= 0 || errno == EINTR);
		stop = fds[1].revents != 0;
	}
	sd_bus_close_unref(bus);
	return !stop;
}

static void *run(void *userdata)
{
	struct fake *f = userdata;
	bool more = true;

	while (more) {
		struct pollfd fds[2] = { { .fd = f->listen_fd, .events = POLLIN },
					 { .fd = f->stop_fd, .events = POLLIN } };
		int fd;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			break;
		fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			more = serve(f, fd);
	}
	return NULL;
}

struct fake *fake_start(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct fake *f = calloc(1, sizeof(*f));

	MUST(f && strlen(path) < sizeof(sa.sun_path));
	strcpy(sa.sun_path, path);
	unlink(path);
	f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	f->stop_fd = eventfd(0, EFD_CLOEXEC);
	f->release_fd = eventfd(0, EFD_CLOEXEC);
	MUST(f->listen_fd >= 0 && f->stop_fd >= 0 && f->release_fd >= 0);
	MUST(bind(f->listen_fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	MUST(listen(f->listen_fd, 16) == 0);
	MUST(pthread_create(&f->thread, NULL, run, f) == 0);
	return f;
}

unsigned int fake_calls(struct fake *f)
{
	return atomic_load(&f->calls);
}

unsigned int fake_connections(struct fake *f)
{
	return atomic_load(&f->connections);
}

void fake_release(struct fake *f)
{
	uint64_t one = 1;

	MUST(write(f->release_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

void fake_stop(struct fake *f)
{
	uint64_t one = 1;

	MUST(write(f->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
	MUST(pthread_join(f->thread, NULL) == 0);
	close(f->listen_fd);
	close(f->stop_fd);
	close(f->release_fd);
	free(f);
}
