/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

/* The scheduler, and everything that may go wrong. */

#define ACTIVE_STEPS 16000u /* of one episode, before it has to come to an end */
#define DRAIN_STEPS 400000u

struct world world;
struct sim_agent sim_agents[SIM_AGENTS];
char sim_failure[256];
bool sim_verbose;
#ifdef MORSEL_COH_MUTATE
enum coh_mutation coh_mutation;
#endif

void sim_fail(const char *format, ...)
{
	va_list ap;

	if (sim_failure[0])
		return;
	va_start(ap, format);
	vsnprintf(sim_failure, sizeof(sim_failure), format, ap);
	va_end(ap);
}

void sim_log(const char *format, ...)
{
	va_list ap;

	if (!sim_verbose)
		return;
	fprintf(stderr, "%8llu  ", (unsigned long long)sim_stats.steps);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void sim_log_cas(struct sim_agent *a, const uint64_t *p, uint64_t from, uint64_t to, bool done)
{
	for (uint32_t e = 0; e < SIM_EXTENTS; e++)
		if (p == &world.lines[e].word)
			sim_log("host %u: extent %u: %s %u/%x v%u -> %s %u/%x v%u%s", a->host, e,
				coh_state_name(coh_word_state(from)), coh_word_owner(from),
				coh_word_sharers(from), coh_word_version(from),
				coh_state_name(coh_word_state(to)), coh_word_owner(to),
				coh_word_sharers(to), coh_word_version(to), done ? "" : " (raced)");
	for (unsigned s = 0; s < COH_HOSTS; s++)
		if (p == &world.entries[s].state)
			sim_log("host %u: slot %u: %llx -> %llx%s", a->host, s,
				(unsigned long long)from, (unsigned long long)to,
				done ? "" : " (raced)");
}

/* ---- waking ------------------------------------------------------------------------------------------ */

static void wake_daemon(unsigned host)
{
	struct sim_agent *a = agent_of(host, 0);

	if (a->status == SIM_BLOCKED)
		a->status = SIM_READY;
}

void host_kick(unsigned host, uint32_t e)
{
	world.hosts[host].attention |= 1u << e;
	wake_daemon(host);
}

/* Every host notices, by its own watch over the others' state words. */
void host_event_all(void)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		world.hosts[i].event = true;
		wake_daemon(i);
	}
}

static void doorbell(struct coh_host *h, unsigned to)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		if (world.hosts[i].joined && world.hosts[i].coh.slot == to)
			wake_daemon(i);
}

/* ---- faults ------------------------------------------------------------------------------------------ */

static void boot(unsigned i)
{
	struct host *h = &world.hosts[i];

	memset(h, 0, sizeof(*h));
	h->status = HOST_RUNNING;
	h->coh.doorbell = doorbell;
	world.boots++;
	for (unsigned c = 0; c <= SIM_CLIENTS; c++)
		agent_of(i, c)->rng = sim_seed_for(world.boots << 8 | c << 4 | i | 1 << 20);
	sim_agent_start(agent_of(i, 0), daemon_main);
	for (unsigned c = 0; c < SIM_CLIENTS; c++)
		agent_of(i, c + 1)->status = SIM_DEAD;
}

/* Stores that have retired may still reach the cache, or not. */
static void stop_threads(unsigned i)
{
	for (unsigned c = 0; c <= SIM_CLIENTS; c++) {
		struct sim_agent *a = agent_of(i, c);

		while (a->stores && sim_choose(4))
			sim_drain(a, false);
		while (a->flushes && sim_choose(4))
			sim_complete(a, false);
		a->stores = a->flushes = 0;
		a->status = SIM_DEAD;
	}
}

/* CPUs stop where they are; the cache goes on writing back. */
static void crash(unsigned i)
{
	world.hosts[i].status = HOST_CRASHED;
	stop_threads(i);
	sim_stats.crashes++;
	sim_log("host %u crashes", i);
}

static void tell(unsigned slot, bool suspect, uint32_t incarnation)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		struct host *h = &world.hosts[i];

		if (!h->joined || h->coh.slot == slot || h->status == HOST_OFF ||
		    h->status == HOST_CRASHED)
			continue;
		if (suspect && !world.draining && sim_choose(2))
			continue;
		/* Old news that was not read yet gives way to newer. */
		h->news[slot].incarnation = incarnation;
		h->news[slot].suspect = suspect;
		h->news[slot].fenced = !suspect;
		wake_daemon(i);
	}
}

static enum coh_host_state pool_state(const struct host *h, uint32_t *ret_incarnation)
{
	uint64_t w = world.entries[h->coh.slot].state;

