/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A tier: one kind of memory in one place, told apart from every other. One NUMA node's memory, or
 * one device's, is one tier, so that latency and bandwidth from an initiator are a single number
 * ("near" differs between sockets); only the operator's configuration joins several nodes into one.
 *
 * Plain data. Owned by the inventory, replaced as a whole on each refresh; readers on other threads
 * take a reference. Not changed after inventory_refresh() has returned it.
 */

enum tier_kind {
	TIER_DRAM,
	TIER_HBM,
	TIER_CXL,
	TIER_NVM,
	TIER_GPU,
	TIER_MEMORY_ONLY, /* a node without CPUs, and nothing says what it is */
	TIER_KIND_MAX
};

/* What the kind was concluded from, strongest first. */
enum tier_evidence {
	EVIDENCE_CONFIGURED, /* the operator said so in morseld.conf */
	EVIDENCE_CXL_REGION, /* a committed CXL region backs it */
	EVIDENCE_NFIT,	     /* a persistent region of the firmware's NVDIMM table */
	EVIDENCE_CEDT,	     /* inside a CXL fixed memory window of the firmware */
	EVIDENCE_CPU_NODE,   /* the node has CPUs */
	EVIDENCE_HMAT_GUESS, /* faster than the DRAM of the same initiator by the firmware's numbers */
	EVIDENCE_DEVICE,     /* a device of another bus says so (GPU memory) */
	EVIDENCE_NONE,
	EVIDENCE_MAX
};

enum tier_state {
	TIER_ONLINE,   /* takes and gives frames */
	TIER_DRAINING, /* being emptied; takes nothing */
	TIER_OFFLINE,  /* known, and not usable as it is: devdax, no region yet, blocks offline */
	TIER_DEGRADED, /* usable, with memory errors or blocks missing */
	TIER_MISSING,  /* configured or seen before, not there now */
	TIER_STATE_MAX
};

enum tier_backing {
	BACKING_NODE,	/* pages of NUMA nodes */
	BACKING_DAX,	/* a device-dax character device */
	BACKING_PMEM,	/* a block device of persistent memory (fsdax, sector, raw) */
	BACKING_DEVICE, /* a CXL memdev or an nvdimm region without a namespace or region yet */
	BACKING_FILE,
	BACKING_MAX
};

/* Where a number comes from. */
enum perf_source {
	PERF_UNKNOWN, /* then the number is 0 and must not be used */
	PERF_HMAT,
	PERF_CDAT,
	PERF_MEASURED,
	PERF_CONFIGURED,
	PERF_SOURCE_MAX
};

/* From one initiator (a node with CPUs) to the tier. */
struct tier_perf {
	int initiator;	      /* node number */
	uint32_t read_lat_ns; /* 0: unknown */
	uint32_t write_lat_ns;
	uint32_t read_bw_mbs; /* MB/s (10^6 bytes), as HMAT has it; 0: unknown */
	uint32_t write_bw_mbs;
	enum perf_source lat_source;
	enum perf_source bw_source;
	unsigned int distance; /* SLIT; 0: unknown */
	/* 0 is the best tier for this initiator. By latency, then bandwidth, where both are known of
	 * all tiers compared; else by SLIT distance. Equal tiers have equal ranks. */
	unsigned int rank;
};

struct tier {
	gatomicrefcount refs;
	char *name; /* "hbm0", stable over refreshes while the same backing stays */
	enum tier_kind kind;
	enum tier_evidence evidence;
	char *evidence_detail; /* "region0 (memdev mem0, serial 0x1234)"; never NULL */
	enum tier_state state;
	char *state_reason; /* why it is not simply online, and the next step; "" when it is */
	enum tier_backing backing;
	GArray *nodes;	/* of int, ascending; empty when no node is online for it */
	char *device;	/* "/dev/dax0.0", "mem0", path of the file; NULL for nodes */
	char *uuid;	/* of the namespace that the dax device is; NULL: it is none */
	uint64_t start; /* dax: physical address of its first byte; 0 unknown */
	/* dax: what stands for its memory where bytes are counted by node: above all nodes' numbers, and
	 * the device's for as long as the inventory lives. -1: its bytes are its nodes'. */
	int place;
	/* dax: the operator gave what is on it to morsel, and it can be a pool of the module. */
	bool pool;
	int target_node;     /* node its memory has, or would have when onlined; -1 unknown */
	uint64_t capacity;   /* bytes */
	uint64_t free;	     /* bytes, at the refresh; nodes only */
	int memory_tier;     /* the kernel's memory_tierN, or -1 */
	GArray *perf;	     /* of struct tier_perf, by initiator ascending */
	GPtrArray *warnings; /* of char *: "nodelist of memory_tier4 is not a list: …, ignoring" */
};

/* An empty one of kind memory-only: only the inventory makes them. Never NULL (GLib aborts). */
struct tier *tier_new(void);
/* A copy with its own reference count, to be changed before it is handed out. Its arrays are shared:
 * replace them, do not change them. */
struct tier *tier_copy(const struct tier *t);
/* Equal but for the free bytes? */
bool tier_equal(const struct tier *a, const struct tier *b);
struct tier *tier_ref(struct tier *t);
struct tier *tier_unref(struct tier *t); /* takes NULL, returns NULL */
typedef struct tier Tier;
static inline void tier_unrefp(struct tier *t)
{
	tier_unref(t);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tier, tier_unrefp)

/* Names used in D-Bus, JSON and configuration; from_string returns -EINVAL on any other. */
const char *tier_kind_to_string(enum tier_kind k); /* "dram", …, "memory-only" */
int tier_kind_from_string(const char *s, enum tier_kind *ret_kind);
const char *tier_evidence_to_string(enum tier_evidence e); /* "cxl-region", "hmat-guess", … */
const char *tier_state_to_string(enum tier_state s);
const char *tier_backing_to_string(enum tier_backing b);
const char *perf_source_to_string(enum perf_source s);

/* Where bytes of the tier are counted: its nodes, or its place. */
static inline unsigned int tier_n_places(const struct tier *t)
{
	return t->place >= 0 ? 1 : t->nodes->len;
}
static inline int tier_place(const struct tier *t, unsigned int i)
{
	return t->place >= 0 ? t->place : g_array_index(t->nodes, int, i);
}

/* Can the module storage make a pool of its device? */
static inline bool tier_is_pool(const struct tier *t)
{
	return t->pool && (t->state == TIER_ONLINE || t->state == TIER_DEGRADED);
}
/* Can the node storage place pages there now? */
static inline bool tier_has_pages(const struct tier *t)
{
	return t->backing == BACKING_NODE && t->nodes->len > 0 &&
	       (t->state == TIER_ONLINE || t->state == TIER_DEGRADED);
}
