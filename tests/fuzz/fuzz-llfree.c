/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Damaged metadata of a small allocator pool. Input: a byte of flags, then steps of three bytes and more:
 *   flags  0-1 which pool below; 2: it was closed; 3: recover the pool in place instead of opening it;
 *          4: damage comes while it is in use; 5: the upper part may be damaged too (in use, or recovered)
 *   step   op, two bytes of argument:
 *          op < 0x40: damage, op % 8 + 1 bytes of the input laid over the place that the argument names
 *          else: an operation of the allocator, order op % 16, on the frame or huge frame of the argument
 * Without flag 4 all damage comes first. What is promised: an error or a pool whose invariants hold, no
 * frame given out twice, none beyond the end; in use, at least no access outside: the buffers have
 * inaccessible pages on both sides.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"
#include "llfree.h"

#define PAGE 4096u
#define AREA (16 * PAGE)
#define FRAMES_MAX 8192u

static const struct llfree_config configs[] = {
	{ .frames = 4096 + 600, .classes = 2, .slots = 2, .owners = 1 },
	{ .frames = 8192, .classes = 1, .slots = 1, .owners = 2, .flags = LLFREE_UNCACHED },
	{ .frames = 512, .classes = 1, .slots = 1, .owners = 1, .flags = LLFREE_PERSISTENT },
	{ .frames = 4096 + 7, .classes = 2, .slots = 1, .owners = 1, .flags = LLFREE_PERSISTENT },
};
#define POOLS (sizeof(configs) / sizeof(configs[0]))

/* As it is before each input: in use for a while, and closed after that. */
static struct {
	struct llfree_meta meta;
	uint8_t *lower, *upper;
} pools[POOLS][2];

static uint8_t *areas[2];
static unsigned char owned[FRAMES_MAX];

static void check(bool cond)
{
	if (!cond)
		abort();
}

static uint8_t *area(void)
{
	uint8_t *p = mmap(NULL, AREA + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED && mprotect(p + PAGE, AREA, PROT_READ | PROT_WRITE) == 0);
	return p + PAGE;
}

/* The end of a buffer is the end of its area, so that one byte too far is seen. */
static struct llfree_meta buffers(const struct llfree_config *c)
{
	struct llfree_meta m;

	check(llfree_sizes(c, &m.lower_size, &m.upper_size) == 0);
	check(m.lower_size <= AREA && m.upper_size <= AREA);
	m.lower = areas[0] + AREA - m.lower_size;
	m.upper = areas[1] + AREA - m.upper_size;
	return m;
}

static struct llfree_request request(unsigned order, unsigned class, unsigned flags)
{
	return (struct llfree_request){ .order = (uint8_t)order,
					.class = (uint8_t) class,
					.flags = flags };
}

