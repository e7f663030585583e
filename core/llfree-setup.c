/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A pool's life: sizes, init, open with recovery, attach, close. Not concurrent with anything,
 * attach apart.
 */
#include "llfree-upper.h"

struct shape {
	uint64_t children, ntrees, slots;
	uint64_t bits, lower; /* offsets in the lower buffer: bits, end */
	uint64_t slot, upper; /* the same in the upper one: slots, end */
};

static uint64_t round_up(uint64_t x, uint64_t to)
{
	return (x + to - 1) / to * to;
}

static int shape_of(const struct llfree_config *c, struct shape *ret)
{
	struct shape s;

	if (c->frames < LLFREE_MIN_FRAMES || c->frames > LLFREE_MAX_FRAMES ||
	    c->online > c->frames || (c->flags & ~(LLFREE_POOL_FLAGS | LLFREE_READONLY)) ||
	    !c->classes || c->classes > LLFREE_MAX_CLASSES || !c->owners ||
	    c->owners > LLFREE_MAX_OWNERS || c->owner >= c->owners || !c->slots ||
	    c->slots > LLFREE_MAX_SLOTS || c->writeback >= PLAT_WB_MAX)
		return LLFREE_EINVAL;
	s.slots = (uint64_t)c->classes * c->owners * c->slots;
	if (s.slots > LLFREE_MAX_SLOTS)
		return LLFREE_EINVAL;
	s.children = (c->frames + LLFREE_CHILD_FRAMES - 1) / LLFREE_CHILD_FRAMES;
	s.ntrees = (c->frames + LLFREE_TREE_FRAMES - 1) / LLFREE_TREE_FRAMES;
	s.bits = sizeof(struct llfree_lower_header) +
		 round_up(s.ntrees * LLFREE_TREE_WORDS * sizeof(uint64_t), PLAT_CACHE_LINE);
	/*
	 * Bits for lanes that stand for no child too: so no lane, whatever is in it, leads outside.
	 */
	s.lower = s.bits + s.ntrees * LLFREE_TREE_FRAMES / 8;
	s.slot = sizeof(struct llfree_upper_header) +
		 round_up(s.ntrees * sizeof(uint64_t), PLAT_CACHE_LINE);
	s.upper = s.slot + s.slots * sizeof(struct llfree_slot);
	*ret = s;
	return 0;
}

int llfree_sizes(const struct llfree_config *config, uint64_t *ret_lower, uint64_t *ret_upper)
{
	struct shape s;
	int r = shape_of(config, &s);

	if (r)
		return r;
	*ret_lower = s.lower;
	*ret_upper = s.upper;
	return 0;
}

/* The handle; nothing of the buffers is read or written. */
static int handle_init(struct llfree *a, const struct llfree_config *c, const struct llfree_meta *m,
		       struct shape *ret)
{
	uintptr_t lower = (uintptr_t)m->lower, upper = (uintptr_t)m->upper;
	llfree_policy policy = c->policy ? c->policy : llfree_policy_simple;
	struct llfree new = { 0 };
	struct shape s;
	int r = shape_of(c, &s);

	if (r)
		return r;
	if (!lower || !upper || lower % PLAT_CACHE_LINE || upper % PLAT_CACHE_LINE)
		return LLFREE_EINVAL;
	if (m->lower_size < s.lower || m->upper_size < s.upper)
		return LLFREE_ENOSPC;
	if (lower + s.lower < lower || upper + s.upper < upper ||
	    (lower < upper + s.upper && upper < lower + s.lower))
		return LLFREE_EINVAL;

	new.frames = c->frames;
	new.children = s.children;
	new.ntrees = (uint32_t)s.ntrees;
	new.lower = m->lower;
	new.upper = m->upper;
	new.entries = (uint64_t *)(new.lower + 1);
	new.bits = (uint64_t *)((char *)m->lower + s.bits);
	new.trees = (uint64_t *)(new.upper + 1);
	new.slots = (struct llfree_slot *)((char *)m->upper + s.slot);
	new.classes = c->classes;
	new.nslots = c->slots;
	new.slot_base = c->owner * c->classes * c->slots;
	new.slot_count = (uint32_t)s.slots;
	new.owner = c->owner;
	new.flags = c->flags;
	new.writeback = c->flags &LLFREE_PERSISTENT ? c->writeback : PLAT_WB_NONE;
	for (unsigned want = 0; want < LLFREE_MAX_CLASSES; want++) {
		for (unsigned have = 0; have < LLFREE_MAX_CLASSES; have++) {
			int v = LLFREE_INVALID;

			if (want < c->classes && have < c->classes)
				v = policy(want, have);
			new.verdict[want][have] = (int8_t)(v > INT8_MAX		? INT8_MAX
							   : v < LLFREE_INVALID ? LLFREE_INVALID
										: v);
		}
	}
	*a = new;
	*ret = s;
	return 0;
}

