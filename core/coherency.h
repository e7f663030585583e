/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_COHERENCY_H
#define MORSEL_CORE_COHERENCY_H

#include "coherency-word.h"

/*
 * Software coherency between the hosts of one pool; docs/coherency.md is the whole story.
 *
 * Three parties: *clients* (threads of applications) hold ranges through a page that they share with their
 * host's daemon; the *daemon* of each host (struct coh_host) speaks for it in the directory; the other
 * *hosts* are met only in the coherent range. Nothing here waits, sleeps, allocates or knows the time:
 * what cannot be done now returns -EAGAIN, and the caller comes back when a message or a client says so.
 *
 * One struct coh_host is used by one thread at a time. Clients run concurrently with it and each other.
 */

/* Geometry. Tests make it small; a pool's superblock names it and a reader refuses any other. */
#ifndef MORSEL_COH_EXTENT_SHIFT
#define MORSEL_COH_EXTENT_SHIFT 21 /* 2 MiB: the granule of ownership */
#endif
#ifndef MORSEL_COH_BLOCK_SHIFT
#define MORSEL_COH_BLOCK_SHIFT 15 /* 32 KiB: the granule of validity; 64 of them make one word */
#endif
#define COH_EXTENT_SIZE (1ull << MORSEL_COH_EXTENT_SHIFT)
#define COH_BLOCK_SIZE (1ull << MORSEL_COH_BLOCK_SHIFT)
#define COH_BLOCKS (1u << (MORSEL_COH_EXTENT_SHIFT - MORSEL_COH_BLOCK_SHIFT))
#define COH_ALL_BLOCKS (~0ull >> (64 - COH_BLOCKS))
_Static_assert(COH_BLOCKS >= 1 && COH_BLOCKS <= 64, "one validity bit per block in one word");

#define COH_RING 4u	   /* messages under way from one host to another */
#define COH_HOLD_SLOTS 64u /* holds of one client at one time */

/* ---- shared between hosts: the coherent range -------------------------------------------------- */

struct coh_header {
	uint64_t epoch; /* counts what every host must have seen before a slot is used again */
	uint64_t pad0[7];
	uint64_t era; /* counts wraps of any extent's version */
	uint64_t pad1[7];
};

struct coh_host_entry {
	uint64_t
		state; /* see COH_HOST_*; read by every client on release, so alone with what never changes */
	uint64_t id[2]; /* of the machine */
	uint64_t spare0[5];
	uint64_t heartbeat; /* counts up while the host lives */
	uint64_t seen;	    /* the last epoch at which this host had no transition under way */
	uint64_t spare1[6];
};

struct coh_mailbox {
	uint64_t notify; /* bit per sender, COH_NOTIFY_SLEEP: the receiver sleeps */
	uint64_t pad[7];
	uint64_t ring[COH_HOSTS][COH_RING]; /* by sender; 0 is an empty place */
};

struct coh_line {
	uint64_t word; /* coherency-word.h */
	uint64_t
		tag; /* names the object that the extent belongs to; written by the exclusive holder only */
	uint64_t taken; /* times that a host became the exclusive holder; statistics */
	uint64_t spare[5];
};

_Static_assert(sizeof(struct coh_header) == 128, "on media");
_Static_assert(sizeof(struct coh_host_entry) == 128, "on media");
_Static_assert(sizeof(struct coh_mailbox) == 1088, "on media");
_Static_assert(sizeof(struct coh_line) == MORSEL_LINE, "one word per line: no false sharing");

/* A host's state word: state 3 bits, incarnation 29, epoch 32 (of FENCED and SCRUBBED; else 0). */
enum coh_host_state {
	COH_HOST_FREE,
	COH_HOST_JOINING,
	COH_HOST_ALIVE,
	COH_HOST_SUSPECTED,
	COH_HOST_FENCED,
	COH_HOST_SCRUBBED,
	COH_HOST_STATES
};

#define COH_INCARNATION_MASK 0x1fffffffull

