// SPDX-License-Identifier: GPL-2.0-or-later
/* make-trace FILE: five minutes of two tenants with 256 MiB each, whose hot sets move; tiers fast0, slow0; cgroups /, /a, /b. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/trace.h"
#include "workload.h"

#define EACH 128u

static FILE *file;
static struct trace_writer writer;
static struct trace_cell cells[2 * EACH];
static uint8_t payload[TRACE_BLOCK_MAX + 1024];

static void require(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static void flush(void)
{
	struct trace_block block;

	if (!trace_flush(&writer, &block))
		return;
	require(fwrite(&block, sizeof(block), 1, file) == 1, "write");
	require(fwrite(writer.payload, 1, block.length, file) == block.length, "write");
	trace_flushed(&writer);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "/", "/a", "/b" };
	struct plan_region regions[2] = {
		{ .pages = EACH * HEAT_PAGES, .account = 1 },
		{ .first = EACH, .pages = EACH * HEAT_PAGES, .account = 2 },
	};
	struct plan_path path = { .latency_ns = 100, .bandwidth_mbs = 100000 };
	struct plan_account account;
	struct trace_header header;
	struct workload w[2];

	require(argc == 2, "make-trace FILE");
	file = fopen(argv[1], "wb");
	require(file, argv[1]);
	trace_begin(&writer, &header, 0, 1, 1000, cells, 2 * EACH, payload);
	require(fwrite(&header, sizeof(header), 1, file) == 1, "write");
	trace_tier(&writer, 0, &path, 64 * HEAT_PAGES, "fast0", 5);
	path.latency_ns = 250;
	trace_tier(&writer, 1, &path, 512 * HEAT_PAGES, "slow0", 5);
	for (uint32_t a = 0; a < 3; a++) {
		plan_account_init(&account, a ? 0 : PLAN_NO_PARENT);
		trace_account(&writer, a, &account, 2, names[a], strlen(names[a]));
	}
	trace_region(&writer, 0, &regions[0], "first", 5);
	trace_region(&writer, 1, &regions[1], "second", 6);
	for (unsigned i = 0; i < 2; i++)
		workload_init(&w[i], EACH, false);
	for (unsigned round = 0; round < 300; round++) {
		trace_round(&writer, 1000 + round * 1000);
		/* The first one is on slow0 and half of it moves in the middle of the time; the second one stays on fast0. */
		if (round == 0) {
			trace_place(&writer, 0, 0, EACH, 1);
			trace_place(&writer, 1, 0, EACH, 0);
		} else if (round == 150) {
			trace_place(&writer, 0, 0, EACH / 2, 0);
		}
		for (uint32_t i = 0; i < 2; i++) {
			uint32_t at = 0;

			if (round % 100 == 0)
				workload_hot_set(&w[i], 200000, 24, 0.9);
			for (uint32_t g = 0; g < EACH; g++)
				trace_sample(&writer, i * EACH + g, random_poisson(w[i].mean[g]));
			while (trace_levels(&writer, i, &regions[i], &at) == -ENOSPC)
				flush();
		}
		if (round % 10 == 9)
			flush();
	}
	flush();
	for (unsigned i = 0; i < 2; i++)
		workload_done(&w[i]);
	require(fclose(file) == 0, argv[1]);
	return 0;
}
