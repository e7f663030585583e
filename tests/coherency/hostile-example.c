/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sim.h"

/*
 * A hostile program for the simulator, as an example: it acquires and never releases, overwrites its own hold
 * with nonsense, and plays with the caches at the worst moments. Write your own against struct sim_hostile:
 *
 *   cc -shared -fPIC -Icore -Itests/coherency my.c -o my.so
 *   coherency-sim --steps 100000000 --hostile ./my.so
 */
void sim_hostile(const struct sim_hostile *h);

void sim_hostile(const struct sim_hostile *h)
{
	unsigned e = h->choose(h->extents), slot = h->choose(h->hold_slots);
	unsigned lines = h->extents * h->blocks * h->lines_per_block;

	switch (h->choose(8)) {
	case 0:
	case 1:
		/* Takes and keeps: until the daemon has had enough. */
		if (h->acquire(h->me, slot, e, 1 + h->choose((1u << h->blocks) - 1), 2) == 0) {
			unsigned line = (e * h->blocks + h->choose(h->blocks)) * h->lines_per_block;

			h->write(h->me, line, h->read(h->me, line) + 1);
			/* A dirty line, pushed out or pulled in behind the daemon's back. */
			h->flush(h->me, line);
			h->prefetch(h->me, line);
		}
		break;
	case 2:
		h->release(h->me, slot);
		break;
	case 3:
		/* Claims holds that it never asked for. */
		h->scribble(h->me, slot, (uint64_t)e << COH_HOLD_EXTENT_SHIFT | (1 + h->choose(7)));
		break;
	case 4:
		h->scribble(h->me, slot, ~0ull);
		break;
	case 5:
		for (unsigned i = 0; i < h->hold_slots; i++)
			h->scribble(h->me, i, 0);
		break;
	case 6:
		h->prefetch(h->me, h->choose(lines));
		h->flush(h->me, h->choose(lines));
		break;
	default:
		h->kick(h->me, e);
		break;
	}
}
