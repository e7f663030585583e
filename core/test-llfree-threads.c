/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Real threads. Each frame given out is marked in an array by who has it: two owners are seen at
 * once. Contents pass with the frames (a plain word per frame, which ThreadSanitizer watches).
 */
#include "test-llfree.h"

#include <pthread.h>

#define THREADS 4
/* frame << 8 | order | this: so that frame 0 is not nothing */
#define IS_RUN 0x80

struct shared {
	struct pool p;
	unsigned char *owner; /* atomic, per frame */
	unsigned *content;    /* not atomic: only its owner touches it */
	unsigned slots, steps;
	pthread_barrier_t barrier;
	/* runs that one thread leaves for another to put */
	uint64_t mailbox[64];
};

struct thread {
	pthread_t id;
	struct shared *s;
	unsigned number;
};

static void own(struct shared *s, uint64_t frame, unsigned order, unsigned who)
{
	for (uint64_t f = frame; f < frame + (1ull << order); f++) {
		check_eq(__atomic_exchange_n(&s->owner[f], who, __ATOMIC_RELAXED), 0);
		s->content[f] += who;
	}
}

static void disown(struct shared *s, uint64_t frame, unsigned order)
{
	for (uint64_t f = frame; f < frame + (1ull << order); f++) {
		s->content[f]++;
		check(__atomic_exchange_n(&s->owner[f], 0, __ATOMIC_RELAXED) != 0);
	}
}

static void *run(void *arg)
{
	struct thread *t = arg;
	struct shared *s = t->s;
	struct llfree *a = &s->p.a;
	uint64_t random = test_seed + t->number * 2, held[128];
	unsigned n = 0;

	pthread_barrier_wait(&s->barrier);
	for (unsigned i = 0; i < s->steps; i++) {
		unsigned slot =
			(unsigned)(test_random(&random) % 8 ? t->number : test_random(&random)) %
			s->slots;
		uint64_t what = test_random(&random) % 100, frame;

		if (what < 45 && n < 128) {
			unsigned order = test_random(&random) % 4 ? 0 : test_random(&random) % 14;
			unsigned class = (unsigned)test_random(&random) % s->p.config.classes;

			if (llfree_get(a, req(order, class, slot), &frame) < 0)
				continue;
			check_eq(frame % (1ull << order), 0);
			own(s, frame, order, t->number + 1);
			held[n++] = frame << 8 | order | IS_RUN;
		} else if (what < 95 && n) {
			unsigned k = test_random(&random) % n, order;
			uint64_t run;

			run = held[k];
			held[k] = held[--n];
			/* half of them through another thread's hands */
			if (what % 2) {
				run = __atomic_exchange_n(&s->mailbox[what % 64], run,
							  __ATOMIC_ACQ_REL);
				if (!run)
					continue;
			}
			order = run & 0x7f;
			frame = run >> 8;
			disown(s, frame, order);
			check_eq(llfree_put(a, frame, req(order, 0, slot)), 0);
		} else if (what < 97) {
			llfree_drain(a, slot);
		} else {
			uint64_t huge = test_random(&random) % (s->p.config.frames / 512);

			/* whoever gets it offline has it alone */
			if (llfree_offline(a, huge, 1, 0) == 0) {
				own(s, huge * 512, 9, t->number + 1);
				disown(s, huge * 512, 9);
				check_eq(llfree_online(a, huge, 1, 0), 0);
			}
		}
	}
	while (n) {
		uint64_t run = held[--n];

		disown(s, run >> 8, run & 0x7f);
		check_eq(llfree_put(a, run >> 8, req(run & 0x7f, 0, t->number % s->slots)), 0);
	}
	return NULL;
}

void suite_threads(void)
{
	static const unsigned modes[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };

	for (unsigned m = 0; m < 3; m++) {
		for (unsigned slots = 1; slots <= THREADS; slots += 3) {
			struct llfree_config c = config_of(4096 * 3 + 300, 2, slots, modes[m]);
			struct thread threads[THREADS];
			struct shared s = { .slots = slots, .steps = 30000 * test_scale };
			struct llfree_stats st;

			c.writeback = PLAT_WB_NONE;
			pool_new(&s.p, &c);
			s.owner = calloc(c.frames, 1);
			s.content = calloc(c.frames, sizeof(*s.content));
			check(s.owner && s.content);
			pthread_barrier_init(&s.barrier, NULL, THREADS);
			for (unsigned i = 0; i < THREADS; i++) {
				threads[i] = (struct thread){ .s = &s, .number = i };
				check_eq(pthread_create(&threads[i].id, NULL, run, &threads[i]), 0);
			}
			for (unsigned i = 0; i < THREADS; i++)
				pthread_join(threads[i].id, NULL);
			for (unsigned i = 0; i < 64; i++)
				if (s.mailbox[i])
					check_eq(llfree_put(&s.p.a, s.mailbox[i] >> 8,
							    req(s.mailbox[i] & 0x7f, 0, 0)),
						 0);
			check_eq(llfree_check(&s.p.a), 0);
			check_eq(llfree_drain(&s.p.a, LLFREE_ALL_SLOTS), 0);
			check_eq(llfree_check(&s.p.a), 0);
			check_eq(llfree_stats_exact(&s.p.a, &st), 0);
			check_eq(st.used, 0);
			check_eq(st.free, c.frames);
			pthread_barrier_destroy(&s.barrier);
			free(s.owner);
			free(s.content);
			pool_done(&s.p);
		}
	}
}

