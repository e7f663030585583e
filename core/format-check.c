/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "crc32c.h"
#include "format.h"

/* Reads a whole pool and says what is wrong with it. Believes nothing that it has not compared. */

struct check {
	const uint8_t *base;
	struct format_layout l;
	struct format_report report;
	format_found found;
	void *userdata;
	/* Scratch: per name its first bit in SEEN, its extents and its tag; hash tables of ids and names. */
	uint32_t *first, *tag, *ids, *names, buckets;
	uint64_t *seen;
};

const char *format_finding_name(enum format_finding finding)
{
	static const char *const names[] = {
		"superblock copy damaged",
		"table page: one copy damaged",
		"table page lost",
		"name entry makes no sense",
		"duplicate name or id",
		"host slot damaged",
		"directory word damaged",
		"extent owner does not exist",
		"extent place taken twice",
		"object lacks extents",
		"tag differs from the tables",
		"extent leaked",
		"extent suspect",
	};

	_Static_assert(sizeof(names) / sizeof(names[0]) == FORMAT_FINDINGS, "one text per finding");
	return (unsigned)finding < FORMAT_FINDINGS ? names[finding] : "?";
}

static void note(struct check *c, enum format_finding finding, uint64_t where)
{
	c->report.count[finding]++;
	if (c->found)
		c->found(c->userdata, finding, where);
}

static uint32_t buckets(const struct format_layout *l)
{
	uint32_t n = 16;

	while (n < 2 * l->names)
		n *= 2;
	return n;
}

uint64_t format_check_scratch(const struct format_layout *l)
{
	return 8ull * l->names + 8ull * buckets(l) + 8 * ((uint64_t)l->extents / 64 + 1);
}

/* Puts the entry's hash into TABLE, which has more places than there are names. True: it, or its equal, was there. */
static bool already_there(struct check *c, uint32_t *table, const void *key, uint64_t n)
{
	uint32_t h = crc32c(0, key, n), i = h & (c->buckets - 1);

	/* The hash stands for the key: two keys with one CRC are one in 4 billion, and only make a finding. */
	for (; table[i]; i = (i + 1) & (c->buckets - 1))
		if (table[i] == (h | 1))
			return true;
	table[i] = h | 1;
	return false;
}

static uint64_t name_length(const struct format_name *n)
{
	uint64_t i = 0;

	while (i < sizeof(n->name) && n->name[i])
		i++;
	return i;
}

static void check_names(struct check *c)
{
	uint64_t next = 0;

	for (uint32_t p = 0; p < c->l.name_pages; p++) {
		struct format_page page;
		bool bad, lost = format_page_read(c->base, &c->l, FORMAT_NAMES, p, &page, &bad) < 0;

		if (lost || bad)
			note(c, lost ? FORMAT_BAD_PAGE : FORMAT_BAD_COPY, p);
		for (uint32_t i = 0; i < FORMAT_NAMES_PER_PAGE; i++) {
			uint32_t place = p * FORMAT_NAMES_PER_PAGE + i;
			const struct format_name *n = &page.names[i];

			if (place >= c->l.names)
				break;
			c->first[place] = (uint32_t)next;
			c->tag[place] = 0;
			if (lost || (!n->id[0] && !n->id[1] && format_name_valid(&c->l, n) == 0))
				continue;
			/* What does not fit beside the others cannot be true either. */
			if (format_name_valid(&c->l, n) < 0 || next + n->extents > c->l.extents) {
				note(c, FORMAT_BAD_NAME, place);
				continue;
			}
			if (already_there(c, c->ids, n->id, sizeof(n->id)) ||
			    already_there(c, c->names, n->name, name_length(n))) {
				note(c, FORMAT_DUPLICATE, place);
				continue;
			}
			c->report.objects++;
			c->tag[place] = (uint32_t)n->tag ? (uint32_t)n->tag : 1;
			next += n->extents;
		}
	}
	/* One past the last: the end of the last object's bits. */
	c->report.extents_used = next;
}

static uint32_t first_after(struct check *c, uint32_t place)
{
	return place + 1 < c->l.names ? c->first[place + 1] : (uint32_t)c->report.extents_used;
}