	*ret_incarnation = coh_host_word_incarnation(w);
	/* The slot may be another's by now. */
	if (!h->joined || coh_host_word_incarnation(h->coh.alive) != *ret_incarnation)
		return COH_HOST_FREE;
	return coh_host_word_state(w);
}

/* Power off from outside, then the news. */
static void fence(unsigned i)
{
	struct host *h = &world.hosts[i];
	uint32_t incarnation;

	if (h->status == HOST_OFF || pool_state(h, &incarnation) != COH_HOST_SUSPECTED)
		return;
	stop_threads(i);
	sim_cache_lose(i);
	h->status = HOST_OFF;
	h->joined = false;
	for (unsigned c = 0; c < SIM_CLIENTS; c++)
		memset(h->client[c].holds, 0, sizeof(h->client[c].holds));
	sim_stats.fences++;
	sim_log("host %u is fenced (slot %u)", i, h->coh.slot);
	tell(h->coh.slot, false, incarnation);
}

static void suspect(unsigned i)
{
	struct host *h = &world.hosts[i];
	uint32_t incarnation;

	if (h->joined && pool_state(h, &incarnation) == COH_HOST_ALIVE) {
		sim_log("host %u gets suspected (slot %u)", i, h->coh.slot);
		tell(h->coh.slot, true, incarnation);
	}
}

static void pause_host(unsigned i)
{
	if (world.hosts[i].status != HOST_RUNNING || !world.hosts[i].joined)
		return;
	world.hosts[i].status = HOST_PAUSED;
	sim_stats.pauses++;
	sim_log("host %u pauses", i);
	/* Long, or shorter than anybody notices. */
	if (world.mood == MOOD_ZOMBIES && sim_choose(2))
		suspect(i);
}

/* In the middle of a hold. */
static void pause_holder(unsigned i)
{
	for (unsigned c = 0; c < SIM_CLIENTS; c++)
		for (uint32_t e = 0; e < SIM_EXTENTS; e++)
			if (world.hosts[i].client[c].holds[e]) {
				pause_host(i);
				return;
			}
}

/* Decided, not yet done: between the load that a compare-and-swap is based on and itself. */
void sim_before_cas(struct sim_agent *a, const uint64_t *p, uint64_t from, uint64_t to)
{
	unsigned rarely = 256;

	if (world.draining || world.mood < MOOD_SLOTS)
		return;
	/* Most of all when it is about another host. */
	for (uint32_t e = 0; e < world.extents; e++)
		if (p == &world.lines[e].word && coh_word_sharers(from) & ~coh_word_sharers(to) &
							 ~(1u << world.hosts[a->host].coh.slot))
			rarely = 3;
	if (sim_choose(rarely) == 1) {
		pause_host(a->host);
		sim_give_way(a);
	}
}

/* The daemon looks around. */
static void timer(unsigned i)
{
	if (world.hosts[i].status == HOST_RUNNING && world.hosts[i].joined) {
		world.hosts[i].timer = true;
		wake_daemon(i);
	}
}

static void fault(void)
{
	unsigned i = sim_choose(SIM_HOSTS), c;
	/* Cases below that keep slots going round. */
	static const uint8_t slots[8] = { 1, 3, 3, 6, 8, 9, 9, 14 };
	struct host *h = &world.hosts[i];

	switch (world.mood == MOOD_SLOTS ? slots[sim_choose(8)] : sim_choose(16)) {
	case 1:
	case 2:
		pause_host(i);
		break;
	case 3:
	case 4:
		if (h->status == HOST_PAUSED) {
			h->status = HOST_RUNNING;
			sim_log("host %u goes on", i);
		}
		break;
	case 5:
		if (h->status == HOST_RUNNING && h->joined && sim_choose(2))
			crash(i);
		break;
	case 6:
	case 7:
		/* Rightly, or because an observer was impatient. */
		if (h->status != HOST_RUNNING || sim_choose(3) == 2)
			suspect(i);
		break;
	case 8:
		fence(i);
		break;
	case 9:
		if (h->status == HOST_OFF) {
			sim_log("host %u boots", i);
			boot(i);
		}
		break;
	case 10:
		c = sim_choose(SIM_CLIENTS);
		if (h->status == HOST_RUNNING && h->joined &&
		    (h->client[c].hostile || sim_choose(2))) {
			sim_log("client %u of host %u dies", c, i);
			client_kill(i, c);
		}
		break;
	case 11:
		c = sim_choose(SIM_CLIENTS);
		if (h->client[c].request.waiting && !h->client[c].request.done) {
			h->client[c].request.cancel = true;
			host_kick(i, h->client[c].request.e);
		}
		break;
	case 12:
		if (h->status == HOST_OFF)
			boot(i);
		break;
	case 13:
		fence(i);
		break;
	default:
		timer(i);
		break;
	}
}

