/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "gate.h"

int placement_call(struct call *call, sd_bus_error *error);