struct split {
	struct pool *p;
	uint64_t frame;
	unsigned order, first;
	pthread_barrier_t *barrier;
};

static void *split_run(void *arg)
{
	struct split *s = arg;

	pthread_barrier_wait(s->barrier);
	for (unsigned i = s->first; i < 512u >> s->order; i += 2)
		check_eq(llfree_put(&s->p->a, s->frame + (i << s->order),
				    req(s->order, 0, s->first)),
			 0);
	return NULL;
}

/* Two threads free the parts of one huge frame: every put succeeds (defect 7 with real races). */
void suite_split_threads(void)
{
	static const unsigned modes[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };

	for (unsigned m = 0; m < 3; m++) {
		struct llfree_config c = config_of(4096, 1, 2, modes[m]);
		pthread_barrier_t barrier;
		struct pool p;

		c.writeback = PLAT_WB_NONE;
		pool_new(&p, &c);
		pthread_barrier_init(&barrier, NULL, 2);
		for (unsigned i = 0; i < 300; i++) {
			uint64_t frame = 0;
			struct split s[2];
			pthread_t id;

			check(llfree_get(&p.a, req(9, 0, 0), &frame) >= 0);
			for (unsigned k = 0; k < 2; k++)
				s[k] = (struct split){ .p = &p,
						       .frame = frame,
						       .order = i % 9,
						       .first = k,
						       .barrier = &barrier };
			check_eq(pthread_create(&id, NULL, split_run, &s[1]), 0);
			split_run(&s[0]);
			pthread_join(id, NULL);
			check_eq(llfree_drain(&p.a, LLFREE_ALL_SLOTS), 0);
			check_eq(llfree_is_free(&p.a, frame, 9), 1);
		}
		check_eq(llfree_check(&p.a), 0);
		pthread_barrier_destroy(&barrier);
		pool_done(&p);
	}
}

/*
 * A host dies, which is that its thread stops, between two operations; it is recovered while the
 * others go on. Nothing is lost but what it had given out, of which it has left a list.
 */
struct host {
	struct llfree a;
	uint64_t held[256];
	unsigned n, steps, number;
};

static void *host_run(void *arg)
{
	struct host *h = arg;
	uint64_t random = test_seed + h->number * 2, frame;

	for (unsigned i = 0; i < h->steps; i++) {
		if (h->n < 256 && test_random(&random) % 2) {
			if (llfree_get(&h->a, req(0, 0, 0), &frame) >= 0)
				h->held[h->n++] = frame;
		} else if (h->n) {
			unsigned k = test_random(&random) % h->n;

			frame = h->held[k];
			h->held[k] = h->held[--h->n];
			check_eq(llfree_put(&h->a, frame, req(0, 0, 0)), 0);
		}
	}
	return NULL;
}

void suite_owner_threads(void)
{
	for (unsigned m = 0; m < 2; m++) {
		struct llfree_config c = config_of(4096 * 3, 1, 1, m ? LLFREE_UNCACHED : 0);
		struct host hosts[3] = { 0 };
		struct pool p;

		c.owners = 3;
		pool_new(&p, &c);
		for (unsigned round = 0; round < 200 * test_scale; round++) {
			uint64_t trees, frames, used = 0;
			struct llfree_stats s;
			pthread_t ids[3];

			for (unsigned i = 0; i < 3; i++) {
				c.owner = i;
				check_eq(llfree_attach(&hosts[i].a, &c, &p.meta), 0);
				hosts[i].number = round * 3 + i;
				hosts[i].steps = i == 2 ? 300 : 1000;
				check_eq(pthread_create(&ids[i], NULL, host_run, &hosts[i]), 0);
			}
			pthread_join(ids[2], NULL);
			check_eq(llfree_recover_owner(&p.a, 2, &trees, &frames), 0);
			check(trees <= 1 && frames <= 64);
			for (unsigned i = 0; i < hosts[2].n; i++)
				check_eq(llfree_put(&p.a, hosts[2].held[i], req(0, 0, 0)), 0);
			hosts[2].n = 0;
			for (unsigned i = 0; i < 2; i++)
				pthread_join(ids[i], NULL);
			check_eq(llfree_check(&p.a), 0);
			check_eq(llfree_stats_exact(&p.a, &s), 0);
			used = hosts[0].n + hosts[1].n;
			check_eq(s.used, used);
		}
		pool_done(&p);
	}
}

