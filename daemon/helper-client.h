/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "helper/protocol.h"

/*
 * The daemon's end of morsel-helper (helper/protocol.h): root's part, where there is one. A daemon without it
 * does what its own rights let it do. Any thread; blocks, but for helper_client_call() never longer than
 * HELPER_OPEN_SEC.
 */
#define HELPER_OPEN_SEC 10

/* Where it listens; before threads are started. NULL: there is none. Borrowed. */
void helper_client_init(const char *socket_path);

/* A kernel's file that only root may read: a descriptor, or a negative errno. For kernfile_set_opener(). */
int helper_client_open(const char *path);
/* The same, and a dax device that is morsel's ("dev/dax0.0"); on failure *ret_text is the helper's own word, or
 * NULL. */
int helper_client_open_device(const char *path, char **ret_text);

/* A connection of one's own to either of them (HELPER_OPEN_SEC for each send and receive), the caller's. */
int helper_client_connect(const char *path, int *ret_fd);
/* One request that is answered at once, without a descriptor: 0 if there was an answer, whatever its result. */
int helper_client_ask(int socket, const struct helper_request *request,
		      struct helper_reply *ret_reply);

/* Does it answer now? 0, -ENOENT: there is none, or another negative errno. */
int helper_client_check(void);

/*
 * A request that takes long, on a connection of its own: on_step (may be NULL) for each step, then *ret_end. When
 * *cancel becomes true the helper is told, which takes back what it did and then ends. 0 if there was an end,
 * whatever its result; else a negative errno.
 */
int helper_client_call(const struct helper_request *request,
		       void (*on_step)(const struct helper_reply *step, void *userdata),
		       void *userdata, const atomic_bool *cancel, struct helper_reply *ret_end);

/*
 * A connection for HELPER_LOOK and HELPER_SHIFT: what the helper knows of processes lasts as long as it. Closing it gives the
 * kernel's sampler back. Any thread, one at a time.
 */
int helper_client_session(int *ret_socket);
/*
 * One request, one answer with a descriptor. -ETIMEDOUT: none in time; -ECANCELED: stop was set. *ret_text: what the helper says
 * of an error, or NULL; to be freed.
 */
int helper_client_session_ask(int socket, const struct helper_request *request,
			      unsigned int timeout_ms, const atomic_bool *stop, int *ret_fd,
			      char **ret_text);
