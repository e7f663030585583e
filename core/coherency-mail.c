/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "coherency-internal.h"

/*
 * Mailboxes: a ring of four words from each host to each other, and one word per receiver that says whose
 * rings to read. Messages are hints: the truth is in the directory, so a stale or forged one costs a look.
 */

#define NOTIFY_SLEEP (1ull << 63)

#define MSG_KIND 7ull
#define MSG_EXTENT_SHIFT 32

int coh_send(struct coh_host *h, unsigned to, enum coh_msg msg, uint32_t e)
{
	struct coh_mailbox *box = &h->pool->mail[to];
	uint64_t *ring = box->ring[h->slot];
	uint64_t old, *notify = &box->notify;
	int r = -ENOBUFS;

	/* One sender, one receiver: a place that is empty stays empty until this host fills it. */
	for (unsigned i = 0; i < COH_RING && r < 0; i++) {
		if (morsel_mem_load(h->mem, &ring[i]))
			continue;
		morsel_mem_store(h->mem, &ring[i], (uint64_t)e << MSG_EXTENT_SHIFT | (uint64_t)msg);
		r = 0;
	}
	/* Also when full: the receiver may have been reset since it was told of the others. */
	if (!COH_KEEP(NOTIFY))
		return r;
	old = morsel_mem_load(h->mem, notify);
	/* cas is a full barrier: who sees the bit sees the message. It takes the sleep bit with it, so one
	 * sender rings. */
	while (!morsel_mem_cas(h->mem, notify, &old, (old & ~NOTIFY_SLEEP) | 1ull << h->slot))
		;
	if (old & NOTIFY_SLEEP && h->doorbell)
		h->doorbell(h, to);
	return r;
}

int coh_poll(struct coh_host *h, enum coh_msg *ret_msg, unsigned *ret_from, uint32_t *ret_e)
{
	struct coh_mailbox *box = &h->pool->mail[h->slot];
	uint64_t told = morsel_mem_load(h->mem, &box->notify);

	/* Bit first, ring after: a message that comes in between sets the bit again. */
	while (told && !morsel_mem_cas(h->mem, &box->notify, &told, 0))
		;
	h->inbox |= (uint32_t)told;
	for (unsigned s = 0; s < COH_HOSTS; s++) {
		if (!(h->inbox >> s & 1))
			continue;
		for (unsigned i = 0; i < COH_RING; i++) {
			uint64_t v = morsel_mem_load(h->mem, &box->ring[s][i]);
			uint32_t e = (uint32_t)(v >> MSG_EXTENT_SHIFT);
			enum coh_msg msg = (enum coh_msg)(v & MSG_KIND);

			if (!v)
				continue;
			morsel_mem_store(h->mem, &box->ring[s][i], 0);
			if (e >= h->pool->extents || v & 0xfffffff8u || msg < COH_MSG_READ ||
			    msg > COH_MSG_WAKE)
				continue;
			if (msg == COH_MSG_READ && s != h->slot)
				h->local[e].want |= 1ull << s;
			if (msg == COH_MSG_WRITE && s != h->slot)
				h->local[e].want |= 1ull << (s + 32);
			*ret_msg = msg;
			*ret_from = s;
			*ret_e = e;
			return 1;
		}
		h->inbox &= ~(1u << s);
	}
	return 0;
}

int coh_sleep(struct coh_host *h)
{
	uint64_t *notify = &h->pool->mail[h->slot].notify;
	uint64_t expect = 0;

	if (h->inbox)
		return -EAGAIN;
	if (!COH_KEEP(NOTIFY_ARM)) {
		morsel_mem_store(h->mem, notify, NOTIFY_SLEEP);
		return 0;
	}
	/* Fails if anything was sent since the last poll; a sender that comes after sees the bit and rings. */
	return morsel_mem_cas(h->mem, notify, &expect, NOTIFY_SLEEP) || expect == NOTIFY_SLEEP
		       ? 0
		       : -EAGAIN;
}
