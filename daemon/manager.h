/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "authority.h"
#include "broker.h"
#include "config.h"
#include "gate.h"
#include "inventory.h"
#include "job.h"
#include "keeper.h"
#include "ledger.h"
#include "linger.h"
#include "listen.h"
#include "module-advice.h"
#include "ordinary.h"
#include "placer.h"
#include "policy.h"
#include "quota.h"
#include "registry.h"
#include "stats.h"
#include "storage.h"
#include "tiering.h"
#include "turns.h"
#include "users.h"
#include "worker.h"

/* What the command line says. Strings are borrowed. */
struct manager_options {
	const char *address;	 /* "system", a D-Bus address, or NULL: no bus */
	const char *listen_path; /* or NULL: no private socket */
	const char *config_path;
	const char *runtime_dir; /* has policy.d, for policies until the next boot */
	const char *root;	 /* "/", or a directory that stands in for it */
	const char *state_dir;	 /* or NULL: nothing lasts */
	const char *bpf_path;	 /* that of morsel-helper --bpf, or NULL: no placement program */
	const char *helper_path; /* morsel-helper's socket, or NULL: there is none */
	const char *keeper_path; /* or NULL: nothing outlives the daemon */
	bool dry_run;
};

/*
 * The daemon's state, with one event loop that owns all of it. Parts point back to it; what a part may
 * touch of another it does through that part's header.
 */
struct manager {
	sd_event *event;
	struct manager_options options;
	int root_fd;
	bool real_root;
	bool dry_run;
	uint64_t started_usec;	  /* real-time clock */
	unsigned int descriptors; /* the limit (RLIMIT_NOFILE) */
	int spare_fd;		  /* something to duplicate, for counting */
	int state_fd;		  /* the locked state directory, or -1 */
	atomic_bool stopping;	  /* workers: come to an end */

	struct config *config;
	struct inventory *inventory;
	struct storage *storage; /* the one of new morsels: one of */
	struct storage *node;	 /* always there */
	struct storage *
		module; /* NULL: it cannot be used; else also where node is the one of new morsels */
	struct module_facts module_facts;
	char *create_refusal; /* NULL; or why nothing is created (Storage=module) */
	/* Moves; residency and explain; populating and freeing memory. */
	struct worker_pool *moves, *queries, *memory;
	struct worker_pool *admin;	  /* provisioning, which waits for no move */
	struct worker_pool *policy_files; /* writes them: one thread, one change after another */
	struct users *users;
	struct registry *registry;
	struct quota *quota;
	struct linger *linger; /* destroyed, but still mapped by somebody */
	struct keeper *keeper; /* never NULL */
	struct ledger *ledger; /* NULL: nothing lasts */
	struct jobs *jobs;
	struct gate *gate;
	struct authority *authority;
	struct turns *turns; /* whose call is served next */
	struct tiering *tiering;
	GQueue records;	       /* of struct record: what is being recorded, by whom */
	struct placer *placer; /* NULL: no placement program */
	struct ordinary *ordinary;
	struct stats stats;
	GQueue listings; /* of struct listing: pages of List on their way */

	struct listener *listener;
	struct broker *broker;
	GHashTable *connections_by_bus; /* sd_bus → struct connection, the private ones */
	GHashTable *connections;	/* of struct connection, the private ones */
	sd_event_source *reap;		/* lets go of a connection to the bus that was closed */
	sd_event_source *sigterm, *sigint, *sighup;
	struct placement *default_placement;
	struct policy_set *policies; /* of cgroups, in force: policies.h. Never NULL */
	GHashTable *placements;	     /* cgroup → struct cgroup_placement; NULL: none yet */
	GPtrArray *policy_warnings;  /* of char *: what of them cannot be */
	GHashTable *provisioned;     /* names of [provision NAME] that were tried */
	struct hotplug *hotplug;
};

/*
 * Reads the configuration and the machine, then serves. One log line on failure. options is copied.
 */
int manager_new(const struct manager_options *options, struct manager **ret_manager);
struct manager *manager_free(struct manager *m); /* takes NULL, returns NULL */
/* Until SIGTERM or SIGINT (0), or what could not go on (a negative errno, or the exit status). */
int manager_run(struct manager *m);

/* -EINVAL: *ret_text says file, line and what is wrong; the old configuration stays. */
int manager_reload(struct manager *m, char **ret_text);
/* Read the machine again, tell what changed. One log line on failure. */
void manager_refresh(struct manager *m);

/* Is there no descriptor left but the reserve? fd: one that was just made, or -1: try one. The reserve is
 * for what must go on: answering, accepting to refuse, workers' files. */
#define DESCRIPTORS_RESERVED 64
bool manager_descriptors_short(struct manager *m, int fd);
void manager_log_descriptors(struct manager *m);

void manager_connection_added(struct manager *m, struct connection *c);
/* It is not to be used any more, and will be freed soon; then a private one is gone. */
void manager_connection_closed(struct manager *m, struct connection *c);
void manager_connection_gone(struct manager *m, struct connection *c);

/* The one of that name; NULL: it is not to be had. */
struct storage *manager_storage(struct manager *m, const char *name);

/* Can new morsels be placed there now? */
bool manager_can_place(const struct manager *m, const struct tier *t);
/* Bytes of the tiers where new morsels can be placed now. */
uint64_t manager_capacity(struct manager *m);
/* Morsels that the keeper has. */
unsigned int manager_kept(const struct manager *m);
void manager_count_move(struct manager *m, const struct storage_move_result *result);
