/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MORSEL_TESTS_COHERENCY_SIM_H
#define MORSEL_TESTS_COHERENCY_SIM_H

/*
 * A machine room in one process: hosts with private caches over one shared memory without hardware
 * coherency, threads with store buffers and flushes under way, and a scheduler that may do anything to
 * them between any two memory operations. It runs core/coherency as it is, through the memory interface.
 *
 * Every choice goes through sim_choose(): by the running thread's generator, or by the scheduler's number for
 * this turn. So a run is a seed and a list of numbers: it can be replayed and shrunk.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherency-mutate.h"
#include "coherency.h"

#define SIM_HOSTS 5u   /* machines; the pool has slots for 32 */
#define SIM_CLIENTS 2u /* threads of applications per host */
#define SIM_EXTENTS 3u
#define SIM_LINES_PER_EXTENT (COH_EXTENT_SIZE / MORSEL_LINE)
#define SIM_LINES_PER_BLOCK (COH_BLOCK_SIZE / MORSEL_LINE)
#define SIM_LINES (SIM_EXTENTS * SIM_LINES_PER_EXTENT)
#define SIM_AGENTS (SIM_HOSTS * (1 + SIM_CLIENTS))
#define SIM_STORES 8u	/* entries of a store buffer */
#define SIM_FLUSHES 16u /* flushes under way per thread */
#define SIM_STACK (64u * 1024)

/* ---- choices (sim-main.c) -------------------------------------------------------------------------- */

/* A number below N. */
unsigned sim_choose(unsigned n);
/* Begins a turn of the scheduler; false at the end of a list that is replayed. */
bool sim_next_turn(void);
/* A seed for WHAT in this episode. */
uint64_t sim_seed_for(uint64_t what);

/* ---- threads and memory (sim-mem.c) ---------------------------------------------------------------- */

enum sim_line_state {
	SIM_ABSENT,
	SIM_CLEAN,
	SIM_DIRTY
};

struct sim_agent;

struct sim_line {
	uint64_t value;
	uint32_t filled; /* step of the fill, and of the last store */
	uint32_t stored;
	const struct sim_agent *by; /* whose store it was; NULL: some other thread's */
	uint8_t state;
};

struct sim_memory_line {
	uint64_t value, before; /* now, and before the last change */
	uint32_t changed;	/* step of that change */
};

enum sim_status {
	SIM_DEAD,
	SIM_READY,
	SIM_BLOCKED
};

struct sim_agent {
	struct morsel_mem mem; /* first: ops get a pointer to it */
	unsigned host, client; /* client: 0 is the daemon */
	enum sim_status status;
	void *stack, *sp;
	void *fiber; /* the sanitizers' view of the stack */
	void (*entry)(struct sim_agent *);
	unsigned quantum;
	uint64_t rng;
	struct {
		uint64_t *p; /* NULL: a data line */
		uint32_t line;
		uint64_t value;
	} store[SIM_STORES];
	unsigned stores;
	struct {
		uint32_t line;
		bool drop;
	} flush[SIM_FLUSHES];
	unsigned flushes;
	bool loaded; /* has loaded since the last fence, first at step… */
	uint32_t loaded_at;
};

struct sim_stats {
	uint64_t steps, episodes, reads, writes, stale_holds, handovers, lends;
	uint64_t dirtied, flushed_dirty, evicted_dirty, flush_ops, invalidated;
	uint64_t crashes, pauses, suspects, fences, surrenders, torn, repairs, wraps, upgrades,
		deadlocks, slots;
	uint64_t stale_reads;
};

extern struct sim_stats sim_stats;

void sim_memory_reset(void);
struct sim_agent *sim_current(void); /* NULL: the scheduler */
void sim_agent_start(struct sim_agent *a, void (*entry)(struct sim_agent *));
void sim_agent_run(struct sim_agent *a); /* from the scheduler: until it gives way */
void sim_give_way(struct sim_agent *a);	 /* from the agent */
void sim_step(struct sim_agent *a);	 /* one memory operation: maybe gives way */
void sim_agent_free(struct sim_agent *a);
void sim_drain(struct sim_agent *a, bool all);	  /* the store buffer's oldest entry, or all */
void sim_complete(struct sim_agent *a, bool all); /* a flush under way, or all */

uint64_t sim_data_load(struct sim_agent *a, uint32_t line);
void sim_data_store(struct sim_agent *a, uint32_t line, uint64_t value);
/* A store by another thread of the host, long enough ago to be in the cache. */
void sim_helper_store(unsigned host, uint32_t line, uint64_t value);

void sim_evict(unsigned host, uint32_t line);
void sim_write_back(unsigned host, uint32_t line);
void sim_prefetch(unsigned host, uint32_t line);
/* Power off: each dirty line reaches memory or is lost, as chosen. */
void sim_cache_lose(unsigned host);

extern const struct morsel_mem_ops sim_ops;
extern struct sim_line sim_cache[SIM_HOSTS][SIM_LINES];
extern struct sim_memory_line sim_memory[SIM_LINES];
extern uint8_t *sim_data; /* where the core believes the data to be; never touched */

/* ---- the world (sim-world.c) ----------------------------------------------------------------------- */

/* Runs one episode; false and sim_failure say what broke. */
bool sim_episode(void);
/* The two that are written down (sim-script.c). */
bool sim_scripts(void);
extern char sim_failure[256];
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern bool sim_verbose;
/* The moment to be interrupted at. */
void sim_before_cas(struct sim_agent *a, const uint64_t *p, uint64_t from, uint64_t to);
void sim_log_cas(struct sim_agent *a, const uint64_t *p, uint64_t from, uint64_t to, bool done);
void sim_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A directory word with no history, for the first word of an episode. */
extern struct sim_agent sim_agents[SIM_AGENTS];

/*
 * ---- hostile programs -------------------------------------------------------------------------------
 * A shared object given by --hostile runs as one client of every host instead of the built-in program. It
 * exports `void sim_hostile(const struct sim_hostile *h)`, which is called again whenever it returns.
 * What it cannot do is what a client cannot do: write the daemon's memory or the coherent range.
 * It wins if some other client reads stale or torn data, or if all come to a stop. See
 * tests/coherency/hostile-example.c.
 */
struct sim_hostile {
	void *me;      /* pass it to every call */
	unsigned host; /* machine it runs on */
	unsigned extents, blocks, lines_per_block, hold_slots;
	unsigned (*choose)(unsigned n); /* a free choice; use this and no other randomness */
	/* As libmorsel does it; 0 or -errno, with the slow path included. mode: 1 read, 2 write. */
	int (*acquire)(void *me, unsigned slot, unsigned extent, uint64_t blocks, int mode);
	int (*release)(void *me, unsigned slot);
	/* Any line at any time. Reading is always harmless to others. */
	uint64_t (*read)(void *me, unsigned line);
	/* Only inside a write hold: the mapping enforces that with the module; without it, it is the contract. */
	void (*write)(void *me, unsigned line, uint64_t value);
	/* Any word into the own hold page, without acquire. */
	void (*scribble)(void *me, unsigned slot, uint64_t word);
	/* Cache control that any program has: CLFLUSH of any line, prefetch of any line. */
	void (*flush)(void *me, unsigned line);
	void (*prefetch)(void *me, unsigned line);
	/* Bothers the daemon with a request that means nothing. */
	void (*kick)(void *me, unsigned extent);
};
extern void (*sim_hostile_program)(const struct sim_hostile *h);

#endif