static inline enum coh_host_state coh_host_word_state(uint64_t w)
{
	return (enum coh_host_state)(w & 7);
}

static inline uint32_t coh_host_word_incarnation(uint64_t w)
{
	return (uint32_t)(w >> 3 & COH_INCARNATION_MASK);
}

static inline uint32_t coh_host_word_epoch(uint64_t w)
{
	return (uint32_t)(w >> 32);
}

static inline uint64_t coh_host_word(enum coh_host_state s, uint32_t incarnation, uint32_t epoch)
{
	return (uint64_t)s | ((uint64_t)incarnation & COH_INCARNATION_MASK) << 3 |
	       (uint64_t)epoch << 32;
}

/* Where one mapping of the pool has all this. */
struct coh_pool {
	struct coh_header *header;
	struct coh_host_entry *hosts; /* COH_HOSTS */
	struct coh_mailbox *mail;     /* COH_HOSTS */
	struct coh_line *lines;	      /* one per extent */
	uint8_t *data;		      /* extent 0, aligned to a line */
	uint32_t extents;
};

/* ---- shared inside one host: the daemon writes local[], its clients read it ---------------------- */

enum coh_mode {
	COH_NONE,
	COH_R,
	COH_W,
};

#define COH_GATE_MODE 3ull
#define COH_GATE_REVOKE (1ull << 2) /* every hold must go */
#define COH_GATE_DEMOTE (1ull << 3) /* write holds must go */
#define COH_GATE_TAG_SHIFT 32	    /* the low half of the object's tag */

struct coh_local {
	uint64_t gate;	 /* what clients may hold; 0: nothing */
	uint64_t valid;	 /* blocks with no stale line in this host's caches, in this tenure */
	uint64_t dirty;	 /* blocks that clients may write and so have to be written back */
	uint64_t kept;	 /* daemon only: the version for which valid outlived its tenure */
	uint64_t want;	 /* daemon only: hosts that asked; readers low, writers high half */
	uint64_t repair; /* daemon only: 1 while this host repairs the extent */
	uint64_t turn;	 /* daemon only: the slot that got it last from this host */
	uint64_t spare[1];
};
_Static_assert(sizeof(struct coh_local) == MORSEL_LINE, "");

/* Client-writable; only ever read by the daemon, who believes of it only what hurts nobody else. */
struct coh_hold_page {
	uint64_t hold[COH_HOLD_SLOTS];
};

#define COH_HOLD_MODE 3ull
#define COH_HOLD_WANT (1ull << 2) /* not held yet: the daemon clears this bit when it is */
#define COH_HOLD_EXTENT_SHIFT 32

/* ---- clients ------------------------------------------------------------------------------------- */

/* One per thread. Slots first..first+count-1 of the page are this thread's alone. */
struct coh_client {
	struct morsel_mem *mem;
	struct coh_hold_page *page;
	const struct coh_local *local;
	uint32_t extents;
	unsigned first, count;
	const uint64_t *host_state; /* &hosts[slot].state, readable */
	uint64_t alive;		    /* what it says while this host may be believed */
};

/*
 * The fast path: hold BLOCKS (a mask) of extent E of the object TAG in MODE through SLOT. No call, no flush:
 * one store, one barrier, two loads. 0: held. -EAGAIN: not without the daemon; coh_want() and a call to
 * it must follow, also when coh_want() refuses (it may be waiting for the hold that this call had to take
 * back; the call need not be a barrier). -EBUSY: the slot is in use. -EINVAL, -ERANGE: bad arguments,
 * nothing done.
 */
int coh_acquire(struct coh_client *c, unsigned slot, uint32_t e, uint64_t tag, uint64_t blocks,
		enum coh_mode mode);

/*
 * The slow path begins: notes the wish in SLOT; the caller then asks its daemon, who grants with coh_grant()
 * (coh_held() says so) or refuses. -EDEADLK: this thread holds an extent above E, and waiting in that order
 * could last for ever: release it, take E first. -EBUSY, -EINVAL, -ERANGE as above.
 */
