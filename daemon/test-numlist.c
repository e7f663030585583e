/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "numlist.h"

#include <errno.h>
#include <string.h>

static char *render(const char *text)
{
	g_autoptr(GArray) list = NULL;
	GString *s = g_string_new(NULL);
	int r = numlist_parse(text, strlen(text), 15, &list);

	if (r < 0) {
		g_assert_null(list);
		g_string_append(s, r == -EINVAL ? "EINVAL" : r == -ERANGE ? "ERANGE" : "?");
		return g_string_free(s, FALSE);
	}
	for (unsigned int i = 0; i < list->len; i++)
		g_string_append_printf(s, "%s%d", i ? " " : "", g_array_index(list, int, i));
	return g_string_free(s, FALSE);
}

static void test_parse(void)
{
	static const struct {
		const char *text, *result;
	} cases[] = {
		{ "", "" },
		{ "\n", "" },
		{ "0\n", "0" },
		{ "0-3\n", "0 1 2 3" },
		{ "0,2-3,15\n", "0 2 3 15" },
		{ "3,1,1-2", "1 2 3" },
		{ "16", "ERANGE" },
		{ "0-16", "ERANGE" },
		{ "99999999999999999999", "ERANGE" },
		{ "3-1", "EINVAL" },
		{ "1,", "EINVAL" },
		{ ",1", "EINVAL" },
		{ "1,,2", "EINVAL" },
		{ "1-", "EINVAL" },
		{ "-1", "EINVAL" },
		{ "1 2", "EINVAL" },
		{ "0x1", "EINVAL" },
		{ "one", "EINVAL" },
		{ "1-2-3", "EINVAL" },
		{ "(null)", "EINVAL" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *got = render(cases[i].text);

		g_assert_cmpstr(got, ==, cases[i].result);
	}
}

static void test_bytes(void)
{
	g_autoptr(GArray) list = NULL;

	/* The length counts, not a 0 byte. */
	g_assert_cmpint(numlist_parse("1\0002", 3, 15, &list), ==, -EINVAL);
	g_assert_cmpint(numlist_parse("12345", 1, 15, &list), ==, 0);
	g_assert_true(numlist_contains(list, 1));
	g_assert_false(numlist_contains(list, 2));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/numlist/parse", test_parse);
	g_test_add_func("/numlist/bytes", test_bytes);
	return g_test_run();
}
