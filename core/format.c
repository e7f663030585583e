/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "format.h"
#include "crc32c.h"

/* Superblocks, geometry and table pages. The check is in format-check.c. */

#define PAGE_MAGIC 0x47504d4du /* "MMPG" */
#define MAX_SIZE (1ull << 50)  /* 1 PiB: extent numbers stay far from their 32 bits */
#define MAX_NAMES 65536u
#define MAX_HEAD \
	(1ull << 37) /* metadata of a pool of MAX_SIZE: 2^29 extents of 64 + 70 + 32 bytes */

static uint64_t align_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

static void zero(void *p, uint64_t n)
{
	uint8_t *b = p;

	while (n--)
		*b++ = 0;
}

static void copy(void *to, const void *from, uint64_t n)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	while (n--)
		*t++ = *f++;
}

static bool is_zero(const uint8_t *p, uint64_t n)
{
	uint8_t any = 0;

	while (n--)
		any |= *p++;
	return !any;
}

uint64_t format_frames(uint64_t size)
{
	return size >> MORSEL_COH_EXTENT_SHIFT << (MORSEL_COH_EXTENT_SHIFT - 12);
}

int format_layout(const struct format_params *p, struct format_layout *ret)
{
	struct format_layout l = { 0 };
	uint64_t at;

	if (p->size > MAX_SIZE || p->names > MAX_NAMES || p->lower_size > MAX_SIZE ||
	    p->upper_size > MAX_SIZE || p->incompat & ~FORMAT_INCOMPAT_KNOWN)
		return -EINVAL;
	if (p->incompat == FORMAT_INCOMPAT_KNOWN)
		return -EINVAL; /* shared words cannot be in two places */
	l.extents = (uint32_t)(p->size >> MORSEL_COH_EXTENT_SHIFT);
	l.size = (uint64_t)l.extents << MORSEL_COH_EXTENT_SHIFT;
	l.names = p->names ? p->names : l.extents < MAX_NAMES ? l.extents : MAX_NAMES;
	l.name_pages = (l.names + FORMAT_NAMES_PER_PAGE - 1) / FORMAT_NAMES_PER_PAGE;
	l.extent_pages = (l.extents + FORMAT_EXTENTS_PER_PAGE - 1) / FORMAT_EXTENTS_PER_PAGE;
	l.lower_size = p->lower_size;
	l.upper_size = p->upper_size;
	l.allocator_version = p->allocator_version;
	l.uuid[0] = p->uuid[0];
	l.uuid[1] = p->uuid[1];
	l.incompat = p->incompat;

	/* Head: two superblocks, then the coherent range. All sums are of values below 2^51. */
	l.coherent_offset = 2 * FORMAT_PAGE;
	l.hosts_offset = l.coherent_offset + sizeof(struct coh_header);
	l.mail_offset = l.hosts_offset + COH_HOSTS * sizeof(struct coh_host_entry);
	l.lines_offset = l.mail_offset + COH_HOSTS * sizeof(struct coh_mailbox);
	l.lower_offset = l.lines_offset + (uint64_t)l.extents * sizeof(struct coh_line);
	l.upper_offset = align_up(l.lower_offset + l.lower_size, MORSEL_LINE);
	at = align_up(l.upper_offset + l.upper_size, FORMAT_PAGE);
	l.coherent_size = at - l.coherent_offset;

	/* Tables: in extents of their own, so that holds on them are holds on extents like any other. */
	l.names_offset = align_up(at, COH_EXTENT_SIZE);
	l.extents_offset = l.names_offset + 2ull * l.name_pages * FORMAT_PAGE;
	at = l.extents_offset + 2ull * l.extent_pages * FORMAT_PAGE;
	at = align_up(at + FORMAT_PAGE, COH_EXTENT_SIZE);

	/* The third superblock lies before the data, away from the others. */
	l.super_offset[1] = FORMAT_PAGE;
	l.super_offset[2] = at - FORMAT_PAGE;
	l.first_data = (uint32_t)(at >> MORSEL_COH_EXTENT_SHIFT);
	if (at + COH_EXTENT_SIZE > l.size)
		return -ENOSPC;
	*ret = l;
	return 0;
}

/* ---- superblock ------------------------------------------------------------------------------------- */

