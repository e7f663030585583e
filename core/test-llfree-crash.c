/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Power cuts. The lower part lies on simulated media: a line reaches it when its write-back was
 * fenced, or at any other time by itself. So at a cut each line has one of the values that it had
 * since the last one that is certain. Before each atomic access, each write-back and each fence,
 * and after each operation, images are made of such choices (all, or a sample where there are too
 * many), and each is opened and compared with what the operations promised:
 *
 *   what a finished get returned is allocated; what a finished put gave is free;
 *   beyond that at most the frames of operations in flight are lost;
 *   a huge frame marked zeroed has no free frame that was written to; other marks are as set.
 *
 * Operations in the middle of others, as other threads would do them, run inside the hooks.
 */
#include "test-llfree.h"

#ifdef MORSEL_TEST_HOOKS

#define FRAMES 4096
#define CHILDREN (FRAMES / 512)
#define LINES 10 /* header, lanes, bits */
#define VERSIONS 24
#define SAMPLES 64

static struct llfree_config config, image_config;
static struct pool pool, image;
static struct llfree *const a = &pool.a;

struct line {
	unsigned char version[VERSIONS][64];
	unsigned n;	     /* [0] is certain, [n - 1] the present */
	unsigned pending[2]; /* by thread: version whose write-back was started, plus one */
};
static struct line lines[LINES];
static unsigned char *cpu; /* the lower part as the CPU sees it */
static uint64_t images, cuts, random_state;
static enum {
	DEAD,
	BORN,
	ALIVE
} alive; /* no pool yet; on the way; a pool */

/* What was promised, per frame. */
enum {
	FREE,
	USED,
	BETWEEN
};
static unsigned char state[FRAMES], written[FRAMES];
static uint64_t open_put, open_put_end; /* the outer one of two puts */
static unsigned open_gets;		/* frames that gets in flight may take */
static unsigned char flags_known[CHILDREN], offline[CHILDREN], bad[CHILDREN];

/* Runs in the middle of an operation, as another thread: which one is at work. */
static void (*interrupt)(void);
static unsigned inside;
static unsigned interrupt_at;

static void note_lines(void)
{
	for (unsigned i = 0; i < LINES; i++) {
		struct line *l = &lines[i];

		if (!memcmp(l->version[l->n - 1], cpu + i * 64, 64))
			continue;
		if (l->n == VERSIONS) {
			/*
			 * the oldest but the certain one is dropped: fewer images, none that is
			 * wrong
			 */
			memmove(l->version[1], l->version[2], (VERSIONS - 2) * 64);
			l->n--;
			for (unsigned t = 0; t < 2; t++)
				if (l->pending[t] > 2)
					l->pending[t]--;
		}
		memcpy(l->version[l->n++], cpu + i * 64, 64);
	}
}

/* The promises as rows of bits: made once for all images of a cut. */
static uint64_t must[3][FRAMES / 64], must_not_zero[FRAMES / 64], counted[3];

static void sum_up(void)
{
	memset(must, 0, sizeof(must));
	memset(must_not_zero, 0, sizeof(must_not_zero));
	memset(counted, 0, sizeof(counted));
	for (unsigned f = 0; f < FRAMES; f++) {
		must[state[f]][f / 64] |= 1ull << f % 64;
		must_not_zero[f / 64] |= (uint64_t)written[f] << f % 64;
		counted[state[f]]++;
	}
}

static void verify_image(void)
{
	struct llfree_recovery rec;
	struct llfree b;
	uint64_t used = 0;
	int r;

	images++;
	r = llfree_open(&b, &image_config, &image.meta, &rec);
	if (r == LLFREE_EUCLEAN && alive == BORN)
		return;
	check_eq(r, 0);
	for (unsigned c = 0; c < CHILDREN; c++) {
		struct llfree_huge_state s;

		check_eq(llfree_huge_state(&b, c, &s), 0);
		used += 512 - s.free;
		if (flags_known[c]) {
			check_eq(s.offline, offline[c]);
			check_eq(s.bad, bad[c]);
		}
		for (unsigned row = c * 8; row < c * 8 + 8; row++) {
			uint64_t is_free = b.bits[row] ^
					   llfree_lane_flip(llfree_lane(b.entries[c / 4], c));

			if (s.huge)
				is_free = 0;
			check(!(is_free & must[USED][row]));
			if (!open_gets)
				check(!(~is_free & must[FREE][row]));
			if (s.zeroed)
				check(!(is_free & must_not_zero[row]));
		}
	}
	check(used <= counted[USED] + counted[BETWEEN] + open_gets);
	check_eq(llfree_check(&b), 0);
}

