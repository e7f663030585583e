// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "../core/crc32c.h"
#include "bytes.h"
#include "ledger-file.h"

static const char magic[8] = { 'm', 'o', 'r', 's', 'e', 'l', 'R', 'G' };

/* Offsets of the header's fields, and of a record's. */
enum {
	HEADER_VERSION = 8,
	HEADER_LAST_JOB = 12,
	HEADER_SEQ = 16,
	HEADER_BASE = 24,
	HEADER_BOOT = 32,
	HEADER_ZERO = 48,
	HEADER_CHECK = 60,
};
enum {
	RECORD_LENGTH = 0,
	RECORD_CHECK = 4, /* of the rest of it, and of the length: see record_check() */
	RECORD_SEQ = 8,
	RECORD_TYPE = 16,
	RECORD_ZERO = 20,
	RECORD_ID = 24,
};
/* A record's type is its kind, or this and its kind. */
#define TYPE_DROP 0x100

static guint entry_hash(gconstpointer p)
{
	const struct ledger_entry *e = p;

	return (guint)(e->id.qwords[0] ^ e->id.qwords[1]) + e->kind;
}

static gboolean entry_equal(gconstpointer a, gconstpointer b)
{
	const struct ledger_entry *x = a, *y = b;

	return x->kind == y->kind && sd_id128_equal(x->id, y->id);
}

static void entry_free(gpointer p)
{
	struct ledger_entry *e = p;

	g_bytes_unref(e->body);
	g_free(e);
}

void ledger_image_init(struct ledger_image *image)
{
	*image = (struct ledger_image){
		.entries = g_hash_table_new_full(entry_hash, entry_equal, entry_free, NULL),
	};
}

void ledger_image_done(struct ledger_image *image)
{
	g_clear_pointer(&image->entries, g_hash_table_unref);
	g_clear_pointer(&image->damage, g_free);
}

void ledger_apply(struct ledger_image *image, enum ledger_kind kind, sd_id128_t id, GBytes *body)
{
	struct ledger_entry key = { .kind = kind, .id = id };
	struct ledger_entry *e = g_hash_table_lookup(image->entries, &key);

	if (!body) {
		g_hash_table_remove(image->entries, &key);
		return;
	}
	g_bytes_ref(body);
	if (e) {
		g_bytes_unref(e->body);
		e->body = body;
		return;
	}
	if (kind == LEDGER_JOB || kind == LEDGER_PROVISION)
		image->last_job = MAX(image->last_job, (uint32_t)GUINT64_FROM_LE(id.qwords[1]));
	key.order = image->next_order++;
	key.body = body;
	g_hash_table_add(image->entries, g_memdup2(&key, sizeof(key)));
}

static gint by_order(gconstpointer a, gconstpointer b)
{
	uint64_t x = (*(struct ledger_entry *const *)a)->order;
	uint64_t y = (*(struct ledger_entry *const *)b)->order;

	return x < y ? -1 : x > y;
}

GPtrArray *ledger_sorted(const struct ledger_image *image, enum ledger_kind kind)
{
	GPtrArray *sorted = g_ptr_array_new();
	GHashTableIter iter;
	gpointer p;

	g_hash_table_iter_init(&iter, image->entries);
	while (g_hash_table_iter_next(&iter, &p, NULL))
		if (((struct ledger_entry *)p)->kind == kind)
			g_ptr_array_add(sorted, p);
	g_ptr_array_sort(sorted, by_order);
	return sorted;
}

/* --- Writing -------------------------------------------------------------------------------- */

static void put32(uint8_t *p, uint32_t value)
{
	value = GUINT32_TO_LE(value);
	memcpy(p, &value, sizeof(value));
}

static void put64(uint8_t *p, uint64_t value)
{
	value = GUINT64_TO_LE(value);
	memcpy(p, &value, sizeof(value));
}

/* size: of the whole record. */
static uint32_t record_check(uint32_t check, const uint8_t *record, size_t size)
{
	check = crc32c(check, record, RECORD_CHECK);
	return crc32c(check, record + RECORD_SEQ, size - RECORD_SEQ);
}

void ledger_append_record(GByteArray *out, uint32_t check, uint64_t seq, enum ledger_kind kind,
			  sd_id128_t id, GBytes *body)
{
	size_t length = body ? g_bytes_get_size(body) : 0, at = out->len;
	size_t size = LEDGER_RECORD_SIZE + (length + 7) / 8 * 8;
	uint8_t *record;

	g_byte_array_set_size(out, at + size);
	record = out->data + at;
	memset(record, 0, size);
	put32(record + RECORD_LENGTH, length);
	put64(record + RECORD_SEQ, seq);
	put32(record + RECORD_TYPE, body ? kind : TYPE_DROP | kind);
	memcpy(record + RECORD_ID, &id, sizeof(id));
	if (length > 0)
		memcpy(record + LEDGER_RECORD_SIZE, g_bytes_get_data(body, NULL), length);
	put32(record + RECORD_CHECK, record_check(check, record, size));
}

