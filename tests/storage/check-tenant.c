/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests/lab/checks/61-policy: check-tenant NAME MIB creates and maps a morsel, without wishes of its own, and does
 * what it reads, a line each; numbers A B are MiB of the morsel. Each line is answered with one.
 *
 *	touch A B	write a word into each page
 *	evict A B	give the memory back
 *	churn N		N times: evict all, touch all
 *	nodes		bytes by NUMA node of all pages touched, as "NODE BYTES …": looked up in this process's own page
 *			tables (pagemap) and in sysfs, so that it owes nothing to the module's or the daemon's counts
 */
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libclient/morsel.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE UINT64_C(4096)
#define NODES 64

static morsel *object;
static volatile char *memory;
static uint64_t size_mib;
static bool *touched; /* by MiB */

static void die(const char *what)
{
	fprintf(stderr, "check-tenant: %s\n", what);
	exit(1);
}

static void touch(uint64_t a, uint64_t b)
{
	for (uint64_t at = a * MIB; at < b * MIB; at += PAGE)
		*(volatile uint64_t *)(memory + at) = at + 1;
	for (; a < b; a++)
		touched[a] = true;
}

static void evict(uint64_t a, uint64_t b)
{
	const struct morsel_range range = { a * MIB, (b - a) * MIB };

	if (morsel_evict(object, &range, 1) < 0)
		die("evict");
	for (; a < b; a++)
		touched[a] = false;
}

/* Of the memory block that has this frame; -1: it is in none. */
static int node_of(uint64_t frame)
{
	static GHashTable *known;
	static uint64_t block_size;
	uint64_t block;
	gpointer node;

	if (!known) {
		g_autofree char *text = NULL;

		known = g_hash_table_new(NULL, NULL);
		if (!g_file_get_contents("/sys/devices/system/memory/block_size_bytes", &text, NULL,
					 NULL))
			die("block_size_bytes");
		block_size = g_ascii_strtoull(text, NULL, 16);
	}
	block = frame * PAGE / block_size;
	if (!g_hash_table_lookup_extended(known, GSIZE_TO_POINTER(block), NULL, &node)) {
		int found = -1;

		for (int n = 0; n < NODES; n++) {
			g_autofree char *path = g_strdup_printf(
				"/sys/devices/system/memory/memory%" PRIu64 "/node%d", block, n);

			if (access(path, F_OK) == 0)
				found = n;
		}
		node = GINT_TO_POINTER(found);
		g_hash_table_insert(known, GSIZE_TO_POINTER(block), node);
	}
	return GPOINTER_TO_INT(node);
}

static void nodes(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t bytes[NODES] = {};

	if (fd < 0)
		die("pagemap");
	for (uint64_t at = 0; at < size_mib * MIB; at += PAGE) {
		uint64_t entry;
		int node;

		if (!touched[at / MIB])
			continue;
		/* What is there shows in these tables once it was used from here. */
		if (*(volatile uint64_t *)(memory + at) != at + 1)
			die("a page has lost what was written");
		if (pread(fd, &entry, sizeof(entry),
			  (off_t)(((uintptr_t)memory + at) / PAGE * sizeof(entry))) !=
		    sizeof(entry))
			die("reading pagemap");
		if (!(entry >> 63))
			die("a page that was just read is not there");
		node = node_of(entry & ((UINT64_C(1) << 55) - 1));
		if (node < 0)
			die("a page is on no node");
		bytes[node] += PAGE;
	}
	for (int n = 0; n < NODES; n++)
		if (bytes[n])
			printf("%d %" PRIu64 " ", n, bytes[n]);
	putchar('\n');
	close(fd);
}

int main(int argc, char **argv)
{
	morsel_client *c = NULL;
	void *address = NULL;
	char line[128];

	if (argc != 3)
		return 2;
	size_mib = strtoull(argv[2], NULL, 10);
	touched = g_new0(bool, size_mib);
	if (morsel_connect(NULL, &c) < 0)
		die("connect");
	if (morsel_create(c, argv[1], size_mib * MIB, NULL, &object) < 0 ||
	    morsel_map(object, 0, 0, MORSEL_RDWR, &address) < 0)
		die(morsel_error(c));
	memory = address;
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t a, b;

		if (sscanf(line, "touch %" SCNu64 " %" SCNu64, &a, &b) == 2 && a < b &&
		    b <= size_mib) {
			touch(a, b);
			puts("done");
		} else if (sscanf(line, "evict %" SCNu64 " %" SCNu64, &a, &b) == 2 && a < b &&
			   b <= size_mib) {
			evict(a, b);
			puts("done");
		} else if (sscanf(line, "churn %" SCNu64, &a) == 1) {
			for (; a > 0; a--) {
				evict(0, size_mib);
				touch(0, size_mib);
			}
			puts("done");
		} else if (strcmp(line, "nodes\n") == 0) {
			nodes();
		} else {
			die("what?");
		}
		fflush(stdout);
	}
	morsel_close(object);
	return morsel_destroy(c, argv[1]) < 0;
}