static void cut(void)
{
	uint64_t total = 1;
	void (*on_point)(void) = test_on_point;

	/* without hooks: a helper of a script that is not what is tested */
	if (!alive || !test_on_fence)
		return;
	note_lines();
	cuts++;
	for (unsigned i = 0; i < LINES && total <= SAMPLES; i++)
		total *= lines[i].n;
	test_on_point = NULL;
	sum_up();
	for (uint64_t k = 0; k < (total <= SAMPLES ? total : SAMPLES); k++) {
		uint64_t pick = k;

		for (unsigned i = 0; i < LINES; i++) {
			unsigned v =
				(unsigned)(total <= SAMPLES ? pick : test_random(&random_state)) %
				lines[i].n;

			pick /= lines[i].n;
			memcpy((char *)image.meta.lower + i * 64, lines[i].version[v], 64);
		}
		verify_image();
	}
	test_on_point = on_point;
}

static void maybe_interrupt(void)
{
	void (*f)(void) = interrupt;

	if (f && !interrupt_at--) {
		interrupt = NULL;
		inside = 1;
		f();
		inside = 0;
	}
}

static void on_point(void)
{
	cut();
	maybe_interrupt();
}

static bool persistent_line(const void *p)
{
	return (const unsigned char *)p >= cpu && (const unsigned char *)p < cpu + LINES * 64;
}

static void on_writeback(const void *p)
{
	if (!persistent_line(p))
		return;
	cut();
	maybe_interrupt();
	note_lines();

	struct line *l = &lines[((const unsigned char *)p - cpu) / 64];

	l->pending[inside] = l->n;
}

static void on_fence(void)
{
	cut();
	note_lines();
	for (unsigned i = 0; i < LINES; i++) {
		struct line *l = &lines[i];

		unsigned certain = l->pending[inside];

		/* A fence is for what its own thread wrote back. */
		if (!certain)
			continue;
		l->n -= certain - 1;
		memmove(l->version[0], l->version[certain - 1], l->n * 64);
		l->pending[inside] = 0;
		if (l->pending[!inside])
			l->pending[!inside] = l->pending[!inside] > certain
						      ? l->pending[!inside] - certain + 1
						      : 1;
	}
	cut();
}

static void hooks(bool on)
{
	test_on_point = on ? on_point : NULL;
	test_on_writeback = on ? on_writeback : NULL;
	test_on_fence = on ? on_fence : NULL;
}

/* ---- operations with their promises ---- */

static int get(unsigned order, uint64_t *ret_frame)
{
	unsigned n = 1u << order;
	int r;

	open_gets += n;
	r = llfree_get(a, req(order, 0, 0), ret_frame);
	if (r >= 0) {
		memset(state + *ret_frame, USED, n);
		memset(written + *ret_frame, 1, n);
	}
	open_gets -= n;
	cut();
	return r;
}

static int get_at(uint64_t frame, unsigned order)
{
	unsigned n = 1u << order;
	int r;

	open_gets += n;
	r = llfree_get_at(a, frame, req(order, 0, 0));
	if (r >= 0) {
		memset(state + frame, USED, n);
		memset(written + frame, 1, n);
	}
	open_gets -= n;
	cut();
	return r;
}

static void put(uint64_t frame, unsigned order)
{
	uint64_t outer = open_put, outer_end = open_put_end;
	unsigned n = 1u << order;

	memset(state + frame, BETWEEN, n);
	open_put = frame;
	open_put_end = frame + n;
	check_eq(llfree_put(a, frame, req(order, 0, 0)), 0);
	open_put = outer;
	open_put_end = outer_end;
	/*
	 * Some may have been given out again meanwhile, by what ran inside. And what is given back
	 * inside a larger put that goes on is lost with that one's frames.
	 */
	for (uint64_t f = frame; f < frame + n; f++)
		if (state[f] == BETWEEN && !(f >= outer && f < outer_end))
			state[f] = FREE;
	cut();
}

static void set_offline(uint64_t huge, bool drain)
{
	flags_known[huge] = 0;
	check_eq(llfree_offline(a, huge, 1, drain ? LLFREE_OFFLINE_DRAIN : 0), 0);
	offline[huge] = flags_known[huge] = 1;
	cut();
}

