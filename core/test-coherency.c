/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "coherency.h"
#include "test-check.h"

/*
 * What core/coherency answers, call by call, on the CPU's own memory: limits, bad input, damage, turns. That it is
 * safe against caches and faults is the simulator's to show (tests/coherency). The argument names the instruction
 * to write back with: clflush, clflushopt, clwb, or arm64; without one it is the CPU's best.
 */

#define EXTENTS 8u
#define TAG 0x700000007ull

struct machine {
	struct coh_host coh;
	struct coh_local local[EXTENTS];
	struct coh_hold_page page;
	struct coh_hold_page *pages[1];
	struct coh_client client;
	unsigned rung;
};

static struct {
	struct coh_header header;
	struct coh_host_entry hosts[COH_HOSTS];
	struct coh_mailbox mail[COH_HOSTS];
	struct coh_line lines[EXTENTS];
} range;

static struct coh_pool pool = {
	&range.header, range.hosts, range.mail, range.lines, NULL, EXTENTS
};
static struct morsel_mem cpu;
static struct machine machines[COH_HOSTS + 1];
static struct machine *const a = &machines[0], *const b = &machines[1], *const c = &machines[2];

static void doorbell(struct coh_host *h, unsigned to)
{
	for (unsigned i = 0; i <= COH_HOSTS; i++)
		if (machines[i].coh.alive && machines[i].coh.slot == to)
			machines[i].rung++;
}

static int join(struct machine *m, uint64_t id)
{
	const uint64_t ids[2] = { id, id };
	int r;

	memset(m, 0, sizeof(*m));
	m->pages[0] = &m->page;
	m->coh = (struct coh_host){ .mem = &cpu,
				    .pool = &pool,
				    .local = m->local,
				    .pages = m->pages,
				    .pages_n = 1,
				    .doorbell = doorbell };
	r = coh_join(&m->coh, ids);
	m->client = (struct coh_client){ .mem = &cpu,
					 .page = &m->page,
					 .local = m->local,
					 .extents = EXTENTS,
					 .count = COH_HOLD_SLOTS,
					 .host_state = &range.hosts[m->coh.slot].state,
					 .alive = m->coh.alive };
	return r;
}

/* An empty pool, HOSTS of it attached; extents are an object's, held by nobody. */
static void setup(unsigned hosts)
{
	memset(&range, 0, sizeof(range));
	memset(machines, 0, sizeof(machines));
	for (uint32_t e = 0; e < EXTENTS; e++) {
		range.lines[e].word = coh_word(COH_INVALID, 0, 0, 5);
		range.lines[e].tag = TAG;
	}
	for (unsigned i = 0; i < hosts; i++)
		CHECK(join(&machines[i], i + 1) == 0 && machines[i].coh.slot == i);
}

static enum coh_state state_of(uint32_t e)
{
	return coh_word_state(range.lines[e].word);
}

static uint32_t incarnation(const struct machine *m)
{
	return coh_host_word_incarnation(m->coh.alive);
}

/* As a daemon: all messages read, then what they ask for answered. The last coh_serve() that had something to say. */
static int pump(struct machine *m)
{
	enum coh_msg msg;
	unsigned from;
	uint32_t e, todo = 0;
	int r = 0;

	while (coh_poll(&m->coh, &msg, &from, &e) == 1)
		todo |= 1u << e;
	for (e = 0; e < EXTENTS; e++) {
		int s = todo >> e & 1 ? coh_serve(&m->coh, e) : 0;

		r = s ? s : r;
	}
	return r;
}

static int fetch(struct machine *m, uint32_t e, enum coh_mode mode)
{
	return coh_fetch(&m->coh, e, TAG, mode, false);
}

/* The client of M comes to hold E. */
static int hold(struct machine *m, unsigned slot, uint32_t e, enum coh_mode mode)
{
	int r = coh_want(&m->client, slot, e, mode);

	if (r == 0)
		r = fetch(m, e, mode);
	if (r == 0)
		r = coh_prepare(&m->coh, e, 1, mode);
	return r == 0 ? coh_grant(&m->coh, &m->page, slot, e, mode, false) : r;
}

