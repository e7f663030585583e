/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "world.h"

/*
 * Programs: take ranges of one or two extents, read and write lines in them, release, and compare every
 * line read with what the oracle says was written last. Threads of one host keep out of each other's
 * way with a lock per block, as any program must: coherency is between hosts.
 */

static struct host *host_of(struct sim_agent *a)
{
	return &world.hosts[a->host];
}

static struct client *client_of(struct sim_agent *a)
{
	return &host_of(a)->client[a->client - 1];
}

/* ---- the host's own lock --------------------------------------------------------------------------- */

static bool lock_free(struct host *h, struct client *me, uint32_t e, uint64_t blocks, bool write)
{
	for (unsigned c = 0; c < SIM_CLIENTS; c++) {
		struct client *other = &h->client[c];

		if (other == me)
			continue;
		if (other->locks_write[e] & blocks || (write && other->locks_read[e] & blocks))
			return false;
	}
	return true;
}

static void lock(struct sim_agent *a, uint32_t e, uint64_t blocks, bool write)
{
	struct client *c = client_of(a);

	while (!lock_free(host_of(a), c, e, blocks, write)) {
		c->wants_lock = true;
		a->status = SIM_BLOCKED;
		sim_give_way(a);
	}
	if (write)
		c->locks_write[e] |= (uint8_t)blocks;
	else
		c->locks_read[e] |= (uint8_t)blocks;
}

static void unlock_all(unsigned host, unsigned c)
{
	struct host *h = &world.hosts[host];

	memset(h->client[c].locks_read, 0, sizeof(h->client[c].locks_read));
	memset(h->client[c].locks_write, 0, sizeof(h->client[c].locks_write));
	for (unsigned o = 0; o < SIM_CLIENTS; o++) {
		if (h->client[o].wants_lock && agent_of(host, o + 1)->status == SIM_BLOCKED) {
			h->client[o].wants_lock = false;
			agent_of(host, o + 1)->status = SIM_READY;
		}
	}
}

/* ---- holds ----------------------------------------------------------------------------------------- */

void hold_begins(unsigned host, unsigned c, uint32_t e, enum coh_mode mode)
{
	bool alive;

	sim_log("host %u client %u holds extent %u for %s", host, c, e,
		mode == COH_W ? "writing" : "reading");
	/* A reader on a host that was given up meanwhile will be told at its release; a writer must not be there. */
	alive = world.entries[world.hosts[host].coh.slot].state == world.hosts[host].coh.alive;
	for (unsigned o = 0; o < SIM_HOSTS && (alive || mode == COH_W); o++) {
		for (unsigned k = 0; k < SIM_CLIENTS; k++) {
			if (o == host || world.hosts[o].status == HOST_OFF)
				continue;
			if (world.hosts[o].client[k].holds[e] == COH_W)
				sim_fail("host %u holds extent %u while host %u is writing", host,
					 e, o);
		}
	}
	world.hosts[host].client[c].holds[e] = mode;
	if (mode == COH_W) {
		sim_stats.handovers += world.last_writer[e] != (int)host;
		world.last_writer[e] = (int)host;
	}
}

void hold_ends(unsigned host, unsigned c, uint32_t e)
{
	if (world.hosts[host].client[c].holds[e])
		sim_log("host %u client %u releases extent %u", host, c, e);
	world.hosts[host].client[c].holds[e] = COH_NONE;
}

static int ask_daemon(struct sim_agent *a, struct request *q)
{
	host_kick(a->host, q->e);
	while (!q->done) {
		a->status = SIM_BLOCKED;
		sim_give_way(a);
	}
	q->waiting = false;
	return q->result;
}

static int acquire(struct sim_agent *a, unsigned slot, uint32_t e, uint64_t tag, uint64_t blocks,
		   enum coh_mode mode)
{
	struct client *c = client_of(a);
	struct request *q = &c->request;
	int r = coh_acquire(&c->coh, slot, e, tag, blocks, mode);

	if (r != -EAGAIN)
		goto out;
	r = coh_want(&c->coh, slot, e, mode);
	if (r < 0) {
		/*
		 * The daemon may have seen the hold that was taken back. If it could see it even now, nobody would tell it
		 * again when it goes.
		 */
		if (r == -EDEADLK && c->page.hold[slot])
			sim_fail(
				"host %u calls its daemon while a hold of extent %u is still to be taken back",
				a->host, e);
		host_kick(a->host, e);
		goto out;
	}
	*q = (struct request){
		.waiting = true, .slot = slot, .e = e, .tag = tag, .blocks = blocks, .mode = mode
	};
	r = ask_daemon(a, q);
	if (r < 0)
		coh_unwant(&c->coh, slot);
	else if (!coh_held(&c->coh, slot) && !c->hostile)
		sim_fail("granted, but not held");
out:
	if (r == 0)
		hold_begins(a->host, a->client - 1, e, mode);
	return r;
}

