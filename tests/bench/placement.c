/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs of tools/bench placement, run in the lab's guest under a plugin that counts their accesses:
 *
 *	bench-placement gups|zipf anon|huge|morsel MIB RATE PHASES INTERVALS
 *	bench-placement fill anon|huge|morsel MIB		only the first touch
 *
 * RATE accesses a second, INTERVALS of RATE accesses in each of PHASES. All memory is touched before, from its beginning on. Prints,
 * for ordinary memory, "pages NODE:PAGES…" after the first touch and at the end of each phase.
 *
 * gups: random updates, of which 9 in 10 go to 24 MiB; in the first phase at a half of the memory, in the next at
 * three quarters, and so on in turn. zipf: a key-value store of keys of 512 bytes, popularity by rank ^ -0.99, ranks scattered; a
 * get reads a word of each line, one in 20 is a put.
 */
#include "count-accesses.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libclient/morsel.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE UINT64_C(4096)
#define GRANULE (2 * MIB)
#define HOT (24 * MIB)
#define NAME "placement"
#define VALUE 512u
#define NODES 16
#define SLICES 50 /* of a second: how often the rate is looked after */

struct load {
	volatile uint64_t *words;
	uint64_t bytes, rate, phase;
	uint64_t random;
	/* zipf */
	uint64_t keys;
	double zeta, alpha, eta, theta;
};

static void fail(const char *what, int error)
{
	fprintf(stderr, "bench-placement: %s: %s\n", what, strerror(error));
	exit(1);
}

static uint64_t next(struct load *l)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return l->random;
}

/* Returns how many accesses it was. */
static unsigned int gups(struct load *l)
{
	uint64_t r = next(l), hot = l->bytes / 4 * (2 + l->phase % 2);
	uint64_t at = r % 10 == 0 ? (r >> 8) % l->bytes : hot + (r >> 8) % HOT;

	l->words[at / 8] ^= r;
	return 2;
}

static void zipf_init(struct load *l)
{
	l->theta = 0.99;
	l->keys = l->bytes / VALUE;
	for (uint64_t k = 1; k <= l->keys; k++)
		l->zeta += pow((double)k, -l->theta);
	l->alpha = 1 / (1 - l->theta);
	l->eta = (1 - pow(2.0 / (double)l->keys, 1 - l->theta)) /
		 (1 - (1 + pow(0.5, l->theta)) / l->zeta);
}

/* Gray et al., "Quickly generating billion-record synthetic databases", 1994. */
static uint64_t zipf_rank(struct load *l)
{
	double u = (double)(next(l) >> 11) * 0x1p-53, uz = u * l->zeta;

	if (uz < 1)
		return 0;
	if (uz < 1 + pow(0.5, l->theta))
		return 1;
	return (uint64_t)((double)l->keys * pow(l->eta * u - l->eta + 1, l->alpha)) % l->keys;
}

