/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Safety at the full bounds: 3 hosts, 2 extents, crashes, pauses. The same transitions (transitions.tbl) as in
 * coherency.pml, with whatever does not matter to safety left open, so that there is less to remember:
 *
 *   - caches by what they may hold (cache.pml, abstract; abstraction.pml shows that nothing is lost);
 *   - mailboxes: a message is a hint that any host may get at any time, so hosts hand, lend, drop and ask
 *     whenever the word lets them. Every order that messages can lead to is among these;
 *   - a host's daemon and clients work on the extents independently of each other, so both orders of any two
 *     steps are seen. What ties extents together is the host's own state: alive, suspected, fenced, leaving;
 *   - a pause is a host that takes no step for a while. It needs no state: any step may be late. A crash is
 *     a host that takes none any more.
 *
 *   HOSTS, EXTENTS, VERSIONS   bounds; versions matter with KEEP only, and wrap
 *   CRASHES                    so many hosts stop for good and are suspected, rightly; and then fenced
 *   PAUSE                      any host is suspected at any time, goes on all the same, and may be fenced
 *   KEEP                       validity kept between tenures when the version has not changed
 *   BROKEN_…                   one step taken away: spin must find an error
 */
#ifndef HOSTS
#define HOSTS 2
#endif
#ifndef EXTENTS
#define EXTENTS 1
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef VERSIONS
#ifdef KEEP
#define VERSIONS 2
#else
#define VERSIONS 1
#endif
#endif

/* Scratch, within one step only. */
hidden byte k, res, old, x;

typedef word_t {
	byte st;
	byte own;
	byte shr;
	byte ver
}

word_t w[EXTENTS];

#define X(h, e) ((h) * EXTENTS + (e))
#define ABSTRACT
#include "cache.pml"

#define ALIVE 0
#define SUSPECTED 1
#define LEAVING 2 /* suspected, awake and about to give everything back */
#define FENCED 3
byte hs[HOSTS];
byte crashes = 0;

/* gate and hold */
#define SHUT 0
#define R 1
#define W 2
#define REPAIR 3 /* no gate: the daemon itself */
#define GONE 4	 /* given back for good */
byte gate[HOSTS * EXTENTS];
byte hold[HOSTS * EXTENTS]; /* of clients; a repairer's W: it has written */
bit valid[HOSTS * EXTENTS];
#ifdef KEEP
byte kept[HOSTS * EXTENTS]; /* 0: nothing; else 1 + version */
#endif

#define D_STEP /* the transitions are inside of d_steps already */
#include "transitions.pml"

#ifdef PAUSE
/* A suspected host that has not noticed goes on: it finds out at its next look, and steps are late. */
#define RUN (hs[h] == ALIVE || hs[h] == SUSPECTED)
#else
#define RUN (hs[h] == ALIVE)
#endif
#define DOWN(p) (hs[p] == SUSPECTED || hs[p] == LEAVING)
#define CLEAN_LINE (!dirty[X(h, e)] && !late[X(h, e)])

/* Only valid lines are ever read: until it is flushed, an invalid one may as well be stale. */
inline forget(h, e) {
	valid[X(h, e)] = 0;
	stale[X(h, e)] = 1
}

/* After a transition that may have moved the version: a wrap makes every memory of versions void (the era). */
inline bump(e) {
#if defined(KEEP) && !defined(BROKEN_ERA)
	if
	:: w[e].ver < old ->
		k = 0;
		do
		:: k < HOSTS ->
			kept[X(k, e)] = 0;
			if
			:: gate[X(k, e)] == SHUT -> forget(k, e)
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0
	:: else
	fi
#endif
	old = 0
}

inline open(h, e, m) {
	if
	:: gate[X(h, e)] == SHUT ->
#ifdef KEEP
		if
		:: kept[X(h, e)] == w[e].ver + 1
		:: else -> forget(h, e)
		fi;
		kept[X(h, e)] = 0;
#else
		forget(h, e);
#endif
		gate[X(h, e)] = m
	:: gate[X(h, e)] == R && m == W -> gate[X(h, e)] = W
	:: else
	fi
}