static void super_fill(struct format_super *s, const struct format_layout *l)
{
	s->magic = FORMAT_MAGIC;
	s->version = FORMAT_VERSION;
	s->incompat = l->incompat;
	s->uuid[0] = l->uuid[0];
	s->uuid[1] = l->uuid[1];
	s->generation = l->generation;
	s->size = l->size;
	s->names = l->names;
	s->allocator_version = l->allocator_version;
	s->lower_size = l->lower_size;
	s->upper_size = l->upper_size;
	s->extent_shift = MORSEL_COH_EXTENT_SHIFT;
	s->block_shift = MORSEL_COH_BLOCK_SHIFT;
	s->hosts = COH_HOSTS;
	s->line = MORSEL_LINE;
	s->extents = l->extents;
	s->first_data = l->first_data;
	s->coherent_offset = l->coherent_offset;
	s->coherent_size = l->coherent_size;
	s->hosts_offset = l->hosts_offset;
	s->mail_offset = l->mail_offset;
	s->lines_offset = l->lines_offset;
	s->lower_offset = l->lower_offset;
	s->upper_offset = l->upper_offset;
	s->names_offset = l->names_offset;
	s->extents_offset = l->extents_offset;
	s->name_pages = l->name_pages;
	s->extent_pages = l->extent_pages;
}

static uint32_t super_crc(const struct format_super *s)
{
	return crc32c(0, s, __builtin_offsetof(struct format_super, crc));
}

static bool super_sound(const struct format_super *s)
{
	return s->magic == FORMAT_MAGIC && s->crc == super_crc(s);
}

/* S is the caller's own copy: nobody changes it while it is looked at. SIZE: of the mapping. ABLE: features. */
static int super_decode(const struct format_super *s, unsigned which, uint64_t size, uint64_t able,
			struct format_layout *ret)
{
	struct format_super again = { 0 };
	struct format_params p;
	struct format_layout l;
	int r;

	if (!super_sound(s))
		return -EUCLEAN;
	/* A newer version may have moved everything below. */
	if (s->version > FORMAT_VERSION || s->incompat & ~(able & FORMAT_INCOMPAT_KNOWN))
		return -EOPNOTSUPP;
	if (s->version != FORMAT_VERSION || s->copy != which || !is_zero(s->zero, sizeof(s->zero)))
		return -EUCLEAN;
	p = (struct format_params){ .size = s->size,
				    .names = s->names,
				    .allocator_version = s->allocator_version,
				    .lower_size = s->lower_size,
				    .upper_size = s->upper_size,
				    .uuid = { s->uuid[0], s->uuid[1] },
				    .incompat = s->incompat };
	if (!p.names)
		return -EUCLEAN;
	r = format_layout(&p, &l);
	if (r < 0)
		return -EUCLEAN;
	/* What is stored must be what follows from the four numbers. */
	l.generation = s->generation;
	copy(&again, s, sizeof(again));
	super_fill(&again, &l);
	for (uint64_t i = 0; i < sizeof(again); i++)
		if (((const uint8_t *)&again)[i] != ((const uint8_t *)s)[i])
			return s->extent_shift != MORSEL_COH_EXTENT_SHIFT ||
					       s->block_shift != MORSEL_COH_BLOCK_SHIFT ||
					       s->hosts != COH_HOSTS || s->line != MORSEL_LINE
				       ? -EOPNOTSUPP
				       : -EUCLEAN;
	if (l.size > size)
		return -ENOSPC;
	l.read_only = s->ro_compat & ~FORMAT_RO_COMPAT_KNOWN;
	*ret = l;
	return 0;
}

int format_open(const void *base, uint64_t size, struct format_layout *ret)
{
	return format_open_able(base, size, 0, ret);
}

int format_needs(const void *base, uint64_t size, uint32_t *ret_version, uint64_t *ret_incompat)
{
	struct format_super s;

	if (size < 2 * COH_EXTENT_SIZE)
		return -EINVAL;
	for (unsigned i = 0; i < 2; i++) {
		copy(&s, (const uint8_t *)base + i * FORMAT_PAGE, sizeof(s));
		if (!super_sound(&s))
			continue;
		*ret_version = s.version;
		*ret_incompat = s.incompat;
		return 0;
	}
	return -EUCLEAN;
}

const char *format_feature_name(uint64_t incompat_bit)
{
	switch (incompat_bit) {
	case FORMAT_INCOMPAT_COORDINATOR:
		return "coordinator";
	case FORMAT_INCOMPAT_DEVICE_CAS:
		return "device-cas";
	default:
		return NULL;
	}
}

