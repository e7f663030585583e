/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_TRACE_H
#define MORSEL_CORE_TRACE_H

#include "plan.h"

/*
 * A trace: which granules were accessed how often, round by round; docs/trace.md draws the format. A header, then
 * blocks, each with a checksum, appended one by one: a file that was cut off or altered is good up to the last whole
 * block before that. Little endian. Nothing here trusts a byte of it.
 *
 * Pure: the caller writes what the writer hands out, and maps or reads the file for the reader.
 */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "traces are written as they are");

#define TRACE_MAGIC 0x315254534c524f4dull /* "MORLSTR1" */
#define TRACE_BLOCK_MAGIC 0x4b4c4254u	  /* "TBLK" */
#define TRACE_VERSION 1u		  /* a reader refuses a greater one */

struct trace_header {
	uint64_t magic;
	uint32_t version;
	uint32_t size;	    /* of this header: blocks begin there */
	uint64_t created;   /* seconds since 1970; information only */
	uint32_t grain;	    /* accesses that one event stands for */
	uint32_t period_ms; /* usual, between rounds */
	uint8_t zero[28];
	uint32_t crc; /* CRC32C of all before it */
};
_Static_assert(sizeof(struct trace_header) == 64, "on media");
_Static_assert(__builtin_offsetof(struct trace_header, crc) == 60, "on media");

#define TRACE_BLOCK_MAX (1u << 20) /* payload */

struct trace_block {
	uint32_t magic;
	uint32_t length;   /* of the payload that follows */
	uint64_t sequence; /* 0, 1, 2, … */
	uint64_t clock_ms; /* of the round that it begins in */
	uint32_t payload_crc;
	uint32_t
		crc; /* of all before it, with the header's crc as seed: a block of another trace is none of this one */
};
_Static_assert(sizeof(struct trace_block) == 32, "on media");
_Static_assert(__builtin_offsetof(struct trace_block, crc) == 28, "on media");

/* Payload: records, each a tag byte and numbers as LEB128 (7 bits a byte, lowest first). Strings: length, bytes. */
enum trace_tag {
	TRACE_TIER = 1, /* index, latency ns, bandwidth MB/s, capacity in pages, name */
	TRACE_ACCOUNT, /* index, parent + 1, weight, n, n × (low, high + 1, max + 1) in pages (0: no limit), name */
	TRACE_REGION, /* index, pages, account, allow, flags (1: by page, 2: not moved), name. Also: changed */
	TRACE_GONE,   /* region */
	TRACE_ROUND,  /* ms since the round before. A round is what follows, to the next one */
	TRACE_LEVELS, /* region, n, n × (granules since the one before, level byte) */
	TRACE_PAGES, /* region, granule, n, n × (level byte, 64 bytes: bits of pages): how its pages share */
	TRACE_PLACE, /* region, granule, granules, tier: where it was found, until the next one; informative */
	TRACE_TAGS
};

#define TRACE_NAME_MAX 255u
#define TRACE_REGIONS_MAX (1u << 20)
#define TRACE_ACCOUNTS_MAX 65536u
#define TRACE_CLASSES_MAX 8u /* of TRACE_PAGES */

/*
 * A level: events a round × 16. 0 is none; else 3 bits of mantissa and 5 of exponent, steps of at most 1/8. It holds
 * until the next one for the granule. The writer writes a new one when what was seen differs by more than the accident of
 * counting, in one round or gathered over many: so noise makes no record.
 */
#define TRACE_LEVEL_ONE 16u
uint8_t trace_level(uint64_t events16);	   /* rounded down */
uint64_t trace_level_value(uint8_t level); /* × 16 */

/* ---- writing ------------------------------------------------------------------------------------------- */

struct trace_cell {
	int64_t error;	 /* what levels have not said yet, events × 16 */
	uint32_t events; /* in this round */
	uint8_t level;
	uint8_t known;	 /* it has been accessed */
	uint8_t skipped; /* this round says nothing about it */
};

struct trace_writer {
	struct trace_cell *cells; /* by heat's granule number */
	uint32_t granules;
	uint8_t *payload; /* TRACE_BLOCK_MAX + 1,024 bytes */
	uint32_t length;
	uint32_t crc; /* the header's */
	uint64_t sequence;
	uint64_t clock_ms, block_clock_ms;
	bool overflow;
};