inline shut(h, e, keep) {
#ifdef KEEP
	/* Of a tenure that was lent but never opened nothing is known, so nothing is kept. */
	if
#ifdef BROKEN_CLOSE_KEPT
	:: keep -> kept[X(h, e)] = w[e].ver + 1
#else
	:: (keep) && gate[X(h, e)] != SHUT -> kept[X(h, e)] = w[e].ver + 1
#endif
	:: else -> kept[X(h, e)] = 0; forget(h, e)
	fi;
#else
	forget(h, e);
#endif
	gate[X(h, e)] = SHUT
}

inline one_writer(h, e) {
	k = 0;
	do
	:: k < HOSTS ->
		assert(k == h || hs[k] == FENCED || hold[X(k, e)] != W);
		k++
	:: else -> break
	od;
	k = 0
}

/* The bytes are what this host says from now on. */
inline settle(h, e) {
	one_writer(h, e);
	a_flush(h, e);
	a_overwrite(h, e);
	hold[X(h, e)] = W
}

/* A hold for writing that does not come to its end. */
inline cut_off(h, e) {
	if
	:: hold[X(h, e)] == W -> bad[e] = 1; all_stale(e)
	:: else
	fi
}

inline hand_to(p) {
	old = w[e].ver;
	t_hand(e, h, p);
	bump(e);
	shut(h, e, res == R_DONE);
	res = 0
}

inline lend_done() {
	bump(e);
	if
	:: res == R_DONE && gate[X(h, e)] != SHUT -> gate[X(h, e)] = R
	:: else -> shut(h, e, false)
	fi;
	res = 0
}

/* Refused, the repair is not over: the extent is in quarantine, its bytes what they are. */
inline repaired(h, e) {
	if
#ifdef BROKEN_REPAIR_REFUSED
	:: true ->
#else
	:: res == R_DONE ->
#endif
		hold[X(h, e)] = SHUT;
		shut(h, e, false)
	:: else
	fi;
	res = 0
}

inline clean_up(p) {
	if
#ifdef BROKEN_FENCE
	:: DOWN(p) -> t_fenced(e, h, p)
#else
	:: DOWN(p) -> t_suspected(e, h, p)
#endif
	:: hs[p] == FENCED -> t_fenced(e, h, p)
	:: else
	fi;
	res = 0
}

/* Written back, before the word says that others may come. */
#ifdef BROKEN_CLOSE_FLUSH
#define CLOSED (gate[X(h, e)] == W && hold[X(h, e)] == SHUT)
#else
#define CLOSED (gate[X(h, e)] == W && hold[X(h, e)] == SHUT && CLEAN_LINE)
#endif
#ifdef BROKEN_LEND_WRITE_BACK
#define LENDABLE (gate[X(h, e)] == W && hold[X(h, e)] != W)
#elif defined(BROKEN_LEND_GATE)
#define LENDABLE (gate[X(h, e)] == W && CLEAN_LINE)
#else
#define LENDABLE (gate[X(h, e)] == W && hold[X(h, e)] != W && CLEAN_LINE)
#endif

