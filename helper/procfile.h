/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Files of /proc about a process. Parsers are pure; what they read is not trusted. */

struct proc_stat {
	uint64_t start; /* clock ticks after the boot; with the pid it names one process for good */
	uint64_t cpu_usec; /* user's and system's time */
	uint64_t pages;	   /* resident */
	bool kernel;	   /* a kernel thread */
};
/* Of /proc/PID/stat; names of programs may hold anything. -EBADMSG */
int proc_stat_parse(const char *text, struct proc_stat *ret_stat);
/* -ESRCH: there is no such process (any more). */
int proc_stat_read(int root_fd, pid_t pid, struct proc_stat *ret_stat);

struct proc_range {
	uint64_t start, end; /* bytes, of whole pages */
};

/*
 * One line of /proc/PID/maps. 0: private anonymous memory, a program's own: its heap, its stack, what it mapped without a file.
 * -ENODATA: something else (files, shared memory, memory of morsels, huge pages of hugetlbfs, the kernel's own).
 * -EBADMSG: no such line.
 */
int proc_maps_parse(const char *line, struct proc_range *ret_range);

/*
 * The process's ranges of private anonymous memory by address, neighbours joined, of struct proc_range: those of at least
 * 64 KiB, the max largest of them; *ret_left_out: how many more there are.
 */
int proc_maps_read(int root_fd, pid_t pid, unsigned int max, GArray **ret_ranges,
		   unsigned int *ret_left_out);