static void test_full_mailbox(void)
{
	enum coh_msg msg;
	unsigned from;
	uint32_t e;

	setup(2);
	for (e = 0; e <= COH_RING; e++)
		CHECK(fetch(b, e, COH_W) == 0);
	/* The ring takes four; the fifth is told so, as often as it asks. */
	for (e = 0; e < COH_RING; e++)
		CHECK(fetch(a, e, COH_R) == -EAGAIN);
	CHECK(fetch(a, COH_RING, COH_R) == -ENOBUFS);
	CHECK(fetch(a, COH_RING, COH_R) == -ENOBUFS);
	for (e = 0; e < COH_RING; e++) {
		uint32_t which = EXTENTS;

		CHECK(coh_poll(&b->coh, &msg, &from, &which) == 1 && msg == COH_MSG_READ &&
		      from == a->coh.slot && which == e);
	}
	CHECK(coh_poll(&b->coh, &msg, &from, &e) == 0);
	CHECK(fetch(a, COH_RING, COH_R) == -EAGAIN);
	CHECK(coh_poll(&b->coh, &msg, &from, &e) == 1 && e == COH_RING);

	/* Who cannot be told that it is its turn now is told later. */
	for (e = 0; e < COH_RING; e++)
		range.mail[a->coh.slot].ring[b->coh.slot][e] = COH_MSG_WAKE;
	CHECK(coh_serve(&b->coh, COH_RING) == -ENOBUFS);
	CHECK(state_of(COH_RING) == COH_SHARED);
	CHECK(pump(a) == 0);
	CHECK(coh_serve(&b->coh, COH_RING) == 0);
	CHECK(coh_poll(&a->coh, &msg, &from, &e) == 1 && msg == COH_MSG_WAKE && e == COH_RING);
}

static void test_mailbox_nonsense(void)
{
	uint64_t *ring;
	enum coh_msg msg;
	unsigned from;
	uint32_t e;

	setup(2);
	ring = range.mail[a->coh.slot].ring[b->coh.slot];
	ring[0] = 1ull << 32 | 8 | COH_MSG_READ;	  /* bits that mean nothing */
	ring[1] = (uint64_t)EXTENTS << 32 | COH_MSG_READ; /* no such extent */
	ring[2] = 7;					  /* no such message */
	ring[3] = 1ull << 32 | COH_MSG_READ;
	range.mail[a->coh.slot].notify = 0xffffffff;
	CHECK(coh_poll(&a->coh, &msg, &from, &e) == 1 && e == 1 && msg == COH_MSG_READ);
	CHECK(coh_poll(&a->coh, &msg, &from, &e) == 0);
	CHECK(!ring[0] && !ring[1] && !ring[2] && !ring[3]);
}

static void test_sleep(void)
{
	setup(2);
	CHECK(pump(a) == 0 && coh_sleep(&a->coh) == 0);
	CHECK(fetch(a, 0, COH_W) == 0);
	CHECK(fetch(b, 0, COH_R) == -EAGAIN && a->rung == 1);
	/* Something is there: no sleep, and no second ring for who is awake. */
	CHECK(coh_sleep(&a->coh) == -EAGAIN);
	CHECK(fetch(b, 0, COH_R) == -EAGAIN && a->rung == 1);
	CHECK(pump(a) == 0 && coh_sleep(&a->coh) == 0);
}

