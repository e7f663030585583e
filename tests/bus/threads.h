/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* The threads of a child: whether they have something to do, and keeping them from doing it. Everything asserts. */

/* All of the process wait for something: what it has been sent so far it has dealt with, however loaded the machine. */
bool threads_sleep(pid_t pid);

/*
 * Those with that name, one at least, stand still, as under a debugger, so that what they are given to do has not
 * ended before the test wants it to, however fast the machine or slow the disk. They must have nothing to do: a thread
 * that is stopped while it holds a lock stops the others. Only the thread that holds them can let them go; until then
 * the child must not end by itself (a leak checker in it is a tracer, too). Their ids (pid_t).
 */
GArray *threads_hold(pid_t pid, const char *name);
/* They go on. Frees held; NULL: nothing. */
void threads_release(GArray *held);
/* After a SIGKILL: before they are gone, wait() does not give their process. Frees held; NULL: nothing. */
void threads_reap(GArray *held);
