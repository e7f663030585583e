/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct sample;

/* Counters since the start, and the last sample of what lies where. Event loop's thread only. */
struct stats {
	uint64_t created, destroyed, opened;
	uint64_t restored, lost, interrupted; /* at the start: morsels, morsels, moves */
	uint64_t moved_bytes, move_failed_bytes;
	GHashTable *move_failed_reasons; /* errno → uint64_t * */
	GHashTable *placed;		 /* tier's interned name → uint64_t * bytes */
	uint64_t placed_usec;		 /* real-time clock; 0: never */
	struct sample *sample;		 /* on its way, or NULL: stats-bus.c */
};

void stats_init(struct stats *s);
void stats_done(struct stats *s);

/* table[key] += bytes, for tables of uint64_t *. */
void stats_add(GHashTable *table, gpointer key, uint64_t bytes);