int format_open_able(const void *base, uint64_t size, uint64_t able, struct format_layout *ret)
{
	struct format_layout best = { 0 }, l;
	struct format_super s;
	int r, error = -EUCLEAN;
	uint32_t bad = 0;
	bool found = false;

	if (size < 2 * COH_EXTENT_SIZE)
		return -EINVAL;
	for (unsigned i = 0; i < 2; i++) {
		copy(&s, (const uint8_t *)base + i * FORMAT_PAGE, sizeof(s));
		r = super_decode(&s, i, size, able, &l);
		if (r < 0) {
			bad |= 1u << i;
			/* A sound superblock that says no is a clearer answer than a broken one. */
			if (r != -EUCLEAN)
				error = r;
		} else if (!found || l.generation > best.generation) {
			best = l;
			found = true;
		}
	}
	/* The third copy's place is known from a good one; without any it is searched for, extent by extent. */
	for (uint64_t at = found ? best.super_offset[2] : COH_EXTENT_SIZE - FORMAT_PAGE;
	     at <= size - FORMAT_PAGE && at < MAX_HEAD; at += COH_EXTENT_SIZE) {
		copy(&s, (const uint8_t *)base + at, sizeof(s));
		r = super_decode(&s, 2, size, able, &l);
		if (r == 0 && l.super_offset[2] != at)
			r = -EUCLEAN;
		if (r == -EOPNOTSUPP)
			error = r;
		if (r == 0 && (!found || l.generation > best.generation)) {
			best = l;
			found = true;
			break;
		}
		if (found) {
			bad |= r < 0 ? 4 : 0;
			break;
		}
	}
	if (!found || error == -EOPNOTSUPP)
		return error;
	best.bad_supers = bad;
	*ret = best;
	return 0;
}

static void out(struct morsel_mem *mem, const void *p, uint64_t n)
{
	morsel_mem_write_back(mem, p, n);
	morsel_mem_fence(mem);
}

static void wipe_super(struct morsel_mem *mem, void *page)
{
	if (((struct format_super *)page)->magic != FORMAT_MAGIC)
		return;
	zero(page, FORMAT_PAGE);
	out(mem, page, FORMAT_PAGE);
}

int format_create(struct morsel_mem *mem, void *base, uint64_t size,
		  const struct format_params *params, struct format_layout *ret)
{
	struct format_params p = *params;
	struct format_layout l;
	struct format_super *s;
	int r;

	p.size = size;
	r = format_layout(&p, &l);
	if (r < 0)
		return r;
	l.generation = 1;
	/*
	 * First no superblock is valid, then the rest is written, then they are: a crash leaves no half pool. That goes
	 * for an earlier pool too, whose third copy may be wherever format_open() searches for one.
	 */
	for (unsigned i = 0; i < 2; i++)
		wipe_super(mem, (uint8_t *)base + i * FORMAT_PAGE);
	for (uint64_t at = COH_EXTENT_SIZE - FORMAT_PAGE; at < l.size && at < MAX_HEAD;
	     at += COH_EXTENT_SIZE)
		wipe_super(mem, (uint8_t *)base + at);
	zero((uint8_t *)base + l.coherent_offset, l.coherent_size);
	out(mem, (uint8_t *)base + l.coherent_offset, l.coherent_size);
	/* The tables' own extents belong to the pool: nobody holds them, nobody can claim them. */
	for (uint32_t e = 0; e < l.first_data; e++) {
		struct coh_line *line = (struct coh_line *)((uint8_t *)base + l.lines_offset) + e;

		line->word = coh_word(COH_INVALID, 0, 0, 0);
		line->tag = ~0ull;
	}
	out(mem, (uint8_t *)base + l.lines_offset, l.first_data * sizeof(struct coh_line));
	for (unsigned t = FORMAT_NAMES; t <= FORMAT_EXTENTS; t++) {
		for (uint32_t i = 0; i < (t == FORMAT_NAMES ? l.name_pages : l.extent_pages); i++) {
			uint64_t at = 0;

			for (unsigned c = 0; c < 2; c++) {
				struct format_page *page;

				format_page_offset(&l, (enum format_table)t, i, c, &at);
				page = (struct format_page *)((uint8_t *)base + at);
				zero(page, sizeof(*page));
				page->magic = PAGE_MAGIC;
				page->kind = (uint16_t)t;
				page->version = 1;
				page->index = i;
				page->generation = c + 1;
				page->uuid = l.uuid[0];
				page->crc = crc32c(0, page, sizeof(*page));
				out(mem, page, sizeof(*page));
			}
		}
	}
	for (unsigned i = 0; i < FORMAT_SUPERBLOCKS; i++) {
		s = (struct format_super *)((uint8_t *)base + l.super_offset[i]);
		zero(s, sizeof(*s));
		super_fill(s, &l);
		s->copy = i;
		s->created = params->created;
		s->crc = super_crc(s);
		out(mem, s, sizeof(*s));
	}
	*ret = l;
	return 0;
}

