/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

/*
 * The kernel's sampler (DAMON) over its files in /sys/kernel/mm/damon/admin: one kdamond with one context, "fvaddr": a
 * target for each process, with the ranges that are wanted of it, and for each target a scheme "stat", which does nothing but tell the
 * regions that were accessed.
 *
 * There is one set of files for the whole machine, and making a kdamond takes away those that somebody else set up. So: where there is
 * one that is not ours, nothing is done (-EBUSY). Ours is known by a mark in it, which nobody else would write, and by a
 * lock on the directory: marked but not locked is left by a helper that was killed, and is given back.
 */
struct damon_target {
	pid_t pid;
	const GArray *ranges; /* of struct proc_range (procfile.h), ascending; borrowed */
};

struct damon {
	int root_fd;
	int lock; /* the directory, locked: it is ours. -1: not */
	bool running;
	uint32_t window_ms;
	unsigned int n;
	pid_t pids[HELPER_PROCESSES_MAX];
	GArray *ranges[HELPER_PROCESSES_MAX]; /* as the kernel has them */
	pid_t thread;			      /* kdamond's */
	uint64_t thread_usec;		      /* its CPU time when it was last asked for */
	char failed[160];		      /* the file that could not be written last */
};

void damon_init(struct damon *d, int root_fd);
/* Takes it; gives back what one of us left. -EBUSY: somebody else has it, or the kernel's own use of it is on: text says who. To be called
 * before each window. -ENOENT: the kernel has no DAMON. */
int damon_take(struct damon *d, char text[static HELPER_TEXT_MAX]);
/* Gives all back. */
void damon_done(struct damon *d);
/* What a killed helper left is given back; nothing is done where there is nothing of ours. */
void damon_tidy(int root_fd);

/*
 * Samples these from now on, each region twenty times in window_ms: begun anew where the processes are others, else the
 * ranges are changed. A negative errno with text.
 */
int damon_watch(struct damon *d, const struct damon_target *targets, unsigned int n,
		uint32_t window_ms, char text[static HELPER_TEXT_MAX]);

/*
 * Waits for the end of a window, up to two of them, and tells what was accessed in it. -ESRCH: it ended, for all processes did.
 */
int damon_update(struct damon *d);
/* Of one target, for each region: where, and in how many of the samples (0 to DAMON_SAMPLES). */
#define DAMON_SAMPLES 20u
struct damon_region {
	uint64_t start, end;
	uint32_t accesses;
};
/* Of struct damon_region. */
int damon_regions(struct damon *d, unsigned int target, GArray **ret_regions);
/* The CPU time that the kernel's sampler used since the last call. */
uint64_t damon_cpu(struct damon *d);
