/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * LLFree's words, and the only code that knows where their bits are. docs/llfree.md has the picture
 * and the invariants. Change anything here and LLFREE_LAYOUT_VERSION changes too.
 *
 * A *child* is one huge frame: 512 frames, 8 rows of 64 bits, one cache line. Its *lane* is 16
 * bits; four lanes are one *entry word*, the unit of every atomic access. A *tree* is 8 children:
 * two entry words.
 */
#ifndef MORSEL_CORE_LLFREE_LAYOUT_H
#define MORSEL_CORE_LLFREE_LAYOUT_H

#include "platform.h"

#define LLFREE_LAYOUT_VERSION 1u

#define LLFREE_HUGE_ORDER 9u
#define LLFREE_TREE_ORDER 12u
#define LLFREE_MAX_ORDER 18u
#define LLFREE_CHILD_FRAMES (1u << LLFREE_HUGE_ORDER)
#define LLFREE_TREE_FRAMES (1u << LLFREE_TREE_ORDER)
#define LLFREE_TREE_CHILDREN (1u << (LLFREE_TREE_ORDER - LLFREE_HUGE_ORDER))
#define LLFREE_CHILD_ROWS (LLFREE_CHILD_FRAMES / 64)
#define LLFREE_WORD_LANES 4u
#define LLFREE_TREE_WORDS (LLFREE_TREE_CHILDREN / LLFREE_WORD_LANES)
#define LLFREE_MIN_FRAMES LLFREE_CHILD_FRAMES
#define LLFREE_MAX_FRAMES ((uint64_t)1 << 34) /* 64 TiB: what 29 bits of half-row index reach */

/*
 * Lane. FREE counts the frames that nobody has reserved. INVERTED gives the sense of the child's
 * bits: 0: a set bit is an allocated frame; 1: a set bit is a free one. A huge allocation flips it
 * instead of writing 512 bits, so that splitting a huge frame is one CAS on the lane.
 */
#define LLFREE_LANE_FREE 0x03ffu
#define LLFREE_LANE_UNSYNC \
	0x0400u /* persistent: a flag was changed, its write-back may be pending */
#define LLFREE_LANE_ZEROED 0x0800u   /* every free frame of the child reads as zero */
#define LLFREE_LANE_INVERTED 0x1000u /* see above */
#define LLFREE_LANE_BAD 0x2000u	     /* has a memory error: never allocated from again */
#define LLFREE_LANE_OFFLINE 0x4000u  /* not allocated from; puts are counted */
#define LLFREE_LANE_HUGE 0x8000u     /* allocated as a whole; FREE is 0 */
#define LLFREE_LANE_BARRED (LLFREE_LANE_BAD | LLFREE_LANE_OFFLINE | LLFREE_LANE_HUGE)
/* Lanes past the last child look like huge allocations that nobody can name. */
#define LLFREE_LANE_PADDING LLFREE_LANE_HUGE

#define LLFREE_LANES 0x0001000100010001u /* times a lane value: that value in each lane */

plat_inline unsigned llfree_lane_shift(uint64_t child)
{
	return (unsigned)(child % LLFREE_WORD_LANES) * 16;
}

plat_inline unsigned llfree_lane(uint64_t word, uint64_t child)
{
	return (unsigned)(word >> llfree_lane_shift(child)) & 0xffff;
}

/* May @n frames be reserved in a child with this lane? Barred lanes are above every other value. */
plat_inline bool llfree_lane_fits(unsigned lane, unsigned n)
{
	return lane < LLFREE_LANE_BAD && (lane & LLFREE_LANE_FREE) >= n;
}

/* XOR with a row of this lane's child: the set bits are the free frames. */
plat_inline uint64_t llfree_lane_flip(unsigned lane)
{
	return lane & LLFREE_LANE_INVERTED ? 0 : ~(uint64_t)0;
}

plat_inline unsigned llfree_lane_free(unsigned lane)
{
	return lane & LLFREE_LANE_FREE;
}

/* Bit 15 of each lane of @word that is wholly free and not barred. */
plat_inline uint64_t llfree_word_whole(uint64_t word)
{
	uint64_t x = (word & (LLFREE_LANES * (LLFREE_LANE_BARRED | LLFREE_LANE_FREE))) ^
		     LLFREE_LANES * LLFREE_CHILD_FRAMES;

	return ~(((x & LLFREE_LANES * 0x7fff) + LLFREE_LANES * 0x7fff) | x) & LLFREE_LANES * 0x8000;
}

/* FREE of each lane that may be allocated from, 0 for the others. */
plat_inline uint64_t llfree_word_counts(uint64_t word)
{
	uint64_t barred = (word >> 15 | word >> 14 | word >> 13) & LLFREE_LANES;

	return word & LLFREE_LANES * LLFREE_LANE_FREE & ~(barred * LLFREE_LANE_FREE);
}

/*
 * Tree word, volatile: which slot reserved the tree, on behalf of which owner (host), and its
 * class. A reservation keeps other slots away while there is room elsewhere; it is no exclusive
 * right.
 */
#define LLFREE_MAX_CLASSES 16u
#define LLFREE_MAX_OWNERS 64u
#define LLFREE_MAX_SLOTS 0xfffeu

/* No class has used the tree yet: any may, if it is wholly free. */
#define LLFREE_TREE_FRESH ((uint64_t)1 << 20)
/* A slot has the tree reserved, or gathers its freed frames: there may be frames in hand. */
#define LLFREE_TREE_HELD 0x0000ffff0000ffffu

