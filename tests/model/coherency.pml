/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The protocol between hosts. The word's transitions are generated from transitions.tbl (t_OP below), the
 * same table that the code is compared with; here is what hosts do around them, with caches that are not
 * coherent. Holds inside a host are hold.pml's part; slots and their reuse are the simulator's.
 *
 *   HOSTS, EXTENTS, VERSIONS   bounds; versions wrap at VERSIONS
 *   CRASHES                    so many hosts stop for good (their caches go on writing back until fenced)
 *   PAUSE                      hosts stop and go on at any moment, and may be suspected without reason
 *   KEEP                       validity kept between tenures when the version has not changed
 *   LIVENESS                   host 0's wish, to read or to write, is always answered in the end (ltl granted);
 *                              with CRASHES the last host may stop for good, then it is suspected and fenced
 *   BROKEN_…                   one step taken away: spin must find an error
 */
#ifndef HOSTS
#define HOSTS 2
#endif
#ifndef EXTENTS
#define EXTENTS 1
#endif
#ifndef VERSIONS
#define VERSIONS 2
#endif
#ifndef CRASHES
#define CRASHES 0
#endif

#define ALIVE 0
#define SUSPECTED 1
#define FENCED 2

/* gate */
#define SHUT 0
#define R 1
#define W 2
#define REPAIR 3

typedef word_t {
	byte st;
	byte own;
	byte shr;
	byte ver
}

word_t w[EXTENTS];
byte want_r[EXTENTS];		/* mailboxes: who asked; a message is never lost, only late */
byte want_w[EXTENTS];

#define X(h, e) ((h) * EXTENTS + (e))
byte gate[HOSTS * EXTENTS];
bit valid[HOSTS * EXTENTS];
#ifdef KEEP
byte kept[HOSTS * EXTENTS];	/* 0: nothing; else 1 + version */
#endif

byte hs[HOSTS];
bit stopped[HOSTS];
byte crashes = 0;

/* Ghosts: the client of each host inside a hold. */
byte hold[HOSTS];		/* SHUT, R, W */
byte hold_e[HOSTS];
bit bad[HOSTS];			/* what it read was not, or is no longer, what was written last */

#ifdef LIVENESS
bit waiting;			/* host 0's wish is not answered yet */
byte turn[HOSTS * EXTENTS];	/* whom this host gave it to last */
#endif

#include "transitions.pml"
#define CONCRETE
#include "cache.pml"

#define RUN (!stopped[h] && hs[h] != FENCED)

/* Others ask for what this host holds alone. */
#define WANTED(e) \
	(w[e].st == EXCLUSIVE && w[e].own == h && gate[X(h, e)] != SHUT && ((want_r[e] | want_w[e]) & (255 - (1 << h))))
/*
 * A writer waits for this host to stop reading. What was lent to a client that waits is first used, once: or
 * who lent it could have it back before, again and again.
 */
#ifdef BROKEN_LENT_UNUSED
#define UNUSED(e) false
#else
#define UNUSED(e) (gate[X(h, e)] == SHUT && m == R && hold_e[h] == e)
#endif
#define IN_THE_WAY(e) (w[e].st == PENDING && w[e].own != h && ((w[e].shr >> h) & 1) && !UNUSED(e))

/* After a transition that may have moved the version: a wrap makes every memory of versions void (the era). */
inline bump(old, e) {
#ifdef KEEP
	if
	:: w[e].ver < old ->
		k = 0;
		do
		:: k < HOSTS -> kept[X(k, e)] = 0; k++
		:: else -> break
		od;
		k = 0
	:: else
	fi
#else
	skip
#endif
}

inline open(h, e, m) {
	if
	:: gate[X(h, e)] == SHUT ->
#ifdef KEEP
		if
		:: kept[X(h, e)] == w[e].ver + 1 -> skip
		:: else -> valid[X(h, e)] = 0
		fi;
		kept[X(h, e)] = 0;
#else
		valid[X(h, e)] = 0;
#endif
		gate[X(h, e)] = m
	:: gate[X(h, e)] != SHUT && gate[X(h, e)] < m -> gate[X(h, e)] = m
	:: else
	fi
}

