/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "worker.h"

/*
 * Names of users, for people. A uid met for the first time is looked for in /etc/passwd at once (a local
 * file) and, where it is not there, asked for on a worker: a directory server that does not answer
 * must not hold up the loop. Until it has answered the user's name is the number.
 * Event loop's thread only.
 */
struct users;

struct users *users_new(struct worker_pool *pool); /* pool outlives it; may be NULL: files only */
struct users *users_free(struct users *u);	   /* takes NULL, returns NULL */

/* Never NULL. Borrowed until the next call. */
const char *users_name(struct users *u, uid_t uid);
/* A number, or a name that belongs to a uid met before. */
bool users_find(struct users *u, const char *name, uid_t *ret_uid);
