// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "workload.h"

void workload_seed(uint64_t seed)
{
	random_state = seed;
}

void workload_init(struct workload *w, uint32_t granules, bool pages)
{
	*w = (struct workload){ .granules = granules };
	w->mean = calloc(granules, sizeof(*w->mean));
	if (pages)
		w->within = calloc((size_t)granules * HEAT_PAGES, sizeof(*w->within));
}

void workload_done(struct workload *w)
{
	free(w->mean);
	free(w->within);
	*w = (struct workload){};
}

static void scale_to(struct workload *w, double total)
{
	double sum = 0;

	for (uint32_t i = 0; i < w->granules; i++)
		sum += w->mean[i];
	for (uint32_t i = 0; i < w->granules; i++)
		w->mean[i] *= total / sum;
}

void workload_hot_set(struct workload *w, double total, uint32_t hot, double share)
{
	uint32_t left = hot;

	for (uint32_t i = 0; i < w->granules; i++)
		w->mean[i] = (1 - share) / (w->granules - hot) * total;
	while (left) {
		uint32_t i = (uint32_t)random_below(w->granules);

		if (w->mean[i] == share / hot * total)
			continue;
		w->mean[i] = share / hot * total;
		left--;
	}
}

void workload_zipf(struct workload *w, double total, uint32_t keys, double exponent)
{
	uint64_t pages = (uint64_t)w->granules * HEAT_PAGES;

	memset(w->mean, 0, w->granules * sizeof(*w->mean));
	if (w->within)
		memset(w->within, 0, pages * sizeof(*w->within));
	for (uint32_t k = 1; k <= keys; k++) {
		uint64_t page = random_below(pages);
		double weight = pow(k, -exponent);

		w->mean[page / HEAT_PAGES] += weight;
		if (w->within)
			w->within[page] += weight;
	}
	for (uint64_t i = 0; w->within && i < pages; i++)
		w->within[i] /= w->mean[i / HEAT_PAGES] + 1e-300;
	scale_to(w, total);
}

void workload_zipf_sorted(struct workload *w, double total, double exponent)
{
	for (uint32_t i = 0; i < w->granules; i++)
		w->mean[i] = pow(i + 1, -exponent);
	scale_to(w, total);
}

void workload_stream(struct workload *w, double total, uint32_t length, uint32_t round)
{
	memset(w->mean, 0, w->granules * sizeof(*w->mean));
	for (uint32_t i = 0; i < length; i++)
		w->mean[((uint64_t)round * length + i) % w->granules] = total / length;
}

static void sample_bits(const struct workload *w, uint32_t g, struct sim *s, uint32_t region,
			uint32_t granule)
{
	uint64_t pages[HEAT_WORDS] = {};
	const struct heat_sample x = { .bits = HEAT_PAGES, .pages = pages };
	bool any = false;

	for (unsigned i = 0; i < HEAT_PAGES; i++) {
		double mean = w->mean[g] *
			      (w->within ? w->within[(size_t)g * HEAT_PAGES + i] : 1. / HEAT_PAGES);

		if (random_unit() < 1 - exp(-mean)) {
			pages[i / 64] |= 1ull << i % 64;
			any = true;
		}
	}
	if (any)
		sim_sample(s, region, granule, &x);
}

static void sample_counts(const struct workload *w, uint32_t g, struct sim *s, uint32_t region,
			  uint32_t granule)
{
	uint32_t counts[HEAT_PAGES];
	struct heat_sample x = { .bits = HEAT_PAGES, .counts = counts };

	for (unsigned i = 0; i < HEAT_PAGES; i++) {
		counts[i] = random_poisson(w->mean[g] * w->within[(size_t)g * HEAT_PAGES + i]);
		x.events += counts[i];
	}
	if (x.events)
		sim_sample(s, region, granule, &x);
}

void workload_run(const struct workload *w, struct sim *s, uint32_t region, uint32_t first)
{
	for (uint32_t g = 0; g < w->granules; g++) {
		struct heat_sample x = { .bits = HEAT_PAGES };

		if (w->mean[g] <= 0)
			continue;
		if (w->bits) {
			sample_bits(w, g, s, region, first + g);
		} else if (w->within) {
			sample_counts(w, g, s, region, first + g);
		} else {
			x.events = random_poisson(w->mean[g]);
			if (x.events)
				sim_sample(s, region, first + g, &x);
		}
	}
}
