/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MORSEL_H
#define MORSEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * libmorsel: memory objects ("morsels") on the tiers of a machine, served by morseld.
 *
 *	morsel_client *c = NULL;
 *	morsel *m = NULL;
 *	void *p;
 *	int r;
 *
 *	r = morsel_connect(NULL, &c);
 *	if (r >= 0)
 *		r = morsel_create(c, "weights", 1 << 30,
 *				  &(struct morsel_options){ MORSEL_OPTIONS_INIT, .prefer = "hbm0" }, &m);
 *	if (r >= 0)
 *		r = morsel_map(m, 0, 0, MORSEL_RDWR, &p);
 *	if (r < 0)
 *		fprintf(stderr, "%s\n", morsel_error(c));
 *
 * Conventions
 *   Returns: 0 or more on success, a negative errno on failure; outputs (ret_…) are written only on
 *   success. The text behind a failure is morsel_error().
 *   Threads: a client may be used by several threads; calls that ask the daemon are serialised by a
 *   lock in it, so a thread that waits for a long one (morsel_move()) holds the others up: use a
 *   client per thread where that matters. A handle may be used by any thread; morsel_map(),
 *   morsel_populate(), morsel_evict(), morsel_advise() and morsel_stat() ask the kernel, not the
 *   daemon, and wait for nobody. Mappings are ordinary memory. Freeing (morsel_close(),
 *   morsel_disconnect()) must not run beside another call on the same object.
 *   fork: mappings are inherited and stay valid. Clients and handles are not usable in the child
 *   (-ECHILD), except for morsel_close(), morsel_unmap() and morsel_disconnect(), which free them
 *   there and leave the parent's alone.
 *   The daemon's death: mappings and handles go on. A call under way gives -ECONNRESET (whether the
 *   daemon carried it out is then unknown); later calls connect again by themselves, and wait up to
 *   five seconds for a daemon that is being restarted. Names outlive it (see morseld.service).
 *   Signals: SIGBUS comes when the memory behind a page failed, or when a page cannot be had at the
 *   first touch. Where the tiers allowed are full, the kernel may call its out-of-memory killer
 *   before it sends SIGBUS, and that picks any process: morsel_populate() finds a lack of room out
 *   as an error code beforehand. A morsel never shrinks, so SIGBUS does not come from its end.
 *   Logging: none.
 */

typedef struct morsel_client morsel_client;
typedef struct morsel morsel;

/*
 * The size of the structures below as the program was compiled, so that they can grow: a shorter one
 * than the library's gets defaults for what it lacks, a longer one must be zero in what the library
 * does not know (-E2BIG). C++ before C++20: assign struct_size.
 */
#define MORSEL_OPTIONS_INIT .struct_size = sizeof(struct morsel_options)
#define MORSEL_STAT_INIT .struct_size = sizeof(struct morsel_stat)

#define MORSEL_PAGE_4K (UINT64_C(1) << 12)
#define MORSEL_PAGE_2M (UINT64_C(1) << 21)

enum morsel_access {
	MORSEL_RDONLY = 0,
	MORSEL_RDWR = 1,
};

/* For morsel_create(). Zero or NULL fields mean the daemon's default. */
struct morsel_options {
	size_t struct_size;
	const char *prefer;	/* tiers, best first, separated by spaces or commas: "hbm0 dram0" */
	const char *allow;	/* pages lie nowhere else: "hbm0 dram0" */
	const char *spread;	/* granules dealt out by weight: "dram0=3 cxl0=1" */
	uint64_t page_size;	/* MORSEL_PAGE_4K or MORSEL_PAGE_2M */
	uint32_t mode;		/* 0600, 0640, 0666 … without x; 0: 0600 */
	uint32_t has_group;	/* not 0: set group */
	gid_t group;		/* one of the caller's */
	uint32_t populate;	/* not 0: allocate everything now */
	const char *initiators; /* nodes whose CPUs use it: "0 1" */
};

struct morsel_stat {
	size_t struct_size;
	char id[33];	    /* 32 hexadecimal digits */
	uint64_t size;	    /* bytes */
	uint64_t allocated; /* bytes that exist */
	uint64_t page_size; /* wanted */
	/* As they were when it was opened: */
	uid_t owner;
	gid_t group;
	uint32_t mode;
	uint64_t created_usec; /* real-time clock */
};

/* Bytes of a morsel on one tier: morsel_residency(). */
struct morsel_tier_bytes {
	char tier[64];
	uint64_t bytes;
};

struct morsel_range {
	uint64_t offset, length; /* bytes, multiples of 4096; length 0: to the end */
};

/* At most this many in one call. */
#define MORSEL_RANGES_MAX 65536

struct morsel_move_result {
	uint64_t moved, already, absent, failed; /* bytes */
};

/* --- Client --------------------------------------------------------------------------------- */

/*
 * Connect to morseld. address: path of its socket; NULL: $MORSEL_SOCKET, else /run/morsel/bus.
 * -ENOENT, -ECONNREFUSED: no daemon there; -EACCES: the socket is not for this user;
 * -ENAMETOOLONG: the path does not fit in a socket address.
 */
int morsel_connect(const char *address, morsel_client **ret_client);
/* Close and free; takes NULL; returns NULL. Handles that are left must still be closed; meanwhile
 * what asks the daemon gives -ENOTCONN. */
morsel_client *morsel_disconnect(morsel_client *client);
/* What the last failing call on client said, for people: names the object and the limit. Never NULL,
 * also for client NULL (not connected); valid until the next call on client by any thread. */
