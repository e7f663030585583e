/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "gate.h"

/* The method Record of Manager: see org.parperos.Morsel1.xml. */
int record_call(struct call *call, sd_bus_error *error);
/* At the daemon's end, behind tiering_free(): those whose takers have not read all yet. */
void records_free(struct manager *manager);