static void test_all_hosts(void)
{
	struct machine *last = &machines[COH_HOSTS - 1], *one_more = &machines[COH_HOSTS];
	uint32_t torn;

	setup(COH_HOSTS);
	CHECK(join(one_more, 99) == -ENOSPC);
	CHECK(join(one_more, 1) == -EEXIST);
	for (unsigned i = 0; i < COH_HOSTS; i++)
		CHECK(fetch(&machines[i], 0, COH_R) == 0);
	CHECK(coh_word_sharers(range.lines[0].word) == 0xffffffff);
	CHECK(fetch(last, 0, COH_W) == -EAGAIN);
	for (unsigned i = 0; i < COH_HOSTS - 1; i++) {
		CHECK(state_of(0) == COH_PENDING && pump(&machines[i]) == 0);
		CHECK(!(coh_word_sharers(range.lines[0].word) >> i & 1));
	}
	CHECK(fetch(last, 0, COH_W) == 0 && state_of(0) == COH_EXCLUSIVE);

	/* A slot is free again when all who run have twice had nothing under way. */
	CHECK(coh_surrender(&c->coh, &torn) == 0 && torn == 0);
	for (unsigned round = 0; round < 3; round++) {
		CHECK(coh_reap(&a->coh, 2) == (round < 2 ? -EAGAIN : 0));
		CHECK(join(one_more, 99) == (round < 2 ? -ENOSPC : 0));
		for (unsigned i = 0; i < COH_HOSTS; i++)
			if (i != 2)
				coh_quiesce(&machines[i].coh);
	}
	CHECK(one_more->coh.slot == 2 && incarnation(one_more) == 2);
	/* News of the slot's old host does not hit the new one. */
	CHECK(coh_suspect(&a->coh, 2, 1) == -EINVAL && coh_fenced(&a->coh, 2, 1) == -EINVAL);
	CHECK(coh_alive(&one_more->coh));
}

static void test_damage(void)
{
	/* Sharers beside an exclusive owner: no host writes that. */
	const uint64_t damaged = coh_word(COH_EXCLUSIVE, 0, 6, 5);

	setup(2);
	CHECK(fetch(a, 2, COH_W) == 0);
	range.lines[2].word = damaged;
	CHECK(fetch(a, 2, COH_R) == -EUCLEAN && fetch(a, 2, COH_W) == -EUCLEAN);
	CHECK(fetch(b, 2, COH_R) == -EUCLEAN && fetch(b, 2, COH_W) == -EUCLEAN);
	CHECK(coh_serve(&a->coh, 2) == -EUCLEAN && coh_drop(&a->coh, 2) == -EUCLEAN);
	CHECK(coh_downgrade(&a->coh, 2) == -EUCLEAN && coh_free(&a->coh, 2) == -EUCLEAN);
	CHECK(coh_claim(&b->coh, 2, 1) == -EUCLEAN && coh_recover(&b->coh, 2) == -EUCLEAN);
	CHECK(coh_suspect(&b->coh, 0, incarnation(a)) == 0);
	CHECK(coh_clean(&b->coh, 2, 0) == -EUCLEAN);
	CHECK(range.lines[2].word == damaged);
	/* Only when told; and then it is as suspect as any. */
	CHECK(coh_condemn(&b->coh, 3) == -EEXIST && state_of(3) == COH_INVALID);
	CHECK(coh_condemn(&b->coh, 2) == 0 && state_of(2) == COH_SUSPECT);
	CHECK(fetch(b, 2, COH_R) == -EUCLEAN);
	CHECK(coh_recover(&b->coh, 2) == 0 && coh_restore(&b->coh, 2) == 0);
	CHECK(fetch(b, 2, COH_R) == 0);

	/* A word that names a slot which nobody uses, though every word was scrubbed of it. */
	range.lines[4].word = coh_word(COH_EXCLUSIVE, 17, 0, 5);
	CHECK(fetch(b, 4, COH_R) == -EUCLEAN);
}

