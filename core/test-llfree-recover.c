/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Opening what others left: after a proper close, after a kill in the middle of anything, after
 * damage.
 */
#include "test-llfree.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const unsigned modes[] = { 0, LLFREE_UNCACHED, LLFREE_PERSISTENT };

static void fill(struct llfree *a, uint64_t *random, unsigned steps)
{
	uint64_t frames[512];
	unsigned orders[512], n = 0;

	for (unsigned i = 0; i < steps; i++) {
		unsigned order = test_random(random) % 4 ? test_random(random) % 9
							 : 9 + test_random(random) % 3;

		if (n < 512 && test_random(random) % 3) {
			if (llfree_get(a, req(order, 0, 0), &frames[n]) >= 0)
				orders[n++] = order;
		} else if (n) {
			unsigned k = test_random(random) % n;

			/* sometimes only a part */
			if (orders[k] == 9 && test_random(random) % 2) {
				check_eq(llfree_put(a, frames[k] + 64, req(6, 0, 0)), 0);
			} else {
				check_eq(llfree_put(a, frames[k], req(orders[k], 0, 0)), 0);
			}
			frames[k] = frames[--n];
			orders[k] = orders[n];
		}
	}
}

void suite_recover(void)
{
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned round = 0; round < 30; round++) {
			struct llfree_config c = config_of(4096 * 5 + 1234, 1, 1, modes[m]);
			uint64_t random = test_seed + round * 2;
			unsigned char *is_free = malloc(c.frames);
			struct llfree_recovery rec;
			struct llfree_stats s, t;
			struct pool p;

			c.writeback = PLAT_WB_NONE;
			pool_new(&p, &c);
			check_eq(llfree_offline(&p.a, 3, 2, 0), 0);
			check_eq(llfree_online(&p.a, 4, 1, LLFREE_ZEROED), 0);
			check_eq(llfree_mark_bad(&p.a, 7), 0);
			fill(&p.a, &random, 100 + round * 10);
			check_eq(llfree_stats_exact(&p.a, &s), 0);
			check(is_free);
			for (uint64_t f = 0; f < c.frames; f++)
				is_free[f] = (unsigned char)llfree_is_free(&p.a, f, 0);

			if (round % 3 == 0) {
				check_eq(llfree_close(&p.a), 0);
				check_eq(llfree_open(&p.a, &c, &p.meta, &rec), 0);
				check(rec.clean && !rec.corrected);
			} else {
				/* as if killed: in a volatile pool the slots are still there */
				check_eq(llfree_recover(&p.a, &rec), 0);
				check(!rec.clean);
				if (modes[m])
					check_eq(rec.corrected, 0);
				if (round % 3 == 2) {
					/* counts are not trusted: only bits and flags are */
					for (uint64_t w = 0; w < p.a.ntrees * 2; w++)
						for (unsigned l = 0; l < 4; l++)
							if (w * 4 + l < p.a.children)
								p.a.entries[w] &=
									~(0x3ffull << l * 16);
					check_eq(llfree_open(&p.a, &c, &p.meta, &rec), 0);
				}
			}
			check_eq(rec.free, s.free + s.barred);
			check_eq(rec.huge, s.huge);
			check_eq(llfree_stats_exact(&p.a, &t), 0);
			t.cached = s.cached;
			/* the histogram counted what slots had as used */
			memcpy(t.fill, s.fill, sizeof(t.fill));
			t.free_huge = s.free_huge;
			t.zeroed_huge = s.zeroed_huge;
			check_eq(memcmp(&s, &t, sizeof(s)), 0);
			for (uint64_t f = 0; f < c.frames; f++)
				check_eq(is_free[f], llfree_is_free(&p.a, f, 0));
			check_eq(llfree_check(&p.a), 0);

			/* again, and it changes nothing */
			check_eq(llfree_recover(&p.a, &rec), 0);
			check_eq(rec.corrected, 0);
			free(is_free);
			pool_done(&p);
		}
	}
}

