/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * The helper's server. Each connection is served by a process of its own, so that a long operation holds up
 * nobody, and what goes wrong in one is over with it.
 */
struct serve_options {
	int root_fd;		 /* the kernel's files are below it */
	const char *config_path; /* morseld.conf: which dax devices are morsel's */
	uid_t user; /* who may call beside root and the helper's own; (uid_t)-1: nobody */
	bool bpf;   /* serve what is about placement programs, and nothing else */
	unsigned int idle_sec; /* without a connection for so long: end; 0: never */
};

/* Connections at once: morseld uses one to read and one for each job. */
#define SERVE_CONNECTIONS 16u
/* A connection without a request for so long is closed; morseld makes a new one. */
#define SERVE_QUIET_SEC 5
/* One that looks at ordinary memory: for so many of them, longer than the longest pause between two looks. */
#define SERVE_ORDINARY_QUIETS 36

/* Until SIGTERM, SIGINT, or idle: 0, or a negative errno with one log line. Waits for what runs. */
int serve(int listen_fd, const struct serve_options *options);

/* SIGTERM came: a long operation undoes what it did and ends. */
extern volatile sig_atomic_t serve_stopping;

/* One connection until its end, in this process; also for tests. Takes over the socket. */
void serve_connection(int socket, const struct serve_options *options);
