/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-id128.h>

#include "inventory.h"
#include "placement.h"

/*
 * The interface of the three storages (DESIGN §1): node now, module and pool later. A storage knows
 * bytes and nodes; names, owners and rights are the registry's, and are only told here.
 *
 * Threads: create, adopt, free, gone and open_fd run on the event loop and must not block (what a new object
 * still needs and takes long is left to prepare). prepare, populate, move, residency and destroy run on
 * workers, several at once, on the same object too; they may run while clients use the object.
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
void storage_residency_init(struct storage_residency *r);
void storage_residency_done(struct storage_residency *r); /* twice does no harm */
void storage_residency_add(struct storage_residency *r, int node, uint64_t bytes);

/* One run of granules whose pages lie on the same nodes, for `explain`. */
#define RUN_ABSENT (-1) /* no page */
#define RUN_MIXED (-2)	/* pages of several nodes: see by_node */
struct storage_run {
	uint64_t offset, length;
	int node;	  /* or one of the above */
	uint64_t present; /* bytes in memory */
	GArray *by_node;  /* of uint64_t bytes, index = node number; NULL unless RUN_MIXED */
};
/* An array of struct storage_run that frees what its elements own. */
GArray *storage_runs_new(void);

/* How a move went. All in bytes; moved + already + absent + failed = the range's length. */
struct storage_move_result {
	uint64_t moved;
	uint64_t already; /* were there before */
	uint64_t absent;  /* no page: the policy of the range now sends the next one there */
	uint64_t failed;
	/* failed, by errno (positive) → bytes: EBUSY pinned or in use, ENOMEM target full, EACCES shared
	 * with another process and the daemon lacks CAP_SYS_NICE, … */
	GHashTable *reasons; /* GINT_TO_POINTER(errno) → uint64_t * */
	/* 0; or why pages that come later will not be sent to the new place (negative): -E2BIG: the
	 * object has too many ranges with places of their own already; -EOPNOTSUPP: hugetlb. */
	int policy_error;
};
void storage_move_result_init(struct storage_move_result *r);
void storage_move_result_done(struct storage_move_result *r); /* twice does no harm */
void storage_move_result_fail(struct storage_move_result *r, int error, uint64_t bytes);

const char *page_backing_to_string(enum page_backing b); /* "4k", "thp", "hugetlb" */

/* Called by a worker now and then; return false to stop (the call then returns -ECANCELED with what
 * was done so far in its result). done and total in bytes. */
typedef bool (*storage_progress_t)(uint64_t done, uint64_t total, void *userdata);

struct storage {
	const char *name; /* "node" */
	struct storage_ops const *ops;
	/*
	 * Its objects outlive the daemon by themselves, in the kernel: no descriptor is kept for them,
	 * and they end by destroy() only.
	 */
	bool lasting;
	const char *unplaced; /* where pages go that no wish is about: "the kernel takes …" */
};

/* What an object is made for, or was. Borrowed for the call. */
struct storage_spec {
	sd_id128_t id;	   /* the morsel's */
	const char *label; /* for messages, and for people who look at a process */
	uid_t owner;
	const char *cgroup; /* it was created from: "/user.slice/…"; "" or NULL: unknown */
	uint64_t cgroup_id; /* that one's number, 0: unknown */
	uint64_t size;	    /* bytes, multiple of the page size, > 0 */
	struct placement *placement; /* NULL: no wishes */
	bool placed; /* some of these are the morsel's own: what its cgroup wishes later is nothing to it */
};

