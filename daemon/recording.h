/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/trace.h"

struct morsel;
struct tiering_region;
struct tiering_round;

/*
 * A trace (core/trace.h) of what the daemon's rounds see of one user's morsels, or of all: bytes for whoever asked for it.
 * It gives its own numbers to tiers, cgroups and morsels, which stay while the daemon's change from round to round.
 *
 * The event loop's but for recording_round(), which a worker calls while the round has it.
 */
struct recording {
	uid_t uid; /* whose morsels … */
	bool all;  /* … or everybody's */
	/* On the event loop: out has more (or nothing new); last: the recording has ended and is the callee's to free. */
	void (*news)(struct recording *rec, bool last, void *userdata);
	void *userdata;
	GByteArray *out; /* of the trace, for the taker to empty */
	uint64_t rounds;
	int result; /* -ENOMEM: it cannot go on */
	bool ending;

	/* Private. */
	struct trace_writer writer;
	struct trace_cell *cells;
	uint8_t *payload, *told; /* told: tiers that were written, by granule */
	uint64_t flushed_ms;
	GPtrArray *regions;   /* of struct recorded *: by index, NULL where one is gone */
	GPtrArray *tiers;     /* of struct recorded_tier *, by index */
	GHashTable *accounts; /* path → struct recorded_account * */
};

struct recording *recording_new(uid_t uid, bool all);
struct recording *recording_free(struct recording *rec); /* takes NULL, returns NULL */
bool recording_wants(const struct recording *rec, const struct morsel *m);

/* On the loop, before a round: its present regions are those to be written of. */
void recording_prepare(struct recording *rec, const struct tiering_round *round);
/* On the round's worker, behind its samples: adds them to out. */
void recording_round(struct recording *rec, const struct tiering_round *round, uint64_t clock_ms);
/* What is still held back goes to out. */
void recording_flush(struct recording *rec);
