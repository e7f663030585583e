/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "morsel.h"

struct manager;
struct recording;

/*
 * The daemon places memory by itself: rounds of samples (core/heat), plans (core/plan) and moves, for morsels whose
 * cgroup's policy says Migrate=on (or dry-run: everything but the moves) and whose storage can tell what is accessed.
 * docs/placement.md has the model, docs/tiering.md how it is driven. Event loop's thread only.
 *
 * While no policy says so, and nothing is recorded, there is no round, and no timer.
 */
struct tiering;

/* Never fails: where there is no memory for its figures, or nothing to plan, it rests. */
struct tiering *tiering_new(struct manager *manager);
/* Comes to an end: free the worker pools, then this. */
void tiering_stop(struct tiering *t);
struct tiering *tiering_free(struct tiering *t); /* takes NULL, returns NULL */
/* Policies, tiers or morsels have changed: perhaps there is something to do now. Cheap; t may be NULL. */
void tiering_wake(struct tiering *t);

/* Can it be told of any morsel what is accessed? */
bool tiering_can_watch(const struct manager *manager);
/*
 * From the next round on rec gets what is seen of the morsels that it wants, whatever their policies say. Lent until its news()
 * has been called with last.
 */
void tiering_record(struct tiering *t, struct recording *rec);
/* No more: the last news() comes now, or behind the round that is under way. */
void tiering_end_record(struct tiering *t, struct recording *rec);
/* Bytes a second that one of the two movers, of morsels and of ordinary memory, may move now: half each where both are at work. */
uint64_t tiering_bandwidth(const struct manager *m);
