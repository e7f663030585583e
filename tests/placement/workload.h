/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "core/simulate.h"
#include "core/test-random.h"

/*
 * Synthetic accesses: each granule has a mean number of them a round, and gets a Poisson number of it. What a
 * workload is lies in the means alone, which may change between rounds. For tests and benchmarks.
 */

struct workload {
	uint32_t granules;
	double *mean;	/* [granules], accesses a round */
	double *within; /* [granules * HEAT_PAGES]: shares of a granule's pages, or NULL: all alike */
	/* How the sampler sees it. */
	bool bits; /* accessed bits of pages; else counts: by page with within, else by granule */
};

/* The same seed, the same accesses. */
void workload_seed(uint64_t seed);
void workload_init(struct workload *w, uint32_t granules, bool pages);
void workload_done(struct workload *w);

/* total accesses, of which share on hot granules chosen at random, all alike; the rest on the others. */
void workload_hot_set(struct workload *w, double total, uint32_t hot, double share);
/* Zipf-distributed keys, each in a page by chance: popular ones are scattered. */
void workload_zipf(struct workload *w, double total, uint32_t keys, double exponent);
/* The same, but popular keys lie side by side. */
void workload_zipf_sorted(struct workload *w, double total, double exponent);
/* A sweep: a part of the granules that moves on by its length each round. */
void workload_stream(struct workload *w, double total, uint32_t length, uint32_t round);

/* One round's samples. */
void workload_run(const struct workload *w, struct sim *s, uint32_t region, uint32_t first);
