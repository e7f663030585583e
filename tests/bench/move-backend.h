/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Who moves in the benchmark of moves: morseld through libmorsel, or the node storage linked in. All exit
 * with a message when something fails.
 */
struct move_backend;

/* nodes: two of the machine's; those that are negative are chosen and written. ret_fd: the
 * object's, valid while the backend lives. */
struct move_backend *move_backend_new(bool direct, uint64_t size, int nodes[2], int *ret_fd);
void move_backend_move(struct move_backend *b, int node, uint64_t *ret_failed);
void move_backend_free(struct move_backend *b);