/* ---- memory does what it likes ------------------------------------------------------------------------ */

static void memory_event(void)
{
	struct sim_agent *a = &sim_agents[sim_choose(SIM_AGENTS)];
	uint32_t line = sim_choose(SIM_LINES);

	sim_stats.steps++;
	switch (sim_choose(8)) {
	case 0:
	case 1:
		sim_drain(a, false);
		break;
	case 2:
	case 3:
		sim_complete(a, false);
		break;
	case 4:
		sim_evict(a->host, line);
		break;
	case 5:
		sim_write_back(a->host, line);
		break;
	default:
		sim_prefetch(a->host, line);
		break;
	}
}

/* ---- episodes ------------------------------------------------------------------------------------------ */

static struct sim_agent *pick_ready(void)
{
	unsigned first = sim_choose(SIM_AGENTS);

	/* The first that can run, from one that was chosen by name: without the turns before, it means the same. */
	for (unsigned i = 0; i < SIM_AGENTS; i++) {
		struct sim_agent *a = &sim_agents[(first + i) % SIM_AGENTS];

		if (a->status == SIM_READY && world.hosts[a->host].status == HOST_RUNNING)
			return a;
	}
	return NULL;
}

static bool clients_left(void)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		for (unsigned c = 0; c < SIM_CLIENTS; c++)
			if (agent_of(i, c + 1)->status != SIM_DEAD &&
			    world.hosts[i].status == HOST_RUNNING)
				return true;
	return false;
}

/* No more faults: what is paused goes on, what crashed is fenced, and every client must come to its end. */
static void begin_draining(void)
{
	world.draining = true;
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		if (world.hosts[i].status == HOST_PAUSED)
			world.hosts[i].status = HOST_RUNNING;
		for (unsigned c = 0; c < SIM_CLIENTS; c++)
			if (world.hosts[i].client[c].hostile &&
			    world.hosts[i].status == HOST_RUNNING)
				client_kill(i, c);
	}
	host_event_all();
}

/* While draining: suspect and fence what crashed, by whoever is left. */
static void bury(void)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		struct host *h = &world.hosts[i];
		uint32_t incarnation;

		if (h->status != HOST_CRASHED)
			continue;
		switch (pool_state(h, &incarnation)) {
		case COH_HOST_JOINING:
		case COH_HOST_ALIVE:
			tell(h->coh.slot, true, incarnation);
			break;
		case COH_HOST_SUSPECTED:
			fence(i);
			break;
		default:
			break;
		}
	}
}

static void log_state(void)
{
	for (uint32_t e = 0; e < SIM_EXTENTS; e++)
		sim_log("extent %u: %s owner %u sharers %x version %u tag %llx", e,
			coh_state_name(coh_word_state(world.lines[e].word)),
			coh_word_owner(world.lines[e].word), coh_word_sharers(world.lines[e].word),
			coh_word_version(world.lines[e].word),
			(unsigned long long)world.lines[e].tag);
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		struct host *h = &world.hosts[i];

		sim_log("host %u: status %d slot %u state %llx daemon %d attention %x notify %llx",
			i, h->status, h->coh.slot,
			(unsigned long long)world.entries[h->coh.slot].state,
			agent_of(i, 0)->status, h->attention,
			(unsigned long long)world.mail[h->coh.slot].notify);
		for (uint32_t e = 0; e < SIM_EXTENTS; e++)
			sim_log("  local %u: gate %llx valid %llx dirty %llx want %llx", e,
				(unsigned long long)h->local[e].gate,
				(unsigned long long)h->local[e].valid,
				(unsigned long long)h->local[e].dirty,
				(unsigned long long)h->local[e].want);
		for (unsigned c = 0; c < SIM_CLIENTS; c++)
			sim_log("  client %u: %d, waits %d done %d for %u mode %d, hold %llx %llx, locks %x %x %x lock wait %d hostile %d",
				c, agent_of(i, c + 1)->status, h->client[c].request.waiting,
				h->client[c].request.done, h->client[c].request.e,
				h->client[c].request.mode,
				(unsigned long long)h->client[c].page.hold[0],
				(unsigned long long)h->client[c].page.hold[1],
				h->client[c].locks_read[0] | h->client[c].locks_write[0],
				h->client[c].locks_read[1] | h->client[c].locks_write[1],
				h->client[c].locks_read[2] | h->client[c].locks_write[2],
				h->client[c].wants_lock, h->client[c].hostile);
	}
}