inline shut(h, e, keep) {
#ifdef KEEP
	/* Of a tenure that was lent but never opened nothing is known, so nothing is kept. */
#ifdef BROKEN_CLOSE_KEPT
	kept[X(h, e)] = (keep -> w[e].ver + 1 : 0);
#else
	kept[X(h, e)] = ((keep) && gate[X(h, e)] != SHUT -> w[e].ver + 1 : 0);
#endif
#else
	valid[X(h, e)] = 0;
#endif
	gate[X(h, e)] = SHUT
}

/* What stands in the way of E is cleaned where its host is not alive. */
inline clean(h, e) {
	k = 0;
	do
	:: k < HOSTS && k != h && hs[k] == SUSPECTED -> t_suspected(e, h, k); k++
	:: k < HOSTS && k != h && hs[k] == FENCED -> t_fenced(e, h, k); k++
	:: k < HOSTS && (k == h || hs[k] == ALIVE) -> k++
	:: k >= HOSTS -> break
	od;
	k = 0
}

/* Whoever asked has been answered, or asks again. */
inline asked(p, e) {
	want_r[e] = want_r[e] & (255 - (1 << (p)));
	want_w[e] = want_w[e] & (255 - (1 << (p)))
}

inline answered(h) {
#ifdef LIVENESS
	if
	:: h == 0 -> waiting = 0
	:: else
	fi
#else
	skip
#endif
}

/* Who of MASK comes next. For safety it may be anybody. */
inline pick(mask) {
#ifdef LIVENESS
#ifdef BROKEN_TURNS_FORGOTTEN
	k = (h + 1) % HOSTS;
#else
	k = (turn[X(h, e)] + 1) % HOSTS;
#endif
	do
	:: !(((mask) >> k) & 1) -> k = (k + 1) % HOSTS
	:: else -> break
	od;
	turn[X(h, e)] = k
#else
	if
	:: (mask) & 1 -> k = 0
	:: ((mask) >> 1) & 1 -> k = 1
#if HOSTS > 2
	:: ((mask) >> 2) & 1 -> k = 2
#endif
	fi
#endif
}

