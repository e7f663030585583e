// SPDX-License-Identifier: GPL-2.0-or-later
/* Properties of placement on synthetic workloads: how near it comes to oracles, and with how many moves. */
#include <stdlib.h>
#include <string.h>

#include "core/test-check.h"
#include "workload.h"

#define GRANULES 1020u /* divides by 3, by 17, and nearly by 9 */

static struct sim sim;
static void *memory;
static struct plan_tier tiers[3];
static uint64_t capacity[3];
static struct plan_account accounts[4];
static struct plan_region regions[4];
static struct workload work;

/* Two tiers with fast : slow = 1 : ratio for all granules, and a little more in the slow one. */
static void begin(uint32_t ratio, struct sim_config c, bool pages)
{
	uint64_t size;

	workload_seed(ratio);
	c.heat.granules = GRANULES;
	c.heat.splits = pages ? GRANULES / HEAT_SPLIT_SHARE : 0;
	c.accounts = 4;
	c.tiers = 2;
	c.pages = pages;
	free(memory);
	CHECK(sim_size(&c, &size) == 0);
	memory = malloc(size);
	CHECK(sim_init(&sim, &c, memory, size) == 0);
	memset(tiers, 0, sizeof(tiers));
	tiers[0].from[0].latency_ns = 100;
	tiers[1].from[0].latency_ns = 250;
	capacity[0] = (uint64_t)GRANULES / (ratio + 1) * HEAT_PAGES;
	capacity[1] = (GRANULES + 8) * HEAT_PAGES - capacity[0];
	for (unsigned a = 0; a < 4; a++)
		plan_account_init(&accounts[a], a ? 0 : PLAN_NO_PARENT);
	memset(regions, 0, sizeof(regions));
	regions[0].pages = GRANULES * HEAT_PAGES;
	regions[0].by_page = pages;
	sim.regions = regions;
	sim.accounts = accounts;
	sim.tiers = tiers;
	sim.capacity = capacity;
	sim.n_regions = 1;
	sim.n_accounts = 1;
	workload_done(&work);
	workload_init(&work, GRANULES, pages);
}

static void run(unsigned round)
{
	sim_round(&sim, 1000 + round * 1000ull, 1000);
	workload_run(&work, &sim, 0, 0);
	CHECK(sim_plan(&sim) == 0);
}

static double share(const uint64_t *served)
{
	return sim_share(served, 0, 2) / 1e6;
}

static void show(const char *name, uint32_t ratio)
{
	const struct sim_report *p = &sim.report;

	sim_finish(&sim);
	printf("%s 1:%u: fast %.4f; oracle %.4f, by phase %.4f, by page %.4f; moved up %lu, down %lu, needed %lu, "
	       "ping-pong %lu; moves of pages %lu\n",
	       name, ratio, share(p->settled), share(p->oracle), share(p->oracle_phase),
	       share(p->oracle_pages), (unsigned long)p->up / 512, (unsigned long)p->down / 512,
	       (unsigned long)p->needed / 512, (unsigned long)p->ping_pong / 512,
	       (unsigned long)p->page_moves);
}

/* What issue and manual promise of all workloads. */
static void check_promises(double best)
{
	const struct sim_report *p = &sim.report;
	uint64_t moved = p->up + p->down;

	CHECK(share(p->settled) >= 0.95 * best);
	CHECK(moved * 10 <= p->needed * 12);
	CHECK(p->ping_pong * 100 <= moved);
	CHECK(p->refused == 0 && p->problems == 0);
}

static const uint32_t ratios[] = { 2, 8, 16 };

static void make_zipf(uint32_t ratio)
{
	workload_zipf(&work, 2e6, 500000, 0.99);
}

/* The hottest last, where the first touch leaves it on the slow tier. */
static void make_sorted(uint32_t ratio)
{
	workload_zipf_sorted(&work, 2e6, 0.99);
	for (uint32_t i = 0; i < GRANULES / 2; i++) {
		double mean = work.mean[i];

		work.mean[i] = work.mean[GRANULES - 1 - i];
		work.mean[GRANULES - 1 - i] = mean;
	}
}

static void make_hot(uint32_t ratio)
{
	workload_hot_set(&work, 2e6, GRANULES / (ratio + 1) * 9 / 10, 0.9);
}

static void test_static(const char *name, void (*make)(uint32_t ratio))
{
	for (unsigned i = 0; i < 3; i++) {
		begin(ratios[i], (struct sim_config){ .settle_ms = 60000 }, false);
		make(ratios[i]);
		for (unsigned round = 0; round < 200; round++)
			run(round);
		show(name, ratios[i]);
		check_promises(share(sim.report.oracle));
	}
}