static void test_not_held(void)
{
	uint64_t before[EXTENTS];

	setup(2);
	CHECK(fetch(b, 1, COH_W) == 0 && fetch(b, 2, COH_R) == 0);
	for (uint32_t e = 0; e < EXTENTS; e++)
		before[e] = range.lines[e].word;
	for (uint32_t e = 0; e < EXTENTS; e++) {
		CHECK(coh_drop(&a->coh, e) == -EPERM && coh_downgrade(&a->coh, e) == -EPERM);
		CHECK(coh_free(&a->coh, e) == -EPERM && coh_cancel(&a->coh, e) == -EPERM);
		CHECK(coh_restore(&a->coh, e) == -EPERM && coh_abandon(&a->coh, e) == -EPERM);
		CHECK(coh_prepare(&a->coh, e, 1, COH_R) == -EAGAIN);
		CHECK(coh_grant(&a->coh, &a->page, 0, e, COH_R, false) == -EAGAIN);
		CHECK(coh_acquire(&a->client, 0, e, TAG, 1, COH_R) == -EAGAIN);
		CHECK(range.lines[e].word == before[e]);
	}
	CHECK(coh_release(&a->client, 0) == -ENOENT &&
	      coh_want_upgrade(&a->client, 0, 1) == -ENOENT);
	CHECK(!coh_held(&a->client, 0));
	/* A wish is no hold. */
	CHECK(coh_want(&a->client, 0, 1, COH_R) == 0 && coh_release(&a->client, 0) == -ENOENT);
	coh_unwant(&a->client, 0);
	CHECK(a->page.hold[0] == 0);
}

static void test_arguments(void)
{
	setup(1);
	a->client.first = 4;
	a->client.count = 4;
	CHECK(coh_acquire(&a->client, 3, 0, TAG, 1, COH_R) == -EINVAL);
	CHECK(coh_acquire(&a->client, 8, 0, TAG, 1, COH_R) == -EINVAL);
	CHECK(coh_acquire(&a->client, 4, EXTENTS, TAG, 1, COH_R) == -ERANGE);
	CHECK(coh_acquire(&a->client, 4, 0, TAG, 0, COH_R) == -EINVAL);
	CHECK(coh_acquire(&a->client, 4, 0, TAG, 1, COH_NONE) == -EINVAL);
	CHECK(coh_want(&a->client, ~0u, 0, COH_R) == -EINVAL);
	CHECK(coh_release(&a->client, 3) == -EINVAL);
	a->client.count = ~0u; /* a thread that claims more slots than there are */
	CHECK(coh_acquire(&a->client, COH_HOLD_SLOTS, 0, TAG, 1, COH_R) == -EINVAL);
	CHECK(coh_release(&a->client, COH_HOLD_SLOTS) == -EINVAL);
	CHECK(!coh_held(&a->client, COH_HOLD_SLOTS));

	CHECK(fetch(a, EXTENTS, COH_R) == -ERANGE && fetch(a, 0, COH_NONE) == -EINVAL);
	CHECK(coh_prepare(&a->coh, 0, 0, COH_R) == -EINVAL);
	CHECK(coh_grant(&a->coh, &a->page, COH_HOLD_SLOTS, 0, COH_R, false) == -EINVAL);
	CHECK(coh_serve(&a->coh, EXTENTS) == -ERANGE && coh_drop(&a->coh, EXTENTS) == -ERANGE);
	CHECK(coh_downgrade(&a->coh, EXTENTS) == -ERANGE && coh_free(&a->coh, EXTENTS) == -ERANGE);
	CHECK(coh_cancel(&a->coh, EXTENTS) == -ERANGE && coh_recover(&a->coh, EXTENTS) == -ERANGE);
	CHECK(coh_claim(&a->coh, EXTENTS, 1) == -ERANGE && coh_claim(&a->coh, 0, 0) == -EINVAL);
	CHECK(coh_restore(&a->coh, EXTENTS) == -ERANGE && coh_condemn(&a->coh, EXTENTS) == -ERANGE);
	CHECK(coh_clean(&a->coh, EXTENTS, 1) == -ERANGE &&
	      coh_clean(&a->coh, 0, COH_HOSTS) == -EINVAL);
	CHECK(coh_suspect(&a->coh, COH_HOSTS, 1) == -EINVAL);
	CHECK(coh_fenced(&a->coh, COH_HOSTS, 1) == -EINVAL);
	CHECK(coh_reap(&a->coh, COH_HOSTS) == -EINVAL && coh_reap(&a->coh, 0) == -EINVAL);
	CHECK(coh_reap(&a->coh, 1) == 0); /* nobody's */
	CHECK(coh_clean(&a->coh, 0, 1) == -EBUSY);
}

