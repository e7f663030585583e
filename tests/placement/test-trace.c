// SPDX-License-Identifier: GPL-2.0-or-later
/* Traces: what is written is read, cut or altered ones are good up to the damage, and replaying one is like being there. */
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"
#include "core/replay.h"
#include "core/test-check.h"
#include "workload.h"

#define GRANULES 1024u

/* ---- a file in memory ---------------------------------------------------------------------------------- */

static struct {
	uint8_t *data;
	size_t size;
	size_t blocks[4096]; /* where each ends */
	unsigned n_blocks;
} file;
static struct trace_writer writer;
static struct trace_cell cells[GRANULES];
static uint8_t payload[TRACE_BLOCK_MAX + 1024];

static void append(const void *data, size_t n)
{
	file.data = realloc(file.data, file.size + n);
	memcpy(file.data + file.size, data, n);
	file.size += n;
}

static void start(void)
{
	struct trace_header header;

	file.size = file.n_blocks = 0;
	trace_begin(&writer, &header, 1234567, 1, 1000, cells, GRANULES, payload);
	append(&header, sizeof(header));
}

static void flush(void)
{
	struct trace_block block;

	if (!trace_flush(&writer, &block))
		return;
	append(&block, sizeof(block));
	append(writer.payload, block.length);
	file.blocks[file.n_blocks++] = file.size;
	trace_flushed(&writer);
}

static void levels(uint32_t index, const struct plan_region *region)
{
	uint32_t at = 0;

	while (trace_levels(&writer, index, region, &at) == -ENOSPC)
		flush();
}

/* ---- levels -------------------------------------------------------------------------------------------- */

static void test_levels(void)
{
	for (unsigned l = 0; l < 256; l++) {
		CHECK(trace_level(trace_level_value((uint8_t)l)) == l);
		CHECK(l == 0 ||
		      trace_level_value((uint8_t)l) > trace_level_value((uint8_t)(l - 1)));
	}
	for (uint64_t v = 1; v < 15ull << 30; v += 1 + v / 99) {
		uint64_t back = trace_level_value(trace_level(v));

		CHECK(back <= v && (v - back) * 8 <= v);
	}
	CHECK(trace_level(UINT64_MAX) == 255);
}

/* What was not looked at keeps its level, and what was counted of it before is forgotten. */
static void test_skip(void)
{
	const struct plan_region region = { .pages = 2 * HEAT_PAGES };
	struct trace_reader reader;
	struct trace_event e;
	unsigned n = 0, granules[8] = {};

	start();
	trace_region(&writer, 0, &region, "a", 1);
	for (unsigned round = 0; round < 4; round++) {
		trace_round(&writer, 1000 + round * 1000);
		if (round != 2) {
			trace_sample(&writer, 0, 100);
			trace_sample(&writer, 1, 100);
		} else {
			trace_sample(&writer, 0, 7);
			trace_skip(&writer, 0);
		}
		levels(0, &region);
	}
	flush();
	CHECK(trace_open(&reader, file.data, file.size) == 0);
	while (trace_next(&reader, &e) > 0)
		if (e.tag == TRACE_LEVELS && n < 8)
			granules[n++] = e.granule;
	CHECK(reader.end == TRACE_GOOD);
	/* Both, then the second one down and up again. */
	CHECK(n == 4 && granules[0] == 0 && granules[1] == 1 && granules[2] == 1 &&
	      granules[3] == 1);
}

