/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "coherency-internal.h"
#include "world.h"

/*
 * The daemon of one simulated host, written as a real one is: it reacts to messages, to its clients and to
 * news about other hosts, and sleeps otherwise. Nothing is polled, so a lost wake-up shows as a standstill.
 */

static void finish_request(unsigned host, unsigned c, int r)
{
	struct request *q = &world.hosts[host].client[c].request;
	struct sim_agent *a = agent_of(host, c + 1);

	q->result = r;
	q->done = true;
	if (a->status == SIM_BLOCKED)
		a->status = SIM_READY;
}

static void process(struct host *h, unsigned host, unsigned c)
{
	struct request *q = &h->client[c].request;
	int r;

	if (!q->waiting || q->done)
		return;
	if (q->cancel) {
		finish_request(host, c, -ECANCELED_SIM);
		return;
	}
	r = coh_fetch(&h->coh, q->e, q->tag, q->mode, q->upgrade);
	if (r == 0)
		r = coh_prepare(&h->coh, q->e, q->blocks, q->mode);
	if (r == 0) {
		r = coh_grant(&h->coh, &h->client[c].page, q->slot, q->e, q->mode, q->upgrade);
		/* An honest client does not change its mind: it is the daemon who does not see the wish. */
		if (r == -ENOENT && q->waiting && !h->client[c].hostile)
			sim_fail(
				"host %u client %u asked for extent %u, and its daemon sees no wish",
				host, c, q->e);
	}
	if (r == -ENOBUFS) {
		h->retry |= 1u << q->e;
		return;
	}
	if (r == -EAGAIN)
		return;
	/* The client may have died while this host worked for it. */
	if (q->waiting)
		finish_request(host, c, r);
}

/* Nobody here waits to write E any more: a write right on its way here must not get stuck. */
static void settle(struct host *h, uint32_t e)
{
	int r;

	for (unsigned c = 0; c < SIM_CLIENTS; c++) {
		struct request *q = &h->client[c].request;

		if (q->waiting && !q->done && q->e == e && q->mode == COH_W)
			return;
	}
	r = coh_cancel(&h->coh, e);
	if (r == 0 || r == -ENOBUFS)
		h->retry |= 1u << e;
}

static void process_all(struct host *h, unsigned host, uint32_t e)
{
	for (unsigned c = 0; c < SIM_CLIENTS; c++)
		if (h->client[c].request.waiting && h->client[c].request.e == e)
			process(h, host, c);
	settle(h, e);
}

static void attend(struct host *h, unsigned host, uint32_t e)
{
	process_all(h, host, e);
	/* Clients that got it have had their turn; those who asked are next. */
	if (coh_serve(&h->coh, e) == -ENOBUFS)
		h->retry |= 1u << e;
	/* Those here who still wait have to ask whoever has it now. */
	process_all(h, host, e);
}

/* ---- what a daemon does of its own accord ------------------------------------------------------------ */

/* Of bytes that may be anything, what memory holds becomes the truth, or is written anew, here or by a helper. */
static void settle_bytes(struct sim_agent *a, uint32_t e)
{
	for (uint32_t l = 0; l < SIM_LINES_PER_EXTENT; l++) {
		uint32_t line = (uint32_t)(e * SIM_LINES_PER_EXTENT + l);
		bool rewrite = sim_choose(2);
		uint64_t v = rewrite ? ++world.stamp : sim_data_load(a, line);

		if (rewrite && sim_choose(2))
			sim_data_store(a, line, v);
		else if (rewrite)
			sim_helper_store(a->host, line, v);
		world.oracle[line] = v;
		world.torn[e] = false;
		sim_log("host %u settles line %u: %llu%s", a->host, line, (unsigned long long)v,
			rewrite ? "" : " (as found)");
	}
}

static void claim(struct sim_agent *a, struct host *h, uint32_t e)
{
	uint64_t tag = ++world.stamp << 1 | 1;

	if (coh_claim(&h->coh, e, tag) < 0 || coh_prepare(&h->coh, e, COH_ALL_BLOCKS, COH_W) < 0)
		return;
	settle_bytes(a, e);
	/* The daemon's stores are out before others on this host can use the name. */
	sim_drain(a, true);
	world.names[e] = tag;
}

