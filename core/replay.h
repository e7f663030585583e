/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_REPLAY_H
#define MORSEL_CORE_REPLAY_H

#include "simulate.h"
#include "trace.h"

/* A trace in the simulator: its rounds, with its regions and accounts, on given tiers. Pure, memory is the caller's. */

/* What a trace needs, from a first look at all of it. */
struct replay_extent {
	uint32_t regions, accounts, tiers; /* highest index + 1; accounts at least one */
	uint32_t granules;		   /* places for all regions: each index keeps its own */
	uint32_t splits;		   /* granules whose pages are told apart, at one time */
	uint64_t rounds, clock_ms;	   /* how long it is */
	uint64_t good;			   /* bytes of it that can be used */
	enum trace_end end;
};

#define REPLAY_GRANULES_MAX (1u << 24) /* 32 TiB */

/*
 * sizes: TRACE_REGIONS_MAX numbers, the caller's: granules of each region. -EUCLEAN, -EOPNOTSUPP: as trace_open();
 * -ERANGE: more granules than REPLAY_GRANULES_MAX.
 */
int replay_scan(const void *data, uint64_t size, uint32_t *sizes, struct replay_extent *ret);

struct replay_pages {
	uint32_t granule; /* HEAT_NONE: free */
	uint32_t n;
	struct trace_class classes[TRACE_CLASSES_MAX];
};

struct replay {
	struct trace_reader reader;
	struct sim sim;
	struct plan_region *regions;
	struct plan_account *accounts;
	uint32_t *firsts;	 /* [region]: where its granules are */
	uint8_t *levels, *carry; /* [granule] */
	uint32_t *pages_of;	 /* [granule]: index in pages + 1, or 0 */
	struct replay_pages *pages;
	uint32_t n_pages, granules;
	uint32_t plan_ms;
	uint64_t planned_ms, last_ms;
	bool in_round;
	/* The caller may have its say about budgets that the trace brings; NULL: as they are. */
	void (*account)(void *userdata, uint32_t index, const char *name, uint32_t name_length,
			struct plan_account *a);
	void *userdata;
};

/*
 * config: what sim_config says, but for sizes, grain and accounts, which the trace knows; its tiers: how many the
 * caller gives. Tiers and capacity are the caller's, as in struct sim, and set after replay_init().
 */
int replay_size(const struct replay_extent *extent, const struct sim_config *config,
		uint64_t *ret_size);
int replay_init(struct replay *r, const void *data, uint64_t size,
		const struct replay_extent *extent, const uint32_t *sizes,
		const struct sim_config *config, void *memory, uint64_t memory_size);
/* To the end. plan_ms: between runs of the planner. The report is r->sim.report then. */
int replay_run(struct replay *r, uint32_t plan_ms);

#endif