/* Host H's daemon and a client of its, as far as extent E goes. */
proctype host(byte h; byte e)
{
	do
	/* the client asks */
	:: d_step { RUN && gate[X(h, e)] == SHUT ->
		t_read(e, h, 0);
		if
		:: res == R_DONE || res == R_HELD -> open(h, e, (w[e].st == EXCLUSIVE -> W : R))
		:: else
		fi;
		res = 0 }
	:: d_step { RUN && gate[X(h, e)] <= R ->
		t_write(e, h, 0);
		if
		:: (res == R_DONE || res == R_HELD) && w[e].st == EXCLUSIVE -> open(h, e, W)
		:: else
		fi;
		res = 0 }

	/* it enters: what is not valid is invalidated first */
	:: d_step { RUN && (gate[X(h, e)] == R || gate[X(h, e)] == W) && hold[X(h, e)] == SHUT ->
		if
#ifndef BROKEN_PREPARE
		:: !valid[X(h, e)] -> a_flush(h, e)
#endif
		:: else
		fi;
		valid[X(h, e)] = 1;
		hold[X(h, e)] = R;
		assert(hs[h] != ALIVE || w[e].st == SHARED || w[e].st == EXCLUSIVE || w[e].st == PENDING) }
	:: d_step { RUN && gate[X(h, e)] == W && hold[X(h, e)] == R ->
		one_writer(h, e);
		hold[X(h, e)] = W }
	:: d_step { RUN && gate[X(h, e)] == W && hold[X(h, e)] == W ->
		one_writer(h, e);
		a_store(h, e) }
	/* and leaves: what it saw was current all the time, or it is told */
	:: d_step { RUN && gate[X(h, e)] != REPAIR && hold[X(h, e)] != SHUT ->
#ifdef BROKEN_RELEASE_ALIVE
		assert(!stale[X(h, e)]);
#else
		assert(hs[h] != ALIVE || !stale[X(h, e)]);
#endif
		hold[X(h, e)] = SHUT }

	/* the daemon writes back; the word comes after */
	:: d_step { RUN && !CLEAN_LINE && (hold[X(h, e)] != W || gate[X(h, e)] == REPAIR) -> a_write_back(h, e) }
	:: d_step { RUN && CLOSED ->
		old = w[e].ver;
		t_drop(e, h, 0);
		bump(e);
		shut(h, e, res == R_DONE);
		res = 0 }
	:: d_step { RUN && CLOSED -> hand_to((h + 1) % HOSTS) }
	:: d_step { RUN && LENDABLE -> old = w[e].ver; t_lend(e, h, (h + 1) % HOSTS); lend_done() }
#if HOSTS > 2
	:: d_step { RUN && CLOSED -> hand_to((h + 2) % HOSTS) }
	:: d_step { RUN && LENDABLE -> old = w[e].ver; t_lend(e, h, (h + 2) % HOSTS); lend_done() }
#endif
	:: d_step { RUN && LENDABLE -> old = w[e].ver; t_downgrade(e, h, 0); lend_done() }
	/* a reader makes way; a wait is given up; a right comes that nobody waits for */
	:: d_step { RUN && gate[X(h, e)] <= R && hold[X(h, e)] == SHUT && w[e].st != EXCLUSIVE &&
		    !(w[e].st == PENDING && w[e].own == h && gate[X(h, e)] == R) ->
		t_drop(e, h, 0);
		if
		:: res == R_DONE || gate[X(h, e)] != SHUT -> shut(h, e, res == R_DONE)
		:: else
		fi;
		res = 0 }

	/* others' ends */
	:: d_step { RUN && hs[(h + 1) % HOSTS] != ALIVE -> clean_up((h + 1) % HOSTS) }
#if HOSTS > 2
	:: d_step { RUN && hs[(h + 2) % HOSTS] != ALIVE -> clean_up((h + 2) % HOSTS) }
#endif

	/* objects go and come: an extent that is free says nothing about its bytes */
	:: d_step { RUN && CLOSED -> t_free(e, h, 0); shut(h, e, false); res = 0 }
	:: d_step { RUN && gate[X(h, e)] == SHUT ->
		t_claim(e, h, 0);
		if
		:: res == R_DONE -> forget(h, e); open(h, e, W); settle(h, e); valid[X(h, e)] = 1
		:: else
		fi;
		res = 0 }

	/* a suspect extent: bytes settled, then usable again, or free, or still suspect */
	:: d_step { RUN && gate[X(h, e)] == SHUT ->
		t_recover(e, h, 0);
		if
		:: res == R_DONE -> forget(h, e); gate[X(h, e)] = REPAIR
		:: else
		fi;
		res = 0 }
	:: d_step { RUN && gate[X(h, e)] == REPAIR && hold[X(h, e)] == SHUT -> settle(h, e) }
#ifdef BROKEN_RESTORE_FLUSH
	:: d_step { RUN && gate[X(h, e)] == REPAIR && hold[X(h, e)] == W ->
#else
	:: d_step { RUN && gate[X(h, e)] == REPAIR && hold[X(h, e)] == W && CLEAN_LINE ->
#endif
		old = w[e].ver;
		t_restore(e, h, 0);
		bump(e);
		repaired(h, e) }
	:: d_step { RUN && gate[X(h, e)] == REPAIR && CLEAN_LINE ->
		t_abandon(e, h, 0);
		if
		:: res == R_DONE -> bad[e] = 1; all_stale(e)
		:: else
		fi;
		repaired(h, e) }
	:: d_step { RUN && gate[X(h, e)] == REPAIR && CLEAN_LINE ->
		t_free(e, h, 0);
		repaired(h, e) }

#ifdef PAUSE
	/* A suspected host that notices stops its clients, writes back, and only then gives the extent back. */
	:: d_step { hs[h] == LEAVING && !CLEAN_LINE -> a_flush(h, e) }
#ifdef BROKEN_SURRENDER_FLUSH
	:: d_step { hs[h] == LEAVING && gate[X(h, e)] != GONE ->
#else
	:: d_step { hs[h] == LEAVING && gate[X(h, e)] != GONE && CLEAN_LINE ->
#endif
		/* cut off in the middle of a hold: the bytes are torn */
		cut_off(h, e);
		old = w[e].ver;
		if
#ifndef BROKEN_SURRENDER_TORN
		:: gate[X(h, e)] == REPAIR || hold[X(h, e)] == W -> t_surrender_torn(e, h, 0)
#endif
		:: else -> t_surrender(e, h, 0)
		fi;
		bump(e);
		shut(h, e, false);
		gate[X(h, e)] = GONE;
		hold[X(h, e)] = SHUT;
		res = 0 }
#endif
	:: hs[h] == FENCED -> break
	od
}

/* The external fence: every dirty line reaches memory, or does not. */
inline fence(h) {
	x = 0;
	do
	:: x < EXTENTS ->
		cut_off(h, x);
		a_lose(h, x);
		forget(h, x);
#ifdef KEEP
		kept[X(h, x)] = 0;
#endif
		gate[X(h, x)] = SHUT;
		hold[X(h, x)] = SHUT;
		x++
	:: else -> break
	od;
	hs[h] = FENCED;
	x = 0
}

/* It takes no step any more: all that matters is what its cache may still do, and what it was writing. */
inline crash(h) {
	x = 0;
	do
	:: x < EXTENTS ->
		if
		:: hold[X(h, x)] == R -> hold[X(h, x)] = SHUT
		:: else
		fi;
		gate[X(h, x)] = SHUT;
		forget(h, x);
#ifdef KEEP
		kept[X(h, x)] = 0;
#endif
		x++
	:: else -> break
	od;
	hs[h] = SUSPECTED;
	x = 0
}

#if EXTENTS == 1
#define ALL_GONE(h) (gate[h] == GONE)
#else
#define ALL_GONE(h) (gate[X(h, 0)] == GONE && gate[X(h, 1)] == GONE)
#endif

/* All hosts do the same, so it may as well be the first that pauses. */
#ifdef ONE_PAUSES
#define MAY_SUSPECT(h) ((h) == 0)
#else
#define MAY_SUSPECT(h) true
#endif

#ifdef PAUSE
/* Rightly or not, and two may suspect each other. */
#define FAULTS(h) \
	:: d_step { hs[h] == ALIVE && MAY_SUSPECT(h) -> hs[h] = SUSPECTED } \
	:: d_step { hs[h] == SUSPECTED -> hs[h] = LEAVING } \
	:: d_step { hs[h] == LEAVING && ALL_GONE(h) -> fence(h) } \
	:: d_step { DOWN(h) -> fence(h) }
#else
#define FAULTS(h) \
	:: d_step { hs[h] == ALIVE && crashes < CRASHES -> crashes++; crash(h) } \
	:: d_step { DOWN(h) -> fence(h) }
#endif

active proctype room()
{
end:
	do
	FAULTS(0)
	FAULTS(1)
#if HOSTS > 2
	FAULTS(2)
#endif
	od
}

init {
	atomic {
		byte i = 0, j;

		do
		:: i < EXTENTS -> w[i].st = INVALID; i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < HOSTS ->
			j = 0;
			do
			:: j < EXTENTS -> stale[X(i, j)] = 1; run host(i, j); j++
			:: else -> break
			od;
			i++
		:: else -> break
		od;
		i = 0;
		j = 0
	}
}