static int upgrade(struct sim_agent *a, unsigned slot, uint32_t e, uint64_t tag, uint64_t blocks)
{
	struct request *q = &client_of(a)->request;
	int r = coh_want_upgrade(&client_of(a)->coh, slot, e);

	if (r == 0) {
		*q = (struct request){ .waiting = true,
				       .slot = slot,
				       .e = e,
				       .tag = tag,
				       .blocks = blocks,
				       .mode = COH_W,
				       .upgrade = true };
		r = ask_daemon(a, q);
	}
	if (r == 0) {
		sim_stats.upgrades++;
		hold_begins(a->host, a->client - 1, e, COH_W);
	} else if (r == -EDEADLK) {
		sim_stats.deadlocks++;
	}
	return r;
}

static int release(struct sim_agent *a, unsigned slot, uint32_t e)
{
	int r;

	hold_ends(a->host, a->client - 1, e);
	r = coh_release(&client_of(a)->coh, slot);
	if (r == COH_KICK)
		host_kick(a->host, e);
	return r;
}

/* ---- the built-in program -------------------------------------------------------------------------- */

#define LOG 16u

struct hold {
	uint32_t e;
	uint64_t tag, blocks;
	enum coh_mode mode;
	bool upgrade, held, wrong_object;
	unsigned slot, logged;
	struct {
		uint32_t line;
		uint64_t value;
	} log[LOG];
};

static uint32_t pick_line(const struct hold *w)
{
	unsigned b = sim_choose(COH_BLOCKS);

	while (!(w->blocks >> b & 1))
		b = (b + 1) % COH_BLOCKS;
	return (uint32_t)(w->e * SIM_LINES_PER_EXTENT + b * SIM_LINES_PER_BLOCK +
			  sim_choose(SIM_LINES_PER_BLOCK));
}

static void access_line(struct sim_agent *a, struct hold *w)
{
	uint32_t line = pick_line(w);

	if (w->mode == COH_W && sim_choose(2)) {
		uint64_t v = ++world.stamp;

		sim_log("host %u client %u writes line %u: %llu", a->host, a->client - 1, line,
			(unsigned long long)v);
		sim_data_store(a, line, v);
		/* From here on this is the line's value for everybody who comes by the rules. */
		world.oracle[line] = v;
		sim_stats.writes++;
		for (unsigned i = 0; i < w->logged; i++)
			if (w->log[i].line == line)
				w->log[i].value = v;
	} else if (w->logged < LOG) {
		w->log[w->logged].line = line;
		w->log[w->logged].value = sim_data_load(a, line);
		sim_log("host %u client %u reads line %u: %llu", a->host, a->client - 1, line,
			(unsigned long long)w->log[w->logged].value);
		w->logged++;
		sim_stats.reads++;
	}
}

/* Ends a hold and judges what was read under it. */
static void finish(struct sim_agent *a, struct hold *w)
{
	int bad = -1, r;
	uint64_t expected = 0;
	bool torn;

	if (!w->held)
		return;
	for (unsigned i = 0; i < w->logged; i++) {
		if (world.oracle[w->log[i].line] != w->log[i].value && bad < 0) {
			bad = (int)i;
			expected = world.oracle[w->log[i].line];
		}
	}
	torn = world.torn[w->e];
	w->wrong_object = world.lines[w->e].tag != w->tag;
	r = release(a, w->slot, w->e);
	w->held = false;
	if (r == -ESTALE) {
		sim_stats.stale_holds++;
		return;
	}
	if (r < 0)
		sim_fail("release of extent %u by host %u: %d", w->e, a->host, r);
	if (bad >= 0) {
		sim_stats.stale_reads++;
		sim_fail("stale read: host %u, extent %u, line %u: read %llu, last written %llu",
			 a->host, w->e, w->log[bad].line, (unsigned long long)w->log[bad].value,
			 (unsigned long long)expected);
	}
	if (torn)
		sim_fail("torn data: host %u held extent %u, whose last writer was cut off",
			 a->host, w->e);
	if (w->wrong_object)
		sim_fail("host %u held extent %u for object %llx, it belongs to %llx", a->host,
			 w->e, (unsigned long long)w->tag,
			 (unsigned long long)world.lines[w->e].tag);
}

