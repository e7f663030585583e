/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "sim.h"

/*
 * Two interleavings that chance meets once in 10^9 steps: written down. Plain memory, three hosts, and a hook
 * that lets the others act in the middle of one host's compare-and-swap.
 */

static struct {
	struct coh_header header;
	struct coh_host_entry entries[COH_HOSTS];
	struct coh_mailbox mail[COH_HOSTS];
	struct coh_line lines[1];
} pool_memory;

static const struct coh_pool pool = {
	&pool_memory.header, pool_memory.entries, pool_memory.mail, pool_memory.lines, NULL, 1
};

struct script_host {
	struct morsel_mem mem;
	struct coh_host coh;
	struct coh_local local[1];
};

static struct script_host dead, observer, other, newcomer;
static uint64_t *stop_at; /* the word whose next cas by OBSERVER is interrupted */
static unsigned old_slot;

static uint64_t s_load(struct morsel_mem *mem, const uint64_t *p)
{
	return *p;
}

static void s_store(struct morsel_mem *mem, uint64_t *p, uint64_t v)
{
	*p = v;
}

static void others_act(void);

static bool s_cas(struct morsel_mem *mem, uint64_t *p, uint64_t *expected, uint64_t desired)
{
	if (mem == &observer.mem && p == stop_at) {
		stop_at = NULL;
		others_act();
	}
	if (*p != *expected) {
		*expected = *p;
		return false;
	}
	*p = desired;
	return true;
}

static void s_nothing(struct morsel_mem *mem)
{
}

static void s_range(struct morsel_mem *mem, const void *p, size_t n)
{
}

static const struct morsel_mem_ops script_ops = { s_load,  s_store, s_cas,    s_nothing,
						  s_range, s_range, s_nothing };

static int join(struct script_host *h, uint64_t id)
{
	const uint64_t ids[2] = { id, id };

	memset(h, 0, sizeof(*h));
	h->mem.ops = &script_ops;
	h->coh = (struct coh_host){ .mem = &h->mem, .pool = &pool, .local = h->local };
	return coh_join(&h->coh, ids);
}

static uint32_t incarnation(const struct script_host *h)
{
	return coh_host_word_incarnation(h->coh.alive);
}

static void reap_and_reuse(bool observer_is_quiet)
{
	for (unsigned i = 0; i < 4; i++) {
		if (observer_is_quiet)
			coh_quiesce(&observer.coh);
		coh_quiesce(&other.coh);
		coh_reap(&other.coh, old_slot);
	}
	if (join(&newcomer, 4) < 0)
		sim_fail("script: a host could not join");
}

static void others_act(void)
{
	reap_and_reuse(false);
	/* The newcomer reads the same extent: the word looks exactly as the observer remembers it. */
	if (coh_fetch(&newcomer.coh, 0, 7, COH_R, false) < 0)
		sim_fail("script: a host could not read");
}

static void setup(enum coh_mode mode)
{
	memset(&pool_memory, 0, sizeof(pool_memory));
	pool_memory.lines[0].word = coh_word(COH_INVALID, 0, 0, 1);
	pool_memory.lines[0].tag = 7;
	if (join(&dead, 1) < 0 || join(&observer, 2) < 0 || join(&other, 3) < 0 ||
	    coh_fetch(&dead.coh, 0, 7, mode, false) < 0)
		sim_fail("script: the hosts could not be set up");
	old_slot = dead.coh.slot;
	coh_suspect(&other.coh, old_slot, incarnation(&dead));
	coh_fenced(&other.coh, old_slot, incarnation(&dead));
}

/* A host cleans up after a dead one, and stops before its cas; the slot must not become another's meanwhile. */
static void script_reuse(void)
{
	setup(COH_R);
	coh_quiesce(&observer.coh); /* so that the first grace period is over */
	stop_at = &pool_memory.lines[0].word;
	coh_clean(&observer.coh, 0, old_slot);
	if (!(coh_word_sharers(pool_memory.lines[0].word) >> newcomer.coh.slot & 1))
		sim_fail("script: a new host lost what it holds to the clean-up after an old one");
}

/* The news that a slot's old host was fenced comes when the slot's new host is merely suspected. */
static void script_late_news(void)
{
	setup(COH_R);
	coh_clean(&observer.coh, 0, old_slot);
	reap_and_reuse(true);
	if (newcomer.coh.slot != old_slot)
		sim_fail("script: the slot was not used again");
	if (coh_fetch(&newcomer.coh, 0, 7, COH_W, false) < 0)
		sim_fail("script: a host could not write");
	coh_suspect(&other.coh, old_slot, incarnation(&newcomer));
	coh_fenced(&observer.coh, old_slot, incarnation(&dead));
	coh_clean(&observer.coh, 0, old_slot);
	if (coh_word_state(pool_memory.lines[0].word) != COH_QUARANTINED)
		sim_fail("script: an extent left quarantine though its owner can still write");
}

bool sim_scripts(void)
{
	sim_failure[0] = 0;
	script_reuse();
	script_late_news();
	return !sim_failure[0];
}
