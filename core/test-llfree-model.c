/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * One thread against a naive model: an array that knows each frame. The model is exact in both
 * ways: a get may fail only if it finds no run either, and a put must fail if it says that a frame
 * is free.
 */
#include "test-llfree.h"

struct model {
	struct pool p;
	uint64_t frames, children;
	unsigned char *used;	/* per frame */
	unsigned char *whole;	/* per child: allocated as a huge frame, no part put yet */
	unsigned char *offline; /* per child */
	uint64_t random;
};

static void model_new(struct model *m, const struct llfree_config *config)
{
	pool_new(&m->p, config);
	m->frames = config->frames;
	m->children = (m->frames + 511) / 512;
	m->used = calloc(m->frames, 1);
	m->whole = calloc(m->children, 1);
	m->offline = calloc(m->children, 1);
	m->random = test_seed;
	check(m->used && m->whole && m->offline);
}

static void model_done(struct model *m)
{
	pool_done(&m->p);
	free(m->used);
	free(m->whole);
	free(m->offline);
}

static bool run_is(struct model *m, uint64_t frame, unsigned order, int used)
{
	for (uint64_t f = frame; f < frame + (1ull << order); f++)
		if (m->used[f] != used || (!used && m->offline[f / 512]))
			return false;
	return true;
}

static bool any_run(struct model *m, unsigned order)
{
	uint64_t n = 1ull << order;

	for (uint64_t f = 0; f + n <= m->frames; f += n)
		if (run_is(m, f, order, 0))
			return true;
	return false;
}

static void taken(struct model *m, uint64_t frame, unsigned order)
{
	uint64_t n = 1ull << order;

	check(frame % n == 0 && frame + n <= m->frames);
	check(run_is(m, frame, order, 0));
	memset(m->used + frame, 1, n);
	for (uint64_t c = frame / 512; order >= 9 && c < (frame + n) / 512; c++)
		m->whole[c] = 1;
}

static void do_get(struct model *m, unsigned order, unsigned class, unsigned slot)
{
	uint64_t frame = ~0ull;
	int r = llfree_get(&m->p.a, req(order, class, slot), &frame);

	if (r == LLFREE_ENOMEM) {
		check(!any_run(m, order));
		check_eq(frame, ~0ull);
		return;
	}
	check(r == 0 || r == LLFREE_GOT_ZEROED);
	taken(m, frame, order);
}

static void do_get_at(struct model *m, uint64_t frame, unsigned order)
{
	bool can = run_is(m, frame, order, 0);
	int r = llfree_get_at(&m->p.a, frame, req(order, 0, 0));

	check_eq(r >= 0, can);
	if (can)
		taken(m, frame, order);
	else
		check_eq(r, LLFREE_EBUSY);
}

/* Any aligned run, allocated or not. */
static void do_put(struct model *m, uint64_t frame, unsigned order, unsigned class, unsigned slot)
{
	uint64_t n = 1ull << order;
	bool can = true;

	for (uint64_t f = frame; f < frame + n; f++)
		can = can && m->used[f];
	for (uint64_t c = frame / 512; order >= 9 && c < (frame + n) / 512; c++)
		can = can && m->whole[c];

	int r = llfree_put(&m->p.a, frame, req(order, class, slot));

	check_eq(r, can ? 0 : LLFREE_ENOTALLOC);
	if (!can)
		return;
	memset(m->used + frame, 0, n);
	for (uint64_t c = frame / 512; c <= (frame + n - 1) / 512; c++)
		m->whole[c] = 0;
}