static void one_round(struct sim_agent *a, uint64_t *known_tags)
{
	struct hold w[HOLDS] = { 0 };
	unsigned n = world.extents > 1 ? 1 + (sim_choose(4) == 3) : 1;
	bool backwards = sim_choose(16) == 15;
	int r;

	/* Extents ascending; now and then in the wrong order, which may be refused but not hang. */
	for (unsigned i = 0; i < n; i++) {
		w[i].e = n == 1 ? sim_choose(world.extents) : i + sim_choose(world.extents - 1);
		if (i && w[i].e <= w[0].e)
			w[i].e = w[0].e + 1;
		w[i].mode = sim_choose(8) < world.writers ? COH_W : COH_R;
		w[i].upgrade = w[i].mode == COH_R && sim_choose(8) == 7;
		w[i].blocks = 1 + sim_choose((unsigned)COH_ALL_BLOCKS);
		w[i].slot = i;
		/* A program knows an object from when it opened it, which may be long ago. */
		if (!known_tags[w[i].e] || sim_choose(8) == 7)
			known_tags[w[i].e] = world.names[w[i].e];
		w[i].tag = known_tags[w[i].e];
		if (!w[i].tag)
			return;
		lock(a, w[i].e, w[i].blocks, w[i].mode == COH_W || w[i].upgrade);
	}
	for (unsigned k = 0; k < n; k++) {
		struct hold *hold = &w[backwards ? n - 1 - k : k];

		r = acquire(a, hold->slot, hold->e, hold->tag, hold->blocks, hold->mode);
		if (r < 0) {
			if (r == -ESTALE || r == -ENOENT)
				known_tags[hold->e] = 0;
			if (r == -EDEADLK && !backwards)
				sim_fail("-EDEADLK in ascending order");
			break;
		}
		hold->held = true;
	}
	for (unsigned k = sim_choose(6); k > 0; k--)
		if (w[k % n].held)
			access_line(a, &w[k % n]);
	for (unsigned i = 0; i < n; i++) {
		if (!w[i].held || !w[i].upgrade)
			continue;
		if (upgrade(a, w[i].slot, w[i].e, w[i].tag, w[i].blocks) == 0) {
			w[i].mode = COH_W;
			access_line(a, &w[i]);
			access_line(a, &w[i]);
		}
	}
	for (unsigned i = 0; i < n; i++)
		finish(a, &w[i]);
}

/* ---- hostile programs ------------------------------------------------------------------------------ */

void (*sim_hostile_program)(const struct sim_hostile *h);

static int hostile_acquire(void *me, unsigned slot, unsigned e, uint64_t blocks, int mode)
{
	struct sim_agent *a = me;
	int r;

	if (slot >= COH_HOLD_SLOTS || e >= SIM_EXTENTS || !world.names[e] || client_of(a)->holds[e])
		return -EINVAL;
	r = acquire(a, slot, e, world.names[e], blocks, (enum coh_mode)mode);
	if (r == 0)
		client_of(a)->hold_blocks[e] = blocks;
	return r;
}

static int hostile_release(void *me, unsigned slot)
{
	struct sim_agent *a = me;
	uint64_t v;

	if (slot >= COH_HOLD_SLOTS)
		return -EINVAL;
	v = client_of(a)->page.hold[slot] >> COH_HOLD_EXTENT_SHIFT;
	if (v >= SIM_EXTENTS)
		return -ENOENT;
	return release(a, slot, (uint32_t)v);
}

static uint64_t hostile_read(void *me, unsigned line)
{
	return line < SIM_LINES ? sim_data_load(me, line) : 0;
}

static void hostile_write(void *me, unsigned line, uint64_t value)
{
	struct sim_agent *a = me;
	uint32_t e = (uint32_t)(line / SIM_LINES_PER_EXTENT);

	/* In what it holds it may write what it likes: it was given the right to. Outside the mapping stops it. */
	if (line >= SIM_LINES || client_of(a)->holds[e] != COH_W)
		return;
	if (!(client_of(a)->hold_blocks[e] >> (line % SIM_LINES_PER_EXTENT / SIM_LINES_PER_BLOCK) &
	      1))
		return;
	if (!lock_free(host_of(a), client_of(a), e, COH_ALL_BLOCKS, true))
		return;
	lock(a, e, COH_ALL_BLOCKS, true);
	sim_data_store(a, line, value);
	world.oracle[line] = value;
	sim_drain(a, true);
	unlock_all(a->host, a->client - 1);
}