static void set_online(uint64_t huge, bool zeroed)
{
	flags_known[huge] = 0;
	/* the zeroes are on media before the mark is set */
	if (zeroed)
		memset(written + huge * 512, 0, 512);
	check_eq(llfree_online(a, huge, 1, zeroed ? LLFREE_ZEROED : 0), 0);
	offline[huge] = 0;
	flags_known[huge] = 1;
	cut();
}

static void set_bad(uint64_t huge)
{
	flags_known[huge] = 0;
	check_eq(llfree_mark_bad(a, huge), 0);
	bad[huge] = flags_known[huge] = 1;
	cut();
}

/* Media is what the CPU sees. */
static void settle(void)
{
	for (unsigned i = 0; i < LINES; i++) {
		lines[i].n = 1;
		lines[i].pending[0] = lines[i].pending[1] = 0;
		memcpy(lines[i].version[0], cpu + i * 64, 64);
	}
}

static void begin(void)
{
	config = image_config = config_of(FRAMES, 1, 1, LLFREE_PERSISTENT);
	image_config.writeback = PLAT_WB_NONE;
	pool_buffers(&pool, &config);
	pool_buffers(&image, &config);
	check_eq(pool.meta.lower_size, LINES * 64);
	cpu = pool.meta.lower;
	memset(state, FREE, sizeof(state));
	memset(written, 1, sizeof(written));
	memset(flags_known, 1, sizeof(flags_known));
	memset(offline, 0, sizeof(offline));
	memset(bad, 0, sizeof(bad));
	open_gets = 0;
	interrupt = NULL;
	alive = BORN;
	settle();
	hooks(true);
	/* Before it is one, no image is a pool; from then on each is, and is empty. */
	check_eq(llfree_init(a, &config, &pool.meta), 0);
	alive = ALIVE;
	cut();
}

static void end(void)
{
	hooks(false);
	alive = DEAD;
	pool_done(&pool);
	pool_done(&image);
}

/*
 * Each order got and put, whole and in parts; marks; everything that has a write-back of its own.
 */
static void script_plain(void)
{
	uint64_t f;

	begin();
	for (unsigned order = 0; order <= 12; order++) {
		check(get(order, &f) >= 0);
		put(f, order);
		check_eq(get_at(FRAMES - (1u << order), order), 0);
		put(FRAMES - (1u << order), order);
	}
	for (unsigned order = 0; order <= 8; order++) {
		check_eq(get_at(1024, 9), 0);
		put(1024 + (1u << order), order);
		put(1024, order);
		/* the rest without looking */
		hooks(false);
		for (uint64_t i = 1024; i < 1536; i++)
			if (state[i] == USED)
				put(i, 0);
		settle();
		hooks(true);
	}
	set_offline(2, false);
	set_online(2, true);
	set_offline(3, true);
	set_online(3, false);
	check_eq(get_at(1024 + 5, 0), LLFREE_GOT_ZEROED);
	check_eq(get_at(1024 + 64, 6), LLFREE_GOT_ZEROED);
	put(1024 + 5, 0);
	put(1024 + 64, 6);
	set_offline(2, false);
	set_online(2, true);
	check_eq(get_at(1024, 9), LLFREE_GOT_ZEROED);
	put(1024, 9);
	set_offline(2, false);
	set_online(2, true);
	check_eq(get_at(1024, 9), LLFREE_GOT_ZEROED);
	put(1024 + 256, 8);
	put(1024, 8);
	set_bad(7);
	end();
}

/*
 * Roll-backs are on media when the failed get returns: nothing is lost by an operation that is
 * over.
 */
static void script_undo(void)
{
	for (unsigned order = 7; order <= 12; order++) {
		begin();
		test_force(LLFREE_FORCE_ROWS, 0, 1);
		test_force(LLFREE_FORCE_WORDS, 0, 1);
		check_eq(get_at(0, order), order < 9 || order == 12 ? LLFREE_EBUSY : 0);
		test_force(LLFREE_FORCE_ROWS, 0, 0);
		test_force(LLFREE_FORCE_WORDS, 0, 0);
		end();
	}
}

static void put_second_half(void)
{
	put(256, 8);
}

static void put_second_frame(void)
{
	put(1, 0);
}

