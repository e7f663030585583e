/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "acpi-table.h"

#include <errno.h>

#include "bytes.h"
#include "kernfile.h"
#include "numlist.h"
#include "warnings.h"

#define HEADER_LEN 36u
#define SRAT_HEADER_LEN (HEADER_LEN + 12)
#define HMAT_HEADER_LEN (HEADER_LEN + 4)

enum {
	SRAT_CPU = 0,
	SRAT_MEMORY = 1,
	SRAT_X2APIC = 2,
	SRAT_GICC = 3,
	SRAT_GENERIC_INITIATOR = 5,
	SRAT_GENERIC_PORT = 6,
	SRAT_RINTC = 7,
};

enum {
	HMAT_LOCALITY = 1,
	CEDT_CFMWS = 1,
};

struct acpi_tables *acpi_tables_new(void)
{
	struct acpi_tables *t = g_new0(struct acpi_tables, 1);

	t->pxm_of_node = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	t->memory = g_array_new(FALSE, FALSE, sizeof(struct acpi_range));
	t->devices = g_array_new(FALSE, FALSE, sizeof(struct acpi_device));
	t->windows = g_array_new(FALSE, FALSE, sizeof(struct acpi_window));
	t->perf = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
	t->warnings = g_ptr_array_new_with_free_func(g_free);
	return t;
}

struct acpi_tables *acpi_tables_free(struct acpi_tables *t)
{
	if (t == NULL)
		return NULL;
	g_array_unref(t->pxm_of_node);
	g_array_unref(t->memory);
	g_array_unref(t->devices);
	g_array_unref(t->windows);
	g_hash_table_unref(t->perf);
	g_ptr_array_unref(t->warnings);
	g_free(t);
	return NULL;
}

/* Linux gives each PXM it meets the next free number (drivers/acpi/numa/srat.c). */
static void add_pxm(struct acpi_tables *t, uint32_t pxm)
{
	if (acpi_node_of_pxm(t, pxm) >= 0 || t->pxm_of_node->len > NODE_MAX)
		return;
	g_array_append_val(t->pxm_of_node, pxm);
}

int acpi_node_of_pxm(const struct acpi_tables *t, uint32_t pxm)
{
	for (unsigned int i = 0; i < t->pxm_of_node->len; i++)
		if (g_array_index(t->pxm_of_node, uint32_t, i) == pxm)
			return (int)i;
	return -1;
}

/* The part of data that the table says it has. */
static int check_header(struct acpi_tables *t, const char *signature, const uint8_t *data,
			size_t *len, size_t min)
{
	uint32_t said;

	if (*len < min || memcmp(data, signature, 4) != 0) {
		warnings_add(t->warnings, "the firmware's %s is no such table, ignoring",
			     signature);
		return -EBADMSG;
	}
	said = le32(data + 4);
	if (said < min || said > *len) {
		warnings_add(t->warnings,
			     "the firmware's %s says it has %u bytes and has %zu, ignoring",
			     signature, said, *len);
		return -EBADMSG;
	}
	*len = said;
	return 0;
}

static void parse_device(struct acpi_tables *t, const uint8_t *p, bool port)
{
	struct acpi_device d = { .pxm = le32(p + 4), .port = port, .pci = p[3] == 1 };

	if (p[3] > 1)
		return;
	if (d.pci) {
		d.segment = le16(p + 8);
		d.bus = p[10];
		d.devfn = p[11];
	} else {
		memcpy(d.hid, p + 8, 8);
		d.uid = le32(p + 16);
	}
	g_array_append_val(t->devices, d);
}

static void parse_memory(struct acpi_tables *t, const uint8_t *p, unsigned int revision)
{
	uint32_t flags = le32(p + 28);
	struct acpi_range r = {
		.start = le64(p + 8),
		/* The first revision had one byte. */
		.pxm = revision <= 1 ? p[2] : le32(p + 2),
		.hotplug = flags & 2,
		.nonvolatile = flags & 4,
	};

	if (!(flags & 1))
		return;
	add_pxm(t, r.pxm);
	if (le64(p + 16) == 0 || __builtin_add_overflow(r.start, le64(p + 16), &r.end))
		return;
	g_array_append_val(t->memory, r);
}

/* Processors and initiators in one pass, memory in another: so does Linux, and so it numbers them. */
static void parse_affinity(struct acpi_tables *t, const uint8_t *p, unsigned int len,
			   unsigned int revision, bool memory)
{
	static const uint8_t min_len[] = { 16, 40, 24, 18, 0, 32, 32, 20 };

	if (p[0] >= G_N_ELEMENTS(min_len) || min_len[p[0]] == 0)
		return;
	if (len < min_len[p[0]]) {
		warnings_add(t->warnings, "SRAT has an entry of type %u with %u bytes, ignoring it",
			     p[0], len);
		return;
	}
	if (memory) {
		if (p[0] == SRAT_MEMORY)
			parse_memory(t, p, revision);
		return;
	}
	switch (p[0]) {
	case SRAT_CPU:
		if (le32(p + 4) & 1)
			add_pxm(t, revision < 2 ? p[2]
						: p[2] | (uint32_t)p[9] << 8 |
							  (uint32_t)le16(p + 10) << 16);
		break;
	case SRAT_X2APIC:
	case SRAT_RINTC:
		if (le32(p + 12) & 1)
			add_pxm(t, le32(p + 4));
		break;
	case SRAT_GICC:
		if (le32(p + 10) & 1)
			add_pxm(t, le32(p + 2));
		break;
	case SRAT_GENERIC_INITIATOR:
		if (le32(p + 24) & 1) {
			add_pxm(t, le32(p + 4));
			parse_device(t, p, false);
		}
		break;
	case SRAT_GENERIC_PORT:
		/* Makes no node. */
		if (le32(p + 24) & 1)
			parse_device(t, p, true);
		break;
	}
}

