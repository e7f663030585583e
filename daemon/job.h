/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "caller.h"
#include "morsel.h"
#include "worker.h"

struct connection;
struct manager;
struct provision;

/*
 * What takes longer than a call should: moves, and provisioning of memory. Users take turns, one morsel is moved by one job at a
 * time, and no job depends on the connection that started it. Event loop's thread, except where said.
 */
enum job_state {
	JOB_QUEUED,
	JOB_RUNNING,
	JOB_DONE,
	JOB_FAILED,
	JOB_CANCELLED,
	JOB_INTERRUPTED, /* by the end of the daemon before this one */
};
const char *job_state_to_string(enum job_state s);

enum job_kind {
	JOB_MOVE,
	JOB_PROVISION,
	JOB_UNPROVISION
};
const char *job_kind_to_string(enum job_kind k);

/* Finished ones stay for a minute, the last 256 at most. */
#define JOBS_FINISHED_MAX 256
#define JOBS_FINISHED_USEC (60 * UINT64_C(1000000))

struct job {
	struct work work; /* first */
	grefcount refs;
	struct manager *manager;
	uint32_t id;
	enum job_kind kind;
	enum job_state state;
	uid_t owner;		       /* who asked for it */
	struct quota_account *account; /* charged with it until it has ended */
	struct provision *provision;   /* NULL: a move */
	struct morsel *morsel;	       /* of a move; NULL once it has ended */
	char morsel_id[MORSEL_ID_LENGTH + 1];
	uid_t morsel_owner;
	char *morsel_name;
	struct tier *tier;     /* of a move; NULL once interrupted */
	const char *tier_name; /* "": not of a move */
	uint64_t offset, length;
	bool dry_run;
	uint64_t created_usec; /* real-time clock */
	uint64_t ended_usec;   /* monotonic */

	/* The worker writes, the loop reads; the other way round for cancel. Bytes of a move, else
	 * steps. */
	_Atomic uint64_t done, total;
	atomic_bool cancel;
	/* The worker's until work.done: */
	uint64_t bandwidth;
	int result;
	struct storage_move_result moved;
	char *error; /* NULL: none */

	/* The connection that started it; destination is its name on the bus, NULL on a private one. */
	struct connection *starter;
	char *destination;
	uint64_t told_done;
	enum job_state told_state;

	GQueue waiters; /* of sd_bus_message *: calls of Wait */
	GList link;	/* in its owner's queue, or among the finished */
};

struct jobs;
/* pool: for moves; admin: for what an administrator wants, which waits for no move. */
struct jobs *jobs_new(struct manager *manager, struct worker_pool *pool, struct worker_pool *admin);
/* Cancels everything, without waiting: free the pool, then this. */
void jobs_stop(struct jobs *jobs);
struct jobs *jobs_free(struct jobs *jobs); /* takes NULL, returns NULL */

/*
 * Queue a move of [offset, offset + length) of m to tier; all checked by the caller of this.
 * -EDQUOT: the caller may have no more (*ret_text). The job is the queue's; borrowed.
 */
int jobs_move(struct jobs *jobs, struct morsel *m, struct tier *tier, uint64_t offset,
	      uint64_t length, bool dry_run, const struct caller *caller,
	      struct connection *starter, const char *destination, struct job **ret_job,
	      char **ret_text);

/* The same for a provisioning, which begins with jobs_begin(). Takes over p, also on failure. */
int jobs_provision(struct jobs *jobs, struct provision *p, const struct caller *caller,
		   struct connection *starter, const char *destination, struct job **ret_job,
		   char **ret_text);

/* The registry's file has it, or (r < 0) cannot: then a move is cancelled and a provisioning fails. */
void jobs_begin(struct job *job, int r);

/* Ids up to this one were given before the start. */
void jobs_set_last(struct jobs *jobs, uint32_t id);
struct ledger_job;
struct ledger_provision;
/* One of before the start that had not ended, with its id: it is logged and listed as ended. */
void jobs_add_interrupted(struct jobs *jobs, const struct ledger_job *lasting);
void jobs_add_interrupted_provision(struct jobs *jobs, const struct ledger_provision *lasting);

struct job *jobs_find(struct jobs *jobs, uint32_t id); /* NULL: there is none (any more) */
/* By id, ascending: the first with an id over after. */
struct job *jobs_after(struct jobs *jobs, uint32_t after);
void job_cancel(struct job *job);
/* The jobs that move m: it is being destroyed. */
void jobs_cancel_morsel(struct jobs *jobs, struct morsel *m);
/* The connection is gone: its jobs go on, silently. */
void jobs_forget_connection(struct jobs *jobs, struct connection *c);
/* More or fewer at a time, from a new configuration. */
void jobs_set_parallel(struct jobs *jobs, unsigned int n);
unsigned int jobs_running(const struct jobs *jobs);
/* A morsel is not moved any more by what is no job: perhaps one waits for it. */
void jobs_look(struct jobs *jobs);

/* Its owner, the morsel's (if it has one), and root. */
bool job_visible(const struct job *job, const struct caller *caller);