/* Frames of every order in use, some trees reserved, a huge frame offline, one bad, one zeroed. */
static void use(struct llfree *a)
{
	uint64_t frame, held[64];
	unsigned n = 0;

	if (a->children > 8) {
		check(llfree_offline(a, 7, 1, 0) == 0);
		check(llfree_offline(a, 6, 1, 0) == 0 &&
		      llfree_online(a, 6, 1, LLFREE_ZEROED) == 0);
		check(llfree_mark_bad(a, 5) == 0);
	}
	for (unsigned i = 0; i < 64; i++)
		if (llfree_get(a, request(i % 8 == 7 ? 9 : i % 5, i % a->classes, 0), &frame) >= 0)
			held[n++] = frame << 8 | (i % 8 == 7 ? 9 : i % 5);
	for (unsigned i = 0; i < n; i += 3)
		check(llfree_put(a, held[i] >> 8, request(held[i] & 0xff, 0, 0)) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	areas[0] = area();
	areas[1] = area();
	for (unsigned i = 0; i < POOLS; i++) {
		struct llfree_meta m = buffers(&configs[i]);
		struct llfree a;

		check(llfree_init(&a, &configs[i], &m) == 0);
		use(&a);
		for (unsigned closed = 0; closed < 2; closed++) {
			check(!closed || llfree_close(&a) == 0);
			pools[i][closed].meta = m;
			pools[i][closed].lower = malloc(m.lower_size);
			pools[i][closed].upper = malloc(m.upper_size);
			check(pools[i][closed].lower && pools[i][closed].upper);
			memcpy(pools[i][closed].lower, m.lower, m.lower_size);
			memcpy(pools[i][closed].upper, m.upper, m.upper_size);
		}
	}
	return 0;
}

/* One input and how far it was read. */
struct input {
	const uint8_t *data;
	size_t size;
};

static void damage(struct input *in, unsigned n, unsigned at, const struct llfree_meta *m,
		   bool upper)
{
	uint64_t from = upper ? sizeof(struct llfree_upper_header) : 0;
	uint64_t size = upper ? m->upper_size : m->lower_size;
	uint8_t *p = upper ? m->upper : m->lower;

	for (unsigned i = 0; i < n && in->size; i++, in->data++, in->size--)
		p[from + (at + i) % (size - from)] ^= *in->data;
}

static void own(const struct llfree *a, uint64_t frame, unsigned order, bool exact)
{
	check(frame < a->frames && a->frames - frame >= 1ull << order);
	for (uint64_t f = frame; f < frame + (1ull << order); f++) {
		check(!exact || !owned[f]);
		owned[f] = 1;
	}
}

static void operate(struct llfree *a, unsigned op, unsigned argument, bool exact)
{
	unsigned order = op % 16;
	struct llfree_request r = request(order, argument % a->classes, op >> 5 & 1);
	uint64_t frame, huge = argument % a->children, trees, frames;
	struct llfree_huge_state state;
	struct llfree_stats stats;

	switch (op >> 4) {
	case 4:
	case 5:
	case 6:
		if (llfree_get(a, r, &frame) >= 0)
			own(a, frame, order, exact);
		break;
	case 7:
		frame = argument % a->frames >> order << order;
		if (llfree_get_at(a, frame, r) >= 0)
			own(a, frame, order, exact);
		break;
	case 8:
	case 9:
	case 10:
		frame = argument % a->frames >> order << order;
		if (llfree_put(a, frame, r) == 0)
			for (uint64_t f = frame; f < frame + (1ull << order) && f < FRAMES_MAX; f++)
				owned[f] = 0;
		break;
	case 11:
		llfree_offline(a, huge, 1 + op % 4, op >> 2 & 1 ? LLFREE_OFFLINE_DRAIN : 0);
		break;
	case 12:
		llfree_online(a, huge, 1 + op % 4, op >> 2 & 1 ? LLFREE_ZEROED : 0);
		break;
	case 13:
		llfree_mark_bad(a, huge);
		llfree_set_class(a, huge, op % 4);
		break;
	case 14:
		llfree_drain(a, op % 8 ? argument % 8 : LLFREE_ALL_SLOTS);
		llfree_recover_owner(a, op % 4, &trees, &frames);
		break;
	case 15:
		check(llfree_huge_state(a, huge, &state) == 0);
		check(llfree_stats_fast(a, &stats) == 0 && llfree_stats_exact(a, &stats) == 0);
		llfree_is_free(a, argument, order);
		if (!exact)
			llfree_check(a);
		break;
	}
}

/* All that is said to be free can be had, each frame once. */
static void take_all(struct llfree *a)
{
	struct llfree_stats before, after;
	uint64_t frame, n = 0;

	check(llfree_check(a) == 0);
	check(llfree_stats_exact(a, &before) == 0);
	for (; llfree_get(a, request(0, 0, 0), &frame) >= 0; n++)
		own(a, frame, 0, true);
	check(n == before.free);
	check(llfree_check(a) == 0);
	check(llfree_stats_exact(a, &after) == 0 && after.free == 0);
	check(after.used == before.used + n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data + 1, size - 1 };
	struct llfree_recovery rec;
	struct llfree a;

	if (size < 1)
		return 0;

	unsigned flags = data[0], which = flags % POOLS, closed = flags >> 2 & 1;
	bool in_place = flags >> 3 & 1, live = flags >> 4 & 1, upper = flags >> 5 & 1;
	const struct llfree_config *c = &configs[which];
	const struct llfree_meta *m = &pools[which][closed].meta;
	int r;

	memcpy(m->lower, pools[which][closed].lower, m->lower_size);
	memcpy(m->upper, pools[which][closed].upper, m->upper_size);
	memset(owned, 0, sizeof(owned));
	if (live || in_place)
		check(llfree_attach(&a, c, m) == 0);
	for (; !live && in.size >= 3 && in.data[0] < 0x40;) {
		unsigned n = in.data[0] % 8 + 1, at = in.data[1] | in.data[2] << 8;

		/* Slots of a pool with caches are private memory, and believed by recovery. */
		bool there = upper && in_place && (c->flags & LLFREE_POOL_FLAGS) && in.data[0] & 8;

		in.data += 3;
		in.size -= 3;
		damage(&in, n, at, m, there);
	}
	if (!live) {
		r = in_place ? llfree_recover(&a, &rec) : llfree_open(&a, c, m, &rec);
		check(r == 0 || r == LLFREE_EUCLEAN);
		if (r)
			return 0;
		check(llfree_check(&a) == 0);
	}
	while (in.size >= 3) {
		unsigned op = in.data[0], at = in.data[1] | in.data[2] << 8;

		in.data += 3;
		in.size -= 3;
		if (op >= 0x40)
			operate(&a, op, at, !live);
		else if (live)
			damage(&in, op % 8 + 1, at, m, upper && op & 8);
	}
	if (!live)
		take_all(&a);
	return 0;
}