/* Fills the header in, and the writer, with cells (granules of them; all are reset) and payload, the caller's. */
void trace_begin(struct trace_writer *w, struct trace_header *header, uint64_t created,
		 uint32_t grain, uint32_t period_ms, struct trace_cell *cells, uint32_t granules,
		 uint8_t *payload);
/*
 * Descriptions, at the beginning and whenever they change. -EINVAL: an index or name is out of range. -ENOSPC, of these
 * and all below: the block is full: trace_flush() it and repeat.
 */
int trace_tier(struct trace_writer *w, uint32_t index, const struct plan_path *path, uint64_t pages,
	       const char *name, size_t name_length);
int trace_account(struct trace_writer *w, uint32_t index, const struct plan_account *a,
		  unsigned tiers, const char *name, size_t name_length);
int trace_region(struct trace_writer *w, uint32_t index, const struct plan_region *region,
		 const char *name, size_t name_length);
int trace_gone(struct trace_writer *w, uint32_t index, const struct plan_region *region);
int trace_place(struct trace_writer *w, uint32_t index, uint32_t granule, uint32_t granules,
		unsigned tier);
/* A round: begin, samples of any granules (heat's numbers; out of range: ignored), then each region once. */
int trace_round(struct trace_writer *w, uint64_t clock_ms);
void trace_sample(struct trace_writer *w, uint32_t granule, uint32_t events);
/* It was not looked at in this round: its level holds. */
void trace_skip(struct trace_writer *w, uint32_t granule);
/*
 * Writes what changed, from granule *at (of the region, in: 0) on; -ENOSPC: flush, and call it again with *at as it
 * is now. Resets the round's events.
 */
int trace_levels(struct trace_writer *w, uint32_t index, const struct plan_region *region,
		 uint32_t *at);
/* How the pages of a granule (of the region) share its events: classes of pages. 0 classes: all alike. */
struct trace_class {
	uint8_t level;
	uint64_t pages[HEAT_WORDS];
};
int trace_pages(struct trace_writer *w, uint32_t index, uint32_t granule,
		const struct trace_class *classes, unsigned n);
/* Ends the block: fills block in; append it and w->payload[0, block->length). False: it is empty. */
bool trace_flush(struct trace_writer *w, struct trace_block *block);
void trace_flushed(struct trace_writer *w); /* it is written: begin the next one */

/* ---- reading ------------------------------------------------------------------------------------------- */

enum trace_end {
	TRACE_GOOD,	/* more to come, or ended where a block ends */
	TRACE_CUT,	/* ends within a block */
	TRACE_DAMAGED,	/* a checksum or a magic is wrong */
	TRACE_NONSENSE, /* a block is as it was written, and makes no sense: not this writer's */
};

struct trace_reader {
	const uint8_t *data;
	uint64_t size, at; /* at: behind the last good block */
	uint64_t block_end, cursor;
	uint32_t crc;
	uint64_t sequence;
	struct trace_header header;
	enum trace_end end;
	uint64_t clock_ms;
	/* Of TRACE_LEVELS that is being read. */
	uint32_t region, left, granule;
};

struct trace_event {
	enum trace_tag tag;
	uint32_t index;		    /* tier, account, region */
	uint32_t granule, granules; /* of the region */
	uint8_t level, tier;
	uint64_t clock_ms;			       /* ROUND: since the trace began */
	uint64_t pages;				       /* TIER: capacity */
	struct plan_path path;			       /* TIER */
	struct plan_account account;		       /* ACCOUNT */
	struct plan_region region;		       /* REGION, without first */
	struct trace_class classes[TRACE_CLASSES_MAX]; /* PAGES */
	unsigned n_classes;
	const char *name; /* in data, not terminated */
	uint32_t name_length;
};

/* -EUCLEAN: no trace, or its header is damaged; -EOPNOTSUPP: of a later version. */
int trace_open(struct trace_reader *r, const void *data, uint64_t size);
/* 1: *ret; 0: the end: r->end says how it is. LEVELS come granule by granule. */
int trace_next(struct trace_reader *r, struct trace_event *ret);
const char *trace_end_text(enum trace_end end);

#endif
