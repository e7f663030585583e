/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dlfcn.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

/* Episodes from seeds, the list of choices behind each, replay, shrinking, and the mutation table. */

static const char usage[] =
	"Usage: coherency-sim [OPTION…]\n"
	"Runs core/coherency over simulated incoherent caches, with faults, against an oracle.\n\n"
	"  --steps N        stop after N steps (default 1000000)\n"
	"  --seed N         first seed (default 1; each episode has its own, counted up)\n"
	"  --mutate NAME    take one step of the protocol away (--list names them); it should fail then\n"
	"  --mutations      do that with every one of them, print the table; fails if one goes unnoticed\n"
	"  --hostile FILE   a shared object to run as a client of every host (tests/coherency/sim.h)\n"
	"  --verbose        log the faults of a failing episode's shortest replay\n"
	"  --json           figures as JSON\n";

/* ---- choices ------------------------------------------------------------------------------------------- */

/*
 * One number decides what the scheduler does in a turn; what a thread does of itself comes from its own
 * generator. So turns can be taken out of a run and the rest still means what it meant.
 */
static uint64_t episode_seed, turn_rng;
static uint64_t *tape;
static size_t tape_len, tape_pos, tape_cap;
static bool replaying;

/* splitmix64 (Steele, Lea, Flood 2014) spreads seeds that are near each other. */
static uint64_t spread(uint64_t v)
{
	v += 0x9e3779b97f4a7c15ull;
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9ull;
	v = (v ^ v >> 27) * 0x94d049bb133111ebull;
	v ^= v >> 31;
	return v ? v : 1;
}

