/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>

/*
 * Back-pressure: a budget for moves, made smaller where the machine's tasks wait for memory or CPUs (PSI, /proc/pressure):
 * whole up to 5 % of the last ten seconds, nothing from 50 % on (an eighth, where it is for CPUs). Where the kernel tells no pressure: whole.
 */
uint64_t tiering_pressure_scale(int root_fd, uint64_t budget);
/* The parts of it, for tests. text: of a file; hundredths of a per cent, or -1. */
int tiering_pressure_parse(const char *text);
uint64_t tiering_pressure_apply(int pressure, uint64_t budget);
