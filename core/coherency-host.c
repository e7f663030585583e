/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "coherency-internal.h"

/*
 * Host slots: joining, being suspected, being fenced, and the reuse of a slot, which is the one place where
 * an old belief could harm a new host. A compare-and-swap that was prepared while the slot meant the old
 * host must not succeed when it means the new one; so a slot is used again only after every host that
 * still runs has said twice that it has nothing under way: once before the last scrub (nobody still
 * grants to the dead host) and once after it (nobody still cleans up after it).
 */

uint64_t coh_host_state(struct coh_host *h, unsigned host)
{
	return morsel_mem_load(h->mem, &h->pool->hosts[host].state);
}

uint64_t coh_count_up(struct coh_host *h, uint64_t *counter)
{
	uint64_t v = morsel_mem_load(h->mem, counter);

	while (!morsel_mem_cas(h->mem, counter, &v, v + 1))
		;
	return v + 1;
}

bool coh_alive(struct coh_host *h)
{
	return coh_host_state(h, h->slot) == h->alive;
}

void coh_heartbeat(struct coh_host *h)
{
	uint64_t *p = &h->pool->hosts[h->slot].heartbeat;

	morsel_mem_store(h->mem, p, morsel_mem_load(h->mem, p) + 1);
}

void coh_quiesce(struct coh_host *h)
{
	uint64_t epoch = morsel_mem_load(h->mem, &h->pool->header->epoch);

	/* Release: every cas of earlier calls is done before others read this. */
	morsel_mem_store(h->mem, &h->pool->hosts[h->slot].seen, epoch);
}

static bool in_use(uint64_t w)
{
	enum coh_host_state s = coh_host_word_state(w);

	return s == COH_HOST_JOINING || s == COH_HOST_ALIVE || s == COH_HOST_SUSPECTED;
}

static bool same_id(struct coh_host *h, unsigned s, const uint64_t id[2])
{
	const struct coh_host_entry *entry = &h->pool->hosts[s];

	return morsel_mem_load(h->mem, &entry->id[0]) == id[0] &&
	       morsel_mem_load(h->mem, &entry->id[1]) == id[1];
}

static int find_id(struct coh_host *h, const uint64_t id[2], unsigned except)
{
	for (unsigned s = 0; s < COH_HOSTS; s++)
		if (s != except && in_use(coh_host_state(h, s)) && same_id(h, s, id))
			return -EEXIST;
	return 0;
}

int coh_join(struct coh_host *h, const uint64_t id[2])
{
	struct coh_host_entry *entry;
	uint64_t w = 0, joining = 0, alive;
	unsigned s;
	int r = find_id(h, id, COH_HOSTS);

	if (r < 0)
		return r;
	for (s = 0; s < COH_HOSTS; s++) {
		w = coh_host_state(h, s);
		if (coh_host_word_state(w) != COH_HOST_FREE)
			continue;
		joining = coh_host_word(COH_HOST_JOINING, coh_host_word_incarnation(w) + 1, 0);
		if (morsel_mem_cas(h->mem, &h->pool->hosts[s].state, &w, joining))
			break;
	}
	if (s == COH_HOSTS)
		return -ENOSPC;

	entry = &h->pool->hosts[s];
	morsel_mem_store(h->mem, &entry->id[0], id[0]);
	morsel_mem_store(h->mem, &entry->id[1], id[1]);
	/* Store own id, then look for it elsewhere: of two that join at once at least one sees the other. */
	if (COH_KEEP(JOIN_BARRIER))
		morsel_mem_barrier(h->mem);
	r = find_id(h, id, s);
	if (r < 0) {
		/* Held nothing and was never alive: straight back, unless somebody suspected it meanwhile. */
		w = joining;
		(void)morsel_mem_cas(h->mem, &entry->state, &w,
				     coh_host_word(COH_HOST_FREE,
						   coh_host_word_incarnation(joining), 0));
		return r;
	}
	h->slot = s;
	h->inbox = 0xffffffff; /* whatever lies in the rings: hints, and it frees the places */
	coh_quiesce(h);
	alive = coh_host_word(COH_HOST_ALIVE, coh_host_word_incarnation(joining), 0);
	w = joining;
	if (!morsel_mem_cas(h->mem, &entry->state, &w, alive))
		return -ESTALE;
	h->alive = alive;
	return 0;
}