static void hostile_scribble(void *me, unsigned slot, uint64_t word)
{
	struct sim_agent *a = me;

	if (slot >= COH_HOLD_SLOTS)
		return;
	/* Overwriting a hold is giving it up: the loser is the author. */
	for (uint32_t e = 0; e < SIM_EXTENTS; e++)
		if (client_of(a)->page.hold[slot] >> COH_HOLD_EXTENT_SHIFT == e)
			hold_ends(a->host, a->client - 1, e);
	morsel_mem_store(&a->mem, &client_of(a)->page.hold[slot], word);
}

static void hostile_flush(void *me, unsigned line)
{
	struct sim_agent *a = me;

	if (line < SIM_LINES)
		morsel_mem_invalidate(&a->mem, sim_data + line * MORSEL_LINE, MORSEL_LINE);
}

static void hostile_prefetch(void *me, unsigned line)
{
	struct sim_agent *a = me;

	sim_step(a);
	if (line < SIM_LINES)
		sim_prefetch(a->host, line);
}

static void hostile_kick(void *me, unsigned e)
{
	struct sim_agent *a = me;

	sim_step(a);
	if (e < SIM_EXTENTS)
		host_kick(a->host, e);
}

static void hostile_round(struct sim_agent *a)
{
	struct sim_hostile api = { a,
				   a->host,
				   SIM_EXTENTS,
				   COH_BLOCKS,
				   SIM_LINES_PER_BLOCK,
				   COH_HOLD_SLOTS,
				   sim_choose,
				   hostile_acquire,
				   hostile_release,
				   hostile_read,
				   hostile_write,
				   hostile_scribble,
				   hostile_flush,
				   hostile_prefetch,
				   hostile_kick };

	sim_hostile_program(&api);
	sim_step(a);
}

/* The hostile client that is always there: lies in its hold page. */
static void liar_round(struct sim_agent *a)
{
	struct client *c = client_of(a);

	if (sim_choose(4) == 3)
		hostile_acquire(a, sim_choose(8), sim_choose(SIM_EXTENTS),
				1 + sim_choose((unsigned)COH_ALL_BLOCKS), 1 + (int)sim_choose(2));
	else
		hostile_scribble(a, sim_choose(COH_HOLD_SLOTS),
				 (uint64_t)sim_choose(SIM_EXTENTS + 2) << COH_HOLD_EXTENT_SHIFT |
					 sim_choose(16));
	if (sim_choose(4) == 3 && !world.draining)
		for (unsigned s = 0; s < COH_HOLD_SLOTS; s++)
			if (c->page.hold[s])
				hostile_scribble(a, s, 0);
	hostile_kick(a, sim_choose(SIM_EXTENTS));
}

/* ---- life ------------------------------------------------------------------------------------------ */

void client_main(struct sim_agent *a)
{
	struct client *c = client_of(a);
	uint64_t known_tags[SIM_EXTENTS] = { 0 };

	while (!world.draining) {
		if (c->hostile && sim_hostile_program) {
			hostile_round(a);
		} else if (c->hostile) {
			liar_round(a);
		} else {
			one_round(a, known_tags);
			/* Unlocking is a release too: the next thread sees what this one stored. */
			sim_drain(a, true);
			unlock_all(a->host, a->client - 1);
			sim_step(a);
		}
	}
	if (c->hostile)
		client_kill(a->host, a->client - 1);
}

void client_start(unsigned host, unsigned c)
{
	struct host *h = &world.hosts[host];
	struct sim_agent *a = agent_of(host, c + 1);
	bool hostile = h->client[c].hostile;

	memset(&h->client[c], 0, sizeof(h->client[c]));
	h->client[c].hostile = hostile;
	h->client[c].coh = (struct coh_client){
		.mem = &a->mem,
		.page = &h->client[c].page,
		.local = h->local,
		.extents = SIM_EXTENTS,
		.first = 0,
		.count = hostile ? COH_HOLD_SLOTS : 8,
		.host_state = &world.entries[h->coh.slot].state,
		.alive = h->coh.alive,
	};
	h->pages[c] = &h->client[c].page;
	sim_agent_start(a, client_main);
}

void client_kill(unsigned host, unsigned c)
{
	struct sim_agent *a = agent_of(host, c + 1);
	struct client *client = &world.hosts[host].client[c];

	if (a->status == SIM_DEAD && !client->hostile)
		return;
	sim_drain(a, true);
	sim_complete(a, true);
	a->status = SIM_DEAD;
	client->crashed = true;
	client->wants_lock = false;
	client->request.waiting = false;
	memset(client->holds, 0, sizeof(client->holds));
	unlock_all(host, c);
	world.hosts[host].expel |= 1u << c;
	host_kick(host, 0);
}