static void do_offline(struct model *m, uint64_t child)
{
	bool is_free = true;

	for (uint64_t f = child * 512; f < child * 512 + 512 && f < m->frames; f++)
		is_free = is_free && !m->used[f];
	if (m->offline[child]) {
		check_eq(llfree_offline(&m->p.a, child, 1, LLFREE_OFFLINE_DRAIN), LLFREE_EALREADY);
		check_eq(llfree_online(&m->p.a, child, 1, 0), 0);
		m->offline[child] = 0;
		return;
	}
	if (test_random(&m->random) % 2) {
		check_eq(llfree_offline(&m->p.a, child, 1, 0), is_free ? 0 : LLFREE_EBUSY);
		m->offline[child] = is_free;
	} else {
		check_eq(llfree_offline(&m->p.a, child, 1, LLFREE_OFFLINE_DRAIN),
			 is_free ? 0 : LLFREE_EBUSY);
		m->offline[child] = 1;
	}
}

static void compare(struct model *m)
{
	struct llfree_stats fast, exact;
	uint64_t used = 0, barred = 0, offline = 0;

	for (uint64_t f = 0; f < m->frames; f++) {
		used += m->used[f];
		barred += !m->used[f] && m->offline[f / 512];
	}
	for (uint64_t c = 0; c < m->children; c++)
		offline += m->offline[c];
	check_eq(llfree_check(&m->p.a), 0);
	check_eq(llfree_stats_fast(&m->p.a, &fast), 0);
	check_eq(llfree_stats_exact(&m->p.a, &exact), 0);
	check_eq(memcmp(&fast, &exact, sizeof(fast)), 0);
	check_eq(exact.frames, m->frames);
	check_eq(exact.used, used);
	check_eq(exact.barred, barred);
	check_eq(exact.free, m->frames - used - barred);
	check_eq(exact.offline_huge, offline);
	for (int i = 0; i < 50; i++) {
		uint64_t f = test_random(&m->random) % m->frames;

		check_eq(llfree_is_free(&m->p.a, f, 0), !m->used[f]);
	}
}

static unsigned random_order(struct model *m)
{
	uint64_t r = test_random(&m->random) % 100;

	/* mostly frames, some of everything, rarely more than a tree */
	return r < 50 ? 0 : r < 75 ? r % 9 : r < 95 ? 9 + r % 4 : 9 + r % 10;
}

static void model_run(const struct llfree_config *config, unsigned steps)
{
	struct model m;
	unsigned churn = 0;

	model_new(&m, config);
	for (unsigned i = 0; i < steps; i++) {
		unsigned order = random_order(&m),
			 class = (unsigned)test_random(&m.random) % config->classes;
		unsigned slot = (unsigned)test_random(&m.random) % config->slots;
		uint64_t runs = m.frames >> order,
			 frame = runs ? test_random(&m.random) % runs << order : 0;
		uint64_t what = test_random(&m.random) % 100;

		/* Phases of filling up and of emptying, so that both ends are seen. */
		if (i % 512 == 0)
			churn = (unsigned)(test_random(&m.random) % 60) + 20;
		if (!runs) {
			uint64_t none = 0;

			check_eq(llfree_get(&m.p.a, req(order, class, slot), &none), LLFREE_ENOMEM);
		} else if (what < churn) {
			do_get(&m, order, class, slot);
		} else if (what < 97) {
			/* Runs of neighbours, as programs free them, and single ones anywhere. */
			for (unsigned k = 0;
			     k < (what % 4 ? 40u : 1u) && frame + (1ull << order) <= m.frames;
			     k++) {
				do_put(&m, frame, order, class, slot);
				frame += 1ull << order;
				if (order >= 4)
					break;
			}
		} else if (what == 97) {
			do_get_at(&m, frame, order);
		} else if (what == 98) {
			do_offline(&m, test_random(&m.random) % m.children);
		} else {
			check_eq(llfree_drain(&m.p.a, i % 3 ? LLFREE_ALL_SLOTS : slot), 0);
		}
		if (i % 256 == 0)
			compare(&m);
	}
	compare(&m);

	/*
	 * Everything can be freed, and then everything be had again, frame by frame, and as huge
	 * frames.
	 */
	for (uint64_t c = 0; c < m.children; c++)
		if (m.offline[c])
			do_offline(&m, c);
	for (uint64_t f = 0; f < m.frames; f++)
		if (m.used[f])
			do_put(&m, f, 0, 0, 0);
	compare(&m);
	for (uint64_t f = 0; f < m.frames / 512; f++)
		do_get(&m, 9, 0, 0);
	do_get(&m, 9, 0, 0);
	for (uint64_t f = 0; f < m.frames; f++)
		if (m.used[f])
			do_put(&m, f, 0, 0, f / 512 % config->slots);
	for (uint64_t f = 0; f < m.frames; f++)
		do_get(&m, 0, (unsigned)f % config->classes, (unsigned)f % config->slots);
	for (uint64_t f = 0; f < m.frames; f++)
		check(m.used[f]);
	do_get(&m, 0, 0, 0);
	compare(&m);
	model_done(&m);
}