static void test_full_directory(void)
{
	setup(1);
	for (uint32_t e = 0; e < EXTENTS; e++)
		CHECK(coh_claim(&a->coh, e, TAG) == -EEXIST);
	CHECK(fetch(a, 3, COH_W) == 0 && coh_free(&a->coh, 3) == 0);
	CHECK(range.lines[3].word == coh_word(COH_FREE, 0, 0, 5) && range.lines[3].tag == 0);
	CHECK(fetch(a, 3, COH_R) == -ENOENT);
	CHECK(coh_claim(&a->coh, 3, TAG + 1) == 0 && fetch(a, 3, COH_R) == -ESTALE);
}

static void test_order(void)
{
	setup(1);
	CHECK(hold(a, 0, 5, COH_R) == 0);
	CHECK(coh_want(&a->client, 1, 4, COH_R) == -EDEADLK && a->page.hold[1] == 0);
	CHECK(coh_want(&a->client, 1, 6, COH_R) == 0);
	coh_unwant(&a->client, 1);
	CHECK(hold(a, 1, 6, COH_R) == 0);
	CHECK(coh_want_upgrade(&a->client, 0, 5) == -EDEADLK);
	CHECK(coh_want_upgrade(&a->client, 1, 6) == 0);
	CHECK(coh_want(&a->client, 1, 7, COH_R) == -EBUSY);
	/* What is held already needs no order: it is no waiting. */
	CHECK(coh_prepare(&a->coh, 4, 1, COH_R) == -EAGAIN && fetch(a, 4, COH_R) == 0 &&
	      coh_prepare(&a->coh, 4, 1, COH_R) == 0);
	CHECK(coh_acquire(&a->client, 2, 4, TAG, 1, COH_R) == 0);
}

static void test_upgrades_cross(void)
{
	setup(2);
	CHECK(hold(a, 0, 0, COH_R) == 0 && hold(b, 0, 0, COH_R) == 0);
	CHECK(coh_want_upgrade(&a->client, 0, 0) == 0 && coh_want_upgrade(&b->client, 0, 0) == 0);
	CHECK(coh_fetch(&a->coh, 0, TAG, COH_W, true) == -EAGAIN);
	CHECK(coh_fetch(&b->coh, 0, TAG, COH_W, true) == -EDEADLK);
	CHECK(pump(b) == -EBUSY);
	CHECK(coh_release(&b->client, 0) == COH_KICK && coh_serve(&b->coh, 0) == 0);
	CHECK(coh_fetch(&a->coh, 0, TAG, COH_W, true) == 0 &&
	      coh_prepare(&a->coh, 0, 1, COH_W) == 0);
	CHECK(coh_grant(&a->coh, &a->page, 0, 0, COH_W, true) == 0);
	CHECK(a->page.hold[0] == COH_W && coh_release(&a->client, 0) == 0);
}

static void test_liar(void)
{
	setup(2);
	CHECK(fetch(a, 0, COH_W) == 0 && coh_prepare(&a->coh, 0, 1, COH_W) == 0);
	/* Nonsense holds nothing. */
	for (unsigned s = 0; s < COH_HOLD_SLOTS; s++)
		a->page.hold[s] = s & 1 ? ~0ull
					: (uint64_t)EXTENTS << COH_HOLD_EXTENT_SHIFT | COH_W;
	CHECK(fetch(b, 0, COH_W) == -EAGAIN && pump(a) == 0 && fetch(b, 0, COH_W) == 0);
	/* A hold that nobody granted keeps others out, and only until its author is put out. */
	CHECK(fetch(a, 0, COH_W) == -EAGAIN && pump(b) == 0 && fetch(a, 0, COH_W) == 0);
	a->page.hold[7] = COH_W;
	CHECK(fetch(b, 0, COH_W) == -EAGAIN && pump(a) == -EBUSY &&
	      coh_serve(&a->coh, 0) == -EBUSY);
	CHECK(coh_acquire(&a->client, 8, 0, TAG, 1, COH_R) == -EBUSY);
	a->page.hold[8] = 0;
	CHECK(coh_acquire(&a->client, 8, 0, TAG, 1, COH_R) == -EAGAIN);
	a->pages[0] = NULL;
	CHECK(coh_serve(&a->coh, 0) == 0 && fetch(b, 0, COH_W) == 0);
}