int acpi_parse_srat(struct acpi_tables *t, const uint8_t *data, size_t len)
{
	int r = check_header(t, "SRAT", data, &len, SRAT_HEADER_LEN);

	if (r < 0)
		return r;
	for (int pass = 0; pass < 2; pass++)
		for (size_t at = SRAT_HEADER_LEN; len - at >= 2;) {
			unsigned int n = data[at + 1];

			if (n < 2 || n > len - at) {
				warnings_add(
					t->warnings,
					"SRAT has an entry of %u bytes at %zu of %zu: ignoring the rest",
					n, at, len);
				break;
			}
			parse_affinity(t, data + at, n, data[8], pass == 1);
			at += n;
		}
	return 0;
}

uint32_t acpi_decode(uint16_t entry, uint64_t base, bool latency, unsigned int revision)
{
	uint64_t value;

	/* 0: not provided, 0xffff: not reachable. */
	if (entry == 0 || entry == 0xffff || base > UINT32_MAX / entry)
		return 0;
	value = entry * base;
	if (revision <= 1)
		/* Linux divides bandwidth, too: kept, so that numbers agree with sysfs. */
		return value < 10 ? 0 : (uint32_t)((value + 9) / 10);
	return (uint32_t)(latency ? (value + 999) / 1000 : value);
}

void acpi_put(struct perf_numbers *p, unsigned int data_type, uint32_t value)
{
	if (value == 0)
		return;
	if (data_type == 0 || data_type == 1)
		p->read_lat_ns = value;
	if (data_type == 0 || data_type == 2)
		p->write_lat_ns = value;
	if (data_type == 3 || data_type == 4)
		p->read_bw_mbs = value;
	if (data_type == 3 || data_type == 5)
		p->write_bw_mbs = value;
}

static struct perf_numbers *perf_entry(struct acpi_tables *t, uint32_t initiator, uint32_t target,
				       bool create)
{
	gint64 key = (gint64)((uint64_t)initiator << 32 | target);
	struct perf_numbers *p = g_hash_table_lookup(t->perf, &key);

	if (p == NULL && create) {
		p = g_new0(struct perf_numbers, 1);
		g_hash_table_insert(t->perf, g_memdup2(&key, sizeof(key)), p);
	}
	return p;
}

static void parse_locality(struct acpi_tables *t, const uint8_t *p, uint32_t len,
			   unsigned int revision)
{
	const uint8_t *initiators = p + 32, *targets, *entries;
	uint32_t n_init, n_target;
	uint64_t base, need;
	unsigned int type;

	if (len < 32) {
		warnings_add(t->warnings, "HMAT has a matrix of %u bytes, ignoring it", len);
		return;
	}
	type = p[9];
	n_init = le32(p + 12);
	n_target = le32(p + 16);
	base = le64(p + 24);
	/* Cannot overflow: (2^32)^2 × 2 would, so the counts are bounded first. */
	if (n_init > len || n_target > len)
		need = UINT64_MAX;
	else
		need = 32 + 4 * ((uint64_t)n_init + n_target) + 2 * (uint64_t)n_init * n_target;
	if (need > len) {
		warnings_add(
			t->warnings,
			"HMAT has a matrix of %u initiators and %u targets in %u bytes, ignoring it",
			n_init, n_target, len);
		return;
	}
	/* Others than 0 are memory-side caches. */
	if ((p[8] & 0xf) != 0 || type > 5)
		return;
	targets = initiators + 4 * (size_t)n_init;
	entries = targets + 4 * (size_t)n_target;
	for (uint32_t i = 0; i < n_init; i++)
		for (uint32_t j = 0; j < n_target; j++) {
			uint16_t entry = le16(entries + 2 * ((size_t)i * n_target + j));
			uint32_t value = acpi_decode(entry, base, type < 3, revision);

			if (value != 0)
				acpi_put(perf_entry(t, le32(initiators + 4 * (size_t)i),
						    le32(targets + 4 * (size_t)j), true),
					 type, value);
		}
}

int acpi_parse_hmat(struct acpi_tables *t, const uint8_t *data, size_t len)
{
	int r = check_header(t, "HMAT", data, &len, HMAT_HEADER_LEN);

	if (r < 0)
		return r;
	for (size_t at = HMAT_HEADER_LEN; len - at >= 8;) {
		uint32_t n = le32(data + at + 4);

		if (n < 8 || n > len - at) {
			warnings_add(
				t->warnings,
				"HMAT has an entry of %u bytes at %zu of %zu: ignoring the rest", n,
				at, len);
			break;
		}
		if (le16(data + at) == HMAT_LOCALITY)
			parse_locality(t, data + at, n, data[8]);
		at += n;
	}
	return 0;
}