static void upper_init(struct llfree *a)
{
	struct llfree_upper_header *h = a->upper;

	*h = (struct llfree_upper_header){
		.magic = LLFREE_UPPER_MAGIC,
		.version = LLFREE_LAYOUT_VERSION,
		.classes = a->classes,
		.frames = a->frames,
		.owners = a->slot_count / a->classes / a->nslots,
		.slots = a->nslots,
	};
	for (uint32_t i = 0; i < a->ntrees; i++)
		plat_store_relaxed(&a->trees[i], LLFREE_TREE_FRESH);
	/* Slots begin apart, so that they do not meet in one line of lanes. */
	for (uint32_t i = 0; i < a->slot_count; i++) {
		uint64_t tree = (uint64_t)i * a->ntrees / a->slot_count;

		a->slots[i] = (struct llfree_slot){
			.cache = llfree_cache_word(tree << (LLFREE_TREE_ORDER - LLFREE_HALF_ORDER),
						   0, 0),
			.small = tree << (LLFREE_TREE_ORDER - 6),
			.huge = tree,
		};
	}
}

/* Any change of one field changes it; so does any change of one bit of the fields or of itself. */
static uint64_t header_check(const struct llfree_lower_header *h)
{
	const uint64_t field[] = { h->magic,  (uint64_t)h->tree_order << 32 | h->version,
				   h->frames, h->flags,
				   h->sum[0], h->sum[1] };
	uint64_t x = 0x6d6f7273656c2121u;

	/* Odd multiplier (the golden ratio's bits): a bijection at each step. */
	for (unsigned i = 0; i < sizeof(field) / sizeof(field[0]); i++)
		x = ((x ^ field[i]) * 0x9e3779b97f4a7c15u) ^ (x >> 32);
	return x;
}

static void writeback_range(const struct llfree *a, const void *from, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i += PLAT_CACHE_LINE)
		plat_writeback(a->writeback, (const char *)from + i);
}

static uint64_t entries_bytes(const struct llfree *a)
{
	return a->ntrees * LLFREE_TREE_WORDS * sizeof(uint64_t);
}

static void set_state(const struct llfree *a, uint64_t state, bool wb, bool fence)
{
	/* Release: sums and check, in the same line, come first, on media too. */
	plat_store(&a->lower->state, state);
	if (wb)
		plat_writeback(a->writeback, a->lower);
	if (fence)
		plat_fence(a->writeback);
}

