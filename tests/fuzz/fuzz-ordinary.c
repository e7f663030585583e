/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is read about ordinary memory: lines of /proc/PID/maps, /proc/PID/stat, and the tables of a look. */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "fuzz.h"
#include "helper/ordinary-data.h"
#include "helper/procfile.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

static void check_table(const struct ordinary_table *t)
{
	for (uint32_t i = 0; i < t->head->n_granules; i++)
		g_assert_cmpuint(t->granules[i].granule, <, HELPER_GRANULES);
	for (uint32_t i = 0; i < t->head->n_chunks; i++)
		g_assert_cmpuint(t->chunks[i].process, <, t->head->n_processes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autofree uint64_t *aligned = g_malloc0(size + sizeof(uint64_t));
	struct ordinary_table table;
	struct proc_range range;
	struct proc_stat stat;
	int r;

	r = proc_maps_parse(text, &range);
	g_assert_true(r == 0 || r == -ENODATA || r == -EBADMSG);
	if (r == 0)
		g_assert_true(range.start < range.end && range.start % 4096 == 0 &&
			      range.end % 4096 == 0);
	r = proc_stat_parse(text, &stat);
	g_assert_true(r == 0 || r == -EBADMSG);
	memcpy(aligned, data, size);
	r = ordinary_table_parse(aligned, size, &table);
	g_assert_true(r == 0 || r == -EBADMSG);
	if (r == 0)
		check_table(&table);
	return 0;
}