void suite_model(void)
{
	static const uint64_t sizes[] = { 512, 513, 1024, 4095, 4096, 8192 + 700, 40000 };
	static const unsigned flags[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };

	for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (unsigned f = 0; f < 3; f++) {
			for (unsigned classes = 1; classes <= 3; classes++) {
				struct llfree_config c =
					config_of(sizes[s], classes, classes, flags[f]);

				c.policy = classes == 2 ? llfree_policy_grouped
							: llfree_policy_movable;
				c.writeback = PLAT_WB_NONE;
				test_seed += 2;
				model_run(&c, 4000 * test_scale);
			}
		}
	}
}

/* The first things anyone would try. */
void suite_basic(void)
{
	struct llfree_config c = config_of(8192, 1, 1, 0);
	uint64_t frames[100], again;
	struct pool p;

	pool_new(&p, &c);
	for (int i = 0; i < 100; i++) {
		frames[i] = ~0ull;
		check_eq(llfree_get(&p.a, req(0, 0, 0), &frames[i]), 0);
		check(frames[i] < 8192);
		for (int j = 0; j < i; j++)
			check(frames[i] != frames[j]);
	}
	for (int i = 0; i < 100; i++)
		check_eq(llfree_put(&p.a, frames[i], req(0, 0, 0)), 0);
	for (int i = 0; i < 100; i++)
		check_eq(llfree_put(&p.a, frames[i], req(0, 0, 0)), LLFREE_ENOTALLOC);
	check_eq(llfree_check(&p.a), 0);
	/* a pair gives the same frame back while it is warm */
	check_eq(llfree_get(&p.a, req(0, 0, 0), &frames[0]), 0);
	check_eq(llfree_put(&p.a, frames[0], req(0, 0, 0)), 0);
	check_eq(llfree_get(&p.a, req(0, 0, 0), &again), 0);
	check_eq(again, frames[0]);
	pool_done(&p);
}

/* Each order fills an empty pool to the last run, aligned, and no run is given twice. */
void suite_orders(void)
{
	static const unsigned flags[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };

	for (unsigned f = 0; f < 3; f++) {
		for (unsigned order = 0; order <= LLFREE_MAX_ORDER; order++) {
			uint64_t size = order > 12 ? 3ull << order : 4096 * 5 + 1000;
			struct llfree_config c = config_of(size, 2, 2, flags[f]);
			uint64_t n = size >> order, frame, got = 0;
			unsigned char *seen = calloc(n, 1);
			struct pool p;
			int r;

			c.writeback = PLAT_WB_NONE;
			pool_new(&p, &c);
			check(seen);
			while ((r = llfree_get(&p.a, req(order, order >= 9, got % 2), &frame)) ==
			       0) {
				check_eq(frame % (1ull << order), 0);
				check((frame >> order) < n && !seen[frame >> order]);
				seen[frame >> order] = 1;
				got++;
			}
			check_eq(r, LLFREE_ENOMEM);
			check_eq(got, n);
			check_eq(llfree_check(&p.a), 0);
			for (uint64_t i = 0; i < n; i++)
				check_eq(llfree_put(&p.a, i << order, req(order, 0, 0)), 0);
			check_eq(llfree_check(&p.a), 0);
			free(seen);
			pool_done(&p);
		}
	}
}