static void check_line(struct check *c, uint32_t e, bool owned, uint32_t tag)
{
	const struct coh_line *line = (const struct coh_line *)(c->base + c->l.lines_offset) + e;
	/* Read once: hosts may be at work. */
	uint64_t w = __atomic_load_n(&line->word, __ATOMIC_ACQUIRE);
	uint64_t t = __atomic_load_n(&line->tag, __ATOMIC_ACQUIRE);

	if (coh_word_damaged(w)) {
		note(c, FORMAT_BAD_WORD, e);
		return;
	}
	switch (coh_word_state(w)) {
	case COH_FREE:
		/* The metadata's own extents are never free: somebody would claim them. */
		if (owned || e < c->l.first_data)
			note(c, FORMAT_TAG, e);
		return;
	case COH_SUSPECT:
	case COH_QUARANTINED:
	case COH_RECOVERING:
		note(c, FORMAT_SUSPECT, e);
		break;
	default:
		break;
	}
	if (e < c->l.first_data) {
		if (t != ~0ull)
			note(c, FORMAT_TAG, e);
	} else if (!owned) {
		note(c, FORMAT_LEAK, e);
	} else if ((uint32_t)t != tag) {
		note(c, FORMAT_TAG, e);
	}
}

static void check_extents(struct check *c)
{
	for (uint32_t p = 0; p < c->l.extent_pages; p++) {
		struct format_page page;
		bool bad,
			lost = format_page_read(c->base, &c->l, FORMAT_EXTENTS, p, &page, &bad) < 0;

		if (lost || bad)
			note(c, lost ? FORMAT_BAD_PAGE : FORMAT_BAD_COPY, c->l.name_pages + p);
		for (uint32_t i = 0; i < FORMAT_EXTENTS_PER_PAGE; i++) {
			uint32_t e = p * FORMAT_EXTENTS_PER_PAGE + i;
			const struct format_extent *x = &page.extents[i];
			uint64_t bit;
			bool owned = false;

			if (e >= c->l.extents)
				break;
			if (!lost && x->object) {
				uint32_t place = x->object - 1;

				if (e < c->l.first_data || place >= c->l.names || !c->tag[place] ||
				    c->tag[place] != x->tag ||
				    x->index >= first_after(c, place) - c->first[place]) {
					note(c, FORMAT_BAD_EXTENT, e);
				} else {
					bit = c->first[place] + (uint64_t)x->index;
					owned = !(c->seen[bit / 64] >> (bit % 64) & 1);
					if (!owned)
						note(c, FORMAT_SHARED_EXTENT, e);
					c->seen[bit / 64] |= 1ull << (bit % 64);
				}
			}
			check_line(c, e, owned, owned ? x->tag : 0);
		}
	}
	for (uint32_t place = 0; place < c->l.names; place++) {
		for (uint64_t bit = c->first[place]; c->tag[place] && bit < first_after(c, place);
		     bit++) {
			if (!(c->seen[bit / 64] >> (bit % 64) & 1)) {
				note(c, FORMAT_MISSING_EXTENT, place);
				break;
			}
		}
	}
}

static void check_hosts(struct check *c)
{
	const struct coh_host_entry *hosts =
		(const struct coh_host_entry *)(c->base + c->l.hosts_offset);

	for (unsigned s = 0; s < COH_HOSTS; s++) {
		uint64_t w = __atomic_load_n(&hosts[s].state, __ATOMIC_ACQUIRE);
		enum coh_host_state state = coh_host_word_state(w);
		bool may_have_epoch = state == COH_HOST_FENCED || state == COH_HOST_SCRUBBED;

		if (state >= COH_HOST_STATES || (coh_host_word_epoch(w) && !may_have_epoch))
			note(c, FORMAT_BAD_HOST, s);
	}
}

int format_check(const void *base, uint64_t size, void *scratch, uint64_t scratch_size,
		 format_found found, void *userdata, struct format_report *ret)
{
	struct check c = { .base = base, .found = found, .userdata = userdata };
	int r = format_open(base, size, &c.l);

	if (r < 0)
		return r;
	if (scratch_size < format_check_scratch(&c.l))
		return -ENOSPC;
	for (uint64_t i = 0; i < scratch_size; i++)
		((uint8_t *)scratch)[i] = 0;
	c.seen = scratch;
	c.buckets = buckets(&c.l);
	c.first = (uint32_t *)(c.seen + c.l.extents / 64 + 1);
	c.tag = c.first + c.l.names;
	c.ids = c.tag + c.l.names;
	c.names = c.ids + c.buckets;

	for (unsigned i = 0; i < FORMAT_SUPERBLOCKS; i++)
		if (c.l.bad_supers >> i & 1)
			note(&c, FORMAT_BAD_SUPER, i);
	check_hosts(&c);
	check_names(&c);
	check_extents(&c);
	*ret = c.report;
	return 0;
}
