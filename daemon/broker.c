// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "broker.h"
#include "bus-error.h"
#include "connection.h"
#include "job-bus.h"
#include "log.h"
#include "manager.h"

#define RETRY_FIRST_USEC 500000
#define RETRY_LAST_USEC 30000000

struct broker {
	struct manager *manager;
	char *address;
	struct connection *connection;
	sd_event_source *retry;
	uint64_t delay_usec;
	bool has_name, told;
};

static void connect_later(struct broker *b, const char *why);

static void drop(struct broker *b)
{
	b->has_name = false;
	authority_forget(b->manager->authority);
	b->connection = connection_free(b->connection);
	gate_forget(b->manager->gate);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	connection_close(userdata);
	return 0;
}

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct broker *b = userdata;
	const sd_bus_error *e = sd_bus_message_get_error(reply);
	uint32_t result = 0;

	if (!e && sd_bus_message_read(reply, "u", &result) < 0)
		result = 0;
	if (!e && result == 3) {
		log_line(LOG_ERR, LOG_START_FAILED, BUS_NAME,
			 "the name %s on %s belongs to another process", BUS_NAME, b->address);
		sd_event_exit(b->manager->event, EXIT_FAILURE);
		return 0;
	}
	if (e || (result != 1 && result != 4)) {
		if (!b->told)
			log_line(LOG_WARNING, LOG_BUS_LOST, BUS_NAME,
				 "no name %s on %s: %s; the private socket serves on", BUS_NAME,
				 b->address, e ? e->message : "refused");
		b->told = true;
		connection_close(b->connection);
		return 0;
	}
	b->has_name = true;
	b->told = false;
	b->delay_usec = RETRY_FIRST_USEC;
	log_line(LOG_INFO, LOG_BUS_CONNECTED, BUS_NAME, "serving %s on %s", BUS_NAME, b->address);
	return 0;
}

static int connect_now(struct broker *b)
{
	const char *address = b->address;
	struct connection *c = g_new0(struct connection, 1);
	int r;

	if (strcmp(address, "system") == 0) {
		address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
		if (!address)
			address = "unix:path=/run/dbus/system_bus_socket";
	}

	c->manager = b->manager;
	r = sd_bus_new(&c->bus);
	if (r < 0)
		goto fail;
	r = sd_bus_set_address(c->bus, address);
	if (r < 0)
		goto fail;
	r = sd_bus_set_bus_client(c->bus, true);
	if (r < 0)
		goto fail;
	r = sd_bus_negotiate_fds(c->bus, true);
	if (r < 0)
		goto fail;
	r = connection_add_objects(c);
	if (r < 0)
		goto fail;
	r = job_bus_filter(c);
	if (r < 0)
		goto fail;
	r = sd_bus_start(c->bus);
	if (r < 0)
		goto fail;
	r = sd_bus_match_signal_async(c->bus, NULL, "org.freedesktop.DBus.Local",
				      "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
				      "Disconnected", on_disconnected, NULL, c);
	if (r < 0)
		goto fail;
	r = sd_bus_attach_event(c->bus, b->manager->event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0)
		goto fail;
	r = sd_bus_request_name_async(c->bus, NULL, BUS_NAME, 0, on_name, b);
	if (r < 0)
		goto fail;
	b->connection = c;
	return 0;
fail:
	connection_free(c);
	return r;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct broker *b = userdata;
	int r = connect_now(b);

	if (r < 0)
		connect_later(b, g_strerror(-r));
	return 0;
}

static void connect_later(struct broker *b, const char *why)
{
	if (!b->told)
		log_line(LOG_WARNING, LOG_BUS_LOST, b->address,
			 "no connection to the bus at %s: %s; the private socket serves on",
			 b->address, why);
	b->told = true;

	sd_event_source_disable_unref(b->retry);
	b->retry = NULL;
	if (sd_event_add_time_relative(b->manager->event, &b->retry, CLOCK_MONOTONIC, b->delay_usec,
				       b->delay_usec / 10, on_retry, b) < 0)
		log_line(LOG_ERR, LOG_BUS_LOST, b->address, "no timer: not connecting to %s again",
			 b->address);
	b->delay_usec = MIN(b->delay_usec * 2, RETRY_LAST_USEC);
}

int broker_new(struct manager *manager, const char *address, struct broker **ret_broker)
{
	struct broker *b;
	int r;

	/* "path:key=value": sd-bus would find the rest out later, and by then it is not a usage error. */
	if (strcmp(address, "system") != 0 && (!strchr(address, ':') || !strchr(address, '=')))
		return -EINVAL;

	b = g_new0(struct broker, 1);
	b->manager = manager;
	b->address = g_strdup(address);
	b->delay_usec = RETRY_FIRST_USEC;

	r = connect_now(b);
	if (r == -EINVAL) {
		broker_free(b);
		return r;
	}
	if (r < 0)
		connect_later(b, g_strerror(-r));
	*ret_broker = b;
	return 0;
}

struct broker *broker_free(struct broker *b)
{
	if (!b)
		return NULL;
	sd_event_source_disable_unref(b->retry);
	connection_free(b->connection);
	g_free(b->address);
	g_free(b);
	return NULL;
}

bool broker_connected(const struct broker *b)
{
	return b && b->connection && b->has_name;
}

const char *broker_address(const struct broker *b)
{
	return b->address;
}

struct connection *broker_connection(struct broker *b)
{
	return b ? b->connection : NULL;
}

void broker_lost(struct broker *b)
{
	drop(b);
	connect_later(b, "the connection was closed");
}