static unsigned int zipf(struct load *l)
{
	/* An odd factor: each rank has a place of its own among a power of two of them. */
	uint64_t slot = (zipf_rank(l) * UINT64_C(0x9e3779b97f4a7c15) >> 7) % l->keys;
	volatile uint64_t *value = l->words + slot * (VALUE / 8);
	bool put = next(l) % 20 == 0;

	for (unsigned int i = 0; i < VALUE / 64; i++) {
		if (put)
			value[i * 8] = slot;
		else
			(void)value[i * 8];
	}
	return VALUE / 64;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void run_interval(struct load *l, unsigned int (*op)(struct load *))
{
	for (unsigned int slice = 0; slice < SLICES; slice++) {
		uint64_t end = now_ns() + 1000000000 / SLICES, now;

		for (uint64_t done = 0; done < l->rate / SLICES;)
			done += op(l);
		now = now_ns();
		if (now < end)
			nanosleep(&(struct timespec){ .tv_nsec = (long)(end - now) }, NULL);
	}
}

/* Where ordinary memory is, by the kernel's word. */
static void tell_pages(const struct load *l)
{
	static void *pages[1024];
	static int status[1024];
	uint64_t count[NODES] = {};

	for (uint64_t at = 0; at < l->bytes; at += sizeof(pages) / sizeof(pages[0]) * PAGE) {
		for (unsigned int i = 0; i < 1024; i++)
			pages[i] = (char *)l->words + at + i * PAGE;
		if (syscall(SYS_move_pages, 0, 1024ul, pages, NULL, status, 0) != 0)
			fail("move_pages", errno);
		for (unsigned int i = 0; i < 1024; i++)
			if (status[i] >= 0 && status[i] < NODES)
				count[status[i]]++;
	}
	printf("pages");
	for (unsigned int i = 0; i < NODES; i++)
		if (count[i])
			printf(" %u:%" PRIu64, i, count[i]);
	printf("\n");
}

static void map_anonymous(struct load *l, bool huge)
{
	char *p = mmap(NULL, l->bytes + GRANULE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("mmap", errno);
	p += -(uintptr_t)p & (GRANULE - 1);
	if (madvise(p, l->bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) != 0)
		fail("madvise", errno);
	l->words = (volatile uint64_t *)p;
}

static morsel_client *map_morsel(struct load *l)
{
	struct morsel_options options = { MORSEL_OPTIONS_INIT };
	morsel_client *client = NULL;
	morsel *m = NULL;
	void *p = NULL;
	int r = morsel_connect(NULL, &client);

	/* One that a run left which did not come to its end. */
	if (r >= 0)
		(void)morsel_destroy(client, NAME);
	/* It keeps its name: what has none is not placed any more. */
	if (r >= 0)
		r = morsel_create(client, NAME, l->bytes, &options, &m);
	if (r >= 0)
		r = morsel_map(m, 0, 0, MORSEL_RDWR, &p);
	if (r < 0)
		fail(client ? morsel_error(client) : "morsel_connect", -r);
	l->words = p;
	return client;
}

int main(int argc, char **argv)
{
	struct load l = { .random = 0x9e3779b97f4a7c15 };
	uint64_t phases = 0, intervals = 0;
	morsel_client *client = NULL;
	unsigned int (*op)(struct load *) = NULL;
	bool managed, fill;

	setvbuf(stdout, NULL, _IOLBF, 0);
	fill = argc == 4 && strcmp(argv[1], "fill") == 0;
	if (!fill && argc != 7) {
		fprintf(stderr,
			"bench-placement gups|zipf anon|huge|morsel MIB RATE PHASES INTERVALS\n"
			"bench-placement fill anon|huge|morsel MIB\n");
		return 2;
	}
	l.bytes = strtoull(argv[3], NULL, 10) * MIB;
	if (!fill) {
		op = strcmp(argv[1], "gups") == 0   ? gups
		     : strcmp(argv[1], "zipf") == 0 ? zipf
						    : NULL;
		l.rate = strtoull(argv[4], NULL, 10);
		phases = strtoull(argv[5], NULL, 10);
		intervals = strtoull(argv[6], NULL, 10);
	}
	if (l.bytes < 128 * MIB || l.bytes & (l.bytes - 1) ||
	    (!fill && (!op || l.rate < SLICES || phases == 0 || intervals == 0))) {
		fprintf(stderr,
			"bench-placement: MIB is a power of two from 128 on, RATE at least %d, "
			"PHASES and INTERVALS at least 1\n",
			SLICES);
		return 2;
	}
	managed = strcmp(argv[2], "morsel") == 0;
	if (managed)
		client = map_morsel(&l);
	else
		map_anonymous(&l, strcmp(argv[2], "huge") == 0);
	if (op == zipf)
		zipf_init(&l);
	for (uint64_t at = 0; at < l.bytes; at += PAGE)
		l.words[at / 8] = at;
	if (!managed)
		tell_pages(&l);
	if (fill)
		return 0;
	COUNT_BEGIN(l.words, (volatile char *)l.words + l.bytes - 1);
	for (; l.phase < phases; l.phase++) {
		for (uint64_t i = 0; i < intervals; i++) {
			run_interval(&l, op);
			COUNT_INTERVAL();
		}
		COUNT_PHASE();
		if (!managed)
			tell_pages(&l);
	}
	COUNT_END();
	if (client)
		(void)morsel_destroy(client, NAME);
	return 0;
}