proctype host(byte h)
{
	byte e, k, res, m, old;

	do
	/* A suspected host that runs notices, stops its clients and gives everything back. */
	:: atomic { RUN && hs[h] == SUSPECTED -> e = 0 };
		do
		:: atomic { RUN && e < EXTENTS ->
#ifndef BROKEN_SURRENDER_FLUSH
			flush(h, e);
#endif
			skip };
		   atomic { RUN ->
			old = w[e].ver;
			if
			:: gate[X(h, e)] == REPAIR -> t_surrender_torn(e, h, 0)
			:: else -> t_surrender(e, h, 0)
			fi;
			bump(old, e);
			shut(h, e, 0);
			e++ }
		:: atomic { RUN && e >= EXTENTS -> e = 0; res = 0; old = 0; hs[h] = FENCED; goto gone }
		od

	/* Serve what others asked for: first, as the daemon does. */
	:: atomic { RUN && hs[h] == ALIVE ->
		e = 0;
		do
		:: e < EXTENTS && (WANTED(e) || IN_THE_WAY(e)) -> break
		:: e < EXTENTS && !(WANTED(e) || IN_THE_WAY(e)) -> e++
		:: e >= EXTENTS -> break
		od };
		if
		:: e >= EXTENTS -> e = 0; goto own
		:: e < EXTENTS && w[e].st == PENDING ->
			atomic { RUN -> t_drop(e, h, 0); shut(h, e, res == R_DONE); e = 0; res = 0 }
		:: e < EXTENTS && w[e].st != PENDING ->
			/* turns go round among all who asked, readers and writers alike */
			atomic { RUN ->
#ifdef BROKEN_WRITERS_FIRST
				if
				:: want_w[e] & (255 - (1 << h)) -> pick(want_w[e] & (255 - (1 << h)))
				:: else -> pick(want_r[e] & (255 - (1 << h)))
				fi;
#else
				pick((want_r[e] | want_w[e]) & (255 - (1 << h)));
#endif
				old = w[e].ver };
			if
			:: (want_w[e] >> k) & 1 ->
#ifndef BROKEN_CLOSE_FLUSH
				atomic { RUN -> flush(h, e) };
#endif
				atomic { RUN -> t_hand(e, h, k); asked(k, e); bump(old, e); shut(h, e, res == R_DONE) }
			:: else ->
#ifndef BROKEN_LEND_WRITE_BACK
				atomic { RUN -> write_back(h, e) };
#endif
				atomic { RUN ->
					t_lend(e, h, k);
					asked(k, e);
					bump(old, e);
					if
					:: res == R_DONE -> gate[X(h, e)] = R
					:: else -> gate[X(h, e)] = SHUT
					fi }
			fi;
			atomic { k = 0; e = 0; res = 0; old = 0 }
		fi;
		goto next;

own:		/* then the own client */
		atomic { RUN && hs[h] == ALIVE ->
			if
			:: m == SHUT ->
				/* a new wish; in the mailbox abstraction a wish that is pending stays */
				if
				:: m = R
				:: m = W
				fi;
				if
				:: hold_e[h] = 0
#if EXTENTS > 1
				:: hold_e[h] = 1
#endif
				fi
			:: else
			fi;
			e = hold_e[h];
			if
			:: w[e].st == SUSPECT -> asked(h, e); answered(h); goto repair
			:: else
			fi;
			if
			:: m == R -> t_read(e, h, 0)
			:: m == W -> t_write(e, h, 0)
			fi;
			if
			:: (res == R_DONE || res == R_HELD) && (w[e].st != PENDING || m == R) ->
				asked(h, e);
				answered(h);
				open(h, e, (w[e].st == EXCLUSIVE -> W : R));
				res = 0
			:: res == R_EAGAIN || (w[e].st == PENDING && m == W) ->
				if
				:: m == R -> want_r[e] = want_r[e] | (1 << h)
				:: m == W -> want_w[e] = want_w[e] | (1 << h)
				fi;
#ifdef LIVENESS
				if
				:: h == 0 -> waiting = 1
				:: else
				fi;
#endif
				clean(h, e);
				e = 0; res = 0;
				goto next
			:: res == R_EHOSTDOWN ->
				/* the client is told and goes elsewhere */
				clean(h, e);
				asked(h, e);
				answered(h);
				m = SHUT; e = 0; res = 0; hold_e[h] = 0;
				goto next
			:: res == R_EUCLEAN || res == R_ENOENT -> asked(h, e); answered(h); m = SHUT; e = 0; res = 0; hold_e[h] = 0; goto next
			fi };
		/* make the block valid */
#ifndef BROKEN_PREPARE
		atomic { RUN ->
			if
			:: !valid[X(h, e)] -> flush(h, e)
			:: else
			fi };
#endif
		/* the client is inside: loads, maybe stores */
		atomic { RUN ->
			valid[X(h, e)] = 1;
			hold[h] = m;
			load(h, e);
			bad[h] = (c[X(h, e)] == STALE || c[X(h, e)] == LATE);
			assert(hs[h] != ALIVE || (w[e].st != SUSPECT && w[e].st != QUARANTINED && w[e].st != RECOVERING)) };
		if
		:: m == W ->
			atomic { RUN ->
				/* one writer */
				k = 0;
				do
				:: k < HOSTS ->
					assert(k == h || hs[k] == FENCED || hold[k] != W || hold_e[k] != e);
					k++
				:: else -> break
				od;
				store(h, e) }
		:: m == R
		fi;
		/* and leaves: what it saw was current, or it is told */
		atomic { RUN ->
#ifdef BROKEN_RELEASE_ALIVE
			assert(!bad[h]);
#else
			assert(hs[h] != ALIVE || !bad[h]);
#endif
			hold[h] = SHUT; hold_e[h] = 0; bad[h] = 0; m = SHUT; e = 0; k = 0 };
		goto next;

repair:		/* a suspect extent: bytes settled, then usable again */
		atomic { RUN ->
			t_recover(e, h, 0);
			if
			:: res == R_DONE -> gate[X(h, e)] = REPAIR
			:: else -> res = 0; m = SHUT; e = 0; hold_e[h] = 0; goto next
			fi };
		atomic { RUN -> flush(h, e) };
		atomic { RUN -> store(h, e) };
		atomic { RUN -> flush(h, e) };
		atomic { RUN ->
			old = w[e].ver;
			t_restore(e, h, 0);
			bump(old, e);
			gate[X(h, e)] = SHUT;
			valid[X(h, e)] = 0;
			res = 0; m = SHUT; e = 0; old = 0; hold_e[h] = 0 };

next:		skip
	od;
gone:	skip
}