static void standstill(void)
{
	char where[160];
	int n = 0;

	log_state();

	where[0] = 0;
	for (unsigned i = 0; i < SIM_HOSTS && n < 120; i++)
		for (unsigned c = 0; c < SIM_CLIENTS && n < 120; c++)
			if (agent_of(i, c + 1)->status != SIM_DEAD)
				n += snprintf(where + n, sizeof(where) - (size_t)n,
					      " host %u client %u (extent %u)", i, c,
					      world.hosts[i].client[c].request.e);
	sim_fail("no progress:%s", where);
}

static void setup(void)
{
	memset(&world, 0, sizeof(world));
	sim_memory_reset();
	world.pool = (struct coh_pool){ &world.header, world.entries, world.mail,
					world.lines,   sim_data,      SIM_EXTENTS };
	memset(world.last_writer, 0xff, sizeof(world.last_writer));
	/* Some episodes are calm, others are not. */
	world.fault_rate = 2u << sim_choose(7);
	world.mood = (enum mood)sim_choose(MOODS);
	world.extents = 1 + sim_choose(SIM_EXTENTS);
	world.writers = sim_choose(4) ? 4 : 1;
	if (world.mood == MOOD_SLOTS || world.mood == MOOD_REPAIRS)
		world.fault_rate |= 64;
	/* Near the wrap of versions half of the time; an epoch near the end of its 32 bits as well. */
	for (uint32_t e = 0; e < SIM_EXTENTS; e++) {
		bool used = sim_choose(8) != 7;

		world.lines[e].word = coh_word(used ? COH_INVALID : COH_FREE, 0, 0,
					       sim_choose((unsigned)COH_VERSION_MASK + 1));
		world.lines[e].tag = world.names[e] = used ? ++world.stamp << 1 | 1 : 0;
	}
	world.header.epoch = sim_choose(2) ? 0xfffffffeull : 0;
	for (unsigned s = 0; s < COH_HOSTS; s++)
		world.entries[s].seen = world.header.epoch;
	for (unsigned i = 0; i < SIM_AGENTS; i++) {
		sim_agents[i].host = i / (1 + SIM_CLIENTS);
		sim_agents[i].client = i % (1 + SIM_CLIENTS);
		sim_agents[i].status = SIM_DEAD;
		sim_agents[i].stores = sim_agents[i].flushes = 0;
	}
	/* At least four at the start. */
	for (unsigned i = 0; i < SIM_HOSTS - sim_choose(2); i++)
		boot(i);
}

bool sim_episode(void)
{
	uint64_t start = sim_stats.steps, turns = 0;

	sim_failure[0] = 0;
	setup();
	sim_stats.episodes++;
	while (!sim_failure[0]) {
		struct sim_agent *a;
		bool eventful;

		turns++;
		if (!sim_next_turn() && !world.draining)
			begin_draining();
		if (!world.draining &&
		    (sim_stats.steps - start > ACTIVE_STEPS || turns > 8 * ACTIVE_STEPS))
			begin_draining();
		eventful = sim_choose(8) == 7;
		if (eventful)
			memory_event();
		if (!world.draining && sim_choose(4096) > 4095 - world.fault_rate)
			fault();
		if (!world.draining && world.mood == MOOD_ZOMBIES && sim_choose(512) == 511)
			pause_holder(sim_choose(SIM_HOSTS));
		if (!world.draining && sim_choose(32) == 31)
			timer(sim_choose(SIM_HOSTS));
		if (world.draining && turns % 256 == 0)
			bury();
		a = eventful ? NULL : pick_ready();
		if (a) {
			sim_agent_run(a);
		} else if (!eventful) {
			sim_stats.steps++; /* all wait: time passes */
			if (world.draining && clients_left()) {
				/* Stores and flushes first come to rest, then it counts. */
				for (unsigned i = 0; i < SIM_AGENTS; i++) {
					if (world.hosts[sim_agents[i].host].status == HOST_OFF)
						continue;
					sim_drain(&sim_agents[i], true);
					sim_complete(&sim_agents[i], true);
				}
				bury();
				if (!pick_ready() && clients_left())
					standstill();
			} else if (!world.draining && sim_choose(4) == 0) {
				fault();
			}
		}
		if (world.draining && !clients_left())
			break;
		if (sim_stats.steps - start > ACTIVE_STEPS + DRAIN_STEPS)
			standstill();
	}
	sim_stats.wraps += world.header.era;
	return !sim_failure[0];
}