/* Rounds of Poisson noise about some means: few records, and the means are kept. */
static void test_noise(void)
{
	static const double means[] = { 0.05, 0.3, 2, 30, 1000, 100000 };
	struct plan_region region = { .pages = 6 * HEAT_PAGES };
	double seen[6] = {}, told[6] = {};
	unsigned changes = 0;

	start();
	random_state = 5;
	for (unsigned round = 0; round < 4000; round++) {
		CHECK(trace_round(&writer, 1000 + round * 1000) == 0);
		for (unsigned i = 0; i < 6; i++) {
			uint32_t n = random_poisson(means[i]);

			seen[i] += n;
			trace_sample(&writer, i, n);
		}
		levels(0, &region);
		for (unsigned i = 0; i < 6; i++)
			told[i] += (double)trace_level_value(cells[i].level) / 16;
	}
	flush();
	for (unsigned i = 0; i < 6; i++) {
		if (fabs(told[i] - seen[i]) > 0.08 * seen[i] + 60)
			printf("mean %g: %g seen, %g told\n", means[i], seen[i], told[i]);
		CHECK(fabs(told[i] - seen[i]) <= 0.08 * seen[i] + 60);
	}
	/* A round is 3 bytes, a record of changes 7 and 2 for each. */
	changes = (unsigned)file.size - 4000 * 3;
	CHECK(changes < 4000 * 9);
	/* A change is told at once, and so is the end of all. */
	trace_round(&writer, 9000000);
	trace_sample(&writer, 3, 5000);
	levels(0, &region);
	CHECK(trace_level_value(cells[3].level) > 4000 * 16);
	trace_round(&writer, 9001000);
	levels(0, &region);
	CHECK(cells[3].level == 0 && cells[4].level == 0);
}

/* ---- what is written is read --------------------------------------------------------------------------- */

static const struct plan_region two[2] = {
	{ .pages = 100 * HEAT_PAGES, .account = 1, .by_page = 1 },
	{ .first = 100, .pages = 77 * HEAT_PAGES + 3, .allow = 3, .migrate = PLAN_MIGRATE_OFF },
};

/* With many blocks. */
static void write_small(void)
{
	struct plan_account root, child;
	struct plan_path path = { .latency_ns = 100, .bandwidth_mbs = 20000 };
	struct trace_class classes[2] = { { .level = 99 }, { .level = 7 } };
	char name[TRACE_NAME_MAX + 1];

	memset(name, 'x', sizeof(name));
	plan_account_init(&root, PLAN_NO_PARENT);
	plan_account_init(&child, 0);
	child.max[1] = 12345678;
	child.low[0] = 77;
	child.weight = 300;
	classes[0].pages[3] = 0x123456789abcdef0;
	classes[1].pages[7] = 1ull << 63;
	start();
	CHECK(trace_tier(&writer, 0, &path, 1000, "fast0", 5) == 0);
	path.latency_ns = 250;
	CHECK(trace_tier(&writer, 1, &path, 1ull << 40, "slow0", 5) == 0);
	CHECK(trace_tier(&writer, 15, &path, 1, "x", 1) == -EINVAL);
	CHECK(trace_tier(&writer, 2, &path, 1, name, sizeof(name)) == -EINVAL);
	CHECK(trace_account(&writer, 0, &root, 2, "/", 1) == 0);
	CHECK(trace_account(&writer, 0, &child, 2, "/", 1) == -EINVAL);
	CHECK(trace_account(&writer, 1, &child, 2, "/a", 2) == 0);
	CHECK(trace_region(&writer, 0, &two[0], name, TRACE_NAME_MAX) == 0);
	CHECK(trace_region(&writer, 1, &two[1], "", 0) == 0);
	CHECK(trace_region(&writer, TRACE_REGIONS_MAX, &two[1], "", 0) == -EINVAL);
	CHECK(trace_place(&writer, 1, 5, 60, 1) == 0);
	flush();
	for (unsigned round = 0; round < 12; round++) {
		CHECK(trace_round(&writer, 5000 + round * 1500) == 0);
		for (uint32_t g = 0; g < 178; g++)
			trace_sample(&writer, g, g * round);
		trace_sample(&writer, GRANULES, 1);
		levels(0, &two[0]);
		levels(1, &two[1]);
		if (round == 3)
			CHECK(trace_pages(&writer, 0, 99, classes, 2) == 0);
		if (round % 3 == 2)
			flush();
	}
	CHECK(trace_gone(&writer, 0, &two[0]) == 0);
	flush();
}

/* All events as one number, and how many; and what some of them must be. */
static uint64_t read_all(const uint8_t *data, size_t size, unsigned *ret_events,
			 enum trace_end *ret_end)
{
	struct trace_reader r;
	struct trace_event e;
	uint64_t hash = 0;