int coh_suspect(struct coh_host *h, unsigned host, uint32_t incarnation)
{
	uint64_t w;

	if (host >= COH_HOSTS)
		return -EINVAL;
	/* Who is suspected itself is in no position to suspect. */
	if (!coh_alive(h))
		return -ESTALE;
	w = coh_host_state(h, host);
	for (;;) {
		enum coh_host_state s = coh_host_word_state(w);

		if (coh_host_word_incarnation(w) != incarnation)
			return -EINVAL;
		if (s == COH_HOST_SUSPECTED)
			return COH_HELD;
		if (s != COH_HOST_ALIVE && s != COH_HOST_JOINING)
			return -EINVAL;
		if (morsel_mem_cas(h->mem, &h->pool->hosts[host].state, &w,
				   coh_host_word(COH_HOST_SUSPECTED, coh_host_word_incarnation(w),
						 0)))
			return 0;
	}
}

/*
 * FENCED without an epoch → with one. The epoch is drawn after FENCED can be seen, so a host that has
 * passed it knows; anybody may do it, the first counts.
 */
static uint64_t stamp(struct coh_host *h, unsigned host, uint64_t w)
{
	uint32_t epoch;

	if (coh_host_word_state(w) != COH_HOST_FENCED || coh_host_word_epoch(w))
		return w;
	do
		epoch = (uint32_t)coh_count_up(h, &h->pool->header->epoch);
	while (!epoch); /* 0 says "none yet" */
	if (morsel_mem_cas(h->mem, &h->pool->hosts[host].state, &w, w | (uint64_t)epoch << 32))
		return w | (uint64_t)epoch << 32;
	return w;
}

static int fence_slot(struct coh_host *h, unsigned host, uint32_t incarnation, bool also_alive)
{
	uint64_t w = coh_host_state(h, host), n;

	do {
		enum coh_host_state s = coh_host_word_state(w);

		if (coh_host_word_incarnation(w) != incarnation && COH_KEEP(FENCED_INCARNATION))
			return -EINVAL;
		if (s == COH_HOST_FENCED)
			return COH_HELD;
		if (s != COH_HOST_SUSPECTED && !(also_alive && s == COH_HOST_ALIVE))
			return -EINVAL;
		n = coh_host_word(COH_HOST_FENCED, coh_host_word_incarnation(w), 0);
	} while (!morsel_mem_cas(h->mem, &h->pool->hosts[host].state, &w, n));
	stamp(h, host, n);
	return 0;
}

int coh_fenced(struct coh_host *h, unsigned host, uint32_t incarnation)
{
	return host < COH_HOSTS ? fence_slot(h, host, incarnation, false) : -EINVAL;
}

int coh_clean(struct coh_host *h, uint32_t e, unsigned host)
{
	enum coh_op op = COH_OP_SUSPECTED;
	uint64_t w;

	if (host >= COH_HOSTS)
		return -EINVAL;
	if (e >= h->pool->extents)
		return -ERANGE;
	switch (coh_host_word_state(coh_host_state(h, host))) {
	case COH_HOST_SUSPECTED:
		break;
	case COH_HOST_FENCED:
		op = COH_OP_FENCED;
		break;
	default:
		if (COH_KEEP(DEAD_CHECK))
			return -EBUSY;
	}
	if (!COH_KEEP(FENCED_CHECK))
		op = COH_OP_FENCED;
	return coh_apply(h, e, op, host, &w);
}

