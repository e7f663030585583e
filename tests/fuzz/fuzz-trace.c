/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A trace. First byte: 'r': the rest is a file as it is; 'c': with its checksums and sequence put right, so that what is
 * in the blocks is read; 'b': the rest is one block's payload. What is good is replayed, if it is small. */
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "fuzz.h"
#include "replay.h"

#define require(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static uint32_t *sizes;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

static void put_right(uint8_t *data, size_t size)
{
	struct trace_header h;
	struct trace_block b;
	uint64_t sequence = 0;

	/* gcc, with the sanitizers, thinks of a failed copy. */
	if (!data || size < sizeof(h))
		return;
	memcpy(&h, data, sizeof(h));
	h.magic = TRACE_MAGIC;
	h.version = TRACE_VERSION;
	h.size = sizeof(h);
	h.crc = crc32c(0, &h, offsetof(struct trace_header, crc));
	memcpy(data, &h, sizeof(h));
	for (size_t at = sizeof(h); size - at >= sizeof(b); at += sizeof(b) + b.length) {
		memcpy(&b, data + at, sizeof(b));
		b.magic = TRACE_BLOCK_MAGIC;
		b.sequence = sequence++;
		if (b.length > size - at - sizeof(b))
			b.length = (uint32_t)(size - at - sizeof(b));
		b.payload_crc = crc32c(0, data + at + sizeof(b), b.length);
		b.crc = crc32c(h.crc, &b, offsetof(struct trace_block, crc));
		memcpy(data + at, &b, sizeof(b));
	}
}

/* A header and a block around a payload. */
static uint8_t *wrap(const uint8_t *payload, size_t n, size_t *ret_size)
{
	struct trace_header h = { .grain = 1, .period_ms = 1000 };
	struct trace_block b = { .length = (uint32_t)n };
	uint8_t *data = malloc(sizeof(h) + sizeof(b) + n);

	memcpy(data, &h, sizeof(h));
	memcpy(data + sizeof(h), &b, sizeof(b));
	memcpy(data + sizeof(h) + sizeof(b), payload, n);
	*ret_size = sizeof(h) + sizeof(b) + n;
	put_right(data, *ret_size);
	return data;
}

static void replay(const uint8_t *data, size_t size, const struct replay_extent *x)
{
	struct plan_tier tiers[2] = { { .from[0].latency_ns = 100 },
				      { .from[0].latency_ns = 250 } };
	const uint64_t capacity[2] = { x->granules / 4 * HEAT_PAGES,
				       2ull * x->granules * HEAT_PAGES };
	struct sim_config c = { .tiers = 2, .candidates = 64 };
	struct replay r;
	uint64_t bytes;
	void *memory;

	require(replay_size(x, &c, &bytes) == 0);
	memory = malloc(bytes);
	require(replay_init(&r, data, size, x, sizes, &c, memory, bytes) == 0);
	r.sim.tiers = tiers;
	r.sim.capacity = capacity;
	require(replay_run(&r, 2000) == 0);
	require(r.sim.report.rounds == x->rounds);
	require(r.sim.report.refused == 0);
	free(memory);
}

static void check(const uint8_t *data, size_t size)
{
	struct replay_extent x;
	struct trace_reader r;
	struct trace_event e;
	uint64_t rounds = 0, at = 0;

	if (replay_scan(data, size, sizes, &x) < 0)
		return;
	require(x.good <= size && x.granules <= REPLAY_GRANULES_MAX);
	require(trace_open(&r, data, size) == 0);
	while (trace_next(&r, &e) > 0) {
		require(r.at >= at && r.at <= size);
		at = r.at;
		require(e.tag > 0 && e.tag < TRACE_TAGS);
		require(!e.name_length || ((const uint8_t *)e.name > data &&
					   (const uint8_t *)e.name + e.name_length <= data + size));
		rounds += e.tag == TRACE_ROUND;
	}
	require(rounds == x.rounds && r.end == x.end);
	if (x.granules <= 4096 && x.rounds <= 256 && x.accounts <= 256)
		replay(data, size, &x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n;
	uint8_t *copy;

	if (!sizes)
		sizes = malloc(TRACE_REGIONS_MAX * sizeof(*sizes));
	if (size == 0)
		return 0;
	if (data[0] == 'b') {
		copy = wrap(data + 1, size - 1, &n);
	} else {
		n = size - 1;
		copy = malloc(n ? n : 1);
		memcpy(copy, data + 1, n);
		if (data[0] == 'c')
			put_right(copy, n);
	}
	check(copy, n);
	free(copy);
	return 0;
}