/* Accessed bits, as the module gives them: they tell granules apart although most are seen in each round. */
static void test_bits(void)
{
	begin(8, (struct sim_config){ .settle_ms = 30000 }, false);
	make_hot(8);
	work.bits = true;
	for (unsigned round = 0; round < 80; round++)
		run(round);
	show("hot set, accessed bits", 8);
	check_promises(share(sim.report.oracle));
}

/* The hot set moves every four minutes. */
static void test_moving(void)
{
	for (unsigned i = 0; i < 3; i++) {
		begin(ratios[i], (struct sim_config){ .settle_ms = 240000, .phase_ms = 240000 },
		      false);
		for (unsigned round = 0; round < 960; round++) {
			if (round % 240 == 0)
				make_hot(ratios[i]);
			run(round);
		}
		show("moving hot set", ratios[i]);
		check_promises(share(sim.report.oracle_phase));
	}
}

/* Each granule once in 34 rounds, the last one that one would guess: what is moved for that is lost. */
static void test_stream(void)
{
	begin(8, (struct sim_config){ .settle_ms = 100000 }, false);
	for (unsigned round = 0; round < 300; round++) {
		workload_stream(&work, 2e6, 30, round);
		run(round);
	}
	show("stream", 8);
	CHECK(share(sim.report.settled) >= 0.75 * share(sim.report.oracle));
	CHECK(sim.report.ping_pong == 0);
	CHECK(sim.report.up + sim.report.down <= 2 * GRANULES / 2 * 512);
}

/* Noise alone moves nothing: all granules are alike. */
static void test_even(void)
{
	begin(8, (struct sim_config){}, false);
	for (uint32_t g = 0; g < GRANULES; g++)
		work.mean[g] = 500;
	for (unsigned round = 0; round < 300; round++)
		run(round);
	show("even", 8);
	CHECK(sim.report.moves <= GRANULES / 50);
}

/* Popular keys are scattered: by 4 KiB the near tier serves more than any placement of granules can. */
static void test_pages(void)
{
	begin(16, (struct sim_config){ .settle_ms = 80000 }, true);
	workload_zipf(&work, 4e6, 200000, 0.99);
	for (unsigned round = 0; round < 120; round++)
		run(round);
	show("zipf by pages", 16);
	CHECK(share(sim.report.settled) > 1.05 * share(sim.report.oracle));
	CHECK(sim.report.page_moves > 0 && sim.report.refused == 0);
}

/*
 * Two tenants of half the memory each; one ten times as busy. Their shares of the near tier, in percent of it, are what
 * their budgets say.
 */
static void tenants(const char *name, double want_first)
{
	double first = 0;

	regions[0].pages = GRANULES / 2 * HEAT_PAGES;
	regions[0].account = 1;
	regions[1] = regions[0];
	regions[1].first = GRANULES / 2;
	regions[1].account = 2;
	sim.n_regions = 2;
	sim.n_accounts = 3;
	for (unsigned round = 0; round < 300; round++) {
		struct workload half = work;

		sim_round(&sim, 1000 + round * 1000ull, 1000);
		half.granules = GRANULES / 2;
		workload_run(&half, &sim, 0, 0);
		half.mean += GRANULES / 2;
		workload_run(&half, &sim, 1, GRANULES / 2);
		CHECK(sim_plan(&sim) == 0);
	}
	for (uint32_t g = 0; g < GRANULES / 2; g++)
		first += sim.plan.granules[g].tier == 0;
	first = first * HEAT_PAGES / (double)capacity[0];
	sim_finish(&sim);
	printf("tenants, %s: the first has %.3f of the near tier, budget %.3f\n", name, first,
	       want_first);
	CHECK(fabs(first - want_first) <= 0.05);
	CHECK(sim.report.refused == 0);
}

static void make_tenants(void)
{
	begin(2, (struct sim_config){}, false);
	workload_zipf(&work, 2e6, 500000, 0.99);
	for (uint32_t g = 0; g < GRANULES / 2; g++)
		work.mean[g] *= 10;
}

static void test_tenants(void)
{
	make_tenants();
	tenants("equal", 0.5);
	make_tenants();
	accounts[2].weight = 300;
	tenants("1 : 3", 0.25);
	make_tenants();
	accounts[1].max[0] = capacity[0] / 5;
	tenants("Max", 0.2);
	make_tenants();
	accounts[2].low[0] = capacity[0] * 6 / 10;
	accounts[2].weight = 1;
	tenants("Low", 0.4);
}

int main(void)
{
	test_static("zipf, scattered", make_zipf);
	test_static("zipf, sorted", make_sorted);
	test_static("hot set", make_hot);
	test_bits();
	test_moving();
	test_stream();
	test_even();
	test_pages();
	test_tenants();
	free(memory);
	workload_done(&work);
	return check_result();
}
