// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * simulate shares: "name value" lines: how near placement comes to the oracle on synthetic workloads, and with how many moves.
 * simulate run WARM: one run of the planner over 1 TiB of which WARM of 256 granules are in use, for a profiler to
 * count in bench_run(); prints how many granules.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/placement/workload.h"

#define GRANULES 1020u

static struct plan_tier tiers[2] = { { .from[0] = { .latency_ns = 100 } },
				     { .from[0] = { .latency_ns = 250 } } };
static uint64_t capacity[2];
static struct plan_account account;
static struct plan_region region;

static struct sim *begin(struct sim_config c, uint32_t granules, uint32_t ratio)
{
	struct sim *s = calloc(1, sizeof(*s));
	uint64_t size;
	void *memory;

	c.heat.granules = granules;
	c.accounts = 1;
	c.tiers = 2;
	if (sim_size(&c, &size) < 0)
		abort();
	memory = malloc(size);
	if (!memory || sim_init(s, &c, memory, size) < 0)
		abort();
	capacity[0] = (uint64_t)granules / (ratio + 1) * HEAT_PAGES;
	capacity[1] = (granules + 8ull) * HEAT_PAGES - capacity[0];
	plan_account_init(&account, PLAN_NO_PARENT);
	region = (struct plan_region){ .pages = granules * HEAT_PAGES,
				       .by_page = c.heat.splits > 0 };
	s->regions = &region;
	s->accounts = &account;
	s->tiers = tiers;
	s->capacity = capacity;
	s->n_regions = s->n_accounts = 1;
	return s;
}

static void report(const char *name, uint32_t ratio, struct sim *s, bool phases)
{
	const struct sim_report *p = &s->report;
	uint64_t moved = p->up + p->down;
	double share, best;

	sim_finish(s);
	share = sim_share(p->settled, 0, 2) / 1e6;
	best = sim_share(phases ? p->oracle_phase : p->oracle, 0, 2) / 1e6;
	printf("simulate.%s.1to%u.oracle_share %.4f\n", name, ratio, share / best);
	printf("simulate.%s.1to%u.fast_share %.4f\n", name, ratio, share);
	if (p->needed)
		printf("simulate.%s.1to%u.moves_to_needed %.3f\n", name, ratio,
		       (double)moved / (double)p->needed);
	printf("simulate.%s.1to%u.ping_pong %.4f\n", name, ratio,
	       moved ? (double)p->ping_pong / (double)moved : 0);
}

enum kind {
	HOT,
	MOVING,
	ZIPF,
	STREAM,
	PAGES
};
static const char *const names[] = { "hot", "moving", "zipf", "stream", "zipf_pages" };

static void measure(enum kind kind, uint32_t ratio)
{
	struct sim_config c = { .settle_ms = kind == MOVING ? 240000 : 60000,
				.phase_ms = kind == MOVING ? 240000 : 0,
				.heat.splits = kind == PAGES ? GRANULES / HEAT_SPLIT_SHARE : 0 };
	struct sim *s = begin(c, GRANULES, ratio);
	unsigned rounds = kind == MOVING ? 960 : kind == PAGES ? 120 : 300;
	struct workload w;

	workload_seed(ratio);
	workload_init(&w, GRANULES, kind == PAGES);
	for (unsigned round = 0; round < rounds; round++) {
		if (kind == STREAM)
			workload_stream(&w, 2e6, 30, round);
		else if ((kind == HOT && round == 0) || (kind == MOVING && round % 240 == 0))
			workload_hot_set(&w, 2e6, GRANULES / (ratio + 1) * 9 / 10, 0.9);
		else if (round == 0)
			workload_zipf(&w, 2e6, 500000, 0.99);
		sim_round(s, 1000 + round * 1000ull, 1000);
		workload_run(&w, s, 0, 0);
		/* As often as the daemon: every two seconds. */
		if (round % 2 && sim_plan(s) < 0)
			abort();
	}
	report(names[kind], ratio, s, kind == MOVING);
	workload_done(&w);
	free(s->heat.granules);
	free(s);
}

/* What is counted, alone: inlined, it could not be told from the rest. */
__attribute__((__noinline__)) int bench_run(struct sim *s);
__attribute__((__noinline__)) int bench_run(struct sim *s)
{
	return sim_plan(s);
}

static void run_large(uint32_t warm)
{
	const uint32_t granules = 1u << 19;
	struct sim *s = begin((struct sim_config){}, granules, 8);

	for (unsigned round = 0; round < 4; round++) {
		sim_round(s, 1000 + round * 1000ull, 1000);
		for (uint32_t g = 0; g < granules; g++) {
			struct heat_sample x = { .bits = 1, .events = 1 + (g * 2654435761u >> 20) };

			if (round == 0 || g % 256 < warm)
				sim_sample(s, 0, g, &x);
		}
	}
	/* What was touched once, to be there, is idle. */
	for (uint32_t g = 0; g < granules; g++) {
		if (g % 256 >= warm)
			s->heat.granules[g].near = s->heat.granules[g].far = 0;
	}
	if (bench_run(s) < 0)
		abort();
	printf("%u\n", granules);
}

int main(int argc, char **argv)
{
	static const uint32_t ratios[] = { 2, 8, 16 };

	if (argc == 3 && strcmp(argv[1], "run") == 0) {
		run_large((uint32_t)atoi(argv[2]));
		return 0;
	}
	if (argc != 2 || strcmp(argv[1], "shares") != 0) {
		fputs("simulate shares | run WARM\n", stderr);
		return 2;
	}
	for (int kind = HOT; kind <= PAGES; kind++) {
		for (unsigned i = 0; i < 3; i++)
			measure((enum kind)kind, ratios[i]);
	}
	return 0;
}
