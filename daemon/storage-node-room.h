/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>

/*
 * What meminfo files tell. names: NULL-terminated, as they stand there with their colon. The sum of what
 * stands behind them, in bytes; a name that is not there counts as 0. UINT64_MAX: the file cannot be read.
 */
uint64_t meminfo_sum(int root_fd, const char *path, const char *const *names);
uint64_t node_meminfo(int root_fd, int node, const char *const *names);
