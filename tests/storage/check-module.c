/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests/lab/checks/57-module-service: an object of the kernel module, through the service.
 *   check-module move    64 MiB written by two processes while it goes through all tiers twice: every count exact,
 *                        all of it where morseld says
 *   check-module verbs   what libmorsel does differently with such an object
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libclient/morsel.h"

#define NAME "check-module"
#define MIB (UINT64_C(1) << 20)
#define SIZE (64 * MIB)
#define PAGES (SIZE / 4096)
#define WRITERS 2
#define ROUNDS 2

struct control {
	atomic_int stop;
	_Atomic uint64_t passes[WRITERS];
};

static morsel_client *client;

static void fail(const char *what)
{
	fprintf(stderr, "check-module: %s\n", what);
	morsel_destroy(client, NAME);
	exit(1);
}

static int must(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "check-module: %s: %s: %s\n", what, strerror(-r),
			morsel_error(client));
		fail(what);
	}
	return r;
}

static void want(uint64_t got, uint64_t wanted, const char *what)
{
	if (got == wanted)
		return;
	fprintf(stderr, "check-module: %s: %" PRIu64 ", not %" PRIu64 "\n", what, got, wanted);
	fail(what);
}

static uint64_t on_tier(morsel *m, const char *tier)
{
	struct morsel_tier_bytes tiers[16];
	int n = must(morsel_residency(m, 1, tiers, 16, NULL), "residency");

	for (int i = 0; i < n && i < 16; i++)
		if (!strcmp(tiers[i].tier, tier))
			return tiers[i].bytes;
	return 0;
}

static uint64_t allocated(morsel *m)
{
	struct morsel_stat stat = { MORSEL_STAT_INIT };

	must(morsel_stat(m, &stat), "stat");
	return stat.allocated;
}

/* A writer adds one to its own word of every page, pass after pass, and says how many passes. */
static void writer(struct control *control, unsigned int which)
{
	morsel *m = NULL;
	void *p;

	must(morsel_connect(NULL, &client), "connect");
	must(morsel_open(client, NAME, MORSEL_RDWR, &m), "open");
	must(morsel_map(m, 0, 0, MORSEL_RDWR, &p), "map");
	while (!atomic_load(&control->stop)) {
		for (uint64_t i = 0; i < PAGES; i++)
			((volatile uint64_t *)p)[i * 512 + which]++;
		atomic_fetch_add(&control->passes[which], 1);
		/* Leaves the mover some of an emulated CPU. */
		usleep(20000);
	}
	_exit(0);
}

static int move(void)
{
	static const char *const ways[] = { "dram0", "mem0", "hbm0" };
	struct morsel_options options = { MORSEL_OPTIONS_INIT, .prefer = "hbm0", .populate = 1 };
	struct control *control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t moved = 0, wrong = 0;
	pid_t pids[WRITERS];
	morsel *m = NULL;
	void *p;

	must(morsel_connect(NULL, &client), "connect");
	must(morsel_create(client, NAME, SIZE, &options, &m), "create");
	want(on_tier(m, "hbm0"), SIZE, "bytes on hbm0 after populating");
	for (unsigned int i = 0; i < WRITERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			writer(control, i);
	}
	for (unsigned int i = 0; i < 3 * ROUNDS; i++) {
		struct morsel_move_result result;

		must(morsel_move(m, ways[i % 3], NULL, &result), "move");
		want(result.moved, SIZE, "bytes moved");
		want(result.failed, 0, "bytes that stayed");
		want(on_tier(m, ways[i % 3]), SIZE, ways[i % 3]);
		moved += result.moved;
	}
	atomic_store(&control->stop, 1);
	for (unsigned int i = 0; i < WRITERS; i++)
		waitpid(pids[i], NULL, 0);

	must(morsel_map(m, 0, 0, MORSEL_RDONLY, &p), "map");
	for (uint64_t i = 0; i < PAGES; i++)
		for (unsigned int w = 0; w < WRITERS; w++)
			if (((volatile uint64_t *)p)[i * 512 + w] != control->passes[w])
				wrong++;
	want(wrong, 0, "wrong words");
	printf("%d moves, %" PRIu64 " MiB; passes of the writers: %" PRIu64 ", %" PRIu64 "\n",
	       3 * ROUNDS, moved / MIB, control->passes[0], control->passes[1]);
	must(morsel_destroy(client, NAME), "destroy");
	morsel_close(m);
	return !control->passes[0] || !control->passes[1];
}

static int verbs(void)
{
	/* Not in whole granules at its end. */
	const uint64_t size = 5 * MIB + 4096;
	const struct morsel_range parts[] = { { 0, 4096 }, { 3 * MIB, MIB }, { 5 * MIB, 0 } };
	const struct morsel_range evicted = { 3 * MIB, MIB / 2 }, outside = { size, 4096 };
	morsel *m = NULL, *reader = NULL;
	unsigned char *p, *q, *tail;

	must(morsel_connect(NULL, &client), "connect");
	must(morsel_create(client, NAME, size, NULL, &m), "create");
	want(allocated(m), 0, "allocated of a new one");
	must(morsel_populate(m, parts, 3), "populate");
	want(allocated(m), MIB + 2 * 4096, "allocated by populating");
	want((uint64_t)-morsel_populate(m, &outside, 1), EINVAL, "populating outside");

	must(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&p), "map");
	memset(p, 0xa5, size);
	want(allocated(m), size, "allocated by writing");
	must(morsel_map(m, 5 * MIB, 4096, MORSEL_RDWR, (void **)&tail), "map the tail");
	want(tail[4095], 0xa5, "the last byte");
	must(morsel_unmap(tail, 4096), "unmap the tail");
	want((uint64_t)-morsel_unmap(p, 2 * MIB), EINVAL, "unmapping a part");
	want(p[2 * MIB], 0xa5, "a byte after it");

	must(morsel_evict(m, &evicted, 1), "evict");
	want(p[3 * MIB], 0, "an evicted byte");
	want(p[3 * MIB + MIB / 2], 0xa5, "one that was not evicted");
	must(morsel_advise(m, MORSEL_COLD, parts, 3), "advise");

	must(morsel_open(client, NAME, MORSEL_RDONLY, &reader), "open");
	want((uint64_t)-morsel_map(reader, 0, 0, MORSEL_RDWR, (void **)&q), EACCES, "rw of ro");
	must(morsel_map(reader, 0, 0, MORSEL_RDONLY, (void **)&q), "map for reading");
	want(q[0], 0xa5, "a byte through the other mapping");
	p[0] = 1;
	want(q[0], 1, "a byte written after it was read");
	want((uint64_t)-morsel_populate(reader, parts, 1), EACCES, "populating by a reader");
	want((uint64_t)-morsel_evict(reader, parts, 1), EACCES, "evicting by a reader");
	if (mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, morsel_fd(reader), 0) !=
	    MAP_FAILED)
		fail("a reader's descriptor can be mapped for writing");

	must(morsel_unmap(q, size), "unmap the reader's");
	/* What is mapped outlives name and handles. */
	must(morsel_destroy(client, NAME), "destroy");
	morsel_close(reader);
	morsel_close(m);
	want(p[size - 1], 0xa5, "a byte after the end of its name");
	must(morsel_unmap(p, size), "unmap");
	morsel_disconnect(client);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "move") == 0)
		return move();
	if (argc == 2 && strcmp(argv[1], "verbs") == 0)
		return verbs();
	return 2;
}