/* Has every host that still runs passed a quiet point since EPOCH was drawn? */
static bool grace_over(struct coh_host *h, unsigned except, uint32_t epoch)
{
	for (unsigned s = 0; s < COH_HOSTS; s++) {
		if (s == except || s == h->slot || !in_use(coh_host_state(h, s)))
			continue;
		/* Modulo 2^32: half of it is more fences than a pool will see between two looks. */
		if ((int32_t)((uint32_t)morsel_mem_load(h->mem, &h->pool->hosts[s].seen) - epoch) <
		    0)
			return false;
	}
	return true;
}

int coh_reap(struct coh_host *h, unsigned host)
{
	struct coh_host_entry *entry;
	uint64_t w, n;
	uint32_t epoch;
	int r;

	if (host >= COH_HOSTS || host == h->slot)
		return -EINVAL;
	entry = &h->pool->hosts[host];
	w = stamp(h, host, coh_host_state(h, host));

	if (coh_host_word_state(w) == COH_HOST_FENCED) {
		if (COH_KEEP(SCRUB_GRACE) && !grace_over(h, host, coh_host_word_epoch(w)))
			return -EAGAIN;
		/* From here on nobody puts the slot into a word any more: this sweep is the last. */
		for (uint32_t e = 0; COH_KEEP(SCRUB) && e < h->pool->extents; e++) {
			r = coh_clean(h, e, host);
			if (r == -EBUSY)
				return -EAGAIN; /* another host was quicker */
		}
		do
			epoch = (uint32_t)coh_count_up(h, &h->pool->header->epoch);
		while (!epoch);
		n = coh_host_word(COH_HOST_SCRUBBED, coh_host_word_incarnation(w), epoch);
		if (!morsel_mem_cas(h->mem, &entry->state, &w, n))
			return -EAGAIN;
		w = n;
	}
	if (coh_host_word_state(w) == COH_HOST_FREE)
		return 0;
	if (coh_host_word_state(w) != COH_HOST_SCRUBBED)
		return -EBUSY;
	if (COH_KEEP(REUSE_GRACE) && !grace_over(h, host, coh_host_word_epoch(w)))
		return -EAGAIN;
	n = coh_host_word(COH_HOST_FREE, coh_host_word_incarnation(w), 0);
	return morsel_mem_cas(h->mem, &entry->state, &w, n) ? 0 : -EAGAIN;
}

int coh_surrender(struct coh_host *h, uint32_t *ret_torn)
{
	uint32_t torn = 0;

	/* Flushes must not run ahead of what stopped the clients. */
	if (COH_KEEP(SURRENDER_FENCE_BEFORE))
		morsel_mem_fence(h->mem);
	for (uint32_t e = 0; e < h->pool->extents; e++) {
		struct coh_local *l = &h->local[e];
		uint64_t dirty = l->repair ? COH_ALL_BLOCKS : morsel_mem_load(h->mem, &l->dirty), w;
		bool bad;

		morsel_mem_store(h->mem, &l->gate, 0);
		bad = COH_KEEP(SURRENDER_TORN) && (l->repair || coh_held_for_writing(h, e));
		/* Late is late, but the extent is in quarantine: nobody has written there meanwhile. */
		if (dirty && COH_KEEP(SURRENDER_FLUSH))
			coh_invalidate_blocks(h, e, dirty);
		if (dirty && COH_KEEP(SURRENDER_FENCE))
			morsel_mem_fence(h->mem);
		if (coh_apply(h, e, bad ? COH_OP_SURRENDER_TORN : COH_OP_SURRENDER, 0, &w) == 0 &&
		    bad)
			torn++;
		l->kept = 0;
		l->want = 0;
		l->repair = 0;
		morsel_mem_store(h->mem, &l->valid, 0);
		morsel_mem_store(h->mem, &l->dirty, 0);
	}
	/* What can still write is gone, by its own hand: as good as a fence from outside. */
	fence_slot(h, h->slot, coh_host_word_incarnation(h->alive), true);
	*ret_torn = torn;
	return 0;
}