const char *morsel_error(const morsel_client *client);

/* --- Objects -------------------------------------------------------------------------------- */

/*
 * Create a morsel of size bytes, owned by the caller, and open it for reading and writing. It lasts
 * until morsel_destroy(), not only as long as the handle. options may be NULL.
 * -EINVAL (name, size, option; see morsel_error()), -EEXIST, -ENOSPC (over the tiers' capacity),
 * -EDQUOT, -ENOENT (no such tier), -ENODEV (tier offline), -EMFILE, -ENOMEM, -EOPNOTSUPP (page size).
 */
int morsel_create(morsel_client *client, const char *name, uint64_t size,
		  const struct morsel_options *options, morsel **ret_morsel);
/* name: a name of one's own, "OWNER:NAME", or an id. -ENOENT, -EACCES. */
int morsel_open(morsel_client *client, const char *name, enum morsel_access access,
		morsel **ret_morsel);
/* Remove the name at once; the memory goes, and is given back to the quota, when the last descriptor and mapping are
 * gone. */
int morsel_destroy(morsel_client *client, const char *name);
/* As chmod(2): 0600, 0640, 0666 … without x. The owner, or root. What others have open stays open. -EACCES,
 * -EINVAL, -ENOENT. */
int morsel_chmod(morsel_client *client, const char *name, mode_t mode);
/* As chown(2), (uid_t)-1 and (gid_t)-1 leave as it is: the group, to one of the owner's own; the owner, by root
 * only. -EDQUOT: the new owner's quota has no room; -EEXIST: they have one of that name. */
int morsel_chown(morsel_client *client, const char *name, uid_t owner, gid_t group);
/* Free the handle; mappings stay. Takes NULL; returns NULL. */
morsel *morsel_close(morsel *m);

/* One fstat(2) or ioctl(2), no call to the daemon. Set stat->struct_size before. */
int morsel_stat(morsel *m, struct morsel_stat *stat);
/* The object's file descriptor, for sending to another process (SCM_RIGHTS). It stays the
 * handle's; duplicate it to keep it. */
int morsel_fd(const morsel *m);
uint64_t morsel_size(const morsel *m);

/* --- Memory --------------------------------------------------------------------------------- */

/*
 * Two kinds of morsels: memory files, and objects of the kernel module (storage "module"; morselctl show). What
 * differs is said below. Of the module's, mprotect(2), a partial munmap(2) and MAP_PRIVATE are refused, and memory
 * is not in the process's RSS.
 */

/*
 * Map length bytes (0: to the end) from offset, shared. Both are multiples of 4096, of 2 MiB where
 * the pages come from hugetlb. Where length is 2 MiB or more, address and offset agree modulo 2 MiB,
 * as 2 MiB pages need it. The module maps whole 2 MiB, so a
 * little more than asked for is mapped around the range; beyond the object's end that gives SIGBUS. The mapping is not inherited by exec, stays over morsel_close(), and over
 * death of the daemon. -EINVAL: range outside the object; -EACCES: RDWR of a handle opened RDONLY;
 * -ENOMEM.
 */
int morsel_map(morsel *m, uint64_t offset, uint64_t length, enum morsel_access access,
	       void **ret_address);
/* Undo it. length as mapped (0 is refused). -EINVAL: a part of a mapping of the module's, which goes as a whole only. */
int morsel_unmap(void *address, uint64_t length);
/* Allocate what is not there yet, in the calling thread, by the placement in force. What is there
 * keeps its contents. -ENOMEM, -ENOSPC: not all could be had; what was allocated stays. -EACCES:
 * opened RDONLY. The page tables of existing mappings are not filled: for that, madvise(2) them with
 * MADV_POPULATE_WRITE. All ranges are checked before the first is touched. */
int morsel_populate(morsel *m, const struct morsel_range *ranges, size_t n);
/* Give the memory of ranges back; they read as zero afterwards, for everyone who maps them. -EACCES:
 * opened RDONLY. What a device or
 * io_uring still uses of the module's becomes free when it does not any more. All ranges are checked before the first is touched. */
int morsel_evict(morsel *m, const struct morsel_range *ranges, size_t n);

enum morsel_advice {
	MORSEL_WILLNEED = 1, /* swap in, read ahead */
	MORSEL_COLD = 2,     /* may be reclaimed first */
};
/* Hints on ranges, for the pages that this process maps and has touched; the kernel may ignore
 * them, and does where another process maps the same page, and for morsels of the module. Reads /proc/self/maps. -EINVAL: unknown
 * advice or range. */
int morsel_advise(morsel *m, enum morsel_advice advice, const struct morsel_range *ranges,
		  size_t n);

/* --- Placement ------------------------------------------------------------------------------ */

/* Move a range (NULL: all) to a tier and wait. 0 also when some pages stayed: see ret_result (may be
 * NULL). -ENOENT: no such tier, -ENODEV: it is offline, -EACCES: neither owner nor root, -ECANCELED:
 * somebody cancelled the job, -EIO: it failed. */
int morsel_move(morsel *m, const char *tier, const struct morsel_range *range,
		struct morsel_move_result *ret_result);
/*
 * Where the bytes lie now. exact: look at every page, else large morsels are sampled. tiers: room
 * for n entries; returns how many there are (of which min(n, returned) were written). *ret_absent (may be
 * NULL): bytes without a page.
 */
int morsel_residency(morsel *m, int exact, struct morsel_tier_bytes *tiers, size_t n,
		     uint64_t *ret_absent);

#ifdef __cplusplus
}
#endif
#endif
