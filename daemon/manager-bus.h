/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

struct connection;

int manager_bus_attach(struct connection *c);
