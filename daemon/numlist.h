/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Linux' MAX_NUMNODES on the largest configurations (NODES_SHIFT = 10). */
#define NODE_MAX 1023
/* Linux' largest NR_CPUS (x86 with MAXSMP: 8192; others below). */
#define CPU_MAX 8191

/*
 * The kernel's list format: "0-3,5", "" for none; a newline or white space at either end is
 * ignored. s: len bytes, needs no terminating 0. Appends the numbers, each once and ascending, as int.
 * -EINVAL: not such a list, or a range that runs backwards; -ERANGE: a number over max.
 * On error nothing is written.
 */
int numlist_parse(const char *s, size_t len, int max, GArray **ret_list);

bool numlist_contains(const GArray *list, int n);
