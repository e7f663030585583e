/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * One user's processes that do what they can to keep morseld from serving anybody else:
 * - callers: 100 connections that call without end and read what comes; 100 that never read;
 * - a crowd: connections without end: closed at once, left with half a message, or with a header that
 *   announces 100 MiB.
 */
struct flood {
	pid_t pids[3];
};

/* uid: become that user first, if it is not this process's (for root). Prints to stderr and exits the
 * children on trouble. */
void flood_start(struct flood *f, const char *socket_path, uid_t uid);
/* 0: all three were still at it. */
int flood_stop(struct flood *f);

/* Calls of another client, one a millisecond for seconds; the sorted times in seconds. */
size_t flood_measure(const char *socket_path, const char *morsel, double seconds, double *samples,
		     size_t room);
