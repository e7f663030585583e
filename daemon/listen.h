/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

struct listener;
struct manager;

/*
 * The applications' socket at path: mode 0666, its directory made with 0755 if it is not there. A socket that
 * nobody answers on is replaced; one where somebody does, or another kind of file, is not (-EADDRINUSE,
 * -ENOTSOCK). -ENAMETOOLONG: longer than a socket's path may be. One log line on failure.
 */
int listener_new(struct manager *manager, const char *path, struct listener **ret_listener);
/* Takes NULL, returns NULL. Removes the socket if it is still this one. */
struct listener *listener_free(struct listener *l);
