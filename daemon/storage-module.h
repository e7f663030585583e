/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Locks are POSIX's: the thread sanitizer sees through them, unlike GLib's. */
#include <pthread.h>

#include "config.h"
#include "storage-module-open.h"
#include "storage-module-sys.h"
#include "storage.h"

/*
 * Inside of the module storage: objects of morsel.ko. Nothing outside storage-module*.c and their tests
 * includes this; storage.h and storage-module-open.h are the contract.
 *
 * An object's number in the kernel is half of its morsel's id. It is opened by that number each time a descriptor is
 * wanted, so the daemon holds none for it; it is there until it is destroyed, whatever becomes of the daemon.
 *
 * Frames are charged to an account of the module for the cgroup that the morsel was created from
 * (storage-module-account.h).
 */

/* A pool for each node, or device, that memory was wanted of. */
struct module_pool {
	uint32_t id, tier;
	int node;	/* -1: it is a device */
	uint64_t start; /* the device's physical address */
	bool ours;	/* of a device that was given to morsel: for us to give back */
};

/* A tier's device: what its pool's bytes count as. */
struct module_device {
	uint64_t start;
	int place;
	uint64_t
		not_before; /* after a failure it is not tried again before then (monotonic clock) */
	int error;	    /* that one, with */
	char *text;
};

struct module_storage {
	struct storage base;
	int root_fd, fd; /* owned */
	const struct module_sys *sys;
	struct module_opener opener;
	uint32_t instance; /* of 31 bits */
	uint64_t features; /* MORSEL_FEATURE_* */

	pthread_mutex_t lock;		    /* of what is below */
	GArray *pools;			    /* of struct module_pool */
	GArray *devices;		    /* of struct module_device */
	GHashTable *adopted;		    /* paths of cgroups that older objects are of, a set */
	GHashTable *cgroups;		    /* of struct module_cgroup, by their numbers */
	char *tier_names[MORSEL_MAX_TIERS]; /* by the module's number; NULL: no tier has it */
	struct policy_set *policies;	    /* has limits of cgroups; NULL: none */
	storage_module_place_t place;	    /* NULL: nobody wants to know */
	void *place_userdata;
	uint64_t collected; /* when accounts were last given back (monotonic clock) */
};

struct storage_object {
	/* Constant. */
	struct module_storage *module;
	char *label;
	uint64_t id;
	uint64_t size;
	bool huge;
	bool placed;		     /* by wishes of its own */
	struct placement *placement; /* referenced; NULL: no wishes */

	pthread_mutex_t lock;	      /* of what is below */
	struct morsel_placement list; /* in force */
};

/* With a text on failure: -EINVAL, not in whole pages inside of the object. */
int module_check_range(const struct storage_object *o, uint64_t offset, uint64_t length,
		       char **ret_error);

/* For the module: its placement is its own, not its cgroup's. 0 where that cannot be said. */
static inline uint32_t module_placed_flag(const struct module_storage *m)
{
	return m->features & MORSEL_FEATURE_PLACED ? MORSEL_OBJECT_PLACED : 0;
}

/* Can pages lie on the tier? */
static inline bool module_tier_takes(const struct tier *t)
{
	return tier_has_pages(t) || tier_is_pool(t);
}

/*
 * The id of the pool of a tier's place (tier_place()), which is made when there is none. So large may a node's grow: the node's
 * memory less what the kernel and programs need of it, see storage-module-pool.c; a device's is all of it. -errno with a
 * text. Any thread.
 */
int module_pool_get(struct module_storage *m, const struct tier *tier, int place, char **ret_error);
/* With lock held. */
int module_device_pool(struct module_storage *m, const struct tier *tier, char **ret_error);
const struct module_pool *module_pool_of_device(const struct module_storage *m, uint64_t start);
uint32_t module_tier_number(const struct module_storage *m, const struct tier *tier);
/* The place that a pool's bytes are counted by; NODE_MAX: a device that no tier has. -1: there is no such pool. */
int module_pool_place(struct module_storage *m, uint32_t id);
/* Learn what pools there are. */
int module_pools_scan(struct module_storage *m);
/* Devices that an object of ours has bytes on (by pool) were made pools by us, whatever the configuration says now. */
void module_pools_adopt(struct module_storage *m, const __u64 pool_bytes[MORSEL_MAX_POOLS + 1]);
/* If there is no object at all any more: give all pools and accounts back. */
void module_pools_release(struct module_storage *m);
/* Bytes that a pool of a node may have at most, of total; cpus: the node has some. */
uint64_t module_pool_limit(uint64_t total, bool cpus);

/* Implementations of storage_ops, by file. */
int module_move(struct storage_object *o, uint64_t offset, uint64_t length, struct tier *tier,
		uint64_t bandwidth, storage_progress_t progress, void *userdata,
		struct storage_move_result *ret_result, char **ret_error);
int module_residency(struct storage_object *o, uint64_t offset, uint64_t length, bool exact,
		     storage_progress_t progress, void *userdata,
		     struct storage_residency *ret_residency, GArray **ret_runs);
int module_harvest(struct storage_object *o, uint64_t offset, uint64_t length, uint64_t *accessed);
uint64_t module_room(struct storage *s, const struct tier *tier);
int module_populate(struct storage_object *o, uint64_t offset, uint64_t length,
		    storage_progress_t progress, void *userdata, char **ret_error);
