/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "crc32c.h"
#include "trace.h"

/* The longest record but for LEVELS, which is written in parts. */
#define RECORD_MAX 1024u
#define VARINT_MAX 10u

uint8_t trace_level(uint64_t events16)
{
	unsigned exponent;

	if (events16 < 16)
		return (uint8_t)events16;
	exponent = 63 - (unsigned)__builtin_clzll(events16) - 3;
	if (exponent > 30)
		return 255;
	/* 8 to 15 in the mantissa; 16 steps without an exponent come first. */
	return (uint8_t)((exponent + 1) * 8 + (events16 >> exponent & 7));
}

uint64_t trace_level_value(uint8_t level)
{
	if (level < 16)
		return level;
	return (uint64_t)(8 + (level & 7)) << (level / 8 - 1);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

void trace_begin(struct trace_writer *w, struct trace_header *header, uint64_t created,
		 uint32_t grain, uint32_t period_ms, struct trace_cell *cells, uint32_t granules,
		 uint8_t *payload)
{
	*header = (struct trace_header){
		.magic = TRACE_MAGIC,
		.version = TRACE_VERSION,
		.size = sizeof(*header),
		.created = created,
		.grain = grain,
		.period_ms = period_ms,
	};
	header->crc = crc32c(0, header, __builtin_offsetof(struct trace_header, crc));
	for (uint32_t i = 0; i < granules; i++)
		cells[i] = (struct trace_cell){};
	*w = (struct trace_writer){
		.cells = cells,
		.granules = granules,
		.payload = payload,
		.crc = header->crc,
	};
}

static void put_byte(struct trace_writer *w, uint8_t b)
{
	w->payload[w->length++] = b;
}

static void put(struct trace_writer *w, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		put_byte(w, (uint8_t)(v | 128));
	put_byte(w, (uint8_t)v);
}

static void put_name(struct trace_writer *w, const char *name, size_t length)
{
	put(w, length);
	for (size_t i = 0; i < length; i++)
		put_byte(w, (uint8_t)name[i]);
}

/* Room for any record but LEVELS. */
static int reserve(const struct trace_writer *w)
{
	return w->length + RECORD_MAX <= TRACE_BLOCK_MAX ? 0 : -ENOSPC;
}

int trace_tier(struct trace_writer *w, uint32_t index, const struct plan_path *path, uint64_t pages,
	       const char *name, size_t name_length)
{
	if (index >= PLAN_ABSENT || name_length > TRACE_NAME_MAX)
		return -EINVAL;
	if (reserve(w) < 0)
		return -ENOSPC;
	put_byte(w, TRACE_TIER);
	put(w, index);
	put(w, path->latency_ns);
	put(w, path->bandwidth_mbs);
	put(w, pages);
	put_name(w, name, name_length);
	return 0;
}

int trace_account(struct trace_writer *w, uint32_t index, const struct plan_account *a,
		  unsigned tiers, const char *name, size_t name_length)
{
	if (index >= TRACE_ACCOUNTS_MAX || tiers >= PLAN_MAX_TIERS ||
	    name_length > TRACE_NAME_MAX || (a->parent != PLAN_NO_PARENT && a->parent >= index))
		return -EINVAL;
	if (reserve(w) < 0)
		return -ENOSPC;
	put_byte(w, TRACE_ACCOUNT);
	put(w, index);
	put(w, (uint32_t)(a->parent + 1));
	put(w, a->weight);
	put(w, tiers);
	for (unsigned t = 0; t < tiers; t++) {
		put(w, a->low[t]);
		/* PLAN_NO_LIMIT becomes 0. */
		put(w, a->high[t] + 1);
		put(w, a->max[t] + 1);
	}
	put_name(w, name, name_length);
	return 0;
}

int trace_region(struct trace_writer *w, uint32_t index, const struct plan_region *region,
		 const char *name, size_t name_length)
{
	if (index >= TRACE_REGIONS_MAX || !region->pages || region->account >= TRACE_ACCOUNTS_MAX ||
	    name_length > TRACE_NAME_MAX)
		return -EINVAL;
	if (reserve(w) < 0)
		return -ENOSPC;
	put_byte(w, TRACE_REGION);
	put(w, index);
	put(w, region->pages);
	put(w, region->account);
	put(w, region->allow);
	put(w, (region->by_page ? 1 : 0) | (region->migrate == PLAN_MIGRATE_OFF ? 2 : 0));
	put_name(w, name, name_length);
	return 0;
}

static void forget(struct trace_writer *w, const struct plan_region *region)
{
	for (uint32_t p = 0, g = region->first; p < region->pages && g < w->granules; g++) {
		w->cells[g] = (struct trace_cell){};
		p = region->pages - p > HEAT_PAGES ? p + HEAT_PAGES : region->pages;
	}
}

int trace_gone(struct trace_writer *w, uint32_t index, const struct plan_region *region)
{
	if (reserve(w) < 0)
		return -ENOSPC;
	put_byte(w, TRACE_GONE);
	put(w, index);
	forget(w, region);
	return 0;
}

int trace_place(struct trace_writer *w, uint32_t index, uint32_t granule, uint32_t granules,
		unsigned tier)
{
	if (tier > PLAN_ABSENT)
		return -EINVAL;
	if (reserve(w) < 0)
		return -ENOSPC;
	put_byte(w, TRACE_PLACE);
	put(w, index);
	put(w, granule);
	put(w, granules);
	put(w, tier);
	return 0;
}

int trace_round(struct trace_writer *w, uint64_t clock_ms)
{
	if (reserve(w) < 0)
		return -ENOSPC;
	put_byte(w, TRACE_ROUND);
	/* The caller's clock may jump backwards. */
	put(w, w->clock_ms && clock_ms > w->clock_ms ? clock_ms - w->clock_ms : 0);
	if (!w->clock_ms)
		w->block_clock_ms = clock_ms;
	w->clock_ms = clock_ms;
	return 0;
}

void trace_sample(struct trace_writer *w, uint32_t granule, uint32_t events)
{
	if (granule < w->granules)
		w->cells[granule].events += events < 0xffffffffu - w->cells[granule].events
						    ? events
						    : 0xffffffffu - w->cells[granule].events;
}

void trace_skip(struct trace_writer *w, uint32_t granule)
{
	if (granule < w->granules)
		w->cells[granule].skipped = 1;
}

/*
 * Has the level to change? Counting N events leaves an accident of √N: a difference of three times that in this round is a
 * change, and the new level is what was seen. One that has gathered over rounds is a drift, and is followed by a sixteenth.
 */
static bool relevel(struct trace_cell *c)
{
	int64_t value = (int64_t)trace_level_value(c->level),
		seen = (int64_t)c->events * TRACE_LEVEL_ONE;
	int64_t now = seen - value, limit, next;
	uint8_t level;
	bool first;

	if (c->skipped) {
		c->skipped = 0;
		c->events = 0;
		return false;
	}
	/* When a granule is first accessed decides where it is put. */
	first = c->events && !c->known;
	c->known |= first;
	c->events = 0;
	c->error += now;
	/* (3 × √(N + 1))², in sixteenths: one event more, for those that have hardly any. At most 2^43. */
	limit = 9 * TRACE_LEVEL_ONE * (value + TRACE_LEVEL_ONE);
	if (first || now > (1 << 30) || now < -(1 << 30) || now * now > limit)
		next = seen;
	else if (c->error > (1 << 30) || c->error < -(1 << 30) || c->error * c->error > limit)
		next = value + c->error / 16;
	else
		return false;
	c->error = 0;
	level = trace_level(next > 0 ? (uint64_t)next : 0);
	if (level == c->level)
		return false;
	c->level = level;
	return true;
}

int trace_levels(struct trace_writer *w, uint32_t index, const struct plan_region *region,
		 uint32_t *at)
{
	uint32_t granules = region->pages ? (region->pages - 1) / HEAT_PAGES + 1 : 0;
	uint32_t start = w->length, count_at, n = 0, last = 0, i = *at;

	if (region->first >= w->granules || granules > w->granules - region->first)
		return -EINVAL;
	if (i >= granules)
		return 0;
	if (reserve(w) < 0)
		return -ENOSPC;
	put_byte(w, TRACE_LEVELS);
	put(w, index);
	/* Four bytes of LEB128, filled in below. */
	count_at = w->length;
	w->length += 4;
	for (; i < granules && reserve(w) == 0; i++) {
		struct trace_cell *c = &w->cells[region->first + i];

		if (!relevel(c))
			continue;
		put(w, i - last);
		put_byte(w, c->level);
		last = i;
		n++;
	}
	*at = i;
	for (unsigned b = 0; b < 4; b++)
		w->payload[count_at + b] = (uint8_t)((n >> 7 * b & 127) | (b < 3 ? 128 : 0));
	if (!n)
		w->length = start;
	return i < granules ? -ENOSPC : 0;
}

int trace_pages(struct trace_writer *w, uint32_t index, uint32_t granule,
		const struct trace_class *classes, unsigned n)
{
	if (n > TRACE_CLASSES_MAX)
		return -EINVAL;
	if (reserve(w) < 0)
		return -ENOSPC;
	put_byte(w, TRACE_PAGES);
	put(w, index);
	put(w, granule);
	put(w, n);
	for (unsigned i = 0; i < n; i++) {
		put_byte(w, classes[i].level);
		for (unsigned b = 0; b < HEAT_PAGES / 8; b++)
			put_byte(w, (uint8_t)(classes[i].pages[b / 8] >> b % 8 * 8));
	}
	return 0;
}

bool trace_flush(struct trace_writer *w, struct trace_block *block)
{
	if (!w->length)
		return false;
	*block = (struct trace_block){
		.magic = TRACE_BLOCK_MAGIC,
		.length = w->length,
		.sequence = w->sequence,
		.clock_ms = w->block_clock_ms,
		.payload_crc = crc32c(0, w->payload, w->length),
	};
	block->crc = crc32c(w->crc, block, __builtin_offsetof(struct trace_block, crc));
	return true;
}

void trace_flushed(struct trace_writer *w)
{
	w->length = 0;
	w->sequence++;
	w->block_clock_ms = w->clock_ms;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* The file is mapped at any alignment. */
static void copy(void *to, const uint8_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = from[i];
}

int trace_open(struct trace_reader *r, const void *data, uint64_t size)
{
	struct trace_header h;

	if (size < sizeof(h))
		return -EUCLEAN;
	copy(&h, data, sizeof(h));
	if (h.magic != TRACE_MAGIC ||
	    h.crc != crc32c(0, &h, __builtin_offsetof(struct trace_header, crc)))
		return -EUCLEAN;
	if (h.version > TRACE_VERSION)
		return -EOPNOTSUPP;
	if (h.version != TRACE_VERSION || h.size != sizeof(h) || !h.grain || !h.period_ms)
		return -EUCLEAN;
	*r = (struct trace_reader){
		.data = data,
		.size = size,
		.at = sizeof(h),
		.block_end = sizeof(h),
		.cursor = sizeof(h),
		.crc = h.crc,
		.header = h,
	};
	return 0;
}

static bool get_byte(struct trace_reader *r, uint8_t *ret)
{
	if (r->cursor >= r->block_end)
		return false;
	*ret = r->data[r->cursor++];
	return true;
}

/* A number up to max. */
static bool get(struct trace_reader *r, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	uint8_t b;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		if (!get_byte(r, &b) || (shift == 63 && b > 1))
			return false;
		v |= (uint64_t)(b & 127) << shift;
		if (!(b & 128)) {
			*ret = v;
			return v <= max;
		}
	}
	return false;
}

static bool get32(struct trace_reader *r, uint32_t max, uint32_t *ret)
{
	uint64_t v;

	if (!get(r, max, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool get_name(struct trace_reader *r, struct trace_event *e)
{
	if (!get32(r, TRACE_NAME_MAX, &e->name_length) || e->name_length > r->block_end - r->cursor)
		return false;
	e->name = (const char *)r->data + r->cursor;
	r->cursor += e->name_length;
	return true;
}

#define PAGES_MAX (1ull << 52)
#define REGION_GRANULES_MAX (1u << 23)

static bool get_account(struct trace_reader *r, struct trace_event *e)
{
	uint32_t tiers, parent, weight;
	uint64_t high, max;

	if (!get32(r, TRACE_ACCOUNTS_MAX - 1, &e->index) || !get32(r, e->index, &parent) ||
	    !get32(r, 0xffffffffu, &weight) || !get32(r, PLAN_ABSENT, &tiers))
		return false;
	plan_account_init(&e->account, parent - 1);
	e->account.weight = weight;
	for (unsigned t = 0; t < tiers; t++) {
		if (!get(r, PLAN_NO_LIMIT, &e->account.low[t]) || !get(r, PLAN_NO_LIMIT, &high) ||
		    !get(r, PLAN_NO_LIMIT, &max))
			return false;
		e->account.high[t] = high - 1;
		e->account.max[t] = max - 1;
	}
	return get_name(r, e);
}

static bool get_region(struct trace_reader *r, struct trace_event *e)
{
	uint32_t flags;

	if (!get32(r, TRACE_REGIONS_MAX - 1, &e->index) ||
	    !get32(r, 0xffffffffu, &e->region.pages) ||
	    !get32(r, TRACE_ACCOUNTS_MAX - 1, &e->region.account) ||
	    !get32(r, 0xffffffffu, &e->region.allow) || !get32(r, 3, &flags) || !e->region.pages)
		return false;
	e->region.by_page = flags & 1;
	e->region.migrate = flags & 2 ? PLAN_MIGRATE_OFF : PLAN_MIGRATE_ON;
	return get_name(r, e);
}

static bool get_pages(struct trace_reader *r, struct trace_event *e)
{
	uint32_t n;
	uint8_t b;

	if (!get32(r, TRACE_REGIONS_MAX - 1, &e->index) ||
	    !get32(r, REGION_GRANULES_MAX - 1, &e->granule) || !get32(r, TRACE_CLASSES_MAX, &n))
		return false;
	e->n_classes = n;
	for (unsigned i = 0; i < n; i++) {
		if (!get_byte(r, &e->classes[i].level))
			return false;
		for (unsigned k = 0; k < HEAT_PAGES / 8; k++) {
			if (!get_byte(r, &b))
				return false;
			e->classes[i].pages[k / 8] |= (uint64_t)b << k % 8 * 8;
		}
	}
	return true;
}

/* The next granule of LEVELS; the first gap is from 0 and may be 0, the others not. */
static bool get_level(struct trace_reader *r, struct trace_event *e, bool first)
{
	uint32_t gap;

	if (!get32(r, REGION_GRANULES_MAX - 1, &gap) || (!first && !gap) ||
	    gap > REGION_GRANULES_MAX - 1 - r->granule || !get_byte(r, &e->level))
		return false;
	r->granule += gap;
	r->left--;
	e->tag = TRACE_LEVELS;
	e->index = r->region;
	e->granule = r->granule;
	return true;
}

static bool get_record(struct trace_reader *r, struct trace_event *e)
{
	uint64_t ms;
	uint32_t tier;
	uint8_t tag;

	if (r->left)
		return get_level(r, e, false);
	if (!get_byte(r, &tag))
		return false;
	e->tag = tag;
	switch (tag) {
	case TRACE_TIER:
		return get32(r, PLAN_ABSENT - 1, &e->index) &&
		       get32(r, 0xffffffffu, &e->path.latency_ns) &&
		       get32(r, 0xffffffffu, &e->path.bandwidth_mbs) &&
		       get(r, PAGES_MAX, &e->pages) && get_name(r, e);
	case TRACE_ACCOUNT:
		return get_account(r, e);
	case TRACE_REGION:
		return get_region(r, e);
	case TRACE_GONE:
		return get32(r, TRACE_REGIONS_MAX - 1, &e->index);
	case TRACE_ROUND:
		if (!get(r, 1ull << 40, &ms))
			return false;
		r->clock_ms += ms;
		e->clock_ms = r->clock_ms;
		return true;
	case TRACE_LEVELS:
		r->granule = 0;
		return get32(r, TRACE_REGIONS_MAX - 1, &r->region) &&
		       get32(r, REGION_GRANULES_MAX, &r->left) && r->left && get_level(r, e, true);
	case TRACE_PAGES:
		return get_pages(r, e);
	case TRACE_PLACE:
		if (!get32(r, TRACE_REGIONS_MAX - 1, &e->index) ||
		    !get32(r, REGION_GRANULES_MAX - 1, &e->granule) ||
		    !get32(r, REGION_GRANULES_MAX - e->granule, &e->granules) ||
		    !get32(r, PLAN_ABSENT, &tier))
			return false;
		e->tier = (uint8_t)tier;
		return true;
	}
	return false;
}

/* Behind the last good block: is there another one? */
static bool next_block(struct trace_reader *r)
{
	struct trace_block b;

	r->at = r->block_end;
	if (r->size - r->at < sizeof(b)) {
		r->end = r->size == r->at ? TRACE_GOOD : TRACE_CUT;
		return false;
	}
	copy(&b, r->data + r->at, sizeof(b));
	if (b.magic != TRACE_BLOCK_MAGIC ||
	    b.crc != crc32c(r->crc, &b, __builtin_offsetof(struct trace_block, crc)) ||
	    b.sequence != r->sequence) {
		r->end = TRACE_DAMAGED;
		return false;
	}
	if (!b.length || b.length > TRACE_BLOCK_MAX) {
		r->end = TRACE_NONSENSE;
		return false;
	}
	if (b.length > r->size - r->at - sizeof(b)) {
		r->end = TRACE_CUT;
		return false;
	}
	if (crc32c(0, r->data + r->at + sizeof(b), b.length) != b.payload_crc) {
		r->end = TRACE_DAMAGED;
		return false;
	}
	r->cursor = r->at + sizeof(b);
	r->block_end = r->cursor + b.length;
	r->sequence++;
	return true;
}

int trace_next(struct trace_reader *r, struct trace_event *ret)
{
	if (r->end != TRACE_GOOD)
		return 0;
	if (r->cursor == r->block_end && !r->left && !next_block(r))
		return 0;
	*ret = (struct trace_event){};
	if (!get_record(r, ret)) {
		r->end = TRACE_NONSENSE;
		return 0;
	}
	return 1;
}

const char *trace_end_text(enum trace_end end)
{
	switch (end) {
	case TRACE_GOOD:
		return "complete";
	case TRACE_CUT:
		return "cut off within a block";
	case TRACE_DAMAGED:
		return "damaged: a checksum is wrong";
	case TRACE_NONSENSE:
		return "a block makes no sense";
	}
	return "?";
}
