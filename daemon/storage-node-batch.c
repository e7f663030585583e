/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage-node-batch.h"

#include <errno.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <time.h>

/* A page that is locked, or on its way to or from a list, is free again within microseconds; one pinned by
 * a device is not. Four tries with 1, 2 and 4 ms between them; one only, once batches keep failing. */
#define TRIES 4
#define STUCK_MAX 8

/* A client that pins every other page may make a batch come apart into thousands of calls: not more. */
#define CALLS_MAX 256

#define UNTOUCHED INT_MIN

int mover_init(struct mover *m, struct storage_object *o, const struct tier *tier)
{
	int r;

	*m = (struct mover){ .tier = tier };
	r = node_view_open(o, &m->v);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < tier->nodes->len; i++)
		nodeset_add(&m->on_target, g_array_index(tier->nodes, int, i));
	storage_move_result_init(&m->result);
	m->index = g_new(size_t, BATCH_MAX);
	m->swap = g_new(size_t, BATCH_MAX);
	m->pages = g_new(void *, BATCH_MAX);
	m->nodes = g_new(int, BATCH_MAX);
	m->status = g_new(int, BATCH_MAX);
	m->reason = g_new(int, BATCH_MAX);
	return 0;
}

void mover_done(struct mover *m)
{
	node_view_close(&m->v);
	storage_move_result_done(&m->result);
	g_free(m->index);
	g_free(m->swap);
	g_free(m->pages);
	g_free(m->nodes);
	g_free(m->status);
	g_free(m->reason);
}

static void nap(unsigned int ms)
{
	struct timespec t = { .tv_nsec = ms * 1000000L };

	clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* Sort out by status: there already, gone, or to be moved. Returns how many the last are. */
static size_t select_pages(struct mover *m, size_t first, size_t n)
{
	size_t pending = 0;

	for (size_t i = first; i < first + n; i++) {
		int node = m->v.status[i];

		if (nodeset_has(&m->on_target, node))
			m->result.already += m->v.bytes[i];
		else if (node < 0)
			m->result.absent += m->v.bytes[i];
		else
			m->index[pending++] = i;
	}
	return pending;
}

/*
 * One call for the pending pages; statuses that it leaves unwritten are asked for. ret_tried: how many of
 * them, from the first on, it has come to: it queues pages up to one that cannot be queued, of which it
 * writes the status, migrates those, and ends there if one of them did not go.
 */
static long try_once(struct mover *m, size_t pending, int node, size_t *ret_tried)
{
	const struct node_storage *s = m->v.o->node;
	size_t written = 0;
	bool complete = true;
	long r;

	for (size_t k = 0; k < pending; k++) {
		m->pages[k] = m->v.pages[m->index[k]];
		m->nodes[k] = node;
		m->status[k] = UNTOUCHED;
	}
	r = s->sys->move_pages(pending, m->pages, m->nodes, m->status,
			       s->caps.move_shared ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE);
	for (size_t k = 0; k < pending; k++) {
		m->reason[k] = m->status[k];
		complete = complete && m->status[k] == node;
		if (m->status[k] != UNTOUCHED)
			written = k + 1;
	}
	*ret_tried = r > 0 && written > 0 ? written : pending;
	if (complete)
		return r;

	/*
	 * Some were not written, and a tail of a large page says EBUSY though it went along with its
	 * head.
	 */
	if (s->sys->move_pages(pending, m->pages, NULL, m->status, 0) < 0)
		for (size_t k = 0; k < pending; k++)
			m->status[k] = m->reason[k];
	return r;
}

/* Keep page k if it is still elsewhere, as number kept; else count it. r: what the call returned. */
static size_t keep_one(struct mover *m, size_t k, size_t kept, long r, uint64_t *copied)
{
	int status = m->status[k], reason = m->reason[k];
	size_t i = m->index[k];

	if (nodeset_has(&m->on_target, status)) {
		m->result.moved += m->v.bytes[i];
		*copied += m->v.bytes[i];
		return kept;
	}
	if (status == -ENOENT || status == -EFAULT) {
		m->result.absent += m->v.bytes[i];
		return kept;
	}
	/* Not written: the whole call's error, or one of several that did not go. */
	if (reason >= 0 || reason == UNTOUCHED)
		reason = r < 0 ? (int)r : -EBUSY;
	m->index[kept] = i;
	m->reason[kept] = reason;
	return kept + 1;
}

/* Keep what is still elsewhere, what was not tried first: nothing may hide behind a pinned page. */
static size_t keep_pending(struct mover *m, size_t pending, size_t tried, long r, uint64_t *copied)
{
	size_t tried_kept = 0, kept;

	for (size_t k = 0; k < tried; k++)
		tried_kept = keep_one(m, k, tried_kept, r, copied);
	kept = tried_kept;
	for (size_t k = tried; k < pending; k++)
		kept = keep_one(m, k, kept, r, copied);
	if (tried_kept > 0 && kept > tried_kept) {
		size_t untried = kept - tried_kept;

		memcpy(m->swap, m->index, tried_kept * sizeof(*m->index));
		memmove(m->index, m->index + tried_kept, untried * sizeof(*m->index));
		memcpy(m->index + untried, m->swap, tried_kept * sizeof(*m->index));
		memcpy(m->status, m->reason, tried_kept * sizeof(*m->reason));
		memmove(m->reason, m->reason + tried_kept, untried * sizeof(*m->reason));
		memcpy(m->reason + untried, m->status, tried_kept * sizeof(*m->reason));
	}
	return kept;
}

void mover_count_swept(struct mover *m, bool all)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->v.n; i++) {
		if (all || nodeset_has(&m->on_target, m->v.status[i])) {
			m->result.moved += m->v.bytes[i];
			continue;
		}
		m->v.pages[kept] = m->v.pages[i];
		m->v.bytes[kept] = m->v.bytes[i];
		m->v.status[kept] = m->v.status[i];
		kept++;
	}
	m->v.n = kept;
}

