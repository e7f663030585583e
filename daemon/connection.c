// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus-error.h"
#include "connection.h"
#include "intake.h"
#include "job-bus.h"
#include "log.h"
#include "manager-bus.h"
#include "manager.h"
#include "tier-bus.h"

/* A peer that has not finished its greeting by then is closed; a real one needs a millisecond. */
#define AUTH_USEC (10 * UINT64_C(1000000))

/* Apart, so that a flood of one kind does not hide the other. */
static struct log_rate drop_rate = { .interval_usec = 10000000, .burst = 5 };
static struct log_rate greet_rate = { .interval_usec = 10000000, .burst = 5 };

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	connection_close(userdata);
	return 0;
}

static int on_auth_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct connection *c = userdata;

	if (c->bus && sd_bus_is_ready(c->bus) > 0)
		return 0;
	if (log_rate_pass(&greet_rate, LOG_CONNECTION_DROPPED))
		log_line(LOG_NOTICE, LOG_CONNECTION_DROPPED, NULL,
			 "connection of uid %u (pid %d) did not greet within %" PRIu64 " s, closed",
			 c->caller->uid, c->caller->pid, AUTH_USEC / 1000000);
	connection_close(c);
	return 0;
}

static void log_drop(struct connection *c, const char *why)
{
	if (log_rate_pass(&drop_rate, LOG_CONNECTION_DROPPED))
		log_line(LOG_NOTICE, LOG_CONNECTION_DROPPED, NULL,
			 "connection of uid %u (pid %d) %s, closed", c->caller->uid, c->caller->pid,
			 why);
}

static void wake_on(struct connection *c, uint32_t events)
{
	if (turn_watch(&c->turn, c->fd, events) < 0)
		connection_close(c);
}

/* Messages that one piece of input can make sd-bus process, and a few to spare. */
#define PROCESS_MAX 8

static int process(struct connection *c)
{
	int r = 1;

	for (unsigned int i = 0; i < PROCESS_MAX && r > 0 && !c->closed; i++)
		r = sd_bus_process(c->bus, NULL);
	if (r < 0 || c->closed)
		return r;
	/* It began to send messages before sd-bus agreed with its greeting. */
	if (intake_greeted(c->intake) && sd_bus_is_ready(c->bus) <= 0)
		return -EBADMSG;
	return 0;
}

/* What costs as much as some calls, and so is done in the client's turn, when it has said something. */
static int begin(struct connection *c)
{
	int send_bytes = CONNECTION_SEND_BYTES, in, out, r;
	sd_id128_t server_id;

	r = sd_bus_new(&c->bus);
	if (r < 0)
		return r;
	r = intake_new(c->fd, c->caller->uid, &c->intake, &in);
	if (r < 0)
		return r;
	out = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
	r = out < 0 ? -errno : sd_bus_set_fd(c->bus, in, out);
	if (r < 0) {
		close(in);
		if (out >= 0)
			close(out);
		return r;
	}
	r = sd_id128_randomize(&server_id);
	if (r < 0)
		return r;
	r = sd_bus_set_server(c->bus, true, server_id);
	if (r < 0)
		return r;
	r = sd_bus_set_anonymous(c->bus, false);
	if (r < 0)
		return r;
	r = sd_bus_negotiate_fds(c->bus, true);
	if (r < 0)
		return r;
	r = connection_add_objects(c);
	if (r < 0)
		return r;
	r = sd_bus_match_signal(c->bus, NULL, "org.freedesktop.DBus.Local",
				"/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
				"Disconnected", on_disconnected, c);
	if (r < 0)
		return r;
	r = sd_bus_start(c->bus);
	if (r < 0)
		return r;
	/* sd-bus has just raised it to 8 MiB, where it may. */
	if (setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes)) < 0)
		return -errno;
	g_hash_table_insert(c->manager->connections_by_bus, c->bus, c);
	return 0;
}

/* sd-bus answers to a message, and has never seen this one: it is given one of the same number. */
static int refuse_large(struct connection *c)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *call = NULL;
	uint32_t serial;
	uint64_t bytes = intake_discarded(c->intake, &serial);
	int r;

	if (serial == 0)
		return 0;
	r = sd_bus_message_new_method_call(c->bus, &call, NULL, BUS_PATH, BUS_MANAGER, "TooLarge");
	if (r < 0)
		return r;
	r = sd_bus_message_seal(call, serial, 0);
	if (r < 0)
		return r;
	r = sd_bus_reply_method_errorf(call, ERROR_INVALID_ARGUMENT,
				       "a message of %" PRIu64
				       " bytes; on this socket the limit is %d bytes",
				       bytes, INTAKE_MESSAGE_MAX);
	return r < 0 ? r : process(c);
}

/* Has the client said something, or only connected? 1, 0, or -ECONNRESET: it has gone again. */
static int has_spoken(const struct connection *c)
{
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
	return n > 0 ? 1 : -ECONNRESET;
}