/*
 * Each bit of a closed pool's metadata flipped: refused, or without effect. And each bit of one
 * that was not closed: whatever comes of it, nothing outside the buffers is touched, and the pool
 * is consistent.
 */
/* The upper part of a pool that hosts share: whatever it holds, recovery in place makes it right. */
static void flips_upper(void)
{
	struct llfree_config c = config_of(4096 * 2 + 600, 2, 2, LLFREE_UNCACHED);
	uint64_t random = test_seed, header = sizeof(struct llfree_upper_header);
	unsigned char *lower, *upper;
	struct llfree_stats before, after;
	struct pool p;

	pool_new(&p, &c);
	fill(&p.a, &random, 300);
	check_eq(llfree_stats_exact(&p.a, &before), 0);
	lower = malloc(p.meta.lower_size);
	upper = malloc(p.meta.upper_size);
	check(lower && upper);
	memcpy(lower, p.meta.lower, p.meta.lower_size);
	memcpy(upper, p.meta.upper, p.meta.upper_size);
	for (uint64_t bit = header * 8; bit < p.meta.upper_size * 8; bit++) {
		struct llfree_recovery rec;
		struct llfree a = p.a;
		uint64_t frame;

		memcpy(p.meta.lower, lower, p.meta.lower_size);
		memcpy(p.meta.upper, upper, p.meta.upper_size);
		((unsigned char *)p.meta.upper)[bit / 8] ^= 1u << bit % 8;
		/* in use, first: a get may give out what is not free, but nothing that there is not */
		if (bit % 2 && llfree_get(&a, req(0, 0, 0), &frame) >= 0)
			check(frame < c.frames);
		memcpy(p.meta.lower, lower, p.meta.lower_size);
		check_eq(llfree_recover(&a, &rec), 0);
		check_eq(llfree_check(&a), 0);
		check_eq(llfree_stats_exact(&a, &after), 0);
		check_eq(before.free, after.free);
		check(llfree_get(&a, req(3, 1, 1), &frame) >= 0);
	}
	/* all bits at once: frames that there are not, in the hand of slots that there are not */
	memset((unsigned char *)p.meta.upper + header, 0xff, p.meta.upper_size - header);
	for (unsigned order = 0; order < 14; order++) {
		uint64_t frame;

		for (unsigned class = 0; class < 2; class ++)
			if (llfree_get(&p.a, req(order, class, 1), &frame) >= 0) {
				check(frame + (1u << order) <= c.frames);
				llfree_put(&p.a, frame, req(order, class, 0));
			}
	}
	check_eq(llfree_drain(&p.a, LLFREE_ALL_SLOTS), 0);
	free(lower);
	free(upper);
	pool_done(&p);
}

/* Damage that is found when a pool is recovered in place, or closed. */
static void damaged_in_use(void)
{
	struct llfree_config c = config_of(4096 + 600, 1, 1, LLFREE_UNCACHED);
	struct llfree_recovery rec = { .free = 77 };
	struct pool p;

	pool_new(&p, &c);
	p.a.lower->frames ^= 1;
	check_eq(llfree_recover(&p.a, &rec), LLFREE_EUCLEAN);
	p.a.lower->frames ^= 1;
	/* lanes: a huge frame with free frames; huge where there is no whole one */
	p.a.entries[0] |= LLFREE_LANE_HUGE;
	check_eq(llfree_recover(&p.a, &rec), LLFREE_EUCLEAN);
	check_eq(rec.free, 77);
	p.a.entries[0] &= ~(uint64_t)LLFREE_LANE_HUGE;
	check_eq(llfree_recover(&p.a, &rec), 0);
	p.a.entries[2] |= (uint64_t)LLFREE_LANE_HUGE << 16;
	check_eq(llfree_close(&p.a), LLFREE_EUCLEAN);
	check_eq(llfree_open(&p.a, &c, &p.meta, &rec), LLFREE_EUCLEAN);
	pool_done(&p);
}

