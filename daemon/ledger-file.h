/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-id128.h>

/*
 * The registry's file: what lasts of morsels and jobs. Little endian; every byte of it is covered by a
 * CRC32C (core/crc32c.h).
 *
 *   header   64 bytes: magic, version, the state's sequence number, how many records the base has,
 *            the boot it was written in, the last job's number
 *   base     the state at that number: puts, in order
 *   log      one record for each change since: puts and drops; their numbers have no gaps
 *
 * A record is 40 bytes and its body, filled up with zeroes to a multiple of 8. Its checksum begins with the
 * header's, so that a record of another file (an old block of the disk) is none of this one. There are two
 * files, written one after the other, so one of them is whole whatever happens to the other.
 */
#define LEDGER_VERSION 2 /* 1 had morsels and jobs only */
#define LEDGER_HEADER_SIZE 64
#define LEDGER_RECORD_SIZE 40
/* No body is longer: a morsel's name, account and records have bounds that come to less. */
#define LEDGER_BODY_MAX (1 << 20)

enum ledger_kind {
	LEDGER_MORSEL = 1,    /* id: the morsel's */
	LEDGER_JOB = 2,	      /* a move; id: ledger_job_id() */
	LEDGER_PROVISION = 3, /* id: ledger_job_id() */
	LEDGER_LINGER = 4,    /* a destroyed morsel; id: the morsel's */
	LEDGER_KIND_MAX
};

struct ledger_entry {
	enum ledger_kind kind;
	sd_id128_t id;
	uint64_t order; /* of the first put */
	GBytes *body;
};

static inline sd_id128_t ledger_job_id(uint32_t job)
{
	return (sd_id128_t){ .qwords = { 0, GUINT64_TO_LE((uint64_t)job) } };
}

struct ledger_image {
	GHashTable *entries; /* of struct ledger_entry, a set keyed by kind and id; owned */
	uint64_t next_order;
	uint64_t seq; /* of the last change */
	uint32_t last_job;
	sd_id128_t boot;
	uint32_t version; /* of the file; 0: there was none */
	bool has_base;	  /* header and base are whole */
	uint64_t good;	  /* bytes up to the first damage, or all */
	uint32_t check;	  /* the header's checksum */
	char *damage;	  /* NULL: none; else where and what */
};

void ledger_image_init(struct ledger_image *image);
void ledger_image_done(struct ledger_image *image); /* twice does no harm */

/*
 * Read a file; image must be initialised. Keeps what stands before the first damage. 0; -EPROTONOSUPPORT: a
 * whole header of a newer version. Pure.
 */
int ledger_parse(const uint8_t *data, size_t size, struct ledger_image *image);

/* Which of two copies of one state is the better one? -1: the first, or both alike; 1: the second. */
int ledger_compare(const struct ledger_image *a, const struct ledger_image *b);

/* image's entries as a new file's header and base; *ret_check: for the records that follow. */
GByteArray *ledger_format(const struct ledger_image *image, uint32_t *ret_check);
/* A change behind a file with that check; body NULL: a drop. */
void ledger_append_record(GByteArray *out, uint32_t check, uint64_t seq, enum ledger_kind kind,
			  sd_id128_t id, GBytes *body);

/* Change the entries: body (referenced) replaces what there is of it; NULL drops. */
void ledger_apply(struct ledger_image *image, enum ledger_kind kind, sd_id128_t id, GBytes *body);
/* Of one kind, by order; the elements are image's. */
GPtrArray *ledger_sorted(const struct ledger_image *image, enum ledger_kind kind);
