/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small texts: lists of numbers, sizes, numbers. */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "fuzz.h"
#include "kernfile.h"
#include "numlist.h"
#include "parse-size.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

/* What was understood reads the same when it is written out. */
static void check_list(const GArray *list)
{
	g_autoptr(GString) text = g_string_new(NULL);
	g_autoptr(GArray) again = NULL;

	for (unsigned int i = 0; i < list->len; i++) {
		int n = g_array_index(list, int, i);

		g_assert_cmpint(n, >=, 0);
		g_assert_cmpint(n, <=, NODE_MAX);
		g_assert_true(i == 0 || n > g_array_index(list, int, i - 1));
		g_string_append_printf(text, "%s%d", i ? "," : "", n);
	}
	g_assert_cmpint(numlist_parse(text->str, text->len, NODE_MAX, &again), ==, 0);
	g_assert_cmpmem(again->data, again->len * sizeof(int), list->data, list->len * sizeof(int));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GArray) list = NULL;
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autofree char *quoted = kernfile_quote(text), *copy = g_strdup(text);
	uint64_t n, bytes;
	int r;

	r = numlist_parse((const char *)data, size, NODE_MAX, &list);
	if (r == 0)
		check_list(list);
	else
		g_assert_true(list == NULL && (r == -EINVAL || r == -ERANGE));

	r = parse_size(text, &bytes);
	g_assert_true(r == 0 || r == -EINVAL || r == -ERANGE);
	if (r == 0 && kernfile_parse_u64(text, &n) == 0)
		g_assert_cmpuint(n, ==, bytes);

	g_assert_true(g_utf8_validate(quoted, -1, NULL));
	g_assert_cmpuint(strlen(quoted), <, 256);
	g_assert_cmpint(kernfile_compare_names(text, copy), ==, 0);
	return 0;
}