int llfree_init(struct llfree *a, const struct llfree_config *config,
		const struct llfree_meta *meta)
{
	struct shape s;
	uint64_t online = config->online ? config->online : config->frames;
	struct llfree new;
	int r = handle_init(&new, config, meta, &s);

	if (r)
		return r;
	if (config->flags & LLFREE_READONLY)
		return LLFREE_EINVAL;

	/* Not a pool until the end. */
	new.lower->magic = 0;
	writeback_range(&new, new.lower, PLAT_CACHE_LINE);
	plat_fence(new.writeback);

	for (uint64_t w = 0; w < s.ntrees * LLFREE_TREE_WORDS; w++) {
		uint64_t word = 0;

		for (unsigned i = 0; i < LLFREE_WORD_LANES; i++) {
			uint64_t child = w * LLFREE_WORD_LANES + i, lane = LLFREE_LANE_PADDING;

			if (child < s.children) {
				lane = llfree_child_frames(&new, child);
				/* A huge frame that is there in part only counts as absent. */
				if (child * LLFREE_CHILD_FRAMES + lane > online)
					lane |= LLFREE_LANE_OFFLINE;
			}
			word |= lane << llfree_lane_shift(child);
		}
		plat_store_relaxed(&new.entries[w], word);
	}
	for (uint64_t child = 0; child < s.ntrees * LLFREE_TREE_CHILDREN; child++) {
		unsigned frames = child < s.children ? llfree_child_frames(&new, child) : 0;

		for (unsigned row = 0; row < LLFREE_CHILD_ROWS; row++)
			plat_store_relaxed(&llfree_rows(&new, child)[row],
					   llfree_row_padding(frames, row));
	}
	upper_init(&new);

	if (!llfree_break(BREAK_WB_INIT))
		writeback_range(&new, new.entries, s.lower - sizeof(*new.lower));
	if (!llfree_break(BREAK_FENCE_INIT))
		plat_fence(new.writeback);
	*new.lower = (struct llfree_lower_header){
		.version = LLFREE_LAYOUT_VERSION,
		.tree_order = LLFREE_TREE_ORDER,
		.frames = new.frames,
		.flags = new.flags &LLFREE_POOL_FLAGS,
		.state = LLFREE_STATE_DIRTY,
	};
	new.lower->magic = LLFREE_LOWER_MAGIC;
	new.lower->check = header_check(new.lower);
	writeback_range(&new, new.lower, PLAT_CACHE_LINE);
	plat_fence(new.writeback);
	*a = new;
	return 0;
}

static int header_verify(const struct llfree *a)
{
	const struct llfree_lower_header *h = a->lower;

	if (h->magic != LLFREE_LOWER_MAGIC || h->version != LLFREE_LAYOUT_VERSION ||
	    h->tree_order != LLFREE_TREE_ORDER || h->frames != a->frames ||
	    h->flags != (a->flags & LLFREE_POOL_FLAGS) || h->check != header_check(h) ||
	    (h->state != LLFREE_STATE_CLEAN && h->state != LLFREE_STATE_DIRTY))
		return LLFREE_EUCLEAN;
	return 0;
}

/* What one pass over lanes and bits finds. */
struct survey {
	uint64_t sum[2];
	struct llfree_recovery rec;
	bool damaged;
};

/*
 * One child: its right lane, from its bits. With @fix its bits are made right too: the bits of a
 * huge child may be out of date on media, where only its lane counts.
 */
plat_inline unsigned survey_child(const struct llfree *a, uint64_t child, unsigned lane, bool fix,
				  bool sums, struct survey *s)
{
	uint64_t *rows = llfree_rows(a, child), flip = llfree_lane_flip(lane), padding = 0;
	unsigned frames = llfree_child_frames(a, child), free = 0;
	bool written = false;

	if (llfree_break(BREAK_RECOVER_INVERTED))
		flip = ~(uint64_t)0;
	for (unsigned r = 0; r < LLFREE_CHILD_ROWS; r++) {
		uint64_t row = plat_load_relaxed(&rows[r]);

		s->sum[0] += row;
		s->sum[1] += s->sum[0];
		if (plat_unlikely(frames < LLFREE_CHILD_FRAMES))
			padding |= (row ^ flip) & llfree_row_padding(frames, r);
		if (plat_unlikely(lane & LLFREE_LANE_HUGE) && (row ^ flip) && fix) {
			plat_store_relaxed(&rows[r], flip);
			written = true;
		}
		free += plat_popcount(row ^ flip);
	}
	/*
	 * States that no crash leaves: bits and lanes are written as a whole, and never to these
	 * values.
	 */
	if (padding || llfree_lane_free(lane) > frames ||
	    (frames < LLFREE_CHILD_FRAMES && (lane & (LLFREE_LANE_HUGE | LLFREE_LANE_INVERTED))) ||
	    ((lane & LLFREE_LANE_HUGE) && llfree_lane_free(lane)))
		s->damaged = true;
	if (written && !llfree_break(BREAK_WB_RECOVER))
		plat_writeback(a->writeback, rows);
	if (lane & LLFREE_LANE_HUGE) {
		s->rec.huge++;
		free = 0;
	}
	s->rec.free += free;
	s->rec.corrected += free != llfree_lane_free(lane) || written;
	return (lane & ~(LLFREE_LANE_FREE | LLFREE_LANE_UNSYNC)) | free;
}