struct storage_ops {
	/*
	 * A descriptor of it that is returned anywhere can neither grow nor shrink the object. ret_error:
	 * text naming tier, node or limit, on failure. -EINVAL: size or placement; -EFBIG: larger than can ever be mapped;
	 * -ENOENT: no such tier; -ENODEV: a tier cannot take pages; -ENOMEM; -EMFILE/-ENFILE: out of
	 * descriptors; -EOPNOTSUPP: page size or policy not to be had (the text says why and how
	 * to get it).
	 */
	int (*create)(struct storage *s, const struct inventory *inv,
		      const struct storage_spec *spec, struct storage_object **ret_object,
		      char **ret_error);
	/*
	 * An object from before the daemon's start. fd: the descriptor that is left of it
	 * (descriptor() of then), which is taken over, on failure too; -1 where the storage is lasting: it
	 * is found by spec->id. The policies that were set on it are still in force; tiers of the placement
	 * that are no longer there do not hinder. -EINVAL: it is not such an object; -ENOENT: it is no
	 * more (*ret_error).
	 */
	int (*adopt)(struct storage *s, const struct inventory *inv,
		     const struct storage_spec *spec, enum page_backing backing, int fd,
		     struct storage_object **ret_object, char **ret_error);
	/* Lets go of it. Where the storage is not lasting its memory goes with the last user. */
	struct storage_object *(*free)(struct storage_object *o);
	/* Lasting storages only. The morsel is no more: the memory goes with the last descriptor and mapping.
	 * Comes before free(). One that does not reach the kernel is made up for at the next start. */
	int (*destroy)(struct storage_object *o);
	/* After destroy(): have the last descriptor and mapping gone? */
	bool (*gone)(const struct storage_object *o);
	/*
	 * Must a worker call prepare() before the object is handed out (hugetlb pages, or a long list
	 * of policies)? When prepare fails the object is to be freed; ret_error says why.
	 */
	bool (*needs_prepare)(const struct storage_object *o);
	int (*prepare)(struct storage_object *o, storage_progress_t progress, void *userdata,
		       char **ret_error);
	/* Allocate what is not there yet. What was allocated stays, on failure too: -ENOMEM. */
	int (*populate)(struct storage_object *o, uint64_t offset, uint64_t length,
			storage_progress_t progress, void *userdata, char **ret_error);
	/* A new descriptor, O_CLOEXEC, that the caller owns; read-only when !writable. */
	int (*open_fd)(struct storage_object *o, bool writable);
	/* One that stands for the object itself, for adopt(): borrowed, the object's. -1: lasting. */
	int (*descriptor)(const struct storage_object *o);
	enum page_backing (*page_backing)(const struct storage_object *o);
	/* Bytes that exist now (in memory or swapped): exact, O(1). */
	int (*allocated)(struct storage_object *o, uint64_t *ret_bytes);
	/*
	 * Move what exists of [offset, offset+length) to the tier's nodes, and let later pages of that
	 * range be placed there too. tier is a snapshot, referenced by the caller. bandwidth: bytes
	 * a second, 0 for no limit. Returns 0 even when some pages stayed: see result, which is
	 * written on 0 and on -ECANCELED. offset, length: multiples of 4096 (2 MiB with hugetlb) inside the
	 * object; else -EINVAL. -ENODEV: the tier takes no pages; -EINVAL: it is not among those that
	 * the object's placement allows; -EOPNOTSUPP: moving is forbidden to this process.
	 */
	int (*move)(struct storage_object *o, uint64_t offset, uint64_t length, struct tier *tier,
		    uint64_t bandwidth, storage_progress_t progress, void *userdata,
		    struct storage_move_result *ret_result, char **ret_error);
	/*
	 * exact: look at every page (cost: docs/storage-node.md); else ranges over 1 GiB are sampled.
	 * The range is clipped to the object; -EINVAL when it begins outside or is empty.
	 * ret_runs (may be NULL): see storage_runs_new(), by offset; NULL is written when sampled.
	 */
	int (*residency)(struct storage_object *o, uint64_t offset, uint64_t length, bool exact,
			 storage_progress_t progress, void *userdata,
			 struct storage_residency *ret_residency, GArray **ret_runs);
	/*
	 * Which of its pages were accessed since the call before: their bits in accessed (zeroed by the caller, one for 4096
	 * bytes, from offset on). NULL: the storage cannot tell. offset, length: whole granules inside, 1 GiB at most, or up to
	 * the end; else -EINVAL. On a worker.
	 */
	int (*harvest)(struct storage_object *o, uint64_t offset, uint64_t length,
		       uint64_t *accessed);
	/* Bytes that can still be had of a tier's nodes or device; NULL where harvest is. On a worker. */
	uint64_t (*room)(struct storage *s, const struct tier *tier);
};

/* root_fd: for /proc and /sys files that it reads (hugepages, shmem_enabled). */
int storage_node_new(int root_fd, struct storage **ret_storage);
struct storage *storage_node_free(struct storage *s);
