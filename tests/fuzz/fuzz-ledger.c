/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registry's file. First byte: 'r': the rest is a file as it is; 'c': with its checksums put right;
 * 'm': a morsel's record; 'j': a move's; 'p': a provisioning's;
 * 'l': that of something destroyed. */
#include <glib.h>
#include <string.h>

#include "bytes.h"
#include "../../core/crc32c.h"
#include "fuzz.h"
#include "ledger-record.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

static void put32(uint8_t *p, uint32_t value)
{
	value = GUINT32_TO_LE(value);
	memcpy(p, &value, sizeof(value));
}

/* Without this nothing gets past the first checksum. */
static void put_right(uint8_t *data, size_t size)
{
	uint32_t check;

	if (size < LEDGER_HEADER_SIZE)
		return;
	memcpy(data, "morselRG", 8);
	check = crc32c(0, data, LEDGER_HEADER_SIZE - 4);
	put32(data + LEDGER_HEADER_SIZE - 4, check);
	for (size_t at = LEDGER_HEADER_SIZE; size - at >= LEDGER_RECORD_SIZE;) {
		size_t record = LEDGER_RECORD_SIZE + ((size_t)le32(data + at) + 7) / 8 * 8;

		if (record > size - at)
			break;
		put32(data + at + 4,
		      crc32c(crc32c(check, data + at, 4), data + at + 8, record - 8));
		at += record;
	}
}

static void check_file(const uint8_t *data, size_t size)
{
	g_autoptr(GByteArray) written = NULL;
	struct ledger_image image, again;
	uint32_t check;

	ledger_image_init(&image);
	ledger_image_init(&again);
	if (ledger_parse(data, size, &image) == 0) {
		g_assert_cmpuint(image.good, <=, size);
		g_assert_true(image.damage || (image.has_base && image.good == size));
		/* What was read can be written, and is read again as it was. */
		written = ledger_format(&image, &check);
		g_assert_cmpint(ledger_parse(written->data, written->len, &again), ==, 0);
		g_assert_null(again.damage);
		g_assert_cmpuint(again.seq, ==, image.seq);
		g_assert_cmpuint(g_hash_table_size(again.entries), ==,
				 g_hash_table_size(image.entries));
		g_assert_cmpint(ledger_compare(&again, &again), ==, -1);
	}
	ledger_image_done(&image);
	ledger_image_done(&again);
}

static void check_morsel(GBytes *body)
{
	g_autoptr(Morsel) m = NULL;
	g_autofree char *text = NULL;
	enum page_backing backing;
	const char *storage;
	uint64_t end = 0;

	if (ledger_morsel_parse(SD_ID128_NULL, body, &m, &backing, &storage, &text) < 0) {
		g_assert_nonnull(text);
		return;
	}
	g_assert_null(morsel_name_check(m->name));
	g_assert_cmpuint(m->size, >, 0);
	g_assert_cmpint(backing, <, PAGE_BACKING_MAX);
	for (unsigned int i = 0; i < m->records->len; i++) {
		const struct placement_record *r =
			&g_array_index(m->records, struct placement_record, i);

		g_assert_cmpuint(r->offset, ==, end);
		end += r->length;
	}
	g_assert_cmpuint(end, ==, m->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree uint8_t *copy = NULL;
	g_autoptr(GBytes) body = NULL;
	struct ledger_provision provision;
	struct ledger_linger linger;
	struct ledger_job job;

	if (size == 0)
		return 0;
	copy = size > 1 ? g_memdup2(data + 1, size - 1) : g_malloc(1);
	body = g_bytes_new(copy, size - 1);
	switch (data[0]) {
	case 'm':
		check_morsel(body);
		break;
	case 'j':
		if (ledger_job_parse(ledger_job_id(7), body, &job) == 0) {
			g_assert_cmpuint(job.id, ==, 7);
			g_assert_null(morsel_name_check(job.morsel_name));
			ledger_job_clear(&job);
		}
		break;
	case 'p':
		if (ledger_provision_parse(ledger_job_id(7), body, &provision) == 0) {
			g_assert_cmpuint(provision.id, ==, 7);
			g_assert_true(provision.verb == HELPER_PROVISION ||
				      provision.verb == HELPER_UNPROVISION);
			g_assert_true(g_utf8_validate(provision.outcome, -1, NULL));
			ledger_provision_clear(&provision);
		}
		break;
	case 'l':
		if (ledger_linger_parse(body, &linger) == 0) {
			g_assert_cmpuint(linger.bytes - 1, <, INT64_MAX);
			g_assert_true(linger.watch > 0 || linger.watch == LEDGER_LINGER_OBJECT);
			ledger_linger_clear(&linger);
		}
		break;
	case 'c':
		put_right(copy, size - 1);
		check_file(copy, size - 1);
		break;
	default:
		check_file(copy, size - 1);
	}
	return 0;
}