	*ret_events = 0;
	if (trace_open(&r, data, size) < 0) {
		*ret_end = TRACE_DAMAGED;
		return 0;
	}
	while (trace_next(&r, &e) > 0) {
		hash = hash * 31 + e.tag;
		hash = hash * 31 + e.index;
		hash = hash * 31 + e.granule + e.granules;
		hash = hash * 31 + e.level + e.tier + e.n_classes;
		hash = hash * 31 + e.clock_ms + e.pages + e.path.latency_ns;
		hash = hash * 31 + e.account.max[1] + e.account.low[0] + e.region.pages;
		for (unsigned i = 0; i < e.name_length; i++)
			hash = hash * 31 + (uint8_t)e.name[i];
		++*ret_events;
	}
	CHECK(r.at <= size);
	*ret_end = r.end;
	return hash;
}

static void test_round_trip(void)
{
	struct trace_reader r;
	struct trace_event e;
	unsigned n = 0, rounds = 0, pages = 0;
	uint8_t now[GRANULES] = {};

	write_small();
	CHECK(trace_open(&r, file.data, file.size) == 0);
	CHECK(r.header.created == 1234567 && r.header.period_ms == 1000);
	for (; trace_next(&r, &e) > 0; n++) {
		switch (e.tag) {
		case TRACE_TIER:
			CHECK(e.path.latency_ns == (e.index ? 250 : 100) &&
			      e.path.bandwidth_mbs == 20000);
			CHECK(e.pages == (e.index ? 1ull << 40 : 1000));
			CHECK(e.name_length == 5 &&
			      !memcmp(e.name, e.index ? "slow0" : "fast0", 5));
			break;
		case TRACE_ACCOUNT:
			CHECK(e.account.parent == (e.index ? 0 : PLAN_NO_PARENT));
			CHECK(e.account.max[1] == (e.index ? 12345678 : PLAN_NO_LIMIT));
			CHECK(e.account.high[0] == PLAN_NO_LIMIT &&
			      e.account.low[0] == (e.index ? 77 : 0));
			CHECK(e.account.weight == (e.index ? 300 : 0));
			break;
		case TRACE_REGION:
			CHECK(e.region.pages == two[e.index].pages &&
			      e.region.allow == two[e.index].allow);
			CHECK(e.region.account == two[e.index].account);
			CHECK(e.region.by_page == two[e.index].by_page);
			CHECK(e.region.migrate == two[e.index].migrate);
			CHECK(e.name_length == (e.index ? 0 : TRACE_NAME_MAX));
			break;
		case TRACE_PLACE:
			CHECK(e.index == 1 && e.granule == 5 && e.granules == 60 && e.tier == 1);
			break;
		case TRACE_ROUND:
			CHECK(e.clock_ms == rounds * 1500);
			rounds++;
			break;
		case TRACE_LEVELS:
			now[two[e.index].first + e.granule] = e.level;
			break;
		case TRACE_PAGES:
			pages++;
			CHECK(e.n_classes == 2 && e.classes[0].level == 99 &&
			      e.classes[1].level == 7);
			CHECK(e.classes[0].pages[3] == 0x123456789abcdef0 &&
			      !e.classes[0].pages[2]);
			CHECK(e.classes[1].pages[7] == 1ull << 63);
			break;
		case TRACE_GONE:
			CHECK(e.index == 0);
			for (uint32_t g = 0; g < 178; g++) {
				CHECK(g < 100 ? cells[g].level == 0 : cells[g].level == now[g]);
				CHECK(fabs((double)trace_level_value(now[g]) / 16 - g * 11.) <=
				      0.5 * g * 11);
			}
			break;
		default:
			CHECK(!"a tag");
		}
	}
	CHECK(r.end == TRACE_GOOD && r.at == file.size && rounds == 12 && pages == 1);
	CHECK(trace_next(&r, &e) == 0);
}

/* Cut anywhere: what is in whole blocks is read as it was. */
static void test_cut(void)
{
	unsigned whole, n, last = 0;
	enum trace_end end;

	write_small();
	read_all(file.data, file.size, &whole, &end);
	for (size_t size = 0; size <= file.size; size++) {
		uint8_t *copy = malloc(size ? size : 1);
		bool boundary = size == sizeof(struct trace_header);

		memcpy(copy, file.data, size);
		for (unsigned i = 0; i < file.n_blocks; i++)
			boundary |= size == file.blocks[i];
		read_all(copy, size, &n, &end);
		CHECK(n >= last && n <= whole && (n == last || boundary));
		CHECK(end == (boundary				   ? TRACE_GOOD
			      : size < sizeof(struct trace_header) ? TRACE_DAMAGED
								   : TRACE_CUT));
		last = n;
		free(copy);
	}
	CHECK(last == whole);
}