/* Four children of which nothing is special, as nearly all are: nothing but their counts. */
plat_inline void survey_plain(const struct llfree *a, uint64_t w, uint64_t word, bool fix,
			      struct survey *s)
{
	const uint64_t *rows = llfree_rows(a, w * LLFREE_WORD_LANES);
	uint64_t counts = 0, had = word & LLFREE_LANES * LLFREE_LANE_FREE;
	/* All ones where the sense is not inverted. */
	uint64_t senses = ((word ^ LLFREE_LANES * LLFREE_LANE_INVERTED) / LLFREE_LANE_INVERTED) &
			  LLFREE_LANES;

	plat_test_point();
	for (unsigned i = 0; i < LLFREE_WORD_LANES; i++, rows += LLFREE_CHILD_ROWS) {
		uint64_t flip = 0 - (senses >> i * 16 & 1);

		if (llfree_break(BREAK_RECOVER_INVERTED))
			flip = ~(uint64_t)0;
		counts |= (uint64_t)plat_popcount_line(rows, flip) << i * 16;
	}
	/* A count above 512 is in no pool. One that is carries out of its ten bits. */
	s->damaged |=
		((had + LLFREE_LANES * (0x3ff - LLFREE_CHILD_FRAMES)) & LLFREE_LANES * 0x400) != 0;
	s->rec.free += (counts * LLFREE_LANES) >> 48;
	if (counts == had && !(word & LLFREE_LANES * LLFREE_LANE_UNSYNC))
		return;
	for (unsigned i = 0; i < LLFREE_WORD_LANES; i++)
		s->rec.corrected += ((counts ^ had) >> i * 16 & 0xffff) != 0;
	if (fix)
		plat_store_relaxed(&a->entries[w], (word & ~(LLFREE_LANES * (LLFREE_LANE_FREE |
									     LLFREE_LANE_UNSYNC))) |
							   counts);
}

plat_inline void survey(const struct llfree *a, bool fix, bool sums, struct survey *ret)
{
	struct survey s = { 0 };

	for (uint64_t w = 0; w < a->ntrees * LLFREE_TREE_WORDS; w++) {
		uint64_t word = plat_load_relaxed(&a->entries[w]), right = 0;

		if (!sums && plat_likely(!(word & LLFREE_LANES * LLFREE_LANE_HUGE)) &&
		    plat_likely(w * LLFREE_WORD_LANES + LLFREE_WORD_LANES < a->children)) {
			survey_plain(a, w, word, fix, &s);
			continue;
		}
		s.sum[0] += word;
		s.sum[1] += s.sum[0];
		for (unsigned i = 0; i < LLFREE_WORD_LANES; i++) {
			uint64_t child = w * LLFREE_WORD_LANES + i;
			unsigned lane = llfree_lane(word, child);

			if (plat_likely(child < a->children))
				lane = survey_child(a, child, lane, fix, sums, &s);
			else if (lane != LLFREE_LANE_PADDING)
				s.damaged = true;
			right |= (uint64_t)lane << llfree_lane_shift(child);
		}
		if (fix && right != word)
			plat_store_relaxed(&a->entries[w], right);
	}
	*ret = s;
}

/* Damaged metadata may come out with counts and bits that agree; it is refused all the same. */
static int recount(const struct llfree *a, struct llfree_recovery *ret)
{
	struct survey s;

	survey(a, true, false, &s);
	if (s.damaged)
		return LLFREE_EUCLEAN;
	*ret = s.rec;
	return 0;
}

int llfree_open(struct llfree *a, const struct llfree_config *config,
		const struct llfree_meta *meta, struct llfree_recovery *ret)
{
	struct llfree_recovery rec;
	struct survey s;
	struct llfree new;
	struct shape shape;
	int r = handle_init(&new, config, meta, &shape);

	if (r)
		return r;
	if (config->flags & LLFREE_READONLY)
		return LLFREE_EINVAL;
	r = header_verify(&new);
	if (r)
		return r;
	if (new.lower->state == LLFREE_STATE_CLEAN) {
		survey(&new, false, true, &s);
		if ((s.sum[0] != new.lower->sum[0] || s.sum[1] != new.lower->sum[1] || s.damaged ||
		     s.rec.corrected) &&
		    !llfree_break(BREAK_RECOVER_SUM))
			return LLFREE_EUCLEAN;
		rec = s.rec;
		rec.clean = true;
	} else {
		r = recount(&new, &rec);
		if (r)
			return r;
	}
	upper_init(&new);
	/* On media before anything else changes there; and with it what recount() wrote. */
	set_state(&new, LLFREE_STATE_DIRTY, !llfree_break(BREAK_WB_OPEN),
		  !llfree_break(BREAK_FENCE_OPEN));
	*a = new;
	if (ret)
		*ret = rec;
	return 0;
}

