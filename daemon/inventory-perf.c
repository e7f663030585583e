/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-perf.h"

#include <limits.h>

#include "inventory-node.h"
#include "numlist.h"

unsigned int perf_distance(const struct node_facts *nodes, int initiator, int node)
{
	const struct node_fact *from = node_facts_get(nodes, initiator);

	if (from == NULL || node < 0 || (unsigned int)node >= from->distance->len)
		return 0;
	return g_array_index(from->distance, unsigned int, node);
}

/* Keeps a known number; takes the other where there is none. */
static uint32_t known(uint32_t a, uint32_t b)
{
	return a != 0 ? a : b;
}

void perf_numbers_fill(struct perf_numbers *p, const struct perf_numbers *from)
{
	p->read_lat_ns = known(p->read_lat_ns, from->read_lat_ns);
	p->write_lat_ns = known(p->write_lat_ns, from->write_lat_ns);
	p->read_bw_mbs = known(p->read_bw_mbs, from->read_bw_mbs);
	p->write_bw_mbs = known(p->write_bw_mbs, from->write_bw_mbs);
}

void perf_of_node(const struct node_facts *nodes, int initiator, int node,
		  struct perf_numbers *ret_numbers)
{
	const struct node_fact *n = node_facts_get(nodes, node);
	struct perf_numbers p = { 0 };

	/* Class 1 looks at CPUs only, which is what an initiator is here; class 0 may hold the
	 * numbers of an accelerator that shares the node. */
	for (int class = 1; n != NULL && class >= 0; class --)
		if (numlist_contains(n->access[class].initiators, initiator))
			perf_numbers_fill(&p, &n->access[class].numbers);
	*ret_numbers = p;
}

/* Both directions count: a tier is read and written. Unknown halves count as the other one. */
static uint64_t latency_of(const struct tier_perf *p)
{
	return (uint64_t)known(p->read_lat_ns, p->write_lat_ns) +
	       known(p->write_lat_ns, p->read_lat_ns);
}

static uint64_t bandwidth_of(const struct tier_perf *p)
{
	return (uint64_t)known(p->read_bw_mbs, p->write_bw_mbs) +
	       known(p->write_bw_mbs, p->read_bw_mbs);
}

static struct tier_perf *entry_of(struct tier *t, int initiator)
{
	for (unsigned int i = 0; i < t->perf->len; i++) {
		struct tier_perf *p = &g_array_index(t->perf, struct tier_perf, i);

		if (p->initiator == initiator)
			return p;
	}
	return NULL;
}

struct ranked {
	struct tier_perf *perf;
	bool unknown;  /* has not what the order is made by */
	uint64_t cost; /* smaller is better */
	uint64_t bandwidth;
};

static int compare_ranked(gconstpointer a, gconstpointer b)
{
	const struct ranked *x = a, *y = b;

	if (x->unknown != y->unknown)
		return x->unknown ? 1 : -1;
	if (x->cost != y->cost)
		return x->cost < y->cost ? -1 : 1;
	if (x->bandwidth != y->bandwidth)
		return x->bandwidth > y->bandwidth ? -1 : 1;
	return 0;
}

static void rank_for(GPtrArray *tiers, int initiator)
{
	g_autoptr(GArray) order = g_array_new(FALSE, TRUE, sizeof(struct ranked));
	bool by_numbers = true, any = false;

	/* Tiers that hold pages decide what can be compared; one that nobody can use yet must not
	 * take the others' numbers away. */
	for (unsigned int i = 0; i < tiers->len; i++) {
		struct tier *t = tiers->pdata[i];
		struct tier_perf *p = entry_of(t, initiator);

		if (p == NULL || t->nodes->len == 0)
			continue;
		any = true;
		if (latency_of(p) == 0 || bandwidth_of(p) == 0)
			by_numbers = false;
	}
	by_numbers = by_numbers && any;

	for (unsigned int i = 0; i < tiers->len; i++) {
		struct tier_perf *p = entry_of(tiers->pdata[i], initiator);
		struct ranked r = { .perf = p };

		if (p == NULL)
			continue;
		if (by_numbers) {
			r.cost = latency_of(p);
			r.bandwidth = bandwidth_of(p);
			r.unknown = r.cost == 0 || r.bandwidth == 0;
		} else {
			r.cost = p->distance;
			r.unknown = p->distance == 0;
		}
		if (r.unknown)
			r.cost = r.bandwidth = 0;
		g_array_append_val(order, r);
	}
	g_array_sort(order, compare_ranked);
	for (unsigned int i = 0; i < order->len; i++) {
		struct ranked *r = &g_array_index(order, struct ranked, i);
		const struct ranked *before = i > 0 ? r - 1 : NULL;

		r->perf->rank =
			before != NULL && compare_ranked(before, r) == 0 ? before->perf->rank : i;
	}
}

void perf_rank(GPtrArray *tiers, const GArray *initiators)
{
	for (unsigned int i = 0; i < initiators->len; i++)
		rank_for(tiers, g_array_index(initiators, int, i));
}
