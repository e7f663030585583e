// SPDX-License-Identifier: GPL-2.0-or-later
#include "ordinary-data.h"

#include <assert.h>
#include <errno.h>

static_assert(sizeof(struct ordinary_head) == 32, "no padding");
static_assert(sizeof(struct ordinary_granule) == 12, "no padding");

static int chunks_check(const struct ordinary_table *t)
{
	for (uint32_t i = 0; i < t->head->n_chunks; i++) {
		const struct ordinary_chunk *c = &t->chunks[i];

		if (c->slot >= ORDINARY_SLOTS || c->process >= t->head->n_processes ||
		    (i > 0 && c->slot <= t->chunks[i - 1].slot))
			return -EBADMSG;
	}
	return 0;
}

static int granules_check(const struct ordinary_table *t)
{
	uint32_t chunk = 0;

	for (uint32_t i = 0; i < t->head->n_granules; i++) {
		const struct ordinary_granule *g = &t->granules[i];

		if (i > 0 && g->granule <= t->granules[i - 1].granule)
			return -EBADMSG;
		while (chunk < t->head->n_chunks &&
		       t->chunks[chunk].slot < g->granule / ORDINARY_CHUNK)
			chunk++;
		if (chunk == t->head->n_chunks ||
		    t->chunks[chunk].slot != g->granule / ORDINARY_CHUNK || g->pages > 512 ||
		    (g->node >= HELPER_NODES && g->node != ORDINARY_NODE_UNKNOWN) ||
		    g->seen > ORDINARY_SAMPLES * 256 || g->zero != 0)
			return -EBADMSG;
	}
	return 0;
}

int ordinary_table_parse(const void *data, size_t size, struct ordinary_table *ret_table)
{
	struct ordinary_table t = { .head = data };
	const struct ordinary_head *h = data;
	const uint8_t *at = data;
	int r;

	if (size < sizeof(*h) || h->magic != ORDINARY_MAGIC ||
	    h->n_processes > HELPER_PROCESSES_MAX || h->n_chunks > ORDINARY_SLOTS ||
	    h->n_granules > HELPER_GRANULES || h->n_shifts > HELPER_SHIFTS_MAX ||
	    size != sizeof(*h) + h->n_processes * sizeof(*t.processes) +
			    h->n_chunks * sizeof(*t.chunks) + h->n_granules * sizeof(*t.granules) +
			    h->n_shifts * sizeof(*t.shifts))
		return -EBADMSG;
	at += sizeof(*h);
	t.processes = (const void *)at;
	at += h->n_processes * sizeof(*t.processes);
	t.chunks = (const void *)at;
	at += h->n_chunks * sizeof(*t.chunks);
	t.granules = (const void *)at;
	at += h->n_granules * sizeof(*t.granules);
	t.shifts = (const void *)at;
	for (uint32_t i = 0; i < h->n_shifts; i++)
		if (t.shifts[i].moved + t.shifts[i].there > 512)
			return -EBADMSG;
	r = chunks_check(&t);
	if (r == 0)
		r = granules_check(&t);
	if (r == 0)
		*ret_table = t;
	return r;
}