int coh_want(struct coh_client *c, unsigned slot, uint32_t e, enum coh_mode mode);
/*
 * The same for a read hold that is to become a write hold without being let go: 0: ask the daemon, who
 * answers with coh_fetch() and coh_grant(), UPGRADE set. -EDEADLK: a higher extent is held, as above;
 * -ENOENT: SLOT does not hold E for reading.
 */
int coh_want_upgrade(struct coh_client *c, unsigned slot, uint32_t e);
bool coh_held(struct coh_client *c, unsigned slot);
void coh_unwant(struct coh_client *c, unsigned slot);

/*
 * Ends a hold. 0, or COH_KICK: done as well, and the daemon is waiting for it: tell it. -ESTALE: done,
 * but this host was suspected meanwhile: what was read may be torn and what was written may be lost.
 * -ENOENT: the slot holds nothing.
 */
#define COH_KICK 1
int coh_release(struct coh_client *c, unsigned slot);

/* ---- the daemon's side --------------------------------------------------------------------------- */

struct coh_host {
	struct morsel_mem *mem;
	const struct coh_pool *pool;
	struct coh_local *local;	    /* one per extent, zeroed before coh_join() */
	struct coh_hold_page *const *pages; /* of the clients; NULL entries are skipped */
	unsigned pages_n;
	/* Wakes a sleeping host where there is a way to; NULL where hosts poll. */
	void (*doorbell)(struct coh_host *h, unsigned to);

	/* The rest belongs to coh_*(). */
	unsigned slot;
	uint64_t alive;
	uint32_t inbox; /* senders whose ring is still to be read */
};

/*
 * Takes a free slot for the machine ID. -ENOSPC: all 32 are in use. -EEXIST: a host with this id is attached,
 * or not yet gone. -ESTALE: suspected while joining. On success h->slot and h->alive are set.
 */
int coh_join(struct coh_host *h, const uint64_t id[2]);
bool coh_alive(struct coh_host *h); /* false: stop all access, unmap the clients, coh_surrender() */
void coh_heartbeat(struct coh_host *h);
/* Says that no transition is under way; between any two calls of others. Slots are reused only after it. */
void coh_quiesce(struct coh_host *h);
/*
 * Gives up everything and the slot: on leaving, and by a suspected host that woke. The clients must be
 * unmapped before; a write hold that is still in a page makes its extent suspect. Writes back and lets go
 * of exclusive extents; what it held shared is cleaned by others. *ret_torn: extents made suspect.
 */
int coh_surrender(struct coh_host *h, uint32_t *ret_torn);

/*
 * Directory: get extent E of the object TAG for this host. 0: held, gate open. -EAGAIN: asked for; again when
 * COH_MSG_WAKE for E comes or a host's state changes. -ENOBUFS: as -EAGAIN, but a mailbox was full: again
 * soon. -EDEADLK: with UPGRADE (a client keeps its read hold while it waits), when another host upgrades
 * as well: the client has to release first. -ENOENT: free. -EUCLEAN: suspect or damaged. -EHOSTDOWN: quarantined.
 * -ESTALE: it belongs to another object now, or this host is suspected.
 */
int coh_fetch(struct coh_host *h, uint32_t e, uint64_t tag, enum coh_mode mode, bool upgrade);
/*
 * Nobody waits for coh_fetch(…, COH_W) any more. To be called also when a message for E comes and no client
 * waits to write it, or a right that was handed over would get stuck here. -EPERM: nothing was pending.
 * -EAGAIN, -ENOBUFS: under way, as for coh_fetch().
 */
int coh_cancel(struct coh_host *h, uint32_t e);
/* Makes BLOCKS of a held extent valid (and writable). -EAGAIN: not held in MODE. */
int coh_prepare(struct coh_host *h, uint32_t e, uint64_t blocks, enum coh_mode mode);
/* Turns a client's wish into a hold (or its read hold into a write hold). -ENOENT: the client changed its mind. */
int coh_grant(struct coh_host *h, struct coh_hold_page *page, unsigned slot, uint32_t e,
	      enum coh_mode mode, bool upgrade);
