/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "tier.h"

struct connection;
struct manager;

int tier_bus_attach(struct connection *c);
/* An element of ListTiers: a{sv}. */
int tier_bus_append(sd_bus_message *m, struct manager *manager, const struct tier *t);
char *tier_bus_path(const char *name); /* free with free() */
/* Tell everyone what came, went or changed between the two lists of tiers. */
void tier_bus_tell(struct manager *manager, const GPtrArray *before, const GPtrArray *after);