void suite_flips(void)
{
	struct llfree_config c = config_of(4096 + 600, 1, 1, LLFREE_PERSISTENT);
	uint64_t random = test_seed, frame;
	unsigned char *copy;
	struct pool p;

	c.writeback = PLAT_WB_NONE;
	damaged_in_use();
	flips_upper();
	pool_new(&p, &c);
	fill(&p.a, &random, 300);
	copy = malloc(p.meta.lower_size);
	check(copy);
	for (unsigned closed = 0; closed < 2; closed++) {
		if (closed)
			check_eq(llfree_close(&p.a), 0);
		memcpy(copy, p.meta.lower, p.meta.lower_size);
		for (uint64_t bit = 0; bit < p.meta.lower_size * 8; bit++) {
			struct llfree_recovery rec;
			struct llfree a;
			int r;

			((unsigned char *)p.meta.lower)[bit / 8] ^= 1u << bit % 8;
			r = llfree_open(&a, &c, &p.meta, &rec);
			if (closed) {
				/*
				 * harmless: what fills the lanes' last line, and bits of lanes
				 * without child
				 */
				uint64_t byte = bit / 8,
					 bits = (uint64_t)((char *)p.a.bits - (char *)p.meta.lower);
				bool padding = (byte >= sizeof(struct llfree_lower_header) +
								p.a.ntrees * 16 &&
						byte < bits) ||
					       byte >= bits + p.a.children * 64;

				check_eq(r, padding ? 0 : LLFREE_EUCLEAN);
				memcpy(p.meta.lower, copy, p.meta.lower_size);
				continue;
			}
			check(r == 0 || r == LLFREE_EUCLEAN);
			if (r == 0) {
				check_eq(llfree_check(&a), 0);
				for (unsigned order = 0; order < 12; order++)
					if (llfree_get(&a, req(order, 0, 0), &frame) >= 0)
						check_eq(llfree_put(&a, frame, req(order, 0, 0)),
							 0);
			}
			memcpy(p.meta.lower, copy, p.meta.lower_size);
		}
	}
	/* and noise in a pool that is in use: errors and wrong answers, but nothing outside */
	for (unsigned i = 0; i < 1000; i++) {
		struct llfree a;

		memcpy(p.meta.lower, copy, p.meta.lower_size);
		check_eq(llfree_open(&a, &c, &p.meta, NULL), 0);
		for (unsigned k = 0; k < 200; k++) {
			uint64_t *word = (uint64_t *)p.meta.lower + 8;
			unsigned order = test_random(&random) % 14;

			word[test_random(&random) % (p.meta.lower_size / 8 - 8)] ^=
				test_random(&random);
			if (llfree_get(&a, req(order, 0, 0), &frame) >= 0)
				check(frame + (1u << order) <= c.frames);
			llfree_put(&a, test_random(&random) % c.frames >> order << order,
				   req(order, 0, 0));
		}
	}
	free(copy);
	pool_done(&p);
}

/*
 * What a worker has: it notes each frame before it can lose it, so that a kill leaves at most one
 * open.
 */
#define WORKERS 3
#define HELD 256
struct held {
	volatile uint64_t frame[HELD], order[HELD];
	volatile uint64_t ops;
};

static void worker(struct llfree *a, struct held *h, unsigned id, uint64_t random)
{
	for (;;) {
		unsigned k = test_random(&random) % HELD;

		if (h->order[k] == ~0ull) {
			unsigned order = test_random(&random) % 8 ? test_random(&random) % 3
								  : test_random(&random) % 11;
			uint64_t frame;

			if (llfree_get(a, req(order, 0, id), &frame) >= 0) {
				h->frame[k] = frame;
				__atomic_store_n(&h->order[k], order, __ATOMIC_RELEASE);
			}
		} else {
			uint64_t order = h->order[k];

			/* given up before it is given back: what is lost is at most this one */
			__atomic_store_n(&h->order[k], ~0ull, __ATOMIC_RELEASE);
			if (llfree_put(a, h->frame[k], req((unsigned)order, 0, id)))
				_exit(1);
		}
		h->ops++;
	}
}