static void test_versions_wrap(void)
{
	setup(2);
	range.lines[0].word = coh_word(COH_INVALID, 0, 0, 0xffffff);
	CHECK(fetch(a, 0, COH_W) == 0 && coh_prepare(&a->coh, 0, 3, COH_W) == 0);
	CHECK(a->local[0].valid == 3 && coh_drop(&a->coh, 0) == 0);
	CHECK(coh_word_version(range.lines[0].word) == 0 && range.header.era == 1);
	/* Nobody wrote, but that cannot be told any more from the version alone. */
	CHECK(fetch(a, 0, COH_R) == 0 && a->local[0].valid == 0);
	CHECK(coh_prepare(&a->coh, 0, 1, COH_R) == 0 && coh_drop(&a->coh, 0) == 0);
	CHECK(fetch(a, 0, COH_R) == 0 && a->local[0].valid == 1);
	CHECK(coh_drop(&a->coh, 0) == 0);
	CHECK(fetch(b, 0, COH_W) == 0 && coh_drop(&b->coh, 0) == 0);
	CHECK(fetch(a, 0, COH_R) == 0 && a->local[0].valid == 0);
}

/* Two that write for ever, and a third that wants to read. */
static void test_turns(void)
{
	unsigned reads = 0;

	setup(3);
	CHECK(fetch(a, 0, COH_W) == 0);
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 2; i++)
			(void)fetch(&machines[i], 0, COH_W);
		if (fetch(c, 0, COH_R) == 0)
			reads++;
		for (unsigned i = 0; i < 3; i++)
			(void)pump(&machines[i]);
	}
	CHECK(reads >= 2);
}

/* One that writes, two that read: it lends to one after the other, not to the same again and again. */
static void test_turns_of_lender(void)
{
	unsigned reads[3] = { 0 };

	setup(3);
	for (unsigned round = 0; round < 8; round++) {
		CHECK(fetch(a, 0, COH_W) == 0);
		for (unsigned i = 1; i < 3; i++)
			CHECK(fetch(&machines[i], 0, COH_R) == -EAGAIN);
		CHECK(pump(a) == 0 && state_of(0) == COH_SHARED);
		for (unsigned i = 1; i < 3; i++)
			reads[i] += coh_word_sharers(range.lines[0].word) >> i & 1;
		CHECK(fetch(a, 0, COH_W) == -EAGAIN);
		for (unsigned i = 1; i < 3; i++)
			CHECK(pump(&machines[i]) == 0);
	}
	CHECK(reads[1] == 4 && reads[2] == 4);
}

static void test_lent_is_used(void)
{
	setup(2);
	CHECK(fetch(a, 0, COH_W) == 0);
	CHECK(coh_want(&b->client, 0, 0, COH_R) == 0 && fetch(b, 0, COH_R) == -EAGAIN);
	CHECK(pump(a) == 0 && fetch(a, 0, COH_W) == -EAGAIN && state_of(0) == COH_PENDING);
	/* Asked back before B has looked: it is B's once all the same, and only once. */
	CHECK(fetch(b, 0, COH_R) == 0 && coh_prepare(&b->coh, 0, 1, COH_R) == 0);
	CHECK(coh_grant(&b->coh, &b->page, 0, 0, COH_R, false) == 0);
	CHECK(pump(b) == -EBUSY && fetch(b, 0, COH_R) == -EAGAIN);
	CHECK(coh_release(&b->client, 0) == COH_KICK && coh_serve(&b->coh, 0) == 0);
	CHECK(fetch(b, 0, COH_R) == -EAGAIN && fetch(a, 0, COH_W) == 0);
}