void format_pool(void *base, const struct format_layout *l, struct coh_pool *ret)
{
	uint8_t *b = base;

	*ret = (struct coh_pool){
		.header = (struct coh_header *)(b + l->coherent_offset),
		.hosts = (struct coh_host_entry *)(b + l->hosts_offset),
		.mail = (struct coh_mailbox *)(b + l->mail_offset),
		.lines = (struct coh_line *)(b + l->lines_offset),
		.data = b,
		.extents = l->extents,
	};
}

/* ---- tables ----------------------------------------------------------------------------------------- */

int format_page_offset(const struct format_layout *l, enum format_table table, uint32_t index,
		       unsigned which, uint64_t *ret_offset)
{
	uint64_t base = table == FORMAT_NAMES ? l->names_offset : l->extents_offset;
	uint32_t pages = table == FORMAT_NAMES ? l->name_pages : l->extent_pages;

	if ((table != FORMAT_NAMES && table != FORMAT_EXTENTS) || index >= pages || which > 1)
		return -ERANGE;
	/* The copies of a page are a table apart, not side by side. */
	*ret_offset = base + ((uint64_t)which * pages + index) * FORMAT_PAGE;
	return 0;
}

static bool page_good(struct format_page *page, const struct format_layout *l,
		      enum format_table table, uint32_t index)
{
	uint32_t crc = page->crc;
	bool good;

	page->crc = 0;
	good = page->magic == PAGE_MAGIC && page->kind == table && page->version == 1 &&
	       page->index == index && page->uuid == l->uuid[0] &&
	       crc == crc32c(0, page, sizeof(*page));
	page->crc = crc;
	return good;
}

/* *ret_which: the copy that counts. */
static int page_find(const void *base, const struct format_layout *l, enum format_table table,
		     uint32_t index, struct format_page *ret, unsigned *ret_which, bool *ret_bad)
{
	struct format_page other;
	uint64_t at0, at1;
	bool good0, good1;
	int r = format_page_offset(l, table, index, 0, &at0);

	if (r < 0)
		return r;
	format_page_offset(l, table, index, 1, &at1);
	/* Copied first, looked at after: another host may be writing there. */
	copy(ret, (const uint8_t *)base + at0, sizeof(*ret));
	copy(&other, (const uint8_t *)base + at1, sizeof(other));
	good0 = page_good(ret, l, table, index);
	good1 = page_good(&other, l, table, index);
	if (ret_bad)
		*ret_bad = !good0 || !good1;
	if (!good0 && !good1)
		return -EUCLEAN;
	*ret_which = good1 && (!good0 || other.generation > ret->generation);
	if (*ret_which)
		copy(ret, &other, sizeof(*ret));
	return 0;
}

int format_page_read(const void *base, const struct format_layout *l, enum format_table table,
		     uint32_t index, struct format_page *ret, bool *ret_bad)
{
	unsigned which;

	return page_find(base, l, table, index, ret, &which, ret_bad);
}

int format_page_write(struct morsel_mem *mem, void *base, const struct format_layout *l,
		      enum format_table table, uint32_t index, struct format_page *page)
{
	struct format_page now;
	unsigned which = 1;
	uint64_t at = 0;
	int r;

	if (l->read_only)
		return -EPERM;
	r = page_find(base, l, table, index, &now, &which, NULL);
	if (r == -EUCLEAN)
		now.generation = 0; /* both lost: whatever is written is newer */
	else if (r < 0)
		return r;
	page->magic = PAGE_MAGIC;
	page->kind = (uint16_t)table;
	page->version = 1;
	page->index = index;
	page->uuid = l->uuid[0];
	page->generation = now.generation + 1;
	page->crc = 0;
	page->crc = crc32c(0, page, sizeof(*page));
	format_page_offset(l, table, index, !which, &at);
	copy((uint8_t *)base + at, page, sizeof(*page));
	out(mem, (uint8_t *)base + at, sizeof(*page));
	return 0;
}

int format_name_valid(const struct format_layout *l, const struct format_name *n)
{
	uint64_t extents;
	bool ended = false;

	if (!n->id[0] && !n->id[1])
		return is_zero((const uint8_t *)n, sizeof(*n)) ? 0 : -EINVAL;
	extents = n->size / COH_EXTENT_SIZE + !!(n->size % COH_EXTENT_SIZE);
	if (!n->tag || !n->size || extents != n->extents || n->extents > l->extents - l->first_data)
		return -EINVAL;
	if ((n->page_shift != 12 && n->page_shift != 21) || !n->name[0])
		return -EINVAL;
	for (unsigned i = 0; i < sizeof(n->name); i++) {
		ended |= !n->name[i];
		if (ended ? n->name[i] != 0 : n->name[i] == '/' || (uint8_t)n->name[i] < 0x20)
			return -EINVAL;
	}
	return ended ? 0 : -EINVAL;
}