#ifdef LIVENESS
/* At most one host, not the one whose wish is watched, stops; it is noticed, and fenced. */
active proctype crash()
{
#if CRASHES > 0
	atomic {
		if
		:: stopped[HOSTS - 1] = 1
		:: true
		fi }
#endif
	skip
}

active proctype observer()
{
end:
	do
	:: atomic { stopped[HOSTS - 1] && hs[HOSTS - 1] == ALIVE -> hs[HOSTS - 1] = SUSPECTED }
	:: atomic { hs[HOSTS - 1] == SUSPECTED -> hs[HOSTS - 1] = FENCED }
	od
}
#else
/* Caches do what they like, also those of hosts that stand still. */
active proctype caches()
{
	byte h, e;

	do
	:: atomic {
		select(h : 0 .. HOSTS - 1);
		select(e : 0 .. EXTENTS - 1);
		if
		:: hs[h] != FENCED -> whim(h, e)
		:: else
		fi;
		h = 0; e = 0 }
	od
}

/* Faults, observers, and the fence. */
active proctype room()
{
	byte h, e, k;

	do
	:: atomic { crashes < CRASHES ->
		select(h : 0 .. HOSTS - 1);
		if
		:: !stopped[h] && hs[h] != FENCED -> stopped[h] = 1; crashes++
		:: else
		fi;
		h = 0 }
#ifdef PAUSE
	:: atomic {
		select(h : 0 .. HOSTS - 1);
		if
		:: hs[h] != FENCED -> stopped[h] = 1 - stopped[h]
		:: else
		fi;
		h = 0 }
#endif
	:: atomic {
		/* suspected by somebody who is alive: after standing still, or wrongly */
		select(h : 0 .. HOSTS - 1);
		select(k : 0 .. HOSTS - 1);
		if
#ifdef PAUSE
		:: k != h && hs[k] == ALIVE && !stopped[k] && hs[h] == ALIVE -> hs[h] = SUSPECTED
#else
		:: k != h && hs[k] == ALIVE && !stopped[k] && hs[h] == ALIVE && stopped[h] -> hs[h] = SUSPECTED
#endif
		:: else
		fi;
		h = 0; k = 0 }
	:: atomic {
		/* the external fence */
		select(h : 0 .. HOSTS - 1);
		if
		:: hs[h] == SUSPECTED ->
			e = 0;
			do
			:: e < EXTENTS ->
				lose(h, e);
				gate[X(h, e)] = SHUT;
				valid[X(h, e)] = 0;
				e++
			:: else -> break
			od;
			hold[h] = SHUT; hold_e[h] = 0; bad[h] = 0;
			hs[h] = FENCED; stopped[h] = 1
		:: else
		fi;
		h = 0; e = 0 }
#ifdef BROKEN_FENCE
	/* others take a suspected host for fenced while it can still write */
	:: atomic {
		select(h : 0 .. HOSTS - 1);
		select(e : 0 .. EXTENTS - 1);
		byte res;
		if
		:: hs[h] == SUSPECTED -> t_fenced(e, (h + 1) % HOSTS, h)
		:: else
		fi;
		h = 0; e = 0; res = 0 }
#endif
	od
}
#endif

init {
	atomic {
		byte i = 0;

		do
		:: i < EXTENTS -> w[i].st = INVALID; mem_ok[i] = 1; i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < HOSTS -> run host(i); i++
		:: else -> break
		od;
		i = 0
	}
}

#ifdef LIVENESS
ltl granted { [] (waiting -> <> !waiting) }
#endif
