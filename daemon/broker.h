/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>

struct broker;
struct connection;
struct manager;

/*
 * The connection to a message bus, under the name org.parperos.Morsel1. Made again when it is lost or
 * was not to be had, with growing pauses; meanwhile the private socket serves on.
 * address: "system", or a D-Bus address; -EINVAL: neither.
 * A name that another morseld has ends this one (sd_event_exit with 1).
 */
int broker_new(struct manager *manager, const char *address, struct broker **ret_broker);
struct broker *broker_free(struct broker *b);  /* takes NULL, returns NULL */
bool broker_connected(const struct broker *b); /* and has the name */
const char *broker_address(const struct broker *b);
/* NULL while there is none. */
struct connection *broker_connection(struct broker *b);
/* The manager says that the connection was closed. */
void broker_lost(struct broker *b);
