/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_FORMAT_H
#define MORSEL_CORE_FORMAT_H

#include "coherency.h"

/*
 * The on-media format of a pool, version 1; docs/pool-format.md draws it. Little endian. What is where follows
 * from four numbers in the superblock by format_layout() alone: offsets that are stored are compared, never
 * trusted. Nothing here reads or writes outside of [base, base + size) whatever the bytes say.
 */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "pools are shared as they are: little endian only");

#define FORMAT_PAGE 4096u
#define FORMAT_MAGIC 0x314c4f4f50534d4dull /* "MMSPOOL1" */
#define FORMAT_VERSION 1u		   /* a reader refuses a greater one */
#define FORMAT_SUPERBLOCKS 3u

/* Features. A reader that does not know one: compat, goes on; ro_compat, must not write; incompat, refuses. */
#define FORMAT_COMPAT_KNOWN 0ull
#define FORMAT_RO_COMPAT_KNOWN 0ull
/*
 * Pools on media without any coherent range (docs/coherency.md): who may touch the shared words, and how. At most one
 * of the two. A host that treated such a pool as an ordinary one would change words that others never see change.
 */
#define FORMAT_INCOMPAT_COORDINATOR \
	(1ull << 0) /* they live in one host's memory; loads and cas are messages to it */
#define FORMAT_INCOMPAT_DEVICE_CAS (1ull << 1) /* cas is a command to the device */
#define FORMAT_INCOMPAT_KNOWN (FORMAT_INCOMPAT_COORDINATOR | FORMAT_INCOMPAT_DEVICE_CAS)

struct format_super {
	uint64_t magic;
	uint32_t version;
	uint32_t copy; /* 0, 1, 2: which of the three this is */
	uint64_t compat, ro_compat, incompat;
	uint64_t uuid[2];
	uint64_t generation; /* the greatest valid copy counts */
	uint64_t created;    /* seconds since 1970, by the creator's clock; information only */
	/* The four numbers, … */
	uint64_t size;			 /* bytes, a multiple of the extent */
	uint32_t names;			 /* names that the table has room for */
	uint32_t allocator_version;	 /* of the two regions below; opaque to this file */
	uint64_t lower_size, upper_size; /* the allocator's shared state, core/llfree with owners */
	/* … what a reader must agree on, … */
	uint32_t extent_shift, block_shift, hosts, line;
	/* … and what follows from them. */
	uint32_t extents, first_data;
	uint64_t coherent_offset, coherent_size;
	uint64_t hosts_offset, mail_offset, lines_offset, lower_offset, upper_offset;
	uint64_t names_offset, extents_offset; /* tables, each page twice */
	uint32_t name_pages, extent_pages;
	uint8_t zero[FORMAT_PAGE - 212];
	uint32_t crc; /* CRC32C of all before it */
};
_Static_assert(sizeof(struct format_super) == FORMAT_PAGE, "on media");
_Static_assert(__builtin_offsetof(struct format_super, crc) == FORMAT_PAGE - 4, "on media");
_Static_assert(__builtin_offsetof(struct format_super, size) == 72, "on media");
_Static_assert(__builtin_offsetof(struct format_super, zero) == 208, "on media");

/* ---- tables: pages of 4 KiB, each there twice; the valid copy with the greater generation counts --- */

enum format_table {
	FORMAT_NAMES = 1,
	FORMAT_EXTENTS = 2,
};

struct format_name {
	uint64_t id[2]; /* of the morsel; both 0: the place is free */
	uint64_t
		tag; /* what its extents' directory lines carry; low half ≠ that of any earlier owner */
	uint64_t size; /* bytes */
	uint64_t created;
	uint32_t uid, gid, mode;
	uint32_t extents; /* = size in extents, rounded up */
	uint32_t flags;
	uint8_t durability, protect; /* FORMAT_PROTECT_… */
	uint16_t page_shift;	     /* 12 or 21 */
	char name[96];		     /* UTF-8, NUL-terminated, unique */
	uint64_t spare[4];
};
_Static_assert(sizeof(struct format_name) == 192, "on media");

struct format_extent {
	uint32_t object; /* place in the names table + 1; 0: belongs to nobody */
	uint32_t index;	 /* extent number inside the object */
	uint32_t
		tag; /* the low half of the object's tag: an entry of an earlier owner does not count */
	uint32_t flags;
};
_Static_assert(sizeof(struct format_extent) == 16, "on media");

#define FORMAT_NAMES_PER_PAGE 21u
#define FORMAT_EXTENTS_PER_PAGE 252u

struct format_page {
	uint32_t magic;
	uint16_t kind; /* enum format_table */
	uint16_t version;
	uint32_t index; /* of the page in its table: a page in the wrong place does not count */
	uint32_t crc;	/* CRC32C of the page with this field 0 */
	uint64_t generation;
	uint64_t uuid; /* first half of the pool's */
	uint64_t spare[4];
	union {
		struct format_name names[FORMAT_NAMES_PER_PAGE];
		struct format_extent extents[FORMAT_EXTENTS_PER_PAGE];
		uint8_t bytes[FORMAT_PAGE - 64];
	};
};
_Static_assert(sizeof(struct format_page) == FORMAT_PAGE, "on media");

/* ---- geometry --------------------------------------------------------------------------------------- */

struct format_params {
	uint64_t size;	/* rounded down to extents by format_layout() */
	uint32_t names; /* 0: one per extent, at most 65,536 */
	uint32_t allocator_version;
	uint64_t lower_size,
		upper_size; /* llfree_sizes() for format_frames() frames and 32 owners */
	uint64_t uuid[2];
	uint64_t created;
	uint64_t incompat; /* FORMAT_INCOMPAT_…; 0: the media has a coherent range */
};