plat_inline uint64_t llfree_tree_word(unsigned class, unsigned owner, unsigned slot1, unsigned put1)
{
	return (uint64_t)put1 << 32 | (uint64_t)owner << 24 | (uint64_t) class << 16 | slot1;
}

/* Index of the slot that reserved the tree plus one; 0: none. */
plat_inline unsigned llfree_tree_slot1(uint64_t tree)
{
	return (unsigned)tree & 0xffff;
}

plat_inline unsigned llfree_tree_class(uint64_t tree)
{
	return (unsigned)(tree >> 16) & 0xf;
}

plat_inline unsigned llfree_tree_owner(uint64_t tree)
{
	return (unsigned)(tree >> 24) & 0x3f;
}

/* Index plus one of the slot that gathers freed frames of this tree; 0: none. */
plat_inline unsigned llfree_tree_put1(uint64_t tree)
{
	return (unsigned)(tree >> 32) & 0xffff;
}

/*
 * Cache word of a slot: half a row of one child. MASK has the frames in hand: taken from the bits,
 * not yet given out. With VALID clear, or in a pool without caches, INDEX is only where to search
 * next.
 */
#define LLFREE_CACHE_MASK 0xffffffffu
#define LLFREE_CACHE_ZEROED ((uint64_t)1 << 32)
#define LLFREE_CACHE_VALID ((uint64_t)1 << 34)
#define LLFREE_CACHE_SHIFT 35
#define LLFREE_HALF_ORDER 5u
#define LLFREE_HALF_FRAMES (1u << LLFREE_HALF_ORDER)

plat_inline uint64_t llfree_cache_word(uint64_t half, uint64_t flags, uint32_t mask)
{
	return half << LLFREE_CACHE_SHIFT | flags | mask;
}

plat_inline uint64_t llfree_cache_half(uint64_t cache)
{
	return cache >> LLFREE_CACHE_SHIFT;
}

/* The first frame in hand; MASK is not 0. */
plat_inline uint64_t llfree_cache_frame(uint64_t cache)
{
	return (llfree_cache_half(cache) << LLFREE_HALF_ORDER) + plat_ctz(cache);
}

/* Is @cache valid, and for the half row of @frame? */
plat_inline bool llfree_cache_holds(uint64_t cache, uint64_t frame)
{
	return cache >> (LLFREE_CACHE_SHIFT - 1) == (frame >> LLFREE_HALF_ORDER << 1 | 1);
}

/* A slot has its line to itself; two, because CPUs fetch lines in pairs. */
struct llfree_slot {
	uint64_t cache;	    /* frames to give out */
	uint64_t freed;	    /* frames taken back, same format: bits still say allocated */
	uint64_t last_half; /* hint: half row of the last put, plus one */
	uint64_t small;	    /* hint: row where orders 1 to 8 were found last */
	uint64_t huge;	    /* hint: first tree that may have room for order 9 and up */
	uint64_t reserved[11];
};

/* Header of the lower part: one line, native byte order (little endian on every target). */
#define LLFREE_LOWER_MAGIC 0x31776f6c65657266u /* "freelow1" */
#define LLFREE_UPPER_MAGIC 0x3170757065657266u /* "freeupp1" */
#define LLFREE_STATE_CLEAN 0x6e61656c63u       /* sums are right, nobody is using it */
#define LLFREE_STATE_DIRTY 0x7974726964u       /* in use, or its user died */

struct llfree_lower_header {
	uint64_t magic;
	uint32_t version;
	uint32_t tree_order;
	uint64_t frames;
	uint64_t flags; /* LLFREE_PERSISTENT, LLFREE_UNCACHED */
	uint64_t check; /* of the four fields above and the sums */
	uint64_t sum[2];
	uint64_t state;
};

struct llfree_upper_header {
	uint64_t magic;
	uint32_t version;
	uint32_t classes;
	uint64_t frames;
	uint32_t owners;
	uint32_t slots; /* per class and owner */
	uint64_t reserved[4];
};

_Static_assert(sizeof(struct llfree_slot) == 2 * PLAT_CACHE_LINE, "a slot is two lines");
_Static_assert(sizeof(struct llfree_lower_header) == PLAT_CACHE_LINE, "the header is one line");
_Static_assert(sizeof(struct llfree_upper_header) == PLAT_CACHE_LINE, "the header is one line");
_Static_assert(LLFREE_CHILD_FRAMES <= LLFREE_LANE_FREE, "a lane can count its frames");
_Static_assert((LLFREE_LANE_FREE | LLFREE_LANE_UNSYNC | LLFREE_LANE_ZEROED | LLFREE_LANE_INVERTED |
		LLFREE_LANE_BARRED) == 0xffff,
	       "the lane's fields fill 16 bits");
_Static_assert((LLFREE_LANE_FREE & (LLFREE_LANE_UNSYNC | LLFREE_LANE_ZEROED | LLFREE_LANE_INVERTED |
				    LLFREE_LANE_BARRED)) == 0,
	       "flags do not overlap the count");
_Static_assert(LLFREE_MAX_FRAMES >> LLFREE_HALF_ORDER <= (uint64_t)1 << (64 - LLFREE_CACHE_SHIFT),
	       "every half row can be named");
_Static_assert(LLFREE_CHILD_ROWS * 8 == PLAT_CACHE_LINE, "a child's bits are one line");

#endif
