/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "crc32c.h"
#include "format.h"
#include "fuzz.h"

/*
 * Hostile bytes laid over a sound pool of 4 extents: a list of patches (place, length, bytes), after which
 * checksums are made right or not, as the first byte says; then everything that reads a pool reads it.
 * The mapping ends at an inaccessible page.
 */

#define SIZE (4 * COH_EXTENT_SIZE)

static uint8_t *base, *sound;
static struct format_layout layout;
static struct morsel_mem cpu;
static uint64_t used; /* bytes of metadata */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct format_params p = {
		.size = SIZE, .names = 21, .lower_size = 4096, .upper_size = 4096, .uuid = { 1, 2 }
	};
	struct format_page page;

	base = mmap(NULL, SIZE + FORMAT_PAGE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED || mprotect(base, SIZE, PROT_READ | PROT_WRITE) < 0 ||
	    format_create(&cpu, base, SIZE, &p, &layout) < 0)
		abort();
	if (format_page_read(base, &layout, FORMAT_NAMES, 0, &page, NULL) < 0)
		abort();
	page.names[0] = (struct format_name){
		.id = { 1, 1 }, .tag = 3, .size = 4096, .extents = 1, .page_shift = 12, .name = "a"
	};
	if (format_page_write(&cpu, base, &layout, FORMAT_NAMES, 0, &page) < 0)
		abort();
	used = (uint64_t)layout.first_data * COH_EXTENT_SIZE;
	/* Only what is not zero by format: the head and the tables. */
	sound = malloc(used);
	if (!sound)
		abort();
	memcpy(sound, base, used);
	return 0;
}

/* Regions worth hitting, so that a place is two bytes. */
static uint64_t place(uint16_t v)
{
	const uint64_t starts[] = { 0,
				    FORMAT_PAGE,
				    layout.super_offset[2],
				    layout.hosts_offset,
				    layout.lines_offset,
				    layout.names_offset,
				    layout.names_offset + FORMAT_PAGE,
				    layout.extents_offset };

	return starts[v >> 13] + (v & 0x1fff) / 2;
}

static void sign(void)
{
	for (unsigned i = 0; i < FORMAT_SUPERBLOCKS; i++) {
		struct format_super *s = (struct format_super *)(base + layout.super_offset[i]);

		s->crc = crc32c(0, s, offsetof(struct format_super, crc));
	}
	for (unsigned t = FORMAT_NAMES; t <= FORMAT_EXTENTS; t++) {
		for (unsigned copy = 0; copy < 2; copy++) {
			struct format_page *page;
			uint64_t at;

			if (format_page_offset(&layout, (enum format_table)t, 0, copy, &at) < 0)
				abort();
			page = (struct format_page *)(base + at);
			page->crc = 0;
			page->crc = crc32c(0, page, sizeof(*page));
		}
	}
}

static void read_everything(uint64_t size)
{
	struct format_layout l;
	struct format_report report;
	struct format_page page;
	uint64_t n, features;
	uint32_t version;
	void *scratch;

	if (format_needs(base, size, &version, &features) == 0)
		(void)format_feature_name(features);
	/* As the ablest reader there is; and what an ordinary one opens, that one opens too. */
	if (format_open_able(base, size, FORMAT_INCOMPAT_KNOWN, &l) < 0) {
		if (format_open(base, size, &l) == 0)
			abort();
		return;
	}
	if (l.size > size || l.names_offset >= l.size ||
	    l.lines_offset + 64ull * l.extents > l.size)
		abort();
	for (uint32_t i = 0; i < l.name_pages && i < 64; i++)
		(void)format_page_read(base, &l, FORMAT_NAMES, i, &page, NULL);
	n = format_check_scratch(&l);
	scratch = malloc(n);
	if (!scratch)
		abort();
	if (format_check(base, size, scratch, n, NULL, NULL, &report) == 0 &&
	    report.extents_used > l.extents)
		abort();
	free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t how;

	if (size < 1)
		return 0;
	how = *data++;
	size--;
	while (size >= 3) {
		uint64_t at = place((uint16_t)(data[0] | data[1] << 8));
		size_t n = data[2] & 31;

		data += 3;
		size -= 3;
		n = n < size ? n : size;
		if (at + n > used)
			n = 0;
		memcpy(base + at, data, n);
		data += n;
		size -= n;
	}
	if (how & 1)
		sign();
	/* A device that shrank, too: nothing behind its end is read. */
	if (how & 2 && mprotect(base + SIZE - COH_EXTENT_SIZE, COH_EXTENT_SIZE, PROT_NONE) < 0)
		abort();
	read_everything(how & 2 ? SIZE - COH_EXTENT_SIZE : SIZE);
	if (how & 2 &&
	    mprotect(base + SIZE - COH_EXTENT_SIZE, COH_EXTENT_SIZE, PROT_READ | PROT_WRITE) < 0)
		abort();
	/* As it was: the parts that a patch or a checksum can reach. */
	for (uint32_t v = 0; v < 8; v++) {
		uint64_t at = place((uint16_t)(v << 13)), n = FORMAT_PAGE + 32;

		memcpy(base + at, sound + at, at + n > used ? used - at : n);
	}
	memcpy(base + layout.names_offset, sound + layout.names_offset, 4 * FORMAT_PAGE);
	return 0;
}
