/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line per extent in caches that are not coherent, twice. Included by the models; X(h, e) is host H's place
 * for extent E, and k a scratch variable that is 0 between uses.
 *
 * Concrete: what the line is in each cache (c) and whether memory holds what was written last (mem_ok). That
 * caches evict, write back and prefetch whenever they like is a process of its own (coherency.pml).
 *
 * Abstract: what may be. Eviction, write-back and prefetch are in the bits, so nothing happens by itself and the
 * states are few (extents.pml):
 *   dirty    the cache may hold a store that memory lacks
 *   late     the same, but another host has stored as well: the write-back may destroy newer data
 *   stale    a load may return something else than what was written last
 *   bad      memory may hold something else than what was written last
 * abstraction.pml shows that the bits cover every concrete cache, whatever programs do.
 */
#ifdef CONCRETE
#define NONE 0
#define CLEAN 1 /* as memory should be */
#define STALE 2 /* clean, but others have written since */
#define DIRTY 3
#define LATE 4 /* dirty and overtaken: its write-back would destroy newer data */

byte c[HOSTS * EXTENTS];
bit mem_ok[EXTENTS];

inline write_back(h, e) {
	if
	:: c[X(h, e)] == DIRTY -> mem_ok[e] = 1; c[X(h, e)] = CLEAN
	:: c[X(h, e)] == LATE -> mem_ok[e] = 0; c[X(h, e)] = STALE
	:: else
	fi
}

inline flush(h, e) {
	write_back(h, e);
	c[X(h, e)] = NONE
}

inline load(h, e) {
	if
	:: c[X(h, e)] == NONE && mem_ok[e] -> c[X(h, e)] = CLEAN
	:: c[X(h, e)] == NONE && !mem_ok[e] -> c[X(h, e)] = STALE
	:: else
	fi
}

/* A store by H: every other copy is old now. */
inline store(h, e) {
	k = 0;
	do
	:: k < HOSTS ->
		if
		:: k == h -> c[X(k, e)] = DIRTY
		:: k != h && c[X(k, e)] == CLEAN -> c[X(k, e)] = STALE
		:: k != h && c[X(k, e)] == DIRTY -> c[X(k, e)] = LATE
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	mem_ok[e] = 0
}

/* Power off: a dirty line reaches memory, or does not. */
inline lose(h, e) {
	if
	:: true -> write_back(h, e)
	:: true
	fi;
	c[X(h, e)] = NONE
}

/* What a cache does of its own accord. */
inline whim(h, e) {
	if
	:: c[X(h, e)] == DIRTY || c[X(h, e)] == LATE -> write_back(h, e)
	:: c[X(h, e)] == NONE -> load(h, e)
	:: c[X(h, e)] == CLEAN || c[X(h, e)] == STALE -> c[X(h, e)] = NONE
	fi
}
#endif

#ifdef ABSTRACT
bit dirty[HOSTS * EXTENTS];
bit late[HOSTS * EXTENTS];
bit stale[HOSTS * EXTENTS];
bit bad[EXTENTS];

inline all_stale(e) {
	k = 0;
	do
	:: k < HOSTS -> stale[X(k, e)] = 1; k++
	:: else -> break
	od;
	k = 0
}

/* Of lines that overtook each other the last write-back decides: memory is as bad as before. */
inline a_write_back(h, e) {
	if
	:: dirty[X(h, e)] -> bad[e] = 0; dirty[X(h, e)] = 0
	:: else
	fi;
	late[X(h, e)] = 0
}

inline a_flush(h, e) {
	a_write_back(h, e);
	stale[X(h, e)] = bad[e]
}

/* Beside another dirty line this one is no better: whose write-back comes last is open. */
inline a_store(h, e) {
	k = 0;
	do
	:: k < HOSTS ->
		if
		:: k != h ->
#ifndef BROKEN_STALE
			stale[X(k, e)] = 1;
#endif
			if
#ifndef BROKEN_LATE
			:: dirty[X(k, e)] || late[X(k, e)] ->
				dirty[X(k, e)] = 0;
				late[X(k, e)] = 1;
				late[X(h, e)] = 1
#endif
			:: else
			fi
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	bad[e] = 1;
	if
	:: late[X(h, e)] -> dirty[X(h, e)] = 0; stale[X(h, e)] = 1
	:: else -> dirty[X(h, e)] = 1
	fi
}

/* A store by a host that does not read before: what its cache held is gone, whatever it was. */
inline a_overwrite(h, e) {
	a_store(h, e);
	stale[X(h, e)] = late[X(h, e)]
}

inline a_lose(h, e) {
	if
	:: dirty[X(h, e)] || late[X(h, e)] ->
		dirty[X(h, e)] = 0;
		late[X(h, e)] = 0;
#ifdef BROKEN_LOSE
		bad[e] = 0;
#else
		bad[e] = 1;
#endif
		all_stale(e)
	:: else
	fi;
	stale[X(h, e)] = 1
}
#endif
