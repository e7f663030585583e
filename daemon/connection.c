// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "connection.h"
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

	if (sd_bus_is_ready(c->bus) > 0)
		return 0;
	if (log_rate_pass(&greet_rate, LOG_CONNECTION_DROPPED))
		log_line(LOG_NOTICE, LOG_CONNECTION_DROPPED, NULL,
			 "connection of uid %u (pid %d) did not greet within %" PRIu64 " s, closed",
			 c->caller->uid, c->caller->pid, AUTH_USEC / 1000000);
	connection_close(c);
	return 0;
}

/*
 * sd-bus reads a peer's greeting in pieces of 256 bytes and may so get the first message along with its
 * end; it then looks at it when the socket has more to read, which may be never.
 */
static int on_greeted(sd_event_source *s, void *userdata)
{
	struct connection *c = userdata;
	int r = 1;

	/* 256 bytes are no more than two messages. */
	for (unsigned int i = 0; i < 3 && r > 0 && !c->closed; i++)
		r = sd_bus_process(c->bus, NULL);
	if (r < 0)
		connection_close(c);
	return 0;
}

static int on_connected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct connection *c = userdata;

	/* sd-bus does not process messages from within a message's handler. */
	sd_event_source_set_enabled(c->greeted, SD_EVENT_ONESHOT);
	return 0;
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
	sd_id128_t server_id;
	int r;

	c->manager = manager;
	c->caller = caller;

	r = sd_bus_new(&c->bus);
	if (r < 0) {
		close(fd);
		goto fail;
	}
	r = sd_bus_set_fd(c->bus, fd, fd);
	if (r < 0) {
		close(fd);
		goto fail;
	}
	r = sd_id128_randomize(&server_id);
	if (r < 0)
		goto fail;
	r = sd_bus_set_server(c->bus, true, server_id);
	if (r < 0)
		goto fail;
	r = sd_bus_set_anonymous(c->bus, false);
	if (r < 0)
		goto fail;
	r = sd_bus_negotiate_fds(c->bus, true);
	if (r < 0)
		goto fail;
	r = connection_add_objects(c);
	if (r < 0)
		goto fail;
	r = sd_bus_match_signal(c->bus, NULL, "org.freedesktop.DBus.Local",
				"/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
				"Disconnected", on_disconnected, c);
	if (r < 0)
		goto fail;
	r = sd_bus_set_connected_signal(c->bus, true);
	if (r < 0)
		goto fail;
	r = sd_bus_match_signal(c->bus, NULL, "org.freedesktop.DBus.Local",
				"/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
				"Connected", on_connected, c);
	if (r < 0)
		goto fail;
	r = sd_event_add_defer(manager->event, &c->greeted, on_greeted, c);
	if (r < 0)
		goto fail;
	sd_event_source_set_enabled(c->greeted, SD_EVENT_OFF);
	r = sd_bus_start(c->bus);
	if (r < 0)
		goto fail;
	r = sd_bus_attach_event(c->bus, manager->event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0)
		goto fail;
	/* One shot, so that it does not wake an idle daemon later on. */
	r = sd_event_add_time_relative(manager->event, &c->auth_timer, CLOCK_MONOTONIC, AUTH_USEC,
				       1000000, on_auth_timeout, c);
	if (r < 0)
		goto fail;

	*ret_connection = c;
	return 0;
fail:
	connection_free(c);
	return r;
}

void connection_close(struct connection *c)
{
	if (c->closed)
		return;
	c->closed = true;
	manager_connection_closed(c->manager, c);
}

struct connection *connection_free(struct connection *c)
{
	if (!c)
		return NULL;
	sd_event_source_disable_unref(c->auth_timer);
	sd_event_source_disable_unref(c->greeted);
	/* Messages that wait for a worker hold the bus; it must not come back to c. */
	sd_bus_close_unref(c->bus);
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
	if (!c->caller || sd_bus_get_n_queued_write(c->bus, &n) < 0 || n <= CONNECTION_UNREAD_MAX)
		return true;
	if (log_rate_pass(&drop_rate, LOG_CONNECTION_DROPPED))
		log_line(LOG_NOTICE, LOG_CONNECTION_DROPPED, NULL,
			 "connection of uid %u (pid %d) does not read its replies (%" PRIu64
			 " wait, the limit is %d), closed",
			 c->caller->uid, c->caller->pid, n, CONNECTION_UNREAD_MAX);
	connection_close(c);
	return false;
}
