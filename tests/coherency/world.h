/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MORSEL_TESTS_COHERENCY_WORLD_H
#define MORSEL_TESTS_COHERENCY_WORLD_H

#include "sim.h"

/* What sim-world.c (scheduler, faults), sim-daemon.c and sim-client.c share. */

#define ECANCELED_SIM 125
#define HOLDS 2u /* extents that the built-in client holds at once */

enum host_status {
	HOST_OFF,
	HOST_RUNNING,
	HOST_PAUSED,
	HOST_CRASHED
};

struct request {
	bool waiting, done, cancel, upgrade;
	unsigned slot;
	uint32_t e;
	uint64_t tag, blocks;
	enum coh_mode mode;
	int result;
};

struct client {
	struct coh_client coh;
	struct coh_hold_page page;
	struct request request;
	bool wants_lock, crashed, hostile;
	uint8_t locks_read[SIM_EXTENTS],
		locks_write[SIM_EXTENTS];  /* block masks of the host's own lock */
	enum coh_mode holds[SIM_EXTENTS];  /* what the program believes to hold */
	uint64_t hold_blocks[SIM_EXTENTS]; /* of a hostile program */
};

struct host {
	enum host_status status;
	struct coh_host coh;
	bool joined;
	struct coh_local local[SIM_EXTENTS];
	struct client client[SIM_CLIENTS];
	struct coh_hold_page *pages[SIM_CLIENTS];
	uint32_t attention, retry; /* extents */
	uint32_t expel;		   /* clients */
	bool timer, event;
	struct {
		bool suspect, fenced;
		uint32_t incarnation;
	} news[COH_HOSTS];
};

/* What an episode is fond of, so that rare things happen in company. */
enum mood {
	MOOD_ANY,
	MOOD_OBJECTS,
	MOOD_REPAIRS,
	MOOD_SLOTS,
	MOOD_ZOMBIES,
	MOODS
};

struct world {
	/* The pool's coherent range. */
	struct coh_header header;
	struct coh_host_entry entries[COH_HOSTS];
	struct coh_mailbox mail[COH_HOSTS];
	struct coh_line lines[SIM_EXTENTS];
	struct coh_pool pool;

	struct host hosts[SIM_HOSTS];
	bool draining;
	unsigned boots;
	enum mood mood;
	uint32_t extents;	/* that are in use: fewer, more quarrels */
	unsigned writers;	/* of 8 holds so many are for writing */
	bool torn[SIM_EXTENTS]; /* a writer was cut off in the middle of a hold */
	/* The oracle: what the last writer of each line stored, and which object an extent is known as. */
	uint64_t oracle[SIM_LINES];
	uint64_t names[SIM_EXTENTS];
	uint64_t stamp;
	int last_writer[SIM_EXTENTS];
	unsigned fault_rate; /* of 4096 scheduler turns */
};

extern struct world world;

static inline struct sim_agent *agent_of(unsigned host, unsigned client)
{
	return &sim_agents[host * (1 + SIM_CLIENTS) + client];
}

void daemon_main(struct sim_agent *a);
void client_main(struct sim_agent *a);
void client_start(unsigned host, unsigned c);
/* The thread is gone; what it stored is out. */
void client_kill(unsigned host, unsigned c);
void host_kick(unsigned host, uint32_t e);
void host_event_all(void);
/* A program begins (mode > none) or ends to believe that it holds E. */
void hold_begins(unsigned host, unsigned c, uint32_t e, enum coh_mode mode);
void hold_ends(unsigned host, unsigned c, uint32_t e);

#endif