/* A put of another part while the first one's change of the lane is not on media. */
static void script_help(void)
{
	for (unsigned at = 0; at < 12; at++) {
		begin();
		check_eq(get_at(0, 9), 0);
		interrupt = put_second_half;
		interrupt_at = at;
		put(0, 8);
		end();

		begin();
		set_offline(0, false);
		set_online(0, true);
		check_eq(get_at(0, 0), LLFREE_GOT_ZEROED);
		check_eq(get_at(1, 0), LLFREE_GOT_ZEROED);
		interrupt = put_second_frame;
		interrupt_at = at;
		put(0, 0);
		end();
	}
}

static void take_and_split(void)
{
	/* only if the frame was counted; otherwise it is not whole yet */
	if (get_at(0, 9) >= 0)
		put(256, 8);
}

static void take_small(void)
{
	if (get_at(9, 0) >= 0 && get_at(64, 6) >= 0)
		put(64, 6);
}

/*
 * The child becomes whole and is taken as a whole, inside the put that made it so; and the other
 * way round.
 */
static void script_whole(void)
{
	for (unsigned at = 0; at < 12; at++) {
		begin();
		check_eq(get_at(3, 0), 0);
		interrupt = take_and_split;
		interrupt_at = at;
		put(3, 0);
		end();

		begin();
		check_eq(get_at(0, 9), 0);
		interrupt = take_small;
		interrupt_at = at;
		put(0, 9);
		end();
	}
}

/* Opened, changed, closed, opened: the clean state is on media neither too late nor too early. */
static void script_close(void)
{
	struct llfree_recovery rec;
	uint64_t f, g;

	begin();
	check_eq(get(0, &f), 0);
	check_eq(get(9, &g), 0);
	check_eq(llfree_close(a), 0);
	cut();
	check_eq(llfree_open(a, &config, &pool.meta, &rec), 0);
	check(rec.clean);
	cut();
	put(g, 9);
	/* counts, which only closing writes back */
	put(f, 0);
	check_eq(get(4, &f), 0);
	check_eq(llfree_close(a), 0);
	cut();
	end();
}

/*
 * A huge frame whose bits are out of date on media, as the second case of script_whole() leaves it.
 */
static void script_recover(bool open)
{
	begin();
	check_eq(get_at(0, 9), 0);
	hooks(false);
	a->bits[0] ^= 1u << 9;
	settle();
	hooks(true);
	if (open)
		check_eq(llfree_open(a, &config, &pool.meta, NULL), 0);
	else
		check_eq(llfree_recover(a, NULL), 0);
	put(256, 8);
	end();
}

/* Random operations, interrupted by random ones. */
static struct {
	uint64_t frame;
	unsigned order;
} held[64];
static unsigned nheld;

static void random_op(void)
{
	uint64_t r = test_random(&random_state), f;
	unsigned order = r % 16 < 8 ? (unsigned)(r >> 8) % 3 : (unsigned)(r >> 8) % 11;

	if (nheld < 64 && (r >> 32) % 8 < 5) {
		if (get(order, &f) >= 0) {
			held[nheld].frame = f;
			held[nheld++].order = order;
		}
	} else if (nheld) {
		unsigned k = (unsigned)(r >> 40) % nheld, o = held[k].order;

		f = held[k].frame;
		held[k] = held[--nheld];
		if (o && (r >> 16) % 3 == 0) {
			/* a half now, the other half stays */
			if (o <= 9 || o > 12) {
				if (o <= 9) {
					held[nheld].frame = f;
					held[nheld++].order = o - 1;
					put(f + (1u << (o - 1)), o - 1);
				}
				return;
			}
		}
		put(f, o);
	}
}

static void script_random(unsigned steps)
{
	begin();
	nheld = 0;
	set_offline(5, false);
	set_online(5, true);
	for (unsigned i = 0; i < steps; i++) {
		if (i % 3 == 0) {
			interrupt = random_op;
			interrupt_at = (unsigned)test_random(&random_state) % 12;
		}
		random_op();
		interrupt = NULL;
	}
	end();
}

void suite_crash(void)
{
	random_state = test_seed;
	script_plain();
	script_undo();
	script_help();
	script_whole();
	script_close();
	script_recover(true);
	script_recover(false);
	for (unsigned i = 0; i < 4 * test_scale; i++)
		script_random(60);
	printf("# crash: %llu images of %llu cuts\n", (unsigned long long)images,
	       (unsigned long long)cuts);
}

#else

typedef int no_hooks_no_power_cuts;

#endif
