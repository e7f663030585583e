/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_COHERENCY_WORD_H
#define MORSEL_CORE_COHERENCY_WORD_H

#include "mem.h"

/*
 * The directory word: all that hosts agree on about one 2 MiB extent, in 64 bits, changed by
 * compare-and-swap only. Pure functions; no memory is touched here. docs/coherency.md explains, and
 * tests/model/transitions.tbl is the exact table, which a test compares with coh_next() word by word.
 *
 *    63          40 39                              8 7     3 2   0
 *   +--------------+---------------------------------+-------+-----+
 *   |  version 24  |            sharers 32           | owner | st. |
 *   +--------------+---------------------------------+-------+-----+
 *
 * Why 32 hosts fit: sharers must be named one by one (to revoke them, and to clean up one that dies), so
 * a bit each: 32. An owner can coexist with sharers (PENDING), so it cannot be stored as a sharer bit: 5.
 * Eight states: 3. The 24 bits left are the version of the data, whose wrap is caught by the era
 * (coherency.h) and is therefore no matter of width.
 */

#define COH_HOSTS 32u

/* Tests make it small to see it wrap; the field's width stays. */
#ifndef MORSEL_COH_VERSION_BITS
#define MORSEL_COH_VERSION_BITS 24
#endif

#define COH_STATE_MASK 7ull
#define COH_OWNER_SHIFT 3
#define COH_OWNER_MASK 31ull
#define COH_SHARERS_SHIFT 8
#define COH_SHARERS_MASK 0xffffffffull
#define COH_VERSION_SHIFT 40
#define COH_VERSION_MASK ((1ull << MORSEL_COH_VERSION_BITS) - 1)

_Static_assert(COH_VERSION_SHIFT + 24 == 64, "the fields fill the word");
_Static_assert(COH_SHARERS_SHIFT + COH_HOSTS == COH_VERSION_SHIFT, "one sharer bit per host");
_Static_assert(COH_HOSTS <= COH_OWNER_MASK + 1, "the owner field holds any slot");
_Static_assert(MORSEL_COH_VERSION_BITS >= 2 && MORSEL_COH_VERSION_BITS <= 24, "fits its field");

enum coh_state {
	COH_FREE,	 /* belongs to no object; zeroed memory is a directory of free extents */
	COH_INVALID,	 /* nobody holds it; memory is current */
	COH_SHARED,	 /* sharers may read; memory is current */
	COH_EXCLUSIVE,	 /* owner may read and write; memory may be behind */
	COH_PENDING,	 /* owner will write as soon as the sharers have gone; memory is current */
	COH_QUARANTINED, /* owner is suspected but may still write: nobody touches it */
	COH_SUSPECT,	 /* its last writer was lost: bytes may be old, new or torn */
	COH_RECOVERING,	 /* owner repairs a suspect extent */
};

enum coh_op {
	COH_OP_CLAIM,
	COH_OP_READ,
	COH_OP_WRITE,
	COH_OP_DROP,
	COH_OP_DOWNGRADE,
	COH_OP_LEND,
	COH_OP_HAND,
	COH_OP_FREE,
	COH_OP_SUSPECTED,
	COH_OP_FENCED,
	COH_OP_SURRENDER,
	COH_OP_SURRENDER_TORN,
	COH_OP_RECOVER,
	COH_OP_RESTORE,
	COH_OP_ABANDON,
	COH_OP_CONDEMN,
	COH_OPS
};

#define COH_HELD 1 /* coh_next(): the word already says so, nothing to write */

static inline enum coh_state coh_word_state(uint64_t w)
{
	return (enum coh_state)(w & COH_STATE_MASK);
}

static inline unsigned coh_word_owner(uint64_t w)
{
	return (unsigned)((w >> COH_OWNER_SHIFT) & COH_OWNER_MASK);
}

static inline uint32_t coh_word_sharers(uint64_t w)
{
	return (uint32_t)((w >> COH_SHARERS_SHIFT) & COH_SHARERS_MASK);
}

static inline uint32_t coh_word_version(uint64_t w)
{
	return (uint32_t)((w >> COH_VERSION_SHIFT) & COH_VERSION_MASK);
}

static inline uint64_t coh_word(enum coh_state state, unsigned owner, uint32_t sharers,
				uint32_t version)
{
	return (uint64_t)state | (uint64_t)owner << COH_OWNER_SHIFT |
	       (uint64_t)sharers << COH_SHARERS_SHIFT |
	       ((uint64_t)version & COH_VERSION_MASK) << COH_VERSION_SHIFT;
}

/* True for a word that no host can have written: damage, to be contained and reported. */
bool coh_word_damaged(uint64_t w);

/* True if OLD → NEW took the version past its end: the era must advance before NEW is published. */
bool coh_word_wrapped(uint64_t old, uint64_t new_word);

/*
 * The word after OP by host slot SELF on OLD; PEER is the other host of LEND, HAND, SUSPECTED and FENCED,
 * ignored elsewhere. Returns 0 and *ret_new; COH_HELD when nothing is to be written; or, with *ret_new
 * untouched, -EAGAIN (others must act first), -EPERM (not held), -ENOENT (free), -EEXIST, -EUCLEAN
 * (suspect or damaged), -EHOSTDOWN (quarantined), -EINVAL (op or slot out of range).
 * Whether PEER really is suspected or fenced is for the caller to know.
 */
int coh_next(enum coh_op op, uint64_t old, unsigned self, unsigned peer, uint64_t *ret_new);

/* Names for messages, dumps and JSON; never NULL. */
const char *coh_state_name(enum coh_state state);
const char *coh_op_name(enum coh_op op);

#endif