/*
 * Answers what others want of E. When a message for E comes, and when a client says COH_KICK or asks for E:
 * coh_fetch() and coh_grant() for the clients that wait, or what was lent to this host goes back unused; then
 * this; then coh_fetch() again for those that still wait, as it may be another who has E now. 0: nothing is left to
 * do now. -EBUSY: clients still hold: again when one says so. -ENOBUFS: again soon. -ESTALE: suspected.
 */
int coh_serve(struct coh_host *h, uint32_t e);
int coh_drop(struct coh_host *h,
	     uint32_t e); /* lets E go, unasked. -EBUSY as above; -EPERM: not held */
int coh_downgrade(struct coh_host *h, uint32_t e); /* keeps it for reading */

/* A free extent becomes the object TAG's, held exclusively; its bytes are anything. -EEXIST: not free. */
int coh_claim(struct coh_host *h, uint32_t e, uint64_t tag);
/* An exclusively held extent, or one under repair, becomes free. -EBUSY, -EPERM as coh_drop(). */
int coh_free(struct coh_host *h, uint32_t e);

/*
 * Repair of a suspect extent: between recover and restore or abandon only this host touches its bytes. 0: begun, or
 * under way here. -EAGAIN: by another. -EHOSTDOWN: quarantined. -EEXIST: nothing to repair. -ESTALE.
 */
int coh_recover(struct coh_host *h, uint32_t e);
/* Both: -EPERM, and the repair goes on, when this host was suspected meanwhile: coh_surrender() ends it. */
int coh_restore(struct coh_host *h, uint32_t e);
int coh_abandon(struct coh_host *h, uint32_t e);
/* A damaged word becomes suspect. Only on an administrator's word. -EEXIST: it is not damaged. */
int coh_condemn(struct coh_host *h, uint32_t e);

/* ---- mailboxes ----------------------------------------------------------------------------------- */

enum coh_msg {
	COH_MSG_READ = 1, /* the sender wants to read */
	COH_MSG_WRITE,	  /* the sender wants to write */
	COH_MSG_WAKE,	  /* look at the word again */
};

/*
 * Takes one message. 1 and the outputs; 0: none. READ and WRITE are noted: when there are no more, call coh_serve()
 * for each *ret_e (turns go round among those whose wish is known by then). For WAKE call what returned
 * -EAGAIN. Nonsense in a ring is skipped.
 */
int coh_poll(struct coh_host *h, enum coh_msg *ret_msg, unsigned *ret_from, uint32_t *ret_e);
/* Before sleeping: 0: senders will ring the doorbell (or, without one, sleep for a bounded time).
 * -EAGAIN: something came. */
int coh_sleep(struct coh_host *h);

/* ---- other hosts' ends --------------------------------------------------------------------------- */

/*
 * Both name the INCARNATION they mean (of the state word that was observed): the news may be late, and the slot
 * another host's by then. -EINVAL: that incarnation is not attached (suspect), or not suspected (fenced).
 */
/* HOST's heartbeat has not moved for longer than the caller's own clock allows. */
int coh_suspect(struct coh_host *h, unsigned host, uint32_t incarnation);
/* HOST was fenced from outside: it cannot write any more. */
int coh_fenced(struct coh_host *h, unsigned host, uint32_t incarnation);
/* Cleans extent E of HOST, who is suspected or fenced. -EBUSY: it is neither. COH_HELD: nothing there. */
int coh_clean(struct coh_host *h, uint32_t e, unsigned host);
/* Next step towards the reuse of a fenced HOST's slot; 0: slot free. -EAGAIN: a host has not yet passed
 * coh_quiesce(): again later. -EBUSY: not fenced. Any number of hosts may do it at once. */
int coh_reap(struct coh_host *h, unsigned host);

/* The state word of a slot. */
uint64_t coh_host_state(struct coh_host *h, unsigned host);

#endif