/* Each byte altered: what stands before its block is read, and nothing that was not written. */
static void test_altered(void)
{
	unsigned upto[64] = {}, n;
	enum trace_end end;
	uint64_t hashes[64];

	write_small();
	hashes[0] = 0;
	for (unsigned b = 0; b < file.n_blocks; b++)
		hashes[b + 1] = read_all(file.data, file.blocks[b], &upto[b + 1], &end);
	for (size_t at = 0; at < file.size; at++) {
		unsigned block = 0;
		uint64_t hash;

		while (at >= file.blocks[block])
			block++;
		for (unsigned bit = 1; bit < 256; bit = bit == 1      ? 0x80
							: bit == 0x80 ? 0xff
								      : 256) {
			file.data[at] ^= bit;
			hash = read_all(file.data, file.size, &n, &end);
			CHECK(end != TRACE_GOOD);
			if (at < sizeof(struct trace_header))
				CHECK(n == 0);
			else
				CHECK(n == upto[block] && hash == hashes[block]);
			file.data[at] ^= bit;
		}
	}
}

/* A block that is good, and stands there twice, or is missing, or is another trace's. */
static void test_order(void)
{
	unsigned one_block, n;
	enum trace_end end;
	size_t first, second;
	uint8_t *copy;

	write_small();
	first = file.blocks[0];
	second = file.blocks[1];
	read_all(file.data, first, &one_block, &end);
	copy = malloc(file.size);
	memcpy(copy, file.data, first);
	memcpy(copy + first, file.data + second, file.blocks[2] - second);
	read_all(copy, first + file.blocks[2] - second, &n, &end);
	CHECK(n == one_block && end == TRACE_DAMAGED);
	memcpy(copy + first, file.data + sizeof(struct trace_header),
	       first - sizeof(struct trace_header));
	read_all(copy, 2 * first - sizeof(struct trace_header), &n, &end);
	CHECK(n == one_block && end == TRACE_DAMAGED);
	/* The same block behind the header of a trace that began a second later. */
	((struct trace_header *)copy)->created++;
	((struct trace_header *)copy)->crc = crc32c(0, copy, offsetof(struct trace_header, crc));
	read_all(copy, first, &n, &end);
	CHECK(n == 0 && end == TRACE_DAMAGED);
	free(copy);
}

static void test_open(void)
{
	struct trace_header h;
	struct trace_reader r;

	write_small();
	memcpy(&h, file.data, sizeof(h));
	h.version = TRACE_VERSION + 1;
	CHECK(trace_open(&r, &h, sizeof(h)) == -EUCLEAN);
	h.crc = crc32c(0, &h, offsetof(struct trace_header, crc));
	CHECK(trace_open(&r, &h, sizeof(h)) == -EOPNOTSUPP);
	CHECK(trace_open(&r, "x", 1) == -EUCLEAN);
	CHECK(trace_open(&r, NULL, 0) == -EUCLEAN);
}

/* ---- replay -------------------------------------------------------------------------------------------- */

static struct plan_tier tiers[2];
static uint64_t capacity[2];

static void set_tiers(struct sim *s, uint32_t fast)
{
	memset(tiers, 0, sizeof(tiers));
	tiers[0].from[0].latency_ns = 100;
	tiers[1].from[0].latency_ns = 250;
	capacity[0] = (uint64_t)fast * HEAT_PAGES;
	capacity[1] = (GRANULES + 8) * HEAT_PAGES;
	s->tiers = tiers;
	s->capacity = capacity;
}

