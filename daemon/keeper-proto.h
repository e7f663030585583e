/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>
#include <systemd/sd-id128.h>

/*
 * Between morseld and morsel-keeper: an AF_UNIX socket of type SOCK_SEQPACKET, one message a batch. A
 * message is a head, then head.n ids; PUT and HAVE carry one descriptor for each id, in their order.
 * Both run on one machine: integers are in its byte order.
 *
 * The keeper outlives upgrades of morseld, so an old keeper meets a new morseld. A new version of this
 * must keep the head, HELLO and GET as they are.
 */
#define KEEPER_VERSION 1
/* SCM_MAX_FD: what one message can carry. */
#define KEEPER_BATCH 253

enum keeper_type {
	/* To the keeper: */
	KEEPER_PUT = 1,
	KEEPER_DROP,  /* answered by DROPPED, when they are closed */
	KEEPER_GET,   /* answered by HAVE, as often as needed, and END */
	KEEPER_BEGIN, /* everything is to be put again: */
	KEEPER_SWEEP, /* what was not since BEGIN is dropped; answered by SWEPT */
	/* From it: */
	KEEPER_HELLO = 32, /* first of all. held; value: how many descriptors it can hold */
	KEEPER_HAVE,
	KEEPER_END,	/* held */
	KEEPER_DROPPED, /* value: how many ids of DROPs are done with since the last one */
	KEEPER_SWEPT,	/* held */
};

struct keeper_head {
	uint16_t version;
	uint16_t type;
	uint16_t n;
	uint16_t reserved; /* 0 */
	uint32_t held;	   /* from the keeper: descriptors that it holds */
	uint32_t reserved2;
	uint64_t value;
};

struct keeper_message {
	struct keeper_head head;
	sd_id128_t ids[KEEPER_BATCH];
};

_Static_assert(sizeof(struct keeper_head) == 24, "no padding");
_Static_assert(sizeof(struct keeper_message) == 24 + 16 * KEEPER_BATCH, "no padding");

static inline size_t keeper_message_size(unsigned int n)
{
	return sizeof(struct keeper_head) + n * sizeof(sd_id128_t);
}
