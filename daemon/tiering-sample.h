/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "tiering-round.h"

/*
 * Accessed bits of a round's regions into heat. A bit says of the time since the last round that there was an access: of what is
 * accessed often it is set either way, and all that is hot looks alike. So a second look follows the first one after a
 * moment, the *burst*, so short that of the hottest granule's pages about half are seen again.
 */
void tiering_sample(struct tiering_round *r);

/* ---- for tests ---- */

/* Of one granule: bits (of them n count) of the period and of the burst. False: nothing was accessed. */
bool tiering_sample_of(const uint64_t *period, const uint64_t *burst, unsigned int n,
		       uint64_t period_us, uint64_t burst_us, struct heat_sample *ret);
/* How long the next burst is to be; seen: the largest share of a granule's pages that this one saw again, of 256; 0: none. */
uint32_t tiering_burst_next(uint32_t burst_us, unsigned int seen);
#define TIERING_BURST_FIRST_US 20000u