static void test_suspected(void)
{
	uint32_t torn;

	setup(3);
	CHECK(hold(a, 0, 0, COH_W) == 0 && hold(a, 1, 1, COH_R) == 0);
	CHECK(coh_suspect(&b->coh, 0, incarnation(a)) == 0);
	CHECK(coh_suspect(&b->coh, 0, incarnation(a)) == COH_HELD);
	CHECK(fetch(b, 1, COH_W) == 0 && fetch(b, 0, COH_W) == -EHOSTDOWN);
	CHECK(state_of(0) == COH_QUARANTINED && fetch(c, 0, COH_R) == -EHOSTDOWN);
	/* It learns of it from whatever it does, and nobody takes its word about others. */
	CHECK(coh_release(&a->client, 1) == -ESTALE && !coh_alive(&a->coh));
	CHECK(fetch(a, 2, COH_R) == -ESTALE && coh_claim(&a->coh, 2, 1) == -ESTALE);
	CHECK(coh_serve(&a->coh, 0) == -ESTALE && coh_recover(&a->coh, 0) == -ESTALE);
	CHECK(coh_suspect(&a->coh, 1, incarnation(b)) == -ESTALE);
	/* One writer was inside. */
	CHECK(coh_surrender(&a->coh, &torn) == 0 && torn == 1);
	CHECK(state_of(0) == COH_SUSPECT && fetch(b, 0, COH_W) == -EUCLEAN);
	CHECK(coh_fenced(&b->coh, 0, incarnation(a)) == COH_HELD);
}

static void test_repair_refused(void)
{
	uint32_t torn;

	setup(3);
	range.lines[0].word = coh_word(COH_SUSPECT, 0, 0, 5);
	range.lines[1].word = coh_word(COH_SUSPECT, 0, 0, 5);
	CHECK(coh_recover(&a->coh, 0) == 0 && coh_recover(&a->coh, 0) == 0);
	CHECK(coh_recover(&a->coh, 1) == 0 && coh_recover(&b->coh, 0) == -EAGAIN);
	CHECK(coh_suspect(&b->coh, 0, incarnation(a)) == 0 && coh_clean(&b->coh, 0, 0) == 0);
	CHECK(coh_clean(&b->coh, 1, 0) == 0 && state_of(0) == COH_QUARANTINED);
	CHECK(coh_abandon(&a->coh, 0) == -EPERM && coh_restore(&a->coh, 1) == -EPERM);
	/* Nobody declared these bytes good, so nobody gets them as good. */
	CHECK(coh_surrender(&a->coh, &torn) == 0 && torn == 2);
	CHECK(state_of(0) == COH_SUSPECT && state_of(1) == COH_SUSPECT);
	CHECK(fetch(b, 0, COH_R) == -EUCLEAN);
}

static int force(const char *name)
{
	static const struct {
		const char *name;
		enum morsel_mem_flush flush;
	} all[] = { { "clflush", MORSEL_MEM_FLUSH_CLFLUSH },
		    { "clflushopt", MORSEL_MEM_FLUSH_CLFLUSHOPT },
		    { "clwb", MORSEL_MEM_FLUSH_CLWB },
		    { "arm64", MORSEL_MEM_FLUSH_ARM64 } };

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(name, all[i].name) == 0)
			return morsel_mem_cpu_set_flush(all[i].flush);
	return -EINVAL;
}

int main(int argc, char **argv)
{
	pool.data = mmap(NULL, EXTENTS * COH_EXTENT_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool.data == MAP_FAILED)
		abort();
	if (argc > 1) {
		int r = force(argv[1]);

		if (r == -EOPNOTSUPP) {
			printf("skipped: this CPU has no %s\n", argv[1]);
			return 77;
		}
		if (r < 0) {
			fprintf(stderr, "no such instruction: %s\n", argv[1]);
			return 2;
		}
	}
	test_full_mailbox();
	test_mailbox_nonsense();
	test_sleep();
	test_all_hosts();
	test_damage();
	test_not_held();
	test_arguments();
	test_full_directory();
	test_order();
	test_upgrades_cross();
	test_liar();
	test_versions_wrap();
	test_turns();
	test_turns_of_lender();
	test_lent_is_used();
	test_suspected();
	test_repair_refused();
	munmap(pool.data, EXTENTS * COH_EXTENT_SIZE);
	return check_result();
}
