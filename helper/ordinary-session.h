/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "ordinary-data.h"

/*
 * Ordinary memory: what a connection's HELPER_LOOK and HELPER_SHIFT are about. Only private anonymous memory of the
 * processes of the last look is sampled, told and moved; each is known by its pid and its start. Addresses
 * stay here.
 */
struct ordinary_session;

struct ordinary_session *ordinary_session_new(int root_fd);
/* Gives the kernel's sampler back. Takes NULL, returns NULL. */
struct ordinary_session *ordinary_session_free(struct ordinary_session *o);

/*
 * Waits for up to two windows. 0: *ret_fd is a sealed memfd (ordinary-data.h), or -1 where no process was named. A negative errno: text says what is
 * wrong.
 */
int ordinary_session_look(struct ordinary_session *o, const struct helper_look *look, int *ret_fd,
			  char text[static HELPER_TEXT_MAX]);
int ordinary_session_shift(struct ordinary_session *o, const struct helper_shift *shifts,
			   uint32_t n, int *ret_fd, char text[static HELPER_TEXT_MAX]);
