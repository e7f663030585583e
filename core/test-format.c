/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "crc32c.h"
#include "format.h"
#include "llfree.h"
#include "test-check.h"

/*
 * The pool format on a small sparse mapping that ends at an inaccessible page: whatever the bytes say, what
 * reads past the end dies. `bytes [STEP]` changes every (STEPth) byte once, `bytes all` to each other value.
 */

#define SIZE (16 * COH_EXTENT_SIZE)

static struct morsel_mem cpu;
static uint8_t *base;
static struct format_layout layout;
static void *scratch;
static uint64_t scratch_size;

static struct format_params params(uint64_t size)
{
	struct format_params p = { .size = size,
				   .uuid = { 0x1122334455667788ull, 42 },
				   .created = 1700000000 };
	struct llfree_config config = { .frames = format_frames(size),
					.flags = LLFREE_PERSISTENT,
					.classes = 1,
					.slots = 1,
					.owners = COH_HOSTS };

	if (llfree_sizes(&config, &p.lower_size, &p.upper_size) < 0)
		abort();
	p.allocator_version = 1;
	return p;
}

static uint8_t *map(uint64_t size)
{
	uint8_t *p = mmap(NULL, size + FORMAT_PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || mprotect(p, size, PROT_READ | PROT_WRITE) < 0)
		abort();
	return p;
}

/* One object "apples" of two extents. */
static void add_object(void)
{
	struct format_page page;
	struct coh_pool pool;

	CHECK(format_page_read(base, &layout, FORMAT_NAMES, 0, &page, NULL) == 0);
	page.names[3] = (struct format_name){ .id = { 7, 8 },
					      .tag = 0x500000005ull,
					      .size = COH_EXTENT_SIZE + 1,
					      .extents = 2,
					      .page_shift = 21,
					      .mode = 0600,
					      .name = "apples" };
	CHECK(format_name_valid(&layout, &page.names[3]) == 0);
	CHECK(format_page_write(&cpu, base, &layout, FORMAT_NAMES, 0, &page) == 0);
	CHECK(format_page_read(base, &layout, FORMAT_EXTENTS, 0, &page, NULL) == 0);
	format_pool(base, &layout, &pool);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t e = layout.first_data + 1 + i;

		page.extents[e] = (struct format_extent){ .object = 4, .index = i, .tag = 5 };
		pool.lines[e].word = coh_word(COH_INVALID, 0, 0, 3);
		pool.lines[e].tag = 0x500000005ull;
	}
	CHECK(format_page_write(&cpu, base, &layout, FORMAT_EXTENTS, 0, &page) == 0);
}

static void setup(void)
{
	struct format_params p = params(SIZE);

	base = map(SIZE);
	CHECK(format_create(&cpu, base, SIZE, &p, &layout) == 0);
	add_object();
	scratch_size = format_check_scratch(&layout);
	scratch = malloc(scratch_size);
	if (!scratch)
		abort();
}

static int check(struct format_report *ret)
{
	return format_check(base, SIZE, scratch, scratch_size, NULL, NULL, ret);
}

static uint64_t findings(const struct format_report *r)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < FORMAT_FINDINGS; i++)
		n += r->count[i];
	return n;
}

static void test_clean(void)
{
	struct format_report r;
	struct format_layout l;

	/* RFC 3720 B.4: 32 bytes of zeroes, and of ones. */
	CHECK(crc32c(0, (uint8_t[32]){ 0 }, 32) == 0x8a9136aau);
	CHECK(crc32c(0, "123456789", 9) == 0xe3069283u);
	CHECK(format_open(base, SIZE, &l) == 0 && l.bad_supers == 0);
	CHECK(l.first_data == layout.first_data && l.coherent_size == layout.coherent_size);
	CHECK(check(&r) == 0 && findings(&r) == 0 && r.objects == 1 && r.extents_used == 2);
	CHECK(format_check(base, SIZE, scratch, scratch_size - 1, NULL, NULL, &r) == -ENOSPC);
}

static void fix_crc(struct format_super *s)
{
	s->crc = crc32c(0, s, offsetof(struct format_super, crc));
}