int llfree_recover(struct llfree *a, struct llfree_recovery *ret)
{
	struct llfree_recovery rec;
	int r;

	if (a->flags & LLFREE_READONLY)
		return LLFREE_EROFS;
	r = header_verify(a);
	if (r)
		return r;
	if (!llfree_break(BREAK_RECOVER_CACHE))
		for (uint32_t i = 0; i < a->slot_count; i++)
			llfree_slot_flush(a, i);
	r = recount(a, &rec);
	if (r)
		return r;
	/* What llfree_open() has from the change of state. */
	if (!llfree_break(BREAK_FENCE_RECOVER))
		plat_fence(a->writeback);
	/* Classes stay, if they are such; reservations end. */
	for (uint32_t i = 0; i < a->ntrees; i++) {
		uint64_t tree = a->trees[i] & ~(LLFREE_TREE_HELD | 0xff000000u);

		if (llfree_tree_class(tree) >= a->classes)
			tree = LLFREE_TREE_FRESH;
		plat_store_relaxed(&a->trees[i], tree);
	}
	for (uint32_t i = 0; i < a->slot_count; i++)
		a->slots[i].freed = a->slots[i].last_half = 0;
	if (ret)
		*ret = rec;
	return 0;
}

int llfree_attach(struct llfree *a, const struct llfree_config *config,
		  const struct llfree_meta *meta)
{
	const struct llfree_upper_header *u = meta->upper;
	struct llfree new;
	struct shape shape;
	int r = handle_init(&new, config, meta, &shape);

	if (r)
		return r;
	r = header_verify(&new);
	if (r)
		return r;
	if (u->magic != LLFREE_UPPER_MAGIC || u->version != LLFREE_LAYOUT_VERSION ||
	    u->frames != config->frames || u->classes != config->classes ||
	    u->owners != config->owners || u->slots != config->slots)
		return LLFREE_EUCLEAN;
	/*
	 * No class is valid for a request on a read-only handle: get and put need no check of their
	 * own.
	 */
	if (config->flags & LLFREE_READONLY)
		new.classes = 0;
	*a = new;
	return 0;
}

int llfree_close(struct llfree *a)
{
	struct survey s;
	int r = llfree_drain(a, LLFREE_ALL_SLOTS);

	if (r)
		return r;
	survey(a, true, false, &s);
	/* The counts, which nothing wrote back so far, and what survey() made right. */
	if (!llfree_break(BREAK_WB_CLOSE)) {
		writeback_range(a, a->entries, entries_bytes(a));
		writeback_range(a, a->bits,
				(uint64_t)a->ntrees * LLFREE_TREE_CHILDREN * PLAT_CACHE_LINE);
	}
	if (!llfree_break(BREAK_FENCE_CLOSE))
		plat_fence(a->writeback);
	survey(a, false, true, &s);
	if (s.damaged)
		return LLFREE_EUCLEAN;
	a->lower->sum[0] = s.sum[0];
	a->lower->sum[1] = s.sum[1];
	a->lower->check = header_check(a->lower);
	set_state(a, LLFREE_STATE_CLEAN, true, true);
	return 0;
}

int llfree_policy_simple(unsigned want, unsigned have)
{
	return want == have ? 0 : want > have ? LLFREE_STEAL : LLFREE_DEMOTE;
}

int llfree_policy_movable(unsigned want, unsigned have)
{
	/*
	 * What moves, or is huge, does no lasting harm in a tree of what does not; the other way it
	 * does.
	 */
	return llfree_policy_simple(want, have);
}

int llfree_policy_zeroed(unsigned want, unsigned have)
{
	return want == have ? 0 : want ? LLFREE_STEAL : LLFREE_DEMOTE;
}

int llfree_policy_grouped(unsigned want, unsigned have)
{
	return want == have ? 0 : LLFREE_STEAL;
}
