/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "coherency-internal.h"

/*
 * Holds: how the threads of one host and its daemon agree without a call. A client announces its hold and then
 * looks at the gate; the daemon shuts the gate and then looks for holds. With a full barrier between the
 * two steps on both sides at least one of them sees the other (Dekker), so a hold never outlives its tenure.
 */

plat_inline uint64_t hold_word(uint32_t e, enum coh_mode mode)
{
	return (uint64_t)e << COH_HOLD_EXTENT_SHIFT | (uint64_t)mode;
}

plat_inline int check(const struct coh_client *c, unsigned slot, uint32_t e, enum coh_mode mode)
{
	if (slot < c->first || slot - c->first >= c->count || slot >= COH_HOLD_SLOTS)
		return -EINVAL;
	if (mode != COH_R && mode != COH_W)
		return -EINVAL;
	return e < c->extents ? 0 : -ERANGE;
}

/* No ops: the CPU. Constant, so that its inlined users drop the question. */
static const struct morsel_mem the_cpu = { 0 };

/*
 * The two fast paths are inlined twice: for the CPU, where the compiler then sees that no call is in the way,
 * and for any other memory. That halves their instructions.
 */
plat_inline int acquire(const struct coh_client *c, struct morsel_mem *mem, unsigned slot,
			uint32_t e, uint64_t tag, uint64_t blocks, enum coh_mode mode)
{
	const struct coh_local *l;
	uint64_t gate, shut, bits, *hold;
	int r = check(c, slot, e, mode);

	if (r < 0)
		return r;
	if (!blocks || blocks & ~COH_ALL_BLOCKS)
		return -EINVAL;
	l = &c->local[e];
	hold = &c->page->hold[slot];
	if (morsel_mem_load(mem, hold))
		return -EBUSY;
	morsel_mem_store(mem, hold, hold_word(e, mode));
	/* Store, then load: only a full barrier keeps that order, on x86 too. */
	if (COH_KEEP(HOLD_BARRIER))
		morsel_mem_barrier(mem);
	gate = morsel_mem_load(mem, &l->gate);
	shut = COH_GATE_REVOKE | (mode == COH_W ? COH_GATE_DEMOTE : 0);
	if (COH_KEEP(HOLD_GATE) && ((gate & COH_GATE_MODE) < (uint64_t)mode || gate & shut))
		goto no;
	if (COH_KEEP(HOLD_TAG) && gate >> COH_GATE_TAG_SHIFT != (tag & 0xffffffff))
		goto no;
	/* Bits only come during a tenure, and this one cannot end any more. */
	bits = COH_KEEP(HOLD_VALID) ? morsel_mem_load(mem, &l->valid) : ~0ull;
	if (mode == COH_W && COH_KEEP(HOLD_DIRTY))
		bits &= morsel_mem_load(mem, &l->dirty);
	if ((bits & blocks) == blocks)
		return 0;
no:
	morsel_mem_store(mem, hold, 0);
	/* The daemon may have seen the hold: once it is called it must see it gone, or it waits for it. */
	if (COH_KEEP(HOLD_BACK_BARRIER))
		morsel_mem_barrier(mem);
	return -EAGAIN;
}

static plat_noinline int acquire_any(const struct coh_client *c, unsigned slot, uint32_t e,
				     uint64_t tag, uint64_t blocks, enum coh_mode mode)
{
	return acquire(c, c->mem, slot, e, tag, blocks, mode);
}

int coh_acquire(struct coh_client *c, unsigned slot, uint32_t e, uint64_t tag, uint64_t blocks,
		enum coh_mode mode)
{
	if (plat_unlikely(c->mem->ops))
		return acquire_any(c, slot, e, tag, blocks, mode);
	return acquire(c, (struct morsel_mem *)&the_cpu, slot, e, tag, blocks, mode);
}

/* Who waits for an extent may hold lower ones only: then no circle of waiting threads can close. */
static bool holds_above(struct coh_client *c, uint32_t e)
{
	for (unsigned i = c->first; i < c->first + c->count && i < COH_HOLD_SLOTS; i++) {
		uint64_t v = morsel_mem_load(c->mem, &c->page->hold[i]);

		if (v & COH_HOLD_MODE && v >> COH_HOLD_EXTENT_SHIFT > e)
			return true;
	}
	return false;
}

int coh_want_upgrade(struct coh_client *c, unsigned slot, uint32_t e)
{
	int r = check(c, slot, e, COH_W);

	if (r < 0)
		return r;
	if (morsel_mem_load(c->mem, &c->page->hold[slot]) != hold_word(e, COH_R))
		return -ENOENT;
	return COH_KEEP(ORDER) && holds_above(c, e) ? -EDEADLK : 0;
}

int coh_want(struct coh_client *c, unsigned slot, uint32_t e, enum coh_mode mode)
{
	int r = check(c, slot, e, mode);

	if (r < 0)
		return r;
	if (morsel_mem_load(c->mem, &c->page->hold[slot]))
		return -EBUSY;
	if (COH_KEEP(ORDER) && holds_above(c, e))
		return -EDEADLK;
	morsel_mem_store(c->mem, &c->page->hold[slot], hold_word(e, mode) | COH_HOLD_WANT);
	/* In memory before the daemon is called, by whatever means: it looks for the wish then. */
	if (COH_KEEP(WANT_BARRIER))
		morsel_mem_barrier(c->mem);
	return 0;
}