static void parse_window(struct acpi_tables *t, const uint8_t *p, uint16_t len, uint32_t *next_pxm)
{
	struct acpi_window w = { 0 };
	unsigned int coded;
	bool covered = false;

	if (len < 36) {
		warnings_add(t->warnings, "CEDT has a window of %u bytes, ignoring it", len);
		return;
	}
	w.start = le64(p + 8);
	if (le64(p + 16) == 0 || __builtin_add_overflow(w.start, le64(p + 16), &w.end)) {
		warnings_add(t->warnings,
			     "CEDT has a window that ends before it begins, ignoring it");
		return;
	}
	coded = p[24];
	w.ways = coded <= 4 ? 1u << coded : coded >= 8 && coded <= 10 ? 3u << (coded - 8) : 0;
	w.ram = le16(p + 32) & 4;
	w.pmem = le16(p + 32) & 8;
	/* Linux lets SRAT's node have the window where they overlap, else it makes up a PXM. */
	for (unsigned int i = 0; i < t->memory->len && !covered; i++) {
		const struct acpi_range *m = &g_array_index(t->memory, struct acpi_range, i);

		covered = m->start < w.end && w.start < m->end;
		if (covered)
			w.pxm = m->pxm;
	}
	if (!covered) {
		w.pxm = (*next_pxm)++;
		add_pxm(t, w.pxm);
	}
	g_array_append_val(t->windows, w);
}

int acpi_parse_cedt(struct acpi_tables *t, const uint8_t *data, size_t len)
{
	int r = check_header(t, "CEDT", data, &len, HEADER_LEN);
	uint32_t next_pxm = 0;

	if (r < 0)
		return r;
	for (unsigned int i = 0; i < t->pxm_of_node->len; i++) {
		uint32_t pxm = g_array_index(t->pxm_of_node, uint32_t, i);

		/* PXMs over 2^31 do not get a node in Linux. */
		if (pxm < INT32_MAX && pxm >= next_pxm)
			next_pxm = pxm + 1;
	}
	for (size_t at = HEADER_LEN; len - at >= 4;) {
		uint16_t n = le16(data + at + 2);

		if (n < 4 || n > len - at) {
			warnings_add(
				t->warnings,
				"CEDT has an entry of %u bytes at %zu of %zu: ignoring the rest", n,
				at, len);
			break;
		}
		if (data[at] == CEDT_CFMWS)
			parse_window(t, data + at, n, &next_pxm);
		at += n;
	}
	return 0;
}

void acpi_perf(const struct acpi_tables *t, uint32_t initiator_pxm, uint32_t target_pxm,
	       struct perf_numbers *ret_numbers)
{
	const struct perf_numbers *p =
		perf_entry((struct acpi_tables *)t, initiator_pxm, target_pxm, false);

	if (p != NULL)
		*ret_numbers = *p;
	else
		memset(ret_numbers, 0, sizeof(*ret_numbers));
}

void acpi_perf_nodes(const struct acpi_tables *t, int initiator, int target,
		     struct perf_numbers *ret_numbers)
{
	const GArray *pxms = t->pxm_of_node;

	memset(ret_numbers, 0, sizeof(*ret_numbers));
	if (initiator >= 0 && target >= 0 && (unsigned int)initiator < pxms->len &&
	    (unsigned int)target < pxms->len)
		acpi_perf(t, g_array_index(pxms, uint32_t, initiator),
			  g_array_index(pxms, uint32_t, target), ret_numbers);
}

struct acpi_tables *acpi_tables_read(int root_fd)
{
	static const struct {
		const char *path;
		int (*parse)(struct acpi_tables *t, const uint8_t *data, size_t len);
	} tables[] = {
		{ "sys/firmware/acpi/tables/SRAT", acpi_parse_srat },
		{ "sys/firmware/acpi/tables/HMAT", acpi_parse_hmat },
		{ "sys/firmware/acpi/tables/CEDT", acpi_parse_cedt },
	};
	struct acpi_tables *t = acpi_tables_new();

	for (unsigned int i = 0; i < G_N_ELEMENTS(tables); i++) {
		g_autofree char *data = NULL;
		size_t len;
		int r;

		r = kernfile_read(root_fd, tables[i].path, ACPI_TABLE_MAX, &data, &len);
		if (r == 0)
			tables[i].parse(t, (const uint8_t *)data, len);
		else if (r == -EACCES || r == -EPERM)
			warnings_add(
				t->warnings,
				"/%s can be read by root only: numbers and CXL windows that sysfs "
				"does not have are not known",
				tables[i].path);
		else if (r != -ENOENT && r != -ENOTDIR)
			warnings_add(t->warnings, "/%s cannot be read: %s, ignoring",
				     tables[i].path, kernfile_strerror(r));
	}
	return t;
}