static void test_superblocks(void)
{
	struct format_super *s[3], saved;
	struct format_report r;
	struct format_layout l;

	for (unsigned i = 0; i < 3; i++)
		s[i] = (struct format_super *)(base + layout.super_offset[i]);
	/* Any one copy is enough. */
	for (unsigned keep = 0; keep < 3; keep++) {
		for (unsigned i = 0; i < 3; i++)
			s[i]->magic ^= i != keep;
		CHECK(format_open(base, SIZE, &l) == 0 && l.bad_supers == (7u & ~(1u << keep)));
		CHECK(check(&r) == 0 && r.count[FORMAT_BAD_SUPER] == 2);
		for (unsigned i = 0; i < 3; i++)
			s[i]->magic ^= i != keep;
	}
	for (unsigned i = 0; i < 3; i++)
		s[i]->magic ^= 1;
	CHECK(format_open(base, SIZE, &l) == -EUCLEAN);
	for (unsigned i = 0; i < 3; i++)
		s[i]->magic ^= 1;

	/* A newer version, an unknown feature, another geometry: told apart from damage. */
	saved = *s[0];
	s[0]->version = FORMAT_VERSION + 1;
	fix_crc(s[0]);
	CHECK(format_open(base, SIZE, &l) == -EOPNOTSUPP);
	*s[0] = saved;
	s[0]->incompat = 1ull << 63;
	fix_crc(s[0]);
	CHECK(format_open(base, SIZE, &l) == -EOPNOTSUPP);
	*s[0] = saved;
	s[0]->hosts = 64;
	fix_crc(s[0]);
	CHECK(format_open(base, SIZE, &l) == -EOPNOTSUPP);
	*s[0] = saved;
	s[0]->ro_compat = 2;
	s[0]->generation = 9;
	fix_crc(s[0]);
	CHECK(format_open(base, SIZE, &l) == 0 && l.read_only && l.generation == 9);
	CHECK(format_page_write(&cpu, base, &l, FORMAT_NAMES, 0, &(struct format_page){ 0 }) ==
	      -EPERM);
	/* Well-signed nonsense: every offset is compared with what follows from the sizes. */
	*s[0] = saved;
	s[0]->names_offset += FORMAT_PAGE;
	fix_crc(s[0]);
	CHECK(format_open(base, SIZE, &l) == 0 && l.bad_supers == 1);
	*s[0] = saved;
	s[0]->lower_size = ~0ull - 100;
	fix_crc(s[0]);
	CHECK(format_open(base, SIZE, &l) == 0 && l.bad_supers == 1);
	*s[0] = saved;
	/* A device that shrank. */
	CHECK(format_open(base, SIZE - COH_EXTENT_SIZE, &l) == -ENOSPC);
	CHECK(format_open(base, 0, &l) == -EINVAL);
}

/* Pools without a coherent range: refused by who cannot, opened by who can, never taken for an ordinary one. */
static void test_features(void)
{
	const uint64_t features[2] = { FORMAT_INCOMPAT_COORDINATOR, FORMAT_INCOMPAT_DEVICE_CAS };
	uint8_t *m = map(SIZE);
	struct format_super *s = (struct format_super *)m;
	struct format_report r;
	struct format_layout l;
	uint32_t version;
	uint64_t needs;

	CHECK(format_needs(m, SIZE, &version, &needs) == -EUCLEAN);
	CHECK(format_needs(m, COH_EXTENT_SIZE, &version, &needs) == -EINVAL);
	for (unsigned i = 0; i < 2; i++) {
		struct format_params p = params(SIZE);

		p.incompat = features[i];
		CHECK(format_create(&cpu, m, SIZE, &p, &l) == 0 && l.incompat == features[i]);
		CHECK(format_open(m, SIZE, &l) == -EOPNOTSUPP);
		CHECK(format_open_able(m, SIZE, features[!i], &l) == -EOPNOTSUPP);
		CHECK(format_check(m, SIZE, scratch, scratch_size, NULL, NULL, &r) == -EOPNOTSUPP);
		CHECK(format_open_able(m, SIZE, features[i], &l) == 0);
		CHECK(l.incompat == features[i] && l.first_data == layout.first_data &&
		      !l.bad_supers);
		CHECK(format_open_able(m, SIZE, ~0ull, &l) == 0 && l.incompat == features[i]);
		CHECK(format_needs(m, SIZE, &version, &needs) == 0);
		CHECK(version == FORMAT_VERSION && needs == features[i]);
		/* One copy that says so is enough, wherever it is. */
		for (unsigned keep = 0; keep < 3; keep++) {
			for (unsigned k = 0; k < 3; k++)
				m[layout.super_offset[k]] ^= k != keep;
			CHECK(format_open(m, SIZE, &l) == -EOPNOTSUPP);
			CHECK(format_open_able(m, SIZE, features[i], &l) == 0);
			for (unsigned k = 0; k < 3; k++)
				m[layout.super_offset[k]] ^= k != keep;
		}
		/* Who is able to do more opens ordinary pools too. */
		CHECK(format_open_able(base, SIZE, features[i], &l) == 0 && l.incompat == 0);
		/* What nobody knows is refused whatever the caller says of itself. */
		s->incompat |= 1ull << 40;
		fix_crc(s);
		CHECK(format_open_able(m, SIZE, ~0ull, &l) == -EOPNOTSUPP);
		CHECK(format_needs(m, SIZE, &version, &needs) == 0 &&
		      needs == (features[i] | 1ull << 40));
		/* Both are no pool at all. */
		s->incompat = FORMAT_INCOMPAT_KNOWN;
		fix_crc(s);
		CHECK(format_open_able(m, SIZE, ~0ull, &l) == 0 && l.bad_supers == 1);
		p.incompat = FORMAT_INCOMPAT_KNOWN;
		CHECK(format_layout(&p, &l) == -EINVAL);
		p.incompat = 1ull << 40;
		CHECK(format_create(&cpu, m, SIZE, &p, &l) == -EINVAL);
		CHECK(format_feature_name(features[i]) != NULL);
	}
	CHECK(!format_feature_name(0) && !format_feature_name(FORMAT_INCOMPAT_KNOWN));
	CHECK(format_open(base, SIZE, &l) == 0 && l.incompat == 0);
	munmap(m, SIZE + FORMAT_PAGE);
}

