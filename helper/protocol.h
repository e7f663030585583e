/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ebpf/placement-policy.h"

/*
 * What morseld and morsel-helper say to each other over a SOCK_SEQPACKET socket: one message is one
 * packet of a fixed size for its verb, in the machine's own byte order (both ends are on one machine, of
 * one package). A request is answered by any number of steps and one end; a descriptor may come with
 * the end. One request at a time on one connection.
 *
 * Nothing here does I/O or allocates; any thread.
 */

#define HELPER_SOCKET "/run/morsel-helper/socket"
#define HELPER_BPF_SOCKET "/run/morsel-bpf/socket" /* morsel-helper --bpf */

#define HELPER_PATH_MAX 160u /* with the 0 byte */
#define HELPER_NAME_MAX 32u
#define HELPER_TEXT_MAX 1536u

enum helper_verb {
	/* Open a file of the kernel's that only root may read, for reading, or the module's device, for its
	 * calls: helper/files.h has the list. */
	HELPER_OPEN = 1,
	/* Bring CXL memory up as wished; steps are reported; undone as a whole where one fails. */
	HELPER_PROVISION,
	/* Take back what HELPER_PROVISION made. */
	HELPER_UNPROVISION,
	/* Of morsel-helper --bpf alone. Register a placement program, until the connection's end. */
	HELPER_ATTACH,
	/* What its map says of an account. */
	HELPER_POLICY,
	/* It is registered no more when this is answered. */
	HELPER_DETACH,
	/* Of ordinary memory (helper/ordinary-session.h): what of it is accessed and where it lies; and move some. A descriptor of
	 * what came of it (helper/ordinary-data.h) comes with the end. */
	HELPER_LOOK,
	HELPER_SHIFT,
	HELPER_VERB_MAX
};
const char *helper_verb_to_string(enum helper_verb v); /* "open" */

enum provision_select {
	SELECT_SERIAL = 1, /* of the CXL device */
	SELECT_NAME,	   /* "mem0", "region0", "dax0.0", "node3" */
	SELECT_MAX
};

enum provision_mode {
	MODE_ANY, /* the one that the device, or the thing named, has */
	MODE_RAM,
	MODE_PMEM,
	MODE_MAX
};

enum provision_as {
	AS_DEVDAX,
	AS_SYSTEM_RAM,
	AS_MAX
};

enum provision_zone {
	ZONE_MOVABLE,
	ZONE_KERNEL,
	ZONE_MAX
};

enum provision_flags {
	PROVISION_DRY_RUN = 1 << 0,   /* only report the steps */
	PROVISION_FORCE = 1 << 1,     /* also a region that morsel did not make */
	PROVISION_DROP_DATA = 1 << 2, /* also where what is stored is lost */
	PROVISION_PERSIST = 1 << 3, /* write a drop-in, so that it is so after the next boot too */
	PROVISION_FLAGS = (1 << 4) - 1
};

struct provision_wish {
	enum provision_select select;
	uint64_t serial;
	char name[HELPER_NAME_MAX]; /* lower-case letters, digits and '.' */
	enum provision_mode mode;
	enum provision_as as;
	enum provision_zone zone;
	uint64_t size; /* bytes, 0: all there is */
	uint32_t flags;
};

/* Of one look: the kernel samples each of them twenty times a window. */
#define HELPER_PROCESSES_MAX 16u

struct helper_process {
	uint64_t start; /* field 22 of /proc/PID/stat: tells a pid's processes apart; not 0 */
	uint32_t pid;	/* above 1 */
};

struct helper_look {
	uint32_t window_ms; /* 100 to 600,000 */
	uint32_t query;	    /* granules at most whose place is asked for, in turn; to 65,536 */
	uint32_t n;	    /* 0: no more of it; what the kernel samples for us ends */
	struct helper_process process[HELPER_PROCESSES_MAX];
};

/* Numbers of granules are those of the last look of this connection. */
#define HELPER_SHIFTS_MAX 128u
#define HELPER_GRANULES (1u << 17)
#define HELPER_NODES 1024u

struct helper_shift {
	uint32_t granule; /* below HELPER_GRANULES */
	uint32_t node;	  /* where it shall be; below HELPER_NODES */
};

struct helper_request {
	enum helper_verb verb;
	/* On whose behalf, for the log only: the helper trusts its peer, not this. */
	uint32_t requester;
	/* HELPER_OPEN: below "/", without a leading '/'. Printable ASCII. */
	char path[HELPER_PATH_MAX];
	/* HELPER_PROVISION, and HELPER_UNPROVISION (as, zone and size are 0). */
	struct provision_wish wish;
	/* HELPER_POLICY. No tiers: nothing is said of the account. */
	uint64_t account;
	struct morsel_policy policy;
	struct helper_look look; /* HELPER_LOOK */
	/* HELPER_SHIFT: 1 to HELPER_SHIFTS_MAX of them. */
	uint32_t n_shifts;
	struct helper_shift shift[HELPER_SHIFTS_MAX];
};

enum helper_reply_kind {
	HELPER_STEP = 1, /* one of total begins, or would be done */
	HELPER_END,	 /* the last one */
};

struct helper_reply {
	enum helper_reply_kind kind;
	int32_t result; /* 0, or a negative errno; HELPER_END */
	uint32_t step, total;
	/* Of a successful end: what the memory is now, "" and -1 where there is nothing. */
	char device[HELPER_NAME_MAX]; /* "dax0.0" */
	int32_t node;
	/* Of a step: what it does. Of an end: what came of it, or what is wrong and what to do. */
	char text[HELPER_TEXT_MAX];
};

/* The largest packet of either direction. */
#define HELPER_PACKET_MAX 2048u

/*
 * Every field is checked: size, version, verb, ranges, terminators, and that what is not used is 0, so that a
 * request has one form only. -EPROTO: no such packet; -EPROTONOSUPPORT: another version.
 * data needs no alignment.
 */
int helper_request_parse(const void *data, size_t len, struct helper_request *ret_request);
int helper_reply_parse(const void *data, size_t len, struct helper_reply *ret_reply);

/* Into packet; the length. Texts that are too long are cut at a character's end. */
size_t helper_request_build(const struct helper_request *request,
			    uint8_t packet[static HELPER_PACKET_MAX]);
size_t helper_reply_build(const struct helper_reply *reply,
			  uint8_t packet[static HELPER_PACKET_MAX]);