/* A live run with fast granules of the near tier; recorded, if record. Its share of it. */
static double live(uint32_t fast, bool record, void (*make)(struct workload *w, unsigned round))
{
	static struct plan_region region = { .pages = GRANULES * HEAT_PAGES };
	static struct plan_account account;
	struct sim_config c = {
		.heat = { .granules = GRANULES }, .accounts = 1, .tiers = 2, .settle_ms = 100000
	};
	struct workload w;
	struct sim s;
	uint64_t size;
	void *memory;

	random_state = 11;
	workload_seed(11);
	CHECK(sim_size(&c, &size) == 0);
	memory = malloc(size);
	CHECK(sim_init(&s, &c, memory, size) == 0);
	set_tiers(&s, fast);
	plan_account_init(&account, PLAN_NO_PARENT);
	s.regions = &region;
	s.accounts = &account;
	s.n_regions = s.n_accounts = 1;
	workload_init(&w, GRANULES, false);
	if (record) {
		start();
		trace_region(&writer, 0, &region, "it", 2);
	}
	for (unsigned round = 0; round < 400; round++) {
		make(&w, round);
		sim_round(&s, 1000 + round * 1000, 1000);
		if (record)
			trace_round(&writer, 1000 + round * 1000);
		for (uint32_t g = 0; g < GRANULES; g++) {
			struct heat_sample x = { .bits = 1, .events = random_poisson(w.mean[g]) };

			if (!x.events)
				continue;
			sim_sample(&s, 0, g, &x);
			if (record)
				trace_sample(&writer, g, x.events);
		}
		if (record)
			levels(0, &region);
		if (round % 2)
			CHECK(sim_plan(&s) == 0);
	}
	flush();
	workload_done(&w);
	free(memory);
	return sim_share(s.report.settled, 0, 2) / 1e6;
}

static double replay(uint32_t fast)
{
	static uint32_t sizes[TRACE_REGIONS_MAX];
	struct sim_config c = { .tiers = 2, .settle_ms = 100000 };
	struct replay_extent extent;
	struct replay r;
	uint64_t size;
	void *memory;
	double share;

	CHECK(replay_scan(file.data, file.size, sizes, &extent) == 0);
	CHECK(extent.granules == GRANULES && extent.regions == 1 && extent.rounds == 400);
	CHECK(replay_size(&extent, &c, &size) == 0);
	memory = malloc(size);
	CHECK(replay_init(&r, file.data, file.size, &extent, sizes, &c, memory, size - 1) ==
	      -ENOSPC);
	CHECK(replay_init(&r, file.data, file.size, &extent, sizes, &c, memory, size) == 0);
	set_tiers(&r.sim, fast);
	CHECK(replay_run(&r, 2000) == 0);
	CHECK(r.sim.report.refused == 0);
	share = sim_share(r.sim.report.settled, 0, 2) / 1e6;
	free(memory);
	return share;
}

static void make_zipf(struct workload *w, unsigned round)
{
	if (round == 0)
		workload_zipf(w, 300000, 200000, 0.99);
}

static void make_hot(struct workload *w, unsigned round)
{
	if (round % 150 == 0)
		workload_hot_set(w, 300000, 100, 0.9);
}

static void make_sparse(struct workload *w, unsigned round)
{
	if (round % 200 == 0)
		workload_hot_set(w, 3000, 100, 0.5);
}

/* A recording tells what would be with another amount of the near tier, and is small. */
static void test_replay(const char *name, double within,
			void (*make)(struct workload *w, unsigned round))
{
	for (uint32_t fast = 60; fast <= 240; fast *= 2) {
		double there = live(fast, fast == 60, make), replayed = replay(fast);

		printf("%s, near tier of %u granules: live %.4f, replayed %.4f; %.1f bytes a round\n",
		       name, fast, there, replayed, (double)file.size / 400);
		CHECK(fabs(there - replayed) <= within);
	}
	/* 2 GiB, 10 MiB in four hours. */
	CHECK(file.size / 400. * 3600 * 4 <= 10 * 1048576);
}

int main(void)
{
	test_levels();
	test_skip();
	test_noise();
	test_round_trip();
	test_cut();
	test_altered();
	test_order();
	test_open();
	test_replay("zipf", 0.02, make_zipf);
	test_replay("moving hot set", 0.02, make_hot);
	/* So few accesses that no move pays: where things were first put is all. */
	test_replay("sparse", 0.02, make_sparse);
	free(file.data);
	return check_result();
}
