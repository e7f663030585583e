/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "daemon/fake-inventory.h"
#include "daemon/storage-node.h"

/*
 * Common ground of the checks that run in the lab's guest, on a real kernel with several nodes. The
 * tiers are the guest's nodes: "node0", "node1"…
 */
#define MIB (UINT64_C(1) << 20)
#define PAGE UINT64_C(4096)

struct lab {
	struct storage *s;
	struct inventory *inv;
};

/* Opens the storage; ends the program with 77 and a reason where there are fewer than n nodes. */
void lab_open(struct lab *lab, unsigned int nodes);
void lab_close(struct lab *lab);

struct tier *lab_tier(struct lab *lab, int node);
/* Creates, and prepares if need be; fails the test on an error. */
struct storage_object *lab_create(struct lab *lab, uint64_t size, struct placement *p);
/* Moves all of it; the caller frees the result. */
void lab_move(struct lab *lab, struct storage_object *o, int node,
	      struct storage_move_result *ret_result);
/* A shared mapping, aligned to 2 MiB. */
char *lab_map(struct lab *lab, struct storage_object *o, uint64_t size);
/* Bytes of [offset, offset + length) on node, exactly. */
uint64_t lab_bytes(struct lab *lab, struct storage_object *o, uint64_t offset, uint64_t length,
		   int node);
/* Bytes on node by numa_maps of a process (0: this one) that maps it as address, all of it touched. */
uint64_t lab_numa_maps(pid_t pid, const void *address, int node);