static void test_tables(void)
{
	struct format_page page, again;
	struct format_report r;
	struct coh_pool pool;
	uint64_t at;
	bool bad;
	uint32_t e = layout.first_data + 1;

	format_pool(base, &layout, &pool);
	CHECK(format_page_read(base, &layout, FORMAT_NAMES, layout.name_pages, &page, NULL) ==
	      -ERANGE);
	/* A write torn at any point leaves the old page. */
	CHECK(format_page_read(base, &layout, FORMAT_NAMES, 0, &page, NULL) == 0);
	CHECK(format_page_write(&cpu, base, &layout, FORMAT_NAMES, 0, &page) == 0);
	for (unsigned copy = 0; copy < 2; copy++) {
		CHECK(format_page_offset(&layout, FORMAT_NAMES, 0, copy, &at) == 0);
		base[at + 700] ^= 1;
		CHECK(format_page_read(base, &layout, FORMAT_NAMES, 0, &again, &bad) == 0 && bad);
		CHECK(strcmp(again.names[3].name, "apples") == 0);
		CHECK(check(&r) == 0 && r.count[FORMAT_BAD_COPY] == 1);
		base[at + 700] ^= 1;
	}
	/* Extents with a wrong owner, taken twice, missing, leaked, with another tag, with a damaged word. */
	CHECK(format_page_read(base, &layout, FORMAT_EXTENTS, 0, &page, NULL) == 0);
	again = page;
	again.extents[e].object = 5;
	CHECK(format_page_write(&cpu, base, &layout, FORMAT_EXTENTS, 0, &again) == 0);
	CHECK(check(&r) == 0 && r.count[FORMAT_BAD_EXTENT] == 1 &&
	      r.count[FORMAT_MISSING_EXTENT] == 1 && r.count[FORMAT_LEAK] == 1);
	again = page;
	again.extents[e].index = 1;
	CHECK(format_page_write(&cpu, base, &layout, FORMAT_EXTENTS, 0, &again) == 0);
	CHECK(check(&r) == 0 && r.count[FORMAT_SHARED_EXTENT] == 1 &&
	      r.count[FORMAT_MISSING_EXTENT] == 1);
	CHECK(format_page_write(&cpu, base, &layout, FORMAT_EXTENTS, 0, &page) == 0);
	pool.lines[e].tag = 9;
	CHECK(check(&r) == 0 && r.count[FORMAT_TAG] == 1);
	pool.lines[e].tag = 0x500000005ull;
	pool.lines[e].word |= 0xff00;
	CHECK(check(&r) == 0 && r.count[FORMAT_BAD_WORD] == 1);
	pool.lines[e].word = coh_word(COH_SUSPECT, 0, 0, 1);
	CHECK(check(&r) == 0 && r.count[FORMAT_SUSPECT] == 1 && findings(&r) == 1);
	pool.lines[e].word = coh_word(COH_INVALID, 0, 0, 3);
	pool.hosts[31].state = 7;
	CHECK(check(&r) == 0 && r.count[FORMAT_BAD_HOST] == 1);
	pool.hosts[31].state = 0;
	/* Names. */
	CHECK(format_page_read(base, &layout, FORMAT_NAMES, 0, &page, NULL) == 0);
	again = page;
	again.names[0] = again.names[3];
	again.names[0].id[0] = 99;
	CHECK(format_page_write(&cpu, base, &layout, FORMAT_NAMES, 0, &again) == 0);
	CHECK(check(&r) == 0 && r.count[FORMAT_DUPLICATE] == 1);
	again = page;
	memset(again.names[3].name, 'x', sizeof(again.names[3].name));
	CHECK(format_page_write(&cpu, base, &layout, FORMAT_NAMES, 0, &again) == 0);
	CHECK(check(&r) == 0 && r.count[FORMAT_BAD_NAME] == 1);
	CHECK(format_page_write(&cpu, base, &layout, FORMAT_NAMES, 0, &page) == 0);
	CHECK(check(&r) == 0 && findings(&r) == 0);
}

