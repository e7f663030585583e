/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The firmware's tables and CXL's CDAT. First byte: which; the rest: the table. 'a': SRAT, HMAT and CEDT
 * one behind the other, each with its length before it (two bytes). */
#include <glib.h>

#include "acpi-table.h"
#include "bytes.h"
#include "cdat.h"
#include "fuzz.h"
#include "numlist.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

static void check(const struct acpi_tables *t)
{
	g_assert_cmpuint(t->pxm_of_node->len, <=, NODE_MAX + 1);
	for (unsigned int i = 0; i < t->memory->len; i++) {
		const struct acpi_range *r = &g_array_index(t->memory, struct acpi_range, i);

		g_assert_cmpuint(r->start, <, r->end);
	}
	for (unsigned int i = 0; i < t->windows->len; i++) {
		const struct acpi_window *w = &g_array_index(t->windows, struct acpi_window, i);

		g_assert_cmpuint(w->start, <, w->end);
	}
	for (int i = -1; i < (int)t->pxm_of_node->len + 1; i++) {
		struct perf_numbers p;

		acpi_perf_nodes(t, i, 0, &p);
		acpi_perf_nodes(t, 0, i, &p);
	}
	g_assert_cmpuint(t->warnings->len, <=, 16);
}

static void all_of(struct acpi_tables *t, const uint8_t *data, size_t size)
{
	for (int i = 0; i < 3 && size >= 2; i++) {
		size_t n = MIN((size_t)le16(data), size - 2);
		/* Each in a block of its own size. */
		g_autofree uint8_t *copy = g_memdup2(data + 2, n);

		(i == 0 ? acpi_parse_srat : i == 1 ? acpi_parse_hmat : acpi_parse_cedt)(t, copy, n);
		data += 2 + n;
		size -= 2 + n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct acpi_tables *t;
	g_autoptr(GArray) ranges = NULL;
	g_autofree uint8_t *copy = NULL;

	if (size == 0)
		return 0;
	t = acpi_tables_new();
	copy = g_memdup2(data + 1, size - 1);
	switch (data[0]) {
	case 's':
		acpi_parse_srat(t, copy, size - 1);
		break;
	case 'h':
		acpi_parse_hmat(t, copy, size - 1);
		break;
	case 'c':
		acpi_parse_cedt(t, copy, size - 1);
		break;
	case 'd':
		if (cdat_parse(copy, size - 1, &ranges) == 0)
			for (unsigned int i = 0; i < ranges->len; i++) {
				const struct cdat_range *r =
					&g_array_index(ranges, struct cdat_range, i);

				g_assert_cmpuint(r->start, <=, r->end);
			}
		break;
	default:
		all_of(t, data + 1, size - 1);
	}
	check(t);
	acpi_tables_free(t);
	return 0;
}
