/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Through the service, as an administrator sees it: 256 MiB on the slow node, written by two processes
 * while it goes to HBM and back ten times. Every count must be exact, and the residency that morseld tells
 * must be what numa_maps of a process that maps it says.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libclient/morsel.h"

#define NAME "check-service"
#define SIZE (UINT64_C(256) << 20)
#define PAGES (SIZE / 4096)
#define WRITERS 2
#define ROUNDS 10

struct control {
	atomic_int stop;
	_Atomic uint64_t passes[WRITERS];
};

static void must(int r, const char *what, const morsel_client *c)
{
	if (r >= 0)
		return;
	fprintf(stderr, "check-service: %s: %s\n", what, c ? morsel_error(c) : strerror(-r));
	morsel_destroy((morsel_client *)c, NAME);
	exit(1);
}

/* A writer adds one to its own word of every page, pass after pass, and says how many passes. */
static void writer(struct control *control, unsigned int which)
{
	morsel_client *c = NULL;
	morsel *m = NULL;
	void *p;

	must(morsel_connect(NULL, &c), "connect", NULL);
	must(morsel_open(c, NAME, MORSEL_RDWR, &m), "open", c);
	must(morsel_map(m, 0, 0, MORSEL_RDWR, &p), "map", c);
	while (!atomic_load(&control->stop)) {
		for (uint64_t i = 0; i < PAGES; i++)
			((volatile uint64_t *)p)[i * 512 + which]++;
		atomic_fetch_add(&control->passes[which], 1);
		/* Leaves the mover some of an emulated CPU. */
		usleep(20000);
	}
	_exit(0);
}

/* Bytes of the mapping at p on node, by the kernel's own account. */
static uint64_t numa_maps_bytes(const void *p, int node)
{
	uint64_t pages = 0;
	char line[1024], want[32];
	FILE *f = fopen("/proc/self/numa_maps", "re");

	snprintf(want, sizeof(want), " N%d=", node);
	while (f && fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, want);

		if (strtoull(line, NULL, 16) == (uintptr_t)p && at)
			pages = strtoull(at + strlen(want), NULL, 10);
	}
	if (f)
		fclose(f);
	return pages * 4096;
}

static uint64_t on_tier(morsel *m, const morsel_client *c, const char *tier)
{
	struct morsel_tier_bytes tiers[16];
	int n = morsel_residency(m, 1, tiers, 16, NULL);

	must(n, "residency", c);
	for (int i = 0; i < n && i < 16; i++)
		if (!strcmp(tiers[i].tier, tier))
			return tiers[i].bytes;
	return 0;
}

int main(void)
{
	static const struct {
		const char *tier;
		int node;
	} ways[2] = { { "hbm0", 1 }, { "mem0", 2 } };
	struct morsel_options options = { MORSEL_OPTIONS_INIT, .prefer = "mem0", .populate = 1 };
	struct control *control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t moved = 0, failed = 0, told, counted, wrong = 0;
	morsel_client *c = NULL;
	pid_t pids[WRITERS];
	morsel *m = NULL;
	void *p;

	must(morsel_connect(NULL, &c), "connect", NULL);
	must(morsel_create(c, NAME, SIZE, &options, &m), "create", c);
	for (unsigned int i = 0; i < WRITERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			writer(control, i);
	}
	for (unsigned int i = 0; i < 2 * ROUNDS; i++) {
		struct morsel_move_result result;

		must(morsel_move(m, ways[i % 2].tier, NULL, &result), "move", c);
		moved += result.moved;
		failed += result.failed;
	}
	atomic_store(&control->stop, 1);
	for (unsigned int i = 0; i < WRITERS; i++)
		waitpid(pids[i], NULL, 0);

	must(morsel_map(m, 0, 0, MORSEL_RDONLY, &p), "map", c);
	for (uint64_t i = 0; i < PAGES; i++)
		for (unsigned int w = 0; w < WRITERS; w++)
			if (((volatile uint64_t *)p)[i * 512 + w] != control->passes[w])
				wrong++;
	told = on_tier(m, c, "mem0");
	counted = numa_maps_bytes(p, 2);
	printf("%d moves: %" PRIu64 " MiB moved, %" PRIu64
	       " bytes stayed; passes of the writers: %" PRIu64 ", %" PRIu64
	       "; wrong words: %" PRIu64 "; on mem0 by morseld %" PRIu64 ", by numa_maps %" PRIu64
	       "\n",
	       2 * ROUNDS, moved >> 20, failed, control->passes[0], control->passes[1], wrong, told,
	       counted);
	must(morsel_destroy(c, NAME), "destroy", c);
	morsel_close(m);
	morsel_disconnect(c);
	return wrong || told != counted || moved < 2 * ROUNDS * SIZE / 2 || !control->passes[0] ||
	       !control->passes[1];
}