bool coh_held(struct coh_client *c, unsigned slot)
{
	uint64_t v;

	if (slot >= COH_HOLD_SLOTS)
		return false;
	/* Acquire: the daemon prepared the blocks before it granted. */
	v = morsel_mem_load(c->mem, &c->page->hold[slot]);
	return v & COH_HOLD_MODE && !(v & COH_HOLD_WANT);
}

void coh_unwant(struct coh_client *c, unsigned slot)
{
	uint64_t v;

	if (slot >= COH_HOLD_SLOTS)
		return;
	v = morsel_mem_load(c->mem, &c->page->hold[slot]);
	/* By cas: the daemon may be granting it right now, and then it is held and has to be released. */
	while (v & COH_HOLD_WANT && !morsel_mem_cas(c->mem, &c->page->hold[slot], &v, 0))
		;
}

plat_inline int release(const struct coh_client *c, struct morsel_mem *mem, unsigned slot)
{
	uint64_t v, gate;
	uint32_t e;
	bool alive;

	if (slot < c->first || slot - c->first >= c->count || slot >= COH_HOLD_SLOTS)
		return -EINVAL;
	v = morsel_mem_load(mem, &c->page->hold[slot]);
	e = (uint32_t)(v >> COH_HOLD_EXTENT_SHIFT);
	if (!(v & COH_HOLD_MODE) || v & COH_HOLD_WANT || e >= c->extents)
		return -ENOENT;
	/* Release order: the data is in the cache before the daemon can find the hold gone and flush. */
	morsel_mem_store(mem, &c->page->hold[slot], 0);
	/* Store, then load the gate: else this misses the flag, the daemon misses the release, and it waits for ever. */
	if (COH_KEEP(RELEASE_BARRIER))
		morsel_mem_barrier(mem);
	/*
	 * A host is marked suspected before anything of it is cleaned. So if it is alive now, nobody
	 * has written what was read; if not, that may have happened at any time since. One word per
	 * host, which changes once in its life: the line stays in the cache.
	 */
	alive = morsel_mem_load(mem, c->host_state) == c->alive || !COH_KEEP(RELEASE_ALIVE);
	if (!alive)
		return -ESTALE;
	gate = morsel_mem_load(mem, &c->local[e].gate);
	return gate & (COH_GATE_REVOKE | COH_GATE_DEMOTE) ? COH_KICK : 0;
}

static plat_noinline int release_any(const struct coh_client *c, unsigned slot)
{
	return release(c, c->mem, slot);
}

int coh_release(struct coh_client *c, unsigned slot)
{
	if (plat_unlikely(c->mem->ops))
		return release_any(c, slot);
	return release(c, (struct morsel_mem *)&the_cpu, slot);
}

/* ---- the daemon's end ------------------------------------------------------------------------------ */

/* A client's word is only ever compared: nonsense is a hold of nothing, and its author's own loss. */
static bool holds(struct coh_host *h, uint32_t e, bool writers_only)
{
	for (unsigned p = 0; p < h->pages_n; p++) {
		for (unsigned s = 0; h->pages[p] && s < COH_HOLD_SLOTS; s++) {
			uint64_t v = morsel_mem_load(h->mem, &h->pages[p]->hold[s]);
			uint64_t mode = v & COH_HOLD_MODE;

			if (v >> COH_HOLD_EXTENT_SHIFT != e || v & COH_HOLD_WANT)
				continue;
			if (mode == COH_W || (mode == COH_R && !writers_only))
				return true;
		}
	}
	return false;
}

bool coh_held_for_writing(struct coh_host *h, uint32_t e)
{
	return holds(h, e, true);
}

int coh_revoke(struct coh_host *h, uint32_t e, uint64_t flag)
{
	struct coh_local *l = &h->local[e];
	uint64_t gate = morsel_mem_load(h->mem, &l->gate);

	if ((gate & COH_GATE_MODE) == COH_NONE)
		return 0;
	if (!(gate & flag))
		morsel_mem_store(h->mem, &l->gate, gate | flag);
	if (COH_KEEP(REVOKE_BARRIER))
		morsel_mem_barrier(h->mem);
	if (COH_KEEP(REVOKE_SCAN) && holds(h, e, flag == COH_GATE_DEMOTE))
		return -EBUSY;
	return 0;
}

int coh_grant(struct coh_host *h, struct coh_hold_page *page, unsigned slot, uint32_t e,
	      enum coh_mode mode, bool upgrade)
{
	uint64_t from, gate;

	if (slot >= COH_HOLD_SLOTS || (mode != COH_R && mode != COH_W))
		return -EINVAL;
	if (e >= h->pool->extents)
		return -ERANGE;
	gate = morsel_mem_load(h->mem, &h->local[e].gate);
	if ((gate & COH_GATE_MODE) < (uint64_t)mode)
		return -EAGAIN;
	/* No new holds while others wait; a read hold that becomes a write hold is not new. */
	if (!upgrade && (gate & COH_GATE_REVOKE || (mode == COH_W && gate & COH_GATE_DEMOTE)))
		return -EAGAIN;
	from = upgrade ? hold_word(e, COH_R) : hold_word(e, mode) | COH_HOLD_WANT;
	/* Only this thread shuts the gate, so the hold is in place before it can. */
	return morsel_mem_cas(h->mem, &page->hold[slot], &from, hold_word(e, mode)) ? 0 : -ENOENT;
}
