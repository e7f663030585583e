/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>

/*
 * Who else moves or samples the ordinary memory of this machine: the kernel's NUMA balancing in tiering mode, demotion by its
 * reclaim, DAMON's own modules, memtierd. Two that move the same pages by different rules undo each other's work, so morsel leaves
 * it to them. NULL: nobody; else who, and how it is turned off; to be freed. May block. programs: look for programs too, which means to go
 * through all processes.
 */
char *ordinary_peers(int root_fd, bool programs);