/* A last write before the end, in the cache when the extent is freed; clients are kept out as for a revoke. */
static void wipe(struct sim_agent *a, struct host *h, uint32_t e)
{
	if (coh_prepare(&h->coh, e, COH_ALL_BLOCKS, COH_W) < 0 ||
	    coh_revoke(&h->coh, e, COH_GATE_REVOKE) < 0)
		return;
	for (uint32_t l = 0; l < SIM_LINES_PER_EXTENT; l++) {
		uint32_t line = (uint32_t)(e * SIM_LINES_PER_EXTENT + l);

		world.oracle[line] = ++world.stamp;
		sim_data_store(a, line, world.oracle[line]);
	}
	sim_drain(a, true);
}

static void unlink_extent(struct sim_agent *a, struct host *h, uint32_t e)
{
	uint64_t tag = world.names[e];

	if (tag && coh_fetch(&h->coh, e, tag, COH_W, false) == 0) {
		if (sim_choose(2))
			wipe(a, h, e);
		coh_free(&h->coh, e);
	}
	h->attention |= 1u << e;
}

/* Some of the bytes written, and then no more: they are as suspect as before. */
static void give_up_repair(struct sim_agent *a, struct host *h, uint32_t e)
{
	uint32_t line = (uint32_t)(e * SIM_LINES_PER_EXTENT + sim_choose(SIM_LINES_PER_EXTENT));

	world.torn[e] = true;
	sim_data_store(a, line, ++world.stamp);
	/* Long enough to be suspected meanwhile. */
	for (unsigned n = sim_choose(256); n > 0; n--)
		sim_step(a);
	coh_abandon(&h->coh, e);
}

static void repair(struct sim_agent *a, struct host *h, uint32_t e)
{
	bool named = world.names[e] && world.lines[e].tag == world.names[e];

	if (coh_recover(&h->coh, e) != 0)
		return;
	sim_stats.repairs++;
	if (named && sim_choose(2)) {
		give_up_repair(a, h, e);
	} else {
		settle_bytes(a, e);
		if (!named || sim_choose(4) == 3)
			coh_free(&h->coh, e);
		else
			coh_restore(&h->coh, e);
	}
	host_event_all();
}

static void sweep(struct host *h, unsigned slot)
{
	for (uint32_t e = 0; e < SIM_EXTENTS; e++)
		if (coh_clean(&h->coh, e, slot) < 0)
			break;
}

static void whim(struct sim_agent *a, struct host *h)
{
	/* In the order of enum mood: drop, claim or delete, repair, reap, drop. */
	static const uint8_t favourite[MOODS][4] = {
		{ 1, 2, 4, 9 }, { 3, 4, 5, 3 }, { 6, 7, 6, 7 }, { 9, 9, 0, 9 }, { 0, 1, 8, 9 }
	};
	uint32_t e = sim_choose(world.extents);

	switch (sim_choose(2) ? favourite[world.mood][sim_choose(4)] : sim_choose(14)) {
	case 0:
		/* Whatever this host believes of a slot, the core knows better. */
		sweep(h, sim_choose(SIM_HOSTS));
		break;
	case 1:
	case 8:
		coh_drop(&h->coh, e);
		break;
	case 2:
		coh_downgrade(&h->coh, e);
		break;
	case 3:
		unlink_extent(a, h, e);
		break;
	case 4:
	case 5:
		claim(a, h, e);
		break;
	case 6:
	case 7:
		repair(a, h, e);
		break;
	default:
		for (unsigned s = 0; s < COH_HOSTS; s++) {
			enum coh_host_state st = coh_host_word_state(world.entries[s].state);

			if (st != COH_HOST_FENCED && st != COH_HOST_SCRUBBED)
				continue;
			if (coh_reap(&h->coh, s) == 0)
				sim_stats.slots++;
			coh_quiesce(&h->coh);
		}
		return;
	}
	h->attention |= 1u << e;
}

/* ---- news of others ---------------------------------------------------------------------------------- */

/* News travels outside of the pool, so it may come late. */
static void read_news(struct host *h)
{
	for (unsigned s = 0; s < COH_HOSTS; s++) {
		if (!world.draining && (h->news[s].suspect || h->news[s].fenced) &&
		    sim_choose(world.mood == MOOD_SLOTS ? 32 : 2))
			continue;
		if (h->news[s].suspect) {
			h->news[s].suspect = false;
			if (coh_suspect(&h->coh, s, h->news[s].incarnation) >= 0) {
				sim_stats.suspects++;
				/* At once, or as one meets what is in the way. */
				if (sim_choose(2))
					sweep(h, s);
				host_event_all();
			}
		}
		if (h->news[s].fenced) {
			h->news[s].fenced = false;
			if (coh_fenced(&h->coh, s, h->news[s].incarnation) >= 0) {
				if (sim_choose(2) || world.draining)
					sweep(h, s);
				host_event_all();
			}
		}
	}
}