/*
 * A get fails only if no run was free all the time: one thread gets and puts the pool's only run of
 * an order again and again, while another changes everything about its tree but takes none of the
 * run's frames: who has the tree reserved, its class, how full it is.
 */
struct contract {
	struct pool p;
	uint64_t run;
	unsigned order, steps;
	bool done;
	pthread_barrier_t barrier;
};

#define CONTRACT_TREE 2u

/* Frames apart from each other; few in most children, so that a get of one takes none elsewhere. */
static bool contract_single(const struct contract *c, uint64_t frame)
{
	uint64_t child = frame / LLFREE_CHILD_FRAMES, run = c->run / LLFREE_CHILD_FRAMES;

	if (frame >= c->run && frame < c->run + (1ull << c->order))
		return false;
	return frame % 128 == 33 || (child == run && frame % 4 == 3 && c->order < 9);
}

static void *contract_change(void *arg)
{
	struct contract *c = arg;
	struct llfree *a = &c->p.a;
	uint64_t random = test_seed, huge = CONTRACT_TREE * LLFREE_TREE_CHILDREN;

	pthread_barrier_wait(&c->barrier);
	while (!__atomic_load_n(&c->done, __ATOMIC_ACQUIRE)) {
		uint64_t what = test_random(&random) % 4, frame;
		unsigned class = (unsigned)test_random(&random) % 2;

		if (what == 0) {
			check_eq(llfree_drain(a, (uint32_t)(test_random(&random) % 4)), 0);
		} else if (what == 1) {
			int r = llfree_set_class(a, test_random(&random) % 2 ? huge : 0, class);

			check(r == 0 || r == LLFREE_EBUSY);
		} else if (c->order < LLFREE_TREE_ORDER &&
			   llfree_get(a, req(0, class, 1), &frame) >= 0) {
			/* A run that is the whole tree would be what suits it best. */
			check(contract_single(c, frame));
			check_eq(llfree_put(a, frame, req(0, class, 1)), 0);
		}
	}
	return NULL;
}

void suite_contract(void)
{
	static const unsigned modes[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };
	static const unsigned orders[] = { 1, 3, 6, 7, 8, 9, 10, 11, 12 };

	for (unsigned m = 0; m < 3; m++) {
		for (unsigned o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
			struct llfree_config config = config_of(4096 * 4, 2, 2, modes[m]);
			struct contract c = {
				.order = orders[o],
				.steps = 60000 * test_scale,
				.run = CONTRACT_TREE * 4096 + (orders[o] < 12 ? 2048 : 0),
			};
			pthread_t id;

			config.writeback = PLAT_WB_NONE;
			pool_new(&c.p, &config);
			for (uint64_t f = 0; f < config.frames; f++)
				check(llfree_get_at(&c.p.a, f, req(0, 0, 0)) >= 0);
			for (uint64_t f = 0; f < config.frames; f++)
				if (contract_single(&c, f))
					check_eq(llfree_put(&c.p.a, f, req(0, 0, 0)), 0);
			check_eq(llfree_put(&c.p.a, c.run,
					    req(orders[o] < 9 ? orders[o] : 8, 0, 0)),
				 0);
			for (uint64_t f = c.run + 256; f < c.run + (1ull << orders[o]); f += 256)
				check_eq(llfree_put(&c.p.a, f, req(8, 0, 0)), 0);
			check_eq(llfree_drain(&c.p.a, LLFREE_ALL_SLOTS), 0);
			pthread_barrier_init(&c.barrier, NULL, 2);
			check_eq(pthread_create(&id, NULL, contract_change, &c), 0);
			pthread_barrier_wait(&c.barrier);
			for (unsigned i = 0; i < c.steps; i++) {
				uint64_t frame;

				check(llfree_get(&c.p.a, req(c.order, i % 16 == 0, 0), &frame) >=
				      0);
				check_eq(frame, c.run);
				check_eq(llfree_put(&c.p.a, frame, req(c.order, 0, 0)), 0);
			}
			__atomic_store_n(&c.done, true, __ATOMIC_RELEASE);
			pthread_join(id, NULL);
			pthread_barrier_destroy(&c.barrier);
			check_eq(llfree_check(&c.p.a), 0);
			pool_done(&c.p);
		}
	}
}