/* Processes share a pool and are killed at any instant; what the last one leaves is recovered. */
void suite_kill(void)
{
	for (unsigned m = 0; m < 3; m++) {
		struct llfree_config c = config_of(4096 * 4, 1, WORKERS, modes[m]);
		uint64_t lower, upper, random = test_seed, lost_total = 0;
		struct llfree_meta meta;
		struct held *held;
		struct llfree a;

		c.writeback = PLAT_WB_NONE;
		check_eq(llfree_sizes(&c, &lower, &upper), 0);
		meta = (struct llfree_meta){ .lower_size = lower, .upper_size = upper };
		meta.lower = mmap(NULL, lower, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				  -1, 0);
		meta.upper = mmap(NULL, upper, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				  -1, 0);
		held = mmap(NULL, sizeof(*held) * WORKERS, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		check(meta.lower != MAP_FAILED && meta.upper != MAP_FAILED &&
		      (void *)held != MAP_FAILED);
		for (unsigned round = 0; round < 25 * test_scale; round++) {
			pid_t pids[WORKERS];
			struct llfree_recovery rec;
			struct llfree_stats s;
			uint64_t want = 0, bound = 0;

			check_eq(llfree_init(&a, &c, &meta), 0);
			for (unsigned w = 0; w < WORKERS; w++) {
				for (unsigned k = 0; k < HELD; k++)
					held[w].order[k] = ~0ull;
				held[w].ops = 0;
				pids[w] = fork();
				check(pids[w] >= 0);
				if (pids[w] == 0) {
					struct llfree mine;

					if (llfree_attach(&mine, &c, &meta))
						_exit(1);
					worker(&mine, &held[w], w, random + w * 2 + round * 16);
				}
			}
			/*
			 * wait until they are all at it, and then for a random number of operations
			 * more
			 */
			uint64_t target = 100 + test_random(&random) % 3000;

			for (unsigned w = 0; w < WORKERS; w++)
				while (held[w].ops < target && !waitpid(pids[w], NULL, WNOHANG))
					usleep(20);
			for (unsigned w = 0; w < WORKERS; w++) {
				int status;

				kill(pids[w], SIGKILL);
				check_eq(waitpid(pids[w], &status, 0), pids[w]);
				check(WIFSIGNALED(status));
			}
			check_eq(llfree_recover(&a, &rec), 0);
			check_eq(llfree_check(&a), 0);
			for (unsigned w = 0; w < WORKERS; w++) {
				/*
				 * one operation each: its frames, or the half row that a slot was
				 * filled with
				 */
				bound += 1u << 10;
				for (unsigned k = 0; k < HELD; k++) {
					uint64_t n = held[w].order[k];

					if (n == ~0ull)
						continue;
					check_eq(llfree_is_free(&a, held[w].frame[k], 0), 0);
					want += 1ull << n;
				}
			}
			check_eq(llfree_stats_exact(&a, &s), 0);
			check(s.used >= want);
			check(s.used - want <= bound);
			lost_total += s.used - want;
			/* what the dead held can be put, by anyone */
			for (unsigned w = 0; w < WORKERS; w++)
				for (unsigned k = 0; k < HELD; k++)
					if (held[w].order[k] != ~0ull)
						check_eq(llfree_put(&a, held[w].frame[k],
								    req((unsigned)held[w].order[k],
									0, 0)),
							 0);
			check_eq(llfree_drain(&a, LLFREE_ALL_SLOTS), 0);
			check_eq(llfree_check(&a), 0);
		}
		printf("# kill: mode %u, %llu frames lost in %u rounds of %d processes\n", m,
		       (unsigned long long)lost_total, 25 * test_scale, WORKERS);
		munmap(meta.lower, lower);
		munmap(meta.upper, upper);
		munmap(held, sizeof(*held) * WORKERS);
	}
}