static void expel(struct host *h, unsigned host)
{
	for (unsigned c = 0; c < SIM_CLIENTS; c++) {
		if (!(h->expel >> c & 1))
			continue;
		h->expel &= ~(1u << c);
		h->pages[c] = NULL;
		h->attention = (1u << SIM_EXTENTS) - 1;
		h->client[c].hostile = false;
		if (!world.draining)
			client_start(host, c);
	}
}

/* A suspected host that runs: stop the clients, give everything back, start anew. */
static void go_away(struct sim_agent *a, struct host *h, unsigned host)
{
	uint32_t torn = 0;

	for (unsigned c = 0; c < SIM_CLIENTS; c++) {
		for (uint32_t e = 0; e < SIM_EXTENTS; e++)
			if (h->client[c].holds[e] == COH_W && !h->client[c].hostile &&
			    coh_word_owner(world.lines[e].word) == h->coh.slot)
				world.torn[e] = true;
		client_kill(host, c);
	}
	coh_surrender(&h->coh, &torn);
	sim_stats.surrenders++;
	sim_stats.torn += torn;
	sim_drain(a, true);
	sim_complete(a, true);
	h->status = HOST_OFF; /* the cache stays as it is */
	h->joined = false;
	a->status = SIM_DEAD;
	host_event_all();
	for (;;)
		sim_give_way(a);
}

/* No two hosts that call themselves the same are let in. */
static void check_twins(struct host *h, uint64_t id)
{
	for (unsigned s = 0; s < COH_HOSTS; s++)
		if (s != h->coh.slot && world.entries[s].id[0] == id &&
		    coh_host_word_state(world.entries[s].state) == COH_HOST_ALIVE)
			sim_fail("slots %u and %u are both alive as host %llu", s, h->coh.slot,
				 (unsigned long long)id);
}

static bool join(struct sim_agent *a, struct host *h, unsigned host)
{
	/* Now and then by a neighbour's name: a copied disk, a machine that was set up twice. */
	uint64_t id[2] = { (sim_choose(8) ? host : host ^ 1) + 1, 0x6d6f7273656cull };

	h->coh = (struct coh_host){ .mem = &a->mem,
				    .pool = &world.pool,
				    .local = h->local,
				    .pages = h->pages,
				    .pages_n = SIM_CLIENTS,
				    .doorbell = h->coh.doorbell };
	for (unsigned tries = 0; tries < 50; tries++) {
		if (coh_join(&h->coh, id) == 0) {
			check_twins(h, id[0]);
			return true;
		}
	}
	return false;
}

void daemon_main(struct sim_agent *a)
{
	unsigned host = a->host;
	struct host *h = &world.hosts[host];

	if (!join(a, h, host)) {
		h->status = HOST_OFF;
		return;
	}
	h->joined = true;
	for (unsigned c = 0; c < SIM_CLIENTS; c++) {
		h->client[c].hostile = c == 1 && (sim_hostile_program || sim_choose(8) == 7);
		client_start(host, c);
	}
	h->attention = (1u << SIM_EXTENTS) - 1;
	for (;;) {
		enum coh_msg msg;
		unsigned from;
		uint32_t e, todo;

		coh_quiesce(&h->coh);
		coh_heartbeat(&h->coh);
		if (!coh_alive(&h->coh))
			go_away(a, h, host);
		read_news(h);
		expel(h, host);
		if (h->event) {
			h->event = false;
			h->attention = (1u << SIM_EXTENTS) - 1;
		}
		while (coh_poll(&h->coh, &msg, &from, &e) == 1) {
			sim_log("host %u: message %u from slot %u, extent %u", host, msg, from, e);
			h->attention |= 1u << e;
		}
		todo = h->attention | h->retry;
		h->attention = h->retry = 0;
		for (e = 0; e < SIM_EXTENTS; e++)
			if (todo >> e & 1)
				attend(h, host, e);
		if (h->timer && !world.draining)
			whim(a, h);
		h->timer = false;
		if (h->attention || h->retry || h->event || h->expel || h->timer)
			continue;
		if (coh_sleep(&h->coh) < 0)
			continue;
		if (h->attention || h->event || h->expel)
			continue;
		/* Also when stores are still in the buffer: they drain by themselves. */
		a->status = SIM_BLOCKED;
		sim_give_way(a);
	}
}