static bool worth_another_try(const struct mover *m, size_t pending)
{
	for (size_t k = 0; k < pending; k++)
		if (m->reason[k] == -EBUSY || m->reason[k] == -EAGAIN)
			return true;
	return false;
}

static bool any_without_room(const struct mover *m, size_t pending)
{
	for (size_t k = 0; k < pending; k++)
		if (m->reason[k] == -ENOMEM)
			return true;
	return false;
}

uint64_t mover_move(struct mover *m, size_t first, size_t n)
{
	size_t pending = select_pages(m, first, n);
	unsigned int target = 0, tries = m->stuck >= STUCK_MAX ? 1 : TRIES;
	size_t fresh = pending; /* from the first on, not tried yet */
	uint64_t copied = 0;

	if (m->full) {
		for (size_t k = 0; k < pending; k++)
			storage_move_result_fail(&m->result, ENOMEM, m->v.bytes[m->index[k]]);
		return 0;
	}

	for (unsigned int t = 1, calls = 1; pending > 0; t++, calls++) {
		uint64_t before = copied;
		size_t tried;
		long r;

		r = try_once(m, pending, g_array_index(m->tier->nodes, int, target), &tried);
		pending = keep_pending(m, pending, tried, r, &copied);
		if (any_without_room(m, pending)) {
			/* Some of it went: the next batch finds out whether it was the last. */
			if (++target == m->tier->nodes->len) {
				m->full = copied == before;
				break;
			}
			t = 0;
			fresh = pending;
			continue;
		}
		fresh -= MIN(fresh, tried);
		if (fresh > 0 && calls < CALLS_MAX) {
			t--;
			continue;
		}
		if (t >= tries || !worth_another_try(m, pending))
			break;
		nap(1u << (t - 1));
	}
	for (size_t k = 0; k < pending; k++)
		storage_move_result_fail(&m->result, -m->reason[k], m->v.bytes[m->index[k]]);
	m->stuck = pending > 0 ? m->stuck + 1 : 0;
	return copied;
}
