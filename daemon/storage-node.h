/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Locks and threads are POSIX's: the thread sanitizer sees through them, unlike GLib's. */
#include <pthread.h>

#include "storage-node-policy.h"
#include "storage-node-sys.h"
#include "storage.h"

/*
 * Inside of the node storage: memfds on the NUMA nodes of a stock kernel. Nothing outside
 * storage-node*.c and their tests includes this; storage.h is the contract.
 */

struct node_storage {
	struct storage base;
	int root_fd;	  /* owned */
	bool single_node; /* policies make no difference */
	const struct node_sys *sys;
	struct node_caps caps;
};

struct storage_object {
	/* Written by create, then constant. */
	struct node_storage *node;
	char *label;
	int fd; /* owned; read-write */
	uint64_t size;
	uint64_t page_size; /* unit of offsets and lengths: 2 MiB with hugetlb, else 4 KiB */
	enum page_backing backing;
	struct placement *placement; /* referenced; NULL: no wishes */
	struct nodeset allow;	     /* where pages may lie, when placement->allow is not empty */
	struct policy_plan *plan;    /* policies by range */

	pthread_mutex_t lock; /* of what is below */
	bool prepared;
	struct policy_map *moved; /* ranges with policies that moves gave them; NULL: none */
};

/* The largest object: half of what 47 bits of addresses hold, so that one mapping of it fits. */
#define NODE_SIZE_MAX (UINT64_C(1) << 46)

/* As storage_node_new(), with system calls of a test. */
int storage_node_new_with(int root_fd, const struct node_sys *sys, struct storage **ret_storage);

/* Is [offset, offset + length) inside the object and in whole pages? -EINVAL with a text. */
int node_check_range(const struct storage_object *o, uint64_t offset, uint64_t length,
		     char **ret_error);

/* An object without file, plan and pages; the placement is referenced. */
struct storage_object *node_object_new(struct node_storage *node, const struct storage_spec *spec);

/* Implementations of storage_ops, by file. */
int node_adopt(struct storage *s, const struct inventory *inv, const struct storage_spec *spec,
	       enum page_backing backing, int fd, struct storage_object **ret_object,
	       char **ret_error);
int node_move(struct storage_object *o, uint64_t offset, uint64_t length, struct tier *tier,
	      uint64_t bandwidth, storage_progress_t progress, void *userdata,
	      struct storage_move_result *ret_result, char **ret_error);
int node_residency(struct storage_object *o, uint64_t offset, uint64_t length, bool exact,
		   storage_progress_t progress, void *userdata,
		   struct storage_residency *ret_residency, GArray **ret_runs);
int node_populate(struct storage_object *o, uint64_t offset, uint64_t length,
		  storage_progress_t progress, void *userdata, char **ret_error);