static void test_geometry(void)
{
	struct format_params p = params(SIZE);
	struct format_layout l;

	/* DESIGN: the coherent range is at most 0.012 % of the pool; from 1 GiB on. */
	for (unsigned shift = 30; shift <= 44; shift++) {
		p = params(1ull << shift);
		CHECK(format_layout(&p, &l) == 0);
		CHECK((double)l.coherent_size / (double)l.size <= 0.00012);
	}
	p = params(3 * COH_EXTENT_SIZE);
	CHECK(format_layout(&p, &l) == 0 && l.first_data == 2);
	p.size = 2 * COH_EXTENT_SIZE;
	CHECK(format_layout(&p, &l) == -ENOSPC);
	p.size = ~0ull;
	CHECK(format_layout(&p, &l) == -EINVAL);
	p = params(SIZE);
	p.names = 1u << 31;
	CHECK(format_layout(&p, &l) == -EINVAL);
}

/* ---- power cuts ------------------------------------------------------------------------------------- */

/*
 * A cache over MEDIA: what is written back and fenced is there for sure, of the rest any line may be. The power goes at
 * operation CUT; or the write-back or fence number SKIP is left out, which must not go unnoticed.
 */
#define CACHED (4 * COH_EXTENT_SIZE)
#define CACHED_LINES (CACHED / MORSEL_LINE)

static struct cache {
	struct morsel_mem mem; /* first */
	uint8_t *base, *media;
	unsigned ops, cut, skip;
	uint8_t under_way[CACHED_LINES];
	jmp_buf off;
} cache;

static void to_media(uint64_t line)
{
	memcpy(cache.media + line * MORSEL_LINE, cache.base + line * MORSEL_LINE, MORSEL_LINE);
}

static bool counts(void)
{
	cache.ops++;
	if (cache.ops == cache.cut)
		longjmp(cache.off, 1);
	return cache.ops != cache.skip;
}

static void cache_write_back(struct morsel_mem *mem, const void *p, size_t n)
{
	uint64_t at = (uint64_t)((const uint8_t *)p - cache.base);

	if (counts())
		for (uint64_t l = at / MORSEL_LINE; l <= (at + n - 1) / MORSEL_LINE; l++)
			cache.under_way[l] = 1;
}

static void cache_fence(struct morsel_mem *mem)
{
	if (!counts())
		return;
	for (uint64_t l = 0; l < CACHED_LINES; l++)
		if (cache.under_way[l])
			to_media(l);
	memset(cache.under_way, 0, sizeof(cache.under_way));
}

static const struct morsel_mem_ops cache_ops = { .write_back = cache_write_back,
						 .fence = cache_fence };

/* The power is gone: each line that was not safe is there or not; with seed 0 none is. */
static void lose(unsigned *seed)
{
	if (!*seed)
		return;

	for (uint64_t l = 0; l < CACHED_LINES; l++) {
		const uint8_t *line = cache.base + l * MORSEL_LINE;

		if (memcmp(line, cache.media + l * MORSEL_LINE, MORSEL_LINE) && rand_r(seed) & 64)
			to_media(l);
	}
}

static struct format_params new_pool;
static struct format_layout new_layout;
static struct format_page new_page;