/* The next piece of what it sends. 0: there is none yet; -EAGAIN: later. */
static int serve(struct connection *c)
{
	int r;

	if (!c->bus) {
		r = has_spoken(c);
		if (r > 0)
			r = begin(c);
		if (r < 0 && r != -ECONNRESET && log_rate_pass(&drop_rate, LOG_CONNECTION_DROPPED))
			log_line(LOG_WARNING, LOG_CONNECTION_DROPPED, NULL,
				 "connection of uid %u (pid %d): %s, closed", c->caller->uid,
				 c->caller->pid, g_strerror(-r));
		/* Not to be mistaken for the client's. */
		if (r < 0)
			return -ECONNRESET;
		if (!c->bus)
			return 0;
	}
	r = intake_next(c->intake);
	if (r <= 0)
		return r;
	r = r == INTAKE_DISCARDED ? refuse_large(c) : process(c);
	return r < 0 ? r : 1;
}

static bool has_unsent(const struct connection *c)
{
	uint64_t n;

	return c->bus && sd_bus_get_n_queued_write(c->bus, &n) >= 0 && n > 0;
}

void connection_sent(struct manager *manager, sd_bus *bus)
{
	struct connection *c = g_hash_table_lookup(manager->connections_by_bus, bus);

	if (c && has_unsent(c))
		turn_ready(&c->turn);
}

static bool on_turn(struct turn *t)
{
	struct connection *c = (struct connection *)((char *)t - offsetof(struct connection, turn));
	int r;

	if (c->closed) {
		manager_connection_gone(c->manager, c);
		return false;
	}
	/* Late replies, and what did not go out at once. */
	if (has_unsent(c)) {
		if (process(c) < 0)
			connection_close(c);
		if (c->closed)
			return true;
		if (has_unsent(c)) {
			wake_on(c, EPOLLOUT);
			return c->closed;
		}
	}
	r = serve(c);
	if (c->closed)
		return true;
	if (r == 0) {
		wake_on(c, EPOLLIN);
		return c->closed;
	}
	if (r > 0 || r == -EAGAIN)
		return true;
	if (r == -EMSGSIZE)
		log_drop(c, "sent a message of more than 128 MiB");
	else if (r == -EPROTO)
		log_drop(c, "sent descriptors, which no call takes");
	else if (r == -EBADMSG)
		log_drop(c, "sent what is not D-Bus");
	connection_close(c);
	return true;
}

int connection_add_objects(struct connection *c)
{
	int r;

	r = manager_bus_attach(c);
	if (r < 0)
		return r;
	r = tier_bus_attach(c);
	if (r < 0)
		return r;
	return job_bus_attach(c);
}

int connection_accept(struct manager *manager, int fd, struct caller *caller,
		      struct connection **ret_connection)
{
	struct connection *c = g_new0(struct connection, 1);
	int r;

	c->manager = manager;
	c->caller = caller;
	c->fd = fd;
	turn_init(&c->turn, manager->turns, caller, on_turn);
	r = turn_watch(&c->turn, fd, EPOLLIN);
	/* One shot, so that it does not wake an idle daemon later on. */
	if (r >= 0)
		r = sd_event_add_time_relative(manager->event, &c->auth_timer, CLOCK_MONOTONIC,
					       AUTH_USEC, 1000000, on_auth_timeout, c);
	if (r < 0) {
		connection_free(c);
		return r;
	}
	*ret_connection = c;
	return 0;
}
void connection_close(struct connection *c)
{
	if (c->closed)
		return;
	c->closed = true;
	manager_connection_closed(c->manager, c);
	/* Freed in the client's own time. */
	turn_ready(&c->turn);
}

struct connection *connection_free(struct connection *c)
{
	if (!c)
		return NULL;
	sd_event_source_disable_unref(c->auth_timer);
	if (c->bus)
		g_hash_table_remove(c->manager->connections_by_bus, c->bus);
	turn_end(&c->turn);
	/* Messages that wait for a worker hold the bus; it must not come back to c. */
	sd_bus_close_unref(c->bus);
	intake_free(c->intake);
	if (c->caller)
		close(c->fd);
	if (c->caller)
		quota_uncharge(c->caller->account, QUOTA_CONNECTIONS, 1);
	caller_unref(c->caller);
	g_free(c);
	return NULL;
}

bool connection_reads(struct connection *c)
{
	uint64_t n;

	if (c->closed)
		return false;
	if (!c->caller || !c->bus || sd_bus_get_n_queued_write(c->bus, &n) < 0 ||
	    n <= CONNECTION_UNREAD_MAX)
		return true;
	if (log_rate_pass(&drop_rate, LOG_CONNECTION_DROPPED))
		log_line(LOG_NOTICE, LOG_CONNECTION_DROPPED, NULL,
			 "connection of uid %u (pid %d) does not read its replies (%" PRIu64
			 " wait, the limit is %d), closed",
			 c->caller->uid, c->caller->pid, n, CONNECTION_UNREAD_MAX);
	connection_close(c);
	return false;
}