GByteArray *ledger_format(const struct ledger_image *image, uint32_t *ret_check)
{
	GByteArray *out = g_byte_array_new();
	uint8_t header[LEDGER_HEADER_SIZE] = {};

	memcpy(header, magic, sizeof(magic));
	put32(header + HEADER_VERSION, LEDGER_VERSION);
	put32(header + HEADER_LAST_JOB, image->last_job);
	put64(header + HEADER_SEQ, image->seq);
	put64(header + HEADER_BASE, g_hash_table_size(image->entries));
	memcpy(header + HEADER_BOOT, &image->boot, sizeof(image->boot));
	*ret_check = crc32c(0, header, HEADER_CHECK);
	put32(header + HEADER_CHECK, *ret_check);
	g_byte_array_append(out, header, sizeof(header));

	for (enum ledger_kind kind = LEDGER_MORSEL; kind < LEDGER_KIND_MAX; kind++) {
		g_autoptr(GPtrArray) sorted = ledger_sorted(image, kind);

		for (unsigned int i = 0; i < sorted->len; i++) {
			const struct ledger_entry *e = sorted->pdata[i];

			ledger_append_record(out, *ret_check, image->seq, kind, e->id, e->body);
		}
	}
	return out;
}

/* --- Reading -------------------------------------------------------------------------------- */

/* Where the damage begins is image->good. */
static void damaged(struct ledger_image *image, const char *what)
{
	image->damage = g_strdup_printf("%s at byte %" PRIu64, what, image->good);
}

static bool parse_header(const uint8_t *data, size_t size, struct ledger_image *image,
			 uint64_t *ret_base)
{
	static const uint8_t zero[HEADER_CHECK - HEADER_ZERO];

	if (size < LEDGER_HEADER_SIZE) {
		damaged(image, "an incomplete header");
		return false;
	}
	image->check = crc32c(0, data, HEADER_CHECK);
	if (memcmp(data, magic, sizeof(magic)) != 0 || le32(data + HEADER_CHECK) != image->check) {
		damaged(image, "a header with a wrong checksum");
		return false;
	}
	image->version = le32(data + HEADER_VERSION);
	if (image->version <= LEDGER_VERSION &&
	    memcmp(data + HEADER_ZERO, zero, sizeof(zero)) != 0) {
		damaged(image, "a header that makes no sense");
		return false;
	}
	image->last_job = le32(data + HEADER_LAST_JOB);
	image->seq = le64(data + HEADER_SEQ);
	*ret_base = le64(data + HEADER_BASE);
	memcpy(&image->boot, data + HEADER_BOOT, sizeof(image->boot));
	image->good = LEDGER_HEADER_SIZE;
	return true;
}

/* The record at data; returns its size, 0 when it is damaged. */
static size_t parse_record(const uint8_t *data, size_t left, bool in_base,
			   struct ledger_image *image)
{
	uint32_t length, type, kind;
	g_autoptr(GBytes) body = NULL;
	sd_id128_t id;
	size_t size;

	if (left < LEDGER_RECORD_SIZE) {
		damaged(image, "an incomplete record");
		return 0;
	}
	length = le32(data + RECORD_LENGTH);
	size = LEDGER_RECORD_SIZE + ((size_t)length + 7) / 8 * 8;
	if (length > LEDGER_BODY_MAX || size > left) {
		damaged(image, "an incomplete record");
		return 0;
	}
	if (le32(data + RECORD_CHECK) != record_check(image->check, data, size)) {
		damaged(image, "a record with a wrong checksum");
		return 0;
	}
	type = le32(data + RECORD_TYPE);
	kind = type & ~TYPE_DROP;
	if (kind < LEDGER_MORSEL || kind >= LEDGER_KIND_MAX || (in_base && type != kind) ||
	    (type != kind && length > 0) || le32(data + RECORD_ZERO) != 0 ||
	    le64(data + RECORD_SEQ) != image->seq + !in_base) {
		damaged(image, "a record that makes no sense");
		return 0;
	}
	memcpy(&id, data + RECORD_ID, sizeof(id));
	if (type == kind)
		body = g_bytes_new(data + LEDGER_RECORD_SIZE, length);
	ledger_apply(image, kind, id, body);
	image->seq = le64(data + RECORD_SEQ);
	return size;
}

int ledger_parse(const uint8_t *data, size_t size, struct ledger_image *image)
{
	uint64_t base, n = 0;

	if (!parse_header(data, size, image, &base))
		return 0;
	if (image->version > LEDGER_VERSION)
		return -EPROTONOSUPPORT;
	while (image->good < size) {
		size_t used = parse_record(data + image->good, size - image->good, n < base, image);

		if (used == 0)
			break;
		image->good += used;
		n++;
	}
	image->has_base = n >= base;
	if (!image->has_base && !image->damage)
		damaged(image, "an end too early");
	return 0;
}

int ledger_compare(const struct ledger_image *a, const struct ledger_image *b)
{
	if (a->has_base != b->has_base)
		return a->has_base ? -1 : 1;
	if (a->has_base && a->seq != b->seq)
		return a->seq > b->seq ? -1 : 1;
	if (!a->has_base && g_hash_table_size(a->entries) != g_hash_table_size(b->entries))
		return g_hash_table_size(a->entries) > g_hash_table_size(b->entries) ? -1 : 1;
	return !a->damage || b->damage ? -1 : 1;
}