static void create_new(void)
{
	CHECK(format_create(&cache.mem, cache.base, CACHED, &new_pool, &new_layout) == 0);
}

static void write_new(void)
{
	CHECK(format_page_write(&cache.mem, cache.base, &new_layout, FORMAT_NAMES, 0, &new_page) ==
	      0);
}

/* WHAT on CONTENT. True: to its end; false: the power went at operation CUT. */
static bool with_cut(void (*what)(void), const uint8_t *content, unsigned cut, unsigned skip)
{
	memcpy(cache.base, content, CACHED);
	memcpy(cache.media, content, CACHED);
	memset(cache.under_way, 0, sizeof(cache.under_way));
	cache.ops = 0;
	cache.cut = cut;
	cache.skip = skip;
	if (setjmp(cache.off))
		return false;
	what();
	return true;
}

/* Is what is on the media a whole pool, but for superblocks, with nothing else wrong? Its first uuid half, or 0. */
static uint64_t whole_pool(bool all_supers)
{
	struct format_layout l;
	struct format_report r;
	uint64_t n, uuid = 0;
	void *memory;

	if (format_open(cache.media, CACHED, &l) < 0)
		return 0;
	n = format_check_scratch(&l);
	memory = malloc(n);
	if (!memory)
		abort();
	if (format_check(cache.media, CACHED, memory, n, NULL, NULL, &r) == 0 &&
	    findings(&r) == (all_supers ? 0 : r.count[FORMAT_BAD_SUPER]) &&
	    ((struct coh_host_entry *)(cache.media + l.hosts_offset))->state ==
		    (l.uuid[0] == 1 ? coh_host_word(COH_HOST_ALIVE, 1, 0) : 0))
		uuid = l.uuid[0];
	free(memory);
	return uuid;
}

static int opens(void)
{
	struct format_layout l;

	return format_open(cache.media, CACHED, &l);
}

/* Cuts the power at CUT some times: is it always no pool, or a whole one? SEEN: by uuid, 0 for none. */
static bool never_half(const uint8_t *content, unsigned cut, unsigned skip, unsigned *seen)
{
	bool whole = true;

	for (unsigned i = 0; i < 4; i++) {
		unsigned seed = i ? cut * 4 + i : 0;
		uint64_t uuid = 0;

		CHECK(!with_cut(create_new, content, cut, skip));
		lose(&seed);
		if (opens() == 0) {
			uuid = whole_pool(false);
			whole = whole && (uuid == 1 || uuid == 2);
		}
		seen[uuid % 3]++;
	}
	return whole;
}

/* A new pool over an old one whose tables were larger: the old one, none, or the new one, and no mixture. */
static void test_cut_create(uint8_t *content)
{
	struct format_params old = params(CACHED);
	struct format_layout l;
	unsigned ops, seen[3] = { 0 }, unused[3] = { 0 };

	memset(content, 0xa5, CACHED);
	old.uuid[0] = 1;
	old.names = 6000;
	CHECK(format_create(&cpu, content, CACHED, &old, &l) == 0 && l.first_data == 3);
	/* It was in use. */
	((struct coh_host_entry *)(content + l.hosts_offset))->state =
		coh_host_word(COH_HOST_ALIVE, 1, 0);
	new_pool = params(CACHED);
	new_pool.uuid[0] = 2;
	CHECK(with_cut(create_new, content, 0, 0) && new_layout.first_data == 2);
	CHECK(whole_pool(true) == 2);
	ops = cache.ops;
	for (unsigned cut = 1; cut <= ops; cut++)
		CHECK(never_half(content, cut, 0, seen));
	CHECK(seen[0] && seen[1] && seen[2]);
	/* Each write-back is needed, and the last fence: in the end, or when the power goes later. */
	for (unsigned skip = 1; skip <= ops; skip += skip == ops - 1 ? 1 : 2) {
		bool noticed = with_cut(create_new, content, 0, skip) && whole_pool(true) != 2;

		for (unsigned cut = skip + 1; cut <= ops && !noticed; cut++)
			noticed = !never_half(content, cut, skip, unused);
		CHECK(noticed);
	}
}