/* xorshift64* (Vigna 2014): fast, and no secret is kept here. */
static uint64_t draw(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

unsigned sim_choose(unsigned n)
{
	struct sim_agent *a = sim_current();

	return (unsigned)((draw(a ? &a->rng : &turn_rng) >> 32) * n >> 32);
}

uint64_t sim_seed_for(uint64_t what)
{
	return spread(episode_seed ^ spread(what));
}

bool sim_next_turn(void)
{
	if (tape_len == tape_cap) {
		tape_cap = tape_cap ? 2 * tape_cap : 1 << 16;
		tape = realloc(tape, tape_cap * sizeof(*tape));
		if (!tape)
			abort();
	}
	if (!replaying) {
		tape[tape_len++] = turn_rng;
		turn_rng = spread(turn_rng);
		return true;
	}
	turn_rng = spread(tape_pos < tape_len ? tape[tape_pos] : sim_seed_for(tape_pos));
	return tape_pos++ < tape_len;
}

static void seed_episode(uint64_t seed)
{
	episode_seed = seed;
	turn_rng = sim_seed_for(0);
	replaying = false;
	tape_len = 0;
}

static char kind[12]; /* of the failure that is shrunk: the beginning of its message */

/* True if the episode passes, or fails for another reason. */
static bool replay(const uint64_t *turns, size_t n)
{
	memmove(tape, turns, n * sizeof(*turns));
	tape_len = n;
	tape_pos = 0;
	turn_rng = sim_seed_for(0);
	replaying = true;
	return sim_episode() || strncmp(kind, sim_failure, sizeof(kind) - 1) != 0;
}

/* ---- shrinking ------------------------------------------------------------------------------------------ */

/* Takes turns out of the list as long as the episode still fails. */
static size_t shrink(unsigned budget)
{
	size_t n = tape_len;
	uint64_t *best = malloc((n + 1) * sizeof(*best)), *trial = malloc((n + 1) * sizeof(*trial));

	if (!best || !trial)
		abort();
	snprintf(kind, sizeof(kind), "%.11s", sim_failure);
	memcpy(best, tape, n * sizeof(*best));
	for (size_t piece = n / 2; piece && budget; piece = piece > 1 ? (piece + 1) / 2 : 0) {
		for (size_t at = 0; at < n && budget;) {
			size_t len = piece < n - at ? piece : n - at;

			budget--;
			memcpy(trial, best, at * sizeof(*trial));
			memcpy(trial + at, best + at + len, (n - at - len) * sizeof(*trial));
			if (!replay(trial, n - len)) {
				n = tape_pos < n - len ? tape_pos : n - len;
				memcpy(best, trial, n * sizeof(*best));
			} else {
				at += len;
			}
		}
	}
	sim_verbose = true;
	replay(best, n);
	sim_verbose = false;
	free(best);
	free(trial);
	return n;
}

static void report_failure(uint64_t seed, bool verbose)
{
	struct sim_stats kept = sim_stats;

	printf("seed %" PRIu64 ": %s (after %zu turns)\n", seed, sim_failure, tape_len);
	if (verbose && seed) {
		size_t n = shrink(4000);

		printf("shrunk to %zu turns: %s\n", n, sim_failure);
	}
	sim_stats = kept;
}

/* ---- runs ----------------------------------------------------------------------------------------------- */

/* Episodes until STEPS are done or one fails; its seed in *ret_seed. */
static bool run(uint64_t steps, uint64_t seed, uint64_t *ret_seed)
{
	uint64_t until = sim_stats.steps + steps;

	if (!sim_scripts()) {
		*ret_seed = 0;
		return false;
	}
	for (; sim_stats.steps < until; seed++) {
		seed_episode(seed);
		if (!sim_episode()) {
			*ret_seed = seed;
			return false;
		}
	}
	*ret_seed = seed;
	return true;
}

static const char *mutation_name(unsigned m)
{
	static const char *const names[] = { "NONE",
#define X(name, what) #name,
					     COH_MUTATIONS(X)
#undef X
	};

	return names[m];
}

static const char *mutation_what(unsigned m)
{
	static const char *const what[] = { "nothing taken away",
#define X(name, text) text,
					    COH_MUTATIONS(X)
#undef X
	};

	return what[m];
}

static int mutations(uint64_t steps, uint64_t seed, bool json)
{
	unsigned missed = 0;

	printf(json ? "[\n" : "%-22s %-66s %10s  %s\n", "step taken away", "what it is", "steps",
	       "noticed as");
	for (unsigned m = 1; m < COH_MUT_COUNT; m++) {
		uint64_t before = sim_stats.steps, at;
		bool noticed;

		coh_mutation = (enum coh_mutation)m;
		noticed = !run(steps, seed, &at);
		missed += !noticed;
		if (json)
			printf("  {\"mutation\": \"%s\", \"noticed\": %s, \"steps\": %" PRIu64
			       ", \"seed\": %" PRIu64 "}%s\n",
			       mutation_name(m), noticed ? "true" : "false",
			       sim_stats.steps - before, at, m + 1 < COH_MUT_COUNT ? "," : "");
		else
			printf("%-22s %-66s %10" PRIu64 "  %.40s\n", mutation_name(m),
			       mutation_what(m), sim_stats.steps - before,
			       noticed ? sim_failure : "NOT NOTICED");
		fflush(stdout);
	}
	printf(json ? "]\n" : "%u steps of the protocol taken away one by one, %u not noticed\n",
	       (unsigned)COH_MUT_COUNT - 1, missed);
	return missed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void print_stats(double seconds, bool json)
{
	const struct sim_stats *s = &sim_stats;

	if (json) {
		printf("{\"steps\": %" PRIu64 ", \"stale_reads\": %" PRIu64
		       ", \"episodes\": %" PRIu64 ", \"reads\": %" PRIu64
		       ", \"handovers\": %" PRIu64 ", \"dirtied\": %" PRIu64
		       ", \"flushed_dirty\": %" PRIu64 ", \"evicted_dirty\": %" PRIu64
		       ", \"invalidated\": %" PRIu64 ", \"flush_ops\": %" PRIu64
		       ", \"seconds\": %.3f}\n",
		       s->steps, s->stale_reads, s->episodes, s->reads, s->handovers, s->dirtied,
		       s->flushed_dirty, s->evicted_dirty, s->invalidated, s->flush_ops, seconds);
		return;
	}
	printf("%" PRIu64 " steps in %" PRIu64 " episodes, %.1f s (%.1f million a second)\n",
	       s->steps, s->episodes, seconds, (double)s->steps / seconds / 1e6);
	printf("reads checked %" PRIu64 ", writes %" PRIu64 ", stale reads %" PRIu64
	       ", holds told that they were lost %" PRIu64 "\n",
	       s->reads, s->writes, s->stale_reads, s->stale_holds);
	printf("hand-overs %" PRIu64 ", upgrades %" PRIu64 ", refused with -EDEADLK %" PRIu64 "\n",
	       s->handovers, s->upgrades, s->deadlocks);
	printf("pauses %" PRIu64 ", crashes %" PRIu64 ", suspicions %" PRIu64 ", fences %" PRIu64
	       ", surrenders %" PRIu64 " (%" PRIu64 " extents torn), repairs %" PRIu64
	       ", slots reused %" PRIu64 ", versions wrapped %" PRIu64 "\n",
	       s->pauses, s->crashes, s->suspects, s->fences, s->surrenders, s->torn, s->repairs,
	       s->slots, s->wraps);
	printf("lines dirtied %" PRIu64 ", written back by flush %" PRIu64
	       " and by eviction %" PRIu64
	       "; per hand-over %.2f dirtied, %.2f flushed, %.2f invalidated\n",
	       s->dirtied, s->flushed_dirty, s->evicted_dirty,
	       (double)s->dirtied / (double)(s->handovers + !s->handovers),
	       (double)s->flushed_dirty / (double)(s->handovers + !s->handovers),
	       (double)s->invalidated / (double)(s->handovers + !s->handovers));
}

static int find_mutation(const char *name)
{
	for (unsigned m = 1; m < COH_MUT_COUNT; m++)
		if (strcmp(mutation_name(m), name) == 0)
			return (int)m;
	fprintf(stderr, "coherency-sim: no step \"%s\"; --list names them\n", name);
	exit(2);
}

static void load_hostile(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	*(void **)&sim_hostile_program = handle ? dlsym(handle, "sim_hostile") : NULL;
	if (!sim_hostile_program) {
		fprintf(stderr, "coherency-sim: %s\n", dlerror());
		exit(2);
	}
}

static uint64_t number(const char *s)
{
	char *end;
	uint64_t v = strtoull(s, &end, 10);

	if (*end || !*s) {
		fprintf(stderr, "coherency-sim: not a number: \"%s\"\n", s);
		exit(2);
	}
	return v;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "steps", 1, NULL, 's' },   { "seed", 1, NULL, 'r' },
		{ "mutate", 1, NULL, 'm' },  { "mutations", 0, NULL, 'M' },
		{ "hostile", 1, NULL, 'x' }, { "verbose", 0, NULL, 'v' },
		{ "json", 0, NULL, 'j' },    { "list", 0, NULL, 'l' },
		{ "help", 0, NULL, 'h' },    { 0 },
	};
	uint64_t steps = 1000000, seed = 1, at;
	bool verbose = false, json = false, all = false, ok;
	struct timespec t0, t1;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 's':
			steps = number(optarg);
			break;
		case 'r':
			seed = number(optarg);
			break;
		case 'm':
			coh_mutation = (enum coh_mutation)find_mutation(optarg);
			break;
		case 'M':
			all = true;
			break;
		case 'x':
			load_hostile(optarg);
			break;
		case 'v':
			verbose = true;
			break;
		case 'j':
			json = true;
			break;
		case 'l':
			for (unsigned m = 1; m < COH_MUT_COUNT; m++)
				printf("%-22s %s\n", mutation_name(m), mutation_what(m));
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc) {
		fputs(usage, stderr);
		return 2;
	}
	if (all)
		return mutations(steps, seed, json);

	clock_gettime(CLOCK_MONOTONIC, &t0);
	ok = run(steps, seed, &at);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	if (!json)
		printf("seeds %" PRIu64 " to %" PRIu64 "\n", seed, at);
	if (!ok)
		report_failure(at, verbose);
	print_stats((double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9,
		    json);
	for (unsigned i = 0; i < SIM_AGENTS; i++)
		sim_agent_free(&sim_agents[i]);
	free(tape);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
