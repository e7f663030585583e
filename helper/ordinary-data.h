/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/*
 * What HELPER_LOOK and HELPER_SHIFT give back, in a memfd: a head, then arrays one behind the other, in the machine's own
 * byte order. No address of any process is in it: granules are told by numbers of the connection's own.
 *
 * A chunk is 128 MiB of a process's address space, of 64 granules: it has the numbers from 64 × slot on for as long
 * as some of it is there.
 */
#define ORDINARY_MAGIC 0x6f72736du
#define ORDINARY_CHUNK 64u
#define ORDINARY_SLOTS (HELPER_GRANULES / ORDINARY_CHUNK)
#define ORDINARY_BYTES_MAX (4u << 20)

#define ORDINARY_SAMPLES 20u /* of each granule, in a window */

struct ordinary_head {
	uint32_t magic;
	uint32_t n_processes, n_chunks, n_granules, n_shifts;
	uint32_t window_ms; /* that the samples are of; 0: none yet */
	uint64_t cpu_usec;  /* that the kernel's sampler and the helper used since the last look */
};

struct ordinary_process {
	int32_t result;	   /* 0, or why nothing is told of it: -ESRCH, … */
	uint32_t left_out; /* ranges too many, or chunks for which there is no slot */
};

struct ordinary_chunk {
	uint16_t slot;	  /* ascending */
	uint16_t process; /* index */
	uint32_t serial;  /* another one: the slot is somebody else's now */
};

#define ORDINARY_NODE_UNKNOWN 0xffffu /* not asked for this time */

struct ordinary_granule {
	uint32_t granule; /* ascending; of one of the chunks */
	uint16_t pages;	  /* that are there, of 512: estimated from one in eight */
	uint16_t node;	  /* where most of them are; < HELPER_NODES or ORDINARY_NODE_UNKNOWN */
	uint16_t seen;	  /* accessed in so many samples, of ORDINARY_SAMPLES × 256 */
	uint16_t zero;
};

struct ordinary_shifted {
	uint16_t moved; /* pages */
	uint16_t there; /* and those that were there before */
};

/* A view of data, which it is valid as long as. */
struct ordinary_table {
	const struct ordinary_head *head;
	const struct ordinary_process *processes;
	const struct ordinary_chunk *chunks;
	const struct ordinary_granule *granules;
	const struct ordinary_shifted *shifts;
};

/* data: aligned to 8. Every number is checked, see above. -EBADMSG */
int ordinary_table_parse(const void *data, size_t size, struct ordinary_table *ret_table);
