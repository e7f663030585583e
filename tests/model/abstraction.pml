/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both views of cache.pml side by side: any host loads, stores, writes back, flushes or loses power at any
 * time, and its cache does what it likes. Whatever can be in a cache or in memory, the bits allow for.
 */
#define EXTENTS 1
#define X(h, e) (h)
#define CONCRETE
#define ABSTRACT
#include "cache.pml"

inline covered() {
	k = 0;
	do
	:: k < HOSTS ->
		assert(c[k] != DIRTY || dirty[k] || late[k]);
		assert(c[k] != LATE || late[k]);
		assert(c[k] != STALE && c[k] != LATE || stale[k]);
		/* and so what a load brings that comes later */
		assert(c[k] != NONE || mem_ok[0] || stale[k]);
		k++
	:: else -> break
	od;
	k = 0;
	assert(mem_ok[0] || bad[0])
}

active proctype room()
{
	byte h, k;

	mem_ok[0] = 1;
	do
	:: atomic {
		select(h : 0 .. HOSTS - 1);
		if
		:: true -> load(h, 0)
		:: true -> store(h, 0); a_overwrite(h, 0)
		:: true -> write_back(h, 0); a_write_back(h, 0)
		:: true -> flush(h, 0); a_flush(h, 0)
		:: true -> lose(h, 0); a_lose(h, 0)
		:: true -> whim(h, 0)
		fi;
		covered();
		h = 0 }
	od
}