/* One page of a table: as it was, or as it is now. */
static void test_cut_write(uint8_t *content)
{
	struct format_page now;
	unsigned ops, seed = 1, seen[2] = { 0 };

	CHECK(format_create(&cpu, content, CACHED, &new_pool, &new_layout) == 0);
	memset(new_page.bytes, 1, sizeof(new_page.bytes));
	CHECK(format_page_write(&cpu, content, &new_layout, FORMAT_NAMES, 0, &new_page) == 0);
	memset(new_page.bytes, 2, sizeof(new_page.bytes));
	CHECK(with_cut(write_new, content, 0, 0));
	ops = cache.ops;
	for (unsigned skip = 0; skip <= ops; skip++) {
		CHECK(with_cut(write_new, content, 0, skip));
		CHECK(format_page_read(cache.media, &new_layout, FORMAT_NAMES, 0, &now, NULL) == 0);
		CHECK(now.bytes[0] == (skip ? 1 : 2));
	}
	for (unsigned i = 0; i < 64 * ops; i++) {
		CHECK(!with_cut(write_new, content, 1 + i % ops, 0));
		/* Some lines, most, or all of them are there. */
		for (unsigned tries = i % 8 * 2 + 1; tries > 0; tries--)
			lose(&seed);
		CHECK(format_page_read(cache.media, &new_layout, FORMAT_NAMES, 0, &now, NULL) == 0);
		CHECK(now.bytes[0] == 1 || now.bytes[0] == 2);
		for (unsigned k = 1; k < sizeof(now.bytes); k++)
			CHECK(now.bytes[k] == now.bytes[0]);
		seen[now.bytes[0] - 1]++;
	}
	CHECK(seen[0] && seen[1]);
}

static void test_power_cuts(void)
{
	uint8_t *content = map(CACHED);

	cache.mem.ops = &cache_ops;
	cache.base = map(CACHED);
	cache.media = map(CACHED);
	test_cut_create(content);
	test_cut_write(content);
	munmap(content, CACHED + FORMAT_PAGE);
	munmap(cache.base, CACHED + FORMAT_PAGE);
	munmap(cache.media, CACHED + FORMAT_PAGE);
}

/* Places whose bytes the check does not look at: mailboxes, and the allocator's. */
static bool opaque(uint64_t i)
{
	return (i >= layout.mail_offset && i < layout.lines_offset) ||
	       (i >= layout.lower_offset && i < layout.coherent_offset + layout.coherent_size);
}

/*
 * Every single byte of the metadata, changed to ALL other values or to one: nothing is touched outside, and signed
 * parts are noticed.
 */
static void test_bytes(uint64_t step, bool all)
{
	uint64_t end = (uint64_t)layout.first_data * COH_EXTENT_SIZE, tried = 0, unnoticed = 0;
	uint64_t head = layout.coherent_offset + layout.coherent_size;
	uint64_t tables_end = layout.extents_offset + 2ull * layout.extent_pages * FORMAT_PAGE;

	for (uint64_t i = 0; i < end; i += step) {
		unsigned first, last;

		/* Between the parts lies nothing. */
		if (i >= head && i < layout.names_offset)
			i = layout.names_offset;
		if (i >= tables_end && i < layout.super_offset[2])
			i = layout.super_offset[2];
		first = all && !opaque(i) ? 1 : (unsigned)(1 + i % 255);
		last = all && !opaque(i) ? 255 : first;
		for (unsigned change = first; change <= last; change++) {
			struct format_report r;

			base[i] ^= (uint8_t)change;
			tried++;
			if (check(&r) < 0 || findings(&r) == 0) {
				/* One copy of three, or of two, is not enough to lose a pool. */
				CHECK(check(&r) == 0);
				unnoticed++;
				/* Only the coherent range is unsigned: it changes with every hold. */
				CHECK(i >= layout.coherent_offset && i < head);
			}
			base[i] ^= (uint8_t)change;
		}
	}
	printf("%llu single-byte changes, %llu of them legal states of the coherent range\n",
	       (unsigned long long)tried, (unsigned long long)unnoticed);
	CHECK(tried > 1000 / step);
}

int main(int argc, char **argv)
{
	setup();
	if (argc > 1 && strcmp(argv[1], "bytes") == 0) {
		bool all = argc > 2 && strcmp(argv[2], "all") == 0;

		test_bytes(argc > 2 && !all ? strtoull(argv[2], NULL, 10) : 1, all);
	} else if (argc > 1 && strcmp(argv[1], "cuts") == 0) {
		test_power_cuts();
	} else {
		test_clean();
		test_superblocks();
		test_features();
		test_tables();
		test_geometry();
	}
	free(scratch);
	munmap(base, SIZE + FORMAT_PAGE);
	return check_result();
}