struct format_layout {
	uint64_t size, coherent_offset, coherent_size;
	uint64_t hosts_offset, mail_offset, lines_offset, lower_offset, lower_size, upper_offset,
		upper_size;
	uint64_t names_offset, extents_offset;
	uint64_t super_offset[FORMAT_SUPERBLOCKS];
	uint64_t uuid[2], generation, incompat;
	uint32_t names, name_pages, extent_pages, extents, first_data, allocator_version;
	uint32_t bad_supers; /* mask of copies that do not count */
	bool read_only;	     /* an unknown ro_compat feature */
};

/* Base pages of 4 KiB that the allocator of a pool of SIZE bytes manages: all, the metadata's reserved. */
uint64_t format_frames(uint64_t size);

/* -EINVAL: sizes or features that make no sense; -ENOSPC: too small to hold its own metadata and one extent. */
int format_layout(const struct format_params *p, struct format_layout *ret);

/* ---- superblock ------------------------------------------------------------------------------------- */

/*
 * Writes an empty pool over SIZE bytes at BASE (aligned to a line): all metadata, through MEM, fenced. The
 * allocator's regions are zeroed; the caller initialises them. Sole user. *ret is the layout.
 */
int format_create(struct morsel_mem *mem, void *base, uint64_t size, const struct format_params *p,
		  struct format_layout *ret);

/*
 * Reads the superblocks. -EUCLEAN: none is valid; -EOPNOTSUPP: a newer version or an unknown incompatible
 * feature; -ENOSPC: the mapping is smaller than the pool (a device that shrank); -EINVAL: SIZE or geometry.
 */
int format_open(const void *base, uint64_t size, struct format_layout *ret);
/*
 * The same for a caller whose struct morsel_mem does what the features ABLE (FORMAT_INCOMPAT_…) ask for; format_open()
 * is for those with ABLE 0. A pool with another one is refused with -EOPNOTSUPP.
 */
int format_open_able(const void *base, uint64_t size, uint64_t able, struct format_layout *ret);
/*
 * Why -EOPNOTSUPP: version and incompatible features of the first sound superblock. -EUCLEAN: there is none at the
 * front; -EINVAL: SIZE.
 */
int format_needs(const void *base, uint64_t size, uint32_t *ret_version, uint64_t *ret_incompat);
/* "coordinator", "device-cas"; NULL for a bit that is not known here. */
const char *format_feature_name(uint64_t incompat_bit);

/* Pointers into the mapping for core/coherency. LAYOUT must come from format_open() on it. */
void format_pool(void *base, const struct format_layout *layout, struct coh_pool *ret);

/* ---- tables ----------------------------------------------------------------------------------------- */

/*
 * Under a read hold on the table's extent: copies the current page. -ERANGE; -EUCLEAN: both copies are bad.
 * *ret_bad (may be NULL): one copy is bad; the next write repairs it.
 */
int format_page_read(const void *base, const struct format_layout *layout, enum format_table table,
		     uint32_t index, struct format_page *ret, bool *ret_bad);
/*
 * Under a write hold: writes PAGE over the older copy with the next generation, fenced: after a crash the
 * page is either as before or as now. PAGE's header is filled in.
 */
int format_page_write(struct morsel_mem *mem, void *base, const struct format_layout *layout,
		      enum format_table table, uint32_t index, struct format_page *page);
/* Bytes [*ret_offset, +FORMAT_PAGE) of copy COPY (0, 1) of a page: for holds and tests. */
int format_page_offset(const struct format_layout *layout, enum format_table table, uint32_t index,
		       unsigned copy, uint64_t *ret_offset);

/* Does the entry make sense by itself? -EINVAL if not. A free place does. */
int format_name_valid(const struct format_layout *layout, const struct format_name *name);

/* ---- check ------------------------------------------------------------------------------------------- */

enum format_finding {
	FORMAT_BAD_SUPER,  /* WHERE: copy. Damage, but others are good */
	FORMAT_BAD_COPY,   /* one copy of a table page; WHERE: page, names first */
	FORMAT_BAD_PAGE,   /* both: its contents are lost */
	FORMAT_BAD_NAME,   /* an entry that makes no sense; WHERE: place */
	FORMAT_DUPLICATE,  /* second entry with the same id or name */
	FORMAT_BAD_HOST,   /* a host slot's state; WHERE: slot */
	FORMAT_BAD_WORD,   /* a directory word that no host can have written; WHERE: extent */
	FORMAT_BAD_EXTENT, /* an extent's owner does not exist or does not want it; WHERE: extent */
	FORMAT_SHARED_EXTENT,  /* two extents for one place in an object */
	FORMAT_MISSING_EXTENT, /* an object lacks extents; WHERE: place of its name */
	FORMAT_TAG,	       /* directory line and tables name different owners; WHERE: extent */
	FORMAT_LEAK,	       /* in use by the directory, but in no object: to be freed */
	FORMAT_SUSPECT,	       /* suspect, quarantined or being repaired: for information */
	FORMAT_FINDINGS
};

const char *format_finding_name(enum format_finding finding);

struct format_report {
	uint64_t count[FORMAT_FINDINGS];
	uint64_t objects, extents_used;
};

typedef void (*format_found)(void *userdata, enum format_finding finding, uint64_t where);

/* Bytes of scratch memory that format_check() needs, aligned to 8. */
uint64_t format_check_scratch(const struct format_layout *layout);

/*
 * Reads everything and changes nothing. FOUND (may be NULL) is called for each finding. 0 also with findings:
 * look at the report. Errors are format_open()'s, and -ENOSPC when the scratch memory is too small.
 */
int format_check(const void *base, uint64_t size, void *scratch, uint64_t scratch_size,
		 format_found found, void *userdata, struct format_report *ret);

#endif
