/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "gate.h"

/* Reply with the descriptor of a text: the daemon's state, for people and bug reports. */
int dump_answer(struct call *call, sd_bus_error *error);
