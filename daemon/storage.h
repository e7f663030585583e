/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "inventory.h"
#include "placement.h"

/*
 * The interface of the three storages (DESIGN §1): node now, module and pool later. A storage knows
 * bytes and nodes; names, owners and rights are the registry's.
 *
 * Threads: create, destroy and open_fd run on the event loop and must not block (a create that
 * has to populate says so through needs_worker). move, residency and populate run on a worker, on
 * one object at a time per call, many objects at once; they may run while clients use the object.
 * Objects are reference counted by the registry: an object outlives every call on it.
 */

#define GRANULE_SIZE (UINT64_C(2) << 20)

struct storage_object; /* defined by each storage */

enum page_backing {
	PAGES_4K,
	PAGES_THP,     /* 2 MiB wanted, transparent: what was got is in storage_residency.huge */
	PAGES_HUGETLB, /* 2 MiB, populated when it was created */
	PAGE_BACKING_MAX
};

/* Bytes of a range by NUMA node. */
struct storage_residency {
	uint64_t offset, length; /* the range asked for, clipped to the object */
	GArray *by_node;	 /* of uint64_t, index = node number */
	uint64_t absent;	 /* bytes with no page */
	uint64_t swapped;	 /* bytes that exist but are not in memory */
	uint64_t huge;		 /* bytes in 2 MiB pages, of those looked at */
	bool sampled;		 /* by_node is an estimate: */
	uint64_t looked_at;	 /* bytes looked at */
};
void storage_residency_done(struct storage_residency *r);

/* One run of granules whose pages lie on the same nodes, for `explain`. */
struct storage_run {
	uint64_t offset, length;
	int node;	 /* -1: no page; -2: mixed, see by_node of the run's residency */
	uint64_t present; /* bytes */
};

/* How a move went. All in bytes; moved + already + absent + failed = the range's length. */
struct storage_move_result {
	uint64_t moved;
	uint64_t already; /* were there before */
	uint64_t absent;  /* no page: the policy of the range now sends the next one there */
	uint64_t failed;
	/* failed, by errno (positive) → bytes: EBUSY pinned or in use, ENOMEM target full, EACCES shared
	 * with another process and the daemon lacks CAP_SYS_NICE, … */
	GHashTable *reasons; /* GINT_TO_POINTER(errno) → uint64_t * */
};
void storage_move_result_done(struct storage_move_result *r);

/* Called by a worker now and then; return false to stop (the call then returns -ECANCELED with what
 * was done so far in its result). done and total in bytes. */
typedef bool (*storage_progress_t)(uint64_t done, uint64_t total, void *userdata);

struct storage {
	const char *name; /* "node" */
	struct storage_ops const *ops;
};

struct storage_ops {
	/*
	 * size: bytes, multiple of the page size, > 0. The descriptor is sealed and 0600 before
	 * it is returned anywhere. ret_error: text naming tier, node or limit, on failure.
	 * -ENODEV: a tier cannot take pages; -ENOMEM; -EMFILE/-ENFILE: out of descriptors;
	 * -EOPNOTSUPP: page size not to be had (the text says why and how to get it).
	 */
	int (*create)(struct storage *s, const struct inventory *inv, const char *label,
		      uint64_t size, struct placement *p, struct storage_object **ret_object,
		      char **ret_error);
	struct storage_object *(*free)(struct storage_object *o);
	/* Must a worker call populate() before the object is handed out (hugetlb)? */
	bool (*needs_populate)(const struct storage_object *o);
	int (*populate)(struct storage_object *o, uint64_t offset, uint64_t length,
			storage_progress_t progress, void *userdata, char **ret_error);
	/* A new descriptor, O_CLOEXEC, that the caller owns; read-only when !writable. */
	int (*open_fd)(struct storage_object *o, bool writable);
	enum page_backing (*page_backing)(const struct storage_object *o);
	/* Bytes that exist now (in memory or swapped): exact, O(1). */
	int (*allocated)(struct storage_object *o, uint64_t *ret_bytes);
	/*
	 * Move what exists of [offset, offset+length) to the tier's nodes, and let later pages of that
	 * range be placed there too. tier is a snapshot, referenced by the caller. bandwidth: bytes
	 * a second, 0 for no limit. Returns 0 even when some pages stayed: see result.
	 */
	int (*move)(struct storage_object *o, uint64_t offset, uint64_t length, struct tier *tier,
		    uint64_t bandwidth, storage_progress_t progress, void *userdata,
		    struct storage_move_result *ret_result, char **ret_error);
	/*
	 * exact: look at every page (cost documented in docs/architecture.md); else ranges over 1 GiB
	 * are sampled. ret_runs (may be NULL): of struct storage_run, only when exact or not sampled.
	 */
	int (*residency)(struct storage_object *o, uint64_t offset, uint64_t length, bool exact,
			 storage_progress_t progress, void *userdata,
			 struct storage_residency *ret_residency, GArray **ret_runs);
};

/* root_fd: for /proc and /sys files that it reads (hugepages, shmem_enabled). */
int storage_node_new(int root_fd, struct storage **ret_storage);
struct storage *storage_node_free(struct storage *s);
