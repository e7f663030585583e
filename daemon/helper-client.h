/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>

/*
 * The daemon's end of morsel-helper (helper/protocol.h): root's part, where there is one. A daemon without it
 * does what its own rights let it do. Any thread; blocks, but never longer than HELPER_OPEN_SEC.
 */
#define HELPER_OPEN_SEC 10

/* Where it listens; before threads are started. NULL: there is none. Borrowed. */
void helper_client_init(const char *socket_path);

/* A kernel's file that only root may read: a descriptor, or a negative errno. For kernfile_set_opener(). */
int helper_client_open(const char *path);

/* Does it answer now? 0, -ENOENT: there is none, or another negative errno. */
int helper_client_check(void);
